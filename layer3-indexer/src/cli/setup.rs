//! `setup`, `uninstall` and `completions`, and what `doctor --fix` installs again.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use layer1_prebackup::config::places::PlaceFlags;
use layer1_prebackup::names::{LAYER3, PROGRAMS, program_name};

use crate::cli::pass_on::program_dir;
use crate::cli::screen::Screen;
use crate::failure::{Context as _, Failure};
use crate::health::context::Context;
use crate::health::finding::{Finding, Kind};
use crate::setup::site::Site;
use crate::setup::{install, uninstall};

// The arguments of `completions`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that is to complete
    shell: Shell,
}

/// Runs `setup`.
pub(super) fn run(flags: &PlaceFlags, args: &install::Args, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let from = match &args.from {
        Some(from) => std::path::absolute(from).context(format_args!("find {}", from.display()))?,
        None => program_dir().context("find the folder of this program")?,
    };
    install::run(&site(flags)?, &from, args, screen.out)
}

/// Runs `uninstall`.
pub(super) fn run_uninstall(
    flags: &PlaceFlags,
    args: &uninstall::Args,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    uninstall::uninstall(&site(flags)?, args, screen.out)
}

/// Runs `completions`.
pub(super) fn run_completions<C: CommandFactory>(
    args: &CompletionsArgs,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), program_name(LAYER3), &mut text);
    screen.out.write_all(&text).and_then(|()| screen.out.flush()).context("write to stdout")
}

/// Installs again what an installation fixes, if this is the installed program and all three are there. Whether it did.
pub(super) fn install_again(
    flags: &PlaceFlags,
    context: &Context,
    findings: &[Finding],
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let site = site(flags)?;
    let hooks_dir: PathBuf = site.hooks_dir();
    let is_installed = program_dir().is_ok_and(|dir| std::fs::canonicalize(&hooks_dir).is_ok_and(|hooks| hooks == dir));
    let is_whole = PROGRAMS.iter().all(|program| hooks_dir.join(program).is_file());
    let install_line = context.install_line();
    let is_mended_so = |finding: &Finding| match finding.kind {
        Kind::McpMissing | Kind::McpStale | Kind::McpPlaces => true,
        _ => finding.needs_person && finding.mend.as_ref() == Some(&install_line),
    };
    if !is_installed || !is_whole || !findings.iter().any(is_mended_so) {
        return Ok(false);
    }
    let args = install::Args { no_import: true, ..install::Args::default() };
    install::run(&site, &hooks_dir, &args, out).map(|()| true)
}

fn site(flags: &PlaceFlags) -> Result<Site, Failure> {
    Site::resolve(flags, std::env::vars_os().collect())
}
