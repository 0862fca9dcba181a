//! Any bytes where a transcript stands.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::records(input));
