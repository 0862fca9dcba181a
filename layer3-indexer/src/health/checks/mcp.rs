//! The MCP server `session-manager`: registered, ours, for these stores, and answering.
//!
//! Layer 2 asks it, as it would for a delivery, and stops it again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layer1_prebackup::config::places::PlaceFlags;
use layer1_prebackup::fs::platform::is_program;
use layer1_prebackup::fs::read_foreign;
use layer1_prebackup::names::{LAYER2, LAYER3};
use serde_json::Value;

use crate::health::claude_settings::{STATE_BYTES_MAX, read};
use crate::health::context::{Context, edit};
use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind, Subject};
use crate::health::installation::Installation;
use crate::health::{child, plugin};
use crate::terminal::path_quoted;

/// The name of our MCP server.
const MCP_NAME: &str = "session-manager";
/// How long the server may take to answer.
const ANSWER_WAIT: &str = "20s";
/// How long layer 2 may take to start it, ask it twice, and stop it.
const PING_WAIT: Duration = Duration::from_secs(60);
/// Tools that layer 2 and the skills need.
const TOOLS: [&str; 4] = ["session_save", "session_search", "session_list", "session_get_context"];

/// What is registered.
struct Registered {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(OsString, OsString)>,
}

/// What cures it, as far as it is registered in this way or that.
fn cure(context: &Context, kind: Kind, is_of_plugin: bool) -> String {
    let install = context.install_line();
    match (context.installation(), kind) {
        (_, Kind::McpUnreadable) => edit(&context.claude_json),
        (Installation::Sources | Installation::Archive(_), kind) => match kind {
            Kind::McpMissing => add_line(context),
            Kind::McpForeign => format!("{install} --replace-old"),
            Kind::McpTools => install,
            _ => format!("{} && {}", remove_line(context), add_line(context)),
        },
        // The plugin's own server uses the places that Claude Code's environment names.
        (_, Kind::McpPlaces) if is_of_plugin => edit(&context.settings()),
        (_, Kind::McpMissing) => install,
        _ if is_of_plugin => install,
        // Without what stands before it, the plugin's own server counts.
        _ => remove_line(context),
    }
}

/// Whether it is registered, ours, for these stores, and answers.
pub(super) fn answers(examination: &mut Examination<'_>) {
    let context = examination.context;
    let path = &context.claude_json;
    let is_of_plugin = matches!(entry(path), Ok(None));
    let (summary, found) = look(examination);
    for (kind, what) in found {
        let cure = cure(context, kind, is_of_plugin);
        examination.findings.push(Finding::new(context, kind, what, path).mend(cure));
    }
    examination.summarise(Subject::McpServer, summary);
}

/// How it is, and what is wrong with it.
fn look(examination: &Examination<'_>) -> (String, Vec<(Kind, String)>) {
    let context = examination.context;
    let path = &context.claude_json;
    let place = context.short(path);
    let server = match entry(path).map(|entry| entry.or_else(|| of_plugin(context))) {
        Ok(Some(server)) => server,
        Ok(None) => {
            let what = format!("no MCP server {MCP_NAME} is registered");
            return (format!("not registered ({place})"), vec![(Kind::McpMissing, what)]);
        }
        Err(why) => return (format!("unknown ({place})"), vec![(Kind::McpUnreadable, why)]),
    };
    let Some(registered) = registered(&server) else {
        let what = format!("the MCP server {MCP_NAME} is not Threefold's: {}", command_line(&server));
        return ("another's".to_owned(), vec![(Kind::McpForeign, what)]);
    };
    if !registered.program.is_file() {
        let what = format!("the registered program is not there: {}", registered.program.display());
        return ("its program is not there".to_owned(), vec![(Kind::McpStale, what)]);
    }
    let other_place = other_place(context, &registered);
    let mut found: Vec<_> =
        other_place.map(|what| (Kind::McpPlaces, format!("the registered server uses {what}"))).into_iter().collect();
    let Some(answer) = ask(examination, &registered) else {
        // Then the check of the programs reports layer 2.
        return ("registered; layer 2 could not ask it".to_owned(), found);
    };
    let Some(tools) = answer.get("tools").and_then(Value::as_array) else {
        let why = answer.get("error").and_then(Value::as_str).unwrap_or("it does not say why");
        let what = format!("{} does not answer: failed to {why}", registered.program.display());
        found.push((Kind::McpSilent, what));
        return ("registered, and does not answer".to_owned(), found);
    };
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !tools.iter().any(|name| name == tool)).collect();
    if !missing.is_empty() {
        found.push((Kind::McpTools, format!("the server lacks {}", missing.join(", "))));
    }
    (format!("{MCP_NAME} answers with {} tools ({place})", tools.len()), found)
}

/// What stands under our name; `None` if nothing does. The error says why nothing is known.
fn entry(path: &Path) -> Result<Option<Value>, String> {
    let bytes = match read_foreign(path, STATE_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) => return Err(format!("it cannot be read: {}", error.source)),
    };
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    Ok(json.get("mcpServers").and_then(|servers| servers.get(MCP_NAME)).cloned())
}

/// What the plugin brings, where it is installed and enabled.
fn of_plugin(context: &Context) -> Option<Value> {
    let claude_dir = &context.places.claude_dir;
    let settings = read(&context.settings()).ok()?;
    Some(plugin::find(claude_dir, &settings)?.servers.get("mcpServers")?.get(MCP_NAME)?.clone())
}

fn registered(server: &Value) -> Option<Registered> {
    let program = PathBuf::from(server.get("command")?.as_str()?);
    let args = server.get("args").and_then(Value::as_array).into_iter().flatten();
    let args: Vec<String> = args.filter_map(|arg| arg.as_str().map(str::to_owned)).collect();
    let env = server.get("env").and_then(Value::as_object).into_iter().flatten();
    let env = env.filter_map(|(name, value)| Some((name.into(), value.as_str()?.into()))).collect();
    let is_ours = program.file_name().is_some_and(|name| name == LAYER3) && args.iter().any(|arg| arg == "serve");
    is_ours.then_some(Registered { program, args, env })
}

fn command_line(server: &Value) -> String {
    let args = server.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = server.get("command").and_then(Value::as_str).into_iter().chain(args).collect();
    if words.is_empty() { server.to_string() } else { words.join(" ") }
}

/// The first place that the server uses and that is not looked at.
fn other_place(context: &Context, registered: &Registered) -> Option<String> {
    let args = &registered.args;
    let flag = |name: &str| {
        let value = |(nth, arg): (usize, &String)| match arg.strip_prefix(name)? {
            "" => args.get(nth + 1).map(PathBuf::from),
            rest => rest.strip_prefix('=').map(PathBuf::from),
        };
        args.iter().enumerate().rev().find_map(value)
    };
    let flags = PlaceFlags {
        claude_dir: flag("--claude-dir"),
        pre_backup_dir: flag("--pre-backup-dir"),
        backup_dir: flag("--backup-dir"),
        session_db: flag("--session-db"),
    };
    let vars = registered.env.iter().chain(&context.vars).cloned().collect();
    Context { vars, ..context.clone() }.other_place(&flags)
}

/// What layer 2 says of it, whose client is the one that delivers; `None` where no layer 2 can ask.
fn ask(examination: &Examination<'_>, registered: &Registered) -> Option<Value> {
    let context = examination.context;
    // The one beside this program is of the same version.
    let folders = context.program_dir.iter().cloned().chain([examination.hooks.folder(context)]);
    folders.map(|folder| folder.join(LAYER2)).filter(|program| is_program(program)).find_map(|layer2| {
        let mut command = Command::new(layer2);
        command.env_clear().envs(context.vars.iter().chain(&registered.env).cloned());
        command.args(["ping", "--timeout", ANSWER_WAIT, "--server"]).arg(&registered.program).args(&registered.args);
        let outcome = child::run(&mut command, b"", PING_WAIT).ok()?;
        serde_json::from_str(&outcome.stdout).ok().filter(Value::is_object)
    })
}

fn add_line(context: &Context) -> String {
    let program = path_quoted(&context.places.claude_dir.join("hooks").join(LAYER3));
    let flags = context.place_flags().into_iter().map(|(flag, place)| format!(" {flag} {}", path_quoted(place)));
    format!("{} mcp add --scope user {MCP_NAME} -- {program} serve{}", claude(context), flags.collect::<String>())
}

fn remove_line(context: &Context) -> String {
    format!("{} mcp remove --scope user {MCP_NAME}", claude(context))
}

/// What to type for a `claude` that uses this directory.
fn claude(context: &Context) -> String {
    let is_beside = context.claude_json == context.places.home.join(".claude.json");
    if is_beside {
        return "claude".to_owned();
    }
    format!("CLAUDE_CONFIG_DIR={} claude", path_quoted(&context.places.claude_dir))
}
