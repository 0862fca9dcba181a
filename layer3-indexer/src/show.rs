//! A conversation as readable text: who said what, tool calls folded to one line each.
//!
//! Made from the stored transcript itself, record by record, in memory bounded by the number of
//! characters asked for. Whatever is left out is said where it is left out.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::ops::ControlFlow;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::names::{FileName, StoredName};
use rmcp::schemars;
use serde::Serialize;

use crate::error::Error;
use crate::metadata::Metadata;
use crate::record::{self, Block, Class, Located, Record, TornLine};
use crate::render::{self, Style, Terminal, fit, one_line};
use crate::save::metadata_path;
use crate::time::{format_rfc3339_ms, parse_rfc3339_ms};

/// Characters of a conversation that a model gets unless it asks for another number: about 10,000 tokens.
pub const MAX_CHARS_DEFAULT: usize = 40_000;
/// Most characters of an answer over MCP: clients drop lines over 16 MiB, and a character takes
/// up to six bytes in JSON, twice (as text and as structure).
pub const MAX_CHARS_LIMIT: usize = 1_000_000;
/// Columns of a folded tool call.
const FOLDED_COLUMNS: usize = 160;
/// Edited files named in the header.
const HEADER_FILES: usize = 6;

/// Which part of a conversation.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// The message with this uuid (or its beginning), or the first one at or after this RFC 3339 time.
    pub around: Option<String>,
    /// Only the last so many messages; without meaning beside `around`.
    pub last: Option<usize>,
    /// At most about so many characters.
    pub max_chars: usize,
}

/// A conversation, or a window of it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Conversation {
    /// The session.
    pub session_id: String,
    /// Its folder in the store.
    pub project: String,
    /// Which stored file it is from, relative to the project's folder: the transcript, or a subagent's.
    pub path: String,
    /// The working directory.
    pub cwd: Option<String>,
    /// First time of a message, RFC 3339.
    pub timestamp_start: Option<String>,
    /// Last time of a message, RFC 3339.
    pub timestamp_end: Option<String>,
    /// The branch.
    pub git_branch: Option<String>,
    /// Files that tools changed.
    pub edited_files: Vec<String>,
    /// Messages in the file.
    pub messages: usize,
    /// Messages left out before the window.
    pub omitted_before: usize,
    /// Messages left out after it.
    pub omitted_after: usize,
    /// Lines of the file from which no record could be read.
    pub unparsable: u64,
    /// The conversation as text.
    pub text: String,
    #[serde(skip)]
    #[schemars(skip)]
    entries: Vec<Entry>,
}

/// A message in readable form.
#[derive(Debug, Clone)]
struct Entry {
    time: Option<i64>,
    speaker: &'static str,
    uuid: Option<String>,
    body: String,
    /// Characters of the body.
    chars: usize,
}

/// Reads the window of the conversation from the store.
pub fn conversation(archive: &Archive, key: &SessionKey, window: &Window) -> Result<Conversation, Error> {
    let target = window.around.as_deref().map(Target::parse);
    for name in sources(archive, key, target.is_some())? {
        let file = archive.open_file(key, &name)?;
        let read = collect(file, target.as_ref(), window)
            .map_err(|error| Error::io(format!("read {}", archive.path_of(key, &name).display()), error))?;
        if target.is_none() || read.found {
            return Ok(assemble(archive, key, &name, read, window));
        }
    }
    match &window.around {
        None => Err(crate::restore::RestoreError::NoTranscript { id: key.id.clone() }.into()),
        Some(around) => Err(Error::Argument {
            name: "around",
            value: around.clone(),
            why: "no message of this session has such a uuid or is as late as that; session_search gives the uuid of each hit".to_owned(),
        }),
    }
}

/// The stored contents to read: the newest transcript, or, where a message is looked for, also
/// subagents and older generations.
fn sources(archive: &Archive, key: &SessionKey, all: bool) -> Result<Vec<StoredName>, Error> {
    let mut names: Vec<StoredName> = archive.files(key)?.into_iter().map(|file| file.name).collect();
    let is_conversation = |name: &StoredName| match &name.file {
        FileName::Transcript => all || name.generation == 0,
        FileName::Side(rel) => all && rel.extension().is_some_and(|ext| ext == "jsonl"),
    };
    names.retain(is_conversation);
    names.sort_by_key(|name| (name.generation, name.file.clone()));
    Ok(names)
}

enum Target {
    Uuid(String),
    Time(i64),
}

impl Target {
    fn parse(text: &str) -> Target {
        match parse_rfc3339_ms(text.trim()) {
            Some(ms) => Target::Time(ms),
            None => Target::Uuid(text.trim().to_owned()),
        }
    }

    fn is(&self, entry: &Entry) -> bool {
        match self {
            Target::Uuid(prefix) => entry.uuid.as_ref().is_some_and(|uuid| uuid.starts_with(prefix.as_str())),
            Target::Time(ms) => entry.time.is_some_and(|time| time >= *ms),
        }
    }
}

/// What one pass over a file kept.
#[derive(Default)]
struct Collected {
    entries: VecDeque<Entry>,
    chars: usize,
    /// Characters before the target.
    chars_before: usize,
    found: bool,
    messages: usize,
    omitted_before: usize,
    omitted_after: usize,
    unparsable: u64,
    start: Option<i64>,
    end: Option<i64>,
    branch: Option<String>,
    cwd: Option<String>,
}

fn collect(file: impl Read, target: Option<&Target>, window: &Window) -> io::Result<Collected> {
    let mut kept = Collected::default();
    let mut seen = HashSet::new();
    let reader = io::BufReader::new(file);
    let report = record::read_records(reader, 0, TornLine::Final, &mut |located| {
        kept.note(&located.record);
        if let Some(entry) = entry(&located)
            && seen.insert(fingerprint(&entry))
        {
            kept.push(entry, target, window);
        }
        ControlFlow::Continue(())
    })?;
    kept.unparsable = report.unparsable;
    Ok(kept)
}

/// The same uuid can come again, with the same content or with more.
fn fingerprint(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&entry.uuid, entry.time, &entry.body).hash(&mut hasher);
    hasher.finish()
}

impl Collected {
    fn note(&mut self, record: &Record<'_>) {
        if let Some(ms) = record.timestamp_ms {
            self.start.get_or_insert(ms);
            self.end = Some(ms);
        }
        if let Some(branch) = &record.git_branch {
            self.branch = Some(branch.to_string());
        }
        if let (None, Some(cwd)) = (&self.cwd, &record.cwd) {
            self.cwd = Some(cwd.to_string());
        }
    }

    /// Keeps the entry if it belongs to the window. Without a target the window is the end of the
    /// conversation; with one, up to half of the characters stand before it.
    fn push(&mut self, entry: Entry, target: Option<&Target>, window: &Window) {
        self.messages += 1;
        let is_target = !self.found && target.is_some_and(|target| target.is(&entry));
        let before = target.is_some() && !self.found && !is_target;
        if self.found && self.chars + entry.chars > window.max_chars {
            while self.chars + entry.chars > window.max_chars && self.chars_before > window.max_chars / 2 {
                self.drop_front();
            }
            if self.chars + entry.chars > window.max_chars || self.omitted_after > 0 {
                self.omitted_after += 1;
                return;
            }
        }
        if self.found && self.omitted_after > 0 {
            self.omitted_after += 1;
            return;
        }
        self.found |= is_target;
        self.chars += entry.chars;
        self.chars_before += if before { entry.chars } else { 0 };
        self.entries.push_back(entry);
        if target.is_none() || before || is_target {
            let last = window.last.filter(|_| target.is_none()).unwrap_or(usize::MAX).max(1);
            while self.entries.len() > 1 && (self.chars > window.max_chars || self.entries.len() > last) {
                self.drop_front();
            }
        }
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.chars -= entry.chars;
            self.chars_before = self.chars_before.saturating_sub(entry.chars);
            self.omitted_before += 1;
        }
    }
}

fn entry(located: &Located<'_>) -> Option<Entry> {
    let record = &located.record;
    let speaker = match record.class {
        Class::Prompt | Class::Command => "user",
        Class::Answer => "assistant",
        Class::ToolResult | Class::CommandOutput => "tool",
        Class::Summary => "summary",
        Class::System => "system",
        Class::Meta | Class::Title | Class::Bookkeeping | Class::Unknown => return None,
    };
    let pieces: Vec<String> = record.blocks.iter().filter_map(|block| piece(block, record.class)).collect();
    if pieces.is_empty() {
        return None;
    }
    let body = pieces.join("\n");
    let chars = body.chars().count() + 32;
    let uuid = record.uuid.as_deref().map(str::to_owned);
    Some(Entry { time: record.timestamp_ms, speaker, uuid, body, chars })
}

/// A block as text: words as they are, everything else folded to one line that says how much it is.
fn piece(block: &Block<'_>, class: Class) -> Option<String> {
    let folded = |text: &str| fit(&one_line(text), FOLDED_COLUMNS).into_owned();
    match block {
        Block::Text(text) if matches!(class, Class::System | Class::CommandOutput) => {
            Some(folded(text)).filter(|text| !text.is_empty())
        }
        Block::Text(text) => Some(text.trim_end().to_owned()).filter(|text| !text.trim().is_empty()),
        Block::Thinking(text) if text.trim().is_empty() => None,
        Block::Thinking(text) => Some(format!("  (thinking, {} characters)", text.chars().count())),
        Block::ToolUse { name, input, .. } => {
            let input = input.map(record::tool_input_text).unwrap_or_default();
            Some(folded(&format!("→ {name}: {input}")))
        }
        Block::ToolResult { text, is_error, .. } => {
            let lines = text.trim_end().lines().count();
            let failed = if *is_error { "error, " } else { "" };
            let size = if lines > 1 { format!("({failed}{lines} lines) ") } else { failed.replace(", ", ": ") };
            Some(folded(&format!("← {size}{text}")))
        }
        Block::Other(kind) => Some(format!("  [{}]", one_line(kind))),
    }
}

fn assemble(archive: &Archive, key: &SessionKey, name: &StoredName, read: Collected, window: &Window) -> Conversation {
    // Without metadata (it comes with the index) the header says what the transcript says.
    let metadata = fs::read(metadata_path(archive, key)).ok();
    let metadata: Metadata = metadata.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut entries: Vec<Entry> = read.entries.into();
    if let [only] = entries.as_mut_slice()
        && only.chars > window.max_chars
    {
        cut(only, window.max_chars);
    }
    let mut conversation = Conversation {
        session_id: key.id.to_string(),
        project: key.project.to_string(),
        path: name.to_text(&key.id),
        cwd: read.cwd.or(metadata.cwd),
        timestamp_start: read.start.map(format_rfc3339_ms).or(metadata.timestamp_start),
        timestamp_end: read.end.map(format_rfc3339_ms).or(metadata.timestamp_end),
        git_branch: read.branch.or(metadata.git_branch),
        edited_files: metadata.edited_files,
        messages: read.messages,
        omitted_before: read.omitted_before,
        omitted_after: read.omitted_after,
        unparsable: read.unparsable,
        text: String::new(),
        entries,
    };
    conversation.text = conversation.to_text(&Terminal::PLAIN);
    conversation
}

fn cut(entry: &mut Entry, max_chars: usize) {
    let all = entry.body.chars().count();
    let kept: String = entry.body.chars().take(max_chars).collect();
    let left_out = all - kept.chars().count();
    entry.body = format!("{kept}\n[… {left_out} characters of this message left out; a larger max_chars shows them]");
}

impl Conversation {
    /// The text as a terminal shows it: framed by its header, control characters made harmless.
    pub fn to_text(&self, terminal: &Terminal) -> String {
        let mut text = terminal.paint(Style::Bold, &self.header());
        text.push('\n');
        if self.omitted_before > 0 {
            let before = render::count(self.omitted_before as u64, "earlier message");
            text.push_str(&terminal.paint(Style::Dim, &format!("[… {before} left out]")));
            text.push('\n');
        }
        for entry in &self.entries {
            text.push('\n');
            let time = entry.time.map(|ms| format!(" {}", render::minute(&format_rfc3339_ms(ms)))).unwrap_or_default();
            let style = if entry.speaker == "user" { Style::Green } else { Style::Cyan };
            text.push_str(&terminal.paint(style, entry.speaker));
            text.push_str(&terminal.paint(Style::Dim, &time));
            text.push('\n');
            text.push_str(&render::lines(&entry.body));
            text.push('\n');
        }
        if self.omitted_after > 0 {
            let after = render::count(self.omitted_after as u64, "later message");
            text.push('\n');
            text.push_str(&terminal.paint(Style::Dim, &format!("[… {after} left out]")));
            text.push('\n');
        }
        if self.unparsable > 0 {
            let pieces = render::count(self.unparsable, "damaged piece");
            text.push_str(&format!("[{pieces} of the transcript could not be read; the bytes are kept]\n"));
        }
        text
    }

    fn header(&self) -> String {
        let period = render::period(self.timestamp_start.as_deref(), self.timestamp_end.as_deref());
        let mut parts = vec![period];
        parts.extend(render::branch(self.git_branch.as_deref()));
        parts.push(format!("{}/{}", self.project, self.session_id));
        parts.push(render::count(self.messages as u64, "message"));
        if !self.edited_files.is_empty() {
            parts.push(format!("edited: {}", file_names(&self.edited_files, HEADER_FILES)));
        }
        format!("── {} ──", parts.join(" · "))
    }
}

/// The last components of the paths, last touched first, at most `most` of them.
pub fn file_names(paths: &[String], most: usize) -> String {
    let mut names: Vec<String> = Vec::new();
    for path in paths.iter().rev() {
        let name = one_line(path.rsplit(['/', '\\']).next().unwrap_or(path));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(most);
    names.truncate(most);
    let list = names.join(", ");
    if more > 0 { format!("{list} +{more}") } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ID, Scene, answer, prompt};

    const TOOL_CALL: &str = r#"{"type":"assistant","uuid":"u-call","timestamp":"2026-11-22T10:00:03.000Z","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"cargo test\n--all"}}]}}
"#;
    const TOOL_RESULT: &str = r#"{"type":"user","uuid":"u-result","timestamp":"2026-11-22T10:00:04.000Z","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"line 1\nline 2\u001b[31m\nline 3"}]}}
"#;

    fn scene(lines: &[String]) -> (Scene, Archive, SessionKey) {
        let scene = Scene::new();
        scene.transcribe(lines);
        scene.receipt(None);
        let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
        let key = archive.find(&scene.id()).unwrap().remove(0);
        (scene, archive, key)
    }

    fn text(archive: &Archive, key: &SessionKey, window: Window) -> String {
        conversation(archive, key, &window).unwrap().text.replace(ID, "ID")
    }

    #[test]
    fn a_conversation_is_readable_and_tools_are_one_line() {
        let lines =
            [prompt(1, "run the tests"), TOOL_CALL.to_owned(), TOOL_RESULT.to_owned(), answer(5, "All pass.\n\nDone.")];
        let (_scene, archive, key) = scene(&lines);
        insta::assert_snapshot!(text(&archive, &key, Window { max_chars: 10_000, ..Window::default() }), @r#"
        ── 2026-11-22 10:00 · [main] · proj/ID · 4 messages ──

        user 2026-11-22 10:00
        run the tests

        assistant 2026-11-22 10:00
          (thinking, 2 characters)
        → Bash: cargo test --all

        tool 2026-11-22 10:00
        ← (3 lines) line 1 line 2·[31m line 3

        assistant 2026-11-22 10:00
        All pass.

        Done.
        "#);
    }

    #[test]
    fn what_is_left_out_is_said() {
        let lines: Vec<String> = (1..=20).map(|n| prompt(n, &format!("message number {n}"))).collect();
        let (_scene, archive, key) = scene(&lines);
        let last = Window { last: Some(1), max_chars: 10_000, ..Window::default() };
        insta::assert_snapshot!(text(&archive, &key, last), @r#"
        ── 2026-11-22 10:00 · [main] · proj/ID · 20 messages ──
        [… 19 earlier messages left out]

        user 2026-11-22 10:00
        message number 20
        "#);
        let around = Window { around: Some("u-0010".to_owned()), max_chars: 150, ..Window::default() };
        insta::assert_snapshot!(text(&archive, &key, around), @r#"
        ── 2026-11-22 10:00 · [main] · proj/ID · 20 messages ──
        [… 8 earlier messages left out]

        user 2026-11-22 10:00
        message number 9

        user 2026-11-22 10:00
        message number 10

        user 2026-11-22 10:00
        message number 11

        [… 9 later messages left out]
        "#);
        let time = Window { around: Some("2026-11-22T10:00:19Z".to_owned()), max_chars: 80, ..Window::default() };
        insta::assert_snapshot!(text(&archive, &key, time), @r#"
        ── 2026-11-22 10:00 · [main] · proj/ID · 20 messages ──
        [… 18 earlier messages left out]

        user 2026-11-22 10:00
        message number 19

        [… 1 later message left out]
        "#);
        let short = Window { last: Some(1), max_chars: 7, ..Window::default() };
        assert!(text(&archive, &key, short).contains("message\n[… 10 characters of this message left out"));
    }

    #[test]
    fn windows_count_every_message_once() {
        let mut lines: Vec<String> = (1..=40).map(|n| prompt(n, &"x".repeat(n as usize * 3))).collect();
        lines.push(lines[4].clone());
        let (_scene, archive, key) = scene(&lines);
        for target in [None, Some("u-0001"), Some("u-0017"), Some("u-0040")] {
            for max_chars in [1, 50, 100, 500, 2000, 100_000] {
                let window = Window { around: target.map(str::to_owned), max_chars, last: None };
                let found = conversation(&archive, &key, &window).unwrap();
                let shown = found.entries.len();
                assert_eq!(found.messages, 40);
                assert_eq!(found.omitted_before + shown + found.omitted_after, 40, "{target:?} {max_chars}");
                assert!(
                    target.is_none_or(|uuid| found
                        .text
                        .contains(&"x".repeat(uuid[2..].parse::<usize>().unwrap() * 3)[..1]))
                );
                assert!(shown >= 1);
            }
        }
    }

    #[test]
    fn a_message_of_a_subagent_or_an_older_generation_is_found() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "first content")]);
        scene.receipt(None);
        scene.transcribe(&[prompt(2, "second")]);
        scene.write(&scene.transcript().with_extension("").join("subagents/agent-1.jsonl"), &answer(3, "from below"));
        scene.receipt(None);
        let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
        let key = archive.find(&scene.id()).unwrap().remove(0);
        let path = |uuid: &str| {
            let window = Window { around: Some(uuid.to_owned()), max_chars: 1000, last: None };
            conversation(&archive, &key, &window)
                .map(|found| found.path.replace(ID, "ID"))
                .map_err(|error| error.to_string())
        };
        assert_eq!(path("u-0002").unwrap(), "ID.jsonl");
        assert_eq!(path("u-0001").unwrap(), "ID.gen-0001.jsonl");
        assert_eq!(path("u-0003").unwrap(), "ID/subagents/agent-1.jsonl");
        assert!(path("nope").unwrap_err().contains("no message of this session"));
    }
}
