//! Who pushes to a channel: which sources there are, when a broadcast begins and ends, and whose it is.
//!
//! A source is what shares a name and a header: a track, or several muxed ones. Its header is remembered for as long
//! as the tracker runs, so that an encoder whose network was away goes on with media alone.
//!
//! **One sender or two?** An encoder uses several connections at once, so a connection tells nothing. Whoever comes
//! from another address than the sender on air, changes a header, or sends media that does not continue its track's
//! timeline, contests the broadcast. A contest is decided by time: if the sender on air sends anything accepted, the
//! newcomer is refused; if it stays silent until its broadcast ends, the newcomer begins the next one. So a second
//! encoder is refused within a part's time, and an encoder that is started again takes over when the old one is gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cardume_media::{Chunk, Cutter, MediaTime, Track, TrackInit, TrackKind, ticks_to_micros};
use cardume_wire::{TrackId, WallTime};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::PushError;
use super::source;
use crate::channel::{Broadcast, BroadcastError, Channel, Reservation};
use crate::ingest::CaptureClock;

/// Requests with media at once for one channel: an encoder has at most two open for each of eight tracks.
const OPEN_BODY_LIMIT: usize = 16;
/// Sources remembered for one channel: the tracks of a broadcast, twice.
const SOURCE_LIMIT: usize = 16;
/// How long a broadcast waits for another track's header after the last one came. ffmpeg sends them within
/// milliseconds; half a second is for those that are far away.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// How long media waits for its header: ffmpeg's HLS output completes both at about the same time.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a header may be without any media: a first segment of HLS is usually 6 s, and 10 s in old advice.
const FIRST_MEDIA_LIMIT: Duration = Duration::from_secs(30);
/// The same with a request open that has brought media.
const OPEN_QUIET_LIMIT: Duration = Duration::from_secs(10);
/// After the last request: twice what it brought of media, between these.
const QUIET_MIN: Duration = Duration::from_secs(2);
const QUIET_MAX: Duration = Duration::from_secs(30);
/// How far ahead of its track's end media may be and still continue it: an encoder that lost some.
const GAP_LIMIT_US: u64 = 10_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Intake {
    channel: Arc<Channel>,
    state: Mutex<State>,
    /// Wakes whoever waits for something to be accepted, announced or ended.
    pulse: watch::Sender<()>,
    n_open: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    sources: BTreeMap<String, Source>,
    air: Air,
    from: Option<IpAddr>,
    /// When the broadcast ends unless something is accepted before.
    quiet_at: Option<Instant>,
    n_accepted: u64,
    n_ended: u64,
}

/// What shares a name and a header.
#[derive(Debug, Default)]
struct Source {
    cutter: Arc<Mutex<Cutter>>,
    inits: Vec<TrackInit>,
    takes_part: bool,
    /// Its tracks in the broadcast on air.
    tracks: Vec<TrackProgress>,
}

#[derive(Debug, Clone, Copy)]
struct TrackProgress {
    /// Which of its source's `inits` it is.
    index: usize,
    id: TrackId,
    timescale: u32,
    /// Where its last part began and ended.
    last: Option<(MediaTime, MediaTime)>,
}

#[derive(Debug, Default)]
enum Air {
    #[default]
    Off,
    /// Headers come in; no more are expected after `settled_at`.
    Gathering {
        reservation: Reservation,
        settled_at: Instant,
    },
    On {
        broadcast: Broadcast,
        clock: CaptureClock,
    },
}

/// Whether a request may go on.
enum Verdict {
    Done,
    /// Somebody else seems to be on air.
    Contested,
    /// Headers of other tracks may come until then.
    NotBefore(Instant),
}

impl Intake {
    /// Nobody has pushed to the channel yet.
    pub(super) fn new(channel: Arc<Channel>) -> Arc<Self> {
        let (state, pulse) = (Mutex::default(), watch::Sender::new(()));
        Arc::new(Self { channel, state, pulse, n_open: AtomicUsize::new(0) })
    }

    /// The channel.
    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Takes a body that brings a header.
    ///
    /// # Errors
    /// Too many bodies or sources.
    pub(super) async fn open_with_init(
        self: &Arc<Self>,
        path: &str,
        from: Option<IpAddr>,
    ) -> Result<OpenBody, PushError> {
        let guard = OpenGuard::new(self)?;
        let name = source::init_name(path);
        let mut state = self.state.lock().await;
        if !state.sources.contains_key(&name) && state.sources.len() >= SOURCE_LIMIT {
            state.sources.retain(|_, source| source.takes_part);
        }
        if !state.sources.contains_key(&name) && state.sources.len() >= SOURCE_LIMIT {
            return Err(PushError::TooManySources(SOURCE_LIMIT));
        }
        let cutter = Arc::clone(&state.sources.entry(name.clone()).or_default().cutter);
        drop(state);
        Ok(OpenBody { guard, name, from, cutter, has_init: true, media_us: 0 })
    }

    /// Takes a body of media alone, when its header is there: waits for that a while.
    ///
    /// # Errors
    /// Too many bodies, or [`PushError::NoInit`].
    pub(super) async fn open_media(
        self: &Arc<Self>,
        path: &str,
        from: Option<IpAddr>,
    ) -> Result<OpenBody, PushError> {
        let guard = OpenGuard::new(self)?;
        let find = async {
            let mut pulse = self.pulse.subscribe();
            loop {
                let state = self.state.lock().await;
                let known =
                    |name: &String| state.sources.get(name).is_some_and(|source| !source.inits.is_empty());
                if let Some(name) = source::media_names(path).into_iter().find(known) {
                    let cutter = state.sources.get(&name).map(|source| Arc::clone(&source.cutter));
                    return (name, cutter.unwrap_or_default());
                }
                drop(state);
                // The sender half lives as long as `self`.
                let _ = pulse.changed().await;
            }
        };
        let (name, cutter) = timeout(INIT_TIMEOUT, find).await.map_err(|_| PushError::NoInit)?;
        Ok(OpenBody { guard, name, from, cutter, has_init: false, media_us: 0 })
    }

    /// Waits until the broadcast on air shows life, or ends.
    ///
    /// # Errors
    /// [`PushError::Busy`] when it shows life.
    async fn contest(&self) -> Result<(), PushError> {
        let mut pulse = self.pulse.subscribe();
        let (n_accepted, n_ended) = {
            let state = self.state.lock().await;
            (state.n_accepted, state.n_ended)
        };
        loop {
            let state = self.state.lock().await;
            if state.n_ended > n_ended || matches!(state.air, Air::Off) {
                return Ok(());
            }
            if state.n_accepted > n_accepted {
                return Err(PushError::Busy(BroadcastError::Busy));
            }
            drop(state);
            let _ = pulse.changed().await;
        }
    }

    /// Ends the broadcast when it has been quiet for too long.
    async fn watch_quiet(intake: Weak<Self>) {
        let Some(mut pulse) = intake.upgrade().map(|intake| intake.pulse.subscribe()) else { return };
        loop {
            let Some(this) = intake.upgrade() else { return };
            let mut state = this.state.lock().await;
            let Some(quiet_at) = state.quiet_at else { return };
            if Instant::now() >= quiet_at {
                tracing::info!(channel = %this.channel.id(), "a pushed broadcast has ended");
                state.end();
                this.pulse.send_replace(());
                return;
            }
            drop(state);
            drop(this);
            tokio::select! {
                () = sleep_until(quiet_at) => {}
                changed = pulse.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// A request whose body is being read.
#[derive(Debug)]
pub(super) struct OpenBody {
    guard: OpenGuard,
    /// Of its source.
    name: String,
    from: Option<IpAddr>,
    cutter: Arc<Mutex<Cutter>>,
    has_init: bool,
    /// How much it has brought.
    media_us: u64,
}

impl OpenBody {
    /// What cuts the bodies of this source, one after the other.
    pub(super) fn cutter(&self) -> Arc<Mutex<Cutter>> {
        Arc::clone(&self.cutter)
    }

    /// The source's header, when it is new.
    ///
    /// # Errors
    /// Somebody else is on air, or the broadcast has begun without it.
    pub(super) async fn announce(&mut self, inits: Vec<TrackInit>) -> Result<(), PushError> {
        let intake = Arc::clone(&self.guard.intake);
        loop {
            let mut state = intake.state.lock().await;
            let verdict = state.announce(&intake, self, &inits)?;
            drop(state);
            match verdict {
                Verdict::Contested => intake.contest().await?,
                _ => {
                    intake.pulse.send_replace(());
                    return Ok(());
                }
            }
        }
    }

    /// A chunk of media that was complete at `arrived_at`.
    ///
    /// # Errors
    /// Somebody else is on air, or the source takes no part in the broadcast.
    pub(super) async fn publish(&mut self, chunk: Chunk, arrived_at: WallTime) -> Result<(), PushError> {
        let intake = Arc::clone(&self.guard.intake);
        loop {
            let mut state = intake.state.lock().await;
            let verdict = state.publish(&intake, self, &chunk, arrived_at).await?;
            drop(state);
            match verdict {
                Verdict::Done => break,
                Verdict::Contested => intake.contest().await?,
                Verdict::NotBefore(settled_at) => sleep_until(settled_at).await,
            }
        }
        intake.pulse.send_replace(());
        Ok(())
    }

    /// It has ended: the broadcast ends too, unless another comes in time.
    pub(super) async fn close(self) {
        let Self { guard, has_init, media_us, .. } = self;
        let intake = Arc::clone(&guard.intake);
        let mut state = intake.state.lock().await;
        drop(guard);
        let is_last = intake.n_open.load(Ordering::Relaxed) == 0;
        if is_last && media_us > 0 && state.quiet_at.is_some() {
            // One that brought its own header was the whole broadcast; else the next segment may take as long again.
            let segment = Duration::from_micros(if has_init { 0 } else { media_us });
            state.quiet_at = Some(Instant::now() + segment.saturating_mul(2).clamp(QUIET_MIN, QUIET_MAX));
            intake.pulse.send_replace(());
        }
    }
}

/// Counts an open body.
#[derive(Debug)]
struct OpenGuard {
    intake: Arc<Intake>,
}

impl OpenGuard {
    fn new(intake: &Arc<Intake>) -> Result<Self, PushError> {
        let guard = Self { intake: Arc::clone(intake) };
        let n_before = intake.n_open.fetch_add(1, Ordering::Relaxed);
        if n_before >= OPEN_BODY_LIMIT { Err(PushError::TooManyBodies(OPEN_BODY_LIMIT)) } else { Ok(guard) }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.intake.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    fn announce(
        &mut self,
        intake: &Arc<Intake>,
        body: &OpenBody,
        inits: &[TrackInit],
    ) -> Result<Verdict, PushError> {
        if self.is_foreign(body.from) {
            return Ok(Verdict::Contested);
        }
        if matches!(self.air, Air::Off) {
            self.gather(intake, body.from)?;
        }
        let source = self.sources.entry(body.name.clone()).or_default();
        match &mut self.air {
            Air::On { .. } if !source.takes_part => return Err(PushError::LateTrack),
            Air::On { .. } if source.inits == inits => {}
            Air::On { .. } => return Ok(Verdict::Contested),
            Air::Gathering { settled_at, .. } => {
                source.inits = inits.to_vec();
                source.takes_part = true;
                let is_complete = source.has(TrackKind::Video) && source.has(TrackKind::Audio);
                *settled_at = Instant::now() + if is_complete { Duration::ZERO } else { SETTLE_TIME };
            }
            Air::Off => {}
        }
        Ok(Verdict::Done)
    }

    async fn publish(
        &mut self,
        intake: &Arc<Intake>,
        body: &mut OpenBody,
        chunk: &Chunk,
        arrived_at: WallTime,
    ) -> Result<Verdict, PushError> {
        if self.is_foreign(body.from) {
            return Ok(Verdict::Contested);
        }
        if matches!(self.air, Air::Off) {
            self.gather(intake, body.from)?;
        }
        let Some(source) = self.sources.get_mut(&body.name) else { return Err(PushError::NoInit) };
        if let Air::Gathering { settled_at, .. } = &mut self.air {
            if !source.takes_part {
                // Its header came for an earlier broadcast.
                source.takes_part = true;
                *settled_at = Instant::now() + SETTLE_TIME;
            }
            if Instant::now() < *settled_at {
                return Ok(Verdict::NotBefore(*settled_at));
            }
            self.start()?;
        }
        let Air::On { broadcast, clock } = &mut self.air else { return Ok(Verdict::Contested) };
        let Some(source) = self.sources.get_mut(&body.name).filter(|source| source.takes_part) else {
            return Err(PushError::LateTrack);
        };
        let Some(track) = source.tracks.iter_mut().find(|track| track.index == chunk.track_index) else {
            return Err(PushError::NoInit);
        };
        if !track.continues(chunk) {
            return Ok(Verdict::Contested);
        }
        let end = chunk.start.saturating_add(chunk.duration);
        track.last = Some((chunk.start, end));
        let start_us = chunk.start.to_micros(track.timescale);
        if let Some(produced_at) = chunk.produced_at {
            clock.observe_statement(produced_at, start_us, arrived_at);
        }
        clock.observe_arrival(arrived_at, end.to_micros(track.timescale));
        let captured_at = clock.captured_at(start_us).unwrap_or(arrived_at);
        broadcast.publish(chunk.clone().into_part(track.id, captured_at)).await?;
        body.media_us += ticks_to_micros(chunk.duration.into(), track.timescale);
        self.n_accepted += 1;
        self.quiet_at = Some(Instant::now() + OPEN_QUIET_LIMIT);
        Ok(Verdict::Done)
    }

    /// Whether somebody at another address is on air.
    fn is_foreign(&self, from: Option<IpAddr>) -> bool {
        !matches!(self.air, Air::Off) && self.from != from
    }

    /// Takes the channel for the sender at `from`.
    fn gather(&mut self, intake: &Arc<Intake>, from: Option<IpAddr>) -> Result<(), PushError> {
        let reservation = intake.channel.reserve()?;
        tracing::info!(channel = %intake.channel.id(), ?from, "a push begins");
        let now = Instant::now();
        self.air = Air::Gathering { reservation, settled_at: now + SETTLE_TIME };
        self.from = from;
        self.quiet_at = Some(now + FIRST_MEDIA_LIMIT);
        tokio::spawn(Intake::watch_quiet(Arc::downgrade(intake)));
        Ok(())
    }

    /// Goes on air with all sources that take part: video first, then in the order of their names.
    fn start(&mut self) -> Result<(), PushError> {
        let Air::Gathering { reservation, .. } = std::mem::take(&mut self.air) else { return Ok(()) };
        let mut tracks: Vec<Track> = Vec::new();
        for source in self.sources.values_mut() {
            source.tracks.clear();
        }
        for kind in [TrackKind::Video, TrackKind::Audio] {
            for source in self.sources.values_mut().filter(|source| source.takes_part) {
                for (index, init) in source.inits.iter().enumerate().filter(|(_, init)| init.kind == kind) {
                    let id = TrackId(u8::try_from(tracks.len()).unwrap_or(u8::MAX));
                    tracks.push(init.track(id));
                    source.tracks.push(TrackProgress { index, id, timescale: init.timescale, last: None });
                }
            }
        }
        match reservation.start(tracks) {
            Ok(broadcast) => self.air = Air::On { broadcast, clock: CaptureClock::new() },
            Err(error) => {
                self.end();
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.air = Air::Off;
        self.from = None;
        self.quiet_at = None;
        self.n_ended += 1;
        for source in self.sources.values_mut() {
            source.takes_part = false;
            source.tracks.clear();
        }
    }
}

impl Source {
    fn has(&self, kind: TrackKind) -> bool {
        self.inits.iter().any(|init| init.kind == kind)
    }
}

impl TrackProgress {
    /// Whether a chunk is the next one of this track, perhaps after a gap.
    fn continues(&self, chunk: &Chunk) -> bool {
        let Some((last_start, last_end)) = self.last else { return true };
        let gap_limit = last_end.to_micros(self.timescale).saturating_add(GAP_LIMIT_US);
        chunk.start > last_start && chunk.start.to_micros(self.timescale) <= gap_limit
    }
}
