//! Threefold as a plugin of Claude Code: whether it is installed and enabled, and what it brings.
//!
//! Claude Code lists in `plugins/installed_plugins.json` where each plugin lies, whether it is on or
//! not, and in its settings under `enabledPlugins` which are on. Where either says something that is
//! not understood, the plugin counts as absent: better one cure too many than none.

use std::fs;
use std::path::{Path, PathBuf};

use layer1_prebackup::fs::read_foreign;
use serde_json::Value;

use crate::health::claude_settings::SETTINGS_BYTES_MAX;
use crate::terminal::shell_quoted;

/// The plugin's name, before the `@` of its marketplace.
const NAME: &str = "threefold";
/// What stands for the plugin's folder in its files.
const ROOT: &str = "${CLAUDE_PLUGIN_ROOT}";
/// The plugin with its own marketplace, as `claude plugin` takes it.
pub(crate) const FULL_NAME: &str = "threefold@threefold";
/// Where a plugin is installed unless another scope is named.
const SCOPE_DEFAULT: &str = "user";

/// The plugin, installed and enabled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plugin {
    /// Where it lies.
    pub(crate) folder: PathBuf,
    /// Its hooks, of the form that they have in the settings, its folder put in.
    pub(crate) hooks: Value,
    /// Its MCP servers, of the form that they have in `.claude.json`, its folder put in.
    pub(crate) servers: Value,
}

/// The plugin as Claude Code lists it, on or not, whole or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// With its marketplace, as `claude plugin` takes it.
    pub(crate) full_name: String,
    /// `user`, `project` or `local`.
    pub(crate) scope: String,
    /// Where it lies.
    pub(crate) folder: PathBuf,
    /// Whether the settings enable it.
    pub(crate) is_on: bool,
}

impl Installed {
    /// What turns it on, or, where it is on, brings all of it back: an update of the same version brings nothing.
    pub(crate) fn install_line(&self) -> String {
        let scope = match self.scope.as_str() {
            SCOPE_DEFAULT => String::new(),
            other => format!("--scope {} ", shell_quoted(other)),
        };
        let what = format!("{scope}{}", shell_quoted(&self.full_name));
        if self.is_on {
            format!("claude plugin uninstall {what} && claude plugin install {what}")
        } else {
            format!("claude plugin enable {what}")
        }
    }
}

/// The plugin of a directory of Claude Code's whose settings are these, if it is enabled and brings hooks.
pub(crate) fn find(claude_dir: &Path, settings: &Value) -> Option<Plugin> {
    all_installed(claude_dir, settings).into_iter().filter(|installed| installed.is_on).find_map(|installed| {
        let folder = installed.folder;
        let root = folder.to_str()?;
        let with_root = |value: Value| with_root(value, root);
        let hooks = with_root(json(&folder.join("hooks/hooks.json"))?);
        let servers = json(&folder.join(".mcp.json")).map_or(Value::Null, |servers| plain(servers, root));
        Some(Plugin { folder, hooks, servers })
    })
}

/// The plugin as it is listed; one that is on before one that is not.
pub(crate) fn installed(claude_dir: &Path, settings: &Value) -> Option<Installed> {
    let mut all = all_installed(claude_dir, settings);
    all.sort_by_key(|installed| !installed.is_on);
    all.into_iter().next()
}

/// One for each marketplace and scope that it was installed from and in.
fn all_installed(claude_dir: &Path, settings: &Value) -> Vec<Installed> {
    let listed = json(&claude_dir.join("plugins/installed_plugins.json"));
    let plugins = listed.as_ref().and_then(|listed| listed.get("plugins")?.as_object());
    let is_ours = |key: &str| key.split('@').next() == Some(NAME);
    let is_on = |key: &str| settings.get("enabledPlugins")?.get(key)?.as_bool();
    let ours = plugins.into_iter().flatten().filter(|(key, _)| is_ours(key));
    let entries =
        ours.flat_map(|(key, entries)| entries.as_array().into_iter().flatten().map(move |entry| (key, entry)));
    let installed = entries.filter_map(|(key, entry)| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        Some(Installed {
            full_name: key.clone(),
            scope: text("scope").unwrap_or(SCOPE_DEFAULT).to_owned(),
            folder: PathBuf::from(text("installPath")?),
            is_on: is_on(key) == Some(true),
        })
    });
    installed.collect()
}

/// The folder of a plugin's marketplace, where that is a folder and gone: it is read in place, so the plugin is dead.
pub(crate) fn marketplace_that_is_gone(claude_dir: &Path, full_name: &str) -> Option<PathBuf> {
    let (_, marketplace) = full_name.split_once('@')?;
    let known = json(&claude_dir.join("plugins/known_marketplaces.json"))?;
    let folder = PathBuf::from(known.get(marketplace)?.get("installLocation")?.as_str()?);
    // Whatever else keeps it from being looked at, it is not known to be gone.
    matches!(fs::metadata(&folder), Err(error) if error.kind() == std::io::ErrorKind::NotFound).then_some(folder)
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&read_foreign(path, SETTINGS_BYTES_MAX).ok()??).ok()
}

/// In a command the folder stands between double quotes.
fn with_root(value: Value, root: &str) -> Value {
    let escaped = root.chars().fold(String::new(), |mut text, c| {
        if "\\\"$`".contains(c) {
            text.push('\\');
        }
        text.push(c);
        text
    });
    plain(value, &escaped)
}

fn plain(value: Value, root: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(ROOT, root)),
        Value::Array(items) => items.into_iter().map(|item| plain(item, root)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, field)| (name, plain(field, root))).collect(),
        other => other,
    }
}
