use super::*;
use crate::channel::{ChannelSetup, Channels, Programme};
use std::time::Duration;

fn swarm(viewer_limit: usize) -> Arc<Swarm> {
    seeded(viewer_limit, 1)
}

fn seeded(viewer_limit: usize, seed: u64) -> Arc<Swarm> {
    build(viewer_limit, seed, None)
}

/// One with a way to other nodes.
pub(super) fn in_cluster(viewer_limit: usize, abroad: Abroad) -> Arc<Swarm> {
    build(viewer_limit, 1, Some(abroad))
}

fn build(viewer_limit: usize, seed: u64, abroad: Option<Abroad>) -> Arc<Swarm> {
    let setup = ChannelSetup {
        id: "live".parse().unwrap(),
        title: "Live".to_owned(),
        programme: Programme::Live { stream_key: "secret-key".to_owned() },
        target_latency: Duration::from_secs(2),
        signing_key: cardume_media::SigningKey::from_seed([1; 32]),
    };
    let (channels, _) = Channels::new(vec![setup]);
    let channel = channels.find(&"live".parse().unwrap()).unwrap();
    Arc::new(Swarm::new(channel, viewer_limit, seed, abroad))
}

fn n_viewers(swarm: &Swarm) -> u32 {
    swarm.channel().describe().n_viewers
}

#[test]
fn a_joiner_is_told_of_all_in_a_small_swarm_and_never_of_itself() {
    let swarm = swarm(100);
    let members: Vec<_> = (0..5).map(|_| swarm.join(None).unwrap()).collect();
    let mut neighbours = swarm.neighbours(members[0].peer(), &[]);
    neighbours.sort();
    let mut others: Vec<_> = members[1..].iter().map(Membership::peer).collect();
    others.sort();
    assert_eq!(neighbours, others);
    assert_eq!(swarm.neighbours(members[0].peer(), &others[..3]), others[3..]);
}

#[test]
fn in_a_large_swarm_everybody_is_suggested_now_and_then() {
    let swarm = swarm(1000);
    let members: Vec<_> = (0..300).map(|_| swarm.join(None).unwrap()).collect();
    let mut seen = BTreeSet::new();
    for member in &members {
        let neighbours = swarm.neighbours(member.peer(), &[]);
        assert_eq!(neighbours.iter().collect::<BTreeSet<_>>().len(), NEIGHBOURS_SUGGESTED);
        assert!(!neighbours.contains(&member.peer()));
        seen.extend(neighbours);
    }
    // 2,400 draws from 300: a peer is missed with a probability of e^-8.
    assert!(seen.len() > 290, "{}", seen.len());
}

/// How many of these are at home in each stripe.
fn homes(members: &[Membership]) -> Vec<usize> {
    let at_home = |stripe| members.iter().filter(|member| member.peer().home_stripe() == stripe).count();
    Stripe::all().map(at_home).collect()
}

#[test]
fn whoever_joins_is_at_home_where_the_fewest_are() {
    let swarm = swarm(1000);
    let mut members: Vec<Membership> = Vec::new();
    for _ in 0..102 {
        members.push(swarm.join(None).unwrap());
        let homes = homes(&members);
        assert!(homes.iter().max().unwrap() - homes.iter().min().unwrap() <= 1, "{homes:?}");
    }
    // One stripe loses all of its peers; the next to come are at home there until it has caught up.
    let deserted = members[0].peer().home_stripe();
    let n_before = members.len();
    members.retain(|member| member.peer().home_stripe() != deserted);
    for _ in 1..n_before - members.len() {
        members.push(swarm.join(None).unwrap());
        assert_eq!(members.last().unwrap().peer().home_stripe(), deserted);
    }
}

#[test]
fn who_comes_first_is_at_home_anywhere() {
    let homes: BTreeSet<_> =
        (0..64).map(|seed| seeded(10, seed).join(None).unwrap().peer().home_stripe()).collect();
    assert_eq!(homes.len(), usize::from(STRIPE_COUNT));
}

#[test]
fn members_come_and_go_and_are_counted() {
    let swarm = swarm(3);
    let mut members: Vec<_> = (0..3).map(|_| swarm.join(None).unwrap()).collect();
    assert_eq!(swarm.join(None).unwrap_err(), JoinError::Full);
    let gone = members.remove(0).peer();
    assert_eq!(n_viewers(&swarm), 2);
    assert_eq!(swarm.neighbours(members[0].peer(), &[]), [members[1].peer()]);
    let message = FromTracker::Gone { peer: gone };
    assert_eq!(swarm.introduce(members[1].peer(), gone, &message), Err(Gone));
    assert_eq!(swarm.introduce(members[1].peer(), members[0].peer(), &message), Ok(()));
    assert_eq!(members[0].inbox.try_recv().unwrap(), to_json(&message));
}

#[test]
fn a_resumed_peer_takes_the_place_of_its_older_socket() {
    let swarm = swarm(1);
    let old = swarm.join(None).unwrap();
    let peer = old.peer();
    let new = swarm.join(Some(peer)).unwrap();
    assert!(old.closing.is_cancelled() && !new.closing.is_cancelled());
    drop(old);
    assert_eq!((new.peer(), n_viewers(&swarm)), (peer, 1));
    drop(new);
    assert_eq!(n_viewers(&swarm), 0);
}

#[test]
fn a_member_that_does_not_read_is_closed() {
    let swarm = swarm(10);
    let (slow, other) = (swarm.join(None).unwrap(), swarm.join(None).unwrap());
    let message = FromTracker::Gone { peer: PeerId::new(1) };
    for _ in 0..OUTBOX_LIMIT {
        swarm.introduce(other.peer(), slow.peer(), &message).unwrap();
    }
    assert!(!slow.closing.is_cancelled());
    assert_eq!(swarm.introduce(other.peer(), slow.peer(), &message), Err(Gone));
    assert!(slow.closing.is_cancelled());
}

fn offer(swarm: &Swarm, from: &Membership, to: &Membership) -> Result<(), Gone> {
    swarm.introduce(from.peer(), to.peer(), &FromTracker::Offer { from: from.peer(), sdp: String::new() })
}

/// Of whom this member was told that they are lost.
fn told_lost(member: &mut Membership) -> Vec<PeerId> {
    let told = std::iter::from_fn(|| member.inbox.try_recv().ok());
    let told = told.map(|json| serde_json::from_str(&json).unwrap());
    told.filter_map(|message| if let FromTracker::Lost { peer } = message { Some(peer) } else { None })
        .collect()
}

#[test]
fn that_a_peer_is_lost_is_told_to_those_it_met_last() {
    let swarm = swarm(1000);
    let lost = swarm.join(None).unwrap();
    let mut met: Vec<_> = (0..=CONTACT_LIMIT).map(|_| swarm.join(None).unwrap()).collect();
    for member in &met {
        offer(&swarm, &lost, member).unwrap();
    }
    // The first is met again, so the second is the one that is forgotten.
    offer(&swarm, &lost, &met[0]).unwrap();
    offer(&swarm, &met[1], &lost).unwrap();
    lost.tell_lost();
    let told: Vec<_> = met.iter_mut().map(told_lost).collect();
    let is_told = |index: usize| told[index] == [lost.peer()];
    assert!(is_told(0) && told[1].is_empty() && (3..=CONTACT_LIMIT).all(is_told), "{told:?}");
    assert_eq!(told.concat().len(), CONTACT_LIMIT);
}

#[test]
fn a_peer_that_has_a_newer_socket_is_not_lost_with_the_older() {
    let swarm = swarm(10);
    let (old, mut met) = (swarm.join(None).unwrap(), swarm.join(None).unwrap());
    offer(&swarm, &old, &met).unwrap();
    let new = swarm.join(Some(old.peer())).unwrap();
    old.tell_lost();
    assert_eq!(told_lost(&mut met), []);
    new.tell_lost();
    assert_eq!(told_lost(&mut met), [new.peer()]);
}

#[test]
fn those_that_a_doubted_peer_met_look_whether_it_answers_them() {
    let swarm = swarm(10);
    let (doubted, mut met, mut other) =
        (swarm.join(None).unwrap(), swarm.join(None).unwrap(), swarm.join(None).unwrap());
    offer(&swarm, &doubted, &met).unwrap();
    swarm.tell_doubted(doubted.peer());
    assert_eq!((told_lost(&mut met), told_lost(&mut other)), (vec![doubted.peer()], vec![]));
    drop(other);
    swarm.tell_doubted(PeerId::new(99));
}

#[test]
fn who_reads_slowly_is_not_closed_for_the_loss_of_another() {
    let swarm = swarm(10);
    let (lost, slow) = (swarm.join(None).unwrap(), swarm.join(None).unwrap());
    for _ in 0..OUTBOX_LIMIT {
        offer(&swarm, &lost, &slow).unwrap();
    }
    lost.tell_lost();
    assert!(!slow.closing.is_cancelled());
}

#[test]
fn a_peer_blamed_by_enough_of_its_neighbours_is_evicted() {
    let swarm = swarm(10);
    let members: Vec<_> = (0..5).map(|_| swarm.join(None).unwrap()).collect();
    let polluter = members[0].peer();
    for member in &members[1..] {
        offer(&swarm, &members[0], member).unwrap();
    }
    let is_suggested = || swarm.neighbours(members[4].peer(), &[]).contains(&polluter);
    let evicted = swarm.evicted();
    for _ in 0..5 {
        swarm.blame(members[1].peer(), polluter);
        swarm.blame(polluter, polluter);
    }
    assert!(!evicted.has_changed().unwrap(), "one accuser is too few");
    swarm.blame(members[2].peer(), polluter);
    assert!(evicted.has_changed().unwrap() && evicted.borrow().contains(&polluter));
    assert!(!is_suggested());
    assert_eq!(swarm.neighbours(polluter, &[]), [], "it is told of nobody");
    assert_eq!(offer(&swarm, &members[0], &members[4]), Err(Gone), "it reaches nobody");
    let again = swarm.join(Some(polluter)).unwrap();
    assert_eq!(again.peer(), polluter);
    assert!(!is_suggested(), "rejoining does not help");
}

#[tokio::test(start_paused = true)]
async fn who_is_blamed_once_is_introduced_to_nobody_for_a_while() {
    let swarm = swarm(10);
    let members: Vec<_> = (0..3).map(|_| swarm.join(None).unwrap()).collect();
    let suspect = members[0].peer();
    offer(&swarm, &members[0], &members[1]).unwrap();
    swarm.blame(members[1].peer(), suspect);
    assert_eq!(offer(&swarm, &members[0], &members[2]), Err(Gone));
    assert_eq!(offer(&swarm, &members[2], &members[0]), Err(Gone));
    assert!(!swarm.neighbours(members[2].peer(), &[]).contains(&suspect));
    tokio::time::advance(SUSPECTED_FOR).await;
    // To say it again is no news.
    swarm.blame(members[1].peer(), suspect);
    assert!(swarm.neighbours(members[2].peer(), &[]).contains(&suspect));
    assert_eq!(offer(&swarm, &members[2], &members[0]), Ok(()));
}

#[test]
fn each_blame_is_told_to_those_whom_the_blamed_met_and_to_nobody_else() {
    let swarm = swarm(10);
    let mut members: Vec<_> = (0..4).map(|_| swarm.join(None).unwrap()).collect();
    let polluter = members[0].peer();
    for met in &members[1..3] {
        offer(&swarm, &members[0], met).unwrap();
    }
    swarm.blame(members[1].peer(), polluter);
    swarm.blame(members[2].peer(), polluter);
    let told: Vec<Vec<bool>> = members[1..].iter_mut().map(|member| told_blames(member, polluter)).collect();
    assert_eq!(told, [vec![false, true], vec![false, true], vec![]]);
}

/// What this member was told of the blamed peer: each time whether it is evicted.
fn told_blames(member: &mut Membership, blamed: PeerId) -> Vec<bool> {
    let told = std::iter::from_fn(|| member.inbox.try_recv().ok());
    told.filter_map(|json| match serde_json::from_str(&json).unwrap() {
        FromTracker::Blamed { peer, is_evicted } if peer == blamed => Some(is_evicted),
        _ => None,
    })
    .collect()
}

#[test]
fn blame_of_strangers_and_of_the_evicted_does_not_count() {
    let swarm = swarm(20);
    let members: Vec<_> = (0..12).map(|_| swarm.join(None).unwrap()).collect();
    let (victim, liars) = (&members[0], &members[1..]);
    for liar in liars {
        // To offer a link is not to be let in.
        offer(&swarm, liar, victim).unwrap();
        swarm.blame(liar.peer(), victim.peer());
    }
    assert_eq!(*swarm.evicted().borrow(), BTreeSet::new());

    // Three are found out; what they say about others is void from then on.
    let (found_out, honest) = liars.split_at(3);
    for polluter in found_out {
        offer(&swarm, victim, polluter).unwrap();
        for accuser in &honest[..3] {
            offer(&swarm, polluter, accuser).unwrap();
        }
        for accuser in &honest[..3] {
            swarm.blame(accuser.peer(), polluter.peer());
        }
        swarm.blame(polluter.peer(), victim.peer());
    }
    assert_eq!(*swarm.evicted().borrow(), found_out.iter().map(Membership::peer).collect());
}
