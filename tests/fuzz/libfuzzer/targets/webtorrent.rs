#![no_main]
//! See `cardume_fuzz::targets::webtorrent`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| cardume_fuzz::targets::webtorrent(input));
