//! The drill: a conversation is brought back from the place, without any cache, and compared with its seal. Pushes and
//! checks can look well while nothing could be restored; this is what notices.
//!
//! Two witnesses speak, independent of each other: the seal, and where it has the same content, the second copy's record.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::threads;
use layer1_prebackup::fs::{self, Lock, platform};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{self, DRILLS, DRILLS_BYTES_MAX, FOLDER, Kind, SEAL, conversations};
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::seal::{Seal, Sealed, rfc3339};
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use super::snapshots::{complete, files, short_id};
use super::trouble::{Trouble, is_of_content, said};
use crate::error::{Error, failed};

/// Lines of it that are kept.
const LINES_KEPT: usize = 10_000;
/// Files of one session that are brought back, one by one: its newest transcript, and others that are drawn.
const FILES_MAX: usize = 20;
const MONTH_MS: u64 = 31 * 24 * 60 * 60 * 1000;
/// Of so many draws all but one are among the sessions that were never brought back.
const NEW_OF: usize = 5;

/// Sessions that are named in a message.
const NAMED_MAX: usize = 3;

/// Which sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// One, drawn.
    Drawn,
    /// The one whose id is this, or begins so.
    Named(String),
    /// All.
    All,
}

/// A session that was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    at: String,
    snapshot: String,
    pub(crate) session: String,
    /// The file that decided.
    path: String,
    /// `equal`, `damaged` or `unreadable`.
    pub(crate) result: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
}

/// Brings sessions of the newest snapshot back, under the lock. An error where one did not come back equal.
pub(crate) fn drill(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, which: &Which) -> Result<Vec<Line>, Error> {
    let looked_at = [&MET_BY_LOOKING[..], &[Kind::DrillOld]].concat();
    let lines = site.noting(set_up, &looked_at, |set_up| drilled(site, set_up, lock, which))?;
    let bad: Vec<&Line> = lines.iter().filter(|line| line.result != EQUAL).collect();
    for line in lines.iter().filter(|line| lines.len() == 1 || line.result != EQUAL) {
        let mark = if line.result == EQUAL { "✅" } else { "❌" };
        site.report.line_with_time(&format!("[offsite] {mark} drill of {}: {}", line.session, line.result));
    }
    let failed = &mut set_up.state.drill_failed;
    for line in &lines {
        // One that is well says nothing of another that was not.
        match line.result == EQUAL {
            true => failed.remove(&line.session),
            false => failed.insert(line.session.clone(), line.why.clone()),
        };
    }
    if *which == Which::All && bad.is_empty() {
        failed.clear();
    }
    let named = failed.iter().take(NAMED_MAX).map(|(session, why)| format!("{session}: {why}"));
    let (named, more) = (named.collect::<Vec<_>>().join("; "), if failed.len() > NAMED_MAX { "; …" } else { "" });
    let of = conversations(failed.len() as u64);
    let what = format!("{of} did not come back as sent ({named}{more})");
    match (bad.is_empty(), failed.is_empty()) {
        (true, true) => set_up.state.is_well(&[Kind::DrillFailed]),
        (true, false) => set_up.state.trouble(Kind::DrillFailed, &what, now_ms()),
        (false, _) => return site.noting(set_up, &[], |_| Err(Trouble::new(Kind::DrillFailed, what).into())),
    }
    set_up.state.write(site.store())?;
    Ok(lines)
}

pub(crate) const EQUAL: &str = "equal";
const DAMAGED: &str = "damaged";
const UNREADABLE: &str = "unreadable";

fn drilled(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, which: &Which) -> Result<Vec<Line>, Error> {
    let engine = site.engine(&set_up.place, lock)?;
    let repository = set_up.repository();
    let all = our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
    let Some(newest) = all.last() else { return Err("find a snapshot: nothing was sent yet".into()) };
    let is_there = |receipt: &&offsite::Receipt| all.iter().any(|snapshot| snapshot.id == receipt.snapshot);
    if let Some(receipt) = set_up.state.receipt.as_ref().filter(|receipt| !is_there(receipt)) {
        // An older one may be whole, and lacks what was received since.
        let why = format!("snapshot {}, the last that was received, is not there", short_id(&receipt.snapshot));
        return Ok(vec![Line::new(&newest.id, "(the last snapshot)", "snapshots", UNREADABLE, why)]);
    }
    let from = Source { engine: &engine, repository: &repository, snapshot: &newest.id };
    let known = read(site);
    let seal = match from.seal() {
        Ok(seal) => seal,
        Err(error) if is_of_content(&error) => {
            let lost = Line::new(&newest.id, "(the seal)", SEAL, UNREADABLE, said(&error));
            return Ok(vec![lost]);
        }
        Err(error) => return Err(error),
    };
    let sessions = seal.by_session();
    let chosen: Vec<&str> = match which {
        Which::All => sessions.keys().copied().collect(),
        Which::Drawn => drawn(&sessions, &known)?.into_iter().collect(),
        Which::Named(id) => {
            let is_meant = |session: &&str| session.rsplit('/').next().is_some_and(|own| own.starts_with(id.as_str()));
            let found: Vec<&str> = sessions.keys().copied().filter(is_meant).collect();
            match found.is_empty() {
                true => return Err(format!("find {id:?}: no conversation of that id is in the newest snapshot").into()),
                false => found,
            }
        }
    };
    let proven = if *which == Which::All { from.proven_at_once(&seal)? } else { BTreeSet::new() };
    let witness = Archive::open(&site.settings.places.layer3_store).ok().flatten();
    let mut lines = Vec::new();
    for session in &chosen {
        let files = &sessions[session];
        let line = match files.iter().all(|file| proven.contains(file.path.as_str())) {
            true => Line::new(&newest.id, session, &files[0].path, EQUAL, String::new()),
            false => from.session(session, files, witness.as_ref(), *which == Which::All)?,
        };
        lines.push(line);
    }
    keep(site, &known, &lines)?;
    let all = [known, lines.clone()].concat();
    let now = now_ms();
    let equal = equal_within(&all, now - MONTH_MS.min(now), &sessions);
    if let Some(last) = lines.iter().find(|line| line.result != EQUAL).or(lines.last()) {
        set_up.state.drill = Some(offsite::Drill {
            at_ms: now,
            snapshot: last.snapshot.clone(),
            path: last.path.clone(),
            session: last.session.clone(),
            result: last.result.clone(),
            equal,
            of: sessions.len() as u64,
        });
    }
    Ok(lines)
}

impl Line {
    fn new(snapshot: &str, session: &str, path: &str, result: &str, why: String) -> Line {
        Line {
            at: rfc3339(now_ms()),
            snapshot: snapshot.to_owned(),
            session: session.to_owned(),
            path: path.to_owned(),
            result: result.to_owned(),
            why,
        }
    }
}

/// A snapshot, to be read without a cache and without a lock.
pub(crate) struct Source<'a> {
    pub(crate) engine: &'a Engine<'a>,
    pub(crate) repository: &'a str,
    pub(crate) snapshot: &'a str,
}

impl Source<'_> {
    /// The seal that was sent with it.
    pub(crate) fn seal(&self) -> Result<Seal, Error> {
        let mut text = Vec::new();
        self.dump(&format!("/{FOLDER}/{SEAL}"), &mut |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
        let damaged = |error: Error| Trouble { kind: Kind::OffsiteFailed, what: said(&error), is_of_content: true };
        Seal::parse(&text).map_err(|error| damaged(error).into())
    }

    /// The bytes of a file, as they come. They count only where this is no error.
    pub(crate) fn dump(&self, path: &str, each: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let args = ["dump", "--no-lock", "--no-cache", self.snapshot, path];
        complete(self.engine.bytes(self.repository, &args, each)?)
    }

    /// The hash of the first bytes of a file.
    fn hash(&self, path: &str, bytes: u64) -> Result<Option<String>, Error> {
        let mut prefix = Prefix::of(bytes);
        self.dump(path, &mut |chunk| {
            prefix.take(chunk);
            Ok(())
        })?;
        Ok(prefix.hash())
    }

    /// Brings the files of a session back, one by one.
    fn session(&self, session: &str, files: &[&Sealed], witness: Option<&Archive>, all: bool) -> Result<Line, Error> {
        let files = chosen(session, files, if all { files.len() } else { FILES_MAX })?;
        let line = |path: &str, result: &str, why: String| Line::new(self.snapshot, session, path, result, why);
        for file in &files {
            if file.path.contains(char::REPLACEMENT_CHARACTER) {
                // Its name is no text, so no argument can name it.
                continue;
            }
            match self.hash(&file.in_snapshot(), file.bytes) {
                Ok(Some(hash)) if hash == file.blake3 => {}
                Ok(_) if self.has_moved(file)? => {}
                Ok(_) => return Ok(line(&file.path, DAMAGED, "its bytes are not those that were sealed".to_owned())),
                Err(error) if is_of_content(&error) => {
                    if !self.has_moved(file)? {
                        return Ok(line(&file.path, UNREADABLE, said(&error)));
                    }
                }
                Err(error) => return Err(error),
            }
            if witness.is_some_and(|witness| contradicts(witness, file)) {
                let why = "it is as it was sealed, but the second copy has another record of it".to_owned();
                return Ok(line(&file.path, DAMAGED, why));
            }
        }
        Ok(line(&files[0].path, EQUAL, String::new()))
    }

    /// Whether a sealed file is in it, byte for byte: under its name, or as the older one that it became meanwhile.
    /// `there` are its files, by path.
    pub(crate) fn has(&self, file: &Sealed, there: &HashMap<String, u64>) -> Result<bool, Error> {
        match self.hash(&file.in_snapshot(), file.bytes) {
            Ok(Some(hash)) if hash == file.blake3 => Ok(true),
            Err(error) if !is_of_content(&error) => Err(error),
            _ => self.has_older(file, there),
        }
    }

    /// Whether what was sealed as a newest content is in the snapshot as an older one: a version began between the seal
    /// and the reading.
    fn has_moved(&self, file: &Sealed) -> Result<bool, Error> {
        if file.generation != 0 {
            return Ok(false);
        }
        match files(self.engine, self.repository, self.snapshot, &["--no-cache"]) {
            Err(error) if is_of_content(&error) => Ok(false),
            there => self.has_older(file, &there?),
        }
    }

    fn has_older(&self, file: &Sealed, there: &HashMap<String, u64>) -> Result<bool, Error> {
        if file.generation != 0 || file.path.ends_with(".zst") {
            return Ok(false);
        }
        let is_version_of = |path: &str| {
            let (session, mark) = (super::seal::session_of(path.trim_start_matches('/')), path.contains(".gen-"));
            mark && session == file.session() && path.rsplit('.').next() == file.path.rsplit('.').next()
        };
        for (path, _) in there.iter().filter(|(path, size)| is_version_of(path) && **size >= file.bytes) {
            match self.hash(path, file.bytes) {
                Ok(Some(hash)) if hash == file.blake3 => return Ok(true),
                Ok(_) => {}
                Err(error) if is_of_content(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The sealed files that come back equal when the whole snapshot does, in one stream. What stands behind the first
    /// damage is not among them.
    fn proven_at_once(&self, seal: &Seal) -> Result<BTreeSet<String>, Error> {
        let sealed: BTreeMap<String, Sealed> =
            seal.files.iter().map(|file| (file.path.clone(), file.clone())).collect();
        let (chunks, stream) = std::sync::mpsc::sync_channel::<Vec<u8>>(4);
        let reader = threads::named("tar").spawn(move || proven_in(stream, &sealed));
        let reader = reader.map_err(failed("start a thread"))?;
        let args = ["dump", "--no-lock", "--no-cache", "--archive", "tar", self.snapshot, "/"];
        let done = self.engine.bytes(self.repository, &args, &mut |bytes| {
            // A reader that gave up has proven nothing more; the rest is looked at one by one.
            let _ = chunks.send(bytes.to_vec());
            Ok(())
        });
        drop(chunks);
        let proven = reader.join().unwrap_or_default();
        match done {
            Ok(_) => Ok(proven),
            Err(error) if is_of_content(&error) => Ok(proven),
            Err(error) => Err(error),
        }
    }
}

/// Reads a stream of tar; the files that are as they were sealed. Ends at the first thing that is no tar.
fn proven_in(stream: std::sync::mpsc::Receiver<Vec<u8>>, sealed: &BTreeMap<String, Sealed>) -> BTreeSet<String> {
    let mut proven = BTreeSet::new();
    let mut archive = tar::Archive::new(Chunks { stream, rest: Vec::new(), at: 0 });
    let Ok(entries) = archive.entries() else { return proven };
    for entry in entries {
        let Ok(mut entry) = entry else { break };
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).trim_start_matches('/');
        let Some(file) = sealed.get(path) else { continue };
        let mut prefix = Prefix::of(file.bytes);
        let mut buffer = [0; 64 * 1024];
        let is_read = loop {
            match entry.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => prefix.take(&buffer[..count]),
                Err(_) => break false,
            }
        };
        if is_read && prefix.hash().as_ref() == Some(&file.blake3) {
            proven.insert(file.path.clone());
        }
    }
    proven
}

/// What comes over a channel, as a stream.
struct Chunks {
    stream: std::sync::mpsc::Receiver<Vec<u8>>,
    rest: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.rest.len() {
            match self.stream.recv() {
                Ok(chunk) => (self.rest, self.at) = (chunk, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len() - self.at);
        buffer[..count].copy_from_slice(&self.rest[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Hashes the first bytes of what it is given.
pub(crate) struct Prefix {
    left: u64,
    hasher: blake3::Hasher,
}

impl Prefix {
    pub(crate) fn of(bytes: u64) -> Prefix {
        Prefix { left: bytes, hasher: blake3::Hasher::new() }
    }

    pub(crate) fn take(&mut self, chunk: &[u8]) {
        let taken = &chunk[..chunk.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))];
        self.hasher.update(taken);
        self.left -= taken.len() as u64;
    }

    /// `None` where there were fewer.
    pub(crate) fn hash(&self) -> Option<String> {
        (self.left == 0).then(|| self.hasher.finalize().to_hex().to_string())
    }
}

/// Whether the second copy says of just this content that it has another hash.
fn contradicts(witness: &Archive, file: &Sealed) -> bool {
    if file.path.starts_with(".memory/") || file.path.ends_with(".zst") {
        return false;
    }
    let Some((project, path)) = file.path.split_once('/') else { return false };
    let id = file.session().rsplit('/').next().unwrap_or_default();
    let Ok(key) = SessionKey::parse(project, id) else { return false };
    // Where it cannot be read it is no witness.
    let files = witness.files(&key).unwrap_or_default();
    let same =
        files.iter().find(|own| own.path == path && own.name.generation == file.generation && own.bytes == file.bytes);
    same.is_some_and(|own| own.blake3.to_hex().as_str() != file.blake3)
}

/// So many files of a session at most: its newest transcript, which stands last in the order of a seal, and then others,
/// drawn.
fn chosen<'f>(session: &str, files: &[&'f Sealed], most: usize) -> Result<Vec<&'f Sealed>, Error> {
    let is_transcript = |file: &&Sealed| {
        let rest = file.path.strip_prefix(session).unwrap_or_default();
        file.generation == 0 && [".jsonl", ".jsonl.zst"].contains(&rest)
    };
    let (mut chosen, mut others): (Vec<_>, Vec<_>) = files.iter().copied().partition(is_transcript);
    while chosen.len() < most && !others.is_empty() {
        chosen.push(others.swap_remove(draw(others.len())?));
    }
    Ok(chosen)
}

/// A number below this, of the system's random numbers.
fn draw(below: usize) -> Result<usize, Error> {
    let mut bytes = [0; 4];
    platform::random(&mut bytes).map_err(failed("ask the system for random numbers"))?;
    Ok(u32::from_le_bytes(bytes) as usize % below.max(1))
}

/// The session to bring back.
fn drawn<'s>(sessions: &BTreeMap<&'s str, Vec<&Sealed>>, known: &[Line]) -> Result<Option<&'s str>, Error> {
    let ever: BTreeSet<&str> = known.iter().map(|line| line.session.as_str()).collect();
    let (new, old): (Vec<&str>, Vec<&str>) = sessions.keys().partition(|session| !ever.contains(*session));
    let from = if old.is_empty() || (!new.is_empty() && draw(NEW_OF)? > 0) { new } else { old };
    Ok(from.get(draw(from.len())?).copied())
}

/// How many of the sessions came back equal since then, at their last time.
fn equal_within(lines: &[Line], since_ms: u64, sessions: &BTreeMap<&str, Vec<&Sealed>>) -> u64 {
    let since = rfc3339(since_ms);
    let mut last: BTreeMap<&str, bool> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.at >= since && sessions.contains_key(line.session.as_str())) {
        last.insert(&line.session, line.result == EQUAL);
    }
    last.values().filter(|equal| **equal).count() as u64
}

fn read(site: &Site<'_>) -> Vec<Line> {
    // Without it all sessions are as if never brought back.
    let text =
        fs::read_own(site.store(), &site.folder.join(DRILLS), DRILLS_BYTES_MAX).ok().flatten().unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn keep(site: &Site<'_>, known: &[Line], new: &[Line]) -> Result<(), Error> {
    let all: Vec<&Line> = known.iter().chain(new).collect();
    let mut text = Vec::new();
    for line in &all[all.len().saturating_sub(LINES_KEPT)..] {
        serde_json::to_writer(&mut text, line).map_err(failed("encode a drill as JSON"))?;
        text.push(b'\n');
    }
    Ok(fs::replace_own(site.store(), &site.folder.join(DRILLS), &text)?)
}

/// Prints what came of it.
pub(crate) fn print(lines: &[Line], as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    let mut text = String::new();
    for line in lines {
        let said = if line.why.is_empty() { String::new() } else { format!(": {}", line.why) };
        match as_json {
            true => text.push_str(&serde_json::to_string(line).map_err(failed("encode a drill as JSON"))?),
            false => text.push_str(&format!(
                "{} {}{said} (snapshot {})",
                line.session,
                line.result,
                short_id(&line.snapshot)
            )),
        }
        text.push('\n');
    }
    out.write_all(text.as_bytes()).map_err(failed("write to stdout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(path: &str, content: &[u8]) -> Sealed {
        let (generation, bytes) = (0, content.len() as u64);
        Sealed { path: path.to_owned(), generation, bytes, blake3: blake3::hash(content).to_hex().to_string() }
    }

    #[test]
    fn sessions_that_were_never_brought_back_are_drawn_more_often() {
        let files = [sealed("p/a.jsonl", b""), sealed("p/b.jsonl", b"")];
        let sessions: BTreeMap<&str, Vec<&Sealed>> = files.iter().map(|file| (file.session(), vec![file])).collect();
        let line = |session: &str, result: &str| Line {
            at: rfc3339(1_000_000),
            snapshot: String::new(),
            session: session.to_owned(),
            path: String::new(),
            result: result.to_owned(),
            why: String::new(),
        };
        let known = [line("p/a", EQUAL)];
        let drawn: Vec<_> = (0..200).map(|_| drawn(&sessions, &known).unwrap().unwrap()).collect();
        let new = drawn.iter().filter(|session| **session == "p/b").count();
        // 160 are expected; 120 are more than six deviations away.
        assert!(new > 120 && new < 200, "{new}");
        let lines = [line("p/a", EQUAL), line("p/b", EQUAL), line("p/b", DAMAGED), line("p/gone", EQUAL)];
        assert_eq!((equal_within(&lines, 0, &sessions), equal_within(&lines, 2_000_000, &sessions)), (1, 0));
    }

    #[test]
    fn a_stream_proves_what_it_holds_and_nothing_behind_its_end() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, path, content).unwrap();
        };
        let long = format!("p/a/{}", "deep/".repeat(40));
        add("p/a.jsonl", b"one and more");
        add(".memory/p/m/MEMORY.md", b"m");
        add(&long, b"side");
        add("p/b.jsonl", b"changed");
        add("p/c.jsonl", &[7; 5000]);
        let bytes = tar.into_inner().unwrap();
        let files = [
            sealed("p/a.jsonl", b"one"),
            sealed(".memory/p/m/MEMORY.md", b"m"),
            sealed(&long, b"side"),
            sealed("p/b.jsonl", b"content"),
            sealed("p/c.jsonl", &[7; 5000]),
        ];
        let files: BTreeMap<String, Sealed> = files.into_iter().map(|file| (file.path.clone(), file)).collect();
        let proven = |bytes: &[u8]| {
            let (send, stream) = std::sync::mpsc::channel();
            bytes.chunks(700).for_each(|chunk| send.send(chunk.to_vec()).unwrap());
            drop(send);
            proven_in(stream, &files).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(proven(&bytes), [".memory/p/m/MEMORY.md", "p/a.jsonl", &long, "p/c.jsonl"]);
        assert_eq!(proven(&bytes[..bytes.len() - 6000]), [".memory/p/m/MEMORY.md", "p/a.jsonl", &long]);
        assert_eq!(proven(b"repo already locked, waiting"), [""; 0]);
    }
}
