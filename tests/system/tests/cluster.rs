//! Several nodes that are one tracker, over a real NATS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use cardume::app::{StartError, Tracker};
use cardume::channel::BroadcastError;
use cardume::config::Config;
use cardume_system_tests::{
    Balancer, LinkViewer, NatsServer, PART_DURATION, SignalClient, TestNode, cut_part, get, media_of,
    send_for_ever, tracks, until, within,
};
use cardume_wire::PeerId;
use cardume_wire::signal::{FromTracker, FromViewer, Welcome};

/// Five parts a second of this size are 160 kbit/s.
const PART_LEN: usize = 4_000;

async fn is_live(node: &TestNode) -> bool {
    get(node.http(), "/v1/channels/live").await.json()["is_live"] == true
}

async fn watch(node: &TestNode) -> (LinkViewer, Welcome) {
    let (signal, welcome) = SignalClient::join(node.http(), "live").await;
    (LinkViewer::over(signal, &welcome), welcome)
}

/// What came is what was sent, in order; from which part on.
fn assert_genuine(viewer: &LinkViewer) -> u32 {
    let part_us = u64::try_from(PART_DURATION.as_micros()).unwrap();
    for (start_us, bytes) in &viewer.appended {
        let index = u32::try_from(start_us / part_us).unwrap();
        assert_eq!(*bytes, media_of(index, PART_LEN), "part {index}");
    }
    u32::try_from(viewer.appended[0].0 / part_us).unwrap()
}

#[tokio::test]
async fn what_is_sent_to_one_node_is_watched_at_another() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let (mut viewer, welcome) = watch(&b).await;
    assert_eq!(welcome.channel.public_key, a.channel("live").describe().public_key);
    let broadcast = a.channel("live").broadcast(tracks()).unwrap();
    tokio::spawn(send_for_ever(broadcast, PART_LEN));
    viewer.watch_until("two seconds of media", |viewer| viewer.appended.len() >= 10).await;
    assert_eq!(viewer.attached.len(), 1);
    assert_eq!(viewer.attached[0].tracks(), tracks());
    assert_genuine(&viewer);

    assert!(is_live(&b).await);
    assert_eq!(b.channel("live").reserve().unwrap_err(), BroadcastError::Busy);
    let seen_at_a = async || get(a.http(), "/v1/channels/live").await.json()["n_viewers"] == 1;
    until("the other node counts the viewer", seen_at_a).await;
}

#[tokio::test]
async fn a_part_longer_than_a_message_of_nats_arrives_whole() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let (mut viewer, _) = watch(&b).await;
    let mut broadcast = a.channel("live").broadcast(tracks()).unwrap();
    let len = 1_500_000;
    broadcast.publish(cut_part(0, len)).await.unwrap();
    viewer.watch_until("the part", |viewer| !viewer.appended.is_empty()).await;
    assert_eq!(viewer.appended[0].1, media_of(0, len));
}

#[tokio::test]
async fn plain_readers_of_another_node_bring_the_broadcast_there() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    until("the other node hears of it", async || is_live(&b).await).await;
    let stats = get(b.http(), "/v1/channels/live/stats").await.json();
    assert_eq!(stats["n_parts"], 0, "nobody there wants it yet");
    let reply = within("a playlist", get(b.http(), "/hls/live/index.m3u8")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    until("a segment is listed", async || get(b.http(), "/hls/live/0.m3u8").await.body.contains("/segment-"))
        .await;
}

#[tokio::test]
async fn a_node_that_comes_late_begins_where_viewers_are() {
    let nats = NatsServer::start().await;
    let a = TestNode::start(&nats, "").await;
    let (mut early, _) = watch(&a).await;
    tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    early.watch_until("five seconds of media", |viewer| viewer.appended.len() >= 25).await;
    let b = TestNode::start(&nats, "").await;
    assert_eq!(b.tracker().tracker.stream_keys()[0].key, a.tracker().tracker.stream_keys()[0].key);
    until("it hears of the broadcast", async || is_live(&b).await).await;
    let (mut late, _) = watch(&b).await;
    late.watch_until("media", |viewer| viewer.appended.len() >= 5).await;
    let first = assert_genuine(&late);
    assert!(first >= 10, "it began with part {first}, long before what others see");
}

/// Asks for neighbours until this peer is among them.
async fn meet(viewer: &mut SignalClient, wanted: PeerId) {
    until("the other node's viewer is suggested", async || {
        viewer.say(&FromViewer::Neighbours { without: Vec::new() }).await;
        match viewer.hear().await {
            FromTracker::Neighbours { neighbours } => neighbours.contains(&wanted),
            other => panic!("no neighbours but {other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn viewers_of_different_nodes_are_introduced_to_each_other() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let (mut ann, ann_welcome) = SignalClient::join(a.http(), "live").await;
    let (mut bob, bob_welcome) = SignalClient::join(b.http(), "live").await;
    let (ann_id, bob_id) = (ann_welcome.peer_id, bob_welcome.peer_id);
    meet(&mut ann, bob_id).await;
    ann.say(&FromViewer::Offer { to: bob_id, sdp: "v=0 \"offer\"".to_owned() }).await;
    assert_eq!(bob.hear().await, FromTracker::Offer { from: ann_id, sdp: "v=0 \"offer\"".to_owned() });
    // Whoever was offered something knows where it came from.
    bob.say(&FromViewer::Answer { to: ann_id, sdp: "v=0".to_owned() }).await;
    assert_eq!(ann.hear().await, FromTracker::Answer { from: bob_id, sdp: "v=0".to_owned() });
    let (candidate, arriving) = SignalClient::candidate(ann_id);
    ann.say(&FromViewer::Candidate { to: bob_id, candidate }).await;
    assert_eq!(bob.hear().await, arriving);
    bob.say(&FromViewer::Leave).await;
    bob.hear_close().await;
    assert_eq!(ann.hear().await, FromTracker::Lost { peer: bob_id });
    ann.say(&FromViewer::Offer { to: bob_id, sdp: "v=0".to_owned() }).await;
    assert_eq!(ann.hear().await, FromTracker::Gone { peer: bob_id });
}

#[tokio::test]
async fn who_is_blamed_at_several_nodes_is_evicted_from_all() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let (mut polluter, welcome) = SignalClient::join(a.http(), "live").await;
    let polluter_id = welcome.peer_id;
    let mut accusers = Vec::new();
    for node in [&a, &b] {
        let (mut accuser, accuser_welcome) = SignalClient::join(node.http(), "live").await;
        meet(&mut polluter, accuser_welcome.peer_id).await;
        polluter.say(&FromViewer::Offer { to: accuser_welcome.peer_id, sdp: String::new() }).await;
        assert!(matches!(accuser.hear().await, FromTracker::Offer { .. }));
        accusers.push(accuser);
    }
    for accuser in &mut accusers {
        accuser.say(&FromViewer::Blame { peer: polluter_id }).await;
    }
    for accuser in &mut accusers {
        let told = [accuser.hear().await, accuser.hear().await];
        let blamed = |is_evicted| FromTracker::Blamed { peer: polluter_id, is_evicted };
        assert_eq!(told, [blamed(false), blamed(true)]);
    }
    let refused = async || {
        let (_, again) = SignalClient::join_again(b.http(), "live", Some(welcome.resume.clone())).await;
        assert_eq!(again.peer_id, polluter_id);
        !again.is_linked
    };
    Box::pin(until("the other node refuses it too", refused)).await;
}

#[tokio::test]
async fn a_viewer_whose_node_dies_goes_on_at_another() {
    let nats = NatsServer::start().await;
    let (a, b, c) = (
        TestNode::start(&nats, "").await,
        TestNode::start(&nats, "").await,
        TestNode::start(&nats, "").await,
    );
    let balancer = Balancer::start(b.http()).await;
    tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    let (signal, welcome) = SignalClient::join(balancer.address, "live").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    viewer.watch_until("media by way of the first node", |viewer| viewer.appended.len() >= 5).await;
    drop(b);
    balancer.point_at(c.http());
    viewer.watch_until("the end of its socket", |viewer| viewer.is_closed).await;
    let n_before = viewer.appended.len();
    let (signal, again) = SignalClient::join_again(balancer.address, "live", Some(welcome.resume)).await;
    assert_eq!(again.peer_id, welcome.peer_id, "the other node takes the token");
    viewer.come_back(signal);
    viewer.watch_until("media of the other node", |viewer| viewer.appended.len() >= n_before + 10).await;
    assert_eq!(viewer.attached.len(), 1, "the same broadcast goes on");
    assert_genuine(&viewer);
}

#[tokio::test]
async fn an_encoder_whose_node_dies_goes_on_at_another() {
    let nats = NatsServer::start().await;
    let (a, b, c) = (
        TestNode::start(&nats, "").await,
        TestNode::start(&nats, "").await,
        TestNode::start(&nats, "").await,
    );
    tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    let (mut viewer, _) = watch(&c).await;
    viewer.watch_until("media", |viewer| viewer.appended.len() >= 5).await;
    assert_eq!(b.channel("live").reserve().unwrap_err(), BroadcastError::Busy);
    drop(a);
    until("the dead node's channel is free", async || b.channel("live").reserve().is_ok()).await;
    tokio::spawn(send_for_ever(b.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    viewer.watch_until("the new broadcast", |viewer| viewer.attached.len() == 2).await;
    let n_before = viewer.appended.len();
    viewer.watch_until("its media", |viewer| viewer.appended.len() >= n_before + 5).await;
    assert!(viewer.attached[1].epoch() > viewer.attached[0].epoch());
}

#[tokio::test]
async fn an_encoder_whose_node_died_need_not_wait_for_its_silence() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    until("the other node hears of it", async || is_live(&b).await).await;
    drop(a);
    assert_eq!(b.channel("live").reserve().unwrap_err(), BroadcastError::Busy, "it is not known to be dead");
    within("it is asked", b.channel("live").claim()).await.unwrap();
    until("it is dead for all", async || !is_live(&b).await).await;
}

#[tokio::test]
async fn an_encoder_whose_nodes_machine_fell_silent_goes_on_at_another_and_that_counts() {
    let nats = NatsServer::start().await;
    let cable = Balancer::start(nats.address()).await;
    let (a, b) = (TestNode::start_by(cable.address, "").await, TestNode::start(&nats, "").await);
    let older = tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    let (mut viewer, _) = watch(&b).await;
    viewer.watch_until("media of the other node", |viewer| viewer.appended.len() >= 3).await;
    // NATS does not know either: nobody answers for the node, as one does for a process that died.
    cable.fall_silent();
    assert_eq!(b.channel("live").reserve().unwrap_err(), BroadcastError::Busy);
    let reservation = within("its silence is believed", b.channel("live").claim()).await.unwrap();
    tokio::spawn(send_for_ever(reservation.start(tracks()).unwrap(), PART_LEN));
    viewer.watch_until("the newer broadcast", |viewer| viewer.attached.len() == 2).await;
    assert!(!older.is_finished(), "it lives, and nobody could tell it");
    cable.speak();
    let (_, error) = within("the older one ends", older).await.unwrap();
    assert_eq!(error, BroadcastError::Busy);
    let n_before = viewer.appended.len();
    viewer.watch_until("more of the newer one", |viewer| viewer.appended.len() >= n_before + 5).await;
    assert_eq!(viewer.attached.len(), 2);
}

#[tokio::test]
async fn a_living_node_keeps_its_channel_as_long_as_its_encoder_stays() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let sending = tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    until("the other node hears of it", async || is_live(&b).await).await;
    let refused = within("it is asked", b.channel("live").claim()).await;
    assert_eq!(refused.unwrap_err(), BroadcastError::Busy);
    assert!(!sending.is_finished());
    sending.abort();
    // Its word that it is off air may come before or after the question.
    within("it is asked again", b.channel("live").claim()).await.unwrap();
}

#[tokio::test]
async fn a_channel_is_free_at_once_when_its_node_goes_down_in_order() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let _broadcast = a.channel("live").broadcast(tracks()).unwrap();
    until("the other node hears of it", async || is_live(&b).await).await;
    a.shut_down().await;
    until("it is free", async || b.channel("live").reserve().is_ok()).await;
}

#[tokio::test]
async fn without_nats_each_node_serves_what_it_has_and_heals() {
    let mut nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    let (mut near, _) = watch(&a).await;
    let (mut far, _) = watch(&b).await;
    far.watch_until("media at the other node", |viewer| viewer.appended.len() >= 5).await;
    nats.kill();
    let n_before = near.appended.len();
    near.watch_until("media without NATS", |viewer| viewer.appended.len() >= n_before + 15).await;
    let (mut newcomer, _) = watch(&a).await;
    newcomer.watch_until("media for a newcomer", |viewer| viewer.appended.len() >= 3).await;
    assert!(!watch(&b).await.0.is_closed, "the other node takes viewers");
    nats.restart().await;
    let n_before = far.appended.len();
    far.watch_until("media at the other node again", |viewer| viewer.appended.len() >= n_before + 10).await;
    assert_eq!(far.attached.len(), 1);
    assert_genuine(&far);
}

#[tokio::test]
async fn of_two_broadcasts_begun_apart_the_newer_one_lasts() {
    let mut nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let older = tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    until("the other node hears of it", async || is_live(&b).await).await;
    nats.kill();
    // Who cannot know better takes the encoder that is there.
    until("the other node takes an encoder", async || b.channel("live").reserve().is_ok()).await;
    let (mut viewer, _) = watch(&a).await;
    viewer.watch_until("the older one", |viewer| viewer.attached.len() == 1).await;
    tokio::spawn(send_for_ever(b.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    until("it is on air", async || b.channel("live").window().borrow().is_live).await;
    nats.restart().await;
    let (_, error) = within("the older one ends", older).await.unwrap();
    assert_eq!(error, BroadcastError::Busy);
    viewer.watch_until("the newer one", |viewer| viewer.attached.len() == 2).await;
}

#[tokio::test]
async fn an_offer_to_a_viewer_of_a_dead_node_comes_back() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    let (mut ann, _) = SignalClient::join(a.http(), "live").await;
    let (_bob, welcome) = SignalClient::join(b.http(), "live").await;
    let bob = welcome.peer_id;
    meet(&mut ann, bob).await;
    drop(b);
    // At once, or, if NATS had not noticed yet and took it, when the node counts as dead.
    ann.say(&FromViewer::Offer { to: bob, sdp: "v=0".to_owned() }).await;
    let gone = async { while ann.hear().await != (FromTracker::Gone { peer: bob }) {} };
    within("the offer comes back", gone).await;
}

#[tokio::test]
async fn what_is_added_at_one_node_is_at_the_others_and_what_is_taken_from_the_list_is_nowhere() {
    let nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    a.reload(
        "[[channel]]\nid = \"live\"\n[[channel]]\nid = \"extra\"\ntitle = \"More\"\nkey = \"extra-key-1\"",
    );
    let has = async |node: &TestNode| get(node.http(), "/v1/channels/extra").await.status == 200;
    until("the node itself has it", async || has(&a).await).await;
    until("the other node has it", async || has(&b).await).await;
    let channel = b.tracker().tracker.channels().find_by_key("extra-key-1").unwrap();
    tokio::spawn(send_for_ever(channel.broadcast(tracks()).unwrap(), PART_LEN));
    let (signal, welcome) = SignalClient::join(a.http(), "extra").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    viewer.watch_until("its media at the first node", |viewer| viewer.appended.len() >= 5).await;
    assert_genuine(&viewer);

    nats.publish("$KV.cardume.channels", "[{\"id\":\"live\",\"title\":\"Renamed\"}]").await;
    for node in [&a, &b] {
        until("the channel is gone", async || !has(node).await).await;
        assert_eq!(get(node.http(), "/v1/channels/live").await.json()["title"], "Renamed");
    }
    viewer.watch_until("the end of its socket", |viewer| viewer.is_closed).await;
}

#[tokio::test]
async fn who_asks_a_node_for_another_ones_film_is_told_why_it_is_not_here() {
    let nats = NatsServer::start().await;
    let node = TestNode::start(&nats, "").await;
    let mut signal = SignalClient::ask(node.http(), &SignalClient::wish("film", None)).await;
    let FromTracker::Error { message, .. } = signal.hear().await else { panic!("no error") };
    assert!(message.contains("only the node that has its file"), "{message}");
}

#[tokio::test]
async fn who_asks_the_api_or_hls_for_another_nodes_film_is_told_where_it_is() {
    let nats = NatsServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../media/tests/fixtures/cmaf.mp4");
    std::fs::copy(fixture, folder.path().join("Two seconds.mp4")).unwrap();
    let films = format!("films = {:?}", folder.path().display().to_string());
    let cinema = TestNode::start(&nats, &format!("{films}\npublic_url = \"https://films.example/\"")).await;
    let node = TestNode::start(&nats, "").await;
    let (film, hls) = ("/v1/channels/two-seconds", "/hls/two-seconds/index.m3u8");
    until("the film was read", async || get(cinema.http(), film).await.json()["duration_ms"].is_u64()).await;
    for path in [film, "/v1/channels/two-seconds/stats"] {
        let reply = get(node.http(), path).await;
        let location = format!("location: https://films.example{path}");
        assert!(reply.status == 307 && reply.head.contains(&location), "{} {}", reply.status, reply.head);
        assert_eq!(reply.json()["error"], "this film is at https://films.example");
    }
    let replies = [get(node.http(), hls).await, get(cinema.http(), hls).await];
    assert!(
        replies[0].status == 404 && replies[0].body.contains("another node has a film"),
        "{}",
        replies[0].body
    );
    assert!(replies[1].status == 404 && replies[1].body.contains("this is a film"), "{}", replies[1].body);
    assert_eq!(
        get(node.http(), "/v1/channels/nowhere").await.json()["error"],
        "there is no channel \"nowhere\" here"
    );

    // Where all nodes have one name, it leads to any of them: nobody is sent in a circle. Nor is anybody where there is none.
    for public_url in [format!("public_url = \"http://{}\"", node.http()), String::new()] {
        cinema.reload(&format!("{films}\n{public_url}"));
        let reply = get(node.http(), film).await;
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(reply.status == 404 && error.contains("another node has this film"), "{error}");
    }
}

#[tokio::test]
async fn metrics_tell_of_nats_and_of_other_nodes() {
    let mut nats = NatsServer::start().await;
    let (a, b) = (TestNode::start(&nats, "").await, TestNode::start(&nats, "").await);
    tokio::spawn(send_for_ever(a.channel("live").broadcast(tracks()).unwrap(), PART_LEN));
    let (mut viewer, _) = watch(&b).await;
    viewer.watch_until("media", |viewer| viewer.appended.len() >= 3).await;
    let value = async |node: &TestNode, name: &str| -> f64 {
        let page = get(node.http(), "/metrics").await.body;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_else(|| panic!("no {name} in {page}"))
    };
    let (connected, nodes) = ("cardume_nats_connected", "cardume_cluster_nodes");
    assert!(value(&a, connected).await > 0.5 && value(&b, nodes).await > 0.5);
    assert!(value(&a, "cardume_cluster_sent_total{kind=\"media\"}").await >= 1.0);
    assert!(value(&b, "cardume_cluster_received_total{kind=\"media\"}").await >= 1.0);
    nats.kill();
    until("the node notices", async || value(&a, connected).await < 0.5).await;
    until("what it cannot send is counted", async || {
        value(&a, "cardume_cluster_lost_total{kind=\"control\"}").await >= 1.0
    })
    .await;
}

#[tokio::test]
async fn channels_of_one_node_are_those_of_all_and_the_first_word_counts() {
    let nats = NatsServer::start().await;
    let _a =
        TestNode::start(&nats, "[[channel]]\nid = \"news\"\ntitle = \"The news\"\nkey = \"first-key\"").await;
    let toml =
        "[[channel]]\nid = \"news\"\ntitle = \"Mine\"\nkey = \"other-key\"\n[[channel]]\nid = \"sport\"";
    let b = TestNode::start(&nats, toml).await;
    let c = TestNode::start(&nats, "").await;
    for node in [&b, &c] {
        let list = get(node.http(), "/v1/channels").await.json();
        let titles: Vec<_> = list["channels"].as_array().unwrap().iter().map(|one| &one["title"]).collect();
        assert_eq!(titles, ["The news", "sport"]);
        assert!(node.tracker().tracker.channels().find_by_key("first-key").is_some());
        assert!(node.tracker().tracker.channels().find_by_key("other-key").is_none());
    }
}

#[tokio::test]
async fn a_first_start_without_nats_is_refused_and_says_what_to_do() {
    let mut nats = NatsServer::start().await;
    nats.kill();
    let directory = tempfile::tempdir().unwrap();
    let toml = format!(
        "http = \"127.0.0.1:0\"\nrtmp = \"127.0.0.1:0\"\nnats = {:?}\ndata_dir = {:?}",
        nats.url(),
        directory.path().display().to_string()
    );
    let start = || Box::pin(Tracker::start(Config::from_toml(&toml).unwrap()));
    let error = within("a refusal", start()).await.unwrap_err();
    assert!(matches!(error, StartError::Cluster(_)) && error.to_string().contains("nats-server"), "{error}");
    nats.restart().await;
    assert!(within("a start", start()).await.unwrap().shutdown().await);
    nats.kill();
    let remembered = within("a start by memory", start()).await.unwrap();
    assert_eq!(remembered.channels().list().len(), 1);
    remembered.shutdown().await;
}
