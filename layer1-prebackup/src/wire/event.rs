//! Hook events: reading one from stdin within a deadline, and what its fields mean.
//!
//! The bytes are kept as they came; parsing is tolerant, because fields come and go between
//! releases of Claude Code. Only `session_id` is ever required, or a transcript.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::fs::syscall::uninterrupted;
use crate::wire::surrogates;

/// Most bytes of an event that are kept; a hook's stdin is a few KB, the largest prompt some MB.
pub(crate) const EVENT_BYTES_MAX: usize = 512 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// Why input is not a usable event; fits after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EventError(String);

/// A hook event as far as Threefold understands it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// As sent, not yet checked: see [`crate::names::SessionId::parse`]. Empty when absent.
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
    pub(crate) last_assistant_message: Option<String>,
    /// `trigger` (compactions), `reason` (SessionEnd) or `source` (SessionStart).
    pub(crate) detail: Option<String>,
    /// The prompt (UserPromptSubmit).
    pub(crate) prompt: Option<String>,
    /// The summary that replaces what came before (PostCompact).
    pub(crate) compact_summary: Option<String>,
}

impl EventError {
    /// A field that is needed is missing or not a string.
    fn without(field: &str) -> EventError {
        EventError(format!("use the hook event: it has no text field {field:?}"))
    }
}

impl Event {
    /// An event of which nothing is known but the session.
    pub fn of_session(session_id: &str) -> Event {
        Event { session_id: session_id.to_owned(), ..Event::default() }
    }

    /// Parses the first JSON object of `input`; what follows it is ignored.
    pub fn parse(input: &[u8]) -> Result<Event, EventError> {
        let bytes = input.len();
        // What stands in the fields that are not needed must never cost a copy: bytes that are no
        // text, half an emoji, any depth, a key that comes twice.
        let input = surrogates::without_lone(String::from_utf8_lossy(input));
        // A shell that passes it on may have put a byte order mark before it.
        let input = input.trim_start_matches('\u{feff}');
        let mut values = serde_json::Deserializer::from_str(input).into_iter::<Texts>();
        let texts = values.next().ok_or_else(|| EventError("read the hook event: stdin was empty".to_owned()))?;
        let texts = texts.map_err(|error| EventError(format!("parse the hook event ({bytes} bytes): {error}")))?;
        let text = |name: &str| texts.0.get(name).cloned();
        let transcript_path = text("transcript_path").filter(|path| !path.is_empty()).map(PathBuf::from);
        let session_id = match (text("session_id"), &transcript_path) {
            (Some(id), _) => id,
            // The transcript's name says it.
            (None, Some(_)) => String::new(),
            (None, None) => return Err(EventError::without("session_id")),
        };
        Ok(Event {
            session_id,
            transcript_path,
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

/// The fields of an event that are text and that something is made of; the rest is read past.
struct Texts(BTreeMap<String, String>);

const FIELDS: [&str; 11] = [
    "session_id",
    "transcript_path",
    "cwd",
    "hook_event_name",
    "agent_transcript_path",
    "last_assistant_message",
    "trigger",
    "reason",
    "source",
    "prompt",
    "compact_summary",
];

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !FIELDS.contains(&key.as_str()) {
                        map.next_value::<IgnoredAny>()?;
                    } else if let Ok(text) = serde_json::from_str(map.next_value::<&RawValue>()?.get()) {
                        // Anything but text is read past, too.
                        texts.insert(key, text);
                    }
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
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
        let start = bytes.len();
        if !read_piece(input, wait, bytes)? || bytes.len() == start {
            break;
        }
        complete = complete || scan.advance(&bytes[start..]);
        if complete && Instant::now() >= deadline {
            break;
        }
    }
    Ok(())
}

/// Appends what `input` brings within `wait`; false where it brings nothing. At its end, true and nothing appended.
pub(crate) fn read_piece(input: &impl AsFd, wait: Duration, bytes: &mut Vec<u8>) -> io::Result<bool> {
    if !is_ready(input, wait)? {
        return Ok(false);
    }
    if bytes.len() == bytes.capacity() {
        bytes.reserve(READ_BYTES);
    }
    uninterrupted(|| rustix::io::read(input, spare_capacity(bytes)))?;
    Ok(true)
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
        let refused = |event: &[u8]| Event::parse(event).unwrap_err().to_string();
        assert_eq!(refused(b""), "read the hook event: stdin was empty");
        assert!(refused(b"{\"session_id\":").starts_with("parse the hook event (14 bytes): EOF"));
        assert!(refused(b"{\"session_id\":3}").ends_with("no text field \"session_id\""));
        let named = Event::parse(b"{\"session_id\":3,\"transcript_path\":\"/p/a.jsonl\"}").unwrap();
        assert_eq!((named.session_id.as_str(), named.transcript_path), ("", Some("/p/a.jsonl".into())));
    }

    #[test]
    fn an_event_cut_at_any_byte_is_refused_and_never_half_understood() {
        let event = r#"{"session_id":"a\u00e9\ud83d\ude00","transcript_path":"/h/sesión.jsonl","prompt":"x","n":[1,{"y":null}]}"#;
        let whole = Event::parse(event.as_bytes()).unwrap();
        for cut in 0..event.len() {
            assert!(
                Event::parse(&event.as_bytes()[..cut]).is_err(),
                "{cut}: {}",
                &event[..event.floor_char_boundary(cut)]
            );
        }
        for tail in ["\n", "\0", " {", "]", "\n{\"session_id\":\"b\"}"] {
            assert_eq!(Event::parse(format!("{event}{tail}").as_bytes()).unwrap(), whole);
        }
    }

    #[test]
    fn half_an_emoji_in_a_prompt_does_not_cost_the_copy() {
        let event = Event::parse(br#"{"session_id":"a","prompt":"cut \ud83d","x\udc00":"\ud83d\ude00"}"#).unwrap();
        assert_eq!((event.session_id.as_str(), event.prompt.as_deref()), ("a", Some("cut \u{fffd}")));
    }

    #[test]
    fn what_stands_in_other_fields_does_not_cost_the_copy() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for odd in [&deep, "1e999", "{\"a\":{}}", "\"\\u0000\"", "null"] {
            let event = format!("{{\"x\":{odd},\"session_id\":\"a\",\"y\":{odd}}}");
            assert_eq!(Event::parse(event.as_bytes()).unwrap().session_id, "a");
        }
        let event = Event::parse(b"{\"x\":\"\xff\xfe\",\"session_id\":\"a\"}").unwrap();
        assert_eq!(event.session_id, "a");
        let event = Event::parse(b"\xef\xbb\xbf{\"session_id\":\"a\"}\r\n").unwrap();
        assert_eq!(event.session_id, "a");
    }

    #[test]
    fn no_field_of_another_type_is_taken_for_text_and_a_repeated_one_is_read_last() {
        for odd in ["7", "-1", "0.5", "true", "null", "[[\"s\"]]", "{\"s\":{\"t\":[]}}"] {
            for name in FIELDS.iter().filter(|name| **name != "session_id") {
                let event = format!("{{\"{name}\":{odd},\"session_id\":\"a\"}}");
                let expected = Event { session_id: "a".to_owned(), ..Event::default() };
                assert_eq!(Event::parse(event.as_bytes()).unwrap(), expected, "{event}");
            }
            let refused = Event::parse(format!("{{\"session_id\":{odd}}}").as_bytes());
            assert!(refused.unwrap_err().to_string().ends_with("no text field \"session_id\""), "{odd}");
            let twice = format!("{{\"session_id\":\"a\",\"session_id\":\"b\",\"session_id\":{odd}}}");
            assert_eq!(Event::parse(twice.as_bytes()).unwrap().session_id, "b");
        }
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
    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]
        #[test]
        fn no_damage_to_a_recorded_event_panics_or_lets_what_follows_it_in(
            nth in proptest::prelude::any::<proptest::sample::Index>(),
            edits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..4u8, proptest::prelude::any::<u8>()), 1..6),
            tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20),
        ) {
            let corpus: Vec<&str> = include_str!("../../../tests/fixtures/hook-events.jsonl").lines().collect();
            let mut event = nth.get(&corpus).as_bytes().to_vec();
            for (at, edit, byte) in edits {
                let at = at.index(event.len());
                match edit {
                    0 => event[at] = byte,
                    1 => event.insert(at, byte),
                    2 => drop(event.drain(at..(at + usize::from(byte)).min(event.len()))),
                    _ => event.extend_from_within(at..(at + usize::from(byte)).min(event.len())),
                }
                event.push(b' '); // So that there is a byte for the next edit.
            }
            if let Ok(parsed) = Event::parse(&event) {
                let followed = [&event[..], b"\n", &tail].concat();
                proptest::prop_assert_eq!(Event::parse(&followed).unwrap(), parsed);
            }
        }
    }
}
