//! The registration of layer 3 as the MCP server `session-manager`.
//!
//! Claude Code rewrites the file that holds it all the time, under a lock of its own; so it is
//! only read here, and changed by `claude mcp` alone.

use layer1_prebackup::claude::shell::quoted_if_needed;
use layer1_prebackup::fs::read_foreign;
use layer1_prebackup::names::LAYER3;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::failure::Context;
use crate::health::claude_settings::STATE_BYTES_MAX;
use crate::setup::Result;
use crate::setup::site::{self, Site, end_within};

/// The server's name, which the first version used too.
pub(crate) const NAME: &str = "session-manager";
/// How long `claude mcp` may take.
const CLAUDE_TIMEOUT: Duration = Duration::from_secs(60);

/// What stands under our server's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registered {
    /// Nothing.
    No,
    /// Just what is wanted.
    Same,
    /// Our program, with another path or other flags.
    Stale,
    /// Another program: its command.
    Foreign(String),
}

/// Reads what is registered. Fails where Claude Code's file is not JSON: then nothing is known.
pub(crate) fn registered(site: &Site) -> Result<Registered> {
    let path = site.claude_json();
    let Some(bytes) = read_foreign(&path, STATE_BYTES_MAX)? else { return Ok(Registered::No) };
    let json: Value =
        serde_json::from_slice(&bytes).context(format_args!("read {}: it is not JSON", path.display()))?;
    let Some(server) = json.get("mcpServers").and_then(|servers| servers.get(NAME)) else { return Ok(Registered::No) };
    let args = server.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let command = server.get("command").and_then(Value::as_str);
    let words: Vec<&str> = command.into_iter().chain(args).collect();
    let is_ours = command.is_some_and(|command| command.rsplit('/').next() == Some(LAYER3));
    Ok(if words == wanted(site)? {
        Registered::Same
    } else if is_ours {
        Registered::Stale
    } else if words.is_empty() {
        Registered::Foreign(server.to_string())
    } else {
        Registered::Foreign(words.join(" "))
    })
}

/// Registers the server in place of what stands there, or tells the lines that do it where
/// there is no `claude`. Returns what was done, for people; empty if nothing was to do.
pub(crate) fn register(site: &Site, standing: &Registered) -> Result<String> {
    if *standing == Registered::Same {
        return Ok(String::new());
    }
    if site.claude().is_none() {
        return Ok(format!("`claude` is not on the PATH; to register the MCP server, run\n{}", lines(site, standing)?));
    }
    if *standing != Registered::No {
        run(site, &remove_args())?;
    }
    run(site, &add_args(site)?)?;
    ensure!(
        registered(site)? == Registered::Same,
        "find the MCP server {NAME} in {} after registering it; run\n{}",
        site.claude_json().display(),
        lines(site, &Registered::No)?
    );
    Ok(format!("registered the MCP server {NAME}"))
}

/// Removes our server, never another's. Returns what was done, for people; empty if nothing was to do.
pub(crate) fn unregister(site: &Site) -> Result<String> {
    match registered(site)? {
        Registered::No => Ok(String::new()),
        Registered::Foreign(command) => Ok(format!("left the MCP server {NAME} alone, it is not ours: {command}")),
        Registered::Same | Registered::Stale if site.claude().is_none() => {
            let line = in_shell(site, &remove_args())?;
            Ok(format!("`claude` is not on the PATH; to remove the MCP server, run\n{line}"))
        }
        Registered::Same | Registered::Stale => {
            run(site, &remove_args())?;
            Ok(format!("removed the MCP server {NAME}"))
        }
    }
}

/// What to type in a shell to have the server registered in place of `standing`.
pub(crate) fn lines(site: &Site, standing: &Registered) -> Result<String> {
    let add = in_shell(site, &add_args(site)?)?;
    Ok(match standing {
        Registered::No | Registered::Same => add,
        Registered::Stale | Registered::Foreign(_) => format!("{}\n{add}", in_shell(site, &remove_args())?),
    })
}

/// What to type in a shell to have our server removed.
pub(crate) fn removal_line(site: &Site) -> Result<String> {
    in_shell(site, &remove_args())
}

fn wanted(site: &Site) -> Result<Vec<String>> {
    let program = site.program(LAYER3);
    let mut words = vec![site::text(&program)?.to_owned(), "serve".to_owned()];
    words.extend_from_slice(&site.flags);
    Ok(words)
}

fn add_args(site: &Site) -> Result<Vec<String>> {
    let mut args: Vec<String> = ["mcp", "add", "--scope", "user", NAME, "--"].map(str::to_owned).into();
    args.extend(wanted(site)?);
    Ok(args)
}

fn remove_args() -> Vec<String> {
    ["mcp", "remove", "--scope", "user", NAME].map(str::to_owned).into()
}

fn in_shell(site: &Site, args: &[String]) -> Result<String> {
    let words: Vec<_> = args.iter().map(|arg| quoted_if_needed(arg)).collect();
    Ok(format!("  {} {}", site.claude_in_shell()?, words.join(" ")))
}

fn run(site: &Site, args: &[String]) -> Result<()> {
    let line = in_shell(site, args)?;
    let mut command: Command = site.claude().context("find `claude` on the PATH")?;
    command.args(args).current_dir(&site.places.home).stdin(Stdio::null()).stdout(Stdio::null());
    match end_within(&mut command, CLAUDE_TIMEOUT).context(format_args!("start {line}"))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("run ({status}):\n{line}"),
        None => bail!("run, within {} s:\n{line}", CLAUDE_TIMEOUT.as_secs()),
    }
}
