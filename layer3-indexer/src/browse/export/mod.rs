//! A conversation as one file to read or to give to somebody: Markdown, or an HTML page that
//! needs no network and no scripts.
//!
//! The bytes are checked against their recorded hash first; a transcript that no store has
//! unharmed is not exported. The page is written while the transcript is read, record by record,
//! so memory does not grow with it (8 bytes a message, to leave out what comes again). Whatever is
//! left out is said in the page. Everything in a transcript is hostile: see `text`.

mod arguments;
mod html;
mod markdown;
mod renderer;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use layer1_prebackup::claude::side_files::BESIDE;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::fs::{self, Existing};
use layer1_prebackup::names::{FileName, StoredName};
use serde::{Deserialize, Serialize};

use crate::browse::title::side_title;
use crate::failure::{Context, Failure, Kind};
use crate::stores::{Copy, SessionCopies};
use crate::terminal;
use crate::terminal::time::{Clock, format_rfc3339_ms, parse_rfc3339_ms};
use crate::transcript::course::Course;
use crate::transcript::metadata::{Metadata, Order, SessionStats};
use crate::transcript::record::{self, Block, Class, Located, Record, TornLine, command_line};
use crate::transcript::redact::{Redactor, in_words};
use arguments::arguments;
use renderer::{Header, MessageHeader, Part, Renderer, Speaker};
use text::{Sanitized, Sanitizer};

/// Subagents of subagents are shown within them down to here, deeper ones at the end.
const DEPTH_MAX: usize = 6;
/// Files named in the table.
const FILES_NAMED_MAX: usize = 30;
/// Longest value in the table, and longest title, in characters.
const VALUE_CHARS_MAX: usize = 300;
/// Longest description of a subagent that is read, in bytes of its `.meta.json`.
const META_BYTES_MAX: u64 = 64 * 1024;
/// Calls whose results have not come yet, and whose tool is remembered.
const OPEN_CALLS_MAX: usize = 1000;
/// What fails when the page cannot be written.
const WRITING: &str = "write the export";

/// What a page is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Markdown
    #[value(name = "md")]
    Markdown,
    /// One HTML page that needs no network and no scripts
    Html,
}

/// What to export and how.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// In what.
    pub(crate) format: Format,
    /// Whether secrets are masked.
    pub(crate) redact: bool,
    /// Whether outputs of tools longer than `OUTPUT_CHARS_MAX` are written whole, and what Claude Code told the model too.
    pub(crate) full: bool,
    /// Which content of the transcript, 0 being the newest; side files are always the newest.
    pub(crate) generation: u32,
    /// How points in time are told.
    pub(crate) clock: Clock,
}

/// What was exported.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exported {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// In what.
    pub(crate) format: Format,
    /// Messages written, those of subagents included.
    pub(crate) messages: u64,
    /// Transcripts of subagents written.
    pub(crate) subagents: u64,
    /// Secrets masked; none were looked for if there is no number.
    pub(crate) masked: Option<u64>,
    /// How many of which kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) masked_kinds: BTreeMap<&'static str, u64>,
    /// Outputs that were cut for their length.
    pub(crate) cut: u64,
    /// The file written, if one was.
    pub(crate) path: Option<String>,
    /// Its length.
    pub(crate) bytes: Option<u64>,
    /// Its BLAKE3.
    pub(crate) blake3: Option<String>,
    /// What to know about the copies that were read.
    pub(crate) notes: Vec<String>,
    /// Transcripts of subagents that could not be exported; the page says so where they belong.
    pub(crate) problems: Vec<String>,
}

/// Writes the session to `out` as it is read.
pub(crate) fn export(copies: &SessionCopies, options: &Options, out: &mut dyn Write) -> Result<Exported, Failure> {
    let name = copies.transcript(options.generation)?;
    let whole = (options.generation == 0).then(|| copies.across()).flatten();
    let mut content = match whole {
        Some(whole) => whole,
        None => {
            let mut content = copies.get(&name)?;
            content.notes.extend((options.generation == 0).then(|| copies.loss_note()).flatten());
            content
        }
    };
    let mut redactor = options.redact.then(Redactor::default);
    let survey = Survey::of(&mut content, &mut redactor)?;
    if let Some(redactor) = &mut redactor {
        learn_of_subagents(copies, redactor);
    }
    let mut sanitizer = Sanitizer { redactor, full: options.full, cut: 0 };
    let out = BufWriter::new(out);
    let header = header(copies, &content, &survey, options, &mut sanitizer);
    let renderer: Box<dyn Renderer + '_> = match options.format {
        Format::Html => Box::new(html::Html::new(out)),
        Format::Markdown => Box::new(markdown::Markdown::new(out)),
    };
    let mut export = Export {
        copies,
        subagents: Subagents::of(copies),
        renderer,
        clock: options.clock,
        sanitizer,
        seen: HashSet::new(),
        calls: BTreeMap::new(),
        anchors: 0,
        last_speaker: None,
        left_out: LeftOut::default(),
        rewound: 0,
        exported: Exported {
            session_id: copies.key.id.to_string(),
            project: copies.key.project.to_string(),
            format: options.format,
            messages: 0,
            subagents: 0,
            masked: None,
            masked_kinds: BTreeMap::new(),
            cut: 0,
            path: None,
            bytes: None,
            blake3: None,
            notes: copies.notes.iter().chain(&content.notes).cloned().collect(),
            problems: Vec::new(),
        },
    };
    export.renderer.begin(&header).context(WRITING)?;
    export.transcript(&mut content, 0)?;
    export.rest_of_subagents()?;
    export.finish()
}

/// [`export`] into a file of its own: new unless `force` is given, mode 0600, durable. Nothing
/// appears there unless all of it was written.
pub(crate) fn export_to_file(
    copies: &SessionCopies,
    options: &Options,
    path: &Path,
    force: bool,
) -> Result<Exported, Failure> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => {
            return Err(Failure::new(format!("write {}: it is there and is not a regular file", path.display())));
        }
        Ok(_) if !force => return Err(exists(path)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context(format_args!("look up {}", path.display()));
        }
        _ => {}
    }
    let existing = if force { Existing::Replaced } else { Existing::Refused };
    let written = fs::write_file(path, existing, |out| export(copies, options, out));
    let (mut exported, bytes, blake3) =
        written.map_err(|failure| if failure.is(Kind::Exists) { exists(path) } else { failure })?;
    exported.path = Some(path.display().to_string());
    exported.bytes = Some(bytes);
    exported.blake3 = Some(blake3.to_hex().to_string());
    Ok(exported)
}

fn exists(path: &Path) -> Failure {
    Failure::new(format!("write {}: it exists", path.display())).of(Kind::Exists).hint("--force replaces it")
}

/// What a first pass over the transcript learns for the table.
struct Survey {
    metadata: Metadata,
    version: Option<String>,
}

impl Survey {
    fn of(content: &mut Copy, redactor: &mut Option<Redactor>) -> Result<Survey, Failure> {
        let mut tally = SessionStats::default();
        let (mut version, mut order) = (None, Order::default());
        each_record(content, &mut |located| {
            let record = &located.record;
            tally.add(record, order.next_ms(record));
            if let Some(redactor) = redactor {
                record.each_text(|text| redactor.learn(text));
            }
            if let Some(of_record) = &record.version {
                version = Some(of_record.to_string());
            }
            ControlFlow::Continue(())
        })?;
        Ok(Survey { metadata: tally.to_metadata(), version })
    }
}

/// What stands under the name of a secret in a subagent's transcript is one in all of them.
fn learn_of_subagents(copies: &SessionCopies, redactor: &mut Redactor) {
    for name in copies.names().into_iter().filter(|name| name.generation == 0) {
        let is_transcript =
            matches!(&name.file, FileName::Side(rel) if rel.extension().is_some_and(|ext| ext == "jsonl"));
        // What cannot be read now is told where it is to be written.
        let Some(mut content) = is_transcript.then(|| copies.get(&name).ok()).flatten() else { continue };
        let _ = each_record(&mut content, &mut |located| {
            located.record.each_text(|text| redactor.learn(text));
            ControlFlow::Continue(())
        });
    }
}

fn each_record(
    content: &mut Copy,
    each: &mut dyn FnMut(Located<'_>) -> ControlFlow<()>,
) -> Result<record::ReadReport, Failure> {
    let path = content.at.path.clone();
    let read = content.read().and_then(|bytes| record::read_records(bytes, 0, TornLine::Final, each));
    read.context(format_args!("read {}", path.display()))
}

fn header(
    copies: &SessionCopies,
    content: &Copy,
    survey: &Survey,
    options: &Options,
    sanitizer: &mut Sanitizer,
) -> Header {
    let key = &copies.key;
    let metadata = &survey.metadata;
    let id = format!("{}/{}", key.project, key.id);
    let labels = copies.labels();
    let named = side_title(copies).filter(|_| options.generation == 0);
    let named = labels.name().map(str::to_owned).or(named);
    let tags: Vec<String> = labels.tags().map(|tag| format!("#{tag}")).collect();
    let title = named.as_deref().or(metadata.title.as_deref()).or(metadata.first_topic.as_deref()).unwrap_or(&id);
    let mut rows: Vec<(&'static str, Vec<Sanitized<'static>>)> = Vec::new();
    let mut row = |name: &'static str, values: Vec<Option<&str>>| {
        let values = values.into_iter().flatten().filter(|value| !value.trim().is_empty());
        let values: Vec<_> = values.map(|value| sanitizer.clean(value).headline(VALUE_CHARS_MAX)).collect();
        if !values.is_empty() {
            rows.push((name, values));
        }
    };
    row("Session", vec![Some(&id)]);
    row("Tags", tags.iter().map(|tag| Some(tag.as_str())).collect());
    row("Note", vec![labels.note()]);
    let older = format!("generation {}: an older content of the transcript", options.generation);
    row("Content", vec![Some(older.as_str()).filter(|_| options.generation > 0)]);
    let time = |time: &Option<String>| Some(options.clock.exact(parse_rfc3339_ms(time.as_ref()?)?));
    row("Start", vec![time(&metadata.timestamp_start).as_deref()]);
    row("End", vec![time(&metadata.timestamp_end).as_deref()]);
    row("Directory", vec![metadata.cwd.as_deref()]);
    row("Branch", vec![metadata.git_branch.as_deref().filter(|branch| *branch != "HEAD")]);
    row("Claude Code", vec![survey.version.as_deref()]);
    let edited = &metadata.edited_files;
    let more = format!("and {} more", edited.len().saturating_sub(FILES_NAMED_MAX));
    let latest = edited.iter().rev().take(FILES_NAMED_MAX).map(|file| Some(file.as_str()));
    let more = Some(more.as_str()).filter(|_| edited.len() > FILES_NAMED_MAX);
    row("Edited files", latest.chain([more]).collect());
    row("First topic", vec![metadata.first_topic.as_deref()]);
    row("Last topic", vec![metadata.last_topic.as_deref().filter(|_| metadata.last_topic != metadata.first_topic)]);
    row("Fork of", vec![metadata.forked_from.as_deref()]);
    row("Continued in", vec![metadata.continued_in.as_deref()]);
    let size = Size(content.at.bytes).to_string();
    row("Transcript", vec![Some(&size)]);
    if options.redact {
        row("Secrets", vec![Some("masked where they were recognised by their form")]);
    }
    let warnings = copies.notes.iter().chain(&content.notes).map(|note| sanitizer.clean(note).into_owned()).collect();
    Header { title: sanitizer.clean(title).headline(VALUE_CHARS_MAX), rows, warnings }
}

/// Transcripts of subagents that were not written yet.
#[derive(Default)]
struct Subagents {
    /// By the id of the call that started them.
    called: BTreeMap<String, Vec<Subagent>>,
    others: Vec<Subagent>,
}

struct Subagent {
    name: StoredName,
    /// Its kind and task, as its side file says them; else its file's name.
    title: String,
}

/// `agent-….meta.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SubagentMeta {
    agent_type: Option<String>,
    description: Option<String>,
    tool_use_id: Option<String>,
}

impl Subagents {
    fn of(copies: &SessionCopies) -> Subagents {
        let mut subagents = Subagents::default();
        for name in copies.names().into_iter().filter(|name| name.generation == 0) {
            let FileName::Side(rel) = &name.file else { continue };
            // Earlier versions of Claude Code kept them beside the transcript.
            let is_old = rel.strip_prefix(BESIDE).is_ok_and(|name| name.to_string_lossy().starts_with("agent-"));
            if !(is_old || rel.starts_with("subagents")) || rel.extension().is_none_or(|ext| ext != "jsonl") {
                continue;
            }
            let meta = subagent_meta(copies, rel);
            let words: Vec<String> = [meta.agent_type, meta.description].into_iter().flatten().collect();
            let stem = rel.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let title = if words.is_empty() { stem } else { words.join(": ") };
            let subagent = Subagent { title, name: name.clone() };
            match meta.tool_use_id {
                Some(id) => subagents.called.entry(id).or_default().push(subagent),
                None => subagents.others.push(subagent),
            }
        }
        subagents
    }
}

/// Only for a title and a place: without it, or where it is damaged, the transcript comes at the end.
fn subagent_meta(copies: &SessionCopies, rel: &Path) -> SubagentMeta {
    let name = StoredName::newest(FileName::Side(rel.with_extension("meta.json")));
    let Ok(mut content) = copies.get(&name) else { return SubagentMeta::default() };
    let mut bytes = Vec::new();
    let read = content.read().and_then(|reader| reader.take(META_BYTES_MAX).read_to_end(&mut bytes));
    read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Records that are not in the page.
#[derive(Default)]
struct LeftOut {
    reminders: u64,
    bookkeeping: u64,
    unknown: BTreeMap<String, u64>,
    unparsable: u64,
    repeated: u64,
}

struct Export<'a> {
    copies: &'a SessionCopies,
    subagents: Subagents,
    renderer: Box<dyn Renderer + 'a>,
    clock: Clock,
    sanitizer: Sanitizer,
    /// Fingerprints of the messages written.
    seen: HashSet<u64>,
    /// Tools of calls without result, by id.
    calls: BTreeMap<String, Sanitized<'static>>,
    anchors: u64,
    /// Who spoke last, and whether that was rewound.
    last_speaker: Option<(Speaker, bool)>,
    left_out: LeftOut,
    rewound: u64,
    exported: Exported,
}

impl Export<'_> {
    fn transcript(&mut self, content: &mut Copy, depth: usize) -> Result<(), Failure> {
        let mut failed = None;
        let course = content.read().and_then(Course::of);
        let course = course.context(format_args!("read {}", content.at.path.display()))?;
        let report = each_record(content, &mut |located| {
            if course.comes_again(&located) {
                return ControlFlow::Continue(());
            }
            match self.record(&located.record, course.is_rewound(&located.record), depth) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.left_out.unparsable += report.unparsable;
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>, is_rewound: bool, depth: usize) -> Result<(), Failure> {
        let Some(speaker) = Speaker::of(record.class) else {
            self.left_out.bookkeeping += 1;
            return Ok(());
        };
        let full = self.sanitizer.full;
        let blocks: Vec<&Block<'_>> = record.blocks.iter().filter(|block| is_written(block, full)).collect();
        let is_notice = |block: &Block<'_>| matches!(block, Block::Notice { .. }) && !is_empty(block);
        let notices = record.blocks.iter().any(|block| is_notice(block) && !is_written(block, full));
        self.left_out.reminders += u64::from(notices || (record.class == Class::Meta && blocks.is_empty()));
        if blocks.is_empty() {
            if record.class == Class::Unknown {
                *self.left_out.unknown.entry(record.kind.clone().into_owned()).or_default() += 1;
            }
            return Ok(());
        }
        if !self.seen.insert(record.fingerprint()) {
            self.left_out.repeated += 1;
            return Ok(());
        }
        let this = Some((speaker, is_rewound));
        let goes_on = speaker == Speaker::Tool || (speaker == Speaker::Claude && self.last_speaker == this);
        if speaker != Speaker::Tool {
            self.last_speaker = this;
        }
        let time = record.timestamp_ms.map(|ms| times(self.clock, ms));
        let header = MessageHeader { speaker, anchor: self.anchor(record), time, goes_on, is_rewound };
        self.renderer.begin_message(&header).context(WRITING)?;
        for block in blocks {
            self.block(block, record, depth)?;
        }
        self.renderer.end_message().context(WRITING)?;
        self.exported.messages += 1;
        self.rewound += u64::from(is_rewound);
        Ok(())
    }

    fn block(&mut self, block: &Block<'_>, record: &Record<'_>, depth: usize) -> Result<(), Failure> {
        let Export { renderer, sanitizer, .. } = self;
        let command;
        let part = match block {
            Block::Text(text) if record.class == Class::Summary => Part::Summary(sanitizer.clean(text)),
            Block::Text(text) if record.class == Class::Unknown => {
                let kind = sanitizer.clean(record.subtype.as_deref().unwrap_or(&record.kind));
                Part::Notice { kind, text: sanitizer.clean(text) }
            }
            Block::Text(text) => Part::Prose(sanitizer.clean(text)),
            Block::Notice { tag, text, .. } => {
                let kind = sanitizer.clean(if tag.is_empty() { "notice" } else { tag });
                Part::Notice { kind, text: sanitizer.clean(text) }
            }
            Block::Act { name, args } => {
                command = command_line(name, args);
                Part::Prose(sanitizer.clean(&command))
            }
            Block::Output(text) => Part::Output(sanitizer.clean(text)),
            Block::Agent { from, text } => {
                if let Some(from) = from {
                    renderer.part(&Part::Prose(sanitizer.clean(from)), sanitizer).context(WRITING)?;
                }
                Part::Prose(sanitizer.clean(text))
            }
            Block::Thinking(text) => Part::Thinking(sanitizer.clean(text)),
            Block::ToolUse { name, id, input } => {
                let tool = sanitizer.clean(name).into_owned();
                let arguments = input.map(|input| arguments(input, sanitizer)).unwrap_or_default();
                let part = Part::Call { tool: &tool, arguments: &arguments };
                renderer.part(&part, sanitizer).context(WRITING)?;
                return id.as_ref().map_or(Ok(()), |id| self.called(id, tool, depth));
            }
            Block::ToolResult { id, text, is_error } => {
                let tool = id.as_deref().and_then(|id| self.calls.remove(id));
                Part::Result { tool, text: sanitizer.clean(text), is_error: *is_error }
            }
            Block::Other(kind) => Part::Other(sanitizer.clean(kind)),
        };
        renderer.part(&part, sanitizer).context(WRITING)
    }

    /// Remembers the call for its result, and writes what it started.
    fn called(&mut self, id: &str, tool: Sanitized<'static>, depth: usize) -> Result<(), Failure> {
        if self.calls.len() >= OPEN_CALLS_MAX {
            // Results of calls that were interrupted never come.
            self.calls.clear();
        }
        self.calls.insert(id.to_owned(), tool);
        if depth >= DEPTH_MAX || !self.renderer.nests() {
            return Ok(());
        }
        for subagent in self.subagents.called.remove(id).unwrap_or_default() {
            self.subagent(&subagent, depth + 1)?;
        }
        Ok(())
    }

    /// Those that no call was found for, or that were too deep.
    fn rest_of_subagents(&mut self) -> Result<(), Failure> {
        loop {
            let mut rest: Vec<Subagent> = std::mem::take(&mut self.subagents.called).into_values().flatten().collect();
            rest.append(&mut self.subagents.others);
            if rest.is_empty() {
                return Ok(());
            }
            // Each may start others, which are then no longer waiting.
            for subagent in rest {
                self.subagent(&subagent, DEPTH_MAX)?;
            }
        }
    }

    fn subagent(&mut self, subagent: &Subagent, depth: usize) -> Result<(), Failure> {
        let title = self.sanitizer.clean(&subagent.title).headline(VALUE_CHARS_MAX);
        self.renderer.begin_subagent(&title).context(WRITING)?;
        let before = self.last_speaker.take();
        match self.copies.get(&subagent.name) {
            Ok(mut content) => {
                for note in std::mem::take(&mut content.notes) {
                    self.renderer.remark(&self.sanitizer.clean(&note)).context(WRITING)?;
                    self.exported.notes.push(note);
                }
                self.transcript(&mut content, depth)?;
                self.exported.subagents += 1;
            }
            Err(error) if error.is(Kind::Damaged) => {
                let problem = format!("The transcript of this subagent is left out: failed to {error}");
                self.renderer.remark(&self.sanitizer.clean(&problem)).context(WRITING)?;
                self.exported.problems.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
        self.last_speaker = before;
        self.renderer.end_subagent().context(WRITING)
    }

    /// The uuid, by which search and `show --around` name messages, where it is fit for a link.
    fn anchor(&mut self, record: &Record<'_>) -> String {
        self.anchors += 1;
        let fits = |uuid: &&str| {
            (1..=64).contains(&uuid.len()) && uuid.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        match record.uuid.as_deref().filter(fits) {
            Some(uuid)
                if self.sanitizer.clean(uuid).as_str() == uuid && self.seen.insert(hash_of(&("anchor", uuid))) =>
            {
                format!("m-{uuid}")
            }
            _ => format!("n-{}", self.anchors),
        }
    }

    fn finish(mut self) -> Result<Exported, Failure> {
        self.exported.cut = self.sanitizer.cut;
        let mut remarks = vec![format!(
            "{}, exported by Threefold from a verified backup.",
            terminal::count(self.exported.messages, "message")
        )];
        let left_out = &self.left_out;
        let unknown: u64 = left_out.unknown.values().sum();
        let kinds: Vec<&str> = left_out.unknown.keys().take(10).map(String::as_str).collect();
        let counts = [
            (left_out.reminders, "reminders of Claude Code to the model, which the option --full writes".to_owned()),
            (left_out.bookkeeping, "records of bookkeeping".to_owned()),
            (left_out.repeated, "messages that came again".to_owned()),
            (unknown, format!("records of types unknown here: {}", kinds.join(", "))),
            (left_out.unparsable, "damaged pieces that could not be read".to_owned()),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(count, what)| format!("{what} ({count})")).collect();
        if !counts.is_empty() {
            remarks.push(format!("Left out: {}.", counts.join("; ")));
        }
        if self.rewound > 0 {
            let rewound = terminal::count(self.rewound, "message");
            remarks.push(format!("{rewound} marked as rewound: the conversation went on without them."));
        }
        if self.sanitizer.cut > 0 {
            remarks.push(format!(
                "{} shortened; the option --full writes them whole.",
                terminal::count(self.sanitizer.cut, "long tool text")
            ));
        }
        let masked = self.sanitizer.redactor.as_ref().map(Redactor::counts).cloned();
        let remarks: Vec<Sanitized<'static>> =
            remarks.iter().map(|remark| self.sanitizer.clean(remark).into_owned()).collect();
        let mut remarks = remarks;
        if let Some(masked) = masked {
            remarks.push(self.sanitizer.clean(&in_words(&masked)).into_owned());
            self.exported.masked = Some(masked.values().sum());
            self.exported.masked_kinds = masked;
        }
        self.renderer.end(&remarks).context(WRITING)?;
        Ok(self.exported)
    }
}

fn is_empty(block: &Block<'_>) -> bool {
    match block {
        Block::Text(text)
        | Block::Thinking(text)
        | Block::Output(text)
        | Block::Notice { text, .. }
        | Block::Agent { text, .. } => text.trim().is_empty(),
        Block::Act { name, args } => name.is_empty() && args.is_empty(),
        _ => false,
    }
}

/// Reminders are for the model; one among words may have been typed.
fn is_written(block: &Block<'_>, full: bool) -> bool {
    !is_empty(block) && (full || !matches!(block, Block::Notice { is_among_words: false, .. }))
}

fn times(clock: Clock, ms: i64) -> (String, String) {
    let seconds = clock.exact(ms);
    // The page says at its head that it is in UTC.
    (seconds.strip_suffix(" UTC").unwrap_or(&seconds).to_owned(), format_rfc3339_ms(ms))
}

fn hash_of(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
