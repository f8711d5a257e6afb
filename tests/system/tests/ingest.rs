//! Real encoders: ffmpeg in every way that the tracker takes media, and what comes out of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use cardume::clock::wall_time;
use cardume::window::{TrackWindow, Window};
use cardume_media::{TrackKind, ticks_to_micros};
use cardume_system_tests::{TestTracker, within};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

const KEY: &str = "the-key-of-the-test";
const CHANNEL: &str = "[[channel]]\nid = \"live\"\nkey = \"the-key-of-the-test\"\n";
/// Media that a test waits for, of each track.
const WANTED_US: u64 = 4_000_000;
/// Longer than any test wants: encoders are stopped.
const SECONDS: &str = "60";
/// Tests that encode at once: two cores keep up with so many in real time.
static ENCODING: Semaphore = Semaphore::const_new(3);

/// An encoder that runs until it is dropped.
struct Encoder(Child);

impl Encoder {
    /// 360p with a key frame each second and sound, in real time, to where `output` says.
    fn start(video: &[&str], output: &[String]) -> Self {
        let source =
            ["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi"];
        let sound =
            ["-i", "sine=frequency=440:sample_rate=44100", "-t", SECONDS, "-c:a", "aac", "-b:a", "96k"];
        let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25"];
        let mut command = Command::new("ffmpeg");
        command.args(source).args(sound).args(codec).args(video).args(output);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().expect("ffmpeg is installed"))
    }

    /// Asks it to stop, as Ctrl-C does, and says what it wrote.
    async fn stop(mut self) -> String {
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        self.read_to_end().await
    }

    /// Waits until it ends by itself.
    async fn read_to_end(&mut self) -> String {
        let mut stderr = self.0.stderr.take().unwrap();
        let read = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut stderr).unwrap());
        let text = within("the encoder's end", read).await.unwrap();
        self.0.wait().unwrap();
        text
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tracker, and the turn to encode.
async fn start() -> (TestTracker, TempDir, SemaphorePermit<'static>) {
    let turn = ENCODING.acquire().await.unwrap();
    let (tracker, directory) = TestTracker::start(CHANNEL).await;
    (tracker, directory, turn)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn rtmp(tracker: &TestTracker, key: &str) -> Vec<String> {
    words(&format!("-f flv rtmp://{}/live/{key}", tracker.tracker.rtmp_address()))
}

fn dash(http: SocketAddr) -> Vec<String> {
    words(&format!(
        "-f dash -ldash 1 -streaming 1 -use_template 1 -use_timeline 0 -seg_duration 1 -frag_duration 0.2 \
         -frag_type duration -method PUT http://{http}/ingest/{KEY}/live.mpd"
    ))
}

fn hls(http: SocketAddr) -> Vec<String> {
    words(&format!(
        "-f hls -hls_time 1 -hls_segment_type fmp4 -method PUT http://{http}/ingest/{KEY}/live.m3u8"
    ))
}

fn cmaf(http: SocketAddr) -> Vec<String> {
    words(&format!(
        "-f mp4 -movflags +cmaf+empty_moov+delay_moov+default_base_moof+separate_moof -frag_duration 200000 \
         -method POST http://{http}/ingest/{KEY}/Streams(live.cmfv)"
    ))
}

/// The window once both tracks have this much media.
async fn window_with(tracker: &TestTracker, media_us: u64) -> Arc<Window> {
    let mut window = tracker.channel("live").window();
    let has_enough = |window: &Arc<Window>| {
        window.tracks.len() == 2 && window.tracks.iter().all(|track| span_us(track) >= media_us)
    };
    let found = within("media of both tracks", window.wait_for(has_enough)).await.unwrap();
    Arc::clone(&found)
}

fn span_us(track: &TrackWindow) -> u64 {
    let ticks = track.parts.iter().map(|part| u64::from(part.cut.duration)).sum();
    ticks_to_micros(ticks, track.track.timescale)
}

/// What must hold however media came in. Parts that are plain HLS segments are as long as those.
async fn check_media(tracker: &TestTracker, longest_part_us: u64) {
    let window = window_with(tracker, WANTED_US).await;
    let now = wall_time();
    let kinds: Vec<_> = window.tracks.iter().map(|track| track.track.kind).collect();
    assert_eq!(kinds, [TrackKind::Video, TrackKind::Audio]);
    let video = &window.tracks[0].track;
    assert_eq!((video.width, video.height), (640, 360));
    assert!(video.codec.starts_with("avc1."), "{}", video.codec);
    assert_eq!(window.tracks[1].track.codec, "mp4a.40.2");
    for track in &window.tracks {
        check_continuous(track, longest_part_us);
        let newest = track.parts.back().unwrap();
        // Segments wait in the encoder until they are whole; nothing else takes long.
        let age_us = now.0.saturating_sub(newest.cut.captured_at.0);
        assert!((1..longest_part_us + 2_500_000).contains(&age_us), "the newest part is {age_us} µs old");
    }
    check_key_frames(&window.tracks[0]);
    check_clock(&window);
}

fn check_continuous(track: &TrackWindow, longest_part_us: u64) {
    for (part, next) in track.parts.iter().zip(track.parts.iter().skip(1)) {
        assert_eq!(next.sequence, part.sequence + 1);
        let end = part.cut.start.saturating_add(part.cut.duration);
        assert_eq!(end, next.cut.start, "{:?}: a gap after part {}", track.track.kind, part.sequence);
        let duration_us = ticks_to_micros(part.cut.duration.into(), track.track.timescale);
        assert!((1..=longest_part_us).contains(&duration_us), "a part of {duration_us} µs");
    }
}

/// One each second, so that nobody waits long for a picture.
fn check_key_frames(video: &TrackWindow) {
    let starts: Vec<u64> = video
        .parts
        .iter()
        .filter(|part| part.cut.is_independent)
        .map(|part| part.cut.start.to_micros(video.track.timescale))
        .collect();
    assert!(starts.len() >= 3, "{starts:?}");
    for pair in starts.windows(2) {
        assert_eq!(pair[1] - pair[0], 1_000_000, "{starts:?}");
    }
}

/// Both tracks share one clock, which is smooth once it has settled.
fn check_clock(window: &Window) {
    let offsets: Vec<i64> = window
        .tracks
        .iter()
        .flat_map(|track| {
            track.parts.iter().rev().take(4).map(|part| {
                let start_us = part.cut.start.to_micros(track.track.timescale);
                i64::try_from(part.cut.captured_at.0).unwrap() - i64::try_from(start_us).unwrap()
            })
        })
        .collect();
    let (first, last) = (offsets.iter().min().unwrap(), offsets.iter().max().unwrap());
    assert!(last - first < 300_000, "captured times are not linear: {offsets:?}");
}

async fn ended(tracker: &TestTracker) {
    let mut window = tracker.channel("live").window();
    within("the end of the broadcast", window.wait_for(|window| window.epoch.is_some() && !window.is_live))
        .await
        .unwrap();
}

#[tokio::test]
async fn rtmp_with_b_frames_becomes_parts_and_ends_with_its_sender() {
    let (tracker, _directory, _turn) = start().await;
    let encoder = Encoder::start(&["-bf", "2"], &rtmp(&tracker, KEY));
    check_media(&tracker, 260_000).await;
    encoder.stop().await;
    ended(&tracker).await;
}

#[tokio::test]
async fn an_rtmp_sender_that_dies_leaves_nothing_behind() {
    let (tracker, _directory, _turn) = start().await;
    let encoder = Encoder::start(&["-tune", "zerolatency"], &rtmp(&tracker, KEY));
    window_with(&tracker, 1_000_000).await;
    // Kills it: no goodbye.
    drop(encoder);
    ended(&tracker).await;
    // The channel is free for the next one.
    let _encoder = Encoder::start(&["-tune", "zerolatency"], &rtmp(&tracker, KEY));
    let mut window = tracker.channel("live").window();
    within("the next broadcast", window.wait_for(|window| window.is_live)).await.unwrap();
}

#[tokio::test]
async fn low_latency_dash_becomes_parts_and_ends_with_its_sender() {
    let (tracker, _directory, _turn) = start().await;
    let encoder = Encoder::start(&["-tune", "zerolatency"], &dash(tracker.http()));
    check_media(&tracker, 260_000).await;
    encoder.stop().await;
    ended(&tracker).await;
}

#[tokio::test]
async fn hls_by_put_becomes_parts_of_whole_segments() {
    let (tracker, _directory, _turn) = start().await;
    let encoder = Encoder::start(&["-tune", "zerolatency"], &hls(tracker.http()));
    check_media(&tracker, 1_100_000).await;
    encoder.stop().await;
    ended(&tracker).await;
}

#[tokio::test]
async fn one_endless_post_becomes_parts_and_ends_with_its_sender() {
    let (tracker, _directory, _turn) = start().await;
    let encoder = Encoder::start(&["-tune", "zerolatency"], &cmaf(tracker.http()));
    check_media(&tracker, 260_000).await;
    encoder.stop().await;
    ended(&tracker).await;
}

#[tokio::test]
async fn senders_over_rtmp_are_told_why_they_are_refused() {
    let (tracker, _directory, _turn) = start().await;
    let mut stranger = Encoder::start(&[], &rtmp(&tracker, "not-the-key"));
    let said = stranger.read_to_end().await;
    assert!(said.contains("there is no channel with this stream key"), "{said}");

    let _first = Encoder::start(&["-tune", "zerolatency"], &rtmp(&tracker, KEY));
    let epoch = window_with(&tracker, 200_000).await.epoch;
    let mut second = Encoder::start(&[], &rtmp(&tracker, KEY));
    let said = second.read_to_end().await;
    assert!(said.contains("somebody is sending to this channel already"), "{said}");
    // Nothing happened to the first.
    assert_eq!(window_with(&tracker, 2_000_000).await.epoch, epoch);
}

#[tokio::test]
async fn a_second_encoder_that_pushes_does_not_disturb_the_first() {
    let (tracker, _directory, _turn) = start().await;
    let _first = Encoder::start(&["-tune", "zerolatency"], &dash(tracker.http()));
    let epoch = window_with(&tracker, 1_000_000).await.epoch;
    // Same address, same paths, another picture.
    let _second = Encoder::start(&["-tune", "zerolatency", "-s", "320x180"], &dash(tracker.http()));
    check_media(&tracker, 260_000).await;
    let window = tracker.channel("live").window().borrow().clone();
    assert_eq!(window.epoch, epoch, "one broadcast");
}

#[tokio::test]
async fn what_came_in_can_be_played_as_hls() {
    let (tracker, _directory, _turn) = start().await;
    let _encoder = Encoder::start(&["-bf", "2"], &rtmp(&tracker, KEY));
    window_with(&tracker, 3_500_000).await;
    let url = format!("http://{}/hls/live/index.m3u8", tracker.http());
    let run = tokio::task::spawn_blocking(move || {
        let args = ["-v", "info", "-i", &url, "-t", "3", "-f", "null", "-"];
        Command::new("ffmpeg").args(args).stdin(Stdio::null()).output().unwrap()
    });
    let Output { status, stderr, .. } = within("the player's end", run).await.unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{said}");
    assert!(
        said.contains("Video: h264") && said.contains("640x360") && said.contains("Audio: aac"),
        "{said}"
    );
    let n_frames = said.rsplit("frame=").next().and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert!(n_frames.parse::<u32>().unwrap() >= 70, "3 s at 25 pictures a second: {said}");
    assert!(!said.contains("error"), "{said}");
}
