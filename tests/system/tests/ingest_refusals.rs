//! HTTP push, spoken by hand: what is refused, with which reason, and that viewers lose nothing by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;

use cardume::window::Window;
use cardume_system_tests::{Reply, TestTracker, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHANNEL: &str = "[[channel]]\nid = \"live\"\nkey = \"the-key-of-the-test\"\n";
const KEY: &str = "the-key-of-the-test";
/// Eight seconds of fragmented MP4 with one video track, in 40 parts.
const VIDEO: &[u8] = include_bytes!("../../../tracker/assets/demo-video.mp4");
const AUDIO: &[u8] = include_bytes!("../../../tracker/assets/demo-audio.mp4");

/// A request whose body is sent in chunks.
struct Push {
    socket: TcpStream,
}

impl Push {
    async fn begin(tracker: SocketAddr, path: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(tracker).await.unwrap();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: {tracker}\r\n{headers}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        Self { socket }
    }

    async fn send(&mut self, bytes: &[u8]) {
        // Who is refused may find the connection closed: the answer tells.
        let _ = self.socket.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await;
        let _ = self.socket.write_all(bytes).await;
        let _ = self.socket.write_all(b"\r\n").await;
    }

    async fn end(mut self) -> Reply {
        let _ = self.socket.write_all(b"0\r\n\r\n").await;
        self.reply().await
    }

    async fn reply(mut self) -> Reply {
        let mut text = String::new();
        within("the answer", self.socket.read_to_string(&mut text)).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_lowercase(), body: body.to_owned() }
    }
}

async fn push(tracker: SocketAddr, path: String, body: &[u8]) -> Reply {
    let mut push = Push::begin(tracker, &path, "").await;
    push.send(body).await;
    push.end().await
}

fn path(name: &str) -> String {
    format!("/ingest/{KEY}/{name}")
}

/// Where the media begins: at the first `moof`.
fn media_at(file: &[u8]) -> usize {
    file.windows(4).position(|kind| kind == b"moof").unwrap() - 4
}

/// Where part number `index` of the file begins.
fn part_at(file: &[u8], index: usize) -> usize {
    file.windows(4).enumerate().filter(|(_, kind)| kind == b"moof").nth(index).unwrap().0 - 4
}

async fn window(tracker: &TestTracker, what: &str, wanted: impl Fn(&Window) -> bool) -> Arc<Window> {
    let mut window = tracker.channel("live").window();
    let found = within(what, window.wait_for(|window| wanted(window))).await.unwrap();
    Arc::clone(&found)
}

fn n_parts(window: &Window) -> Vec<usize> {
    window.tracks.iter().map(|track| track.parts.len()).collect()
}

async fn start() -> (TestTracker, tempfile::TempDir) {
    TestTracker::start(CHANNEL).await
}

#[tokio::test]
async fn keys_are_taken_from_the_path_or_a_bearer_token() {
    let (tracker, _directory) = start().await;
    let refused = push(tracker.http(), "/ingest/not-the-key/a.mp4".to_owned(), VIDEO).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("no channel with this stream key"), "{}", refused.body);
    assert!(refused.head.contains("content-type: text/plain"), "{}", refused.head);

    let mut bearer =
        Push::begin(tracker.http(), "/ingest/any/path.mp4", "Authorization: Bearer not-the-key\r\n").await;
    bearer.send(b"....ftyp").await;
    assert_eq!(bearer.end().await.status, 403);

    let header = format!("Authorization: Bearer {KEY}\r\n");
    let mut bearer = Push::begin(tracker.http(), "/ingest/any/path.mp4", &header).await;
    bearer.send(VIDEO).await;
    assert_eq!(bearer.end().await.status, 200);
    window(&tracker, "all parts", |window| n_parts(window) == [40]).await;
}

#[tokio::test]
async fn bodies_that_are_not_fragmented_mp4_are_named_for_what_they_are() {
    let (tracker, _directory) = start().await;
    for (body, status, reason) in [
        (&b"FLV\x01\x05\x00\x00\x00\x09"[..], 415, "not fragmented MP4: starts with"),
        (b"hello, this is text", 415, "hello, t"),
        (&[0x47; 376], 415, "MPEG-TS"),
        (b"\x00\x00\x00\x10moof", 409, "no init segment"),
        (b"\x00\x00\x00\x18mo", 400, "truncated"),
        (b"\xff\xff\xff\xffmoov", 413, "moov"),
    ] {
        let reply = push(tracker.http(), path("a.mp4"), body).await;
        assert_eq!(reply.status, status, "{body:?}: {}", reply.body);
        assert!(reply.body.contains(reason), "{body:?}: {}", reply.body);
    }
    assert!(!tracker.channel("live").is_live());
    // None of that keeps the channel from its sender.
    assert_eq!(push(tracker.http(), path("live.mp4"), VIDEO).await.status, 200);
}

#[tokio::test]
async fn a_truncated_push_is_told_so_and_what_was_whole_is_on_air() {
    let (tracker, _directory) = start().await;
    let cut_at = part_at(VIDEO, 10) + 100;
    let reply = push(tracker.http(), path("live.mp4"), &VIDEO[..cut_at]).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("truncated"), "{}", reply.body);
    let window = window(&tracker, "the parts before", |window| n_parts(window) == [10]).await;
    assert!(window.is_live);
}

#[tokio::test]
async fn a_push_that_breaks_off_goes_on_with_the_next() {
    let (tracker, _directory) = start().await;
    let mut first = Push::begin(tracker.http(), &path("chunk-v-1.m4s"), "").await;
    assert_eq!(push(tracker.http(), path("init-v.m4s"), &VIDEO[..media_at(VIDEO)]).await.status, 200);
    first.send(&VIDEO[part_at(VIDEO, 0)..part_at(VIDEO, 5) + 7]).await;
    window(&tracker, "five parts", |window| n_parts(window) == [5]).await;
    // The connection is gone, in the middle of a chunk.
    drop(first);
    let second = &VIDEO[part_at(VIDEO, 5)..part_at(VIDEO, 10)];
    assert_eq!(push(tracker.http(), path("chunk-v-2.m4s"), second).await.status, 200);
    let window = window(&tracker, "ten parts", |window| n_parts(window) == [10]).await;
    let video = &window.tracks[0];
    for (part, next) in video.parts.iter().zip(video.parts.iter().skip(1)) {
        assert_eq!(part.cut.start.saturating_add(part.cut.duration), next.cut.start);
    }
}

#[tokio::test]
async fn tracks_that_come_in_their_own_requests_are_one_broadcast() {
    let (tracker, _directory) = start().await;
    let address = tracker.http();
    for (name, file) in [("init-a.m4s", AUDIO), ("init-v.m4s", VIDEO)] {
        assert_eq!(push(address, path(name), &file[..media_at(file)]).await.status, 200);
    }
    let (video, audio, manifest) = tokio::join!(
        push(address, path("chunk-v-1.m4s"), &VIDEO[media_at(VIDEO)..]),
        push(address, path("chunk-a-1.m4s"), &AUDIO[media_at(AUDIO)..]),
        push(address, path("live.mpd"), b"<MPD/>"),
    );
    assert_eq!([video.status, audio.status, manifest.status], [200; 3]);
    let window = window(&tracker, "both tracks", |window| n_parts(window).len() == 2).await;
    assert_eq!(window.tracks[0].track.codec, "avc1.4D401E", "video comes first");
    assert_eq!(window.tracks[1].track.codec, "mp4a.40.2");
}

#[tokio::test]
async fn a_track_that_comes_late_is_refused_while_the_broadcast_lives() {
    let (tracker, _directory) = start().await;
    let mut live = Push::begin(tracker.http(), &path("live.mp4"), "").await;
    live.send(&VIDEO[..part_at(VIDEO, 5)]).await;
    window(&tracker, "the start", |window| n_parts(window) == [5]).await;
    let late = push(tracker.http(), path("sound.mp4"), AUDIO);
    let alive = async {
        for index in 5..39 {
            live.send(&VIDEO[part_at(VIDEO, index)..part_at(VIDEO, index + 1)]).await;
            window(&tracker, "the part", |window| n_parts(window)[0] > index).await;
        }
        live
    };
    let (late, live) = tokio::join!(late, alive);
    assert_eq!(late.status, 409, "{}", late.body);
    assert!(late.body.contains("init segments of all tracks"), "{}", late.body);
    assert_eq!(live.end().await.status, 200);
}

#[tokio::test]
async fn other_methods_are_answered() {
    let (tracker, _directory) = start().await;
    for (method, status) in [("DELETE", 200), ("OPTIONS", 200), ("GET", 405)] {
        let mut socket = TcpStream::connect(tracker.http()).await.unwrap();
        let head =
            format!("{method} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path("chunk-1.m4s"));
        socket.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(Push { socket }.reply().await.status, status, "{method}");
    }
}
