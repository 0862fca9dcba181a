//! What the benchmarks need beside the programs: node packages, peers, valgrind. Installed where that is
//! possible; what is optional and cannot be had is said and left out.

use std::path::Path;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::dev::machine;
use crate::release;

/// Peers that are Rust packages, and their versions: numbers in a README must be repeatable.
const CRATES: [(&str, &str); 2] = [("claude-vault", "0.1.0"), ("claudex-cli", "0.15.1")];

/// The old chain's packages.
pub(crate) fn old_chain(sh: &Shell, folder: &Path) -> Result<()> {
    let wanted = release::workspace().join("tests/bench/old-chain/package.json");
    let installed = folder.join("node_modules/better-sqlite3").is_dir();
    if installed && sh.read_file(folder.join("package.json")).ok() == sh.read_file(&wanted).ok() {
        return Ok(());
    }
    let has_npm = cmd!(sh, "npm --version").quiet().ignore_stdout().ignore_stderr().run().is_ok();
    if !has_npm || !machine::has_tool(sh, "jq") {
        println!("skipped: the old chain needs node, npm and jq");
        return Ok(());
    }
    sh.create_dir(folder)?;
    sh.copy_file(&wanted, folder)?;
    let install = cmd!(sh, "npm install --prefix {folder} --no-audit --no-fund");
    if install.ignore_stdout().run().is_err() {
        println!("skipped: npm could not install the old chain's packages");
    }
    Ok(())
}

/// restic from Debian, the others by cargo, into `folder`.
pub(crate) fn peers(sh: &Shell, folder: &Path) -> Result<()> {
    if !machine::has_tool(sh, "restic") {
        println!("skipped: restic is not installed");
    }
    for (name, version) in CRATES {
        let install = cmd!(sh, "cargo install --quiet --locked --root {folder} {name} --version {version}");
        if install.run().is_err() {
            println!("skipped: cargo could not install {name} {version}");
        }
    }
    Ok(())
}

/// valgrind, without which no instruction is counted.
pub(crate) fn valgrind(sh: &Shell) -> Result<()> {
    if !machine::has_tool(sh, "valgrind") {
        bail!("find valgrind, which counts instructions; install the package `valgrind`");
    }
    Ok(())
}
