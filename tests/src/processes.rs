//! Processes as `/proc` shows them, or `ps` where there is none: whose home they have, who their children are.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::run::{Outcome, Run, raw_pid};
use crate::waiting;

/// A process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// `R`, `S`, `Z`, …
    pub state: char,
    /// Its arguments, joined by blanks.
    pub command: String,
}

/// A process that calls itself `claude`, for as long as it is kept.
pub struct RunningClaude(std::process::Child);

impl RunningClaude {
    /// Starts it.
    pub fn start() -> RunningClaude {
        use std::io::{Read, Write};
        use std::os::unix::process::CommandExt;
        use std::process::{Command, Stdio};
        let mut cat = Command::new("/bin/cat");
        let mut claude = cat.arg0("claude").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start cat");
        // Once it answers, the system knows its words: right after the start it may not yet.
        claude.stdin.as_mut().expect("a pipe").write_all(b"x").expect("write to cat");
        claude.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("read of cat");
        RunningClaude(claude)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for RunningClaude {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("wait for cat");
    }
}

/// Every process, zombies included.
#[cfg(target_os = "linux")]
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("read /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// Every process, zombies included.
#[cfg(not(target_os = "linux"))]
pub fn all() -> Vec<Process> {
    ps(&["-axww", "-o", "pid=,ppid=,state=,command="]).lines().filter_map(of_ps).collect()
}

/// Every process whose environment holds `HOME=<home>`.
pub fn with_home(home: &Path) -> Vec<Process> {
    let wanted = format!("HOME={}", home.display()).into_bytes();
    // Gone meanwhile, or another user's: not one of ours.
    let has_home = |process: &Process| environment_of(process.pid).contains(&wanted);
    all().into_iter().filter(has_home).collect()
}

/// The environment of a process, as `NAME=value` lines; empty when it is gone.
pub fn environment(pid: u32) -> Vec<String> {
    let variables = environment_of(pid).into_iter().filter(|variable| !variable.is_empty());
    variables.map(|variable| String::from_utf8_lossy(&variable).into_owned()).collect()
}

#[cfg(target_os = "linux")]
fn environment_of(pid: u32) -> Vec<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// `ps` puts blanks between the variables: one whose value holds a blank comes in pieces.
#[cfg(not(target_os = "linux"))]
fn environment_of(pid: u32) -> Vec<Vec<u8>> {
    let text = ps(&["-Eww", "-o", "command=", "-p", &pid.to_string()]);
    text.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

#[cfg(not(target_os = "linux"))]
fn ps(args: &[&str]) -> String {
    let output = std::process::Command::new("/bin/ps").args(args).output().expect("start ps");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Ends a process and all its descendants as Claude Code does at a timeout: SIGTERM to the tree
/// found by parent links, SIGKILL 1.5 s later to what is left of it.
pub fn end_tree(root: u32) {
    let tree = descendants(root);
    for pid in &tree {
        let _ = kill_process(raw_pid(*pid), Signal::TERM); // It may have ended meanwhile.
    }
    let alive = |pid: &u32| process(*pid).is_some_and(|process| process.state != 'Z');
    if !waiting::holds_within(Duration::from_millis(1500), || !tree.iter().any(alive)) {
        for pid in tree.iter().filter(|pid| alive(pid)) {
            let _ = kill_process(raw_pid(*pid), Signal::KILL); // As above.
        }
    }
}

/// A process and all that descend from it by parent links.
pub fn descendants(root: u32) -> Vec<u32> {
    let processes = all();
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next];
        tree.extend(processes.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        next += 1;
    }
    tree
}

/// Runs a program to its end and gives, beside what it did, the most memory that it held at once,
/// in bytes, as its kernel counts it; looked at as often as can be, to the last moment.
#[track_caller]
pub fn peak_memory(run: Run, limit: Duration) -> (Outcome, u64) {
    let mut running = run.limit(limit).spawn();
    let mut peak = 0;
    waiting::await_until("the end of a run", limit, || {
        peak = peak.max(peak_kib(running.pid()) * 1024);
        running.has_ended()
    });
    assert!(peak > 0, "its memory was seen");
    (running.wait(), peak)
}

/// The most memory that a process has held so far, in KiB; 0 when it is gone. A child that was forked and is no program of
/// its own yet has what its parent has, which is not counted.
pub fn peak_kib(pid: u32) -> u64 {
    let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    // In this order: from then on it is another program.
    if pid != std::process::id() && program(&pid.to_string()) == program("self") {
        return 0;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.unwrap_or(0)
}

#[cfg(target_os = "linux")]
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its end.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
    Some(Process { pid, parent, state, command })
}

#[cfg(not(target_os = "linux"))]
fn process(pid: u32) -> Option<Process> {
    ps(&["-ww", "-o", "pid=,ppid=,state=,command=", "-p", &pid.to_string()]).lines().find_map(of_ps)
}

/// A line of `ps -o pid=,ppid=,state=,command=`.
#[cfg(any(test, not(target_os = "linux")))]
fn of_ps(line: &str) -> Option<Process> {
    let mut words = line.split_ascii_whitespace();
    let pid = words.next()?.parse().ok()?;
    let parent = words.next()?.parse().ok()?;
    let state = words.next()?.chars().next()?;
    Some(Process { pid, parent, state, command: words.collect::<Vec<_>>().join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_past_its_limit_is_killed_with_its_group() {
        let run = Run::new("/bin/sh").args(["-c", "sleep 60 & echo $!; wait"]).limit(Duration::from_millis(300));
        let outcome = run.output();
        assert!(outcome.timed_out && outcome.signal == Some(9), "{outcome:?}");
        let sleeper: u32 = outcome.text().trim().parse().expect("a process id");
        let gone = || all().iter().all(|process| process.pid != sleeper || process.state == 'Z');
        waiting::await_until("the end of the sleeper", Duration::from_secs(5), gone);
    }

    #[test]
    fn the_words_of_ps_are_understood() {
        let process = of_ps("  501     1 Ss   /bin/sh -c sleep 1").unwrap();
        assert_eq!((process.pid, process.parent, process.state), (501, 1, 'S'));
        assert_eq!(process.command, "/bin/sh -c sleep 1");
        assert!(of_ps("").is_none());
    }
}
