//! `cargo xtask install`: builds the programs and has them install themselves, by layer 3's `setup`.

use std::path::PathBuf;

use anyhow::Result;
use layer1_prebackup::config::places::PlaceFlags;
use layer1_prebackup::names::LAYER3;
use xshell::Shell;

use crate::setup::origin::{Origin, able, succeed, verb_of};

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Show what would change, as a diff where it is a text, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove the hooks and the MCP server of the first version, and replace skills of the same name; without it a terminal is asked
    #[arg(long)]
    pub replace_old: bool,
    /// Install the programs that lie in this directory instead of building them
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// Leave the sessions that exist alone; the next session's start saves them
    #[arg(long)]
    pub no_import: bool,
    /// Also set a timer of this user (systemd, launchd) that saves every ten minutes, whatever becomes of the hooks
    #[arg(long)]
    pub timer: bool,
    /// Put the command `threefold` into this directory [default: ~/.local/bin]
    #[arg(long, value_name = "DIR", conflicts_with = "no_bin")]
    pub bin_dir: Option<PathBuf>,
    /// Put no command `threefold` anywhere
    #[arg(long)]
    pub no_bin: bool,
    /// Where to install, and which stores the hooks use
    #[command(flatten)]
    pub places: PlaceFlags,
}

/// Runs the verb: builds, then installs. What would change is told by a program that was built before, if there is one.
pub(crate) fn run(sh: &Shell, origin: &Origin, args: &Args) -> Result<()> {
    let is_given = args.binaries.is_some() || origin.binaries().is_some();
    let earlier = if args.dry_run && !is_given { able(origin, &args.places, "setup")? } else { None };
    let (program, from) = match earlier {
        Some(program) => (program, origin.folder()),
        None => {
            let built = origin.built(sh, args.binaries.as_deref())?;
            (built.join(LAYER3), built)
        }
    };
    let mut setup = verb_of(&program, "setup", &args.places);
    setup.arg("--from").arg(from);
    let flags = [
        (args.dry_run, "--dry-run"),
        (args.replace_old, "--replace-old"),
        (args.no_import, "--no-import"),
        (args.timer, "--timer"),
        (args.no_bin, "--no-bin"),
    ];
    setup.args(flags.iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag));
    if let Some(dir) = &args.bin_dir {
        setup.arg("--bin-dir").arg(std::path::absolute(dir)?);
    }
    succeed(&mut setup)
}
