//! One viewer: the task that has the engine, brings it what happens and tells what comes of it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use cardume_media::Catalog;
use cardume_swarm::{BitsPerSec, Instant};
use cardume_viewer::{
    Connector, Engine, Happening, LinkEvent, MediaCommand, MediaEvent, PlayerEvent, Shell, SocketEvent,
    State, Wish,
};
use cardume_wire::{PeerId, TrackId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::connector::NativeConnector;
use crate::link::{Channel, Link};
use crate::report::{News, REPORT_LIMIT, Report};
use crate::screen::Screen;
use crate::snapshot::Snapshot;
use crate::socket::{NativeDialler, Refusal};

/// Between snapshots.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// Events that wait at most for who watches the viewer: some minutes of parts.
const EVENT_LIMIT: usize = 4096;
/// How long saying goodbye may take: a few round trips. Wild guess.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// What to watch, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The channel and its tracker.
    pub address: Address,
    /// What may be uploaded; `None` lets the session find out.
    pub upload_limit: Option<BitsPerSec>,
    /// Addresses of this machine for links to neighbours; none: all but loopback.
    pub bind: Vec<IpAddr>,
    /// Whether media is handed out, as [`ViewerEvent::Attach`] and [`ViewerEvent::Part`].
    pub wants_media: bool,
}

/// What a viewer tells.
#[derive(Debug, Clone)]
pub enum ViewerEvent {
    /// Another state.
    State(State),
    /// A broadcast began, or its film is here.
    Attach(Catalog),
    /// A part that every byte of is verified; of one track they come in order.
    Part {
        /// Of which track.
        track: TrackId,
        /// Its bytes in order.
        chunks: Vec<Bytes>,
        /// Where it begins on the media timeline, microseconds.
        start_us: u64,
        /// Whether the track ends with it, as that of a film does.
        is_last: bool,
    },
    /// There is no line to the tracker, and why; it is tried again.
    Unreachable(Refusal),
    /// Something else is wrong.
    Problem {
        /// For people.
        message: String,
        /// Whether the viewer gives up.
        is_fatal: bool,
    },
}

/// A viewer that runs. Dropping it ends it without a goodbye.
#[derive(Debug)]
pub struct Viewer {
    events: mpsc::Receiver<ViewerEvent>,
    snapshots: watch::Receiver<Snapshot>,
    choices: mpsc::Sender<Option<TrackId>>,
    goes: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Viewer {
    /// Begins to watch, in tasks of the Tokio runtime that this is called in.
    pub fn start(options: Options) -> Self {
        let (tell, events) = mpsc::channel(EVENT_LIMIT);
        let (choices, chosen) = mpsc::channel(1);
        let goes = CancellationToken::new();
        let run = Run::new(options, tell);
        let (show, snapshots) = watch::channel(run.snapshot());
        let task = tokio::spawn(run.until(goes.clone(), chosen, show));
        Self { events, snapshots, choices, goes, task }
    }

    /// What it tells next; `None` once it has ended.
    pub async fn next(&mut self) -> Option<ViewerEvent> {
        self.events.recv().await
    }

    /// How it goes; new once a second.
    pub fn snapshots(&self) -> watch::Receiver<Snapshot> {
        self.snapshots.clone()
    }

    /// Chooses a rendition; `None` leaves it to the session.
    pub async fn choose(&self, rendition: Option<TrackId>) {
        // One that has ended plays nothing.
        let _ = self.choices.send(rendition).await;
    }

    /// Says goodbye to all, and waits until that is done.
    pub async fn leave(mut self) {
        self.goes.cancel();
        // Its last events find room.
        self.events.close();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the engine plays with.
struct Native {
    clock: Clock,
    screen: Screen,
    wants_media: bool,
    /// Whether the engine wants to know how the screen is.
    is_asked: bool,
    /// To be told after the engine has worked.
    events: VecDeque<ViewerEvent>,
}

impl Shell for Native {
    type Dialler = NativeDialler;
    type Connector = NativeConnector;
    type Link = Link;

    fn link(&mut self, _: PeerId, channel: Channel) -> Link {
        channel.into_link()
    }

    fn play(&mut self, command: MediaCommand) {
        let now = self.clock.now();
        match command {
            MediaCommand::Attach(catalog) => {
                self.screen.attach(&catalog, now);
                self.hand_out(ViewerEvent::Attach(catalog));
            }
            MediaCommand::Append { track, chunks, start_us, end_us, is_last, .. } => {
                self.screen.append(track, (start_us, end_us), now);
                self.hand_out(ViewerEvent::Part { track, chunks, start_us, is_last });
            }
            MediaCommand::SetRate(rate) => self.screen.set_rate(rate, now),
            MediaCommand::Seek(to_us) => self.screen.seek(to_us, now),
            MediaCommand::Observe => self.is_asked = true,
        }
    }
}

impl Native {
    fn hand_out(&mut self, event: ViewerEvent) {
        if self.wants_media {
            self.events.push_back(event);
        }
    }
}

/// The session's time, from the machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    began_at: tokio::time::Instant,
}

impl Clock {
    fn now(self) -> Instant {
        Instant::from_micros(u64::try_from(self.began_at.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn at(self, at: Instant) -> tokio::time::Instant {
        self.began_at + Duration::from_micros(at.as_micros())
    }
}

/// The viewer's task.
struct Run {
    engine: Engine<Native>,
    clock: Clock,
    channel: cardume_wire::ChannelId,
    reports: mpsc::Receiver<Report>,
    tell: mpsc::Sender<ViewerEvent>,
    /// Those of the socket and the connections.
    tasks: TaskTracker,
}

/// Nothing more is to be done for whoever watches the viewer.
struct Done;

impl Run {
    fn new(options: Options, tell: mpsc::Sender<ViewerEvent>) -> Self {
        let Options { address, upload_limit, bind, wants_media } = options;
        let clock = Clock { began_at: tokio::time::Instant::now() };
        let (report, reports) = mpsc::channel(REPORT_LIMIT);
        let tasks = TaskTracker::new();
        let channel = address.channel.clone();
        let wish = Wish { channel: channel.clone(), upload_limit, upload_guess: None, rendition: None };
        let connector = NativeConnector::new(&bind, report.clone(), tasks.clone());
        let dialler = NativeDialler::new(address, report, tasks.clone());
        let screen = Screen::new(clock.now());
        let native = Native { clock, screen, wants_media, is_asked: false, events: VecDeque::new() };
        let engine = Engine::new(wish, native, (dialler, connector), clock.now());
        Self { engine, clock, channel, reports, tell, tasks }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.engine.stats(self.clock.now()), &self.channel)
    }

    async fn until(
        mut self,
        goes: CancellationToken,
        mut choices: mpsc::Receiver<Option<TrackId>>,
        show: watch::Sender<Snapshot>,
    ) {
        let mut beat = tokio::time::interval(SNAPSHOT_INTERVAL);
        loop {
            let due_at = self.engine.poll_timeout().map(|at| self.clock.at(at));
            let outcome = tokio::select! {
                Some(report) = self.reports.recv() => self.take(report),
                () = sleep_until(due_at) => self.handle(Happening::Tick),
                Some(choice) = choices.recv() => {
                    self.engine.set_rendition(choice, self.clock.now());
                    self.tell_events()
                }
                _ = beat.tick() => {
                    show.send_replace(self.snapshot());
                    Ok(())
                }
                () = goes.cancelled() => Err(Done),
            };
            if outcome.is_err() {
                break;
            }
        }
        show.send_replace(self.snapshot());
        self.engine.leave(self.clock.now());
        drop(self.engine);
        self.tasks.close();
        // Who does not take the goodbye in this time does without.
        let _ = tokio::time::timeout(GOODBYE_LIMIT, self.tasks.wait()).await;
    }

    fn take(&mut self, report: Report) -> Result<(), Done> {
        if !report.is_wanted() {
            return Ok(());
        }
        match report.news {
            News::SocketOpened => self.handle(Happening::Socket(SocketEvent::Opened)),
            News::SocketText(text) => self.handle(Happening::Socket(SocketEvent::Text(&text))),
            News::SocketBinary(bytes) => self.handle(Happening::Socket(SocketEvent::Binary(&bytes))),
            News::SocketClosed(refusal) => {
                let unreachable = refusal.map(ViewerEvent::Unreachable);
                self.engine.shell_mut().events.extend(unreachable);
                self.handle(Happening::Socket(SocketEvent::Closed))
            }
            News::Connection(peer, event) => self.handle(Happening::Connection(peer, event)),
            News::Message(peer, bytes) => self.handle(Happening::Link(peer, LinkEvent::Message(&bytes))),
            News::Drained(peer) => self.handle(Happening::Link(peer, LinkEvent::Drained)),
            News::LinkClosed(peer) => self.handle(Happening::Link(peer, LinkEvent::Closed)),
        }
    }

    fn handle(
        &mut self,
        happening: Happening<'_, <NativeConnector as Connector>::Channel>,
    ) -> Result<(), Done> {
        self.engine.handle(happening, self.clock.now());
        let now = self.clock.now();
        let native = self.engine.shell_mut();
        if core::mem::take(&mut native.is_asked) {
            let state = native.screen.state(now);
            self.engine.handle(Happening::Media(MediaEvent::Observed(state)), now);
        }
        self.tell_events()
    }

    /// Tells what came of it.
    fn tell_events(&mut self) -> Result<(), Done> {
        let mut is_over = false;
        while let Some(event) = self.engine.poll_event() {
            let event = match event {
                PlayerEvent::State(state) => ViewerEvent::State(state),
                PlayerEvent::Error { message, is_fatal, .. } => {
                    is_over |= is_fatal;
                    ViewerEvent::Problem { message, is_fatal }
                }
                PlayerEvent::Channel(_) | PlayerEvent::Renditions(_) => continue,
            };
            self.engine.shell_mut().events.push_back(event);
        }
        for event in self.engine.shell_mut().events.drain(..) {
            // Nobody takes them, or not for minutes.
            self.tell.try_send(event).map_err(|_| Done)?;
        }
        if is_over { Err(Done) } else { Ok(()) }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
