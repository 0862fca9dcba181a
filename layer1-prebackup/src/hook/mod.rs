//! Hook mode: read the event, copy, pass the event on. Whatever happens, the exit code is 0.
//!
//! The copy runs in a thread of its own, so that a source or a store that hangs cannot hold the
//! event back: after [`COPY_LIMIT`] the event is passed on and the process ends, in the middle of
//! the copy if need be, which the archive is made to survive.

pub(crate) mod complaint;
mod event_log;
mod failure;
mod user_message;
mod wait;

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::archive::{Archive, ArchiveError, Compare, SaveReport, SaveRequest, TranscriptState, keep_memory};
use crate::claude::remembered_dirs::remember;
use crate::claude::survey::memories;
use crate::claude::transcripts::claude_dir_of_transcript;
use crate::config::away;
use crate::config::threads;
use crate::fs::syscall::uninterrupted;
use crate::hook::failure::{CAUSE_NEWER, CAUSE_SETTINGS, Failure};
pub(crate) use crate::hook::failure::{Configure, HookConfig};
use crate::log::Log;
use crate::names::SessionId;
use crate::wire::event::{self, Event, EventError};

/// Longest wait for a complete event on stdin.
pub(crate) const STDIN_LIMIT: Duration = Duration::from_secs(2);
/// From the start of the program: then the event is passed on, copied or not. The contract's 5 s less a margin.
pub(crate) const COPY_LIMIT: Duration = Duration::from_millis(4800);
/// From the start of the program: then a reader that takes nothing is given up.
pub(crate) const PASS_ON_LIMIT: Duration = Duration::from_secs(20);
/// The event of a pipe that brought less than this until [`STDIN_LIMIT`] is taken to be all of it, in bytes/s.
const LARGE_EVENT_RATE: u128 = 1_000_000;
/// Longest silence of one that brings more.
const REST_WAIT: Duration = Duration::from_millis(500);
/// How long after its start a hook that Claude Code waits with goes on with side files.
const PROMPT_SIDES: Duration = Duration::from_millis(300);
/// So long before [`COPY_LIMIT`] any hook leaves the rest of them to the next.
const LIMIT_MARGIN: Duration = Duration::from_millis(800);
/// How often the end of a session is looked at again after a commit, while it still grows.
const LAST_LOOKS_MAX: u32 = 3;
/// Longest wait for the log line of a failure, after the event was passed on.
const LOG_LIMIT: Duration = Duration::from_millis(100);
/// A pipe that is ready takes at least this many bytes without blocking (POSIX's PIPE_BUF on Linux).
const PIPE_BYTES: usize = 4096;
/// The name of layer 1's log.
pub(crate) const LOG_NAME: &str = "layer1.log";

/// Runs hook mode; a quiet one passes nothing on, and tells the user of a failure by a `systemMessage`. Never fails:
/// what goes wrong is one line on `stderr` and in the log.
pub(crate) fn run(quiet: bool, configure: &Configure, stdin: impl AsFd, stdout: impl AsFd, mut stderr: impl io::Write) {
    let started = Instant::now();
    let (input, unread) = match event::read_event(&stdin, STDIN_LIMIT) {
        Ok(input) => (input, None),
        Err(error) => (Vec::new(), Some(Failure::new("stdin", format!("failed to read the hook event: {error}")))),
    };
    let is_cut = started.elapsed() >= STDIN_LIMIT;
    let (config, failure) = copy_within_limit(configure, &input, started + COPY_LIMIT);
    let complaint = config.as_ref().and_then(|config| config.complaint.clone());
    let failure = unread.or(failure).or_else(|| complaint.map(|text| Failure::new(CAUSE_SETTINGS, text)));
    if !quiet {
        let passed = pass_on(&stdout, &input, started + PASS_ON_LIMIT);
        let passed = match passed {
            Ok(true) if is_cut => pass_on_rest(stdin, stdout, input.len(), started, started + PASS_ON_LIMIT),
            passed => passed.map(drop),
        };
        // Nobody is left to tell if stderr is gone too.
        let _ = passed.map_err(|error| {
            let _ = writeln!(stderr, "layer1-prebackup: failed to pass the hook event on: {error}");
        });
    } else if let (Some(failure), Some(config)) = (&failure, &config) {
        let message = user_message::for_user(config, &input, failure);
        // As above.
        let _ = message.map(|message| pass_on(stdout, message.as_bytes(), started + PASS_ON_LIMIT));
    }
    if let Some(failure) = failure {
        // As above.
        let _ = writeln!(stderr, "layer1-prebackup: warning: {}", failure.text);
        if let Some(config) = config.filter(|_| failure.cause != CAUSE_NEWER) {
            log_within_limit(&config, format!("warning: {}", failure.text));
        }
    }
}

/// Copies in a thread of its own. The configuration too is found there: its places may be on a disk that hangs.
fn copy_within_limit(configure: &Configure, input: &[u8], deadline: Instant) -> (Option<HookConfig>, Option<Failure>) {
    let (sender, receiver) = mpsc::channel();
    let (found, configured) = mpsc::channel();
    let (shared, bytes) = (configure.clone(), input.to_vec());
    let spawned = threads::named("copy").spawn(move || {
        let failure = copy_now(&shared, &bytes, deadline, &|config| {
            // As below.
            let _ = found.send(config.clone());
        });
        // The receiver is gone only when the limit has passed, and then it has said so.
        let _ = sender.send(failure);
    });
    if spawned.is_err() {
        // Where no thread is to be had, nothing can be waited for, and all the same be copied.
        let config = RefCell::new(None);
        let failure = copy_now(configure, input, deadline, &|found| *config.borrow_mut() = Some(found.clone()));
        return (config.into_inner(), failure);
    }
    let failure = match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(failure) => failure,
        Err(_) => Some(Failure::new(
            "timeout",
            format!("failed to finish the copy within {COPY_LIMIT:?}; the next event goes on where it stopped"),
        )),
    };
    (configured.try_recv().ok(), failure)
}

fn copy_now(
    configure: &Configure,
    input: &[u8],
    deadline: Instant,
    configured: &dyn Fn(&HookConfig),
) -> Option<Failure> {
    let copied = catch_unwind(AssertUnwindSafe(|| {
        let event = Event::parse(input);
        let named = event.as_ref().ok().and_then(|event| event.transcript_path.as_deref());
        let config = match configure(named) {
            Ok(config) => config,
            Err(text) => return Some(Failure::new(CAUSE_SETTINGS, text)),
        };
        configured(&config);
        copy_for(&config, event, deadline)
    }));
    copied.unwrap_or_else(|panic| Some(panicked(panic.as_ref())))
}

/// Copies what the event means; what is not understood goes by the session that the environment names.
fn copy_for(config: &HookConfig, event: Result<Event, EventError>, deadline: Instant) -> Option<Failure> {
    let (event, not_understood) = match event {
        Ok(event) => (event, None),
        Err(error) => {
            let event = Event::of_session(config.session_id.as_deref().unwrap_or_default());
            (event, Some(Failure::new("event", format!("failed to {error}"))))
        }
    };
    copy(config, event, deadline).or(not_understood)
}

fn copy(config: &HookConfig, event: Event, deadline: Instant) -> Option<Failure> {
    let transcripts = event.transcripts(&config.home, &[&config.projects]);
    if transcripts.is_empty() {
        // Not every event names one.
        let named = event.transcript_path?;
        let error = SessionId::of_transcript(&named).err().map(|error| error.to_string()).unwrap_or_default();
        return Some(Failure::new("name", format!("failed to {error}")));
    }
    let mut failures = transcripts.iter().filter_map(|transcript| {
        let event = Event { transcript_path: Some(transcript.clone()), ..event.clone() };
        copy_one(config, &event, transcript, deadline)
    });
    let first = failures.next();
    // Each has its try.
    failures.for_each(drop);
    first
}

fn copy_one(config: &HookConfig, event: &Event, transcript: &Path, deadline: Instant) -> Option<Failure> {
    let id = match SessionId::of_transcript(transcript) {
        Ok(id) => id,
        Err(error) => return Some(Failure::new("name", format!("failed to {error}"))),
    };
    if config.policy.exclude.is_excluded(transcript, event.cwd.as_deref()) {
        return None;
    }
    wait::wait_for_transcript(event, deadline);
    let saved = save(config, event, &id, transcript, sides_until(event, deadline));
    let journaled = if config.journal { event_log::keep(&config.store, event, &id, transcript) } else { Ok(()) };
    let remembered = save_memory(config, event, transcript);
    match saved.and_then(|failure| journaled.map(|()| failure)) {
        Ok(failure) => failure.or(remembered),
        Err(error) => Some(Failure::of(&error)),
    }
}

/// Keeps what Claude Code remembers of the project. Not while it waits with a prompt: what a turn writes into the
/// memory is there when the turn ends.
fn save_memory(config: &HookConfig, event: &Event, transcript: &Path) -> Option<Failure> {
    let memory = (event.kind != "UserPromptSubmit").then(|| memories([transcript]).pop()).flatten()?;
    let report = match keep_memory(&config.store, &memory, Compare::Windows, &config.policy) {
        Ok(report) => report?,
        Err(error) => return Some(Failure::of(&error)),
    };
    report.problems.first().map(Failure::of)
}

fn save(
    config: &HookConfig,
    event: &Event,
    id: &SessionId,
    transcript: &Path,
    sides_until: Instant,
) -> Result<Option<Failure>, ArchiveError> {
    let store = &config.store;
    let opened = Archive::open(store)?;
    if opened.is_none() && crate::claude::transcripts::open_transcript(transcript)?.is_none() {
        return Ok(None);
    }
    let archive = match opened {
        Some(archive) => archive,
        None => match away::away(&config.home, store) {
            // No other place was to be had either.
            Some(why) => return Err(ArchiveError::Away(format!("use {}: {why}", store.display()))),
            None => Archive::create(store)?,
        },
    };
    let archive = archive.leaving_free(config.policy.free_space_floor);
    archive.drop_superseded(true);
    archive.leave_sides_after(sides_until);
    let request = SaveRequest {
        id,
        transcript,
        project: None,
        cwd: event.cwd.as_deref(),
        compare: compare_for(event),
        progress: &|_| {},
    };
    let report = save_to_the_end(&archive, &request, event)?;
    let log = Log::of_store(store, LOG_NAME, config.policy.log_level);
    if report.transcript == TranscriptState::Forgotten {
        log.line_with_time(&format!("skipped a conversation that you had forgotten, {}", event.trigger()));
        return Ok(None);
    }
    if report.transcript == TranscriptState::Stored && report.bytes_added > 0 {
        let project = report.key.as_ref().map_or("", |key| key.project.as_str());
        let but = match report.problems.len() {
            0 => String::new(),
            n => format!(", but {n} side files not"),
        };
        let but = match report.sides_left {
            0 => but,
            n => format!("{but}, {n} side files later"),
        };
        let text = format!(
            "saved {project}/{id}: {} bytes, {} new, {}{but}",
            report.source_bytes,
            report.bytes_added,
            event.trigger()
        );
        log.line_with_time(&text);
    }
    log.tell_shortcomings();
    complaint::keep(store, transcript, config.complaint.as_deref())?;
    // Without it nobody would notice that the disk is not there. The next hook writes it.
    let _ = away::note(&config.home, store);
    // The usual one needs no note. One that a killed run left unsynced is written again by the next hook, if it is lost.
    let other = claude_dir_of_transcript(transcript).filter(|dir| *dir != config.home.join(".claude"));
    if let Some(claude_dir) = other.filter(|_| report.source_bytes > 0) {
        remember(store, &claude_dir, &config.temp_dir)?;
    }
    Ok(report.problems.first().map(|first| {
        let mut failure = Failure::of(first);
        if report.problems.len() > 1 {
            failure.text.push_str(&format!(" (and {} more files)", report.problems.len() - 1));
        }
        failure
    }))
}

/// Saves, and at the end of a session looks again after each commit: the client writes its last line while the hook runs.
fn save_to_the_end(archive: &Archive, request: &SaveRequest<'_>, event: &Event) -> Result<SaveReport, ArchiveError> {
    let mut report = archive.save(request)?;
    if event.kind != "SessionEnd" {
        return Ok(report);
    }
    for _ in 0..LAST_LOOKS_MAX {
        if !report.problems.is_empty() || report.sides_left > 0 || !archive.is_behind(request.id, request.transcript)? {
            break;
        }
        // What was there was compared whole a moment ago.
        let again = archive.save(&SaveRequest { compare: Compare::Windows, ..*request })?;
        report = SaveReport {
            bytes_added: report.bytes_added + again.bytes_added,
            generations_begun: report.generations_begun + again.generations_begun,
            ..again
        };
    }
    Ok(report)
}

/// Until when side files are copied: a prompt waits for its hook, and no hook is to be cut off in the middle of one.
fn sides_until(event: &Event, deadline: Instant) -> Instant {
    let before = if event.kind == "UserPromptSubmit" { COPY_LIMIT - PROMPT_SIDES } else { LIMIT_MARGIN };
    deadline.checked_sub(before).unwrap_or(deadline)
}

fn compare_for(event: &Event) -> Compare {
    match event.kind.as_str() {
        "PreCompact" | "SessionEnd" => Compare::Whole,
        _ => Compare::Windows,
    }
}

/// Writes all of `bytes` unless the reader goes away (which is its right: then false) or takes nothing until `deadline`.
fn pass_on(stdout: impl AsFd, bytes: &[u8], deadline: Instant) -> io::Result<bool> {
    let mut written = 0;
    while written < bytes.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
        if uninterrupted(|| rustix::event::poll(&mut fds, Some(&timeout)))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let chunk = &bytes[written..bytes.len().min(written + PIPE_BYTES)];
        match uninterrupted(|| rustix::io::write(&stdout, chunk)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(wrote) => written += wrote,
            Err(Errno::AGAIN) => {}
            Err(Errno::PIPE) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Passes on what of a large event had not come by the limit, since `started`: half an event is none to who reads it.
/// Ends with the reader, and at `deadline` with an error where more would come.
fn pass_on_rest(
    stdin: impl AsFd,
    stdout: impl AsFd,
    passed: usize,
    started: Instant,
    deadline: Instant,
) -> io::Result<()> {
    let mut passed = passed;
    let is_large = |passed: usize| passed as u128 * 1000 >= started.elapsed().as_millis() * LARGE_EVENT_RATE;
    while passed < event::EVENT_BYTES_MAX && is_large(passed) {
        let mut piece = Vec::new();
        let left = deadline.saturating_duration_since(Instant::now());
        if !event::read_piece(&stdin, REST_WAIT.min(left), &mut piece)? || piece.is_empty() {
            break;
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if !pass_on(&stdout, &piece, deadline)? {
            break;
        }
        passed += piece.len();
    }
    Ok(())
}

/// A store that hangs must not hold up the end of the hook either.
fn log_within_limit(config: &HookConfig, text: String) {
    let log = Log::of_store(&config.store, LOG_NAME, config.policy.log_level);
    let (sender, receiver) = mpsc::channel();
    let spawned = threads::named("log").spawn(move || {
        log.line_with_time(&text);
        // See `Log` for why a lost line is all right; it went to stderr too.
        let _ = sender.send(());
    });
    if spawned.is_ok() {
        // Either the line is written or the limit has passed.
        let _ = receiver.recv_timeout(LOG_LIMIT);
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words");
    Failure::new("panic", format!("failed to copy: an internal error ({words}); please report it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Policy;
    use std::io::{Read, Write};
    use std::path::PathBuf;
    use std::sync::Arc;

    struct Ran {
        stdout: Vec<u8>,
        stderr: String,
    }

    fn run_with(config: &HookConfig, input: &[u8]) -> Ran {
        run_as(false, config, input)
    }

    fn run_as(quiet: bool, config: &HookConfig, input: &[u8]) -> Ran {
        let (stdin, mut feed) = io::pipe().unwrap();
        let (mut out, stdout) = io::pipe().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || feed.write_all(&input));
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut stderr = Vec::new();
        let config = config.clone();
        run(quiet, &(Arc::new(move |_: Option<&Path>| Ok(config.clone())) as Configure), &stdin, stdout, &mut stderr);
        feeder.join().unwrap().unwrap();
        Ran { stdout: reader.join().unwrap().unwrap(), stderr: String::from_utf8(stderr).unwrap() }
    }

    fn scene() -> (tempfile::TempDir, HookConfig, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let config = HookConfig {
            store: dir.path().join("store"),
            journal: false,
            temp_dir: dir.path().join("tmp"),
            policy: Policy::default(),
            complaint: None,
            home: dir.path().to_owned(),
            projects: dir.path().join("projects"),
            session_id: None,
        };
        let transcript = dir.path().join("projects/-p/s1.jsonl");
        (dir, config, transcript)
    }

    fn event(transcript: &Path, kind: &str) -> Vec<u8> {
        let path = transcript.display();
        format!(
            "{{\"session_id\":\"s1\",\"transcript_path\":\"{path}\",\"cwd\":\"/h/p\",\"hook_event_name\":\"{kind}\"}}\n"
        )
        .into_bytes()
    }

    #[test]
    fn the_event_is_passed_on_and_the_transcript_copied_twice_in_one_process() {
        let (_dir, config, transcript) = scene();
        crate::fs::replace_file(&transcript, b"one\n").unwrap();
        for _ in 0..2 {
            let input = event(&transcript, "PreCompact");
            let ran = run_with(&config, &input);
            assert_eq!(ran.stdout, input);
            assert_eq!(ran.stderr, "");
        }
        assert_eq!(std::fs::read(config.store.join("p/s1.jsonl")).unwrap(), b"one\n");
    }

    #[test]
    fn a_large_event_that_takes_longer_than_the_limit_to_come_is_passed_on_whole() {
        let (_dir, config, transcript) = scene();
        crate::fs::replace_file(&transcript, b"one\n").unwrap();
        let path = transcript.display();
        let half = "x".repeat(4_000_000);
        let event = format!("{{\"session_id\":\"s1\",\"transcript_path\":\"{path}\",\"prompt\":\"{half}{half}\"}}\n");
        let (first, second) = event.split_at(half.len());
        let (stdin, mut feed) = io::pipe().unwrap();
        let (mut out, stdout) = io::pipe().unwrap();
        let read = std::thread::scope(|scope| {
            scope.spawn(|| {
                let configure: Configure = Arc::new(move |_: Option<&Path>| Ok(config.clone()));
                run(false, &configure, stdin, stdout, io::sink());
            });
            feed.write_all(first.as_bytes()).unwrap();
            // The first bytes come out when the wait for the rest is over.
            let mut read = vec![0; half.len()];
            out.read_exact(&mut read).unwrap();
            scope.spawn(move || feed.write_all(second.as_bytes()).unwrap());
            out.read_to_end(&mut read).unwrap();
            read
        });
        assert!(read == event.as_bytes(), "{} of {} bytes", read.len(), event.len());
    }

    #[test]
    fn the_rest_of_a_large_event_ends_with_its_reader_and_at_its_deadline() {
        let large = event::EVENT_BYTES_MAX / 2;
        let (stdin, mut feed) = io::pipe().unwrap();
        let (out, stdout) = io::pipe().unwrap();
        drop(out);
        // More than a piece: what nobody reads any more is left where it is.
        let feeder = std::thread::spawn(move || feed.write_all(&vec![b'x'; 1_000_000]));
        let now = Instant::now();
        pass_on_rest(&stdin, stdout, large, now, now + PASS_ON_LIMIT).unwrap();
        drop(stdin);
        assert_eq!(feeder.join().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (stdin, mut feed) = io::pipe().unwrap();
        let (mut out, stdout) = io::pipe().unwrap();
        feed.write_all(b"more").unwrap();
        let ended = pass_on_rest(&stdin, stdout, large, now, now);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut passed = Vec::new();
        out.read_to_end(&mut passed).unwrap();
        assert!(passed.is_empty(), "{passed:?}");
    }

    #[test]
    fn what_is_appended_while_the_end_of_a_session_is_copied_is_copied_too() {
        let (_dir, config, transcript) = scene();
        crate::fs::replace_file(&transcript, b"one\n").unwrap();
        let (appended, lines) = (std::cell::Cell::new(0), transcript.clone());
        let append = |_: u64| {
            // While the first commit is made, and the second.
            if appended.get() < 2 {
                let mut file = std::fs::OpenOptions::new().append(true).open(&lines).unwrap();
                file.write_all(b"late\n").unwrap();
                appended.set(appended.get() + 1);
            }
        };
        let archive = Archive::create(&config.store).unwrap();
        let id = SessionId::parse("s1").unwrap();
        let (compare, progress) = (Compare::Whole, &append as &dyn Fn(u64));
        let request =
            SaveRequest { id: &id, transcript: &transcript, project: None, cwd: Some("/h/p"), compare, progress };
        let ended = Event { kind: "SessionEnd".to_owned(), ..Event::default() };
        let report = save_to_the_end(&archive, &request, &ended).unwrap();
        let copy = std::fs::read(config.store.join("p/s1.jsonl")).unwrap();
        assert_eq!(copy, std::fs::read(&transcript).unwrap());
        assert_eq!((report.bytes_added, report.generations_begun), (copy.len() as u64, 0));
    }

    #[test]
    fn an_event_that_is_a_little_wrong_or_no_event_at_all_still_copies() {
        for (input, tells) in [
            (r#"{"session_id":"other","transcript_path":"PATH","cwd":"/h/p"}"#, false),
            (r#"{"session_id":"../x","transcript_path":"PATH","cwd":"/h/p"}"#, false),
            (r#"{"transcript_path":"PATH","cwd":"/h/p"}"#, false),
            (r#"{"session_id":"s1","transcript_path":"/gone/projects/-p/s1.jsonl","cwd":"/h/p"}"#, false),
            (r#"{"session_id":"s1","cwd":"/h/p"}"#, false),
            ("", true),
            ("{\"session_id\":", true),
        ] {
            let (_dir, mut config, transcript) = scene();
            config.session_id = Some("s1".to_owned());
            crate::fs::replace_file(&transcript, b"{\"cwd\":\"/h/p\"}\n").unwrap();
            let ran = run_with(&config, input.replace("PATH", &transcript.display().to_string()).as_bytes());
            assert!(config.store.join("p/s1.jsonl").exists(), "{input}: {}", ran.stderr);
            assert_eq!(!ran.stderr.is_empty(), tells, "{input}: {}", ran.stderr);
        }
    }

    #[test]
    fn a_transcript_that_never_exists_leaves_nothing_at_all() {
        let (_dir, config, transcript) = scene();
        let input = event(&transcript, "SessionEnd");
        let ran = run_with(&config, &input);
        assert_eq!((ran.stdout, ran.stderr.as_str()), (input, ""));
        assert!(!config.store.exists());
    }

    #[test]
    fn broken_input_is_passed_on_as_it_came() {
        let (_dir, config, _) = scene();
        for input in [&b"{\"session_id\":"[..], b"", b"\0\xff", b"[1]\n{}\n"] {
            let ran = run_with(&config, input);
            assert_eq!(ran.stdout, input);
            assert!(ran.stderr.starts_with("layer1-prebackup: warning: failed to "), "{}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1);
        }
    }

    #[test]
    fn an_event_cut_at_any_byte_is_passed_on_as_it_came_and_leaves_nothing() {
        let (_dir, config, transcript) = scene();
        crate::fs::replace_file(&transcript, b"one\n").unwrap();
        let whole = event(&transcript, "SessionEnd");
        let brace = whole.len() - 2;
        for cut in 0..=brace {
            let input = &whole[..cut];
            let ran = run_with(&config, input);
            assert_eq!(ran.stdout, input, "{cut}");
            assert_eq!(ran.stderr.lines().count(), 1, "{cut}: {}", ran.stderr);
            assert!(!config.store.join("p").exists(), "{cut}");
        }
    }

    #[test]
    fn quiet_tells_the_user_once_an_hour_and_only_where_it_is_shown() {
        let (_dir, config, transcript) = scene();
        crate::fs::replace_file(&transcript, b"one\n").unwrap();
        assert!(run_as(true, &config, &event(&transcript, "Stop")).stdout.is_empty());
        crate::fs::replace_file(&transcript, b"one\ntwo\n").unwrap();
        // No copy fits on the disk.
        let config = HookConfig { policy: Policy { free_space_floor: u64::MAX, ..config.policy.clone() }, ..config };
        assert!(run_as(true, &config, &event(&transcript, "PostCompact")).stdout.is_empty());
        let told = run_as(true, &config, &event(&transcript, "Stop")).stdout;
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told.as_object().unwrap().keys().collect::<Vec<_>>(), ["systemMessage"]);
        assert!(run_as(true, &config, &event(&transcript, "UserPromptSubmit")).stdout.is_empty());
    }

    #[test]
    fn what_was_told_of_one_store_hides_nothing_of_another() {
        let (dir, config, transcript) = scene();
        crate::fs::replace_file(&transcript, b"one\n").unwrap();
        let told = |store: &str| {
            let store = dir.path().join(store);
            crate::fs::replace_file(&store, b"no directory").unwrap();
            let config = HookConfig { store, ..config.clone() };
            !run_as(true, &config, &event(&transcript, "Stop")).stdout.is_empty()
        };
        assert_eq!([told("a"), told("a"), told("b"), told("a")], [true, false, true, false]);
    }
}
