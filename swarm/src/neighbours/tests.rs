//! The neighbours against a naive account of links, candidates and those who are out.

use std::collections::BTreeSet;

use cardume_wire::TrackId;
use proptest::prelude::*;

use super::*;

const OWN: PeerId = PeerId::new(9);

fn config() -> Config {
    Config { neighbours_wanted: 3, neighbour_limit: 5, ..Config::viewer(OWN) }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(Duration),
    Open(PeerId),
    Close(PeerId),
    Fail(PeerId),
    Ban(PeerId),
    Suspect(PeerId),
    Suggest(Vec<PeerId>),
    Connect(PeerId),
    ConnectSuggested,
    Find,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = || (0u64..14).prop_map(PeerId::new);
    let step = prop_oneof![
        4 => prop_oneof![0u64..2_000, 0u64..70_000].prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        6 => peer().prop_map(Step::Open),
        3 => peer().prop_map(Step::Close),
        2 => peer().prop_map(Step::Fail),
        1 => peer().prop_map(Step::Ban),
        1 => peer().prop_map(Step::Suspect),
        4 => proptest::collection::vec(peer(), 1..6).prop_map(Step::Suggest),
        3 => peer().prop_map(Step::Connect),
        4 => Just(Step::ConnectSuggested),
        2 => Just(Step::Find),
    ];
    proptest::collection::vec(step, 1..120)
}

#[derive(Default)]
struct Account {
    now: Instant,
    links: BTreeSet<PeerId>,
    connecting: BTreeMap<PeerId, Instant>,
    failed: BTreeMap<PeerId, Instant>,
    banned: BTreeSet<PeerId>,
    suspected: BTreeMap<PeerId, Instant>,
    suggested: BTreeSet<PeerId>,
}

impl Account {
    fn n_viewers(&self) -> usize {
        self.links.iter().filter(|peer| !peer.is_server()).count()
    }

    fn n_wished(&self) -> usize {
        self.n_viewers() + self.connecting.len()
    }

    /// A banned peer, a suspect and we ourselves never; the server always; others while there is room, with some more
    /// for those whom we asked.
    fn open(&mut self, peer: PeerId) -> bool {
        let was_asked = self.connecting.remove(&peer).is_some();
        self.suggested.remove(&peer);
        let limit = config().neighbour_limit + if was_asked { 2 } else { 0 };
        let is_out = peer == OWN || self.banned.contains(&peer) || self.is_suspected(peer);
        let is_taken = !is_out && (peer.is_server() || self.n_viewers() < limit);
        if is_taken {
            self.failed.remove(&peer);
            self.links.insert(peer);
        }
        is_taken
    }

    fn is_suspected(&self, peer: PeerId) -> bool {
        self.suspected.get(&peer).is_some_and(|at| self.now.since(*at) < SUSPECTED_FOR)
    }

    fn is_out(&self, peer: PeerId) -> bool {
        peer == OWN || peer.is_server() || self.banned.contains(&peer)
    }

    fn suggest(&mut self, peers: &[PeerId]) {
        let new = peers.iter().filter(|peer| !self.is_out(**peer) && !self.links.contains(peer));
        let new: Vec<PeerId> = new.copied().collect();
        self.suggested.extend(new);
    }

    fn connect(&mut self, peer: PeerId) -> bool {
        let is_known = self.links.contains(&peer) || self.connecting.contains_key(&peer);
        let may = !is_known
            && !self.is_out(peer)
            && !self.failed.contains_key(&peer)
            && self.n_wished() < config().neighbour_limit;
        if may {
            self.suggested.remove(&peer);
            self.connecting.insert(peer, self.now);
        }
        may
    }

    fn expire(&mut self) {
        let now = self.now;
        let late = self.connecting.iter().filter(|(_, at)| now.since(**at) > CONNECT_LIMIT);
        let late: Vec<PeerId> = late.map(|(peer, _)| *peer).collect();
        for peer in late {
            self.connecting.remove(&peer);
            self.failed.insert(peer, now);
        }
        self.failed.retain(|_, at| now.since(*at) < FAILED_FOR);
    }
}

/// Those suggested are connected to, as many as are wanted, unless it was in vain a short while ago.
fn connect_suggested(neighbours: &mut Neighbours, account: &mut Account) -> Result<(), TestCaseError> {
    account.expire();
    let candidates: BTreeSet<PeerId> =
        account.suggested.iter().copied().filter(|peer| !account.failed.contains_key(peer)).collect();
    let is_left_to_the_server = account.now < Instant::default() + MESH_AFTER;
    let n_lacking = config().neighbours_wanted.saturating_sub(account.n_wished());
    let n_expected = if is_left_to_the_server { 0 } else { candidates.len().min(n_lacking) };
    let chosen: BTreeSet<PeerId> = neighbours.connects(&config(), account.now).into_iter().collect();
    prop_assert_eq!(chosen.len(), n_expected, "{:?} of {:?}", chosen, candidates);
    prop_assert!(chosen.is_subset(&candidates), "{:?} of {:?}", chosen, candidates);
    for peer in chosen {
        account.suggested.remove(&peer);
        account.connecting.insert(peer, account.now);
    }
    Ok(())
}

fn take(neighbours: &mut Neighbours, account: &mut Account, step: Step) -> Result<(), TestCaseError> {
    let now = account.now;
    match step {
        Step::Pass(time) => account.now += time,
        Step::Open(peer) => {
            prop_assert_eq!(neighbours.close(peer).is_some(), account.links.remove(&peer));
            prop_assert_eq!(neighbours.open(peer, 1, &config(), now), account.open(peer), "{}", peer);
        }
        Step::Close(peer) => prop_assert_eq!(neighbours.close(peer).is_some(), account.links.remove(&peer)),
        Step::Fail(peer) => {
            neighbours.fail(peer, now);
            if account.connecting.remove(&peer).is_some() {
                account.failed.insert(peer, now);
            }
        }
        Step::Ban(peer) => {
            neighbours.ban(peer, now);
            account.suggested.remove(&peer);
            account.banned.insert(peer);
        }
        Step::Suspect(peer) => {
            neighbours.suspect(peer, now);
            account.suggested.remove(&peer);
            account.suspected.insert(peer, now);
        }
        Step::Suggest(peers) => {
            neighbours.suggest(&peers, &config());
            account.suggest(&peers);
        }
        Step::Connect(peer) => {
            prop_assert_eq!(neighbours.connect(peer, &config(), now), account.connect(peer), "{}", peer);
        }
        Step::ConnectSuggested => connect_suggested(neighbours, account)?,
        Step::Find => {
            if let Some(without) = neighbours.find(&config(), now) {
                let known =
                    account.links.iter().chain(account.connecting.keys()).chain(account.failed.keys());
                let known: BTreeSet<PeerId> = known.chain(&account.banned).copied().collect();
                let named: BTreeSet<PeerId> = without.into_iter().collect();
                prop_assert!(account.n_viewers() < config().neighbours_wanted);
                prop_assert!(named.iter().all(|peer| known.contains(peer) && !peer.is_server()));
                prop_assert!(known.iter().all(|peer| named.contains(peer) || peer.is_server()));
            }
        }
    }
    prop_assert_eq!(neighbours.peers(), account.links.iter().copied().collect::<Vec<_>>());
    prop_assert_eq!(neighbours.n_peers(), account.n_viewers());
    prop_assert_eq!(neighbours.is_full(&config()), account.n_viewers() >= config().neighbour_limit);
    Ok(())
}

proptest! {
    #[test]
    fn links_candidates_and_those_who_are_out_are_kept_apart(steps in steps()) {
        let (mut neighbours, mut account) = (Neighbours::new(Instant::default()), Account::default());
        for step in steps {
            take(&mut neighbours, &mut account, step)?;
        }
    }

    #[test]
    fn the_round_trip_stays_within_what_was_measured(trips in proptest::collection::vec(1u64..3_000, 1..40)) {
        let mut neighbour = Neighbour::new(1, Instant::default());
        let trips: Vec<Duration> = trips.into_iter().map(Duration::from_millis).collect();
        for trip in &trips {
            neighbour.measure(*trip);
        }
        let (least, most) = (trips.iter().min().copied(), trips.iter().max().copied());
        prop_assert_eq!(neighbour.rtt_min, least);
        prop_assert!(neighbour.rtt >= least && neighbour.rtt <= most, "{:?}", neighbour.rtt);
        prop_assert_eq!(Some(neighbour.rtt_or_guess()), neighbour.rtt);
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

#[test]
fn who_lacks_neighbours_asks_ever_more_rarely_and_sooner_after_a_loss() {
    let mut neighbours = Neighbours::new(at(0));
    let asked = |neighbours: &mut Neighbours, seconds: core::ops::Range<u64>| {
        let halves = (seconds.start * 2..seconds.end * 2).map(|half| half * 500);
        halves.filter(|millis| neighbours.find(&config(), at(*millis)).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(asked(&mut neighbours, 0..40), [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]);
    assert_eq!(asked(&mut neighbours, 40..130), [62_000, 92_000, 122_000]);
    neighbours.hurry(at(130_000));
    assert_eq!(asked(&mut neighbours, 130..134), [130_500, 131_500, 133_500]);
}

#[test]
fn who_has_enough_neighbours_asks_for_none() {
    let mut neighbours = Neighbours::new(at(0));
    for n in 1..4 {
        assert!(neighbours.open(PeerId::new(n), 1, &config(), at(0)));
    }
    assert_eq!(neighbours.find(&config(), at(60_000)), None);
}

#[test]
fn what_is_remembered_of_strangers_is_bounded_and_the_oldest_goes_first() {
    let mut neighbours = Neighbours::new(at(0));
    let ids = |from: u64| (from..from + MEMORY_LIMIT as u64).map(PeerId::new);
    for (millis, peer) in (0..).zip(ids(100)).chain((1_000..).zip(ids(1_000))) {
        neighbours.ban(peer, at(millis));
    }
    assert!(neighbours.open(PeerId::new(100), 1, &config(), at(9_000)), "long forgotten");
    assert!(!neighbours.open(PeerId::new(1_000), 1, &config(), at(9_000)));
    neighbours.suggest(&ids(5_000).chain(ids(9_000)).collect::<Vec<_>>(), &config());
    assert_eq!(neighbours.suggested.len(), MEMORY_LIMIT);
}

#[test]
fn a_server_takes_as_many_as_it_may_and_is_never_full_for_the_mesh() {
    let config = Config { server_link_limit: 3, ..Config::server(None) };
    let mut neighbours = Neighbours::new(at(0));
    let n_taken = (1..9).filter(|n| neighbours.open(PeerId::new(*n), 1, &config, at(0))).count();
    assert_eq!(n_taken, 3);
    assert!(!neighbours.is_full(&config));
}

/// What a neighbour that said that each stripe reaches it 100 ms old is thought to hold.
#[test]
fn a_neighbour_holds_what_it_said_and_what_is_old_enough_and_not_what_it_declined() {
    let mut neighbour = Neighbour::new(2, at(0));
    let old = Some(Duration::from_millis(500));
    let block = |number| BlockId { epoch: Epoch(1), track: TrackId(0), number: BlockNumber(number) };
    let [said, other] = [block(7), block(8)];
    neighbour.has[0].insert(said.number.0);
    assert!(neighbour.may_hold(0, said, None));
    assert!(!neighbour.may_hold(0, other, old), "nothing is known of its place");
    let ages = [100; STRIPE_COUNT as usize];
    neighbour.status =
        Some(Status { slots: 0, free: 0, ages, yields: 0, wait: 0, idle: 0, tracks: TrackSet(1) });
    assert!(neighbour.may_hold(0, other, old));
    assert!(!neighbour.may_hold(0, other, Some(Duration::from_millis(400))), "it may be on its way");
    assert!(!neighbour.may_hold(0, other, None));
    let unwatched = BlockId { track: TrackId(1), ..other };
    assert!(!neighbour.may_hold(1, unwatched, old), "it does not get that track");
    neighbour.declined(0, other.number, at(0));
    assert!(!neighbour.may_hold(0, other, old) && neighbour.busy_until == at(0));
    neighbour.declined(0, said.number, at(0));
    assert!(
        neighbour.may_hold(0, said, None) && neighbour.busy_until == at(0) + BUSY_FOR,
        "it was only busy"
    );
    neighbour.reset(1);
    assert!(!neighbour.may_hold(0, said, None), "another broadcast");
    assert!(neighbour.may_hold(0, other, old));
}

#[test]
fn who_was_suspended_itself_holds_no_silence_against_others() {
    let mut neighbours = Neighbours::new(at(0));
    assert!(neighbours.open(PeerId::new(1), 1, &config(), at(0)));
    if let Some(link) = neighbours.get_mut(PeerId::new(1)) {
        link.pinged_at = Some(at(0));
    }
    neighbours.forgive(at(5_000));
    let link = neighbours.get(PeerId::new(1)).expect("it is there");
    assert_eq!((link.pinged_at, link.heard_at), (None, at(5_000)));
}
