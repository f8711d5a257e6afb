//! Whatever happens in whatever order, a peer neither panics nor asks for a timer in the past, takes no more children than
//! its uplink bears, and sends nobody what it must not.

use std::collections::BTreeSet;

use cardume_media::{PageId, PartId, TrackKind};
use cardume_swarm::{
    BitsPerSec, CatalogFacts, Config, Input, Instant, Offence, Outgoing, Output, PartFacts, Peer,
    PlayerState, ReelFacts, Role, Route, Stats, TrackFacts,
};
use cardume_wire::link::{Control, PATH_LIMIT, REQUEST_LIMIT, TrackBlocks, TrackParts};
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet, WallTime};
use proptest::prelude::*;

fn peer_id() -> impl Strategy<Value = PeerId> {
    (0u64..6).prop_map(PeerId::new)
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0u32..200, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn block() -> impl Strategy<Value = BlockId> {
    (0u32..3, 0u8..3, number()).prop_map(|(epoch, track, number)| BlockId {
        epoch: Epoch(epoch),
        track: TrackId(track),
        number: BlockNumber(number),
    })
}

fn stripe() -> impl Strategy<Value = Stripe> {
    (0u8..4).prop_filter_map("below the stripe count", Stripe::new)
}

fn part() -> impl Strategy<Value = PartFacts> {
    let ids = (0u32..3, 0u8..3, number(), number());
    (ids, 1u32..8, 0u64..60_000_000, any::<bool>()).prop_map(
        |((epoch, track, sequence, first), n, start_us, key)| PartFacts {
            id: PartId { epoch: Epoch(epoch), track: TrackId(track), sequence },
            first_block: BlockNumber(first),
            n_blocks: n,
            len: n * 16_384,
            start_us,
            end_us: start_us + 200_000,
            captured_at: WallTime(start_us),
            is_independent: key,
            descriptor_len: 150,
        },
    )
}

fn parts() -> impl Strategy<Value = Vec<TrackParts>> {
    let parts = (0u8..3, 0u32..80, proptest::collection::vec(any::<u8>(), 0..8));
    let parts =
        parts.prop_map(|(track, first, bits)| TrackParts { track: TrackId(track), first, bits: bits.into() });
    proptest::collection::vec(parts, 0..3)
}

/// A film's tracks, or none: a live broadcast.
fn reels() -> impl Strategy<Value = Vec<ReelFacts>> {
    let reel = |track| ReelFacts { track: TrackId(track), n_parts: 70, page_starts_us: vec![0, 12_800_000] };
    any::<bool>().prop_map(move |is_film| if is_film { vec![reel(0), reel(1)] } else { Vec::new() })
}

/// A page of such a film.
fn page() -> impl Strategy<Value = (PageId, Vec<PartFacts>)> {
    let film_part = |track: u8, sequence: u32| PartFacts {
        id: PartId { epoch: Epoch(1), track: TrackId(track), sequence },
        first_block: BlockNumber(sequence * 3),
        n_blocks: 3,
        len: 40_000,
        start_us: u64::from(sequence) * 200_000,
        end_us: u64::from(sequence + 1) * 200_000,
        captured_at: WallTime(0),
        is_independent: sequence.is_multiple_of(4),
        descriptor_len: 60,
    };
    (0u8..2, 0u16..2).prop_map(move |(track, page)| {
        let first = u32::from(page) * 64;
        let parts = (first..(first + 64).min(70)).map(|sequence| film_part(track, sequence));
        (PageId { epoch: Epoch(1), track: TrackId(track), page }, parts.collect())
    })
}

/// As long as it may be forwarded, or longer.
fn text() -> impl Strategy<Value = String> {
    (0usize..5_000).prop_map(|len| "x".repeat(len))
}

fn tracks() -> impl Strategy<Value = TrackSet> {
    prop_oneof![Just(TrackSet::ALL), (0u32..8).prop_map(TrackSet), any::<u32>().prop_map(TrackSet)]
}

fn control() -> impl Strategy<Value = Control> {
    let peers = || proptest::collection::vec(peer_id(), 0..8);
    let blocks = || proptest::collection::vec(block(), 0..8);
    prop_oneof![
        (0u16..3, proptest::option::of(0u32..3))
            .prop_map(|(version, epoch)| Control::Hello { version, epoch: epoch.map(Epoch) }),
        (stripe(), tracks(), any::<u16>(), any::<bool>(), any::<Option<u64>>()).prop_map(
            |(stripe, tracks, slots, is_starving, from_us)| Control::Subscribe {
                stripe,
                tracks,
                slots,
                is_starving,
                from_us
            }
        ),
        (stripe(), peers()).prop_map(|(stripe, path)| Control::Accept { stripe, path }),
        (stripe(), peers()).prop_map(|(stripe, hints)| Control::Refuse { stripe, hints }),
        stripe().prop_map(|stripe| Control::Unsubscribe { stripe }),
        (0u32..3, 0u8..3, number(), proptest::collection::vec(any::<u8>(), 0..32)).prop_map(
            |(epoch, track, first, bits)| Control::Have {
                epoch: Epoch(epoch),
                tracks: vec![TrackBlocks {
                    track: TrackId(track),
                    first: BlockNumber(first),
                    bits: bits.into()
                }],
            }
        ),
        (blocks(), any::<Option<u16>>())
            .prop_map(|(blocks, within_ms)| Control::Request { blocks, within_ms }),
        (0u32..3, parts(), parts()).prop_map(|(epoch, whole, gone)| Control::HaveParts {
            epoch: Epoch(epoch),
            whole,
            gone
        }),
        (0u32..3, 0u8..3, 0u16..3).prop_map(|(epoch, track, page)| Control::RequestIndex {
            epoch: Epoch(epoch),
            track: TrackId(track),
            page,
        }),
        peers().prop_map(|peers| Control::Holders { peers }),
        Just(Control::FindNeighbours),
        peers().prop_map(|peers| Control::Neighbours { peers }),
        (peer_id(), text()).prop_map(|(to, text)| Control::Forward { to, text }),
        (peer_id(), text()).prop_map(|(from, text)| Control::Forwarded { from, text }),
        blocks().prop_map(|blocks| Control::Cancel { blocks }),
        blocks().prop_map(|blocks| Control::Missing { blocks }),
        block().prop_map(|block| Control::RequestDescriptor { block }),
        any::<u64>().prop_map(|sent_at| Control::Ping { sent_at }),
        any::<u64>().prop_map(|sent_at| Control::Pong { sent_at }),
        Just(Control::Goodbye),
        (any::<(u16, u16, [u16; STRIPE_COUNT as usize], [u16; 3])>(), proptest::option::of(tracks()))
            .prop_map(|((slots, free, ages, [yields, wait, idle]), tracks)| Control::Status {
                slots,
                free,
                ages,
                yields,
                wait,
                idle,
                tracks
            }),
    ]
}

fn route() -> impl Strategy<Value = Route> {
    prop_oneof![3 => Just(Route::Direct), 1 => Just(Route::Relayed)]
}

fn input() -> impl Strategy<Value = Input> {
    let track = |id: u8| TrackFacts { id: TrackId(id), is_video: id != 1, bitrate: BitsPerSec(1_000_000) };
    let kind = || prop_oneof![Just(TrackKind::Video), Just(TrackKind::Audio)];
    prop_oneof![
        2 => peer_id().prop_map(|peer| Input::LinkOpened { peer }),
        2 => (peer_id(), route()).prop_map(|(peer, route)| Input::Route { peer, route }),
        1 => peer_id().prop_map(|peer| Input::LinkClosed { peer }),
        1 => peer_id().prop_map(|peer| Input::ConnectFailed { peer }),
        1 => proptest::collection::vec(peer_id(), 0..6).prop_map(|peers| Input::Suggested { peers }),
        2 => peer_id().prop_map(|from| Input::Control {
            from,
            control: Control::Hello { version: cardume_wire::PROTOCOL_VERSION, epoch: Some(Epoch(1)) },
        }),
        8 => (peer_id(), control()).prop_map(|(from, control)| Input::Control { from, control }),
        1 => (0u32..3, reels(), 2u8..5).prop_map(move |(epoch, reels, n)| Input::Catalog(CatalogFacts {
            epoch: Epoch(epoch),
            tracks: (0..n).map(track).collect(),
            len: 2_000,
            reels,
        })),
        2 => (proptest::option::of(peer_id()), page())
            .prop_map(|(from, (page, parts))| Input::Index { from, page, parts }),
        4 => (proptest::option::of(peer_id()), part()).prop_map(|(from, part)| Input::Descriptor { from, part }),
        4 => (proptest::option::of(peer_id()), block()).prop_map(|(from, block)| Input::Block { from, block }),
        1 => (peer_id(), block()).prop_map(|(from, block)| Input::BlockUseless { from, block, len: 9 }),
        1 => (peer_id(), block()).prop_map(|(from, block)| Input::BlockUnverifiable { from, block }),
        1 => (peer_id(), text()).prop_map(|(to, text)| Input::Forward { to, text }),
        1 => peer_id().prop_map(|from| Input::Offence { from, kind: Offence::WrongBlock }),
        1 => (peer_id(), any::<u32>()).prop_map(|(peer, len)| Input::Backlog { peer, len: len as usize }),
        1 => (kind(), proptest::option::of(0u8..5))
            .prop_map(|(kind, track)| Input::Select { kind, track: track.map(TrackId) }),
        1 => any::<u64>().prop_map(|wall| Input::Clock { wall: WallTime(wall) }),
        2 => (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(|(playhead, start, end, paused)| {
            Input::Player(PlayerState {
                playhead_us: playhead.into(),
                buffered: vec![(start.into(), end.into())],
                is_paused: paused,
                is_seeking: start > end,
            })
        }),
        1 => proptest::option::of(any::<u64>()).prop_map(|limit| Input::UplinkLimit(limit.map(BitsPerSec))),
        1 => Just(Input::CutOff),
        1 => Just(Input::Leave),
    ]
}

/// What the peer was told, and so may do.
struct Account {
    config: Config,
    links: BTreeSet<PeerId>,
    /// Of these, the ones that the relay passes on.
    relayed: BTreeSet<PeerId>,
    /// Whether the server lacks its source.
    is_cut_off: bool,
    /// Whether the server has greeted.
    has_server: bool,
    blocks: BTreeSet<BlockId>,
    offenders: BTreeSet<PeerId>,
}

impl Account {
    fn note(&mut self, input: &Input) {
        match input {
            Input::LinkOpened { peer } => {
                self.forget(*peer);
                self.links.insert(*peer);
            }
            Input::LinkClosed { peer } => self.forget(*peer),
            Input::Route { peer, route: Route::Relayed }
                if self.links.contains(peer) && !peer.is_server() =>
            {
                self.relayed.insert(*peer);
            }
            Input::Route { peer, .. } => drop(self.relayed.remove(peer)),
            Input::Control { from: PeerId::SERVER, control: Control::Hello { .. } } => {
                self.has_server = self.links.contains(&PeerId::SERVER);
            }
            Input::Block { from, block } => {
                self.is_cut_off &= from.is_some();
                self.blocks.insert(*block);
            }
            Input::CutOff => self.is_cut_off = self.config.role == Role::Server,
            // Whoever serves a film has all of it.
            Input::Index { parts, .. } if self.config.role == Role::Server => {
                self.blocks.extend(parts.iter().flat_map(PartFacts::blocks));
            }
            Input::Offence { from, .. } => drop(self.offenders.insert(*from)),
            _ => {}
        }
    }

    fn check(&mut self, output: &Output) {
        let own = self.config.id;
        match output {
            Output::Send { to, message } => {
                assert!(self.links.contains(to), "{to} has no link");
                self.check_message(*to, message);
            }
            Output::Disconnect { peer, .. } => {
                assert!(self.links.contains(peer), "{peer} has no link");
                self.forget(*peer);
            }
            Output::Connect { peer } => {
                assert!(*peer != own && !peer.is_server() && !self.links.contains(peer), "to {peer}");
            }
            Output::Blame { peer } => assert!(self.offenders.contains(peer), "{peer} did no wrong"),
            Output::FindNeighbours { without } => assert!(without.iter().all(|peer| !peer.is_server())),
            _ => {}
        }
    }

    fn check_message(&self, to: PeerId, message: &Outgoing) {
        match message {
            Outgoing::Block(block) => assert!(self.blocks.contains(block), "{block:?} never came"),
            Outgoing::Control(Control::Accept { path, .. }) => {
                assert!(!self.is_cut_off, "{to} is to wait for nothing");
                let is_own = self.config.role == Role::Server || path.last() == Some(&self.config.id);
                assert!(is_own && !path.contains(&to) && path.len() <= PATH_LIMIT, "{path:?} to {to}");
            }
            Outgoing::Control(Control::Refuse { hints, .. }) => {
                assert!(!hints.contains(&to), "{to} is sent to itself");
            }
            Outgoing::Control(Control::Request { blocks, .. }) => assert!(blocks.len() <= REQUEST_LIMIT),
            Outgoing::Control(Control::Subscribe { .. }) => {
                assert!(
                    !self.has_server || !self.relayed.contains(&to),
                    "{to} is to push at the server's cost"
                );
            }
            _ => {}
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.links.remove(&peer);
        self.relayed.remove(&peer);
        self.has_server &= !peer.is_server();
    }

    /// Nobody is taken whom the uplink does not bear; the server feeds at least one in each stripe.
    fn check_children(&self, before: &Stats, after: &Stats) {
        let least = if self.config.role == Role::Server { STRIPE_COUNT.into() } else { 0 };
        let limit = before.n_slots.max(after.n_slots).max(least);
        let has_grown = after.n_children > before.n_children;
        assert!(!has_grown || after.n_children <= limit, "{} children, {limit} slots", after.n_children);
        assert!(after.n_children == 0 || !self.links.is_empty(), "children without links");
    }
}

fn survives(config: Config, steps: Vec<(u32, Input)>) {
    let mut now = Instant::from_micros(1);
    let mut peer = Peer::new(config.clone(), 1, now);
    let mut twin = Peer::new(config.clone(), 1, now);
    let mut account = Account {
        config,
        links: BTreeSet::new(),
        relayed: BTreeSet::new(),
        is_cut_off: false,
        has_server: false,
        blocks: BTreeSet::new(),
        offenders: BTreeSet::new(),
    };
    for (wait, input) in steps {
        now += core::time::Duration::from_micros(u64::from(wait));
        account.note(&input);
        let before = peer.stats(now);
        peer.handle_input(input.clone(), now);
        twin.handle_input(input, now);
        while let Some(output) = peer.poll_output() {
            assert_eq!(twin.poll_output().as_ref(), Some(&output), "equal inputs give equal outputs");
            account.check(&output);
        }
        assert!(peer.poll_timeout().is_some_and(|at| at > now), "the timer lies in the future");
        account.check_children(&before, &peer.stats(now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_viewer_survives_anything(steps in proptest::collection::vec((0u32..400_000, input()), 1..120)) {
        survives(Config::viewer(PeerId::new(5)), steps);
    }

    #[test]
    fn a_budgeted_server_survives_anything(steps in proptest::collection::vec((0u32..400_000, input()), 1..120)) {
        survives(Config::server(Some(BitsPerSec(3_000_000))), steps);
    }
}
