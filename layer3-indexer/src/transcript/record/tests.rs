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
        Block::Notice { tag, text, is_among_words } => {
            format!("{tag}{{{text}}}{}", if *is_among_words { "~" } else { "" })
        }
        Block::Act { name, args } => format!("{name}({args})"),
        Block::Output(text) => format!("→{text}"),
        Block::Agent { from, text } => format!("{}@{text}", from.as_deref().unwrap_or_default()),
        Block::Picture(_) => "<image>".to_owned(),
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
fn what_a_hook_said_and_what_a_text_refers_to_is_text() {
    let hook = |kind: &str, fields: &str| {
        format!(
            r#"{{"type":"attachment","attachment":{{"type":"hook_{kind}","hookName":"Stop","command":"sh say.sh"{fields}}}}}"#
        )
    };
    check(
        &hook("additional_context", r#","content":["use tabs","and no spaces"]"#),
        "Meta hook{use tabs\nand no spaces}",
    );
    check(
        &hook("success", r#","content":"done","stdout":"done\n","stderr":"a warning""#),
        "Meta hook{done\na warning}",
    );
    check(&hook("blocking_error", r#","blockingError":{"blockingError":"no","command":"x"}"#), "Meta hook{no}");
    check(&hook("system_message", r#","content":"3 are saved""#), "Meta hook{3 are saved}");
    check(&hook("success", r#","content":"","stdout":"""#), "Bookkeeping ");
    let printed = |json: &str| hook("success", &format!(r#","content":"","stdout":{}"#, serde_json::json!(json)));
    check(&printed(r#"{"systemMessage":"\n3 are saved","suppressOutput":true}"#), "Meta hook{3 are saved}");
    for other in [r#"{"systemMessage":"a","reason":"b"}"#, r#"{"continue":true}"#, r#"{"systemMessage":7}"#, "{a}"] {
        check(&printed(other), &format!("Meta hook{{{other}}}"));
    }
    let cited = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"it flies","citations":[{"type":"web_search_result_location","url":"https://a.example","title":"Birds","cited_text":"a kakapo does not"},{"type":"char_location","document_title":"Notes","cited_text":"it does"}]},{"type":"text","text":"or not","citations":null}]}}"#;
    check(cited, "Answer it flies|citation{Birds\nhttps://a.example\na kakapo does not\nNotes\nit does}~|or not");
}

#[test]
fn what_is_not_known_yet_is_read_wherever_its_words_stand() {
    let new = r#"{"type":"some_new_block","id":"x","payload":{"deep":[{"text":"here it is"}]}}"#;
    let known = r#"{"type":"text","text":"hello"}"#;
    for kind in ["user", "assistant"] {
        let line =
            format!(r#"{{"type":"{kind}","uuid":"u","message":{{"content":[{new},{known},{{"type":"other"}}]}}}}"#);
        let (seen, _) = read(line.as_bytes(), TornLine::Wait);
        assert!(seen[0].contains("here it is|hello"), "{seen:?}");
    }
    for (kind, said) in [
        ("selected_lines_in_ide", r#""content":"let answer = 42;","filename":"/w/a.rs""#),
        ("file", r#""filename":"/w/a.rs","content":{"type":"text","file":{"content":"let answer = 42;"}}"#),
        ("mcp_resource", r#""content":{"contents":[{"text":"let answer = 42;","uri":"r:a"}]}"#),
        ("edited_text_file", r#""filename":"/w/a.rs","snippet":"let answer = 42;""#),
    ] {
        let line = format!(r#"{{"type":"attachment","attachment":{{"type":"{kind}",{said}}}}}"#);
        check(&line, "Meta attachment{let answer = 42;}");
    }
}

/// Clients that gave a subagent no file of its own.
#[test]
fn what_is_reported_of_a_subagent_is_what_it_said() {
    let report = |of: &str| {
        let line =
            format!(r#"{{"type":"progress","uuid":"u","data":{{"type":"agent_progress","agentId":"a1",{of}}}}}"#);
        let about = with_record(line.as_bytes(), |record| {
            (record.is_sidechain, record.is_aside(), record.kind.to_string(), record.timestamp_ms.is_some())
        });
        let (seen, _) = read(line.as_bytes(), TornLine::Wait);
        (seen.join("; "), about.unwrap())
    };
    let message = |kind: &str, content: &str| {
        let when = "2026-03-21T22:21:02.022Z";
        format!(r#"{{"type":"{kind}","timestamp":"{when}","message":{{"role":"{kind}","content":{content}}}}}"#)
    };
    let words = message("assistant", r#"[{"type":"text","text":"a pear"}]"#);
    let is_as = |kind: &str| (true, true, kind.to_owned(), true);
    let seen = report(&format!(r#""normalizedMessages":[],"message":{words}"#));
    assert_eq!(seen, ("Answer a pear".to_owned(), is_as("assistant")));
    assert_eq!(report(&format!(r#""normalizedMessages":[{words}]"#)), ("Answer a pear".to_owned(), is_as("assistant")));
    let result = message("user", r#"[{"type":"tool_result","tool_use_id":"t","content":"found"}]"#);
    assert_eq!(report(&format!(r#""message":{result}"#)), ("ToolResult found".to_owned(), is_as("user")));
    // What it says before it calls a tool stands before that call alone, in the list of all so far.
    let of = |uuid: &str, kind: &str, content: &str| {
        message(kind, content).replacen('{', &format!(r#"{{"uuid":"{uuid}","#), 1)
    };
    let said = |uuid: &str, text: &str| of(uuid, "assistant", &format!(r#"[{{"type":"text","text":"{text}"}}]"#));
    let call = |uuid: &str| of(uuid, "assistant", r#"[{"type":"tool_use","id":"t","name":"Glob","input":{}}]"#);
    let given = of("3", "user", r#"[{"type":"tool_result","tool_use_id":"t","content":"found"}]"#);
    let all = [said("1", "I look"), call("2"), given, said("4", "there"), said("5", "it is"), call("6")];
    let upto =
        |n: usize| report(&format!(r#""normalizedMessages":[{}],"message":{}"#, all[..n].join(","), all[n - 1])).0;
    let glob = "Glob()";
    assert_eq!(upto(2), format!("Answer I look|{glob}"));
    assert_eq!(upto(3), "ToolResult found");
    assert_eq!(upto(6), format!("Answer there|it is|{glob}"));
    for nothing in [r#""message":null"#, r#""message":7,"normalizedMessages":[{}]"#, r#""message":{"type":"user"}"#] {
        assert_eq!(report(nothing).0, "Bookkeeping ", "{nothing}");
    }
    check(r#"{"type":"progress","data":{"type":"bash_progress","output":"x y"}}"#, "Bookkeeping ");
}

#[test]
fn a_result_of_which_the_model_was_given_a_part_is_whole() {
    let line = |text: &str, kept: &str| {
        let result = format!(r#"[{{"type":"tool_result","tool_use_id":"t","content":"{text}"}}]"#);
        format!(r#"{{"type":"user","message":{{"content":{result}}},"toolUseResult":{kept},"uuid":"u"}}"#)
    };
    let kept = r#"{"stdout":"one\ntwo\nthree","stderr":""}"#;
    let part = r"<persisted-output>\none\n</persisted-output>";
    let whole = "one\ntwo\nthree";
    check(&line(part, kept), &format!("ToolResult <persisted-output>\none\n</persisted-output>\n{whole}"));
    check(
        &line("[Truncated. Full output: x]", r#"{"task":{"output":"all"}}"#),
        "ToolResult [Truncated. Full output: x]\nall",
    );
    check(
        &line(part, r#"{"content":[{"type":"text","text":"all"}]}"#),
        "ToolResult <persisted-output>\none\n</persisted-output>\nall",
    );
    for kept in [
        r#"{"type":"text","file":{"filePath":"/w/a","content":"all","numLines":1}}"#,
        r#"[{"type":"text","text":"all"}]"#,
    ] {
        check(&line(part, kept), "ToolResult <persisted-output>\none\n</persisted-output>\nall");
    }
    check(&line("one", kept), "ToolResult one");
    check(&line(part, "\"Error: x\""), "ToolResult <persisted-output>\none\n</persisted-output>");
}

#[test]
fn colours_of_a_terminal_are_no_text() {
    let text = r"\u001b[1mbold\u001b[22m move";
    check(
        &format!(r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","content":"{text}"}}]}}}}"#),
        "ToolResult bold move",
    );
    check(
        &format!(r#"{{"type":"user","message":{{"content":"<local-command-stdout>{text}</local-command-stdout>"}}}}"#),
        "CommandOutput →bold move",
    );
}

#[test]
fn an_error_says_what_it_can() {
    let system = |fields: &str| format!(r#"{{"type":"system","subtype":"x",{fields},"uuid":"u"}}"#);
    check(&system(r#""error":{"cause":{"code":"ECONNRESET"}}"#), "System ECONNRESET");
    check(&system(r#""error":{"message":"it was reset","code":"E"}"#), "System it was reset");
    check(&system(r#""hookErrors":["no such file","and more"]"#), "System no such file\nand more");
    check(&system(r#""content":"","hookErrors":[]"#), "Bookkeeping ");
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
    check(&user(r#""<command-name>/exit</command-name>""#), "Command /exit()");
    check(&user(r#""<local-command-stdout>Bye</local-command-stdout>""#), "CommandOutput →Bye");
    check(
        &user(r#"[{"type":"text","text":"[Request interrupted by user]"}]"#),
        "Command [Request interrupted by user]()",
    );
    check(&user("null"), "Meta ");
    check(&user("[17, \"x\", {\"type\":\"text\",\"text\":\"kept\"}]"), "Prompt x|kept");
    check(r#"{"type":"user","isMeta":true,"message":{"content":"caveat"}}"#, "Meta {caveat}");
    check(r#"{"type":"user","isCompactSummary":true,"message":{"content":"so far"}}"#, "Summary so far");
    check(r#"{"type":"user","message":"odd"}"#, "Prompt odd");
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
        "Command /rename()",
    );
    check(r#"{"type":"system","subtype":"api_error","content":"overloaded"}"#, "System overloaded");
    check(
        r#"{"type":"system","subtype":"api_error","error":{"status":529,"error":{"message":"overloaded","type":"overloaded_error"}}}"#,
        "System overloaded",
    );
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
        "Agent @done",
    );
    check(
        r#"{"attachment":{"type":"queued_command","prompt":"ls","commandMode":"bash"},"type":"attachment"}"#,
        "Command !(ls)",
    );
    check(
        r#"{"attachment":{"type":"teammate_mailbox","messages":[{"from":"ann","text":"done"}]},"type":"attachment"}"#,
        "Agent ann@done",
    );
    check(
        r#"{"attachment":{"type":"task_status","taskId":"a1","status":"running","deltaSummary":"found it"},"type":"attachment"}"#,
        "Agent @found it",
    );
    check(
        r#"{"type":"queue-operation","operation":"enqueue","content":"and this","sessionId":"s"}"#,
        "Prompt and this",
    );
    check(r#"{"type":"queue-operation","operation":"remove","content":"and this"}"#, "Bookkeeping ");
    check(r#"{"attachment":{"type":"skill_listing","content":"x"},"type":"attachment"}"#, "Bookkeeping ");
    check(r#"{"type":"api-request-blob","message":{"role":"user","content":"x"}}"#, "Bookkeeping ");
    check(r#"{"type":"custom-title","customTitle":"t","sessionId":"s"}"#, "Title ");
    check(r#"{"type":"ai-title","aiTitle":"t"}"#, "Title ");
    check(r#"{"type":"agent-name","agentName":"t"}"#, "Title ");
    check(r#"{"customTitle":"t"}"#, "Title ");
    check(r#"{"type":"hologram","content":"x"}"#, "Unknown x");
    check(
        r#"{"type":"hologram","uuid":"u","cwd":"/a b","n":1,"id":"abc","data":{"lines":["two words",{"text":"one"}],"path":"/x"}}"#,
        "Unknown two words\none",
    );
    check(r#"{"type":"hologram","message":{"content":[{"type":"text","text":"hi"}]}}"#, "Unknown hi");
    check(r#"{"type":"attachment","attachment":{"type":"hologram","said":"two words"}}"#, "Unknown two words");
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
    check(&user(&deep(2)), "Prompt |kept");
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
    // Laid out over lines, by itself and among others; torn within, a line for each piece is no record.
    let laid_out = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&a).unwrap()).unwrap();
    check(laid_out.as_bytes(), &["prompt 1"], 0);
    check(format!("{b}\n{laid_out}\n{b}\n").as_bytes(), &["prompt 2", "prompt 1", "prompt 2"], 0);
    check(format!("{}\n{b}\n", laid_out.replace('\n', "\r\n")).as_bytes(), &["prompt 1", "prompt 2"], 0);
    check(format!("{{\n{b}\n").as_bytes(), &["prompt 2"], 1);
    check(format!("{}{b}\n", &laid_out[..40]).as_bytes(), &["prompt 2"], 1);
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

/// Every tag by what stands between it, and what is made of that.
const TAGGED: [(&str, &str, &str); 30] = [
    ("<command-name>/x</command-name>", "Command", "/x()"),
    (
        "<command-name>/x</command-name>\n  <command-message>x</command-message>\n<command-args>a b</command-args>",
        "Command",
        "command-message{x}|/x(a b)",
    ),
    (
        "<command-message>x is running…</command-message>\n<command-name>/x</command-name>",
        "Command",
        "command-message{x is running…}|/x()",
    ),
    ("<bash-input>ls -l</bash-input>", "Command", "!(ls -l)"),
    ("<user-memory-input>be brief</user-memory-input>", "Command", "#(be brief)"),
    ("[Request interrupted by user]", "Command", "[Request interrupted by user]()"),
    ("[Request interrupted by user for tool use]", "Command", "[Request interrupted by user for tool use]()"),
    ("<local-command-stdout>out</local-command-stdout>", "CommandOutput", "→out"),
    ("<local-command-stderr>out</local-command-stderr>", "CommandOutput", "→out"),
    ("<bash-stdout>out</bash-stdout><bash-stderr></bash-stderr>", "CommandOutput", "→out"),
    ("<bash-stdout></bash-stdout><bash-stderr>out</bash-stderr>", "CommandOutput", "→out"),
    ("<local-command-caveat>x\ny</local-command-caveat>", "Meta", "local-command-caveat{x\ny}"),
    (
        "Caveat: The messages below were generated by the user while running local commands. DO NOT respond",
        "Meta",
        "local-command-caveat{Caveat: The messages below were generated by the user while running local commands. DO NOT respond}",
    ),
    ("<system-reminder>\nx\n</system-reminder>", "Meta", "system-reminder{x}"),
    (
        "<system-reminder>x</system-reminder>\n\n<system-reminder>y</system-reminder>",
        "Meta",
        "system-reminder{x}|system-reminder{y}",
    ),
    ("<ide_opened_file>x</ide_opened_file>", "Meta", "ide_opened_file{x}"),
    ("<ide_selection>x</ide_selection>", "Meta", "ide_selection{x}"),
    ("<user-prompt-submit-hook>x</user-prompt-submit-hook>", "Meta", "user-prompt-submit-hook{x}"),
    (
        "<task-notification>\n<task-id>a1</task-id>\n<status>completed</status>\n<summary>ended</summary>\n<result>the answer</result>\n</task-notification>",
        "Agent",
        "task-notification{<task-id>a1</task-id>}|task-notification{<status>completed</status>}|@ended|@the answer",
    ),
    (
        "<task-notification>\n<result>it said </task-notification> and <result>x</result>\nmore</result>\n</task-notification>",
        "Agent",
        "@it said </task-notification> and <result>x</result>\nmore",
    ),
    (
        "<task-notification>plain</task-notification>\nFull transcript available at: /x",
        "Agent",
        "@plain|task-notification{Full transcript available at: /x}",
    ),
    (
        "<teammate-message teammate_id=\"ann\" summary=\"in short\">\nit is done\n</teammate-message>",
        "Agent",
        "teammate-message{teammate_id=\"ann\" summary=\"in short\"}|ann@it is done",
    ),
    ("<agent-message from=\"bob\">x</agent-message>", "Agent", "agent-message{from=\"bob\"}|bob@x"),
    ("<cross-session-message>x</cross-session-message>", "Agent", "@x"),
    (
        "<bash-notification>\n<shell-id>b1</shell-id>\n<status>failed</status>\n<summary>it failed</summary>\n</bash-notification>",
        "Agent",
        "bash-notification{<shell-id>b1</shell-id>}|bash-notification{<status>failed</status>}|@it failed",
    ),
    (
        "<channel source=\"chat\" user=\"ann\">\nis it done?\n</channel>",
        "Agent",
        "channel{source=\"chat\" user=\"ann\"}|ann@is it done?",
    ),
    ("<channel-message>x</channel-message>", "Agent", "@x"),
    ("<remote-review>x</remote-review>", "Agent", "@x"),
    ("<mcp-resource-update server=\"s\">x</mcp-resource-update>", "Agent", "mcp-resource-update{server=\"s\"}|s@x"),
    ("<github-webhook-activity>x</github-webhook-activity>", "Agent", "@x"),
];

#[test]
fn only_what_is_tagged_is_taken_from_a_users_words() {
    for (tagged, class, made) in TAGGED {
        let made_among_words =
            made.split('|').map(|block| if block.ends_with('}') { format!("{block}~") } else { block.to_owned() });
        let made_among_words = made_among_words.collect::<Vec<_>>().join("|");
        for (text, expected) in [
            (tagged.to_owned(), format!("{class} {made}")),
            (format!("{tagged}\nthe words\n"), format!("Prompt {made_among_words}|the words")),
            (format!("the words\n\n{tagged}"), format!("Prompt the words|{made_among_words}")),
            (format!("the words\n{tagged}\nmore"), format!("Prompt the words|{made_among_words}|more")),
        ] {
            let text = serde_json::to_string(&text).unwrap();
            for content in [text.clone(), format!(r#"[{{"type":"text","text":{text}}}]"#)] {
                check(&format!(r#"{{"type":"user","message":{{"content":{content}}},"uuid":"u"}}"#), &expected);
            }
            // A record that Claude Code calls its own: an act and an answer stay what they are.
            let meta = expected.replacen("Prompt ", &format!("{class} "), 1);
            let meta = meta.replace("the words", "{the words}").replace("|more", "|{more}");
            if !made.contains("more") {
                check(&format!(r#"{{"type":"user","isMeta":true,"message":{{"content":{text}}}}}"#), &meta);
            }
        }
    }
}

#[test]
fn what_is_no_tag_of_claude_code_is_words() {
    for text in [
        // Unknown, not closed, only spoken of, quoted.
        "<system_note>x</system_note>",
        "<system-reminder> is a tag",
        "<task-notification><result>half",
        "what does <system-reminder>x</system-reminder> mean?",
        "see:\n```\n<system-reminder>x</system-reminder>\n```\nwhy?",
        "a < b and c > d [Request interrupted by user] Caveat: no",
        "[Request interrupted by user is what it says",
        "<command-names>/x</command-names>",
        "<channel>\n<title>x</title>\n</channel>",
    ] {
        let json = serde_json::to_string(text).unwrap();
        check(&format!(r#"{{"type":"user","message":{{"content":{json}}}}}"#), &format!("Prompt {text}"));
    }
    let by_hand =
        r#"{"type":"user","origin":{"kind":"human"},"message":{"content":"<system-reminder>x</system-reminder>"}}"#;
    check(by_hand, "Prompt <system-reminder>x</system-reminder>");
    // With an escape in it the text is no longer borrowed.
    check(
        r#"{"type":"user","message":{"content":"<system-reminder>\"x\"</system-reminder>\n\"mine\""}}"#,
        "Prompt system-reminder{\"x\"}~|\"mine\"",
    );
}

#[test]
fn what_the_user_says_in_a_tools_result_is_hers() {
    let result = |text: &str| {
        let text = serde_json::to_string(text).unwrap();
        format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","content":{text},"is_error":true}}]}}}}"#
        )
    };
    let rejected = "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the new_string was NOT written to the file). To tell you how to proceed, the user said:";
    check(
        &result(&format!("{rejected}\nuse the \"other\" one")),
        &format!("Prompt {rejected} (error)|use the \"other\" one"),
    );
    check(&result(rejected), &format!("ToolResult {rejected} (error)"));
    let stopped = "The user doesn't want to proceed with this tool use. STOP what you are doing";
    check(&result(stopped), &format!("ToolResult {stopped} (error)"));
    let answered = "User has answered your questions:";
    check(&result(&format!("{answered} \"Which?\"=\"325\"")), &format!("Prompt {answered} (error)|\"Which?\"=\"325\""));
    check(&result("It says: the user said: x"), "ToolResult It says: the user said: x (error)");
    check(
        r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"out"},{"type":"text","text":"and test it"}]}}"#,
        "Prompt out|and test it",
    );
}

#[test]
fn the_text_in_a_block_is_read_wherever_it_stands() {
    let document = |source: &str| format!(r#"{{"type":"document","title":"t","source":{source}}}"#);
    let words = document(r#"{"type":"text","media_type":"text/plain","data":"the \"words\""}"#);
    let parts = document(
        r#"{"type":"content","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","data":"eA=="}},{"type":"text","text":"b"}]}"#,
    );
    let bytes = document(r#"{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}"#);
    let fetched = format!(r#"{{"type":"web_fetch_result","url":"u","content":{words}}}"#);
    let found = r#"{"type":"search_result","source":"u","title":"t","content":[{"type":"text","text":"found"}]}"#;
    for (block, text) in [
        (&*words, Some("t\nthe \"words\"")),
        (&parts, Some("t\na\nb")),
        (&document(r#"{"data":"the words","type":"text"}"#), Some("t\nthe words")),
        (&document(r#"{"type":"content","content":"the words"}"#), Some("t\nthe words")),
        (&fetched, Some("t\nthe \"words\"\nu")),
        (found, Some("t\nfound")),
        (r#"{"type":"compaction","content":"in short"}"#, Some("in short")),
        (&bytes, Some("t")),
        (&document(r#"{"type":"url","url":"https://x"}"#), Some("t")),
        (&document(r#"{"type":"text","data":7}"#), Some("t")),
        (&document("[7]"), Some("t")),
        (r#"{"type":"document","source":{"type":"base64","data":"eA=="}}"#, None),
        (r#"{"type":"resource","resource":{"uri":"file:///x","text":"in it"}}"#, Some("in it\nfile:///x")),
        (
            r#"{"type":"resource_link","uri":"file:///x","name":"x","description":"what it is"}"#,
            Some("what it is\nx\nfile:///x"),
        ),
        (
            r#"{"type":"web_search_result","url":"https://x","title":"a page","encrypted_content":"eA=="}"#,
            Some("a page\nhttps://x"),
        ),
        (
            r#"{"type":"bash_code_execution_result","stdout":"out","stderr":"err","return_code":1,"content":[]}"#,
            Some("out\nerr"),
        ),
        (r#"{"type":"tool_reference","tool_name":"mcp__a__b"}"#, Some("mcp__a__b")),
        (r#"{"type":"image","source":{"type":"base64","data":"eA=="}}"#, None),
    ] {
        let kind = block.split('"').nth(3).unwrap();
        let shown = match text {
            Some(text) if kind == "document" => format!("document{{{text}}}~"),
            Some(text) => text.to_owned(),
            None => format!("<{kind}>"),
        };
        check(&format!(r#"{{"type":"user","message":{{"content":[{block}]}}}}"#), &format!("Prompt {shown}"));
        check(
            &format!(r#"{{"type":"assistant","message":{{"content":[{{"type":"text","text":"see"}},{block}]}}}}"#),
            &format!("Answer see|{shown}"),
        );
        for content in [format!("[{block}]"), block.to_owned()] {
            check(
                &format!(
                    r#"{{"type":"user","message":{{"content":[{{"type":"web_fetch_tool_result","content":{content}}}]}}}}"#
                ),
                format!("ToolResult {}", text.unwrap_or_default()).as_str(),
            );
        }
    }
}
