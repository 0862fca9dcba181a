//! `sweep`: copies every transcript that changed since its copy. The answer to sessions that were
//! killed, machines that crashed and hooks that never fired.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::{Archive, ArchiveError, Compare, SEEN, SaveRequest, Seen, TranscriptState, keep_memory};
use crate::claude::survey::{FoundTranscript, SourceStatus, memories, survey};
use crate::config::settings::Policy;
use crate::hook::LOG_NAME;
use crate::log::Log;
use crate::names::SessionId;
use crate::wire::event::{self, Event};

/// Claude Code writes one more line to the transcript of a session that `/clear`, `/resume` or
/// `/branch` has ended, after that session's last hook. Measured: it comes within 100 ms.
const LAST_LINE_WAIT: Duration = Duration::from_secs(1);
/// The sources of a SessionStart after which more is written of what was before: another session's last line, or a
/// compaction's boundary and summary, which come within a second. Measured: they were there 0.3 s later.
const SUCCESSIONS: [&str; 4] = ["clear", "resume", "fork", "compact"];

/// So long a start goes on with side files; what is left of them is the next one's to go on with.
const SIDES_LIMIT: Duration = Duration::from_secs(20);

/// What a sweep needs to know.
#[derive(Debug, Clone)]
pub(crate) struct SweepConfig {
    /// Layer 1's store.
    pub(crate) store: PathBuf,
    /// Claude Code's folders of transcripts.
    pub(crate) projects: Vec<PathBuf>,
    /// Compare all contents, whether the files changed or not.
    pub(crate) all: bool,
    /// Draw a progress bar (it draws on a terminal only).
    pub(crate) progress: bool,
    /// What is not copied, what is left free, what is logged.
    pub(crate) policy: Policy,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub(crate) struct SweepReport {
    /// Transcripts that exist.
    pub(crate) seen: usize,
    /// Transcripts that the user excluded.
    pub(crate) excluded: usize,
    /// Transcripts that were copied or compared.
    pub(crate) copied: usize,
    /// Bytes of content added, side files included.
    pub(crate) bytes_added: u64,
    /// Generations begun.
    pub(crate) generations_begun: u32,
    /// Side files that were left to the next sweep.
    pub(crate) sides_left: usize,
    /// What could not be copied, one line each.
    pub(crate) failures: Vec<String>,
}

/// Sweeps as the hook of SessionStart, whose event is read from `input` for at most `limit`: when
/// the session follows another of the same client, once more after that one's last line has come.
pub(crate) fn run_at_start(
    config: &SweepConfig,
    input: impl AsFd,
    limit: Duration,
) -> Result<SweepReport, ArchiveError> {
    let sides_until = Instant::now() + SIDES_LIMIT;
    let first = run(config, Some(sides_until))?;
    // The event says only whether to look again; what it could not say the next sweep makes up for.
    let event = event::read_event(input, limit).ok().and_then(|bytes| Event::parse(&bytes).ok());
    let source = event.filter(|event| event.kind == "SessionStart").and_then(|event| event.detail);
    if !source.is_some_and(|source| SUCCESSIONS.contains(&source.as_str())) {
        return Ok(first);
    }
    std::thread::sleep(LAST_LINE_WAIT);
    let second = run(config, Some(sides_until))?;
    Ok(SweepReport {
        copied: first.copied + second.copied,
        bytes_added: first.bytes_added + second.bytes_added,
        generations_begun: first.generations_begun + second.generations_begun,
        // What failed the first time and not the second is copied.
        ..second
    })
}

/// Sweeps once. One transcript that fails does not stop the others. After `sides_until` one side file of each session is
/// copied at most.
pub(crate) fn run(config: &SweepConfig, sides_until: Option<Instant>) -> Result<SweepReport, ArchiveError> {
    let (found, passed_over) = survey(&config.projects);
    let mut report = SweepReport { seen: found.len(), ..SweepReport::default() };
    let unread = passed_over.iter().filter(|passed| passed.is_unreadable);
    report.failures.extend(unread.map(|passed| format!("failed to read {}: {}", passed.path.display(), passed.why)));
    let memories = memories(&config.projects);
    let is_nothing = found.iter().chain(&memories).all(|found| found.bytes == 0);
    if is_nothing && Archive::open(&config.store)?.is_none() {
        return Ok(report);
    }
    let archive = Archive::create(&config.store)?.leaving_free(config.policy.free_space_floor);
    archive.drop_superseded(true);
    if let Some(until) = sides_until {
        archive.leave_sides_after(until);
    }
    let mut looking = Looking::at(&archive);
    let bar = if config.progress { progress_bar(found.len()) } else { ProgressBar::hidden() };
    for transcript in &found {
        if let Err(error) = sweep_one(config, &archive, transcript, &mut looking, &mut report) {
            report.failures.push(format!("failed to {error}"));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    looking.keep(&archive);
    for memory in &memories {
        keep_memory_of(config, memory, &mut report);
    }
    let log = Log::of_store(&config.store, LOG_NAME, config.policy.log_level);
    for failure in &report.failures {
        log.line_with_time(&format!("warning: sweep: {failure}"));
    }
    if report.copied > 0 {
        let later =
            if report.sides_left > 0 { format!(", {} side files later", report.sides_left) } else { String::new() };
        log.line_with_time(&format!(
            "sweep: {} of {} transcripts copied, {} new bytes{later}",
            report.copied, report.seen, report.bytes_added
        ));
    }
    log.tell_shortcomings();
    Ok(report)
}

/// What is known of the sessions without a look at each, or what comes to be known of them by a full look.
struct Looking {
    seen: Seen,
    /// The sources that were not behind, in a full look.
    saved: Option<BTreeMap<SessionId, SourceStatus>>,
}

impl Looking {
    fn at(archive: &Archive) -> Looking {
        let seen = Seen::read(archive.root(), SEEN, archive.store_id());
        let is_full = seen.is_due(archive);
        Looking { seen: if is_full { Seen::default() } else { seen }, saved: is_full.then(BTreeMap::new) }
    }

    fn is_saved(&self, archive: &Archive, found: &FoundTranscript) -> bool {
        self.seen.find(archive, found.id.as_str()).is_some_and(|seen| seen.is_saved(found, &found.path))
    }

    /// Keeps what a full look has seen.
    fn keep(self, archive: &Archive) {
        let Some(saved) = self.saved else { return };
        Seen::keep(archive.root(), SEEN, archive.see_all(&|key| saved.get(&key.id)));
    }
}

fn sweep_one(
    config: &SweepConfig,
    archive: &Archive,
    transcript: &FoundTranscript,
    looking: &mut Looking,
    report: &mut SweepReport,
) -> Result<(), ArchiveError> {
    if config.policy.exclude.is_excluded(&transcript.path, None) {
        report.excluded += 1;
        return Ok(());
    }
    if !config.all && looking.is_saved(archive, transcript) {
        return Ok(());
    }
    // Before it is compared: what changes meanwhile has another status.
    let status = looking.saved.as_ref().and_then(|_| transcript.status(None));
    if !config.all && !archive.is_behind_found(transcript)? {
        if let Some((saved, status)) = looking.saved.as_mut().zip(status) {
            saved.insert(transcript.id.clone(), status);
        }
        return archive.checkpoint(&transcript.id);
    }
    let request = SaveRequest {
        id: &transcript.id,
        transcript: &transcript.path,
        project: None,
        cwd: None,
        compare: if config.all { Compare::Whole } else { Compare::Windows },
        progress: &|_| {},
    };
    let saved = archive.save(&request)?;
    if !matches!(saved.transcript, TranscriptState::Absent | TranscriptState::Forgotten) || saved.bytes_added > 0 {
        report.copied += 1;
    }
    report.bytes_added += saved.bytes_added;
    report.generations_begun += saved.generations_begun;
    report.sides_left += saved.sides_left;
    report.failures.extend(saved.problems.iter().map(|problem| format!("failed to {problem}")));
    Ok(())
}

/// What Claude Code remembers of a project. It counts among the bytes and the failures, and not among the transcripts.
fn keep_memory_of(config: &SweepConfig, memory: &FoundTranscript, report: &mut SweepReport) {
    let compare = if config.all { Compare::Whole } else { Compare::Windows };
    match keep_memory(&config.store, memory, compare, &config.policy) {
        Ok(None) => {}
        Ok(Some(saved)) => {
            report.bytes_added += saved.bytes_added;
            report.failures.extend(saved.problems.iter().map(|problem| format!("failed to {problem}")));
        }
        Err(error) => report.failures.push(format!("failed to {error}")),
    }
}

fn progress_bar(length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} sweep {bar:30} {pos}/{len} transcripts {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Sweeps at a start with this event, before which the old session's last line is written.
    /// Gives how many transcripts were copied, and the copy.
    fn swept_at_start(event: &str) -> (usize, String) {
        let dir = tempfile::tempdir().unwrap();
        let transcript = dir.path().join("projects/-p/one.jsonl");
        std::fs::create_dir_all(transcript.parent().unwrap()).unwrap();
        std::fs::write(&transcript, "{\"cwd\":\"/p\"}\n").unwrap();
        let store = dir.path().join("store");
        let config = SweepConfig {
            store: store.clone(),
            projects: vec![dir.path().join("projects")],
            all: false,
            progress: false,
            policy: Policy::default(),
        };
        let copy = store.join("p/one.jsonl");
        let (input, mut client) = std::io::pipe().unwrap();
        let (expected, event) = (copy.clone(), event.to_owned());
        let writer = std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(60);
            // The log's line is the last thing that a sweep does.
            while !store.join(".log/layer1.log").exists() || !expected.exists() {
                assert!(Instant::now() < deadline, "the first copy does not come");
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut transcript = std::fs::OpenOptions::new().append(true).open(transcript).unwrap();
            transcript.write_all(b"{\"type\":\"cost-state\"}\n").unwrap();
            client.write_all(event.as_bytes()).unwrap();
        });
        let report = run_at_start(&config, input, Duration::from_secs(60)).unwrap();
        writer.join().unwrap();
        assert_eq!(report.failures, [""; 0]);
        (report.copied, std::fs::read_to_string(copy).unwrap())
    }

    #[test]
    fn the_line_that_follows_the_last_hook_of_a_cleared_session_is_copied() {
        for source in SUCCESSIONS {
            let event =
                format!("{{\"session_id\":\"two\",\"hook_event_name\":\"SessionStart\",\"source\":\"{source}\"}}\n");
            let (copied, copy) = swept_at_start(&event);
            assert!(copied == 2 && copy.ends_with("cost-state\"}\n"), "{source}: {copied} copied, {copy}");
        }
    }

    #[test]
    fn each_start_goes_on_with_the_side_files_that_the_one_before_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let sides = dir.path().join("projects/-p/one/tool-results");
        std::fs::create_dir_all(&sides).unwrap();
        std::fs::write(dir.path().join("projects/-p/one.jsonl"), "{\"cwd\":\"/p\"}\n").unwrap();
        (0..5).for_each(|n| std::fs::write(sides.join(format!("{n}.txt")), "result").unwrap());
        let config = SweepConfig {
            store: dir.path().join("store"),
            projects: vec![dir.path().join("projects")],
            all: false,
            progress: false,
            policy: Policy::default(),
        };
        let left = || run(&config, Some(Instant::now())).unwrap().sides_left;
        assert_eq!([left(), left(), left()], [4, 3, 2]);
        assert_eq!(run(&config, None).unwrap().sides_left, 0);
        assert_eq!(std::fs::read_dir(config.store.join("p/one/tool-results")).unwrap().count(), 5);
        assert_eq!(run(&config, Some(Instant::now())).unwrap().copied, 0);
    }

    #[test]
    fn any_other_start_sweeps_once() {
        let startup = "{\"session_id\":\"two\",\"hook_event_name\":\"SessionStart\",\"source\":\"startup\"}\n";
        for event in
            [startup, "{\"session_id\":\"two\",\"hook_event_name\":\"SessionEnd\",\"reason\":\"clear\"}\n", "?", ""]
        {
            assert_eq!(swept_at_start(event), (1, "{\"cwd\":\"/p\"}\n".to_owned()), "{event}");
        }
    }
}
