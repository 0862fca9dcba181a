//! What can go wrong in layer 2 itself.

use std::path::PathBuf;

use layer1_prebackup::archive::ArchiveError;
use layer1_prebackup::fs::DurableError;
use layer1_prebackup::names::NameError;
use layer1_prebackup::wire::outbox_job::Unreadable;

/// Layer 2 itself failed. No job is lost by it: what was in the outbox is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A job, a receipt or a lock could not be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Layer 1's store could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A session id or a project name was refused.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The event could not be read from stdin.
    #[error("read the hook event from stdin")]
    Stdin(#[source] std::io::Error),
    /// A file of the outbox could not be read.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Somebody else has held the outbox's lock all the time.
    #[error("lock {path}: another process has held it for {seconds} s", path = path.display())]
    OutboxBusy {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// A job that was there is damaged, or cannot be read; it is left alone.
    #[error(transparent)]
    Job(#[from] Unreadable),
    /// A job that a hook wrote a moment ago, or a receipt, could not be put into JSON.
    #[error("encode {what} as JSON")]
    Encode {
        /// What.
        what: &'static str,
        /// The encoder's word.
        source: serde_json::Error,
    },
    /// The detached deliverer did not start; the job waits for the next one.
    #[error("start the deliverer {program}", program = program.display())]
    Deliverer {
        /// This program.
        program: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Signals could not be watched.
    #[error("watch for signals")]
    Signals(#[source] std::io::Error),
    /// stdout is closed or full.
    #[error("write to stdout")]
    Stdout(#[source] std::io::Error),
}
