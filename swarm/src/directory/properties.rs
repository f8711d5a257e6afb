//! The directory against a naive account of who said what and was promised to whom.

use proptest::prelude::*;

use super::*;

const N_VIEWERS: u64 = 24;

#[derive(Clone, Debug)]
enum Step {
    Pass(Duration),
    Say(PeerId, Status),
    Go(PeerId),
    Suggest(Search, u64),
    Wait(Search),
    Relieve(PeerId),
}

fn viewer() -> impl Strategy<Value = PeerId> {
    (1..=N_VIEWERS).prop_map(PeerId::new)
}

/// Two stripes are enough to be abroad.
fn stripe() -> impl Strategy<Value = Stripe> {
    (0u8..2).prop_filter_map("below the count", Stripe::new)
}

/// One sound, and one picture of two or both.
fn tracks() -> impl Strategy<Value = TrackSet> {
    prop_oneof![Just(TrackSet(0b011)), Just(TrackSet(0b101)), Just(TrackSet(0b111))]
}

fn status() -> impl Strategy<Value = Status> {
    let age = || prop_oneof![4 => 0u16..1_600, 1 => Just(UNKNOWN_AGE)];
    (0u16..4, age(), age(), 0u16..3, 0u16..200, 0u16..2, tracks()).prop_map(
        |(free, here, there, yields, wait, idle, tracks)| {
            let mut ages = [UNKNOWN_AGE; STRIPE_COUNT as usize];
            (ages[0], ages[1]) = (here, there);
            Status { slots: 4, free, ages, yields, wait, idle, tracks }
        },
    )
}

fn search() -> impl Strategy<Value = Search> {
    let claim = prop_oneof![Just(Claim::Idle), Just(Claim::Contributes), Just(Claim::Feeds)];
    let age_limit = prop_oneof![3 => Just(u16::MAX), 1 => 0u16..1_600];
    (viewer(), stripe(), tracks(), claim, age_limit).prop_map(|(asker, stripe, tracks, claim, age_limit)| {
        Search { asker, stripe, tracks, claim, age_limit }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u64..1_500).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        6 => (viewer(), status()).prop_map(|(peer, status)| Step::Say(peer, status)),
        1 => viewer().prop_map(Step::Go),
        6 => (search(), 0u64..100).prop_map(|(search, draw)| Step::Suggest(search, draw)),
        4 => search().prop_map(Step::Wait),
        4 => viewer().prop_map(Step::Relieve),
    ];
    proptest::collection::vec(step, 1..150)
}

/// What a viewer said, and when somebody was sent to it.
struct Known {
    status: Status,
    promised: Vec<Instant>,
}

impl Known {
    fn has_slot(&self, stripe: Stripe) -> bool {
        self.status.ages[stripe.index()] != UNKNOWN_AGE && usize::from(self.status.free) > self.promised.len()
    }

    /// Whether there is a slot for one that feeds others, or a child that would give way to it.
    fn would_yield(&self) -> bool {
        let Status { free, yields, .. } = self.status;
        usize::from(free + yields) > self.promised.len()
    }

    /// Milliseconds that leaves would wait, all together, and one that feeds others would not: it comes before them.
    fn leaves_wait(&self) -> u16 {
        let Status { slots, free, yields, wait, .. } = self.status;
        let n_used = slots - free;
        wait * yields.min(n_used) / (n_used + 1)
    }

    /// Whether a child that pushes nothing would give way to one that contributes.
    fn has_idle(&self) -> bool {
        usize::from(self.status.idle) > self.promised.len()
    }
}

#[derive(Default)]
struct Account {
    known: BTreeMap<PeerId, Known>,
    /// Who asked in vain, in the order of asking.
    waiting: Vec<(Instant, Search)>,
    now: Instant,
}

impl Account {
    fn say(&mut self, peer: PeerId, status: Status) {
        let n_used = |status: &Status| status.slots.saturating_sub(status.free);
        let before = self.known.remove(&peer);
        let mut promised = before.as_ref().map_or(Vec::new(), |known| known.promised.clone());
        // Whoever came was one that it was promised to.
        let n_came = before.map_or(0, |known| n_used(&status).saturating_sub(n_used(&known.status)));
        promised.drain(..promised.len().min(n_came.into()));
        self.known.insert(peer, Known { status, promised });
    }

    fn forget_old_promises(&mut self) {
        let now = self.now;
        for known in self.known.values_mut() {
            known.promised.retain(|at| now.since(*at) < PROMISED_FOR);
        }
    }

    fn promise(&mut self, peer: PeerId) {
        let known = self.known.get_mut(&peer).expect("somebody known");
        known.promised.push(self.now);
    }

    /// All who would take the asker, the best first: for who feeds others the shortest path at home, in which leaves do not
    /// count; for others the longest that is short enough, then the shortest.
    fn best(&self, search: Search) -> Vec<PeerId> {
        let feeds = search.claim == Claim::Feeds;
        let is_home = |peer: PeerId| peer.home_stripe() == search.stripe;
        let would_yield = |peer: PeerId| is_home(peer) && self.known[&peer].would_yield();
        let rank_of = |peer: PeerId, is_first: bool| {
            let known = &self.known[&peer];
            let rank = known.status.ages[search.stripe.index()].saturating_add(known.status.wait);
            rank - if is_first { known.leaves_wait() } else { 0 }
        };
        let rank = |peer: PeerId| rank_of(peer, false);
        let is_allowed = |peer: &PeerId| {
            *peer != search.asker
                && self.known[peer].status.ages[search.stripe.index()] != UNKNOWN_AGE
                && self.known[peer].status.tracks.includes(search.tracks)
        };
        let all = |is_able: &dyn Fn(PeerId) -> bool, is_first: bool| -> Vec<PeerId> {
            let allowed = self.known.keys().copied().filter(is_allowed);
            allowed.filter(|&peer| is_able(peer) && rank_of(peer, is_first) <= search.age_limit).collect()
        };
        let has_slot = |peer: PeerId| self.known[&peer].has_slot(search.stripe);
        if feeds && !all(&would_yield, true).is_empty() {
            let mut best = all(&would_yield, true);
            best.sort_by_key(|&peer| (rank_of(peer, true), peer));
            return best;
        }
        if search.claim == Claim::Contributes && all(&has_slot, false).is_empty() {
            let mut best = all(&|peer| is_home(peer) && self.known[&peer].has_idle(), false);
            best.sort_by_key(|&peer| (rank(peer), peer));
            return best;
        }
        let mut best = all(&has_slot, false);
        best.sort_by_key(|&peer| (!is_home(peer), rank(peer), peer));
        if !feeds {
            let is_near = |peer: &PeerId| is_home(*peer) && rank(*peer) <= LEAF_RANK;
            let n_near = best.iter().filter(|peer| is_near(peer)).count();
            best[..n_near].reverse();
        }
        best
    }

    /// Who of those that wait may be told of this viewer's room in a stripe.
    fn entitled(&self, peer: PeerId, stripe: Stripe) -> impl Iterator<Item = &Search> {
        let patience = if peer.home_stripe() == stripe { Duration::ZERO } else { ABROAD_AFTER };
        let tracks = self.known.get(&peer).map_or(TrackSet::default(), |known| known.status.tracks);
        let lines = self.waiting.iter().filter(move |(since, search)| {
            let waited = self.now.since(*since);
            let gets_it = tracks.includes(search.tracks);
            gets_it
                && search.stripe == stripe
                && search.asker != peer
                && waited >= patience
                && waited < WAITING_FOR
        });
        lines.map(|(_, search)| search)
    }
}

fn take(directory: &mut Directory, account: &mut Account, step: &Step) -> Result<(), TestCaseError> {
    match *step {
        Step::Pass(time) => account.now += time,
        Step::Say(peer, status) => {
            directory.update(peer, status);
            account.say(peer, status);
        }
        Step::Go(peer) => {
            directory.remove(peer);
            account.known.remove(&peer);
            account.waiting.retain(|(_, search)| search.asker != peer);
        }
        Step::Suggest(search, draw) => {
            account.forget_old_promises();
            let best: Vec<PeerId> = account.best(search).into_iter().take(DRAWN_FROM).collect();
            let suggested = directory.suggest(search, account.now, |n| draw % n);
            let index = usize::try_from(draw).expect("small") % best.len().max(1);
            prop_assert_eq!(suggested, best.get(index).copied(), "of {:?}", best);
            if let Some(peer) = suggested {
                account.promise(peer);
            }
        }
        Step::Wait(search) => {
            directory.wait(search, account.now);
            let is_same = |other: &Search| (other.asker, other.stripe) == (search.asker, search.stripe);
            account.waiting.retain(|(_, other)| !is_same(other));
            account.waiting.push((account.now, search));
        }
        Step::Relieve(peer) => relieve(directory, account, peer)?,
    }
    Ok(())
}

/// Each is told once, of a slot that nobody else was promised; nobody with less of a claim before one with more, and no
/// slot stays free while somebody waits for it.
fn relieve(directory: &mut Directory, account: &mut Account, peer: PeerId) -> Result<(), TestCaseError> {
    account.forget_old_promises();
    for search in directory.relieve(peer, account.now) {
        prop_assert!(account.known[&peer].has_slot(search.stripe), "nobody is sent where there is no room");
        let entitled: Vec<&Search> = account.entitled(peer, search.stripe).collect();
        let place = entitled.iter().position(|other| other.asker == search.asker);
        let is_leaf = |search: &Search| search.claim != Claim::Feeds;
        let passed_over = &entitled[..place.expect("only who waits is told")];
        let is_fair = |other: &&Search| is_leaf(&search) && is_leaf(other);
        prop_assert!(!passed_over.iter().any(is_fair), "leaves are served in their order");
        prop_assert!(
            !is_leaf(&search) || entitled.iter().all(|other| is_leaf(other)),
            "after who feeds others"
        );
        account.waiting.retain(|(_, other)| (other.asker, other.stripe) != (search.asker, search.stripe));
        account.promise(peer);
    }
    for stripe in Stripe::all() {
        let has_slot = account.known.get(&peer).is_some_and(|known| known.has_slot(stripe));
        prop_assert!(!has_slot || account.entitled(peer, stripe).next().is_none(), "somebody waits for it");
    }
    Ok(())
}

proptest! {
    #[test]
    fn everybody_is_sent_where_there_is_room_that_nobody_else_was_promised(steps in steps()) {
        let (mut directory, mut account) = (Directory::default(), Account::default());
        for step in steps {
            take(&mut directory, &mut account, &step)?;
        }
    }
}

#[test]
fn the_line_has_an_end() {
    let mut directory = Directory::default();
    let stripe = Stripe::all().next().expect("there are some");
    for n in 0..=WAITING_LIMIT as u64 {
        let claim = if n % 2 == 0 { Claim::Feeds } else { Claim::Idle };
        let search =
            Search { asker: PeerId::new(n), stripe, tracks: TrackSet::ALL, claim, age_limit: u16::MAX };
        directory.wait(search, Instant::default());
    }
    assert_eq!(directory.waiting[stripe.index()].len(), WAITING_LIMIT);
}
