//! Transcripts and hook events: the recorded ones, and made ones where a test needs its own.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::scratch::Scratch;

/// The session of the recorded interactive conversation (prompt `hello interactive`).
pub const INTERACTIVE: &str = "df1f039c-dac8-4026-8378-80aa705e1c37";
/// The session of the recorded conversation that was compacted and resumed; has a `custom-title.json`.
pub const COMPACTED: &str = "5b3d80da-3868-4fbe-b063-0aa144649138";
/// The session of the recorded conversation with a subagent, whose files stand beside it.
pub const SUBAGENT: &str = "ae4ed748-6a94-492d-a634-cee7bbd7e1ac";
/// The session of the recorded conversation that compacted by itself.
pub const AUTO_COMPACT: &str = "98146ed2-580c-4db4-a33a-c84bbfc99ac3";
/// The session of the recorded fork.
pub const FORKED: &str = "5629db17-3d0d-44e8-a879-4b5c618fdc1b";
/// All recorded sessions, by id.
pub const RECORDED: [&str; 5] = [FORKED, COMPACTED, AUTO_COMPACT, SUBAGENT, INTERACTIVE];

/// The folder of fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Lays out all recorded transcripts under the project's slug, side files too, as Claude Code
/// has them (mode 0600), and gives their paths.
pub fn lay_out_recorded(scratch: &Scratch) -> Vec<PathBuf> {
    let slug = scratch.slug_dir();
    fs::create_dir_all(&slug).expect("make the slug's folder");
    for folder in fs::read_dir(fixtures().join("transcripts")).expect("read the fixtures") {
        let folder = folder.expect("read the fixtures").path();
        let options = fs_extra::dir::CopyOptions::new().content_only(true);
        fs_extra::dir::copy(folder, &slug, &options).expect("copy a recorded transcript");
    }
    let transcripts: Vec<PathBuf> = RECORDED.iter().map(|id| scratch.transcript(id)).collect();
    for transcript in &transcripts {
        fs::set_permissions(transcript, fs::Permissions::from_mode(0o600)).expect("set a mode");
    }
    transcripts
}

/// Lays out one recorded transcript with its side files and gives its path.
pub fn lay_out(scratch: &Scratch, id: &str) -> PathBuf {
    for laid_out in lay_out_recorded(scratch) {
        if laid_out != scratch.transcript(id) {
            fs::remove_file(&laid_out).expect("remove a transcript");
            let _ = fs::remove_dir_all(laid_out.with_extension("")); // Most have no side files.
        }
    }
    scratch.transcript(id)
}

/// The recorded events, one line each, their paths moved into the scratch home.
pub fn recorded_events(scratch: &Scratch) -> Vec<String> {
    let lines = fs::read_to_string(fixtures().join("hook-events.jsonl")).expect("read the events");
    lines.lines().map(|line| moved_home(line, scratch)).collect()
}

fn moved_home(line: &str, scratch: &Scratch) -> String {
    let event: Value = serde_json::from_str(line).expect("a recorded event is JSON");
    let mut moved = line.to_owned();
    for field in ["transcript_path", "agent_transcript_path"] {
        let Some(recorded) = event[field].as_str() else { continue };
        let (_, rest) = recorded.split_once("/.claude/").expect("a recorded path lies in .claude");
        moved = moved.replace(recorded, &scratch.claude_dir().join(rest).display().to_string());
    }
    moved
}

/// An event of `kind` for a transcript, without newline; `extra` adds or replaces fields.
pub fn event(kind: &str, transcript: &Path, extra: Value) -> String {
    let id = transcript.file_stem().expect("a transcript has a name").to_string_lossy();
    let mut event = json!({
        "session_id": id,
        "transcript_path": transcript,
        "cwd": "/home/dev/proj",
        "hook_event_name": kind,
    });
    let fields = event.as_object_mut().expect("an object");
    fields.extend(extra.as_object().cloned().unwrap_or_default());
    event.to_string()
}

/// A `SessionEnd` event as `/exit` makes it.
pub fn session_end(transcript: &Path) -> String {
    event("SessionEnd", transcript, json!({"reason": "prompt_input_exit"}))
}

/// A `PreCompact` event as `/compact` makes it.
pub fn pre_compact(transcript: &Path) -> String {
    event("PreCompact", transcript, json!({"trigger": "manual", "custom_instructions": null}))
}

/// A `UserPromptSubmit` event.
pub fn prompt_submit(transcript: &Path) -> String {
    event("UserPromptSubmit", transcript, json!({"prompt": "go on"}))
}

/// A prompt as a line of a transcript, newline included. `turn` gives it a uuid and a time of its own.
pub fn prompt_line(id: &str, turn: u32, text: &str) -> String {
    message_line("user", id, turn, json!(text))
}

/// An answer as a line of a transcript, newline included.
pub fn answer_line(id: &str, turn: u32, text: &str) -> String {
    message_line("assistant", id, turn, json!([{"type": "text", "text": text}]))
}

/// A tool call as a line of a transcript, newline included.
pub fn tool_line(id: &str, turn: u32, tool: &str, input: Value) -> String {
    message_line("assistant", id, turn, json!([{"type": "tool_use", "id": "toolu_1", "name": tool, "input": input}]))
}

fn message_line(role: &str, id: &str, turn: u32, content: Value) -> String {
    let key = blake3::hash(format!("{role} {id} {turn}").as_bytes()).to_hex();
    let (hour, minute, second) = (turn / 3600 % 24, turn / 60 % 60, turn % 60);
    let line = json!({
        "type": role,
        "uuid": format!("{}-{}-4{}-8{}-{}", &key[..8], &key[8..12], &key[12..15], &key[15..18], &key[18..30]),
        "parentUuid": null,
        "isSidechain": false,
        "sessionId": id,
        "timestamp": format!("2026-11-22T{hour:02}:{minute:02}:{second:02}.000Z"),
        "cwd": "/home/dev/proj",
        "gitBranch": "main",
        "version": "2.1.330",
        "message": {"role": role, "content": content},
    });
    format!("{line}\n")
}

/// Appends as Claude Code does: open with O_APPEND, one write, close; mode 0600 when new.
pub fn append(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a transcript lies in a folder")).expect("make the slug's folder");
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(path).expect("open a transcript");
    file.write_all(bytes.as_ref()).expect("append to a transcript");
}

/// Rewrites in place, keeping the inode: truncate, then write.
pub fn rewrite(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).expect("rewrite a transcript");
}

/// Replaces by a new file that is renamed over the old one.
pub fn replace_by_rename(path: &Path, bytes: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).expect("write a new transcript");
    fs::rename(new, path).expect("rename over a transcript");
}

/// Makes a short conversation of `turns` prompts and answers under the usual slug.
pub fn make_conversation(scratch: &Scratch, id: &str, turns: u32) -> PathBuf {
    let path = scratch.transcript(id);
    for turn in 0..turns {
        append(&path, prompt_line(id, 2 * turn, &format!("prompt {turn} of {id}")));
        append(&path, answer_line(id, 2 * turn + 1, &format!("answer {turn} of {id}")));
    }
    path
}

/// A made session id that looks like a real one; `n` tells them apart.
pub fn made_id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}
