//! The broadcast of another node, which a channel's server peer shows as if it were its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use cardume_media::PartId;
use cardume_swarm::Adopted;
use cardume_wire::TrackId;
use tokio::sync::oneshot;

use super::ServerPeer;
use super::actor::{Actor, Command};
use crate::clock::wall_time;
use crate::window::Window;

/// Parts of a track that wait for one before them, until that is given up: two seconds of 200 ms.
const WAITING_LIMIT: usize = 10;

/// How far a node is with the broadcast of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// By track, the number after the last part before which nothing is missing.
    pub next: BTreeMap<TrackId, u32>,
    /// Whether something came that needs what has not come.
    pub has_gap: bool,
}

/// What is known of a broadcast that was taken over.
#[derive(Debug, Default)]
pub(super) struct Adoption {
    is_on: bool,
    next: BTreeMap<TrackId, u32>,
    /// Whole parts that were not shown to plain readers yet, as an earlier one lacks.
    waiting: BTreeSet<(TrackId, u32)>,
    /// Whether the log says already that something was refused.
    is_refusal_told: bool,
}

impl Adoption {
    /// The next part of a track that can be shown: the one whose turn it is, or any when too many wait for that.
    fn take_next(&mut self, track: TrackId) -> Option<u32> {
        let waiting = || self.waiting.range((track, 0)..=(track, u32::MAX)).map(|(_, sequence)| *sequence);
        let first = waiting().next()?;
        let is_due = self.next.get(&track).is_none_or(|next| first <= *next);
        if !is_due && waiting().count() <= WAITING_LIMIT {
            return None;
        }
        self.waiting.remove(&(track, first));
        let after = self.next.entry(track).or_insert(0);
        *after = (*after).max(first.saturating_add(1));
        Some(first)
    }
}

impl ServerPeer {
    /// Takes link messages of the broadcast that another node has, and says how far they lead. `None` when the tracker goes
    /// down.
    pub async fn adopt(&self, messages: Vec<Bytes>) -> Option<Progress> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Adopt { messages, reply }).await.ok()?;
        answer.await.ok()
    }

    /// That node is out of reach, and may have it still.
    pub async fn cut_off(&self) {
        // When the actor is gone nobody is fed.
        let _ = self.commands.send(Command::CutOff).await;
    }

    /// The node that has the broadcast which was taken over ended it, or died.
    pub async fn abandon(&self) {
        // When the actor is gone there is nothing to end.
        let _ = self.commands.send(Command::Abandon).await;
    }

    /// Ends a broadcast of our own: another node has a newer one.
    pub async fn yield_air(&self) {
        // As above.
        let _ = self.commands.send(Command::Yield).await;
    }

    /// The link messages that a node lacks which has the parts of each track before `next`, the catalog first. Of a track not
    /// named there, from where decoding can begin `span` before now.
    pub async fn held(&self, next: BTreeMap<TrackId, u32>, span: Duration) -> Option<Vec<Bytes>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Held { next, span, reply }).await.ok()?;
        answer.await.ok()
    }
}

impl Actor {
    pub(super) fn adopt(&mut self, messages: &[Bytes]) -> Progress {
        let now = self.now();
        self.session.set_clock(wall_time(), now);
        let mut has_gap = false;
        for message in messages {
            match self.session.adopt(message, now) {
                Adopted::Broadcast => self.show_adopted(),
                Adopted::Part(part) => self.adoption_has(part),
                Adopted::Early => has_gap = true,
                Adopted::Nothing => {}
                Adopted::Wrong => self.refuse(),
            }
        }
        has_gap |= !self.adoption.waiting.is_empty();
        Progress { next: self.adoption.next.clone(), has_gap }
    }

    pub(super) fn abandon(&mut self) {
        if std::mem::take(&mut self.adoption.is_on) {
            tracing::info!(channel = %self.end.channel().id(), "off air at another node");
            self.session.end_broadcast(self.now());
            self.end.update_window(|window| window.is_live = false);
        }
    }

    /// The broadcast of our own has begun, or another's ends in favour of ours.
    pub(super) fn forget_adoption(&mut self) {
        self.adoption = Adoption::default();
    }

    pub(super) fn held(&self, next: &BTreeMap<TrackId, u32>, span: Duration) -> Vec<Bytes> {
        let parts = self.session.parts_since(next, span).into_iter();
        let parts = parts.flat_map(|part| self.session.part_messages(part));
        self.session.catalog_message().into_iter().chain(parts).collect()
    }

    fn show_adopted(&mut self) {
        let Some(catalog) = self.session.catalog() else { return };
        let (epoch, window) = (catalog.epoch(), Window::new(catalog.epoch(), catalog.tracks()));
        tracing::info!(channel = %self.end.channel().id(), epoch = epoch.0, "on air at another node");
        self.leave_air();
        self.adoption = Adoption { is_on: true, ..Adoption::default() };
        self.has_broadcast = true;
        self.end.update_window(|now| *now = window);
    }

    fn adoption_has(&mut self, part: PartId) {
        if !self.adoption.is_on {
            // The same broadcast again, after nobody here wanted it for a while, or its node was out of reach.
            self.adoption = Adoption { is_on: true, ..Adoption::default() };
            self.end.update_window(|window| window.is_live = true);
        }
        self.adoption.waiting.insert((part.track, part.sequence));
        while let Some(sequence) = self.adoption.take_next(part.track) {
            let id = PartId { sequence, ..part };
            if let Some(cut) = self.session.cut_part(id) {
                self.end.update_window(|window| window.push_numbered(sequence, cut));
            }
        }
    }

    /// What the channel's key does not vouch for came from another node: either its bucket is not ours, or somebody else writes
    /// to NATS.
    fn refuse(&mut self) {
        if !std::mem::replace(&mut self.adoption.is_refusal_told, true) {
            tracing::error!(
                channel = %self.end.channel().id(),
                "another node sent media that the channel's key does not vouch for; it is thrown away"
            );
        }
    }
}
