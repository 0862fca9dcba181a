//! `cargo xtask doctor`: the checks of `layer3-indexer doctor`, by the installed program or, where
//! that cannot run any more, by the one that was built here.
//!
//! With `--fix` it also does what only the installer can: where the checks say that an installation
//! would mend something, it installs again.

use layer1_prebackup::names::LAYER3;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use layer1_prebackup::config::places::PlaceFlags;
use serde_json::Value;
use xshell::Shell;

use crate::setup::install;
use crate::setup::origin::Origin;
use crate::setup::site::{Site, end_within};
use crate::verb::AlreadyTold;

/// How long a program may take to say that it knows the command.
const HELP_WAIT: Duration = Duration::from_secs(20);
/// What a finding says that an installation mends: from the sources, or by an archive's script.
const INSTALL: [&str; 2] = ["cargo xtask install", "install.sh"];

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Mend what is safe to mend, hooks, programs and MCP server by installing again, then look again
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
    let site = Site::here(&args.places)?;
    if args.fix && needs_installation(&site, origin, args)? {
        let binaries = args.binaries.clone();
        let places = args.places.clone();
        install::run(sh, origin, &install::Args { binaries, places, no_import: true, ..install::Args::default() })?;
    }
    let mut command = doctor(&site, origin, args)?;
    command.args(args.fix.then_some("--fix"));
    command.args(args.json.then_some("--json"));
    let status = command.status().with_context(|| format!("start {}", shown(&command)))?;
    // The program has told what is wrong.
    if status.success() { Ok(()) } else { Err(Error::msg(AlreadyTold)) }
}

/// Whether something is wrong that a plain installation mends. One that would have to replace
/// what is not ours is left to the user.
fn needs_installation(site: &Site, origin: &Origin, args: &Args) -> Result<bool> {
    let Some(program) = able(site, origin) else { return Ok(true) };
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

fn doctor(site: &Site, origin: &Origin, args: &Args) -> Result<Command> {
    let Some(program) = able(site, origin) else {
        let (installed, other) = (site.program(LAYER3), origin.layer3());
        let install = origin.install_line();
        bail!("run doctor: neither {} nor {} can; run `{install}`", installed.display(), other.display());
    };
    let mut command = with_args(&program, args);
    command.args(args.no_round_trip.then_some("--no-round-trip"));
    Ok(command)
}

/// As if it had been typed in this shell: the program sees the places and the variables that were given here.
fn with_args(program: &PathBuf, args: &Args) -> Command {
    let mut command = Command::new(program);
    command.arg("doctor");
    for (flag, value) in args.places.named().into_iter().chain([("--managed-dir", args.managed_dir.as_deref())]) {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    command
}

/// The program that knows the command: the installed one, else the one that would be installed from here.
fn able(site: &Site, origin: &Origin) -> Option<PathBuf> {
    [site.program(LAYER3), origin.layer3()].into_iter().find(|program| {
        let mut help = Command::new(program);
        help.args(["doctor", "--help"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // One that does not start, or hangs, is passed over like one that does not know the command.
        end_within(&mut help, HELP_WAIT).is_ok_and(|status| status.is_some_and(|status| status.success()))
    })
}

fn shown(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned() + " doctor"
}
