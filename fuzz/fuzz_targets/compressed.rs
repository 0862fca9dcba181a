//! Any bytes where a compressed content stands.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::compressed(input));
