//! LL-HLS as players read it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use cardume::channel::Broadcast;
use cardume_media::{CutPart, MediaTime, Track, TrackKind};
use cardume_system_tests::{PART_DURATION, Reply, TestTracker, cut_part, get, tracks};
use cardume_wire::TrackId;

/// Samples of sound a second.
const RATE: u32 = 48_000;
/// Bytes of a made-up part.
const PART_LEN: usize = 50;

async fn read(tracker: SocketAddr, path: &str) -> Reply {
    get(tracker, &format!("/hls/live/{path}")).await
}

async fn playlist(tracker: SocketAddr, path: &str) -> String {
    let reply = read(tracker, path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    assert!(reply.head.contains("content-type: application/vnd.apple.mpegurl"), "{}", reply.head);
    assert!(reply.head.contains("access-control-allow-origin: *"), "{}", reply.head);
    reply.body
}

/// The values of a tag, in order.
fn values<'a>(playlist: &'a str, tag: &str) -> Vec<&'a str> {
    playlist.lines().filter_map(|line| line.strip_prefix(tag)).collect()
}

fn number(playlist: &str, tag: &str) -> u64 {
    values(playlist, tag)[0].parse().unwrap()
}

/// The value of a quoted attribute.
fn quoted<'a>(line: &'a str, attribute: &str) -> &'a str {
    line.split_once(&format!("{attribute}=\"")).unwrap().1.split('"').next().unwrap()
}

fn segments(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| !line.starts_with('#') && line.contains("segment-")).collect()
}

/// The number of the segment under way.
fn open_number(playlist: &str) -> u64 {
    number(playlist, "#EXT-X-MEDIA-SEQUENCE:") + segments(playlist).len() as u64
}

/// Text, so that the test's client can read it.
fn text_part(index: u32) -> CutPart {
    let text = format!("part {index:03} ").repeat(PART_LEN / 9);
    CutPart { bytes: Bytes::from(text), ..cut_part(index, 1) }
}

async fn publish(broadcast: &mut Broadcast, parts: std::ops::Range<u32>) {
    for index in parts {
        broadcast.publish(text_part(index)).await.unwrap();
    }
}

/// Waits until every track of the channel has this many parts.
async fn shown(tracker: &TestTracker, n_parts: u32) {
    let mut window = tracker.channel("live").window();
    let has_all = |window: &std::sync::Arc<cardume::window::Window>| {
        !window.tracks.is_empty() && window.tracks.iter().all(|track| track.parts.len() == n_parts as usize)
    };
    window.wait_for(has_all).await.unwrap();
}

/// A tracker whose channel has this many parts on air, five to a second.
async fn on_air(n_parts: u32) -> (TestTracker, Broadcast, tempfile::TempDir) {
    let (tracker, directory) = TestTracker::start("").await;
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    publish(&mut broadcast, 0..n_parts).await;
    let mut window = tracker.channel("live").window();
    window
        .wait_for(|window| window.tracks.iter().any(|it| it.parts.len() == n_parts as usize))
        .await
        .unwrap();
    (tracker, broadcast, directory)
}

#[tokio::test]
async fn a_playlist_lists_segments_parts_and_what_comes_next() {
    let (tracker, _broadcast, _directory) = on_air(13).await;
    let text = playlist(tracker.http(), "0.m3u8").await;
    assert_eq!(segments(&text).len(), 2, "{text}");
    assert_eq!(values(&text, "#EXTINF:"), ["1.00000,", "1.00000,"]);
    assert_eq!(values(&text, "#EXT-X-PART:").len(), 13);
    let independent: Vec<bool> =
        values(&text, "#EXT-X-PART:").iter().map(|part| part.ends_with("INDEPENDENT=YES")).collect();
    assert_eq!(independent, (0..13).map(|index| index % 5 == 0).collect::<Vec<_>>());
    assert_eq!(values(&text, "#EXT-X-TARGETDURATION:"), ["1"]);
    assert_eq!(values(&text, "#EXT-X-SERVER-CONTROL:"), ["CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.60000"]);
    assert_eq!(values(&text, "#EXT-X-PROGRAM-DATE-TIME:").len(), 3);
    assert!(quoted(values(&text, "#EXT-X-PRELOAD-HINT:")[0], "URI").ends_with("part-13.m4s"));
    assert_eq!(
        read(tracker.http(), quoted(values(&text, "#EXT-X-MAP:")[0], "URI")).await.body,
        "init segment"
    );
}

#[tokio::test]
async fn a_segment_is_its_parts_in_order() {
    let (tracker, _broadcast, _directory) = on_air(12).await;
    let text = playlist(tracker.http(), "0.m3u8").await;
    let segment = read(tracker.http(), segments(&text)[1]).await;
    let parts: String =
        (5..10).map(|index| String::from_utf8(text_part(index).bytes.to_vec()).unwrap()).collect();
    assert_eq!(segment.body, parts);
    assert!(segment.head.contains("content-type: video/mp4"), "{}", segment.head);
    assert!(segment.head.contains("cache-control: public"), "{}", segment.head);
}

#[tokio::test]
async fn a_hinted_part_comes_when_it_is_there_also_when_it_begins_a_segment() {
    let (tracker, mut broadcast, _directory) = on_air(9).await;
    let address = tracker.http();
    for next in 9..12 {
        let text = playlist(address, "0.m3u8").await;
        let hint = quoted(values(&text, "#EXT-X-PRELOAD-HINT:")[0], "URI").to_owned();
        let (part, ()) = tokio::join!(read(address, &hint), publish(&mut broadcast, next..next + 1));
        assert_eq!((part.status, part.body.as_bytes()), (200, text_part(next).bytes.as_ref()), "{hint}");
    }
}

#[tokio::test]
async fn a_reload_blocks_until_the_playlist_has_what_it_asks_for() {
    let (tracker, mut broadcast, _directory) = on_air(9).await;
    let address = tracker.http();
    let open = open_number(&playlist(address, "0.m3u8").await);

    let part = format!("0.m3u8?_HLS_msn={open}&_HLS_part=4");
    let (text, ()) = tokio::join!(playlist(address, &part), publish(&mut broadcast, 9..10));
    assert_eq!(values(&text, "#EXT-X-PART:").len(), 10);

    // A part past the end of its segment is the first of the next one.
    let beyond = format!("0.m3u8?_HLS_msn={open}&_HLS_part=5");
    let (text, ()) = tokio::join!(playlist(address, &beyond), publish(&mut broadcast, 10..11));
    assert_eq!(open_number(&text), open + 1);

    let whole = format!("0.m3u8?_HLS_msn={}", open + 1);
    let (text, ()) = tokio::join!(playlist(address, &whole), publish(&mut broadcast, 11..16));
    assert_eq!(open_number(&text), open + 2);
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_refused_with_a_reason() {
    let (tracker, _broadcast, _directory) = on_air(6).await;
    let address = tracker.http();
    let text = playlist(address, "0.m3u8").await;
    let open = open_number(&text);
    let epoch_folder = quoted(values(&text, "#EXT-X-MAP:")[0], "URI").trim_end_matches("init.mp4").to_owned();
    for (path, status) in [
        (format!("0.m3u8?_HLS_msn={}", open + 3), 400),
        (format!("0.m3u8?_HLS_msn={open}&_HLS_part=1000"), 400),
        ("0.m3u8?_HLS_part=1".to_owned(), 400),
        ("0.m3u8?_HLS_msn=x".to_owned(), 400),
        ("7.m3u8".to_owned(), 404),
        ("x.m3u8".to_owned(), 404),
        (format!("{epoch_folder}part-8.m4s"), 404),
        (format!("{epoch_folder}segment-1.m4s"), 404),
        (format!("{epoch_folder}elephant"), 404),
        ("0/1/part-1.m4s".to_owned(), 404),
    ] {
        let reply = read(address, &path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        assert!(reply.body.len() > 10, "a reason for {path}");
    }
}

#[tokio::test]
async fn a_channel_that_is_not_live_says_so() {
    let (tracker, _directory) = TestTracker::start("").await;
    let reply = read(tracker.http(), "index.m3u8").await;
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("not live"), "{}", reply.body);
    let reply = get(tracker.http(), "/hls/nowhere/index.m3u8").await;
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("no channel \"nowhere\""), "{}", reply.body);
}

/// P2P Media Loader finds its swarm by this number.
#[tokio::test]
async fn the_bandwidth_that_is_told_holds_until_a_segment_takes_more() {
    let (tracker, _directory) = TestTracker::start("").await;
    // A sender that does not say what it sends at.
    let track = Track { bitrate: 0, ..tracks().remove(0) };
    let mut broadcast = tracker.channel("live").broadcast(vec![track]).unwrap();
    publish(&mut broadcast, 0..6).await;
    shown(&tracker, 6).await;
    let bandwidth = async || {
        let index = playlist(tracker.http(), "index.m3u8").await;
        let told =
            values(&index, "#EXT-X-STREAM-INF:BANDWIDTH=")[0].split(',').next().unwrap().parse::<u64>();
        told.unwrap()
    };
    let at_first = bandwidth().await;
    let mut n_parts = 6;
    for (growth_percent, may_differ) in [(110, false), (50, false), (10_000, true), (100, true)] {
        let len = (PART_LEN * growth_percent).div_ceil(100);
        for index in n_parts..n_parts + 10 {
            let bytes = Bytes::from(vec![b'x'; len]);
            broadcast.publish(CutPart { bytes, ..text_part(index) }).await.unwrap();
        }
        n_parts += 10;
        shown(&tracker, n_parts).await;
        let now = bandwidth().await;
        assert_eq!(now != at_first, may_differ, "{now} after {at_first}, with parts of {len} bytes");
    }
}

#[tokio::test]
async fn another_broadcast_goes_on_in_the_playlist_after_a_discontinuity() {
    let (tracker, broadcast, _directory) = on_air(12).await;
    let address = tracker.http();
    let before = playlist(address, "0.m3u8").await;
    drop(broadcast);
    tracker.channel("live").window().wait_for(|window| !window.is_live).await.unwrap();
    // Off air, a reader that waits for more is told what there was.
    let off_air = playlist(address, &format!("0.m3u8?_HLS_msn={}&_HLS_part=2", open_number(&before))).await;
    assert_eq!(segments(&off_air), segments(&before));

    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    let first_part = format!("0.m3u8?_HLS_msn={}&_HLS_part=0", open_number(&before) + 1);
    let (after, ()) = tokio::join!(playlist(address, &first_part), publish(&mut broadcast, 0..1));
    // What was under way is a segment now, and the new one has its own header.
    assert_eq!(number(&after, "#EXT-X-MEDIA-SEQUENCE:"), number(&before, "#EXT-X-MEDIA-SEQUENCE:"));
    assert_eq!(segments(&after).len(), segments(&before).len() + 1);
    assert_eq!(after.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
    let maps = values(&after, "#EXT-X-MAP:");
    assert_ne!(quoted(maps[0], "URI"), quoted(maps[1], "URI"));
    let last_part = values(&after, "#EXT-X-PART:").pop().unwrap();
    assert_eq!(read(address, quoted(last_part, "URI")).await.body.as_bytes(), text_part(0).bytes.as_ref());
}

#[tokio::test]
async fn audio_is_a_rendition_whose_segments_follow_the_videos() {
    let (tracker, _directory) = TestTracker::start("").await;
    let audio = Track {
        id: TrackId(1),
        kind: TrackKind::Audio,
        codec: "mp4a.40.2".to_owned(),
        timescale: RATE,
        width: 0,
        height: 0,
        ..tracks().remove(0)
    };
    let both = vec![tracks().remove(0), audio];
    let mut broadcast = tracker.channel("live").broadcast(both).unwrap();
    let duration = u32::try_from(PART_DURATION.as_millis()).unwrap() * (RATE / 1000);
    for index in 0..22 {
        broadcast.publish(text_part(index)).await.unwrap();
        let start = MediaTime(u64::from(index * duration));
        let audio = CutPart { track: TrackId(1), start, duration, is_independent: true, ..text_part(index) };
        broadcast.publish(audio).await.unwrap();
    }
    shown(&tracker, 22).await;
    let address = tracker.http();
    let index = playlist(address, "index.m3u8").await;
    assert!(
        index.contains("CODECS=\"avc1.42C01E,mp4a.40.2\",RESOLUTION=640x360,AUDIO=\"audio\"\n0.m3u8"),
        "{index}"
    );
    assert!(index.contains("TYPE=AUDIO,GROUP-ID=\"audio\""), "{index}");

    // Once both have the fourth second, which is under way.
    let number = open_number(&playlist(address, "0.m3u8").await);
    let mut times = BTreeMap::new();
    for name in ["0.m3u8", "1.m3u8"] {
        let text = playlist(address, &format!("{name}?_HLS_msn={number}&_HLS_part=1")).await;
        assert!(values(&text, "#EXTINF:").iter().all(|duration| *duration == "1.00000,"), "{text}");
        times.insert(name, values(&text, "#EXT-X-MEDIA-SEQUENCE:")[0].to_owned());
        assert_eq!(values(&text, "#EXT-X-RENDITION-REPORT:").len(), 1);
    }
    assert_eq!(times["0.m3u8"], times["1.m3u8"]);
}
