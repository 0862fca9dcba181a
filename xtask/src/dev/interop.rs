//! `cargo xtask interop`: layer 3 as another's MCP client sees it, and layer 1 behind the Agent SDK.
//!
//! Opt-in, because it fetches the MCP Inspector from npm. The server runs in a scratch home,
//! in both eras of the protocol.

use layer1_prebackup::names::LAYER3;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use wait_timeout::ChildExt;
use xshell::{Shell, cmd};

use crate::dev::agent_sdk;
use crate::release::{self};

/// Pinned, because its options change: `--strict`, `--protocol-era`, `--format json`.
const INSPECTOR: &str = "@modelcontextprotocol/inspector@2.12.0";
/// The handshakes to try: `initialize` alone, and `server/discover`.
const ERAS: [&str; 2] = ["legacy", "modern"];
/// How long one call of the inspector may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

const SESSION: &str = "0f5e2f5c-1111-4222-8333-944455556666";
const TOOLS: [&str; 7] = [
    "backup_create",
    "session_get_context",
    "session_list",
    "session_save",
    "session_search",
    "session_verify",
    "session_why",
];

/// What is asked of the server; each gives what was seen, in a few words.
type Check = fn(&Client) -> Result<String>;
const CHECKS: [(&str, Check); 3] = [("tools/list --strict", list), ("session_save", save), ("session_search", search)];

/// Runs every check in both eras; one line each. Skips, plainly, where npm or the package cannot be had.
pub(crate) fn run(sh: &Shell) -> Result<()> {
    if cmd!(sh, "npm --version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
        println!("skipped: npm is not installed");
        return Ok(());
    }
    let scratch = sh.create_temp_dir()?;
    let folder = scratch.path().to_owned();
    if cmd!(sh, "npm install --prefix {folder} --no-audit --no-fund {INSPECTOR}").ignore_stdout().run().is_err() {
        println!("skipped: npm could not install {INSPECTOR}");
        return Ok(());
    }
    let programs = release::build(sh)?;
    let server = programs.join(LAYER3);
    let mut failed = 0;
    for era in ERAS {
        let client = Client::new(&folder, &server, era)?;
        for (name, check) in CHECKS {
            match check(&client) {
                Ok(seen) => println!("ok      {era:6}  {name}: {seen}"),
                Err(error) => {
                    failed += 1;
                    println!("FAILED  {era:6}  {name}: {error:#}");
                }
            }
        }
    }
    failed += agent_sdk::run(sh, &programs, conversation())?;
    ensure!(failed == 0, "pass {failed} of the checks above");
    Ok(())
}

/// An inspector, a server and a home with one conversation, for one era.
struct Client {
    inspector: PathBuf,
    server: PathBuf,
    home: PathBuf,
    transcript: PathBuf,
    era: &'static str,
}

impl Client {
    fn new(folder: &Path, server: &Path, era: &'static str) -> Result<Client> {
        let home = folder.join(format!("home-{era}"));
        let projects = home.join(".claude/projects/-home-interop");
        fs::create_dir_all(&projects).with_context(|| format!("create {}", projects.display()))?;
        let transcript = projects.join(format!("{SESSION}.jsonl"));
        fs::write(&transcript, conversation()).with_context(|| format!("write {}", transcript.display()))?;
        let inspector = folder.join("node_modules/.bin/mcp-inspector");
        Ok(Client { inspector, server: server.to_owned(), home, transcript, era })
    }

    /// One call; its result as JSON.
    fn call(&self, args: &[&str]) -> Result<Value> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let (stdout, stderr) = (self.home.join("stdout.json"), self.home.join("stderr.txt"));
        let create = |path: &Path| fs::File::create(path).with_context(|| format!("create {}", path.display()));
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
        let mut command = Command::new(&self.inspector);
        command.env_clear().env("PATH", path).env("HOME", &self.home);
        command.args(["--cli", "--format", "json", "--protocol-era", self.era]).args(args);
        command.arg("--").arg(&self.server).arg("serve");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .context("start the inspector")?;
        let Some(status) = child.wait_timeout(CALL_TIMEOUT).context("wait for the inspector")? else {
            child.kill().and_then(|()| child.wait()).context("end the inspector")?;
            bail!("hear from the inspector within {} s", CALL_TIMEOUT.as_secs());
        };
        ensure!(status.success(), "call ({status}):\n{}", complaints(&read(&stderr)?));
        let printed = read(&stdout)?;
        serde_json::from_str(&printed).with_context(|| format!("read the answer {}", printed.trim()))
    }

    fn call_tool(&self, name: &str, arguments: &Value) -> Result<Value> {
        let arguments = arguments.to_string();
        let answer = self.call(&["--method", "tools/call", "--tool-name", name, "--tool-args-json", &arguments])?;
        let result = answer.get("result").unwrap_or(&answer);
        ensure!(result.get("isError") != Some(&Value::Bool(true)), "call {name}: {result}");
        let structured = result.get("structuredContent").cloned();
        structured.with_context(|| format!("find structured content in {result}"))
    }
}

/// What the inspector calls an error, without its mere warnings; all of it if there is no such word.
fn complaints(stderr: &str) -> String {
    let errors: Vec<_> = stderr.split("\n\n").filter(|paragraph| paragraph.starts_with("Error")).collect();
    if errors.is_empty() { stderr.trim().to_owned() } else { errors.join("\n\n") }
}

fn list(client: &Client) -> Result<String> {
    let answer = client.call(&["--method", "tools/list", "--strict"])?;
    let tools = answer.pointer("/result/tools").or_else(|| answer.get("tools")).and_then(Value::as_array);
    let names = tools.into_iter().flatten().filter_map(|tool| tool.get("name")?.as_str());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    ensure!(names == TOOLS, "find the seven tools, found {names:?}");
    Ok(names.join(", "))
}

fn save(client: &Client) -> Result<String> {
    let arguments = json!({
        "session_id": SESSION,
        "transcript_path": client.transcript,
        "cwd": "/home/interop",
        "trigger": "session-end",
    });
    let receipt = client.call_tool("session_save", &arguments)?;
    let expected = blake3::hash(conversation().as_bytes()).to_hex();
    let stored = receipt.pointer("/files/0/blake3").and_then(Value::as_str);
    ensure!(stored == Some(expected.as_str()), "find the transcript's hash {expected} in {receipt}");
    Ok(format!("{} bytes, hash {}", conversation().len(), &expected[..16]))
}

fn search(client: &Client) -> Result<String> {
    let answer = client.call_tool("session_search", &json!({ "query": "lighthouse" }))?;
    ensure!(answer.to_string().contains(SESSION), "find session {SESSION} in {answer}");
    Ok(format!("found {SESSION}"))
}

fn conversation() -> String {
    let message = |role: &str, uuid: u32, text: &str| {
        json!({
            "type": role,
            "uuid": format!("00000000-0000-4000-8000-{uuid:012}"),
            "sessionId": SESSION,
            "timestamp": "2026-11-01T10:00:00.000Z",
            "cwd": "/home/interop",
            "message": { "role": role, "content": [{ "type": "text", "text": text }] },
        })
    };
    let lines = [message("user", 1, "Where is the lighthouse?"), message("assistant", 2, "At the end of the pier.")];
    lines.map(|line| line.to_string() + "\n").concat()
}
