//! A plain MCP client for `layer3-indexer serve`: lines of JSON-RPC, written and read by hand, so
//! that the server is not tested with the same library that it is made of.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wait_timeout::ChildExt;

use crate::binaries::LAYER3;
use crate::scratch::Scratch;

/// The revision that `initialize` asks for.
pub const PROTOCOL: &str = "2025-11-25";
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A conversation with a running server. Dropped, the server is killed.
pub struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    next_id: u64,
    /// Every line that was not an answer: notifications, requests.
    pub asides: Vec<Value>,
}

impl Client {
    /// Starts `layer3-indexer serve` with more arguments, without a word said.
    pub fn start(scratch: &Scratch, args: &[&str]) -> Client {
        let mut command = Command::new(scratch.program(LAYER3));
        command.arg("serve").args(args).env_clear();
        command.env("HOME", scratch.home()).env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.env("TMPDIR", scratch.tmp()).env("TZ", "UTC").current_dir(scratch.project_dir());
        Client::of(command)
    }

    /// Starts a server, without a word said.
    pub fn of(mut command: Command) -> Client {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start the server");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Client { child, stdin, lines, next_id: 0, asides: Vec::new() }
    }

    /// [`Client::start`] and the handshake of the older era; gives the server's answer too.
    #[track_caller]
    pub fn initialized(scratch: &Scratch, args: &[&str]) -> (Client, Value) {
        let mut client = Client::start(scratch, args);
        let answer = client.initialize();
        (client, answer)
    }

    /// The handshake of the older era; gives the server's answer.
    #[track_caller]
    pub fn initialize(&mut self) -> Value {
        let answer = self.request(
            "initialize",
            json!({"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "tests", "version": "0"}}),
        );
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        answer
    }

    /// Sends one message.
    #[track_caller]
    pub fn send(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().expect("the server's input is open");
        stdin.write_all(format!("{message}\n").as_bytes()).expect("write to the server");
    }

    /// Sends a request and waits for its answer, the whole message with `result` or `error`.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let line = match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(error) => panic!("no answer to {method} {id}: {error}"),
            };
            let message: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("the server wrote a line that is not JSON ({error}): {line}"));
            if message["id"] == json!(id) && message.get("method").is_none() {
                return message;
            }
            self.asides.push(message);
        }
    }

    /// Calls a tool. `Ok` is its structured content (or else the text as JSON, or the text);
    /// `Err` is the message of a failure, whether a result with `isError` or a protocol error.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, String> {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        if let Some(error) = answer.get("error") {
            return Err(error.to_string());
        }
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        if result["isError"] == json!(true) {
            return Err(text.to_owned());
        }
        if let Some(structured) = result.get("structuredContent").filter(|value| !value.is_null()) {
            return Ok(structured.clone());
        }
        Ok(serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
    }

    /// Closes the server's input and waits for its exit.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        drop(self.stdin.take());
        let status = self.child.wait_timeout(Duration::from_secs(10)).expect("wait for the server");
        status.expect("the server ends when its input does")
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has usually ended; both calls then fail harmlessly.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
