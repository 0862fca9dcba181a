//! The MCP server `session-manager`: registered, ours, for these stores, and answering.
//!
//! It is asked in two lines of JSON-RPC, as any client would, and stopped again.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hooks::{PLACE_FLAGS, difference, places_of};
use super::{Found, MCP_NAME, Patient, child, edit, found, place_flags, short};
use crate::health::status::Finding;
use crate::health::status::hooks::read;
use crate::health::status::installation::Installation;
use crate::health::status::plugin;
use crate::terminal::shell_quoted;

const PROGRAM: &str = "layer3-indexer";
/// How long the server may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// How long it may take to end when its input has ended.
const END_WAIT: Duration = Duration::from_secs(5);
/// More of an answer is none.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Tools that layer 2 and the skills need.
const TOOLS: [&str; 4] = ["session_save", "session_search", "session_list", "session_get_context"];

/// What is registered.
struct Registered {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(OsString, OsString)>,
}

/// What mends it, as far as it is registered in this way or that.
struct Cures {
    missing: String,
    foreign: String,
    places: String,
    /// The program is not there or not able.
    again: String,
    tools: String,
}

impl Cures {
    fn of(patient: &Patient, is_of_plugin: bool) -> Cures {
        let (remove, add, install) = (remove_line(patient), add_line(patient), patient.install_line());
        let by_hand = format!("{remove} && {add}");
        match patient.installation() {
            Installation::Sources | Installation::Archive(_) => Cures {
                missing: add,
                foreign: format!("{install} --replace-old"),
                places: by_hand.clone(),
                again: by_hand,
                tools: install,
            },
            // The plugin's own server uses the places that Claude Code's environment names.
            _ if is_of_plugin => Cures {
                missing: install.clone(),
                foreign: install.clone(),
                places: edit(&patient.places.claude_dir.join("settings.json")),
                again: install.clone(),
                tools: install,
            },
            // Without what stands before it, the plugin's own server counts.
            _ => Cures {
                missing: install,
                foreign: remove.clone(),
                places: remove.clone(),
                again: remove.clone(),
                tools: remove,
            },
        }
    }
}

pub(super) fn look(patient: &Patient, findings: &mut Vec<Found>) -> String {
    let path = &patient.claude_json;
    let mut say = |kind, what: String, mend: String| {
        findings.push(found("mcp server", Finding::new(kind, true, what, path).mend(mend)));
    };
    let cures = Cures::of(patient, matches!(entry(path), Ok(None)));
    let server = match entry(path).map(|entry| entry.or_else(|| of_plugin(patient))) {
        Ok(Some(server)) => server,
        Ok(None) => {
            say("mcp-missing", format!("no MCP server {MCP_NAME} is registered"), cures.missing);
            return format!("not registered ({})", short(patient, path));
        }
        Err(why) => {
            say("mcp-unreadable", why, edit(path));
            return format!("unknown ({})", short(patient, path));
        }
    };
    let Some(registered) = registered(&server) else {
        let what = format!("the MCP server {MCP_NAME} is not Threefold's: {}", command_line(&server));
        say("mcp-foreign", what, cures.foreign);
        return "another's".to_owned();
    };
    if !registered.program.is_file() {
        let what = format!("the registered program is not there: {}", registered.program.display());
        say("mcp-stale", what, cures.again);
        return "its program is not there".to_owned();
    }
    if let Some(what) = other_places(patient, &registered) {
        say("mcp-places", format!("the registered server uses {what}"), cures.places);
    }
    match ask(patient, &registered) {
        Ok(tools) => {
            let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !tools.iter().any(|name| name == tool)).collect();
            if !missing.is_empty() {
                say("mcp-tools", format!("the server lacks {}", missing.join(", ")), cures.tools);
            }
            format!("{MCP_NAME} answers with {} tools ({})", tools.len(), short(patient, path))
        }
        Err(why) => {
            say("mcp-silent", format!("{} does not answer: {why}", registered.program.display()), cures.again);
            "registered, and does not answer".to_owned()
        }
    }
}

/// What stands under our name; `None` if nothing does. The error says why nothing is known.
fn entry(path: &Path) -> Result<Option<Value>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    Ok(json.get("mcpServers").and_then(|servers| servers.get(MCP_NAME)).cloned())
}

/// What the plugin brings, where it is installed and enabled.
fn of_plugin(patient: &Patient) -> Option<Value> {
    let claude_dir = &patient.places.claude_dir;
    let settings = read(&claude_dir.join("settings.json")).ok()?;
    Some(plugin::find(claude_dir, &settings)?.servers.get("mcpServers")?.get(MCP_NAME)?.clone())
}

fn registered(server: &Value) -> Option<Registered> {
    let program = PathBuf::from(server.get("command")?.as_str()?);
    let args = server.get("args").and_then(Value::as_array).into_iter().flatten();
    let args: Vec<String> = args.filter_map(|arg| arg.as_str().map(str::to_owned)).collect();
    let env = server.get("env").and_then(Value::as_object).into_iter().flatten();
    let env = env.filter_map(|(name, value)| Some((name.into(), value.as_str()?.into()))).collect();
    let is_ours = program.file_name().is_some_and(|name| name == PROGRAM) && args.iter().any(|arg| arg == "serve");
    is_ours.then_some(Registered { program, args, env })
}

fn command_line(server: &Value) -> String {
    let args = server.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = server.get("command").and_then(Value::as_str).into_iter().chain(args).collect();
    if words.is_empty() { server.to_string() } else { words.join(" ") }
}

fn other_places(patient: &Patient, registered: &Registered) -> Option<String> {
    let mut flags = Vec::new();
    for (nth, arg) in registered.args.iter().enumerate() {
        match arg.split_once('=') {
            Some((flag, value)) if PLACE_FLAGS.contains(&flag) => flags.push((flag.to_owned(), value.to_owned())),
            _ if PLACE_FLAGS.contains(&arg.as_str()) => {
                flags.push((arg.clone(), registered.args.get(nth + 1).cloned().unwrap_or_default()));
            }
            _ => {}
        }
    }
    let vars: Vec<_> = registered.env.iter().chain(&patient.vars).cloned().collect();
    difference(&places_of(&flags, &vars)?, &patient.places)
}

/// The names of the tools.
fn ask(patient: &Patient, registered: &Registered) -> Result<Vec<String>, String> {
    let mut command = Command::new(&registered.program);
    command.args(&registered.args).env_clear().envs(patient.vars.iter().chain(&registered.env).cloned());
    let mut server = child::start(&mut command)?;
    let answered = converse(&mut server);
    // Its input is closed by now: a server that is well ends by itself.
    if child::wait(&mut server, END_WAIT).is_err() {
        child::end(&mut server);
    }
    answered
}

fn converse(server: &mut std::process::Child) -> Result<Vec<String>, String> {
    let (Some(mut stdin), Some(stdout)) = (server.stdin.take(), server.stdout.take()) else {
        return Err("it has no pipes".to_owned());
    };
    // What it says on stderr is for people, and must not stop it.
    if let Some(mut stderr) = server.stderr.take() {
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    }
    let client = json!({ "name": "threefold-doctor", "version": env!("CARGO_PKG_VERSION") });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    let lines = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {} }),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    stdin.write_all(text.as_bytes()).map_err(|error| format!("it does not listen: {error}"))?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout.take(ANSWER_BYTES_MAX)).lines().map_while(Result::ok) {
            // The answer may have come already.
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + ANSWER_WAIT;
    loop {
        let line = match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err("it ended without an answer".to_owned()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(format!("no answer within {} s", ANSWER_WAIT.as_secs()));
            }
        };
        let message: Value = serde_json::from_str(&line).map_err(|_| "it says what is no JSON".to_owned())?;
        if let Some(error) = message.get("error") {
            return Err(format!("it answers with an error: {error}"));
        }
        if message.get("id") == Some(&json!(2)) {
            let tools = message.pointer("/result/tools").and_then(Value::as_array).into_iter().flatten();
            return Ok(tools.filter_map(|tool| tool.get("name")?.as_str().map(str::to_owned)).collect());
        }
    }
}

fn add_line(patient: &Patient) -> String {
    let program = patient.places.claude_dir.join("hooks").join(PROGRAM);
    let mut line = format!(
        "{} mcp add --scope user {MCP_NAME} -- {} serve",
        claude(patient),
        shell_quoted(&program.to_string_lossy())
    );
    for (flag, place) in place_flags(&patient.places) {
        line.push_str(&format!(" {flag} {}", shell_quoted(&place.to_string_lossy())));
    }
    line
}

fn remove_line(patient: &Patient) -> String {
    format!("{} mcp remove --scope user {MCP_NAME}", claude(patient))
}

/// What to type for a `claude` that uses this directory.
fn claude(patient: &Patient) -> String {
    let is_beside = patient.claude_json == patient.places.home.join(".claude.json");
    if is_beside {
        return "claude".to_owned();
    }
    format!("CLAUDE_CONFIG_DIR={} claude", shell_quoted(&patient.places.claude_dir.to_string_lossy()))
}
