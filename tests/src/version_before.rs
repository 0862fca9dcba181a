//! What the version before wrote: both stores, outbox, receipts, index, and Claude Code's settings with its
//! hooks, recorded by running that version, and laid out for tests.
//!
//! `tests/fixtures/version-before` holds what [`record`] made. Its README tells what stands in it and why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binaries;
use crate::run::Run;
use crate::scratch::Scratch;
use crate::transcripts::{self, INTERACTIVE, SUBAGENT, answer_line, made_id, prompt_line};
use crate::tree::{self, Entry};

/// A session whose transcript was rewritten: its copies have an older content.
pub const REWRITTEN: u32 = 1;
/// A session that is compressed in both stores.
pub const COMPRESSED: u32 = 2;
/// A session that layer 1 has copied and whose delivery is pending.
pub const PENDING: u32 = 3;
/// A session without a transcript: layer 1 keeps what its events said.
pub const WITHOUT_TRANSCRIPT: u32 = 4;

/// What of a home is recorded, by its folders in the fixture and in a home.
const KEPT: [(&str, &str); 3] =
    [("claude", ".claude"), ("claude-backup-sessions", ".claude-backup-sessions"), ("claude-backup", ".claude-backup")];
/// Programs, and what SQLite makes anew at each start.
const LEFT_OUT: [&str; 2] = [".claude/hooks", ".claude-backup/sessions.db-shm"];
/// What the version before answered, a question a name: arguments of layer 3, or of the program named first.
const QUESTIONS: [(&str, &[&str]); 9] = [
    ("list", &["layer3-indexer", "list", "--all", "--json"]),
    ("search", &["layer3-indexer", "search", "--all", "--each", "--json", "--", "the"]),
    ("search-rewritten", &["layer3-indexer", "search", "--all", "--json", "--", "albatross"]),
    ("show-rewritten", &["layer3-indexer", "show", "00000000-0000-4000-8000-000000000001", "--json"]),
    ("show-older", &["layer3-indexer", "show", "00000000-0000-4000-8000-000000000001", "--generation", "1", "--json"]),
    ("show-compressed", &["layer3-indexer", "show", "00000000-0000-4000-8000-000000000002", "--json"]),
    ("history-rewritten", &["layer1-prebackup", "history", "00000000-0000-4000-8000-000000000001", "--json"]),
    ("history-compressed", &["layer1-prebackup", "history", "00000000-0000-4000-8000-000000000002", "--json"]),
    ("verify", &["layer3-indexer", "verify", "--json"]),
];

/// Where the recorded files lie.
pub fn fixture() -> PathBuf {
    transcripts::fixtures().join("version-before")
}

/// The home as the version before left it, with today's programs as its hooks. Its path is the same each
/// time, because the records of both stores name it; whoever wants it waits for the one who has it.
pub fn lay_out() -> Scratch {
    let scratch = Scratch::at_recorded_home();
    for (from, to) in KEPT {
        copy(&fixture().join(from), &scratch.home().join(to));
    }
    let hooks = scratch.claude_dir().join("hooks");
    fs::create_dir_all(&hooks).expect("make the folder of hooks");
    for name in binaries::ALL {
        fs::copy(binaries::folder().join(name), hooks.join(name)).expect("install a program");
    }
    scratch
}

/// What the programs answer to each question.
///
/// # Panics
/// When one of them fails.
pub fn answers(scratch: &Scratch) -> Value {
    let answer = |arguments: &[&str]| scratch.run(arguments[0], &arguments[1..]).output().ok().json();
    QUESTIONS.iter().map(|(name, arguments)| ((*name).to_owned(), answer(arguments))).collect()
}

/// What the version before answered.
pub fn recorded_answers() -> Value {
    let text = fs::read_to_string(fixture().join("answers.json")).expect("read the recorded answers");
    serde_json::from_str(&text).expect("the recorded answers are JSON")
}

/// What a session is about, so that a search finds it alone.
pub fn conversation(n: u32, word: &str) -> String {
    let id = made_id(n);
    prompt_line(&id, n, &format!("tell me about the {word}")) + &answer_line(&id, n, &format!("the {word} is a bird"))
}

/// Has the programs that are to be recorded save, compress, fail to deliver and install, and keeps what they
/// left in the fixture's place.
///
/// # Panics
/// When a part of it fails.
pub fn record() {
    let scratch = Scratch::at_recorded_home();
    let settings = scratch.claude_dir().join("settings.json");
    fs::create_dir_all(scratch.claude_dir()).expect("make Claude Code's directory");
    fs::write(&settings, own_settings()).expect("write the user's own settings");
    let install = Run::new(binaries::folder().join("xtask")).arg("install").arg("--binaries").arg(binaries::folder());
    scratch.at_home(install).output().ok();
    let compressed = scratch.transcript(&made_id(COMPRESSED));
    transcripts::append(&compressed, conversation(COMPRESSED, "bittern").repeat(20));
    save(&scratch, &transcripts::session_end(&compressed));
    scratch.layer3(&["compress", "--older-than", "0s"]).output().ok();

    let [interactive, subagent] = [INTERACTIVE, SUBAGENT].map(|id| scratch.transcript(id));
    for recorded in transcripts::lay_out_recorded(&scratch) {
        if ![&interactive, &subagent].contains(&&recorded) {
            fs::remove_file(&recorded).expect("leave a transcript out");
            // Not each has side files.
            let _ = fs::remove_dir_all(recorded.with_extension(""));
        }
    }
    let whole = fs::read_to_string(&interactive).expect("read a transcript");
    let half: String = whole.split_inclusive('\n').take(12).collect();
    transcripts::rewrite(&interactive, half);
    save(&scratch, &transcripts::pre_compact(&interactive));
    transcripts::rewrite(&interactive, whole);
    save(&scratch, &transcripts::session_end(&interactive));
    save(&scratch, &transcripts::session_end(&subagent));
    let rewritten = scratch.transcript(&made_id(REWRITTEN));
    for word in ["albatross", "curlew"] {
        transcripts::rewrite(&rewritten, conversation(REWRITTEN, word));
        save(&scratch, &transcripts::session_end(&rewritten));
    }
    let without = scratch.transcript(&made_id(WITHOUT_TRANSCRIPT));
    let prompt = scratch.hook(&scratch.turn_command(), &transcripts::prompt_submit(&without));
    prompt.env("CLAUDE_CODE_ENTRYPOINT", "cli").output().ok();
    let answers = answers(&scratch);

    let pending = scratch.transcript(&made_id(PENDING));
    transcripts::append(&pending, conversation(PENDING, "dunlin"));
    let command = scratch.chain_command("--attempts 1 --server /bin/false");
    scratch.hook(&command, &transcripts::session_end(&pending)).output().ok();
    scratch.await_no_process(crate::waiting::DELIVERY);
    keep(&scratch, &answers);
}

/// What stands in the settings without Threefold.
pub fn own_settings() -> String {
    let own = json!({
        "model": "opus",
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "notify-send done"}]}]},
    });
    serde_json::to_string_pretty(&own).expect("settings are JSON") + "\n"
}

fn save(scratch: &Scratch, event: &str) {
    scratch.hook(&scratch.chain_command(""), event).output().ok().silent();
    scratch.await_no_process(crate::waiting::DELIVERY);
}

fn keep(scratch: &Scratch, answers: &Value) {
    for (folder, _) in KEPT {
        // The first recording finds nothing to replace.
        let _ = fs::remove_dir_all(fixture().join(folder));
    }
    for (path, entry) in tree::all(&scratch.home()) {
        let kept = KEPT.iter().find_map(|(to, from)| Some(fixture().join(to).join(path.strip_prefix(from).ok()?)));
        if let (Entry::File(..), Some(to)) = (entry, kept.filter(|_| !LEFT_OUT.iter().any(|out| path.starts_with(out))))
        {
            fs::create_dir_all(to.parent().expect("a file lies in a folder")).expect("make a folder");
            fs::write(to, fs::read(scratch.home().join(&path)).expect("read what was recorded")).expect("keep a file");
        }
    }
    let answers = serde_json::to_string_pretty(answers).expect("answers are JSON");
    fs::write(fixture().join("answers.json"), answers + "\n").expect("keep the answers");
}

/// Copies a tree with the modes that the programs give: what lies in a store is nobody else's.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a folder");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).expect("set a mode");
    for entry in fs::read_dir(from).expect("list a recorded folder") {
        let path = entry.expect("list a recorded folder").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("lay out a recorded file");
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("set a mode");
        }
    }
}
