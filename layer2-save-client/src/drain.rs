//! `drain`: makes good what hooks could not, at the start of a session.
//!
//! Sessions that were killed, a layer 3 that was away or lost its store, or whose store was put back to an older state:
//! every session of which layer 3 lacks anything that layer 1 has gets a job; then all jobs are delivered. What then
//! only layer 3 has, because layer 1's store was lost or put back, is taken back from there.

use layer1_prebackup::log::in_one_line;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::shown::shown;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use layer1_prebackup::archive::{Archive, ArchiveError, SEEN, SEEN_SECOND, Seen, SessionKey, StoredFile};
use serde_json::json;

use crate::call_error::CallError;
use crate::client;
use crate::deliver;
use crate::error::{Error, failed};
use crate::interrupt::Interrupt;
use crate::outbox::{NewJob, Outbox};
use crate::report::Report;
use crate::sessions;
use crate::settings::Settings;
use crate::settle;
use layer1_prebackup::wire::outbox_job::{Failed, Job, JobName, MEMORIES_TRIGGER};

/// The trigger of the jobs that are made here.
pub(crate) const TRIGGER: &str = "drain";
/// How long another deliverer is waited for.
const BUSY_WAIT: Duration = Duration::from_secs(20);
const BUSY_POLL: Duration = Duration::from_millis(50);
/// Longest cause in the message to the user, in characters.
const MESSAGE_CAUSE_CHARS_MAX: usize = 160;

/// Who reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Claude Code, which tells the user what a hook says: what is news alone.
    Hook,
    /// Who has typed the command.
    Person,
    /// Nobody: a timer runs this. It counts as told to nobody.
    Nobody,
}

/// Makes the jobs, delivers, and writes one `systemMessage` to `out` if something needs the user; to a person, what came of
/// it, whatever it is.
pub(crate) fn run(settings: &Settings, report: &Report, reader: Reader, out: &mut impl Write) -> Result<(), Error> {
    let interrupt = Interrupt::listen_or_not();
    let outbox = Outbox::at(settings.places.outbox());
    let mut settled = 0;
    let unsettled = Unsettled::look(settings, report).unwrap_or_else(|error| {
        // What is in the outbox already must go out all the same.
        report.warning(&format!("failed to look for sessions that need a delivery: {}", in_one_line(&*error)));
        Unsettled::default()
    });
    let mut delivered = deliver_what_is_owed(&unsettled.first, &outbox, settings, report, &interrupt, &mut settled)?;
    if delivered == Delivered::All {
        // The newest contents are the same in both by now, so what is taken back is never mistaken for news.
        let is_more_owed = take_back(&unsettled.second, &outbox, settings, report).unwrap_or_else(|error| {
            report.warning(&format!("failed to look for what only the second copy has: {}", in_one_line(&*error)));
            false
        });
        if settings.second_away().is_none()
            && let Err(error) = take_back_memories(settings, report)
        {
            let why = in_one_line(&*error);
            report.warning(&format!("failed to look for memories that only the second copy has: {why}"));
        }
        if is_more_owed {
            let unsettled = Unsettled::look(settings, report)?;
            delivered = deliver_what_is_owed(&unsettled.first, &outbox, settings, report, &interrupt, &mut settled)?;
        }
        if let Some(layer3) = unsettled.is_due.then(|| settle::layer3_store(settings, report)).flatten() {
            Seen::keep(&settings.places.layer1_store, SEEN_SECOND, layer3.see_all(&|_| None));
        }
    }
    let trouble = match delivered {
        Delivered::Interrupted => return Ok(()),
        Delivered::All => settings.second_away(),
        Delivered::Elsewhere => {
            let lock = outbox.deliverer_lock_path();
            let seconds = BUSY_WAIT.as_secs();
            Some(format!(
                "lock {}: another program has held it for {seconds} s; it may hang, or have been stopped",
                lock.display()
            ))
        }
    };
    if let Some(trouble) = &trouble {
        report.line_with_time(&format!("failed to {trouble}"));
    } else if let Err(error) = have_indexed(settings, &interrupt) {
        // The conversations are saved; the next search makes up for it too.
        report.warning(&format!("failed to have the index filled: {}", in_one_line(&error)));
    }
    let message = message(&outbox, settings, trouble, reader)?;
    if reader == Reader::Person {
        let done = match settled {
            0 => None,
            n => Some(format!("{} saved a second time", conversations(n))),
        };
        let all_well = || "nothing waits: every conversation has its second copy".to_owned();
        let left = message.clone().or_else(|| done.is_none().then(all_well));
        for line in done.into_iter().chain(left) {
            writeln!(out, "{}", shown(&line)).map_err(failed("write to stdout"))?;
        }
    } else if let Some(message) = &message {
        tell(message, out)?;
    }
    if message.is_some() && reader != Reader::Nobody {
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

/// Tells the user.
pub(crate) fn tell(message: &str, out: &mut impl Write) -> Result<(), Error> {
    let line = format!("{}\n", json!({ "systemMessage": shown(message) }));
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(failed("write to stdout"))
}

/// What became of all that is owed.
#[derive(Debug, PartialEq, Eq)]
enum Delivered {
    /// It was tried.
    All,
    Interrupted,
    /// Another deliverer is still at it.
    Elsewhere,
}

/// The sessions of which one store may have something that the other one lacks.
#[derive(Debug, Default)]
struct Unsettled {
    /// As layer 1 keeps them.
    first: Vec<SessionKey>,
    /// As layer 3 does.
    second: Vec<SessionKey>,
    /// Whether a full look at layer 3's store is due.
    is_due: bool,
}

impl Unsettled {
    /// By what was seen of both stores at the last full look. Of any other server than ours receipts alone say what it has.
    fn look(settings: &Settings, report: &Report) -> Result<Unsettled, Error> {
        let Some(layer1) = Archive::open(&settings.places.layer1_store)? else { return Ok(Unsettled::default()) };
        let seen = |archive: &Archive, rel: &str| match settings.server {
            None => Seen::read(layer1.root(), rel, archive.store_id()),
            Some(_) => Seen::default(),
        };
        let first = layer1.look_by(seen(&layer1, SEEN))?;
        let Some(layer3) = settle::layer3_store(settings, report) else {
            return Ok(Unsettled { first: first.sessions, ..Unsettled::default() });
        };
        let second = layer3.look_by(seen(&layer3, SEEN_SECOND))?;
        let is_due = settings.server.is_none() && second.is_full_look_due();
        let mut set_apart = layer1.set_apart()?;
        set_apart.append(&mut layer3.set_apart()?);
        let is_settled = |key: &&SessionKey| {
            let both = first.seen(key).zip(second.seen(key));
            both.is_some_and(|(one, other)| one.has_the_same_as(&other)) && !set_apart.contains(&key.id)
        };
        let (settled, unsettled): (Vec<_>, Vec<_>) = first.sessions.iter().partition(is_settled);
        // Both are by project and id.
        let mut settled = settled.into_iter().peekable();
        let mut is_unsettled = |key: &&SessionKey| {
            while settled.next_if(|other| other < key).is_some() {}
            settled.next_if(|other| other == key).is_none()
        };
        let second = second.sessions.iter().filter(&mut is_unsettled).cloned().collect();
        Ok(Unsettled { first: unsettled.into_iter().cloned().collect(), second, is_due })
    }
}

/// Makes the jobs of these sessions of layer 1's and delivers all that is in the outbox.
fn deliver_what_is_owed(
    unsettled: &[SessionKey],
    outbox: &Outbox,
    settings: &Settings,
    report: &Report,
    interrupt: &Interrupt,
    settled: &mut usize,
) -> Result<Delivered, Error> {
    let unkept = make_jobs(unsettled, settings, report).unwrap_or_else(|error| {
        // What is in the outbox already must go out all the same.
        report.warning(&format!("failed to look for sessions that need a delivery: {}", in_one_line(&*error)));
        Vec::new()
    });
    if !unkept.is_empty() {
        deliver::with_unkept(settings, report, interrupt, unkept)?;
    }
    let deadline = Instant::now() + BUSY_WAIT;
    while !outbox.list()?.jobs.is_empty() {
        let summary = deliver::run(settings, report, interrupt)?;
        *settled += summary.settled;
        if summary.was_interrupted {
            return Ok(Delivered::Interrupted);
        }
        if !summary.is_busy_elsewhere {
            break;
        }
        // Another deliverer has the lock and will do it all, but it may be a hook's with a
        // server that hangs; what it leaves is ours.
        if Instant::now() >= deadline {
            return Ok(Delivered::Elsewhere);
        }
        if !interrupt.sleep(BUSY_POLL) {
            return Ok(Delivered::Interrupted);
        }
    }
    Ok(Delivered::All)
}

/// Starts the server, which fills in what the index lacks, where something was saved that the index was not written
/// for: it could not be, or it was put back to an older state.
fn have_indexed(settings: &Settings, interrupt: &Interrupt) -> Result<(), CallError> {
    if settings.server.is_some() || settings.second_away().is_some() || !settle::is_index_behind(settings) {
        return Ok(());
    }
    let command = settings.server_command(&[]);
    client::connect(&command, &settings.child_env, settings.timeout, interrupt)?.stop_when_indexed();
    Ok(())
}

/// Gives layer 1 what only layer 3 has of these sessions of its; whether that was anything. `prune` takes from layer 1 first, under the
/// deliverer's lock, and marks in layer 3 what is to go before that.
fn take_back(unsettled: &[SessionKey], outbox: &Outbox, settings: &Settings, report: &Report) -> Result<bool, Error> {
    if unsettled.is_empty() {
        return Ok(false);
    }
    let Some(layer1) = Archive::open(&settings.places.layer1_store)? else { return Ok(false) };
    let Some(layer3) = settle::layer3_store(settings, report) else { return Ok(false) };
    let Some(_lock) = outbox.deliverer_lock()? else { return Ok(false) };
    let layer1 = layer1.leaving_free(settings.places.policy.free_space_floor);
    let waiting: BTreeSet<String> = outbox.list()?.jobs.into_iter().map(|(_, job)| job.session_id).collect();
    let mut has_taken = false;
    for key in unsettled {
        if waiting.contains(key.id.as_str()) || layer3.is_moved(key).unwrap_or(false) {
            continue;
        }
        let session = format!("{} of {}", key.id, key.project);
        if let Err(error) = take_back_labels(&layer1, &layer3, key) {
            let why = in_one_line(&error);
            report.warning(&format!("failed to tell the first copy what {session} is called: {why}"));
        }
        match take_back_one(&layer1, &layer3, key, settings) {
            Ok(0) => {}
            Ok(bytes) => {
                has_taken = true;
                report.line_with_time(&format!(
                    "gave the first copy back what only the second had: {session}, {bytes} bytes"
                ));
            }
            Err(error) => {
                let why = in_one_line(&*error);
                report
                    .warning(&format!("failed to give the first copy back what only the second has: {session}: {why}"));
            }
        }
    }
    Ok(has_taken)
}

/// Gives layer 1 what only layer 3 has of what the user calls a conversation.
fn take_back_labels(layer1: &Archive, layer3: &Archive, key: &SessionKey) -> Result<(), ArchiveError> {
    match layer3.labels(&key.id)? {
        Some(labels) => layer1.merge_labels(&key.id, &labels).map(drop),
        None => Ok(()),
    }
}

/// Gives layer 1 what only layer 3 has of what Claude Code remembers of the projects. Not while layer 3 lacks something
/// of it too: what is newer there would be taken for older then, or older for newer.
fn take_back_memories(settings: &Settings, report: &Report) -> Result<(), Error> {
    let places = settings.places.of_memories();
    let Some(layer3) = Archive::open(&places.layer3_store)? else { return Ok(()) };
    let keys = layer3.sessions()?;
    if keys.is_empty() || Archive::open(&settings.places.layer1_store)?.is_none() {
        return Ok(());
    }
    let layer1 = Archive::create(&places.layer1_store)?.leaving_free(places.policy.free_space_floor);
    for key in keys {
        let take_back = || match settle::lacks_memory(&layer1, &layer3, &key.id)? {
            true => Ok(0),
            false => take_back_one(&layer1, &layer3, &key, settings),
        };
        match take_back() {
            Ok(0) => {}
            Ok(bytes) => {
                report.line_with_time(&format!(
                    "gave the first copy back what only the second had: memory {}, {bytes} bytes",
                    key.id
                ));
            }
            Err(error) => {
                let why = in_one_line(&*error);
                report.warning(&format!("failed to give the first copy back the memory {}: {why}", key.id));
            }
        }
    }
    Ok(())
}

/// Has layer 3 take over what layer 1 remembers of the projects, where it lacks some: with the next conversation that
/// can be sent, because only layer 3 writes to its store. Without one, `import` does it.
fn ask_for_memories(archive: &Archive, outbox: &Outbox, settings: &Settings) -> Result<(), Error> {
    let places = settings.places.of_memories();
    let Some(memories) = Archive::open(&places.layer1_store)? else { return Ok(()) };
    let layer3 = Archive::open(&places.layer3_store)?;
    let is_lacking = |key: &SessionKey| match &layer3 {
        Some(layer3) => settle::lacks_memory(&memories, layer3, &key.id),
        None => Ok(true),
    };
    let mut lacking = false;
    for key in memories.sessions()? {
        lacking = lacking || is_lacking(&key)?;
    }
    if !lacking {
        return Ok(());
    }
    let waiting = outbox.list()?.jobs;
    for key in &archive.sessions()? {
        let is_excluded =
            |job: &NewJob| settings.places.policy.exclude.is_excluded(Path::new(&job.transcript_path), None);
        let job = sessions::job_of_key(archive, key, &settings.places, MEMORIES_TRIGGER)?;
        let Some(job) = job.filter(|job| !is_excluded(job)) else { continue };
        let name = JobName::of(&key.id, Some(key.project.as_str()), &job.transcript_path);
        if waiting.iter().all(|(other, _)| *other != name) {
            outbox.enqueue_if_absent(&job, now_ms())?;
            break;
        }
    }
    Ok(())
}

/// How many bytes layer 1 was given of a session.
fn take_back_one(layer1: &Archive, layer3: &Archive, key: &SessionKey, settings: &Settings) -> Result<u64, Error> {
    if layer1.is_forgotten(&key.id)? {
        return Ok(0);
    }
    let has = layer3.files(key)?;
    let into = match layer1.same_session(key, Some(layer3))? {
        Some(into) => into,
        None => {
            let others = layer3.find(&key.id)?;
            if !layer1.find(&key.id)?.iter().all(|own| others.contains(own)) {
                // Nobody knows which of several it is.
                return Ok(0);
            }
            SessionKey { project: layer1.folder_for(&key.project)?, id: key.id.clone() }
        }
    };
    let lacking = layer1.lacking(Some(&into), &has)?;
    let is_excluded = |source: &Path| settings.places.policy.exclude.is_excluded(source, None);
    if lacking.is_empty() || layer3.source_of(key)?.as_deref().is_some_and(is_excluded) {
        return Ok(0);
    }
    let taken = layer1.replicate(&into, layer3, key, &lacking, &|_| {})?;
    let bytes = |(content, taken): (&StoredFile, Result<(), ArchiveError>)| taken.map(|()| content.bytes);
    Ok(lacking.iter().zip(taken).map(bytes).sum::<Result<u64, ArchiveError>>()?)
}

/// A job for each of these sessions of which layer 3 has not all that layer 1 has: its files are not all covered by its last
/// receipt, that receipt is of another store than the one that is there now, or this one lacks some of them. Gives
/// those that could not be made durable. None where the disk of the second copy is not there: nobody knows what it has.
fn make_jobs(unsettled: &[SessionKey], settings: &Settings, report: &Report) -> Result<Vec<(JobName, Job)>, Error> {
    let mut unkept = Vec::new();
    if settings.second_away().is_some() {
        return Ok(unkept);
    }
    let Some(archive) = Archive::open(&settings.places.layer1_store)? else { return Ok(unkept) };
    let layer3 = settle::layer3_store(settings, report);
    let outbox = Outbox::at(settings.places.outbox());
    for key in unsettled {
        if archive.is_moved(key).unwrap_or(false) {
            continue;
        }
        if let Err(error) = make_job(&archive, key, layer3.as_ref(), &outbox, settings, &mut unkept) {
            let session = format!("{} of {}", key.id, key.project);
            report.warning(&format!("failed to see whether {session} needs a delivery: {}", in_one_line(&*error)));
        }
    }
    if let Err(error) = ask_for_memories(&archive, &outbox, settings) {
        // That costs the conversations nothing.
        report.warning(&format!("failed to have memories saved a second time: {}", in_one_line(&*error)));
    }
    Ok(unkept)
}

fn make_job(
    archive: &Archive,
    key: &SessionKey,
    layer3: Option<&Archive>,
    outbox: &Outbox,
    settings: &Settings,
    unkept: &mut Vec<(JobName, Job)>,
) -> Result<(), Error> {
    // Where one of the stores was put back to an older state, the other one still knows.
    if archive.is_forgotten(&key.id)? || layer3.map_or(Ok(false), |layer3| layer3.is_forgotten(&key.id))? {
        return Ok(());
    }
    let held = archive.files(key)?;
    let Some(job) = sessions::job_of_key(archive, key, &settings.places, TRIGGER)? else { return Ok(()) };
    if settings.places.policy.exclude.is_excluded(Path::new(&job.transcript_path), None) {
        return Ok(());
    }
    let name = JobName::of(&key.id, Some(key.project.as_str()), &job.transcript_path);
    outbox.refuse_newer_receipt(&name)?;
    let is_settled = (settle::is_receipted(outbox, &name, &held, layer3, settings)
        || settle::is_held_without_receipt(outbox, &name, (archive, key), &held, layer3, settings)?)
        && !layer3.is_some_and(|layer3| settle::lacks_labels(archive, layer3, &key.id));
    let has_content = held.iter().any(|file| file.bytes > 0);
    if has_content
        && !is_settled
        && let Err(error) = outbox.enqueue_if_absent(&job, now_ms())
    {
        unkept.push(Outbox::unkept(&job, now_ms()));
        return Err(error);
    }
    Ok(())
}

fn conversations(count: usize) -> String {
    if count == 1 { "1 conversation".to_owned() } else { format!("{count} conversations") }
}

/// What the user must know, in one sentence or two; `None` when all is well.
/// `trouble` is what keeps all of them from being delivered. Who is told unasked is told the same cause once a day.
fn message(
    outbox: &Outbox,
    settings: &Settings,
    trouble: Option<String>,
    reader: Reader,
) -> Result<Option<String>, Error> {
    let mut jobs = outbox.list()?.jobs;
    // What will not be tried again by itself is told once.
    let is_told = |failed: &Failed| failed.dismissed || (failed.told && reader != Reader::Person);
    jobs.retain(|(_, job)| job.failed.as_ref().is_none_or(|failed| !is_told(failed)));
    let failed = jobs.iter().filter(|(_, job)| job.failed.is_some()).count();
    let waiting = jobs.len() - failed;
    let cause = trouble.clone().or_else(|| jobs.iter().find_map(|(_, job)| job.last_error.clone())).unwrap_or_default();
    if jobs.is_empty() && trouble.is_none() || failed == 0 && reader == Reader::Hook && !outbox.is_news(&cause) {
        return Ok(None);
    }
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
    if parts.is_empty() {
        parts.push("no conversation can be saved a second time now".to_owned());
    }
    let mut cause = cause;
    if let Some((end, _)) = cause.char_indices().nth(MESSAGE_CAUSE_CHARS_MAX) {
        cause.truncate(end);
        cause.push('…');
    }
    let cause = if cause.is_empty() { String::new() } else { format!(" (failed to {cause})") };
    let look = format!("{} pending", settings.program.display());
    Ok(Some(format!("Threefold: {}{cause}. To look: {look}", parts.join("; "))))
}
