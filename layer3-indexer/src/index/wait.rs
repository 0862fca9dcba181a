//! Waiting for other processes that use the index.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use layer1_prebackup::fs;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::error::{IndexError, Sqlite};
use super::files::beside;

/// How long one process waits for another. A writer holds the database for one batch at a time.
const BUSY_MS_MAX: u64 = 30_000;
/// Pause between attempts. SQLite's own pauses grow to a tenth of a second, in which a lock that
/// is free for moments only is never met.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

thread_local! {
    static PATIENCE_MS: Cell<u64> = const { Cell::new(BUSY_MS_MAX) };
}

/// Does something for which this thread waits for other processes at most so long at a time: who reads has an answer
/// without it.
pub(crate) fn with_patience<T>(patience: Duration, work: impl FnOnce() -> T) -> T {
    struct Before(u64);
    impl Drop for Before {
        fn drop(&mut self) {
            PATIENCE_MS.set(self.0);
        }
    }
    let _before = Before(PATIENCE_MS.replace(patience.as_millis() as u64));
    work()
}

/// Starts a transaction that holds the write lock from its beginning: one that took it later
/// could be refused at once, however long it was willing to wait.
///
/// A process holds [`write_lock`] while it waits for SQLite's, so one that writes batch after batch
/// lets every other in between: SQLite alone would let it starve them.
pub(super) fn begin<'c>(connection: &'c Connection, path: &Path) -> Result<Transaction<'c>, IndexError> {
    let _lock = write_lock(path)?;
    retry_while_busy(path, || Transaction::new_unchecked(connection, TransactionBehavior::Immediate))
        .doing("begin a transaction", path)
}

/// Held by whoever waits for the write lock, and by whoever moves the log into the database.
pub(super) fn write_lock(path: &Path) -> Result<fs::Lock, IndexError> {
    let (turnstile, patience) = (beside(path, ".turnstile", "."), Duration::from_millis(PATIENCE_MS.get()));
    // Not waited for without end: its holder may have been stopped.
    let taken = fs::wait_for(&turnstile, patience, BUSY_PAUSE, |_| fs::Lock::try_now(&turnstile))?;
    taken.ok_or_else(|| IndexError::Busy { path: path.to_owned(), seconds: patience.as_secs() })
}

/// Runs what only reads, and SQLite may refuse because of other processes without waiting for them itself.
pub(super) fn read_while_busy<T>(path: &Path, attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    // That it may be read says nothing of who holds the write lock.
    retry_while_busy(&beside(path, "-read", ""), attempt)
}

/// The same of what writes.
pub(super) fn retry_while_busy<T>(
    path: &Path,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut busy = None;
    let done = fs::wait_for(path, Duration::from_millis(PATIENCE_MS.get()), BUSY_PAUSE, |left| {
        // SQLite waits no longer either: see [`wait_for_others`].
        match with_patience(left, &mut attempt) {
            Err(error) if is_busy(&error) => {
                busy = Some(error);
                Ok(None)
            }
            result => result.map(Some),
        }
    })?;
    done.ok_or_else(|| busy.unwrap_or(rusqlite::Error::InvalidQuery))
}

/// What SQLite calls while another connection holds a lock; false gives up.
pub(super) fn wait_for_others(attempts: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    BUSY_PAUSE * attempts.unsigned_abs() < Duration::from_millis(PATIENCE_MS.get())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_waited_in_vain_for_the_write_lock_asks_once_from_then_on_and_reads_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.db");
        let refused = |asked: &mut u32| {
            *asked += 1;
            Err::<(), _>(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None))
        };
        with_patience(BUSY_PAUSE * 5, || {
            let (mut first, mut second) = (0, 0);
            assert!(retry_while_busy(&path, || refused(&mut first)).is_err());
            assert!(read_while_busy(&path, || Ok(())).is_ok());
            assert!(retry_while_busy(&path, || refused(&mut second)).is_err());
            assert!(first > 1 && second == 1, "{first} {second}");
            let _held = fs::Lock::try_now(&beside(&path, ".turnstile", ".")).unwrap();
            assert!(matches!(write_lock(&path), Err(IndexError::Busy { .. })));
        });
    }
}
