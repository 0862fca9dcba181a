//! Records of transcripts, whole and damaged.

use std::ops::ControlFlow;

use serde_json::value::RawValue;

use super::*;

fn prompt(n: u32) -> String {
    format!(
        r#"{{"parentUuid":null,"type":"user","message":{{"role":"user","content":"prompt {n}"}},"uuid":"u{n}","sessionId":"s"}}"#
    )
}

/// Reads `bytes` and describes every record as `offset+length class text`, then what was not readable.
fn read(bytes: &[u8], torn: TornLine) -> (Vec<String>, ReadReport) {
    let mut seen = Vec::new();
    let report = read_records(bytes, 0, torn, &mut |located| {
        let (at, length) = (located.offset as usize, located.length as usize);
        let again = with_record(&bytes[at..at + length], |record| format!("{:?}", record));
        assert_eq!(again, Some(format!("{:?}", located.record)), "the range holds the record alone");
        seen.push(format!("{:?} {}", located.record.class, text_of(&located.record)));
        ControlFlow::Continue(())
    });
    (seen, report.unwrap())
}

fn text_of(record: &Record<'_>) -> String {
    let texts = record.blocks.iter().map(|block| match block {
        Block::Text(text) | Block::Thinking(text) => text.to_string(),
        Block::ToolUse { name, input, .. } => format!("{name}({})", input.map(tool_input_text).unwrap_or_default()),
        Block::ToolResult { text, is_error, .. } => format!("{text}{}", if *is_error { " (error)" } else { "" }),
        Block::Other(kind) => format!("<{kind}>"),
    });
    texts.collect::<Vec<_>>().join("|")
}

fn check(line: &str, expected: &str) {
    let (seen, report) = read(line.as_bytes(), TornLine::Wait);
    assert_eq!((seen.join("; ").as_str(), report.unparsable), (expected, 0), "{line}");
}

#[test]
fn half_an_emoji_does_not_hide_a_message() {
    let record =
        |kind: &str, content: &str| format!(r#"{{"type":"{kind}","message":{{"content":{content}}},"uuid":"u"}}"#);
    check(&record("user", r#""cut \ud83d""#), "Prompt cut \u{fffd}");
    check(&record("user", r#""whole \ud83d\ude00 \\ud83d""#), "Prompt whole \u{1f600} \\ud83d");
    check(&record("user", r#"[{"type":"tool_result","content":"cut \ud83d"}]"#), "ToolResult cut \u{fffd}");
    check(&record("assistant", r#"[{"type":"text","text":"\udc00 late"}]"#), "Answer \u{fffd} late");
    let call = r#"[{"type":"tool_use","name":"Bash","input":{"command":"cut \ud83d"}}]"#;
    let (seen, _) = read(record("assistant", call).as_bytes(), TornLine::Wait);
    assert!(seen[0].contains("cut \u{fffd}"), "{seen:?}");
}

#[test]
fn every_kind_of_record_has_its_class_and_text() {
    check(&prompt(1), "Prompt prompt 1");
    let user =
        |content: &str| format!(r#"{{"type":"user","message":{{"role":"user","content":{content}}},"uuid":"u"}}"#);
    check(&user(r#"[{"type":"text","text":"a"},{"type":"image","source":{"data":"iVBO"}}]"#), "Prompt a|<image>");
    check(&user(r#"[{"type":"image","source":{}}]"#), "Prompt <image>");
    check(
        &user(r#"[{"tool_use_id":"t","type":"tool_result","content":"out","is_error":true}]"#),
        "ToolResult out (error)",
    );
    check(
        &user(
            r#"[{"type":"tool_result","content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]}]"#,
        ),
        "ToolResult a\nb",
    );
    check(&user(r#""<command-name>/exit</command-name>""#), "Command <command-name>/exit</command-name>");
    check(
        &user(r#""<local-command-stdout>Bye</local-command-stdout>""#),
        "CommandOutput <local-command-stdout>Bye</local-command-stdout>",
    );
    check(&user(r#"[{"type":"text","text":"[Request interrupted by user]"}]"#), "Meta [Request interrupted by user]");
    check(&user("null"), "Meta ");
    check(&user("[17, \"x\", {\"type\":\"text\",\"text\":\"kept\"}]"), "Prompt kept");
    check(r#"{"type":"user","isMeta":true,"message":{"content":"caveat"}}"#, "Meta caveat");
    check(r#"{"type":"user","isCompactSummary":true,"message":{"content":"so far"}}"#, "Summary so far");
    check(r#"{"type":"user","message":"odd"}"#, "Meta ");
    check(
        r#"{"message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":"hi"}]},"type":"assistant"}"#,
        "Answer hm|hi",
    );
    check(
        r#"{"message":{"content":[{"type":"tool_use","name":"Edit","input":{"file_path":"/a","n":1,"edits":[{"new":"b"}]}}]},"type":"assistant"}"#,
        "Answer Edit(/a\nb)",
    );
    check(
        r#"{"message":{"model":"<synthetic>","content":[{"type":"text","text":"API Error"}]},"type":"assistant"}"#,
        "System API Error",
    );
    check(r#"{"type":"summary","summary":"a title","leafUuid":"l"}"#, "Summary a title");
    check(
        r#"{"type":"system","subtype":"local_command","content":"<command-name>/rename</command-name>"}"#,
        "Command <command-name>/rename</command-name>",
    );
    check(r#"{"type":"system","subtype":"api_error","content":"overloaded"}"#, "System overloaded");
    check(r#"{"type":"system","subtype":"compact_boundary","content":"Conversation compacted"}"#, "Bookkeeping ");
    check(r#"{"type":"system","subtype":"turn_duration","durationMs":1}"#, "Bookkeeping ");
    check(
        r#"{"attachment":{"type":"queued_command","prompt":"and this","commandMode":"prompt"},"type":"attachment"}"#,
        "Prompt and this",
    );
    check(
        r#"{"attachment":{"type":"queued_command","prompt":[{"type":"text","text":"and this"}]},"type":"attachment"}"#,
        "Prompt and this",
    );
    check(
        r#"{"attachment":{"type":"queued_command","prompt":"done","commandMode":"task-notification"},"type":"attachment"}"#,
        "Meta done",
    );
    check(r#"{"attachment":{"type":"skill_listing","content":"x"},"type":"attachment"}"#, "Bookkeeping ");
    check(r#"{"type":"api-request-blob","message":{"role":"user","content":"x"}}"#, "Bookkeeping ");
    check(r#"{"type":"custom-title","customTitle":"t","sessionId":"s"}"#, "Title ");
    check(r#"{"type":"hologram","content":"x"}"#, "Unknown ");
    check(r#"{"no":"type"}"#, "Unknown ");
    check(
        r#"{"type":["odd"],"type":"user","uuid":7,"uuid":"u","message":{"content":"last key wins"}}"#,
        "Prompt last key wins",
    );
}

#[test]
fn a_block_that_cannot_be_read_costs_no_other() {
    let user = |block: &str| {
        format!(r#"{{"type":"user","message":{{"content":[{block},{{"type":"text","text":"kept"}}]}},"uuid":"u"}}"#)
    };
    // Neither is wrong JSON; the one is more than a number holds, the other deeper than is followed.
    check(&user(r#"{"type":"text","text":1e999}"#), "Prompt kept");
    let deep =
        |depth: usize| format!("{}17{}", r#"{"type":"tool_result","content":["#.repeat(depth), "]}".repeat(depth));
    check(&user(&deep(200)), "Prompt kept");
    check(&user(&deep(2)), "ToolResult |kept");
}

#[test]
fn unknown_types_are_counted_by_name() {
    let text = "{\"type\":\"b\"}\n{\"type\":\"a\"}\n{\"type\":\"b\"}\n";
    let (_, report) = read(text.as_bytes(), TornLine::Wait);
    assert_eq!(report.unknown, [("a".into(), 1), ("b".into(), 2)].into());
}

#[test]
fn damage_costs_only_what_it_hit() {
    let check = |bytes: &[u8], expected: &[&str], unparsable: u64| {
        let (seen, report) = read(bytes, TornLine::Final);
        assert_eq!((seen, report.unparsable), (expected.iter().map(|e| format!("Prompt {e}")).collect(), unparsable));
        assert_eq!(report.next_offset, bytes.len() as u64);
    };
    let (a, b) = (prompt(1), prompt(2));
    check(format!("{a}\r\n\r\n\n{b}\r\n").as_bytes(), &["prompt 1", "prompt 2"], 0);
    check(format!("{a}{b}\n").as_bytes(), &["prompt 1", "prompt 2"], 0);
    check(format!("\0\0\0{a}\0\0\n\0\0{b}\n").as_bytes(), &["prompt 1", "prompt 2"], 0);
    check(format!("{a}\0\0{b}\0\n").as_bytes(), &["prompt 1", "prompt 2"], 0);
    check(format!("{}{b}\n", &a[..60]).as_bytes(), &["prompt 2"], 1);
    check(format!("{a}\n{}", &b[..60]).as_bytes(), &["prompt 1"], 1);
    check(format!("garbage\n17\n\"text\"\n[1]\n{a}\n").as_bytes(), &["prompt 1"], 4);
    check(format!("{}\n", a.replace("prompt 1", "tab\there")).as_bytes(), &["tab here"], 0);
    let mut binary = a.clone().into_bytes();
    binary[60] = 0xff;
    let (seen, report) = read(&binary, TornLine::Wait);
    assert_eq!((seen.len(), report.unparsable), (1, 0));
    check(b"", &[], 0);
    check(b"\0\0\0\0", &[], 0);
}

#[test]
fn objects_inside_a_torn_record_are_no_records() {
    let torn =
        r#"{"parentUuid":null,"message":{"content":[{"type":"text","text":"x"},{"type":"tool_use","id":"t"}],"a":"#;
    let (seen, report) = read(format!("{torn}\n").as_bytes(), TornLine::Final);
    assert_eq!((seen, report.unparsable), (vec![], 1));
}

#[test]
fn a_torn_last_line_waits_unless_it_is_whole() {
    let (a, b) = (prompt(1), prompt(2));
    let (seen, report) = read(format!("{a}\n{}", &b[..40]).as_bytes(), TornLine::Wait);
    assert_eq!((seen.len(), report.next_offset, report.unparsable), (1, a.len() as u64 + 1, 0));
    let (seen, report) = read(format!("{a}\n{b}").as_bytes(), TornLine::Wait);
    assert_eq!((seen.len(), report.next_offset), (2, (a.len() + 1 + b.len()) as u64));
}

#[test]
fn a_break_is_resumed_behind_the_record_it_came_after() {
    let text = format!("{}{}\n{}\n", prompt(1), prompt(2), prompt(3));
    let (mut at, mut seen) = (0, Vec::new());
    while (at as usize) < text.len() {
        let report = read_records(&text.as_bytes()[at as usize..], at, TornLine::Wait, &mut |located| {
            seen.push(text_of(&located.record));
            ControlFlow::Break(())
        });
        at = report.unwrap().next_offset;
    }
    assert_eq!(seen, ["prompt 1", "prompt 2", "prompt 3"]);
}

#[test]
fn a_line_that_is_too_long_is_read_past() {
    use std::io::Read;
    let (a, b) = (format!("{}\n", prompt(1)), format!("\n{}\n", prompt(2)));
    let long = std::io::repeat(b'x').take(LINE_BYTES_MAX as u64 + 4096);
    let mut seen = Vec::new();
    let report = read_records(a.as_bytes().chain(long).chain(b.as_bytes()), 0, TornLine::Wait, &mut |located| {
        seen.push(text_of(&located.record));
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((seen.join(","), report.unparsable), ("prompt 1,prompt 2".into(), 1));
    assert_eq!(report.next_offset, (a.len() + LINE_BYTES_MAX + 4096 + b.len()) as u64);
}

#[test]
fn tool_arguments_give_their_strings() {
    let text = |json: &str| tool_input_text(serde_json::from_str::<&RawValue>(json).unwrap());
    assert_eq!(text(r#"{"a":"x","b":[1,null,true,{"c":"y\nz"}],"d":""}"#), "x\ny\nz");
    assert_eq!(text("17"), "");
    let deep = format!("[\"top\",{}\"deep\"{}]", "[".repeat(500), "]".repeat(500));
    assert_eq!(text(&deep), "top");
}

/// Recorded transcripts: what damage is done to in the test below.
const CORPUS: [&[u8]; 3] = [
    include_bytes!("../../../../tests/fixtures/transcripts/interactive/df1f039c-dac8-4026-8378-80aa705e1c37.jsonl"),
    include_bytes!("../../../../tests/fixtures/transcripts/subagent/ae4ed748-6a94-492d-a634-cee7bbd7e1ac.jsonl"),
    include_bytes!(
        "../../../../tests/fixtures/transcripts/compacted-and-resumed/5b3d80da-3868-4fbe-b063-0aa144649138.jsonl"
    ),
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_damage_to_a_line_costs_another_line(
        transcript in 0..CORPUS.len(),
        nth in proptest::prelude::any::<proptest::sample::Index>(),
        edits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..3u8, proptest::prelude::any::<u8>()), 1..8),
    ) {
        let mut lines: Vec<Vec<u8>> =
            CORPUS[transcript].split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let nth = nth.index(lines.len());
        for (at, edit, byte) in edits {
            let line = &mut lines[nth];
            let at = at.index(line.len());
            match edit {
                0 => line.insert(at, byte),
                // The newline stays: it is the next line's beginning.
                _ if at + 1 == line.len() => {}
                1 => line[at] = byte,
                _ => drop(line.drain(at..(at + usize::from(byte)).min(line.len() - 1))),
            }
        }
        let damaged = lines.concat();
        let (before, after) = (lines[..nth].concat().len() as u64, lines[..=nth].concat().len() as u64);
        let mut read = Vec::new();
        let mut end = 0;
        let report = read_records(&damaged[..], 0, TornLine::Final, &mut |located| {
            assert!(located.offset >= end, "in order, none twice");
            end = located.offset + located.length;
            read.push(located.offset);
            ControlFlow::Continue(())
        }).unwrap();
        proptest::prop_assert_eq!(report.next_offset, damaged.len() as u64);
        let mut offset = 0;
        for line in &lines {
            let is_untouched = offset < before || offset >= after;
            proptest::prop_assert!(!is_untouched || read.contains(&offset), "the line at {offset}");
            offset += line.len() as u64;
        }
    }
}

/// Gives a few bytes at a time, each only when it is asked for the second time; the end too.
struct Interrupted<'a> {
    bytes: &'a [u8],
    is_ready: bool,
}

impl std::io::Read for Interrupted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.is_ready = !self.is_ready;
        if self.is_ready {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let length = self.bytes.len().min(buffer.len()).min(7);
        let (now, later) = self.bytes.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.bytes = later;
        Ok(length)
    }
}

#[test]
fn reading_goes_on_after_an_interruption() {
    let lines = prompt(1) + "\n" + &prompt(2) + "\n" + &prompt(3);
    let mut offsets = Vec::new();
    let mut each = |located: Located<'_>| {
        offsets.push(located.offset);
        ControlFlow::Continue(())
    };
    let reader = Interrupted { bytes: lines.as_bytes(), is_ready: false };
    let report = read_records(reader, 0, TornLine::Wait, &mut each).unwrap();
    assert_eq!((offsets.len(), report.next_offset), (3, lines.len() as u64));
}
