//! The children against a naive account: a list.

use cardume_wire::{BlockNumber, Epoch, TrackId};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(Duration),
    Add(PeerId, Stripe, u16, u32),
    Remove(PeerId, Stripe),
    Leave(PeerId),
    Release(PeerId, Stripe),
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = || (1u64..12).prop_map(PeerId::new);
    let stripe = || (0u8..3).prop_filter_map("below the count", Stripe::new);
    let step = prop_oneof![
        3 => (0u64..1_500).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        6 => (peer(), stripe(), 0u16..3, 0u32..4).prop_map(|(peer, stripe, slots, tracks)| {
            Step::Add(peer, stripe, slots, tracks)
        }),
        2 => (peer(), stripe()).prop_map(|(peer, stripe)| Step::Remove(peer, stripe)),
        1 => peer().prop_map(Step::Leave),
        3 => (peer(), stripe()).prop_map(|(peer, stripe)| Step::Release(peer, stripe)),
        2 => Just(Step::Expire),
    ];
    proptest::collection::vec(step, 1..100)
}

fn take(uploads: &mut Uploads, list: &mut Vec<(PeerId, Stripe, Child)>, now: &mut Instant, step: &Step) {
    match *step {
        Step::Pass(time) => *now += time,
        Step::Add(peer, stripe, slots, tracks) => {
            let claim = Claim::of(peer, slots, stripe);
            let child = Child { since: *now, tracks: TrackSet(tracks), slots, claim, leaves_at: None };
            uploads.add(peer, stripe, child);
            list.retain(|(other, of, _)| (*other, *of) != (peer, stripe));
            list.push((peer, stripe, child));
        }
        Step::Remove(peer, stripe) => {
            let n_before = list.len();
            list.retain(|(other, of, _)| (*other, *of) != (peer, stripe));
            assert_eq!(uploads.remove(peer, stripe), list.len() < n_before);
        }
        Step::Leave(peer) => {
            uploads.remove_peer(peer);
            list.retain(|(other, ..)| *other != peer);
        }
        Step::Release(peer, stripe) => {
            uploads.release(peer, stripe, *now);
            let released = list.iter_mut().filter(|(other, of, _)| (*other, *of) == (peer, stripe));
            // Who is released twice does not stay longer.
            released.for_each(|(.., child)| child.leaves_at = child.leaves_at.or(Some(*now + RELEASE_GRACE)));
        }
        Step::Expire => {
            uploads.expire(*now);
            list.retain(|(.., child)| child.leaves_at.is_none_or(|at| *now < at));
        }
    }
}

fn compare(uploads: &Uploads, list: &[(PeerId, Stripe, Child)]) -> Result<(), TestCaseError> {
    let stays = |child: &Child| child.leaves_at.is_none();
    prop_assert_eq!(uploads.n_all(), list.len());
    prop_assert_eq!(uploads.n_used(), list.iter().filter(|(.., child)| stays(child)).count());
    let mut peers: Vec<PeerId> = list.iter().map(|(peer, ..)| *peer).collect();
    peers.sort_unstable();
    peers.dedup();
    prop_assert_eq!(uploads.peers(), peers);
    for stripe in Stripe::all() {
        let children = || list.iter().filter(|(_, of, _)| *of == stripe);
        prop_assert_eq!(uploads.n_staying(stripe), children().filter(|(.., child)| stays(child)).count());
        for (peer, _, child) in children() {
            let said = uploads.child(*peer, stripe).map(|child| (child.slots, child.claim, child.leaves_at));
            prop_assert_eq!(said, Some((child.slots, child.claim, child.leaves_at)));
            prop_assert!(uploads.stripes_of(*peer).contains(&stripe));
        }
        let number = BlockNumber(stripe.index().try_into().expect("small"));
        let block = BlockId { epoch: Epoch(1), track: TrackId(1), number };
        let wanting = children().filter(|(.., child)| child.tracks.contains(block.track));
        let mut takers: Vec<(PeerId, Class)> = wanting
            .map(|(peer, _, child)| match (stays(child), child.claim) {
                (false, _) => (*peer, Class::Startup),
                (true, Claim::Feeds) => (*peer, Class::Forward),
                (true, _) => (*peer, Class::Push),
            })
            .collect();
        takers.sort_unstable_by_key(|(peer, _)| *peer);
        prop_assert_eq!(uploads.takers(block), takers);
    }
    Ok(())
}

proptest! {
    #[test]
    fn everybody_is_pushed_what_it_asked_for_until_it_goes(steps in steps()) {
        let (mut uploads, mut list, mut now) = (Uploads::default(), Vec::new(), Instant::default());
        for step in steps {
            take(&mut uploads, &mut list, &mut now, &step);
            compare(&uploads, &list)?;
        }
    }
}

#[test]
fn who_feeds_others_in_a_stripe_has_more_of_a_claim_than_who_does_elsewhere_and_both_than_the_idle() {
    let [home, other] = [0, 1].map(|index| Stripe::new(index).expect("below the count"));
    let at_home = PeerId::new(8);
    let claims = [(0, home), (3, other), (3, home)].map(|(slots, stripe)| Claim::of(at_home, slots, stripe));
    assert_eq!(claims, [Claim::Idle, Claim::Contributes, Claim::Feeds]);
    assert!(claims.is_sorted());
}
