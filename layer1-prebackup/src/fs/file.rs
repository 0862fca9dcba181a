//! An open file: its status, reads and writes at an offset, its sync, its hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{DurableError, NotOurs, Result};
use super::shortcomings::Shortcoming;
use super::syscall::{call, uninterrupted};

/// Mode of every directory that is made, whatever the umask.
pub(super) const DIR_MODE: u32 = 0o700;
/// Mode of every file that is made, whatever the umask, unless the caller names another.
pub const FILE_MODE: u32 = 0o600;
/// Size of the buffer through which files are copied and read back.
pub(crate) const COPY_BYTES: usize = 256 * 1024;

/// A file's status by its descriptor; `path` is for the message.
pub fn stat_of(file: &File, path: &Path) -> Result<Stat> {
    call("look up", path, || rustix::fs::fstat(file))
}

/// Reads at `offset` until `buffer` is full or the file ends; returns how much came.
pub fn read_at(file: &File, offset: u64, buffer: &mut [u8], path: &Path) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let came = call("read", path, || rustix::io::pread(file, &mut buffer[filled..], offset + filled as u64))?;
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

/// Writes all of `bytes` at `offset`, however short the single writes are.
pub fn write_at(file: &File, offset: u64, bytes: &[u8], path: &Path) -> Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let wrote = call("write", path, || rustix::io::pwrite(file, &bytes[written..], offset + written as u64))?;
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
    super::counted::count(path);
    // std's call is F_FULLFSYNC on macOS, where a plain fsync leaves the bytes in the drive's cache.
    for _ in 0..100 {
        match file.sync_data() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if Errno::from_io_error(&error).is_some_and(|error| Shortcoming::FileSync.is_said_by(error)) => {
                Shortcoming::FileSync.note(path);
                return Ok(());
            }
            result => return result.map_err(|error| DurableError::new("sync", path, error)),
        }
    }
    Err(DurableError::new("sync", path, Errno::INTR))
}

/// Cuts a file to `bytes` and syncs that.
pub fn truncate(file: &File, bytes: u64, path: &Path) -> Result<()> {
    call("truncate", path, || rustix::fs::ftruncate(file, bytes))?;
    sync_data(file, path)
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
    let hashes = hashes_of_prefixes(file, &BTreeSet::from([bytes]), path, progress)?;
    hashes.get(&bytes).copied().ok_or_else(|| DurableError::new("read", path, io::ErrorKind::UnexpectedEof))
}

/// [`hash_of_prefix_with`] of several lengths in one reading; none of those that the file is too short for.
pub(crate) fn hashes_of_prefixes(
    file: &File,
    lengths: &BTreeSet<u64>,
    path: &Path,
    progress: &dyn Fn(u64),
) -> Result<BTreeMap<u64, blake3::Hash>> {
    let mut hashes = BTreeMap::new();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    for bytes in lengths {
        while offset < *bytes {
            let want = buffer.len().min((bytes - offset) as usize);
            let came = read_at(file, offset, &mut buffer[..want], path)?;
            if came < want {
                return Ok(hashes);
            }
            hasher.update(&buffer[..want]);
            offset += want as u64;
            progress(offset);
        }
        hashes.insert(*bytes, hasher.finalize());
    }
    Ok(hashes)
}

/// How long a lock is waited for. Its holder may have been stopped, or hang with its disk: what waits then does without,
/// says so, and is done by the next run.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { 10_000 });
/// Time between two looks at a lock that another process holds, at first and at most.
pub(super) const LOCK_POLL: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// So long a process remembers that it waited for something in vain.
const IN_VAIN: Duration = Duration::from_secs(60);

/// Asks for what another process holds until it is given, for so long and with so much time in between at most; `None`
/// then. A process that has waited for it in vain does not wait so long for it again: a command asks for one lock at many
/// steps, and its holder may hang. `ask` is told how long may still be waited; `path` says what is waited for.
pub fn wait_for<T, E>(
    path: &Path,
    limit: Duration,
    pause_max: Duration,
    mut ask: impl FnMut(Duration) -> std::result::Result<Option<T>, E>,
) -> std::result::Result<Option<T>, E> {
    static WAITED: Mutex<BTreeMap<PathBuf, (Instant, Duration)>> = Mutex::new(BTreeMap::new());
    // A panic cannot leave the map half changed.
    let waited = || WAITED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let before = waited().get(path).filter(|(at, _)| now - *at < IN_VAIN).copied();
    let deadline = now + before.map_or(limit, |(_, waited)| limit.saturating_sub(waited));
    let mut pause = LOCK_POLL[0];
    loop {
        if let Some(given) = ask(deadline.saturating_duration_since(Instant::now()))? {
            if before.is_some() {
                waited().remove(path);
            }
            return Ok(Some(given));
        }
        if Instant::now() >= deadline {
            let longest = before.map_or(limit, |(_, waited)| waited.max(limit));
            let since = before.map_or(Instant::now(), |(at, _)| at);
            waited().insert(path.to_owned(), (since, longest));
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(pause_max);
    }
}

/// Waits for the file's lock, [`LOCK_WAIT`] at most; it is gone with its last descriptor.
pub(super) fn lock_exclusively(file: &File, path: &Path) -> rustix::io::Result<()> {
    let take = |_| match uninterrupted(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        taken => taken.map(Some),
    };
    wait_for(path, LOCK_WAIT, LOCK_POLL[1], take)?.ok_or(Errno::TIMEDOUT)
}

pub(super) fn not_regular(what: &str) -> io::Error {
    io::Error::other(NotOurs(format!("{what} where a regular file belongs; move it away")))
}

/// An error unless the file is one that we may have made: regular, and under one name alone. A second name (a hard
/// link) is another's, and whoever writes under one of them writes under both. Some file systems count no names.
pub(super) fn make_sure_it_is_ours(stat: &Stat, path: &Path) -> Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(DurableError::new("open", path, not_regular("not a regular file")));
    }
    // The type of the field differs between platforms.
    #[allow(clippy::unnecessary_cast)]
    let names = stat.st_nlink as u64;
    #[cfg(test)]
    let names = super::counted::names(names);
    if names > 1 {
        let what = format!("it is one file under {names} names (hard links); put a copy of its own in its place");
        return Err(DurableError::new("open", path, io::Error::other(NotOurs(what))));
    }
    Ok(())
}

/// Whether a file has further names (hard links).
pub(crate) fn has_other_names(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && !may_be_ours(stat)
}

/// Whether a file may be ours, by what it is: see [`make_sure_it_is_ours`].
pub(crate) fn may_be_ours(stat: &Stat) -> bool {
    make_sure_it_is_ours(stat, Path::new("")).is_ok()
}

/// All of a file that somebody else wrote, to which links may lead; `None` where there is nothing. What is no regular
/// file, or longer than `bytes_max`, is an error: nobody waits for a writer, and no memory is taken for it.
pub fn read_foreign(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match uninterrupted(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(DurableError::new("open", path, error)),
    };
    if FileType::from_raw_mode(stat_of(&file, path)?.st_mode) != FileType::RegularFile {
        let what = NotOurs("it is no regular file".to_owned());
        return Err(DurableError::new("read", path, io::Error::other(what)));
    }
    read_bounded(&file, bytes_max, path).map(Some)
}

/// Reads all of a file, unless it is longer than `bytes_max`.
pub fn read_bounded(file: &File, bytes_max: u64, path: &Path) -> Result<Vec<u8>> {
    let bytes = stat_of(file, path)?.st_size as u64;
    if bytes > bytes_max {
        let what = format!("it has {bytes} bytes, more than the {bytes_max} that are read; move it away");
        return Err(DurableError::new("read", path, io::Error::other(NotOurs(what))));
    }
    let mut content = vec![0; bytes as usize];
    let came = read_at(file, 0, &mut content, path)?;
    content.truncate(came);
    Ok(content)
}
