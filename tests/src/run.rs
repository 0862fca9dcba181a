//! Running a program as a test needs it: own process group, captured output, a limit after which
//! the whole group is killed.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use wait_timeout::ChildExt;

use crate::terminal::Terminal;

/// Longest run unless a test says otherwise.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How much of an output a failed assertion shows.
const SHOWN_CHARS_MAX: usize = 4000;

enum Input {
    Nothing,
    Ended(Vec<u8>),
    HeldOpen(Vec<u8>),
}

/// A program about to be run.
pub struct Run {
    command: Command,
    input: Input,
    limit: Duration,
    is_unread: bool,
}

/// What a run did. `elapsed` is the time until the program had exited *and* nobody held its
/// output any more, as a host that reads the pipes to their end sees it.
pub struct Outcome {
    /// The command line, for messages.
    pub shown: String,
    /// Exit code, when it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Everything it wrote to stdout.
    pub stdout: Vec<u8>,
    /// Everything it wrote to stderr.
    pub stderr: String,
    /// Until exit and the end of both outputs.
    pub elapsed: Duration,
    /// Until exit alone.
    pub exited_after: Duration,
    /// Until the last byte on stdout; zero when there was none.
    pub said_after: Duration,
    /// It did not end, or its output stayed open, within the limit.
    pub timed_out: bool,
}

/// A program that is running. Dropped, its process group is killed.
pub struct Running {
    shown: String,
    child: Child,
    started: Instant,
    limit: Duration,
    stdout: Receiver<(Instant, Vec<u8>)>,
    stderr: Receiver<(Instant, Vec<u8>)>,
    _held_open: Option<Receiver<ChildStdin>>,
    reaped: bool,
}

impl Run {
    /// A run of `program` with a cleared environment and no input.
    pub fn new(program: impl AsRef<Path>) -> Run {
        let mut command = Command::new(program.as_ref());
        command.env_clear().process_group(0);
        Run { command, input: Input::Nothing, limit: LIMIT, is_unread: false }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Run {
        self.command.args(args);
        self
    }

    /// Adds an argument.
    pub fn arg(self, arg: impl AsRef<std::ffi::OsStr>) -> Run {
        self.args([arg])
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, dir: &Path) -> Run {
        self.command.current_dir(dir);
        self
    }

    /// Input, then end of file.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.input = Input::Ended(bytes.into());
        self
    }

    /// Input after which the pipe stays open until the program has ended.
    pub fn stdin_held_open(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.input = Input::HeldOpen(bytes.into());
        self
    }

    /// Another limit than [`LIMIT`].
    pub fn limit(mut self, limit: Duration) -> Run {
        self.limit = limit;
        self
    }

    /// Lets it have so many KiB of addresses and no more.
    pub fn addresses(mut self, kib: u64) -> Run {
        let mut limited = Command::new("/bin/sh");
        limited.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")]);
        limited.arg(self.command.get_program()).args(self.command.get_args()).env_clear().process_group(0);
        limited.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.current_dir(self.command.get_current_dir().unwrap_or(Path::new("/")));
        self.command = limited;
        self
    }

    /// Hides these files from it alone, those of them that exist; `None` where the system does not let us.
    pub fn hiding(mut self, files: &[&str]) -> Option<Run> {
        let files: Vec<_> = files.iter().filter(|file| Path::new(file).is_file()).collect();
        if files.is_empty() {
            return Some(self);
        }
        let mounts: String = files.iter().map(|file| format!("mount --bind /dev/null '{file}' && ")).collect();
        let unshared = |then: &str| {
            let mut unshared = Command::new("/usr/bin/unshare");
            unshared.args(["--mount", "/bin/sh", "-c", &format!("PATH=/usr/bin:/bin; {mounts}{then}")]);
            unshared
        };
        if !unshared("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return None;
        }
        // The shell's search path is its own; the program gets the one that was set.
        let mut hidden = unshared("exec /usr/bin/env \"PATH=$0\" \"$@\"");
        let variables: Vec<_> = self.command.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
        let path = variables.iter().find(|(name, _)| *name == "PATH").map_or("".as_ref(), |(_, path)| *path);
        hidden.arg(path).arg(self.command.get_program()).args(self.command.get_args()).env_clear().process_group(0);
        hidden.envs(variables);
        hidden.current_dir(self.command.get_current_dir().unwrap_or(Path::new("/")));
        self.command = hidden;
        Some(self)
    }

    /// Starts it at a terminal of its own, where the test types; what was to be its input is not used.
    #[track_caller]
    pub fn at_terminal(self) -> Terminal {
        Terminal::start(self.command)
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn output(self) -> Outcome {
        self.spawn().wait()
    }

    /// Its standard output is a pipe whose reader has gone, as behind `| head` when that has seen enough.
    #[must_use]
    pub fn unread(mut self) -> Run {
        self.is_unread = true;
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        self.command.stdout(if self.is_unread { unread() } else { Stdio::piped() }).stderr(Stdio::piped());
        self.command.stdin(if matches!(self.input, Input::Nothing) { Stdio::null() } else { Stdio::piped() });
        let shown = format!("{:?}", self.command);
        let started = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("start {shown}: {error}"));
        let stdout = match child.stdout.take() {
            Some(stdout) => drained(stdout),
            None => drained(std::io::empty()),
        };
        let stderr = drained(child.stderr.take().expect("piped"));
        let held_open = match self.input {
            Input::Nothing => None,
            Input::Ended(bytes) => {
                fed(child.stdin.take().expect("piped"), bytes);
                None
            }
            Input::HeldOpen(bytes) => Some(fed(child.stdin.take().expect("piped"), bytes)),
        };
        Running { shown, child, started, limit: self.limit, stdout, stderr, _held_open: held_open, reaped: false }
    }
}

fn unread() -> Stdio {
    let (_, writer) = std::io::pipe().expect("make a pipe");
    writer.into()
}

/// Reads to the end in a thread, so that no full pipe ever stops the program.
fn drained(mut output: impl Read + Send + 'static) -> Receiver<(Instant, Vec<u8>)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        // An empty message says end of file; an error on a pipe we own means the same.
        while let Ok(count) = output.read(&mut buffer) {
            if sender.send((Instant::now(), buffer[..count].to_vec())).is_err() || count == 0 {
                break;
            }
        }
    });
    receiver
}

/// Writes in a thread; the pipe end closes when nobody keeps the receiver.
fn fed(mut stdin: ChildStdin, bytes: Vec<u8>) -> Receiver<ChildStdin> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // A program may well exit without reading its input.
        if stdin.write_all(&bytes).is_ok() {
            drop(sender.send(stdin));
        }
    });
    receiver
}

/// What came until the end of file or the deadline.
struct Collected {
    bytes: Vec<u8>,
    last: Option<Instant>,
    has_ended: bool,
}

fn collected(output: &Receiver<(Instant, Vec<u8>)>, deadline: Instant) -> Collected {
    let mut all = Collected { bytes: Vec::new(), last: None, has_ended: true };
    loop {
        match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((_, bytes)) if bytes.is_empty() => return all,
            Ok((at, bytes)) => {
                all.last = Some(at);
                all.bytes.extend(bytes);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return all,
            Err(mpsc::RecvTimeoutError::Timeout) => return Collected { has_ended: false, ..all },
        }
    }
}

impl Running {
    /// Its process id, which is its group's too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        // It may just have ended.
        let _ = kill_process(raw_pid(self.child.id()), signal);
    }

    /// Whether its limit is not reached yet.
    pub fn has_time(&self) -> bool {
        self.started.elapsed() < self.limit
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end, at most the run's limit; then kills its group.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        let deadline = self.started + self.limit;
        let left = deadline.saturating_duration_since(Instant::now());
        let status = self.child.wait_timeout(left).expect("wait for a child");
        let exited_after = self.started.elapsed();
        let ended = status.is_some();
        let status = status.unwrap_or_else(|| self.kill_group());
        self.reaped = true;
        let grace = Instant::now() + Duration::from_secs(1);
        let stdout = collected(&self.stdout, deadline.max(grace));
        let stderr = collected(&self.stderr, deadline.max(grace));
        Outcome {
            shown: std::mem::take(&mut self.shown),
            code: status.code(),
            signal: status.signal(),
            stdout: stdout.bytes,
            stderr: String::from_utf8_lossy(&stderr.bytes).into_owned(),
            elapsed: self.started.elapsed(),
            exited_after,
            said_after: stdout.last.map_or(Duration::ZERO, |last| last - self.started),
            timed_out: !(ended && stdout.has_ended && stderr.has_ended),
        }
    }

    fn kill_group(&mut self) -> ExitStatus {
        // The group is gone when the program was its last member and has just ended.
        let _ = kill_process_group(raw_pid(self.child.id()), Signal::KILL);
        self.child.wait().expect("reap a killed child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill_group();
        }
    }
}

/// A child's id as rustix takes it.
pub fn raw_pid(id: u32) -> Pid {
    Pid::from_raw(id as i32).expect("a process id is positive")
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.shown)?;
        writeln!(f, "exit code {:?}, signal {:?}, timed out: {}", self.code, self.signal, self.timed_out)?;
        writeln!(f, "exited after {:?}, ended after {:?}", self.exited_after, self.elapsed)?;
        let stdout: String = self.text().chars().take(SHOWN_CHARS_MAX).collect();
        let stderr: String = self.stderr.chars().take(SHOWN_CHARS_MAX).collect();
        write!(f, "--- stdout, {} bytes\n{stdout}\n--- stderr\n{stderr}\n---", self.stdout.len())
    }
}

impl Outcome {
    /// Asserts that it exited 0 within its limit.
    #[track_caller]
    pub fn ok(self) -> Outcome {
        assert!(self.code == Some(0) && !self.timed_out, "expected exit 0 in time: {self:#?}");
        self
    }

    /// Asserts that it exited with this code within its limit.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert!(self.code == Some(code) && !self.timed_out, "expected exit {code} in time: {self:#?}");
        self
    }

    /// Asserts that nothing was printed on stdout.
    #[track_caller]
    pub fn silent(self) -> Outcome {
        assert!(self.stdout.is_empty(), "expected nothing on stdout: {self:#?}");
        self
    }

    /// Asserts that nothing was said on stderr.
    #[track_caller]
    pub fn unworried(self) -> Outcome {
        assert!(self.stderr.is_empty(), "expected nothing on stderr: {self:#?}");
        self
    }

    /// Stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Stdout as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {self:#?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_exit_code_are_captured() {
        let run = Run::new("/bin/sh").args(["-c", "cat; echo bad >&2; exit 3"]).stdin("good");
        let outcome = run.output().exits(3);
        assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("good", "bad\n"));
    }

    #[test]
    fn an_output_that_is_held_open_counts_as_not_ended() {
        let run = Run::new("/bin/sh").args(["-c", "sleep 60 & exit 0"]).limit(Duration::from_millis(300));
        let running = run.spawn();
        let group = running.pid();
        let outcome = running.wait();
        assert!(outcome.timed_out && outcome.code == Some(0), "{outcome:?}");
        let _ = kill_process_group(raw_pid(group), Signal::KILL); // The sleeper.
    }

    #[test]
    fn input_can_be_held_open() {
        let run = Run::new("/bin/sh").args(["-c", "read line; echo \"$line\"; read more"]).stdin_held_open("one\n");
        let outcome = run.limit(Duration::from_millis(300)).output();
        assert!(outcome.timed_out && outcome.text() == "one\n", "{outcome:?}");
    }
}
