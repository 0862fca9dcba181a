//! The only module of the workspace that may sync, rename, truncate or unlink.
//!
//! The order that everything here keeps: write to a temporary file in a place of our own, check
//! the length, sync the file, read it back through a new descriptor and compare, rename it into
//! place, sync the directory; only then say that it is done. A sync that failed is never tried
//! again on the same bytes: the kernel may have dropped them and would call the next one a
//! success. The caller starts again from its source.
//!
//! Directories are held open as [`Dir`] and names are looked up in them one component at a time
//! without following symlinks, so that nobody can redirect a write by planting a link.
#![allow(clippy::disallowed_methods)]

pub mod platform;
pub mod signals;
pub(crate) mod syscall;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::fs::syscall::uninterrupted;
use platform::mode as mode_bits;

/// Mode of every directory that is made, whatever the umask.
pub(crate) const DIR_MODE: u32 = 0o700;
/// Mode of every file that is made, whatever the umask, unless the caller names another.
pub const FILE_MODE: u32 = 0o600;
/// Size of the buffer through which files are copied and read back.
pub(crate) const COPY_BYTES: usize = 256 * 1024;

/// A store's deepest folders lie a few levels below it; its own entry lies in its parent.
const ANCESTORS_MAX: usize = 6;
/// What was written longer ago than this has long been written back (Linux: after 30 s at most,
/// directories after 5 s), whether or not it was ever synced.
const RECENT: Duration = Duration::from_secs(120);

/// How often a temporary file is opened anew because another writer had just used it up.
const TEMP_TRIES_MAX: u32 = 1000;

/// A durable operation failed. Nothing that was there before is lost; the operation is to be
/// started again from its source, never from the point of failure.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}", path = path.display())]
pub struct DurableError {
    /// What was being done, as a verb: `write`, `sync`, `rename`, …
    pub(crate) operation: &'static str,
    /// To which file or directory.
    pub(crate) path: PathBuf,
    /// The system's word.
    pub source: io::Error,
}

impl DurableError {
    fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> DurableError {
        DurableError { operation, path: path.to_owned(), source: source.into() }
    }

    /// Whether the disk or a quota is full: the one failure a user can mend at once.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

type Result<T> = std::result::Result<T, DurableError>;

/// A directory held open, and the path it was opened by (for messages).
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a store's root or another directory that the user named; a symlink to one will do.
    /// `None` where there is nothing.
    pub fn open(path: &Path) -> Result<Option<Dir>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match uninterrupted(|| rustix::fs::open(path, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Dir { fd, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(DurableError::new("open directory", path, error)),
        }
    }

    /// Makes the directory and its missing parents (0700, each entry synced) and opens it.
    pub fn create(path: &Path) -> Result<Dir> {
        if let Some(dir) = Dir::open(path)? {
            return Ok(dir);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(DurableError::new("create directory", path, Errno::NOENT));
        };
        let parent = Dir::create(parent)?;
        parent.make_dir(name)?;
        Dir::open(path)?.ok_or_else(|| DurableError::new("create directory", path, Errno::NOENT))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory below this one, following no symlink; `None` where there is nothing.
    pub fn open_beneath(&self, rel: &Path) -> Result<Option<Dir>> {
        let mut below: Option<Dir> = None;
        for name in components(rel) {
            match below.as_ref().unwrap_or(self).child(name)? {
                Some(child) => below = Some(child),
                None => return Ok(None),
            }
        }
        below.map_or_else(|| self.reopen(), Ok).map(Some)
    }

    /// [`Dir::open_beneath`], making what is missing (0700, each entry synced).
    pub fn create_beneath(&self, rel: &Path) -> Result<Dir> {
        let mut below: Option<Dir> = None;
        for name in components(rel) {
            below = Some(below.as_ref().unwrap_or(self).create_child(name)?.0);
        }
        below.map_or_else(|| self.reopen(), Ok)
    }

    /// Opens the directory `name` in this one, following no symlink, and makes it where it is missing
    /// (0700, its entry synced); whether it was made.
    pub(crate) fn create_child(&self, name: &OsStr) -> Result<(Dir, bool)> {
        if let Some(child) = self.child(name)? {
            return Ok((child, false));
        }
        self.make_dir(name)?;
        let child = self.child(name)?;
        let child = child.ok_or_else(|| DurableError::new("create directory", &self.path.join(name), Errno::NOENT))?;
        Ok((child, true))
    }

    /// [`replace_file`] in this directory, of which nothing but its entries is synced.
    pub(crate) fn replace_file(&self, name: &OsStr, content: &[u8]) -> Result<()> {
        self.replace_file_unsynced(name, content)?;
        self.sync()
    }

    /// [`Dir::replace_file`] without its last step: the bytes are safe, under the old name or the new one. One
    /// [`Dir::sync`] after several of them makes the new names safe, before anything is said of them.
    pub fn replace_file_unsynced(&self, name: &OsStr, content: &[u8]) -> Result<()> {
        let expected = blake3::hash(content);
        place_in(
            self,
            name,
            FILE_MODE,
            |temp| self.rename_unsynced(temp, self, name),
            |file, temp| {
                write_temp(&mut &content[..], file, temp, content.len() as u64)?;
                Ok(((), content.len() as u64, expected))
            },
        )
        .map(|_| ())
    }

    /// Syncs the bytes of a file that was modified lately; whether it was, and so its name is to be synced too.
    pub fn sync_bytes_if_recent(&self, name: &OsStr) -> Result<bool> {
        let Some(file) = self.open_file(name)? else { return Ok(false) };
        let path = self.path.join(name);
        let is_recent = is_recent(&stat_of(&file, &path)?);
        if is_recent {
            sync_data(&file, &path)?;
        }
        Ok(is_recent)
    }

    /// Opens the regular file `name` for reading: no symlink followed, never blocking.
    /// `None` where there is nothing; something else of that name is an error.
    pub fn open_file(&self, name: &OsStr) -> Result<Option<File>> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// [`Dir::open_file`] for reading and writing.
    pub(crate) fn open_file_for_writing(&self, name: &OsStr) -> Result<Option<File>> {
        self.open_regular(name, OFlags::RDWR)
    }

    /// What `name` is, without following it; `None` where there is nothing.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Stat>> {
        match uninterrupted(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(DurableError::new("look up", &self.path.join(name), error)),
        }
    }

    /// The names in it with their types (not following symlinks), sorted; `.` and `..` left out.
    pub fn entries(&self) -> Result<Vec<(OsString, FileType)>> {
        let list = || {
            let mut entries = Vec::new();
            self.list(&mut |name, kind| entries.push((name.to_owned(), kind)))?;
            entries.sort_by(|a: &(OsString, FileType), b| a.0.cmp(&b.0));
            Ok(entries)
        };
        uninterrupted(list).map_err(|error| DurableError::new("list directory", &self.path, error))
    }

    /// Calls `each` with what [`Dir::entries`] gives, in any order; after an interruption with some of it once more.
    pub(crate) fn each_entry(&self, each: &mut dyn FnMut(&OsStr, FileType)) -> Result<()> {
        uninterrupted(|| self.list(each)).map_err(|error| DurableError::new("list directory", &self.path, error))
    }

    /// Makes the temporary file `name` (0600), empty; what an interrupted run left there goes.
    pub(crate) fn create_temp(&self, name: &OsStr) -> Result<File> {
        self.open_temp_exclusively(name, FILE_MODE)
    }

    /// Renames `name` to `to_name` in `to`, where nothing may stand, and syncs both directories.
    pub(crate) fn rename_new(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        self.rename_where_nothing_stands(name, to, to_name)?;
        self.sync_with(to)
    }

    /// [`Dir::rename_new`] of a temporary file: `to` is synced, and the old name may come back.
    pub(crate) fn place_new(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        self.rename_where_nothing_stands(name, to, to_name)?;
        to.sync()
    }

    fn rename_where_nothing_stands(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        let target = to.path.join(to_name);
        let renamed =
            uninterrupted(|| rustix::fs::renameat_with(&self.fd, name, &to.fd, to_name, RenameFlags::NOREPLACE));
        match renamed {
            Ok(()) => Ok(()),
            // The file system cannot refuse by itself: look first. Writers hold the session's lock.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if to.stat(to_name)?.is_some() {
                    return Err(DurableError::new("rename to", &target, Errno::EXIST));
                }
                uninterrupted(|| rustix::fs::renameat(&self.fd, name, &to.fd, to_name))
                    .map_err(|error| DurableError::new("rename to", &target, error))
            }
            Err(error) => Err(DurableError::new("rename to", &target, error)),
        }
    }

    /// Renames `name` to `to_name` in `to`, replacing what stands there, and syncs both directories.
    pub(crate) fn rename_over(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        self.rename_unsynced(name, to, to_name)?;
        self.sync_with(to)
    }

    fn rename_unsynced(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        uninterrupted(|| rustix::fs::renameat(&self.fd, name, &to.fd, to_name))
            .map_err(|error| DurableError::new("rename to", &to.path.join(to_name), error))
    }

    /// Unlinks the file `name` and syncs; true if it was there.
    pub fn remove(&self, name: &OsStr) -> Result<bool> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes the empty directory `name` and syncs; true if it was there.
    pub(crate) fn remove_dir(&self, name: &OsStr) -> Result<bool> {
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    /// [`Dir::remove_dir`]; one that is not empty stays, and that is no failure.
    pub(crate) fn remove_dir_if_empty(&self, name: &OsStr) -> Result<bool> {
        match self.remove_dir(name) {
            Err(error) if error.source.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            removed => removed,
        }
    }

    /// Syncs each of the directories above this one whose entries changed lately: what a killed run
    /// made there and did not sync would otherwise never be. Those that may not be opened are left
    /// out, because nobody without the right to could have made an entry of ours.
    pub(crate) fn sync_recent_ancestors(&self) -> Result<()> {
        for path in self.path.ancestors().skip(1).take(ANCESTORS_MAX) {
            let dir = match Dir::open(path) {
                Ok(Some(dir)) => dir,
                Ok(None) => return Ok(()),
                Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => continue,
                Err(error) => return Err(error),
            };
            dir.sync_if_recent()?;
        }
        Ok(())
    }

    /// Syncs the directory's entries if they changed lately.
    pub(crate) fn sync_if_recent(&self) -> Result<()> {
        let stat = uninterrupted(|| rustix::fs::fstat(&self.fd))
            .map_err(|error| DurableError::new("look up", &self.path, error))?;
        if is_recent(&stat) { self.sync() } else { Ok(()) }
    }

    /// Syncs the directory's entries.
    pub fn sync(&self) -> Result<()> {
        #[cfg(test)]
        counted::count(&self.path);
        uninterrupted(|| sync_entries(&self.fd)).map_err(|error| DurableError::new("sync directory", &self.path, error))
    }

    fn reopen(&self) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = uninterrupted(|| rustix::fs::openat(&self.fd, c".", flags, Mode::empty()))
            .map_err(|error| DurableError::new("open directory", &self.path, error))?;
        Ok(Dir { fd, path: self.path.clone() })
    }

    fn list(&self, each: &mut dyn FnMut(&OsStr, FileType)) -> rustix::io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error),
                },
                known => known,
            };
            each(name, kind);
        }
        Ok(())
    }

    fn child(&self, name: &OsStr) -> Result<Option<Dir>> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match uninterrupted(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Dir { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let what = io::Error::other("it is a file or a symlink where a directory belongs; move it away");
                Err(DurableError::new("open directory", &path, what))
            }
            Err(error) => Err(DurableError::new("open directory", &path, error)),
        }
    }

    fn make_dir(&self, name: &OsStr) -> Result<()> {
        let fail = |error: Errno| DurableError::new("create directory", &self.path.join(name), error);
        match uninterrupted(|| rustix::fs::mkdirat(&self.fd, name, mode_bits(DIR_MODE))) {
            // Another process was faster; it may not have synced the entry yet, so this one does.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let stat = uninterrupted(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)).map_err(fail)?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir && platform::mode_of(&stat) & 0o700 != 0o700 {
            uninterrupted(|| rustix::fs::chmodat(&self.fd, name, mode_bits(DIR_MODE), AtFlags::empty()))
                .map_err(fail)?;
        }
        self.sync()
    }

    fn open_regular(&self, name: &OsStr, access: OFlags) -> Result<Option<File>> {
        let path = self.path.join(name);
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match uninterrupted(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(DurableError::new("open", &path, not_regular("a symlink"))),
            Err(Errno::ISDIR) => return Err(DurableError::new("open", &path, not_regular("a directory"))),
            Err(error) => return Err(DurableError::new("open", &path, error)),
        };
        let stat = stat_of(&file, &path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(DurableError::new("open", &path, not_regular("not a regular file")));
        }
        Ok(Some(file))
    }

    /// The empty temporary file `name`, locked: of several writers of one name each gets its turn
    /// with a file of its own, and what a killed one left behind is used up by the next.
    fn open_temp_exclusively(&self, name: &OsStr, mode: u32) -> Result<File> {
        let path = self.path.join(name);
        let fail = |error: Errno| DurableError::new("create", &path, error);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |flags| uninterrupted(|| rustix::fs::openat(&self.fd, name, flags, mode_bits(mode))).map(File::from);
        for _ in 0..TEMP_TRIES_MAX {
            let (file, is_new) = match open(flags | OFlags::CREATE | OFlags::EXCL) {
                Ok(file) => (file, true),
                Err(Errno::EXIST) => match open(flags) {
                    Ok(file) => (file, false),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(fail(error)),
                },
                Err(error) => return Err(fail(error)),
            };
            match self.take_temp(name, &file, mode) {
                Ok(true) => return Ok(file),
                // The one who held the lock before has renamed or removed the file in the meantime.
                Ok(false) => {}
                Err(error) => {
                    if is_new {
                        // The error that matters is in hand; a leftover is used up by the next writer.
                        let _ = self.remove(name);
                    }
                    return Err(error);
                }
            }
        }
        Err(fail(Errno::AGAIN))
    }

    /// Locks the temporary file and empties it; false if it is not the one of that name any more.
    fn take_temp(&self, name: &OsStr, file: &File, mode: u32) -> Result<bool> {
        let path = self.path.join(name);
        lock_exclusively(file, &path)?;
        let (ours, named) = (stat_of(file, &path)?, self.stat(name)?);
        if named.is_none_or(|named| (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)) {
            return Ok(false);
        }
        if ours.st_size != 0 {
            uninterrupted(|| rustix::fs::ftruncate(file, 0))
                .map_err(|error| DurableError::new("truncate", &path, error))?;
        }
        if platform::mode_of(&ours) != mode {
            uninterrupted(|| rustix::fs::fchmod(file, mode_bits(mode)))
                .map_err(|error| DurableError::new("set the mode of", &path, error))?;
        }
        Ok(true)
    }

    fn unlink(&self, name: &OsStr, flags: AtFlags) -> Result<bool> {
        match uninterrupted(|| rustix::fs::unlinkat(&self.fd, name, flags)) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(DurableError::new("remove", &self.path.join(name), error)),
        }
    }

    fn sync_with(&self, to: &Dir) -> Result<()> {
        to.sync()?;
        if self.path == to.path { Ok(()) } else { self.sync() }
    }
}

/// A file's status by its descriptor; `path` is for the message.
pub fn stat_of(file: &File, path: &Path) -> Result<Stat> {
    uninterrupted(|| rustix::fs::fstat(file)).map_err(|error| DurableError::new("look up", path, error))
}

/// Whether a file was modified so lately, or by its clock in the future, that it may not be on the
/// disk although it can be read.
pub(crate) fn is_recent(stat: &Stat) -> bool {
    // The type of the field differs between platforms.
    #[allow(clippy::unnecessary_cast)]
    let modified = UNIX_EPOCH + Duration::from_secs((stat.st_mtime as i64).max(0) as u64);
    SystemTime::now().duration_since(modified).map_or(true, |age| age < RECENT)
}

/// Reads at `offset` until `buffer` is full or the file ends; returns how much came.
pub fn read_at(file: &File, offset: u64, buffer: &mut [u8], path: &Path) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let came = uninterrupted(|| rustix::io::pread(file, &mut buffer[filled..], offset + filled as u64))
            .map_err(|error| DurableError::new("read", path, error))?;
        if came == 0 {
            break;
        }
        filled += came;
    }
    Ok(filled)
}

/// [`read_at`], of the whole of `buffer`: a file that ends before that is an error.
pub(crate) fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8], path: &Path) -> Result<()> {
    if read_at(file, offset, buffer, path)? < buffer.len() {
        return Err(DurableError::new("read", path, io::ErrorKind::UnexpectedEof));
    }
    Ok(())
}

/// The one call that differs between platforms and does not stand in `platform.rs`, because it syncs.
#[cfg(not(target_vendor = "apple"))]
fn sync_entries(directory: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::fsync(directory)
}

/// A plain fsync leaves the entries in the drive's cache here. A file system that has nothing beyond it,
/// such as one of a network, says so and is asked for that.
#[cfg(target_vendor = "apple")]
fn sync_entries(directory: &OwnedFd) -> rustix::io::Result<()> {
    match rustix::fs::fcntl_fullfsync(directory) {
        Err(Errno::NOTSUP | Errno::INVAL | Errno::NOTTY) => rustix::fs::fsync(directory),
        result => result,
    }
}

/// Writes all of `bytes` at `offset`, however short the single writes are.
pub fn write_at(file: &File, offset: u64, bytes: &[u8], path: &Path) -> Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let wrote = uninterrupted(|| rustix::io::pwrite(file, &bytes[written..], offset + written as u64))
            .map_err(|error| DurableError::new("write", path, error))?;
        if wrote == 0 {
            return Err(DurableError::new("write", path, io::ErrorKind::WriteZero));
        }
        written += wrote;
    }
    Ok(())
}

/// Syncs a file's bytes and length. After an error the bytes must be written again from their source.
pub fn sync_data(file: &File, path: &Path) -> Result<()> {
    #[cfg(test)]
    counted::count(path);
    // std's call is F_FULLFSYNC on macOS, where a plain fsync leaves the bytes in the drive's cache.
    for _ in 0..100 {
        match file.sync_data() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(|error| DurableError::new("sync", path, error)),
        }
    }
    Err(DurableError::new("sync", path, Errno::INTR))
}

/// Cuts a file to `bytes` and syncs that.
pub fn truncate(file: &File, bytes: u64, path: &Path) -> Result<()> {
    uninterrupted(|| rustix::fs::ftruncate(file, bytes)).map_err(|error| DurableError::new("truncate", path, error))?;
    sync_data(file, path)
}

/// Makes `path` hold exactly `content`, mode 0600: temporary file in the same directory, write,
/// sync, read back and compare, rename over, sync the directory. Missing directories are made
/// (0700). When it returns an error, `path` holds what it held before.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    replace_file_with_mode(path, content, FILE_MODE)
}

/// [`replace_file`] with another mode (settings.json keeps the user's, binaries are 0755).
pub fn replace_file_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let expected = blake3::hash(content);
    place(&mut &content[..], path, content.len() as u64, &expected, mode, Existing::Replaced)
}

/// Copies `bytes` bytes from `source` to `to`, where nothing may stand yet, mode 0600, modified
/// now. Nothing appears at `to` unless what was written, read back, hashes to `blake3`.
pub fn copy_file_new(source: &mut impl Read, to: &Path, bytes: u64, blake3: &blake3::Hash) -> Result<()> {
    place(source, to, bytes, blake3, FILE_MODE, Existing::Refused)
}

/// [`copy_file_new`], replacing what stands at `to`.
pub fn copy_file_replace(source: &mut impl Read, to: &Path, bytes: u64, blake3: &blake3::Hash) -> Result<()> {
    place(source, to, bytes, blake3, FILE_MODE, Existing::Replaced)
}

/// Syncs a file that was modified lately, and the way to it: a killed run, or one whose
/// sync failed, may have put it there and no more. An absent file needs nothing.
pub fn sync_if_recent(path: &Path) -> Result<()> {
    let (Some(dir), name) = parent_of(path)? else { return Ok(()) };
    if dir.sync_bytes_if_recent(name)? {
        dir.sync()?;
        dir.sync_recent_ancestors()?;
    }
    Ok(())
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
        let mut writer = HashingWriter { file, path: temp, bytes: 0, hasher: blake3::Hasher::new() };
        let given = write(&mut writer)?;
        sync_data(file, temp)?;
        Ok((given, writer.bytes, writer.hasher.finalize()))
    })
}

/// A file without a name on the disk of `dir`, readable and writable, that is gone with its last
/// descriptor. For bytes that are read again at once; nothing of it is durable.
pub(crate) fn nameless_file(dir: &Path) -> Result<File> {
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

/// Makes a directory and its missing parents, mode 0700 whatever the umask, each entry synced.
/// A symlink to a directory is accepted as the last component or above.
pub fn create_dir_all(path: &Path) -> Result<()> {
    Dir::create(path).map(|_| ())
}

/// Unlinks a file and syncs its directory; true if it was there.
pub fn remove_file(path: &Path) -> Result<bool> {
    match parent_of(path)? {
        (Some(dir), name) => dir.remove(name),
        (None, _) => Ok(false),
    }
}

/// Removes an empty directory and syncs its parent; true if it was there.
pub fn remove_dir(path: &Path) -> Result<bool> {
    match parent_of(path)? {
        (Some(dir), name) => dir.remove_dir(name),
        (None, _) => Ok(false),
    }
}

/// Renames within one file system, refusing to replace anything, and syncs both directories.
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    let absent = |path: &Path| DurableError::new("rename", path, Errno::NOENT);
    let (from_dir, from_name) = parent_of(from)?;
    let (to_dir, to_name) = parent_of(to)?;
    let (from_dir, to_dir) = (from_dir.ok_or_else(|| absent(from))?, to_dir.ok_or_else(|| absent(to))?);
    from_dir.rename_new(from_name, &to_dir, to_name)
}

/// Renames over whatever file stands at `to`, and syncs both directories. For logs only:
/// nothing acknowledged is ever replaced.
pub(crate) fn rename_over(from: &Path, to: &Path) -> Result<()> {
    let absent = |path: &Path| DurableError::new("rename", path, Errno::NOENT);
    let (from_dir, from_name) = parent_of(from)?;
    let (to_dir, to_name) = parent_of(to)?;
    let (from_dir, to_dir) = (from_dir.ok_or_else(|| absent(from))?, to_dir.ok_or_else(|| absent(to))?);
    from_dir.rename_over(from_name, &to_dir, to_name)
}

/// An advisory lock that dies with its holder. The lock file stays: removing it would let two
/// processes hold a lock on two files of one name.
///
/// Its length is the *clean mark*. One byte says that the last holder finished: all that it
/// wrote was synced and read back. Any other length says nothing, and whatever was written lately
/// must be synced before it is believed. A holder takes the mark away before its first write and
/// sets it when all has succeeded, so one that is killed or fails leaves a lock that is not clean.
///
/// The mark itself is never synced, and need not be. While the machine runs, everybody sees it
/// through one page cache, which outlives a kill. After a loss of power it may be an old one, set
/// before writes that came later; but what can be seen then was read from the disk, so it needs no
/// sync, and that is all that a mark is ever believed about: what was cut off is looked for, finished or
/// undone whatever it says. Nor does it speak of what others make: only of what is written under this lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Length of the file of a clean [`Lock`].
const CLEAN_BYTES: u64 = 1;

impl Lock {
    /// Waits for the lock. The lock file is made (0600) and never removed.
    pub fn wait(path: &Path) -> Result<Lock> {
        Lock::taken(lock_file(path)?, path.to_owned())
    }

    /// [`Lock::wait`] for the lock `name` in a directory.
    pub(crate) fn wait_in(dir: &Dir, name: &OsStr) -> Result<Lock> {
        let path = dir.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = uninterrupted(|| rustix::fs::openat(&dir.fd, name, flags, platform::mode(FILE_MODE)));
        let file = opened.map_err(|error| DurableError::new("open lock", &path, error))?;
        Lock::taken(file.into(), path)
    }

    fn taken(file: File, path: PathBuf) -> Result<Lock> {
        lock_exclusively(&file, &path)?;
        Ok(Lock { file, path })
    }

    /// Whether the last holder finished.
    pub(crate) fn is_clean(&self) -> Result<bool> {
        Ok(stat_of(&self.file, &self.path)?.st_size as u64 == CLEAN_BYTES)
    }

    /// [`Lock::is_clean`] of the lock `name` in `dir`, for one who only reads. It holds for what was
    /// read before this was asked: a writer had taken the mark away before anything could be seen of it.
    pub(crate) fn is_clean_at(dir: &Dir, name: &OsStr) -> Result<bool> {
        Ok(dir.stat(name)?.is_some_and(|stat| stat.st_size as u64 == CLEAN_BYTES))
    }

    /// Before the first write: what follows may not be synced.
    pub(crate) fn mark_unknown(&self) -> Result<()> {
        self.set_mark(0)
    }

    /// After the last write has been synced and read back.
    pub(crate) fn mark_clean(&self) -> Result<()> {
        self.set_mark(CLEAN_BYTES)
    }

    fn set_mark(&self, bytes: u64) -> Result<()> {
        uninterrupted(|| rustix::fs::ftruncate(&self.file, bytes))
            .map_err(|error| DurableError::new("mark", &self.path, error))
    }

    /// Takes the lock if it is free.
    pub fn try_now(path: &Path) -> Result<Option<Lock>> {
        let file = lock_file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { file, path: path.to_owned() })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(DurableError::new("lock", path, error)),
        }
    }
}

/// What becomes of a file that stands at the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the write is an error.
    Refused,
    /// It is replaced.
    Replaced,
}

/// Writes to a temporary file and hashes what it was given.
struct HashingWriter<'a> {
    file: &'a File,
    path: &'a Path,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl io::Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_at(self.file, self.bytes, bytes, self.path).map_err(|error| error.source)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn place(
    source: &mut impl Read,
    to: &Path,
    bytes: u64,
    blake3: &blake3::Hash,
    mode: u32,
    existing: Existing,
) -> Result<()> {
    place_with(to, mode, existing, |file, temp| {
        write_temp(source, file, temp, bytes)?;
        Ok(((), bytes, *blake3))
    })
    .map(|_| ())
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
    dir.sync_recent_ancestors()?;
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
    let mut temp = OsString::from(".");
    temp.push(name);
    temp.push(".tmp");
    let file = dir.open_temp_exclusively(&temp, mode)?;
    let placed = fill(&file, &dir.path.join(&temp)).and_then(|(given, bytes, blake3)| {
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
    let path = dir.path.join(name);
    let file = dir.open_file(name)?.ok_or_else(|| DurableError::new("read back", &path, Errno::NOENT))?;
    let length = stat_of(&file, &path)?.st_size as u64;
    if length != bytes || hash_of_prefix(&file, bytes, &path)? != *expected {
        return Err(DurableError::new("read back", &path, io::Error::other("the bytes differ from what was written")));
    }
    Ok(())
}

/// Plain BLAKE3 of the first `bytes` bytes of a file; an error if it is shorter.
pub fn hash_of_prefix(file: &File, bytes: u64, path: &Path) -> Result<blake3::Hash> {
    hash_of_prefix_with(file, bytes, path, &|_| {})
}

/// [`hash_of_prefix`]; `progress` is told the bytes read so far after each [`COPY_BYTES`].
pub(crate) fn hash_of_prefix_with(
    file: &File,
    bytes: u64,
    path: &Path,
    progress: &dyn Fn(u64),
) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let want = buffer.len().min((bytes - offset) as usize);
        let came = read_at(file, offset, &mut buffer[..want], path)?;
        if came < want {
            return Err(DurableError::new("read", path, io::ErrorKind::UnexpectedEof));
        }
        hasher.update(&buffer[..want]);
        offset += want as u64;
        progress(offset);
    }
    Ok(hasher.finalize())
}

fn lock_exclusively(file: &File, path: &Path) -> Result<()> {
    uninterrupted(|| rustix::fs::flock(file, FlockOperation::LockExclusive))
        .map_err(|error| DurableError::new("lock", path, error))
}

fn lock_file(path: &Path) -> Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                create_dir_all(parent)?;
            }
            options.open(path).map_err(|error| DurableError::new("open lock", path, error))
        }
        result => result.map_err(|error| DurableError::new("open lock", path, error)),
    }
}

fn parent_of(path: &Path) -> Result<(Option<Dir>, &OsStr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(DurableError::new("use", path, Errno::INVAL));
    };
    Ok((Dir::open(parent)?, name))
}

fn components(rel: &Path) -> impl Iterator<Item = &OsStr> {
    rel.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

fn not_regular(what: &str) -> io::Error {
    io::Error::other(format!("{what} where a regular file belongs; move it away"))
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What was synced by this thread, for tests that count it.
#[cfg(test)]
pub(crate) mod counted {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    thread_local! {
        static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn count(path: &Path) {
        SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
    }

    /// What was synced since this was last asked, in order.
    pub(crate) fn take() -> Vec<PathBuf> {
        SYNCED.take()
    }
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
    fn a_copy_with_the_wrong_hash_never_appears() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x");
        let wrong = blake3::hash(b"other");
        assert!(copy_file_new(&mut &b"bytes"[..], &to, 5, &wrong).is_err());
        assert!(copy_file_new(&mut &b"short"[..], &to, 9, &wrong).is_err());
        assert!(names(dir.path()).is_empty());
        copy_file_new(&mut &b"bytes"[..], &to, 5, &blake3::hash(b"bytes")).unwrap();
        let refused = copy_file_new(&mut &b"other"[..], &to, 5, &wrong).unwrap_err();
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

    #[test]
    fn renaming_refuses_to_replace() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        replace_file(&a, b"a").unwrap();
        replace_file(&b, b"b").unwrap();
        assert!(rename_new(&a, &b).is_err());
        assert_eq!(std::fs::read(&b).unwrap(), b"b");
        rename_new(&a, &dir.path().join("c")).unwrap();
        assert_eq!(names(dir.path()), ["b", "c"]);
        assert!(remove_file(&b).unwrap());
        assert!(!remove_file(&b).unwrap());
    }

    #[test]
    fn no_symlink_is_followed_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("file")).unwrap();
        let root = Dir::open(dir.path()).unwrap().unwrap();
        assert!(root.open_beneath(Path::new("link")).is_err());
        assert!(root.create_beneath(Path::new("link/below")).is_err());
        assert!(root.open_file(OsStr::new("file")).is_err());
        assert!(names(outside.path()).is_empty());
    }

    #[test]
    fn a_lock_is_exclusive_and_dies_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/lock");
        let held = Lock::wait(&path).unwrap();
        assert!(Lock::try_now(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_now(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_is_clean_only_after_its_holder_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let (path, opened) = (dir.path().join("lock"), Dir::open(dir.path()).unwrap().unwrap());
        let is_clean = || {
            let clean = Lock::wait(&path).unwrap().is_clean().unwrap();
            assert_eq!(Lock::is_clean_at(&opened, OsStr::new("lock")).unwrap(), clean);
            clean
        };
        assert!(!Lock::is_clean_at(&opened, OsStr::new("lock")).unwrap());
        assert!(!is_clean());
        Lock::wait(&path).unwrap().mark_clean().unwrap();
        assert!(is_clean());
        Lock::wait(&path).unwrap().mark_unknown().unwrap();
        assert!(!is_clean());
        for other in ["", "xy", "x, and more"] {
            std::fs::write(&path, other).unwrap();
            assert!(!is_clean(), "{other}");
        }
    }
}
