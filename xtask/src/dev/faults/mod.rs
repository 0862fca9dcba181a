//! `cargo xtask faults`: builds the release binaries and the fault engine, and sweeps. With
//! `--self-test` it sees that broken programs are noticed.

mod mutations;
mod self_test;

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use crate::release;
use crate::verb::AlreadyTold;

/// Scratch homes lie in memory where that is possible: the programs sync as ever, and it is fast.
const MEMORY: &str = "/dev/shm";
/// Instead of a sweep: break the programs, and see that it is noticed.
const SELF_TEST: &str = "--self-test";

/// What was typed; the engine understands it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Passed on to the fault engine; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    engine: Vec<OsString>,
}

/// Runs the verb. Fails when a promise was broken or a fault was not seen.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    ensure!(Path::new("/usr/bin/strace").exists(), "find /usr/bin/strace; install strace");
    let temp = std::env::temp_dir();
    let scratch = if Path::new(MEMORY).is_dir() { Path::new(MEMORY) } else { temp.as_path() };
    if args.engine.iter().any(|arg| arg == SELF_TEST) {
        ensure!(args.engine.len() == 1, "understand the arguments: {SELF_TEST} stands alone");
        return self_test::run(sh, scratch);
    }
    let binaries = release::build(sh)?;
    let engine = release::tool(sh, "faults")?;
    let given = &args.engine;
    let swept = cmd!(sh, "{engine} {given...}").env("THREEFOLD_BIN_DIR", &binaries).env("TMPDIR", scratch);
    // The engine has told what is wrong, and how to repeat it.
    swept.quiet().run().map_err(|_| anyhow::Error::msg(AlreadyTold))
}
