//! The task that owns one channel's session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{CutPart, PartId};
use cardume_swarm::{Config, Event, Instant, Session, Stats};
use cardume_wire::{PeerId, TrackId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::adoption::{Adoption, Progress};
use super::link::Link;
use super::onair::Admitted;
use super::{Common, Ties};
use crate::channel::{ChannelEnd, Start};
use crate::egress::{EgressBudget, Share, Terms};
use crate::film::FilmFile;
use crate::store::Store;

/// What links and statistics ask of the actor. A link's `number` tells it from a later one of the same peer.
#[derive(Debug)]
pub(super) enum Command {
    Opened {
        peer: PeerId,
        link: Link,
        taken: oneshot::Sender<bool>,
    },
    Received {
        peer: PeerId,
        number: u64,
        bytes: Bytes,
    },
    Backlog {
        peer: PeerId,
        number: u64,
        len: usize,
    },
    Closed {
        peer: PeerId,
        number: u64,
    },
    Stats(oneshot::Sender<Stats>),
    /// What another node publishes.
    Adopt {
        messages: Vec<Bytes>,
        reply: oneshot::Sender<Progress>,
    },
    /// It is out of reach.
    CutOff,
    /// It does not any more.
    Abandon,
    /// Another node has a newer broadcast than ours.
    Yield,
    /// What is here, for another node.
    Held {
        next: BTreeMap<TrackId, u32>,
        span: Duration,
        reply: oneshot::Sender<Vec<Bytes>>,
    },
}

/// One channel's server peer.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) end: ChannelEnd,
    pub(super) store: Arc<Store>,
    pub(super) session: Session,
    began_at: tokio::time::Instant,
    links: BTreeMap<PeerId, Link>,
    link_limit: usize,
    pub(super) ties: Ties,
    /// Parts of the broadcast that is on.
    pub(super) parts: Option<mpsc::Receiver<CutPart>>,
    /// Broadcasts that may begin as soon as they have a number.
    pub(super) admissions: JoinSet<Admitted>,
    pub(super) adoption: Adoption,
    pub(super) has_broadcast: bool,
    film: Option<Arc<FilmFile>>,
    /// Parts of the film that are being read.
    reads: JoinSet<(PartId, std::io::Result<Bytes>)>,
    /// Whether the log says already that the film on disk is not what it was.
    is_damage_known: bool,
    budget: Arc<EgressBudget>,
    budget_changes: watch::Receiver<Terms>,
    /// Held while there is something to send and somebody to send it to.
    share: Option<Share>,
    stop: CancellationToken,
}

impl Actor {
    pub(super) fn new(end: ChannelEnd, ties: Ties, seed: u64, common: &Common) -> Self {
        let mut config = Config::server(common.budget.share());
        config.target_latency = end.channel().target_latency();
        config.server_link_limit = common.link_limit;
        let session = Session::new(config, end.signing_key().public(), seed, Instant::default());
        Self {
            end,
            store: Arc::clone(&common.store),
            session,
            began_at: tokio::time::Instant::now(),
            links: BTreeMap::new(),
            link_limit: common.link_limit,
            ties,
            parts: None,
            admissions: JoinSet::new(),
            adoption: Adoption::default(),
            has_broadcast: false,
            film: None,
            reads: JoinSet::new(),
            is_damage_known: false,
            budget: Arc::clone(&common.budget),
            budget_changes: common.budget.changes(),
            share: None,
            stop: common.stop.clone(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let stop = self.stop.clone();
        loop {
            self.perform();
            self.claim_share();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(self.timeout_at()) => self.session.handle_timeout(self.now()),
                Ok(()) = self.budget_changes.changed() => self.adopt_share(),
                Ok(()) = self.ties.banned.changed() => self.close_banned(),
                part = next_part(&mut self.parts) => match part {
                    Some(part) => self.publish(part),
                    None => self.end_broadcast(),
                },
                Some(start) = self.end.next_start(), if self.is_free() => self.start(start).await,
                Some(Ok(admitted)) = self.admissions.join_next() => self.begin(admitted),
                Some(Ok((part, media))) = self.reads.join_next() => self.part_read(part, media),
                Some(command) = commands.recv() => self.handle(command),
            }
        }
        self.end_broadcast();
        self.session.leave(self.now());
        self.perform();
    }

    fn handle(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Opened { peer, link, taken } => {
                // Whoever asked may have gone.
                let _ = taken.send(self.open(peer, link));
            }
            Command::Received { peer, number, bytes } if self.is_current(peer, number) => {
                self.session.receive(peer, &bytes, now);
            }
            Command::Backlog { peer, number, len } if self.is_current(peer, number) => {
                self.session.set_backlog(peer, len, now);
            }
            Command::Closed { peer, number } if self.is_current(peer, number) => {
                self.links.remove(&peer);
                self.session.link_closed(peer, now);
            }
            Command::Stats(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.session.stats(now));
            }
            Command::Adopt { messages, reply } => {
                // As above, and below.
                let _ = reply.send(self.adopt(&messages));
            }
            Command::Held { next, span, reply } => {
                let _ = reply.send(self.held(&next, span));
            }
            Command::CutOff => self.session.cut_off(self.now()),
            Command::Abandon => self.abandon(),
            Command::Yield => self.end_broadcast(),
            Command::Received { .. } | Command::Backlog { .. } | Command::Closed { .. } => {}
        }
    }

    /// Whether the link is taken; a ban may have come while it was on its way.
    fn open(&mut self, peer: PeerId, link: Link) -> bool {
        if let Some(old) = self.links.remove(&peer) {
            old.abort();
            self.session.link_closed(peer, self.now());
        }
        let has_room = self.links.len() < self.link_limit && self.session.takes_link(self.now());
        let is_taken = has_room && !self.ties.banned.borrow().contains(&peer);
        if is_taken {
            self.links.insert(peer, link);
            self.session.link_opened(peer, self.now());
        }
        is_taken
    }

    fn close_banned(&mut self) {
        let banned = self.ties.banned.borrow_and_update().clone();
        let now = self.now();
        for (peer, link) in self.links.extract_if(.., |peer, _| banned.contains(peer)) {
            link.abort();
            self.session.link_closed(peer, now);
        }
    }

    fn is_current(&self, peer: PeerId, number: u64) -> bool {
        self.links.get(&peer).is_some_and(|link| link.number == number)
    }

    /// Whether another broadcast may begin.
    fn is_free(&self) -> bool {
        self.parts.is_none() && self.admissions.is_empty()
    }

    async fn start(&mut self, start: Start) {
        match start {
            Start::Broadcast { tracks, parts } => self.admit(tracks, parts).await,
            Start::Film(film) => self.start_film(film),
        }
    }

    fn start_film(&mut self, film: Arc<FilmFile>) {
        self.has_broadcast = true;
        self.session.start_film(film.film(), self.now());
        self.film = Some(film);
    }

    fn read_part(&mut self, part: PartId) {
        if let Some(film) = self.film.clone() {
            self.reads.spawn_blocking(move || (part, film.part(part)));
        }
    }

    fn part_read(&mut self, part: PartId, media: std::io::Result<Bytes>) {
        let is_right = self.session.part_read(part, media.as_ref().ok());
        if !is_right && !self.is_damage_known {
            self.is_damage_known = true;
            let (store, id) = (Arc::clone(&self.store), self.end.channel().id().clone());
            // The next start reads it whole. When that fails, the log says below what to do.
            tokio::task::spawn_blocking(move || drop(store.keep_film_index(&id, &[], None)));
            let reason = media.err().map_or("it has changed".to_owned(), |error| error.to_string());
            tracing::error!(
                channel = %self.end.channel().id(),
                "the film cannot be read as it was at start: {reason}; put it back or restart the tracker"
            );
        }
    }

    /// Does what the session asks for.
    fn perform(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Transmit { to, bytes } => self.transmit(to, bytes),
                Event::Disconnect { peer } => {
                    if self.links.remove(&peer).is_some() {
                        self.session.link_closed(peer, self.now());
                    }
                }
                Event::Blame { peer } => {
                    tracing::debug!(channel = %self.end.channel().id(), %peer, "sends wrong media");
                }
                Event::Doubt { peer } => {
                    // With so many doubted already, their neighbours find out by themselves.
                    let _ = self.ties.doubted.try_send(peer);
                }
                Event::Read { part } => self.read_part(part),
                // A server connects to nobody and plays nothing.
                Event::Connect { peer } => self.session.connect_failed(peer, self.now()),
                Event::FindNeighbours { .. }
                | Event::Forwarded { .. }
                | Event::Attach(_)
                | Event::Append { .. }
                | Event::SetRate(_)
                | Event::Seek { .. } => {}
            }
        }
    }

    fn transmit(&mut self, to: PeerId, bytes: Bytes) {
        let Some(link) = self.links.get(&to) else { return };
        let now = self.now();
        if let Some(backlog) = link.send(bytes) {
            self.session.set_backlog(to, backlog, now);
        } else {
            tracing::debug!(channel = %self.end.channel().id(), peer = %to, "link dropped: too slow");
            self.links.remove(&to);
            self.session.link_closed(to, now);
        }
    }

    /// Takes a share of the budget while there is something to send and somebody to send it to: a channel that
    /// nobody watches takes nothing from the others.
    fn claim_share(&mut self) {
        let is_active = self.has_broadcast && !self.links.is_empty();
        if is_active && self.share.is_none() {
            self.share = Some(self.budget.activate());
        } else if !is_active {
            self.share = None;
        }
    }

    fn adopt_share(&mut self) {
        self.session.set_uplink_limit(self.budget.share(), self.now());
    }

    pub(super) fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.began_at.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn timeout_at(&self) -> Option<tokio::time::Instant> {
        let at = self.session.poll_timeout()?;
        self.began_at.checked_add(Duration::from_micros(at.as_micros()))
    }
}

/// `None` when the broadcast has ended; waits for ever when none is on.
async fn next_part(parts: &mut Option<mpsc::Receiver<CutPart>>) -> Option<CutPart> {
    match parts {
        Some(parts) => parts.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
