//! What a model asks of what is saved reaches it: whole, or with a word on how to go on.

use std::fs;

use serde_json::{Value, json};
use tests::claude::Client;
use tests::transcripts;

use crate::checks::{layer3, sent};
use crate::row::{Row, printing};

/// Last, because of the many conversations that they need.
pub(crate) const ROWS: [Row; 2] = [
    printing("the skills' commands reach the request, of 64 long conversations", skills),
    printing("the tools' answers reach the request, of 64 long conversations", tools),
];

const CONVERSATIONS: u32 = 64;
const TURNS: u32 = 60;
/// What the client puts in the place of an answer that is too long for it.
const CUT: [&str; 4] = ["persisted-output", "Output too large", "exceeds maximum", "Preview (first"];

/// Many long conversations of this project, saved; gives the id of one.
fn lay_out(client: &Client) -> String {
    let project = client.scratch.project_dir().to_str().expect("a scratch path is UTF-8").to_owned();
    let id = |n: u32| transcripts::made_id(3000 + n);
    if client.find(&id(0)).is_some() {
        return id(0);
    }
    for n in 0..CONVERSATIONS {
        let id = id(n);
        let mut lines = String::new();
        for turn in 0..TURNS {
            let words =
                format!("the {turn}. harbour of {n} towns, {}", "with its lanterns and its long piers, ".repeat(30));
            let file = format!("{project}/src/a_folder_of_some_depth/number_{n}/file_{turn}.rs");
            lines += &transcripts::prompt_line(&id, 4 * turn, &words);
            lines += &transcripts::tool_line(&id, 4 * turn + 1, "Edit", json!({"file_path": file}));
            let command = format!("grep -rn lantern_{turn} {project}/src | sort | uniq -c | head -n {turn}0");
            lines += &transcripts::tool_line(&id, 4 * turn + 2, "Bash", json!({"command": command}));
            lines += &transcripts::answer_line(&id, 4 * turn + 3, &words);
        }
        transcripts::append(&client.scratch.transcript(&id), lines.replace("/home/dev/proj", &project));
    }
    layer3(client, &["import"]).ok();
    client.program("layer1-prebackup").arg("sweep").output().ok();
    id(0)
}

/// What the request after this call holds as its result; neither cut nor an error. Says how long it is.
#[track_caller]
fn answered(client: &Client, tool: &str, input: &Value, ways_on: &[&str]) -> String {
    let before = client.api.requests().len();
    client.print(&[], &format!("[[call {tool} {input}]]"));
    let requests = client.api.requests().split_off(before);
    let messages = requests.iter().filter_map(|request| request["messages"].as_array()).flatten();
    let mut blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
    let result = blocks.rfind(|block| block["type"] == "tool_result");
    let result = result.unwrap_or_else(|| panic!("no result of {tool} {input} reached the API"));
    let text = match &result["content"] {
        Value::String(text) => text.clone(),
        blocks => blocks.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str()).collect(),
    };
    let begin = || text.chars().take(600).collect::<String>();
    assert_ne!(result["is_error"], true, "{tool} {input} failed: {}", begin());
    assert!(!CUT.iter().any(|cut| text.contains(cut)), "{tool} {input} was cut: {}", begin());
    if text.starts_with('{') {
        let whole = serde_json::from_str::<Value>(&text);
        assert!(whole.is_ok(), "{tool} {input}: no JSON of {} characters: {}", text.len(), begin());
    }
    let end: String = text.chars().rev().take(400).collect::<Vec<_>>().into_iter().rev().collect();
    let says = ways_on.is_empty() || ways_on.iter().any(|way| text.contains(way));
    assert!(says, "{tool} {input} does not say how to go on: {} … {end}", begin());
    text.chars().count().to_string()
}

/// The skills as they are installed: typed, each reaches the model, and so does what its commands print.
fn skills(client: &Client) -> String {
    let id = lay_out(client);
    let mut told = Vec::new();
    for (skill, ways_on) in
        [("continue-dev", &["--offset"][..]), ("search-sessions", &["--offset"]), ("session-health", &[])]
    {
        let text = fs::read_to_string(client.scratch.claude_dir().join("skills").join(skill).join("SKILL.md"));
        let text = text.expect("read an installed skill");
        let before = client.api.requests().len();
        client.print(&[], &format!("/{skill} harbour"));
        let heading = text.lines().rev().find(|line| line.len() > 40).unwrap_or_default();
        sent(client, before, "harbour", &[Value::from(heading).to_string().trim_matches('"')]);
        let commands = text.split("```sh\n").skip(1).filter_map(|block| block.lines().next()).map(str::trim);
        for command in commands.filter(|command| !command.contains("MESSAGE_UUID")) {
            let command = command.replace("SESSION_ID", &id).replace("WORDS", "harbour lanterns");
            let input = json!({"command": command, "description": "as the skill says"});
            told.push(format!("{skill} {}", answered(client, "Bash", &input, ways_on)));
        }
    }
    format!("characters: {}", told.join(", "))
}

/// The tools that give what is saved.
fn tools(client: &Client) -> String {
    let id = lay_out(client);
    let mut told = Vec::new();
    for (tool, input, ways_on) in [
        ("session_list", json!({"limit": 100}), &["offset"][..]),
        ("session_list", json!({}), &["offset"]),
        ("session_search", json!({"query": "harbour lanterns", "limit": 100, "each": true}), &["offset"]),
        ("session_search", json!({"query": "harbour lanterns"}), &[]),
        ("session_get_context", json!({"session_id": id}), &["offset"]),
        ("session_get_context", json!({"session_id": id, "offset": 0, "full": true}), &["offset"]),
        ("session_verify", json!({}), &[]),
        ("backup_create", json!({}), &[]),
    ] {
        let length = answered(client, &format!("mcp__session-manager__{tool}"), &input, ways_on);
        told.push(format!("{tool} {length}"));
    }
    format!("characters: {}", told.join(", "))
}
