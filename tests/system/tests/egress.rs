//! The egress governor, from outside: what it lets through, what it refuses, and what it remembers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::net::SocketAddr;

use cardume_system_tests::{
    LinkViewer, PART_DURATION, Reply, SignalClient, TestTracker, cut_part, get, tracks, try_get, within,
};
use serde_json::Value;

/// Five parts a second of this size are 1 Mbit/s.
const PART_LEN: usize = 25_000;

async fn report(tracker: SocketAddr) -> Value {
    within("the report", get(tracker, "/v1/egress")).await.json()
}

fn number(report: &Value, of: &str, name: &str) -> u64 {
    report[of][name].as_u64().unwrap()
}

/// Sends parts at their own pace until it is aborted.
fn broadcast(tracker: &TestTracker) -> tokio::task::JoinHandle<()> {
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(PART_DURATION);
        for index in 0.. {
            beat.tick().await;
            if broadcast.publish(cut_part(index, PART_LEN)).await.is_err() {
                break;
            }
        }
    })
}

/// The address of the newest whole segment of the broadcast.
async fn newest_segment(tracker: SocketAddr) -> Option<String> {
    let playlist = get(tracker, "/hls/live/0.m3u8").await;
    let newest = playlist.body.lines().rfind(|line| line.contains("segment-"))?;
    Some(format!("/hls/live/{newest}"))
}

fn assert_busy(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.body);
    assert!(reply.head.contains("\r\nretry-after: "), "{}", reply.head);
    assert!(reply.body.contains("egress budget"), "{}", reply.body);
}

#[tokio::test]
async fn hls_and_links_together_stay_within_the_rate() {
    let budget = 4_000_000;
    let (tracker, _directory) = TestTracker::start("egress_limit = \"4 Mbit/s\"").await;
    let http = tracker.http();
    let sender = broadcast(&tracker);
    let (signal, welcome) = SignalClient::join(http, "live").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    viewer.watch_until("media", |viewer| viewer.appended.len() >= 2).await;
    // Thirty players that want more than there is, again and again.
    let (mut players, (sender_of_replies, mut replies)) = (Vec::new(), tokio::sync::mpsc::channel(10_000));
    for _ in 0..30 {
        let replies = sender_of_replies.clone();
        players.push(tokio::spawn(async move {
            loop {
                let Some(segment) = newest_segment(http).await else { continue };
                if let Some(reply) = try_get(http, &segment).await {
                    // Ten thousand tell enough.
                    let _ = replies.try_send(reply);
                }
            }
        }));
    }
    let began_with = viewer.appended.len();
    viewer.watch_until("four more seconds of media", |viewer| viewer.appended.len() >= began_with + 20).await;
    let report = report(http).await;
    players.iter().for_each(tokio::task::JoinHandle::abort);
    sender.abort();

    let (mut n_served, mut n_refused) = (0, 0);
    while let Ok(reply) = replies.try_recv() {
        if reply.status == 200 {
            n_served += 1;
        } else {
            assert_busy(&reply);
            n_refused += 1;
        }
    }
    assert!(n_served > 0 && n_refused > 0, "{n_served} segments served, {n_refused} refused");
    let max = number(&report, "egress", "max_bits_per_second");
    assert!(max <= budget, "{max} bit/s in the busiest second; the budget is {budget}");
    let hls = number(&report, "hls", "max_bits_per_second");
    assert!(hls > 1_000_000 && hls <= budget / 2 + 200_000, "{hls} bit/s of HLS");
    assert_eq!(report["n_shares"], 2, "the channel and HLS");
}

#[tokio::test]
async fn at_the_end_of_the_month_s_bytes_only_signalling_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let quota = "egress_bytes_per_month = \"1 MB\"";
    let tracker = TestTracker::start_in(directory.path(), quota).await;
    let http = tracker.http();
    let (signal, welcome) = SignalClient::join(http, "live").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    // A second of media as long as the whole quota, at once.
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    let publish = tokio::spawn(async move {
        for index in 0..10 {
            broadcast.publish(cut_part(index, 200_000)).await.unwrap();
        }
        broadcast
    });
    viewer.watch_until("the end of the link", |viewer| viewer.is_closed).await;
    let _broadcast = publish.await.unwrap();

    let before = report(http).await;
    assert_eq!(before["month"]["state"], "exhausted", "{before}");
    assert!(number(&before, "month", "sent_len") <= 1_000_000 && viewer.received_len <= 1_000_000);
    assert_busy(&get(http, "/hls/live/0.m3u8").await);
    let (_signal, again) = SignalClient::join_again(http, "live", Some(welcome.resume)).await;
    assert!(!again.is_linked, "there is nothing left for a link");

    // Nor does a restart help.
    assert!(tracker.tracker.shutdown().await);
    let tracker = TestTracker::start_in(directory.path(), quota).await;
    let after = report(tracker.http()).await;
    assert_eq!(after["month"], before["month"]);
}

#[tokio::test]
async fn the_site_counts_and_a_restart_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let quota = "egress_bytes_per_month = \"1 GB\"";
    let tracker = TestTracker::start_in(directory.path(), quota).await;
    let page_len = get(tracker.http(), "/").await.body.len() as u64;
    let before = report(tracker.http()).await;
    assert_eq!(number(&before, "month", "sent_len"), page_len);
    assert_eq!(number(&before, "egress", "total_len"), 0, "pages are not under the rate limit");
    assert_eq!(before["month"]["state"], "free");
    assert!(tracker.tracker.shutdown().await);
    let tracker = TestTracker::start_in(directory.path(), quota).await;
    assert_eq!(report(tracker.http()).await["month"], before["month"]);
}

#[tokio::test]
async fn without_limits_none_are_reported() {
    let (tracker, _directory) = TestTracker::start("").await;
    let report = report(tracker.http()).await;
    assert_eq!((&report["limit_now_bits_per_second"], &report["month"]), (&Value::Null, &Value::Null));
}
