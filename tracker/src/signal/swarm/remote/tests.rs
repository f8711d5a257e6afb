use std::collections::BTreeSet;
use std::sync::Arc;

use cardume_wire::signal::Report;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::signal::swarm::Membership;

const OTHER: NodeId = NodeId::new(7);

fn swarm() -> (Arc<Swarm>, Receiver<Outward>) {
    let (swarm, outward, _) = closable();
    (swarm, outward)
}

/// With the way to other nodes.
fn closable() -> (Arc<Swarm>, Receiver<Outward>, Abroad) {
    let (abroad, outward) = Abroad::new();
    (super::super::tests::in_cluster(1000, abroad.clone()), outward, abroad)
}

fn join(swarm: &Arc<Swarm>, n: usize) -> Vec<Membership> {
    (0..n).map(|_| swarm.join(None).unwrap()).collect()
}

fn peers(ids: std::ops::Range<u64>) -> Vec<PeerId> {
    ids.map(PeerId::new).collect()
}

fn sample(swarm: &Swarm, node: NodeId, peers: Vec<PeerId>) {
    swarm.hear(node, &News::Sample { n_viewers: u32::try_from(peers.len()).unwrap(), peers });
}

/// What waits for other nodes now, as (node, peer, letter).
fn letters(outward: &mut Receiver<Outward>) -> Vec<(NodeId, PeerId, Letter)> {
    let waiting = std::iter::from_fn(|| outward.try_recv().ok());
    let letter = |outward| match outward {
        Outward::Letter { node, peer, letter, .. } => Some((node, peer, letter)),
        Outward::News { .. } => None,
    };
    waiting.filter_map(letter).collect()
}

fn tell(message: FromTracker) -> Letter {
    Letter::Tell { message }
}

fn offer(from: PeerId) -> FromTracker {
    FromTracker::Offer { from, sdp: "v=0".to_owned() }
}

#[tokio::test]
async fn a_small_swarm_is_suggested_a_quarter_of_other_nodes_and_a_large_one_a_single_peer() {
    let (swarm, _outward) = swarm();
    let remote: BTreeSet<PeerId> = peers(10_001..10_009).into_iter().collect();
    sample(&swarm, OTHER, remote.iter().copied().collect());
    let n_remote = |of: &Membership| {
        let neighbours = swarm.neighbours(of.peer(), &[]);
        assert!(neighbours.len() <= NEIGHBOURS_SUGGESTED);
        neighbours.iter().filter(|peer| remote.contains(peer)).count()
    };
    let mut members = join(&swarm, 1);
    assert_eq!(n_remote(&members[0]), 8, "there is nobody else");
    members.extend(join(&swarm, 39));
    assert_eq!(n_remote(&members[0]), SHARE_OF_SMALL);
    members.extend(join(&swarm, 200));
    assert_eq!(n_remote(&members[0]), SHARE_OF_LARGE);
}

#[tokio::test]
async fn what_is_for_a_peer_of_another_node_goes_there_and_comes_from_there() {
    let (swarm, mut outward) = swarm();
    let mut ours = swarm.join(None).unwrap();
    let (us, them) = (ours.peer(), PeerId::new(10_001));
    assert_eq!(swarm.introduce(us, them, &offer(us)), Err(Gone), "nobody has heard of it");
    swarm.receive(OTHER, us, tell(offer(them)));
    assert_eq!(ours.inbox.try_recv().unwrap(), to_json(&offer(them)));
    let answer = FromTracker::Answer { from: us, sdp: "v=0".to_owned() };
    swarm.introduce(us, them, &answer).unwrap();
    assert_eq!(letters(&mut outward), [(OTHER, them, tell(answer))]);
    ours.tell_lost();
    assert_eq!(letters(&mut outward), [(OTHER, them, tell(FromTracker::Lost { peer: us }))]);
    swarm.receive(OTHER, us, tell(FromTracker::Gone { peer: them }));
    assert_eq!(swarm.introduce(us, them, &offer(us)), Err(Gone), "it is forgotten");
}

#[tokio::test]
async fn whoever_offers_to_one_that_left_hears_that_it_is_gone() {
    let (swarm, mut outward) = swarm();
    let (left, them) = (PeerId::new(5), PeerId::new(10_001));
    swarm.receive(OTHER, left, tell(offer(them)));
    assert_eq!(letters(&mut outward), [(OTHER, them, tell(FromTracker::Gone { peer: left }))]);
}

#[tokio::test]
async fn who_waits_for_an_answer_of_a_node_that_died_hears_that_nobody_is_there() {
    let (swarm, _outward) = swarm();
    let mut ours = swarm.join(None).unwrap();
    let us = ours.peer();
    let (silent, answering, another) = (PeerId::new(10_001), PeerId::new(10_002), PeerId::new(20_001));
    sample(&swarm, OTHER, vec![silent, answering]);
    sample(&swarm, NodeId::new(8), vec![another]);
    for them in [silent, answering, another] {
        swarm.introduce(us, them, &offer(us)).unwrap();
    }
    let answer = FromTracker::Answer { from: answering, sdp: "v=0".to_owned() };
    swarm.receive(OTHER, us, tell(answer.clone()));
    swarm.forget_node(OTHER);
    let gone = |peer| to_json(&FromTracker::Gone { peer });
    let mut heard = || std::iter::from_fn(|| ours.inbox.try_recv().ok()).collect::<Vec<_>>();
    assert_eq!(heard(), [to_json(&answer), gone(silent)]);
    swarm.return_offers(None);
    assert_eq!(heard(), [gone(another)], "nobody can be reached, and each is told once");
    swarm.return_offers(None);
    assert!(heard().is_empty());
}

#[tokio::test]
async fn while_other_nodes_are_out_of_reach_their_peers_are_not_there() {
    let (swarm, _outward, abroad) = closable();
    let ours = swarm.join(None).unwrap();
    sample(&swarm, OTHER, peers(10_001..10_002));
    abroad.set_open(false);
    assert_eq!(swarm.introduce(ours.peer(), PeerId::new(10_001), &offer(ours.peer())), Err(Gone));
    assert_eq!(swarm.neighbours(ours.peer(), &[]), []);
    abroad.set_open(true);
    assert_eq!(swarm.neighbours(ours.peer(), &[]), peers(10_001..10_002));
}

#[tokio::test]
async fn other_nodes_cannot_say_to_viewers_what_only_their_own_tracker_says() {
    let (swarm, _outward) = swarm();
    let mut ours = swarm.join(None).unwrap();
    swarm.receive(OTHER, ours.peer(), tell(FromTracker::Drain { reconnect_within_ms: 0 }));
    assert!(ours.inbox.try_recv().is_err());
}

#[tokio::test]
async fn blame_counts_at_the_node_of_the_blamed() {
    let (swarm, mut outward) = swarm();
    let (ours, polluter) = (swarm.join(None).unwrap(), swarm.join(None).unwrap());
    let remote = peers(10_001..10_003);
    sample(&swarm, OTHER, remote.clone());
    swarm.blame(ours.peer(), remote[0]);
    assert_eq!(letters(&mut outward), [(OTHER, remote[0], Letter::Blame { by: ours.peer() })]);
    for &by in &remote {
        swarm.introduce(polluter.peer(), by, &offer(polluter.peer())).unwrap();
    }
    for &by in &remote {
        swarm.receive(OTHER, polluter.peer(), Letter::Blame { by });
    }
    assert!(swarm.evicted().borrow().contains(&polluter.peer()));
    let told = std::iter::from_fn(|| outward.try_recv().ok()).last().unwrap();
    assert!(matches!(told, Outward::News { news: News::Evicted { peer }, .. } if peer == polluter.peer()));
    swarm.hear(OTHER, &News::Evicted { peer: ours.peer() });
    assert!(swarm.evicted().borrow().contains(&ours.peer()));
}

#[tokio::test]
async fn a_sample_names_those_who_send_most() {
    let (swarm, _outward) = swarm();
    assert_eq!(swarm.sample_for_others(), None, "nobody is here, and nobody was");
    let members = join(&swarm, 30);
    let strong: BTreeSet<PeerId> = members[..SAMPLE_LIMIT].iter().map(Membership::peer).collect();
    for &peer in &strong {
        swarm.report(peer, &Report { sent_len: 1_000_000, ..Report::default() });
    }
    let Some(News::Sample { n_viewers, peers }) = swarm.sample_for_others() else { panic!("no sample") };
    assert_eq!((n_viewers, peers.into_iter().collect()), (30, strong));
    drop(members);
    assert_eq!(swarm.sample_for_others(), Some(News::Sample { n_viewers: 0, peers: Vec::new() }));
    assert_eq!(swarm.sample_for_others(), None);
}

#[tokio::test]
async fn what_is_known_of_others_has_a_limit_and_goes_with_their_node() {
    let (swarm, _outward) = swarm();
    for batch in 0..300 {
        sample(&swarm, OTHER, peers(batch * 8 + 1..batch * 8 + 9));
    }
    assert_eq!(swarm.lock().remotes.by_id.len(), REMOTE_LIMIT);
    assert_eq!(swarm.channel().describe().n_viewers, 8);
    swarm.forget_node(OTHER);
    assert_eq!(swarm.lock().remotes.by_id.len(), 0);
    assert_eq!(swarm.channel().describe().n_viewers, 0);
}

#[tokio::test]
async fn a_peer_that_joined_another_node_is_closed_here_and_not_told_of_as_lost() {
    let (swarm, mut outward) = swarm();
    let ours = swarm.join(None).unwrap();
    sample(&swarm, OTHER, peers(10_001..10_002));
    swarm.introduce(ours.peer(), PeerId::new(10_001), &offer(ours.peer())).unwrap();
    letters(&mut outward);
    swarm.hear(OTHER, &News::Resumed { peer: ours.peer() });
    assert!(ours.closing.is_cancelled());
    ours.tell_lost();
    assert_eq!(letters(&mut outward), []);
    assert_eq!(swarm.neighbours(PeerId::new(1), &[]).len(), 2, "it is a peer of the other node now");
}
