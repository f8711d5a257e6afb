//! Films: one signature vouches for every block, in whatever order they come.

#![allow(clippy::expect_used, reason = "tests may fail")]

use bytes::Bytes;
use cardume_media::{
    BlockVerdict, Catalog, CatalogError, CutPart, DescriptorError, Film, FilmMaker, INDEX_PAGE_PARTS,
    IndexError, IndexPage, Inserted, MediaTime, PartId, PublishError, Published, SigningKey, Store,
    StoreLimits, Track, TrackKind,
};
use cardume_wire::{BlockId, BlockNumber, Epoch, TrackId, WallTime};
use proptest::prelude::*;

const TRACK: TrackId = TrackId(3);
const EPOCH: Epoch = Epoch(9);

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn track() -> Track {
    Track {
        id: TRACK,
        kind: TrackKind::Video,
        codec: "avc1.42C01E".to_owned(),
        timescale: 1000,
        bitrate: 1_000_000,
        width: 640,
        height: 360,
        init: Bytes::from_static(b"init"),
    }
}

fn cut_part(index: u32, len: usize) -> CutPart {
    CutPart {
        track: TRACK,
        start: MediaTime(u64::from(index) * 2000),
        duration: 2000,
        is_independent: true,
        captured_at: WallTime(5),
        bytes: index.to_be_bytes().iter().copied().cycle().take(len).collect(),
    }
}

/// A film with parts of these lengths.
fn film(lens: &[usize]) -> (Film, Vec<Published>) {
    let mut maker = FilmMaker::new(EPOCH, vec![track()]);
    let parts = (0..).zip(lens).map(|(index, len)| maker.push(&cut_part(index, *len)).expect("a sound part"));
    let parts = parts.collect();
    (maker.finish(&key()).expect("within limits"), parts)
}

/// A store with the film's catalog and index.
fn store(film: &Film, limits: StoreLimits) -> Store {
    let mut store = Store::new(key().public(), limits);
    assert_eq!(store.insert_catalog(&film.catalog_bytes), Ok(Inserted::New));
    for page in &film.pages {
        assert_eq!(store.insert_index(page).expect("the film's own").0, Inserted::New);
    }
    store
}

fn id(sequence: u32) -> PartId {
    PartId { epoch: EPOCH, track: TRACK, sequence }
}

/// The media of a part's blocks, by their numbers.
fn blocks(published: &Published, media: &Bytes) -> Vec<(BlockId, Bytes)> {
    let descriptor = &published.descriptor;
    let mut from = 0;
    let block = (0..).zip(descriptor.blocks()).map(|(index, id)| {
        let len = descriptor.block_len(index);
        from += len;
        (id, media.slice(from - len..from))
    });
    block.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn parts_come_in_any_order(lens in prop::collection::vec(1usize..100_000, 1..12), seed in any::<u64>()) {
        let (film, parts) = film(&lens);
        let mut store = store(&film, StoreLimits::default());
        let mut order: Vec<usize> = (0..lens.len()).collect();
        order.sort_by_key(|index| seed.rotate_left(u32::try_from(*index).expect("small") * 7));
        for &index in &order {
            let (inserted, descriptor) = store.insert_descriptor(&parts[index].descriptor_bytes).expect("the film's own");
            prop_assert_eq!((inserted, &*descriptor), (Inserted::New, &parts[index].descriptor));
            let media = cut_part(descriptor.part.sequence, lens[index]).bytes;
            for (block, payload) in blocks(&parts[index], &media) {
                prop_assert_eq!(store.insert_block(block, &payload), BlockVerdict::Verified);
            }
            prop_assert_eq!(store.part_payload(descriptor.part).expect("whole").concat(), media.to_vec());
        }
        for &index in &order {
            let part = parts[index].descriptor.part;
            store.evict(part);
            prop_assert!(!store.is_whole(part) && store.descriptor(part).is_none());
        }
        prop_assert!(store.is_empty());
    }
}

#[test]
fn an_index_of_many_pages_has_every_part() {
    let n_parts = 2 * INDEX_PAGE_PARTS + 40;
    let (film, parts) = film(&vec![5000; n_parts]);
    assert_eq!(film.pages.len(), 3);
    let pages = film.pages.iter().map(|bytes| IndexPage::verify(bytes, &film.catalog).expect("its own"));
    let indexed: Vec<_> = pages.flat_map(|page| page.parts).collect();
    assert_eq!(indexed.len(), n_parts);
    for (entry, published) in indexed.iter().zip(&parts) {
        let descriptor = &published.descriptor;
        assert_eq!(
            (entry.part, entry.first_block, entry.len),
            (descriptor.part, descriptor.first_block, 5000)
        );
        assert_eq!((entry.start, entry.end()), (descriptor.start, descriptor.end()));
    }
    let index = film.catalog.index(TRACK).expect("on demand");
    assert_eq!((index.n_parts() as usize, index.end()), (n_parts, MediaTime(n_parts as u64 * 2000)));
    assert_eq!(Catalog::verify(&film.catalog_bytes, &key().public()), Ok(film.catalog));
}

#[test]
fn what_the_signature_does_not_reach_is_refused() {
    let (film, parts) = film(&[40_000, 40_000]);
    let mut store = store(&film, StoreLimits::default());
    for at in 0..film.pages[0].len() {
        let mut forged = film.pages[0].to_vec();
        forged[at] ^= 1;
        assert!(matches!(store.insert_index(&forged), Err(IndexError::Hash | IndexError::Unknown)));
    }
    for at in 0..parts[0].descriptor_bytes.len() {
        let mut forged = parts[0].descriptor_bytes.to_vec();
        forged[at] ^= 1;
        assert!(store.insert_descriptor(&forged).is_err(), "byte {at}");
    }
    store.insert_descriptor(&parts[0].descriptor_bytes).expect("the film's own");
    let (block, payload) = blocks(&parts[0], &cut_part(0, 40_000).bytes).remove(0);
    assert_eq!(store.insert_block(block, &payload[1..]), BlockVerdict::Bad);
    assert_eq!(store.insert_block(block, &payload), BlockVerdict::Verified);
}

#[test]
fn without_its_index_a_part_is_nobodys_fault() {
    let (film, parts) = film(&[40_000]);
    let mut store = Store::new(key().public(), StoreLimits::default());
    assert_eq!(store.insert_index(&film.pages[0]), Err(IndexError::Unknown));
    store.insert_catalog(&film.catalog_bytes).expect("signed");
    assert_eq!(store.insert_descriptor(&parts[0].descriptor_bytes), Err(DescriptorError::Unknown));
    let block = BlockId { epoch: EPOCH, track: TRACK, number: BlockNumber(0) };
    assert_eq!(store.insert_block(block, &[1]), BlockVerdict::NoDescriptor);
}

#[test]
fn no_more_is_taken_than_there_is_room_for() {
    let (film, parts) = film(&[40_000, 40_000, 40_000]);
    let mut store = store(&film, StoreLimits { len: 60_000, n_parts: 2 });
    let take = |store: &mut Store, index: usize| {
        let inserted = store.insert_descriptor(&parts[index].descriptor_bytes).expect("the film's own").0;
        let media = cut_part(parts[index].descriptor.part.sequence, 40_000).bytes;
        for (block, payload) in blocks(&parts[index], &media) {
            store.insert_block(block, &payload);
        }
        inserted
    };
    assert_eq!(take(&mut store, 2), Inserted::New);
    assert_eq!(take(&mut store, 0), Inserted::New);
    assert!(store.is_whole(id(2)) && !store.is_whole(id(0)) && store.len() <= 60_000);
    assert_eq!(take(&mut store, 1), Inserted::Stale);
    store.evict(id(2));
    assert_eq!(take(&mut store, 1), Inserted::New);
}

#[test]
fn a_broadcaster_has_the_whole_film_whatever_the_limits() {
    let (film, parts) = film(&[40_000, 40_000]);
    let mut store = store(&film, StoreLimits { len: 10, n_parts: 1 });
    for published in parts {
        assert_eq!(store.publish(published), Inserted::New);
    }
    assert!(store.is_whole(id(0)) && store.is_whole(id(1)));
}

#[test]
fn what_is_read_again_is_taken_only_as_the_index_has_it() {
    let (film, parts) = film(&[40_000, 40_000]);
    let mut store = store(&film, StoreLimits { len: 10, n_parts: 1 });
    assert!(!store.restore(id(1), &cut_part(0, 40_000).bytes) && !store.restore(id(1), &Bytes::new()));
    assert!(!store.restore(id(2), &cut_part(0, 40_000).bytes) && store.is_empty());
    let media = cut_part(1, 40_000).bytes;
    assert!(store.restore(id(1), &media) && store.restore(id(1), &media));
    let own = parts[1].descriptor.blocks().next().expect("a block");
    assert_eq!(store.indexed_part_of(own), Some(id(1)));
    assert_eq!(store.part_payload(id(1)).expect("whole").concat(), media.to_vec());
    let descriptor = store.descriptor_message(id(1)).expect("described");
    assert_eq!(descriptor[1..], parts[1].descriptor_bytes[..]);
}

#[test]
fn a_film_is_as_long_as_its_last_track() {
    let second = Track { id: TrackId(4), timescale: 500, ..track() };
    let mut maker = FilmMaker::new(EPOCH, vec![track(), second]);
    maker.push(&cut_part(0, 10)).expect("a sound part");
    maker.push(&CutPart { track: TrackId(4), ..cut_part(0, 10) }).expect("a sound part");
    assert_eq!(maker.finish(&key()).expect("within limits").catalog.end_us(), Some(4_000_000));
}

#[test]
fn a_film_has_parts_in_order_of_time() {
    let mut maker = FilmMaker::new(EPOCH, vec![track()]);
    maker.push(&cut_part(1, 10)).expect("a sound part");
    assert_eq!(maker.push(&cut_part(0, 10)), Err(PublishError::Order));
    assert_eq!(FilmMaker::new(EPOCH, vec![track()]).finish(&key()), Err(CatalogError::Index));
}
