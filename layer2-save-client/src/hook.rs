//! Hook mode: from an event on stdin to a durable job and a deliverer that outlives the hook.

use layer1_prebackup::log::in_one_line;
use layer1_prebackup::log::now_ms;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::platform::process::{self, spawn_detached};
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::event::{Event, read_event};
use layer1_prebackup::wire::outbox_job::{Job, JobName};

use crate::deliver;
use crate::error::{Error, failed};
use crate::interrupt::Interrupt;
use crate::outbox::{NewJob, Outbox};
use crate::report::Report;
use crate::sessions::{self, Asked};
use crate::settings::Settings;
use crate::settle::is_nothing_owed;

/// How long the event is waited for: layer 1 stands before us in the pipe and may take 5 s.
pub(crate) const STDIN_WAIT: Duration = Duration::from_secs(8);

/// Reads the event, or says why there is none.
pub(crate) fn read(stdin: impl AsFd) -> Result<Event, Error> {
    let input = read_event(stdin, STDIN_WAIT);
    input.map_err(failed("read the hook event from stdin")).and_then(|bytes| Ok(Event::parse(&bytes)?))
}

/// Takes the event, writes the job, starts the deliverer and waits for it up to `wait`.
/// `session_id` is `CLAUDE_CODE_SESSION_ID`, for a pipe that brings nothing usable.
///
/// An event whose transcript exists nowhere is no error and leaves no trace.
pub(crate) fn run(
    event: Result<Event, Error>,
    session_id: Option<&str>,
    wait: Duration,
    settings: &Settings,
    report: &Report,
) -> Result<(), Error> {
    let archive = open_layer1(settings, report);
    let mut jobs = Vec::new();
    for asked in asked(event, session_id, &settings.places, report)? {
        jobs.extend(match sessions::jobs_for(&asked, &settings.places, archive.as_ref()) {
            Ok(jobs) => jobs,
            // Without layer 1 the source is all there is to go by.
            Err(error) if archive.is_some() => {
                report.warning(&format!("failed to look into layer 1's store: {}", in_one_line(&*error)));
                sessions::jobs_for(&asked, &settings.places, None)?
            }
            Err(error) => return Err(error),
        });
    }
    let exclude = &settings.places.policy.exclude;
    let is_excluded = |job: &NewJob| exclude.is_excluded(Path::new(&job.transcript_path), job.cwd.as_deref());
    let jobs: Vec<NewJob> = jobs.into_iter().filter(|job| !is_excluded(job)).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let outbox = Outbox::at(settings.places.outbox());
    if are_owed_nothing(&jobs, archive.as_ref(), &outbox, settings, report) {
        return Ok(());
    }
    let mut unkept = Vec::new();
    for job in &jobs {
        if let Err(error) = outbox.enqueue(job, now_ms()) {
            // The disk of the first copy, say, is full or broken. The second one has its own.
            let why = in_one_line(&*error);
            report.warning(&format!("failed to write down that {} is to be saved a second time ({why}); it is saved at once, and not tried again if that fails", job.id));
            unkept.push(Outbox::unkept(job, now_ms()));
        }
    }
    if settings.foreground {
        let interrupt = Interrupt::listen_or_not();
        return deliver::with_unkept(settings, report, &interrupt, unkept);
    }
    let mut deliverer = start_deliverer(settings, &unkept)?;
    // Still running after `wait`, or not to be waited for: either way the deliverer goes on without us, with jobs that
    // are durable or that it was given.
    let _ = process::wait_within(&mut deliverer, wait);
    Ok(())
}

/// Whether no server need be started for these: the second copy has all of them, and nothing else waits. In doubt it has not.
fn are_owed_nothing(
    jobs: &[NewJob],
    layer1: Option<&Archive>,
    outbox: &Outbox,
    settings: &Settings,
    report: &Report,
) -> bool {
    let Some(layer1) = layer1 else { return false };
    let nothing_owed = |job: &NewJob| is_nothing_owed(outbox, job, layer1, settings, report).unwrap_or(false);
    let are_owed_nothing = outbox.list().is_ok_and(|listing| listing.jobs.is_empty()) && jobs.iter().all(nothing_owed);
    if are_owed_nothing {
        jobs.iter().for_each(|job| report.line_with_time(&format!("nothing new of {} ({})", job.id, job.trigger)));
    }
    are_owed_nothing
}

/// Starts this program once more, in a process group of its own and with no pipe of ours: a held
/// stdout would hold up the host.
fn start_deliverer(settings: &Settings, unkept: &[(JobName, Job)]) -> Result<Child, Error> {
    let mut command = Command::new(&settings.program);
    command.args(settings.deliverer_args(unkept));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    settings.child_env.apply(&mut command);
    let doing = format!("start the deliverer {}", settings.program.display());
    spawn_detached(&mut command).map_err(failed(doing))
}

/// What is asked for, one a transcript: an event may be a little wrong, or say nothing at all.
fn asked(
    event: Result<Event, Error>,
    session_id: Option<&str>,
    places: &Places,
    report: &Report,
) -> Result<Vec<Asked>, Error> {
    let event = match (event, session_id) {
        (Ok(event), _) => event,
        (Err(_), Some(session_id)) => Event::of_session(session_id),
        (Err(error), None) => {
            let unusable = in_one_line(&*error);
            report.warning(&format!("failed to {unusable}; CLAUDE_CODE_SESSION_ID is not set either"));
            return Ok(Vec::new());
        }
    };
    let trigger = event.trigger();
    let found = event.transcripts(&places.home, &[&places.projects()]);
    if found.is_empty() {
        // Layer 1 may hold a copy of it.
        let id = SessionId::parse(&event.session_id)?;
        return Ok(vec![Asked { id, transcript: None, cwd: event.cwd, trigger }]);
    }
    let asked = |transcript: PathBuf| {
        let id = SessionId::of_transcript(&transcript)?;
        Ok(Asked { id, transcript: Some(transcript), cwd: event.cwd.clone(), trigger: trigger.clone() })
    };
    found.into_iter().map(asked).collect()
}

/// Layer 1's store, if it is there and can be read. Each layer must do its work alone.
fn open_layer1(settings: &Settings, report: &Report) -> Option<Archive> {
    match Archive::open(&settings.places.layer1_store) {
        Ok(archive) => archive,
        Err(error) => {
            report.warning(&format!("failed to open layer 1's store: {}", in_one_line(&error)));
            None
        }
    }
}
