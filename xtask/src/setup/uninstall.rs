//! `cargo xtask uninstall`: takes away what `install` wrote, and no data, by layer 3's `uninstall`.

use anyhow::Result;
use layer1_prebackup::config::places::PlaceFlags;
use layer1_prebackup::names::LAYER3;
use xshell::Shell;

use crate::setup::origin::{Origin, able, succeed, verb_of};

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Show what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the programs and the command, with which to read what is saved
    #[arg(long)]
    pub keep_command: bool,
    /// Where it was installed
    #[command(flatten)]
    pub places: PlaceFlags,
}

/// Runs the verb. Where no program is left that can do it, one is built.
pub(crate) fn run(sh: &Shell, origin: &Origin, args: &Args) -> Result<()> {
    let program = match able(origin, &args.places, "uninstall")? {
        Some(program) => program,
        None => origin.built(sh, None)?.join(LAYER3),
    };
    let mut uninstall = verb_of(&program, "uninstall", &args.places);
    uninstall.args(args.dry_run.then_some("--dry-run")).args(args.keep_command.then_some("--keep-command"));
    succeed(&mut uninstall)
}
