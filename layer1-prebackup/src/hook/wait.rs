//! On Stop and SubagentStop the transcript lags the event: a short wait for its last record.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::claude::transcripts;
use crate::fs;
use crate::wire::event::Event;
use crate::wire::surrogates;

/// Longest wait. Measured: the missing lines come within 100 ms.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_millis(500);
/// Time between two looks at the file.
const LOOK_INTERVAL: Duration = Duration::from_millis(15);
/// How much of the end of the file is looked at, beside the length of the message itself.
const TAIL_BYTES: u64 = 256 * 1024;

/// Waits until the transcript's end holds the event's `last_assistant_message`, the limit or the
/// deadline passes, or the file turns out not to be there. Copying comes afterwards in any case.
pub(crate) fn wait_for_transcript(event: &Event, deadline: Instant) {
    let (Some(message), true) = (&event.last_assistant_message, matches!(event.kind.as_str(), "Stop" | "SubagentStop"))
    else {
        return;
    };
    let path = match event.kind.as_str() {
        "SubagentStop" => event.agent_transcript_path.as_ref(),
        _ => event.transcript_path.as_ref(),
    };
    let Some(path) = path else { return };
    let deadline = deadline.min(Instant::now() + WAIT_LIMIT);
    let mut seen = 0;
    loop {
        // What cannot be read here is reported by the copy, which reads the same file.
        let Ok(Some(file)) = transcripts::open_transcript(path) else { return };
        let Ok(stat) = fs::stat_of(&file, path) else { return };
        let bytes = stat.st_size as u64;
        if bytes != seen && holds(&file, path, bytes, message) {
            return;
        }
        seen = bytes;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(LOOK_INTERVAL.min(left));
    }
}

fn holds(file: &File, path: &Path, bytes: u64, message: &str) -> bool {
    let window = (TAIL_BYTES + 2 * message.len() as u64).min(bytes);
    let mut tail = vec![0; window as usize];
    // As above: the copy will report it.
    let Ok(came) = fs::read_at(file, bytes - window, &mut tail, path) else { return false };
    tail[..came].split(|byte| *byte == b'\n').rev().any(|line| is_record_of(line, message))
}

fn is_record_of(line: &[u8], message: &str) -> bool {
    let line = surrogates::without_lone(String::from_utf8_lossy(line));
    let Ok(record) = serde_json::from_str::<Value>(&line) else { return false };
    if record.get("type").and_then(Value::as_str) != Some("assistant") {
        return false;
    }
    match record.pointer("/message/content") {
        Some(Value::String(text)) => text.trim() == message.trim(),
        Some(Value::Array(blocks)) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect();
            texts.iter().any(|text| text.trim() == message.trim()) || texts.concat().trim() == message.trim()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn event(path: &Path) -> Event {
        Event {
            kind: "Stop".to_owned(),
            transcript_path: Some(path.to_owned()),
            last_assistant_message: Some("sí \"quoted\"\n".to_owned()),
            ..Event::default()
        }
    }

    #[test]
    fn it_ends_when_the_record_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, "{\"type\":\"user\"}\n").unwrap();
        let later = path.clone();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            let line = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"s\u00ed \"quoted\""}]}}"#;
            writeln!(std::fs::OpenOptions::new().append(true).open(later).unwrap(), "{line}").unwrap();
        });
        wait_for_transcript(&event(&path), Instant::now() + Duration::from_secs(60));
        assert!(std::fs::read_to_string(&path).unwrap().contains("quoted"));
        writer.join().unwrap();
    }

    #[test]
    fn half_an_emoji_in_the_answer_is_the_same_on_both_sides() {
        let line = br#"{"type":"assistant","message":{"content":[{"type":"text","text":"cut \ud83d"}]}}"#;
        let event = br#"{"session_id":"s","last_assistant_message":"cut \ud83d"}"#;
        assert!(is_record_of(line, &Event::parse(event).unwrap().last_assistant_message.unwrap()));
    }

    #[test]
    fn it_ends_without_the_record_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        wait_for_transcript(&event(&path), Instant::now() + Duration::from_secs(60));
        std::fs::write(&path, "torn").unwrap();
        let started = Instant::now();
        wait_for_transcript(&event(&path), Instant::now() + Duration::from_secs(60));
        assert!(started.elapsed() >= WAIT_LIMIT);
    }
}
