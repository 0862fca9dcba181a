//! The environment of child processes: an allow-list, so that no secret and none of Claude
//! Code's own marks (a client that inherits `CLAUDE_CODE_CHILD_SESSION` writes no transcript)
//! gets any further.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use crate::config::places::Places;
use crate::config::variables::{
    BACKUP_DIR, CLAUDE_CONFIG_DIR, PRE_BACKUP_DIR, SESSION_DB_PATH, VARIABLE_PREFIX, XDG_CONFIG_HOME,
};

/// What passes to every child, besides `LC_*` and our own `THREEFOLD_*`.
const COMMON: [&str; 5] = ["HOME", "PATH", "LANG", "TMPDIR", XDG_CONFIG_HOME];
/// What passes to a child that is not told the places by flags.
const PLACES: [&str; 4] = [CLAUDE_CONFIG_DIR, PRE_BACKUP_DIR, BACKUP_DIR, SESSION_DB_PATH];

/// The variables of a child process; all others are cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildEnv(Vec<(OsString, OsString)>);

impl ChildEnv {
    /// What may pass of `vars`. Those that name one of the places hold the resolved place, so
    /// that a flag given here and a variable inherited there cannot contradict each other.
    pub fn from_vars(vars: impl Iterator<Item = (OsString, OsString)>, places: &Places) -> ChildEnv {
        let resolved = |name: &OsStr| match name.to_str() {
            Some(CLAUDE_CONFIG_DIR) => Some(places.claude_dir.clone()),
            Some(PRE_BACKUP_DIR) => Some(places.layer1_store.clone()),
            Some(BACKUP_DIR) => Some(places.layer3_store.clone()),
            Some(SESSION_DB_PATH) => Some(places.index.clone()),
            _ => None,
        };
        // The one that was gone by, whatever the variable said.
        let home = (OsString::from("HOME"), places.home.clone().into_os_string());
        let allowed = vars.filter(|(name, _)| is_allowed(name) && name != "HOME");
        ChildEnv(
            [home]
                .into_iter()
                .chain(allowed)
                .map(|(name, value)| {
                    let value = resolved(&name).map_or(value, Into::into);
                    (name, value)
                })
                .collect(),
        )
    }

    /// The same, and these: for one program alone.
    pub fn with(mut self, more: impl IntoIterator<Item = (OsString, OsString)>) -> ChildEnv {
        self.0.extend(more);
        self
    }

    /// Clears the command's environment and sets this one.
    pub fn apply(&self, command: &mut Command) {
        command.env_clear().envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// Whether a variable may pass to a program of ours.
pub fn is_allowed(name: &OsStr) -> bool {
    is_common(name) || PLACES.iter().any(|allowed| name == *allowed)
}

/// [`is_allowed`], for a program that is told the places by flags.
pub fn is_common(name: &OsStr) -> bool {
    let begins = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
    COMMON.iter().any(|allowed| name == *allowed) || begins("LC_") || begins(VARIABLE_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::places::PlaceFlags;

    #[test]
    fn secrets_and_marks_of_the_host_do_not_pass() {
        let vars = [
            ("HOME", "/h"),
            ("PATH", "/bin"),
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C"),
            ("TMPDIR", "/tmp"),
            ("BACKUP_DIR", "/env"),
            ("CLAUDE_CONFIG_DIR", "/h/.claude"),
            ("ANTHROPIC_API_KEY", "secret"),
            ("CLAUDECODE", "1"),
            ("CLAUDE_CODE_CHILD_SESSION", "1"),
            ("CLAUDE_CODE_SESSION_ID", "a"),
            ("CLAUDE_PROJECT_DIR", "/p"),
            ("LD_PRELOAD", "/x.so"),
            ("XLC_ALL", "C"),
            ("XDG_CONFIG_HOME", "/h/.config"),
            ("XDG_RUNTIME_DIR", "/run"),
            ("THREEFOLD_EXCLUDE", "secret"),
        ];
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let flags = PlaceFlags { backup_dir: Some("/flag".into()), ..PlaceFlags::default() };
        let lookup = |name: &str| vars.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let places = Places::resolve_with(&flags, &lookup, &crate::config::settings::Settings::default()).unwrap();
        let env = ChildEnv::from_vars(vars.into_iter(), &places);
        let text: Vec<String> =
            env.0.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
        insta::assert_snapshot!(text.join("\n"), @"
        HOME=/h
        PATH=/bin
        LANG=C.UTF-8
        LC_ALL=C
        TMPDIR=/tmp
        BACKUP_DIR=/flag
        CLAUDE_CONFIG_DIR=/h/.claude
        XDG_CONFIG_HOME=/h/.config
        THREEFOLD_EXCLUDE=secret
        ");
    }
}
