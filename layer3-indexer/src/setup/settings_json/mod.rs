//! Changes settings.json: adds, updates and removes our hooks, and touches nothing else in it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::failure::Context;
use crate::health::claude_settings::SETTINGS_BYTES_MAX;
use crate::setup::Result;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};
use layer1_prebackup::claude::hooks::{self, Hook, command_of};
use layer1_prebackup::fs;
use serde_json::Value;

/// Mode of a settings.json that was not there before.
const MODE_NEW: u32 = 0o600;
/// Between the name of a file that is about to be changed and the time.
const BACKUP_INFIX: &str = ".threefold-backup-";
/// Some editors begin a file with it; it is kept, and JSON readers must not see it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A change of settings.json that was worked out and not yet made.
pub(crate) struct Change {
    path: PathBuf,
    /// What `path` leads to: itself, or the end of its symlinks.
    target: PathBuf,
    before: Option<String>,
    after: Option<String>,
    mode: u32,
}

impl Change {
    /// Reads the file and works out what `edit` makes of it. An absent or blank file counts as
    /// `{}`. Fails, changing nothing, where the file cannot be read or is not a JSON object.
    pub(crate) fn of(path: &Path, edit: impl Fn(&str) -> Result<String>) -> Result<Change> {
        let target = target_of(path)?;
        let before = read(&target)?;
        let mode = match &before {
            Some(_) => {
                std::fs::metadata(&target).context(format_args!("read {}", target.display()))?.permissions().mode()
            }
            None => MODE_NEW,
        };
        let edited = edited(before.as_deref().unwrap_or_default(), edit)
            .context(format_args!("change {}: it was not changed; fix it and run this again", path.display()))?;
        let after = edited.or_else(|| before.clone());
        Ok(Change { path: path.to_owned(), target, before, after, mode: mode & 0o7777 })
    }

    /// [`Change::of`] for an uninstallation of `hooks`: if nothing else has changed since they were written, the file is
    /// what it was before, to the byte; a file that was made by us and holds nothing any
    /// more goes. It was made by us if no copy of an earlier one stands beside it.
    pub(crate) fn of_removal(path: &Path, hooks: &[Hook]) -> Result<Change> {
        let mut change = Change::of(path, |text| without_hooks(text, hooks::is_ours))?;
        if let (false, Some(text)) = (change.is_empty(), &change.before)
            && let Some(before) = before_hooks(path, text, hooks)?
        {
            change.after = Some(before);
            return Ok(change);
        }
        let emptied = change.before != change.after && change.after.as_deref().is_some_and(|text| text.trim() == "{}");
        if emptied && change.path == change.target && backups_of(path)?.is_empty() {
            change.after = None;
        }
        Ok(change)
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.before == self.after
    }

    /// The change as a unified diff; empty if there is none.
    pub(crate) fn diff(&self) -> String {
        let (before, after) = (self.before.as_deref().unwrap_or_default(), self.after.as_deref().unwrap_or_default());
        let name = self.path.display().to_string();
        similar::TextDiff::from_lines(before, after).unified_diff().header(&name, &name).to_string()
    }

    /// Makes the change: copies what stands there beside it, then replaces it in one step, at
    /// the end of its symlinks, its mode kept. Returns the copy's path, if there was anything.
    /// Fails, changing nothing, if the file is no longer what it was when it was read.
    pub(crate) fn make(&self) -> Result<Option<PathBuf>> {
        if self.is_empty() {
            return Ok(None);
        }
        let backup = match &self.before {
            Some(before) if self.after.is_some() => Some(keep_copy(&self.path, before.as_bytes(), self.mode)?),
            _ => None,
        };
        // Claude Code writes this file too. What is left of the race is the time of one rename.
        ensure!(
            read(&self.target)? == self.before,
            "change {}: it changed meanwhile; run this again",
            self.path.display()
        );
        match &self.after {
            Some(after) => fs::replace_file_with_mode(&self.target, after.as_bytes(), self.mode)?,
            None => {
                fs::remove_file(&self.target)?;
            }
        }
        Ok(backup)
    }
}

/// What `edit` makes of a text of settings; `None` where it changes nothing.
fn edited(text: &str, edit: impl Fn(&str) -> Result<String>) -> Result<Option<String>> {
    let (mark, body) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(body) => (&text[..text.len() - body.len()], body),
        None => ("", text),
    };
    let blank = body.trim().is_empty();
    let edited = edit(if blank { "{}\n" } else { body })?;
    let unchanged = edited == body || (blank && edited == "{}\n");
    Ok((!unchanged).then(|| format!("{mark}{edited}")))
}

/// The kept copy, without a hook of ours, of which writing `hooks` makes just this text.
fn before_hooks(path: &Path, text: &str, hooks: &[Hook]) -> Result<Option<String>> {
    for backup in backups_of(path)?.iter().rev() {
        // One that cannot be read, or is no JSON, is not where this text came from.
        let Ok(Some(before)) = read(backup) else { continue };
        let has_ours = commands(before.trim_start_matches(BYTE_ORDER_MARK))
            .is_ok_and(|commands| commands.iter().any(|(_, command)| hooks::is_ours(command)));
        let made = edited(&before, |body| with_hooks(body, hooks));
        if !has_ours && made.is_ok_and(|made| made.as_deref() == Some(text)) {
            return Ok(Some(before));
        }
    }
    Ok(None)
}

/// The settings with exactly `wanted` as our hooks. One of ours that stands there already is
/// updated in place; one for another event, or behind a matcher, goes.
pub(crate) fn with_hooks(text: &str, wanted: &[Hook]) -> Result<String> {
    let tree = parse(text)?;
    for hook in wanted {
        add_hook(&tree, hook)?;
    }
    let mut kept = Vec::new();
    for handler in handlers(&tree)? {
        let is_wanted = handler.stands_for(wanted) && !kept.contains(&handler.event);
        if is_wanted {
            kept.push(handler.event);
        } else if hooks::is_ours(&handler.command) {
            handler.remove();
        }
    }
    Ok(tree.to_string())
}

/// The settings without the hooks whose command `doomed` holds for, nor what they leave empty.
pub(crate) fn without_hooks(text: &str, doomed: impl Fn(&str) -> bool) -> Result<String> {
    let tree = parse(text)?;
    handlers(&tree)?.into_iter().filter(|handler| doomed(&handler.command)).for_each(Found::remove);
    Ok(tree.to_string())
}

/// The commands of all hooks, with their events.
pub(crate) fn commands(text: &str) -> Result<Vec<(String, String)>> {
    Ok(handlers(&parse(text)?)?.into_iter().map(|handler| (handler.event, handler.command)).collect())
}

/// The file's text without its byte order mark; `None` where it is absent or blank.
pub(crate) fn read_body(path: &Path) -> Result<Option<String>> {
    let text = read(path)?.map(|text| text.trim_start_matches(BYTE_ORDER_MARK).to_owned());
    Ok(text.filter(|text| !text.trim().is_empty()))
}

/// Copies `content`, which stands at `path`, beside it, under a name with the time. Returns the
/// copy's path.
pub(crate) fn keep_copy(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf> {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(['-', ':'], "");
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (1..).map(|n| match n {
        1 => format!("{name}{BACKUP_INFIX}{time}"),
        n => format!("{name}{BACKUP_INFIX}{time}-{n}"),
    });
    let mut free = free.map(|name| path.with_file_name(name)).filter(|path| path.symlink_metadata().is_err());
    let backup = free.next().context(format_args!("name a copy of {}", path.display()))?;
    fs::replace_file_with_mode(&backup, content, mode)?;
    Ok(backup)
}

/// The copies of `path` that were made before it was changed, oldest first.
pub(crate) fn backups_of(path: &Path) -> Result<Vec<PathBuf>> {
    let prefix = format!("{}{BACKUP_INFIX}", path.file_name().unwrap_or_default().to_string_lossy());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let entries = match std::fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(format_args!("list {}", parent.display())),
    };
    let mut backups = Vec::new();
    for entry in entries {
        let entry = entry.context(format_args!("list {}", parent.display()))?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            backups.push(entry.path());
        }
    }
    backups.sort();
    Ok(backups)
}

fn add_hook(tree: &CstRootNode, hook: &Hook) -> Result<()> {
    let ours = |handler: &Found| handler.event == hook.event && !handler.restricted && hooks::is_ours(&handler.command);
    let found: Vec<_> = handlers(tree)?.into_iter().filter(ours).collect();
    let wanted = members_of(hook);
    if let Some(first) = found.first() {
        if !found.iter().any(|handler| handler.is(hook)) {
            first.update(wanted);
        }
        return Ok(());
    }
    let handlers = CstInputValue::Array(vec![CstInputValue::Object(wanted)]);
    let group = CstInputValue::Object(vec![("hooks".to_owned(), handlers)]);
    let settings = tree.object_value_or_set();
    let hooks = match last(&settings, "hooks") {
        Some(hooks) => hooks.object_value().context("its \"hooks\" is not an object")?,
        None => settings.object_value_or_set("hooks"),
    };
    let groups = match last(&hooks, hook.event) {
        Some(event) => event.array_value().context(format_args!("its \"hooks.{}\" is not a list", hook.event))?,
        None => hooks.array_value_or_set(hook.event),
    };
    groups.append(group);
    Ok(())
}

/// The keys of a handler that say what it does; others, such as a status message, are the user's.
const KEYS: [&str; 6] = ["type", "command", "args", "shell", "timeout", "async"];

/// A hook as settings.json holds it, in the order in which a person would read it.
fn members_of(hook: &Hook) -> Vec<(String, CstInputValue)> {
    let handler = serde_json::to_value(&hook.handler).unwrap_or_default();
    let member = |key: &str| {
        let value = match handler.get(key)? {
            Value::String(text) => CstInputValue::String(text.clone()),
            Value::Bool(is) => CstInputValue::Bool(*is),
            other => CstInputValue::Number(other.to_string()),
        };
        Some((key.to_owned(), value))
    };
    KEYS.into_iter().filter_map(member).collect()
}

/// A handler of type `command`, and where it stands.
struct Found {
    event: String,
    node: CstObject,
    /// What holds it, from its group up to `hooks`; each goes when nothing is left in it.
    holders: (CstObject, CstObjectProp, CstObjectProp),
    command: String,
    /// Whether the group's matcher, or a condition of its own, keeps it from running every time.
    restricted: bool,
    value: Value,
}

impl Found {
    /// Whether it does what `hook` does.
    fn is(&self, hook: &Hook) -> bool {
        let wanted = serde_json::to_value(&hook.handler).unwrap_or_default();
        let same = |key| self.value.get(key) == wanted.get(key);
        self.event == hook.event && KEYS.into_iter().all(same)
    }

    fn stands_for(&self, wanted: &[Hook]) -> bool {
        !self.restricted && wanted.iter().any(|hook| self.is(hook))
    }

    /// Makes it do what `wanted` does.
    fn update(&self, wanted: Vec<(String, CstInputValue)>) {
        let is_wanted = |key: &String| wanted.iter().any(|(name, _)| name == key);
        let is_over = |key: &String| KEYS.contains(&key.as_str()) && !is_wanted(key);
        let members = self.node.properties().into_iter();
        members.filter(|member| member.decoded_name().is_some_and(|key| is_over(&key))).for_each(CstObjectProp::remove);
        for (key, value) in wanted {
            match last(&self.node, &key) {
                Some(member) => member.set_value(value),
                None => drop(self.node.append(&key, value)),
            }
        }
    }

    /// Takes it away, with its group, its event and `hooks` itself where nothing else is in them.
    fn remove(self) {
        let (group, event, hooks) = self.holders;
        self.node.remove();
        let is_empty = |list: Option<CstArray>| list.is_some_and(|list| list.elements().is_empty());
        if !is_empty(last(&group, "hooks").and_then(|list| list.array_value())) {
            return;
        }
        group.remove();
        if !is_empty(event.array_value()) {
            return;
        }
        event.remove();
        if hooks.object_value().is_some_and(|events| events.properties().is_empty()) {
            hooks.remove();
        }
    }
}

/// All handlers that hold a command. What is not of the form that Claude Code reads is passed over.
fn handlers(tree: &CstRootNode) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let Some(hooks) = tree.object_value().and_then(|settings| last(&settings, "hooks")) else { return Ok(found) };
    let events = hooks.object_value().map(|events| events.properties()).unwrap_or_default();
    let names: Vec<_> = events.iter().map(|event| event.decoded_name().unwrap_or_default()).collect();
    for (nth, event) in events.iter().enumerate() {
        // Of several events of one name the last counts, as in every JSON reader.
        if names[nth + 1..].contains(&names[nth]) {
            continue;
        }
        let groups = event.array_value().map(|groups| groups.elements()).unwrap_or_default();
        for group in groups.into_iter().filter_map(|group| group.as_object()) {
            let matcher = last(&group, "matcher").and_then(|matcher| matcher.value()).map(|node| value(&node));
            let matches_all = matcher.transpose()?.is_none_or(|m| m.is_null() || m == "" || m == "*");
            let list = last(&group, "hooks").and_then(|list| list.array_value());
            let list = list.map(|list| list.elements()).unwrap_or_default();
            for node in list.into_iter().filter_map(|node| node.as_object()) {
                let value = value(&node.clone().into())?;
                let Some(command) = command_of(&value) else { continue };
                let restricted = !matches_all || value.get("if").is_some();
                let holders = (group.clone(), event.clone(), hooks.clone());
                found.push(Found { event: names[nth].clone(), node, holders, command, restricted, value });
            }
        }
    }
    Ok(found)
}

/// A tree that can be edited and written out with every other byte as it was. Fails where the text is no JSON, by the
/// same rules as Claude Code's, or no object.
fn parse(text: &str) -> Result<CstRootNode> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).context("it is not JSON")?;
    let tree = CstRootNode::parse(text, &ParseOptions::default()).context("it is not JSON")?;
    ensure!(tree.object_value().is_some(), "it is JSON, but not an object");
    Ok(tree)
}

/// The member of that name; of several the last, as in every JSON reader.
fn last(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    object.properties().into_iter().rfind(|member| member.decoded_name().is_some_and(|there| there == name))
}

fn value(node: &CstNode) -> Result<Value> {
    serde_json::from_str(&node.to_string()).context("it is not JSON")
}

fn read(path: &Path) -> Result<Option<String>> {
    let bytes = fs::read_foreign(path, SETTINGS_BYTES_MAX)?;
    bytes.map(String::from_utf8).transpose().context(format_args!("read {}: it is not UTF-8", path.display()))
}

/// The end of a chain of symlinks, whether or not anything stands there.
fn target_of(path: &Path) -> Result<PathBuf> {
    const LINKS_MAX: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&target) {
            Ok(next) => target = target.parent().unwrap_or(Path::new("/")).join(next),
            Err(_) => return Ok(target),
        }
    }
    bail!("follow {}: too many symlinks", path.display())
}

#[cfg(test)]
mod tests;
