//! Native viewers: real sessions over real sockets and data channels, without a browser.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use cardume::app::Tracker;
use cardume::config::Config;
use cardume_peer_native::{Options, Refusal, Snapshot, State, Viewer, ViewerEvent};
use cardume_system_tests::{PART_DURATION, TestTracker, cut_part, media_of, tracks, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Five parts a second of this size are 1 Mbit/s.
const PART_LEN: usize = 25_000;
/// What the server may send: one and a half copies of that.
const EGRESS: &str = "egress_limit = \"1600 kbit/s\"";
const N_VIEWERS: usize = 3;

/// Sends parts at their own pace until it is dropped.
struct Sender(AbortHandle);

impl Sender {
    fn start(tracker: &TestTracker) -> Self {
        let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
        let sending = tokio::spawn(async move {
            let mut beat = tokio::time::interval(PART_DURATION);
            for index in 0.. {
                beat.tick().await;
                if broadcast.publish(cut_part(index, PART_LEN)).await.is_err() {
                    break;
                }
            }
        });
        Self(sending.abort_handle())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A viewer, and the parts that it has of the broadcast that is on.
struct Watcher {
    viewer: Viewer,
    parts: BTreeMap<u64, Bytes>,
    n_broadcasts: usize,
    states: Vec<State>,
}

impl Watcher {
    fn of(tracker: SocketAddr, channel: &str) -> Self {
        let options = Options {
            address: format!("http://{tracker}/watch/{channel}").parse().unwrap(),
            upload_limit: None,
            bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            wants_media: true,
        };
        Self { viewer: Viewer::start(options), parts: BTreeMap::new(), n_broadcasts: 0, states: Vec::new() }
    }

    fn now(&self) -> Snapshot {
        self.viewer.snapshots().borrow().clone()
    }

    /// Takes what the viewer tells until it is so.
    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let mut snapshots = self.viewer.snapshots();
        within(what, async {
            while !is_so(self) {
                tokio::select! {
                    event = self.viewer.next() => self.take(event.unwrap()),
                    changed = snapshots.changed() => changed.unwrap(),
                }
            }
        })
        .await;
    }

    fn take(&mut self, event: ViewerEvent) {
        match event {
            ViewerEvent::State(state) => self.states.push(state),
            ViewerEvent::Attach(_) => {
                self.n_broadcasts += 1;
                self.parts.clear();
            }
            ViewerEvent::Part { chunks, start_us, .. } => {
                let index = start_us / u64::try_from(PART_DURATION.as_micros()).unwrap();
                let media = Bytes::from(chunks.concat());
                assert_eq!(media, media_of(u32::try_from(index).unwrap(), PART_LEN), "part {index}");
                self.parts.insert(index, media);
            }
            ViewerEvent::Unreachable(_) => {}
            ViewerEvent::Problem { message, .. } => panic!("{message}"),
        }
    }

    /// Until this many more parts came in a row: on a busy machine one or the other is late and left out.
    async fn watch(&mut self, n_parts: usize) {
        self.parts.clear();
        self.until("parts in a row", |it| it.n_in_a_row() >= n_parts).await;
    }

    fn n_in_a_row(&self) -> usize {
        let newest_first = self.parts.keys().rev();
        newest_first
            .zip((0..=*self.parts.keys().next_back().unwrap_or(&0)).rev())
            .take_while(|(a, b)| *a == b)
            .count()
    }
}

/// Watchers of a tracker, all linked to each other.
async fn linked_watchers(tracker: SocketAddr) -> Vec<Watcher> {
    let mut watchers: Vec<_> = (0..N_VIEWERS).map(|_| Watcher::of(tracker, "live")).collect();
    all(&mut watchers, async |watcher| {
        watcher.until("links to all others", |it| it.now().neighbours.len() == N_VIEWERS - 1).await;
    })
    .await;
    watchers
}

/// Has all do the same at once.
async fn all(watchers: &mut [Watcher], act: impl AsyncFn(&mut Watcher)) {
    let acts = watchers.iter_mut().map(|watcher| act(watcher));
    futures_util::future::join_all(acts).await;
}

#[tokio::test]
async fn viewers_get_every_block_mostly_from_each_other() {
    let (tracker, _directory) = TestTracker::start(EGRESS).await;
    let _sender = Sender::start(&tracker);
    let mut watchers = linked_watchers(tracker.http()).await;
    all(&mut watchers, async |watcher| watcher.watch(25).await).await;
    all(&mut watchers, async |watcher| {
        watcher.until("media from a neighbour", |it| it.now().from_peers_len > PART_LEN as u64).await;
    })
    .await;
    for watcher in &watchers {
        let now = watcher.now();
        assert_eq!((now.wrong_blocks, now.state), (0, "playing"), "{now:?}");
        assert!(now.sent_len > 0, "a viewer feeds nobody: {now:?}");
    }
}

#[tokio::test]
async fn a_viewer_that_vanishes_is_made_up_for() {
    let (tracker, _directory) = TestTracker::start(EGRESS).await;
    let _sender = Sender::start(&tracker);
    let mut watchers = linked_watchers(tracker.http()).await;
    all(&mut watchers, async |watcher| watcher.watch(5).await).await;
    drop(watchers.pop());
    all(&mut watchers, async |watcher| watcher.watch(20).await).await;
    all(&mut watchers, async |watcher| {
        watcher.until("the end of the link", |it| it.now().neighbours.len() == N_VIEWERS - 2).await;
    })
    .await;
}

#[tokio::test]
async fn viewers_come_back_to_a_tracker_that_restarts_as_who_they_were() {
    let directory = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let data_dir = directory.path().display().to_string();
    let toml = format!("http = \"{http}\"\nrtmp = \"127.0.0.1:0\"\ndata_dir = {data_dir:?}\n{EGRESS}");
    let start =
        async || TestTracker { tracker: Tracker::start(Config::from_toml(&toml).unwrap()).await.unwrap() };

    let tracker = start().await;
    let sender = Sender::start(&tracker);
    let mut watchers = linked_watchers(http).await;
    all(&mut watchers, async |watcher| watcher.watch(5).await).await;
    let ids: Vec<_> = watchers.iter().map(|watcher| watcher.now().peer_id).collect();
    drop(sender);
    within("the shutdown", tracker.tracker.shutdown()).await;
    all(&mut watchers, async |watcher| {
        watcher.until("the loss of the tracker", |it| it.states.contains(&State::Reconnecting)).await;
    })
    .await;

    let tracker = start().await;
    let _sender = Sender::start(&tracker);
    all(&mut watchers, async |watcher| {
        watcher.until("the next broadcast", |it| it.n_broadcasts == 2).await;
        watcher.watch(10).await;
    })
    .await;
    assert_eq!(ids, watchers.iter().map(|watcher| watcher.now().peer_id).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_viewer_says_goodbye() {
    let (tracker, _directory) = TestTracker::start(EGRESS).await;
    let _sender = Sender::start(&tracker);
    let mut watchers = linked_watchers(tracker.http()).await;
    within("the goodbye", watchers.pop().unwrap().viewer.leave()).await;
    for watcher in &mut watchers {
        watcher.until("the goodbye", |it| it.now().neighbours.len() == N_VIEWERS - 2).await;
    }
}

/// What a viewer of this address is told first, beside its state.
async fn first_trouble(tracker: SocketAddr, channel: &str) -> ViewerEvent {
    let mut viewer = Watcher::of(tracker, channel).viewer;
    within("trouble", async {
        loop {
            let event = viewer.next().await.unwrap();
            if !matches!(event, ViewerEvent::State(_)) {
                return event;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_channel_that_does_not_exist_is_the_end() {
    let (tracker, _directory) = TestTracker::start("").await;
    match first_trouble(tracker.http(), "nowhere").await {
        ViewerEvent::Problem { message, is_fatal: true } => assert!(message.contains("nowhere"), "{message}"),
        other => panic!("no fatal problem but {other:?}"),
    }
}

#[tokio::test]
async fn an_address_without_a_tracker_is_told_from_one_where_nobody_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    let event = first_trouble(address, "live").await;
    assert!(matches!(event, ViewerEvent::Unreachable(Refusal::NoTracker(_))), "{event:?}");
    // Its listener is gone.
    let event = first_trouble(address, "live").await;
    assert!(matches!(event, ViewerEvent::Unreachable(Refusal::Unreachable(_))), "{event:?}");
}
