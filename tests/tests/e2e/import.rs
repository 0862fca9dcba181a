//! Importing what is already there: all of it, and a second time nothing.

use std::collections::BTreeMap;
use std::fs;

use rusqlite::{Connection, OpenFlags};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_equals_source;
use tests::transcripts::{self, RECORDED};
use tests::tree;

use crate::product::{assert_verified, drain, found_in, session_ids, sessions};

/// Rows of every table of the index, those apart in which FTS5 keeps its segments.
fn index_rows(scratch: &Scratch) -> BTreeMap<String, i64> {
    let index =
        Connection::open_with_flags(scratch.index(), OpenFlags::SQLITE_OPEN_READ_WRITE).expect("open the index");
    let mut tables = index
        .prepare("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')")
        .expect("list the tables");
    let names: Vec<String> =
        tables.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("list the tables");
    let count = |name: &String| {
        index.query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| row.get(0)).expect("count the rows")
    };
    names.iter().map(|name| (name.clone(), count(name))).collect()
}

#[test]
fn a_second_import_changes_nothing() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    scratch.layer3(&["import"]).output().ok();
    for transcript in &laid_out {
        assert_equals_source(&scratch.layer3_store(), PROJECT, transcript);
    }
    assert_eq!(session_ids(&scratch), RECORDED);
    let before = (tree::visible(&scratch.layer3_store().join(PROJECT)), index_rows(&scratch), sessions(&scratch));
    assert!(before.1.values().sum::<i64>() > 20, "{:?}", before.1);
    scratch.layer3(&["import"]).output().ok();
    scratch.layer3(&["import", "--json"]).output().ok();
    let after = (tree::visible(&scratch.layer3_store().join(PROJECT)), index_rows(&scratch), sessions(&scratch));
    assert_eq!(after, before);
    assert_verified(&scratch);
}

#[test]
fn a_rebuild_gives_the_same_index_as_the_saves_did() {
    let scratch = Scratch::new();
    for transcript in transcripts::lay_out_recorded(&scratch) {
        // Record by record, as it grows.
        let content = fs::read(&transcript).expect("read a transcript");
        let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
        transcripts::rewrite(&transcript, "");
        for part in lines.chunks(lines.len() / 4) {
            transcripts::append(&transcript, part.concat());
            scratch.layer3(&["save"]).stdin(transcripts::session_end(&transcript)).output().ok();
        }
    }
    // Several messages have a row of parts of words together, and of topics: fewer, the more come at a time.
    let rows = || {
        let mut rows = index_rows(&scratch);
        rows.remove("topics").expect("there are topics");
        let spans = rows.remove("spans").zip(rows.remove("parts")).expect("there are spans");
        (spans, rows)
    };
    let (grown_spans, grown) = (rows().0, (rows().1, sessions(&scratch)));
    scratch.layer3(&["rebuild"]).output().ok();
    assert_eq!((rows().1, sessions(&scratch)), grown);
    assert!(rows().0.0 > 0 && rows().0 < grown_spans, "{:?} of {grown_spans:?}", rows().0);
    assert_eq!(found_in(&scratch, "\"in resumed\""), [transcripts::COMPACTED]);
}

#[test]
fn what_layer1_alone_still_has_is_imported_too() {
    let scratch = Scratch::new();
    transcripts::lay_out_recorded(&scratch);
    scratch.layer1(&["sweep", "--quiet"]).output().ok();
    fs::remove_dir_all(scratch.claude_dir()).expect("lose all transcripts");
    scratch.layer3(&["import"]).output().ok();
    assert_eq!(session_ids(&scratch), RECORDED);
    drain(&scratch);
    assert_verified(&scratch);
}

#[test]
fn damaged_lines_are_kept_and_the_rest_is_indexed() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let line = |turn, text: &str| transcripts::prompt_line(&id, turn, text);
    transcripts::append(&transcript, line(1, "okapi first"));
    transcripts::append(&transcript, [0; 4096]);
    transcripts::append(&transcript, format!("\n{}{}", line(2, "okapi glued").trim_end(), line(3, "okapi to it")));
    transcripts::append(&transcript, &line(4, "okapi torn")[..80]);
    transcripts::append(&transcript, b"\n\xff\xfe binary \x00\n");
    transcripts::append(&transcript, line(5, "okapi with CRLF").replace('\n', "\r\n"));
    transcripts::append(&transcript, line(5, "okapi with CRLF").replace('\n', "\r\n"));
    transcripts::append(&transcript, line(6, "okapi last"));
    scratch.layer3(&["import"]).output().ok();
    assert_equals_source(&scratch.layer3_store(), PROJECT, &transcript);
    for word in ["\"okapi first\"", "\"okapi with CRLF\"", "\"okapi last\""] {
        assert_eq!(found_in(&scratch, word), [id.as_str()], "{word}");
    }
    assert_eq!(crate::product::hits(&scratch, "\"okapi with CRLF\"").len(), 1, "the same record twice is one");
}
