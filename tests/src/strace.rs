//! Running a program of ours under `strace`: what it wrote where, and what happens when one of
//! its system calls fails.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::run::{Outcome, Run, Running};
use crate::scratch::Scratch;

const STRACE: &str = "/usr/bin/strace";

/// Whether strace is there. Where it is not, says that `test` is skipped; under CI that is a failure.
pub fn is_here(test: &str) -> bool {
    let here = Path::new(STRACE).exists();
    assert!(here || env::var_os("CI").is_none(), "{test} needs {STRACE}");
    if !here {
        println!("skipped: {test} needs {STRACE}");
    }
    here
}

/// A program of ours to be traced.
pub struct Traced {
    trace: PathBuf,
    run: Run,
}

/// What a traced run did.
pub struct Trace {
    /// The program's outcome (strace passes the exit code or signal on).
    pub outcome: Outcome,
    /// The lines, each beginning with a process id.
    pub lines: Vec<String>,
}

impl Traced {
    /// `program args…` with only `calls` traced (comma separated); `options` are further ones for
    /// strace, such as `-e inject=…` or `-P PATH`.
    pub fn new(scratch: &Scratch, calls: &str, options: &[&str], program: &str, args: &[&str]) -> Traced {
        let trace = scratch.tmp().join("trace");
        let run = scratch.at_home(Run::new(STRACE)).args(["-f", "-qq", "-y", "-s", "64", "-o"]).arg(&trace);
        let run = run.args(["-e", &format!("trace={calls}")]).args(options).arg("--");
        Traced { run: run.arg(scratch.program(program)).args(args), trace }
    }

    /// The run, to be changed (its input, its environment).
    pub fn with(mut self, change: impl FnOnce(Run) -> Run) -> Traced {
        self.run = change(self.run);
        self
    }

    /// Starts it; gives the file that the trace is being written to as well.
    #[track_caller]
    pub fn spawn(self) -> (Running, PathBuf) {
        (self.run.spawn(), self.trace)
    }

    /// Runs it.
    #[track_caller]
    pub fn output(self) -> Trace {
        let outcome = self.run.output();
        let text = fs::read(&self.trace).unwrap_or_default();
        let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        Trace { outcome, lines }
    }
}

impl Trace {
    /// Whether an injected fault is seen: the mark of a changed result, or death by a signal.
    pub fn fault_fired(&self) -> bool {
        self.outcome.signal.is_some() || !self.faulted().is_empty()
    }

    /// The calls that were made to fail. strace counts in each thread by itself, so they may be
    /// several; a call at which the program was killed is the last that its trace shows.
    pub fn faulted(&self) -> Vec<&str> {
        let injected: Vec<&str> =
            self.lines.iter().map(String::as_str).filter(|line| line.contains("(INJECTED)")).collect();
        if !injected.is_empty() || self.outcome.signal.is_none() {
            return injected;
        }
        self.lines.iter().rev().map(String::as_str).find(|line| line.contains('(')).into_iter().collect()
    }
}

/// Bytes that calls of the write family put into files below `dir`, from the lines of a trace.
pub fn bytes_written_below(lines: &[String], dir: &Path) -> u64 {
    bytes_moved(lines, &WRITES, &format!("<{}/", dir.display()))
}

/// Bytes that calls of the read family took out of the file at `path`.
pub fn bytes_read_of(lines: &[String], path: &Path) -> u64 {
    bytes_moved(lines, &READS, &format!("<{}>", path.display()))
}

/// What these calls gave back, of those whose first descriptor is a file with this beginning of a name.
fn bytes_moved(lines: &[String], calls: &[&str], of: &str) -> u64 {
    let is_one = |line: &str| calls.iter().any(|call| line.contains(&format!(" {call}("))) && line.contains(of);
    let moved = |line: &str| -> Option<u64> { line.rsplit_once("= ")?.1.split(' ').next()?.parse().ok() };
    // A call that another thread interrupted is printed in two pieces: the path stands in the
    // first, the result in the second, of the same process.
    let mut open_calls: Vec<(&str, bool)> = Vec::new();
    let mut sum = 0;
    for line in lines {
        let pid = line.split(' ').next().unwrap_or("");
        if line.contains("<unfinished ...>") {
            open_calls.push((pid, is_one(line)));
        } else if line.contains(" resumed>") {
            let place = open_calls.iter().position(|(opener, _)| *opener == pid);
            if place.is_some_and(|place| open_calls.remove(place).1) {
                sum += moved(line).unwrap_or(0);
            }
        } else if is_one(line) {
            sum += moved(line).unwrap_or(0);
        }
    }
    sum
}

/// The calls that put bytes into a file.
pub const WRITES: [&str; 7] = ["write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile"];

/// The calls that take bytes out of a file.
pub const READS: [&str; 8] = ["read", "pread64", "readv", "preadv", "preadv2", "copy_file_range", "sendfile", "mmap"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_summed_by_path() {
        let lines = [
            r#"7 write(3</s/proj/a.jsonl>, "x"..., 100) = 100"#,
            r#"7 pwrite64(3</s/proj/a.jsonl>, "x", 50, 100) = 20"#,
            r#"7 write(1</elsewhere/file>, "x", 1000) = 1000"#,
            r#"7 read(3</s/proj/a.jsonl>, "x", 1000) = 1000"#,
            r#"7 write(4</s/b>, "x", 5 <unfinished ...>"#,
            r#"8 write(5</elsewhere/c>, "x", 300 <unfinished ...>"#,
            r#"8 <... write resumed>) = 300"#,
            r#"7 <... write resumed>) = 5"#,
            r#"7 write(3</s/full>, "x", 9) = -1 ENOSPC (No space left on device)"#,
        ];
        let lines: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
        assert_eq!(bytes_written_below(&lines, Path::new("/s")), 125);
        assert_eq!(bytes_read_of(&lines, Path::new("/s/proj/a.jsonl")), 1000);
    }
}
