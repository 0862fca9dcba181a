//! The server as a process: started in a process group of its own, stopped within a bound.
//!
//! The ladder: its stdin is closed, it is waited for, SIGTERM goes to the whole group, it is
//! waited for, SIGKILL goes to the whole group. On every path, panics included, the process is
//! reaped and its group is empty afterwards, as far as a process can be killed at all.

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::log::one_line;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use layer1_prebackup::config::threads;
use layer1_prebackup::fs::platform::process::{self, Group, Signal, spawn_detached};

use crate::call_error::CallError;

/// How much of the end of the server's stderr is kept for the error message.
const STDERR_BYTES_KEPT: usize = 4096;
/// Lines of it that are shown.
const STDERR_LINES_SHOWN: usize = 3;
/// How long the last words of a dead server are waited for.
const STDERR_WAIT: Duration = Duration::from_millis(200);
/// How long a process is waited for that was sent SIGKILL; longer only if the kernel is stuck in its I/O.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long the rest of a killed group is waited for; whoever adopted it has to reap it.
const KILLED_GROUP_WAIT: Duration = Duration::from_millis(100);
const GROUP_POLL: Duration = Duration::from_millis(5);

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerCommand {
    /// Found in `PATH` if it has no slash.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
}

impl ServerCommand {
    /// For messages.
    pub(crate) fn display(&self) -> String {
        let args = self.args.iter().map(|arg| arg.to_string_lossy());
        let words: Vec<_> = std::iter::once(self.program.to_string_lossy()).chain(args).collect();
        one_line(&words.join(" "))
    }
}

/// How long each rung of the ladder waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// After its stdin was closed.
    pub(crate) after_eof: Duration,
    /// After SIGTERM.
    pub(crate) after_term: Duration,
}

impl Patience {
    /// Our own server goes on indexing what it has saved.
    pub(crate) const INDEXING: Patience =
        Patience { after_eof: Duration::from_secs(60), after_term: Duration::from_secs(2) };
    /// A server that did its work may finish what it has begun.
    pub(crate) const HEALTHY: Patience =
        Patience { after_eof: Duration::from_secs(5), after_term: Duration::from_secs(2) };
    /// A server that hung or broke the protocol.
    pub(crate) const BROKEN: Patience =
        Patience { after_eof: Duration::from_millis(500), after_term: Duration::from_secs(1) };
    /// This program was told to end, and will be killed itself about 1.5 s later.
    pub(crate) const INTERRUPTED: Patience =
        Patience { after_eof: Duration::from_millis(200), after_term: Duration::from_millis(300) };
}

/// A running server. Its stdin and stdout are with whoever started it.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    group: Option<Group>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    drained: mpsc::Receiver<()>,
    stopped: bool,
}

/// Starts the server with pipes for stdin, stdout and stderr, and the scrubbed environment.
pub(crate) fn start(
    command: &ServerCommand,
    env: &ChildEnv,
) -> Result<(ServerProcess, ChildStdin, ChildStdout), CallError> {
    let mut process = Command::new(&command.program);
    process.args(&command.args);
    env.apply(&mut process);
    let (mut server, stdin, stdout) = start_with(process, Stdio::piped(), &command.display())?;
    let Some(stdin) = stdin else {
        server.stop(Patience::BROKEN);
        return Err(CallError::Start { command: command.display(), source: io::Error::other("it has no pipes") });
    };
    Ok((server, stdin, stdout))
}

/// Starts any program so, with pipes for stdout and stderr; `name` is for the message.
pub(crate) fn start_with(
    mut process: Command,
    stdin: Stdio,
    name: &str,
) -> Result<(ServerProcess, Option<ChildStdin>, ChildStdout), CallError> {
    let fail = |source: io::Error| CallError::Start { command: name.to_owned(), source };
    process.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_detached(&mut process).map_err(fail)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (drained_sender, drained) = mpsc::channel();
    let mut server = ServerProcess { group: Group::of(&child), child, stderr: Arc::default(), drained, stopped: false };
    let (stdin, Some(stdout), Some(stderr)) = pipes else {
        server.stop(Patience::BROKEN);
        return Err(fail(io::Error::other("it has no pipes")));
    };
    // A thread, because a server that floods stderr must not block while the deliverer is busy
    // elsewhere. It ends with the pipe.
    let kept = Arc::clone(&server.stderr);
    let drain = move || {
        drain(stderr, &kept);
        // Nobody may be waiting any more.
        let _ = drained_sender.send(());
    };
    if let Err(error) = threads::named("server stderr").spawn(drain) {
        drop((stdin, stdout));
        server.stop(Patience::BROKEN);
        return Err(CallError::Runtime(error));
    }
    Ok((server, stdin, stdout))
}

impl ServerProcess {
    /// Goes up the ladder as far as needed. The server's stdin must be closed by now. Gives the
    /// exit status if the server had ended, or ended at the closed stdin, by itself.
    pub(crate) fn stop(&mut self, patience: Patience) -> Option<ExitStatus> {
        self.stopped = true;
        let by_itself = self.wait(patience.after_eof);
        if by_itself.is_none() {
            self.signal(Signal::TERM);
            if self.wait(patience.after_term).is_none() {
                self.signal(Signal::KILL);
                self.wait(KILL_WAIT);
                self.is_group_empty_within(KILLED_GROUP_WAIT);
                return None;
            }
        }
        self.empty_the_group(patience.after_term);
        by_itself
    }

    /// The last lines that the server wrote to stderr, in one line; empty if it was silent.
    pub(crate) fn last_words(&self) -> String {
        one_line(&self.last_lines().join(" | "))
    }

    /// The last lines that it wrote to stderr.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        // Disconnected or timed out: what is there is what there is.
        let _ = self.drained.recv_timeout(STDERR_WAIT);
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(STDERR_LINES_SHOWN)..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it ends within that time.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        // An error means that there is no such child (any more): nothing is left to wait for,
        // and the rungs that follow find an empty group.
        process::wait_within(&mut self.child, limit).ok().flatten()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // ESRCH: it has ended just now.
            let _ = group.signal(signal);
        }
    }

    /// Ends what the server had started and left behind. The group's number cannot be given to
    /// another process while a member lives, and between the last look and the signal only a
    /// wrap-around of all process numbers could do so.
    fn empty_the_group(&self, after_term: Duration) {
        if self.is_group_empty_within(Duration::ZERO) {
            return;
        }
        self.signal(Signal::TERM);
        if !self.is_group_empty_within(after_term) {
            self.signal(Signal::KILL);
            self.is_group_empty_within(KILLED_GROUP_WAIT);
        }
    }

    fn is_group_empty_within(&self, limit: Duration) -> bool {
        let Some(group) = self.group else { return true };
        let deadline = Instant::now() + limit;
        loop {
            if !group.is_there() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            // Nothing tells when a process ends that is not a child of ours.
            std::thread::sleep(GROUP_POLL);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if !self.stopped {
            self.stop(Patience::BROKEN);
        }
    }
}

fn drain(mut stderr: ChildStderr, kept: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 8192];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..count]);
                let surplus = kept.len().saturating_sub(STDERR_BYTES_KEPT);
                kept.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The words are for a message only; the server finds a closed pipe.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (ServerProcess, ChildStdin, ChildStdout) {
        let command = ServerCommand { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
        start(&command, &ChildEnv::default()).unwrap()
    }

    fn is_alive(pid: &str) -> bool {
        process::is_running(pid.parse().unwrap())
    }

    const QUICK: Patience = Patience { after_eof: Duration::from_millis(100), after_term: Duration::from_millis(300) };

    #[test]
    fn a_server_that_ends_at_eof_is_only_waited_for() {
        let (mut server, stdin, _stdout) = shell("while read -r line; do :; done; echo 'last words' >&2; exit 3");
        drop(stdin);
        let status = server.stop(Patience::HEALTHY);
        assert_eq!(status.and_then(|status| status.code()), Some(3));
        assert_eq!(server.last_words(), "last words");
    }

    #[test]
    fn one_that_ignores_eof_and_sigterm_is_killed_with_its_children() {
        let script = "trap '' TERM; sleep 1000 & echo $! $$; while :; do sleep 1000; done";
        let (mut server, stdin, mut stdout) = shell(script);
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        drop(stdin);
        let started = Instant::now();
        assert_eq!(server.stop(QUICK), None);
        assert!(started.elapsed() < Duration::from_secs(3));
        for pid in String::from_utf8(line).unwrap().split_whitespace() {
            assert!(!is_alive(pid), "{pid}");
        }
    }

    #[test]
    fn a_child_left_behind_by_a_server_that_ended_is_ended_too() {
        let (mut server, stdin, mut stdout) = shell("sleep 1000 >/dev/null 2>&1 & echo $!");
        let mut pid = String::new();
        stdout.read_to_string(&mut pid).unwrap();
        drop(stdin);
        assert!(server.stop(QUICK).is_some());
        assert!(!is_alive(pid.trim()));
    }

    #[test]
    fn a_dropped_server_is_stopped() {
        let (server, stdin, _stdout) = shell("exec sleep 1000");
        let pid = server.child.id().to_string();
        assert!(is_alive(&pid));
        drop(stdin);
        drop(server);
        assert!(!is_alive(&pid));
    }

    #[test]
    fn a_flood_on_stderr_does_not_block_and_its_end_is_kept() {
        let (mut server, stdin, mut stdout) =
            shell("head -c 3000000 /dev/zero >&2; echo >&2; echo the end >&2; echo done");
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done\n");
        drop(stdin);
        server.stop(QUICK);
        assert!(server.last_words().ends_with("the end"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let command = ServerCommand { program: "/nonexistent/server".into(), args: vec!["serve".into()] };
        let error = start(&command, &ChildEnv::default()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/server serve"), "{error}");
    }
}
