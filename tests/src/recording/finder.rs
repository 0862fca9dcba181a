//! The README's picture of the finder: the real program at a pseudo terminal, its screen drawn as an SVG.
//!
//! Conversations are made some hours and days before now, and the times in the preview are written over, so that the
//! picture does not depend on the hour.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{CHARACTER, LINE, MARGIN, escaped};
use crate::binaries::LAYER3;
use crate::run::Run;
use crate::scratch::Scratch;
use crate::terminal::{COLUMNS, Cell};
use crate::transcripts;

/// Where the picture lies, from the root of the workspace.
pub const PICTURE: &str = "docs/finder.svg";
/// With an error, to show that it is found all the same.
const TYPED: &str = "retry bakoff";
const TIME: &str = "2026-11-20 09:01";

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// The conversations: project, how long ago in seconds, what was asked and answered.
const TALKS: [(&str, u64, &str, &str); 6] = [
    (
        "parser",
        3 * HOUR + HOUR / 2,
        "Why does the retry policy wait twice? The log shows two pauses for each failed request.",
        "The backoff is applied in the loop and again by the caller. I removed the outer one, and the retry test passes.",
    ),
    (
        "parser",
        26 * HOUR,
        "Add full jitter to the retry",
        "Done: the backoff has full jitter now, at most two seconds.",
    ),
    (
        "shop",
        3 * DAY + HOUR,
        "Orders are sent twice when the queue restarts",
        "The retry has no key. With one, the second order is refused.",
    ),
    ("shop", 5 * DAY + HOUR, "Move the session store to Postgres", "The migration keeps the old table for a week."),
    ("site", 9 * DAY + HOUR, "Dark mode flickers on load", "The class is set before the first paint now."),
    ("notes", 20 * DAY + HOUR, "Which licence fits a small library?", "MIT or Apache-2.0; both are common for Rust."),
];

/// The screen with what was typed, and the hit that was found.
///
/// # Panics
/// When the program shows something else.
pub fn picture() -> String {
    let scratch = Scratch::new();
    lay_out(&scratch);
    let command = scratch.beside("threefold");
    symlink(scratch.program(LAYER3), &command).expect("link the command");
    scratch.layer3(&["import"]).output().ok();
    let mut terminal = scratch.at_home(Run::new(&command)).env("TERM", "xterm-256color").at_terminal();
    terminal.await_text("type to search");
    terminal.type_in(TYPED);
    terminal.await_screen(|screen| screen.contains("2 of 6") && screen.contains("full jitter now"));
    let screen = terminal.screen();
    terminal.type_in("\u{3}");
    drop(terminal.end());
    drawn(&screen)
}

fn lay_out(scratch: &Scratch) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    for (n, (project, ago, asked, answered)) in TALKS.iter().enumerate() {
        let id = format!("{}f6c2a51-8d3e-4b7a-9c1d-2e5f7a9b3c4{n}", 5 + n);
        let path = scratch.claude_dir().join(format!("projects/-home-dev-{project}/{id}.jsonl"));
        let texts = [("user", json!(asked)), ("assistant", json!([{"type": "text", "text": answered}]))];
        for (nth, (role, content)) in (0..).zip(texts) {
            let at = now - ago + nth;
            let record = json!({
                "type": role, "uuid": format!("u{nth}"), "parentUuid": null, "sessionId": id,
                "cwd": format!("/home/dev/{project}"), "gitBranch": "main",
                "timestamp": humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_secs(at)).to_string(), "message": {"role": role, "content": content},
            });
            transcripts::append(&path, format!("{record}\n"));
        }
    }
}

fn drawn(screen: &[Vec<Cell>]) -> String {
    let mut rows = String::new();
    let width = 2 * MARGIN + (f64::from(COLUMNS) * CHARACTER) as usize;
    let height = 2 * MARGIN + LINE * screen.len();
    for (nth, cells) in screen.iter().enumerate() {
        let y = MARGIN + LINE * (nth + 1) - 5;
        if cells.iter().any(|cell| cell.class == "chosen") {
            rows += &format!(
                "<rect class=\"bar\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{LINE}\"/>\n",
                MARGIN - 5,
                y - 15,
                width - 2 * MARGIN + 10
            );
        }
        let text = without_times(&cells.iter().map(|cell| cell.text.as_str()).collect::<String>());
        let mut spans = String::new();
        let mut characters = text.trim_end().chars().peekable();
        let mut at = 0;
        while characters.peek().is_some() {
            let class = cells[at].class;
            let run = cells[at..].iter().take_while(|cell| cell.class == class).count();
            let piece: String = characters.by_ref().take(run).collect();
            at += run;
            spans += &format!("<tspan class=\"{class}\">{}</tspan>", escaped(&piece));
        }
        if !spans.is_empty() {
            rows += &format!("<text x=\"{MARGIN}\" y=\"{y}\">{spans}</text>\n");
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"The finder: a list of conversations that is searched as one types, and the best hit below it\">\n\
         <!-- Made by `cargo xtask record finder` from what the program shows. -->\n\
         <style>\n\
         .back {{ fill: #f6f8fa; stroke: #d0d7de; }} .bar {{ fill: #d8e3f2; }} text {{ fill: #1f2328; font: 13.5px ui-monospace, \
         SFMono-Regular, Menlo, Consolas, monospace; white-space: pre; }}\n\
         .bold, .hit, .chosen {{ font-weight: 700; }} .dim {{ fill: #6a737d; }} .hue {{ fill: #0a6c7c; }} .hit {{ fill: #8a5a00; }}\n\
         @media (prefers-color-scheme: dark) {{ .back {{ fill: #161b22; stroke: #30363d; }} .bar {{ fill: #26364d; }} text {{ fill: #e6edf3; }} \
         .dim {{ fill: #8b949e; }} .hue {{ fill: #56c8d8; }} .hit {{ fill: #e3b341; }} }}\n\
         </style>\n\
         <rect class=\"back\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n{rows}</svg>\n",
        width - 1,
        height - 1
    )
}

/// The text with one and the same time wherever it has one.
fn without_times(text: &str) -> String {
    let mut out: Vec<char> = text.chars().collect();
    let shape: Vec<char> = TIME.chars().collect();
    let is_time = |part: &[char]| {
        part.iter().zip(&shape).all(|(is, like)| if like.is_ascii_digit() { is.is_ascii_digit() } else { is == like })
    };
    for at in 0..out.len().saturating_sub(shape.len() - 1) {
        if is_time(&out[at..at + shape.len()]) {
            out[at..at + shape.len()].copy_from_slice(&shape);
        }
    }
    out.into_iter().collect()
}
