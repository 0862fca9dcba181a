//! `cargo xtask record`: the README's picture of a loss and its recovery, made by the real programs.

use anyhow::{Error, Result};
use xshell::{Shell, cmd};

use crate::{AlreadyTold, release};

/// The picture, from the root of the workspace.
const PICTURE: &str = "docs/recovery.svg";

/// Runs the verb: builds, has the programs save, lose, find and restore in a scratch home, and draws it.
pub fn run(sh: &Shell) -> Result<()> {
    let binaries = release::build(sh)?;
    let record = cmd!(sh, "cargo run --quiet --locked -p tests --bin record -- {PICTURE}");
    // The program has told what is wrong.
    record.env("THREEFOLD_BIN_DIR", &binaries).quiet().run().map_err(|_| Error::msg(AlreadyTold))?;
    println!("drew {PICTURE}");
    Ok(())
}
