//! Fake MCP servers, one for each way in which a server can fail its client.
//!
//! `fake_mcp_server MODE [JOURNAL]`: plain lines of JSON-RPC on stdio. With JOURNAL, `PID start`,
//! `PID call ARGUMENTS` and `PID end` are appended there as they happen.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};

const HANG: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_millis(1500);
const SLOW: Duration = Duration::from_millis(200);
const STDERR_FLOOD_BYTES: usize = 8 * 1024 * 1024;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let journal = args.next();
    match mode.as_str() {
        "exit-at-once" => return ExitCode::from(3),
        "hang-before-initialize" => std::thread::sleep(HANG),
        // Ignored signals stay ignored across exec; the sleeper is a grandchild in our group.
        "ignore-sigterm" => {
            let script = "trap '' TERM; sleep 60 & exec \"$0\" hang-in-call $1";
            let own = std::env::current_exe().expect("own path");
            let error = Command::new("/bin/sh").args(["-c", script]).arg(own).args(journal).exec();
            panic!("exec /bin/sh: {error}");
        }
        _ => {}
    }
    note(&journal, "start");
    if mode == "garbage" {
        say("this is not JSON-RPC");
        say("{\"jsonrpc\": \"2.0\", \"id\": ");
    }
    if mode == "flood-stderr" {
        let flood = vec![b'x'; STDERR_FLOOD_BYTES];
        std::io::stderr().write_all(&flood).expect("write to stderr");
    }
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(request) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(id) = request.get("id") else { continue };
        let answer = match request["method"].as_str() {
            Some("initialize") => json!({"result": {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "fake", "version": "1"},
            }}),
            Some("ping") => json!({"result": {}}),
            Some("tools/list") => json!({"result": {"tools": [
                {"name": "session_save", "description": "fake", "inputSchema": {"type": "object"}},
            ]}}),
            Some("tools/call") => {
                note(&journal, &format!("call {}", request["params"]["arguments"]));
                match called(&mode, &request["params"]["arguments"]) {
                    Some(answer) => answer,
                    None => return ExitCode::from(7),
                }
            }
            _ => json!({"error": {"code": -32601, "message": "method not found"}}),
        };
        let mut message = json!({"jsonrpc": "2.0", "id": id});
        message.as_object_mut().expect("an object").extend(answer.as_object().cloned().expect("an object"));
        say(&message.to_string());
    }
    if mode == "hang-in-call" {
        std::thread::sleep(HANG);
    }
    note(&journal, "end");
    ExitCode::SUCCESS
}

/// The answer to a call; `None` means that the process dies in the middle of it.
fn called(mode: &str, arguments: &Value) -> Option<Value> {
    let mut receipt = receipt(arguments);
    match mode {
        "hang-in-call" => std::thread::sleep(HANG),
        "die-in-call" => return None,
        "error-result" => return Some(tool_error("the disk of the fake server is full")),
        "error-answer" => return Some(json!({"error": {"code": -32603, "message": "the fake server failed"}})),
        "invalid-input" => return Some(json!({"error": {"code": -32602, "message": "the input is invalid"}})),
        "no-receipt" => return Some(json!({"result": {"content": [{"type": "text", "text": "saved"}]}})),
        "late" => std::thread::sleep(LATE),
        "slow" => std::thread::sleep(SLOW),
        "wrong-hash" => change_files(&mut receipt, |file| file["blake3"] = json!("00".repeat(32))),
        "not-covered" => change_files(&mut receipt, |file| file["covered"] = json!(false)),
        "fewer-files" => receipt["files"] = json!([]),
        "other-session" => receipt["session_id"] = json!("another-session"),
        _ => {}
    }
    Some(json!({"result": {
        "content": [{"type": "text", "text": receipt.to_string()}],
        "structuredContent": receipt,
    }}))
}

/// A receipt that says yes to everything.
fn receipt(arguments: &Value) -> Value {
    let mut receipt = json!({
        "session_id": arguments["session_id"],
        "project": arguments.get("project").cloned().unwrap_or(json!("proj")),
        "store_id": "f".repeat(32),
        "files": arguments.get("expected").cloned().unwrap_or(json!([])),
        "messages_indexed": 0,
        "trigger": arguments["trigger"],
    });
    change_files(&mut receipt, |file| file["covered"] = json!(true));
    receipt
}

fn change_files(receipt: &mut Value, change: impl Fn(&mut Value)) {
    receipt["files"].as_array_mut().into_iter().flatten().for_each(change);
}

fn tool_error(text: &str) -> Value {
    json!({"result": {"isError": true, "content": [{"type": "text", "text": text}]}})
}

/// One line on stdout. A client that has gone away is no reason to panic.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush());
}

fn note(journal: &Option<String>, what: &str) {
    if let Some(path) = journal {
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("open the journal");
        file.write_all(format!("{} {what}\n", std::process::id()).as_bytes()).expect("write the journal");
    }
}
