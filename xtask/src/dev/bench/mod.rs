//! `cargo xtask bench`: times beside the old chain and peers; with `--check`, instruction counts against
//! the committed ones; with `--scale`, a corpus of many gigabytes.
//!
//! It fetches the old chain's packages from npm, once, into cargo's folder; where that is impossible the
//! run goes on without the old chain and says so.

pub(crate) mod needs;

use std::ffi::OsString;

use anyhow::{Error, Result};
use xshell::{Shell, cmd};

use crate::release;
use crate::verb::AlreadyTold;

/// Kept here, below cargo's folder: packages, peers, the report.
const FOLDER: &str = "bench";

/// What was typed; the program understands it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Passed on to the program that measures; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    bench: Vec<OsString>,
}

impl Args {
    fn has(&self, flag: &str) -> bool {
        self.bench.iter().any(|arg| arg == flag)
    }
}

/// Runs the verb. Fails when something could not be measured or a count changed.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    let binaries = release::build(sh)?;
    let bench = release::tool(sh, "bench")?;
    let folder = release::target(sh)?.join(FOLDER);
    sh.create_dir(&folder)?;
    if args.has("--check") {
        needs::valgrind(sh)?;
    } else if !args.has("--scale") && !args.has("--help") {
        needs::old_chain(sh, &folder.join("old-chain"))?;
        if args.has("--with-peers") {
            needs::peers(sh, &folder.join("peers"))?;
        }
    }
    let given = &args.bench;
    let measured = cmd!(sh, "{bench} --folder {folder} {given...}").env("THREEFOLD_BIN_DIR", &binaries);
    // The program has told what is wrong.
    measured.quiet().run().map_err(|_| Error::msg(AlreadyTold))
}
