//! Any bytes where a job of the outbox stands.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::job(input));
