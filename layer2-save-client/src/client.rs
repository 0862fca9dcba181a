//! The MCP client: one connection to one server process, and calls of `session_save` on it.
//!
//! Everything that waits here waits at most `timeout` without a sign of life, whatever the
//! server does or leaves undone. The handshake is plain `initialize`, which servers of both
//! protocol eras answer.

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::config::threads::STACK_BYTES;
use layer1_prebackup::log::one_line;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig, ErrorCode,
    Implementation, ProgressNotificationParam,
};
use rmcp::service::{ClientInitializeError, NotificationContext, RunningService, ServiceError};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::{Map, Value};
use tokio::net::unix::pipe;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::call_error::CallError;
use crate::interrupt::Interrupt;
use crate::server_process::{self, Patience, ServerCommand, ServerProcess};

/// The tool that is called.
pub(crate) const TOOL: &str = "session_save";
/// Under this name the server sees this client.
pub(crate) const CLIENT_NAME: &str = "layer2-save-client";

/// A server that shook hands. Dropping it stops the server.
pub(crate) struct Connection {
    // In this order: the service and its runtime hold the pipes, which must be closed before the
    // process is stopped.
    service: RunningService<RoleClient, Client>,
    runtime: Runtime,
    process: ServerProcess,
    signs_of_life: watch::Receiver<u64>,
    server: String,
}

/// Starts the server and shakes hands with it.
pub(crate) fn connect(
    command: &ServerCommand,
    env: &ChildEnv,
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<Connection, CallError> {
    let fail = |source: io::Error| CallError::Start { command: command.display(), source };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES).build().map_err(CallError::Runtime)?;
    let (mut process, stdin, stdout) = server_process::start(command, env)?;
    let (sender, signs_of_life) = watch::channel(0);
    let handshake = async {
        let transport = transport(stdin, stdout).map_err(fail)?;
        tokio::select! {
            served = Client { signs_of_life: sender }.serve(transport) => served.map_err(handshake_error),
            () = tokio::time::sleep(timeout) => Err(CallError::Timeout { waited: timeout, in_handshake: true }),
            () = interrupt.wait() => Err(CallError::Interrupted),
        }
    };
    match runtime.block_on(handshake) {
        Ok(service) => {
            let server = name_of(&service);
            Ok(Connection { service, runtime, process, signs_of_life, server })
        }
        Err(error) => {
            drop(runtime);
            Err(with_ending(error, &mut process))
        }
    }
}

impl Connection {
    /// Name and version of the server, as it says.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Calls `session_save` and gives the JSON object of its answer. After an error that leaves
    /// the server unhealthy, [`Connection::abandon`] is the only thing left to do.
    pub(crate) fn call(
        &mut self,
        arguments: Map<String, Value>,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<Value, CallError> {
        let params = CallToolRequestParams::new(TOOL).with_arguments(arguments);
        match self.ask(self.service.call_tool_once(params), timeout, interrupt)? {
            CallToolResponse::Complete(result) => value_of(&result),
            _ => Err(CallError::Protocol("the server asks for more input".to_owned())),
        }
    }

    /// The names of the server's tools.
    pub(crate) fn tools(&self, timeout: Duration, interrupt: &Interrupt) -> Result<Vec<String>, CallError> {
        let tools = self.ask(self.service.list_all_tools(), timeout, interrupt)?;
        Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect())
    }

    fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, ServiceError>>,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<T, CallError> {
        let mut signs_of_life = self.signs_of_life.clone();
        signs_of_life.mark_unchanged();
        self.runtime.block_on(async {
            tokio::select! {
                answer = question => answer.map_err(call_error),
                () = silence(&mut signs_of_life, timeout) => {
                    Err(CallError::Timeout { waited: timeout, in_handshake: false })
                }
                () = interrupt.wait() => Err(CallError::Interrupted),
            }
        })
    }

    /// Stops a server that is no longer needed.
    pub(crate) fn stop(self) {
        self.without_pipes().stop(Patience::HEALTHY);
    }

    /// [`Connection::stop`] of our own server, which is given time to index what it has saved.
    pub(crate) fn stop_when_indexed(self) {
        self.without_pipes().stop(Patience::INDEXING);
    }

    /// Stops a server after an error, and adds to the error how the server ended.
    pub(crate) fn abandon(self, error: CallError) -> CallError {
        with_ending(error, &mut self.without_pipes())
    }

    fn without_pipes(self) -> ServerProcess {
        // The service's tasks live in the runtime and hold the pipes; both go at once, even
        // where a task is stuck in a write that nobody reads.
        drop(self.service);
        drop(self.runtime);
        self.process
    }
}

struct Client {
    signs_of_life: watch::Sender<u64>,
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let client = Implementation::new(CLIENT_NAME, env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), client)
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        // Only progress that moves is a sign of life: a server stuck in a loop repeats itself.
        let progress = params.progress.to_bits();
        self.signs_of_life.send_if_modified(|last| std::mem::replace(last, progress) != progress);
    }
}

/// Ends when nothing was heard for `timeout`.
async fn silence(signs_of_life: &mut watch::Receiver<u64>, timeout: Duration) {
    while let Ok(Ok(())) = tokio::time::timeout(timeout, signs_of_life.changed()).await {}
}

fn transport(
    stdin: ChildStdin,
    stdout: ChildStdout,
) -> io::Result<AsyncRwTransport<RoleClient, pipe::Receiver, pipe::Sender>> {
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
    let writer = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
    Ok(AsyncRwTransport::new_client(reader, writer))
}

fn name_of(service: &RunningService<RoleClient, Client>) -> String {
    let info = service.peer().peer_info();
    match info.as_ref().and_then(|info| info.server_info.as_ref()) {
        Some(server) => one_line(&format!("{} {}", server.name, server.version)),
        None => "unknown".to_owned(),
    }
}

/// The tool's answer: structured content, else the first text that is JSON.
fn value_of(result: &CallToolResult) -> Result<Value, CallError> {
    let structured = result.structured_content.clone().filter(|value| !value.is_null());
    let first_text = result.content.iter().find_map(|block| block.as_text()).map(|text| text.text.as_str());
    let value = structured.or_else(|| first_text.and_then(|text| serde_json::from_str(text).ok()));
    if result.is_error != Some(true) {
        return Ok(value.unwrap_or(Value::Null));
    }
    let error = value.as_ref().and_then(|value| value.get("error"));
    let field = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str);
    let message = one_line(field("message").or(first_text).unwrap_or("it does not say why"));
    if field("kind") == Some("invalid_input") {
        Err(CallError::Refused(message))
    } else {
        Err(CallError::Tool(message))
    }
}

fn handshake_error(error: ClientInitializeError) -> CallError {
    let what = match error {
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::TransportError { .. } => {
            return CallError::Ended { how: String::new(), in_handshake: true };
        }
        ClientInitializeError::JsonRpcError(data) => data.message.into_owned(),
        other => other.to_string(),
    };
    CallError::Handshake(one_line(&what))
}

fn call_error(error: ServiceError) -> CallError {
    match error {
        ServiceError::McpError(data) if data.code == ErrorCode::INVALID_PARAMS => {
            CallError::Refused(one_line(&data.message))
        }
        ServiceError::McpError(data) => CallError::Tool(one_line(&data.message)),
        ServiceError::TransportClosed | ServiceError::TransportSend(_) | ServiceError::Cancelled { .. } => {
            CallError::Ended { how: String::new(), in_handshake: false }
        }
        other => CallError::Protocol(one_line(&other.to_string())),
    }
}

/// Stops the process and, where that explains the error, says how it ended and its last words.
fn with_ending(error: CallError, process: &mut ServerProcess) -> CallError {
    let patience = match error {
        CallError::Interrupted => Patience::INTERRUPTED,
        _ => Patience::BROKEN,
    };
    let status = process.stop(patience);
    let CallError::Ended { in_handshake, .. } = error else { return error };
    let mut how = match status {
        Some(status) => format!("with {status}"),
        None => "its output, but went on running".to_owned(),
    };
    let words = process.last_words();
    if !words.is_empty() {
        how = format!("{how}: {words}");
    }
    CallError::Ended { how: one_line(&how), in_handshake }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::ContentBlock;
    use serde_json::json;

    #[test]
    fn structured_content_is_preferred_to_text() {
        let text = CallToolResult::success(vec![ContentBlock::text(r#"{"from":"text"}"#)]);
        assert_eq!(value_of(&text).unwrap(), json!({"from": "text"}));
        let mut both = text.clone();
        both.structured_content = Some(json!({"from": "structure"}));
        assert_eq!(value_of(&both).unwrap(), json!({"from": "structure"}));
        let prose = CallToolResult::success(vec![ContentBlock::text("Saved.")]);
        assert_eq!(value_of(&prose).unwrap(), Value::Null);
    }

    #[test]
    fn an_error_result_tells_whether_it_can_heal() {
        let failing = |text: &str| value_of(&CallToolResult::error(vec![ContentBlock::text(text)])).unwrap_err();
        let refused = failing(r#"{"error":{"kind":"invalid_input","message":"no such id"}}"#);
        assert!(matches!(refused, CallError::Refused(message) if message == "no such id"));
        let failed = failing(r#"{"error":{"kind":"failed","message":"disk full"}}"#);
        assert!(matches!(failed, CallError::Tool(message) if message == "disk full"));
        assert!(matches!(failing("database\nis locked"), CallError::Tool(message) if message == "database is locked"));
    }
}
