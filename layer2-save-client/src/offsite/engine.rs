//! `restic` as a child process: the one engine of the third place.
//!
//! It runs in a process group of its own, with an allow-list of the environment, and ends by silence, not by time: a
//! first push may take a day. What counts as progress is what it says it has done, and where the system tells, the bytes
//! that it moves. SIGTERM, 5 seconds, SIGKILL, always of the whole group.
//!
//! Its stdin is the lock of the third place: where this program is killed, no other call of ours begins while a
//! `restic` of ours still runs. So every lock in our repository is one that a killed `restic` left, which is why
//! [`Engine::unlock`] is right.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::config::threads;
use layer1_prebackup::fs::platform::process::{Group, Process, Signal, Work, reading_from, work_of};
use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::log::one_line;
use layer1_prebackup::wire::offsite::{FOLDER, Kind};
use serde::{Deserialize, Serialize};

use super::key::KeySource;
use super::options::Options;
use super::place::Place;
use super::trouble::Trouble;
use crate::error::{Error, failed};
use crate::interrupt::Interrupt;
use crate::report::in_words;
use crate::server_process::{self, Patience, ServerProcess};

/// The oldest version that says by its exit code what went wrong.
const VERSION_MIN: (u32, u32, u32) = (0, 17, 1);
/// Between two looks at the signals and at what it moves.
const LOOK: Duration = Duration::from_millis(200);
/// So many bytes, read or written, are progress; its retries of a server that does not answer move less.
const MOVED_BYTES_MIN: u64 = 256 * 1024;
/// So much work of a processor is progress: a key that is derived says nothing for seconds on a busy machine.
const CPU_MIN: Duration = Duration::from_millis(500);
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that wait to be looked at.
const CHUNKS_WAITING: usize = 4;
/// No line of its answers is longer, in bytes: the list of a hundred thousand snapshots.
const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The ladder by which it is ended.
const PATIENCE: Patience = Patience { after_eof: Duration::ZERO, after_term: Duration::from_secs(5) };
/// After it closed its output it ends at once.
const ENDING: Patience = Patience { after_eof: Duration::from_secs(30), after_term: Duration::from_secs(5) };
/// Held by whoever runs `restic` on our repository, in [`FOLDER`].
pub(crate) const LOCK: &str = "lock";
/// Which `restic` of ours runs; in [`FOLDER`].
const RUNNING: &str = "engine.json";
const RUNNING_BYTES_MAX: u64 = 4096;

/// How it ended, where that is no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Exit code 0.
    Well,
    /// Exit code 3: a snapshot was made, and something could not be read.
    Incomplete,
}

/// What is read of its output.
enum Output<'a> {
    /// Lines of JSON; those that tell of progress are not handed on.
    Lines(&'a mut dyn FnMut(&[u8]) -> Result<(), Error>),
    /// Words: the same again, but for the time, is no progress.
    Words(&'a mut dyn FnMut(&[u8]) -> Result<(), Error>),
    /// Bytes of what is stored.
    Raw(&'a mut dyn FnMut(&[u8]) -> Result<(), Error>),
}

/// `restic`, ready to be run. The lock of the third place is held as long as this is.
pub(crate) struct Engine<'a> {
    program: PathBuf,
    env: ChildEnv,
    pub(crate) store: PathBuf,
    /// Where it is run.
    folder: PathBuf,
    lock: &'a Lock,
    silence: Duration,
    upload_limit: Option<u64>,
    interrupt: &'a Interrupt,
    /// Such as `0.18.0`.
    pub(crate) version: String,
}

impl<'a> Engine<'a> {
    /// Finds it and asks for its version. A trouble where there is none, or an old one.
    pub(crate) fn start(
        options: &Options,
        (common, path): (&ChildEnv, OsString),
        store: &Path,
        lock: &'a Lock,
        interrupt: &'a Interrupt,
    ) -> Result<Engine<'a>, Error> {
        let (path, found) = options.find_engine(&path);
        let Some(program) = found else {
            let what = format!("restic is not installed; {}", how_to_install());
            return Err(Trouble::new(Kind::EngineMissing, what).into());
        };
        let mut engine = Engine {
            program,
            env: options.engine_env(common, path)?,
            store: store.to_owned(),
            folder: store.to_owned(),
            lock,
            silence: options.silence,
            upload_limit: options.upload_limit,
            interrupt,
            version: String::new(),
        };
        // Whoever finds the lock taken knows from here on that its owner lives.
        engine.note_running(std::process::id())?;
        let mut said = Vec::new();
        let mut take = |bytes: &[u8]| {
            said.extend_from_slice(bytes);
            Ok(())
        };
        engine.run(&["version".into()], Output::Raw(&mut take)).map_err(failed("ask restic for its version"))?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let version = said.split_whitespace().nth(1).unwrap_or_default().to_owned();
        if version_of(&version).is_none_or(|version| version < VERSION_MIN) {
            let what = format!(
                "{} is version {}, and 0.17.1 is the oldest that can be used; {}",
                engine.program.display(),
                one_line(&version),
                how_to_install()
            );
            return Err(Trouble::new(Kind::EngineOld, what).into());
        }
        engine.version = version;
        Ok(engine)
    }

    /// Runs it on a repository; each line of its output but those of progress is handed to `each`.
    pub(crate) fn lines(
        &self,
        repository: &str,
        args: &[&str],
        each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Ended, Error> {
        self.run(&self.args(repository, args), Output::Lines(each))
    }

    /// Runs it on a repository and hands on its output as it comes.
    pub(crate) fn bytes(
        &self,
        repository: &str,
        args: &[&str],
        each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Ended, Error> {
        self.run(&self.args(repository, args), Output::Raw(each))
    }

    /// Runs it on a repository; its output as text.
    pub(crate) fn text(&self, repository: &str, args: &[&str]) -> Result<String, Error> {
        let mut text = Vec::new();
        let mut take = |bytes: &[u8]| {
            text.extend_from_slice(bytes);
            if text.len() > LINE_BYTES_MAX { Err("read restic's answer: it is too long".into()) } else { Ok(()) }
        };
        self.run(&self.args(repository, args), Output::Words(&mut take))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The same, run in another folder: it leaves files where it is run.
    pub(crate) fn in_folder(&self, folder: &Path) -> Engine<'a> {
        Engine { folder: folder.to_owned(), ..self.again() }
    }

    /// The same, with another key.
    pub(crate) fn with_key(&self, key: &KeySource) -> Engine<'a> {
        Engine { env: self.env.clone().with(key.variables()), ..self.again() }
    }

    /// The same, which also opens the repository that it copies from, with this key.
    pub(crate) fn copying_with(&self, key: &KeySource) -> Engine<'a> {
        Engine { env: self.env.clone().with(key.variables_of_source()), ..self.again() }
    }

    fn again(&self) -> Engine<'a> {
        Engine {
            program: self.program.clone(),
            env: self.env.clone(),
            store: self.store.clone(),
            folder: self.folder.clone(),
            version: self.version.clone(),
            ..*self
        }
    }

    /// Removes the locks that killed ones of ours left: see the top of this file.
    pub(crate) fn unlock(&self, repository: &str) -> Result<(), Error> {
        // In a directory of this machine one look says whether there are any.
        let locks = Path::new(repository).join("locks");
        if locks.is_absolute() && std::fs::read_dir(locks).is_ok_and(|mut locks| locks.next().is_none()) {
            return Ok(());
        }
        self.text(repository, &["unlock", "--remove-all"]).map(drop)
    }

    fn args(&self, repository: &str, args: &[&str]) -> Vec<OsString> {
        let limit = self.upload_limit.map(|bytes| format!("--limit-upload={}", (bytes / 1024).max(1)));
        let words = args.iter().map(|arg| (*arg).to_owned()).chain(limit);
        ["-r".into(), repository.into()].into_iter().chain(words.map(OsString::from)).collect()
    }

    fn run(&self, args: &[OsString], mut output: Output<'_>) -> Result<Ended, Error> {
        let mut process = Command::new(&self.program);
        process.args(args).current_dir(&self.folder);
        self.env.apply(&mut process);
        let name = self.program.display().to_string();
        let (mut child, _, stdout) =
            server_process::start_with(process, self.lock.to_stdin()?, &name).map_err(failed("use the third place"))?;
        self.note_running(child.id())?;
        let watched = self.watch(&child, stdout, &mut output);
        let stopped = match &watched {
            Ok(()) => child.stop(ENDING),
            Err(_) => child.stop(PATIENCE),
        };
        watched?;
        let code = stopped.and_then(|status| status.code());
        judged(code, &child.last_lines(), args)
    }

    /// Reads its output until that ends. An error where it made no progress, or a signal came.
    fn watch(
        &self,
        child: &ServerProcess,
        stdout: impl Read + Send + 'static,
        output: &mut Output<'_>,
    ) -> Result<(), Error> {
        let chunks = chunks_of(stdout)?;
        let mut progress = Progress::begin();
        let mut rest = Vec::new();
        loop {
            match chunks.recv_timeout(LOOK) {
                Ok(chunk) => {
                    progress.received += chunk.len() as u64;
                    match output {
                        Output::Raw(each) => {
                            progress.made();
                            each(&chunk)?;
                        }
                        Output::Words(each) => {
                            progress.take_words(&chunk);
                            each(&chunk)?;
                        }
                        Output::Lines(each) => {
                            rest.extend_from_slice(&chunk);
                            take_lines(&mut rest, &mut progress, each)?;
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return match output {
                        Output::Lines(each) if !rest.is_empty() => each(&rest),
                        _ => Ok(()),
                    };
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.interrupt.came() {
                return Err("finish: this program was told to end".into());
            }
            progress.look_at(work_of(child.id()));
            if progress.last.elapsed() >= self.silence {
                let what = format!("no progress for {}", in_words(self.silence));
                return Err(Trouble::new(Kind::OffsiteUnreachable, what).into());
            }
        }
    }

    /// Notes which process runs, for [`end_orphan`].
    fn note_running(&self, engine: u32) -> Result<(), Error> {
        let running = Running { engine: Process::of(engine), owner: Process::of(std::process::id()) };
        let note = serde_json::to_vec(&running).map_err(failed("encode a process as JSON"))?;
        let folder = fs::Dir::create(&self.store)?.create_own_beneath(Path::new(FOLDER))?;
        // Of use only as long as the machine runs.
        Ok(folder.replace_file_unsynced(RUNNING.as_ref(), &note)?)
    }
}

/// A `restic` that was started, and who waits for it.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    engine: Process,
    owner: Process,
}

/// Ends a `restic` that a killed program of ours left, so that the lock that it holds is free; false where there is none.
/// To be called when that lock is held.
pub(crate) fn end_orphan(store: &Path) -> Result<bool, Error> {
    let note = fs::read_own(store, &Path::new(FOLDER).join(RUNNING), RUNNING_BYTES_MAX)?;
    let running: Option<Running> = note.and_then(|note| serde_json::from_slice(&note).ok());
    let Some(running) = running.filter(|running| !running.owner.is_running()) else { return Ok(false) };
    // One that was started and not noted any more has our lock for its stdin.
    let left = std::iter::once(running.engine).chain(reading_from(&store.join(FOLDER).join(LOCK)));
    let left: Vec<(Group, Process)> = left.filter_map(|engine| Some((Group::led_by(&engine)?, engine))).collect();
    if left.is_empty() {
        return Ok(false);
    }
    for (group, _) in &left {
        // ESRCH: it ended just now.
        let _ = group.signal(Signal::TERM);
    }
    let deadline = Instant::now() + PATIENCE.after_term;
    while left.iter().any(|(_, engine)| engine.is_running()) && Instant::now() < deadline {
        // Nothing tells when a process ends that is not a child of ours.
        std::thread::sleep(Duration::from_millis(20));
    }
    for (group, _) in &left {
        // What it started may have outlived it.
        let _ = group.signal(Signal::KILL);
    }
    Ok(true)
}

/// A trouble where the place is a directory that is not there: its disk is not mounted.
pub(crate) fn check_mounted(place: &Place) -> Result<(), Error> {
    match place.directory() {
        Some(directory) if !directory.is_dir() => {
            let what = format!("{} is not there; is its disk connected and mounted?", directory.display());
            Err(Trouble::new(Kind::NotMounted, what).into())
        }
        _ => Ok(()),
    }
}

/// When it last got on.
struct Progress {
    last: Instant,
    said: Option<Status>,
    words: Vec<u8>,
    /// What we read of it ourselves.
    received: u64,
    moved: u64,
    cpu: Duration,
}

/// What it says before it tries again.
const RETRYING: &[u8] = b"retrying after";

/// What `restic` says of its progress, without the times.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Status {
    percent_done: f64,
    files_done: u64,
    bytes_done: u64,
    files_restored: u64,
    bytes_restored: u64,
}

impl Progress {
    fn begin() -> Progress {
        Progress { last: Instant::now(), said: None, words: Vec::new(), received: 0, moved: 0, cpu: Duration::ZERO }
    }

    fn made(&mut self) {
        self.last = Instant::now();
    }

    fn look_at(&mut self, done: Work) {
        let moved = done.bytes_moved.saturating_sub(self.received);
        if moved >= self.moved + MOVED_BYTES_MIN || done.cpu >= self.cpu + CPU_MIN {
            (self.moved, self.cpu) = (moved, done.cpu);
            self.made();
        }
    }

    /// Takes lines in words, such as `[0:05] 40.00%  2 / 5 packs processed`; what it says of its retries is no progress.
    fn take_words(&mut self, chunk: &[u8]) {
        for line in chunk.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()) {
            let is_time = line.starts_with(b"[");
            let words = line.splitn(2, |byte| is_time && *byte == b']').last().unwrap_or_default();
            if words != self.words && !words.windows(RETRYING.len()).any(|words| words == RETRYING) {
                self.words = words.to_owned();
                self.made();
            }
        }
    }

    /// Takes a line that tells of progress; false for any other.
    fn take(&mut self, line: &[u8]) -> bool {
        if !line.starts_with(b"{\"message_type\":\"status\"") {
            return false;
        }
        let said = serde_json::from_slice(line).ok();
        if said != self.said {
            self.said = said;
            self.made();
        }
        true
    }
}

fn take_lines(
    rest: &mut Vec<u8>,
    progress: &mut Progress,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
        return if rest.len() > LINE_BYTES_MAX {
            Err("read restic's answer: a line is too long".into())
        } else {
            Ok(())
        };
    };
    let behind = rest.split_off(end + 1);
    for line in rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if !progress.take(line) {
            progress.made();
            each(line)?;
        }
    }
    *rest = behind;
    Ok(())
}

/// A thread reads: a child that says nothing must not keep its silence from being noticed.
fn chunks_of(mut stdout: impl Read + Send + 'static) -> Result<mpsc::Receiver<Vec<u8>>, Error> {
    let (send, chunks) = mpsc::sync_channel(CHUNKS_WAITING);
    let read = move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match stdout.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if send.send(buffer[..count].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // As at its end: its exit code says the rest.
                Err(_) => return,
            }
        }
    };
    threads::named("restic stdout").spawn(read).map_err(failed("start a thread"))?;
    Ok(chunks)
}

/// What an exit code means. One that is not known is a failure, as restic's manual demands. Only the reason is judged:
/// paths, ids and addresses, those of `args` among them, may hold any words.
fn judged(code: Option<i32>, words: &[String], args: &[OsString]) -> Result<Ended, Error> {
    let message = message_of(words);
    let said = one_line(&message);
    let trouble = |kind: Kind, what: String| Err(Trouble::new(kind, what).into());
    let reason = reason_of(&message, args);
    let is = |reasons: &[&str]| reasons.iter().any(|words| reason.contains(words));
    match code {
        Some(0) => Ok(Ended::Well),
        Some(3) => Ok(Ended::Incomplete),
        Some(10) => trouble(Kind::NotMounted, format!("no repository is there: {said}")),
        Some(11) => trouble(Kind::Locked, said),
        Some(12) => trouble(Kind::WrongKey, format!("the key opens no repository there: {said}")),
        Some(1) if is(&FULL) => trouble(Kind::OffsiteFull, said),
        Some(1) if is(&UNREACHABLE) => trouble(Kind::OffsiteUnreachable, said),
        Some(code) => {
            let what = format!("restic ended with exit code {code}: {said}");
            Err(Trouble { kind: Kind::OffsiteFailed, what, is_of_content: true }.into())
        }
        // That says nothing of what is stored.
        None => trouble(Kind::OffsiteFailed, format!("restic was killed: {said}")),
    }
}

/// A message in lower case without what stands in it of paths, ids and addresses: what was an argument, what is quoted or
/// in angle brackets, and each word with a slash.
fn reason_of(said: &str, args: &[OsString]) -> String {
    let addresses = args.iter().filter_map(|arg| arg.to_str()).filter(|arg| arg.contains(['/', ':']));
    let said = addresses.fold(said.to_owned(), |said, address| said.replace(address, "/"));
    let said = without(&without(&said.replace("\\\"", ""), '<', '>'), '"', '"');
    let words: Vec<&str> = said.split_whitespace().filter(|word| !word.contains('/')).collect();
    words.join(" ").to_lowercase()
}

/// Text without what stands between two marks.
fn without(text: &str, open: char, close: char) -> String {
    let mut is_inside = false;
    let is_outside = |c: &char| {
        let was_inside = is_inside;
        is_inside = if was_inside { *c != close } else { *c == open };
        !was_inside && !is_inside
    };
    text.chars().filter(is_outside).collect()
}

/// What it says of its failure: its last words are JSON where it was asked for that.
fn message_of(lines: &[String]) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: Option<String>,
        error: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        message: String,
    }
    let of_line = |line: &str| {
        let said: Said = serde_json::from_str(line).ok()?;
        said.message.or(said.error.map(|error| error.message))
    };
    let lines: Vec<String> = lines.iter().map(|line| of_line(line).unwrap_or_else(|| line.to_owned())).collect();
    let fatal = lines.iter().rev().find(|line| line.contains("Fatal:")).cloned();
    fatal.unwrap_or_else(|| lines.join("; ")).trim_start_matches("Fatal: ").to_owned()
}

/// Reasons of a place without room.
const FULL: [&str; 5] =
    ["no space left", "disk quota exceeded", "insufficient storage", "quotaexceeded", "file too large"];
/// Reasons that are of the way to a place.
const UNREACHABLE: [&str; 19] = [
    "connection refused",
    "no such host",
    "timeout",
    "timed out",
    "unreachable",
    "no route to host",
    "connection reset",
    "connection lost",
    "sftp session",
    "subprocess ssh",
    "unexpected eof",
    ": eof",
    "broken pipe",
    "dial tcp",
    "tls: ",
    "x509: ",
    "unable to connect",
    "server misbehaving",
    "name resolution",
];

fn version_of(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

/// How it gets onto this system.
fn how_to_install() -> &'static str {
    match layer1_prebackup::fs::platform::IS_MACOS {
        true => "brew install restic",
        false => "apt install restic (Debian 12 has an old one: take the .deb of Debian 13), or see restic.net",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_told_apart_and_unknown_ones_are_failures() {
        let check = |code: Option<i32>, words: &str, expected: &str| {
            let words: Vec<String> = words.lines().map(str::to_owned).collect();
            let judged = match judged(code, &words, &[]) {
                Ok(ended) => format!("{ended:?}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(judged, expected);
        };
        check(Some(0), "", "Well");
        check(Some(3), "", "Incomplete");
        let json = r#"{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}"#;
        let told = "use the third place: the key opens no repository there: wrong password or no key found (wrong-key)";
        check(Some(12), json, told);
        check(Some(11), "Fatal: repo already locked", "use the third place: repo already locked (locked)");
        let full =
            "Save failed: write: no space left on device\nFatal: unable to save snapshot: no space left on device";
        let told = "use the third place: unable to save snapshot: no space left on device (offsite-full)";
        check(Some(1), full, told);
        let away = "Fatal: unable to open repository: dial tcp 127.0.0.1:1: connect: connection refused";
        assert!(judged(Some(1), &[away.to_owned()], &[]).unwrap_err().to_string().ends_with("(offsite-unreachable)"));
        check(Some(9), "what", "use the third place: restic ended with exit code 9: what (offsite-failed)");
        check(None, "", "use the third place: restic was killed:  (offsite-failed)");
    }

    /// As restic 0.18 said it, of places and files whose names hold the words of other reasons.
    #[test]
    fn the_reason_is_judged_and_no_path_id_or_address() {
        let check = |repository: &str, said: &str, kind: Kind, is_of_content: bool| {
            let words: Vec<String> = said.lines().map(str::to_owned).collect();
            let args = ["-r", repository, "dump", "507507", "/p/ssh timeout.jsonl"].map(OsString::from);
            let trouble = judged(Some(1), &words, &args).unwrap_err().downcast::<Trouble>().unwrap();
            assert_eq!((trouble.kind, trouble.is_of_content), (kind, is_of_content), "{said}");
        };
        let content = |repository: &str, said: &str| check(repository, said, Kind::OffsiteFailed, true);
        let (disk, rest) = ("/media/no space left ssh/m507", "rest:http://tls.timeout:507/x");
        content(
            disk,
            "Fatal: cannot dump file: decrypting blob <data/507d7ad9> from e46681a0 failed: ciphertext verification failed",
        );
        content(
            disk,
            "Fatal: cannot dump file: ReadFull(<data/e46681a06b>): open /media/no space left ssh/m507/data/e4/e46681507f3a919: no such file or directory",
        );
        content(
            disk,
            "Load(<data/65264ae8e0>, 648655, 297954) failed: file is too short\nFatal: cannot dump file: ReadFull(<data/65264ae8e0>): file is too short",
        );
        content(disk, "Fatal: cannot dump file: path \"/p/ssh timeout.jsonl\" not found in snapshot");
        content(disk, "LoadRaw(<index/812b289ed1>): invalid data returned");
        content(
            disk,
            r#"{"message_type":"exit_error","code":1,"message":"no matching ID found for prefix \"507507\""}"#,
        );
        content(
            disk,
            r#"{"message_type":"error","message":"pack 507681a0: does not exist\n"}
{"message_type":"exit_error","code":1,"message":"Fatal: repository contains errors"}"#,
        );
        content(
            rest,
            "Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized\nIs there a repository at the following location?\nrest:http://tls.timeout:507/x",
        );
        content(
            "rclone:nosuch:x",
            "Fatal: unable to open repository at rclone:nosuch:x: exec: \"rclone\": executable file not found in $PATH",
        );
        content(
            "sftp:backup:x",
            "subprocess ssh: Warning: Permanently added 'backup' to the list of known hosts.\nFatal: cannot dump file: decrypting blob <data/770d7ad9> from e46681a0 failed: ciphertext verification failed",
        );
        let away = |repository: &str, said: &str| check(repository, said, Kind::OffsiteUnreachable, false);
        away(
            "sftp:127.0.0.1:/x",
            "subprocess ssh: ssh: connect to host 127.0.0.1 port 22: Connection refused\nFatal: unable to open repository at sftp:127.0.0.1:/x: unable to start the sftp session, error: error receiving version packet from server: server unexpectedly closed connection: unexpected EOF",
        );
        away(
            rest,
            "Fatal: unable to open config file: Head \"http://tls.timeout:507/x/config\": dial tcp: lookup tls.timeout on 10.255.255.53:53: no such host",
        );
        away(
            rest,
            "Fatal: cannot dump file: ReadFull(<data/65264ae8e0>): Get \"http://tls.timeout:507/x/data/65264ae8e0\": read tcp 127.0.0.1:1->127.0.0.1:507: i/o timeout",
        );
        let full = |said: &str| check(disk, said, Kind::OffsiteFull, false);
        full(
            r#"{"message_type":"exit_error","code":1,"message":"Fatal: unable to save snapshot: write /media/no space left ssh/m507/data/4d/4d9b-tmp-3004303256: no space left on device"}"#,
        );
        full("Fatal: unable to save snapshot: unexpected HTTP response (507): 507 Insufficient Storage");
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(version_of("0.17.0") < Some(VERSION_MIN) && version_of("0.9.6") < Some(VERSION_MIN));
        assert!(version_of("0.17.1") >= Some(VERSION_MIN) && version_of("0.18.0-dev") >= Some(VERSION_MIN));
        assert_eq!((version_of("1.0"), version_of("compiled")), (Some((1, 0, 0)), None));
    }

    #[test]
    fn the_same_words_again_are_no_progress() {
        let mut progress = Progress::begin();
        let long_ago = progress.last;
        let status = |seconds: u32, bytes: u64| {
            format!(
                r#"{{"message_type":"status","seconds_elapsed":{seconds},"percent_done":0.5,"bytes_done":{bytes}}}"#
            )
        };
        assert!(progress.take(status(1, 5).as_bytes()));
        let first = progress.last;
        assert!(first > long_ago);
        assert!(progress.take(status(2, 5).as_bytes()));
        assert_eq!(progress.last, first);
        let work = |bytes_moved: u64, cpu: Duration| Work { bytes_moved, cpu };
        progress.look_at(work(MOVED_BYTES_MIN - 1, CPU_MIN / 2));
        assert_eq!(progress.last, first);
        progress.look_at(work(MOVED_BYTES_MIN, CPU_MIN / 2));
        assert!(progress.last > first);
        let moved = progress.last;
        progress.look_at(work(MOVED_BYTES_MIN, CPU_MIN));
        assert_eq!(progress.last, moved);
        progress.look_at(work(MOVED_BYTES_MIN, CPU_MIN + CPU_MIN / 2));
        assert!(progress.last > moved);
        let moved = progress.last;
        assert!(progress.take(status(3, 6).as_bytes()) && progress.last > moved);
        assert!(!progress.take(b"{\"message_type\":\"summary\"}"));
        let mut moves = |words: &str| {
            let before = progress.last;
            progress.take_words(words.as_bytes());
            progress.last > before
        };
        assert!(moves("[0:01] 0.00%  0 / 5 packs processed\n") && !moves("[0:02] 0.00%  0 / 5 packs processed\n"));
        assert!(moves("[0:03] 20.00%  1 / 5 packs processed\n"));
        assert!(!moves("Load(<data/5f>) returned error, retrying after 4.2s: no such host\n"));
    }
}
