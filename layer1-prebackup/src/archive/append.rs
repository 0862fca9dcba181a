//! Saving one file of a session: what stands at our path, how the source relates to it, and the
//! copy itself. Everything that can cost a user a byte is decided here.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::compress::{make_plain, resolve_forms};
use super::ledger::{Entry, Intent, Record, Windows};
use super::paths::Form;
use super::quarantine::quarantine;
use super::rebuild_ledger::{feed, record_of_slot, windows_of};
use super::session::OpenSession;
use super::tree_hash::TreeHasher;
use super::types::{ArchiveError, Compare, Verification};
use crate::Hash;
use crate::claude::transcripts::Identity;
use crate::clock::now_ms;
use crate::fs;
use crate::fs::platform;
use crate::names::{FileName, StoredName};

/// A commit covers at most this much new content, so that a huge first copy that is cut off by a
/// deadline has got somewhere.
const COMMIT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// After so much the disk is given something to do, which it then does while the rest is read and hashed.
const WRITE_BACK_BYTES: u64 = 4 * 1024 * 1024;
/// Time between the two looks at a source whose content changed: Claude Code truncates and
/// rewrites within milliseconds, and a generation is not begun for a glimpse of that.
pub(super) const SECOND_LOOK: Duration = Duration::from_millis(200);

/// A file to be copied, opened anew for each look at it.
pub(super) struct Source<'a> {
    /// For messages.
    pub(super) path: &'a Path,
    /// Opens it; `None` if it is not there.
    pub(super) open: &'a dyn Fn() -> Result<Option<File>, ArchiveError>,
    /// A second file of the same content may lie elsewhere: being shorter is then no news.
    pub(super) may_lag: bool,
}

/// What saving one file did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Saved {
    /// Length of the source as at open.
    pub(super) source_bytes: u64,
    /// Bytes of content added.
    pub(super) added: u64,
    /// Whether a generation was begun.
    pub(super) rotated: bool,
    /// Length and hash of what is stored now, if this save wrote all of it and read it back.
    pub(super) written: Option<(u64, Hash)>,
}

/// What stands at the path of the newest content.
enum OnDisk {
    Nothing,
    /// The committed bytes and nothing else.
    Committed(Record),
    /// The committed bytes, then some that no commit covers: an append that was cut off.
    Trailing(Record),
    /// Something else: to be kept as a generation before anything is written.
    Foreign,
}

/// How the source relates to the committed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// It begins with them.
    Begins,
    /// It is shorter, and may be their beginning.
    Lags,
    /// It is something else, or shorter.
    Differs,
}

/// Saves the file. `None` if the source is not there.
pub(super) fn save(
    session: &mut OpenSession<'_>,
    file: &FileName,
    source: &Source<'_>,
    compare: Compare,
    progress: &dyn Fn(u64),
) -> Result<Option<Saved>, ArchiveError> {
    match save_once(session, file, source, compare, progress) {
        // It was truncated while being read: look again, like a reader who came a little later.
        Err(ArchiveError::Shrank { .. }) => {
            std::thread::sleep(SECOND_LOOK);
            save_once(session, file, source, compare, progress)
        }
        result => result,
    }
}

fn save_once(
    session: &mut OpenSession<'_>,
    file: &FileName,
    source: &Source<'_>,
    compare: Compare,
    progress: &dyn Fn(u64),
) -> Result<Option<Saved>, ArchiveError> {
    let Some(mut opened) = (source.open)()? else { return Ok(None) };
    let mut identity = Identity::of(&fs::stat_of(&opened, source.path)?);
    let name = StoredName::newest(file.clone());
    let mut saved = Saved { source_bytes: identity.bytes, ..Saved::default() };
    if compare == Compare::Windows && is_unchanged(session, &name, &identity)? {
        return Ok(Some(saved));
    }
    let on_disk = on_disk(session, &name, compare, progress)?;
    if let OnDisk::Committed(record) | OnDisk::Trailing(record) = &on_disk {
        let mut relation = relation(record, &opened, &identity, source, compare, progress)?;
        if relation == Relation::Differs {
            std::thread::sleep(SECOND_LOOK);
            let Some(again) = (source.open)()? else { return Ok(None) };
            opened = again;
            identity = Identity::of(&fs::stat_of(&opened, source.path)?);
            saved.source_bytes = identity.bytes;
            relation = self::relation(record, &opened, &identity, source, compare, progress)?;
        }
        if relation == Relation::Lags && is_beginning_of_copy(session, &name, &opened, &identity, source)? {
            return Ok(Some(saved));
        }
        if relation == Relation::Begins {
            let record = record.clone();
            let is_ours = match on_disk {
                OnDisk::Trailing(_) => undo_append(session, &name, &record, &opened, source)?,
                _ => true,
            };
            if !is_ours {
                return replace(session, &name, &opened, identity, source, saved, progress);
            }
            return extend(session, &name, record, &opened, identity, source, saved, progress);
        }
    }
    replace(session, &name, &opened, identity, source, saved, progress)
}

/// Whether neither the source nor the copy's length changed since the last commit.
fn is_unchanged(session: &OpenSession<'_>, name: &StoredName, identity: &Identity) -> Result<bool, ArchiveError> {
    let Some(record) = session.ledger.record(name) else { return Ok(false) };
    let verified = matches!(record.verification, Verification::Written | Verification::Compared);
    if !verified || record.source != Some(*identity) || record.bytes != identity.bytes {
        return Ok(false);
    }
    let is_file = |stat: rustix::fs::Stat, bytes: u64| {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        kind == rustix::fs::FileType::RegularFile && stat.st_size as u64 == bytes
    };
    if let Some(stat) = session.slot(name).stat(Form::Plain)? {
        return Ok(is_file(stat, record.bytes));
    }
    let Some(compressed) = record.compressed else { return Ok(false) };
    Ok(session.slot(name).stat(Form::Compressed)?.is_some_and(|stat| is_file(stat, compressed.bytes)))
}

/// Whether the whole of a shorter source is the beginning of the copy: only then it is no news.
fn is_beginning_of_copy(
    session: &OpenSession<'_>,
    name: &StoredName,
    opened: &File,
    identity: &Identity,
    source: &Source<'_>,
) -> Result<bool, ArchiveError> {
    let path = session.slot(name).path();
    let copy = session.slot(name).open()?;
    let theirs = fs::hash_of_prefix(opened, identity.bytes, source.path)?;
    Ok(theirs == fs::hash_of_prefix(&copy, identity.bytes, &path)?)
}

fn on_disk(
    session: &OpenSession<'_>,
    name: &StoredName,
    compare: Compare,
    progress: &dyn Fn(u64),
) -> Result<OnDisk, ArchiveError> {
    let slot = session.slot(name);
    let path = slot.path();
    let known = session.ledger.record(name);
    let Some(copy) = slot.open_as(Form::Plain)? else {
        return match known {
            Some(record) if slot.is_compressed_alone(known)? => match slot.is_compressed_intact(record)? {
                true => Ok(OnDisk::Committed(record.clone())),
                false => Ok(OnDisk::Foreign),
            },
            _ => Ok(OnDisk::Nothing),
        };
    };
    let bytes = fs::stat_of(&copy, &path)?.st_size as u64;
    let Some(record) = known.cloned() else {
        // Nobody recorded it: a commit that was cut off after the rename, or another program's file.
        // The comparison with the source decides which.
        return Ok(OnDisk::Committed(record_of_slot(slot, Verification::Unverified)?));
    };
    if bytes < record.bytes {
        return Ok(OnDisk::Foreign);
    }
    let is_intact = || -> Result<bool, ArchiveError> {
        if compare == Compare::Whole || record.verification == Verification::Unverified {
            return Ok(fs::hash_of_prefix_with(&copy, record.bytes, &path, progress)? == record.blake3);
        }
        Ok(windows_of(&copy, record.bytes, &path)? == record.windows)
    };
    // A copy is called damaged only if two readings say so.
    let intact = is_intact()? || is_intact()?;
    Ok(match (intact, bytes == record.bytes) {
        (false, _) => OnDisk::Foreign,
        (true, true) => OnDisk::Committed(record),
        (true, false) => OnDisk::Trailing(record),
    })
}

fn relation(
    record: &Record,
    opened: &File,
    identity: &Identity,
    source: &Source<'_>,
    compare: Compare,
    progress: &dyn Fn(u64),
) -> Result<Relation, ArchiveError> {
    if identity.bytes < record.bytes {
        return Ok(if source.may_lag { Relation::Lags } else { Relation::Differs });
    }
    let same_file = record.source.is_some_and(|known| (known.dev, known.ino) == (identity.dev, identity.ino));
    let equal = if compare == Compare::Windows && same_file && record.verification != Verification::Unverified {
        windows_of(opened, record.bytes, source.path)? == record.windows
    } else {
        begins_with(opened, record, source, progress)?
    };
    Ok(if equal { Relation::Begins } else { Relation::Differs })
}

/// Cuts off bytes that no commit covers, where the source has the same ones: they are written
/// again, because the sync that did not come may have lost them. False, and nothing done, where
/// the source has others.
fn undo_append(
    session: &OpenSession<'_>,
    name: &StoredName,
    record: &Record,
    opened: &File,
    source: &Source<'_>,
) -> Result<bool, ArchiveError> {
    let path = session.slot(name).path();
    let Some(copy) = session.open_for_writing(name)? else { return Ok(true) };
    let mut offset = record.bytes;
    let (mut ours, mut theirs) = (vec![0; fs::COPY_BYTES], vec![0; fs::COPY_BYTES]);
    loop {
        let came = fs::read_at(&copy, offset, &mut ours, &path)?;
        if came == 0 {
            break;
        }
        let read = fs::read_at(opened, offset, &mut theirs[..came], source.path)?;
        if ours[..came] != theirs[..read] {
            return Ok(false);
        }
        offset += came as u64;
    }
    fs::truncate(&copy, record.bytes, &path)?;
    Ok(true)
}

/// Appends what the source has beyond `record`.
#[allow(clippy::too_many_arguments)]
fn extend(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    mut record: Record,
    opened: &File,
    identity: Identity,
    source: &Source<'_>,
    mut saved: Saved,
    progress: &dyn Fn(u64),
) -> Result<Option<Saved>, ArchiveError> {
    let path = session.slot(name).path();
    if record.verification == Verification::Unverified {
        // Equal to the source in every byte, as was just seen. Whether it was ever synced is not known.
        session.sync_content(name)?;
        record.verification = Verification::Compared;
    }
    if record.bytes == identity.bytes {
        if session.ledger.record(name) != Some(&record) || record.source != Some(identity) {
            record.source = Some(identity);
            session.commit(&[Entry::Commit(name.clone(), Box::new(record))])?;
        }
        return Ok(Some(saved));
    }
    session.archive.make_sure_of_room(identity.bytes - record.bytes)?;
    make_plain(session, name, &mut record)?;
    let copy = session.open_for_writing(name)?.ok_or_else(|| gone(&path))?;
    while record.bytes < identity.bytes {
        let to = identity.bytes.min(record.bytes + COMMIT_BYTES_MAX);
        let tree = resumed(&record, &copy, &path)?;
        let step = copy_step(&tree, opened, &copy, record.bytes..to, source, &path, progress)
            .and_then(|after| {
                check_step(session, name, opened, source, &tree, &after, record.bytes..to)
                    .map(|windows| (after, windows))
            })
            .and_then(|(tree, windows)| {
                let next = Record {
                    bytes: to,
                    blake3: tree.root(),
                    tree: tree.stack_as_hex(),
                    windows,
                    source: Some(identity),
                    verification: record.verification,
                    committed_ms: now_ms(),
                    compressed: None,
                };
                session.commit(&[Entry::Commit(name.clone(), Box::new(next.clone()))]).map(|()| next)
            });
        match step {
            Ok(next) => {
                saved.added += to - record.bytes;
                saved.written = saved.written.map(|_| (next.bytes, next.blake3));
                record = next;
            }
            Err(error) => {
                // Back to what is committed. If that fails as well, the next run does it.
                if fs::truncate(&copy, record.bytes, &path).is_err() {
                    session.note_failure();
                }
                return Err(error);
            }
        }
    }
    Ok(Some(saved))
}

/// Begins anew: the first part of the source is written aside and checked; only then does what
/// stands at the path become a generation, and the new content takes its place.
fn replace(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    opened: &File,
    identity: Identity,
    source: &Source<'_>,
    mut saved: Saved,
    progress: &dyn Fn(u64),
) -> Result<Option<Saved>, ArchiveError> {
    session.archive.make_sure_of_room(identity.bytes)?;
    let to = identity.bytes.min(COMMIT_BYTES_MAX);
    let written = write_aside(session, opened, to, source, progress);
    let (tree, windows) = match written {
        Ok(written) => written,
        Err(error) => {
            // The error that matters is in hand; a leftover goes when the session is opened next.
            let _ = session.remove_temp();
            return Err(error);
        }
    };
    if session.slot(name).has(Form::Plain)? || session.slot(name).is_compressed_alone(session.ledger.record(name))? {
        saved.rotated = keep_as_generation(session, name, opened, source)?;
    } else {
        remember_missing(session, name, opened, source)?;
    }
    session.place_temp(name).inspect_err(|_| {
        // As above.
        let _ = session.remove_temp();
    })?;
    let record = Record {
        bytes: to,
        blake3: tree.root(),
        tree: tree.stack_as_hex(),
        windows,
        source: Some(identity),
        verification: Verification::Written,
        committed_ms: now_ms(),
        compressed: None,
    };
    debug_assert_eq!(tree.bytes(), to, "{}", session.temp_path().display());
    session.commit(&[Entry::Commit(name.clone(), Box::new(record.clone()))])?;
    saved.added += to;
    saved.written = Some((to, record.blake3));
    if to < identity.bytes {
        return extend(session, name, record, opened, identity, source, saved, progress);
    }
    Ok(Some(saved))
}

/// Stores the first `bytes` bytes of the source as an older generation of `file`; the newest
/// content stays as it is.
pub(super) fn add_generation(
    session: &mut OpenSession<'_>,
    file: &FileName,
    source: &Source<'_>,
    bytes: u64,
) -> Result<(), ArchiveError> {
    let record = write_from(session, source, bytes)?;
    let name = session.next_generation(file)?;
    session.commit(&[Entry::Begin(file.clone(), Intent::Add { to: name.generation })])?;
    session.place_temp(&name)?;
    session.commit(&[Entry::Commit(name, Box::new(record))])
}

/// Writes the first `bytes` bytes of the source to the session's temporary file, synced and read
/// back, and gives the record that they deserve.
pub(super) fn write_from(session: &OpenSession<'_>, source: &Source<'_>, bytes: u64) -> Result<Record, ArchiveError> {
    session.archive.make_sure_of_room(bytes)?;
    let opened = (source.open)()?.ok_or_else(|| gone(source.path))?;
    let (tree, windows) = write_aside(session, &opened, bytes, source, &|_| {})?;
    Ok(Record {
        bytes,
        blake3: tree.root(),
        tree: tree.stack_as_hex(),
        windows,
        source: None,
        verification: Verification::Written,
        committed_ms: now_ms(),
        compressed: None,
    })
}

/// Renames what stands at `name` to the next generation. It keeps its record if it matches it, and
/// also if the recorded bytes are nowhere else any more: then `verify` goes on asking for them.
/// Otherwise it is recorded as something that was found there. False where it went to quarantine instead: a
/// compressed file that is damaged can be recorded as nothing else.
fn keep_as_generation(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    opened: &File,
    source: &Source<'_>,
) -> Result<bool, ArchiveError> {
    let known = session.ledger.record(name).cloned();
    if let Some(known) = &known {
        resolve_forms(session, name, known)?;
    }
    let slot = session.slot(name);
    let record = match known {
        Some(known) if slot.is_compressed_alone(Some(&known))? => {
            // The source has all of it, so nothing but a damaged file goes.
            if !slot.is_compressed_intact(&known)? && begins_with(opened, &known, source, &|_| {})? {
                quarantine(session, name, Form::Compressed)?;
                return Ok(false);
            }
            known
        }
        known => of_what_stands_there(record_of_slot(slot, Verification::Found)?, known, opened, source)?,
    };
    session.rotate(&name.file, record)?;
    Ok(true)
}

/// The record that a content deserves as a generation: see [`keep_as_generation`].
fn of_what_stands_there(
    found: Record,
    known: Option<Record>,
    opened: &File,
    source: &Source<'_>,
) -> Result<Record, ArchiveError> {
    Ok(match known {
        None => found,
        Some(known) if (known.bytes, known.blake3) == (found.bytes, found.blake3) => known,
        Some(known) if found.bytes > known.bytes || begins_with(opened, &known, source, &|_| {})? => found,
        Some(known) => known,
    })
}

/// A recorded content that is gone from its path, and is not the beginning of the source either,
/// becomes a generation that `verify` reports as missing, so that it can still be repaired.
fn remember_missing(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    opened: &File,
    source: &Source<'_>,
) -> Result<(), ArchiveError> {
    let Some(record) = session.ledger.record(name).cloned() else { return Ok(()) };
    if begins_with(opened, &record, source, &|_| {})? {
        return Ok(());
    }
    let target = session.next_generation(&name.file)?;
    session.commit(&[Entry::Commit(target, Box::new(record)), Entry::Gone(name.clone())])
}

pub(super) fn begins_with(
    opened: &File,
    record: &Record,
    source: &Source<'_>,
    progress: &dyn Fn(u64),
) -> Result<bool, ArchiveError> {
    match fs::hash_of_prefix_with(opened, record.bytes, source.path, progress) {
        Ok(hash) => Ok(hash == record.blake3),
        Err(error) if error.source.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn write_aside(
    session: &OpenSession<'_>,
    opened: &File,
    to: u64,
    source: &Source<'_>,
    progress: &dyn Fn(u64),
) -> Result<(TreeHasher, Windows), ArchiveError> {
    let path = session.temp_path();
    let temp = session.create_temp()?;
    let tree = copy_step(&TreeHasher::default(), opened, &temp, 0..to, source, &path, progress)?;
    let again = session.open_temp()?;
    check_bytes(&again, &TreeHasher::default(), &tree, 0..to, &path)?;
    let windows = agreed_windows(&again, &path, opened, source, to)?;
    Ok((tree, windows))
}

/// Copies a range of the source to the same range of `copy`, hashing what was read, and syncs.
fn copy_step(
    tree: &TreeHasher,
    opened: &File,
    copy: &File,
    range: Range<u64>,
    source: &Source<'_>,
    path: &Path,
    progress: &dyn Fn(u64),
) -> Result<TreeHasher, ArchiveError> {
    let mut tree = tree.clone();
    let (mut offset, mut on_its_way) = (range.start, range.start);
    let mut failed = None;
    feed(&mut tree, opened, range.start, range.end, source.path, &mut |bytes| {
        if failed.is_none() {
            failed = fs::write_at(copy, offset, bytes, path).err();
            offset += bytes.len() as u64;
            if offset - on_its_way >= WRITE_BACK_BYTES {
                platform::begin_writing_back(copy, on_its_way..offset);
                on_its_way = offset;
            }
            progress(offset);
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    fs::sync_data(copy, path)?;
    Ok(tree)
}

/// Reads the step back through a new descriptor and compares; returns the windows of the whole.
#[allow(clippy::too_many_arguments)]
fn check_step(
    session: &OpenSession<'_>,
    name: &StoredName,
    opened: &File,
    source: &Source<'_>,
    before: &TreeHasher,
    after: &TreeHasher,
    range: Range<u64>,
) -> Result<Windows, ArchiveError> {
    let path = session.slot(name).path();
    let again = session.slot(name).open()?;
    check_bytes(&again, before, after, range.clone(), &path)?;
    agreed_windows(&again, &path, opened, source, range.end)
}

/// The windows of source and copy, which are equal up to here: a misreading of either is not recorded.
fn agreed_windows(
    copy: &File,
    path: &Path,
    opened: &File,
    source: &Source<'_>,
    bytes: u64,
) -> Result<Windows, ArchiveError> {
    let ours = windows_of(copy, bytes, path)?;
    if ours == windows_of(opened, bytes, source.path)? {
        return Ok(ours);
    }
    Err(ArchiveError::damaged(path, "its windows differ from the source's"))
}

/// Whether `range` of the file, hashed on from the state before it, gives what was written.
fn check_bytes(
    again: &File,
    before: &TreeHasher,
    after: &TreeHasher,
    range: Range<u64>,
    path: &Path,
) -> Result<(), ArchiveError> {
    let differs = |what: String| ArchiveError::damaged(path, what);
    let length = fs::stat_of(again, path)?.st_size as u64;
    if length != range.end {
        return Err(differs(format!("{length} bytes came back of {} written", range.end)));
    }
    let mut tree = before.clone();
    feed(&mut tree, again, range.start, range.end, path, &mut |_| {})?;
    if tree.root() != after.root() {
        return Err(differs("the bytes read back differ from those written".to_owned()));
    }
    Ok(())
}

/// The hash state at the end of a record: from the ledger, or by reading the copy again. Either
/// way it must give the recorded hash: a misreading must not get into the next one.
fn resumed(record: &Record, copy: &File, path: &Path) -> Result<TreeHasher, ArchiveError> {
    let from = TreeHasher::last_chunk_offset(record.bytes);
    let mut last = vec![0; (record.bytes - from) as usize];
    let came = fs::read_at(copy, from, &mut last, path)?;
    let stored = TreeHasher::resume(record.bytes, &record.tree, &last[..came]);
    if let Some(tree) = stored.filter(|tree| tree.root() == record.blake3) {
        return Ok(tree);
    }
    let mut tree = TreeHasher::default();
    feed(&mut tree, copy, 0, record.bytes, path, &mut |_| {})?;
    if tree.root() == record.blake3 {
        return Ok(tree);
    }
    Err(ArchiveError::damaged(path, "its hash is not the recorded one"))
}

fn gone(path: &Path) -> ArchiveError {
    ArchiveError::damaged(path, "it is gone")
}
