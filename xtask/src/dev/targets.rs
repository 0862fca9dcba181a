//! The systems that Threefold is for, checked from any of them: what is compiled only there must compile.
//!
//! `cargo check` links nothing, so a target of rustup is enough. SQLite's C sources would want a C
//! compiler for that system; a program that does nothing takes its place.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use layer1_prebackup::fs::platform;
use xshell::{Shell, cmd};

/// What each release is for. `rustup target add TARGET` makes one checkable.
const TARGETS: [&str; 4] =
    ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl", "aarch64-apple-darwin", "x86_64-apple-darwin"];

/// What came of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Everything compiles for it, tests included, without a warning.
    Passed,
    /// Something does not; the compiler has said what.
    Failed,
    /// The toolchain here does not have it.
    Missing,
}

/// Checks them all, and fails if one does not pass.
pub(crate) fn run(sh: &Shell) -> Result<()> {
    if check_all(sh)?.contains(&Checked::Failed) {
        bail!(crate::verb::AlreadyTold);
    }
    Ok(())
}

/// Checks the workspace for every target but this machine's own, which the lints cover.
pub(crate) fn check_all(sh: &Shell) -> Result<Vec<Checked>> {
    let here = platform::target();
    let others = TARGETS.iter().filter(|target| **target != here);
    others.map(|target| check(sh, target)).collect()
}

fn check(sh: &Shell, target: &str) -> Result<Checked> {
    let root = cmd!(sh, "rustc --print sysroot").quiet().read()?;
    if !Path::new(&root).join("lib/rustlib").join(target).join("lib").is_dir() {
        println!("skipped: {target} is not installed; rustup target add {target}");
        return Ok(Checked::Missing);
    }
    println!("checking for {target}");
    let suffix = target.replace('-', "_");
    let mut command =
        Command::from(cmd!(sh, "cargo check --workspace --all-targets --locked --quiet --target {target}"));
    command.env(format!("CC_{suffix}"), "true").env(format!("AR_{suffix}"), "true").env("RUSTFLAGS", "-D warnings");
    let status = command.status().context("run cargo check")?;
    Ok(if status.success() { Checked::Passed } else { Checked::Failed })
}
