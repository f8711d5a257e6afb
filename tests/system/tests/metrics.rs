//! `/metrics`: what it says, to whom, and whether the dashboard shows what there is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cardume_system_tests::{
    LinkViewer, SignalClient, TestTracker, cut_part, fetch_with, get, tracks, upgrade_with, within,
};
use cardume_wire::signal::{FromViewer, Report};

/// Samples by name and labels, as they are written.
async fn scrape(tracker: &TestTracker) -> BTreeMap<String, f64> {
    let reply = get(tracker.http(), "/metrics").await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    let samples = reply.body.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

/// Asks until this sample has this value.
async fn until(tracker: &TestTracker, name: &str, value: f64) {
    let seen = async {
        while scrape(tracker).await.get(name).is_none_or(|seen| (seen - value).abs() > f64::EPSILON) {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("{name} {value}"), seen).await;
}

#[tokio::test]
async fn viewers_media_and_reports_are_counted() {
    let (tracker, _directory) = TestTracker::start("egress_limit = \"8 Mbit/s\"").await;
    until(&tracker, "cardume_viewers{channel=\"live\"}", 0.0).await;
    let (mut signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    let report = Report {
        n_stalls: 2,
        stalled_ms: 700,
        from_peers_len: 300,
        from_server_len: 100,
        ..Report::default()
    };
    signal.say(&FromViewer::Report(report)).await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    broadcast.publish(cut_part(0, 10_000)).await.unwrap();
    viewer.watch_until("media", |viewer| !viewer.appended.is_empty()).await;
    for (name, value) in [
        ("cardume_viewers{channel=\"live\"}", 1.0),
        ("cardume_linked_viewers{channel=\"live\"}", 1.0),
        ("cardume_channel_live{channel=\"live\"}", 1.0),
        ("cardume_viewer_stalls_total{channel=\"live\"}", 2.0),
        ("cardume_viewer_stalled_seconds_total{channel=\"live\"}", 0.7),
        ("cardume_viewer_from_peers_bytes_total{channel=\"live\"}", 300.0),
        ("cardume_viewer_from_server_bytes_total{channel=\"live\"}", 100.0),
        ("cardume_egress_limit_bits_per_second", 8_000_000.0),
        ("cardume_connections_limit", 20_000.0),
    ] {
        until(&tracker, name, value).await;
    }
    let samples = scrape(&tracker).await;
    assert!(samples["cardume_egress_bytes_total{class=\"link\"}"] >= 10_000.0, "{samples:?}");
    assert!(samples["cardume_link_sent_bytes_total{channel=\"live\"}"] >= 10_000.0, "{samples:?}");
    drop(viewer);
    until(&tracker, "cardume_linked_viewers{channel=\"live\"}", 0.0).await;
}

#[tokio::test]
async fn refusals_and_torrents_are_counted() {
    let (tracker, _directory) =
        TestTracker::start("webtorrent = true\nallowed_origins = [\"https://a.example\"]\nviewer_limit = 0")
            .await;
    let path = SignalClient::wish("live", None).address();
    upgrade_with(tracker.http(), &path, ("origin", "https://b.example")).await.unwrap_err();
    until(&tracker, "cardume_refusals_total{reason=\"origin\"}", 1.0).await;
    let _socket = SignalClient::ask(tracker.http(), &SignalClient::wish("live", None)).await;
    until(&tracker, "cardume_refusals_total{reason=\"join\"}", 1.0).await;
    let _torrent = upgrade_with(tracker.http(), "/announce", ("x-any", "1")).await.unwrap();
    until(&tracker, "cardume_webtorrent_sockets", 1.0).await;
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one_and_pages_cannot_read() {
    let (tracker, _directory) = TestTracker::start("metrics_token = \"a-long-enough-token\"").await;
    let reply = get(tracker.http(), "/metrics").await;
    assert_eq!(
        (reply.status, reply.head.contains("www-authenticate: bearer")),
        (401, true),
        "{}",
        reply.head
    );
    let header = "Authorization: Bearer a-long-enough-token\r\nOrigin: https://a.example\r\n";
    let reply = fetch_with(tracker.http(), "/metrics", header).await;
    assert_eq!((reply.status, reply.head.contains("access-control-allow-origin")), (200, false));
    // A proxy that is not trusted brings strangers.
    let (tracker, _directory) = TestTracker::start("").await;
    let reply = fetch_with(tracker.http(), "/metrics", "X-Forwarded-For: 198.51.100.7\r\n").await;
    assert_eq!(reply.status, 403, "{}", reply.body);
}

#[tokio::test]
async fn the_dashboard_asks_only_for_what_there_is() {
    let (tracker, _directory) = TestTracker::start("").await;
    let page = get(tracker.http(), "/metrics").await.body;
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let exported: BTreeSet<&str> = names.collect();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for file in ["grafana.json", "alerts.yml"] {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> =
            words.filter(|word| word.starts_with("cardume_") || word.starts_with("process_")).collect();
        assert!(asked.len() > 2, "{file} asks for nothing");
        let unknown: Vec<_> = asked.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}
