//! The hooks in Claude Code's settings: whether each event has one of ours and its programs are there,
//! and for `doctor` whether they are word for word what install writes, and what keeps them from being run.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use layer1_prebackup::claude::hooks::{self, Hook, events, is_ours};
use layer1_prebackup::claude::shell;
use layer1_prebackup::config::places::PlaceFlags;
use layer1_prebackup::fs::platform;
use layer1_prebackup::names::{LAYER1, LAYER2, THREEFOLD};
use serde_json::Value;

use crate::health::claude_settings::{Handler, commands_of, handlers, read};
use crate::health::context::{Context, edit};
use crate::health::examination::{Examination, InstalledHooks};
use crate::health::figures::HookStatus;
use crate::health::finding::{Finding, Kind, Subject};
use crate::health::plugin::{self, Plugin};
use crate::terminal::shell_quoted;

/// What hooks could not use of what was said of places and settings.
pub(super) fn complaints(examination: &mut Examination<'_>) {
    for (path, complaint) in layer1_prebackup::status::complaints(&examination.context.places.layer1_store) {
        examination.found(Kind::HookSettings, complaint, &path);
    }
}

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
            // Installing would refuse as well: the file has to be mended first, or what is none moved away.
            let mut finding = Finding::new(context, Kind::SettingsUnreadable, why, &path);
            if !path.is_file() {
                let quoted = shell_quoted(&path.to_string_lossy());
                finding = finding.mend(format!("mv {quoted} {quoted}.aside"));
            }
            examination.findings.push(finding);
            return;
        }
    };
    let plugin = plugin::find(claude_dir, &settings);
    let commands = |event: &str| {
        let of_plugin = plugin.as_ref().map(|plugin| commands_of(&plugin.hooks, event));
        [commands_of(&settings, event), of_plugin.unwrap_or_default()].concat()
    };
    status.missing_events = events().into_iter().filter(|event| !commands(event).iter().any(|c| is_ours(c))).collect();
    let all = events().into_iter().flat_map(&commands);
    let named: BTreeSet<PathBuf> = all.flat_map(|command| hooks::programs(&command, &context.places.home)).collect();
    // A hook runs in whatever directory the project has, so a relative path leads to nothing.
    let is_there = |path: &PathBuf| path.is_absolute() && platform::is_program(path);
    status.missing_programs = named.into_iter().filter(|path| !is_there(path)).collect();
    let in_settings = events().iter().any(|event| commands_of(&settings, event).iter().any(|c| is_ours(c)));
    let wrong;
    (status.state, wrong) = match status.missing_events.len() {
        0 if !in_settings => ("plugin", None),
        0 => ("installed", None),
        n if n == events().len() => {
            let what = "it holds no hook of Threefold, so nothing is saved automatically".to_owned();
            ("missing", Some((Kind::HooksMissing, what)))
        }
        _ => {
            let what = format!("no hook of Threefold on {}", status.missing_events.join(", "));
            ("incomplete", Some((Kind::HooksIncomplete, what)))
        }
    };
    if let Some((kind, what)) = wrong {
        examination.found(kind, what, &path);
    }
    status.plugin = plugin.map(|plugin| plugin.folder);
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
            of_plugin(context, &plugin, &mut examination.hooks);
        }
        examination.hooks.programs.sort();
        examination.hooks.programs.dedup();
    }
    let summary = examination.figures.hooks.to_text(&context.places.home);
    match examination.figures.hooks.state {
        "no-claude" => examination.leave_unchecked(Subject::Hooks, summary),
        _ => examination.summarise(Subject::Hooks, summary),
    }
}

fn each(settings: &Value, examination: &mut Examination<'_>) {
    let context = examination.context;
    let path = context.settings();
    for (event, command) in all_commands(settings) {
        if hooks::is_first_version(&command) {
            let what = format!("{event} still runs the old version: {command}");
            let replace_old = context.install_line_with("--replace-old");
            // A plugin leaves the settings alone: what stands there is taken out by hand.
            let cure = replace_old.unwrap_or_else(|| edit(&path));
            examination.findings.push(Finding::new(context, Kind::FirstVersionHooks, what, &path).mend(cure));
        }
        if is_ours(&command) && !events().contains(&event) {
            let what = format!("{event} has a hook that install does not write: {command}");
            examination.found(Kind::HookChanged, what, &path);
        }
    }
    let folder = context.places.claude_dir.join("hooks");
    for wanted in of_folder(&folder, &context.place_flags()) {
        let event = wanted.event;
        let ours: Vec<Handler<'_>> =
            handlers(settings, event).into_iter().filter(|handler| is_ours(&handler.command)).collect();
        if ours.len() > 1 {
            let what = format!("{event} has {} hooks of Threefold; they run at once", ours.len());
            examination.found(Kind::HookTwice, what, &path);
        }
        for handler in &ours {
            examination.hooks.programs.extend(hooks::programs(&handler.command, &context.places.home));
            let differs = difference(context, handler, &wanted);
            if event == "SessionEnd" && differs.is_none() {
                examination.hooks.chain = Some(folder.clone());
            }
            for (kind, what) in differs.into_iter().chain(faults(handler, &wanted)) {
                examination.found(kind, format!("{event} {what}"), &path);
            }
        }
    }
}

/// What install writes for the programs in a folder, with these flags.
pub(super) fn of_folder(folder: &Path, flags: &[(&str, &Path)]) -> Vec<Hook> {
    let quoted = |path: &Path| shell::quoted(&path.to_string_lossy());
    let flags: String = flags.iter().map(|(flag, place)| format!(" {flag} {}", quoted(place))).collect();
    let program = |name| quoted(&folder.join(name)) + &flags;
    hooks::of_programs(&program(LAYER1), &program(LAYER2))
}

/// How a command is not the one that install writes, to be read after the event's name.
fn difference(context: &Context, handler: &Handler<'_>, wanted: &Hook) -> Option<(Kind, String)> {
    let words = |command: &str| words(command, &context.places.home);
    let (ours, wanted) = (words(&handler.command), words(&wanted.handler.command));
    if handler.value.get("args").is_some() || without_places(&ours) != without_places(&wanted) {
        return Some((Kind::HookChanged, format!("runs another command than install writes: {}", handler.command)));
    }
    // Where Claude Code's environment leads to these places, no flags are needed.
    let by_environment = without_places(&ours) == ours && context.other_place(&PlaceFlags::default()).is_none();
    let is_wanted = ours == wanted || by_environment;
    (!is_wanted).then(|| {
        let wanted: Vec<String> =
            context.place_flags().iter().map(|(flag, place)| format!("{flag} {}", place.display())).collect();
        let wanted = if wanted.is_empty() { "no flags for places".to_owned() } else { wanted.join(" ") };
        (
            Kind::HookPlaces,
            format!("saves into other places than these, for which install writes {wanted}: {}", handler.command),
        )
    })
}

/// A command as `sh` reads it, and whether a word is an operator.
fn words(command: &str, home: &Path) -> Vec<(String, bool)> {
    let mut words: Vec<_> =
        shell::tokens(command, home).into_iter().map(|token| (token.text, token.is_operator)).collect();
    // Our name at the end does nothing, and versions before did not write it.
    words.pop_if(|(word, _)| word == THREEFOLD);
    words
}

/// The words but for flags that name a place.
fn without_places(words: &[(String, bool)]) -> Vec<(String, bool)> {
    let is_flag = |word: &str| PlaceFlags::default().named().iter().any(|(flag, _)| *flag == word);
    let is_value = |nth: usize| nth > 0 && is_flag(&words[nth - 1].0);
    let kept = words.iter().enumerate().filter(|(nth, (word, _))| !is_flag(word) && !is_value(*nth));
    kept.map(|(_, word)| word.clone()).collect()
}

fn of_plugin(context: &Context, plugin: &Plugin, found: &mut InstalledHooks) {
    let home = &context.places.home;
    let folder = plugin.folder.join("bin");
    for wanted in of_folder(&folder, &[]) {
        for command in commands_of(&plugin.hooks, wanted.event) {
            // Its SessionEnd detaches itself; the same chain, waited for, stands on PreCompact.
            let is_chain =
                wanted.event == "PreCompact" && words(&command, home) == words(&wanted.handler.command, home);
            if is_chain && found.chain.is_none() {
                found.chain = Some(folder.clone());
            }
            found.programs.extend(hooks::programs(&command, home));
        }
    }
}

/// What else is not as install writes it, to be read after the event's name.
fn faults(handler: &Handler<'_>, wanted: &Hook) -> Vec<(Kind, String)> {
    let value = handler.value;
    let in_background = wanted.handler.run_async.is_some();
    let is_async = is_true(value, "async");
    let matcher = handler.group.get("matcher").and_then(Value::as_str).unwrap_or_default();
    let is_command = value.get("type").and_then(Value::as_str) == Some("command");
    let rows = [
        (!is_command, Kind::HookChanged, "has a hook that is not of type \"command\"".to_owned()),
        (in_background && !is_async, Kind::HookChanged, "runs without \"async\": the user waits for it".to_owned()),
        (
            !in_background && is_async,
            Kind::HookChanged,
            "runs with \"async\": what comes after does not wait for it".to_owned(),
        ),
        (!matches!(matcher, "" | "*"), Kind::HookRestricted, format!("runs only for the matcher {matcher:?}")),
        (value.get("if").is_some(), Kind::HookRestricted, "runs only on a condition (\"if\")".to_owned()),
    ];
    let faults = rows.into_iter().filter(|(is_so, ..)| *is_so).map(|(_, kind, what)| (kind, what));
    let late = wanted.handler.timeout.and_then(|wanted| late(value.get("timeout"), wanted));
    faults.chain(late.map(|what| (Kind::HookTimeout, what))).collect()
}

/// How the seconds that a handler has are not those that it needs.
fn late(given: Option<&Value>, wanted: u32) -> Option<String> {
    let Some(given) = given else { return Some(format!("has no \"timeout\"; it needs {wanted} s")) };
    let is_enough = given.as_f64().is_some_and(|seconds| seconds >= f64::from(wanted));
    (!is_enough).then(|| format!("has a \"timeout\" of {given}; it needs {wanted} s"))
}

/// What keeps Claude Code from running the hooks at all, besides the user's own settings.
fn shadows(examination: &mut Examination<'_>) {
    let context = examination.context;
    let (timer, cure) = match context.install_line_with("--timer") {
        Some(line) => ("a timer saves without hooks", line),
        None => ("this saves without hooks, by a timer of yours for instance", context.save_now_line()),
    };
    for path in managed_files(&context.managed_dir) {
        // A policy that nobody can read binds nobody, or Claude Code itself reports it.
        let Ok(settings) = read(&path) else { continue };
        let only_managed = "\"allowManagedHooksOnly\" is true: Claude Code runs no hook but the administrator's";
        for (key, kind, what) in [
            ("allowManagedHooksOnly", Kind::HooksManagedOnly, only_managed),
            ("disableAllHooks", Kind::HooksDisabled, "the administrator has turned all hooks off"),
        ] {
            if is_true(&settings, key) {
                let finding = Finding::new(context, kind, format!("{what}; {timer}"), &path);
                examination.findings.push(finding.mend(cure.clone()));
            }
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

pub(super) fn is_true(settings: &Value, key: &str) -> bool {
    settings.get(key) == Some(&Value::Bool(true))
}

pub(super) fn managed_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.join("managed-settings.json")];
    // Most machines have neither.
    let more = std::fs::read_dir(folder.join("managed-settings.d")).into_iter().flatten().flatten();
    files.extend(more.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json")));
    files
}

fn all_commands(settings: &Value) -> Vec<(&str, String)> {
    let events = settings.get("hooks").and_then(Value::as_object).into_iter().flatten();
    let commands = |event: &str| handlers(settings, event).into_iter().map(|handler| handler.command);
    events.flat_map(|(event, _)| commands(event).map(|command| (event.as_str(), command)).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_however_it_is_quoted_and_whatever_its_places() {
        let plain = of_folder(Path::new("/h/it's"), &[]);
        let with_places = of_folder(Path::new("/h/it's"), &[("--backup-dir", Path::new("/a b"))]);
        let home = Path::new("/h");
        for (plain, with_places) in plain.iter().zip(&with_places) {
            let (plain, with_places) = (&plain.handler.command, &with_places.handler.command);
            assert_ne!(words(plain, home), words(with_places, home));
            assert_eq!(words(plain, home), without_places(&words(with_places, home)));
        }
        let chain = r#"{ "$HOME/it's/layer1-prebackup" || cat; } | ~/"it's"/layer2-save-client || :"#;
        assert!(plain.iter().any(|hook| words(&hook.handler.command, home) == words(chain, home)));
    }
}
