//! Where Threefold is installed, and what a program started from here gets to see.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::failure::Context;
use crate::setup::Result;
use layer1_prebackup::claude::shell::quoted;
use layer1_prebackup::config::child_env;
use layer1_prebackup::config::places::{self, PlaceFlags, Places};
use layer1_prebackup::config::settings::{SettingFlags, Settings, XDG_CONFIG_HOME};
use layer1_prebackup::fs;
use layer1_prebackup::fs::platform::is_program;
use wait_timeout::ChildExt;

/// What a program that draws on the user's terminal gets to see besides what every child may.
const TERMINAL_VARS: [&str; 4] = ["TERM", "COLUMNS", "NO_COLOR", "SHELL"];

/// A place to install into, and the environment it was resolved from.
pub(crate) struct Site {
    /// Claude Code's directory, the stores, the index.
    pub places: Places,
    /// The places that are not the defaults, as flags for our programs.
    pub flags: Vec<String>,
    /// `CLAUDE_CONFIG_DIR` for a `claude` that works on this site; `None` where its default is meant.
    config_dir: Option<PathBuf>,
    /// Whether a flag names another directory of Claude Code's than the user's own.
    pub is_elsewhere: bool,
    vars: Vec<(OsString, OsString)>,
}

impl Site {
    /// Flags, else variables, else defaults. Fails without a home directory, with a relative
    /// path, or with one that is not UTF-8 and so cannot stand in settings.json.
    pub(crate) fn resolve(flags: &PlaceFlags, vars: Vec<(OsString, OsString)>) -> Result<Site> {
        let look_up = |name: &str| vars.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let (settings, problems) = Settings::gather(&look_up, &SettingFlags::default());
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem.into());
        }
        let places = Places::resolve_with(flags, &look_up, &settings)?;
        // The programs read the settings themselves, so that a later change of them is heeded.
        let flags_alone =
            Places::resolve_with(flags, &look_up, &layer1_prebackup::config::settings::Settings::default())?;
        let default_dir = places.home.join(".claude");
        let from_variable =
            flags.claude_dir.is_none() && look_up(places::CLAUDE_CONFIG_DIR).is_some_and(|v| !v.is_empty());
        let config_dir = (from_variable || places.claude_dir != default_dir).then(|| places.claude_dir.clone());
        let is_elsewhere = flags.claude_dir.is_some() && places.claude_dir != default_dir;
        let flags = flags_of(&flags_alone)?;
        Ok(Site { places, flags, config_dir, is_elsewhere, vars })
    }

    /// A variable of the environment that it was resolved from.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        self.vars.iter().find(|(var, _)| var == name).map(|(_, value)| value.clone())
    }

    /// The folder of the installed programs.
    pub(crate) fn hooks_dir(&self) -> PathBuf {
        self.places.claude_dir.join("hooks")
    }

    /// The folder of the user's skills.
    pub(crate) fn skills_dir(&self) -> PathBuf {
        self.places.claude_dir.join("skills")
    }

    /// An installed program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.hooks_dir().join(name)
    }

    /// Claude Code's settings of this user.
    pub(crate) fn settings(&self) -> PathBuf {
        self.places.claude_dir.join("settings.json")
    }

    /// Where Claude Code keeps this user's MCP servers: beside `~/.claude`, but inside a
    /// directory that `CLAUDE_CONFIG_DIR` names.
    pub(crate) fn claude_json(&self) -> PathBuf {
        match &self.config_dir {
            Some(dir) => dir.join(".claude.json"),
            None => self.places.home.join(".claude.json"),
        }
    }

    /// An installed program, ready to be given arguments after its flags: with a cleared
    /// environment, so that neither secrets nor an outer session reach it.
    pub(crate) fn own_command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        let kept = |name: &OsStr| child_env::is_common(name) || TERMINAL_VARS.iter().any(|kept| name == *kept);
        command.env_clear().envs(self.vars.iter().filter(|(name, _)| kept(name)).map(|(n, v)| (n, v)));
        command.env("HOME", &self.places.home).args(&self.flags);
        command
    }

    /// Where this user's programs keep their settings: `XDG_CONFIG_HOME`, else `~/.config`.
    pub(crate) fn config_home(&self) -> PathBuf {
        let set = self.vars.iter().find(|(name, _)| name == XDG_CONFIG_HOME).map(|(_, value)| PathBuf::from(value));
        set.filter(|dir| dir.is_absolute()).unwrap_or_else(|| self.places.home.join(".config"))
    }

    /// `claude` for this site, if it is on the `PATH`.
    pub(crate) fn claude(&self) -> Option<Command> {
        self.program_of_the_system("claude")
    }

    /// Another's program for this site, if it is on the `PATH`. It does not learn of an outer
    /// session of Claude Code: a child session would write no transcript.
    pub(crate) fn program_of_the_system(&self, name: &str) -> Option<Command> {
        let path = self.vars.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone())?;
        let program = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_program(file))?;
        let mut command = Command::new(program);
        let kept = |name: &OsStr| !name.to_string_lossy().starts_with("CLAUDE");
        command.env_clear().envs(self.vars.iter().filter(|(name, _)| kept(name)).map(|(n, v)| (n, v)));
        command.env("HOME", &self.places.home);
        command.envs(self.config_dir.iter().map(|dir| (places::CLAUDE_CONFIG_DIR, dir)));
        Some(command)
    }

    /// What to type before `claude` in a shell so that it works on this site.
    pub(crate) fn claude_in_shell(&self) -> Result<String> {
        Ok(match &self.config_dir {
            Some(dir) => format!("{}={} claude", places::CLAUDE_CONFIG_DIR, quoted(text(dir)?)),
            None => "claude".to_owned(),
        })
    }
}

/// What stands in the place of a file that an installation writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    Absent,
    /// It is there, as it should be.
    Same,
    /// It is of this installation, unchanged by others, from another version or with other flags.
    Ours,
    /// It is the user's own, or another installation's.
    Theirs,
}

/// Starts a command and waits for its end. `None` where that takes longer than `limit`: it is killed then.
pub(crate) fn end_within(command: &mut Command, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let status = child.wait_timeout(limit)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(status)
}

/// A path as text. Fails where it is not UTF-8.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context(format_args!("use {}: the path is not UTF-8", path.display()))
}

/// Removes a folder if it is there and empty. One that is a symlink is the user's arrangement and stays.
pub(crate) fn remove_if_empty(folder: &Path) -> Result<()> {
    let is_empty = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error).context(format_args!("list {}", folder.display())),
    };
    if is_empty && !folder.is_symlink() {
        fs::remove_dir(folder)?;
    }
    Ok(())
}

fn flags_of(places: &Places) -> Result<Vec<String>> {
    let flags = places.to_flags_but_defaults().into_iter();
    let flags = flags.map(|(flag, path)| Ok([flag.to_owned(), text(path)?.to_owned()]));
    Ok(flags.collect::<Result<Vec<_>>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(flags: &PlaceFlags, vars: &[(&str, &str)]) -> Site {
        Site::resolve(flags, vars.iter().map(|(n, v)| (n.into(), v.into())).collect()).unwrap()
    }

    #[test]
    fn only_places_that_are_not_the_defaults_become_flags() {
        assert!(site(&PlaceFlags::default(), &[("HOME", "/h")]).flags.is_empty());
        let vars = [("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "/h/.claude"), ("BACKUP_DIR", "/disk/b")];
        assert_eq!(site(&PlaceFlags::default(), &vars).flags, ["--backup-dir", "/disk/b"]);
        let flags =
            PlaceFlags { claude_dir: Some("/c".into()), session_db: Some("/x.db".into()), ..Default::default() };
        assert_eq!(site(&flags, &[("HOME", "/h")]).flags, ["--claude-dir", "/c", "--session-db", "/x.db"]);
    }

    #[test]
    fn the_servers_are_listed_beside_the_default_directory_and_inside_any_other() {
        let json = |flags: &PlaceFlags, vars: &[(&str, &str)]| site(flags, vars).claude_json().display().to_string();
        let none = PlaceFlags::default();
        let flag = |dir: &str| PlaceFlags { claude_dir: Some(dir.into()), ..Default::default() };
        assert_eq!(json(&none, &[("HOME", "/h")]), "/h/.claude.json");
        assert_eq!(json(&none, &[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "/h/.claude")]), "/h/.claude/.claude.json");
        assert_eq!(json(&flag("/c"), &[("HOME", "/h")]), "/c/.claude.json");
        assert_eq!(json(&flag("/h/.claude"), &[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "/d")]), "/h/.claude.json");
    }

    #[test]
    fn a_child_sees_neither_secrets_nor_an_outer_session() {
        let vars = [("HOME", "/h"), ("PATH", "/bin"), ("ANTHROPIC_API_KEY", "k"), ("CLAUDECODE", "1"), ("LC_ALL", "C")];
        let site = site(&PlaceFlags::default(), &vars);
        let command = site.own_command("layer1-prebackup");
        let names: Vec<_> = command.get_envs().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["HOME", "LC_ALL", "PATH"]);
    }
}
