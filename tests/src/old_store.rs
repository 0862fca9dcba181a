//! The stores that the first version leaves: recorded by running that version, and laid out for tests.
//!
//! `tests/fixtures/old-store` holds what [`record`] made. Its README tells what stands in it and why.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::json;

use crate::bench::old_chain::OldChain;
use crate::mcp::Client;
use crate::run::Run;
use crate::scratch::Scratch;
use crate::transcripts::{self, FORKED, INTERACTIVE, SUBAGENT};
use crate::tree::{self, Entry};

/// Its two stores, by their folders in the fixture and in a home.
const STORES: [(&str, &str); 2] =
    [("claude-backup-sessions", ".claude-backup-sessions"), ("claude-backup", ".claude-backup")];
/// A session of the recorded store in which nothing was said.
pub const EMPTY: &str = "00000000-0000-4000-8000-0000000000e0";
/// The folder that [`INTERACTIVE`] landed in a second time, because its last event came from there.
pub const SECOND_FOLDER: &str = "crates";
/// The home while it is recorded: the current directory, so that the paths in the old index are the same
/// wherever it is made.
const HOME: &str = ".";
/// Lines that the transcript had when the first of two saves came.
const LINES_AT_FIRST: usize = 12;

/// Where the recorded store lies.
pub fn fixture() -> PathBuf {
    transcripts::fixtures().join("old-store")
}

/// Lays the recorded stores out in the scratch home.
pub fn lay_out(scratch: &Scratch) {
    for (from, to) in STORES {
        copy(&fixture().join(from), &scratch.home().join(to)).expect("lay out a store of the first version");
    }
}

/// Runs the first version's hook, client and server over recorded transcripts and gives the home
/// that it left.
///
/// # Panics
/// When a part of it fails.
pub fn record(old_chain: &OldChain) -> Scratch {
    let scratch = Scratch::new();
    transcripts::lay_out_recorded(&scratch);
    let [interactive, subagent, forked, empty] =
        [INTERACTIVE, SUBAGENT, FORKED, EMPTY].map(|id| scratch.transcript(id));
    fs::write(&empty, "").expect("write an empty transcript");

    let whole = fs::read_to_string(&interactive).expect("read a transcript");
    let at_first: String = whole.split_inclusive('\n').take(LINES_AT_FIRST).collect();
    fs::write(&interactive, at_first).expect("shorten a transcript");
    save(&scratch, old_chain, &transcripts::pre_compact(&interactive));
    fs::write(&interactive, &whole).expect("write a transcript");
    save(&scratch, old_chain, &transcripts::session_end(&interactive));
    // The session went into a folder below its project's, and the first version after it.
    let elsewhere = json!({"cwd": format!("/home/dev/proj/{SECOND_FOLDER}"), "reason": "other"});
    save(&scratch, old_chain, &transcripts::event("SessionEnd", &interactive, elsewhere));
    for transcript in [subagent, empty] {
        save(&scratch, old_chain, &transcripts::session_end(&transcript));
    }
    save_and_die(&scratch, old_chain, &forked);
    scratch
}

fn save(scratch: &Scratch, old_chain: &OldChain, event: &str) {
    run(scratch, &old_chain.chain(), event);
}

/// Saves by the server that Claude Code itself runs, which is killed with what it wrote still in its log.
fn save_and_die(scratch: &Scratch, old_chain: &OldChain, transcript: &Path) {
    run(scratch, &old_chain.hook(), &transcripts::session_end(transcript));
    let mut server = old_chain.server();
    server.env("HOME", HOME).current_dir(scratch.home());
    let mut client = Client::of(server);
    client.initialize();
    let id = transcript.file_stem().expect("a transcript has a name").to_string_lossy();
    let arguments =
        json!({"session_id": id, "transcript_path": transcript, "cwd": "/home/dev/proj", "trigger": "manual"});
    client.call("session_save", arguments).expect("the first version saves");
}

fn run(scratch: &Scratch, command: &str, event: &str) {
    let run = scratch.at_home(Run::new("/bin/sh")).args(["-c", command]);
    let run = run.env("HOME", HOME).env("PATH", std::env::var("PATH").unwrap_or_default());
    run.env("OLD_CHAIN_MUST_SAVE", "1").current_dir(&scratch.home()).stdin(format!("{event}\n")).output().ok();
}

/// Puts what was recorded into the fixture's place.
pub fn keep(recorded: &Scratch) -> io::Result<()> {
    for (folder, store) in STORES {
        let to = fixture().join(folder);
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        copy(&recorded.home().join(store), &to)?;
    }
    Ok(())
}

/// What of the fixture is not what was recorded, a line each. Bytes of the copies and the metadata count;
/// of the index what stands in its tables, without the hour.
pub fn differences(recorded: &Scratch) -> Vec<String> {
    let mut differences = Vec::new();
    for (folder, store) in STORES {
        let [kept, made] = [fixture().join(folder), recorded.home().join(store)].map(|store| contents(&store));
        for path in kept.keys().chain(made.keys().filter(|path| !kept.contains_key(*path))) {
            if kept.get(path) != made.get(path) {
                differences.push(format!("{folder}/{}", path.display()));
            }
        }
    }
    let laid_out = Scratch::new();
    lay_out(&laid_out);
    if rows(&laid_out.index()) != rows(&recorded.index()) {
        differences.push("claude-backup/sessions.db: what stands in its tables".to_owned());
    }
    differences
}

/// The files by their hashes; of the index only the names.
fn contents(store: &Path) -> BTreeMap<PathBuf, Option<blake3::Hash>> {
    let files = tree::all(store).into_iter().filter_map(|(path, entry)| match entry {
        Entry::File(_, _, hash) => {
            let is_index = path.to_string_lossy().starts_with("sessions.db");
            Some((path, Some(hash).filter(|_| !is_index)))
        }
        _ => None,
    });
    files.collect()
}

/// All that the old index says, but for the hour of each save.
fn rows(index: &Path) -> Vec<Vec<Option<String>>> {
    let index = Connection::open(index).expect("open the old index");
    let queries = [
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
        "SELECT session_id, project, timestamp, git_branch, content, files FROM sessions_fts ORDER BY rowid",
        "SELECT session_id, path, CAST(bytes AS TEXT) FROM backups ORDER BY rowid",
    ];
    let all = queries.iter().flat_map(|query| {
        let mut statement = index.prepare(query).expect("ask the old index");
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
        rows.expect("ask the old index").collect::<Result<Vec<_>, _>>().expect("read the old index")
    });
    all.collect()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let options = fs_extra::dir::CopyOptions::new().content_only(true);
    fs_extra::dir::copy(from, to, &options).map(drop).map_err(io::Error::other)
}
