//! Contents of transcripts, compressed on the user's command: `{ID}.jsonl.zst`, `{ID}.gen-0001.jsonl.zst`.
//!
//! Every reader opens a content through [`Slot::open`] and gets its plain bytes: where only
//! the compressed file is there, it is unpacked into a file without a name, which goes with its
//! descriptor. A reader of short ranges opens it through [`Slot::ranges`]. All that is said of a
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

use super::frames;
use super::ledger::{CompressedFile, Entry, Ledger, Record, StoredFile};
use super::paths::{Form, may_be_compressed};
use super::quarantine::quarantine;
use super::session::OpenSession;
#[cfg(doc)]
use super::slot::Slot;
use super::slot::{in_either_reading, is_file_of, unpacks_to};
use super::store::Archive;
use super::types::{ArchiveError, SessionKey};
use crate::claude::transcripts::{self, Identity};
use crate::fs;
use crate::names::StoredName;

/// The levels of compression: fast, small.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

impl Archive {
    /// The contents of a session's transcript that are not compressed, or of which a killed run
    /// left the plain file too; the newest one only if its source is gone or is as it was copied.
    /// Reads the ledger alone.
    pub fn compressible(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        let ledger = self.ledger(key)?;
        let mut found = Vec::new();
        for (name, record) in ledger.records() {
            if record.bytes > 0 && is_compressible(self, key, &ledger, name, record)? {
                found.push(StoredFile::of(name, record, key));
            }
        }
        Ok(found)
    }

    /// Compresses a content and gives the length of the compressed file; `None`, and nothing done, if it is not as it is described, does
    /// not match its record, or would not become smaller. A run that is killed leaves the plain file, the
    /// compressed one or both, and the next run finishes it.
    pub fn compress(&self, key: &SessionKey, file: &StoredFile, level: i32) -> Result<Option<u64>, ArchiveError> {
        let name = &file.name;
        // Before the session's lock: whoever makes a store holds that one's lock first.
        if name.generation == 0 && self.slot(key, name).has(Form::Plain)? {
            self.raise_format()?;
        }
        let mut session = self.open_session(key)?;
        let record = session.ledger.record(name).cloned();
        let Some(record) = record.filter(|record| (record.bytes, record.blake3) == (file.bytes, file.blake3)) else {
            return Ok(None);
        };
        // Whatever stands there is compared with what is to be its other form.
        let slot = self.slot(key, name);
        if !is_compressible(self, key, &session.ledger, name, &record)? || !slot.is_exact(&record)? {
            return Ok(None);
        }
        let compressed = match record.compressed {
            Some(compressed) if slot.is_compressed_whole(&record)? => {
                session.sync_content(name)?;
                Some(compressed)
            }
            _ => write_beside(&mut session, name, &record, level)?,
        };
        let Some(compressed) = compressed else { return Ok(None) };
        session.begin_writing()?;
        if let Some(dir) = slot.dir()? {
            dir.remove(&slot.file_name(Form::Plain))?;
        }
        session.finish();
        Ok(Some(compressed.bytes))
    }
}

/// Whether the content is plain, and nothing is known of the source that it lacks. An older one has no source.
fn is_compressible(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    name: &StoredName,
    record: &Record,
) -> Result<bool, ArchiveError> {
    if !may_be_compressed(name) || !archive.slot(key, name).has(Form::Plain)? {
        return Ok(false);
    }
    let Some(transcript) = ledger.source.as_deref().filter(|_| name.generation == 0) else { return Ok(true) };
    let Some(file) = transcripts::open_transcript(transcript)? else { return Ok(true) };
    let identity = Identity::of(&fs::stat_of(&file, transcript)?);
    Ok(record.source == Some(identity) && record.bytes == identity.bytes)
}

/// Writes the compressed file beside the plain one and records it; `None`, and nothing done, if it is not
/// smaller.
fn write_beside(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    record: &Record,
    level: i32,
) -> Result<Option<CompressedFile>, ArchiveError> {
    session.archive.make_sure_of_room(record.bytes)?;
    let compressed = match write_compressed(session, name, record, level) {
        Ok(compressed) if compressed.bytes < record.bytes => compressed,
        other => {
            // What is wanted is not there; a leftover goes when the session is opened next.
            let _ = session.remove_temp();
            return other.map(|_| None);
        }
    };
    let (dir, file_name) = (session.create_dir_of(name)?, session.slot(name).file_name(Form::Compressed));
    // What was never recorded and holds anything else is not ours.
    let stands = dir.stat(&file_name)?.is_some();
    if stands && record.compressed.is_none() && !session.slot(name).unpacks_to(record)? {
        session.remove_temp()?;
        let what = "it does not hold what it would be replaced by, so it was not written here; move it away";
        return Err(ArchiveError::damaged(session.slot(name).path_as(Form::Compressed), what));
    }
    let record = Record { compressed: Some(compressed), ..record.clone() };
    session.commit(&[Entry::Commit(name.clone(), Box::new(record))])?;
    if stands {
        dir.remove(&file_name)?;
    }
    session.place_temp_as(&dir, &file_name)?;
    Ok(Some(compressed))
}

/// Writes the temporary file, syncs it, reads it back and unpacks it: it gives the recorded bytes.
fn write_compressed(
    session: &OpenSession<'_>,
    name: &StoredName,
    record: &Record,
    level: i32,
) -> Result<CompressedFile, ArchiveError> {
    let (slot, path) = (session.slot(name), session.temp_path());
    let plain = slot.open()?;
    let temp = session.create_temp()?;
    let compressed = frames::write((&plain, &slot.path()), record.bytes, level, (&temp, &path))?;
    fs::sync_data(&temp, &path)?;
    let again = session.open_temp()?;
    let is_right = is_file_of(&again, compressed.bytes, &compressed.blake3, &path)?
        && unpacks_to(&again, &path, Some(record.bytes), &record.blake3)?;
    let wrong = || ArchiveError::damaged(path, "what was compressed does not give the recorded bytes");
    is_right.then_some(compressed).ok_or_else(wrong)
}

/// Brings the newest content back to its plain file, for an append: see the module. Its record says that it
/// is not compressed then; with the next commit the ledger does too.
pub(super) fn make_plain(
    session: &OpenSession<'_>,
    name: &StoredName,
    record: &mut Record,
) -> Result<(), ArchiveError> {
    if record.compressed.is_none() {
        return Ok(());
    }
    resolve_forms(session, name, record)?;
    if !session.slot(name).has(Form::Plain)? {
        session.archive.make_sure_of_room(record.bytes)?;
        if let Err(error) = write_plain(session, name, record) {
            // The error that matters is in hand; a leftover goes when the session is opened next.
            let _ = session.remove_temp();
            return Err(error);
        }
        session.place_temp(name)?;
        remove_compressed(session, name)?;
    }
    record.compressed = None;
    Ok(())
}

/// Unpacks into the temporary file, syncs it and reads it back: it has the recorded bytes.
fn write_plain(session: &OpenSession<'_>, name: &StoredName, record: &Record) -> Result<(), ArchiveError> {
    let (slot, path) = (session.slot(name), session.temp_path());
    let from = slot.path_as(Form::Compressed);
    let compressed = slot.open_as(Form::Compressed)?;
    let compressed = compressed.ok_or_else(|| ArchiveError::damaged(&from, "it is not there"))?;
    let temp = session.create_temp()?;
    slot.unpack_into(&compressed, &temp, &path)?;
    fs::sync_data(&temp, &path)?;
    let is_right = is_file_of(&session.open_temp()?, record.bytes, &record.blake3, &path)?;
    is_right.then_some(()).ok_or_else(|| ArchiveError::damaged(from, "it does not unpack to the recorded bytes"))
}

/// Where a killed run left both forms of a content, one goes: the compressed one if the plain one is
/// whole. Otherwise the damaged ones go to quarantine, so a plain one beside a whole compressed one too.
pub(super) fn resolve_forms(session: &OpenSession<'_>, name: &StoredName, record: &Record) -> Result<(), ArchiveError> {
    let slot = session.slot(name);
    if record.compressed.is_none() || !slot.has(Form::Plain)? || !slot.has(Form::Compressed)? {
        return Ok(());
    }
    if in_either_reading(|| slot.begins_with(record))? {
        session.sync_content(name)?;
        return remove_compressed(session, name);
    }
    let is_compressed_whole = in_either_reading(|| slot.is_compressed_whole(record))?;
    quarantine(session, name, if is_compressed_whole { Form::Plain } else { Form::Compressed })?;
    Ok(())
}

/// Unlinks the compressed file, where there is one; the plain one is on the disk by then.
fn remove_compressed(session: &OpenSession<'_>, name: &StoredName) -> Result<(), ArchiveError> {
    let slot = session.slot(name);
    session.begin_writing()?;
    if let Some(dir) = slot.dir()? {
        dir.remove(&slot.file_name(Form::Compressed))?;
    }
    Ok(())
}
