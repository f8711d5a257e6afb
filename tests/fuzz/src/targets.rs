//! The promises, one function for each door that strangers' bytes come in by.

use bytes::Bytes;
use cardume_media::{
    Catalog, Chunk, Cut, CutError, Cutter, Descriptor, IndexPage, MediaTime, PART_LEN_LIMIT, PageSummary,
    SigningKey, Track, TrackIndex, TrackInit, TrackKind, hash_block,
};
use cardume_wire::link::Message;
use cardume_wire::signal::{FromTracker, FromViewer};
use cardume_wire::{Epoch, TrackId};
use ed25519_dalek::Signer;

/// The seed of the key that targets sign with, so that what is behind the signature is reached.
const KEY_SEED: [u8; 32] = [7; 32];
/// Bytes of a signature.
const SIGNATURE_LEN: usize = 64;
/// What stands before the bytes that are signed: [`cardume_media`]'s form, written down a second time here.
const CATALOG_DOMAIN: &[u8] = b"cardume catalog 1\0";
const DESCRIPTOR_DOMAIN: &[u8] = b"cardume descriptor 1\0";

/// The key that targets sign with.
pub fn signing_key() -> SigningKey {
    SigningKey::from_seed(KEY_SEED)
}

/// Signed bytes without their signature.
pub fn body_of(signed: &[u8]) -> &[u8] {
    signed.get(..signed.len().saturating_sub(SIGNATURE_LEN)).unwrap_or_default()
}

/// The body of a descriptor with a signature.
pub fn signed_descriptor(body: &[u8]) -> Vec<u8> {
    sign(DESCRIPTOR_DOMAIN, body)
}

fn sign(domain: &[u8], body: &[u8]) -> Vec<u8> {
    let key = ed25519_dalek::SigningKey::from_bytes(&KEY_SEED);
    let signature = key.sign(&[domain, body].concat());
    [body, &signature.to_bytes()].concat()
}

/// A link message is refused, or means one thing; media has one form each.
pub fn link(input: &[u8]) {
    let Ok(message) = Message::decode(input) else { return };
    let encoded = message.encode();
    assert!(matches!(message, Message::Control(_)) || encoded == input, "two forms of {message:?}");
    assert_eq!(Message::decode(&encoded), Ok(message));
}

/// A signal message is refused, or comes back as it is when it is written again.
pub fn signal(input: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<FromViewer>(input) {
        let text = serde_json::to_string(&message).expect("a message is plain values");
        assert_eq!(serde_json::from_str::<FromViewer>(&text).ok(), Some(message));
    }
    if let Ok(message) = serde_json::from_slice::<FromTracker>(input) {
        let text = serde_json::to_string(&message).expect("a message is plain values");
        assert_eq!(serde_json::from_str::<FromTracker>(&text).ok(), Some(message));
    }
}

/// What WebTorrent clients send is answered in frames of JSON, and nobody is left when all are gone.
pub fn webtorrent(input: &[u8]) {
    cardume_webtorrent::fuzzing::take(input);
}

/// What clients of the relay send is answered in well-formed messages, and a stranger gets little.
pub fn relay(input: &[u8]) {
    cardume::relay::fuzzing::take(input);
}

/// What comes of other nodes is within limits, or is refused, and viewers hear nothing that only their own tracker says.
pub fn cluster(input: &[u8]) {
    cardume::cluster::fuzzing::take(input);
}

/// A push is cut the same in pieces of any length (the first byte says which), and each chunk, put behind its track's
/// init segment, is cut to itself.
pub fn cutter(input: &[u8]) {
    let Some((&piece_len, body)) = input.split_first() else { return };
    let (cuts, result) = cut(body, usize::from(piece_len) * 4 + 1);
    let (whole, whole_result) = cut(body, body.len().max(1));
    assert_eq!((&cuts, &result), (&whole, &whole_result), "pieces of another length gave other cuts");
    let mut tracks: Vec<TrackInit> = Vec::new();
    for cut in cuts {
        match cut {
            Cut::Init(inits) => tracks = inits,
            Cut::Chunk(chunk) => {
                assert!(chunk.bytes.len() <= PART_LEN_LIMIT);
                let track = tracks.get(chunk.track_index).expect("chunks are of a track that was given");
                check_chunk(track, chunk);
            }
        }
    }
}

fn check_chunk(track: &TrackInit, chunk: Chunk) {
    let alone: Bytes = [&track.bytes[..], &chunk.bytes].concat().into();
    let (cuts, result) = cut(&alone, alone.len());
    assert_eq!(result, Ok(()));
    let [Cut::Init(tracks), Cut::Chunk(again)] = &cuts[..] else {
        unreachable!("a track and a chunk: {cuts:?}")
    };
    assert_eq!(&tracks[..], std::slice::from_ref(track));
    assert_eq!(*again, Chunk { track_index: 0, produced_at: None, ..chunk });
}

fn cut(body: &[u8], piece_len: usize) -> (Vec<Cut>, Result<(), CutError>) {
    let mut cutter = Cutter::new();
    let pushed = body.chunks(piece_len).try_for_each(|piece| cutter.push(piece));
    let finished = cutter.finish();
    assert!(pushed.is_ok() || finished == pushed, "an error lasts until the body's end");
    (std::iter::from_fn(|| cutter.poll()).collect(), finished)
}

/// The body of a catalog, signed, is refused or has one form; without the signature it is nothing.
pub fn catalog(input: &[u8]) {
    let key = signing_key();
    assert!(Catalog::verify(input, &key.public()).is_err(), "nobody signed this");
    let signed = sign(CATALOG_DOMAIN, input);
    if let Ok(catalog) = Catalog::verify(&signed, &key.public()) {
        assert_eq!(catalog.sign(&key), signed);
    }
}

/// The body of a descriptor, signed, is refused or has one form; without the signature it is nothing.
pub fn descriptor(input: &[u8]) {
    let key = signing_key();
    assert!(Descriptor::verify(input, &key.public()).is_err(), "nobody signed this");
    let signed = signed_descriptor(input);
    if let Ok(descriptor) = Descriptor::verify(&signed, &key.public()) {
        assert_eq!(descriptor.sign(&key), signed);
        let lens: usize = (0..descriptor.n_blocks()).map(|index| descriptor.block_len(index)).sum();
        assert_eq!(lens, descriptor.len as usize);
        assert_eq!(descriptor.blocks().count(), descriptor.hashes.len());
    }
}

/// The film that [`index`]'s seeds are of.
pub const FILM: (Epoch, TrackId) = (Epoch(1_795_000_000), TrackId(1));
/// Bytes of a page before its entries, and of an entry: [`cardume_media`]'s form, written down a second time here.
const PAGE_FIXED_LEN: usize = 12;
const ENTRY_LEN: usize = 33;

/// A page of a film's index that the catalog names is refused or has one form; one that it does not name is nothing.
pub fn index(input: &[u8]) {
    let catalog = film_catalog(input);
    let other = film_catalog(&[input, b"another page"].concat());
    assert!(other.is_none_or(|other| IndexPage::verify(input, &other).is_err()), "nobody named this");
    let Some(Ok(page)) = catalog.map(|catalog| IndexPage::verify(input, &catalog)) else { return };
    assert_eq!(page.encode(), input);
    assert!(page.parts.iter().all(|part| part.end_block().is_some()));
}

/// A catalog whose only page hashes to what these bytes do.
fn film_catalog(page: &[u8]) -> Option<Catalog> {
    let entries = page.get(PAGE_FIXED_LEN..)?;
    let start = MediaTime(u64::from_be_bytes(*entries.first_chunk()?));
    let n_parts = u32::try_from(entries.len() / ENTRY_LEN).ok()?;
    let pages = vec![PageSummary { start, hash: hash_block(page) }];
    let index = TrackIndex::new(n_parts, MediaTime(u64::MAX), pages)?;
    let track = Track {
        id: FILM.1,
        kind: TrackKind::Video,
        codec: "avc1.42C01E".into(),
        timescale: 1000,
        bitrate: 0,
        width: 640,
        height: 360,
        init: Bytes::from_static(b"init"),
    };
    Catalog::on_demand(FILM.0, vec![(track, index)]).ok()
}
