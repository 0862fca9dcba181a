//! The deliverer: all jobs of the outbox, one after the other, under a lock.
//!
//! It looks again after it has released the lock: a hook that wrote its job in between found the
//! lock held, started nothing, and relies on that look.

use layer1_prebackup::log::now_ms;
use layer1_prebackup::log::{in_one_line, one_line};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use layer1_prebackup::fs::Lock;
use layer1_prebackup::fs::platform::process::spawn_detached;
use layer1_prebackup::names::SessionId;
use serde_json::{Map, Value, json};

use crate::call_error::{CallError, Verdict};
use crate::client::{self, Connection};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::outbox::Outbox;
use crate::receipt::{self, Answer, FileEntry, RECEIPT_FORMAT, Receipt};
use crate::report::{self, Report};
use crate::retry::Attempts;
use crate::sessions::{self, Holdings};
use crate::settings::Settings;
use crate::settle;
use layer1_prebackup::wire::outbox_job::{Failed, Job, JobName};

/// After so many jobs in a row that a server hung or died on, it is the server, not the jobs:
/// the rest waits. Jobs with fewer attempts come first, so no job can keep the others back for good.
const SERVER_FAULTS_MAX: u32 = 3;
/// So often it is looked again for jobs of which none could be tried: one may come in while nobody looks.
const IDLE_PASSES_MAX: u32 = 3;

/// What became of a round of deliveries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Whether another deliverer is at work; then it does it all.
    pub(crate) is_busy_elsewhere: bool,
    /// Whether a signal ended it.
    pub(crate) was_interrupted: bool,
    /// Jobs that are done.
    pub(crate) settled: usize,
}

/// Delivers what is in the outbox, until nothing is left that was not tried.
pub(crate) fn run(settings: &Settings, report: &Report, interrupt: &Interrupt) -> Result<Summary, Error> {
    let outbox = Outbox::at(settings.places.outbox());
    let mut round = Round::new(settings, report, interrupt, &outbox);
    let mut idle = 0;
    loop {
        let tried = round.tried.clone();
        let Some(lock) = outbox.deliverer_lock()? else {
            round.summary.is_busy_elsewhere = true;
            return Ok(round.summary);
        };
        if let Err(error) = outbox.remove_temporaries() {
            // Litter is no reason to leave a conversation undelivered.
            report.line_with_time(&format!("failed to clean up the outbox: {}", in_one_line(&*error)));
        }
        if let Err(error) = settle::settle(&outbox, &lock, settings, report) {
            // As above.
            report.line_with_time(&format!("failed to settle jobs: {}", in_one_line(&*error)));
        }
        round.lock = Some(lock);
        let delivered = round.deliver_all();
        // First: the server may go on indexing for a while, and others have something to deliver meanwhile.
        round.lock = None;
        round.stop_server();
        delivered?;
        if interrupt.came() {
            round.summary.was_interrupted = true;
            return Ok(round.summary);
        }
        idle = if round.tried == tried { idle + 1 } else { 0 };
        if round.due()?.is_empty() {
            return Ok(round.summary);
        }
        if idle >= IDLE_PASSES_MAX {
            // It can be listed and not delivered: too few files may be open, say.
            report.line_with_time("not tried: jobs that could not be read; they wait");
            return Ok(round.summary);
        }
    }
}

/// [`run`], after jobs that could not be made durable: each is tried once, and nothing is kept of it but what the server
/// stores. They lie nowhere, so what keeps one from being delivered is an error.
pub(crate) fn with_unkept(
    settings: &Settings,
    report: &Report,
    interrupt: &Interrupt,
    unkept: Vec<(JobName, Job)>,
) -> Result<(), Error> {
    if unkept.is_empty() {
        return run(settings, report, interrupt).map(|_summary| ());
    }
    let outbox = Outbox::at(settings.places.outbox());
    let mut round = Round::new(settings, report, interrupt, &outbox);
    round.unkept = unkept;
    let delivered = round.deliver_unkept();
    round.stop_server();
    if let Err(error) = run(settings, report, interrupt) {
        // What keeps jobs from being written may keep the outbox from being used.
        report.warning(&format!("failed to deliver what waits in the outbox: {}", in_one_line(&*error)));
    }
    delivered
}

struct Round<'a> {
    settings: &'a Settings,
    report: &'a Report,
    interrupt: &'a Interrupt,
    outbox: &'a Outbox,
    /// The deliverer's, while there is something to deliver.
    lock: Option<Lock>,
    server: Option<Connection>,
    /// What the running server may read besides its own places.
    roots: Vec<PathBuf>,
    /// What is delivered instead of the outbox's jobs.
    unkept: Vec<(JobName, Job)>,
    /// Sequence numbers that this process has tried, whatever came of it.
    tried: BTreeMap<JobName, u64>,
    faults: u32,
    summary: Summary,
}

/// What became of one job.
enum Outcome {
    Settled,
    NotSettled(CallError),
    SetAside,
    Interrupted,
}

impl<'a> Round<'a> {
    fn new(settings: &'a Settings, report: &'a Report, interrupt: &'a Interrupt, outbox: &'a Outbox) -> Round<'a> {
        Round {
            settings,
            report,
            interrupt,
            outbox,
            lock: None,
            server: None,
            roots: Vec::new(),
            unkept: Vec::new(),
            tried: BTreeMap::new(),
            faults: 0,
            summary: Summary::default(),
        }
    }

    fn deliver_unkept(&mut self) -> Result<(), Error> {
        if let Some(why) = self.settings.second_away() {
            return Err(why.into());
        }
        let mut first_failure = Ok(());
        for (name, job) in self.unkept.clone() {
            let failure = match self.deliver(&name, &job)? {
                Outcome::Settled => continue,
                Outcome::NotSettled(error) => in_one_line(&error),
                Outcome::SetAside => "the server refuses it".to_owned(),
                Outcome::Interrupted => return Err(CallError::Interrupted.into()),
            };
            first_failure = first_failure.and(Err(format!("save {} a second time: {failure}", job.session_id).into()));
        }
        first_failure
    }

    /// Writes down at each job what it waits for.
    fn wait_for_the_disk(&mut self, why: &str) -> Result<(), Error> {
        let due = self.due()?;
        for (name, _) in due.iter().filter(|(_, job)| job.last_error.as_deref() != Some(why)) {
            self.outbox.update(name, |job| job.last_error = Some(why.to_owned()))?;
        }
        self.leave(&due, why);
        Ok(())
    }

    fn deliver_all(&mut self) -> Result<(), Error> {
        if let Some(why) = self.settings.second_away() {
            return self.wait_for_the_disk(&why);
        }
        for stranger in self.outbox.list()?.unreadable {
            self.report.line_with_time(&format!("left alone, failed to {stranger}"));
        }
        self.look_for_a_new_server()?;
        loop {
            let due = self.due()?;
            if due.is_empty() {
                return Ok(());
            }
            for (done, (name, job)) in due.iter().enumerate() {
                if self.interrupt.came() {
                    return Ok(());
                }
                self.tried.insert(name.clone(), job.seq);
                let outcome = self.deliver(name, job)?;
                self.summary.settled += usize::from(matches!(outcome, Outcome::Settled));
                if let Some(cause) = self.server_is_to_blame(&outcome) {
                    self.leave(&due[done + 1..], &cause);
                    return Ok(());
                }
            }
        }
    }

    /// Jobs that this process has not tried: fewest attempts first, then the oldest. Those set
    /// aside only if what they failed on has changed.
    fn due(&self) -> Result<Vec<(JobName, Job)>, Error> {
        let server = self.server.as_ref().map(Connection::server);
        let is_due = |(name, job): &(JobName, Job)| {
            let may_heal = |failed: &Failed| {
                self.settings.retry_failed
                    || failed.content != sessions::content_of(job)
                    || server.is_some_and(|server| server != failed.server)
            };
            self.tried.get(name) != Some(&job.seq) && job.failed.as_ref().is_none_or(may_heal)
        };
        let mut jobs: Vec<_> = self.outbox.list()?.jobs.into_iter().filter(is_due).collect();
        jobs.sort_by_key(|(_, job)| (job.attempts, job.created_ms));
        Ok(jobs)
    }

    /// With nothing but jobs that were set aside, a handshake tells whether the server has changed.
    fn look_for_a_new_server(&mut self) -> Result<(), Error> {
        let jobs = self.outbox.list()?.jobs;
        let untried = |(name, job): &&(JobName, Job)| self.tried.get(name) != Some(&job.seq);
        let are_all_set_aside =
            jobs.iter().filter(untried).any(|(_, job)| job.failed.is_some()) && self.due()?.is_empty();
        if are_all_set_aside && let Err(error) = self.connect() {
            self.report.line_with_time(&format!("failed to {}", in_one_line(&error)));
        }
        Ok(())
    }

    fn deliver(&mut self, name: &JobName, job: &Job) -> Result<Outcome, Error> {
        self.report.line_with_time(&format!("delivering {} (seq {}, {})", job.session_id, job.seq, job.trigger));
        let id = SessionId::parse(&job.session_id)?;
        let mut attempts = Attempts::new(self.settings.attempts, self.settings.delay);
        let mut is_source_refused = false;
        loop {
            let (number, of) = (attempts.number(), attempts.of());
            self.report.line(&report::attempt(number, of));
            let holdings = sessions::holdings(job, &id, &self.settings.places);
            let error = match self.attempt(name, job, &holdings, is_source_refused) {
                Ok(()) => return Ok(Outcome::Settled),
                Err(error) => error,
            };
            if matches!(error, CallError::Interrupted) {
                self.report.line_with_time("interrupted by a signal; the job waits");
                return Ok(Outcome::Interrupted);
            }
            if matches!(error, CallError::Refused(_)) && !is_source_refused && holdings.key.is_some() {
                // It may be a path that no server may follow. Layer 1's copy it may.
                is_source_refused = true;
                self.report.line_with_time(&format!("{}; now from layer 1's copy", in_one_line(&error)));
                continue;
            }
            self.report.line(&match error {
                CallError::Timeout { .. } => report::timeout(number, of),
                _ => report::failure(number, of, &in_one_line(&error)),
            });
            let pause = if error.verdict() == Verdict::Retry { attempts.next_pause() } else { None };
            let Some(pause) = pause else { return Ok(self.give_up(name, job, &id, number, error)) };
            self.report.line(&report::retrying(pause));
            if !self.interrupt.sleep(pause) {
                return Ok(Outcome::Interrupted);
            }
        }
    }

    /// One call, from the server's start if need be to the kept receipt and the removed job.
    fn attempt(
        &mut self,
        name: &JobName,
        job: &Job,
        holdings: &Holdings,
        is_source_refused: bool,
    ) -> Result<(), CallError> {
        let foreign_root = sessions::foreign_root(job, &self.settings.places);
        if foreign_root.is_some_and(|root| self.settings.server.is_none() && !self.roots.contains(&root)) {
            self.stop_server();
        }
        let path = sessions::path_for_the_server(job, holdings.key.as_ref(), &self.settings.places, is_source_refused);
        let connected = if self.server.is_none() { self.connect() } else { Ok(()) };
        let (answer, server) = match connected {
            Ok(()) => self.call(arguments(job, holdings, &path))?,
            Err(CallError::Runtime(_)) if self.settings.server.is_none() => self.save_by_command(job, &path)?,
            Err(error) => return Err(error),
        };
        let answer = receipt::check(&answer, &job.session_id, holdings.entries().as_deref(), self.settings.no_receipt)?;
        if let Some(what) = &holdings.unreadable {
            return Err(CallError::Layer1Unreadable(what.clone()));
        }
        self.acknowledge(name, job, holdings, answer, server)
    }

    fn call(&mut self, arguments: Map<String, Value>) -> Result<(Value, String), CallError> {
        let Some(server) = &mut self.server else { return Err(CallError::Interrupted) };
        match server.call(arguments, self.settings.timeout, self.interrupt) {
            Ok(answer) => Ok((answer, server.server().to_owned())),
            Err(error) if error.server_is_healthy() => Err(error),
            Err(error) => Err(self.server.take().map_or(CallError::Interrupted, |server| server.abandon(error))),
        }
    }

    /// What the server would do, without a server: for systems that cannot speak with one. The answer is the same.
    fn save_by_command(&self, job: &Job, path: &Path) -> Result<(Value, String), CallError> {
        let mut command = self.settings.server_command(&[]);
        command.args[0] = "save".into();
        let more = ["--json", "--trigger", &job.trigger, "--transcript"].map(OsString::from);
        command.args.extend(more.into_iter().chain([path.into()]));
        let mut process = Command::new(&command.program);
        process.args(&command.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        self.settings.child_env.apply(&mut process);
        let ran = spawn_detached(&mut process).and_then(Child::wait_with_output);
        let ran = ran.map_err(|source| CallError::Start { command: command.display(), source })?;
        let answer = serde_json::from_slice(&ran.stdout);
        let answer = answer.map_err(|_| CallError::Tool(format!("`layer3-indexer save` ended with {}", ran.status)))?;
        Ok((answer, "layer3-indexer save".to_owned()))
    }

    fn connect(&mut self) -> Result<(), CallError> {
        let jobs = if self.unkept.is_empty() { self.outbox.list()?.jobs } else { self.unkept.clone() };
        let mut roots: Vec<PathBuf> =
            jobs.iter().filter_map(|(_, job)| sessions::foreign_root(job, &self.settings.places)).collect();
        roots.sort();
        roots.dedup();
        let command = self.settings.server_command(&roots);
        let connection = client::connect(&command, &self.settings.child_env, self.settings.timeout, self.interrupt)?;
        self.server = Some(connection);
        self.roots = roots;
        Ok(())
    }

    fn stop_server(&mut self) {
        match self.server.take() {
            Some(server) if self.settings.server.is_none() && !self.interrupt.came() => server.stop_when_indexed(),
            Some(server) => server.stop(),
            None => {}
        }
    }

    /// The receipt is kept before the job goes: a crash in between delivers once more.
    fn acknowledge(
        &mut self,
        name: &JobName,
        job: &Job,
        holdings: &Holdings,
        answer: Answer,
        server: String,
    ) -> Result<(), CallError> {
        let new = |project, store_id, files, unreceipted| Receipt {
            format: RECEIPT_FORMAT,
            session_id: job.session_id.clone(),
            project,
            store_id,
            server,
            received_ms: now_ms(),
            unreceipted,
            files,
        };
        let (receipt, line) = match answer {
            Answer::Saved { project, store_id, files } => {
                let line = report::saved(&job.session_id, transcript_bytes(&files, &job.session_id));
                (Some(new(project, store_id, files, false)), line)
            }
            Answer::Unreceipted => {
                let files = holdings.entries().unwrap_or_default();
                let line = report::saved_without_receipt(&job.session_id);
                (Some(new(job.project.clone(), String::new(), files, true)), line)
            }
            Answer::Skipped { reason } => (None, report::skipped(&job.session_id, &one_line(&reason))),
        };
        if !self.unkept.is_empty() {
            // Nothing is kept of it, so nothing is said that a later run could rely on.
            self.report.line_with_time(&format!("delivered {} at once; no receipt could be kept", job.session_id));
            return Ok(());
        }
        if let Some(receipt) = receipt {
            let Some(lock) = &self.lock else { return Err(CallError::Interrupted) };
            // `drain` looks for it by what layer 1 calls the session.
            let kept_as = holdings.key.as_ref().map_or_else(
                || name.clone(),
                |key| JobName::of(&key.id, Some(key.project.as_str()), &job.transcript_path),
            );
            self.outbox.keep_receipt(lock, &kept_as, &receipt)?;
        }
        if !self.outbox.remove_if_unchanged(name, job.seq)? {
            // Another event came meanwhile. Its delivery is due at once, as a job of its own merit.
            self.outbox.update(name, forget_failures)?;
        }
        self.report.line(&line);
        Ok(())
    }

    /// After the last attempt: tells where the copy is and writes down why.
    fn give_up(&mut self, name: &JobName, job: &Job, id: &SessionId, attempts: u32, error: CallError) -> Outcome {
        self.report.line(&report::failed_after(attempts));
        let places = &self.settings.places;
        self.report.line(&match sessions::verified_copy(job, id, places) {
            Ok(Some(copy)) => report::fallback(&copy, &places.home),
            Ok(None) => report::no_copy(&job.session_id),
            Err(error) => {
                self.report.line_with_time(&format!("failed to {}", in_one_line(&*error)));
                report::no_copy(&job.session_id)
            }
        });
        let cause = in_one_line(&error);
        let failed = (error.verdict() == Verdict::SetAside).then(|| Failed {
            reason: cause.clone(),
            content: sessions::content_of(job),
            server: self.server.as_ref().map_or_else(String::new, |server| server.server().to_owned()),
            told: false,
            dismissed: false,
        });
        let is_set_aside = failed.is_some();
        if !self.unkept.is_empty() {
            return if is_set_aside { Outcome::SetAside } else { Outcome::NotSettled(error) };
        }
        let noted = self.outbox.update(name, |now| {
            now.attempts += u64::from(attempts);
            now.last_error = Some(cause);
            let earlier = now.failed.take();
            now.failed = failed.map(|failed| failed.again(earlier));
        });
        if let Err(error) = noted {
            // A full disk, say. The job is there as it was, and the other jobs may fare better.
            self.report.line_with_time(&format!("failed to note that in the outbox: {}", in_one_line(&*error)));
        }
        if is_set_aside { Outcome::SetAside } else { Outcome::NotSettled(error) }
    }

    /// The cause, when going on with other jobs makes no sense.
    fn server_is_to_blame(&mut self, outcome: &Outcome) -> Option<String> {
        match outcome {
            Outcome::NotSettled(error) if error.is_before_the_call() => Some(in_one_line(error)),
            Outcome::NotSettled(error) if !error.server_is_healthy() => {
                self.faults += 1;
                (self.faults >= SERVER_FAULTS_MAX).then(|| in_one_line(error))
            }
            Outcome::Interrupted => None,
            Outcome::Settled | Outcome::SetAside | Outcome::NotSettled(_) => {
                self.faults = 0;
                None
            }
        }
    }

    /// Leaves what came with this batch for another time. Jobs that came in meanwhile have their try.
    fn leave(&mut self, rest: &[(JobName, Job)], cause: &str) {
        if !rest.is_empty() {
            let count = rest.len();
            self.report.line_with_time(&format!("not tried: {count} more jobs, because of the server: {cause}"));
        }
        self.tried.extend(rest.iter().map(|(name, job)| (name.clone(), job.seq)));
    }
}

fn forget_failures(job: &mut Job) {
    job.attempts = 0;
    job.last_error = None;
    job.failed = None;
}

fn transcript_bytes(files: &[FileEntry], session_id: &str) -> u64 {
    let transcript = format!("{session_id}.jsonl");
    files.iter().find(|file| file.generation == 0 && file.path == transcript).map_or(0, |file| file.bytes)
}

fn arguments(job: &Job, holdings: &Holdings, path: &Path) -> Map<String, Value> {
    let mut arguments = Map::new();
    arguments.insert("session_id".to_owned(), json!(job.session_id));
    arguments.insert("transcript_path".to_owned(), json!(path.to_string_lossy()));
    // `drain` does not know it; the transcript does.
    arguments.insert("cwd".to_owned(), json!(job.cwd.as_deref().unwrap_or_default()));
    arguments.insert("trigger".to_owned(), json!(job.trigger));
    let project = holdings.key.as_ref().map(|key| key.project.as_str()).or(job.project.as_deref());
    if let Some(project) = project {
        arguments.insert("project".to_owned(), json!(project));
    }
    if let Some(files) = holdings.entries() {
        arguments.insert("expected".to_owned(), json!(files));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_as_saved_is_the_newest_transcript() {
        let entry =
            |path: &str, generation, bytes| FileEntry { path: path.into(), generation, bytes, blake3: "0".into() };
        let others = [entry("a/side", 0, 1), entry("b.jsonl", 0, 2), entry("a.jsonl", 3, 4)];
        for (files, expected) in [
            (others.to_vec(), 0),
            ([&others[..], &[entry("a.jsonl", 0, 8)]].concat(), 8),
            ([&[entry("a.jsonl", 0, 8)], &others[..]].concat(), 8),
        ] {
            assert_eq!(transcript_bytes(&files, "a"), expected, "{files:?}");
        }
    }
}
