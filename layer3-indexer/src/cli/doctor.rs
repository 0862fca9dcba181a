//! `doctor`: its arguments, what it takes from the environment, and what it prints.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;
use layer1_prebackup::config::places::{
    BACKUP_DIR, CLAUDE_CONFIG_DIR, PRE_BACKUP_DIR, PlaceFlags, Places, SESSION_DB_PATH,
};
use layer1_prebackup::config::settings::{VARIABLE_PREFIX, XDG_CONFIG_HOME};
use layer1_prebackup::fs::platform::MANAGED_SETTINGS_DIR;

use crate::cli::screen::{Screen, needing_person};
use crate::cli::status::{pasteable, program_dir};
use crate::failure::Failure;
use crate::health::doctor::{self, Patient};
use crate::health::status::Viewpoint;
use crate::terminal::time;

/// What a program that is started gets to see besides `LC_*`; no secrets.
const PASSED_ON: [&str; 9] =
    ["HOME", "PATH", "LANG", "TMPDIR", XDG_CONFIG_HOME, CLAUDE_CONFIG_DIR, PRE_BACKUP_DIR, BACKUP_DIR, SESSION_DB_PATH];

// The arguments of `doctor`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Mend what is safe to mend, then look again
    #[arg(long)]
    fix: bool,
    /// Do not send a synthetic conversation through the installed hooks
    #[arg(long)]
    no_round_trip: bool,
    /// The administrator's settings of Claude Code
    #[arg(long, value_name = "DIR", default_value = MANAGED_SETTINGS_DIR, hide_default_value = true)]
    managed_dir: PathBuf,
}

pub(super) fn run(
    places: Places,
    flags: &PlaceFlags,
    args: DoctorArgs,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let patient = patient(places, flags, args.managed_dir, !args.no_round_trip);
    let mut diagnosis = doctor::examine(&patient);
    if args.fix {
        let mended = doctor::mend(&patient, &diagnosis);
        if !mended.is_empty() {
            diagnosis = doctor::examine(&patient);
            diagnosis.mended = mended;
        }
    }
    if screen.json {
        screen.json(&diagnosis)?;
    } else {
        let text = doctor::to_text(&diagnosis, &patient.places.home, &screen.terminal);
        screen.text(&text)?;
    }
    needing_person(diagnosis.findings.iter().filter(|found| found.finding.needs_person).count())
}

fn patient(places: Places, flags: &PlaceFlags, managed_dir: PathBuf, round_trip: bool) -> Patient {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_passed_on = |name: &OsStr| {
        let begins = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        PASSED_ON.iter().any(|passed| name == *passed) || begins("LC_") || begins(VARIABLE_PREFIX)
    };
    let vars: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| is_passed_on(name)).collect();
    // Beside the usual directory; inside one that the variable names, or that is another.
    let is_named = flags.claude_dir.is_none() && set(CLAUDE_CONFIG_DIR).is_some();
    let is_inside = is_named || places.claude_dir != places.home.join(".claude");
    let claude_json = if is_inside { &places.claude_dir } else { &places.home }.join(".claude.json");
    let config_home = set(XDG_CONFIG_HOME).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let view = Viewpoint {
        now_ms: u64::try_from(time::now_ms()).unwrap_or(0),
        cwd: std::env::current_dir().ok(),
        commands: pasteable(flags),
        program_dir: program_dir(),
    };
    Patient {
        claude_json,
        managed_dir,
        config_home: config_home.unwrap_or_else(|| places.home.join(".config")),
        temp_dir: std::env::temp_dir(),
        vars,
        view,
        round_trip,
        places,
    }
}
