//! How Threefold came onto this machine, and so what installs it again: a cure has to be something that its
//! reader can type.
//!
//! What stands in Claude Code's directory says it: what install wrote from the sources or from an
//! archive, or the plugin. Where nothing does, the program that is asked says where it lies itself.

use std::path::{Path, PathBuf};

use layer1_prebackup::claude::hooks::{events, is_ours};
use layer1_prebackup::config::places::INSTALLED_FROM;
use layer1_prebackup::fs::read_foreign;
use layer1_prebackup::names::PROGRAMS;
use serde_json::Value;

use super::claude_settings::{commands_of, read};
use super::plugin::{self, Installed};
use crate::terminal::shell_quoted;

/// What installs from the sources.
const SOURCES: &str = "cargo xtask install";
/// The archive's script, from the folder that it was unpacked into.
const SCRIPT: &str = "install.sh";
/// What lies beside the script in an archive.
const SETUP: &str = "setup";
/// What lies in a plugin, and in its marketplace.
const MANIFEST: &str = ".claude-plugin/plugin.json";
const MARKETPLACE: &str = ".claude-plugin/marketplace.json";

/// How it came here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Installation {
    /// From the sources, or nothing says how.
    Sources,
    /// By the script of an archive, as one types it.
    Archive(String),
    /// As a plugin of Claude Code, and nothing else.
    Plugin(Installed),
    /// From a plugin's folder that Claude Code does not list; the marketplace that it lies in, if any.
    LoosePlugin(Option<PathBuf>),
}

/// A path is shorter.
const PATH_BYTES_MAX: u64 = 16 * 1024;

/// Looks at Claude Code's directory; `program_dir` is the folder of the program that is asked.
pub(crate) fn find(claude_dir: &Path, program_dir: Option<&Path>) -> Installation {
    let hooks = claude_dir.join("hooks");
    // What cannot be read says nothing.
    let from = read_foreign(&hooks.join(INSTALLED_FROM), PATH_BYTES_MAX).ok().flatten();
    match from.and_then(|from| String::from_utf8(from).ok()) {
        Some(script) if Path::new(script.trim_end()).is_file() => {
            return Installation::Archive(shell_quoted(script.trim_end()));
        }
        // The folder that it was unpacked into is gone.
        Some(_) => return Installation::Archive(format!("./{SCRIPT}")),
        None => {}
    }
    // Settings that cannot be read say nothing of it.
    let settings = read(&claude_dir.join("settings.json")).unwrap_or(Value::Null);
    let has_hook = |event: &&str| commands_of(&settings, event).iter().any(|command| is_ours(command));
    if PROGRAMS.iter().any(|program| hooks.join(program).is_file()) || events().iter().any(has_hook) {
        return Installation::Sources;
    }
    if let Some(installed) = plugin::installed(claude_dir, &settings) {
        return Installation::Plugin(installed);
    }
    let folder = program_dir.and_then(Path::parent);
    folder.map_or(Installation::Sources, unpacked)
}

/// What a program belongs to that lies in a folder below this one.
fn unpacked(folder: &Path) -> Installation {
    let script = folder.join(SCRIPT);
    if script.is_file() && folder.join(SETUP).is_file() {
        return Installation::Archive(shell_quoted(&script.to_string_lossy()));
    }
    if folder.join(MANIFEST).is_file() {
        let market = folder.parent().filter(|market| market.join(MARKETPLACE).is_file());
        return Installation::LoosePlugin(market.map(Path::to_owned));
    }
    Installation::Sources
}

impl Installation {
    /// What installs the programs, the hooks and the server again.
    pub(crate) fn install_line(&self) -> String {
        match self {
            Installation::Sources => SOURCES.to_owned(),
            Installation::Archive(script) => script.clone(),
            Installation::Plugin(plugin) => plugin.install_line(),
            Installation::LoosePlugin(market) => {
                let market = market.as_ref().map(|market| shell_quoted(&market.to_string_lossy()));
                let add = market.map(|market| format!("claude plugin marketplace add {market} && "));
                format!("{}claude plugin install {}", add.unwrap_or_default(), plugin::FULL_NAME)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use std::fs;

    fn write(path: &Path, text: impl ToString) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.to_string()).unwrap();
    }

    #[test]
    fn a_cure_is_what_its_reader_has() {
        let dir = tempfile::tempdir().unwrap();
        let (claude, at) = (dir.path().join("claude"), |path: &str| dir.path().join(path));
        let line = |program_dir: &str| {
            let found = find(&claude, Some(&at(program_dir)));
            found.install_line().replace(&dir.path().display().to_string(), "DIR")
        };
        assert_eq!(line("target/release"), "cargo xtask install", "nothing says how");
        write(&at("unpacked here/install.sh"), "");
        write(&at("unpacked here/setup"), "");
        assert_eq!(line("unpacked here/bin"), "'DIR/unpacked here/install.sh'");
        write(&at("market/threefold/.claude-plugin/plugin.json"), "{}");
        assert_eq!(line("market/threefold/bin"), "claude plugin install threefold@threefold");
        write(&at("market/.claude-plugin/marketplace.json"), "{}");
        assert_eq!(
            line("market/threefold/bin"),
            "claude plugin marketplace add DIR/market && claude plugin install threefold@threefold"
        );

        let list = |entries: Value| {
            let plugins = json!({"threefold@elsewhere": entries, "other@threefold": [{"installPath": "/o"}]});
            write(&claude.join("plugins/installed_plugins.json"), json!({"plugins": plugins}));
        };
        list(json!([{"scope": "user", "installPath": "/p"}]));
        write(&claude.join("settings.json"), json!({"enabledPlugins": {"threefold@elsewhere": true}}));
        let again = "claude plugin uninstall threefold@elsewhere && claude plugin install threefold@elsewhere";
        assert_eq!(line("target/release"), again);
        list(json!([{"scope": "project", "installPath": "/p"}]));
        let again = "claude plugin uninstall --scope project threefold@elsewhere \
                     && claude plugin install --scope project threefold@elsewhere";
        assert_eq!(line("target/release"), again);
        write(&claude.join("settings.json"), json!({"enabledPlugins": {"threefold@elsewhere": false}}));
        assert_eq!(line("target/release"), "claude plugin enable --scope project threefold@elsewhere");

        // Installed in the other way too, that is what goes on.
        let command = "'/gone/layer1-prebackup' --quiet || :";
        let hooks = json!({"Stop": [{"hooks": [{"type": "command", "command": command}]}]});
        write(&claude.join("settings.json"), json!({ "hooks": hooks }));
        assert_eq!(line("unpacked here/bin"), "cargo xtask install");
        write(&claude.join("settings.json"), "{");
        write(&claude.join("hooks/layer2-save-client"), "");
        assert_eq!(find(&claude, None).install_line(), "cargo xtask install");
        write(&claude.join("hooks").join(INSTALLED_FROM), format!("{}\n", at("unpacked here/install.sh").display()));
        assert_eq!(line("target/release"), "'DIR/unpacked here/install.sh'");
        fs::write(claude.join("hooks").join(INSTALLED_FROM), "/gone/install.sh\n").unwrap();
        assert_eq!(find(&claude, None).install_line(), "./install.sh");
    }
}
