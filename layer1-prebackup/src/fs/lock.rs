//! Locks between processes, and the mark that says whether their holder finished.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::dir::{Dir, open_making_folders};
use super::error::{DurableError, Result};
use super::file::{FILE_MODE, lock_exclusively, stat_of};
use super::platform;
use super::syscall::call;

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
        let path = dir.path().join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = call("open lock", &path, || rustix::fs::openat(dir, name, flags, platform::mode(FILE_MODE)))?;
        Lock::taken(file.into(), path)
    }

    fn taken(file: File, path: PathBuf) -> Result<Lock> {
        lock_exclusively(&file, &path)?;
        Ok(Lock { file, path })
    }

    /// Whether the last holder finished.
    pub fn is_clean(&self) -> Result<bool> {
        Ok(stat_of(&self.file, &self.path)?.st_size as u64 == CLEAN_BYTES)
    }

    /// [`Lock::is_clean`] of the lock `name` in `dir`, for one who only reads. It holds for what was
    /// read before this was asked: a writer had taken the mark away before anything could be seen of it.
    pub(crate) fn is_clean_at(dir: &Dir, name: &OsStr) -> Result<bool> {
        Ok(dir.stat(name)?.is_some_and(|stat| stat.st_size as u64 == CLEAN_BYTES))
    }

    /// Before the first write: what follows may not be synced.
    pub fn mark_unknown(&self) -> Result<()> {
        self.set_mark(0)
    }

    /// After the last write has been synced and read back.
    pub fn mark_clean(&self) -> Result<()> {
        self.set_mark(CLEAN_BYTES)
    }

    fn set_mark(&self, bytes: u64) -> Result<()> {
        call("mark", &self.path, || rustix::fs::ftruncate(&self.file, bytes))
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

fn lock_file(path: &Path) -> Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32);
    open_making_folders(&options, "open lock", path)
}

#[cfg(test)]
mod tests {
    use super::*;

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
