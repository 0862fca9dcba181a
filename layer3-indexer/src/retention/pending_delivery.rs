//! What layer 2 still has of a session: its job and its last receipt.
//!
//! They are a file format here, as for `status`: `.outbox/{ID}@{PROJECT}.json`, or with a hash where
//! the project is not known or too long, and the same name under `.outbox/receipts/`. No deliverer
//! works meanwhile: it would deliver what is just going.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::outbox_job::JobName;

use crate::failure::{Context, Failure};
use crate::stores::Pair;

/// How long a deliverer that is at work is waited for.
pub(super) const DELIVERER_WAIT: Duration = Duration::from_secs(10);
/// How long the outbox's lock is waited for; it is held for a few small writes.
const OUTBOX_WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// The deliverers' lock. `None` where there is no outbox, and so nothing to deliver.
pub(super) fn keep_deliverers_out(places: &Places, wait: Duration) -> Result<Option<Lock>, Failure> {
    if !is_there(&places.outbox())? {
        return Ok(None);
    }
    locked(&places.outbox().join("deliver.lock"), wait).map(Some)
}

/// Removes the job and the receipt of a session that layer 1 has no more.
pub(super) fn forget_jobs(places: &Places, pair: &Pair, sources: &[PathBuf]) -> Result<(), Failure> {
    let outbox = places.outbox();
    if !is_there(&outbox)? {
        return Ok(());
    }
    let id = &pair.key().id;
    let projects = pair.layer1.iter().chain(&pair.layer3).map(|key| key.project.as_str());
    let names = JobName::all_of(id, projects, sources.iter().filter_map(|source| source.to_str()));
    let _lock = locked(&outbox.join("outbox.lock"), OUTBOX_WAIT)?;
    for name in names {
        fs::remove_file(&outbox.join(name.file()))?;
        fs::remove_file(&outbox.join("receipts").join(name.file()))?;
    }
    Ok(())
}

/// Removes every job and receipt of an id, whatever project and source it names.
pub(super) fn forget_all_jobs(places: &Places, id: &SessionId) -> Result<(), Failure> {
    let outbox = places.outbox();
    if !is_there(&outbox)? {
        return Ok(());
    }
    let _lock = locked(&outbox.join("outbox.lock"), OUTBOX_WAIT)?;
    let begin = format!("{id}@");
    for folder in [outbox.join("receipts"), outbox] {
        if !is_there(&folder)? {
            continue;
        }
        let reading = || format!("list {}", folder.display());
        for entry in std::fs::read_dir(&folder).context(reading())? {
            let name = entry.context(reading())?.file_name();
            if name.to_string_lossy().starts_with(&begin) {
                fs::remove_file(&folder.join(name))?;
            }
        }
    }
    Ok(())
}

fn locked(path: &Path, wait: Duration) -> Result<Lock, Failure> {
    let deadline = Instant::now() + wait;
    loop {
        if let Some(lock) = Lock::try_now(path)? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(format!(
                "take {}: another program has held it for {} s",
                path.display(),
                wait.as_secs()
            ))
            .hint("try again later"));
        }
        // A lock that waits cannot be given up, and a stopped holder must not stop this command.
        std::thread::sleep(POLL);
    }
}

/// What cannot be looked at is not taken for absent.
pub(super) fn is_there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().context(format_args!("look for {}", path.display()))
}
