//! STUN and TURN of the tracker, with the credentials that viewers are told, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use cardume_system_tests::{SignalClient, TestTracker, TurnClient, get, mapped_address, within};
use cardume_wire::signal::IceServer;
use tempfile::TempDir;
use tokio::net::UdpSocket;

/// On a loopback address of its own: what is sent to the relay's own address never leaves the relay.
const LABORATORY: &str =
    "stun = \"127.0.0.2:0\"\nrelay = true\nrelay_private = true\nrelay_address = \"127.0.0.2\"\n";

/// A tracker that relays, and what its first viewer was told.
async fn start(more: &str) -> (TestTracker, TempDir, IceServer) {
    let (tracker, directory) = TestTracker::start(&format!("{LABORATORY}{more}")).await;
    let told = told(&tracker).await;
    (tracker, directory, told)
}

/// The entry with credentials that another viewer is told.
async fn told(tracker: &TestTracker) -> IceServer {
    let (_client, welcome) = SignalClient::join(tracker.http(), "live").await;
    welcome.ice_servers.into_iter().find(|server| server.credential.is_some()).unwrap()
}

/// What the peer hears of a datagram that is sent again until it comes: the first may go before the socket is ready.
async fn pass(client: &mut TurnClient, channel: u16, payload: &[u8], peer: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    within("a relayed datagram", async {
        loop {
            client.send(channel, payload).await;
            let patience = std::time::Duration::from_millis(200);
            if let Ok(received) = tokio::time::timeout(patience, peer.recv_from(&mut buffer)).await {
                return buffer[..received.unwrap().0].to_vec();
            }
        }
    })
    .await
}

#[tokio::test]
async fn stun_says_from_where_it_is_asked_and_viewers_are_told_of_it() {
    let (tracker, _directory) =
        TestTracker::start("stun = \"127.0.0.1:0\"\npublic_url = \"https://tv.example.org/\"").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(mapped_address(&socket, tracker.stun()).await, socket.local_addr().unwrap());
    let (_client, welcome) = SignalClient::join(tracker.http(), "live").await;
    let [IceServer { urls, username: None, credential: None }] = &welcome.ice_servers[..] else {
        panic!("{:?}", welcome.ice_servers)
    };
    assert_eq!(*urls, [format!("stun:tv.example.org:{}", tracker.stun().port())]);
}

#[tokio::test]
async fn a_tracker_without_stun_tells_only_of_what_was_configured() {
    let named = "ice_servers = [{ urls = [\"stun:stun.example.org:3478\"] }]";
    let (tracker, _directory) = TestTracker::start(named).await;
    let (_client, welcome) = SignalClient::join(tracker.http(), "live").await;
    assert_eq!(welcome.ice_servers.len(), 1);
    assert_eq!(welcome.ice_servers[0].urls, ["stun:stun.example.org:3478"]);
}

#[tokio::test]
async fn what_is_relayed_comes_out_on_the_other_side_and_counts_as_egress() {
    let (tracker, _directory, told) = start("").await;
    let port = tracker.stun().port();
    let urls = ["udp", "tcp"].map(|transport| format!("turn:127.0.0.2:{port}?transport={transport}"));
    assert_eq!(told.urls, urls);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = peer.local_addr().unwrap();
    for mut client in
        [TurnClient::by_udp(tracker.stun(), &told).await, TurnClient::by_tcp(tracker.stun(), &told).await]
    {
        let relayed = client.allocate().await.unwrap();
        client.bind(0x4000, there).await.unwrap();
        assert_eq!(pass(&mut client, 0x4000, b"from the client", &peer).await, b"from the client");
        peer.send_to(b"from the peer", relayed).await.unwrap();
        assert_eq!(client.hear().await, (0x4000, b"from the peer".to_vec()));
    }
    let egress = get(tracker.http(), "/v1/egress").await.json();
    let relayed_len = egress["relay"]["total_len"].as_u64().unwrap();
    assert!(relayed_len >= 2 * 28, "{egress}");
    assert!(egress["egress"]["total_len"].as_u64().unwrap() >= relayed_len, "{egress}");
}

#[tokio::test]
async fn two_viewers_that_nobody_else_reaches_meet_on_the_relay() {
    let (tracker, _directory, first) = start("").await;
    let second = told(&tracker).await;
    let mut alice = TurnClient::by_udp(tracker.stun(), &first).await;
    let mut bob = TurnClient::by_tcp(tracker.stun(), &second).await;
    let (at_alice, at_bob) = (alice.allocate().await.unwrap(), bob.allocate().await.unwrap());
    alice.bind(0x4000, at_bob).await.unwrap();
    bob.bind(0x4001, at_alice).await.unwrap();
    alice.send(0x4000, b"hello").await;
    assert_eq!(bob.hear().await, (0x4001, b"hello".to_vec()));
    bob.send(0x4001, b"hi").await;
    assert_eq!(alice.hear().await, (0x4000, b"hi".to_vec()));
}

#[tokio::test]
async fn a_viewer_has_its_quota_and_gives_back_what_it_does_not_need() {
    let (tracker, _directory, told) = start("relay_viewer_limit = 2").await;
    let mut first = TurnClient::by_udp(tracker.stun(), &told).await;
    let relayed = first.allocate().await.unwrap();
    let mut second = TurnClient::by_tcp(tracker.stun(), &told).await;
    second.allocate().await.unwrap();
    let mut third = TurnClient::by_udp(tracker.stun(), &told).await;
    assert_eq!(third.allocate().await, Err(486));
    first.release().await.unwrap();
    third.allocate().await.unwrap();
    within("the port to be free", async {
        while UdpSocket::bind(relayed).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // A connection that is closed needs nothing any more.
    drop(second);
    let mut fourth = TurnClient::by_udp(tracker.stun(), &told).await;
    within("a place", async { while fourth.allocate().await.is_err() {} }).await;
}

#[tokio::test]
async fn credentials_that_are_not_the_trackers_are_of_no_use() {
    let (tracker, _directory, told) = start("").await;
    let username = told.username.clone().unwrap();
    let (_, viewer) = username.split_once(':').unwrap();
    let later = Some(format!("4000000000:{viewer}"));
    for forged in [
        IceServer { username: later, ..told.clone() },
        IceServer { credential: Some("guessed".to_owned()), ..told.clone() },
        IceServer { username: Some(viewer.to_owned()), ..told.clone() },
    ] {
        let mut client = TurnClient::by_udp(tracker.stun(), &forged).await;
        assert_eq!(client.allocate().await, Err(401), "{forged:?}");
    }
}

#[tokio::test]
async fn credentials_outlive_a_restart() {
    let (tracker, directory, told) = start("").await;
    assert!(tracker.tracker.shutdown().await);
    let tracker = TestTracker::start_in(directory.path(), LABORATORY).await;
    TurnClient::by_udp(tracker.stun(), &told).await.allocate().await.unwrap();
}

#[tokio::test]
async fn the_operators_network_is_out_of_reach_unless_he_says_so() {
    let public = LABORATORY.replace("relay_private = true\n", "");
    let (tracker, _directory) = TestTracker::start(&public).await;
    let mut client = TurnClient::by_udp(tracker.stun(), &told(&tracker).await).await;
    client.allocate().await.unwrap();
    for peer in ["127.0.0.1:50000", "10.0.0.1:50000", "169.254.169.254:50000"] {
        assert_eq!(client.permit(peer.parse().unwrap()).await, Err(403), "{peer}");
    }
    client.permit("198.51.100.7:50000".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_strangers_does_not_keep_viewers_out() {
    let (tracker, _directory, told) = start("").await;
    let mut stranger = TurnClient::by_udp(tracker.stun(), &told).await;
    // The first challenge comes before the flood has used up what strangers of this address are answered.
    let mut viewer = TurnClient::by_udp(tracker.stun(), &told).await;
    viewer.allocate().await.unwrap();
    for _ in 0..5_000 {
        stranger.knock().await;
    }
    viewer.permit("127.0.0.1:50000".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_says_nothing_sensible_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (tracker, _directory, _) = start("").await;
    let mut stream = tokio::net::TcpStream::connect(tracker.stun()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // With an error or without one: it ends.
    let _ = within("the end of the connection", stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}
