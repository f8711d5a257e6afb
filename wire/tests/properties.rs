//! What is encoded comes back, and what comes from strangers does no harm.

use cardume_wire::link::{
    BLOCK_HEADER_LEN, BLOCK_LEN_LIMIT, BLOCK_LEN_MIN, Control, DecodeError, FORWARD_LEN_LIMIT,
    HAVE_LEN_LIMIT, HAVE_TRACK_LIMIT, HINT_LIMIT, MESSAGE_LEN_LIMIT, Message, PATH_LIMIT, REQUEST_LIMIT,
    TrackBlocks, TrackParts, block_count, block_header, block_len,
};
use cardume_wire::signal::{FromTracker, FromViewer};
use cardume_wire::{BlockId, BlockNumber, ChannelId, Epoch, PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet};
use proptest::collection::vec;
use proptest::prelude::*;

fn stripes() -> impl Strategy<Value = Stripe> {
    (0..STRIPE_COUNT).prop_filter_map("below the count", Stripe::new)
}

fn peers(limit: usize) -> impl Strategy<Value = Vec<PeerId>> {
    vec(any::<u64>().prop_map(PeerId::new), 0..=limit)
}

fn block_ids() -> impl Strategy<Value = BlockId> {
    any::<(u32, u8, u32)>().prop_map(|(epoch, track, number)| BlockId {
        epoch: Epoch(epoch),
        track: TrackId(track),
        number: BlockNumber(number),
    })
}

fn track_blocks(len_limit: usize) -> impl Strategy<Value = TrackBlocks> {
    (any::<(u8, u32)>(), vec(any::<u8>(), 0..=len_limit)).prop_map(|((track, first), bits)| TrackBlocks {
        track: TrackId(track),
        first: BlockNumber(first),
        bits: bits.into(),
    })
}

fn all_parts() -> impl Strategy<Value = Vec<TrackParts>> {
    let bits = vec(any::<u8>(), 0..=HAVE_LEN_LIMIT);
    let parts = (any::<(u8, u32)>(), bits).prop_map(|((track, first), bits)| TrackParts {
        track: TrackId(track),
        first,
        bits: bits.into(),
    });
    vec(parts, 0..=HAVE_TRACK_LIMIT)
}

fn controls() -> impl Strategy<Value = Control> {
    let blocks = || vec(block_ids(), 0..=REQUEST_LIMIT);
    prop_oneof![
        any::<(u16, Option<u32>)>()
            .prop_map(|(version, epoch)| Control::Hello { version, epoch: epoch.map(Epoch) }),
        (stripes(), any::<(u32, u16, bool, Option<u64>)>()).prop_map(
            |(stripe, (tracks, slots, is_starving, from_us))| {
                Control::Subscribe { stripe, tracks: TrackSet(tracks), slots, is_starving, from_us }
            }
        ),
        (stripes(), peers(PATH_LIMIT)).prop_map(|(stripe, path)| Control::Accept { stripe, path }),
        (stripes(), peers(HINT_LIMIT)).prop_map(|(stripe, hints)| Control::Refuse { stripe, hints }),
        stripes().prop_map(|stripe| Control::Unsubscribe { stripe }),
        (any::<u32>(), vec(track_blocks(HAVE_LEN_LIMIT), 0..=HAVE_TRACK_LIMIT))
            .prop_map(|(epoch, tracks)| Control::Have { epoch: Epoch(epoch), tracks }),
        peers(HINT_LIMIT).prop_map(|peers| Control::Holders { peers }),
        Just(Control::FindNeighbours),
        peers(HINT_LIMIT).prop_map(|peers| Control::Neighbours { peers }),
        any::<(u64, String)>().prop_map(|(to, text)| Control::Forward { to: PeerId::new(to), text }),
        any::<(u64, String)>().prop_map(|(from, text)| Control::Forwarded { from: PeerId::new(from), text }),
        (blocks(), any::<Option<u16>>())
            .prop_map(|(blocks, within_ms)| Control::Request { blocks, within_ms }),
        (any::<u32>(), all_parts(), all_parts()).prop_map(|(epoch, whole, gone)| Control::HaveParts {
            epoch: Epoch(epoch),
            whole,
            gone
        }),
        any::<(u32, u8, u16)>().prop_map(|(epoch, track, page)| Control::RequestIndex {
            epoch: Epoch(epoch),
            track: TrackId(track),
            page,
        }),
        blocks().prop_map(|blocks| Control::Cancel { blocks }),
        blocks().prop_map(|blocks| Control::Missing { blocks }),
        block_ids().prop_map(|block| Control::RequestDescriptor { block }),
        any::<u64>().prop_map(|sent_at| Control::Ping { sent_at }),
        any::<u64>().prop_map(|sent_at| Control::Pong { sent_at }),
        Just(Control::Goodbye),
        any::<bool>().prop_map(|rests| Control::Rest { rests }),
        any::<u64>().prop_map(|peer| Control::Doubt { peer: PeerId::new(peer) }),
        any::<(u16, u16, [u16; STRIPE_COUNT as usize], [u16; 3], Option<u32>)>().prop_map(
            |(slots, free, ages, [yields, wait, idle], tracks)| {
                Control::Status { slots, free, ages, yields, wait, idle, tracks: tracks.map(TrackSet) }
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_block_comes_back(id in block_ids(), payload in vec(any::<u8>(), 1..2000)) {
        let message = Message::Block { id, payload: &payload };
        let bytes = message.encode();
        prop_assert_eq!(&bytes[..BLOCK_HEADER_LEN], &block_header(id));
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn opaque_messages_come_back(body in vec(any::<u8>(), 0..2000)) {
        for message in [Message::Catalog(&body), Message::Descriptor(&body), Message::Index(&body)] {
            let bytes = message.encode();
prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn a_control_message_comes_back(control in controls()) {
        let message = Message::Control(control);
        let bytes = message.encode();
prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn a_control_message_cut_short_is_refused(control in controls(), at in any::<prop::sample::Index>()) {
        let bytes = Message::Control(control).encode();
        prop_assert!(Message::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    /// Media has one form each; control, which skips what it does not know, decodes to the same after another turn.
    #[test]
    fn any_bytes_are_refused_or_mean_one_thing(kind in 0_u8..7, body in vec(any::<u8>(), 0..400)) {
        let bytes = [&[kind], &body[..]].concat();
        if let Ok(message) = Message::decode(&bytes) {
            let again = message.encode();
            prop_assert!(matches!(message, Message::Control(_)) || again == bytes);
            prop_assert_eq!(Message::decode(&again), Ok(message));
        }
    }

    /// As above, but near to what is valid, where random bytes hardly ever get.
    #[test]
    fn broken_control_messages_are_refused_or_mean_one_thing(
        control in controls(), breaks in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut bytes = Message::Control(control).encode();
        for (at, value) in breaks {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(message) = Message::decode(&bytes) {
            let bytes = message.encode();
prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn any_text_is_refused_or_means_one_thing(text in "\\PC{0,200}") {
        prop_assert!(serde_json::from_str::<FromTracker>(&text).is_err());
        if let Ok(message) = serde_json::from_str::<FromViewer>(&text) {
            let again = serde_json::to_string(&message).unwrap();
            prop_assert_eq!(serde_json::from_str::<FromViewer>(&again).unwrap(), message);
        }
    }

    #[test]
    fn a_peer_id_is_read_as_it_is_written(number: u64) {
        let peer = PeerId::new(number);
        prop_assert_eq!(peer.to_string().parse(), Ok(peer));
        let json = serde_json::to_string(&peer).unwrap();
        prop_assert_eq!(json.len(), 18);
        prop_assert_eq!(serde_json::from_str::<PeerId>(&json).unwrap(), peer);
    }

    #[test]
    fn a_channel_id_keeps_its_alphabet(text in "\\PC{0,70}") {
        let parsed = text.parse::<ChannelId>();
        let is_id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let is_valid = text.chars().all(is_id) && (1..=64).contains(&text.len()) && !text.starts_with(['-', '_']);
        prop_assert_eq!(parsed.is_ok(), is_valid);
        prop_assert!(parsed.is_err() || parsed.unwrap().as_str() == text);
    }

    #[test]
    fn a_channel_id_is_read_as_it_is_written(text in "[a-z0-9][a-z0-9_-]{0,63}") {
        let id: ChannelId = text.parse().unwrap();
        let json = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(serde_json::from_str::<ChannelId>(&json).unwrap(), id);
    }

    #[test]
    fn set_bits_name_their_blocks(blocks in track_blocks(HAVE_LEN_LIMIT)) {
        let numbers: Vec<u32> = blocks.numbers().map(|number| number.0).collect();
        let is_set = |number: u64| {
            let bit = usize::try_from(number - u64::from(blocks.first.0)).unwrap();
            blocks.bits[bit / 8] >> (bit % 8) & 1 == 1
        };
        let end = u64::from(blocks.first.0) + 8 * blocks.bits.len() as u64;
        let expected = (u64::from(blocks.first.0)..end).filter(|&n| is_set(n)).filter_map(|n| u32::try_from(n).ok());
        prop_assert_eq!(numbers, expected.collect::<Vec<_>>());
    }
}

#[test]
fn consecutive_blocks_are_dealt_to_all_stripes() {
    let dealt: Vec<_> = (0..10).map(|number| BlockNumber(number).stripe().index()).collect();
    assert_eq!(dealt, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
    assert_eq!(Stripe::all().count(), usize::from(STRIPE_COUNT));
    assert_eq!(Stripe::new(STRIPE_COUNT), None);
}

#[test]
fn a_track_set_has_its_tracks_only() {
    let set = TrackSet(0b101);
    let held: Vec<u8> = (0..=255).filter(|&track| set.contains(TrackId(track))).collect();
    assert_eq!(held, [0, 2]);
    assert!(!TrackSet::ALL.contains(TrackId(TrackId::LIMIT)));
}

#[test]
fn messages_over_their_limits_are_refused() {
    let check = |bytes: &[u8], expect: DecodeError| assert_eq!(Message::decode(bytes), Err(expect));
    let id = BlockId { epoch: Epoch(1), track: TrackId(0), number: BlockNumber(0) };
    let payload = vec![0; BLOCK_LEN_LIMIT + 1];
    assert!(Message::decode(&Message::Block { id, payload: &payload[1..] }.encode()).is_ok());
    check(&Message::Block { id, payload: &payload }.encode(), DecodeError::BlockLength);
    check(&vec![2; MESSAGE_LEN_LIMIT + 1], DecodeError::TooLong);
    assert!(Message::decode(&vec![2; MESSAGE_LEN_LIMIT]).is_ok());
    let over = |control: Control| check(&Message::Control(control).encode(), DecodeError::Control);
    let stripe = Stripe::new(0).unwrap();
    over(Control::Request { blocks: vec![id; REQUEST_LIMIT + 1], within_ms: None });
    over(Control::Cancel { blocks: vec![id; REQUEST_LIMIT + 1] });
    over(Control::Missing { blocks: vec![id; REQUEST_LIMIT + 1] });
    over(Control::Refuse { stripe, hints: vec![PeerId::SERVER; HINT_LIMIT + 1] });
    over(Control::Holders { peers: vec![PeerId::SERVER; HINT_LIMIT + 1] });
    over(Control::Neighbours { peers: vec![PeerId::SERVER; HINT_LIMIT + 1] });
    over(Control::Forward { to: PeerId::SERVER, text: "x".repeat(FORWARD_LEN_LIMIT + 1) });
    over(Control::Forwarded { from: PeerId::SERVER, text: "x".repeat(FORWARD_LEN_LIMIT + 1) });
    over(Control::Accept { stripe, path: vec![PeerId::SERVER; PATH_LIMIT + 1] });
    let blocks = |len| TrackBlocks { track: TrackId(0), first: BlockNumber(0), bits: vec![0; len].into() };
    over(Control::Have { epoch: Epoch(1), tracks: vec![blocks(HAVE_LEN_LIMIT + 1)] });
    over(Control::Have { epoch: Epoch(1), tracks: vec![blocks(1); HAVE_TRACK_LIMIT + 1] });
    let parts = |len| TrackParts { track: TrackId(0), first: 0, bits: vec![0; len].into() };
    for tracks in [vec![parts(HAVE_LEN_LIMIT + 1)], vec![parts(1); HAVE_TRACK_LIMIT + 1]] {
        over(Control::HaveParts { epoch: Epoch(1), whole: tracks.clone(), gone: vec![] });
        over(Control::HaveParts { epoch: Epoch(1), whole: vec![], gone: tracks });
    }
}

#[test]
fn a_long_control_message_is_refused_unread() {
    // Ping with a second, unknown field of 5,000 bytes: allowed in form, but no control message is that long.
    let mut bytes = vec![4, 0x82, 0x0A, 0x82, 0x01, 0x59, 0x13, 0x88];
    bytes.resize(bytes.len() + 5000, 0);
    assert_eq!(Message::decode(&bytes), Err(DecodeError::Control));
}

proptest! {
    #[test]
    fn a_part_is_cut_evenly_over_the_stripes(part_len in 1usize..=4 * 1024 * 1024) {
        let (len, count) = (block_len(part_len), block_count(part_len));
        prop_assert!(len <= BLOCK_LEN_LIMIT);
        prop_assert!((count - 1) * len < part_len && part_len <= count * len, "the blocks are the part");
        if part_len > BLOCK_LEN_MIN * usize::from(STRIPE_COUNT) {
            prop_assert!(count >= usize::from(STRIPE_COUNT), "each stripe has its share");
        }
        prop_assert!(count == 1 || len > BLOCK_LEN_MIN / 2, "short blocks are not worth their headers");
    }
}
