//! What one socket says, and what follows from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::{Id, Written};
use crate::message::{Action, Announce, Answer, Event, Invalid, Request};
use crate::outbox::{Outbox, Posted};
use crate::reply::{self, Counts};
use crate::swarm::Standing;
use crate::swarms::{MEMBER_LIMIT, Swarms};

/// Swarms that one socket may be in. (Wild guess: a page has a handful, a desktop client some dozens.)
const MEMBERSHIP_LIMIT: usize = 256;

/// Room to work in, which one thread uses again for all its sockets.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    text: String,
    recipients: Vec<Arc<Outbox>>,
    rng: fastrand::Rng,
}

/// One socket's peers. Dropping it takes them out of their swarms.
#[derive(Debug)]
pub(crate) struct Conversation {
    swarms: Swarms,
    outbox: Arc<Outbox>,
    memberships: Vec<Membership>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Membership {
    info_hash: Id,
    peer_id: Id,
}

impl Conversation {
    /// Of a socket that sends what is in the outbox.
    pub(crate) fn new(swarms: Swarms, outbox: Arc<Outbox>) -> Self {
        Self { swarms, outbox, memberships: Vec::new() }
    }

    /// Takes one message; what follows is in outboxes, its own or others'.
    pub(crate) fn hear(&mut self, text: &str, scratch: &mut Scratch) {
        let result = match Request::parse(text) {
            Ok(Request::Announce(announce)) => self.announce(&announce, scratch),
            Ok(Request::Answer(answer)) => self.answer(&answer, scratch),
            Ok(Request::Scrape(hashes)) => {
                self.scrape(hashes.as_deref(), scratch);
                Ok(())
            }
            Err(invalid) => Err(invalid),
        };
        if let Err(invalid) = result {
            count(&self.swarms.counters().failures, 1);
            self.tell(scratch, |text| reply::failed(text, &invalid));
        }
    }

    fn announce<'a>(&mut self, announce: &Announce<'a>, scratch: &mut Scratch) -> Result<(), Invalid<'a>> {
        count(&self.swarms.counters().announces, 1);
        let membership = Membership { info_hash: announce.info_hash.id, peer_id: announce.peer_id.id };
        let counts = if announce.event == Event::Stopped {
            self.leave(membership);
            self.counts(membership.info_hash)
        } else {
            self.join(membership, announce, scratch).map_err(|reason| invalid(reason, announce.info_hash))?
        };
        let interval_s = self.swarms.interval().as_secs();
        self.tell(scratch, |text| reply::announced(text, announce.info_hash.json, interval_s, counts));
        self.hand_on(announce, scratch);
        Ok(())
    }

    /// Puts the peer in its swarm, and chooses whom its offers are for.
    fn join(
        &mut self,
        membership: Membership,
        announce: &Announce<'_>,
        scratch: &mut Scratch,
    ) -> Result<Counts, &'static str> {
        self.check_room(membership)?;
        let mut shard = self.swarms.shard(membership.info_hash);
        let swarm = shard.entry(membership.info_hash).or_default();
        let standing = swarm
            .announce(membership.peer_id, announce.is_complete, &self.outbox)
            .map_err(|_| "this peer_id is in use on another connection; choose another one")?;
        if announce.event == Event::Completed {
            swarm.count_download();
        }
        swarm.choose(announce.offers.len(), &self.outbox, &mut scratch.rng, &mut scratch.recipients);
        let counts = swarm.counts();
        drop(shard);
        if standing == Standing::New {
            // Most sockets are in one swarm, and a vector begins with room for four.
            self.memberships.reserve_exact(1);
            self.memberships.push(membership);
            self.swarms.n_members().fetch_add(1, Ordering::Relaxed);
        }
        Ok(counts)
    }

    fn check_room(&self, membership: Membership) -> Result<(), &'static str> {
        if self.memberships.contains(&membership) {
            return Ok(());
        }
        if self.memberships.len() >= MEMBERSHIP_LIMIT {
            return Err("this connection is in 256 swarms, which is the limit; open another one");
        }
        // Several at once may go beyond it by a few.
        if self.swarms.n_members().load(Ordering::Relaxed) >= MEMBER_LIMIT {
            return Err("this tracker is full; try again later");
        }
        Ok(())
    }

    /// Sends each offer to another one of those that were chosen.
    fn hand_on(&self, announce: &Announce<'_>, scratch: &mut Scratch) {
        let Scratch { text, recipients, .. } = scratch;
        let mut n_dropped = 0;
        let mut n_sent = 0;
        for (recipient, offer) in recipients.drain(..).zip(&announce.offers) {
            text.clear();
            reply::offered(text, announce.info_hash.json, announce.peer_id.json, offer);
            match recipient.post(text) {
                Posted::Waits => n_sent += 1,
                Posted::Dropped => n_dropped += 1,
            }
        }
        count(&self.swarms.counters().offers, n_sent);
        count(&self.swarms.counters().dropped, n_dropped);
    }

    fn answer<'a>(&self, answer: &Answer<'a>, scratch: &mut Scratch) -> Result<(), Invalid<'a>> {
        let info_hash = answer.info_hash.id;
        let recipient = {
            let shard = self.swarms.shard(info_hash);
            let swarm = shard.get(&info_hash).filter(|swarm| swarm.is_of(answer.peer_id.id, &self.outbox));
            let swarm =
                swarm.ok_or_else(|| invalid("announce yourself before you answer", answer.info_hash))?;
            swarm.outbox_of(answer.to_peer_id).cloned()
        };
        // Who made the offer may have left meanwhile, which is nobody's fault.
        let Some(recipient) = recipient else { return Ok(()) };
        scratch.text.clear();
        reply::answered(&mut scratch.text, answer);
        let counters = self.swarms.counters();
        match recipient.post(&scratch.text) {
            Posted::Waits => count(&counters.answers, 1),
            Posted::Dropped => count(&counters.dropped, 1),
        }
        Ok(())
    }

    /// Without hashes those that this socket is in: a list of everybody's is nobody's business.
    fn scrape(&self, hashes: Option<&[Written<'_>]>, scratch: &mut Scratch) {
        let mut hashes: Vec<Id> = match hashes {
            Some(hashes) => hashes.iter().map(|hash| hash.id).collect(),
            None => self.memberships.iter().map(|membership| membership.info_hash).collect(),
        };
        hashes.sort_unstable();
        hashes.dedup();
        let files = hashes.into_iter().map(|hash| (hash, self.counts(hash)));
        self.tell(scratch, |text| reply::scraped(text, files));
    }

    fn counts(&self, info_hash: Id) -> Counts {
        let shard = self.swarms.shard(info_hash);
        shard.get(&info_hash).map(crate::swarm::Swarm::counts).unwrap_or_default()
    }

    fn tell(&self, scratch: &mut Scratch, write: impl FnOnce(&mut String)) {
        scratch.text.clear();
        write(&mut scratch.text);
        if self.outbox.post(&scratch.text) == Posted::Dropped {
            count(&self.swarms.counters().dropped, 1);
        }
    }

    fn leave(&mut self, membership: Membership) {
        self.memberships.retain(|other| *other != membership);
        self.remove(membership);
    }

    fn remove(&self, Membership { info_hash, peer_id }: Membership) {
        let mut shard = self.swarms.shard(info_hash);
        let Some(swarm) = shard.get_mut(&info_hash) else { return };
        if swarm.leave(peer_id, &self.outbox) {
            self.swarms.n_members().fetch_sub(1, Ordering::Relaxed);
        }
        if swarm.is_empty() {
            shard.remove(&info_hash);
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        for membership in core::mem::take(&mut self.memberships) {
            self.remove(membership);
        }
    }
}

fn invalid<'a>(reason: &'static str, info_hash: Written<'a>) -> Invalid<'a> {
    Invalid { reason: reason.into(), action: Some(Action::Announce), info_hash: Some(info_hash) }
}

fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
