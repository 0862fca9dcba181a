//! The judged corpus: conversations and queries written down as data, padded into transcripts.
//!
//! `fixtures/judged/conversations.txt` holds what each conversation is about, `queries.json` what a
//! person would type and which conversation that person means. Here every conversation gets what
//! real ones are full of: turns that hold the same everyday words, tool output that repeats them,
//! records that nobody reads. The same bytes come out at every run.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::scratch::Scratch;
use crate::transcripts;

/// Conversations of everyday talk alone, beside those that are written down.
const EVERYDAY: u32 = 40;
/// Projects of those.
const PROJECTS: [&str; 7] = ["orders-api", "webshop", "infra", "mobile-app", "blog", "data-pipeline", "crm"];

/// What people type in every conversation.
const PROMPTS: [&str; 16] = [
    "run the tests again",
    "why is this test red?",
    "commit this with a short message",
    "explain what this function does",
    "the build fails, fix it please",
    "does the login page still work after this?",
    "add a timeout to the request",
    "is there a policy for log levels in this project?",
    "how does the config file work?",
    "look at the error in the log once more",
    "ejecuta las pruebas otra vez",
    "revisa los datos antes de subirlo",
    "テストを実行してください",
    "提交这些修改",
    "update the docs and the feed of changes",
    "check that the worker still runs",
];

/// What is answered.
const ANSWERS: [&str; 14] = [
    "All tests pass now, the error came from a stale cache.",
    "The function reads the config, checks the token and returns the session of the user.",
    "Committed. The build runs in four minutes on CI.",
    "The request has a timeout of ten seconds now, and a test for it.",
    "The job fails because a variable is missing in the environment, I added it.",
    "The memory of the worker stays flat after this change.",
    "I moved the mode switch into the settings page, the text is translated.",
    "The migration ran without a warning, the list of contacts is unchanged.",
    "Las pruebas pasan; el error venía de los datos de ejemplo.",
    "テストはすべて成功しました。エラーはありません。",
    "已经提交，测试全部通过。",
    "The images are smaller now, and the page loads twice as fast.",
    "The queue is empty and the cron entry is unchanged.",
    "The upload works on the phone too, the connection is closed afterwards.",
];

/// Commands that every conversation runs.
const COMMANDS: [&str; 8] = [
    "git status",
    "cargo test",
    "npm run build",
    "git log --oneline -20",
    "rg -n TODO src",
    "docker compose ps",
    "kubectl get pods",
    "ls -la",
];

/// Words that their output is made of.
const OUTPUT: [&str; 40] = [
    "test",
    "error",
    "warning",
    "config",
    "token",
    "session",
    "user",
    "request",
    "timeout",
    "worker",
    "memory",
    "login",
    "state",
    "pool",
    "connection",
    "migration",
    "retry",
    "cache",
    "job",
    "deploy",
    "log",
    "mode",
    "policy",
    "rounding",
    "feed",
    "text",
    "images",
    "runs",
    "job",
    "order",
    "payment",
    "import",
    "export",
    "src/lib.rs",
    "src/main.ts",
    "ok",
    "passed",
    "failed",
    "0.00s",
    "index.html",
];

/// A query, and what its author is looking for.
#[derive(Debug)]
pub struct Judged {
    /// As typed.
    pub query: String,
    /// Options behind it.
    pub options: Vec<String>,
    /// The id of the session that is meant.
    pub expects: String,
}

/// All queries.
pub fn queries() -> Vec<Judged> {
    let text = fs::read_to_string(folder().join("queries.json")).expect("read the queries");
    let queries: Vec<Value> = serde_json::from_str(&text).expect("the queries are JSON");
    let text_of = |value: &Value| value.as_str().expect("a text").to_owned();
    let names: Vec<String> = conversations().into_iter().map(|conversation| conversation.name).collect();
    let judged = |query: &Value| {
        let expects = text_of(&query["expects"]);
        let is_recorded = transcripts::RECORDED.contains(&expects.as_str());
        assert!(is_recorded || names.contains(&expects), "no conversation is named {expects}");
        Judged {
            query: text_of(&query["query"]),
            options: query["options"].as_array().into_iter().flatten().map(text_of).collect(),
            expects: if is_recorded { expects } else { id_of(&expects) },
        }
    };
    queries.iter().map(judged).collect()
}

/// Writes all transcripts into the home, the recorded ones too.
pub fn lay_out(scratch: &Scratch) {
    transcripts::lay_out_recorded(scratch);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let written = conversations();
    let everyday = (0..EVERYDAY).map(|n| everyday(n, &mut random)).collect::<Vec<_>>();
    for conversation in written.iter().chain(&everyday) {
        let slug = format!("-home-dev-{}", conversation.project);
        let folder = scratch.claude_dir().join("projects").join(slug);
        fs::create_dir_all(&folder).expect("make a slug's folder");
        let lines = Transcript::of(conversation, &mut random).lines;
        fs::write(folder.join(format!("{}.jsonl", id_of(&conversation.name))), lines).expect("write a transcript");
    }
}

/// The name of the conversation that a session is, for messages of a failing test.
pub fn name_of(id: &str) -> String {
    let named = conversations().into_iter().map(|conversation| conversation.name).find(|name| id_of(name) == id);
    named.unwrap_or_else(|| id.to_owned())
}

fn folder() -> PathBuf {
    transcripts::fixtures().join("judged")
}

/// An id that looks like a real one.
fn id_of(name: &str) -> String {
    uuid(&format!("conversation {name}"))
}

fn uuid(text: &str) -> String {
    let key = blake3::hash(text.as_bytes()).to_hex();
    format!("{}-{}-4{}-8{}-{}", &key[..8], &key[8..12], &key[12..15], &key[15..18], &key[18..30])
}

/// A conversation as it is written down.
struct Conversation {
    name: String,
    project: String,
    date: String,
    branch: String,
    steps: Vec<(char, String)>,
}

fn conversations() -> Vec<Conversation> {
    let text = fs::read_to_string(folder().join("conversations.txt")).expect("read the conversations");
    let mut conversations: Vec<Conversation> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')) {
        let (mark, rest) = line.split_once(' ').expect("a line is a mark and a text");
        if mark == "#" {
            let [name, project, date, branch] =
                rest.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().expect("four words");
            conversations.push(Conversation { name, project, date, branch, steps: Vec::new() });
        } else {
            let step = (mark.chars().next().expect("a mark"), rest.to_owned());
            conversations.last_mut().expect("a conversation has begun").steps.push(step);
        }
    }
    conversations
}

fn everyday(n: u32, random: &mut Random) -> Conversation {
    let steps = (0..8).map(|_| ('*', String::new())).collect();
    let (month, day) = (2 + n % 10, 1 + random.below(27));
    Conversation {
        name: format!("everyday-{n}"),
        project: (*random.one_of(&PROJECTS)).to_owned(),
        date: format!("2026-{month:02}-{day:02}"),
        branch: "main".to_owned(),
        steps,
    }
}

/// A transcript that is being written.
struct Transcript<'c> {
    conversation: &'c Conversation,
    lines: String,
    turn: u32,
    call: u32,
}

impl<'c> Transcript<'c> {
    fn of(conversation: &'c Conversation, random: &mut Random) -> Transcript<'c> {
        let mut transcript = Transcript { conversation, lines: String::new(), turn: 0, call: 0 };
        transcript.everyday(random);
        let mut output: Vec<&str> = Vec::new();
        for (at, (mark, text)) in conversation.steps.iter().enumerate() {
            match mark {
                '|' => {
                    output.push(text);
                    if conversation.steps.get(at + 1).is_none_or(|next| next.0 != '|') {
                        transcript.result(&output.join("\n"));
                        output.clear();
                    }
                }
                _ => transcript.step(*mark, text, random),
            }
        }
        transcript.everyday(random);
        transcript
    }

    fn step(&mut self, mark: char, text: &str, random: &mut Random) {
        match mark {
            '>' => {
                self.message("user", json!(text), json!({}));
                self.unread(text);
            }
            '<' => self.message("assistant", json!([{"type": "text", "text": text}]), json!({})),
            '!' => self.message("assistant", json!([{"type": "thinking", "thinking": text}]), json!({})),
            '=' => self.message("user", json!(text), json!({"isCompactSummary": true})),
            '%' => self.line(json!({"type": "custom-title", "customTitle": text})),
            '$' => self.call("Bash", json!({"command": text})),
            '~' => self.noise(text, random),
            '@' => {
                let path = format!("/home/dev/{}/{text}", self.conversation.project);
                self.call("Edit", json!({"file_path": path, "old_string": "let x = 1;", "new_string": "let x = 2;"}));
                self.result(&format!("The file {path} has been updated."));
            }
            '?' => {
                let path = format!("/home/dev/{}/{text}", self.conversation.project);
                self.call("Read", json!({"file_path": path}));
                self.result("1\tlet x = 1;");
            }
            '*' => self.everyday(random),
            other => panic!("no step begins with {other:?}"),
        }
    }

    /// One question, one command, one answer, as they occur everywhere.
    fn everyday(&mut self, random: &mut Random) {
        let (prompt, answer) = (*random.one_of(&PROMPTS), *random.one_of(&ANSWERS));
        self.message("user", json!(prompt), json!({}));
        self.unread(prompt);
        self.call("Bash", json!({"command": random.one_of(&COMMANDS)}));
        let lines = 5 + random.below(20);
        let words = |random: &mut Random| (0..6).map(|_| *random.one_of(&OUTPUT)).collect::<Vec<_>>().join(" ");
        let output: Vec<String> = (0..lines).map(|_| words(random)).collect();
        self.result(&output.join("\n"));
        self.message("assistant", json!([{"type": "text", "text": answer}]), json!({}));
    }

    /// `~ 40 some words`: that many lines of output, two or three of the words in each.
    fn noise(&mut self, text: &str, random: &mut Random) {
        let (count, words) = text.split_once(' ').expect("a number and words");
        let words: Vec<&str> = words.split(' ').collect();
        let line = |random: &mut Random| {
            let some = (0..3).map(|_| *random.one_of(&words)).collect::<Vec<_>>().join(" ");
            let number = random.below(900);
            format!("src/{}.rs:{number}: {some} {}", random.one_of(&["a", "net", "ui"]), random.one_of(&OUTPUT))
        };
        let lines: Vec<String> = (0..count.parse().expect("a number")).map(|_| line(random)).collect();
        // All of the words at least once in one place, as in a listing.
        self.result(&format!("{}\n{}", words.join(" "), lines.join("\n")));
    }

    fn call(&mut self, tool: &str, input: Value) {
        self.call += 1;
        let id = format!("toolu_{}", self.call);
        self.message("assistant", json!([{"type": "tool_use", "id": id, "name": tool, "input": input}]), json!({}));
    }

    fn result(&mut self, text: &str) {
        let id = format!("toolu_{}", self.call);
        self.message("user", json!([{"type": "tool_result", "tool_use_id": id, "content": text}]), json!({}));
    }

    /// Records that repeat what was said and that nobody reads.
    fn unread(&mut self, text: &str) {
        self.line(json!({"type": "api-request-blob", "body": {"system": text.repeat(3), "messages": [text]}}));
        self.line(json!({"type": "attachment", "attachment": {"type": "skill_listing", "content": text}}));
        self.line(json!({"type": "file-history-snapshot", "snapshot": {"note": text}}));
    }

    fn message(&mut self, role: &str, content: Value, more: Value) {
        let conversation = self.conversation;
        self.turn += 1;
        let mut line = json!({
            "type": role,
            "uuid": uuid(&format!("{} {}", conversation.name, self.turn)),
            "timestamp": format!("{}T09:{:02}:{:02}.000Z", conversation.date, self.turn / 2 % 60, self.turn % 2 * 30),
            "sessionId": id_of(&conversation.name),
            "cwd": format!("/home/dev/{}", conversation.project),
            "gitBranch": conversation.branch,
            "isSidechain": false,
            "message": {"role": role, "content": content},
        });
        line.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        self.line(line);
    }

    fn line(&mut self, line: Value) {
        self.lines.push_str(&format!("{line}\n"));
    }
}

/// A small generator of its own: the corpus must not change with a library.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % below
    }

    fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len() as u32) as usize]
    }
}
