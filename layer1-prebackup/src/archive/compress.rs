//! Contents of transcripts, compressed on the user's command: `{ID}.jsonl.zst`, `{ID}.gen-0001.jsonl.zst`.
//!
//! Every reader opens a content through [`Archive::open_file`] and gets its plain bytes: where only
//! the compressed file is there, it is unpacked into a file without a name, which goes with its
//! descriptor. Whoever reads short ranges opens it through [`Archive::open_ranges`]. All that is said of a
//! content (length, hash, windows, receipts) is said of the plain bytes; the ledger keeps length and hash of
//! the compressed file beside them. Side files are not compressed: their names are not ours to lengthen.
//!
//! **Compressing.** The compressed file is written aside, synced, read back, unpacked and found equal to
//! the recorded hash; then it is recorded, renamed into place, and the plain file is unlinked last. At each
//! instant one of the two is whole, and where the plain one stands it is the one that is read. It is
//! recorded before it is in place, so that what stands there is ours if it is recorded and another's if not.
//!
//! **Going on.** A newest content that is to grow is brought back first ([`make_plain`]): unpacked aside,
//! found equal, synced, renamed into place; then the compressed file is unlinked, and only then is
//! anything appended. The commit of what was appended says that it is no longer compressed. So a plain file
//! never grows beside a compressed one. What is not to grow stays compressed: a source that is unchanged
//! costs a look at lengths, one that was rewritten has it renamed to a generation.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::frames::{self, Each, Ranges};
use super::ledger::{Entry, Ledger, Packed, Record};
use super::repair::set_aside;
use super::session::{OpenSession, SessionLock, file_name_of, relative_path};
use super::{Archive, ArchiveError, Proof, SessionKey, StoredFile};
use crate::Hash;
use crate::claude::transcripts::{self, Identity};
use crate::fs;
use crate::names::{FileName, StoredName};

/// What a compressed file's name ends in, behind the plain one's.
pub(super) const ENDING: &str = ".zst";
/// The levels of compression: fast, small.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

/// A content that was compressed.
#[derive(Debug, Clone)]
pub struct Compressed {
    /// Length of the compressed file.
    pub packed_bytes: u64,
}

impl Archive {
    /// The contents of a session's transcript that are not compressed, or of which a killed run
    /// left the plain file too; the newest one only if its source is gone or is as it was copied.
    /// Reads the ledger alone.
    pub fn compressible(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        let ledger = self.ledger(key)?;
        let mut found = Vec::new();
        for (name, record) in ledger.records().filter(|(name, _)| may_be_packed(name)) {
            if record.bytes > 0 && self.stat(key, name)?.is_some() && is_settled(&ledger, name, record)? {
                found.push(StoredFile::of(name, record, key));
            }
        }
        Ok(found)
    }

    /// Compresses a content; `None`, and nothing done, if it is not as it is described, does
    /// not match its record, or would not become smaller. A run that is killed leaves the plain file, the
    /// compressed one or both, and the next run finishes it.
    pub fn compress(
        &self,
        key: &SessionKey,
        file: &StoredFile,
        level: i32,
    ) -> Result<Option<Compressed>, ArchiveError> {
        // Before the session's lock: whoever makes a store holds that one's lock first.
        if file.name.generation == 0 && self.stat(key, &file.name)?.is_some() {
            self.raise_format()?;
        }
        let lock = SessionLock::wait(self, &key.id)?;
        let mut session = OpenSession::open(self, key.clone(), lock)?;
        let record = session.ledger.record(&file.name).cloned();
        let Some(record) = record.filter(|record| (record.bytes, record.blake3) == (file.bytes, file.blake3)) else {
            return Ok(None);
        };
        if !may_be_packed(&file.name)
            || self.stat(key, &file.name)?.is_none()
            || !is_settled(&session.ledger, &file.name, &record)?
        {
            return Ok(None);
        }
        // Whatever stands there is compared with what is to be its other form.
        let plain = self.open_file(key, &file.name)?;
        let path = self.path_of(key, &file.name);
        let is_exact = fs::stat_of(&plain, &path)?.st_size as u64 == record.bytes
            && fs::hash_of_prefix(&plain, record.bytes, &path)? == record.blake3;
        if !is_exact {
            return Ok(None);
        }
        let packed = match &record.packed {
            Some(packed) if is_whole(self, key, &file.name, &record)? => *packed,
            _ => match pack(&mut session, &file.name, &record, &plain, level)? {
                Some(packed) => packed,
                None => return Ok(None),
            },
        };
        session.begin_writing()?;
        // A run that was killed may have renamed it into place and no more.
        fs::sync_if_recent(&path_of(self, key, &file.name))?;
        if let Some(dir) = session.dir_of(&file.name)? {
            dir.remove(&file_name_of(key, &file.name))?;
        }
        session.finish();
        Ok(Some(Compressed { packed_bytes: packed.bytes }))
    }
}

/// Writes the compressed file beside the plain one and records it.
fn pack(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    record: &Record,
    plain: &File,
    level: i32,
) -> Result<Option<Packed>, ArchiveError> {
    session.archive.make_sure_of_room(record.bytes)?;
    let written = write_packed(session, name, record, plain, level);
    let packed = match written {
        Ok(packed) if packed.bytes < record.bytes => packed,
        other => {
            // What is wanted is not there; a leftover goes when the session is opened next.
            let _ = session.remove_temp();
            return other.map(|_| None);
        }
    };
    let (dir, packed_name) = (session.create_dir_of(name)?, packed_file_name(&session.key, name));
    // What was never recorded and holds anything else is not ours.
    let stands = dir.stat(&packed_name)?.is_some();
    if stands && record.packed.is_none() && !unpacks_to(session.archive, &session.key, name, record)? {
        session.remove_temp()?;
        let path = path_of(session.archive, &session.key, name);
        let what = "it does not hold what it would be replaced by, so it was not written here; move it away";
        return Err(damaged(&path, what.to_owned()));
    }
    let record = Record { packed: Some(packed), ..record.clone() };
    session.commit(&[Entry::Commit(name.clone(), Box::new(record))])?;
    if stands {
        dir.remove(&packed_name)?;
    }
    session.place_temp_as(&dir, &packed_name)?;
    Ok(Some(packed))
}

/// Whether nothing is known of the source that the newest content lacks. An older content has none.
fn is_settled(ledger: &Ledger, name: &StoredName, record: &Record) -> Result<bool, ArchiveError> {
    let Some(transcript) = ledger.source.as_deref().filter(|_| name.generation == 0) else { return Ok(true) };
    let Some(file) = transcripts::open_regular(transcript)? else { return Ok(true) };
    let identity = Identity::of(&fs::stat_of(&file, transcript)?);
    Ok(record.source == Some(identity) && record.bytes == identity.bytes)
}

/// Brings the newest content back to its plain file, for whoever is about to append to it: see the module.
/// Its record says that it is not compressed then; with the next commit the ledger does too.
pub(super) fn make_plain(
    session: &OpenSession<'_>,
    name: &StoredName,
    record: &mut Record,
) -> Result<(), ArchiveError> {
    if record.packed.is_none() {
        return Ok(());
    }
    settle(session, name, record)?;
    if session.archive.stat(&session.key, name)?.is_none() {
        session.archive.make_sure_of_room(record.bytes)?;
        if let Err(error) = write_plain(session, name, record) {
            // The error that matters is in hand; a leftover goes when the session is opened next.
            let _ = session.remove_temp();
            return Err(error);
        }
        session.place_temp(name)?;
    }
    remove(session, name)?;
    record.packed = None;
    Ok(())
}

/// Unpacks into the temporary file, syncs it and reads it back: it has the recorded bytes.
fn write_plain(session: &OpenSession<'_>, name: &StoredName, record: &Record) -> Result<(), ArchiveError> {
    let (from, path) = (path_of(session.archive, &session.key, name), session.temp_path());
    let packed = open_packed(session.archive, &session.key, name)?.ok_or_else(|| super::gone(&from))?;
    let temp = session.create_temp()?;
    unpack_into(&temp, &packed, &from, &path)?;
    fs::sync_data(&temp, &path)?;
    let again = session.open_temp()?.ok_or_else(|| super::gone(&path))?;
    let is_right = fs::stat_of(&again, &path)?.st_size as u64 == record.bytes
        && fs::hash_of_prefix(&again, record.bytes, &path)? == record.blake3;
    if is_right { Ok(()) } else { Err(damaged(&from, "it does not unpack to the recorded bytes".to_owned())) }
}

/// Where a killed run left both forms of a content, one goes: the compressed one if the plain one is
/// whole. Otherwise the damaged ones are set aside, so a plain one beside a whole compressed one too.
pub(super) fn settle(session: &OpenSession<'_>, name: &StoredName, record: &Record) -> Result<(), ArchiveError> {
    let (archive, key) = (session.archive, &session.key);
    let has_both = || Ok::<_, ArchiveError>(archive.stat(key, name)?.is_some() && stat(archive, key, name)?.is_some());
    if record.packed.is_none() || !has_both()? {
        return Ok(());
    }
    let path = archive.path_of(key, name);
    let is_plain_whole = || -> Result<bool, ArchiveError> {
        let plain = archive.open_file(key, name)?;
        Ok(fs::stat_of(&plain, &path)?.st_size as u64 >= record.bytes
            && fs::hash_of_prefix(&plain, record.bytes, &path)? == record.blake3)
    };
    if is_plain_whole()? || is_plain_whole()? {
        return remove(session, name);
    }
    let is_packed_whole = is_whole(archive, key, name, record)? || is_whole(archive, key, name, record)?;
    set_aside(session, name, if is_packed_whole { Form::Plain } else { Form::Packed })?;
    Ok(())
}

/// Which of a content's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Packed,
}

/// Unlinks the compressed file, where there is one; the plain one is on the disk by then.
fn remove(session: &OpenSession<'_>, name: &StoredName) -> Result<(), ArchiveError> {
    session.begin_writing()?;
    // A run that was killed may have renamed it into place and no more.
    fs::sync_if_recent(&session.archive.path_of(&session.key, name))?;
    if let Some(dir) = session.dir_of(name)? {
        dir.remove(&packed_file_name(&session.key, name))?;
    }
    Ok(())
}

/// Whether the content lies there in a compressed file alone, which is recorded.
pub(super) fn is_packed_alone(session: &OpenSession<'_>, name: &StoredName) -> Result<bool, ArchiveError> {
    let is_recorded = session.ledger.record(name).is_some_and(|record| record.packed.is_some());
    Ok(is_recorded
        && session.archive.stat(&session.key, name)?.is_none()
        && stat(session.archive, &session.key, name)?.is_some())
}

/// Whether the compressed file can be believed to hold what is recorded, without unpacking it where that
/// was done before. Only two readings say that it does not.
pub(super) fn is_intact(session: &OpenSession<'_>, name: &StoredName, record: &Record) -> Result<bool, ArchiveError> {
    let is_intact = || match &record.packed {
        Some(packed) if record.proof != Proof::Unproven => is_as_recorded(session.archive, &session.key, name, packed),
        _ => unpacks_to(session.archive, &session.key, name, record),
    };
    Ok(is_intact()? || is_intact()?)
}

/// Writes the temporary file, syncs it, reads it back and unpacks it: it gives the recorded bytes.
fn write_packed(
    session: &OpenSession<'_>,
    name: &StoredName,
    record: &Record,
    plain: &File,
    level: i32,
) -> Result<Packed, ArchiveError> {
    let path = session.temp_path();
    let temp = session.create_temp()?;
    let from = session.archive.path_of(&session.key, name);
    let packed = frames::write((plain, &from), record.bytes, level, (&temp, &path))?;
    fs::sync_data(&temp, &path)?;
    let again = session.open_temp()?.ok_or_else(|| super::gone(&path))?;
    match is_packed_file(&again, &packed, &path)? && gives(&again, &path, record)? {
        true => Ok(packed),
        false => Err(damaged(&path, "what was compressed does not give the recorded bytes".to_owned())),
    }
}

/// Whether a content's name is one that may be compressed.
pub(super) fn may_be_packed(name: &StoredName) -> bool {
    name.file == FileName::Transcript
}

/// The last component of the compressed file's path.
pub(super) fn packed_file_name(key: &SessionKey, name: &StoredName) -> OsString {
    let mut packed = file_name_of(key, name);
    packed.push(ENDING);
    packed
}

/// Where the compressed file lies, relative to the store's root.
pub(super) fn packed_relative_path(key: &SessionKey, name: &StoredName) -> PathBuf {
    relative_path(key, name).with_file_name(packed_file_name(key, name))
}

/// Where the compressed file lies.
pub(super) fn path_of(archive: &Archive, key: &SessionKey, name: &StoredName) -> PathBuf {
    archive.root().join(packed_relative_path(key, name))
}

/// What stands at the compressed file's path; `None` where nothing does.
pub(super) fn stat(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
) -> Result<Option<rustix::fs::Stat>, ArchiveError> {
    match archive.dir_of(key, name)? {
        Some(dir) if may_be_packed(name) => Ok(dir.stat(&packed_file_name(key, name))?),
        _ => Ok(None),
    }
}

/// Opens the compressed file as it stands; `None` where there is none.
pub(super) fn open_packed(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
) -> Result<Option<File>, ArchiveError> {
    match archive.dir_of(key, name)? {
        Some(dir) if may_be_packed(name) => Ok(dir.open_file(&packed_file_name(key, name))?),
        _ => Ok(None),
    }
}

/// The plain bytes of a compressed content, in a file without a name; in memory where the store's
/// disk is full or cannot be written: nothing is called damaged for want of room.
pub(super) fn unpacked(archive: &Archive, key: &SessionKey, name: &StoredName) -> Result<Option<File>, ArchiveError> {
    let Some(packed) = open_packed(archive, key, name)? else { return Ok(None) };
    let path = path_of(archive, key, name);
    let on_disk = fs::nameless_file(archive.root()).map_err(ArchiveError::from);
    let unpack = |plain: File| unpack_into(&plain, &packed, &path, &path).map(|()| plain);
    match (on_disk.and_then(unpack), crate::fs::platform::memory_file()) {
        (Err(ArchiveError::Durable(_)), Some(plain)) => unpack(plain).map(Some),
        (written, _) => written.map(Some),
    }
}

pub(super) fn unpack_into(plain: &File, packed: &File, from: &Path, to: &Path) -> Result<(), ArchiveError> {
    let write = |offset, bytes: &[u8]| Ok(fs::write_at(plain, offset, bytes, to)?);
    frames::unpack(packed, from, &mut { write })?;
    Ok(())
}

/// [`Archive::open_ranges`].
pub(super) fn open_ranges(archive: &Archive, key: &SessionKey, name: &StoredName) -> Result<Ranges, ArchiveError> {
    let path = archive.path_of(key, name);
    if let Some(plain) = archive.open_plain(key, name)? {
        return Ok(Ranges::plain(plain, path));
    }
    match open_packed(archive, key, name)? {
        Some(packed) => Ranges::packed(packed, path_of(archive, key, name)),
        // A writer may have brought it back between the two looks.
        None => match archive.open_plain(key, name)? {
            Some(plain) => Ok(Ranges::plain(plain, path)),
            None => Err(damaged(&path, "it is not there".to_owned())),
        },
    }
}

/// What is recorded of a compressed file as it stands, for a record that is made anew of the bytes
/// that hash to `blake3`. One beside the plain file is ours only if it holds the same.
pub(super) fn described(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    plain: (u64, Hash),
) -> Result<Option<Packed>, ArchiveError> {
    let Some(packed) = open_packed(archive, key, name)? else { return Ok(None) };
    let path = path_of(archive, key, name);
    if archive.stat(key, name)?.is_some() && !holds(&packed, &path, plain)? {
        return Ok(None);
    }
    let bytes = fs::stat_of(&packed, &path)?.st_size as u64;
    Ok(Some(Packed { bytes, blake3: fs::hash_of_prefix(&packed, bytes, &path)? }))
}

/// Whether the compressed file is byte for byte what was recorded of it.
pub(super) fn is_as_recorded(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    packed: &Packed,
) -> Result<bool, ArchiveError> {
    match open_packed(archive, key, name)? {
        Some(file) => is_packed_file(&file, packed, &path_of(archive, key, name)),
        None => Ok(false),
    }
}

/// [`is_as_recorded`], and its bytes unpacked are those of the record.
pub(super) fn is_whole(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    record: &Record,
) -> Result<bool, ArchiveError> {
    match &record.packed {
        Some(packed) if is_as_recorded(archive, key, name, packed)? => unpacks_to(archive, key, name, record),
        _ => Ok(false),
    }
}

/// Whether what stands at the compressed file's path unpacks to the bytes of the record.
fn unpacks_to(archive: &Archive, key: &SessionKey, name: &StoredName, record: &Record) -> Result<bool, ArchiveError> {
    match open_packed(archive, key, name)? {
        Some(packed) => gives(&packed, &path_of(archive, key, name), record),
        None => Ok(false),
    }
}

fn gives(packed: &File, path: &Path, record: &Record) -> Result<bool, ArchiveError> {
    holds(packed, path, (record.bytes, record.blake3))
}

/// Whether a file unpacks to so many bytes of that hash; not, if it cannot be unpacked.
fn holds(packed: &File, path: &Path, (bytes, blake3): (u64, Hash)) -> Result<bool, ArchiveError> {
    let mut hasher = blake3::Hasher::new();
    let mut hash: Box<Each<'_>> = Box::new(|_, bytes| {
        hasher.update(bytes);
        Ok(())
    });
    let unpacked = frames::unpack(packed, path, &mut *hash);
    drop(hash);
    match unpacked {
        Ok(count) => Ok(count == bytes && hasher.finalize() == blake3),
        Err(ArchiveError::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_packed_file(file: &File, packed: &Packed, path: &Path) -> Result<bool, ArchiveError> {
    Ok(fs::stat_of(file, path)?.st_size as u64 == packed.bytes
        && fs::hash_of_prefix(file, packed.bytes, path)? == packed.blake3)
}

fn damaged(path: &Path, what: String) -> ArchiveError {
    ArchiveError::Damaged { path: path.to_owned(), what }
}
