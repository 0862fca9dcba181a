//! The verbs that another of the three programs carries out: `threefold sweep` is `layer1-prebackup sweep`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};
use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::config::settings::SettingFlags;
use layer1_prebackup::fs::platform::process::become_program;
use layer1_prebackup::names::{LAYER1, LAYER2, LAYER3, program_name};

use crate::cli::called::id_of;
use crate::cli::screen::{Screen, example};
use crate::failure::{Context, Failure};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Copy every conversation whose file changed since its first copy
    #[command(after_help = example("sweep"))]
    Sweep(PassedOn),
    /// List the versions of a conversation in the first copy, with size, time and hash
    #[command(after_help = example("history 8c1f04de"))]
    History(PassedOn),
    /// List what waits to be saved a second time, with age, attempts and the last error
    #[command(after_help = example("pending --json"))]
    Pending(PassedOn),
    /// Save a second time all that waits for it
    #[command(after_help = example("drain --retry-failed"))]
    Drain(PassedOn),
    /// Stop telling of what could not be saved a second time
    #[command(after_help = example("dismiss 8c1f04de"))]
    Dismiss(PassedOn),
    /// Keep a third copy beyond this disk and this machine: set it up, send, prove, bring back (docs/offsite.md)
    #[command(after_help = example("offsite init sftp:backup:threefold --name laptop"))]
    Offsite(PassedOn),
    /// Run the program that makes the first copy, with all of its verbs and flags
    #[command(name = LAYER1, hide = true)]
    Layer1(PassedOn),
    /// Run the program that delivers, with all of its verbs and flags
    #[command(name = LAYER2, hide = true)]
    Layer2(PassedOn),
}

// What is passed on. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct PassedOn {
    /// Given to the other program as typed; --help tells which there are
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Verb {
    /// Becomes the other program, which lies beside this one, with everything that was typed. Returns only if that fails.
    pub(super) fn run(
        &self,
        flags: &PlaceFlags,
        settings: &SettingFlags,
        places: &Places,
        screen: &Screen<'_>,
    ) -> Result<(), Failure> {
        let (program, verb, typed) = match self {
            Verb::Sweep(typed) => (LAYER1, Some("sweep"), typed),
            Verb::History(typed) => (LAYER1, Some("history"), typed),
            Verb::Pending(typed) => (LAYER2, Some("pending"), typed),
            Verb::Drain(typed) => (LAYER2, Some("drain"), typed),
            Verb::Dismiss(typed) => (LAYER2, Some("dismiss"), typed),
            Verb::Offsite(typed) => (LAYER2, Some("offsite"), typed),
            Verb::Layer1(typed) => (LAYER1, None, typed),
            Verb::Layer2(typed) => (LAYER2, None, typed),
        };
        let path = program_dir().context("find the folder of this program")?.join(program);
        let mut command = Command::new(&path);
        for (flag, place) in flags.named() {
            command.args(place.into_iter().flat_map(|place| [flag.as_ref(), place.as_os_str()]));
        }
        let mut args = typed.args.clone();
        // The other programs know ids alone.
        if let (Verb::History(_) | Verb::Dismiss(_), Some(Some(first))) =
            (self, args.first().map(|first| first.to_str()))
            && !first.starts_with('-')
        {
            let id = id_of(places, first.to_owned(), screen)?;
            args[0] = id.rsplit('/').next().unwrap_or_default().into();
        }
        command.args(settings.to_args()).args(verb).args(&args).args(screen.json.then_some("--json"));
        // So that it names what its reader has typed.
        let name = Some(program_name(LAYER3)).filter(|name| *name != LAYER3);
        Err(become_program(&mut command, name)).context(format_args!("start {}", path.display()))
    }
}

/// The folder that this program lies in, links followed.
pub(super) fn program_dir() -> std::io::Result<PathBuf> {
    let here = std::fs::canonicalize(std::env::current_exe()?)?;
    Ok(here.parent().map(Path::to_owned).unwrap_or_default())
}
