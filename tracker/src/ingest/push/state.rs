//! What is known of a channel's sources and its broadcast, and what a request may do to them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cardume_media::{Chunk, CutPart, Cutter, MediaTime, Track, TrackInit, TrackKind, ticks_to_micros};
use cardume_wire::{TrackId, WallTime};
use tokio::time::Instant;

use super::error::PushError;
use crate::channel::{Broadcast, BroadcastError, Reservation};
use crate::ingest::CaptureClock;

/// Sources remembered for one channel: the tracks of a broadcast, twice.
const SOURCE_LIMIT: usize = 16;
/// How long a broadcast waits for another track's header after the last one came. ffmpeg sends them within
/// milliseconds; half a second is for those that are far away.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// How long a header may be without any media: a first segment of HLS is usually 6 s, and 10 s in old advice.
const FIRST_MEDIA_LIMIT: Duration = Duration::from_secs(30);
/// The same with a request open that has brought media.
const OPEN_QUIET_LIMIT: Duration = Duration::from_secs(10);
/// After the last request: twice what it brought of media, between these.
const QUIET_MIN: Duration = Duration::from_secs(2);
const QUIET_MAX: Duration = Duration::from_secs(30);
/// How far ahead of its track's end media may be and still continue it: an encoder that lost some.
const GAP_LIMIT_US: u64 = 10_000_000;

/// A header, and what cuts media that follows it: a copy for each body.
#[derive(Debug, Clone, Default)]
pub(super) struct Header {
    cutter: Arc<Cutter>,
    inits: Arc<[TrackInit]>,
}

impl Header {
    /// The header that this cutter has just seen.
    pub(super) fn new(cutter: &Cutter, inits: Vec<TrackInit>) -> Self {
        let mut cutter = cutter.clone();
        while cutter.poll().is_some() {}
        // What it held of the body that follows is not of interest, nor whether that is whole.
        let _ = cutter.finish();
        Self { cutter: Arc::new(cutter), inits: inits.into() }
    }

    /// Cuts a body that follows the header.
    pub(super) fn cutter(&self) -> Cutter {
        Cutter::clone(&self.cutter)
    }
}

/// What a request says of itself.
#[derive(Debug)]
pub(super) struct Request {
    /// Another one for each request to the channel.
    id: u64,
    /// Of its source.
    pub(super) name: String,
    pub(super) from: Option<IpAddr>,
    pub(super) header: Header,
    has_init: bool,
    /// The broadcast that it has brought media to.
    broadcast: Option<u64>,
    /// How much.
    media_us: u64,
}

impl Request {
    pub(super) fn new(id: u64, name: String, from: Option<IpAddr>) -> Self {
        Self { id, name, from, header: Header::default(), has_init: true, broadcast: None, media_us: 0 }
    }

    /// One that brings media alone, after this header.
    pub(super) fn following(self, name: String, header: Header) -> Self {
        Self { name, header, has_init: false, ..self }
    }
}

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// Somebody else seems to be on air, or the same sender without this track.
    Contested,
    /// Headers of other tracks may come until then.
    NotBefore(Instant),
    /// The source's request before this one is not through.
    NotYet,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    sources: BTreeMap<String, Source>,
    air: Air,
    from: Option<IpAddr>,
    /// When the broadcast ends unless something is accepted before.
    quiet_at: Option<Instant>,
    /// Open requests that have brought media to the broadcast.
    n_publishing: usize,
    n_accepted: u64,
    /// Broadcasts that have ended; names the one on air.
    n_ended: u64,
}

/// What shares a name and a header.
#[derive(Debug, Default)]
struct Source {
    header: Header,
    /// One that came while another was on air: takes its place after the broadcast.
    next: Option<Header>,
    takes_part: bool,
    /// Its tracks in the broadcast on air.
    tracks: Vec<TrackProgress>,
    /// The open request that brings it media.
    request: Option<u64>,
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

impl State {
    /// Whether nobody is on air or about to be.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.air, Air::Off)
    }

    /// When the broadcast ends, unless something is accepted before; `None` when there is none.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.quiet_at
    }

    /// Counts that tell whether the broadcast on air showed life, or ended.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.n_accepted, self.n_ended)
    }

    /// The header of the first of these sources that has one.
    pub(super) fn find(&self, names: &[String]) -> Option<(String, Header)> {
        names.iter().find_map(|name| {
            let source = self.sources.get(name)?;
            // A source that has only just come speaks through its newest header.
            let header = if source.header.inits.is_empty() { source.next.as_ref()? } else { &source.header };
            Some((name.clone(), header.clone()))
        })
    }

    /// Takes the channel for the sender at `from`.
    pub(super) fn gather(&mut self, reservation: Reservation, from: Option<IpAddr>) {
        let now = Instant::now();
        self.air = Air::Gathering { reservation, settled_at: now + SETTLE_TIME };
        self.from = from;
        self.quiet_at = Some(now + FIRST_MEDIA_LIMIT);
    }

    /// Takes a source's header. Somebody must be on air, or have gathered.
    ///
    /// # Errors
    /// More sources than can be remembered.
    pub(super) fn announce(&mut self, request: &Request) -> Result<Verdict, PushError> {
        let is_foreign = self.from != request.from;
        self.make_room(&request.name)?;
        let source = self.sources.entry(request.name.clone()).or_default();
        let is_same = source.takes_part && source.header.inits == request.header.inits;
        match &mut self.air {
            Air::On { .. } if is_same && !is_foreign => Ok(Verdict::Done),
            Air::Gathering { settled_at, .. } if !is_foreign => {
                source.header = request.header.clone();
                source.next = None;
                source.takes_part = true;
                let has = |kind| request.header.inits.iter().any(|init| init.kind == kind);
                let is_complete = has(TrackKind::Video) && has(TrackKind::Audio);
                *settled_at = Instant::now() + if is_complete { Duration::ZERO } else { SETTLE_TIME };
                Ok(Verdict::Done)
            }
            _ => {
                source.next = Some(request.header.clone());
                Ok(Verdict::Contested)
            }
        }
    }

    /// Takes a chunk. Somebody must be on air, or have gathered.
    ///
    /// # Errors
    /// The broadcast cannot begin, or the tracker goes down.
    pub(super) async fn publish(
        &mut self,
        request: &mut Request,
        chunk: &Chunk,
        arrived_at: WallTime,
    ) -> Result<Verdict, PushError> {
        let source = self.sources.get_mut(&request.name).ok_or(PushError::NoInit)?;
        if self.from != request.from || source.header.inits != request.header.inits {
            return Ok(Verdict::Contested);
        }
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
        let part = match self.accept(request, chunk, arrived_at) {
            Ok(part) => part,
            Err(verdict) => return Ok(verdict),
        };
        if let Air::On { broadcast, .. } = &mut self.air {
            broadcast.publish(part).await?;
        }
        Ok(Verdict::Done)
    }

    /// A request has ended.
    pub(super) fn close(&mut self, request: &Request) {
        if request.broadcast != Some(self.n_ended) {
            return;
        }
        self.n_publishing = self.n_publishing.saturating_sub(1);
        if let Some(source) = self.sources.get_mut(&request.name).filter(|it| it.request == Some(request.id))
        {
            source.request = None;
        }
        if self.n_publishing == 0 && self.quiet_at.is_some() {
            // One that brought its own header was the whole broadcast; else the next segment may take as long again.
            let segment = Duration::from_micros(if request.has_init { 0 } else { request.media_us });
            self.quiet_at = Some(Instant::now() + segment.saturating_mul(2).clamp(QUIET_MIN, QUIET_MAX));
        }
    }

    /// Ends the broadcast.
    pub(super) fn end(&mut self) {
        self.air = Air::Off;
        self.from = None;
        self.quiet_at = None;
        self.n_publishing = 0;
        self.n_ended += 1;
        for source in self.sources.values_mut() {
            source.takes_part = false;
            source.tracks.clear();
            source.request = None;
            if let Some(next) = source.next.take() {
                source.header = next;
            }
        }
    }

    fn make_room(&mut self, name: &str) -> Result<(), PushError> {
        if self.sources.contains_key(name) || self.sources.len() < SOURCE_LIMIT {
            return Ok(());
        }
        self.sources.retain(|_, source| source.takes_part);
        let has_room = self.sources.len() < SOURCE_LIMIT;
        if has_room { Ok(()) } else { Err(PushError::TooManySources(SOURCE_LIMIT)) }
    }

    /// Goes on air with all sources that take part: video first, then in the order of their names.
    fn start(&mut self) -> Result<(), BroadcastError> {
        let Air::Gathering { reservation, .. } = std::mem::take(&mut self.air) else { return Ok(()) };
        let mut tracks: Vec<Track> = Vec::new();
        for kind in [TrackKind::Video, TrackKind::Audio] {
            for source in self.sources.values_mut().filter(|source| source.takes_part) {
                for (index, init) in source.header.inits.iter().enumerate() {
                    if init.kind != kind {
                        continue;
                    }
                    let id = TrackId(u8::try_from(tracks.len()).unwrap_or(u8::MAX));
                    tracks.push(init.track(id));
                    source.tracks.push(TrackProgress { index, id, timescale: init.timescale, last: None });
                }
            }
        }
        match reservation.start(tracks) {
            Ok(broadcast) => {
                self.air = Air::On { broadcast, clock: CaptureClock::new() };
                Ok(())
            }
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    /// The part that a chunk is, if it continues a track of the broadcast on air.
    fn accept(
        &mut self,
        request: &mut Request,
        chunk: &Chunk,
        arrived_at: WallTime,
    ) -> Result<CutPart, Verdict> {
        let Air::On { clock, .. } = &mut self.air else { return Err(Verdict::Contested) };
        let source = self.sources.get_mut(&request.name).ok_or(Verdict::Contested)?;
        let track = source.tracks.iter_mut().find(|track| track.index == chunk.track_index);
        let track = track.filter(|track| track.continues(chunk)).ok_or(Verdict::Contested)?;
        if source.request.is_some_and(|other| other != request.id) {
            return Err(Verdict::NotYet);
        }
        source.request = Some(request.id);
        let end = chunk.start.saturating_add(chunk.duration);
        track.last = Some((chunk.start, end));
        let start_us = chunk.start.to_micros(track.timescale);
        if let Some(produced_at) = chunk.produced_at {
            clock.observe_statement(produced_at, start_us, arrived_at);
        }
        clock.observe_arrival(arrived_at, end.to_micros(track.timescale));
        let captured_at = clock.captured_at(start_us).unwrap_or(arrived_at);
        let (id, media_us) = (track.id, ticks_to_micros(chunk.duration.into(), track.timescale));
        self.count(request, media_us);
        Ok(chunk.clone().into_part(id, captured_at))
    }

    fn count(&mut self, request: &mut Request, media_us: u64) {
        if request.broadcast != Some(self.n_ended) {
            request.broadcast = Some(self.n_ended);
            request.media_us = 0;
            self.n_publishing += 1;
        }
        request.media_us += media_us;
        self.n_accepted += 1;
        self.quiet_at = Some(Instant::now() + OPEN_QUIET_LIMIT);
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
