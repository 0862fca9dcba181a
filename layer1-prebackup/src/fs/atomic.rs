//! Files that appear whole or not at all: the order of a durable write.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::dir::{Dir, hidden};
use super::error::{DurableError, Result};
use super::file::{COPY_BYTES, FILE_MODE, hash_of_prefix, stat_of, sync_data, write_at};
use super::platform;

impl Dir {
    /// [`replace_file`] in this directory, of which nothing but its entries is synced.
    pub(crate) fn replace_file(&self, name: &OsStr, content: &[u8]) -> Result<()> {
        self.replace_file_unsynced(name, content)?;
        self.sync()
    }

    /// [`Dir::replace_file`] without its last step: the bytes are safe, under the old name or the new one. One
    /// [`Dir::sync`] after several of them makes the new names safe, before anything is said of them.
    pub fn replace_file_unsynced(&self, name: &OsStr, content: &[u8]) -> Result<()> {
        let (mut source, bytes, blake3) = (content, content.len() as u64, blake3::hash(content));
        let is_none = |stat: Stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile;
        // A file under further names loses this one to ours, and no more.
        if self.stat(name)?.is_some_and(is_none) {
            self.move_aside(name, FileType::RegularFile)?;
        }
        let rename = |temp: &OsStr| self.rename_unsynced(temp, self, name);
        place_in(self, name, FILE_MODE, rename, copied(&mut source, bytes, blake3)).map(|_| ())
    }
}

/// Makes `path` hold exactly `content`, mode 0600: temporary file in the same directory, write,
/// sync, read back and compare, rename over, sync the directory. Missing directories are made
/// (0700). When it returns an error, `path` holds what it held before.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    replace_file_with_mode(path, content, FILE_MODE)
}

/// [`replace_file`] with another mode (settings.json keeps the user's, binaries are 0755).
pub fn replace_file_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let (mut source, bytes, blake3) = (content, content.len() as u64, blake3::hash(content));
    place_with(path, mode, Existing::Replaced, copied(&mut source, bytes, blake3)).map(|_| ())
}

/// Copies `bytes` bytes from `source` to `to`, mode 0600, modified now. Nothing appears at `to` unless what was
/// written, read back, hashes to `blake3`.
pub fn copy_file(
    source: &mut impl Read,
    to: &Path,
    bytes: u64,
    blake3: &blake3::Hash,
    existing: Existing,
) -> Result<()> {
    place_with(to, FILE_MODE, existing, copied(source, bytes, *blake3)).map(|_| ())
}

/// How the temporary file of a write ends; it begins with a dot.
const TEMP_END: &str = ".tmp";

/// Whether a file of this name is one that is being written, or what a killed write left.
pub(crate) fn is_temp(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(TEMP_END.as_bytes())
}

/// Makes `path` hold what `write` writes, mode 0600, in memory that does not grow with it; gives
/// what `write` gave, the length and the plain BLAKE3. Nothing appears at `path` unless `write`
/// succeeded and what was written was synced and read back; a failure leaves what stood there.
pub fn write_file<T, E: From<DurableError>>(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut dyn io::Write) -> std::result::Result<T, E>,
) -> std::result::Result<(T, u64, blake3::Hash), E> {
    place_with(path, FILE_MODE, existing, |file, temp| {
        let mut writer = HashingWriter::new(file, temp);
        let given = write(&mut writer)?;
        sync_data(file, temp)?;
        let (bytes, blake3) = writer.written();
        Ok((given, bytes, blake3))
    })
}

/// A file without a name on the disk of `dir`, readable and writable, that is gone with its last
/// descriptor. For bytes that are read again at once; nothing of it is durable.
pub fn nameless_file(dir: &Path) -> Result<File> {
    let failed = |error| DurableError::new("make a file in", dir, error);
    if let Some(opened) = platform::unlinked_file(dir, FILE_MODE) {
        return opened.map_err(failed);
    }
    let name = format!(".unpacked.{}.{:?}", std::process::id(), std::thread::current().id());
    let folder = Dir::open(dir)?.ok_or_else(|| failed(Errno::NOENT))?;
    let file = folder.create_temp(OsStr::new(&name))?;
    folder.remove(OsStr::new(&name))?;
    Ok(file)
}

/// What becomes of a file that stands at the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the write is an error.
    Refused,
    /// It is replaced.
    Replaced,
}

/// Writes to a file from its beginning on, counts and hashes.
pub(crate) struct HashingWriter<'a> {
    file: &'a File,
    path: &'a Path,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl<'a> HashingWriter<'a> {
    pub(crate) fn new(file: &'a File, path: &'a Path) -> HashingWriter<'a> {
        HashingWriter { file, path, bytes: 0, hasher: blake3::Hasher::new() }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        write_at(self.file, self.bytes, bytes, self.path)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Length and plain BLAKE3 of all that was written.
    pub(crate) fn written(&self) -> (u64, blake3::Hash) {
        (self.bytes, self.hasher.finalize())
    }
}

impl io::Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map_err(|error| error.source)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fills a temporary file with what `source` gives.
fn copied(
    source: &mut impl Read,
    bytes: u64,
    blake3: blake3::Hash,
) -> impl FnOnce(&File, &Path) -> Result<((), u64, blake3::Hash)> {
    move |file, temp| {
        write_temp(source, file, temp, bytes)?;
        Ok(((), bytes, blake3))
    }
}

/// The order of a durable write around `fill`, which writes and syncs the temporary file and says
/// what must be read back from it.
fn place_with<T, E: From<DurableError>>(
    to: &Path,
    mode: u32,
    existing: Existing,
    fill: impl FnOnce(&File, &Path) -> std::result::Result<(T, u64, blake3::Hash), E>,
) -> std::result::Result<(T, u64, blake3::Hash), E> {
    let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(DurableError::new("write", to, Errno::ISDIR).into());
    };
    let dir = Dir::create(parent)?;
    if existing == Existing::Refused && dir.stat(name)?.is_some() {
        return Err(DurableError::new("write", to, Errno::EXIST).into());
    }
    let rename = |temp: &OsStr| match existing {
        Existing::Refused => dir.rename_new(temp, &dir, name),
        Existing::Replaced => dir.rename_over(temp, &dir, name),
    };
    place_in(&dir, name, mode, rename, fill)
}

/// [`place_with`] in a directory whose own name is safe; `rename` puts the temporary file in its place.
fn place_in<T, E: From<DurableError>>(
    dir: &Dir,
    name: &OsStr,
    mode: u32,
    rename: impl FnOnce(&OsStr) -> Result<()>,
    fill: impl FnOnce(&File, &Path) -> std::result::Result<(T, u64, blake3::Hash), E>,
) -> std::result::Result<(T, u64, blake3::Hash), E> {
    let temp = hidden(name, TEMP_END);
    let file = dir.open_temp_exclusively(&temp, mode)?;
    let placed = fill(&file, &dir.path().join(&temp)).and_then(|(given, bytes, blake3)| {
        read_back(dir, &temp, bytes, &blake3)?;
        rename(&temp)?;
        Ok((given, bytes, blake3))
    });
    if placed.is_err() {
        // The error that matters is already in hand; the next writer of this name uses up a leftover.
        let _ = dir.remove(&temp);
    }
    placed
}

fn write_temp(source: &mut impl Read, file: &File, path: &Path, bytes: u64) -> Result<()> {
    let mut buffer = vec![0; COPY_BYTES.min(bytes as usize).max(1)];
    let mut offset = 0;
    while offset < bytes {
        let want = buffer.len().min((bytes - offset) as usize);
        source.read_exact(&mut buffer[..want]).map_err(|error| DurableError::new("read the source of", path, error))?;
        write_at(file, offset, &buffer[..want], path)?;
        offset += want as u64;
    }
    sync_data(file, path)
}

fn read_back(dir: &Dir, name: &OsStr, bytes: u64, expected: &blake3::Hash) -> Result<()> {
    let path = dir.path().join(name);
    let file = dir.open_file(name)?.ok_or_else(|| DurableError::new("read back", &path, Errno::NOENT))?;
    let length = stat_of(&file, &path)?.st_size as u64;
    if length != bytes || hash_of_prefix(&file, bytes, &path)? != *expected {
        return Err(DurableError::new("read back", &path, io::Error::other("the bytes differ from what was written")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replacing_makes_directories_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c.json");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(names(&dir.path().join("a/b")), ["c.json"]);
    }

    #[test]
    fn a_name_as_long_as_it_may_be_is_written_and_its_leftover_used_up() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a".repeat(255), "ü".repeat(127), "b".repeat(250), "c".repeat(251)] {
            let path = dir.path().join(&name);
            let temp = dir.path().join(hidden(OsStr::new(&name), TEMP_END));
            assert!(is_temp(temp.file_name().unwrap()), "{}", temp.display());
            std::fs::write(&temp, "what a killed run left").unwrap();
            replace_file(&path, b"one").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"one");
            assert_eq!(names(dir.path()), [name]);
            assert!(super::super::remove_file(&path).unwrap());
        }
        assert_eq!(hidden(OsStr::new("x.json"), TEMP_END), ".x.json.tmp");
    }

    #[test]
    fn a_copy_with_the_wrong_hash_never_appears() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x");
        let wrong = blake3::hash(b"other");
        assert!(copy_file(&mut &b"bytes"[..], &to, 5, &wrong, Existing::Refused).is_err());
        assert!(copy_file(&mut &b"short"[..], &to, 9, &wrong, Existing::Refused).is_err());
        assert!(names(dir.path()).is_empty());
        copy_file(&mut &b"bytes"[..], &to, 5, &blake3::hash(b"bytes"), Existing::Refused).unwrap();
        let refused = copy_file(&mut &b"other"[..], &to, 5, &wrong, Existing::Refused).unwrap_err();
        assert_eq!(refused.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&to).unwrap(), b"bytes");
    }

    #[test]
    fn a_streamed_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x");
        let fill = |text: &'static str| {
            move |writer: &mut dyn io::Write| {
                writer.write_all(b"streamed ").unwrap();
                writer.write_all(text.as_bytes()).unwrap();
                Ok::<_, DurableError>(7)
            }
        };
        let broken = |writer: &mut dyn io::Write| -> Result<()> {
            writer.write_all(b"half").unwrap();
            Err(DurableError::new("test", Path::new("x"), Errno::IO))
        };
        assert!(write_file(&to, Existing::Refused, broken).is_err());
        assert!(names(dir.path()).is_empty());
        let (given, bytes, hash) = write_file(&to, Existing::Refused, fill("once")).unwrap();
        assert_eq!((given, bytes, hash), (7, 13, blake3::hash(b"streamed once")));
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
        let refused = write_file(&to, Existing::Refused, fill("again")).unwrap_err();
        assert_eq!(refused.source.kind(), io::ErrorKind::AlreadyExists);
        assert!(write_file(&to, Existing::Replaced, broken).is_err());
        assert_eq!(std::fs::read(&to).unwrap(), b"streamed once");
        write_file(&to, Existing::Replaced, fill("twice")).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"streamed twice");
        assert_eq!(names(dir.path()), ["x"]);
    }
}
