#![no_main]
//! See `cardume_fuzz::film`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| cardume_fuzz::film::film(input));
