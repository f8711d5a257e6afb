//! Films of a folder: listed, watched, kept over a restart; and files that are none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cardume_media::{Catalog, Cut, Cutter};
use cardume_system_tests::{LinkViewer, SignalClient, TestTracker, get, within};
use cardume_wire::signal::{ErrorCode, FromTracker, Join};
use cardume_wire::{Epoch, PROTOCOL_VERSION};
use tempfile::TempDir;

/// Two seconds of picture and sound, in parts of 200 ms.
const FILM: &str = "cmaf.mp4";
const PROGRESSIVE: &str = "progressive.mp4";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../media/tests/fixtures").join(name)
}

/// A folder with the film "Two seconds" in it, and one for the tracker's data.
fn folders() -> (TempDir, TempDir) {
    let (films, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::copy(fixture(FILM), films.path().join("Two seconds.mp4")).unwrap();
    (films, data)
}

async fn start(films: &TempDir, data: &TempDir) -> TestTracker {
    let toml = format!("films = {:?}", films.path().display().to_string());
    TestTracker::start_in(data.path(), &toml).await
}

/// Waits until every film was read, or found to be none.
async fn read_all(tracker: &TestTracker, ids: &[&str]) {
    let mut changes = tracker.tracker.channels().changes();
    let is_read = |id: &&str| {
        let channel = tracker.channel(id);
        channel.is_void() || channel.describe().duration_ms.is_some()
    };
    let all_read = async {
        while !ids.iter().all(is_read) {
            changes.changed().await.unwrap();
        }
    };
    within("the reading of all films", all_read).await;
}

/// The media of the file's parts, in no particular order.
fn parts_of(file: &Path) -> Vec<Bytes> {
    let mut cutter = Cutter::new();
    cutter.push(&std::fs::read(file).unwrap()).unwrap();
    let cuts = std::iter::from_fn(|| cutter.poll());
    let chunks = cuts.filter_map(|cut| match cut {
        Cut::Chunk(chunk) => Some(chunk.bytes),
        Cut::Init(_) => None,
    });
    sorted(chunks.collect())
}

fn sorted(mut parts: Vec<Bytes>) -> Vec<Bytes> {
    parts.sort();
    parts.dedup();
    parts
}

/// What came, each part once: the imagined player runs ahead of a picture that is slower than its sound, and as after any
/// jump is given some again.
fn media_of(viewer: &LinkViewer) -> Vec<Bytes> {
    sorted(viewer.appended.iter().map(|(_, media)| media.clone()).collect())
}

async fn catalog_of(tracker: &TestTracker, film: &str) -> Catalog {
    let (signal, welcome) = SignalClient::join(tracker.http(), film).await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    viewer.watch_until("the catalog", |viewer| !viewer.attached.is_empty()).await;
    viewer.attached.remove(0)
}

#[tokio::test]
async fn a_film_is_listed_and_comes_whole_as_it_is_on_disk() {
    let (films, data) = folders();
    let tracker = start(&films, &data).await;
    read_all(&tracker, &["two-seconds"]).await;
    let list = get(tracker.http(), "/v1/channels").await.json();
    let film = &list["channels"][1];
    assert_eq!((&film["kind"], &film["title"]), (&"film".into(), &"Two seconds".into()));
    assert!((1_900..2_100).contains(&film["duration_ms"].as_u64().unwrap()), "{film}");
    assert_eq!(list["channels"][0]["kind"], "live");

    let (signal, welcome) = SignalClient::join(tracker.http(), "two-seconds").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    let expected = parts_of(&fixture(FILM));
    viewer.watch_until("the whole film", |viewer| media_of(viewer).len() == expected.len()).await;
    assert!(media_of(&viewer) == expected, "the media is that of the file");
    assert!(viewer.attached[0].is_on_demand());
    let stats = get(tracker.http(), "/v1/channels/two-seconds/stats").await.json();
    assert!(stats["egress"]["total_len"].as_u64().unwrap() >= viewer.received_len / 2, "{stats}");
}

#[tokio::test]
async fn a_film_keeps_to_the_egress_budget() {
    let (films, data) = folders();
    let budget = 64_000;
    let toml = format!("films = {:?}\negress_limit = \"64 kbit/s\"", films.path().display().to_string());
    let tracker = TestTracker::start_in(data.path(), &toml).await;
    let (signal, welcome) = SignalClient::join(tracker.http(), "two-seconds").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    let n_parts = parts_of(&fixture(FILM)).len();
    viewer.watch_until("the whole film", |viewer| media_of(viewer).len() == n_parts).await;
    let stats = get(tracker.http(), "/v1/channels/two-seconds/stats").await.json();
    assert!(stats["egress"]["max_bits_per_second"].as_u64().unwrap() <= budget, "{stats}");
}

#[tokio::test]
async fn a_film_is_the_same_after_a_restart_and_another_when_its_file_is() {
    let (films, data) = folders();
    let path = films.path().join("Two seconds.mp4");
    let mut catalogs = Vec::new();
    for is_changed in [false, false, true] {
        if is_changed {
            std::fs::copy(fixture("absolute-offsets.mp4"), &path).unwrap();
        }
        let tracker = start(&films, &data).await;
        catalogs.push(catalog_of(&tracker, "two-seconds").await);
        tracker.tracker.shutdown().await;
    }
    assert_eq!(catalogs[0], catalogs[1]);
    assert!(catalogs[2].epoch() > catalogs[1].epoch() && catalogs[1].epoch() > Epoch(0));
}

#[tokio::test]
async fn what_is_no_film_is_no_channel_and_the_others_are_served() {
    let (films, data) = folders();
    std::fs::copy(fixture(PROGRESSIVE), films.path().join("bad.mp4")).unwrap();
    let tracker = start(&films, &data).await;
    read_all(&tracker, &["bad", "two-seconds"]).await;
    let list = get(tracker.http(), "/v1/channels").await.json();
    let ids: Vec<_> = list["channels"].as_array().unwrap().iter().map(|channel| &channel["id"]).collect();
    assert_eq!(ids, ["live", "two-seconds"]);
    assert_eq!(get(tracker.http(), "/v1/channels/bad").await.status, 404);
    let join = Join { version: PROTOCOL_VERSION, channel: "bad".parse().unwrap(), resume: None };
    let refusal = SignalClient::ask(tracker.http(), &join).await.hear().await;
    assert!(matches!(refusal, FromTracker::Error { code: ErrorCode::UnknownChannel, .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_film_that_is_gone_from_disk_stops_and_takes_nobody_with_it() {
    let (films, data) = folders();
    std::fs::copy(fixture(FILM), films.path().join("other.mp4")).unwrap();
    let tracker = start(&films, &data).await;
    read_all(&tracker, &["other", "two-seconds"]).await;
    std::fs::remove_file(films.path().join("other.mp4")).unwrap();
    let (signal, welcome) = SignalClient::join(tracker.http(), "other").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    viewer.watch_until("the catalog", |viewer| !viewer.attached.is_empty()).await;
    let (signal, welcome) = SignalClient::join(tracker.http(), "two-seconds").await;
    let mut lucky = LinkViewer::over(signal, &welcome);
    lucky.watch_until("the other film", |viewer| viewer.appended.len() > 10).await;
    assert!(viewer.appended.is_empty());
}
