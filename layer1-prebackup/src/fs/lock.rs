//! Locks between processes, and the mark that says whether their holder finished.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::error::{DurableError, Result};
use super::file::{FILE_MODE, LOCK_POLL, LOCK_WAIT, make_sure_it_is_ours, stat_of, wait_for};
use super::platform::{self, SubstituteLock};
use super::shortcomings::Shortcoming;
use super::syscall::{call, uninterrupted};

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
    /// Held instead, where the file system knows no locks.
    _substitute: Option<SubstituteLock>,
}

/// Length of the file of a clean [`Lock`].
const CLEAN_BYTES: u64 = 1;
/// How often something is put aside that stands in a lock's place.
const ASIDE_TRIES_MAX: u32 = 10;

impl Lock {
    /// Waits for the lock, 10 s at most. The lock file is made (0600) and never removed. What stands in its place and
    /// can be no file of ours is put aside.
    pub fn wait(path: &Path) -> Result<Lock> {
        let (dir, name) = parent_made(path)?;
        Lock::wait_in(&dir, name)
    }

    /// [`Lock::wait`] for the lock `name` in a directory.
    pub fn wait_in(dir: &Dir, name: &OsStr) -> Result<Lock> {
        let path = dir.path().join(name);
        let taken = wait_for(&path, LOCK_WAIT, LOCK_POLL[1], |_| Lock::try_in(dir, name))?;
        taken.ok_or_else(|| {
            let what =
                format!("another program has held it for {} s; it may hang, or have been stopped", LOCK_WAIT.as_secs());
            DurableError::new("lock", &path, std::io::Error::new(ErrorKind::TimedOut, what))
        })
    }

    /// The locked file once more, for a child's stdin: the lock is held until that child has ended too, even where this
    /// process was killed. (Not where the file system knows no locks: there it ends with this process.)
    pub fn to_stdin(&self) -> Result<std::process::Stdio> {
        let copied = self.file.try_clone();
        Ok(copied.map_err(|error| DurableError::new("hand on the lock", &self.path, error))?.into())
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
        let (dir, name) = parent_made(path)?;
        Lock::try_in(&dir, name)
    }

    /// [`Lock::try_now`] for the lock `name` in a directory.
    ///
    /// A mark is its length, so a file that has another name too would be a change of somebody's: it loses this name, unless
    /// it is held. Who made the other one (a snapshot of hard links) may have made it of a lock of ours.
    pub fn try_in(dir: &Dir, name: &OsStr) -> Result<Option<Lock>> {
        let path = dir.path().join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(dir, name, flags, platform::mode(FILE_MODE));
        for _ in 0..ASIDE_TRIES_MAX {
            let opened = uninterrupted(open).map(File::from);
            let is_taken = dir.is_taken(name)?;
            if is_taken && !opened.as_ref().is_ok_and(is_regular) {
                dir.move_aside(name, FileType::RegularFile)?;
                continue;
            }
            let file = match opened {
                // What was no file, and is put aside by now.
                Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV) => continue,
                opened => opened.map_err(|error| DurableError::new("open lock", &path, error))?,
            };
            let Some(substitute) = taken_now(&file, &path)? else { return Ok(None) };
            if is_taken && stat_of(&file, &path)?.st_size as u64 <= CLEAN_BYTES {
                // It says no more than its length. Whoever made the other name keeps it, and here a new one is made.
                dir.remove_unsynced(name)?;
                continue;
            }
            if is_taken {
                dir.move_aside(name, FileType::RegularFile)?;
                continue;
            }
            // Another process may have put aside what was opened here.
            let (ours, named) = (stat_of(&file, &path)?, dir.stat(name)?);
            let is_the_same = named.is_some_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino));
            if is_the_same && make_sure_it_is_ours(&ours, &path).is_ok() {
                return Ok(Some(Lock { file, path, _substitute: substitute }));
            }
        }
        Err(DurableError::new("open lock", &path, Errno::AGAIN))
    }
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file())
}

/// Takes the lock of the file, or what stands for it, unless another process holds it.
fn taken_now(file: &File, path: &Path) -> Result<Option<Option<SubstituteLock>>> {
    match uninterrupted(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(Some(None)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) if Shortcoming::Locks.is_said_by(error) => Ok(substitute(path)?.map(Some)),
        Err(error) => Err(DurableError::new("lock", path, error)),
    }
}

/// What is held of this machine instead of a lock of the file system's, unless another process holds it.
fn substitute(path: &Path) -> Result<Option<SubstituteLock>> {
    Shortcoming::Locks.note(path);
    // One name for whatever path leads there.
    let place = std::fs::canonicalize(path).map_err(|error| DurableError::new("look up the lock", path, error))?;
    let name = format!("threefold-{}", blake3::hash(place.as_os_str().as_bytes()).to_hex());
    SubstituteLock::try_now(&name)
        .map_err(|error| DurableError::new("lock, without locks of the file system,", path, error))
}

fn parent_made(path: &Path) -> Result<(Dir, &OsStr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(DurableError::new("open lock", path, Errno::ISDIR));
    };
    Ok((Dir::create(parent)?, name))
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
    fn a_lock_that_a_child_was_given_is_held_until_that_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::wait(&path).unwrap();
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").stdin(lock.to_stdin().unwrap()).spawn();
        drop(lock);
        assert!(Lock::try_now(&path).unwrap().is_none());
        let child = child.as_mut().unwrap();
        child.kill().and_then(|()| child.wait()).unwrap();
        assert!(Lock::try_now(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_whose_holder_was_stopped_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = Lock::wait(&path).unwrap();
        let refused = Lock::wait(&path).unwrap_err();
        assert_eq!(refused.source.kind(), ErrorKind::TimedOut);
        assert!(refused.to_string().contains("another program has held it"), "{refused}");
    }

    #[test]
    fn what_was_waited_for_in_vain_is_not_waited_for_again_by_the_same_process() {
        let dir = tempfile::tempdir().unwrap();
        let [path, other] = ["lock", "other"].map(|name| dir.path().join(name));
        let limit = LOCK_POLL[1] * 3;
        let asked = |path: &Path, limit, given: bool| {
            let mut asked = 0;
            let ask = |_| -> Result<Option<()>> {
                asked += 1;
                Ok(given.then_some(()))
            };
            (wait_for(path, limit, LOCK_POLL[1], ask).unwrap().is_some(), asked)
        };
        let (given, first) = asked(&path, limit, false);
        assert!(!given && first > 2, "{first}");
        assert_eq!(asked(&path, limit, false), (false, 1));
        // What others hold is another matter, and who may wait for longer waits for the rest.
        assert!(asked(&other, limit, false).1 > 2 && asked(&path, limit * 2, false).1 > 2);
        assert_eq!(asked(&path, limit * 2, false), (false, 1));
        // Once it was free it is waited for as ever.
        assert_eq!(asked(&path, limit, true), (true, 1));
        assert!(asked(&path, limit, false).1 > 2);
    }

    #[test]
    fn one_that_is_held_stays_where_it_is_when_somebody_gives_it_a_second_name() {
        let dir = tempfile::tempdir().unwrap();
        let [path, link] = ["lock", "snapshot"].map(|name| dir.path().join(name));
        let held = Lock::wait(&path).unwrap();
        std::fs::hard_link(&path, &link).unwrap();
        assert!(Lock::try_now(&path).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        drop(held);
        let next = Lock::try_now(&path).unwrap();
        assert!(next.is_some() && Lock::try_now(&path).unwrap().is_none());
    }

    #[test]
    fn of_many_who_find_something_in_its_place_one_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..200 {
            let (path, start) = (dir.path().join(format!("{round}")), std::sync::Barrier::new(8));
            std::os::unix::fs::symlink("nothing", &path).unwrap();
            let take = || {
                start.wait();
                Lock::try_now(&path).unwrap()
            };
            let holders = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
                // Each is held until all have tried.
                let taken: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
                taken.len()
            });
            assert_eq!(holders, 1, "round {round}");
        }
    }

    #[test]
    fn a_substitute_is_exclusive_and_dies_with_its_holder_too() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("lock"), dir.path().join("link"));
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        drop(Lock::wait(&path).unwrap());
        let held = substitute(&path).unwrap();
        assert!(held.is_some() && substitute(&link.join("lock")).unwrap().is_none());
        assert_eq!(Shortcoming::Locks.met_at().map(Path::file_name), Some(Some(OsStr::new("lock"))));
        drop(held);
        assert!(substitute(&path).unwrap().is_some());
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
