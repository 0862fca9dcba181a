//! `drain`: makes good what hooks could not, at the start of a session.
//!
//! Sessions that were killed, a layer 3 that was away or lost its store: every session whose
//! copy in layer 1 is ahead of its last receipt gets a job; then all jobs are delivered.

use layer1_prebackup::log::in_one_line;
use layer1_prebackup::log::now_ms;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use layer1_prebackup::archive::{Archive, SessionKey};
use serde_json::json;

use crate::deliver;
use crate::error::{Error, failed};
use crate::interrupt::Interrupt;
use crate::outbox::Outbox;
use crate::receipt::FileEntry;
use crate::report::Report;
use crate::sessions;
use crate::settings::Settings;
use crate::settle;
use layer1_prebackup::wire::outbox_job::JobName;

/// The trigger of the jobs that are made here.
pub(crate) const TRIGGER: &str = "drain";
/// How long another deliverer is waited for.
const BUSY_WAIT: Duration = Duration::from_secs(60);
const BUSY_POLL: Duration = Duration::from_millis(50);
/// Longest cause in the message to the user, in characters.
const MESSAGE_CAUSE_CHARS_MAX: usize = 160;

/// Makes the jobs, delivers, and writes one `systemMessage` to `out` if something needs the user.
pub(crate) fn run(settings: &Settings, report: &Report, out: &mut impl Write) -> Result<(), Error> {
    let interrupt = Interrupt::listen().map_err(failed("watch for signals"))?;
    if let Err(error) = make_jobs(settings, report) {
        // What is in the outbox already must go out all the same.
        report.warning(&format!("failed to look for sessions that need a delivery: {}", in_one_line(&*error)));
    }
    let outbox = Outbox::at(settings.places.outbox());
    let deadline = Instant::now() + BUSY_WAIT;
    loop {
        if outbox.list()?.jobs.is_empty() {
            return Ok(());
        }
        let summary = deliver::run(settings, report, &interrupt)?;
        if summary.was_interrupted {
            return Ok(());
        }
        if !summary.is_busy_elsewhere {
            break;
        }
        // Another deliverer has the lock and will do it all, but it may be a hook's with a
        // server that hangs; what it leaves is ours.
        if Instant::now() >= deadline || !interrupt.sleep(BUSY_POLL) {
            return Ok(());
        }
    }
    if let Some(message) = message(&outbox, settings)? {
        let line = format!("{}\n", json!({ "systemMessage": message }));
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(failed("write to stdout"))?;
        for (name, _) in outbox.list()?.jobs.into_iter().filter(|(_, job)| job.failed.is_some()) {
            outbox.update(&name, |job| {
                if let Some(failed) = &mut job.failed {
                    failed.told = true;
                }
            })?;
        }
    }
    Ok(())
}

/// A job for every session whose files are not all covered by its last receipt, or whose
/// receipt is of another store than the one that is there now.
fn make_jobs(settings: &Settings, report: &Report) -> Result<(), Error> {
    let Some(archive) = Archive::open(&settings.places.layer1_store)? else { return Ok(()) };
    let store_id = settle::store_id_of(settings, report);
    let outbox = Outbox::at(settings.places.outbox());
    for key in archive.sessions()? {
        if let Err(error) = make_job(&archive, &key, store_id.as_deref(), &outbox, settings) {
            let session = format!("{} of {}", key.id, key.project);
            report.warning(&format!("failed to see whether {session} needs a delivery: {}", in_one_line(&*error)));
        }
    }
    Ok(())
}

fn make_job(
    archive: &Archive,
    key: &SessionKey,
    store_id: Option<&str>,
    outbox: &Outbox,
    settings: &Settings,
) -> Result<(), Error> {
    let held: Vec<FileEntry> = archive.files(key)?.iter().map(FileEntry::from).collect();
    let Some(job) = sessions::job_of_key(archive, key, &settings.places, TRIGGER)? else { return Ok(()) };
    if settings.places.policy.exclude.is_excluded(Path::new(&job.transcript_path), None) {
        return Ok(());
    }
    let name = JobName::of(&key.id, Some(key.project.as_str()), &job.transcript_path);
    outbox.refuse_newer_receipt(&name)?;
    let is_settled = settle::is_receipted(outbox, &name, &held, store_id, settings);
    let has_content = held.iter().any(|file| file.bytes > 0);
    if has_content && !is_settled {
        outbox.enqueue_if_absent(&job, now_ms())?;
    }
    Ok(())
}

/// What the user must know, in one sentence or two; `None` when all is well.
fn message(outbox: &Outbox, settings: &Settings) -> Result<Option<String>, Error> {
    let mut jobs = outbox.list()?.jobs;
    // What will not be tried again by itself is told once.
    jobs.retain(|(_, job)| job.failed.as_ref().is_none_or(|failed| !failed.told && !failed.dismissed));
    let failed = jobs.iter().filter(|(_, job)| job.failed.is_some()).count();
    let waiting = jobs.len() - failed;
    if jobs.is_empty() {
        return Ok(None);
    }
    let conversations =
        |count: usize| if count == 1 { "1 conversation".into() } else { format!("{count} conversations") };
    let mut parts = Vec::new();
    if waiting > 0 {
        parts.push(format!("{} could not be saved a second time yet", conversations(waiting)));
    }
    if failed > 0 {
        parts.push(format!(
            "{} could not be saved a second time and will not be tried again by itself",
            conversations(failed)
        ));
    }
    let mut cause = jobs.iter().find_map(|(_, job)| job.last_error.clone()).unwrap_or_default();
    if let Some((end, _)) = cause.char_indices().nth(MESSAGE_CAUSE_CHARS_MAX) {
        cause.truncate(end);
        cause.push('…');
    }
    let cause = if cause.is_empty() { String::new() } else { format!(" (failed to {cause})") };
    let look = format!("{} pending", settings.program.display());
    Ok(Some(format!("Threefold: {}{cause}. To look: {look}", parts.join("; "))))
}
