//! Any bytes on a hook's stdin.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::event(input));
