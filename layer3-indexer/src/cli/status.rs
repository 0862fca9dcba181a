//! `status`: how things stand, and our programs as one would type them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use layer1_prebackup::config::child_env;
use layer1_prebackup::config::places::{CLAUDE_CONFIG_DIR, PlaceFlags, Places};
use layer1_prebackup::config::settings::XDG_CONFIG_HOME;
use layer1_prebackup::fs::platform::MANAGED_SETTINGS_DIR;
use layer1_prebackup::names::{LAYER1, LAYER2, LAYER3};

use crate::cli::screen::{Screen, needing_person};
use crate::failure::Failure;
use crate::health::checks::{Depth, examine};
use crate::health::context::{Commands, Context};
use crate::health::text::Renderer;
use crate::terminal::{path_quoted, time};

/// Runs `status`.
pub(super) fn run(places: Places, flags: &PlaceFlags, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let context = context(places, flags);
    let report = examine(&context, Depth::Cheap);
    screen.answer(&report.status_json(), |terminal| {
        Renderer { report: &report, home: &context.places.home, terminal }.status()
    })?;
    needing_person(report.needing())
}

/// What is looked at by default, as the environment and the flags say.
pub(super) fn context(places: Places, flags: &PlaceFlags) -> Context {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let vars: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| child_env::is_allowed(name)).collect();
    // What resolves with the settings' file resolves without it.
    let typed_places = Places::resolve(flags, &set).unwrap_or_else(|_| places.clone());
    // Beside the usual directory; inside one that the variable names, or that is another.
    let is_named = flags.claude_dir.is_none() && set(CLAUDE_CONFIG_DIR).is_some();
    let is_inside = is_named || places.claude_dir != places.home.join(".claude");
    let claude_json = if is_inside { &places.claude_dir } else { &places.home }.join(".claude.json");
    let config_home = set(XDG_CONFIG_HOME).map(PathBuf::from).filter(|dir| dir.is_absolute());
    Context {
        now_ms: u64::try_from(time::now_ms()).unwrap_or(0),
        // Without a current directory there is no light for it.
        cwd: std::env::current_dir().ok(),
        commands: pasteable(flags),
        program_dir: program_dir(),
        claude_json,
        managed_dir: MANAGED_SETTINGS_DIR.into(),
        config_home: config_home.unwrap_or_else(|| places.home.join(".config")),
        temp_dir: std::env::temp_dir(),
        vars,
        round_trip: false,
        typed_places,
        places,
    }
}

/// The folder that this program lies in, links followed.
fn program_dir() -> Option<PathBuf> {
    let here = std::env::current_exe().ok().and_then(|exe| std::fs::canonicalize(exe).ok())?;
    here.parent().map(Path::to_owned)
}

/// Our programs as one would type them now: their names where the `PATH` leads to them, else
/// their paths beside this program; then the flags that were typed for this run.
fn pasteable(flags: &PlaceFlags) -> Commands {
    let folder = program_dir();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let command = |name: &str| {
        let ours = folder.as_ref().map(|folder| folder.join(name));
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        let found = found.and_then(|file| std::fs::canonicalize(file).ok());
        let mut words = match ours {
            Some(ours) if found.as_ref() != Some(&ours) => path_quoted(&ours),
            _ => name.to_owned(),
        };
        for (flag, value) in flags.named() {
            words.extend(value.map(|value| format!(" {flag} {}", path_quoted(value))));
        }
        words
    };
    Commands { layer1: command(LAYER1), layer2: command(LAYER2), layer3: command(LAYER3) }
}
