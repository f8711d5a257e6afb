//! WebTorrent clients at a tracker, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::net::SocketAddr;

use cardume_system_tests::{TestTracker, get, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const ON: &str = "webtorrent = true";

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    peer_id: String,
}

impl Client {
    async fn connect(tracker: SocketAddr, path: &str, name: char) -> Self {
        let (socket, _) = connect_async(format!("ws://{tracker}{path}")).await.unwrap();
        Self { socket, peer_id: name.to_string().repeat(20) }
    }

    async fn announce(&mut self, fields: Value) {
        let mut message =
            json!({ "action": "announce", "info_hash": "x".repeat(20), "peer_id": self.peer_id });
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        match within("a message of the tracker", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("no message but {other:?}"),
        }
    }
}

fn offer(sdp_len: usize) -> Value {
    json!({ "numwant": 5, "offers": [{ "offer_id": "o".repeat(20), "offer": { "type": "offer", "sdp": "v".repeat(sdp_len) } }] })
}

/// A WebSocket without a library, for what no library sends; with what came behind the answer to its request.
async fn raw_socket(tracker: SocketAddr, early: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(tracker).await.unwrap();
    let request = "GET /announce HTTP/1.1\r\nHost: tracker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(&[request.as_bytes(), early].concat()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the answer to the upgrade", stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

#[tokio::test]
async fn two_peers_are_introduced_whatever_path_they_were_told() {
    let (tracker, _directory) = TestTracker::start(ON).await;
    let mut a = Client::connect(tracker.http(), "/announce", 'a').await;
    let mut b = Client::connect(tracker.http(), "/", 'b').await;
    a.announce(json!({ "event": "started" })).await;
    assert_eq!(a.hear().await["incomplete"], 1);
    // Longer than what is read at once.
    b.announce(offer(90_000)).await;
    assert_eq!(b.hear().await["incomplete"], 2);
    let offered = a.hear().await;
    assert_eq!(
        (&offered["peer_id"], offered["offer"]["sdp"].as_str().map(str::len)),
        (&json!(b.peer_id), Some(90_000))
    );
    a.announce(
        json!({ "to_peer_id": b.peer_id, "offer_id": offered["offer_id"], "answer": { "sdp": "v=1" } }),
    )
    .await;
    assert_eq!(b.hear().await["answer"]["sdp"], "v=1");
    drop(b);
    // Its leaving is noticed by the end of its socket.
    within("the count of one", async {
        loop {
            a.announce(json!({})).await;
            if a.hear().await["incomplete"] == 1 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn binary_frames_early_frames_and_pings_are_understood() {
    let (tracker, _directory) = TestTracker::start(ON).await;
    let mut a = Client::connect(tracker.http(), "/announce", 'a').await;
    a.socket.send(Message::Ping("still there?".into())).await.unwrap();
    let pong = within("the pong", a.socket.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("still there?".into()));
    let scrape = br#"{"action":"scrape"}"#;
    a.socket.send(Message::binary(scrape.to_vec())).await.unwrap();
    assert_eq!(a.hear().await, json!({ "action": "scrape", "files": {} }));
    // With a mask of zeros, in the segment of the request.
    let early = [&[0x81, 0x93, 0, 0, 0, 0][..], scrape].concat();
    let mut stream = raw_socket(tracker.http(), &early).await;
    let mut reply = [0; 2 + 30];
    within("the reply to what came early", stream.read_exact(&mut reply)).await.unwrap();
    assert_eq!(reply[2..], *br#"{"action":"scrape","files":{}}"#);
}

#[tokio::test]
async fn what_is_no_message_closes_the_socket_with_the_reason() {
    let (tracker, _directory) = TestTracker::start(ON).await;
    let unmasked = [0x81, 0x02, b'{', b'}'];
    let giant = [0x81, 0xFF, 0, 0, 0, 0, 0x7F, 0, 0, 0, 1, 2, 3, 4];
    let not_text = [0x81, 0x81, 0, 0, 0, 0, 0xFF];
    for (bytes, code) in [(&unmasked[..], 1002_u16), (&giant, 1009), (&not_text, 1007)] {
        let mut stream = raw_socket(tracker.http(), &[]).await;
        stream.write_all(bytes).await.unwrap();
        let mut came = Vec::new();
        within("the end of the socket", stream.read_to_end(&mut came)).await.unwrap();
        assert_eq!((came[0], &came[2..4]), (0x88, &code.to_be_bytes()[..]), "{came:?}");
    }
}

#[tokio::test]
async fn who_does_not_read_costs_a_bounded_amount_and_disturbs_nobody() {
    let (tracker, _directory) = TestTracker::start(ON).await;
    let mut deaf = Client::connect(tracker.http(), "/announce", 'd').await;
    deaf.announce(json!({})).await;
    assert_eq!(deaf.hear().await["incomplete"], 1);
    let mut a = Client::connect(tracker.http(), "/announce", 'a').await;
    // 40 MB of offers, of which the kernels' buffers take a few and the tracker keeps less than one.
    for _ in 0..800 {
        a.announce(offer(50_000)).await;
        assert_eq!(a.hear().await["incomplete"], 2);
    }
    let mut n_offers = 0;
    deaf.announce(json!({ "event": "stopped" })).await;
    while deaf.hear().await.get("offer").is_some() {
        n_offers += 1;
    }
    assert!((1..700).contains(&n_offers), "{n_offers} of 800 offers were kept");
}

#[tokio::test]
async fn a_tracker_that_goes_down_says_so() {
    let (tracker, _directory) = TestTracker::start(ON).await;
    let mut a = Client::connect(tracker.http(), "/announce", 'a').await;
    assert!(tracker.tracker.shutdown().await, "the socket has to be cut off");
    match within("the close", a.socket.next()).await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_who_asks_for_it_gets_a_socket_and_only_where_it_is_on() {
    let (tracker, _directory) = TestTracker::start(ON).await;
    let reply = get(tracker.http(), "/announce").await;
    assert_eq!(reply.status, 426);
    assert!(reply.body.contains("WebSocket"), "{}", reply.body);
    let (tracker, _directory) = TestTracker::start("").await;
    match connect_async(format!("ws://{}/announce", tracker.http())).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 404);
            let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
            assert!(body.contains("webtorrent = true"), "{body}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn they_take_at_most_half_of_the_connections() {
    let (tracker, _directory) = TestTracker::start("webtorrent = true\nconnection_limit = 6").await;
    let mut clients = Vec::new();
    for name in ['a', 'b', 'c'] {
        clients.push(Client::connect(tracker.http(), "/announce", name).await);
    }
    match connect_async(format!("ws://{}/announce", tracker.http())).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    assert_eq!(get(tracker.http(), "/healthz").await.status, 200);
}
