//! Another configuration for a running tracker: what it takes over, and that nobody's connection is dropped for it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::collections::BTreeSet;

use cardume::app::{ReloadError, Reloaded, reloaded_keys};
use cardume::config::Config;
use cardume_system_tests::{
    LinkViewer, SignalClient, TestTracker, cut_part, fetch_with, get, refused_upgrade, tracks, try_get,
    upgrade_with, within,
};
use cardume_wire::signal::{ErrorCode, FromTracker};

const PROXY: &str = "trusted_proxies = [\"127.0.0.1\"]\n";

fn signal() -> String {
    SignalClient::wish("live", None).address()
}

async fn open_as(tracker: &TestTracker, header: (&'static str, &str)) -> bool {
    upgrade_with(tracker.http(), &signal(), header).await.is_ok()
}

/// Each key that is taken over, in a test of its own below or here.
const SHOWN: [&str; 12] = [
    "public_url",
    "egress_limit",
    "connection_limit",
    "address_limit",
    "viewer_limit",
    "trusted_proxies",
    "proxy_header",
    "allowed_origins",
    "metrics_token",
    "log",
    "ice_servers",
    "channel",
];

#[test]
fn every_key_that_is_taken_over_is_shown_to_be() {
    // "log" is the process's, and shown with the binary.
    assert_eq!(reloaded_keys().collect::<BTreeSet<_>>(), BTreeSet::from(SHOWN));
}

#[tokio::test]
async fn limits_change_and_who_is_in_stays() {
    let (tracker, directory) = TestTracker::start("").await;
    let (signal_client, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut viewer = LinkViewer::over(signal_client, &welcome);
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();

    let reloaded = tracker.reload(&directory, "viewer_limit = 1\negress_limit = \"5 Mbit/s\"");
    assert_eq!(reloaded.applied, ["egress_limit", "viewer_limit"]);
    assert!(reloaded.waiting.is_empty(), "{reloaded:?}");
    let egress = get(tracker.http(), "/v1/egress").await.json();
    assert_eq!(egress["limit_now_bits_per_second"], 5_000_000);
    let mut second = SignalClient::ask(tracker.http(), &SignalClient::wish("live", None)).await;
    second.hear_error(ErrorCode::TooMany).await;
    drop(second);

    tracker.reload(&directory, "connection_limit = 1");
    assert!(try_get(tracker.http(), "/healthz").await.is_none(), "there is one connection already");
    tracker.reload(&directory, "");
    assert_eq!(get(tracker.http(), "/healthz").await.status, 200);

    broadcast.publish(cut_part(0, 1000)).await.unwrap();
    viewer.watch_until("media over the same link", |viewer| !viewer.appended.is_empty()).await;
}

#[tokio::test]
async fn the_door_learns_of_proxies_addresses_and_origins() {
    let (tracker, directory) = TestTracker::start("address_limit = 0").await;
    let far = ("x-forwarded-for", "198.51.100.7");
    assert!(open_as(&tracker, far).await, "nobody is believed yet");
    tracker.reload(&directory, &format!("{PROXY}address_limit = 0"));
    assert!(!open_as(&tracker, far).await);
    tracker.reload(&directory, &format!("{PROXY}address_limit = 1"));
    assert!(open_as(&tracker, far).await);
    tracker.reload(&directory, &format!("{PROXY}address_limit = 0\nproxy_header = \"forwarded\""));
    assert!(open_as(&tracker, far).await);
    assert!(!open_as(&tracker, ("forwarded", "for=198.51.100.7")).await);
    let page = ("origin", "https://tv.example");
    tracker.reload(&directory, "allowed_origins = [\"https://a.example\"]");
    assert!(!open_as(&tracker, page).await);
    tracker.reload(&directory, "allowed_origins = []\npublic_url = \"https://tv.example/\"");
    assert!(open_as(&tracker, page).await);
}

#[tokio::test]
async fn a_metrics_token_and_other_servers_hold_from_then_on() {
    let (tracker, directory) = TestTracker::start("").await;
    let toml = "metrics_token = \"a-long-enough-token\"\nice_servers = [{ urls = [\"stun:stun.example\"] }]";
    tracker.reload(&directory, toml);
    assert_eq!(get(tracker.http(), "/metrics").await.status, 401);
    let header = "Authorization: Bearer a-long-enough-token\r\n";
    assert_eq!(fetch_with(tracker.http(), "/metrics", header).await.status, 200);
    let (_viewer, welcome) = SignalClient::join(tracker.http(), "live").await;
    assert_eq!(welcome.ice_servers[0].urls, ["stun:stun.example"]);
}

#[tokio::test]
async fn channels_come_go_and_change_their_names_and_keys() {
    let before = "[[channel]]\nid = \"a\"\ntitle = \"A\"\nkey = \"first-key\"\n[[channel]]\nid = \"b\"";
    let (tracker, directory) = TestTracker::start(before).await;
    let (mut on_a, _) = SignalClient::join(tracker.http(), "a").await;
    let (mut on_b, welcome) = SignalClient::join(tracker.http(), "b").await;
    let after = "[[channel]]\nid = \"a\"\ntitle = \"Another\"\nkey = \"second-key\"\n\
                 [[channel]]\nid = \"c\"\ntarget_latency_ms = 1000";
    let reloaded = tracker.reload(&directory, after);
    assert_eq!(
        (&reloaded.applied[..], reloaded.added[0].channel.id.as_str()),
        (&["channel".to_owned()][..], "c")
    );
    assert!(reloaded.added[0].is_generated);

    let title = loop {
        match on_a.hear_any().await {
            FromTracker::Channel { channel } if channel.title != "A" => break channel.title,
            _ => {}
        }
    };
    assert_eq!(title, "Another");
    let channels = tracker.tracker.channels();
    assert!(channels.find_by_key("first-key").is_none() && channels.find_by_key("second-key").is_some());

    on_b.hear_close().await;
    let mut again = SignalClient::ask(tracker.http(), &SignalClient::wish("b", Some(welcome.resume))).await;
    again.hear_error(ErrorCode::UnknownChannel).await;
    assert_eq!(get(tracker.http(), "/v1/channels/b").await.status, 404);
    assert_eq!(get(tracker.http(), "/hls/b/index.m3u8").await.status, 404);

    let (signal_client, welcome) = SignalClient::join(tracker.http(), "c").await;
    let mut viewer = LinkViewer::over(signal_client, &welcome);
    let mut broadcast = tracker.channel("c").broadcast(tracks()).unwrap();
    broadcast.publish(cut_part(0, 1000)).await.unwrap();
    viewer.watch_until("media of the new channel", |viewer| !viewer.appended.is_empty()).await;
    within("the new channel as HLS", async {
        while get(tracker.http(), "/hls/c/index.m3u8").await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_only_a_restart_changes_is_named_each_time() {
    let (tracker, directory) = TestTracker::start("[[channel]]\nid = \"a\"").await;
    let toml = "demo = true\nwebtorrent = true\n[[channel]]\nid = \"a\"\ntarget_latency_ms = 1000";
    for _ in 0..2 {
        let reloaded = tracker.reload(&directory, toml);
        let waiting: Vec<_> = reloaded.waiting.iter().map(String::as_str).collect();
        assert_eq!(waiting, ["webtorrent", "demo", "target_latency_ms of channel \"a\""]);
        assert_eq!((reloaded.applied.len(), reloaded.added.len()), (0, 0), "there is no demo yet");
    }
    let (status, _) = refused_upgrade(tracker.http(), "/announce").await;
    assert_eq!(status, 404);
    // And what was taken back is not.
    assert_eq!(tracker.reload(&directory, "[[channel]]\nid = \"a\""), Reloaded::default());
}

#[tokio::test]
async fn a_demo_stays_until_the_restart() {
    let (tracker, directory) = TestTracker::start("demo = true").await;
    for toml in ["", "demo = true", "demo = false", "demo = true"] {
        let reloaded = tracker.reload(&directory, toml);
        assert_eq!(reloaded.waiting.is_empty(), toml == "demo = true", "{toml:?}: {reloaded:?}");
        assert!(reloaded.applied.is_empty(), "{toml:?}: {reloaded:?}");
        assert_eq!(get(tracker.http(), "/v1/channels/demo").await.status, 200);
    }
}

#[tokio::test]
async fn a_channel_that_has_the_id_of_a_film_changes_nothing() {
    let films = tempfile::tempdir().unwrap();
    std::fs::write(films.path().join("sintel.mp4"), "").unwrap();
    let toml = format!("films = {:?}\n", films.path().display().to_string());
    let (tracker, directory) = TestTracker::start(&toml).await;
    let head = format!(
        "http = \"127.0.0.1:0\"\nrtmp = \"127.0.0.1:0\"\ndata_dir = {:?}\n{toml}",
        directory.path().display().to_string()
    );
    let config = Config::from_toml(&format!("{head}viewer_limit = 7\n[[channel]]\nid = \"sintel\"")).unwrap();
    let error = tracker.tracker.reload(&config).unwrap_err();
    assert!(matches!(error, ReloadError::Film(_)), "{error}");
    let (_viewer, _) = SignalClient::join(tracker.http(), "live").await;
}
