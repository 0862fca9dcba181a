//! `cargo xtask record`: the README's pictures, of a loss and its recovery and of the finder, made by the real programs; or
//! the stores that the first version leaves, made by running that version.

use anyhow::{Error, Result};
use xshell::{Shell, cmd};

use crate::dev::bench::needs;
use crate::release;
use crate::verb::AlreadyTold;

/// The picture, from the root of the workspace.
const PICTURE: &str = "docs/recovery.svg";
/// Likewise.
const FINDER: &str = "docs/finder.svg";
/// The first version's stores, from the root of the workspace.
const OLD_STORE: &str = "tests/fixtures/old-store";

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// docs/recovery.svg: a loss and its recovery
    Recovery,
    /// docs/finder.svg: what the finder shows
    Finder,
    /// tests/fixtures/old-store: what the chain in bash and Node leaves (needs npm and jq)
    OldStore,
}

/// Which recording, and whether it is only compared.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// What to record
    #[arg(value_enum, default_value_t = What::Recovery)]
    what: What,
    /// With old-store: write nothing, and fail where what is kept is not what that chain writes today
    #[arg(long)]
    check: bool,
}

/// Runs the verb.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    match args.what {
        What::Recovery => draw(sh, &[], PICTURE),
        What::Finder => draw(sh, &["--finder"], FINDER),
        What::OldStore => old_store(sh, args.check),
    }
}

/// Builds, has the programs do what is shown in a scratch home, and draws it.
fn draw(sh: &Shell, which: &[&str], picture: &str) -> Result<()> {
    let binaries = release::build(sh)?;
    let record = cmd!(sh, "cargo run --quiet --locked -p tests --bin record -- {which...} {picture}");
    // The program has told what is wrong.
    record.env("THREEFOLD_BIN_DIR", &binaries).quiet().run().map_err(|_| Error::msg(AlreadyTold))?;
    println!("drew {picture}");
    Ok(())
}

/// Has the first version save recorded transcripts in a scratch home, and keeps or compares its stores.
fn old_store(sh: &Shell, is_check: bool) -> Result<()> {
    let target = release::target(sh)?;
    let packages = target.join("bench/old-chain");
    needs::old_chain(sh, &packages)?;
    let check = is_check.then_some("--check");
    let record = cmd!(sh, "cargo run --quiet --locked -p tests --bin old_store -- {packages} {check...}");
    // None of our programs runs, so none needs to be built.
    let record = record.env("THREEFOLD_BIN_DIR", &target);
    record.quiet().run().map_err(|_| Error::msg(AlreadyTold))?;
    println!("{} {OLD_STORE}", if is_check { "the first version still writes" } else { "recorded" });
    Ok(())
}
