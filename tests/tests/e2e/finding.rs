//! Finding from the command line and over MCP: every filter, pages, what stands around a hit, and reading on from it.

use std::fs;

use serde_json::{Value, json};
use tests::judged;
use tests::mcp::Client;
use tests::scratch::Scratch;
use tests::transcripts::{self, SUBAGENT};

use crate::product::chain_delivered;

/// Answers a search in all projects.
#[track_caller]
fn search(scratch: &Scratch, args: &[&str]) -> Value {
    scratch.layer3(&[&["search", "--json"][..], args].concat()).output().ok().json()
}

/// The names of the conversations that a search of the judged corpus finds.
#[track_caller]
fn found(scratch: &Scratch, args: &[&str]) -> Vec<String> {
    let answer = search(scratch, args);
    let ids = answer["hits"].as_array().expect("hits are a list").iter().filter_map(|hit| hit["session_id"].as_str());
    let mut names: Vec<String> = ids.map(judged::name_of).collect();
    names.sort();
    names.dedup();
    names
}

fn corpus() -> Scratch {
    let scratch = Scratch::new();
    judged::lay_out(&scratch);
    scratch.layer3(&["import"]).output().ok();
    scratch
}

#[test]
fn options_may_stand_behind_the_words_and_words_behind_two_dashes() {
    let scratch = corpus();
    let found = |args: &[&str]| found(&scratch, args);
    assert_eq!(found(&["cron", "job", "--all"]), found(&["--all", "cron job"]));
    assert_eq!(found(&["--all", "--", "--oneline", "VAT"]), ["ticket-noise"]);
}

#[test]
fn every_filter_narrows() {
    let scratch = corpus();
    let found = |args: &[&str]| found(&scratch, args);
    let all = ["oom-noise", "k8s-oom"].map(str::to_owned);
    let with = |options: &[&str]| found(&[options, &["OOMKilled"]].concat());
    assert_eq!(with(&["--all"]), ["k8s-oom", "oom-noise"]);
    assert_eq!(with(&["--project", "infra"]), ["k8s-oom", "oom-noise"]);
    assert_eq!(with(&["--project", "blog"]), [""; 0]);
    assert_eq!(with(&[]), [""; 0], "the current directory's project");
    for (option, value, expected) in [
        ("--role", "user", all[1].as_str()),
        ("--role", "tool", &all[0]),
        ("--tool", "Bash", &all[0]),
        ("--file", "k8s/importer.yaml", &all[1]),
        ("--since", "2026-11-01", &all[0]),
        ("--until", "2026-09-26", &all[1]),
    ] {
        assert_eq!(with(&["--all", option, value]), [expected], "{option} {value}");
    }
    assert_eq!(with(&["--all", "--since", "2026-09-27", "--until", "2026-11-11"]), [""; 0]);
    assert_eq!(found(&["--all", "--branch", "feature/webhooks", "retry"]), ["retry-design"]);
    assert_eq!(found(&["--all", "--file", "docs/adr/0003-database.md"]), ["choose-pg"]);
    assert_eq!(found(&["--all", "--tool", "Edit", "importer.yaml"]), ["k8s-oom"]);
    for bad in [&["--since", "soonish"][..], &["--role", "dog"], &["--session", "zzzz"]] {
        let refused = scratch.layer3(&[&["search", "x", "--all"][..2], bad].concat()).output();
        assert_eq!(refused.code, Some(1), "{bad:?}: {refused:#?}");
    }
}

#[test]
fn pages_of_a_search_are_the_whole_of_it() {
    let scratch = corpus();
    for query in ["error", "test", "エラー", "retr"] {
        for each in [&["--each"][..], &[]] {
            let ask = |limit: usize, page: usize| {
                let numbers = [limit.to_string(), page.to_string()];
                let args = [&["--all", query, "--limit", &numbers[0], "--page", &numbers[1]][..], each].concat();
                search(&scratch, &args)
            };
            let messages = |answer: &Value| -> Vec<Value> {
                let hits = answer["hits"].as_array().expect("hits are a list");
                hits.iter().map(|hit| json!([hit["session_id"], hit["message"], hit["rank"]])).collect()
            };
            let whole = messages(&ask(60, 1));
            let mut paged = Vec::new();
            for page in 1..=60 / 12 {
                let answer = ask(12, page);
                paged.extend(messages(&answer));
                if answer["more"] == json!(false) {
                    break;
                }
            }
            assert!(whole.len() > 3, "{query}: {whole:?}");
            assert_eq!(paged, whole, "{query} {each:?}");
        }
    }
}

#[test]
fn a_hit_is_read_on_from_its_message_also_when_its_source_is_gone() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(7);
    let transcript = scratch.transcript(&id);
    for turn in 0..20 {
        transcripts::append(&transcript, transcripts::prompt_line(&id, turn, &format!("turn {turn} of the quokka")));
    }
    let bare = json!({"type": "user", "message": {"role": "user", "content": "a numbat without an id"}});
    transcripts::append(&transcript, format!("{bare}\n"));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 30, "the end"));
    scratch.layer3(&["import"]).output().ok();
    let hit = |query: &str, more: &[&str]| {
        let answer = search(&scratch, &[&["--all", query][..], more].concat());
        answer["hits"][0].clone()
    };
    let present = hit("quokka", &[]);
    assert_eq!((&present["others_in_session"], &present["source_gone"]), (&json!(19), &json!(false)), "{present:#}");
    fs::remove_file(&transcript).expect("lose the transcript");
    for (query, text) in [("\"turn 11\"", "turn 11 of the quokka"), ("numbat", "a numbat without an id")] {
        let hit = hit(query, &["--before", "2", "--after", "1"]);
        assert_eq!(hit["source_gone"], json!(true), "{hit:#}");
        assert_eq!((hit["before"].as_array().map(Vec::len), hit["after"].as_array().map(Vec::len)), (Some(2), Some(1)));
        let message = hit["message"].as_str().expect("a message has a name");
        let shown = scratch.layer3(&["show", &id[..], "--around", message, "--max-chars", "200"]).output().ok().text();
        assert!(shown.contains(text), "{message}: {shown}");
        let (mut client, _) = Client::initialized(&scratch, &[]);
        let input = json!({"session_id": id, "around": message, "max_chars": 200});
        let context = client.call("session_get_context", input).expect("the tool answers");
        assert!(context["text"].as_str().unwrap_or_default().contains(text), "{context:#}");
        assert!(client.end().success());
    }
    let text = scratch.layer3(&["search", "--all", "quokka"]).output().ok().text();
    assert!(text.contains(" · deleted") && text.contains("19 more here"), "{text}");
    let listed = scratch.layer3(&["list", "--all"]).output().ok().text();
    assert!(listed.contains("(deleted") && listed.contains("restore --all-missing"), "{listed}");
}

#[test]
fn a_list_is_of_what_was_deleted_and_in_the_order_that_is_asked_for() {
    let scratch = Scratch::new();
    let made = [(1, 9), (2, 3), (3, 30), (4, 6)].map(|(n, turns)| {
        let id = transcripts::made_id(n);
        (transcripts::make_conversation(&scratch, &id, turns), id)
    });
    scratch.layer3(&["import"]).output().ok();
    for (transcript, _) in &made[1..3] {
        fs::remove_file(transcript).expect("lose a transcript");
    }
    let list = |args: &[&str]| {
        let listed = scratch.layer3(&[&["list", "-a", "--json"][..], args].concat()).output().ok().json();
        let sessions = listed["sessions"].as_array().expect("sessions").clone();
        let ids: Vec<_> = sessions.iter().map(|row| row["session_id"].as_str().expect("an id").to_owned()).collect();
        (ids, listed["totals"]["sessions"].as_u64().expect("a number"))
    };
    let ids = |wanted: &[usize]| wanted.iter().map(|n| made[*n].1.to_string()).collect::<Vec<_>>();
    assert_eq!(list(&["--sort", "size"]), (ids(&[2, 0, 3, 1]), 4));
    assert_eq!(list(&["--sort", "messages", "-n", "2", "--offset", "1"]), (ids(&[0, 3]), 4));
    let (mut newest, mut oldest) = (list(&[]).0, list(&["--sort", "oldest"]).0);
    newest.reverse();
    assert_eq!((newest, oldest.len()), (std::mem::take(&mut oldest), 4));
    assert_eq!(list(&["--gone", "--sort", "size"]), (ids(&[2, 1]), 2));
    assert_eq!(list(&["--gone", "--sort", "size", "-n", "1"]), (ids(&[2]), 2));
    let refused = scratch.layer3(&["list", "--sort", "colour"]).output().exits(1);
    assert!(refused.stderr.contains("it must be newest, oldest, size or messages"), "{refused:?}");
}

#[test]
fn subagents_are_folded_under_their_session() {
    let scratch = Scratch::new();
    transcripts::lay_out_recorded(&scratch);
    scratch.layer3(&["import"]).output().ok();
    let listed = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
    let sessions = listed["sessions"].as_array().expect("sessions are a list");
    let of = |id: &str| sessions.iter().find(|row| row["session_id"] == json!(id)).expect("it is listed").clone();
    assert_eq!(of(SUBAGENT)["subagents"], json!(1));
    assert_eq!(of(transcripts::INTERACTIVE)["subagents"], json!(0));
    assert_eq!(of(transcripts::COMPACTED)["title"], json!("my-session-name"));
    assert_eq!(listed["totals"]["sessions"], json!(5));
    let one = scratch.layer3(&["list", "--all", "--json", "--limit", "1"]).output().ok().json();
    assert_eq!((one["sessions"].as_array().map(Vec::len), &one["totals"]), (Some(1), &listed["totals"]));
    let text = scratch.layer3(&["list", "--all"]).output().ok().text();
    assert!(text.contains("(+1 subagent)"), "{text}");
}

#[test]
fn the_conversation_that_asks_is_left_out_unless_it_is_named() {
    let scratch = corpus();
    let all = search(&scratch, &["--all", "OOMKilled"]);
    let hits = all["hits"].as_array().expect("hits are a list");
    let id_of = |name: &str| {
        let id = hits.iter().filter_map(|hit| hit["session_id"].as_str()).find(|id| judged::name_of(id) == name);
        id.expect("it is found").to_owned()
    };
    let (asking, other) = (id_of("k8s-oom"), id_of("oom-noise"));
    let note = format!("this conversation is left out; name its session to search it: {asking}");
    let ids = |answer: &Value| -> Vec<String> {
        let hits = answer["hits"].as_array().expect("hits are a list");
        let mut ids: Vec<String> =
            hits.iter().filter_map(|hit| hit["session_id"].as_str()).map(str::to_owned).collect();
        ids.dedup();
        ids
    };
    let asked = |args: &[&str], variables: &[(&str, &str)]| -> (Vec<String>, Value) {
        let run = scratch.layer3(&[&["search", "--json"][..], args].concat());
        let run = variables.iter().fold(run, |run, (name, value)| run.env(name, value));
        let answer = run.output().ok().json();
        (ids(&answer), answer["notes"].clone())
    };
    let by_name = &[("CLAUDE_CODE_SESSION_ID", asking.as_str())][..];
    for args in [&["--all", "OOMKilled"][..], &["--project", "infra", "OOMKilled"], &["--all", "--each", "OOMKilled"]] {
        assert_eq!(asked(args, by_name), (vec![other.clone()], json!([note])), "{args:?}");
    }
    // It is named, it is none of those that are meant, or nobody knows it.
    assert_eq!(asked(&["--session", &asking, "OOMKilled"], by_name), (vec![asking.clone()], json!([])));
    assert_eq!(asked(&["--project", "blog", "OOMKilled"], by_name), (vec![], json!([])));
    for nobody in ["", "ffffffff-0000-4000-8000-000000000009"] {
        let (ids, notes) = asked(&["--all", "OOMKilled"], &[("CLAUDE_CODE_SESSION_ID", nobody)]);
        assert_eq!((ids.len(), notes), (2, json!([])), "{nobody:?}");
    }
    // What the client says now is newer than what it said when it started who asks.
    let me = std::process::id();
    let sessions = scratch.claude_dir().join("sessions");
    fs::create_dir_all(&sessions).expect("a directory is made");
    let live = json!({"pid": me, "sessionId": asking}).to_string();
    fs::write(sessions.join(format!("{me}.json")), live).expect("a file is written");
    let variables = [("CLAUDE_CODE_SESSION_ID", other.as_str()), ("CLAUDE_PID", &me.to_string())];
    assert_eq!(asked(&["--all", "OOMKilled"], &variables), (vec![other.clone()], json!([note])));
    // The server is asked by who started it.
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let mut call = |input: Value| ids(&client.call("session_search", input).expect("the tool answers"));
    assert_eq!(call(json!({"query": "OOMKilled", "all": true})), [other]);
    assert_eq!(call(json!({"query": "OOMKilled", "session_id": asking})), [asking]);
    assert!(client.end().success());
}

/// Claude Code keeps a long output in a file of its own and a beginning of it in the transcript.
#[test]
fn what_a_tool_gave_back_in_a_file_of_its_own_is_found_and_read() {
    let (scratch, id) = (Scratch::new(), transcripts::made_id(1));
    let transcript = scratch.transcript(&id);
    let output = transcript.with_extension("").join("tool-results/toolu_1.txt");
    let lines = |range: std::ops::Range<u32>| range.map(|n| format!("line {n} of the log\n")).collect::<String>();
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "run it"));
    transcripts::append(&transcript, transcripts::tool_line(&id, 2, "Bash", json!({ "command": "./run" })));
    let told = format!("Output too large. Full output saved to: {}\nline 0 of the log", output.display());
    let result = json!([{"type": "tool_result", "tool_use_id": "toolu_1", "content": told}]);
    let mut line: Value = serde_json::from_str(&transcripts::prompt_line(&id, 3, "")).expect("a record");
    line["message"]["content"] = result;
    transcripts::append(&transcript, format!("{line}\n"));
    transcripts::append(&transcript, transcripts::answer_line(&id, 4, "it ran"));
    let repeated = "the same once more\n".repeat(2_000);
    transcripts::append(&output.with_file_name("toolu_2.txt"), &repeated);
    transcripts::append(&output, lines(0..3_000) + "quagmire in the third cupboard\n" + &lines(3_000..4_000));
    let save = || chain_delivered(&scratch, &transcripts::session_end(&transcript));
    save();
    let read_around = |word: &str| {
        let answer = search(&scratch, &["--all", word]);
        let hit = &answer["hits"][0];
        assert_eq!((&hit["role"], &hit["session_id"]), (&json!("tool"), &json!(id)), "{answer:#}");
        assert!(hit["snippet"].as_str().is_some_and(|text| text.contains(word)), "{answer:#}");
        let message = hit["message"].as_str().expect("what names it").to_owned();
        assert!(message.starts_with(&format!("{id}/tool-results/toolu_1.txt:")), "{message}");
        scratch.layer3(&["show", &id, "--around", &message, "--max-chars", "20000"]).output().ok().text()
    };
    let shown = read_around("quagmire");
    assert!(shown.contains("│ quagmire in the third cupboard\n") && shown.contains("line 2999 of the log"), "{shown}");
    let whole = scratch.layer3(&["show", &id, "--full"]).output().ok().text();
    let at = |text: &str| whole.find(text).unwrap_or_else(|| panic!("{text:?}: {whole}"));
    assert_eq!(whole.matches("the same once more").count(), 2_000);
    assert!(at("saved to") < at("line 1 of the log") && at("line 3999 of the log") < at("it ran"), "{whole}");
    // It is no message.
    let listed = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
    assert_eq!(listed["sessions"][0]["messages"], 4, "{listed:#}");
    // One that goes on is read on, and a rebuilt index knows the same.
    transcripts::append(&output, lines(4_000..4_100) + "flamingo at the end\n");
    save();
    assert!(read_around("flamingo").contains("│ flamingo at the end"));
    scratch.layer3(&["rebuild"]).output().ok();
    assert!(read_around("flamingo").contains("│ flamingo at the end"));
    assert!(read_around("quagmire").contains("│ quagmire in the third cupboard\n"));
}

/// Of older clients nothing else tells what a subagent said.
#[test]
fn what_a_subagent_said_is_found_and_read_where_only_the_conversation_reports_it() {
    let (scratch, id) = (Scratch::new(), transcripts::made_id(1));
    let transcript = scratch.transcript(&id);
    let said: Value =
        serde_json::from_str(&transcripts::answer_line(&id, 3, "the quagmire is behind the mill")).expect("a record");
    let mut report = said.clone();
    report["type"] = json!("progress");
    report["message"] = Value::Null;
    let (when, message) = (&said["timestamp"], &said["message"]);
    report["data"] = json!({"type": "agent_progress", "agentId": "a1b2c3", "normalizedMessages": [],
        "message": {"type": "assistant", "uuid": "x", "timestamp": when, "message": message}});
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "look for it"));
    transcripts::append(&transcript, transcripts::tool_line(&id, 2, "Task", json!({ "prompt": "look" })));
    transcripts::append(&transcript, format!("{report}\n"));
    transcripts::append(&transcript, transcripts::answer_line(&id, 4, "it is found"));
    let save = || chain_delivered(&scratch, &transcripts::session_end(&transcript));
    save();
    let show = |args: &[&str]| scratch.layer3(&[&["show", &id][..], args].concat()).output().ok().text();
    let found = || {
        let answer = search(&scratch, &["--all", "quagmire"]);
        assert_eq!(answer["hits"].as_array().map(Vec::len), Some(1), "{answer:#}");
        show(&["--around", answer["hits"][0]["message"].as_str().expect("what names it")])
    };
    assert!(found().contains("│ the quagmire is behind the mill"));
    assert!(!show(&[]).contains("quagmire"), "it is no part of the conversation");
    assert_eq!(show(&["--full"]).matches("quagmire").count(), 1);
    let page = |args: &[&str]| scratch.layer3(&[&["export", &id][..], args].concat()).output().ok().text();
    assert_eq!((page(&[]).matches("quagmire").count(), page(&["--full"]).matches("quagmire").count()), (0, 1));
    let listed = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
    assert_eq!(listed["sessions"][0]["messages"], 3, "{listed:#}");
    // With its own file it stands there.
    transcripts::append(&transcript.with_extension("").join("subagents/agent-a1b2c3.jsonl"), format!("{said}\n"));
    save();
    assert!(found().contains("│ the quagmire is behind the mill"));
    assert_eq!(show(&["--full"]).matches("quagmire").count(), 1);
    assert_eq!(page(&["--full"]).matches("quagmire").count(), 1);
}

#[test]
fn a_command_that_says_what_to_do_is_a_conversation_before_anything_answers() {
    let scratch = Scratch::new();
    let command = |n: u32, text: &str| {
        let id = transcripts::made_id(n);
        transcripts::append(&scratch.transcript(&id), transcripts::prompt_line(&id, 1, text));
    };
    let review = "<command-message>review</command-message>\n<command-name>/review</command-name>\n<command-args>look at the axolotl module</command-args>";
    command(1, review);
    command(2, "<bash-input>make kangaroo</bash-input>");
    command(3, "<command-name>/clear</command-name>\n<command-args></command-args>");
    scratch.layer3(&["import"]).output().ok();
    for (word, n) in [("axolotl", 1), ("kangaroo", 2)] {
        let found = scratch.layer3(&["search", "--all", "--json", word]).output().ok().json();
        assert_eq!(found["hits"][0]["session_id"], transcripts::made_id(n), "{found:#}");
    }
    let listed = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(2), "nobody said anything in the third: {listed:#}");
}
