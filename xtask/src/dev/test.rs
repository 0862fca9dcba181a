//! `cargo xtask test`: everything that must hold, in one command, as CI runs it.
//!
//! It builds the release binaries first, because the end-to-end tests run those. The tests are run side by side and
//! what they took is told. There are no tests in doc comments, which cargo alone could run. The very last
//! line is `N passed, N failed, N skipped`, whatever happened before.

use std::io::Write;
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use layer1_prebackup::config::places;
use layer1_prebackup::fs::platform;
use layer1_prebackup::names::PROGRAMS;
use xshell::{Shell, cmd};

use crate::dev::machine::{has_tool, in_ci};
use crate::dev::targets::{self, Checked};
use crate::dev::{offsite_tools, suites};
use crate::release;

/// Where the end-to-end tests find the release binaries.
const BIN_DIR: &str = "THREEFOLD_BIN_DIR";
/// With this a test's output begins that found something missing on this machine, and passed for want of it.
const SKIPPED: &str = "skipped: ";
/// The whole verb ends within an hour; a test that hangs is ended before that.
const TESTS_TIMEOUT: Duration = Duration::from_secs(57 * 60);

/// How many checks went how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    const PASSED: Tally = Tally { passed: 1, failed: 0, skipped: 0 };
    const FAILED: Tally = Tally { passed: 0, failed: 1, skipped: 0 };
    const SKIPPED: Tally = Tally { passed: 0, failed: 0, skipped: 1 };
}

/// Runs every check, prints the closing line, and fails if a check did.
pub(crate) fn run(sh: &Shell) -> Result<()> {
    told(run_all(sh, Instant::now()))
}

/// [`run`], and then the checks that need nothing to run: the code of the other systems.
pub(crate) fn run_as_ci(sh: &Shell) -> Result<()> {
    let begun = Instant::now();
    let tally = run_all(sh, begun).and_then(|mut tally| {
        step(begun, "what only other systems compile");
        for checked in targets::check_all(sh)? {
            tally += match checked {
                Checked::Passed => Tally::PASSED,
                Checked::Failed => Tally::FAILED,
                Checked::Missing => Tally::SKIPPED,
            };
        }
        Ok(tally)
    });
    told(tally)
}

fn told(tally: Result<Tally>) -> Result<()> {
    let tally = tally.unwrap_or_else(|error| {
        eprintln!("error: failed to {error:#}");
        Tally::FAILED
    });
    std::io::stderr().flush().context("write to stderr")?;
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    if tally.failed > 0 {
        bail!(crate::verb::AlreadyTold);
    }
    Ok(())
}

fn run_all(sh: &Shell, begun: Instant) -> Result<Tally> {
    step(begun, "release binaries of the three layers");
    let (binaries, warnings) = release::build_watched(sh, &PROGRAMS)?;
    // The lints look at the code with what is optional; this is the compiler's look at it without.
    let mut tally = if warnings == 0 { Tally::PASSED } else { Tally::FAILED };
    step(begun, "system tools");
    let has_strace = has_strace(sh)?;
    let has_all = offsite_tools::fetch(sh)? && has_strace;
    step(begun, "formatting");
    tally += component(sh, "fmt", &["fmt", "--all", "--check"])?;
    step(begun, "lints");
    let with_all = ["--workspace", "--all-targets", "--features", "tests/archive", "--locked", "--quiet"];
    tally += component(sh, "clippy", &[&["clippy"], &with_all[..], &["--", "-D", "warnings"]].concat())?;
    step(begun, "documentation of the code");
    tally += documentation(sh)?;
    step(begun, "tests: unit, house rules, end to end on the release binaries");
    tally += tests(sh, &binaries, has_all, begun)?;
    Ok(tally)
}

/// Tells what begins, and how long the verb has run by then.
fn step(begun: Instant, what: &str) {
    println!("== {what} (after {} s)", begun.elapsed().as_secs());
}

/// A check by a component of the toolchain, skipped where that is not installed.
fn component(sh: &Shell, name: &str, args: &[&str]) -> Result<Tally> {
    if cmd!(sh, "cargo {name} --version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
        println!("skipped: cargo {name} is not installed");
        return Ok(Tally::SKIPPED);
    }
    let status = Command::from(cmd!(sh, "cargo {args...}")).status().with_context(|| format!("run cargo {name}"))?;
    Ok(if status.success() { Tally::PASSED } else { Tally::FAILED })
}

/// Every link in a doc comment leads somewhere, also where only this workspace can follow it.
fn documentation(sh: &Shell) -> Result<Tally> {
    let mut command = Command::from(cmd!(
        sh,
        "cargo doc --workspace --all-features --no-deps --document-private-items --locked --quiet"
    ));
    let status = command
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")
        .status()
        .context("run cargo doc")?;
    Ok(if status.success() { Tally::PASSED } else { Tally::FAILED })
}

fn has_strace(sh: &Shell) -> Result<bool> {
    if has_tool(sh, "strace") {
        return Ok(true);
    }
    if platform::IS_MACOS {
        println!("skipped: the tests that need strace, which is of Linux");
        return Ok(false);
    }
    if in_ci() {
        bail!("find strace, which the fault tests need: install the package `strace`");
    }
    println!("skipped: the tests that need strace; install the package `strace` to run them");
    Ok(false)
}

/// All tests, and what they cost.
fn tests(sh: &Shell, binaries: &Path, has_all: bool, begun: Instant) -> Result<Tally> {
    let Some(suites) = suites::build(sh)? else { return Ok(Tally::FAILED) };
    // The output of tests that passed is needed only where some of them may have skipped themselves.
    let shown: &[&str] = if has_all { &[] } else { &["--show-output"] };
    let foreign: Vec<_> =
        std::env::vars_os().map(|(name, _)| name).filter(|name| is_foreign(&name.to_string_lossy())).collect();
    let prepare = |command: &mut Command| {
        for name in &foreign {
            command.env_remove(name);
        }
        command.env(BIN_DIR, binaries);
    };
    let outcomes = suites::run(suites, shown, &prepare, begun + TESTS_TIMEOUT)?;
    step(begun, "what the tests cost");
    print!("{}{}", suites::costs(&outcomes), suites::failures(&outcomes));
    let mut tally = Tally::default();
    for outcome in outcomes {
        tally += with_status(tally_of(&outcome.output), outcome.status);
    }
    Ok(tally)
}

/// Variables that would lead the tests out of their scratch directories, or tell them of an
/// outer session of Claude Code.
fn is_foreign(name: &str) -> bool {
    let ours = [places::PRE_BACKUP_DIR, places::BACKUP_DIR, places::SESSION_DB_PATH];
    name.starts_with("CLAUDE") || name.starts_with("THREEFOLD_") || ours.contains(&name)
}

/// A run that did not compile, was killed, or was ended by us counts as one failure more, unless
/// the failures were counted already.
fn with_status(mut counted: Tally, status: Option<ExitStatus>) -> Tally {
    let succeeded = status.is_some_and(|status| status.success());
    if !succeeded && (counted.failed == 0 || status.is_none()) {
        counted += Tally::FAILED;
    }
    counted
}

fn tally_of(output: &str) -> Tally {
    let mut tally = Tally::default();
    for line in output.lines() {
        tally += tally_of_line(line);
    }
    let skipped_themselves = output.lines().filter(|line| line.starts_with(SKIPPED)).count() as u64;
    tally.passed = tally.passed.saturating_sub(skipped_themselves);
    tally.skipped += skipped_themselves;
    tally
}

/// The numbers in `test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out`.
fn tally_of_line(line: &str) -> Tally {
    let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
        return Tally::default();
    };
    let count = |what: &str| {
        let counted = counts.split("; ").find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok());
        counted.unwrap_or(0)
    };
    Tally { passed: count("passed"), failed: count("failed"), skipped: count("ignored") + count("filtered out") }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_counts_of_a_binary_are_read_from_its_output() {
        let output = "running 3 tests\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            the words test result: in a line do not count\n\
            skipped: order_of_syncs needs /usr/bin/strace\n\
            test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.20s\n";
        assert_eq!(tally_of(output), Tally { passed: 11, failed: 3, skipped: 6 });
    }

    #[test]
    fn a_run_that_ended_badly_never_counts_as_clean() {
        let (good, bad) = (Some(ExitStatus::from_raw(0)), Some(ExitStatus::from_raw(101 << 8)));
        let counted = Tally { passed: 5, ..Tally::default() };
        assert_eq!(with_status(counted, good).failed, 0);
        assert_eq!(with_status(counted, bad).failed, 1);
        assert_eq!(with_status(Tally { failed: 2, ..counted }, bad).failed, 2);
        assert_eq!(with_status(Tally { failed: 2, ..counted }, None).failed, 3);
    }

    #[test]
    fn tests_learn_nothing_of_an_outer_session() {
        for name in ["CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CONFIG_DIR", "BACKUP_DIR", "THREEFOLD_X"] {
            assert!(is_foreign(name), "{name}");
        }
        assert!(!is_foreign("PATH"));
    }
}
