//! Jobs that need no delivery any more, or another one than they ask for.
//!
//! A job that can never succeed must end: one under an id that its transcript does not bear (an older version made
//! such), one whose session was saved by another way meanwhile, one of which nothing is left to save.

use std::cell::OnceCell;
use std::path::Path;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile};
use layer1_prebackup::claude::survey::memories;
use layer1_prebackup::fs::Lock;
use layer1_prebackup::log::{in_one_line, now_ms};
use layer1_prebackup::names::{ProjectName, SessionId, TO_INDEX};
use layer1_prebackup::wire::outbox_job::{Job, JobName};

use crate::error::Error;
use crate::outbox::{NewJob, Outbox};
use crate::receipt::{self, FileEntry};
use crate::report::Report;
use crate::sessions::{self, Asked};
use crate::settings::Settings;

/// Ends every job of the outbox that need not be delivered, under [`Outbox::deliverer_lock`]. One that cannot be looked
/// into stays as it is.
pub(crate) fn settle(outbox: &Outbox, lock: &Lock, settings: &Settings, report: &Report) -> Result<(), Error> {
    let opened = OnceCell::new();
    let layer3 = || opened.get_or_init(|| layer3_store(settings, report)).as_ref();
    for (name, job) in outbox.list()?.jobs {
        match settled(outbox, &name, &job, settings, &layer3) {
            Ok(None) => {}
            Ok(Some(why)) => {
                // The receipt that says so may be one that a killed run left, whose name is not on the disk yet.
                outbox.sync_what_was_left(lock)?;
                outbox.remove_if_unchanged(&name, job.seq)?;
                report.line_with_time(&format!("settled {}: {why}", job.session_id));
            }
            Err(error) => {
                report.line_with_time(&format!("failed to look into {}: {}", name.file(), in_one_line(&*error)));
            }
        }
    }
    Ok(())
}

/// Layer 3's store, by which receipts are judged.
pub(crate) fn layer3_store(settings: &Settings, report: &Report) -> Option<Archive> {
    if settings.second_away().is_some() {
        // What may lie in its place is another store. Nothing is delivered until it is back.
        return None;
    }
    match Archive::open(&settings.places.layer3_store) {
        Ok(store) => store,
        Err(error) => {
            // Then no receipt can be trusted; a delivery too many is harmless.
            report.line_with_time(&format!("failed to open layer 3's store: {}", in_one_line(&error)));
            None
        }
    }
}

/// Whether the last receipt of a session, kept as `name`, covers what layer 1 holds of it, and the store that gave it
/// still has all of that. One that was put back to an older state has the same id, and lacks what came since.
pub(crate) fn is_receipted(
    outbox: &Outbox,
    name: &JobName,
    held: &[StoredFile],
    layer3: Option<&Archive>,
    settings: &Settings,
) -> bool {
    let Some(receipt) = outbox.receipt(name) else { return false };
    let entries: Vec<FileEntry> = held.iter().map(FileEntry::from).collect();
    if !receipt::covers(&receipt, &entries) {
        return false;
    }
    if receipt.unreceipted {
        return settings.no_receipt;
    }
    let has_all = |layer3: &Archive| -> Result<bool, Error> {
        let id = SessionId::parse(&receipt.session_id)?;
        let key = match &receipt.project {
            Some(project) => Some(SessionKey { project: ProjectName::parse(project)?, id }),
            None => layer3.find(&id)?.pop(),
        };
        Ok(layer3.lacking(key.as_ref(), held)?.is_empty())
    };
    // A store that cannot be asked is asked by a delivery, which says what is wrong with it.
    layer3.is_some_and(|layer3| layer3.store_id() == receipt.store_id && has_all(layer3).unwrap_or(false))
}

/// Whether a session that no receipt is kept of needs none: it was copied twice by `import`, say, before layer 1 had it, or
/// the receipts were lost. Our own layer 3 records what it has written, synced and read back, as it does before a receipt.
pub(crate) fn is_held_without_receipt(
    outbox: &Outbox,
    name: &JobName,
    (layer1, key): (&Archive, &SessionKey),
    held: &[StoredFile],
    layer3: Option<&Archive>,
    settings: &Settings,
) -> Result<bool, Error> {
    let Some(layer3) = layer3.filter(|_| settings.server.is_none() && outbox.receipt(name).is_none()) else {
        return Ok(false);
    };
    let Some(other) = layer3.same_session(key, Some(layer1))? else { return Ok(false) };
    Ok(layer3.lacking(Some(&other), held)?.is_empty())
}

/// Whether nothing of a session is owed to layer 3, nor of what Claude Code remembers of its project: layer 1 has all that
/// the source has, the receipt covers that, and layer 3's files are there and look well. In doubt something is owed.
pub(crate) fn is_nothing_owed(
    outbox: &Outbox,
    job: &NewJob,
    layer1: &Archive,
    settings: &Settings,
    report: &Report,
) -> Result<bool, Error> {
    let (transcript, places) = (Path::new(&job.transcript_path), &settings.places);
    let Some(project) = &job.project else { return Ok(false) };
    let key = SessionKey { project: ProjectName::parse(project)?, id: job.id.clone() };
    let held = layer1.files(&key)?;
    let Some(layer3) = layer3_store(settings, report) else { return Ok(false) };
    let has_receipt = || is_receipted(outbox, &job.name(), &held, Some(&layer3), settings);
    if held.is_empty() || layer1.is_behind(&job.id, transcript)? || !has_receipt() || is_index_behind(settings) {
        return Ok(false);
    }
    let Some(other) = layer3.same_session(&key, Some(layer1))? else { return Ok(false) };
    if lacks_labels(layer1, &layer3, &job.id) || !layer3.quick_check(&other)?.findings.is_empty() {
        return Ok(false);
    }
    let Some(memory) = memories([transcript]).pop() else { return Ok(true) };
    let memories = places.of_memories();
    let stores = (Archive::open(&memories.layer1_store)?, Archive::open(&memories.layer3_store)?);
    let (Some(first), Some(second)) = stores else { return Ok(false) };
    Ok(!first.is_behind_found(&memory)? && !lacks_memory(&first, &second, &memory.id)?)
}

/// Whether something was saved that the index was not written for: it could not be, or it was put back to an older state.
pub(crate) fn is_index_behind(settings: &Settings) -> bool {
    let written_at = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let places = &settings.places;
    let mut log = places.index.clone().into_os_string();
    log.push("-wal");
    let index = written_at(&places.index).max(written_at(Path::new(&log)));
    written_at(&places.layer3_store.join(TO_INDEX)) > index
}

/// Whether layer 3 lacks something that layer 1 has of the memory with this id.
pub(crate) fn lacks_memory(layer1: &Archive, layer3: &Archive, id: &SessionId) -> Result<bool, Error> {
    for key in layer1.find(id)? {
        let other = layer3.same_session(&key, Some(layer1))?;
        if !layer3.lacking(other.as_ref(), &layer1.files(&key)?)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether layer 3 lacks something that layer 1 has of what the user calls a conversation.
pub(crate) fn lacks_labels(layer1: &Archive, layer3: &Archive, id: &SessionId) -> bool {
    // What is damaged in the first copy comes back from the second one, and what is damaged there with a save.
    let Ok(Some(labels)) = layer1.labels(id) else { return false };
    match layer3.labels(id) {
        Ok(Some(mut known)) => known.merge(&labels),
        // Nobody but its version can write there.
        Err(ArchiveError::NewerFormat { .. }) => false,
        Ok(None) | Err(_) => true,
    }
}

/// Why the job is settled, if it is.
fn settled<'a>(
    outbox: &Outbox,
    name: &JobName,
    job: &Job,
    settings: &Settings,
    layer3: &dyn Fn() -> Option<&'a Archive>,
) -> Result<Option<&'static str>, Error> {
    let (id, transcript) = (SessionId::parse(&job.session_id)?, Path::new(&job.transcript_path));
    if let Ok(own) = SessionId::of_transcript(transcript)
        && own != id
    {
        let archive = Archive::open(&settings.places.layer1_store)?;
        let (cwd, trigger) = (job.cwd.clone(), job.trigger.clone());
        let asked = Asked { id: own, transcript: Some(transcript.to_owned()), cwd, trigger };
        for own in sessions::jobs_for(&asked, &settings.places, archive.as_ref())? {
            outbox.enqueue(&own, now_ms())?;
        }
        return Ok(Some("its transcript bears another id, and is delivered under that"));
    }
    if job.failed.is_none() {
        return Ok(None);
    }
    let holdings = sessions::holdings(job, &id, &settings.places);
    if let Some(what) = holdings.unreadable {
        return Err(what.into());
    }
    match (holdings.key, holdings.files) {
        (Some(key), Some(held)) => {
            let kept_as = JobName::of(&key.id, Some(key.project.as_str()), &job.transcript_path);
            let is_saved = [&kept_as, name].into_iter().any(|name| outbox.receipt(name).is_some())
                && is_receipted(outbox, &kept_as, &held, layer3(), settings);
            Ok(is_saved.then_some("it was saved meanwhile"))
        }
        _ if !sessions::exists(transcript) => Ok(Some("neither its transcript nor a copy of it is there")),
        _ => Ok(None),
    }
}
