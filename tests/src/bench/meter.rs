//! What a program took: until it exited, until the last process that it left behind had ended, and
//! the CPU, memory and disk of all of them.
//!
//! It is run below a process of its own (this program again, as `bench meter`), which adopts whatever the
//! program leaves behind and waits for it too, so that a detached deliverer is counted where it belongs.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{WaitOptions, wait};
use serde_json::{Value, json};

use crate::run::Outcome;

/// A hang fails the run instead of holding it up.
const LIMIT: Duration = Duration::from_secs(3600);
/// Calls that make a disk write what it was given.
pub const SYNCS: &str = "fsync,fdatasync,sync_file_range,syncfs,sync,msync";

/// What one run took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Taken {
    /// Until the program itself had exited: what a hook's host waits for.
    pub exit_s: f64,
    /// Until nothing of it was left.
    pub end_s: f64,
    /// User and system time of all its processes.
    pub cpu_s: f64,
    /// Of its largest process.
    pub rss_bytes: u64,
    /// Given to the disk, as the kernel counts it.
    pub written_bytes: u64,
}

impl Taken {
    /// One run after the other.
    pub fn and_then(self, next: Taken) -> Taken {
        Taken {
            exit_s: self.exit_s + next.exit_s,
            end_s: self.end_s + next.end_s,
            cpu_s: self.cpu_s + next.cpu_s,
            rss_bytes: self.rss_bytes.max(next.rss_bytes),
            written_bytes: self.written_bytes + next.written_bytes,
        }
    }
}

/// A program to be measured: environment cleared, output thrown away, input from memory.
#[derive(Debug, Clone)]
pub struct Job {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: String,
}

impl Job {
    /// A run of `program`.
    pub fn new(program: impl Into<PathBuf>) -> Job {
        Job { program: program.into(), args: Vec::new(), env: Vec::new(), stdin: String::new() }
    }

    /// A command line of the shell that Claude Code uses.
    pub fn shell(line: &str) -> Job {
        Job::new("/bin/sh").args(["-c", line])
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Job {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Job {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// What it reads.
    pub fn stdin(mut self, text: impl Into<String>) -> Job {
        self.stdin = text.into();
        self
    }

    /// Measures it. An exit code other than 0 is an error.
    pub fn measured(&self) -> io::Result<Taken> {
        let own = std::env::current_exe()?;
        let mut line = vec!["meter".to_owned(), self.program.display().to_string()];
        line.extend(self.args.clone());
        let outcome = self.outcome(&own, &line);
        let taken: Value = serde_json::from_slice(&outcome.stdout)?;
        if taken["code"] != json!(0) {
            return Err(io::Error::other(format!(
                "{} {:?} ended with {}: {}",
                self.program.display(),
                self.args,
                taken["code"],
                outcome.stderr
            )));
        }
        let number = |name: &str| taken[name].as_f64().unwrap_or(f64::NAN);
        Ok(Taken {
            exit_s: number("exit_s"),
            end_s: number("end_s"),
            cpu_s: number("cpu_s"),
            rss_bytes: number("rss_bytes") as u64,
            written_bytes: number("written_bytes") as u64,
        })
    }

    /// Runs it once and counts its calls of [`SYNCS`]; `None` where strace is not there or may not trace.
    pub fn syncs(&self, scratch: &Path) -> Option<u64> {
        let trace = scratch.join("syncs.trace");
        // One line a call: the summary of `-c` would lose what a thread does not finish.
        let mut line = vec![
            "-f",
            "-qq",
            // Only the traced calls stop the program; all others pass at full speed.
            "--seccomp-bpf",
            "-e",
            "signal=none",
            "-e",
            &format!("trace={SYNCS}"),
            "-o",
            trace.to_str()?,
            "--",
        ]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
        line.push(self.program.display().to_string());
        line.extend(self.args.clone());
        if !Path::new(STRACE).exists() {
            return None;
        }
        self.outcome(Path::new(STRACE), &line);
        let text = fs::read_to_string(&trace).ok()?; // It could not trace: told as unknown.
        Some(text.lines().filter(|line| line.contains('(') && !line.contains(" resumed>")).count() as u64)
    }

    /// Runs it, not measured, and gives what it said. Panics unless it exits 0.
    #[track_caller]
    pub fn output(&self) -> Outcome {
        self.outcome(&self.program, &self.args).ok()
    }

    /// Runs another program in its place, with its environment and input.
    pub fn under(&self, program: &Path, args: &[String]) -> Outcome {
        let mut line = args.to_vec();
        line.push(self.program.display().to_string());
        line.extend(self.args.clone());
        self.outcome(program, &line)
    }

    fn outcome(&self, program: &Path, args: &[String]) -> Outcome {
        let run = crate::run::Run::new(program).args(args).stdin(self.stdin.clone()).limit(LIMIT);
        self.env.iter().fold(run, |run, (name, value)| run.env(name, value)).output()
    }
}

const STRACE: &str = "/usr/bin/strace";

/// `bench meter PROGRAM ARGS…`: runs it and prints what it took as one JSON object.
pub fn meter(program: &Path, args: &[String], out: &mut dyn Write) -> io::Result<()> {
    let mut stdin = Vec::new();
    io::stdin().read_to_end(&mut stdin)?;
    adopt_orphans()?;
    let written_before = written_bytes()?;
    let started = Instant::now();
    let mut command = Command::new(program);
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    // A program may well exit without reading its input.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(&stdin));
    let status = child.wait()?;
    let exit_s = started.elapsed().as_secs_f64();
    // What it left behind is ours now; without any, waiting says so.
    while wait(WaitOptions::empty()).is_ok() {}
    let end_s = started.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let taken = json!({
        "code": code(status),
        "exit_s": exit_s,
        "end_s": end_s,
        "cpu_s": seconds(usage.user_time()) + seconds(usage.system_time()),
        "rss_bytes": usage.max_rss() * 1024,
        "written_bytes": written_bytes()? - written_before,
    });
    writeln!(out, "{taken}")
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Of this process and of the children that it has waited for.
fn written_bytes() -> io::Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    written.ok_or_else(|| io::Error::other("/proc/self/io holds no write_bytes"))
}

/// Puts to the disk whatever is still to be written, so that nobody pays for what others wrote.
pub fn settle() {
    rustix::fs::sync();
}

/// Becomes the parent of what a program left running. The benchmarks run on Linux alone.
#[cfg(target_os = "linux")]
fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Takes a file out of the page cache, as a reboot would.
#[cfg(target_os = "linux")]
pub fn forget(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// There is no way to here.
#[cfg(not(target_os = "linux"))]
pub fn forget(_path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up_but_their_memory_does_not() {
        let one = Taken { exit_s: 1.0, end_s: 2.0, cpu_s: 3.0, rss_bytes: 10, written_bytes: 5 };
        let two = Taken { exit_s: 1.0, end_s: 1.0, cpu_s: 1.0, rss_bytes: 7, written_bytes: 5 };
        let sum = Taken { exit_s: 2.0, end_s: 3.0, cpu_s: 4.0, rss_bytes: 10, written_bytes: 10 };
        assert_eq!(one.and_then(two), sum);
    }

    #[test]
    fn syncs_are_counted() {
        if !crate::strace::is_here("counting syncs") {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("f");
        let line = format!("echo x > {0}; /bin/sync {0}; /bin/sync {0}", file.display());
        assert_eq!(Job::shell(&line).syncs(folder.path()), Some(2));
    }
}
