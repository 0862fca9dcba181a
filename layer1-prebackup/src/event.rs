//! Hook events: reading one from stdin within a deadline, and what its fields mean.
//!
//! The bytes are kept as they came; parsing is tolerant, because fields come and go between
//! releases of Claude Code. Only `session_id` is ever required.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::Value;

use crate::syscall::uninterrupted;

/// Most bytes of an event that are kept; a hook's stdin is a few KB, the largest prompt some MB.
pub const EVENT_BYTES_MAX: usize = 512 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// Why input is not a usable event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Nothing came.
    #[error("read the hook event: stdin was empty")]
    Empty,
    /// What came is not one JSON object.
    #[error("parse the hook event ({bytes} bytes)")]
    Json {
        /// How much came.
        bytes: usize,
        /// The parser's word.
        source: serde_json::Error,
    },
    /// A field that is needed is missing or not a string.
    #[error("use the hook event: it has no text field {0:?}")]
    Field(&'static str),
}

/// A hook event as far as Threefold understands it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// As sent, not yet checked: see [`crate::names::SessionId::parse`].
    pub session_id: String,
    /// Absent in events that have none, or when not text.
    pub transcript_path: Option<PathBuf>,
    /// The working directory at the time of the event.
    pub cwd: Option<String>,
    /// Kind of event; empty when absent.
    pub kind: String,
    /// The subagent's transcript (SubagentStop).
    pub agent_transcript_path: Option<PathBuf>,
    /// What the transcript must hold once it has caught up (Stop, SubagentStop).
    pub last_assistant_message: Option<String>,
    /// `trigger` (compactions), `reason` (SessionEnd) or `source` (SessionStart).
    pub detail: Option<String>,
    /// The prompt (UserPromptSubmit).
    pub prompt: Option<String>,
    /// The summary that replaces what came before (PostCompact).
    pub compact_summary: Option<String>,
}

impl Event {
    /// Parses the first JSON object of `input`; what follows it is ignored.
    pub fn parse(input: &[u8]) -> Result<Event, EventError> {
        let mut values = serde_json::Deserializer::from_slice(input).into_iter::<Value>();
        let bytes = input.len();
        let value = values.next().ok_or(EventError::Empty)?.map_err(|source| EventError::Json { bytes, source })?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Event {
            session_id: text("session_id").ok_or(EventError::Field("session_id"))?,
            transcript_path: text("transcript_path").map(PathBuf::from),
            cwd: text("cwd"),
            kind: text("hook_event_name").unwrap_or_default(),
            agent_transcript_path: text("agent_transcript_path").map(PathBuf::from),
            last_assistant_message: text("last_assistant_message"),
            detail: text("trigger").or_else(|| text("reason")).or_else(|| text("source")),
            prompt: text("prompt"),
            compact_summary: text("compact_summary"),
        })
    }

    /// The word for logs and metadata: `pre-compact`, `session-end`, `stop`, …
    pub fn trigger(&self) -> String {
        let mut word = String::new();
        for c in self.kind.chars() {
            if c.is_ascii_uppercase() && !word.is_empty() {
                word.push('-');
            }
            word.push(c.to_ascii_lowercase());
        }
        if word.is_empty() { "unknown".to_owned() } else { word }
    }
}

/// Reads through the newline after the first complete JSON object, to end of file, or until
/// `limit` has passed, whichever comes first; whatever else lies ready in the pipe then is
/// taken along. Returns exactly the bytes read, also where reading fails after some came; never
/// blocks past `limit`.
pub fn read_event(input: impl AsFd, limit: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let mut bytes = Vec::new();
    match read_until(&input, deadline, &mut bytes) {
        Err(error) if bytes.is_empty() => Err(error),
        // Whether what came is an event, the parser says.
        _ => Ok(bytes),
    }
}

fn read_until(input: &impl AsFd, deadline: Instant, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut scan = ObjectScan::default();
    let mut complete = false;
    while bytes.len() < EVENT_BYTES_MAX {
        let wait = if complete { Duration::ZERO } else { deadline.saturating_duration_since(Instant::now()) };
        if !is_ready(input, wait)? {
            break;
        }
        let start = bytes.len();
        bytes.resize(start + READ_BYTES, 0);
        let result = uninterrupted(|| rustix::io::read(input, &mut bytes[start..]));
        bytes.truncate(start + *result.as_ref().unwrap_or(&0));
        if result? == 0 {
            break;
        }
        complete = complete || scan.advance(&bytes[start..]);
        if complete && Instant::now() >= deadline {
            break;
        }
    }
    Ok(())
}

/// Whether a read would not block. A hang-up counts: the read then says end of file.
fn is_ready(input: &impl AsFd, wait: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        let mut fds = [PollFd::new(input, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds the newline after the first top-level JSON object without building it.
#[derive(Debug, Default)]
struct ObjectScan {
    depth: u64,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

impl ObjectScan {
    /// Takes the next bytes; true once the newline after the object was among them.
    fn advance(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'\n' if self.closed => return true,
                _ if self.closed => {}
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn unknown_and_odd_fields_do_not_matter() {
        let event = Event::parse(
            br#"{"session_id":"a","cwd":7,"hook_event_name":"PreCompact","trigger":"auto","new":{}} {"x":1}"#,
        )
        .unwrap();
        assert_eq!(event.session_id, "a");
        assert_eq!(event.cwd, None);
        assert_eq!(event.trigger(), "pre-compact");
        assert_eq!(event.detail.as_deref(), Some("auto"));
        assert!(matches!(Event::parse(b""), Err(EventError::Empty)));
        assert!(matches!(Event::parse(b"{\"session_id\":"), Err(EventError::Json { .. })));
        assert!(matches!(Event::parse(b"{\"session_id\":3}"), Err(EventError::Field("session_id"))));
    }

    #[test]
    fn reading_ends_at_the_newline_after_the_object_although_the_pipe_stays_open() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"{\"a\":\"}\\\"{\"}\n").unwrap();
        let started = Instant::now();
        let bytes = read_event(&reader, Duration::from_secs(60)).unwrap();
        assert_eq!(bytes, b"{\"a\":\"}\\\"{\"}\n");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_second_object_that_lies_ready_comes_along() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"{}\n{\"second\":1}\ntail").unwrap();
        assert_eq!(read_event(&reader, Duration::from_secs(60)).unwrap(), b"{}\n{\"second\":1}\ntail");
    }

    #[test]
    fn without_newline_or_end_the_limit_ends_it() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"{\"cut\":").unwrap();
        assert_eq!(read_event(&reader, Duration::from_millis(50)).unwrap(), b"{\"cut\":");
        drop(writer);
        assert_eq!(read_event(&reader, Duration::from_secs(60)).unwrap(), b"");
    }
}
