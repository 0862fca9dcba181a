//! The test binaries: built by cargo, run side by side, and what each of them and of their tests cost.
//!
//! Many tests wait, for a time limit or a disk, so there are more of them at once than cores. What a test cost is read
//! off its binary's output. A binary starts its tests in the order of their names, the next one when a place is free,
//! and writes a line when one has ended; so the time of each line is when a test ended and when another began. That is
//! as exact as a line is fast, milliseconds on a quiet machine, and includes waiting for a core. It needs no flag of an unstable
//! compiler, and cargo alone.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use layer1_prebackup::fs::platform::process;
use serde_json::Value;
use wait_timeout::ChildExt;
use xshell::{Shell, cmd};

/// Every target that holds tests, with what is optional. A program without tests of its own would be linked once more for
/// nothing.
const TARGETS: [&str; 8] = ["--workspace", "--lib", "--bin", "xtask", "--test", "*", "--features", "tests/archive"];
/// So many binaries run at a time: the end-to-end tests take as long as all others together.
const AT_A_TIME: usize = 2;
/// So much of what a failed test said is shown once more, in lines, and of each so many characters.
const LINES_OF_A_FAILURE: usize = 12;
const LINE_OF_A_FAILURE: usize = 400;
/// So many tests of a binary run at a time, for each core.
const TESTS_PER_CORE: usize = 2;
/// So many of the slowest tests are listed.
const SLOWEST: usize = 20;

/// A test binary.
#[derive(Debug, Clone)]
pub(crate) struct Suite {
    name: String,
    program: PathBuf,
    /// The folder of its crate, in which it runs.
    folder: PathBuf,
}

/// How a test binary ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its crate and target.
    pub name: String,
    /// How it ended; `None` where it took too long and was killed.
    pub status: Option<ExitStatus>,
    /// All that it wrote.
    pub output: String,
    wall: Duration,
    tests: Vec<(Duration, String)>,
}

/// Builds them. `None` if that fails, which the compiler has explained.
pub(crate) fn build(sh: &Shell) -> Result<Option<Vec<Suite>>> {
    let build = cmd!(sh, "cargo test {TARGETS...} --locked --no-run --message-format json-render-diagnostics");
    let built = Command::from(build).stderr(Stdio::inherit()).output().context("run cargo test")?;
    let messages = String::from_utf8_lossy(&built.stdout);
    Ok(built.status.success().then(|| messages.lines().filter_map(suite).collect()))
}

fn suite(message: &str) -> Option<Suite> {
    let message: Value = serde_json::from_str(message).ok()?;
    let program = message.get("executable")?.as_str()?;
    let is_test = message.get("profile")?.get("test")?.as_bool()?;
    let folder = Path::new(message.get("manifest_path")?.as_str()?).parent()?;
    let target = message.get("target")?;
    let kind = target.get("kind")?.get(0)?.as_str()?;
    let crate_name = folder.file_name()?.to_string_lossy();
    let name = match kind {
        "test" => format!("{crate_name} {}", target.get("name")?.as_str()?),
        _ => crate_name.into_owned(),
    };
    is_test.then(|| Suite { name, program: program.into(), folder: folder.to_owned() })
}

/// Runs them all, and ends those that still run when the time is up.
pub(crate) fn run(
    suites: Vec<Suite>,
    args: &[&str],
    prepare: &(dyn Fn(&mut Command) + Sync),
    end: Instant,
) -> Result<Vec<Outcome>> {
    // The one that takes longest first.
    let (long, short): (Vec<_>, Vec<_>) = suites.into_iter().partition(|suite| suite.name.contains("e2e"));
    let waiting = Mutex::new(VecDeque::from_iter(long.into_iter().chain(short)));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let one_after_the_other = || {
        let suites = std::iter::from_fn(next);
        suites.map(|suite| run_one(&suite, args, prepare, end)).collect::<Result<Vec<_>>>()
    };
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(one_after_the_other)).collect();
        let ended = runners.into_iter().map(|runner| runner.join().map_err(|_| anyhow::anyhow!("run the tests"))?);
        Ok(ended.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

fn run_one(suite: &Suite, args: &[&str], prepare: &dyn Fn(&mut Command), end: Instant) -> Result<Outcome> {
    let Suite { name, program, folder } = suite;
    let threads = TESTS_PER_CORE * std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new(program);
    command.args(["--test-threads", &threads.to_string()]).args(args).current_dir(folder);
    command.env("CARGO_MANIFEST_DIR", folder).stdin(Stdio::null()).stdout(Stdio::piped());
    prepare(&mut command);
    // On a terminal Ctrl-C must reach the tests; where nobody can press it, a test that hangs has to be ended from
    // here, with all that it started.
    let is_group = !std::io::stdin().is_terminal();
    let begun = Instant::now();
    let started = if is_group { process::spawn_detached(&mut command) } else { command.spawn() };
    let mut child = started.with_context(|| format!("start the tests of {name}"))?;
    let output = child.stdout.take().with_context(|| format!("read the output of {name}"))?;
    let reader = std::thread::spawn(move || read(output, begun));
    let left = end.saturating_duration_since(Instant::now());
    let status = child.wait_timeout(left).with_context(|| format!("wait for the tests of {name}"))?;
    if status.is_none() {
        println!("ended: the tests of {name} took too long");
        kill(&mut child, is_group).with_context(|| format!("end the tests of {name}"))?;
    }
    let wall = begun.elapsed();
    let (output, ended) = match (status, is_group) {
        // Without a group to end, a test that was left behind may hold the pipe open for good.
        (None, false) => (String::new(), Vec::new()),
        _ => reader.join().map_err(|_| anyhow::anyhow!("read the output of {name}"))??,
    };
    Ok(Outcome { name: name.clone(), status, output, wall, tests: durations(ended, threads) })
}

fn kill(child: &mut Child, is_group: bool) -> std::io::Result<()> {
    match process::Group::of(child).filter(|_| is_group) {
        Some(group) => group.signal(process::Signal::KILL)?,
        None => child.kill()?,
    }
    child.wait().map(drop)
}

/// Everything that is written, and when which test ended. Its results are shown as they come; the rest, what failed and
/// why, when nothing more comes, so that two binaries do not mix theirs.
fn read(output: impl Read, begun: Instant) -> Result<(String, Vec<(String, Duration)>)> {
    let (mut all, mut held, mut ended) = (String::new(), String::new(), Vec::new());
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("read the output of a test")?).into_owned();
        match test_of(&line) {
            Some(test) => {
                ended.push((test.to_owned(), begun.elapsed()));
                println!("{line}");
            }
            None => held.extend([line.as_str(), "\n"]),
        }
        all.extend([line.as_str(), "\n"]);
    }
    print!("{held}");
    Ok((all, ended))
}

/// The test that ended, of a line like `test a::b ... ok`.
fn test_of(line: &str) -> Option<&str> {
    let (test, _) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some(test.split_once(" - ").map_or(test, |(name, _)| name))
}

/// How long each test ran, from when they ended, in this order: the first began at once, and each other one in the
/// place of one that had ended, in the order of their names.
fn durations(ended: Vec<(String, Duration)>, places: usize) -> Vec<(Duration, String)> {
    let begun = std::iter::repeat_n(Duration::ZERO, places).chain(ended.iter().map(|(_, at)| *at)).collect::<Vec<_>>();
    let mut by_name = ended;
    by_name.sort();
    by_name.into_iter().zip(begun).map(|((name, at), begun)| (at.saturating_sub(begun), name)).collect()
}

/// What each binary cost, and the slowest tests.
pub(crate) fn costs(outcomes: &[Outcome]) -> String {
    let mut text = format!("what each suite took, {AT_A_TIME} at a time:\n");
    let mut suites: Vec<_> = outcomes.iter().collect();
    suites.sort_by_key(|outcome| std::cmp::Reverse(outcome.wall));
    for Outcome { name, wall, tests, .. } in suites {
        text += &format!("{:8.1} s  {name}: {} tests\n", wall.as_secs_f64(), tests.len());
    }
    let named = |outcome: &Outcome| {
        outcome.tests.iter().map(|(took, test)| (*took, format!("{}: {test}", outcome.name))).collect::<Vec<_>>()
    };
    let mut tests: Vec<_> = outcomes.iter().flat_map(named).collect();
    tests.sort_by(|a, b| b.cmp(a));
    text += &format!("the {SLOWEST} slowest tests, from beginning to end:\n");
    for (took, test) in tests.into_iter().take(SLOWEST) {
        text += &format!("{:8.1} s  {test}\n", took.as_secs_f64());
    }
    text
}

/// What each failed test said first, once more: in a log of thousands of lines it is read at the end, or not at all.
pub(crate) fn failures(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for Outcome { name, output, .. } in outcomes {
        let mut shown = 0;
        for line in output.lines() {
            match line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
                Some(test) => {
                    text += &format!("failed: {name}: {test}\n");
                    shown = LINES_OF_A_FAILURE;
                }
                None if line == "failures:" || line == "stack backtrace:" => shown = 0,
                None if shown > 0 && !line.is_empty() => {
                    text += &format!("    {}\n", line.chars().take(LINE_OF_A_FAILURE).collect::<String>());
                    shown -= 1;
                }
                None => {}
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_said_once_more_without_the_stack() {
        let output = "running 2 tests\ntest a ... ok\ntest b::c ... FAILED\n\nfailures:\n\n---- b::c stdout ----\n\
             thread 'b::c' panicked at x.rs:1:2:\nleft: 1\n\nstack backtrace:\n   0: rust_begin\n\nfailures:\n    b::c\n";
        let outcome = |output: String| Outcome {
            name: "tests e2e".to_owned(),
            status: None,
            output,
            wall: Duration::ZERO,
            tests: Vec::new(),
        };
        let long = outcome(output.replace("left: 1", &"left\n".repeat(2 * LINES_OF_A_FAILURE)));
        let outcomes = [outcome("test a ... ok\n".to_owned()), outcome(output.to_owned())];
        insta::assert_snapshot!(failures(&outcomes), @r"
        failed: tests e2e: b::c
            thread 'b::c' panicked at x.rs:1:2:
            left: 1
        ");
        assert_eq!(failures(&[long]).lines().count(), 1 + LINES_OF_A_FAILURE);
    }

    #[test]
    fn a_test_begins_in_the_place_of_one_that_ended() {
        let at = Duration::from_secs;
        let ended = [("c", 1), ("a", 3), ("d", 4), ("b", 9)].map(|(name, end)| (name.to_owned(), at(end)));
        // a and b began at once; c would have been next, but ended first: then there were more places.
        let two = durations(ended.into(), 2);
        assert_eq!(two, [(at(3), "a".to_owned()), (at(9), "b".into()), (at(0), "c".into()), (at(1), "d".into())]);
    }

    #[test]
    fn only_what_ended_a_test_is_its_line() {
        assert_eq!(test_of("test a::b ... ok"), Some("a::b"));
        assert_eq!(test_of("test a - should panic ... FAILED"), Some("a"));
        for line in ["test a has been running for over 60 seconds", "test result: ok. 1 passed", "x test a ... ok"] {
            assert_eq!(test_of(line), None);
        }
    }

    #[test]
    fn costs_are_listed_slowest_first() {
        let outcome = |name: &str, secs, tests: &[(u64, &str)]| Outcome {
            name: name.to_owned(),
            status: None,
            output: String::new(),
            wall: Duration::from_secs(secs),
            tests: tests.iter().map(|(took, test)| (Duration::from_millis(*took), (*test).to_owned())).collect(),
        };
        let outcomes = [outcome("a", 2, &[(1500, "x"), (20, "y")]), outcome("b e2e", 9, &[(8040, "z")])];
        insta::assert_snapshot!(costs(&outcomes), @"
        what each suite took, 2 at a time:
             9.0 s  b e2e: 1 tests
             2.0 s  a: 2 tests
        the 20 slowest tests, from beginning to end:
             8.0 s  b e2e: z
             1.5 s  a: x
             0.0 s  a: y
        ");
    }

    #[test]
    fn cargos_messages_name_the_binaries() {
        let message = r#"{"reason": "compiler-artifact", "manifest_path": "/w/tests/Cargo.toml", "profile": {"test": true},
            "target": {"kind": ["test"], "name": "e2e"}, "executable": "/w/target/debug/deps/e2e-1"}"#;
        let found = suite(message).unwrap();
        assert_eq!((found.name.as_str(), found.folder.as_path()), ("tests e2e", Path::new("/w/tests")));
        assert!(suite(&message.replace("true", "false")).is_none());
        assert!(suite(r#"{"reason": "build-finished", "success": true}"#).is_none());
    }
}
