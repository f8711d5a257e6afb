//! A body is cut the same however it is sliced, and never grows in the cutter.
#![no_main]

use cardume_media::{Cut, Cutter};

/// All cuts of `body` in pieces of at most `piece_len` bytes, and whether it was taken to its end.
fn cut(body: &[u8], piece_len: usize) -> (Vec<Cut>, bool) {
    let mut cutter = Cutter::new();
    let mut cuts = Vec::new();
    for piece in body.chunks(piece_len) {
        let outcome = cutter.push(piece);
        cuts.extend(std::iter::from_fn(|| cutter.poll()));
        if outcome.is_err() {
            return (cuts, false);
        }
    }
    let is_whole = cutter.finish().is_ok();
    cuts.extend(std::iter::from_fn(|| cutter.poll()));
    (cuts, is_whole)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [slicing, body @ ..] = input else { return };
    let (whole, is_whole) = cut(body, body.len().max(1));
    let (sliced, is_sliced_whole) = cut(body, usize::from(*slicing).max(1));
    assert_eq!(is_whole, is_sliced_whole);
    assert_eq!(format!("{whole:?}"), format!("{sliced:?}"));
});
