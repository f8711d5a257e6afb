//! The store: what the channel's key vouches for comes in, and comes out as it was.

#![allow(clippy::expect_used, reason = "tests may fail")]

use bytes::Bytes;
use cardume_media::{
    BlockVerdict, Catalog, CutPart, DescriptorError, Inserted, MediaTime, PartId, PublishError, Published,
    Publisher, SigningKey, Store, StoreLimits, Track, TrackKind,
};
use cardume_wire::link::{BLOCK_HEADER_LEN, BLOCK_LEN_LIMIT, BLOCK_LEN_MIN, Message, block_count, block_len};
use cardume_wire::{BlockId, BlockNumber, Epoch, TrackId, WallTime};
use proptest::prelude::*;

const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);
const LIMITS: StoreLimits = StoreLimits { len: 1 << 20, n_parts: 8 };
/// A part of three blocks, the last of them shorter.
const THREE_BLOCKS: usize = 2 * BLOCK_LEN_MIN + 100;
/// A part of one block for each stripe, longer than they have to be, the last of them shorter.
const STRIPED: usize = 2 * BLOCK_LEN_LIMIT + 10;

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn publisher(epoch: u32) -> Publisher {
    let track = |id, kind| Track {
        id,
        kind,
        codec: "opus".to_owned(),
        timescale: 1000,
        bitrate: 0,
        width: 0,
        height: 0,
        init: Bytes::from_static(b"init"),
    };
    let tracks = vec![track(VIDEO, TrackKind::Video), track(AUDIO, TrackKind::Audio)];
    Publisher::new(key(), Catalog::new(Epoch(epoch), tracks).expect("within limits"))
}

fn store_of(publisher: &Publisher, limits: StoreLimits) -> Store {
    let mut store = Store::new(key().public(), limits);
    assert_eq!(store.insert_catalog(&publisher.catalog_bytes()), Ok(Inserted::New));
    store
}

/// A part whose media differs from that of any other seed.
fn part(track: TrackId, seed: u8, len: usize) -> CutPart {
    CutPart {
        track,
        start: MediaTime(u64::from(seed) * 200),
        duration: 200,
        is_independent: seed == 0,
        captured_at: WallTime(u64::from(seed) * 200_000),
        bytes: (0..len).map(|at| seed.wrapping_add(at.to_le_bytes()[0]).wrapping_mul(31)).collect(),
    }
}

fn publish(publisher: &mut Publisher, seed: u8, len: usize) -> (CutPart, Published) {
    let part = part(VIDEO, seed, len);
    let ready = publisher.publish(&part).expect("within limits");
    (part, ready)
}

fn blocks_of(len: usize) -> u32 {
    u32::try_from(block_count(len)).expect("few blocks")
}

/// Block `index` of a part, and its media.
fn block<'a>(ready: &Published, part: &'a CutPart, index: usize) -> (BlockId, &'a [u8]) {
    let id = ready.descriptor.blocks().nth(index).expect("such a block");
    (id, part.bytes.chunks(block_len(part.bytes.len())).nth(index).expect("such a block"))
}

fn insert_all(store: &mut Store, part: &CutPart, ready: &Published) {
    store.insert_descriptor(&ready.descriptor_bytes).expect("signed");
    for index in 0..ready.descriptor.hashes.len() {
        let (id, payload) = block(ready, part, index);
        assert_eq!(store.insert_block(id, payload), BlockVerdict::Verified);
    }
}

fn joined(slices: &[Bytes]) -> Vec<u8> {
    slices.concat()
}

#[test]
fn a_part_comes_out_when_its_last_block_came_in() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let (part, ready) = publish(&mut publisher, 3, STRIPED);
    let id = ready.descriptor.part;
    assert!(matches!(store.insert_descriptor(&ready.descriptor_bytes), Ok((Inserted::New, _))));
    let n_blocks = block_count(STRIPED);
    for index in (2..n_blocks).rev().chain(0..2) {
        assert_eq!(store.part_payload(id), None);
        let (block, payload) = block(&ready, &part, index);
        assert!(!store.has_block(block));
        assert_eq!(store.insert_block(block, payload), BlockVerdict::Verified);
        assert!(store.has_block(block));
    }
    assert!(store.is_whole(id));
    assert_eq!(store.part_payload(id).as_deref().map(joined), Some(part.bytes.to_vec()));
}

#[test]
fn what_goes_to_children_is_what_came_in() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let (part, ready) = publish(&mut publisher, 3, STRIPED);
    insert_all(&mut store, &part, &ready);
    for index in 0..block_count(STRIPED) {
        let (id, payload) = block(&ready, &part, index);
        let message = store.block_message(id).expect("held");
        assert_eq!(Message::decode(&message), Ok(Message::Block { id, payload }));
    }
    let message = store.descriptor_message(ready.descriptor.part).expect("held");
    assert_eq!(Message::decode(&message), Ok(Message::Descriptor(&ready.descriptor_bytes)));
    let message = store.catalog_message().expect("held");
    assert_eq!(Message::decode(&message), Ok(Message::Catalog(&publisher.catalog_bytes())));
}

#[test]
fn a_published_part_is_held_as_a_received_one_is() {
    let mut publisher = publisher(1);
    let (mut sender, mut receiver) = (store_of(&publisher, LIMITS), store_of(&publisher, LIMITS));
    for (seed, len) in [(0, 1), (1, BLOCK_LEN_MIN), (2, 4 * BLOCK_LEN_LIMIT), (3, STRIPED)] {
        let (part, ready) = publish(&mut publisher, seed, len);
        insert_all(&mut receiver, &part, &ready);
        let id = ready.descriptor.part;
        let blocks: Vec<_> = ready.descriptor.blocks().collect();
        assert_eq!(sender.publish(ready), Inserted::New);
        assert_eq!(sender.descriptor_message(id), receiver.descriptor_message(id));
        assert_eq!(sender.part_payload(id), receiver.part_payload(id));
        assert!(blocks.iter().all(|&block| sender.block_message(block) == receiver.block_message(block)));
    }
    assert_eq!(sender.len(), receiver.len());
}

#[test]
fn parts_and_blocks_are_numbered_without_gaps_in_each_track() {
    let mut publisher = publisher(1);
    let mut next_block = 0;
    for (sequence, len) in (0..).zip([1, THREE_BLOCKS, STRIPED, 4 * BLOCK_LEN_LIMIT + 1, 5]) {
        let (_, ready) = publish(&mut publisher, 0, len);
        assert_eq!(ready.descriptor.part.sequence, sequence);
        assert_eq!(ready.descriptor.first_block.0, next_block);
        assert_eq!(ready.descriptor.hashes.len(), block_count(len));
        next_block += blocks_of(len);
    }
    assert_eq!(next_block, 1 + 3 + 8 + 8 + 1);
    let audio = publisher.publish(&part(AUDIO, 0, 1)).expect("within limits");
    assert_eq!((audio.descriptor.part.sequence, audio.descriptor.first_block.0), (0, 0));
}

#[test]
fn parts_that_break_a_limit_use_up_no_number() {
    let mut publisher = publisher(1);
    assert_eq!(publisher.publish(&part(VIDEO, 0, 0)), Err(PublishError::Length(0)));
    let too_long = cardume_media::PART_LEN_LIMIT + 1;
    assert_eq!(publisher.publish(&part(VIDEO, 0, too_long)), Err(PublishError::Length(too_long)));
    assert_eq!(publisher.publish(&part(TrackId(9), 0, 1)), Err(PublishError::UnknownTrack(TrackId(9))));
    assert_eq!(publish(&mut publisher, 0, 1).1.descriptor.part.sequence, 0);
}

#[test]
fn a_block_is_judged_by_its_descriptor() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let (part, ready) = publish(&mut publisher, 0, STRIPED);
    let (_, first_payload) = block(&ready, &part, 0);
    let (id, payload) = block(&ready, &part, block_count(STRIPED) - 1);
    assert!(payload.len() < first_payload.len(), "the last block is shorter");
    assert_eq!(store.insert_block(id, payload), BlockVerdict::NoDescriptor);
    store.insert_descriptor(&ready.descriptor_bytes).expect("signed");
    assert_eq!(store.insert_block(id, &payload[..payload.len() - 1]), BlockVerdict::Bad);
    assert_eq!(store.insert_block(id, &[payload, b"x"].concat()), BlockVerdict::Bad);
    assert_eq!(store.insert_block(id, b""), BlockVerdict::Bad);
    assert_eq!(store.insert_block(id, first_payload), BlockVerdict::Bad);
    assert_eq!(store.insert_block(id, &first_payload[..payload.len()]), BlockVerdict::Bad);
    assert!(store.is_empty());
    assert_eq!(store.insert_block(id, payload), BlockVerdict::Verified);
    assert_eq!(store.insert_block(id, payload), BlockVerdict::Duplicate);
    let beyond = BlockId { number: ready.descriptor.end_block(), ..id };
    assert_eq!(store.insert_block(beyond, payload), BlockVerdict::NoDescriptor);
    assert_eq!(store.insert_block(BlockId { track: AUDIO, ..id }, payload), BlockVerdict::NoDescriptor);
    assert_eq!(
        store.insert_block(BlockId { track: TrackId(255), ..id }, payload),
        BlockVerdict::NoDescriptor
    );
    assert_eq!(store.insert_block(BlockId { epoch: Epoch(2), ..id }, payload), BlockVerdict::NoDescriptor);
    assert_eq!(store.insert_block(BlockId { epoch: Epoch(0), ..id }, payload), BlockVerdict::Stale);
}

#[test]
fn descriptors_are_taken_in_any_order() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let parts: Vec<_> = (0..6).map(|seed| publish(&mut publisher, seed, STRIPED)).collect();
    for index in [3, 5, 0, 4, 1] {
        let (part, ready) = &parts[index];
        insert_all(&mut store, part, ready);
        let again = store.insert_descriptor(&ready.descriptor_bytes).expect("signed");
        assert_eq!((again.0, again.1.part), (Inserted::Known, ready.descriptor.part));
    }
    let held: Vec<_> = store.descriptors(VIDEO).map(|descriptor| descriptor.part.sequence).collect();
    assert_eq!(held, [0, 1, 3, 4, 5]);
    let sequence_of = |number| {
        let block = BlockId { epoch: Epoch(1), track: VIDEO, number: BlockNumber(number) };
        store.part_of(block).map(|part| part.sequence)
    };
    let n_blocks = blocks_of(STRIPED);
    for sequence in 0..6 {
        let held = (sequence != 2).then_some(sequence);
        assert_eq!(sequence_of(sequence * n_blocks), held);
        assert_eq!(sequence_of((sequence + 1) * n_blocks - 1), held);
    }
    assert_eq!(sequence_of(6 * n_blocks), None);
}

#[test]
fn a_stranger_gets_no_descriptor_in() {
    let publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let stranger_key = SigningKey::from_seed([9; 32]);
    let mut stranger = Publisher::new(stranger_key, publisher.catalog().clone());
    let ready = stranger.publish(&part(VIDEO, 0, 10)).expect("within limits");
    assert_eq!(store.insert_descriptor(&ready.descriptor_bytes), Err(DescriptorError::Signature));
    assert!(store.insert_catalog(&stranger.catalog_bytes()).is_err());
    assert_eq!(store.descriptor(ready.descriptor.part), None);
}

#[test]
fn descriptors_that_contradict_each_other_are_refused() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let (_, first) = publish(&mut publisher, 0, STRIPED);
    let (_, second) = publish(&mut publisher, 1, 10);
    store.insert_descriptor(&first.descriptor_bytes).expect("signed");
    let mut overlapping = second.descriptor;
    overlapping.first_block = BlockNumber(blocks_of(STRIPED) - 1);
    let bytes = overlapping.sign(&key());
    assert_eq!(store.insert_descriptor(&bytes), Err(DescriptorError::Contradiction));
}

#[test]
fn a_block_of_another_length_than_its_descriptor_says_is_bad_whatever_its_hash() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let (_, ready) = publish(&mut publisher, 0, 10);
    let mut lying = ready.descriptor;
    lying.hashes = vec![cardume_media::hash_block(b"short")];
    store.insert_descriptor(&lying.sign(&key())).expect("signed");
    let id = lying.blocks().next().expect("a block");
    assert_eq!(store.insert_block(id, b"short"), BlockVerdict::Bad);
}

#[test]
fn what_comes_without_its_catalog_is_early() {
    let mut publisher = publisher(5);
    let mut store = Store::new(key().public(), LIMITS);
    let (part, ready) = publish(&mut publisher, 0, 10);
    assert!(matches!(store.insert_descriptor(&ready.descriptor_bytes), Ok((Inserted::Early, _))));
    assert_eq!(store.insert_block(block(&ready, &part, 0).0, &part.bytes), BlockVerdict::NoDescriptor);
    assert_eq!(store.publish(ready), Inserted::Early);
    assert!(store.is_empty());
}

#[test]
fn a_new_broadcast_clears_the_one_before() {
    let mut old = publisher(1);
    let mut new = publisher(2);
    let mut store = store_of(&old, LIMITS);
    let (part, ready) = publish(&mut old, 0, 10);
    insert_all(&mut store, &part, &ready);
    assert_eq!(store.insert_catalog(&old.catalog_bytes()), Ok(Inserted::Known));
    assert_eq!(store.insert_catalog(&new.catalog_bytes()), Ok(Inserted::New));
    assert!(store.is_empty());
    assert_eq!(store.insert_catalog(&old.catalog_bytes()), Ok(Inserted::Stale));
    assert!(matches!(store.insert_descriptor(&ready.descriptor_bytes), Ok((Inserted::Stale, _))));
    let (part, ready) = publish(&mut new, 0, 10);
    insert_all(&mut store, &part, &ready);
    assert_eq!(store.catalog().map(Catalog::epoch), Some(Epoch(2)));
}

#[test]
fn evicted_parts_do_not_come_back() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let parts: Vec<_> = (0..4).map(|seed| publish(&mut publisher, seed, 10)).collect();
    parts[..3].iter().for_each(|(part, ready)| insert_all(&mut store, part, ready));
    store.evict_before(VIDEO, 2);
    let (part, ready) = &parts[1];
    assert_eq!(store.descriptor(ready.descriptor.part), None);
    assert!(matches!(store.insert_descriptor(&ready.descriptor_bytes), Ok((Inserted::Stale, _))));
    assert_eq!(store.insert_block(block(ready, part, 0).0, &part.bytes), BlockVerdict::Stale);
    assert_eq!(store.len(), BLOCK_HEADER_LEN + 10);
    let (part, ready) = &parts[3];
    insert_all(&mut store, part, ready);
}

#[test]
fn the_window_moves_with_the_newest_part() {
    let mut publisher = publisher(1);
    let mut store = store_of(&publisher, LIMITS);
    let parts: Vec<_> = (0..20).map(|seed| publish(&mut publisher, seed, 10)).collect();
    for (part, ready) in &parts {
        insert_all(&mut store, part, ready);
    }
    let held: Vec<_> = store.descriptors(VIDEO).map(|descriptor| descriptor.part.sequence).collect();
    assert_eq!(held, (12..20).collect::<Vec<_>>());
    assert_eq!(store.len(), 8 * (BLOCK_HEADER_LEN + 10));
    assert!(matches!(store.insert_descriptor(&parts[11].1.descriptor_bytes), Ok((Inserted::Stale, _))));
}

#[test]
fn more_media_than_the_limit_pushes_out_what_was_captured_first() {
    let held_len = STRIPED + block_count(STRIPED) * BLOCK_HEADER_LEN;
    let limits = StoreLimits { len: 3 * held_len, n_parts: 100 };
    let mut publisher = publisher(1);
    let (mut sender, mut receiver) = (store_of(&publisher, limits), store_of(&publisher, limits));
    for seed in 0..10 {
        let audio = part(AUDIO, seed, 100);
        let ready = publisher.publish(&audio).expect("within limits");
        insert_all(&mut receiver, &audio, &ready);
        sender.publish(ready);
        let (part, ready) = publish(&mut publisher, seed, STRIPED);
        insert_all(&mut receiver, &part, &ready);
        sender.publish(ready);
        assert!(sender.len() <= limits.len && receiver.len() <= limits.len);
    }
    let whole = |store: &Store, track| {
        let whole = store.descriptors(track).filter(|descriptor| store.is_whole(descriptor.part));
        whole.map(|descriptor| descriptor.part.sequence).collect::<Vec<_>>()
    };
    for store in [&sender, &receiver] {
        assert_eq!(whole(store, VIDEO), [8, 9]);
        assert_eq!(whole(store, AUDIO).last(), Some(&9));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever strangers send, in whatever order: what comes out is what was published.
    #[test]
    fn nothing_unverified_comes_out(steps in prop::collection::vec((0_usize..6, 0..=block_count(THREE_BLOCKS), any::<bool>(), any::<u16>()), 1..60)) {
        let mut publisher = publisher(1);
        let limits = StoreLimits { len: THREE_BLOCKS * 5 / 2, n_parts: 4 };
        let mut store = store_of(&publisher, limits);
        let parts: Vec<_> = (0..6).map(|seed| publish(&mut publisher, seed, THREE_BLOCKS)).collect();
        for (index, action, is_broken, noise) in steps {
            let (part, ready) = &parts[index];
            let spoil = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let at = usize::from(noise) % bytes.len();
                bytes[at] ^= u8::from(is_broken) << (noise % 8);
                bytes
            };
            if action == block_count(THREE_BLOCKS) {
                let taken = store.insert_descriptor(&spoil(&ready.descriptor_bytes));
                prop_assert_eq!(taken.is_err(), is_broken);
            } else {
                let (id, payload) = block(ready, part, action);
                let verdict = store.insert_block(id, &spoil(payload));
                prop_assert!(!(is_broken && verdict == BlockVerdict::Verified));
            }
            prop_assert!(store.len() <= limits.len);
            prop_assert!(store.descriptors(VIDEO).count() <= 4);
        }
        for (part, ready) in &parts {
            for (index, id) in ready.descriptor.blocks().enumerate() {
                let Some(message) = store.block_message(id) else { continue };
                let (_, payload) = block(ready, part, index);
                prop_assert_eq!(Message::decode(&message), Ok(Message::Block { id, payload }));
            }
            let media = store.part_payload(ready.descriptor.part).as_deref().map(joined);
            prop_assert!(media.is_none_or(|media| media == part.bytes));
        }
        prop_assert_eq!(store.part_payload(PartId { epoch: Epoch(1), track: AUDIO, sequence: 0 }), None);
    }
}
