//! Any bytes where a ledger stands.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::ledger(input));
