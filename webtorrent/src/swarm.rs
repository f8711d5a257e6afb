//! One swarm: who is in it, and whom to tell of whom.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::Id;
use crate::message::OFFER_LIMIT;
use crate::outbox::Outbox;
use crate::reply::Counts;

/// The peers of one `info_hash`.
#[derive(Debug, Default)]
pub(crate) struct Swarm {
    /// In no order, so that one of them is found by a random number.
    members: Vec<Member>,
    /// Where each is among them.
    places: HashMap<Id, usize>,
    n_complete: usize,
    n_downloaded: u64,
}

#[derive(Debug)]
struct Member {
    peer_id: Id,
    is_complete: bool,
    outbox: Arc<Outbox>,
}

/// The `peer_id` belongs to another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken;

/// How a peer stands after its announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    Known,
}

impl Swarm {
    /// A peer is there, with this of it.
    pub(crate) fn announce(
        &mut self,
        peer_id: Id,
        is_complete: bool,
        outbox: &Arc<Outbox>,
    ) -> Result<Standing, Taken> {
        let Some(&place) = self.places.get(&peer_id) else {
            self.places.insert(peer_id, self.members.len());
            self.members.push(Member { peer_id, is_complete, outbox: Arc::clone(outbox) });
            self.n_complete += usize::from(is_complete);
            return Ok(Standing::New);
        };
        let member = &mut self.members[place];
        if !Arc::ptr_eq(&member.outbox, outbox) {
            return Err(Taken);
        }
        // Who has it all keeps it: announces that do not say what is left change nothing.
        if is_complete && !member.is_complete {
            member.is_complete = true;
            self.n_complete += 1;
        }
        Ok(Standing::Known)
    }

    /// Somebody says that it has all of it now.
    pub(crate) fn count_download(&mut self) {
        self.n_downloaded += 1;
    }

    /// Removes a peer of this socket; true when it was there.
    pub(crate) fn leave(&mut self, peer_id: Id, outbox: &Arc<Outbox>) -> bool {
        let Some(place) = self.place_of(peer_id, outbox) else { return false };
        self.places.remove(&peer_id);
        let gone = self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.peer_id, place);
        }
        self.n_complete -= usize::from(gone.is_complete);
        true
    }

    /// Whether a peer is of this socket.
    pub(crate) fn is_of(&self, peer_id: Id, outbox: &Arc<Outbox>) -> bool {
        self.place_of(peer_id, outbox).is_some()
    }

    /// Whom to send what is for a peer.
    pub(crate) fn outbox_of(&self, peer_id: Id) -> Option<&Arc<Outbox>> {
        self.places.get(&peer_id).map(|place| &self.members[*place].outbox)
    }

    /// Adds `n` of the other sockets' members, each with the same chance and none twice; all when there are fewer.
    pub(crate) fn choose(
        &self,
        n: usize,
        outbox: &Arc<Outbox>,
        rng: &mut fastrand::Rng,
        chosen: &mut Vec<Arc<Outbox>>,
    ) {
        let n_members = self.members.len();
        let others = |place: &usize| !Arc::ptr_eq(&self.members[*place].outbox, outbox);
        let mut places = [usize::MAX; OFFER_LIMIT + 1];
        // Floyd's sample (Communications of the ACM 30:9, 1987) of one more, as we may be among them; a socket that is in the swarm
        // under several names may get fewer.
        let n_sampled = (n + 1).min(n_members).min(places.len());
        for (index, bound) in (n_members - n_sampled..n_members).enumerate() {
            let place = rng.usize(0..=bound);
            let is_new = !places[..index].contains(&place);
            places[index] = if is_new { place } else { bound };
        }
        rng.shuffle(&mut places[..n_sampled]);
        let places = places[..n_sampled].iter().copied().filter(others).take(n);
        chosen.extend(places.map(|place| Arc::clone(&self.members[place].outbox)));
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            complete: self.n_complete,
            incomplete: self.members.len() - self.n_complete,
            downloaded: self.n_downloaded,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn place_of(&self, peer_id: Id, outbox: &Arc<Outbox>) -> Option<usize> {
        let place = *self.places.get(&peer_id)?;
        Arc::ptr_eq(&self.members[place].outbox, outbox).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn id(n: usize) -> Id {
        Id::from_json(&format!("\"{n:020}\"")).unwrap()
    }

    fn outboxes(n: usize) -> Vec<Arc<Outbox>> {
        (0..n).map(|_| Arc::default()).collect()
    }

    fn position(all: &[Arc<Outbox>], outbox: &Arc<Outbox>) -> usize {
        all.iter().position(|other| Arc::ptr_eq(other, outbox)).unwrap()
    }

    #[test]
    fn a_peer_id_belongs_to_the_socket_that_announced_it_first() {
        let (mut swarm, all) = (Swarm::default(), outboxes(2));
        assert_eq!(swarm.announce(id(1), false, &all[0]), Ok(Standing::New));
        assert_eq!(swarm.announce(id(1), true, &all[1]), Err(Taken));
        assert!(!swarm.leave(id(1), &all[1]));
        assert_eq!(swarm.announce(id(1), false, &all[0]), Ok(Standing::Known));
        assert!(swarm.leave(id(1), &all[0]));
        assert_eq!(swarm.announce(id(1), false, &all[1]), Ok(Standing::New));
    }

    #[test]
    fn all_others_are_chosen_alike_and_nobody_twice() {
        let (mut swarm, all) = (Swarm::default(), outboxes(12));
        for (n, outbox) in all.iter().enumerate() {
            swarm.announce(id(n), false, outbox).unwrap();
        }
        let mut rng = fastrand::Rng::with_seed(1);
        let mut n_chosen = [0_u32; 12];
        for _ in 0..2_200 {
            let mut chosen = Vec::new();
            swarm.choose(5, &all[0], &mut rng, &mut chosen);
            let places: BTreeSet<usize> = chosen.iter().map(|outbox| position(&all, outbox)).collect();
            assert_eq!((chosen.len(), places.len()), (5, 5));
            for place in places {
                n_chosen[place] += 1;
            }
        }
        assert_eq!(n_chosen[0], 0, "nobody is handed its own offer");
        // Each of eleven is in five of eleven choices: a thousand, with a standard deviation of 23.
        assert!(n_chosen[1..].iter().all(|n| (900..1_100).contains(n)), "{n_chosen:?}");
    }

    #[test]
    fn where_there_are_fewer_all_are_chosen() {
        let (mut swarm, all) = (Swarm::default(), outboxes(3));
        for (n, outbox) in all.iter().enumerate() {
            swarm.announce(id(n), false, outbox).unwrap();
        }
        let mut chosen = Vec::new();
        swarm.choose(OFFER_LIMIT, &all[1], &mut fastrand::Rng::with_seed(2), &mut chosen);
        let places: BTreeSet<usize> = chosen.iter().map(|outbox| position(&all, outbox)).collect();
        assert_eq!(places, [0, 2].into());
    }

    proptest! {
        /// Against a map from names to what each last was.
        #[test]
        fn it_counts_who_is_there(steps in proptest::collection::vec((0_usize..6, 0_usize..3, 0_u8..3), 1..80)) {
            let (mut swarm, all) = (Swarm::default(), outboxes(3));
            let mut model: BTreeMap<usize, (usize, bool)> = BTreeMap::new();
            for (peer, socket, what) in steps {
                let owner = model.get(&peer).map(|(owner, _)| *owner);
                let may = owner.is_none_or(|owner| owner == socket);
                if what == 2 {
                    prop_assert_eq!(swarm.leave(id(peer), &all[socket]), owner.is_some() && may);
                    if may { model.remove(&peer); }
                } else {
                    prop_assert_eq!(swarm.announce(id(peer), what == 1, &all[socket]).is_ok(), may);
                    if may { model.entry(peer).or_insert((socket, false)).1 |= what == 1; }
                }
                let complete = model.values().filter(|(_, is_complete)| *is_complete).count();
                let expect = Counts { complete, incomplete: model.len() - complete, downloaded: 0 };
                prop_assert_eq!(swarm.counts(), expect);
                prop_assert_eq!(swarm.is_empty(), model.is_empty());
                for (peer, (owner, _)) in &model {
                    prop_assert!(swarm.is_of(id(*peer), &all[*owner]));
                }
            }
        }
    }
}
