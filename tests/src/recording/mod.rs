//! The recording in the README: a conversation is saved, lost, found and brought back by the real
//! programs in a scratch home, and what they print is drawn as an SVG.
//!
//! Nothing in it depends on the machine or the hour: the home is written `~`, and of the programs'
//! words only those are shown that hold no time. So the committed picture can be compared with what
//! the programs print today.

pub mod finder;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::binaries::{LAYER1, LAYER2, LAYER3};
use crate::run::Run;
use crate::scratch::Scratch;
use crate::transcripts;

/// The recorded conversation's session.
pub const SESSION: &str = "0f6c2a51-8d3e-4b7a-9c1d-2e5f7a9b3c4d";
/// Where the picture lies, from the root of the workspace.
pub const PICTURE: &str = "docs/recovery.svg";

/// The folder that Claude Code gives the conversation.
const SLUG: &str = "-home-dev-parser";
const RECORDS: [(&str, &str, &str); 4] = [
    ("user", "u1", "Why does the retry policy wait twice?"),
    ("assistant", "u2", "The backoff is applied in the loop and by the caller. I removed the outer one."),
    ("user", "u3", "And the jitter?"),
    ("assistant", "u4", "It stays in the loop: full jitter, at most two seconds."),
];

/// What is typed, and what is run for it.
const STEPS: [(&str, Action); 5] = [
    ("# Claude Code ends the session and runs its hook", Action::Hook),
    ("rm ~/.claude/projects/-home-dev-parser/*.jsonl   # 30 days later", Action::Lose),
    ("threefold search 'backoff loop' --all", Action::Threefold(&["search", "backoff loop", "--all"])),
    ("threefold restore 0f6c2a51", Action::Threefold(&["restore", "0f6c2a51"])),
    ("threefold verify", Action::Threefold(&["verify"])),
];

#[derive(Debug, Clone, Copy)]
enum Action {
    Hook,
    Lose,
    Threefold(&'static [&'static str]),
}

/// Lays the recorded conversation out as Claude Code would and gives its path.
pub fn lay_out(scratch: &Scratch) -> PathBuf {
    let path = scratch.claude_dir().join("projects").join(SLUG).join(format!("{SESSION}.jsonl"));
    let lines = RECORDS.iter().zip(0..).map(|((role, uuid, text), minute): (_, u32)| {
        let content = match *role {
            "user" => serde_json::json!(text),
            _ => serde_json::json!([{"type": "text", "text": text}]),
        };
        let record = serde_json::json!({
            "type": role, "uuid": uuid, "parentUuid": null, "sessionId": SESSION, "cwd": "/home/dev/parser",
            "gitBranch": "main", "timestamp": format!("2026-11-20T09:{minute:02}:00.000Z"),
            "message": {"role": role, "content": content},
        });
        format!("{record}\n")
    });
    transcripts::append(&path, lines.collect::<String>());
    path
}

/// What the terminal shows, step by step: the line that is typed, then the lines that come.
///
/// # Panics
/// When a program fails.
pub fn play() -> Vec<(String, Vec<String>)> {
    let scratch = Scratch::new();
    let transcript = lay_out(&scratch);
    // As an installation links it.
    let command = scratch.beside("threefold");
    symlink(scratch.program(LAYER3), &command).expect("link the command");
    let steps = STEPS.iter().map(|(typed, action)| {
        let shown = match action {
            Action::Hook => {
                let event = transcripts::event("SessionEnd", &transcript, serde_json::json!({"reason": "other"}));
                let [first, second] = [LAYER1, LAYER2].map(|name| scratch.program(name).display().to_string());
                let chain = format!("'{first}' | '{second}' --foreground 2>&1");
                let outcome = scratch.hook(&chain, &event).output().ok();
                // The line before tells a sequence number of the outbox.
                outcome.text().lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect()
            }
            Action::Lose => {
                fs::remove_file(&transcript).expect("lose the transcript");
                Vec::new()
            }
            Action::Threefold(args) => lines(&scratch, scratch.at_home(Run::new(&command)).args(*args)),
        };
        (typed.to_string(), shown)
    });
    steps.collect()
}

fn lines(scratch: &Scratch, run: Run) -> Vec<String> {
    let outcome = run.output().ok();
    let text = outcome.text().replace(&scratch.home().display().to_string(), "~");
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Columns of the drawn terminal; longer lines are wrapped, as a terminal does.
const COLUMNS: usize = 112;
/// Size of a character, of a line, and the margin, in pixels.
const CHARACTER: f64 = 8.2;
const LINE: usize = 20;
const MARGIN: usize = 20;
/// How long a step stands before the next comes, in seconds.
const STEP_SECONDS: f64 = 1.6;

/// The picture: the steps appear one after the other and then stay; where motion is not wanted all
/// are there at once. Its two colours follow the reader's.
pub fn picture(steps: &[(String, Vec<String>)]) -> String {
    let mut groups = String::new();
    let mut row = 0;
    for (nth, (typed, shown)) in steps.iter().enumerate() {
        let delay = nth as f64 * STEP_SECONDS;
        groups += &format!("<g class=\"step\" style=\"animation-delay:{delay:.1}s\">\n");
        let prompt = if typed.starts_with('#') { typed.clone() } else { format!("$ {typed}") };
        let typed = wrapped(&prompt).into_iter().map(|line| (line, "typed"));
        for (line, class) in typed.chain(shown.iter().flat_map(|line| wrapped(line)).map(|line| (line, "shown"))) {
            let y = MARGIN + LINE * (row + 1);
            groups += &format!("<text x=\"{MARGIN}\" y=\"{y}\" class=\"{class}\">{}</text>\n", escaped(&line));
            row += 1;
        }
        groups += "</g>\n";
        row += 1;
    }
    let width = 2 * MARGIN + (COLUMNS as f64 * CHARACTER) as usize;
    let height = 2 * MARGIN + LINE * row;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"A conversation is saved, its transcript deleted, found by search and restored\">\n\
         <!-- Made by `cargo xtask record` from what the programs print. -->\n\
         <style>\n\
         .back {{ fill: #f6f8fa; stroke: #d0d7de; }} text {{ fill: #1f2328; font: 13.5px ui-monospace, SFMono-Regular, Menlo, Consolas, \
         monospace; white-space: pre; }} .typed {{ font-weight: 700; }}\n\
         @media (prefers-color-scheme: dark) {{ .back {{ fill: #161b22; stroke: #30363d; }} text {{ fill: #e6edf3; }} }}\n\
         .step {{ animation: come 0.3s both; }} @keyframes come {{ from {{ opacity: 0; }} to {{ opacity: 1; }} }}\n\
         @media (prefers-reduced-motion: reduce) {{ .step {{ animation: none; }} }}\n\
         </style>\n\
         <rect class=\"back\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n{groups}</svg>\n",
        width - 1,
        height - 1
    )
}

fn wrapped(line: &str) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(COLUMNS).map(|chunk| chunk.iter().collect()).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
