#![no_main]
//! See `cardume_fuzz::targets::relay`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| cardume_fuzz::targets::relay(input));
