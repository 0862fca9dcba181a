//! The hooks in Claude Code's settings: whether each event has one of ours and its programs are there,
//! and for `doctor` whether they are word for word what install writes, and what keeps them from being run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::fs::platform;
use serde_json::Value;

use crate::health::claude_settings::{
    EVENTS, Handler, commands_of, handlers, is_ours, is_program, read, tokens, words,
};
use crate::health::context::{Context, edit};
use crate::health::examination::{Examination, InstalledHooks};
use crate::health::figures::HookStatus;
use crate::health::finding::{Finding, Kind, Subject};
use crate::health::plugin;

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

/// Whether each event has a hook of ours, and the programs that they run are there.
pub(super) fn present(examination: &mut Examination<'_>) {
    let context = examination.context;
    let claude_dir = &context.places.claude_dir;
    let path = context.settings();
    let mut status = HookStatus { settings: path.clone(), state: "missing", ..HookStatus::default() };
    if matches!(fs::metadata(claude_dir), Err(error) if error.kind() == ErrorKind::NotFound) {
        examination.figures.hooks = HookStatus { state: "no-claude", ..status };
        return;
    }
    let settings = match read(&path) {
        Ok(settings) => settings,
        Err(why) => {
            examination.figures.hooks = HookStatus { state: "unreadable", ..status };
            // Installing would refuse as well: the file has to be mended first.
            examination.found(Kind::SettingsUnreadable, why, &path);
            return;
        }
    };
    let plugin = plugin::find(claude_dir, &settings);
    let commands = |event: &str| {
        let of_plugin = plugin.as_ref().map(|plugin| commands_of(&plugin.hooks, event));
        [commands_of(&settings, event), of_plugin.unwrap_or_default()].concat()
    };
    status.missing_events = EVENTS.into_iter().filter(|event| !commands(event).iter().any(|c| is_ours(c))).collect();
    let named: BTreeSet<PathBuf> =
        EVENTS.iter().flat_map(|event| commands(event)).flat_map(words).map(PathBuf::from).collect();
    status.missing_programs =
        named.into_iter().filter(|path| is_program(path) && !platform::is_program(path)).collect();
    let in_settings = EVENTS.iter().any(|event| commands_of(&settings, event).iter().any(|c| is_ours(c)));
    status.state = match status.missing_events.len() {
        0 if !in_settings => "plugin",
        0 => "installed",
        n if n == EVENTS.len() => "missing",
        _ => "incomplete",
    };
    status.plugin = plugin.map(|plugin| plugin.folder);
    match status.state {
        "missing" => {
            let what = "no hook of Threefold stands in it; nothing is saved by itself";
            examination.found(Kind::HooksMissing, what, &path);
        }
        "incomplete" => {
            let what = format!("no hook of Threefold on {}", status.missing_events.join(", "));
            examination.found(Kind::HooksIncomplete, what, &path);
        }
        _ => {}
    }
    for program in &status.missing_programs {
        let what = "a hook runs this program, and it is not there or not executable";
        examination.found(Kind::HookProgramMissing, what, program);
    }
    if is_true(&settings, "disableAllHooks") {
        status.state = "disabled";
        let what = "\"disableAllHooks\" is true: Claude Code runs no hook; take it out";
        examination.found(Kind::HooksDisabled, what, &path);
    }
    examination.figures.hooks = status;
}

/// Whether each hook is the right one, once, with its time, for the stores that are looked at, and
/// what keeps Claude Code from running them.
pub(super) fn as_installed(examination: &mut Examination<'_>) {
    let context = examination.context;
    // The check of the programs says more of those.
    examination.findings.retain(|finding| finding.kind != Kind::HookProgramMissing);
    for finding in examination.findings.iter_mut().filter(|finding| finding.subject == Subject::Hooks) {
        finding.mend.get_or_insert_with(|| edit(&finding.place));
    }
    shadows(examination);
    // What cannot be read was reported.
    if let Ok(settings) = read(&context.settings()) {
        each(&settings, examination);
        if let Some(plugin) = plugin::find(&context.places.claude_dir, &settings) {
            of_plugin(&plugin.hooks, &mut examination.hooks);
        }
        examination.hooks.programs.sort();
        examination.hooks.programs.dedup();
    }
    let status = &examination.figures.hooks;
    let summary = match status.state {
        "no-claude" => "Claude Code's directory does not exist".to_owned(),
        "plugin" => format!("by the plugin ({})", context.short(status.place())),
        state => format!("{state} ({})", context.short(&status.settings)),
    };
    examination.summarise(Subject::Hooks, summary);
}

fn each(settings: &Value, examination: &mut Examination<'_>) {
    let context = examination.context;
    let path = context.settings();
    for (event, command) in all_commands(settings) {
        if FIRST_VERSION.iter().any(|script| command.contains(script)) {
            let what = format!("{event} still runs the old version: {command}");
            let replace_old = context.installation().install_line_with("--replace-old");
            // A plugin leaves the settings alone: what stands there is taken out by hand.
            let cure = replace_old.unwrap_or_else(|| edit(&path));
            examination.findings.push(Finding::new(context, Kind::FirstVersionHooks, what, &path).mend(cure));
        }
        if is_ours(command) && !EVENTS.contains(&event) {
            let what = format!("{event} has a hook that install does not write: {command}");
            examination.found(Kind::HookChanged, what, &path);
        }
    }
    for (event, wanted, timeout, in_background) in WANTED {
        let ours: Vec<Handler<'_>> =
            handlers(settings, event).into_iter().filter(|handler| is_ours(handler.command)).collect();
        if ours.len() > 1 {
            let what = format!("{event} has {} hooks of Threefold; they run at once", ours.len());
            examination.found(Kind::HookTwice, what, &path);
        }
        for handler in &ours {
            let plain = Plain::of(handler.command);
            examination.hooks.programs.extend(plain.programs.iter().cloned());
            for (kind, what) in faults(handler, &plain, wanted, timeout, in_background) {
                examination.found(kind, format!("{event} {what}"), &path);
            }
            if let Some(what) = other_places(context, &plain) {
                examination.found(Kind::HookPlaces, format!("{event} {what}"), &path);
            }
            if event == "SessionEnd" && is_as_written(handler, &plain, wanted) {
                examination.hooks.session_end = Some(handler.command.to_owned());
            }
        }
    }
}

fn of_plugin(plugin: &Value, hooks: &mut InstalledHooks) {
    for (event, command) in all_commands(plugin) {
        let plain = Plain::of(command);
        // Its SessionEnd detaches itself; the same chain, waited for, stands on PreCompact.
        if event == "PreCompact" && plain.text == SAVE && hooks.session_end.is_none() {
            hooks.session_end = Some(command.to_owned());
        }
        hooks.programs.extend(plain.programs);
    }
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
) -> Vec<(Kind, String)> {
    let mut faults = Vec::new();
    if !is_as_written(handler, plain, wanted) {
        faults.push((Kind::HookChanged, format!("runs another command than install writes: {}", handler.command)));
    }
    if handler.value.get("type").and_then(Value::as_str) != Some("command") {
        faults.push((Kind::HookChanged, "has a hook that is not of type \"command\"".to_owned()));
    }
    let is_async = handler.value.get("async") == Some(&Value::Bool(true));
    if in_background && !is_async {
        faults.push((Kind::HookChanged, "runs without \"async\": the user waits for it".to_owned()));
    }
    if !in_background && is_async {
        faults.push((Kind::HookChanged, "runs with \"async\": what comes after does not wait for it".to_owned()));
    }
    let matcher = handler.group.get("matcher").and_then(Value::as_str).unwrap_or_default();
    if !matches!(matcher, "" | "*") {
        faults.push((Kind::HookRestricted, format!("runs only for the matcher {matcher:?}")));
    }
    if handler.value.get("if").is_some() {
        faults.push((Kind::HookRestricted, "runs only on a condition (\"if\")".to_owned()));
    }
    let Some(wanted) = timeout else { return faults };
    match handler.value.get("timeout").map(|given| (given, given.as_f64())) {
        None => faults.push((Kind::HookTimeout, format!("has no \"timeout\"; it needs {wanted} s"))),
        Some((given, seconds)) if seconds.is_none_or(|seconds| seconds < wanted as f64) => {
            faults.push((Kind::HookTimeout, format!("has a \"timeout\" of {given}; it needs {wanted} s")));
        }
        Some(_) => {}
    }
    faults
}

/// What keeps Claude Code from running the hooks at all, besides the user's own settings.
fn shadows(examination: &mut Examination<'_>) {
    let context = examination.context;
    let (timer, cure) = match context.installation().install_line_with("--timer") {
        Some(line) => ("a timer saves without hooks", line),
        None => ("this saves without hooks, by a timer of yours for instance", context.save_now_line()),
    };
    for path in managed_files(&context.managed_dir) {
        // A policy that nobody can read binds nobody, or Claude Code itself reports it.
        let Ok(settings) = read(&path) else { continue };
        if is_true(&settings, "allowManagedHooksOnly") {
            let what =
                format!("\"allowManagedHooksOnly\" is true: Claude Code runs no hook but the administrator's; {timer}");
            examination.findings.push(Finding::new(context, Kind::HooksManagedOnly, what, &path).mend(cure.clone()));
        }
        if is_true(&settings, "disableAllHooks") {
            let what = format!("the administrator has turned all hooks off; {timer}");
            examination.findings.push(Finding::new(context, Kind::HooksDisabled, what, &path).mend(cure.clone()));
        }
    }
    let names = ["settings.json", "settings.local.json"];
    let project = context.cwd.iter().flat_map(|cwd| names.map(|name| cwd.join(".claude").join(name)));
    for path in project.filter(|path| *path != context.settings()) {
        // A project's settings that cannot be read turn nothing off.
        if read(&path).is_ok_and(|settings| is_true(&settings, "disableAllHooks")) {
            let what = "\"disableAllHooks\" is true: Claude Code runs no hook in this directory; take it out";
            examination.findings.push(Finding::new(context, Kind::HooksDisabled, what, &path).mend(edit(&path)));
        }
    }
}

fn is_true(settings: &Value, key: &str) -> bool {
    settings.get(key) == Some(&Value::Bool(true))
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
fn other_places(context: &Context, plain: &Plain) -> Option<String> {
    for (program, flags) in plain.programs.iter().zip(&plain.flags) {
        let of_hook = places_of(flags, &context.vars)?;
        if let Some(what) = difference(&of_hook, &context.places) {
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
