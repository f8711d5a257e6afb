#![no_main]
//! See `cardume_fuzz::targets::cluster`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| cardume_fuzz::targets::cluster(input));
