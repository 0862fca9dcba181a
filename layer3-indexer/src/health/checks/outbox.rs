//! What layer 2 still has to deliver, read from its job files.
//!
//! They are a file format here: `.outbox/*.json` with `created_ms`, `session_id`, `project`,
//! `attempts`, `last_error` and `failed`. Each field may be absent; what is no JSON object is a finding.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use layer1_prebackup::fs::Dir;
use layer1_prebackup::wire::outbox_job::JOB_BYTES_MAX;
use serde_json::Value;

use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind, Subject};
use crate::health::text::duration;
use crate::terminal::count;

/// A job older than this waits for something that does not come by itself.
const STUCK_MS: u64 = 24 * 60 * 60 * 1000;

/// Reads the jobs.
pub(super) fn jobs(examination: &mut Examination<'_>) {
    let outbox = examination.context.places.outbox();
    examination.figures.outbox.path = outbox.clone();
    let entries = match fs::read_dir(&outbox) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound || examination.is_foreign(&outbox) => return,
        Err(error) => {
            let what = format!("failed to read the outbox: {error}");
            let finding = Finding::new(examination.context, Kind::UnreadableJob, what, &outbox);
            return examination.findings.push(Finding { mend: None, ..finding });
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_job(path)).collect();
    paths.sort();
    for path in paths {
        match read(&path) {
            Ok(None) => {}
            Ok(Some(job)) => of_job(&path, &job, examination),
            Err(_) if examination.is_foreign(&path) => {}
            Err(why) => {
                examination.figures.outbox.unreadable += 1;
                examination.found(Kind::UnreadableJob, why, &path);
            }
        }
    }
}

/// What waits and is still young, and how the outbox is.
pub(super) fn waiting(examination: &mut Examination<'_>) {
    let outbox = examination.figures.outbox.clone();
    let young = outbox.jobs.saturating_sub(outbox.failed);
    if young > 0 && !examination.findings.iter().any(|finding| finding.kind == Kind::StuckJob) {
        let what = format!("{} waiting for the second copy", count(young, "session"));
        examination.found(Kind::Pending, what, &outbox.path);
    }
    let summary = match outbox.jobs {
        0 => "nothing waits for the second copy".to_owned(),
        jobs => format!("{} waiting, {} failed", count(jobs, "session"), outbox.failed),
    };
    examination.summarise(Subject::Outbox, summary);
}

/// Hidden names and locks are layer 2's own, and so are its folders.
fn is_job(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && !name.ends_with(".lock") && !path.is_dir()
}

/// `None` for a job that was delivered meanwhile.
fn read(path: &Path) -> Result<Option<Value>, String> {
    let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    let read = Dir::open_own(folder).and_then(|dir| dir.map_or(Ok(None), |dir| dir.read_own_file(name, JOB_BYTES_MAX)));
    let bytes = match read {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) if error.is_not_ours() => return Err("not a job: no regular file".to_owned()),
        Err(error) => return Err(format!("a job that cannot be read: {}", error.source)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(job @ Value::Object(_)) => Ok(Some(job)),
        Ok(_) => Err("not a job: no JSON object".to_owned()),
        Err(error) => Err(format!("not a job: {error}")),
    }
}

fn of_job(path: &Path, job: &Value, examination: &mut Examination<'_>) {
    if job.pointer("/failed/dismissed") == Some(&Value::Bool(true)) {
        return;
    }
    let text = |name: &str| job.get(name).and_then(Value::as_str);
    let created_ms = job.get("created_ms").and_then(Value::as_u64);
    let age_ms = created_ms.map(|created| examination.context.now_ms.saturating_sub(created));
    let status = &mut examination.figures.outbox;
    status.jobs += 1;
    status.oldest_age_seconds = status.oldest_age_seconds.max(age_ms.map(|ms| ms / 1000));
    let failed = job.get("failed").filter(|failed| !failed.is_null() && **failed != Value::Bool(false));
    let error = text("last_error").or_else(|| failed?.get("reason")?.as_str()).unwrap_or("no error was recorded");
    let id = text("session_id").or_else(|| path.file_stem()?.to_str()?.split('@').next()).unwrap_or("?");
    let (kind, what) = match age_ms {
        _ if failed.is_some() => {
            status.failed += 1;
            (Kind::FailedJob, format!("set aside as failed: {error}"))
        }
        Some(ms) if ms > STUCK_MS => (Kind::StuckJob, format!("waits for {}: {error}", duration(ms / 1000))),
        _ => return,
    };
    examination.findings.push(Finding::new(examination.context, kind, what, path).of(id, text("project")));
}
