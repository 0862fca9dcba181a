//! A push: seal, send, read back. Nothing counts as sent before its receipt.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{Attempt, FOLDER, Kind, Receipt, State, conversations, counted};
use serde::Deserialize;

use super::drill::Source;
use super::engine::Engine;
use super::receipt::not_covered;
use super::seal::{Seal, Sealed};
use super::setup::write_card;
use super::site::{MET_BY_LOOKING, SetUp, Site, here, is_on_one_disk, our_snapshots, random_id};
use super::snapshots::{Snapshot, files, push_tags, short_id};
use super::trouble::{Trouble, is_of_content, said};
use crate::error::{Error, failed};

/// What is never sent: locks, logs, what is rebuilt from the files, and what is only of this machine. Below the store.
const NOT_SENT: [&str; 27] = [
    ".log",
    ".outbox",
    ".state/sessions",
    ".state/damaged",
    ".state/damage.json",
    ".state/seen",
    ".memory/.log",
    ".memory/.state/sessions",
    ".memory/.state/damaged",
    ".memory/.state/damage.json",
    ".state/offsite/lock",
    ".state/offsite/state.json",
    ".state/offsite/receipted.json",
    ".state/offsite/engine.json",
    ".state/offsite/drills",
    ".state/offsite/keys",
    ".state/offsite/not-sent",
    ".state/offsite/card.json",
    ".state/offsite/restoring.json",
    ".state/offsite/salvage",
    ".state/offsite/fetched",
    ".state/offsite/wanted",
    ".state/offsite/returning",
    ".state/offsite/peers",
    ".state/offsite/pulling",
    ".state/offsite/places",
    ".state/offsite/rotating",
];
/// The same, wherever they are: locks, and what is being written.
const NEVER_SENT: [&str; 2] = ["*.lock", ".*.tmp"];
/// What the user calls conversations, below the store.
const LABELS: &str = ".state/labels";
/// What is said of single sessions in other places than their projects' folders.
const SAID_OF_SESSIONS: [&str; 2] = [LABELS, ".state/journal"];
/// The list of both for `restic`, in [`FOLDER`].
const NOT_SENT_FILE: &str = "not-sent";
/// Paths that are named in a message.
const SHOWN_MAX: usize = 3;

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// All that there is was received before.
    NothingNew,
    /// This was received.
    Received(Receipt),
}

/// How a push reads the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// What changed since the last one.
    Changed,
    /// Everything, and also where nothing changed: after data was lost at the place.
    All,
}

/// Sends what is committed, under the lock, and keeps what came of it in the state.
pub(crate) fn push(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, reading: Reading) -> Result<Pushed, Error> {
    let looked_at = [&MET_BY_LOOKING[..], &[Kind::OffsiteFull, Kind::NotCovered]].concat();
    let pushed = site.noting(set_up, &looked_at, |set_up| push_once(site, set_up, lock, reading));
    let said = match &pushed {
        Ok(Pushed::NothingNew) => Ok("nothing new".to_owned()),
        Ok(Pushed::Received(receipt)) => {
            let (sessions, files) = (conversations(receipt.sessions), counted(receipt.files, "file"));
            let snapshot = short_id(&receipt.snapshot);
            Ok(format!("sent {sessions}, {files}: snapshot {snapshot}, receipt verified"))
        }
        Err(error) => Err(layer1_prebackup::log::in_one_line(&**error)),
    };
    match note_attempt(site, &mut set_up.state, &said) {
        Err(error) if pushed.is_ok() => Err(error),
        _ => pushed,
    }
}

/// Keeps in the state what came of a try: failures, one after the other, make the next one wait longer.
pub(crate) fn note_attempt(site: &Site<'_>, state: &mut State, came: &Result<String, String>) -> Result<(), Error> {
    let failures = state.attempt.as_ref().map_or(0, |attempt| attempt.failures);
    let (failures, said) = match came {
        Ok(said) => (0, said.clone()),
        Err(cause) => (failures + 1, format!("failed to {cause}")),
    };
    let mark = if came.is_ok() { "✅" } else { "❌" };
    site.report.line_with_time(&format!("[offsite] {mark} {said}"));
    state.attempt = Some(Attempt { at_ms: now_ms(), ok: came.is_ok(), failures, said });
    Ok(state.write(site.store())?)
}

fn push_once(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, reading: Reading) -> Result<Pushed, Error> {
    let seal = site.seal(&set_up.state)?;
    let digest = seal.digest();
    note_waiting(site, set_up, &seal);
    set_up.state.max_age_ms = site.options.max_age_ms(&set_up.place);
    let engine = site.engine(&set_up.place, lock)?;
    set_up.state.engine = Some(engine.version.clone());
    let repository = set_up.repository();
    let before = our_snapshots(&engine, &repository, &set_up.state, &seal.store)?;
    // What was received and is no longer there is sent again.
    if set_up.state.card_due {
        write_card(site, &engine, set_up)?;
    }
    let is_there = |receipt: &Receipt| before.iter().any(|snapshot| snapshot.id == receipt.snapshot);
    let is_received = set_up.state.receipt.as_ref().is_some_and(|receipt| receipt.seal == digest && is_there(receipt));
    if is_received && reading == Reading::Changed {
        return Ok(Pushed::NothingNew);
    }
    let state = &mut set_up.state;
    (state.pushes, state.push, state.machine) = (state.pushes + 1, random_id()?, Some(here(site.store())));
    state.one_disk = is_on_one_disk(site.store(), &set_up.place);
    // Before there can be a snapshot of it: one that is not known here is another's.
    state.write(site.store())?;
    seal.write(site.store())?;
    let Made { snapshot_id: snapshot, data_added_packed: added } =
        send(site, &engine, (&repository, &set_up.state), &seal, reading)?;
    let there = read_back(site, &engine, &repository, &snapshot)?;
    let mut missing = not_covered(&seal, &there);
    let from = Source { engine: &engine, repository: &repository, snapshot: &snapshot };
    for file in seal.replaced(&site.seal(&set_up.state)?) {
        if !missing.contains(&file.path.as_str()) && !from.has(file, &there)? {
            missing.push(&file.path);
        }
    }
    if !missing.is_empty() {
        let shown = missing[..missing.len().min(SHOWN_MAX)].join(", ");
        let more = if missing.len() > SHOWN_MAX { ", …" } else { "" };
        let (count, of) = (missing.len(), seal.files.len());
        let what = format!("{count} of {of} files are not in snapshot {}: {shown}{more}", short_id(&snapshot));
        return Err(Trouble::new(Kind::NotCovered, what).into());
    }
    seal.keep_as_received(site.store(), site.folder)?;
    let sent = added + before.iter().map(Snapshot::sent).sum::<u64>();
    let receipt = Receipt {
        at_ms: now_ms(),
        snapshot,
        seal: digest,
        sessions: seal.by_session().len() as u64,
        files: seal.files.len() as u64,
        bytes: seal.files.iter().map(|file| file.bytes).sum(),
    };
    let state = &mut set_up.state;
    (state.dirty_since_ms, state.waiting, state.receipt) = (None, 0, Some(receipt.clone()));
    state.snapshots = Some((before.len() as u64 + 1, sent));
    Ok(Pushed::Received(receipt))
}

/// The files of a snapshot as the place has them: what is cached here says nothing of what was kept there.
fn read_back(
    site: &Site<'_>,
    engine: &Engine<'_>,
    repository: &str,
    snapshot: &str,
) -> Result<HashMap<String, u64>, Error> {
    files(engine, repository, snapshot, &["--no-cache"]).map_err(|error| match is_of_content(&error) {
        false => error,
        true => {
            let (short, said, repair) = (short_id(snapshot), said(&error), site.typed("repair"));
            let what = format!("snapshot {short} was sent and cannot be read back: {said}; if that stays, `{repair}`");
            Trouble::new(Kind::NotCovered, what).into()
        }
    })
}

/// Keeps in the state whether, and since when, something waits to be sent.
pub(crate) fn note_waiting(site: &Site<'_>, set_up: &mut SetUp, seal: &Seal) {
    let state = &mut set_up.state;
    let is_received = state.receipt.as_ref().is_some_and(|receipt| receipt.seal == seal.digest());
    state.waiting = if is_received { 0 } else { seal.waiting(Seal::last_received(site.store(), site.folder).as_ref()) };
    state.dirty_since_ms = if is_received { None } else { state.dirty_since_ms.or(Some(now_ms())) };
}

/// A snapshot that `restic` made.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Made {
    snapshot_id: String,
    /// Bytes that were sent for it.
    #[serde(default)]
    data_added_packed: u64,
}

/// Has `restic` make a snapshot. Locks that killed ones of ours left are removed once.
fn send(
    site: &Site<'_>,
    engine: &Engine<'_>,
    (repository, state): (&str, &State),
    seal: &Seal,
    reading: Reading,
) -> Result<Made, Error> {
    let not_sent = write_not_sent(site, seal)?;
    let tags = push_tags(&seal.store, &seal.writer, (state.pushes, &state.push));
    let mut args = vec!["backup", "--json", "--no-scan", "--host", &seal.host, "--group-by", "host", "--tag", &tags];
    args.extend(["--exclude-file", &not_sent]);
    if reading == Reading::All {
        args.push("--force");
    }
    args.push(".");
    let mut has_unlocked = false;
    loop {
        let mut snapshot = None;
        let done = engine.lines(repository, &args, &mut |line| {
            snapshot = made(line).or(snapshot.take());
            Ok(())
        });
        let is_locked = |error: &Error| error.downcast_ref::<Trouble>().is_some_and(|it| it.kind == Kind::Locked);
        match done {
            Err(error) if is_locked(&error) && !has_unlocked => {
                engine.unlock(repository)?;
                has_unlocked = true;
            }
            Err(error) => return Err(error),
            // Something vanished or could not be read while it looked: the receipt says whether that was of the sealed.
            Ok(_) => {
                let silent = || Trouble::new(Kind::OffsiteFailed, "restic made no snapshot and said nothing of it");
                return snapshot.ok_or_else(|| silent().into());
            }
        }
    }
}

fn made(line: &[u8]) -> Option<Made> {
    serde_json::from_slice(line).ok()
}

/// Writes the list of what is not sent; gives its path.
fn write_not_sent(site: &Site<'_>, seal: &Seal) -> Result<String, Error> {
    let store = site.store().to_str().ok_or_else(|| failed("send the store")("its path is not UTF-8"))?;
    let below = escaped(store);
    let mut text = String::new();
    if site.options.exclude != Exclusions::default() {
        text = only_sealed(&below, seal);
    }
    NOT_SENT.iter().for_each(|path| text.extend([&below, "/", path, "\n"]));
    NEVER_SENT.iter().for_each(|pattern| text.extend([pattern, "\n"]));
    let rel = Path::new(FOLDER).join(NOT_SENT_FILE);
    fs::replace_own(site.store(), &rel, text.as_bytes())?;
    Ok(format!("{store}/{FOLDER}/{NOT_SENT_FILE}"))
}

/// Where conversations are left out: patterns, of which the last that matches decides, by which of all projects only what
/// is of sealed sessions is sent. One that is saved after the seal may be one to be left out.
fn only_sealed(store: &str, seal: &Seal) -> String {
    let sessions: BTreeSet<&str> = seal.files.iter().map(Sealed::session).collect();
    let projects: BTreeSet<&str> = sessions.iter().filter_map(|session| Some(session.rsplit_once('/')?.0)).collect();
    let mut text: String = SAID_OF_SESSIONS.iter().map(|folder| format!("{store}/{folder}/*\n")).collect();
    let mut add = |before: &str, path: &str, behind: &str| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{before}{store}/{}{behind}", escaped(path));
    };
    // A name with a dot in front is no project's.
    let stores = ["", ".memory/"];
    stores.iter().for_each(|stores| add("", stores, "[^.]*"));
    projects.iter().for_each(|project| add("!", project, ""));
    stores.iter().for_each(|stores| add("", stores, "[^.]*/*"));
    for session in sessions {
        ["", ".gen-*"].iter().for_each(|behind| add("!", session, behind));
        add("!", &format!("{LABELS}/{}.labels", session.rsplit('/').next().unwrap_or_default()), "");
    }
    seal.files.iter().filter(|file| file.path.matches('/').count() == 1).for_each(|file| add("!", &file.path, ""));
    text
}

/// A path as a pattern that matches it alone, in a file in which `$` begins a variable.
pub(crate) fn escaped(path: &str) -> String {
    let mut text = String::new();
    for c in path.chars() {
        match c {
            '\\' | '*' | '?' | '[' | ']' => text.extend(['\\', c]),
            '$' => text.push_str("$$"),
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_path_alone() {
        assert_eq!(escaped("/h/a [b]*?/$HOME\\x"), "/h/a \\[b\\]\\*\\?/$$HOME\\\\x");
    }

    #[test]
    fn only_a_summary_names_a_snapshot() {
        let summary = br#"{"message_type":"summary","data_added_packed":7,"snapshot_id":"88f2"}"#;
        assert_eq!(made(summary), Some(Made { snapshot_id: "88f2".to_owned(), data_added_packed: 7 }));
        assert_eq!(made(br#"{"message_type":"error","item":"/x"}"#), None);
        assert_eq!(made(b"plain words"), None);
    }
}
