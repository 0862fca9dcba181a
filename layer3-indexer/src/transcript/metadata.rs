//! What is known about a session as a whole: the content of `{SESSION_ID}.json` and of lists.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::fs::read_own;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::terminal::time::format_rfc3339_ms;
use crate::transcript::course::PLAN;
use crate::transcript::record::{Block, Class, Record, command_line};

/// Most files in `edited_files`, and in `read_files`: those touched last.
pub(crate) const FILES_MAX: usize = 500;
/// Most commands in `bash_commands`: those run last.
pub(crate) const COMMANDS_MAX: usize = 200;
/// Longest command that is kept, in characters.
pub(crate) const COMMAND_CHARS_MAX: usize = 300;
/// Longest topic, in characters.
pub(crate) const TOPIC_CHARS_MAX: usize = 200;

/// No metadata file of ours is longer, in bytes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What stands in a session's metadata file; nothing where there is none, or none that may be ours.
pub(crate) fn metadata_text(archive: &Archive, key: &SessionKey) -> Option<Vec<u8>> {
    let rel = Path::new(key.project.as_str()).join(format!("{}.json", key.id));
    // Whatever keeps it from being read, it is made again with the next save.
    read_own(archive.root(), &rel, FILE_BYTES_MAX).ok().flatten()
}

/// Kinds of records that name the session, who counts most last: what the user typed before what was made up. The one
/// without a kind is the file beside the transcript: Claude Code writes the newest name there.
const TITLES: [&str; 4] = ["agent-name", "ai-title", "custom-title", ""];

/// Tools that change a file, and where their arguments name it.
pub(crate) const EDITING_TOOLS: [&str; 5] = ["Edit", "MultiEdit", "Write", "NotebookEdit", "Update"];
/// Tools that read one.
const READING_TOOLS: [&str; 2] = ["Read", "NotebookRead"];
/// Claude Code's own commands: what stands behind them is no task.
const OWN_COMMANDS: [&str; 50] = [
    "/add-dir",
    "/advisor",
    "/agents",
    "/background",
    "/branch",
    "/bug",
    "/cd",
    "/chrome",
    "/clear",
    "/color",
    "/compact",
    "/config",
    "/context",
    "/continue",
    "/copy",
    "/cost",
    "/doctor",
    "/effort",
    "/exit",
    "/export",
    "/fast",
    "/feedback",
    "/fork",
    "/help",
    "/hooks",
    "/ide",
    "/keybindings",
    "/login",
    "/logout",
    "/mcp",
    "/memory",
    "/model",
    "/output-style",
    "/permissions",
    "/plugin",
    "/privacy-settings",
    "/quit",
    "/release-notes",
    "/rename",
    "/reset",
    "/resume",
    "/rewind",
    "/sandbox",
    "/stats",
    "/status",
    "/statusline",
    "/theme",
    "/usage",
    "/vim",
    "/voice",
];
/// Longest path of a touched file that is kept, in bytes: Linux takes no longer one.
const PATH_BYTES_MAX: usize = 4096;
/// Names of tools that are told apart; a transcript that is garbage may hold any number of them.
const TOOLS_MAX: usize = 1000;
/// Longest name of a tool, branch or title that is kept, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 200;

/// A session's metadata. Serialised, it is the content of `{SESSION_ID}.json`. It covers the
/// transcript, its older generations and its subagents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// The last working directory.
    pub(crate) cwd: Option<String>,
    /// The directory of its project: of a worktree's the one that it was made from, else where the session was started.
    #[serde(default)]
    pub(crate) directory: Option<String>,
    /// First time of a message, RFC 3339.
    pub(crate) timestamp_start: Option<String>,
    /// Last time of a message, RFC 3339.
    pub(crate) timestamp_end: Option<String>,
    /// The last branch.
    pub(crate) git_branch: Option<String>,
    /// What the user or Claude Code named the session.
    pub(crate) title: Option<String>,
    /// The name that the user gave it here, which stands as the title then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The user's tags, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// Whether the user pinned it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pinned: bool,
    /// The user's note about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// The session that it was forked from, where its records say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forked_from: Option<String>,
    /// The session in which Claude Code went on with it, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) continued_in: Option<String>,
    /// Files that tools changed, oldest change first; at most [`FILES_MAX`].
    pub(crate) edited_files: Vec<String>,
    /// Files that tools read, oldest first; at most [`FILES_MAX`].
    pub(crate) read_files: Vec<String>,
    /// Commands, oldest first; at most [`COMMANDS_MAX`] of at most [`COMMAND_CHARS_MAX`] characters.
    pub(crate) bash_commands: Vec<String>,
    /// Calls by tool.
    pub(crate) tool_counts: BTreeMap<String, u64>,
    /// The first prompt, shortened to [`TOPIC_CHARS_MAX`] characters on one line.
    pub(crate) first_topic: Option<String>,
    /// The last prompt, likewise.
    pub(crate) last_topic: Option<String>,
    /// Messages of the newest transcript: what was said and done in it.
    pub(crate) messages: u64,
    /// Length of the newest transcript.
    pub(crate) bytes: u64,
    /// Plain BLAKE3 of the newest transcript, hexadecimal.
    pub(crate) blake3: Option<String>,
    /// What caused the last save: `pre-compact`, `session-end`, …
    pub(crate) trigger: String,
}

/// When records were written, in the order of their file: a clock may go back, and what stands later came later.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    /// The latest time so far, in milliseconds since 1970.
    pub(crate) latest_ms: i64,
}

impl Order {
    /// The time of the next record of the file; one that has none has the time of those before it. What is queued stands
    /// by itself: in a fork it comes before what is copied.
    pub(crate) fn next_ms(&mut self, record: &Record<'_>) -> i64 {
        let own_ms = record.timestamp_ms.unwrap_or(self.latest_ms);
        if record.kind == "queue-operation" {
            return own_ms;
        }
        self.latest_ms = self.latest_ms.max(own_ms);
        self.latest_ms
    }
}

/// What metadata is made of while a session grows. It comes out the same in whatever order messages of different times
/// are added; of those of one time the order counts in which they stand in the file, which is that in which they are added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionStats {
    pub(crate) prompts: u64,
    pub(crate) answers: u64,
    pub(crate) start_ms: Option<i64>,
    pub(crate) end_ms: Option<i64>,
    pub(crate) cwd: Option<(i64, String)>,
    #[serde(default)]
    pub(crate) first_cwd: Option<(i64, String)>,
    #[serde(default)]
    pub(crate) worktree_of: Option<(i64, String)>,
    pub(crate) branch: Option<(i64, String)>,
    /// By who gave it, see [`TITLES`]; of one giver's the last one.
    pub(crate) title: Option<(usize, String)>,
    pub(crate) forked_from: Option<(i64, String)>,
    pub(crate) continued_in: Option<(i64, String)>,
    /// The time and the key in the index of the message that is the first by both.
    pub(crate) first_message: Option<(i64, i64)>,
    pub(crate) edited: BTreeMap<String, i64>,
    pub(crate) read: BTreeMap<String, i64>,
    pub(crate) commands: BTreeMap<String, i64>,
    pub(crate) tools: BTreeMap<String, u64>,
    pub(crate) first_prompt: Option<(i64, String)>,
    pub(crate) last_prompt: Option<(i64, String)>,
    /// Commands without a task stand in for prompts in a session that has nothing else.
    pub(crate) first_command: Option<(i64, String)>,
    pub(crate) last_command: Option<(i64, String)>,
    /// What Claude Code summed the session up to, as its title; before anything else it stands for another session, of which
    /// it is the end.
    #[serde(default)]
    pub(crate) summary: Option<Summed>,
    /// The agent whose session it is, and its team.
    #[serde(default)]
    pub(crate) of_team: Option<String>,
}

/// A field by its name. What is called so and is of another kind is a key of something that is counted.
fn field<T: DeserializeOwned>(json: &str, name: &str) -> Option<T> {
    let key = format!("\"{name}\":");
    json.match_indices(&key)
        .find_map(|(at, _)| serde_json::Deserializer::from_str(&json[at + key.len()..]).into_iter().next()?.ok())
}

/// The title that a `summary` gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summed {
    title: String,
    follows_something: bool,
}

impl SessionStats {
    /// How a session began, of its statistics as JSON: nothing else of them is read, which can be long.
    pub(crate) fn beginning(json: &str) -> Option<String> {
        let said = |name: &str| field::<(i64, String)>(json, name).map(|(_, text)| text);
        said("first_prompt").or_else(|| said("first_command")).or_else(|| field(json, "of_team"))
    }

    /// Adds a record that is new to the session; `time_ms` is its time in the [`Order`] of its file.
    pub(crate) fn add(&mut self, record: &Record<'_>, time_ms: i64) {
        let title = record.title.as_ref().filter(|title| !title.trim().is_empty());
        if let Some(title) = title.filter(|_| record.class == Class::Summary) {
            let (title, follows_something) = (shortened(title, NAME_CHARS_MAX), false);
            self.keep_summary(Some(Summed { title, follows_something }));
        } else if let Some(title) = title {
            let giver = TITLES.iter().position(|kind| record.kind == *kind).unwrap_or_default();
            keep_title(&mut self.title, Some((giver, shortened(title, NAME_CHARS_MAX))));
        }
        let worktree_of = record.worktree_of.as_ref().filter(|directory| !directory.is_empty());
        keep_first(&mut self.worktree_of, worktree_of.map(|directory| (time_ms, directory.to_string())));
        let named = |id: &str| (time_ms, shortened(id, NAME_CHARS_MAX));
        keep_max(&mut self.forked_from, record.forked_from.as_ref().map(|origin| named(&origin.session)));
        keep_max(&mut self.continued_in, record.continued_in.as_deref().map(named));
        if self.of_team.is_none() {
            self.of_team = record.of_team.as_ref().map(|name| shortened(name, NAME_CHARS_MAX));
        }
        if matches!(record.class, Class::Title | Class::Bookkeeping) || record.is_aside() {
            return;
        }
        keep_min(&mut self.start_ms, record.timestamp_ms);
        keep_max(&mut self.end_ms, record.timestamp_ms);
        if !record.is_sidechain {
            self.add_place(record, time_ms);
        }
        self.answers += u64::from(record.class == Class::Answer);
        // A command that says what to do is a prompt, whoever answers; `/clear` is none.
        let is_task = |block: &Block<'_>| matches!(block, Block::Act { args, .. } if !args.trim().is_empty());
        let is_command = record.class == Class::Command && record.blocks.iter().any(is_task);
        self.prompts += u64::from(record.class == Class::Prompt || is_command);
        for block in &record.blocks {
            if let Block::ToolUse { name, input, .. } = block {
                self.add_tool(name, *input, record.timestamp_ms.unwrap_or(time_ms));
            }
        }
    }

    fn keep_summary(&mut self, summary: Option<Summed>) {
        let Some(mut summary) = summary else { return };
        summary.follows_something |= self.start_ms.is_some();
        if summary.follows_something || self.summary.is_none() {
            self.summary = Some(summary);
        }
    }

    /// Adds a message that is new to the session, by its key in the index.
    pub(crate) fn add_message(&mut self, time_ms: i64, key: i64) {
        keep_min(&mut self.first_message, Some((time_ms, key)));
    }

    /// Adds what was counted of other records that are new to the session.
    pub(crate) fn merge(&mut self, other: &SessionStats) {
        self.keep_summary(other.summary.clone());
        self.of_team = self.of_team.take().or_else(|| other.of_team.clone());
        self.prompts += other.prompts;
        self.answers += other.answers;
        keep_min(&mut self.start_ms, other.start_ms);
        keep_max(&mut self.end_ms, other.end_ms);
        keep_max(&mut self.forked_from, other.forked_from.clone());
        keep_max(&mut self.continued_in, other.continued_in.clone());
        keep_min(&mut self.first_message, other.first_message);
        keep_last(&mut self.cwd, other.cwd.clone());
        keep_first(&mut self.first_cwd, other.first_cwd.clone());
        keep_first(&mut self.worktree_of, other.worktree_of.clone());
        keep_last(&mut self.branch, other.branch.clone());
        keep_title(&mut self.title, other.title.clone());
        keep_first(&mut self.first_prompt, other.first_prompt.clone());
        keep_last(&mut self.last_prompt, other.last_prompt.clone());
        keep_first(&mut self.first_command, other.first_command.clone());
        keep_last(&mut self.last_command, other.last_command.clone());
        for (list, entries, max) in [
            (&mut self.edited, &other.edited, FILES_MAX),
            (&mut self.read, &other.read, FILES_MAX),
            (&mut self.commands, &other.commands, COMMANDS_MAX),
        ] {
            entries.iter().for_each(|(entry, time_ms)| add_entry(list, entry, *time_ms, max));
        }
        other.tools.iter().for_each(|(tool, calls)| self.add_calls(tool, *calls));
    }

    /// The lists at their bounds; nothing is lost that would be shown.
    pub(crate) fn prune(&mut self) {
        keep_latest(&mut self.edited, FILES_MAX);
        keep_latest(&mut self.read, FILES_MAX);
        keep_latest(&mut self.commands, COMMANDS_MAX);
    }

    /// As metadata; what does not come from messages is left empty.
    pub(crate) fn to_metadata(&self) -> Metadata {
        let mut tally = self.clone();
        tally.prune();
        let topic = |prompt: &Option<(i64, String)>, command: &Option<(i64, String)>| {
            prompt.as_ref().or(command.as_ref()).map(|(_, text)| text.clone()).or_else(|| self.of_team.clone())
        };
        let summed = tally.summary.take().filter(|summary| summary.follows_something);
        Metadata {
            cwd: tally.cwd.map(|(_, cwd)| cwd),
            directory: tally.worktree_of.or(tally.first_cwd).map(|(_, directory)| directory),
            timestamp_start: tally.start_ms.map(format_rfc3339_ms),
            timestamp_end: tally.end_ms.map(format_rfc3339_ms),
            git_branch: tally.branch.map(|(_, branch)| branch),
            title: tally.title.map(|(_, title)| title).or_else(|| summed.map(|summary| summary.title)),
            forked_from: tally.forked_from.map(|(_, session)| session),
            continued_in: tally.continued_in.map(|(_, session)| session),
            edited_files: in_order(tally.edited),
            read_files: in_order(tally.read),
            bash_commands: in_order(tally.commands),
            tool_counts: tally.tools,
            first_topic: topic(&tally.first_prompt, &tally.first_command),
            last_topic: topic(&tally.last_prompt, &tally.last_command),
            ..Metadata::default()
        }
    }

    fn add_place(&mut self, record: &Record<'_>, time_ms: i64) {
        let cwd = record.cwd.as_ref().filter(|cwd| !cwd.is_empty()).map(|cwd| (time_ms, cwd.to_string()));
        keep_first(&mut self.first_cwd, cwd.clone());
        keep_last(&mut self.cwd, cwd);
        let branch = record.git_branch.as_ref().map(|branch| (time_ms, shortened(branch, NAME_CHARS_MAX)));
        keep_last(&mut self.branch, branch);
        let Some((is_asked, topic)) = topic_of(record) else { return };
        let (first, last) = match is_asked {
            true => (&mut self.first_prompt, &mut self.last_prompt),
            false => (&mut self.first_command, &mut self.last_command),
        };
        keep_first(first, Some((time_ms, topic.clone())));
        keep_last(last, Some((time_ms, topic)));
    }

    fn add_tool(&mut self, name: &str, input: Option<&RawValue>, time_ms: i64) {
        let short = shortened(name, NAME_CHARS_MAX);
        self.add_calls(&short, 1);
        let Some(input) = input else { return };
        let (list, entry, max) = if EDITING_TOOLS.contains(&name) || READING_TOOLS.contains(&name) {
            let path = argument(input, "file_path").or_else(|| argument(input, "notebook_path"));
            let list = if READING_TOOLS.contains(&name) { &mut self.read } else { &mut self.edited };
            (list, path, FILES_MAX)
        } else if name == "Bash" {
            let command = argument(input, "command").map(|command| shortened(&command, COMMAND_CHARS_MAX));
            (&mut self.commands, command, COMMANDS_MAX)
        } else {
            return;
        };
        if let Some(entry) = entry.filter(|entry| !entry.is_empty()) {
            add_entry(list, &entry, time_ms, max);
        }
    }

    fn add_calls(&mut self, tool: &str, calls: u64) {
        if let Some(known) = self.tools.get_mut(tool) {
            *known += calls;
        } else if self.tools.len() < TOOLS_MAX {
            self.tools.insert(tool.to_owned(), calls);
        }
    }
}

fn add_entry(list: &mut BTreeMap<String, i64>, entry: &str, time_ms: i64, max: usize) {
    if let Some(last) = list.get_mut(entry) {
        *last = time_ms.max(*last);
        return;
    }
    list.insert(entry.to_owned(), time_ms);
    if list.len() > 2 * max {
        keep_latest(list, max);
    }
}

/// The file that a tool's arguments name, whichever tool it is; with `/` between its folders.
pub(crate) fn touched_file(input: &RawValue) -> Option<String> {
    let holds = |key: &&str| memchr::memmem::find(input.get().as_bytes(), key.as_bytes()).is_some();
    let key = ["file_path", "notebook_path"].into_iter().find(holds)?;
    let path = argument(input, key).filter(|path| !path.is_empty() && path.len() <= PATH_BYTES_MAX)?;
    Some(path.replace('\\', "/"))
}

/// A text argument of a tool, without building the others.
pub(crate) fn argument(input: &RawValue, name: &str) -> Option<String> {
    let arguments: BTreeMap<String, &RawValue> = serde_json::from_str(input.get()).ok()?;
    serde_json::from_str(arguments.get(name)?.get()).ok()
}

/// What the user wrote or did in a message, shortened, and whether anything is asked for in it: a command is where
/// something stands behind it, unless it is one of Claude Code's own.
fn topic_of(record: &Record<'_>) -> Option<(bool, String)> {
    if !matches!(record.class, Class::Prompt | Class::Command) {
        return None;
    }
    let is_task = |name: &str| name.starts_with('/') && !OWN_COMMANDS.contains(&name);
    let (mut is_asked, mut text) = (false, String::new());
    for block in &record.blocks {
        let words = match block {
            Block::Text(words) => {
                is_asked |= !is_in_a_tag(words);
                Cow::Borrowed(plan_in(words).unwrap_or(words))
            }
            Block::Act { name, args } if !name.starts_with('[') => {
                is_asked |= !args.is_empty() && is_task(name);
                Cow::Owned(command_line(name, args))
            }
            _ => continue,
        };
        text.push_str(&words);
        text.push(' ');
    }
    let topic = shortened(&text, TOPIC_CHARS_MAX);
    (!topic.is_empty()).then_some((is_asked, topic))
}

/// What a plan is called that Claude Code was given to carry out.
fn plan_in(words: &str) -> Option<&str> {
    let plan = words.strip_prefix(PLAN)?.trim_start();
    let called = plan.lines().next()?.trim_start_matches('#').trim();
    (!called.is_empty()).then_some(called)
}

/// Whether a text begins with a tag of several words, as programs give them and HTML does not: one that is not known
/// stands for what was asked only where nothing else does.
fn is_in_a_tag(words: &str) -> bool {
    let tag = words.trim_start().strip_prefix('<').and_then(|rest| rest.split(['>', ' ', '\n']).next());
    tag.is_some_and(|tag| {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        tag.chars().all(is_of_name) && tag.trim_matches(['-', '_']).contains(['-', '_'])
    })
}

/// On one line, at most so many characters, an ellipsis included where something was cut.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let mut short = String::new();
    let mut room = chars_max;
    for word in text.split_whitespace() {
        let space = (!short.is_empty()).then_some(' ');
        for c in space.into_iter().chain(word.chars().filter(|c| !c.is_control())) {
            if room == 0 {
                short.pop();
                short.push('…');
                return short;
            }
            short.push(c);
            room -= 1;
        }
    }
    short
}

/// The later one; of two of one time the one that comes later.
fn keep_last(slot: &mut Option<(i64, String)>, value: Option<(i64, String)>) {
    if value.is_some() && slot.as_ref().map(|(time, _)| time) <= value.as_ref().map(|(time, _)| time) {
        *slot = value;
    }
}

/// The earlier one; of two of one time the one that came earlier.
fn keep_first(slot: &mut Option<(i64, String)>, value: Option<(i64, String)>) {
    if let Some((time, _)) = &value
        && slot.as_ref().is_none_or(|(kept, _)| time < kept)
    {
        *slot = value;
    }
}

/// Titles have no time: the last one of whoever counts most.
fn keep_title(slot: &mut Option<(usize, String)>, value: Option<(usize, String)>) {
    if value.is_some() && slot.as_ref().map(|(giver, _)| giver) <= value.as_ref().map(|(giver, _)| giver) {
        *slot = value;
    }
}

/// Nothing is less than anything.
fn keep_max<T: PartialOrd>(slot: &mut Option<T>, value: Option<T>) {
    if *slot < value {
        *slot = value;
    }
}

fn keep_min<T: PartialOrd>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() && (slot.is_none() || value < *slot) {
        *slot = value;
    }
}

/// Drops the entries that were touched longest ago. What is dropped can only come back with a
/// later time, so the order in which entries come does not matter.
fn keep_latest(list: &mut BTreeMap<String, i64>, max: usize) {
    if list.len() <= max {
        return;
    }
    let mut times: Vec<(i64, String)> = list.iter().map(|(name, time)| (*time, name.clone())).collect();
    times.sort_unstable();
    for (_, name) in times.iter().take(list.len() - max) {
        list.remove(name);
    }
}

fn in_order(list: BTreeMap<String, i64>) -> Vec<String> {
    let mut entries: Vec<(i64, String)> = list.into_iter().map(|(name, time)| (time, name)).collect();
    entries.sort_unstable();
    entries.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::record::with_record;

    fn tally(lines: &[String]) -> SessionStats {
        let mut tally = SessionStats::default();
        for line in lines {
            with_record(line.as_bytes(), |record| tally.add(record, record.timestamp_ms.unwrap_or(0))).unwrap();
        }
        tally.prune();
        tally
    }

    fn tool(second: usize, name: &str, input: &str) -> String {
        format!(
            r#"{{"type":"assistant","timestamp":"2026-11-22T{:02}:{:02}:{:02}Z","message":{{"content":[{{"type":"tool_use","name":"{name}","input":{input}}}]}}}}"#,
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }

    fn prompt(second: usize, text: &str) -> String {
        format!(
            r#"{{"type":"user","timestamp":"2026-11-22T00:00:{second:02}Z","cwd":"/w{second}","gitBranch":"b{second}","message":{{"content":"{text}"}}}}"#
        )
    }

    #[test]
    fn metadata_says_what_happened() {
        let lines = [
            prompt(1, "first\\n  topic"),
            tool(2, "Read", r#"{"file_path":"/r"}"#),
            tool(3, "Edit", r#"{"file_path":"/b","old_string":"x"}"#),
            tool(4, "Write", r#"{"file_path":"/a","content":"x"}"#),
            tool(5, "Edit", r#"{"file_path":"/b"}"#),
            tool(6, "NotebookEdit", r#"{"notebook_path":"/n"}"#),
            tool(7, "Bash", r#"{"command":"cargo\n  test"}"#),
            prompt(8, "<command-name>/exit</command-name>"),
            prompt(9, "last topic"),
            r#"{"type":"ai-title","aiTitle":"made up"}"#.to_owned(),
            r#"{"type":"custom-title","customTitle":"given"}"#.to_owned(),
            r#"{"type":"ai-title","aiTitle":"made up again"}"#.to_owned(),
        ];
        let metadata = tally(&lines).to_metadata();
        let expected = Metadata {
            cwd: Some("/w9".into()),
            directory: Some("/w1".into()),
            timestamp_start: Some("2026-11-22T00:00:01.000Z".into()),
            timestamp_end: Some("2026-11-22T00:00:09.000Z".into()),
            git_branch: Some("b9".into()),
            title: Some("given".into()),
            edited_files: vec!["/a".into(), "/b".into(), "/n".into()],
            read_files: vec!["/r".into()],
            bash_commands: vec!["cargo test".into()],
            tool_counts: [("Bash", 1), ("Edit", 2), ("NotebookEdit", 1), ("Read", 1), ("Write", 1)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            first_topic: Some("first topic".into()),
            last_topic: Some("last topic".into()),
            ..Metadata::default()
        };
        assert_eq!(metadata, expected);
    }

    #[test]
    fn the_order_of_messages_does_not_matter() {
        let mut lines: Vec<String> =
            (0..3000).map(|n| tool(n, "Edit", &format!(r#"{{"file_path":"/{}"}}"#, n % 1700))).collect();
        lines.extend((0..500).map(|n| tool(n, "Bash", &format!(r#"{{"command":"run {n}"}}"#))));
        lines.extend((0..9).map(|n| prompt(n, &format!("topic {n}"))));
        let forwards = tally(&lines);
        lines.reverse();
        assert_eq!(tally(&lines), forwards);
        let middle = lines.len() / 2;
        lines.rotate_left(middle);
        assert_eq!(tally(&lines), forwards);
        assert_eq!((forwards.edited.len(), forwards.commands.len()), (FILES_MAX, COMMANDS_MAX));
    }

    #[test]
    fn tallies_of_parts_make_that_of_the_whole() {
        let mut lines: Vec<String> =
            (0..2500).map(|n| tool(n, "Read", &format!(r#"{{"file_path":"/{}"}}"#, n % 1700))).collect();
        lines.extend((0..9).map(|n| prompt(n, &format!("topic {n}"))));
        lines.push(prompt(10, "<command-name>/exit</command-name>"));
        lines.push(r#"{"type":"custom-title","customTitle":"given"}"#.to_owned());
        let mut merged = SessionStats::default();
        lines.iter().for_each(|line| merged.merge(&tally(std::slice::from_ref(line))));
        merged.prune();
        assert_eq!(merged, tally(&lines));
        assert_eq!(merged.read.len(), FILES_MAX);
    }

    #[test]
    fn a_slash_command_is_the_topic_where_nothing_was_asked() {
        let command = "<command-name>/compact</command-name> <command-args>keep the names</command-args>";
        let metadata = tally(&[prompt(1, command)]).to_metadata();
        assert_eq!(metadata.first_topic.as_deref(), Some("/compact keep the names"));
    }

    #[test]
    fn a_title_that_sums_up_what_is_there_is_the_title_and_one_of_another_session_is_not() {
        let summary = |text: &str| format!(r#"{{"type":"summary","summary":"{text}","leafUuid":"u"}}"#);
        let title = |lines: &[String]| {
            let mut merged = SessionStats::default();
            lines.iter().for_each(|line| merged.merge(&tally(std::slice::from_ref(line))));
            assert_eq!(merged.to_metadata().title, tally(lines).to_metadata().title);
            merged.to_metadata().title.unwrap_or_default()
        };
        assert_eq!(title(&[summary("of another"), summary("of a third"), prompt(1, "hello")]), "");
        assert_eq!(title(&[summary("of another"), prompt(1, "hello"), summary("old"), summary("robots")]), "robots");
        let given = r#"{"type":"ai-title","aiTitle":"made up"}"#.to_owned();
        assert_eq!(title(&[prompt(1, "hello"), given, summary("robots")]), "made up");
    }

    #[test]
    fn a_plan_is_called_as_it_calls_itself_and_an_agents_session_by_its_agent() {
        let plan = prompt(1, "Implement the following plan:\\n\\n# Fix the parser\\n\\n## Context");
        assert_eq!(tally(&[plan]).to_metadata().first_topic.as_deref(), Some("Fix the parser"));
        let nothing = prompt(1, "Implement the following plan:");
        assert_eq!(tally(&[nothing]).to_metadata().first_topic.as_deref(), Some("Implement the following plan:"));
        let of_agent = |content: &str| {
            format!(
                r#"{{"type":"user","timestamp":"2026-11-22T00:00:01Z","agentName":"lint","teamName":"hardening","message":{{"content":"{content}"}}}}"#
            )
        };
        let mail = "<teammate-message teammate_id=\\\"lead\\\">do it</teammate-message>";
        let metadata = tally(&[of_agent(mail)]).to_metadata();
        assert_eq!((metadata.title, metadata.first_topic.as_deref()), (None, Some("lint (hardening)")));
        assert_eq!(tally(&[of_agent("hello")]).to_metadata().first_topic.as_deref(), Some("hello"));
    }

    #[test]
    fn no_topic_is_made_of_a_document() {
        let line = r#"{"type":"user","uuid":"u","timestamp":"2026-11-22T10:00:00.000Z","message":{"content":[{"type":"document","source":{"type":"text","data":"chapter one"}},{"type":"text","text":"what is it about?"}]}}"#;
        let metadata = tally(&[format!("{line}\n")]).to_metadata();
        assert_eq!(metadata.first_topic.as_deref(), Some("what is it about?"));
    }

    #[test]
    fn a_beginning_is_found_without_the_rest() {
        let counted = BTreeMap::from([("first_prompt".to_owned(), 7), ("\"first_prompt\":[1,\"x\"]".to_owned(), 8)]);
        let told = |text: &str| Some((5, text.to_owned()));
        let stats = SessionStats { edited: counted, of_team: Some("builders".to_owned()), ..SessionStats::default() };
        let check = |stats: &SessionStats, expected: Option<&str>| {
            let json = serde_json::to_string(stats).unwrap();
            assert_eq!(SessionStats::beginning(&json).as_deref(), expected, "{json}");
        };
        check(&SessionStats::default(), None);
        check(&stats, Some("builders"));
        let stats = SessionStats { first_command: told("/review"), ..stats };
        check(&stats, Some("/review"));
        check(&SessionStats { first_prompt: told("say \"hello\"\n日本"), ..stats }, Some("say \"hello\"\n日本"));
    }

    #[test]
    fn topics_are_cut_at_characters() {
        assert_eq!(shortened(&"é".repeat(300), 200), format!("{}…", "é".repeat(199)));
        assert_eq!(shortened(&"é".repeat(200), 200), "é".repeat(200));
        assert_eq!(shortened(" a\n\tb\u{1b} ", 200), "a b");
    }

    #[test]
    fn of_messages_of_one_time_the_order_in_the_file_counts() {
        let lines = [prompt(1, "zebra"), prompt(1, "lion"), prompt(1, "aardvark")];
        let metadata = tally(&lines).to_metadata();
        assert_eq!([metadata.first_topic, metadata.last_topic], [Some("zebra".into()), Some("aardvark".into())]);
    }

    #[test]
    fn topics_are_what_was_asked() {
        let command = |name: &str, args: &str| {
            format!(
                "<command-message>x is running…</command-message>\\n<command-name>{name}</command-name>\\n<command-args>{args}</command-args>"
            )
        };
        let check = |prompts: &[&str], expected: Option<&str>| {
            let lines: Vec<String> = prompts.iter().enumerate().map(|(n, text)| prompt(n, text)).collect();
            assert_eq!(tally(&lines).to_metadata().first_topic.as_deref(), expected, "{prompts:?}");
        };
        check(&[&command("/orchestrate", "build it"), "thanks!"], Some("/orchestrate build it"));
        for unknown in ["<new-report>it failed</new-report>", "<task-notification>\\n<result>it is cut"] {
            check(&[unknown, "repair it"], Some("repair it"));
            check(&[unknown], Some(&unknown.replace("\\n", " ")));
        }
        check(&["<div>it</div> is broken", "repair it"], Some("<div>it</div> is broken"));
        for skipped in ["/clear", "/effort", "/model", "/my-skill"] {
            check(&[&command(skipped, ""), "repair it"], Some("repair it"));
        }
        check(&[&command("/model", "opus"), "repair it"], Some("repair it"));
        check(&[&command("/model", "opus")], Some("/model opus"));
        check(&["<bash-input>ls</bash-input>", "repair it"], Some("repair it"));
        check(&["<ide_selection>lines 1 to 2</ide_selection>\\nexplain this"], Some("explain this"));
        check(&["<system-reminder>be brief</system-reminder>", "[Request interrupted by user]"], None);
        check(&["<task-notification><result>x</result></task-notification>", "go on"], Some("go on"));
    }

    #[test]
    fn the_newest_name_of_the_one_who_counts_most_is_the_title() {
        let record = |kind: &str, key: &str, name: &str| format!(r#"{{"type":"{kind}","{key}":"{name}"}}"#);
        let (given, made_up) =
            (|name| record("custom-title", "customTitle", name), |name| record("ai-title", "aiTitle", name));
        let agent = |name| record("agent-name", "agentName", name);
        let beside = |name: &str| format!(r#"{{"customTitle":"{name}"}}"#);
        let check = |lines: &[String], expected: &str| {
            assert_eq!(tally(lines).to_metadata().title.as_deref(), Some(expected), "{lines:?}");
        };
        check(&[agent("a")], "a");
        check(&[made_up("z"), made_up("b"), agent("c")], "b");
        check(&[given("z"), given("b"), made_up("c")], "b");
        check(&[given("b"), given("a"), given("b")], "b");
        check(&[beside("z"), beside("a"), given("b"), given("")], "a");
    }
}
