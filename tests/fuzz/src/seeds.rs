//! Inputs to start from: golden vectors, fixtures, and what the code itself makes.

use std::path::{Path, PathBuf};

use cardume_media::{
    Catalog, Cut, CutPart, Cutter, IndexPage, IndexedPart, MediaTime, PageId, PartId, Publisher, TrackInit,
};
use cardume_wire::{BlockNumber, Epoch, TrackId, WallTime};
use serde_json::Value;

use crate::targets::{FILM, body_of, signing_key};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vectors(file: &str) -> Vec<Value> {
    let path = repository().join("wire/vectors").join(file);
    let text = std::fs::read_to_string(&path).expect("wire's golden vectors");
    serde_json::from_str(&text).expect("an array")
}

/// Link messages, valid and refused.
pub fn link() -> Vec<Vec<u8>> {
    let all = [vectors("link.json"), vectors("link-refused.json")].concat();
    all.iter().filter_map(|vector| unhex(vector["hex"].as_str()?)).collect()
}

/// A client's messages, each as a line, and as a frame with a mask of zeros.
pub fn webtorrent() -> Vec<Vec<u8>> {
    let (hash, peer, other) = ("h".repeat(20), "\\u0000".repeat(20), "o".repeat(20));
    let about = format!(r#""action":"announce","info_hash":"{hash}","peer_id":"{peer}""#);
    let offer = format!(r#"{{"offer_id":"{other}","offer":{{"type":"offer","sdp":"v=0"}}}}"#);
    let messages = [
        format!(r#"{{{about},"event":"started","left":null,"numwant":2,"offers":[{offer},{offer}]}}"#),
        format!(r#"{{{about},"to_peer_id":"{other}","offer_id":"{other}","answer":{{"sdp":"v=0"}}}}"#),
        format!(r#"{{{about},"event":"completed","left":0}}"#),
        format!(r#"{{"action":"scrape","info_hash":["{hash}","{other}"]}}"#),
        format!(r#"{{{about},"event":"stopped"}}"#),
    ];
    let lines = messages.join("\n").into_bytes();
    let frames = messages.iter().flat_map(|message| {
        let len = u16::try_from(message.len()).expect("a short message").to_be_bytes();
        [&[0x81, 0xFE], &len[..], &[0; 4], message.as_bytes()].concat()
    });
    let frames = frames.collect();
    let each = messages.iter().map(|message| message.clone().into_bytes());
    each.chain([lines, frames]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Signal messages of both sides.
pub fn signal() -> Vec<Vec<u8>> {
    vectors("signal.json").iter().map(|vector| vector["json"].to_string().into_bytes()).collect()
}

/// Pushes in each shape that media has a fixture for; the byte in front is the target's.
pub fn cutter() -> Vec<Vec<u8>> {
    let pushes: [&[&str]; 8] = [
        &["dash-0-init.mp4", "dash-0-1.m4s", "dash-0-2.m4s"],
        &["dash-1-init.mp4", "dash-1-1.m4s", "dash-1-3.m4s"],
        &["hls-init.mp4", "hls-0.m4s"],
        &["cmaf.mp4"],
        &["absolute-offsets.mp4"],
        &["hevc.mp4"],
        &["av1.mp4"],
        &["opus.mp4"],
    ];
    pushes.iter().map(|names| [vec![0], push(names)].concat()).collect()
}

fn push(names: &[&str]) -> Vec<u8> {
    let fixtures = repository().join("media/tests/fixtures");
    names.iter().flat_map(|name| std::fs::read(fixtures.join(name)).expect("media's fixtures")).collect()
}

/// Bodies of catalogs, without their signatures.
pub fn catalog() -> Vec<Vec<u8>> {
    [&["hls-init.mp4"][..], &["dash-0-init.mp4"], &["opus.mp4"]]
        .map(|names| body_of(&catalog_of(names).0.sign(&signing_key())).to_vec())
        .to_vec()
}

/// Bodies of descriptors, without their signatures.
pub fn descriptor() -> Vec<Vec<u8>> {
    let (catalog, parts) = catalog_of(&["hls-init.mp4", "hls-0.m4s", "hls-1.m4s"]);
    let mut publisher = Publisher::new(signing_key(), catalog);
    let mut bodies: Vec<_> = parts.iter().map(|part| body_of_part(&mut publisher, part)).collect();
    if let Some(part) = parts.first() {
        let long = CutPart { bytes: vec![7; 100_000].into(), ..part.clone() };
        bodies.push(body_of_part(&mut publisher, &long));
    }
    bodies
}

fn body_of_part(publisher: &mut Publisher, part: &CutPart) -> Vec<u8> {
    body_of(&publisher.publish(part).expect("a part within limits").descriptor_bytes).to_vec()
}

/// Pages of a film's index, with one part, some, and as many as a page has.
pub fn index() -> Vec<Vec<u8>> {
    [1, 5, 64].map(|n_parts| index_page(n_parts).encode()).to_vec()
}

fn index_page(n_parts: u32) -> IndexPage {
    let (epoch, track) = FILM;
    let part = |sequence: u32| IndexedPart {
        part: PartId { epoch, track, sequence },
        first_block: BlockNumber(sequence * 4),
        start: MediaTime(u64::from(sequence) * 2000),
        duration: 2000,
        is_independent: true,
        len: 50_000 + sequence,
        descriptor_hash: [7; 16],
    };
    IndexPage { id: PageId { epoch, track, page: 0 }, parts: (0..n_parts).map(part).collect() }
}

/// The catalog and parts of a push.
fn catalog_of(names: &[&str]) -> (Catalog, Vec<CutPart>) {
    let mut cutter = Cutter::new();
    cutter.push(&push(names)).expect("a valid push");
    let (mut tracks, mut parts) = (Vec::new(), Vec::new());
    while let Some(cut) = cutter.poll() {
        match cut {
            Cut::Init(inits) => {
                tracks =
                    (0..).zip(&inits).map(|(id, init): (u8, &TrackInit)| init.track(TrackId(id))).collect();
            }
            Cut::Chunk(chunk) => {
                let id = u8::try_from(chunk.track_index).unwrap_or_default();
                let captured_at =
                    WallTime(1_795_000_000_000_000 + MediaTime(chunk.start.0).to_micros(10_240));
                parts.push(chunk.into_part(TrackId(id), captured_at));
            }
        }
    }
    (Catalog::new(Epoch(1_795_000_000), tracks).expect("a valid init segment"), parts)
}
