//! The hooks in Claude Code's settings, word for word as install writes them, and what keeps them
//! from being run.
//!
//! `status` has told whether each event has a hook of ours; here it is the right one, once, with its
//! time, for the stores that are looked at.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use layer1_prebackup::config::places::{PlaceFlags, Places};
use serde_json::Value;

use super::{Found, Patient, edit, found};
use crate::health::status::Finding;
use crate::health::status::hooks::{EVENTS, Handler, handlers, is_ours, is_program, read, tokens};
use crate::health::status::plugin;

/// The commands with the paths of the programs and the flags for places left out, as [`plain`] gives them.
const SAVE: &str = "{ layer1-prebackup || cat ; } | layer2-save-client || :";
const COPY: &str = "layer1-prebackup --quiet || :";
const CATCH_UP: &str = "layer1-prebackup sweep --quiet ; layer2-save-client drain || :";
/// What install writes on each event: the command, its time in seconds, whether it is in the background.
const WANTED: [(&str, &str, Option<u64>, bool); 8] = [
    ("SessionStart", CATCH_UP, None, true),
    ("UserPromptSubmit", COPY, Some(10), false),
    ("Stop", COPY, None, true),
    ("StopFailure", COPY, None, true),
    ("SubagentStop", COPY, None, true),
    ("PreCompact", SAVE, Some(30), false),
    ("PostCompact", COPY, None, true),
    ("SessionEnd", SAVE, Some(30), false),
];
/// What the commands of the first version contain.
const FIRST_VERSION: [&str; 4] =
    ["pre-session-save-backup.sh", "pre-compact-backup.sh", "session-end-save.sh", "call-mcp-session-save.js"];
/// Flags that name a place, in any program of ours.
pub(super) const PLACE_FLAGS: [&str; 4] = ["--claude-dir", "--pre-backup-dir", "--backup-dir", "--session-db"];

/// What the other checks have to know of the hooks.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// The programs that they name.
    pub(crate) programs: Vec<PathBuf>,
    /// The command of `SessionEnd`, where it is word for word what install writes.
    pub(crate) session_end: Option<String>,
}

pub(super) fn look(patient: &Patient, findings: &mut Vec<Found>) -> Hooks {
    let path = patient.places.claude_dir.join("settings.json");
    let mut hooks = Hooks::default();
    let install = patient.install_line();
    let replace_old = patient.installation().install_line_with("--replace-old");
    shadows(patient, findings);
    // What cannot be read `status` has told.
    let Ok(settings) = read(&path) else { return hooks };
    let mut say = |kind, what: String, mend: &str| {
        findings.push(found("hooks", Finding::new(kind, true, what, &path).mend(mend)));
    };
    for (event, command) in all_commands(&settings) {
        if FIRST_VERSION.iter().any(|script| command.contains(script)) {
            say(
                "first-version-hooks",
                format!("{event} still runs the old version: {command}"),
                // A plugin leaves the settings alone: what stands there is taken out by hand.
                &replace_old.clone().unwrap_or_else(|| edit(&path)),
            );
        }
        if is_ours(command) && !EVENTS.contains(&event) {
            say("hook-changed", format!("{event} has a hook that install does not write: {command}"), &install);
        }
    }
    for (event, wanted, timeout, in_background) in WANTED {
        let ours: Vec<Handler<'_>> =
            handlers(&settings, event).into_iter().filter(|handler| is_ours(handler.command)).collect();
        if ours.len() > 1 {
            say("hook-twice", format!("{event} has {} hooks of Threefold; they run at once", ours.len()), &install);
        }
        for handler in &ours {
            let plain = Plain::of(handler.command);
            hooks.programs.extend(plain.programs.iter().cloned());
            for (kind, what) in faults(handler, &plain, wanted, timeout, in_background) {
                say(kind, format!("{event} {what}"), &install);
            }
            if let Some(what) = other_places(patient, &plain) {
                say("hook-places", format!("{event} {what}"), &install);
            }
            if event == "SessionEnd" && is_as_written(handler, &plain, wanted) {
                hooks.session_end = Some(handler.command.to_owned());
            }
        }
    }
    if let Some(plugin) = plugin::find(&patient.places.claude_dir, &settings) {
        for (event, command) in all_commands(&plugin.hooks) {
            let plain = Plain::of(command);
            // Its SessionEnd detaches itself; the same chain, waited for, stands on PreCompact.
            if event == "PreCompact" && plain.text == SAVE && hooks.session_end.is_none() {
                hooks.session_end = Some(command.to_owned());
            }
            hooks.programs.extend(plain.programs);
        }
    }
    hooks.programs.sort();
    hooks.programs.dedup();
    hooks
}

fn is_as_written(handler: &Handler<'_>, plain: &Plain, wanted: &str) -> bool {
    plain.text == wanted && handler.value.get("args").is_none()
}

/// What is not as install writes it, to be read after the event's name.
fn faults(
    handler: &Handler<'_>,
    plain: &Plain,
    wanted: &str,
    timeout: Option<u64>,
    in_background: bool,
) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    if !is_as_written(handler, plain, wanted) {
        faults.push(("hook-changed", format!("runs another command than install writes: {}", handler.command)));
    }
    if handler.value.get("type").and_then(Value::as_str) != Some("command") {
        faults.push(("hook-changed", "has a hook that is not of type \"command\"".to_owned()));
    }
    let is_async = handler.value.get("async") == Some(&Value::Bool(true));
    if in_background && !is_async {
        faults.push(("hook-changed", "runs without \"async\": the user waits for it".to_owned()));
    }
    if !in_background && is_async {
        faults.push(("hook-changed", "runs with \"async\": what comes after does not wait for it".to_owned()));
    }
    let matcher = handler.group.get("matcher").and_then(Value::as_str).unwrap_or_default();
    if !matches!(matcher, "" | "*") {
        faults.push(("hook-restricted", format!("runs only for the matcher {matcher:?}")));
    }
    if handler.value.get("if").is_some() {
        faults.push(("hook-restricted", "runs only on a condition (\"if\")".to_owned()));
    }
    let Some(wanted) = timeout else { return faults };
    match handler.value.get("timeout").map(|given| (given, given.as_f64())) {
        None => faults.push(("hook-timeout", format!("has no \"timeout\"; it needs {wanted} s"))),
        Some((given, seconds)) if seconds.is_none_or(|seconds| seconds < wanted as f64) => {
            faults.push(("hook-timeout", format!("has a \"timeout\" of {given}; it needs {wanted} s")));
        }
        Some(_) => {}
    }
    faults
}

/// What keeps Claude Code from running the hooks at all, besides the user's own settings, of which `status` tells.
fn shadows(patient: &Patient, findings: &mut Vec<Found>) {
    let is_true = |settings: &Value, key: &str| settings.get(key) == Some(&Value::Bool(true));
    let (timer, mend) = match patient.installation().install_line_with("--timer") {
        Some(line) => ("a timer saves without hooks", line),
        None => ("this saves without hooks, by a timer of yours for instance", patient.save_now_line()),
    };
    for path in managed_files(&patient.managed_dir) {
        // A policy that nobody can read binds nobody, or is told of by Claude Code itself.
        let Ok(settings) = read(&path) else { continue };
        if is_true(&settings, "allowManagedHooksOnly") {
            let what =
                format!("\"allowManagedHooksOnly\" is true: Claude Code runs no hook but the administrator's; {timer}");
            findings.push(found("hooks", Finding::new("hooks-managed-only", true, what, &path).mend(mend.clone())));
        }
        if is_true(&settings, "disableAllHooks") {
            let what = format!("the administrator has turned all hooks off; {timer}");
            findings.push(found("hooks", Finding::new("hooks-disabled", true, what, &path).mend(mend.clone())));
        }
    }
    let own = patient.places.claude_dir.join("settings.json");
    let project = patient
        .view
        .cwd
        .iter()
        .flat_map(|cwd| ["settings.json", "settings.local.json"].map(|name| cwd.join(".claude").join(name)));
    for path in project.filter(|path| *path != own) {
        // A project's settings that cannot be read turn nothing off.
        if read(&path).is_ok_and(|settings| is_true(&settings, "disableAllHooks")) {
            let what = "\"disableAllHooks\" is true: Claude Code runs no hook in this directory; take it out";
            findings.push(found("hooks", Finding::new("hooks-disabled", true, what, &path).mend(edit(&path))));
        }
    }
}

fn managed_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.join("managed-settings.json")];
    // Most machines have neither.
    let more = std::fs::read_dir(folder.join("managed-settings.d")).into_iter().flatten().flatten();
    files.extend(more.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json")));
    files
}

fn all_commands(settings: &Value) -> Vec<(&str, &str)> {
    let events = settings.get("hooks").and_then(Value::as_object).into_iter().flatten();
    let commands = |event: &str| handlers(settings, event).into_iter().map(|handler| handler.command);
    events.flat_map(|(event, _)| commands(event).map(|command| (event.as_str(), command)).collect::<Vec<_>>()).collect()
}

/// Says so where a command uses other stores than those that are looked at.
fn other_places(patient: &Patient, plain: &Plain) -> Option<String> {
    for (program, flags) in plain.programs.iter().zip(&plain.flags) {
        let of_hook = places_of(flags, &patient.vars)?;
        if let Some(what) = difference(&of_hook, &patient.places) {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Some(format!("has {name} use {what}"));
        }
    }
    None
}

/// The first place in which the two differ, for people.
pub(super) fn difference(theirs: &Places, looked_at: &Places) -> Option<String> {
    let pairs = [
        (&theirs.layer1_store, &looked_at.layer1_store),
        (&theirs.layer3_store, &looked_at.layer3_store),
        (&theirs.index, &looked_at.index),
        (&theirs.claude_dir, &looked_at.claude_dir),
    ];
    let (theirs, ours) = pairs.into_iter().find(|(theirs, ours)| theirs != ours)?;
    Some(format!("{}, not {}", theirs.display(), ours.display()))
}

/// The places that a program comes to by these flags in this environment; `None` where it fails to.
pub(super) fn places_of(flags: &[(String, String)], vars: &[(OsString, OsString)]) -> Option<Places> {
    let flag = |name: &str| flags.iter().rfind(|(flag, _)| flag == name).map(|(_, value)| PathBuf::from(value));
    let [claude_dir, pre_backup_dir, backup_dir, session_db] = PLACE_FLAGS.map(flag);
    let flags = PlaceFlags { claude_dir, pre_backup_dir, backup_dir, session_db };
    let look_up = |name: &str| vars.iter().find(|(var, _)| var == name).map(|(_, value)| value.clone());
    Places::resolve(&flags, &look_up).ok()
}

/// A command without what differs from one installation to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plain {
    /// Its words and operators, the programs by name, flags for places left out.
    pub(crate) text: String,
    /// The programs, each time that one is named.
    pub(crate) programs: Vec<PathBuf>,
    /// The flags for places of each of these.
    pub(crate) flags: Vec<Vec<(String, String)>>,
}

impl Plain {
    pub(crate) fn of(command: &str) -> Plain {
        let mut plain = Plain::default();
        let mut words = Vec::new();
        let mut tokens = tokens(command).into_iter().peekable();
        while let Some(token) = tokens.next() {
            if token.is_operator || !is_program(Path::new(&token.text)) {
                words.push(token.text);
                continue;
            }
            let path = PathBuf::from(token.text);
            words.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            plain.programs.push(path);
            let mut flags = Vec::new();
            while let Some(flag) = tokens.next_if(|next| is_place_flag(&next.text)) {
                match flag.text.split_once('=') {
                    Some((flag, value)) => flags.push((flag.to_owned(), value.to_owned())),
                    None => {
                        let value = tokens.next_if(|next| !next.is_operator).map(|token| token.text);
                        flags.push((flag.text, value.unwrap_or_default()));
                    }
                }
            }
            plain.flags.push(flags);
        }
        plain.text = words.join(" ");
        plain
    }
}

/// Whether a word is a flag that names a place, or begins with one and an equals sign.
pub(super) fn is_place_flag(word: &str) -> bool {
    PLACE_FLAGS.contains(&word.split_once('=').map_or(word, |(flag, _)| flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_whatever_its_places() {
        let command = r"{ '/it'\''s/layer1-prebackup' --backup-dir '/a b' || cat; } | '/x/layer2-save-client' --session-db=/d --backup-dir '/a b' || :";
        let plain = Plain::of(command);
        assert_eq!(plain.text, SAVE);
        assert_eq!(plain.programs, [Path::new("/it's/layer1-prebackup"), Path::new("/x/layer2-save-client")]);
        let flag = |flag: &str, value: &str| (flag.to_owned(), value.to_owned());
        let second = vec![flag("--session-db", "/d"), flag("--backup-dir", "/a b")];
        assert_eq!(plain.flags, [vec![flag("--backup-dir", "/a b")], second]);
        assert_eq!(Plain::of("'/x/layer1-prebackup' sweep --quiet; '/x/layer2-save-client' drain || :").text, CATCH_UP);
        for other in
            ["/x/layer1-prebackup --quiet", "/x/layer2-save-client || :", "x | /x/layer1-prebackup --quiet || :"]
        {
            assert!(![SAVE, COPY, CATCH_UP].contains(&Plain::of(other).text.as_str()), "{other}");
        }
    }
}
