//! Whether Claude Code runs the hooks that are installed: a conversation that went on since, and of which layer 1's
//! log tells no event, says that it does not, whatever the cause; the cause where it can be found.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use layer1_prebackup::archive::{Archive, ArchiveError};
use layer1_prebackup::claude::hooks::{events, programs};
use layer1_prebackup::claude::survey::{FoundTranscript, survey};
use layer1_prebackup::claude::transcripts;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::read_own;
use layer1_prebackup::log::Level;
use serde_json::Value;

use crate::health::checks::hooks::{is_true, managed_files};
use crate::health::claude_settings::{STATE_BYTES_MAX, commands_of, read, read_within};
use crate::health::context::{Context, edit};
use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind};
use crate::health::plugin;
use crate::save::roots::resolved_projects;
use crate::terminal::time::parse_rfc3339_ms;
use crate::terminal::{count, shell_quoted};
use crate::transcript::record::{self, Class, TornLine};

/// So long after the end of a turn its hook is not waited for any more.
const SETTLED_MS: i64 = 2 * 60 * 1000;
/// Between a prompt and what the log tells of it.
const CLOCK_MS: i64 = 5 * 1000;
/// What is older is no news.
const NEWS_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Of the end of a transcript that is read.
const TAIL_BYTES: u64 = 512 * 1024;
/// The current log of layer 1 and the older ones.
/// A log is rotated long before.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;
const LOGS: [&str; 3] = [".log/layer1.log.2", ".log/layer1.log.1", ".log/layer1.log"];

/// Looks for conversations that went on without a hook.
pub(super) fn seen(examination: &mut Examination<'_>) {
    let context = examination.context;
    let is_installed = matches!(examination.figures.hooks.state, "installed" | "plugin" | "incomplete" | "disabled");
    // A log that does not tell of what went well proves nothing.
    if context.places.policy.log_level != Level::Info {
        return;
    }
    let log = Log::read(&context.places.layer1_store);
    for claude_dir in context.places.all_claude_dirs().filter(|dir| !runs_no_hooks(dir)) {
        let is_other = *claude_dir != context.places.claude_dir;
        let places = Places { claude_dir: claude_dir.to_owned(), ..context.places.clone() };
        let of_dir = Context { places, ..context.clone() };
        let own = installed_ms(&of_dir).filter(|_| is_other || is_installed);
        let since = own.or_else(|| installed_ms(context).filter(|_| is_other && is_installed));
        let Some(since_ms) = since.map(|since| since.max(log.first_ms.unwrap_or(0))) else { continue };
        // What cannot be listed was reported.
        let others = if is_other { survey([resolved_projects(&of_dir.places)]).0 } else { Vec::new() };
        // Those of the first directory were found before.
        let projects = resolved_projects(&context.places);
        let of_first = examination.found.0.iter().filter(|found| !is_other && found.path.starts_with(&projects));
        let found = of_first.chain(&others);
        let unseen: Vec<&FoundTranscript> =
            found.filter(|found| went_on_unseen(context, found, since_ms, &log)).collect();
        let Some(first) = unseen.first() else { continue };
        let conversations = count(unseen.len() as u64, "conversation");
        let (cause, cure) = match own {
            Some(_) => cause(&of_dir, first),
            None => not_in(&of_dir),
        };
        let what = format!("{conversations} went on, and no hook of Threefold ran: {cause}");
        let finding = Finding::new(context, Kind::HooksSilent, what, &first.path).mend(cure);
        examination.findings.push(finding.of(&first.id, None));
    }
}

/// Whether it is a directory of an application of the Agent SDK, or of Cowork: no hook of anybody's runs there, and what is
/// kept of it is swept.
fn runs_no_hooks(claude_dir: &Path) -> bool {
    claude_dir.ends_with(".claude-sdk") || claude_dir.iter().any(|part| part == "local-agent-mode-sessions")
}

/// That this directory has settings of its own, without a hook of ours; and what puts them there.
fn not_in(context: &Context) -> (String, String) {
    let dir = shell_quoted(&context.places.claude_dir.to_string_lossy());
    let why = format!("none stands in {}, which has settings of its own", context.short(&context.settings()));
    (why, format!("CLAUDE_CONFIG_DIR={dir} {}", context.install_line()))
}

/// A plugin whose marketplace is a folder that is gone is not loaded, although its copy is there.
pub(super) fn plugin_is_there(examination: &mut Examination<'_>) {
    let context = examination.context;
    // What cannot be read was reported.
    let settings = read(&context.settings()).unwrap_or_default();
    let claude_dir = &context.places.claude_dir;
    if let Some(gone) = plugin::installed(claude_dir, &settings).filter(|plugin| plugin.is_on)
        && let Some(folder) = plugin::marketplace_that_is_gone(claude_dir, &gone.full_name)
    {
        let what = "the plugin's marketplace was this folder, and it is gone: Claude Code does not load the plugin, and nothing is saved";
        let add = "claude plugin marketplace add DIR".to_owned();
        let again =
            format!("{add} && {}   # DIR: where `cargo xtask plugin` or the archive put it", gone.install_line());
        examination.findings.push(Finding::new(context, Kind::PluginGone, what, &folder).mend(again));
    }
}

/// When the programs that the hooks name were put there.
fn installed_ms(context: &Context) -> Option<i64> {
    let settings = read(&context.settings()).ok()?;
    let plugin = plugin::find(&context.places.claude_dir, &settings);
    let hooks = [Some(&settings), plugin.as_ref().map(|plugin| &plugin.hooks)];
    let commands = hooks.into_iter().flatten().flat_map(|hooks| events().map(|event| commands_of(hooks, event)));
    let named = commands.flatten().flat_map(|command| programs(&command, &context.places.home));
    named.filter_map(|path| modified_ms(&path)).max()
}

/// What the log tells of hooks.
struct Log {
    /// Since when it tells anything.
    first_ms: Option<i64>,
    /// The last event of each session.
    last_ms: HashMap<String, i64>,
}

impl Log {
    fn read(store: &Path) -> Log {
        let mut log = Log { first_ms: None, last_ms: HashMap::new() };
        // A log that is not there or cannot be read tells nothing.
        let texts = LOGS.iter().filter_map(|name| read_own(store, Path::new(name), LOG_BYTES_MAX).ok().flatten());
        for text in texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
            for (time, said) in text.lines().filter_map(|line| line.split_once(' ')) {
                let Some(time) = parse_rfc3339_ms(time) else { continue };
                log.first_ms.get_or_insert(time);
                let session = said.strip_prefix("saved ").and_then(|said| said.split_once(": ")).map(|(key, _)| key);
                if let Some((_, id)) = session.and_then(|key| key.rsplit_once('/')) {
                    log.last_ms.insert(id.to_owned(), time);
                }
            }
        }
        // Before the first rotation it tells of everything.
        if !store.join(LOGS[1]).exists() {
            log.first_ms = None;
        }
        log
    }
}

/// Whether a prompt or a command was answered since the hooks are there and after the last event that the log tells.
fn went_on_unseen(context: &Context, found: &FoundTranscript, since_ms: i64, log: &Log) -> bool {
    let now_ms = i64::try_from(context.now_ms).unwrap_or(i64::MAX);
    let last_ms = log.last_ms.get(found.id.as_str()).copied().unwrap_or(0);
    let since_ms = since_ms.max(last_ms) + CLOCK_MS;
    let known_ms = found.modified_ms().and_then(|ms| i64::try_from(ms).ok());
    let Some(changed_ms) = known_ms.or_else(|| modified_ms(&found.path)) else { return false };
    if changed_ms < since_ms || now_ms - changed_ms > NEWS_MS || now_ms - changed_ms < SETTLED_MS {
        return false;
    }
    let is_excluded = || context.places.policy.exclude.is_excluded(&found.path, None);
    // Of what was forgotten the log does not say whose hook ran.
    let is_forgotten = || -> Result<bool, ArchiveError> {
        Archive::open(&context.places.layer1_store)?.map_or(Ok(false), |archive| archive.is_forgotten(&found.id))
    };
    answered_since(&found.path, since_ms).unwrap_or(false) && !is_excluded() && !is_forgotten().unwrap_or(false)
}

/// Whether the end of a transcript holds a prompt or a command after this time and an answer in words after it: a turn that ended.
fn answered_since(path: &Path, since_ms: i64) -> std::io::Result<bool> {
    let Ok(Some(file)) = transcripts::open_transcript(path) else { return Ok(false) };
    let (mut asked, mut answered) = (false, false);
    record::read_records(tail(file)?, 0, TornLine::Final, &mut |located| {
        let record = &located.record;
        let is_since = record.timestamp_ms.is_some_and(|time| time > since_ms) && !record.is_sidechain;
        match record.class {
            // A command that was answered was a turn like another.
            Class::Prompt | Class::Command if is_since => asked = true,
            Class::Answer if is_since && asked => answered = !record.is_tool_call(),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(answered)
}

fn tail(mut file: File) -> std::io::Result<impl Read> {
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
    Ok(file.take(TAIL_BYTES))
}

fn modified_ms(path: &Path) -> Option<i64> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    modified.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok())
}

/// Why the hooks did not run in a conversation's directory, as far as that can be found, and what helps.
fn cause(context: &Context, found: &FoundTranscript) -> (String, String) {
    // A transcript that cannot be read says no directory.
    let cwd = transcripts::first_cwd(&found.path).ok().flatten().map(PathBuf::from);
    let names = ["settings.json", "settings.local.json"];
    let of_project = cwd.iter().flat_map(|cwd| names.map(|name| cwd.join(".claude").join(name)));
    let settings: Vec<PathBuf> = std::iter::once(context.settings()).chain(of_project).collect();
    for path in settings.iter().chain(&managed_files(&context.managed_dir)) {
        // What cannot be read turns nothing off.
        let Ok(value) = read(path) else { continue };
        for key in ["disableAllHooks", "allowManagedHooksOnly"] {
            if is_true(&value, key) {
                return (format!("\"{key}\" is true in {}", context.short(path)), edit(path));
            }
        }
    }
    if let Some(cwd) = cwd.as_deref().filter(|cwd| is_untrusted(&context.claude_json, cwd)) {
        let shown = context.short(cwd);
        let start = format!("cd {} && claude", shell_quoted(&cwd.to_string_lossy()));
        return (format!("Claude Code was never told to trust {shown}; start it there and say yes"), start);
    }
    ("the cause was not found".to_owned(), format!("{} doctor", context.commands.layer3))
}

/// Whether Claude Code knows the directory or one above it, and none of them is trusted.
fn is_untrusted(claude_json: &Path, cwd: &Path) -> bool {
    let Ok(state) = read_within(claude_json, STATE_BYTES_MAX) else { return false };
    let Some(projects) = state.get("projects").and_then(Value::as_object) else { return false };
    let trusts = |folder: &Path| {
        let project = projects.get(folder.to_str()?)?;
        Some(project.get("hasTrustDialogAccepted") == Some(&Value::Bool(true)))
    };
    !cwd.ancestors().any(|folder| trusts(folder) == Some(true))
}
