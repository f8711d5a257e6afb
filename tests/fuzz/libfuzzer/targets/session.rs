#![no_main]
//! See `cardume_fuzz::session`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| cardume_fuzz::session::session(input));
