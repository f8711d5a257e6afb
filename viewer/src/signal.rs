//! The viewer's line to the tracker: a WebSocket that comes back by itself. Text is signalling, binary messages are the link
//! to the server peer.

use core::time::Duration;

use bytes::Bytes;
use cardume_swarm::Instant;
use cardume_wire::signal::{FromTracker, FromViewer, Join, MESSAGE_LEN_LIMIT, Welcome};
use cardume_wire::{ChannelId, PROTOCOL_VERSION, WallTime};

use crate::backoff::Backoff;
use crate::{Dialler, Socket, SocketEvent};

/// How long connecting and joining may take. Wild guess: three lost SYNs (1 + 2 + 4 s) and a little.
const JOIN_LIMIT: Duration = Duration::from_secs(10);
/// A line that lasted this long was a good one: the wait after its end is short again. Wild guess.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// How long the tracker may be silent on a question for its clock before the line counts as dead. Wild guess.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// Questions for the tracker's clock in quick succession after joining; the one with the shortest round trip counts.
const BURST_LEN: u8 = 7;
/// Between the questions of a burst: far enough that one queue on the path does not spoil them all.
const BURST_INTERVAL: Duration = Duration::from_millis(200);
/// Between questions later on: quartz drifts some 50 ppm, 0.5 ms in this time.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// What the line brings.
#[derive(Debug)]
pub(crate) enum SignalEvent<'a> {
    /// The tracker said something.
    Message(FromTracker),
    /// The tracker told its time.
    Clock(ClockSample),
    /// The server peer sent something.
    FromServer(&'a [u8]),
    /// The line broke; it will be tried again.
    Lost,
}

/// The tracker's time, with the viewer's before and after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockSample {
    /// When the viewer asked.
    pub(crate) sent_at: Instant,
    /// What the tracker said.
    pub(crate) time: WallTime,
    /// When the answer came.
    pub(crate) received_at: Instant,
}

/// The line itself.
pub(crate) struct Signal<D: Dialler> {
    channel: ChannelId,
    dialler: D,
    resume: Option<String>,
    state: State<D::Socket>,
    backoff: Backoff,
    clock: ClockQuestions,
}

enum State<S> {
    /// No socket until then.
    Away { until: Instant },
    /// The socket opens, or has opened and the tracker has not welcomed us yet.
    Joining { socket: S, asked_at: Instant, expires_at: Instant },
    /// Welcomed.
    Joined { socket: S, is_linked: bool, since: Instant },
    /// Never again.
    Stopped,
}

/// When the tracker's clock is asked for.
struct ClockQuestions {
    n_left_in_burst: u8,
    next_at: Instant,
    unanswered: Option<Instant>,
}

impl<D: Dialler> Signal<D> {
    /// A line that joins the channel, first at the next [`Signal::handle_timeout`].
    pub(crate) fn new(channel: ChannelId, dialler: D, now: Instant) -> Self {
        Self {
            channel,
            dialler,
            resume: None,
            state: State::Away { until: now },
            backoff: Backoff::default(),
            clock: ClockQuestions::new(now),
        }
    }

    /// A number of 0..1 that nobody foresees.
    pub(crate) fn chance(&mut self) -> f64 {
        self.dialler.chance()
    }

    /// Takes what the socket reported; says at most two things about it.
    pub(crate) fn handle_socket<'a>(&mut self, event: SocketEvent<'a>, now: Instant) -> Vec<SignalEvent<'a>> {
        match event {
            SocketEvent::Text(text) => self.handle_text(text, now),
            SocketEvent::Binary(message) if self.is_linked() => vec![SignalEvent::FromServer(message)],
            SocketEvent::Opened | SocketEvent::Binary(_) => Vec::new(),
            SocketEvent::Closed => self.lose(now),
        }
    }

    /// Says something to the tracker; false when it is away.
    pub(crate) fn send(&self, message: &FromViewer) -> bool {
        let State::Joined { socket, .. } = &self.state else { return false };
        serde_json::to_string(message).is_ok_and(|text| socket.send_text(&text))
    }

    /// Sends one message to the server peer; false when the link is not open or its queue is full.
    pub(crate) fn send_to_server(&self, bytes: &Bytes) -> bool {
        matches!(&self.state, State::Joined { socket, is_linked: true, .. } if socket.send_bytes(bytes))
    }

    /// Bytes handed over and not yet sent.
    pub(crate) fn backlog_len(&self) -> usize {
        if let State::Joined { socket, .. } = &self.state { socket.backlog_len() } else { 0 }
    }

    /// Whether messages pass to the server peer.
    pub(crate) fn is_linked(&self) -> bool {
        matches!(self.state, State::Joined { is_linked: true, .. })
    }

    /// Whether the tracker has welcomed us and is still there.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Goes away and comes back at a moment of the next `within`, as a tracker that goes down asks.
    pub(crate) fn drain(&mut self, within: Duration, now: Instant) {
        let wait = within.mul_f64(self.dialler.chance());
        self.state = State::Away { until: now + wait };
    }

    /// Says goodbye and never comes back.
    pub(crate) fn leave(&mut self) {
        self.send(&FromViewer::Leave);
        self.state = State::Stopped;
    }

    /// Does what is due. Early calls are harmless.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<SignalEvent<'static>> {
        match &self.state {
            State::Away { until } if *until <= now => self.connect(now),
            State::Joining { expires_at, .. } if *expires_at <= now => return self.lose(now),
            State::Joined { .. } => return self.ask_clock(now),
            _ => {}
        }
        Vec::new()
    }

    /// When [`Signal::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Away { until } => Some(*until),
            State::Joining { expires_at, .. } => Some(*expires_at),
            State::Joined { .. } => Some(self.clock.due_at()),
            State::Stopped => None,
        }
    }

    fn connect(&mut self, now: Instant) {
        let join =
            Join { version: PROTOCOL_VERSION, channel: self.channel.clone(), resume: self.resume.clone() };
        self.state = match self.dialler.dial(&join.address()) {
            Some(socket) => State::Joining { socket, asked_at: now, expires_at: now + JOIN_LIMIT },
            None => State::Away { until: now + self.backoff.next(self.dialler.chance()) },
        };
    }

    fn handle_text<'a>(&mut self, text: &str, now: Instant) -> Vec<SignalEvent<'a>> {
        let Some(message) = parse(text) else { return Vec::new() };
        match message {
            FromTracker::Welcome(welcome) => {
                let sample = self.welcome(&welcome, now);
                let mut events = vec![SignalEvent::Message(FromTracker::Welcome(welcome))];
                events.extend(sample.map(SignalEvent::Clock));
                events
            }
            FromTracker::Clock { sent_at, time } => {
                self.clock.answer(sent_at, time, now).map(SignalEvent::Clock).into_iter().collect()
            }
            message => vec![SignalEvent::Message(message)],
        }
    }

    fn welcome(&mut self, welcome: &Welcome, now: Instant) -> Option<ClockSample> {
        self.resume = Some(welcome.resume.clone());
        self.clock = ClockQuestions::new(now);
        match core::mem::replace(&mut self.state, State::Stopped) {
            State::Joining { socket, asked_at, .. } => {
                self.state = State::Joined { socket, is_linked: welcome.is_linked, since: now };
                Some(ClockSample { sent_at: asked_at, time: welcome.time, received_at: now })
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn ask_clock(&mut self, now: Instant) -> Vec<SignalEvent<'static>> {
        if self.clock.is_overdue(now) {
            return self.lose(now);
        }
        if self.clock.ask(now) {
            self.send(&FromViewer::Clock { sent_at: now.as_micros() });
        }
        Vec::new()
    }

    /// The socket is gone, or shall go: another one is tried later.
    pub(crate) fn lose(&mut self, now: Instant) -> Vec<SignalEvent<'static>> {
        let was_there = match self.state {
            State::Stopped | State::Away { .. } => return Vec::new(),
            State::Joining { .. } => false,
            State::Joined { since, .. } => {
                if since + GOOD_AFTER <= now {
                    self.backoff.reset();
                }
                true
            }
        };
        self.state = State::Away { until: now + self.backoff.next(self.dialler.chance()) };
        if was_there { vec![SignalEvent::Lost] } else { Vec::new() }
    }
}

impl ClockQuestions {
    fn new(now: Instant) -> Self {
        // At once: connecting took several round trips, so the welcome tells the time only roughly.
        Self { n_left_in_burst: BURST_LEN, next_at: now, unanswered: None }
    }

    fn due_at(&self) -> Instant {
        match self.unanswered {
            Some(sent_at) => sent_at + ANSWER_LIMIT,
            None => self.next_at,
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.unanswered.is_some_and(|sent_at| sent_at + ANSWER_LIMIT <= now)
    }

    /// Whether to ask now; notes that it was done.
    fn ask(&mut self, now: Instant) -> bool {
        if self.unanswered.is_some() || now < self.next_at {
            return false;
        }
        self.unanswered = Some(now);
        self.next_at = now + if self.n_left_in_burst > 0 { BURST_INTERVAL } else { CLOCK_INTERVAL };
        self.n_left_in_burst = self.n_left_in_burst.saturating_sub(1);
        true
    }

    /// An answer to the question that is open, or `None` for any other.
    fn answer(&mut self, sent_at: u64, time: WallTime, now: Instant) -> Option<ClockSample> {
        let sent_at = self.unanswered.take_if(|asked_at| asked_at.as_micros() == sent_at)?;
        Some(ClockSample { sent_at, time, received_at: now })
    }
}

/// A message, or `None` for what is too long or of a newer tracker.
fn parse(text: &str) -> Option<FromTracker> {
    if text.len() > MESSAGE_LEN_LIMIT { None } else { serde_json::from_str(text).ok() }
}
