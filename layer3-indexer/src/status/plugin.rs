//! Threefold as a plugin of Claude Code: whether it is installed and enabled, and what it brings.
//!
//! Claude Code lists in `plugins/installed_plugins.json` where each plugin lies, whether it is on or
//! not, and in its settings under `enabledPlugins` which are on. Where either says something that is
//! not understood, the plugin counts as absent: better one cure too many than none.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The plugin's name, before the `@` of its marketplace.
const NAME: &str = "threefold";
/// What stands for the plugin's folder in its files.
const ROOT: &str = "${CLAUDE_PLUGIN_ROOT}";

/// The plugin, installed and enabled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plugin {
    /// Where it lies.
    pub folder: PathBuf,
    /// Its hooks, of the form that they have in the settings, its folder put in.
    pub hooks: Value,
    /// Its MCP servers, of the form that they have in `.claude.json`, its folder put in.
    pub servers: Value,
}

/// The plugin of a directory of Claude Code's whose settings are these.
pub(crate) fn find(claude_dir: &Path, settings: &Value) -> Option<Plugin> {
    let installed = json(&claude_dir.join("plugins/installed_plugins.json"))?;
    let plugins = installed.get("plugins")?.as_object()?;
    let is_ours = |key: &str| key.split('@').next() == Some(NAME);
    let is_on = |key: &str| settings.get("enabledPlugins")?.get(key)?.as_bool();
    let ours = plugins.iter().filter(|(key, _)| is_ours(key) && is_on(key) == Some(true));
    // One entry for each scope that it was installed in.
    let entries = ours.flat_map(|(_, entries)| entries.as_array().into_iter().flatten());
    let mut folders = entries.filter_map(|entry| Some(PathBuf::from(entry.get("installPath")?.as_str()?)));
    folders.find_map(|folder| {
        let root = folder.to_str()?;
        let with_root = |value: Value| with_root(value, root);
        let hooks = with_root(json(&folder.join("hooks/hooks.json"))?);
        let servers = json(&folder.join(".mcp.json")).map_or(Value::Null, |servers| plain(servers, root));
        Some(Plugin { folder, hooks, servers })
    })
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
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
