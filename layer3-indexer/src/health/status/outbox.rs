//! What layer 2 still has to deliver, read from its job files.
//!
//! They are a file format here: `.outbox/*.json` with `created_ms`, `session_id`, `project`,
//! `attempts`, `last_error` and `failed`. Each field may be absent; what is no JSON object is a finding.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{Finding, Viewpoint};

/// A job older than this waits for something that does not come by itself.
const STUCK_MS: u64 = 24 * 60 * 60 * 1000;

/// The outbox in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OutboxStatus {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// Jobs in it.
    pub(crate) jobs: u64,
    /// Jobs that the server refused and that were set aside.
    pub(crate) failed: u64,
    /// Files that are no jobs.
    pub(crate) unreadable: u64,
    /// How long the oldest job waits.
    pub(crate) oldest_age_seconds: Option<u64>,
}

pub(super) fn look(outbox: &Path, view: &Viewpoint, findings: &mut Vec<Finding>) -> OutboxStatus {
    let mut status =
        OutboxStatus { path: outbox.to_owned(), jobs: 0, failed: 0, unreadable: 0, oldest_age_seconds: None };
    let entries = match fs::read_dir(outbox) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return status,
        Err(error) => {
            let what = format!("failed to read the outbox: {error}");
            findings.push(Finding::new("unreadable-job", true, what, outbox));
            return status;
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_job(path)).collect();
    paths.sort();
    for path in paths {
        match read(&path) {
            Ok(None) => {}
            Ok(Some(job)) => findings.extend(of_job(&path, &job, view, &mut status)),
            Err(why) => {
                status.unreadable += 1;
                let pending = format!("{} pending", view.commands.layer2);
                findings.push(Finding::new("unreadable-job", true, why, &path).mend(pending));
            }
        }
    }
    status
}

/// Hidden names and locks are layer 2's own, and so are its folders.
fn is_job(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && !name.ends_with(".lock") && !path.is_dir()
}

/// `None` for a job that was delivered meanwhile.
fn read(path: &Path) -> Result<Option<Value>, String> {
    // Not every name leads to a regular file, and a FIFO must not be waited for.
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err("not a job: no regular file".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("a job that cannot be read: {error}")),
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("a job that cannot be read: {error}")),
    };
    match serde_json::from_slice(&bytes) {
        Ok(job @ Value::Object(_)) => Ok(Some(job)),
        Ok(_) => Err("not a job: no JSON object".to_owned()),
        Err(error) => Err(format!("not a job: {error}")),
    }
}

fn of_job(path: &Path, job: &Value, view: &Viewpoint, status: &mut OutboxStatus) -> Option<Finding> {
    let text = |name: &str| job.get(name).and_then(Value::as_str);
    let created_ms = job.get("created_ms").and_then(Value::as_u64);
    let age_ms = created_ms.map(|created| view.now_ms.saturating_sub(created));
    status.jobs += 1;
    status.oldest_age_seconds = status.oldest_age_seconds.max(age_ms.map(|ms| ms / 1000));
    let failed = job.get("failed").filter(|failed| !failed.is_null() && **failed != Value::Bool(false));
    let error = text("last_error").or_else(|| failed?.get("reason")?.as_str()).unwrap_or("no error was recorded");
    let id = text("session_id").or_else(|| path.file_stem()?.to_str()?.split('@').next()).unwrap_or("?");
    let found = if failed.is_some() {
        status.failed += 1;
        let mend = format!("{} drain --foreground --retry-failed", view.commands.layer2);
        Finding::new("failed-job", true, format!("set aside as failed: {error}"), path).mend(mend)
    } else if age_ms.is_some_and(|ms| ms > STUCK_MS) {
        let waits = super::text::duration(age_ms.unwrap_or(0) / 1000);
        let mend = format!("{} drain --foreground", view.commands.layer2);
        Finding::new("stuck-job", true, format!("waits for {waits}: {error}"), path).mend(mend)
    } else {
        return None;
    };
    Some(found.of(id, text("project")))
}
