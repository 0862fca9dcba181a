//! A content under its name in a store, plain or compressed: in which form it lies there, and its bytes.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use super::frames::{self, Each, Ranges};
use super::ledger::{CompressedFile, Record};
use super::paths::{Form, content_file_name, content_path, may_be_compressed};
use super::store::Archive;
use super::types::{ArchiveError, SessionKey};
use crate::Hash;
use crate::claude::transcripts::Identity;
use crate::fs::{self, Dir, platform};
use crate::names::StoredName;

/// The forms in the order in which a reader looks for them. The plain one is looked for again: a writer
/// may bring it back between two looks.
const LOOKS: [Form; 3] = [Form::Plain, Form::Compressed, Form::Plain];

/// What is said of a content that [`Slot::is_one_with`] another file.
pub(super) const ONE_FILE: &str =
    "it is one file with the transcript or the other copy (hard links): what happens to that happens to it";

/// A place for a content. It says nothing of whether anything is recorded or stands there.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    pub(super) archive: &'a Archive,
    pub(super) key: &'a SessionKey,
    pub(super) name: &'a StoredName,
}

impl Archive {
    /// The place of a content of a session.
    pub fn slot<'a>(&'a self, key: &'a SessionKey, name: &'a StoredName) -> Slot<'a> {
        Slot { archive: self, key, name }
    }
}

impl Slot<'_> {
    /// Where the content lies while it is plain.
    pub fn path(&self) -> PathBuf {
        self.path_as(Form::Plain)
    }

    /// Where the content lies now, for people: the compressed file, where that alone is there.
    pub fn place(&self) -> PathBuf {
        // Whoever reads a store that cannot be looked at reports it.
        self.path_as(self.form().ok().flatten().unwrap_or(Form::Plain))
    }

    /// Opens the content for reading; never through a symlink, never a FIFO. Its bytes are the plain ones:
    /// a compressed content is unpacked into a file without a name. An error where nothing is there.
    pub fn open(&self) -> Result<File, ArchiveError> {
        match self.look()? {
            Some((Form::Plain, file)) => Ok(file),
            Some((Form::Compressed, file)) => self.unpacked(&file),
            None => Err(self.missing()),
        }
    }

    /// Opens the content for reading short ranges of it: what is compressed is not unpacked whole.
    pub fn ranges(&self) -> Result<Ranges, ArchiveError> {
        match self.look()? {
            Some((Form::Plain, file)) => Ok(Ranges::plain(file, self.path())),
            Some((Form::Compressed, file)) => Ranges::compressed(file, self.path_as(Form::Compressed)),
            None => Err(self.missing()),
        }
    }

    /// The form that a reader gets; `None` where nothing is there.
    pub(super) fn form(&self) -> Result<Option<Form>, ArchiveError> {
        for form in LOOKS {
            if self.stat(form)?.is_some() {
                return Ok(Some(form));
            }
        }
        Ok(None)
    }

    /// Where the file of one form lies.
    pub(super) fn path_as(&self, form: Form) -> PathBuf {
        self.archive.root().join(content_path(self.key, self.name, form))
    }

    /// The file name of one form.
    pub(super) fn file_name(&self, form: Form) -> OsString {
        content_file_name(self.key, self.name, form)
    }

    /// The folder, relative to the store.
    pub(super) fn folder(&self) -> PathBuf {
        content_path(self.key, self.name, Form::Plain).parent().unwrap_or(Path::new("")).to_owned()
    }

    /// The folder, held open; `None` where it does not exist.
    pub(super) fn dir(&self) -> Result<Option<Dir>, ArchiveError> {
        Ok(self.archive.root.open_beneath(&self.folder())?)
    }

    /// What stands at the path of one form.
    pub(super) fn stat(&self, form: Form) -> Result<Option<Stat>, ArchiveError> {
        match self.dir_for(form)? {
            Some(dir) => Ok(dir.stat(&self.file_name(form))?),
            None => Ok(None),
        }
    }

    /// Whether anything stands at the path of one form.
    pub(super) fn has(&self, form: Form) -> Result<bool, ArchiveError> {
        Ok(self.stat(form)?.is_some())
    }

    /// Opens the file of one form as it stands, for reading. Under a second name (a hard link, as tools that look for
    /// duplicates make them) it counts as ours where it is exactly what is recorded.
    pub(super) fn open_as(&self, form: Form) -> Result<Option<File>, ArchiveError> {
        match self.open_alone_as(form) {
            Err(ArchiveError::Durable(error)) if error.is_not_ours() => match self.proven_as(form)? {
                Some(file) => Ok(Some(file)),
                None => Err(error.into()),
            },
            opened => opened,
        }
    }

    /// [`Slot::open_as`] of a file that has this name alone.
    pub(super) fn open_alone_as(&self, form: Form) -> Result<Option<File>, ArchiveError> {
        match self.dir_for(form)? {
            Some(dir) => Ok(dir.open_own_file(&self.file_name(form))?),
            None => Ok(None),
        }
    }

    /// Which file a reader gets, if that has further names (hard links). They alone, as of a snapshot by `cp -al`, are no
    /// harm: what they name is not written in place.
    pub(super) fn shared(&self) -> Result<Option<(u64, u64)>, ArchiveError> {
        let Some(form) = self.form()? else { return Ok(None) };
        let stat = self.stat(form)?.filter(fs::has_other_names);
        Ok(stat.map(|stat| Identity::of(&stat).file()))
    }

    /// Whether it is one file with what it was copied from, or with the same content of another store: then the two are
    /// one copy, and who writes to one writes to both.
    pub(super) fn is_one_with(&self, record: &Record, other: Option<&Archive>) -> Result<bool, ArchiveError> {
        let Some(shared) = self.shared()? else { return Ok(false) };
        let in_other = |other: &Archive| other.slot(self.key, self.name).shared();
        Ok(record.source.is_some_and(|source| source.file() == shared)
            || other.map(in_other).transpose()?.flatten() == Some(shared))
    }

    /// The file of one form, if it is exactly what is recorded.
    fn proven_as(&self, form: Form) -> Result<Option<File>, ArchiveError> {
        let ledger = self.archive.ledger(self.key)?;
        let Some(record) = ledger.record(self.name) else { return Ok(None) };
        let (bytes, blake3) = match (form, record.compressed) {
            (Form::Plain, _) => (record.bytes, record.blake3),
            (Form::Compressed, Some(file)) => (file.bytes, file.blake3),
            (Form::Compressed, None) => return Ok(None),
        };
        let Some(dir) = self.dir_for(form)? else { return Ok(None) };
        match dir.open_own_file_under_any_names(&self.file_name(form)) {
            Ok(Some(file)) if is_file_of(&file, bytes, &blake3, &self.path_as(form))? => Ok(Some(file)),
            Err(error) if !error.is_not_ours() => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Unpacks the compressed file to `plain`, which is called `to` in messages.
    pub(super) fn unpack_into(&self, compressed: &File, plain: &File, to: &Path) -> Result<(), ArchiveError> {
        // What is recorded bounds what is unpacked; of what is not, the file itself.
        let known = self.archive.ledger(self.key)?.record(self.name).map(|record| record.bytes);
        let write = |offset, bytes: &[u8]| Ok(fs::write_at(plain, offset, bytes, to)?);
        frames::unpack(compressed, &self.path_as(Form::Compressed), known, &mut { write })
    }

    /// Whether what a reader gets holds exactly the recorded bytes.
    pub(super) fn is_exact(&self, record: &Record) -> Result<bool, ArchiveError> {
        Ok(self.form()?.is_some() && is_file_of(&self.open()?, record.bytes, &record.blake3, &self.path())?)
    }

    /// Whether what a reader gets begins with the recorded bytes; more may follow.
    pub(super) fn begins_with(&self, record: &Record) -> Result<bool, ArchiveError> {
        let (file, path) = (self.open()?, self.path());
        let has_all = fs::stat_of(&file, &path)?.st_size as u64 >= record.bytes;
        Ok(has_all && fs::hash_of_prefix(&file, record.bytes, &path)? == record.blake3)
    }

    /// Whether the compressed file is byte for byte what was recorded of it.
    pub(super) fn is_as_recorded(&self, compressed: &CompressedFile) -> Result<bool, ArchiveError> {
        match self.open_as(Form::Compressed)? {
            Some(file) => is_file_of(&file, compressed.bytes, &compressed.blake3, &self.path_as(Form::Compressed)),
            None => Ok(false),
        }
    }

    /// Whether what stands at the compressed file's path unpacks to the bytes of the record.
    pub(super) fn unpacks_to(&self, record: &Record) -> Result<bool, ArchiveError> {
        match self.open_as(Form::Compressed)? {
            Some(file) => unpacks_to(&file, &self.path_as(Form::Compressed), Some(record.bytes), &record.blake3),
            None => Ok(false),
        }
    }

    /// Whether the compressed file is what was recorded of it, and unpacks to the bytes of the record.
    pub(super) fn is_compressed_whole(&self, record: &Record) -> Result<bool, ArchiveError> {
        match &record.compressed {
            Some(compressed) if self.is_as_recorded(compressed)? => self.unpacks_to(record),
            _ => Ok(false),
        }
    }

    /// Whether the compressed file can be believed to hold what is recorded, without unpacking it where that
    /// was done before. Only two readings say that it does not.
    pub(super) fn is_compressed_intact(&self, record: &Record) -> Result<bool, ArchiveError> {
        in_either_reading(|| match &record.compressed {
            Some(compressed) if record.is_proven() => self.is_as_recorded(compressed),
            _ => self.unpacks_to(record),
        })
    }

    /// Whether the content lies there in its compressed form alone, which is recorded.
    pub(super) fn is_compressed_alone(&self, record: Option<&Record>) -> Result<bool, ArchiveError> {
        let is_recorded = record.is_some_and(|record| record.compressed.is_some());
        Ok(is_recorded && self.form()? == Some(Form::Compressed))
    }

    /// What is to be recorded of the compressed file as it stands, in a record that is made anew of these
    /// plain bytes. One beside the plain file is ours only if it holds the same.
    pub(super) fn described(&self, blake3: &Hash) -> Result<Option<CompressedFile>, ArchiveError> {
        let Some(file) = self.open_as(Form::Compressed)? else { return Ok(None) };
        let path = self.path_as(Form::Compressed);
        if self.has(Form::Plain)? && !unpacks_to(&file, &path, None, blake3)? {
            return Ok(None);
        }
        let bytes = fs::stat_of(&file, &path)?.st_size as u64;
        Ok(Some(CompressedFile { bytes, blake3: fs::hash_of_prefix(&file, bytes, &path)? }))
    }

    /// Whether the content is there compressed alone and cannot be unpacked, or what stands there is no content of ours:
    /// then no record can be made of it.
    pub(super) fn is_unreadable(&self, error: &ArchiveError) -> bool {
        match error {
            ArchiveError::Damaged { .. } => self.has(Form::Plain).is_ok_and(|is_there| !is_there),
            ArchiveError::Durable(error) => error.is_not_ours(),
            _ => false,
        }
    }

    fn look(&self) -> Result<Option<(Form, File)>, ArchiveError> {
        for form in LOOKS {
            if let Some(file) = self.open_as(form)? {
                return Ok(Some((form, file)));
            }
        }
        Ok(None)
    }

    fn dir_for(&self, form: Form) -> Result<Option<Dir>, ArchiveError> {
        if form == Form::Compressed && !may_be_compressed(self.name) { Ok(None) } else { self.dir() }
    }

    /// The plain bytes, in memory where the store's disk is full or cannot be written: nothing is called
    /// damaged for want of room.
    fn unpacked(&self, compressed: &File) -> Result<File, ArchiveError> {
        let path = self.path_as(Form::Compressed);
        let on_disk = fs::nameless_file(self.archive.root()).map_err(ArchiveError::from);
        let unpack = |plain: File| self.unpack_into(compressed, &plain, &path).map(|()| plain);
        match (on_disk.and_then(unpack), platform::memory_file()) {
            (Err(ArchiveError::Durable(_)), Some(plain)) => unpack(plain),
            (written, _) => written,
        }
    }

    fn missing(&self) -> ArchiveError {
        ArchiveError::damaged(self.path(), "it is not there")
    }
}

/// Whether one of two readings says so: a content is called damaged only if both do.
pub(super) fn in_either_reading(reading: impl Fn() -> Result<bool, ArchiveError>) -> Result<bool, ArchiveError> {
    Ok(reading()? || reading()?)
}

/// Whether a file holds so many bytes of that hash, and no more.
pub(super) fn is_file_of(file: &File, bytes: u64, blake3: &Hash, path: &Path) -> Result<bool, ArchiveError> {
    Ok(fs::stat_of(file, path)?.st_size as u64 == bytes && fs::hash_of_prefix(file, bytes, path)? == *blake3)
}

/// Whether a compressed file unpacks to bytes of that hash; not, if it cannot be unpacked.
pub(super) fn unpacks_to(
    compressed: &File,
    path: &Path,
    known: Option<u64>,
    blake3: &Hash,
) -> Result<bool, ArchiveError> {
    let mut hasher = blake3::Hasher::new();
    let mut hash: Box<Each<'_>> = Box::new(|_, bytes| {
        hasher.update(bytes);
        Ok(())
    });
    let unpacked = frames::unpack(compressed, path, known, &mut *hash);
    drop(hash);
    match unpacked {
        Ok(()) => Ok(hasher.finalize() == *blake3),
        Err(ArchiveError::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn one_reading_that_says_well_is_enough_and_two_that_say_damaged_are_needed() {
        for (readings, expected, asked) in
            [([true, false], true, 1), ([false, true], true, 2), ([false, false], false, 2)]
        {
            let next = Cell::new(0);
            let reading = || Ok(readings[next.replace(next.get() + 1)]);
            assert_eq!((in_either_reading(reading).unwrap(), next.get()), (expected, asked), "{readings:?}");
        }
    }
}
