//! Older contents of transcripts, compressed on the user's command: `{ID}.gen-0001.jsonl.zst`.
//!
//! Every reader opens a content through [`Archive::open_file`] and gets its plain bytes: where only
//! the compressed file is there, it is unpacked into a file without a name, which goes with its
//! descriptor. All that is said of a content (length, hash, windows, receipts) is said of the plain
//! bytes; the ledger keeps length and hash of the compressed file beside them.
//!
//! The newest content is never compressed: it may grow, its text is searched, and a hook that copies
//! it must not unpack anything. Side files are not either: their names are not ours to lengthen.
//!
//! The plain file is unlinked last, when the compressed one was synced, read back, unpacked and found
//! equal to the recorded hash, and is recorded. At each instant one of the two is whole.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::ledger::{Entry, Packed, Record};
use super::session::{OpenSession, SessionLock, file_name_of, relative_path};
use super::{Archive, ArchiveError, SessionKey, StoredFile};
use crate::durable::{self, DurableError};
use crate::names::{FileName, StoredName};

/// What a compressed file's name ends in, behind the plain one's.
pub(super) const ENDING: &str = ".zst";
/// The levels of compression: fast, small.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

/// A content that was compressed.
#[derive(Debug, Clone)]
pub struct Compressed {
    /// The content.
    pub file: StoredFile,
    /// Length of the compressed file.
    pub packed_bytes: u64,
}

impl Archive {
    /// The older contents of a session's transcript that are not compressed, or of which a killed run
    /// left the plain file too. Reads the ledger alone.
    pub fn compressible(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        let ledger = self.ledger(key)?;
        let mut found = Vec::new();
        for (name, record) in ledger.records().filter(|(name, _)| may_be_packed(name)) {
            if record.bytes > 0 && self.stat(key, name)?.is_some() {
                found.push(StoredFile::of(name, record, key));
            }
        }
        Ok(found)
    }

    /// Compresses an older content; `None`, and nothing done, if it is not as it is described, does
    /// not match its record, or would not become smaller. A run that is killed leaves the plain file, the
    /// compressed one or both, and the next run finishes it.
    pub fn compress(
        &self,
        key: &SessionKey,
        file: &StoredFile,
        level: i32,
    ) -> Result<Option<Compressed>, ArchiveError> {
        let lock = SessionLock::wait(self, &key.id)?;
        let mut session = OpenSession::open(self, key.clone(), lock)?;
        let record = session.ledger.record(&file.name).cloned();
        let Some(record) = record.filter(|record| (record.bytes, record.blake3) == (file.bytes, file.blake3)) else {
            return Ok(None);
        };
        if !may_be_packed(&file.name) || self.stat(key, &file.name)?.is_none() {
            return Ok(None);
        }
        // Whatever stands there is compared with what is to be its other form.
        let plain = self.open_file(key, &file.name)?;
        let path = self.path_of(key, &file.name);
        let is_exact = durable::stat_of(&plain, &path)?.st_size as u64 == record.bytes
            && durable::hash_of_prefix(&plain, record.bytes, &path)? == record.blake3;
        if !is_exact {
            return Ok(None);
        }
        let packed = match &record.packed {
            Some(packed) if is_whole(self, key, &file.name, &record, packed)? => *packed,
            _ => match pack(&mut session, &file.name, &record, &plain, level)? {
                Some(packed) => packed,
                None => return Ok(None),
            },
        };
        session.begin_writing()?;
        // A run that was killed may have renamed it into place and no more.
        durable::sync_if_recent(&path_of(self, key, &file.name))?;
        if let Some(dir) = session.dir_of(&file.name)? {
            dir.remove(&file_name_of(key, &file.name))?;
        }
        session.finish();
        Ok(Some(Compressed { file: file.clone(), packed_bytes: packed.bytes }))
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
    // A run that was killed before its commit may have left one, which holds the same. What holds anything else
    // and was never recorded is not ours.
    if dir.stat(&packed_name)?.is_some() {
        if record.packed.is_none() && !unpacks_to(session.archive, &session.key, name, record)? {
            session.remove_temp()?;
            let path = path_of(session.archive, &session.key, name);
            let what = "it does not hold what it would be replaced by, so it was not written here; move it away";
            return Err(damaged(&path, what.to_owned()));
        }
        dir.remove(&packed_name)?;
    }
    session.place_temp_as(&dir, &packed_name)?;
    let record = Record { packed: Some(packed), ..record.clone() };
    session.commit(&[Entry::Commit(name.clone(), Box::new(record))])?;
    Ok(Some(packed))
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
    let failed = |source: io::Error| DurableError { operation: "compress to", path: path.clone(), source };
    let sink = Sink { file: &temp, path: &path, bytes: 0, hasher: blake3::Hasher::new() };
    let mut encoder = zstd::stream::write::Encoder::new(sink, level).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    encoder.set_pledged_src_size(Some(record.bytes)).map_err(failed)?;
    let mut buffer = vec![0; durable::COPY_BYTES];
    let mut offset = 0;
    while offset < record.bytes {
        let want = buffer.len().min((record.bytes - offset) as usize);
        durable::read_exact_at(plain, offset, &mut buffer[..want], &session.archive.path_of(&session.key, name))?;
        encoder.write_all(&buffer[..want]).map_err(failed)?;
        offset += want as u64;
    }
    let sink = encoder.finish().map_err(failed)?;
    let packed = Packed { bytes: sink.bytes, blake3: sink.hasher.finalize() };
    durable::sync_data(&temp, &path)?;
    let again = session.open_temp()?.ok_or_else(|| super::gone(&path))?;
    let is_right = is_packed_file(&again, &packed, &path)? && {
        let mut hasher = blake3::Hasher::new();
        let unpacked = unpack_to(again, &path, &mut |_, bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        unpacked == record.bytes && hasher.finalize() == record.blake3
    };
    match is_right {
        true => Ok(packed),
        false => Err(damaged(&path, "what was compressed does not give the recorded bytes".to_owned())),
    }
}

/// Counts and hashes what is written.
struct Sink<'a> {
    file: &'a File,
    path: &'a Path,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        durable::write_at(self.file, self.bytes, bytes, self.path).map_err(|error| error.source)?;
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a content's name is one that may be compressed.
pub(super) fn may_be_packed(name: &StoredName) -> bool {
    name.generation > 0 && name.file == FileName::Transcript
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
    let on_disk = durable::nameless_file(archive.root()).map_err(ArchiveError::from);
    let written = on_disk.and_then(|plain| unpack_into(plain, packed, &path));
    let (error, plain) = match (written, crate::platform::memory_file()) {
        (Err(error @ ArchiveError::Durable(_)), Some(plain)) => (error, plain),
        (written, _) => return written.map(Some),
    };
    let packed = open_packed(archive, key, name)?.ok_or(error)?;
    unpack_into(plain, packed, &path).map(Some)
}

pub(super) fn unpack_into(plain: File, packed: File, path: &Path) -> Result<File, ArchiveError> {
    let write = |offset, bytes: &[u8]| Ok(durable::write_at(&plain, offset, bytes, path)?);
    unpack_to(packed, path, &mut { write })?;
    Ok(plain)
}

/// What is recorded of a compressed file as it stands, for a record that is made anew.
pub(super) fn described(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
) -> Result<Option<Packed>, ArchiveError> {
    let Some(packed) = open_packed(archive, key, name)? else { return Ok(None) };
    let path = path_of(archive, key, name);
    let bytes = durable::stat_of(&packed, &path)?.st_size as u64;
    Ok(Some(Packed { bytes, blake3: durable::hash_of_prefix(&packed, bytes, &path)? }))
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
fn is_whole(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    record: &Record,
    packed: &Packed,
) -> Result<bool, ArchiveError> {
    if !is_as_recorded(archive, key, name, packed)? {
        return Ok(false);
    }
    unpacks_to(archive, key, name, record)
}

/// Whether what stands at the compressed file's path unpacks to the bytes of the record.
fn unpacks_to(archive: &Archive, key: &SessionKey, name: &StoredName, record: &Record) -> Result<bool, ArchiveError> {
    let Some(file) = open_packed(archive, key, name)? else { return Ok(false) };
    let mut hasher = blake3::Hasher::new();
    let unpacked = unpack_to(file, &path_of(archive, key, name), &mut |_, bytes| {
        hasher.update(bytes);
        Ok(())
    });
    Ok(unpacked.is_ok_and(|bytes| bytes == record.bytes) && hasher.finalize() == record.blake3)
}

fn is_packed_file(file: &File, packed: &Packed, path: &Path) -> Result<bool, ArchiveError> {
    Ok(durable::stat_of(file, path)?.st_size as u64 == packed.bytes
        && durable::hash_of_prefix(file, packed.bytes, path)? == packed.blake3)
}

/// Is given unpacked bytes and their offset.
type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), ArchiveError> + 'a;

/// Unpacks one frame, to whose checksum its bytes must agree and after which nothing may follow;
/// gives the number of its bytes.
fn unpack_to(packed: File, path: &Path, each: &mut Each<'_>) -> Result<u64, ArchiveError> {
    let broken = |error: io::Error| damaged(path, format!("it cannot be unpacked: {error}"));
    let reader = BufReader::with_capacity(durable::COPY_BYTES, packed);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(broken)?.single_frame();
    let mut buffer = vec![0; durable::COPY_BYTES];
    let mut offset = 0;
    loop {
        let came = decoder.read(&mut buffer).map_err(broken)?;
        if came == 0 {
            break;
        }
        each(offset, &buffer[..came])?;
        offset += came as u64;
    }
    match decoder.finish().fill_buf().map_err(broken)?.is_empty() {
        true => Ok(offset),
        false => Err(damaged(path, "more follows behind its end".to_owned())),
    }
}

fn damaged(path: &Path, what: String) -> ArchiveError {
    ArchiveError::Damaged { path: path.to_owned(), what }
}
