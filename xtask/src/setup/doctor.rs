//! `cargo xtask doctor`: the checks of `layer3-indexer doctor`, by the installed program or, where
//! that cannot run any more, by the one that was built here.
//!
//! With `--fix` it also does what only the installer can: where the checks say that an installation
//! would mend something, it installs again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use layer1_prebackup::config::places::PlaceFlags;
use serde_json::Value;
use xshell::Shell;

use crate::setup::install;
use crate::setup::origin::{Origin, able, succeed, verb_of};

/// What a finding says that an installation mends: from the sources, or by an archive's script.
const INSTALL: [&str; 2] = ["cargo xtask install", "install.sh"];

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Fix what is safe to fix, hooks, programs and MCP server by installing again, then look again
    #[arg(long)]
    fix: bool,
    /// Print one JSON object instead of text
    #[arg(long, conflicts_with = "fix")]
    json: bool,
    /// Do not send a synthetic conversation through the installed hooks
    #[arg(long)]
    no_round_trip: bool,
    /// The administrator's settings of Claude Code
    #[arg(long, value_name = "DIR")]
    managed_dir: Option<PathBuf>,
    /// With --fix: install the programs that lie in this directory instead of building them
    #[arg(long, value_name = "DIR", requires = "fix")]
    binaries: Option<PathBuf>,
    /// Where it was installed
    #[command(flatten)]
    places: PlaceFlags,
}

/// Runs the verb. Fails when anything is wrong, which was printed then.
pub(crate) fn run(sh: &Shell, origin: &Origin, args: &Args) -> Result<()> {
    if args.fix && needs_installation(origin, args)? {
        let binaries = args.binaries.clone();
        let places = args.places.clone();
        install::run(sh, origin, &install::Args { binaries, places, no_import: true, ..install::Args::default() })?;
    }
    let mut command = doctor(origin, args)?;
    command.args(args.fix.then_some("--fix"));
    command.args(args.json.then_some("--json"));
    succeed(&mut command)
}

/// Whether something is wrong that a plain installation mends. One that would have to replace
/// what is not ours is left to the user.
fn needs_installation(origin: &Origin, args: &Args) -> Result<bool> {
    let Some(program) = able(origin, &args.places, "doctor")? else { return Ok(true) };
    let mut command = with_args(&program, args);
    let output = command.args(["--json", "--no-round-trip"]).output();
    let output = output.with_context(|| format!("start {}", shown(&command)))?;
    let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("ask {}", shown(&command)))?;
    let mended_so =
        |finding: &Value| finding["needs_person"] == true && finding["mend"].as_str().is_some_and(is_install);
    let is_registration =
        |finding: &Value| matches!(finding["kind"].as_str(), Some("mcp-missing" | "mcp-stale" | "mcp-places"));
    let mut findings = answer["findings"].as_array().into_iter().flatten();
    Ok(findings.any(|finding| mended_so(finding) || is_registration(finding)))
}

fn is_install(mend: &str) -> bool {
    let mend = mend.trim_end_matches('\'');
    mend == INSTALL[0] || mend.ends_with(INSTALL[1])
}

fn doctor(origin: &Origin, args: &Args) -> Result<Command> {
    let Some(program) = able(origin, &args.places, "doctor")? else {
        bail!(
            "run doctor: neither the installed program nor {} can; run `{}`",
            origin.layer3().display(),
            origin.install_line()
        );
    };
    let mut command = with_args(&program, args);
    command.args(args.no_round_trip.then_some("--no-round-trip"));
    Ok(command)
}

/// As if it had been typed in this shell: the program sees the places and the variables that were given here.
fn with_args(program: &Path, args: &Args) -> Command {
    let mut command = verb_of(program, "doctor", &args.places);
    if let Some(dir) = &args.managed_dir {
        command.arg("--managed-dir").arg(dir);
    }
    command
}

fn shown(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned() + " doctor"
}
