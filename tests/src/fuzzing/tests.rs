//! The committed corpus, what becomes of it when it is damaged, and bytes made up of what matters.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{event, query, records};

/// Damaged files of the corpus and made-up bytes, a target.
const CASES: u32 = 300;

/// Pieces of text that mean something to one parser or another.
const WORDS: &str = r#"{ } [ ] " : , \ \ud83d \ude00 \u0000 null true 1e999 -0 {"type": {"uuid": "user" "session_id" "a"
    "../x" "message": "content": "api-request" AND OR NOT NEAR( ( ) * ^ - ' + one tw 日本 é 🎉"#;
/// The same of bytes that are no word.
const BYTES: [&[u8]; 8] = [b"\n", b"\r\n", b"\0", b" ", b"\t", b"\xef\xbb\xbf", b"\xff", b"\xf0\x9f"];

fn piece() -> impl Strategy<Value = &'static [u8]> {
    let pieces: Vec<_> = WORDS.split_whitespace().map(str::as_bytes).chain(BYTES).collect();
    select(pieces)
}

/// The files of a target's corpus, in order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("read the corpus").path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "a corpus of {} files in {}", paths.len(), folder.display());
    paths.iter().map(|path| fs::read(path).expect("read a file of the corpus")).collect()
}

/// A file of the corpus after some accidents to it.
fn damaged(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let (files, others) = (corpus(target), corpus(target));
    let accident = (any::<Index>(), any::<Index>(), 0..6_u8, piece(), select(others));
    (select(files), prop::collection::vec(accident, 1..6)).prop_map(|(mut bytes, accidents)| {
        for (from, to, kind, piece, other) in accidents {
            let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            match kind {
                0 => bytes.truncate(to),
                1 => drop(bytes.splice(from..from, piece.iter().copied())),
                2 => drop(bytes.splice(from..to.min(from + piece.len()), piece.iter().copied())),
                3 => drop(bytes.drain(from..to.min(from + 20))),
                4 => bytes.extend_from_within(from..to),
                _ => drop(bytes.splice(to..to, other)),
            }
        }
        bytes
    })
}

fn made_up() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(piece(), 0..40).prop_map(|pieces| pieces.concat());
    prop_oneof![3 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn check(target: &str, holds: fn(&[u8])) {
    for bytes in corpus(target) {
        // Shown when it fails.
        println!("{}", String::from_utf8_lossy(&bytes));
        holds(&bytes);
    }
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(bytes in prop_oneof![2 => damaged(target), 1 => made_up()])| {
        println!("{}", String::from_utf8_lossy(&bytes));
        holds(&bytes);
    });
}

#[test]
fn any_bytes_are_an_event_or_refused() {
    check("event", event);
}

#[test]
fn any_bytes_are_a_transcript() {
    // A record may lie over several lines, and its rest may still be to come.
    for bytes in ["-0 ]nullone'one\"a\"\"),-0\n{\t\n", "{\n", "{\n \"type\":\"user\"\n}\n{\n \"type\"", "{\nx\n{\n }\n"]
    {
        records(bytes.as_bytes());
    }
    check("records", records);
}

/// A few of what `cargo xtask soak fuzz` does for as long as one likes.
#[test]
fn any_bytes_stand_where_a_store_keeps_its_own() {
    for (target, holds) in super::TARGETS.into_iter().filter(|(name, _)| ["ledger", "compressed", "job"].contains(name))
    {
        let (seeds, mut random) = (super::seeds(target), crate::hostile::Random(1));
        seeds.iter().for_each(|seed| holds(seed));
        for _ in 0..CASES / 3 {
            let bytes = super::mutated(&seeds, &mut random);
            println!("{target}: {}", String::from_utf8_lossy(&bytes));
            holds(&bytes);
        }
    }
}

#[test]
fn any_text_is_a_query() {
    check("query", query);
}
