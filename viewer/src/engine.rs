//! Runs the session: brings it what happens, does what it says. Decides nothing.

mod links;
mod tracker;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use cardume_media::{Catalog, PublicKey, TrackKind};
use cardume_swarm::{BitsPerSec, ClockEstimator, Event, Instant, Phase, Session, Stats};
use cardume_wire::signal::{Channel, ChannelKind, FromViewer, NEIGHBOUR_LIMIT};
use cardume_wire::{PeerId, TrackId, TrackSet};

use crate::report::report;
use crate::signal::Signal;
use crate::{
    ConnectionCommand, ConnectionEvent, Connections, Connector, LinkEvent, MediaCommand, MediaEvent,
    PlayerEvent, Renditions, Shell, SocketEvent, State, Wish,
};

/// Between looks at the media element: half a part (200 ms), so that the session knows the playhead to less than one.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(100);
/// Between reports to the tracker: what the protocol allows.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Sources that the element may give up, in one broadcast, before the player gives up too. Wild guess.
const BROKEN_LIMIT: u32 = 5;

/// Something that happened to one of the viewer's parts. `C` is an open data channel.
#[derive(Debug)]
pub enum Happening<'a, C> {
    /// To the socket to the tracker.
    Socket(SocketEvent<'a>),
    /// To a connection that is set up.
    Connection(PeerId, ConnectionEvent<C>),
    /// To an open link to a neighbour.
    Link(PeerId, LinkEvent<'a>),
    /// To the media element.
    Media(MediaEvent),
    /// Time went by.
    Tick,
}

/// What the viewer itself knows, beside its session's statistics.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the player does.
    pub state: State,
    /// The viewer's id, once welcomed.
    pub peer_id: Option<PeerId>,
    /// From the viewer's making to the session's begin.
    pub until_session: Duration,
    /// Whether the tracker is there.
    pub is_tracker_connected: bool,
    /// Whether the link to the server peer stands.
    pub is_server_linked: bool,
    /// How wrong the tracker's clock may be known.
    pub clock_error: Option<Duration>,
}

/// One viewer of one channel. After each call drain [`Engine::poll_event`], then arm a timer for [`Engine::poll_timeout`].
pub struct Engine<S: Shell> {
    wish: Wish,
    shell: S,
    signal: Signal<S::Dialler>,
    connections: Connections<S::Connector>,
    links: BTreeMap<PeerId, S::Link>,
    viewer: Option<Viewer>,
    clock: ClockEstimator,
    observe_at: Instant,
    state: State,
    /// As was told last.
    renditions: Renditions,
    has_failed: bool,
    events: VecDeque<PlayerEvent>,
}

/// What the welcome brought.
struct Viewer {
    id: PeerId,
    key: PublicKey,
    channel: Channel,
    session: Session,
    began_at: Instant,
    catalog: Option<Catalog>,
    /// The session's, as of the last look at the media element.
    phase: Phase,
    /// The tracks that are played, as of then.
    playing: TrackSet,
    n_broken: u32,
    reported: Stats,
    report_at: Instant,
}

impl<S: Shell> Engine<S> {
    /// Begins to watch.
    pub fn new(wish: Wish, shell: S, (dialler, connector): (S::Dialler, S::Connector), now: Instant) -> Self {
        Self {
            signal: Signal::new(wish.channel.clone(), dialler, now),
            wish,
            shell,
            connections: Connections::new(connector),
            links: BTreeMap::new(),
            viewer: None,
            clock: ClockEstimator::new(),
            observe_at: now,
            state: State::Connecting,
            renditions: Renditions::default(),
            has_failed: false,
            events: VecDeque::from([PlayerEvent::State(State::Connecting)]),
        }
    }

    /// Takes one happening, and does all that is due: timers alone run too late in hidden tabs.
    pub fn handle(&mut self, happening: Happening<'_, <S::Connector as Connector>::Channel>, now: Instant) {
        match happening {
            Happening::Socket(event) => {
                let said = self.signal.handle_socket(event, now);
                self.handle_signal(said, now);
            }
            Happening::Connection(peer, event) => self.handle_connection(peer, event, now),
            Happening::Link(peer, event) => self.handle_link(peer, event, now),
            Happening::Media(event) => self.handle_media(event, now),
            Happening::Tick => {}
        }
        self.handle_timeout(now);
        self.perform(now);
        self.update_state();
        self.update_renditions();
    }

    /// When to call again with [`Happening::Tick`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let viewer = self.viewer.as_ref();
        let times = [
            self.signal.poll_timeout(),
            self.connections.poll_timeout(),
            viewer.and_then(|viewer| viewer.session.poll_timeout()),
            viewer.map(|viewer| viewer.report_at),
            viewer.and_then(|viewer| viewer.catalog.as_ref()).map(|_| self.observe_at),
        ];
        times.into_iter().flatten().min()
    }

    /// The next event for whoever looks on.
    pub fn poll_event(&mut self) -> Option<PlayerEvent> {
        self.events.pop_front()
    }

    /// What the engine plays with, for what it keeps for others.
    pub fn shell_mut(&mut self) -> &mut S {
        &mut self.shell
    }

    /// Changes what may be uploaded; `None` lets the session find out.
    pub fn set_upload_limit(&mut self, limit: Option<BitsPerSec>, now: Instant) {
        self.wish.upload_limit = limit;
        if let Some(viewer) = &mut self.viewer {
            viewer.session.set_uplink_limit(limit, now);
        }
        self.perform(now);
    }

    /// Chooses a rendition; `None` leaves it to the session.
    pub fn set_rendition(&mut self, chosen: Option<TrackId>, now: Instant) {
        self.wish.rendition = chosen;
        if let Some(viewer) = &mut self.viewer {
            viewer.session.select(TrackKind::Video, chosen, now);
        }
        self.perform(now);
        self.update_renditions();
    }

    /// Says goodbye to all. To be dropped afterwards, which closes everything.
    pub fn leave(&mut self, now: Instant) {
        if let Some(viewer) = &mut self.viewer {
            viewer.session.leave(now);
        }
        self.perform(now);
        self.signal.leave();
    }

    /// How it goes.
    pub fn stats(&self, now: Instant) -> (Stats, Facts) {
        let viewer = self.viewer.as_ref();
        let facts = Facts {
            state: self.state,
            peer_id: viewer.map(|viewer| viewer.id),
            until_session: viewer
                .map_or(Duration::ZERO, |viewer| viewer.began_at.since(Instant::from_micros(0))),
            is_tracker_connected: self.signal.is_joined(),
            is_server_linked: self.signal.is_linked(),
            clock_error: self.clock.error(),
        };
        let before_welcome = Stats { rate: 1.0, ..Stats::default() };
        (viewer.map_or(before_welcome, |viewer| viewer.session.stats(now)), facts)
    }

    fn handle_timeout(&mut self, now: Instant) {
        let said = self.signal.handle_timeout(now);
        self.handle_signal(said, now);
        self.connections.handle_timeout(now);
        let Some(viewer) = &mut self.viewer else { return };
        if viewer.session.poll_timeout().is_some_and(|due_at| due_at <= now) {
            viewer.session.handle_timeout(now);
        }
        if viewer.report_at <= now {
            let stats = viewer.session.stats(now);
            self.signal.send(&FromViewer::Report(report(&viewer.reported, &stats)));
            viewer.reported = stats;
            viewer.report_at = now + REPORT_INTERVAL;
        }
        if self.observe_at <= now && viewer.catalog.is_some() {
            self.observe_at = now + OBSERVE_INTERVAL;
            self.shell.play(MediaCommand::Observe);
            self.measure_backlogs(now);
        }
    }

    fn handle_media(&mut self, event: MediaEvent, now: Instant) {
        let Some(viewer) = &mut self.viewer else { return };
        match event {
            MediaEvent::Observed(state) => {
                viewer.session.set_player(state, now);
                let Stats { phase, tracks, .. } = viewer.session.stats(now);
                (viewer.phase, viewer.playing) = (phase, tracks);
            }
            MediaEvent::Broken(message) => {
                viewer.n_broken += 1;
                let is_fatal = viewer.n_broken > BROKEN_LIMIT;
                if let Some(catalog) = viewer.catalog.clone().filter(|_| !is_fatal) {
                    self.shell.play(MediaCommand::Attach(catalog));
                }
                self.fail("media", message, is_fatal);
            }
            MediaEvent::Problem { code, message, is_fatal } => self.fail(code, message, is_fatal),
        }
    }

    /// Does what the session says until it has nothing more to say.
    fn perform(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.viewer.as_mut().and_then(|viewer| viewer.session.poll_event()) {
                self.perform_one(event, now);
            }
            let Some((peer, event)) = self.connections.poll_event() else { return };
            self.handle_connection(peer, event, now);
        }
    }

    fn perform_one(&mut self, event: Event, now: Instant) {
        match event {
            Event::Transmit { to, bytes } => self.transmit(to, &bytes, now),
            Event::Connect { peer } if self.may_connect(peer) => {
                self.connections.handle(ConnectionCommand::Connect(peer), now);
            }
            Event::Connect { peer } => self.forget_link(peer, now),
            Event::Disconnect { peer } => self.disconnect(peer, now),
            Event::Blame { peer } => {
                self.signal.send(&FromViewer::Blame { peer });
            }
            Event::FindNeighbours { mut without } => {
                without.truncate(NEIGHBOUR_LIMIT);
                self.signal.send(&FromViewer::Neighbours { without });
            }
            Event::Attach(catalog) => self.attach(catalog),
            Event::Forwarded { from, text } => self.handle_introduction(from, &text, now),
            Event::Append { track, chunks, start_us, end_us, is_jump, is_last } => {
                self.shell.play(MediaCommand::Append { track, chunks, start_us, end_us, is_jump, is_last });
            }
            // Of the server peer.
            Event::Doubt { .. } | Event::Read { .. } => {}
            Event::SetRate(rate) => self.shell.play(MediaCommand::SetRate(rate)),
            Event::Seek { to_us } => self.shell.play(MediaCommand::Seek(to_us)),
        }
    }

    /// Whether there is a way to tell the peer what it needs to connect: the tracker, or a neighbour of both.
    fn may_connect(&self, peer: PeerId) -> bool {
        let viewer = self.viewer.as_ref();
        self.signal.is_joined() || viewer.is_some_and(|viewer| viewer.session.is_introduced(peer))
    }

    fn attach(&mut self, catalog: Catalog) {
        if let Some(viewer) = &mut self.viewer {
            viewer.catalog = Some(catalog.clone());
            viewer.n_broken = 0;
        }
        self.shell.play(MediaCommand::Attach(catalog));
    }

    fn fail(&mut self, code: &'static str, message: String, is_fatal: bool) {
        if !self.has_failed {
            self.has_failed = is_fatal;
            self.events.push_back(PlayerEvent::Error { code, message, is_fatal });
        }
    }

    fn update_renditions(&mut self) {
        let viewer = self.viewer.as_ref();
        let Some((viewer, catalog)) = viewer.and_then(|viewer| Some((viewer, viewer.catalog.as_ref()?)))
        else {
            return;
        };
        let renditions = Renditions::of(catalog, viewer.playing, self.wish.rendition);
        if renditions != self.renditions {
            self.events.push_back(PlayerEvent::Renditions(renditions.clone()));
            self.renditions = renditions;
        }
    }

    fn update_state(&mut self) {
        let state = match &self.viewer {
            None => State::Connecting,
            Some(_) if !self.signal.is_joined() => State::Reconnecting,
            Some(viewer) => viewer.state(),
        };
        if state != self.state {
            self.state = state;
            self.events.push_back(PlayerEvent::State(state));
        }
    }
}

impl Viewer {
    /// Whether there is something to watch.
    fn is_on(&self) -> bool {
        match self.channel.kind {
            ChannelKind::Live => self.channel.is_live,
            ChannelKind::Film => self.catalog.is_some(),
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Playing => State::Playing,
            _ if !self.is_on() => State::Waiting,
            Phase::Waiting | Phase::Buffering => State::Buffering,
            Phase::Stalled => State::Stalled,
            Phase::Resting => State::Resting,
        }
    }
}
