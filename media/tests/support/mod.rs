//! Fixtures, and a cutter driven to its end.

#![allow(dead_code, reason = "each test crate uses its share")]
#![allow(clippy::panic, reason = "tests may fail")]

use std::path::Path;

use cardume_media::boxes::boxes;
use cardume_media::{Chunk, Cut, CutError, Cutter, TrackInit};

/// The bytes of a file in `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything a cutter gave.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Cuts {
    pub(crate) inits: Vec<Vec<TrackInit>>,
    pub(crate) chunks: Vec<Chunk>,
}

impl Cuts {
    pub(crate) fn take(&mut self, cutter: &mut Cutter) {
        while let Some(cut) = cutter.poll() {
            match cut {
                Cut::Init(tracks) => self.inits.push(tracks),
                Cut::Chunk(chunk) => self.chunks.push(chunk),
            }
        }
    }

    pub(crate) fn of_track(&self, track_index: usize) -> Vec<&Chunk> {
        self.chunks.iter().filter(|chunk| chunk.track_index == track_index).collect()
    }
}

/// Cuts each body as a request of its own; pieces have `piece_len` bytes.
pub(crate) fn cut_bodies(bodies: &[Vec<u8>], piece_len: usize) -> Result<Cuts, CutError> {
    let mut cutter = Cutter::new();
    let mut cuts = Cuts::default();
    for body in bodies {
        for piece in body.chunks(piece_len) {
            let pushed = cutter.push(piece);
            cuts.take(&mut cutter);
            pushed?;
        }
        cutter.finish()?;
    }
    Ok(cuts)
}

/// Cuts fixtures, each as a request of its own.
pub(crate) fn cut_fixtures(names: &[&str]) -> Cuts {
    let bodies: Vec<_> = names.iter().map(|name| fixture(name)).collect();
    cut_bodies(&bodies, usize::MAX).unwrap_or_else(|error| panic!("{names:?}: {error}"))
}

/// The media of chunks, without their boxes.
pub(crate) fn samples(chunks: &[&Chunk]) -> Vec<u8> {
    let mdats = chunks.iter().flat_map(|chunk| boxes(&chunk.bytes)).map(Result::unwrap);
    mdats.filter(|found| &found.kind.0 == b"mdat").flat_map(|mdat| mdat.body.to_vec()).collect()
}
