//! The viewer's line to the tracker: JSON over a WebSocket that comes back by itself.

use core::time::Duration;

use cardume_swarm::Instant;
use cardume_wire::signal::{FromTracker, FromViewer, MESSAGE_LEN_LIMIT};
use cardume_wire::{ChannelId, PROTOCOL_VERSION, WallTime};
use js_sys::JsString;

use crate::backoff::Backoff;
use crate::listener::Notify;
use crate::socket::{Socket, SocketEvent};

/// How long connecting and joining may take. Wild guess: three lost SYNs (1 + 2 + 4 s) and a little.
const JOIN_LIMIT: Duration = Duration::from_secs(10);
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
pub(crate) enum SignalEvent {
    /// The tracker said something.
    Message(FromTracker),
    /// The tracker told its time.
    Clock(ClockSample),
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
pub(crate) struct Signal {
    url: String,
    channel: ChannelId,
    resume: Option<String>,
    state: State,
    backoff: Backoff,
    clock: ClockQuestions,
    notify: Notify<SocketEvent>,
}

enum State {
    /// No socket until then.
    Away { until: Instant },
    /// The socket opens, or has opened and the tracker has not welcomed us yet.
    Joining { socket: Socket, asked_at: Instant, expires_at: Instant },
    /// Welcomed.
    Joined { socket: Socket },
    /// Never again.
    Stopped,
}

/// When the tracker's clock is asked for.
struct ClockQuestions {
    n_left_in_burst: u8,
    next_at: Instant,
    unanswered: Option<Instant>,
}

impl Signal {
    /// A line to `url` that joins `channel`, first at the next [`Signal::handle_timeout`].
    pub(crate) fn new(url: String, channel: ChannelId, notify: Notify<SocketEvent>, now: Instant) -> Self {
        Self {
            url,
            channel,
            resume: None,
            state: State::Away { until: now },
            backoff: Backoff::default(),
            clock: ClockQuestions::new(now),
            notify,
        }
    }

    /// Takes what the socket reported; says at most two things about it.
    pub(crate) fn handle_socket(&mut self, event: &SocketEvent, now: Instant) -> Vec<SignalEvent> {
        match event {
            SocketEvent::Opened => {
                self.join(now);
                Vec::new()
            }
            SocketEvent::Text(text) => self.handle_text(text, now),
            SocketEvent::Binary(_) => Vec::new(),
            SocketEvent::Closed => self.lose(now),
        }
    }

    /// Says something to the tracker; false when it is away.
    pub(crate) fn send(&self, message: &FromViewer) -> bool {
        let State::Joined { socket } = &self.state else { return false };
        send_to(socket, message)
    }

    /// Whether the tracker has welcomed us and is still there.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Goes away and comes back at a moment of the next `within`, as a tracker that goes down asks.
    pub(crate) fn drain(&mut self, within: Duration, now: Instant) {
        let wait = within.mul_f64(js_sys::Math::random());
        self.state = State::Away { until: now + wait };
    }

    /// Says goodbye and never comes back.
    pub(crate) fn leave(&mut self) {
        self.send(&FromViewer::Leave);
        self.state = State::Stopped;
    }

    /// Does what is due. Early calls are harmless.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<SignalEvent> {
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
        self.state = match Socket::connect(&self.url, self.notify.clone()) {
            Some(socket) => State::Joining { socket, asked_at: now, expires_at: now + JOIN_LIMIT },
            None => State::Away { until: now + self.backoff.next(js_sys::Math::random()) },
        };
    }

    fn join(&mut self, now: Instant) {
        let State::Joining { socket, asked_at, .. } = &mut self.state else { return };
        *asked_at = now;
        let message = FromViewer::Join {
            version: PROTOCOL_VERSION,
            channel: self.channel.clone(),
            resume: self.resume.clone(),
        };
        send_to(socket, &message);
    }

    fn handle_text(&mut self, text: &JsString, now: Instant) -> Vec<SignalEvent> {
        let Some(message) = parse(text) else { return Vec::new() };
        match message {
            FromTracker::Welcome(welcome) => {
                let sample = self.welcome(welcome.resume.clone(), welcome.time, now);
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

    fn welcome(&mut self, resume: String, time: WallTime, now: Instant) -> Option<ClockSample> {
        self.resume = Some(resume);
        self.backoff.reset();
        self.clock = ClockQuestions::new(now);
        match core::mem::replace(&mut self.state, State::Stopped) {
            State::Joining { socket, asked_at, .. } => {
                self.state = State::Joined { socket };
                Some(ClockSample { sent_at: asked_at, time, received_at: now })
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn ask_clock(&mut self, now: Instant) -> Vec<SignalEvent> {
        if self.clock.is_overdue(now) {
            return self.lose(now);
        }
        if self.clock.ask(now) {
            self.send(&FromViewer::Clock { sent_at: now.as_micros() });
        }
        Vec::new()
    }

    fn lose(&mut self, now: Instant) -> Vec<SignalEvent> {
        let was_there = match self.state {
            State::Stopped | State::Away { .. } => return Vec::new(),
            State::Joining { .. } => false,
            State::Joined { .. } => true,
        };
        self.state = State::Away { until: now + self.backoff.next(js_sys::Math::random()) };
        if was_there { vec![SignalEvent::Lost] } else { Vec::new() }
    }
}

impl ClockQuestions {
    fn new(now: Instant) -> Self {
        Self { n_left_in_burst: BURST_LEN, next_at: now + BURST_INTERVAL, unanswered: None }
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

fn send_to(socket: &Socket, message: &FromViewer) -> bool {
    serde_json::to_string(message).is_ok_and(|text| socket.send_text(&text))
}

/// A message, or `None` for what is too long or of a newer tracker.
fn parse(text: &JsString) -> Option<FromTracker> {
    // UTF-16 units; UTF-8 is at least as long, so this bounds the copy at three times the limit.
    if text.length() as usize > MESSAGE_LEN_LIMIT {
        return None;
    }
    serde_json::from_str(&String::from(text)).ok()
}
