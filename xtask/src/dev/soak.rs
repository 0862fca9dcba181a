//! `cargo xtask soak`: random kills of the whole chain, or weeks of events in minutes.

use std::ffi::OsString;

use anyhow::{Error, Result};
use xshell::{Shell, cmd};

use crate::release;
use crate::verb::AlreadyTold;

/// What was typed; the program understands it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// `kills`, `events`, `hostile` or `fuzz`, and their options; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "ARGS")]
    soak: Vec<OsString>,
}

/// Runs the verb. Fails when anything was lost.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    let binaries = release::build(sh)?;
    let soak = release::tool(sh, "soak")?;
    let given = &args.soak;
    // The program has told what was lost.
    let soaked = cmd!(sh, "{soak} {given...}").env("THREEFOLD_BIN_DIR", &binaries);
    soaked.quiet().run().map_err(|_| Error::msg(AlreadyTold))
}
