//! Catalogs and descriptors: what is signed comes back, and nothing else does.

#![allow(clippy::expect_used, reason = "tests may fail")]

use bytes::Bytes;
use cardume_media::{
    BlockHash, CATALOG_LEN_LIMIT, CODEC_LEN_LIMIT, Catalog, CatalogError, DESCRIPTOR_LEN_LIMIT, Descriptor,
    DescriptorError, INIT_LEN_LIMIT, MediaTime, PART_LEN_LIMIT, PartId, PublicKey, SigningKey, TRACK_LIMIT,
    Track, TrackKind,
};
use cardume_wire::link::block_count;
use cardume_wire::{BlockId, BlockNumber, Epoch, TrackId, WallTime};
use proptest::prelude::*;

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn track(id: u8, init_len: usize) -> Track {
    Track {
        id: TrackId(id),
        kind: TrackKind::Video,
        codec: "avc1.42C01E".to_owned(),
        timescale: 90_000,
        bitrate: 3_000_000,
        width: 640,
        height: 360,
        init: Bytes::from(vec![id; init_len]),
    }
}

prop_compose! {
    fn tracks()(
        fields in prop::collection::vec(
            (any::<bool>(), "[a-zA-Z0-9.]{1,64}", 1_u32.., any::<(u32, u16, u16)>(), prop::collection::vec(any::<u8>(), 1..900)),
            1..=TRACK_LIMIT,
        ),
        gap in 1_u8..4,
    ) -> Vec<Track> {
        (0..).zip(fields).map(|(index, (is_video, codec, timescale, (bitrate, width, height), init))| Track {
            id: TrackId(index * gap),
            kind: if is_video { TrackKind::Video } else { TrackKind::Audio },
            codec, timescale, bitrate, width, height, init: init.into(),
        }).collect()
    }
}

prop_compose! {
    fn descriptors()(
        (epoch, track, sequence) in (any::<u32>(), 0..TrackId::LIMIT, any::<u32>()),
        first_block in 0_u32..u32::MAX - 300,
        (start, duration, captured_at, is_independent) in any::<(u64, u32, u64, bool)>(),
        len in 1..=u32::try_from(PART_LEN_LIMIT).expect("small"),
        hash in any::<BlockHash>(),
    ) -> Descriptor {
        Descriptor {
            part: PartId { epoch: Epoch(epoch), track: TrackId(track), sequence },
            first_block: BlockNumber(first_block),
            start: MediaTime(start), duration, captured_at: WallTime(captured_at), is_independent, len,
            hashes: vec![hash; block_count(len as usize)],
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_signed_catalog_comes_back(epoch in any::<u32>(), tracks in tracks()) {
        let catalog = Catalog::new(Epoch(epoch), tracks).expect("within limits");
        let bytes = catalog.sign(&key());
        prop_assert!(bytes.len() <= CATALOG_LEN_LIMIT);
        prop_assert_eq!(Catalog::verify(&bytes, &key().public()), Ok(catalog));
    }

    #[test]
    fn a_signed_descriptor_comes_back(descriptor in descriptors()) {
        let bytes = descriptor.sign(&key());
        prop_assert!(bytes.len() <= DESCRIPTOR_LEN_LIMIT);
        prop_assert_eq!(Descriptor::verify(&bytes, &key().public()), Ok(descriptor));
    }

    #[test]
    fn one_flipped_bit_breaks_a_catalog(tracks in tracks(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = Catalog::new(Epoch(1), tracks).expect("within limits").sign(&key());
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(Catalog::verify(&bytes, &key().public()), Err(CatalogError::Signature));
    }

    #[test]
    fn one_flipped_bit_breaks_a_descriptor(
        descriptor in descriptors(), at in any::<prop::sample::Index>(), bit in 0..8
    ) {
        let mut bytes = descriptor.sign(&key());
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(Descriptor::verify(&bytes, &key().public()), Err(DescriptorError::Signature));
    }

    #[test]
    fn a_cut_descriptor_is_none(descriptor in descriptors(), at in any::<prop::sample::Index>()) {
        let bytes = descriptor.sign(&key());
        prop_assert!(Descriptor::verify(&bytes[..at.index(bytes.len())], &key().public()).is_err());
    }

    #[test]
    fn blocks_of_a_descriptor_cover_the_part(descriptor in descriptors()) {
        let blocks: Vec<BlockId> = descriptor.blocks().collect();
        prop_assert_eq!(blocks.len(), descriptor.hashes.len());
        prop_assert_eq!(blocks[0].number, descriptor.first_block);
        prop_assert_eq!(blocks[blocks.len() - 1].number.0 + 1, descriptor.end_block().0);
        let lens: usize = (0..descriptor.n_blocks()).map(|index| descriptor.block_len(index)).sum();
        prop_assert_eq!(lens, descriptor.len as usize);
        prop_assert_eq!(descriptor.block_len(descriptor.n_blocks()), 0);
    }
}

#[test]
fn a_signature_of_one_kind_is_none_of_the_other() {
    let catalog = Catalog::new(Epoch(1), vec![track(0, 100)]).expect("within limits").sign(&key());
    assert_eq!(Descriptor::verify(&catalog, &key().public()), Err(DescriptorError::Signature));
}

#[test]
fn another_channels_signature_is_refused() {
    let other = SigningKey::from_seed([8; 32]).public();
    let bytes = Catalog::new(Epoch(1), vec![track(0, 100)]).expect("within limits").sign(&key());
    assert_eq!(Catalog::verify(&bytes, &other), Err(CatalogError::Signature));
}

#[test]
fn a_catalog_keeps_its_limits() {
    let check =
        |tracks: Vec<Track>, expect: CatalogError| assert_eq!(Catalog::new(Epoch(1), tracks), Err(expect));
    check(vec![], CatalogError::Tracks);
    check((0..9).map(|id| track(id, 1)).collect(), CatalogError::Tracks);
    check(vec![track(1, 1), track(1, 1)], CatalogError::Tracks);
    check(vec![track(2, 1), track(1, 1)], CatalogError::Tracks);
    check(vec![track(TrackId::LIMIT, 1)], CatalogError::Tracks);
    check(vec![track(0, 0)], CatalogError::InitLength);
    check(vec![track(0, INIT_LEN_LIMIT + 1)], CatalogError::InitLength);
    check((0..4).map(|id| track(id, INIT_LEN_LIMIT)).collect(), CatalogError::TooLong);
    check(vec![Track { timescale: 0, ..track(0, 1) }], CatalogError::Timescale);
    for codec in ["", "a b", "a\"b", "a\\b", "é", &"a".repeat(CODEC_LEN_LIMIT + 1)] {
        check(vec![Track { codec: codec.to_owned(), ..track(0, 1) }], CatalogError::Codec);
    }
}

#[test]
fn the_mime_type_is_what_media_source_asks_for() {
    assert_eq!(track(0, 1).mime(), "video/mp4; codecs=\"avc1.42C01E\"");
    let audio = Track { kind: TrackKind::Audio, codec: "mp4a.40.2".to_owned(), ..track(0, 1) };
    assert_eq!(audio.mime(), "audio/mp4; codecs=\"mp4a.40.2\"");
}

#[test]
fn a_public_key_is_read_as_it_is_written() {
    // RFC 8032, section 7.1, test 1.
    let seed = *b"\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60";
    let text = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let public = SigningKey::from_seed(seed).public();
    assert_eq!(public.to_string(), text);
    assert_eq!(text.parse(), Ok(public));
    assert_eq!(text.to_uppercase().parse(), Ok(public));
    assert_eq!(PublicKey::from_bytes(public.to_bytes()), Ok(public));
}

#[test]
fn text_that_is_no_public_key_is_refused() {
    for text in ["", "d75a", &"g".repeat(64), &"0".repeat(64), &"é".repeat(32), &"1".repeat(63)] {
        assert!(text.parse::<PublicKey>().is_err(), "{text}");
    }
}

#[test]
fn a_secret_key_does_not_show_in_logs() {
    let shown = format!("{:?}", key());
    assert!(!shown.contains("7, 7"), "{shown}");
    assert!(shown.contains(&key().public().to_string()));
}

#[test]
fn media_time_in_microseconds_does_not_overflow() {
    assert_eq!(MediaTime(90_000).to_micros(90_000), 1_000_000);
    assert_eq!(MediaTime(1).to_micros(3), 333_333);
    assert_eq!(MediaTime(u64::MAX).to_micros(1), u64::MAX);
    assert_eq!(MediaTime(5).to_micros(0), 5_000_000);
}
