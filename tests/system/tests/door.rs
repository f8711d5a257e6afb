//! Behind a proxy, and with pages that may not come in.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use cardume_system_tests::{SignalClient, TestTracker, get, upgrade_with, within};
use cardume_wire::signal::FromTracker;
use futures_util::StreamExt;

const PROXY: &str = "trusted_proxies = [\"127.0.0.1\"]\naddress_limit = 2\nwebtorrent = true";

fn signal() -> String {
    SignalClient::wish("live", None).address()
}

#[tokio::test]
async fn limits_hold_for_those_whom_a_trusted_proxy_serves() {
    let (tracker, _directory) = TestTracker::start(PROXY).await;
    let http = tracker.http();
    let open = |address: &'static str| async move {
        upgrade_with(http, &signal(), ("x-forwarded-for", address)).await
    };
    let _first = open("203.0.113.1, 198.51.100.7").await.unwrap();
    let _second = open("203.0.113.2, 198.51.100.7").await.unwrap();
    let (status, body) = open("203.0.113.3, 198.51.100.7").await.unwrap_err();
    assert_eq!((status, body.contains("too many")), (429, true), "{body}");
    open("203.0.113.3").await.unwrap();
}

#[tokio::test]
async fn torrents_count_for_the_same_limit() {
    let (tracker, _directory) = TestTracker::start(PROXY).await;
    let http = tracker.http();
    let open = |path: &'static str| async move {
        upgrade_with(http, path, ("x-forwarded-for", "198.51.100.7")).await
    };
    let _sockets = (open("/announce").await.unwrap(), open("/").await.unwrap());
    assert_eq!(open("/announce").await.unwrap_err().0, 429);
}

#[tokio::test]
async fn pages_of_other_origins_open_no_sockets_and_read_all_the_same() {
    let toml = "allowed_origins = [\"https://a.example\"]\nwebtorrent = true";
    let (tracker, _directory) = TestTracker::start(toml).await;
    for path in [signal().as_str(), "/announce", "/"] {
        let (status, body) =
            upgrade_with(tracker.http(), path, ("origin", "https://b.example")).await.unwrap_err();
        assert_eq!((status, body.contains("allowed_origins")), (403, true), "{path}: {body}");
        upgrade_with(tracker.http(), path, ("origin", "https://a.example")).await.unwrap();
        let own = format!("http://{}", tracker.http());
        upgrade_with(tracker.http(), path, ("origin", &own)).await.unwrap();
    }
    let mut socket = upgrade_with(tracker.http(), &signal(), ("origin", "https://a.example")).await.unwrap();
    let welcome = within("the welcome", socket.next()).await.unwrap().unwrap().into_text().unwrap();
    assert!(matches!(serde_json::from_str(&welcome).unwrap(), FromTracker::Welcome(_)));
    // Lists and HLS are for all.
    let list = get(tracker.http(), "/v1/channels").await;
    assert!(list.head.contains("access-control-allow-origin: *"), "{}", list.head);
}
