//! Bringing the index up to date with one session of the store.
//!
//! Every batch is one transaction: it lists what the store holds, matches that with what is
//! indexed, reads a few megabytes on from where the last batch stopped, and commits the rows
//! together with the new offsets. A crash costs the batch. Because the listing is made while
//! the database is locked for writing, no batch works from an older state than its predecessor.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{ArchiveError, Labels, SessionKey, StoredFile, TreeHasher};
use layer1_prebackup::claude::side_files::BESIDE;
use layer1_prebackup::names::{FileName, StoredName};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::contents::Contents;
use super::error::{IndexError, Sqlite};
use super::labels;
use super::open::COVERS;
use super::owed::Noted;
use super::prepare::{Message, Prepared, Queued};
use super::reading::{self, Range, Read};
use super::text::is_same_everywhere;
use super::tool_calls::{self, ToolCalls, Use};
use super::topics::{self, Topics};
use super::trigram_rows::TrigramRow;
use super::wait::begin;
use crate::transcript::TITLE_FILE;
use crate::transcript::metadata::{Metadata, SessionStats};
use crate::transcript::queue::Queue;
use crate::transcript::record::{ReadReport, Role, Said, TornLine, is_output, with_record};

/// Bytes of transcript that one transaction indexes; other processes wait no longer than that takes.
pub(super) const BATCH_BYTES: u64 = 64 * 1024 * 1024;
/// Progress is told after so much, so that nobody takes a large batch for a standstill.
const TELL_BYTES: u64 = 1024 * 1024;
/// Bytes before the indexed offset that are compared before reading on.
const TAIL_BYTES: u64 = 4096;
/// Names of unknown types of records that are counted apart, for each session.
const UNKNOWN_KINDS_MAX: i64 = 100;
/// Longest name of an unknown type that is kept, in characters.
const UNKNOWN_CHARS_MAX: usize = 64;

/// How a batch ended.
pub(super) enum Step {
    /// There is more to read.
    More,
    /// The store changed under it; nothing was written.
    Raced,
    /// Everything that can be read is indexed.
    Done,
}

/// What one update keeps from batch to batch.
pub(super) struct Progress<'p> {
    /// Bytes read.
    pub(crate) read: u64,
    /// Messages added.
    pub(crate) added: u64,
    /// Told the bytes read.
    pub(crate) tell: &'p dyn Fn(u64),
    /// Contents that could not be read, and why.
    pub(crate) failed: BTreeMap<Place, IndexError>,
    /// Contents that were read once and did not hash to their record.
    misread: BTreeSet<Place>,
}

/// Which content of a session: path and generation.
pub(super) type Place = (String, u32);

impl<'p> Progress<'p> {
    pub(crate) fn new(tell: &'p dyn Fn(u64)) -> Progress<'p> {
        Progress { read: 0, added: 0, tell, failed: BTreeMap::new(), misread: BTreeSet::new() }
    }
}

/// A stored file that holds messages.
struct Listed {
    path: String,
    name: StoredName,
    bytes: u64,
    blake3: Hash,
}

/// Such a file as the index knows it.
struct Indexed {
    id: i64,
    path: String,
    generation: u32,
    read_bytes: u64,
    read_tail: Vec<u8>,
    read_tree: String,
    seen_bytes: u64,
    seen_blake3: Vec<u8>,
    settled: bool,
    last_ms: i64,
}

impl Indexed {
    fn place(&self) -> Place {
        (self.path.clone(), self.generation)
    }

    fn is_as_seen(&self, listed: &Listed) -> bool {
        self.seen_bytes == listed.bytes && self.seen_blake3 == listed.blake3.as_bytes()
    }
}

/// Whether the store holds something of the session that is not indexed.
pub(super) fn is_behind(
    connection: &Connection,
    path: &Path,
    contents: &dyn Contents,
    key: &SessionKey,
) -> Result<bool, IndexError> {
    let listing = list(contents, key)?;
    let session = session_id(connection, key).doing("look up a session", path)?;
    let indexed = match session {
        Some(session) => indexed_contents(connection, session).doing("look up a session", path)?,
        None => Vec::new(),
    };
    let is_indexed = |listed: &Listed| {
        let same = |row: &&Indexed| row.path == listed.path && row.generation == listed.name.generation;
        indexed.iter().find(same).is_some_and(|row| row.settled && row.is_as_seen(listed))
    };
    if listing.len() != indexed.len() || !listing.iter().all(is_indexed) {
        return Ok(true);
    }
    let kept = session.map(|session| labels::kept(connection, session)).transpose().doing("look up a session", path)?;
    let kept = kept.flatten().map(|(words, _)| words);
    Ok(kept != labels::words(contents.labels(key).as_ref()))
}

/// One batch.
pub(super) fn step(
    connection: &Connection,
    path: &Path,
    contents: &dyn Contents,
    key: &SessionKey,
    trigger: &str,
    noted: Option<&Noted>,
    progress: &mut Progress<'_>,
) -> Result<Step, IndexError> {
    let transaction = begin(connection, path)?;
    let step = step_in(&transaction, path, contents, key, trigger, progress)?;
    if let (Step::Done, Some(noted)) = (&step, noted) {
        // Where another session was added in between, there is more to do than this one.
        let sql = "UPDATE meta SET value = ?1 WHERE key = ?2 AND value = ?3";
        transaction.execute(sql, [&noted.after, COVERS, &noted.before]).doing("write", path)?;
    }
    if !matches!(step, Step::Raced) {
        transaction.commit().doing("commit", path)?;
        (progress.tell)(progress.read);
    }
    Ok(step)
}

/// What became of several sessions in one transaction.
pub(super) enum Grouped {
    /// So many are indexed whole.
    Done(usize),
    /// So many are indexed whole, and of the next one as much as fits in a transaction.
    Cut(usize),
    /// Nothing was written: one of so many needs a transaction of its own, or to be looked at again.
    Apart(usize),
}

/// Indexes as many of these sessions, each with what caused its save, as one transaction takes. A commit
/// costs as much as a megabyte of text, so that many small sessions are worth bringing together.
pub(super) fn group(
    connection: &Connection,
    path: &Path,
    contents: &dyn Contents,
    sessions: &[(SessionKey, String)],
) -> Result<Grouped, IndexError> {
    let transaction = begin(connection, path)?;
    let mut progress = Progress::new(&|_| {});
    let mut done = 0;
    for (key, trigger) in sessions {
        while let step = step_in(&transaction, path, contents, key, trigger, &mut progress)?
            && !matches!(step, Step::Done)
        {
            if matches!(step, Step::Raced) {
                return Ok(Grouped::Apart(done + 1));
            }
            if progress.read >= BATCH_BYTES {
                transaction.commit().doing("commit", path)?;
                return Ok(Grouped::Cut(done));
            }
        }
        done += 1;
        if !progress.failed.is_empty() {
            return Ok(Grouped::Apart(done));
        }
        if progress.read >= BATCH_BYTES {
            break;
        }
    }
    transaction.commit().doing("commit", path)?;
    Ok(Grouped::Done(done))
}

/// One batch within a transaction, which is to be committed unless [`Step::Raced`] is the answer.
pub(super) fn step_in(
    transaction: &Transaction<'_>,
    path: &Path,
    contents: &dyn Contents,
    key: &SessionKey,
    trigger: &str,
    progress: &mut Progress<'_>,
) -> Result<Step, IndexError> {
    let listing = list(contents, key)?;
    let session = track(transaction, key).doing("add a session", path)?;
    reconcile(transaction, path, contents, key, session, &listing)?;
    let indexed = indexed_contents(transaction, session).doing("look up a session", path)?;
    let mut batch = Batch::begin(transaction, session).doing("look up a session", path)?;
    let mut is_more = false;
    for content in indexed.iter().filter(|content| !content.settled) {
        if progress.failed.contains_key(&content.place()) {
            continue;
        }
        if batch.read_bytes >= BATCH_BYTES {
            is_more = true;
            break;
        }
        let (base, tell) = (progress.read, progress.tell);
        match read_content(&mut batch, path, contents, key, content, &|bytes| tell(base + bytes)) {
            Ok(Reading::Settled) => {}
            Ok(Reading::Cut) => is_more = true,
            Ok(Reading::Changed | Reading::Misread) if has_moved(contents, key, &listing)? => return Ok(Step::Raced),
            Ok(Reading::Changed) => {
                // The bytes before the offset are not those that were indexed: begin again.
                reset(transaction, session).doing("remove a session's rows", path)?;
                return Ok(Step::More);
            }
            Ok(Reading::Misread) => {
                // Batches that were committed may hold some of it. It is read once more, then left alone.
                reset(transaction, session).doing("remove a session's rows", path)?;
                if !progress.misread.insert(content.place()) {
                    progress.failed.insert(content.place(), damaged(content));
                }
                return Ok(Step::More);
            }
            Err(error @ (IndexError::Read { .. } | IndexError::Archive(_))) => {
                progress.failed.insert(content.place(), error);
            }
            Err(error) => return Err(error),
        }
    }
    if has_moved(contents, key, &listing)? {
        return Ok(Step::Raced);
    }
    let (read, added) = (batch.read_bytes, batch.added - batch.asides);
    batch.end(trigger, contents.labels(key).as_ref()).doing("update a session", path)?;
    progress.read += read;
    progress.added += added;
    Ok(if is_more { Step::More } else { Step::Done })
}

fn damaged(content: &Indexed) -> IndexError {
    let what = format!("its first {} bytes do not hash to their record", content.seen_bytes);
    IndexError::Archive(ArchiveError::Damaged { path: content.path.clone().into(), what })
}

/// Sets what caused the last save.
pub(super) fn set_trigger(
    connection: &Connection,
    path: &Path,
    key: &SessionKey,
    trigger: &str,
) -> Result<(), IndexError> {
    let transaction = begin(connection, path)?;
    let sql = "UPDATE tracked SET save_trigger = ?3 WHERE project = ?1 AND session = ?2";
    transaction
        .execute(sql, params![key.project.as_str(), key.id.as_str(), trigger])
        .doing("update a session", path)?;
    transaction.commit().doing("commit", path)
}

/// Removes all that is known of a session that the store has nothing of. Another process may
/// have stored and indexed it since the store was listed, so it is asked again under the write
/// lock: what it has by then is kept, what it gets later is indexed later.
pub(super) fn forget(
    connection: &Connection,
    path: &Path,
    contents: &dyn Contents,
    key: Option<&SessionKey>,
    session: i64,
) -> Result<(), IndexError> {
    let transaction = begin(connection, path)?;
    if let Some(key) = key
        && !contents.files(key)?.is_empty()
    {
        return Ok(());
    }
    let forget = || {
        reset(&transaction, session)?;
        transaction.execute("DELETE FROM tracked WHERE id = ?1", [session])
    };
    forget().doing("remove a session", path)?;
    transaction.commit().doing("commit", path)
}

/// The session's row.
pub(super) fn session_id(connection: &Connection, key: &SessionKey) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM tracked WHERE project = ?1 AND session = ?2")?;
    statement.query_row([key.project.as_str(), key.id.as_str()], |row| row.get(0)).optional()
}

/// The stored files that hold messages, oldest generation first: the transcript, then subagents'.
fn list(contents: &dyn Contents, key: &SessionKey) -> Result<Vec<Listed>, IndexError> {
    let files = contents.files(key)?;
    let mut listing: Vec<Listed> = files.into_iter().filter(holds_messages).map(|file| listed(key, file)).collect();
    // The newest has number 0 and comes last.
    listing.sort_by_key(|l| (l.name.file != FileName::Transcript, l.path.clone(), l.name.generation.wrapping_sub(1)));
    Ok(listing)
}

fn holds_messages(file: &StoredFile) -> bool {
    match &file.name.file {
        FileName::Transcript => true,
        FileName::Side(path) => {
            let is_like_one = |name: &OsStr| name.to_string_lossy().to_ascii_lowercase().contains(".jsonl");
            // Agents' transcripts, what Claude Code set aside before it cleaned up, what lies beside the transcript: each
            // may hold turns that nothing else has.
            path.as_os_str() == TITLE_FILE
                || is_output(&file.name.file)
                || path.file_name().is_some_and(is_like_one)
                || (path.starts_with(BESIDE) && is_like_one(path.as_os_str()))
        }
    }
}

fn listed(key: &SessionKey, file: StoredFile) -> Listed {
    let path = StoredName::newest(file.name.file.clone()).to_text(&key.id);
    Listed { path, name: file.name, bytes: file.bytes, blake3: file.blake3 }
}

/// Whether generations came or went since the listing; that a file grew does not matter.
fn has_moved(contents: &dyn Contents, key: &SessionKey, before: &[Listed]) -> Result<bool, IndexError> {
    let generations = |listing: &[Listed]| -> BTreeSet<(String, u32)> {
        listing.iter().map(|listed| (listed.path.clone(), listed.name.generation)).collect()
    };
    let (before, now) = (generations(before), generations(&list(contents, key)?));
    // A new side file is no move; a new generation of a known file is.
    let known: BTreeSet<&String> = before.iter().map(|(path, _)| path).collect();
    Ok(!now.is_superset(&before) || now.difference(&before).any(|(path, _)| known.contains(path)))
}

fn track(transaction: &Transaction<'_>, key: &SessionKey) -> rusqlite::Result<i64> {
    if let Some(session) = session_id(transaction, key)? {
        return Ok(session);
    }
    let sql = "INSERT INTO tracked (project, session) VALUES (?1, ?2)";
    transaction.execute(sql, [key.project.as_str(), key.id.as_str()])?;
    Ok(transaction.last_insert_rowid())
}

fn indexed_contents(connection: &Connection, session: i64) -> rusqlite::Result<Vec<Indexed>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, path, generation, read_bytes, read_tail, read_tree, seen_bytes, seen_blake3, settled, last_ms
         FROM contents WHERE session = ?1 ORDER BY id",
    )?;
    let rows = statement.query_map([session], |row| {
        Ok(Indexed {
            id: row.get(0)?,
            path: row.get(1)?,
            generation: row.get(2)?,
            read_bytes: row.get::<_, i64>(3)?.unsigned_abs(),
            read_tail: row.get(4)?,
            read_tree: row.get(5)?,
            seen_bytes: row.get::<_, i64>(6)?.unsigned_abs(),
            seen_blake3: row.get(7)?,
            settled: row.get(8)?,
            last_ms: row.get(9)?,
        })
    })?;
    rows.collect()
}

/// Makes the index's contents those of the listing: what is indexed follows its bytes when they
/// became an older generation, and what cannot be matched makes the session begin again.
fn reconcile(
    transaction: &Transaction<'_>,
    path: &Path,
    contents: &dyn Contents,
    key: &SessionKey,
    session: i64,
    listing: &[Listed],
) -> Result<(), IndexError> {
    let indexed = indexed_contents(transaction, session).doing("look up a session", path)?;
    let places = match places_of(contents, key, &indexed, listing)? {
        Some(places) => places,
        None => {
            reset(transaction, session).doing("remove a session's rows", path)?;
            BTreeMap::new()
        }
    };
    let write = || {
        let moved = places.iter().filter(|(row, place)| indexed[**row].generation != listing[**place].name.generation);
        for (row, _) in moved {
            // Out of the way first, for two may change places.
            let id = indexed[*row].id;
            transaction.execute("UPDATE contents SET generation = -id WHERE id = ?1", [id])?;
        }
        for (row, place) in &places {
            update_seen(transaction, &indexed[*row], &listing[*place])?;
        }
        for (n, listed) in listing.iter().enumerate() {
            if !places.values().any(|place| *place == n) {
                insert_content(transaction, session, listed)?;
            }
        }
        Ok(())
    };
    write().doing("update a session", path)
}

/// For each indexed content, which listed one it is; `None` when one is none of them.
fn places_of(
    contents: &dyn Contents,
    key: &SessionKey,
    indexed: &[Indexed],
    listing: &[Listed],
) -> Result<Option<BTreeMap<usize, usize>>, IndexError> {
    let mut places = BTreeMap::new();
    let is_same_place =
        |row: &Indexed, listed: &Listed| row.path == listed.path && row.generation == listed.name.generation;
    for (n, row) in indexed.iter().enumerate() {
        let generations = |path: &String| {
            let of_index: BTreeSet<u32> = indexed.iter().filter(|r| r.path == *path).map(|r| r.generation).collect();
            let of_store: BTreeSet<u32> =
                listing.iter().filter(|l| l.path == *path).map(|l| l.name.generation).collect();
            of_index == of_store
        };
        let place = listing.iter().position(|listed| is_same_place(row, listed));
        // Where no generation came or went, a longer newest content has grown by appending.
        let has_grown =
            |listed: &Listed| row.generation == 0 && listed.bytes > row.seen_bytes && generations(&row.path);
        if let Some(place) = place.filter(|place| row.is_as_seen(&listing[*place]) || has_grown(&listing[*place])) {
            places.insert(n, place);
        }
    }
    for (n, row) in indexed.iter().enumerate() {
        if places.contains_key(&n) {
            continue;
        }
        let free = |place: &usize| listing[*place].path == row.path && !places.values().any(|taken| taken == place);
        let mut candidates: Vec<usize> = (0..listing.len()).filter(free).collect();
        // Contents that are equal by their record first, then those that must be read.
        candidates.sort_by_key(|place| (!row.is_as_seen(&listing[*place]), listing[*place].name.generation));
        let mut found = None;
        for place in candidates {
            if row.is_as_seen(&listing[place]) || begins_as_seen(contents, key, row, &listing[place])? {
                found = Some(place);
                break;
            }
        }
        match found {
            Some(place) => places.insert(n, place),
            None => return Ok(None),
        };
    }
    Ok(Some(places))
}

/// Whether a longer stored content begins with what was indexed.
fn begins_as_seen(
    contents: &dyn Contents,
    key: &SessionKey,
    row: &Indexed,
    listed: &Listed,
) -> Result<bool, IndexError> {
    if listed.bytes < row.seen_bytes {
        return Ok(false);
    }
    let file = contents.open_file(key, &listed.name)?;
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(file.take(row.seen_bytes))
        .map_err(|source| IndexError::Read { path: listed.path.clone().into(), source })?;
    Ok(hasher.count() == row.seen_bytes && hasher.finalize().as_bytes() == row.seen_blake3.as_slice())
}

fn update_seen(transaction: &Transaction<'_>, row: &Indexed, listed: &Listed) -> rusqlite::Result<()> {
    let is_moved = row.generation != listed.name.generation;
    if !is_moved && row.is_as_seen(listed) {
        return Ok(());
    }
    // A last line that waited for its end waits no longer in an older generation.
    let settled = row.settled && row.is_as_seen(listed) && row.read_bytes == listed.bytes;
    transaction.execute(
        "UPDATE contents SET generation = ?2, seen_bytes = ?3, seen_blake3 = ?4, settled = ?5 WHERE id = ?1",
        params![row.id, listed.name.generation, listed.bytes as i64, listed.blake3.as_bytes(), settled],
    )?;
    Ok(())
}

fn insert_content(transaction: &Transaction<'_>, session: i64, listed: &Listed) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO contents
         (session, path, generation, read_bytes, read_tail, read_tree, seen_bytes, seen_blake3, settled, last_ms)
         VALUES (?1, ?2, ?3, 0, ?4, '', ?5, ?6, 0, 0)",
        params![
            session,
            listed.path,
            listed.name.generation,
            tail_hash(&[]),
            listed.bytes as i64,
            listed.blake3.as_bytes()
        ],
    )?;
    Ok(())
}

/// Removes a session's rows; the session itself stays.
fn reset(transaction: &Transaction<'_>, session: i64) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM words WHERE rowid IN (SELECT id FROM messages WHERE session = ?1)",
        "DELETE FROM parts WHERE rowid IN (SELECT id FROM spans WHERE session = ?1)",
        "DELETE FROM spans WHERE session = ?1",
        "DELETE FROM uses WHERE message IN (SELECT id FROM messages WHERE session = ?1)",
        "DELETE FROM queued WHERE content IN (SELECT id FROM contents WHERE session = ?1)",
        "DELETE FROM calls WHERE content IN (SELECT id FROM contents WHERE session = ?1)",
        "DELETE FROM messages WHERE session = ?1",
        "DELETE FROM beginnings WHERE session = ?1",
        "DELETE FROM contents WHERE session = ?1",
        "DELETE FROM unknown WHERE session = ?1",
        "DELETE FROM tallies WHERE session = ?1",
        "DELETE FROM directories WHERE session = ?1",
        "UPDATE tracked SET messages = 0, unparsable = 0, topic_words = 0, first_message = NULL, last_message = NULL,
         title = NULL, branch = NULL WHERE id = ?1",
    ] {
        transaction.execute(sql, [session])?;
    }
    labels::remove(transaction, session)?;
    topics::remove(transaction, session)
}

/// How reading a content ended.
enum Reading {
    /// All of it is indexed, but for a last line that may still grow.
    Settled,
    /// The batch is full.
    Cut,
    /// It is not what was indexed before.
    Changed,
    /// What was read does not hash to its record: it is damaged, or was read wrongly.
    Misread,
}

fn read_content(
    batch: &mut Batch<'_>,
    path: &Path,
    contents: &dyn Contents,
    key: &SessionKey,
    content: &Indexed,
    tell: &dyn Fn(u64),
) -> Result<Reading, IndexError> {
    let file_name = StoredName::parse(&key.id, &content.path).map(|name| name.file);
    let Ok(file) = file_name else { return Ok(Reading::Changed) };
    let name = StoredName { file, generation: content.generation };
    let unreadable = |source| IndexError::Read { path: name.to_path(&key.id), source };
    let mut file = contents.open_file(key, &name)?;
    if tail_before(&mut file, content.read_bytes).map_err(unreadable)? != content.read_tail {
        return Ok(Reading::Changed);
    }
    let Some(hash) = resumed(&file, content).map_err(unreadable)? else { return Ok(Reading::Changed) };
    batch.tool_calls.begin_content(batch.transaction, content.id).doing("look up a session", path)?;
    batch.begin_queue(content.id, &file).doing("look up a session", path)?;
    let start_bytes = batch.read_bytes;
    let (mut failure, mut told_bytes) = (None, start_bytes);
    let range = Range {
        file: &file,
        bytes: content.read_bytes..content.seen_bytes,
        torn: if name.generation == 0 { TornLine::Wait } else { TornLine::Final },
        is_output: is_output(&name.file),
        last_ms: content.last_ms,
        bytes_max: BATCH_BYTES - start_bytes,
    };
    let read = reading::read(&range, hash, &mut |prepared: &Prepared<'_>| {
        batch.read_bytes = start_bytes + (prepared.offset + prepared.length - content.read_bytes);
        if let Err(error) = batch.add(content.id, prepared) {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        if batch.read_bytes - told_bytes >= TELL_BYTES {
            told_bytes = batch.read_bytes;
            tell(told_bytes);
        }
        ControlFlow::Continue(())
    });
    if let Some(error) = failure {
        return Err(error).doing("add a message", path);
    }
    let Read { report, tree, whole, last_ms, is_cut } = read.map_err(unreadable)?;
    if !is_cut && (whole.bytes() != content.seen_bytes || whole.root().as_bytes() != content.seen_blake3.as_slice()) {
        return Ok(Reading::Misread);
    }
    let tail = tail_before(&mut file, report.next_offset).map_err(unreadable)?;
    let ended = Ended { report: &report, tail: &tail, tree: &tree.stack_as_hex(), last_ms, settled: !is_cut };
    batch.end_content(content.id, &ended).doing("update a session", path)?;
    Ok(if is_cut { Reading::Cut } else { Reading::Settled })
}

/// The hash of what was indexed before; `None` when its last bytes are gone.
fn resumed(file: &File, content: &Indexed) -> io::Result<Option<TreeHasher>> {
    let from = TreeHasher::last_chunk_offset(content.read_bytes);
    let mut last = vec![0; (content.read_bytes - from) as usize];
    match file.read_exact_at(&mut last, from) {
        Ok(()) => Ok(TreeHasher::resume(content.read_bytes, &content.read_tree, &last)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// A hash of the bytes before `offset`.
fn tail_before(file: &mut File, offset: u64) -> io::Result<Vec<u8>> {
    let length = offset.min(TAIL_BYTES);
    file.seek(SeekFrom::Start(offset - length))?;
    let mut tail = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut tail)?;
    Ok(tail_hash(&tail))
}

fn tail_hash(tail: &[u8]) -> Vec<u8> {
    blake3::hash(tail).as_bytes()[..16].to_vec()
}

/// How far a content was read, and what is needed to go on there.
struct Ended<'a> {
    report: &'a ReadReport,
    tail: &'a [u8],
    tree: &'a str,
    last_ms: i64,
    settled: bool,
}

/// The rows of one transaction.
struct Batch<'t> {
    transaction: &'t Transaction<'t>,
    session: i64,
    tally: SessionStats,
    /// The first message as it was before.
    first_message: Option<(i64, i64)>,
    branches: HashMap<String, i64>,
    tool_calls: ToolCalls,
    /// What the last message uses.
    uses: Vec<Use>,
    trigram_row: TrigramRow,
    topics: Topics,
    /// First and last message that was added.
    messages: Option<(i64, i64)>,
    /// Messages of the content that is being read.
    queue: Queue<i64>,
    /// How many more of that content a reader sees, and what they say.
    shown: i64,
    said: Said,
    read_bytes: u64,
    added: u64,
    /// Of these, what is no message of the conversation.
    asides: u64,
    /// Messages that went: they came again.
    removed: u64,
    unparsable: u64,
}

impl<'t> Batch<'t> {
    fn begin(transaction: &'t Transaction<'t>, session: i64) -> rusqlite::Result<Batch<'t>> {
        let sql = "SELECT tally FROM tallies WHERE session = ?1";
        let tally: Option<String> =
            transaction.prepare_cached(sql)?.query_row([session], |row| row.get(0)).optional()?;
        // Only this program writes it; one that does not parse would be of another version.
        let tally: SessionStats = tally.and_then(|tally| serde_json::from_str(&tally).ok()).unwrap_or_default();
        Ok(Batch {
            transaction,
            session,
            first_message: tally.first_message,
            tally,
            branches: HashMap::new(),
            tool_calls: ToolCalls::default(),
            uses: Vec::new(),
            trigram_row: TrigramRow::new(),
            topics: Topics::default(),
            messages: None,
            queue: Queue::new(),
            shown: 0,
            said: Said::default(),
            read_bytes: 0,
            added: 0,
            asides: 0,
            removed: 0,
            unparsable: 0,
        })
    }

    fn add(&mut self, content: i64, prepared: &Prepared<'_>) -> rusqlite::Result<()> {
        let Some(message) = &prepared.message else {
            self.tally.merge(&prepared.tally);
            return Ok(());
        };
        let branch = self.branch(message.branch.as_deref())?;
        if !message.is_rest {
            self.uses = self.tool_calls.of(self.transaction, &message.uses)?;
        }
        let is_own = !self.uses.is_empty() && self.uses.iter().all(|used| used.is_own);
        let speaker = if is_own { message.speaker.as_echo() } else { message.speaker };
        let mut insert = self.transaction.prepare_cached(
            "INSERT OR IGNORE INTO messages (session, content, offset, length, time_ms, speaker, branch, key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let is_new = insert.execute(params![
            self.session,
            content,
            prepared.offset as i64,
            prepared.length as i64,
            prepared.time_ms,
            speaker.0,
            branch,
            message.key,
        ])? > 0;
        let id = if is_new { self.transaction.last_insert_rowid() } else { 0 };
        if let Some(fingerprints) = &message.shown
            && self.said.is_new(fingerprints)
            && (is_new || self.is_of_another(content, message.key)?)
        {
            self.shown += 1;
        }
        self.pass_queue(message, id)?;
        self.topics.add(&message.topics, is_new && !speaker.is_echo(), self.transaction, self.session)?;
        if !is_new {
            return Ok(());
        }
        self.added += 1;
        self.asides += u64::from(message.is_aside);
        self.tally.merge(&prepared.tally);
        // Nobody copies one without an id, and a queued prompt goes when it is sent.
        if is_same_everywhere(message.key) {
            self.tally.add_message(prepared.time_ms, message.key);
        }
        if speaker.role() == Role::Summary {
            self.add_beginning(message.key)?;
        }
        tool_calls::add(self.transaction, id, &self.uses)?;
        let [user, assistant, thinking, tool_input, tool_output] = &message.columns;
        self.transaction
            .prepare_cached(
                "INSERT INTO words (rowid, user, assistant, thinking, tool_input, tool_output)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![id, user, assistant, thinking, tool_input, tool_output])?;
        self.trigram_row.begin_message(self.transaction, self.session, id)?;
        self.trigram_row.add(&message.parts, message.parts_bytes);
        self.messages = Some((self.messages.map_or(id, |(first, _)| first), id));
        Ok(())
    }

    /// Whether a message that is known was read in another content, of which this one is the next version.
    fn is_of_another(&self, content: i64, key: i64) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM messages WHERE session = ?1 AND key = ?2 AND content != ?3";
        self.transaction.prepare_cached(sql)?.exists(params![self.session, key, content])
    }

    /// What of the content waited when reading it ended last.
    fn begin_queue(&mut self, content: i64, file: &File) -> rusqlite::Result<()> {
        self.queue = Queue::new();
        (self.shown, self.said) = (0, Said::default());
        let mut statement = self.transaction.prepare_cached(
            "SELECT m.id, m.offset, m.length FROM queued q
             JOIN messages m ON m.id = q.message AND m.content = q.content WHERE q.content = ?1",
        )?;
        let mut rows = statement.query([content])?;
        while let Some(row) = rows.next()? {
            let (id, offset, length): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let mut bytes = vec![0; length.unsigned_abs() as usize];
            // One that cannot be read is found to be so by whoever reads on; until then it is a message by itself.
            if file.read_exact_at(&mut bytes, offset.unsigned_abs()).is_ok()
                && let Some(said) = with_record(&bytes, |record| record.said())
            {
                self.queue.add(said, id);
            }
        }
        Ok(())
    }

    /// Every message passes here, also one that comes again: what was queued may be sent in it. `id` is 0 for one that
    /// is in the index already.
    fn pass_queue(&mut self, message: &Message<'_>, id: i64) -> rusqlite::Result<()> {
        match &message.queued {
            Queued::Waits(said) => {
                let known = "SELECT id FROM messages WHERE session = ?1 AND key = ?2";
                let id = match id {
                    0 => self.transaction.query_row(known, [self.session, message.key], |row| row.get(0))?,
                    id => id,
                };
                self.queue.add(said.clone(), id);
            }
            Queued::MayBeSent(said) if !self.queue.is_empty() => {
                for id in self.queue.sent(said) {
                    self.shown -= 1;
                    // Its number may come again.
                    self.transaction.execute("DELETE FROM queued WHERE message = ?1", [id])?;
                    self.transaction.execute("DELETE FROM uses WHERE message = ?1", [id])?;
                    self.transaction.execute("DELETE FROM words WHERE rowid = ?1", [id])?;
                    self.removed += self.transaction.execute("DELETE FROM messages WHERE id = ?1", [id])? as u64;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end_queue(&mut self, content: i64) -> rusqlite::Result<()> {
        self.transaction.prepare_cached("DELETE FROM queued WHERE content = ?1")?.execute([content])?;
        for id in self.queue.names() {
            let sql = "INSERT OR IGNORE INTO queued (content, message) VALUES (?1, ?2)";
            self.transaction.prepare_cached(sql)?.execute([content, id])?;
        }
        Ok(())
    }

    fn add_beginning(&self, key: i64) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO beginnings (key, session) VALUES (?1, ?2)";
        self.transaction.prepare_cached(sql)?.execute([key, self.session])?;
        Ok(())
    }

    fn branch(&mut self, name: Option<&str>) -> rusqlite::Result<i64> {
        let Some(name) = name else { return Ok(0) };
        if let Some(id) = self.branches.get(name) {
            return Ok(*id);
        }
        self.transaction.execute("INSERT OR IGNORE INTO branches (name) VALUES (?1)", [name])?;
        let id = self.transaction.query_row("SELECT id FROM branches WHERE name = ?1", [name], |row| row.get(0))?;
        self.branches.insert(name.to_owned(), id);
        Ok(id)
    }

    fn end_content(&mut self, content: i64, ended: &Ended<'_>) -> rusqlite::Result<()> {
        let Ended { report, tail, tree, last_ms, settled } = ended;
        self.unparsable += report.unparsable;
        for (kind, records) in &report.unknown {
            self.count_unknown(kind, *records)?;
        }
        self.tool_calls.end_content(self.transaction, content)?;
        self.end_queue(content)?;
        self.transaction.execute(
            "UPDATE contents SET read_bytes = ?2, read_tail = ?3, read_tree = ?4, last_ms = ?5, settled = ?6,
                shown = shown + ?7
             WHERE id = ?1",
            params![content, report.next_offset as i64, tail, tree, last_ms, settled, self.shown],
        )?;
        Ok(())
    }

    fn count_unknown(&self, kind: &str, records: u64) -> rusqlite::Result<()> {
        let kind = if kind.is_empty() { "(none)" } else { kind };
        let kind: String = kind.chars().take(UNKNOWN_CHARS_MAX).collect();
        self.transaction.execute(
            "INSERT INTO unknown (session, kind, records)
             SELECT ?1, CASE WHEN count(*) < ?4 OR sum(kind = ?2) THEN ?2 ELSE '(other)' END, ?3
             FROM unknown WHERE session = ?1
             ON CONFLICT DO UPDATE SET records = records + excluded.records",
            params![self.session, kind, records as i64, UNKNOWN_KINDS_MAX],
        )?;
        Ok(())
    }

    /// What the session is called, where that is another than before.
    fn write_names(
        &self,
        metadata: &Metadata,
        title: Option<&String>,
        labels: Option<&Labels>,
    ) -> rusqlite::Result<()> {
        let before = "SELECT title, branch FROM tracked WHERE id = ?1";
        let before: [Option<String>; 2] =
            self.transaction.prepare_cached(before)?.query_row([self.session], |row| Ok([row.get(0)?, row.get(1)?]))?;
        let words = labels::words(labels);
        let called = words.map(|words| (words, metadata.title.clone().unwrap_or_default()));
        let is_called_so = labels::kept(self.transaction, self.session)? == called;
        if before.each_ref().map(Option::as_ref) == [title, metadata.git_branch.as_ref()] && is_called_so {
            return Ok(());
        }
        labels::write(self.transaction, self.session, called.as_ref())?;
        let names = [&metadata.title, &metadata.git_branch].map(|name| name.as_deref().unwrap_or_default());
        let names = format!("{} {}", names.join(" "), called.map(|(words, _)| words).unwrap_or_default());
        topics::write_names(self.transaction, self.session, &names)
    }

    /// Writes the session's row. It is listed when something was said in it, and in doubt.
    fn end(mut self, trigger: &str, labels: Option<&Labels>) -> rusqlite::Result<()> {
        self.trigram_row.end(self.transaction, self.session)?;
        self.tally.prune();
        if let Some((_, first)) = self.tally.first_message {
            if let Some((_, before)) = self.first_message.filter(|(_, key)| *key != first) {
                let sql = "DELETE FROM beginnings WHERE key = ?1 AND session = ?2";
                self.transaction.execute(sql, [before, self.session])?;
            }
            self.add_beginning(first)?;
        }
        let metadata = self.tally.to_metadata();
        let title = labels.and_then(Labels::name).map(str::to_owned).or_else(|| metadata.title.clone());
        self.write_names(&metadata, title.as_ref(), labels)?;
        self.topics.write(self.transaction, self.session)?;
        let (first_message, last_message) = self.messages.unzip();
        let tally = serde_json::to_string(&self.tally).unwrap_or_else(|_| "{}".to_owned());
        self.transaction.execute(
            "UPDATE tracked SET
                start_ms = ?2, end_ms = ?3, branch = ?4, title = ?5, save_trigger = ?6, is_fork = ?10,
                messages = messages + ?7, unparsable = unparsable + ?8, topic_words = topic_words + ?11,
                first_message = coalesce(first_message, ?12), last_message = coalesce(?13, last_message),
                listed = ?9 OR unparsable + ?8 > 0
                    OR EXISTS (SELECT 1 FROM unknown WHERE session = ?1)
                    OR EXISTS (SELECT 1 FROM contents WHERE session = ?1 AND read_bytes < seen_bytes)
             WHERE id = ?1",
            params![
                self.session,
                self.tally.start_ms,
                self.tally.end_ms,
                metadata.git_branch,
                title,
                trigger,
                self.added as i64 - self.asides as i64 - self.removed as i64,
                self.unparsable as i64,
                self.tally.prompts + self.tally.answers > 0,
                metadata.forked_from.is_some(),
                self.topics.all as i64,
                first_message,
                last_message,
            ],
        )?;
        let sql = "INSERT OR REPLACE INTO tallies (session, tally) VALUES (?1, ?2)";
        self.transaction.prepare_cached(sql)?.execute(params![self.session, tally])?;
        let sql = "INSERT OR REPLACE INTO directories (session, rank, path) VALUES (?1, ?2, ?3)";
        for (rank, path) in [metadata.directory, metadata.cwd].into_iter().enumerate() {
            if let Some(path) = path {
                self.transaction.prepare_cached(sql)?.execute(params![self.session, rank as i64, path])?;
            }
        }
        Ok(())
    }
}
