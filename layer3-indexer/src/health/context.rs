//! What is looked at, from where and when, and the commands that cures are made of.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::config::settings::{SettingFlags, Settings};
use layer1_prebackup::names::{LAYER3, PROGRAMS, program_name};

use super::installation::{self, Installation};
use super::{claude_settings, plugin};
use crate::terminal::shell_quoted;

/// Our three programs as a user pastes them: by name or by path, with the flags that lead to these places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commands {
    /// Layer 1.
    pub(crate) layer1: String,
    /// Layer 2.
    pub(crate) layer2: String,
    /// Layer 3.
    pub(crate) layer3: String,
    /// Layer 1, for a verb that layer 3 has too.
    pub(crate) first_copy: String,
}

/// What is to be looked at, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Claude Code's directory, the stores, the index.
    pub(crate) places: Places,
    /// The same places without what the settings' file says: programs read that themselves.
    pub(crate) typed_places: Places,
    /// Now, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// The session of Claude Code that runs this command, if one does: it is being written.
    pub(crate) asking: Option<String>,
    /// The current directory, if there is one.
    pub(crate) cwd: Option<PathBuf>,
    /// Our programs as one types them.
    pub(crate) commands: Commands,
    /// The folder of this program: what stands about it tells how it came here where nothing else does.
    pub(crate) program_dir: Option<PathBuf>,
    /// Where Claude Code keeps the MCP servers of this user.
    pub(crate) claude_json: PathBuf,
    /// The folder of the administrator's settings of Claude Code.
    pub(crate) managed_dir: PathBuf,
    /// Where the user's programs keep their settings.
    pub(crate) config_home: PathBuf,
    /// Where scratch directories are made.
    pub(crate) temp_dir: PathBuf,
    /// What a hook inherits of the environment, as far as it concerns us: the home, the `PATH`, the
    /// language, the places. No secrets.
    pub(crate) vars: Vec<(OsString, OsString)>,
    /// Whether `doctor` sends a conversation through the chain.
    pub(crate) round_trip: bool,
}

impl Context {
    /// Claude Code's settings of this user.
    pub(crate) fn settings(&self) -> PathBuf {
        self.places.claude_dir.join("settings.json")
    }

    /// How it came onto this machine, which says what installs it again.
    pub(crate) fn installation(&self) -> Installation {
        installation::find(&self.places.claude_dir, self.program_dir.as_deref())
    }

    /// What installs again what is wrong with the programs and hooks.
    pub(crate) fn install_line(&self) -> String {
        match self.installation() {
            Installation::Sources | Installation::Archive(_) if self.can_set_up() => {
                format!("{} setup", self.commands.layer3)
            }
            installation => installation.install_line(),
        }
    }

    /// The same with a flag of the installer; a plugin has none.
    pub(crate) fn install_line_with(&self, flag: &str) -> Option<String> {
        match self.installation() {
            Installation::Sources | Installation::Archive(_) => Some(format!("{} {flag}", self.install_line())),
            Installation::Plugin(_) | Installation::LoosePlugin(_) => None,
        }
    }

    /// Whether who asks knows the one command, and it has all that it installs.
    fn can_set_up(&self) -> bool {
        let is_there = |dir: &PathBuf| PROGRAMS.iter().all(|program| dir.join(program).is_file());
        program_name(LAYER3) != LAYER3 && self.program_dir.as_ref().is_some_and(is_there)
    }

    /// What installs again a program that lies here: in the plugin's folder that is the plugin, whatever else is installed.
    pub(crate) fn install_line_of(&self, program: &Path) -> String {
        // Settings that cannot be read enable nothing.
        let settings = claude_settings::read(&self.settings()).unwrap_or_default();
        let plugin = plugin::installed(&self.places.claude_dir, &settings);
        let plugin = plugin.filter(|plugin| program.starts_with(&plugin.folder));
        plugin.map_or_else(|| self.install_line(), |plugin| plugin.install_line())
    }

    /// What a timer does where the installer sets none: to be run by whatever runs things at their time.
    pub(crate) fn save_now_line(&self) -> String {
        format!("{} sweep; {} drain", self.commands.layer1, self.commands.layer2)
    }

    /// The places as install writes them into hooks and registration: as flags, those that are not the defaults.
    pub(crate) fn place_flags(&self) -> Vec<(&'static str, &Path)> {
        self.typed_places.to_flags_but_defaults()
    }

    /// The first place in which a program of ours differs that gets these flags in Claude Code's
    /// environment, for people; `None` where it uses the places that are looked at.
    pub(crate) fn other_place(&self, flags: &PlaceFlags) -> Option<String> {
        let look_up = |name: &str| self.vars.iter().find(|(var, _)| var == name).map(|(_, value)| value.clone());
        let (settings, _) = Settings::gather(&look_up, &SettingFlags::default());
        // What cannot be resolved, the program itself reports.
        let theirs = Places::resolve_with(flags, &look_up, &settings).ok()?;
        let pairs = theirs.to_flags().into_iter().zip(self.places.to_flags());
        let differing = pairs.map(|((_, theirs), (_, ours))| (theirs, ours)).find(|(theirs, ours)| theirs != ours);
        differing.map(|(theirs, ours)| format!("{}, not {}", theirs.display(), ours.display()))
    }

    /// A path below the home with `~`.
    pub(crate) fn short(&self, path: &Path) -> String {
        short(path, &self.places.home)
    }
}

/// A path, below `home` with `~`.
pub(crate) fn short(path: &Path, home: &Path) -> String {
    match path.strip_prefix(home) {
        Ok(below) => format!("~/{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}

/// The command that opens a file of the user's, where only the user can say what it should hold.
pub(crate) fn edit(path: &Path) -> String {
    format!("${{EDITOR:-vi}} {}", shell_quoted(&path.to_string_lossy()))
}
