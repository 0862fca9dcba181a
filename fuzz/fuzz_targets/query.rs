//! Any text that is searched for.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::query(input));
