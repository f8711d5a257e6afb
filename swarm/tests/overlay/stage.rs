//! One real peer on a stage: its neighbours, the tracker and the media element are the script.

use core::time::Duration;

use cardume_media::PartId;
use cardume_swarm::{
    BitsPerSec, CatalogFacts, Config, Input, Instant, Outgoing, Output, PartFacts, Peer, PlayerState, Route,
    TrackFacts,
};
use cardume_wire::link::{Control, TrackBlocks, block_count};
use cardume_wire::{
    BlockId, BlockNumber, Epoch, PROTOCOL_VERSION, PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet, WallTime,
};

pub(crate) const EPOCH: Epoch = Epoch(1);
pub(crate) const TRACK: TrackId = TrackId(0);
pub(crate) const PART_US: u64 = 200_000;
/// One block for each stripe.
pub(crate) const PART_LEN: u32 = 32_768;
pub(crate) const DESCRIPTOR_LEN: usize = 150;
pub(crate) const CATALOG_LEN: usize = 500;
/// Parts from one key frame to the next.
pub(crate) const GROUP: u32 = 5;
/// Media time need not begin at 0, and what is due before it would be due at once.
pub(crate) const MEDIA_BEGINS_US: u64 = 10_000_000;
pub(crate) const WALL_US: u64 = 1_800_000_000_000_000;
pub(crate) const SERVER: PeerId = PeerId::SERVER;
/// At home in stripe 0.
pub(crate) const SELF: PeerId = PeerId::new(8);
/// At home in stripe 0, as all viewers whose number is a multiple of eight.
pub(crate) const A: PeerId = PeerId::new(16);
pub(crate) const B: PeerId = PeerId::new(24);

pub(crate) fn home() -> Stripe {
    SELF.home_stripe()
}

pub(crate) fn part(sequence: u32) -> PartFacts {
    let n_blocks = u32::try_from(block_count(PART_LEN as usize)).expect("a few");
    assert_eq!(n_blocks, u32::from(STRIPE_COUNT));
    let captured_us = u64::from(sequence) * PART_US;
    let start_us = MEDIA_BEGINS_US + captured_us;
    PartFacts {
        id: PartId { epoch: EPOCH, track: TRACK, sequence },
        first_block: BlockNumber(sequence * n_blocks),
        n_blocks,
        len: PART_LEN,
        start_us,
        end_us: start_us + PART_US,
        captured_at: WallTime(WALL_US + captured_us),
        is_independent: sequence.is_multiple_of(GROUP),
        descriptor_len: DESCRIPTOR_LEN,
    }
}

/// The block of a part that belongs to this stripe.
pub(crate) fn block(sequence: u32, stripe: Stripe) -> BlockId {
    let block = part(sequence).blocks().find(|block| block.number.stripe() == stripe);
    block.expect("one for each stripe")
}

pub(crate) fn stripe(index: u8) -> Stripe {
    Stripe::new(index).expect("below the count")
}

/// One real peer and what it did. Its clock and the broadcast begin together.
pub(crate) struct Stage {
    pub(crate) peer: Peer,
    pub(crate) now: Instant,
    pub(crate) n_parts: u32,
    pub(crate) outputs: Vec<(Instant, Output)>,
    /// The media element: playhead, whether it moves, and what it holds.
    pub(crate) playhead_us: u64,
    pub(crate) is_moving: bool,
    pub(crate) buffered: Option<(u64, u64)>,
    /// Who answers no pings.
    pub(crate) mute: Option<PeerId>,
}

impl Stage {
    pub(crate) fn new(config: Config) -> Self {
        let now = Instant::from_micros(0);
        let peer = Peer::new(config, 1, now);
        let (outputs, buffered, mute) = (Vec::new(), None, None);
        let mut stage =
            Self { peer, now, n_parts: 0, outputs, playhead_us: 0, is_moving: false, buffered, mute };
        stage.tell(Input::Clock { wall: WallTime(WALL_US) });
        stage
    }

    pub(crate) fn server(budget: u64) -> Self {
        let mut stage = Self::new(Config::server(Some(BitsPerSec(budget))));
        stage.begin();
        stage
    }

    /// A viewer to whom the server pushes everything, and which has some of it. Its uplink bears so many stripes of
    /// the stream, and a fifth more that it keeps back.
    pub(crate) fn viewer(n_slots: u64) -> Self {
        let stripe_rate = u64::from(PART_LEN) * 8 * 1_000_000 / PART_US / u64::from(STRIPE_COUNT);
        let guess = Some(BitsPerSec(n_slots * stripe_rate * 14 / 10));
        let mut stage = Self::new(Config { uplink_guess: guess, ..Config::viewer(SELF) });
        stage.greets(SERVER);
        stage.begin();
        stage.run(100);
        for stripe in Stripe::all() {
            stage.hears(SERVER, Control::Accept { stripe, path: Vec::new() });
        }
        stage.stream(15);
        stage
    }

    pub(crate) fn begin(&mut self) {
        let bitrate = BitsPerSec(u64::from(PART_LEN) * 8 * 1_000_000 / PART_US);
        let tracks = vec![TrackFacts { id: TRACK, is_video: true, bitrate }];
        self.tell(Input::Catalog(CatalogFacts { epoch: EPOCH, tracks, len: CATALOG_LEN, reels: Vec::new() }));
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.peer.handle_input(input, self.now);
        self.drain();
    }

    pub(crate) fn hears(&mut self, from: PeerId, control: Control) {
        self.tell(Input::Control { from, control });
    }

    /// A neighbour that plays the same broadcast.
    pub(crate) fn greets(&mut self, from: PeerId) {
        self.opens(from);
        self.runs(from, Route::Direct);
    }

    /// The same, and nothing is known of its link's way.
    pub(crate) fn opens(&mut self, from: PeerId) {
        self.tell(Input::LinkOpened { peer: from });
        self.hears(from, Control::Hello { version: PROTOCOL_VERSION, epoch: Some(EPOCH) });
    }

    /// A neighbour's link runs so from now on.
    pub(crate) fn runs(&mut self, peer: PeerId, route: Route) {
        self.tell(Input::Route { peer, route });
    }

    /// A neighbour that says that all stripes reach it this late, and that it has room.
    pub(crate) fn greets_with_room(&mut self, from: PeerId, age_ms: u16) {
        self.greets(from);
        let ages = [age_ms; STRIPE_COUNT as usize];
        self.hears(
            from,
            Control::Status { slots: 4, free: 4, ages, yields: 0, wait: 0, idle: 0, tracks: None },
        );
    }

    /// A neighbour that says that it holds all of the last parts.
    pub(crate) fn has_the_last_parts(&mut self, from: PeerId, n: u32) {
        let first = part(self.n_parts - n).first_block;
        let bits = vec![0xff; n as usize * usize::from(STRIPE_COUNT) / 8];
        let tracks = vec![TrackBlocks { track: TRACK, first, bits: bits.into() }];
        self.hears(from, Control::Have { epoch: EPOCH, tracks });
    }

    pub(crate) fn subscribes(&mut self, from: PeerId, stripe: Stripe, slots: u16) {
        let is_starving = true;
        self.hears(
            from,
            Control::Subscribe { stripe, tracks: TrackSet::ALL, slots, is_starving, from_us: None },
        );
    }

    /// Does what the peer asks for; neighbours answer pings at once.
    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.peer.poll_output() {
            match &output {
                Output::Send { to, message: Outgoing::Control(Control::Ping { sent_at }) }
                    if self.mute != Some(*to) =>
                {
                    let pong = Control::Pong { sent_at: *sent_at };
                    self.peer.handle_input(Input::Control { from: *to, control: pong }, self.now);
                }
                Output::Deliver { part: id } => {
                    let part = part(id.sequence);
                    let (start, end) = self.buffered.unwrap_or((part.start_us, part.end_us));
                    self.buffered = Some((start, end.max(part.end_us)));
                }
                Output::Seek { to_us } => self.playhead_us = *to_us,
                Output::SetRate(rate) => self.is_moving = *rate > 0.5,
                _ => {}
            }
            self.outputs.push((self.now, output));
        }
    }

    /// Lets time pass, in steps of 10 ms.
    pub(crate) fn run(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now += Duration::from_millis(10);
            self.peer.handle_timeout(self.now);
            self.drain();
        }
        if self.is_moving {
            let end = self.buffered.map_or(0, |(_, end)| end);
            self.playhead_us = (self.playhead_us + millis * 1000).min(end);
        }
        let buffered = self.buffered.into_iter().collect();
        let state = PlayerState { playhead_us: self.playhead_us, buffered, ..PlayerState::default() };
        self.tell(Input::Player(state));
    }

    /// Some parts in real time, each from the server when its last frame is captured; returns the first one's number.
    pub(crate) fn stream(&mut self, n: u32) -> u32 {
        self.stream_without(n, &|_| false)
    }

    /// The same, but some blocks do not come.
    pub(crate) fn stream_without(&mut self, n: u32, is_lost: &dyn Fn(BlockId) -> bool) -> u32 {
        let first = self.n_parts;
        for sequence in first..first + n {
            self.run(PART_US / 1000);
            let part = part(sequence);
            let from = self.peer.has_link(SERVER).then_some(SERVER);
            self.tell(Input::Descriptor { from, part });
            for block in part.blocks().filter(|block| !is_lost(*block)) {
                self.tell(Input::Block { from, block });
            }
        }
        self.n_parts += n;
        first
    }

    /// What was sent to a neighbour after the first `skipped` outputs.
    pub(crate) fn sent_since(&self, skipped: usize, to: PeerId) -> Vec<&Outgoing> {
        let sent = self.outputs[skipped..].iter().filter_map(|(_, output)| match output {
            Output::Send { to: receiver, message } if *receiver == to => Some(message),
            _ => None,
        });
        sent.collect()
    }

    /// What it answered to a subscription: the last acceptance or refusal.
    pub(crate) fn answer(&self, to: PeerId) -> Option<&Control> {
        let is_answer =
            |control: &&Control| matches!(control, Control::Accept { .. } | Control::Refuse { .. });
        controls(&self.sent_since(0, to)).into_iter().rfind(is_answer)
    }

    pub(crate) fn accepts(&self, to: PeerId) -> bool {
        matches!(self.answer(to), Some(Control::Accept { .. }))
    }

    /// Whether the last answer to a subscription of this stripe says that we push it.
    pub(crate) fn is_fed(&self, peer: PeerId, wanted: Stripe) -> bool {
        let sent = self.sent_since(0, peer);
        let answers = controls(&sent).into_iter().filter_map(|control| match control {
            Control::Accept { stripe, .. } => Some((*stripe, true)),
            Control::Refuse { stripe, .. } => Some((*stripe, false)),
            _ => None,
        });
        answers.rev().find(|(stripe, _)| *stripe == wanted).is_some_and(|(_, is_fed)| is_fed)
    }

    /// How often it was asked to push a stripe, after the first `skipped` outputs.
    pub(crate) fn n_asked_since(&self, skipped: usize, to: PeerId, wanted: Stripe) -> usize {
        let is_ask =
            |control: &&&Control| matches!(control, Control::Subscribe { stripe, .. } if *stripe == wanted);
        controls(&self.sent_since(skipped, to)).iter().filter(is_ask).count()
    }

    pub(crate) fn provider(&self, stripe: Stripe) -> Option<PeerId> {
        let paths = self.peer.stats(self.now).paths;
        paths.iter().find(|path| path.stripe == stripe).map(|path| path.provider)
    }
}

pub(crate) fn controls<'a>(sent: &[&'a Outgoing]) -> Vec<&'a Control> {
    let controls = sent.iter().filter_map(|message| match message {
        Outgoing::Control(control) => Some(control),
        _ => None,
    });
    controls.collect()
}

pub(crate) fn asks_for(control: &Control, wanted: BlockId) -> bool {
    matches!(control, Control::Request { blocks, .. } if blocks.contains(&wanted))
}
