//! One message of JSON-RPC a line, on any pair of streams, in bounded memory whatever the client does.
//!
//! A line that is too long, or no request, is answered with an error and with its id where that can be read; of it only its
//! beginning was kept. While much of what was asked is not answered, or the answers are not read, nothing more is read: a
//! client that asks without listening waits, and costs no more than what it has asked until then.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ClientNotification, ClientRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Longest line that is read. What layer 2 expects of a session with 50,000 side files takes about 10 MB.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most values in a line: parsed, each takes a hundred times its single byte.
const LINE_VALUES_MAX: usize = 600_000;
/// Bytes of a line that are searched for its id, if the line is no request.
const HEAD_BYTES: usize = 64 * 1024;
/// Longest id that is given back.
const ID_BYTES_MAX: usize = 256;
/// Most requests that were read and not answered,
const ASKED_MAX: usize = 64;
/// and from how many bytes of them on no more are read.
const ASKED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers that wait for the one that is being written.
const ANSWERS_WAITING: usize = 4;
/// Longest message of an error, in bytes; what was not understood may stand in it.
const ERROR_BYTES_MAX: usize = 2000;
/// Longest answer. Those for models are far shorter, see `browse::fit`; a receipt is as long as what was expected of it.
const ANSWER_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;
/// How long answers are still written once the client has gone.
const END_MS_MAX: u64 = 2000;

/// The messages of a client.
pub(super) struct Lines<R> {
    read: BufReader<R>,
    line: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    is_skipping: bool,
    /// An error that is to be said before more is read. Kept here, because reading may be cut off at any wait.
    reply: Option<Vec<u8>>,
    out: Option<mpsc::Sender<Answer>>,
    asked: Arc<Asked>,
    writer: JoinHandle<io::Result<()>>,
}

struct Answer {
    line: Vec<u8>,
    id: Option<RequestId>,
}

impl<R: AsyncRead + Send + Unpin> Lines<R> {
    /// Reads and writes on these streams. What was asked is counted in `asked`. Needs a runtime.
    pub(super) fn on<W: AsyncWrite + Send + Unpin + 'static>(read: R, write: W, asked: Arc<Asked>) -> Lines<R> {
        let (out, answers) = mpsc::channel(ANSWERS_WAITING);
        let counted = Arc::clone(&asked);
        let writer = tokio::spawn(async move {
            let result = write_all(write, answers, &counted).await;
            counted.end();
            result
        });
        Lines {
            read: BufReader::new(read),
            line: Vec::new(),
            is_skipping: false,
            reply: None,
            out: Some(out),
            asked,
            writer,
        }
    }

    /// Whether the line in `self.line` is whole; `None` at the end of input.
    async fn read_line(&mut self) -> Option<bool> {
        loop {
            // An input that cannot be read has ended.
            let available = self.read.fill_buf().await.ok()?;
            let is_end = available.is_empty();
            let newline = available.iter().position(|byte| *byte == b'\n');
            let length = newline.unwrap_or(available.len());
            let is_too_long = self.line.len() + length > LINE_BYTES_MAX;
            if !self.is_skipping && !is_too_long {
                self.line.extend_from_slice(&available[..length]);
            }
            self.read.consume(newline.map_or(length, |at| at + 1));
            if is_too_long && !self.is_skipping {
                self.is_skipping = true;
                self.line.truncate(HEAD_BYTES);
                self.line.shrink_to_fit();
            }
            if newline.is_some() || (is_end && (!self.line.is_empty() || self.is_skipping)) {
                return Some(!std::mem::take(&mut self.is_skipping));
            }
            if is_end {
                return None;
            }
        }
    }

    /// The message of the line; `None` where there is none, and an error may be to be said.
    fn message(&mut self, is_whole: bool) -> Option<RxJsonRpcMessage<RoleServer>> {
        let bytes = std::mem::take(&mut self.line);
        let line = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        if is_whole && line.trim_ascii().is_empty() {
            return None;
        }
        let refuse = |code, why: String| {
            let head = Head::of(line);
            // Notifications and answers are not answered.
            let is_request = head.id.is_some() || !(head.is_notification || head.is_answer);
            is_request.then(|| in_a_line(&error(code, why, head.id)))
        };
        if !is_whole || line.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > LINE_VALUES_MAX {
            let why = format!("a message may have {LINE_BYTES_MAX} bytes and {LINE_VALUES_MAX} values at most");
            self.reply = refuse(ErrorCode::INVALID_REQUEST, why);
            return None;
        }
        let message: RxJsonRpcMessage<RoleServer> = match serde_json::from_slice(line) {
            Ok(message) => message,
            Err(error) => {
                let is_json = error.is_data();
                let code = if is_json { ErrorCode::INVALID_REQUEST } else { ErrorCode::PARSE_ERROR };
                let what = if is_json { "this is no request" } else { "this is no JSON" };
                self.reply = refuse(code, format!("{what}: {error}"));
                return None;
            }
        };
        match &message {
            JsonRpcMessage::Request(request) => {
                let is_call = matches!(request.request, ClientRequest::CallToolRequest(_));
                if !is_short(&request.id) {
                    self.reply = Some(in_a_line(&error(ErrorCode::INVALID_REQUEST, "its id is too long".into(), None)));
                    return None;
                }
                if !self.asked.begin(&request.id, line.len(), is_call) {
                    let why = "an earlier request with this id is not answered yet".to_owned();
                    let id = Some(request.id.clone());
                    self.reply = Some(in_a_line(&error(ErrorCode::INVALID_REQUEST, why, id)));
                    return None;
                }
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification {
                    cancelled.params.request_id.iter().for_each(|id| self.asked.cancel(id));
                }
            }
            _ => {}
        }
        Some(message)
    }
}

impl<R: AsyncRead + Send + Unpin> Transport<RoleServer> for Lines<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        mut message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let out = self.out.clone();
        let id = match &mut message {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(failed) => {
                let short = cut(&failed.error.message, ERROR_BYTES_MAX).to_owned();
                failed.error.message = short.into();
                failed.id.clone()
            }
            _ => None,
        };
        let mut line = in_a_line(&message);
        drop(message);
        if line.len() > ANSWER_BYTES_MAX {
            line = in_a_line(&error(ErrorCode::INTERNAL_ERROR, "the answer is too long".into(), id.clone()));
        }
        async move {
            let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
            out.ok_or_else(gone)?.send(Answer { line, id }).await.map_err(|_| gone())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        // Wherever this waits it may be dropped and called again: what it has read stands in `self`.
        loop {
            if self.reply.is_some() {
                let place = self.out.as_ref()?.reserve().await.ok()?;
                place.send(Answer { line: self.reply.take()?, id: None });
            }
            self.asked.wait_for_room().await?;
            let is_whole = self.read_line().await?;
            if let Some(message) = self.message(is_whole) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.out = None;
        // A client that does not read its last answers is not waited for.
        let written = tokio::time::timeout(Duration::from_millis(END_MS_MAX), &mut self.writer).await;
        written.map_or(Ok(()), |joined| joined.map_err(io::Error::other)?)
    }
}

async fn write_all(
    mut write: impl AsyncWrite + Unpin,
    mut answers: mpsc::Receiver<Answer>,
    asked: &Asked,
) -> io::Result<()> {
    while let Some(answer) = answers.recv().await {
        write.write_all(&answer.line).await?;
        write.flush().await?;
        answer.id.iter().for_each(|id| asked.answered(id));
    }
    Ok(())
}

fn in_a_line(message: &TxJsonRpcMessage<RoleServer>) -> Vec<u8> {
    // Messages have keys that are text and no loops, so they can be written.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

fn error(code: ErrorCode, why: String, id: Option<RequestId>) -> TxJsonRpcMessage<RoleServer> {
    JsonRpcMessage::error(ErrorData::new(code, cut(&why, ERROR_BYTES_MAX).to_owned(), None), id)
}

/// At most so many bytes of the text.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=text.len().min(bytes_max)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn is_short(id: &RequestId) -> bool {
    !matches!(id, RequestId::String(text) if text.len() > ID_BYTES_MAX)
}

/// The requests that were read and whose answers were not written.
#[derive(Debug, Default)]
pub(super) struct Asked {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    requests: HashMap<RequestId, Request>,
    bytes: usize,
    /// Nothing can be written any more.
    has_ended: bool,
}

#[derive(Debug)]
struct Request {
    bytes: usize,
    is_running: bool,
    /// Then its answer may never be written.
    is_cancelled: bool,
}

impl Asked {
    /// False if a request with this id is not answered yet. A call is running until it is said to be done.
    fn begin(&self, id: &RequestId, bytes: usize, is_call: bool) -> bool {
        let mut state = self.lock();
        if state.requests.contains_key(id) {
            return false;
        }
        state.bytes += bytes;
        state.requests.insert(id.clone(), Request { bytes, is_running: is_call, is_cancelled: false });
        true
    }

    /// The call's work is done, or was not begun.
    pub(super) fn done(&self, id: &RequestId) {
        self.change(id, |request| {
            request.is_running = false;
            request.is_cancelled
        });
    }

    fn cancel(&self, id: &RequestId) {
        self.change(id, |request| {
            request.is_cancelled = true;
            !request.is_running
        });
    }

    fn answered(&self, id: &RequestId) {
        self.change(id, |_| true);
    }

    fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_one();
    }

    /// Forgets the request if `change` says so.
    fn change(&self, id: &RequestId, change: impl FnOnce(&mut Request) -> bool) {
        let mut state = self.lock();
        if state.requests.get_mut(id).is_some_and(change)
            && let Some(request) = state.requests.remove(id)
        {
            state.bytes -= request.bytes;
            self.changed.notify_one();
        }
    }

    /// `None` where nothing can be answered any more.
    async fn wait_for_room(&self) -> Option<()> {
        loop {
            // One notification is kept for whoever comes late; only one ever waits.
            let changed = self.changed.notified();
            {
                let state = self.lock();
                if state.has_ended {
                    return None;
                }
                if state.requests.len() < ASKED_MAX && state.bytes < ASKED_BYTES_MAX {
                    return Some(());
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves the counts as they are, which are whole after each line above.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the beginning of a line tells of a message, even if the line is no JSON further on.
#[derive(Debug, Default)]
struct Head {
    id: Option<RequestId>,
    is_notification: bool,
    is_answer: bool,
}

impl Head {
    fn of(line: &[u8]) -> Head {
        let mut head = Head::default();
        let mut has_id = false;
        // Where it ends with an error, what was read before it is kept.
        let _ = serde_json::Deserializer::from_slice(&line[..line.len().min(HEAD_BYTES)])
            .deserialize_map(Fields { head: &mut head, has_id: &mut has_id });
        head.is_notification &= !has_id;
        head.id = head.id.filter(is_short);
        head
    }
}

struct Fields<'h> {
    head: &'h mut Head,
    has_id: &'h mut bool,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<(), M::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "id" => {
                    *self.has_id = true;
                    self.head.id = serde_json::from_value(fields.next_value::<Value>()?).ok();
                }
                "method" => {
                    self.head.is_notification = true;
                    fields.next_value::<IgnoredAny>()?;
                }
                name => {
                    self.head.is_answer |= matches!(name, "result" | "error");
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}
