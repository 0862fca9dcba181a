//! A conversation as one file to read or to give to somebody: Markdown, or an HTML page that
//! needs no network and no scripts.
//!
//! The bytes are checked against their recorded hash first; a transcript that no store has
//! unharmed is not exported. The page is written while the transcript is read, record by record,
//! so memory does not grow with it (8 bytes a message, to leave out what comes again). Whatever is
//! left out is said in the page. Everything in a transcript is hostile: see `text`.

mod answers;
mod call;
mod diff;
mod head;
mod html;
mod markdown;
mod marks;
mod options;
mod page;
mod pictures;
mod prose;
mod renderer;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use layer1_prebackup::fs::{self, Existing};
use layer1_prebackup::names::StoredName;

use crate::browse::outputs::Outputs;
use crate::browse::subagents::{Subagent, Subagents};
use crate::failure::{Context, Failure, Kind};
use crate::stores::{Copy, SessionCopies};
use crate::terminal;
use crate::terminal::time::{Clock, format_rfc3339_ms, parse_rfc3339_ms};
use crate::transcript::course::Course;
use crate::transcript::record::{Block, Class, LINE_BYTES_MAX, Record, Said, command_line, is_before_answers};
use crate::transcript::redact::{Redactor, in_words};
use answers::answers;
use call::Call;
use head::{Survey, VALUE_CHARS_MAX, each_record, header, learn_of_subagents};
pub(crate) use html::HEAD;
pub(crate) use options::{Exported, Format, Keep, Options};
pub(crate) use page::Page;
use pictures::Pictures;
use renderer::{MessageHeader, Part, Renderer, Speaker, Time};
use text::{Sanitized, Sanitizer};

/// Subagents of subagents are shown within them down to here, deeper ones at the end.
const DEPTH_MAX: usize = 6;
/// Calls whose results have not come yet, and whose tool is remembered.
const OPEN_CALLS_MAX: usize = 1000;
/// What fails when the page cannot be written.
const WRITING: &str = "write the export";

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
        reported: Subagents::of(copies),
        renderer,
        clock: options.clock,
        keep: &options.keep,
        cwd: survey.metadata.cwd,
        pictures: Pictures::new(match (options.pictures, options.redact) {
            (false, _) => Some("left out by --no-images"),
            // Nobody can look for a secret in it.
            (true, true) => Some("left out by --redact: what it shows cannot be masked"),
            (true, false) => None,
        }),
        sanitizer,
        seen: HashSet::new(),
        said: Said::default(),
        calls: BTreeMap::new(),
        outputs: Outputs::of(copies, options.full),
        anchors: 0,
        last_speaker: None,
        left_out: LeftOut::default(),
        rewound: 0,
        of_subagents: 0,
        exported: Exported {
            session_id: copies.key.id.to_string(),
            project: copies.key.project.to_string(),
            title: header.title.as_str().to_owned(),
            timestamp_end: survey.metadata.timestamp_end,
            format: options.format,
            messages: 0,
            subagents: 0,
            pictures: 0,
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
    export.rest_of_outputs()?;
    export.finish()
}

/// What Claude Code keeps of a tool's output in a file of its own, under the file's path; what is wrong with it is a problem.
fn kept_output(copies: &SessionCopies, name: &StoredName, problems: &mut Vec<String>) -> String {
    let path = name.to_text(&copies.key.id);
    let mut wrong = |problem: String| {
        problems.push(problem.clone());
        format!("{path}: {problem}")
    };
    let mut content = match copies.get(name) {
        Ok(content) => content,
        Err(failure) => return wrong(format!("failed to {failure}")),
    };
    let (bytes, mut read) = (content.at.bytes, Vec::new());
    if let Err(error) = content.read().and_then(|reader| reader.take(LINE_BYTES_MAX as u64).read_to_end(&mut read)) {
        return wrong(format!("failed to read {}: {error}", content.at.path.display()));
    }
    let text = String::from_utf8_lossy(&read);
    if bytes > read.len() as u64 {
        let cut = wrong(format!(
            "{} is too long for a page: its first {LINE_BYTES_MAX} bytes are written",
            name.to_text(&copies.key.id)
        ));
        return format!("{cut}\n{text}");
    }
    format!("{path}:\n{text}")
}

/// When something was said in it last, in milliseconds since 1970.
pub(crate) fn last_said_ms(copies: &SessionCopies) -> Result<Option<i64>, Failure> {
    let mut content = copies.get(&copies.transcript(0)?)?;
    let survey = Survey::of(&mut content, &mut None)?;
    Ok(survey.metadata.timestamp_end.as_deref().and_then(parse_rfc3339_ms))
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

/// Records that are not in the page.
#[derive(Default)]
struct LeftOut {
    reminders: u64,
    bookkeeping: u64,
    unknown: BTreeMap<String, u64>,
    unparsable: u64,
    repeated: u64,
    /// By the choice of roles.
    unwanted: u64,
}

struct Export<'a> {
    copies: &'a SessionCopies,
    subagents: Subagents,
    /// All of them.
    reported: Subagents,
    renderer: Box<dyn Renderer + 'a>,
    clock: Clock,
    keep: &'a Keep,
    cwd: Option<String>,
    pictures: Pictures,
    sanitizer: Sanitizer,
    /// Fingerprints of the messages written.
    seen: HashSet<u64>,
    said: Said,
    /// Tools of calls without result, by id.
    calls: BTreeMap<String, Sanitized<'static>>,
    outputs: Outputs,
    anchors: u64,
    /// Who spoke last, and whether that was rewound.
    last_speaker: Option<(Speaker, bool)>,
    left_out: LeftOut,
    rewound: u64,
    /// Messages that are subagents'.
    of_subagents: u64,
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
        let full = self.sanitizer.full;
        // In its own file, where that is kept, it stands better.
        let is_wanted = record.reported_of.as_deref().map(|agent| full && !self.reported.has(agent));
        let speaker = match is_wanted {
            None => Speaker::of(record.class),
            Some(is_wanted) => Speaker::of(Class::Agent).filter(|_| is_wanted),
        };
        let Some(speaker) = speaker else {
            self.left_out.bookkeeping += 1;
            return Ok(());
        };
        let mut blocks: Vec<&Block<'_>> = record.blocks.iter().filter(|block| is_written(block, full)).collect();
        let is_notice = |block: &Block<'_>| matches!(block, Block::Notice { .. }) && !is_empty(block);
        let notices = record.blocks.iter().any(|block| is_notice(block) && !is_written(block, full));
        self.left_out.reminders += u64::from(notices || (record.class == Class::Meta && blocks.is_empty()));
        if blocks.is_empty() {
            if record.class == Class::Unknown {
                *self.left_out.unknown.entry(record.kind.clone().into_owned()).or_default() += 1;
            }
            return Ok(());
        }
        if !self.said.is_new(&record.fingerprints()) {
            self.left_out.repeated += 1;
            return Ok(());
        }
        let all = blocks.len();
        blocks.retain(|block| self.keep.keeps(record, block));
        self.left_out.unwanted += (all - blocks.len()) as u64;
        if blocks.is_empty() {
            return Ok(());
        }
        let this = Some((speaker, is_rewound));
        let goes_on = speaker == Speaker::Tool || (speaker == Speaker::Claude && self.last_speaker == this);
        if speaker != Speaker::Tool {
            self.last_speaker = this;
        }
        let is_result = blocks.iter().all(|block| matches!(block, Block::ToolResult { .. }));
        let header = MessageHeader {
            speaker,
            anchor: self.anchor(record),
            time: record.timestamp_ms.map(|ms| time_of(self.clock, ms)),
            goes_on,
            is_result,
            is_rewound,
            is_prompt: record.class == Class::Prompt && !record.is_sidechain,
            cost: self.cost(record),
        };
        self.renderer.begin_message(&header).context(WRITING)?;
        for block in &blocks {
            self.block(block, record, depth)?;
        }
        self.renderer.end_message().context(WRITING)?;
        let count = if depth == 0 { &mut self.exported.messages } else { &mut self.of_subagents };
        *count += u64::from(record.is_shown());
        self.rewound += u64::from(is_rewound);
        self.named_in(&blocks, depth)
    }

    fn cost(&mut self, record: &Record<'_>) -> Option<Sanitized<'static>> {
        let spent = record.spent().map(|spent| spent.in_words());
        let words: Vec<String> = record.model.as_deref().map(str::to_owned).into_iter().chain(spent).collect();
        Some(self.sanitizer.clean(&words.join(" · ")).headline(VALUE_CHARS_MAX)).filter(|_| !words.is_empty())
    }

    /// Subagents of which only a result says where they belong.
    fn named_in(&mut self, blocks: &[&Block<'_>], depth: usize) -> Result<(), Failure> {
        if depth >= DEPTH_MAX || !self.renderer.nests() {
            return Ok(());
        }
        for block in blocks {
            let Block::ToolResult { text, .. } = block else { continue };
            if let Some(subagent) = self.subagents.named_in(text) {
                self.subagent(&subagent, depth + 1)?;
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &Block<'_>, record: &Record<'_>, depth: usize) -> Result<(), Failure> {
        let Export { renderer, sanitizer, pictures, .. } = self;
        let (command, said, whole);
        let is_answer = record.blocks.iter().any(|block| matches!(block, Block::ToolResult { .. }));
        let part = match block {
            // By it Claude Code lists the conversation.
            Block::Text(text) if record.class == Class::Summary && record.kind == "summary" => {
                Part::Notice { kind: sanitizer.clean("title given by Claude Code"), text: sanitizer.clean(text) }
            }
            Block::Text(text) if record.class == Class::Summary => Part::Summary(sanitizer.clean(text)),
            Block::Text(text) if record.class == Class::Unknown => {
                let kind = sanitizer.clean(record.subtype.as_deref().unwrap_or(&record.kind));
                Part::Notice { kind, text: sanitizer.clean(text) }
            }
            Block::Text(text) if is_answer => {
                said = sanitizer.clean(text);
                match answers(&said) {
                    Some(answers) => Part::Answers(answers),
                    None => Part::Prose(said.part(said.as_str())),
                }
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
                let call = Call::of(name, id.as_deref(), *input, self.cwd.as_deref(), sanitizer);
                renderer.part(&Part::Call(&call), sanitizer).context(WRITING)?;
                return self.called(call, depth);
            }
            Block::ToolResult { id, text, is_error, pictures: shown } => {
                let call = id.as_deref();
                let tool = call.and_then(|id| self.calls.remove(id));
                let pictures = shown.iter().map(|picture| pictures.of(*picture)).collect();
                let is_answered =
                    is_before_answers(text) && record.blocks.iter().any(|block| matches!(block, Block::Text(_)));
                whole = self.outputs.named_in(text).iter().fold(Cow::Borrowed(&**text), |text, name| {
                    format!("{text}\n\n{}", kept_output(self.copies, name, &mut self.exported.problems)).into()
                });
                let text = sanitizer.clean(&whole);
                Part::Result { call, tool, text, is_error: *is_error, is_answered, pictures }
            }
            Block::Picture(picture) => Part::Picture(pictures.of(*picture)),
            Block::Other(kind) => Part::Other(sanitizer.clean(kind)),
        };
        renderer.part(&part, sanitizer).context(WRITING)
    }

    /// Remembers the call for its result, and writes what it started.
    fn called(&mut self, call: Call, depth: usize) -> Result<(), Failure> {
        if let Some(id) = &call.id {
            if self.calls.len() >= OPEN_CALLS_MAX {
                // Results of calls that were interrupted never come.
                self.calls.clear();
            }
            self.calls.insert(id.clone(), call.tool.clone());
            let is_here = depth < DEPTH_MAX && self.renderer.nests();
            for subagent in if is_here { self.subagents.called_by(id) } else { Vec::new() } {
                self.subagent(&subagent, depth + 1)?;
            }
        }
        self.renderer.end_call(&call).context(WRITING)
    }

    /// Those that no call was found for, or that were too deep.
    fn rest_of_subagents(&mut self) -> Result<(), Failure> {
        loop {
            let rest = self.subagents.rest();
            if !self.keep.keeps_tools() {
                self.left_out.unwanted += rest.len() as u64;
                return Ok(());
            }
            if rest.is_empty() {
                return Ok(());
            }
            // Each may start others, which are then no longer waiting.
            for subagent in rest {
                self.subagent(&subagent, DEPTH_MAX)?;
            }
        }
    }

    /// Outputs that no result names.
    fn rest_of_outputs(&mut self) -> Result<(), Failure> {
        let rest = self.outputs.rest();
        if !self.keep.keeps_tools() {
            self.left_out.unwanted += rest.len() as u64;
            return Ok(());
        }
        for name in rest {
            self.anchors += 1;
            let header = MessageHeader {
                speaker: Speaker::Tool,
                anchor: format!("n-{}", self.anchors),
                time: None,
                goes_on: false,
                is_result: true,
                is_rewound: false,
                is_prompt: false,
                cost: None,
            };
            let text = kept_output(self.copies, &name, &mut self.exported.problems);
            self.renderer.begin_message(&header).context(WRITING)?;
            let (text, pictures) = (self.sanitizer.clean(&text), Vec::new());
            let part = Part::Result { call: None, tool: None, text, is_error: false, is_answered: false, pictures };
            self.renderer.part(&part, &mut self.sanitizer).context(WRITING)?;
            self.renderer.end_message().context(WRITING)?;
        }
        Ok(())
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
        self.exported.pictures = self.pictures.written;
        let of_subagents = match self.of_subagents {
            0 => String::new(),
            n => {
                let subagents = terminal::count(self.exported.subagents, "subagent");
                format!(", and {} of {subagents}", terminal::count(n, "message"))
            }
        };
        let messages = terminal::count(self.exported.messages, "message");
        let mut remarks = vec![format!("{messages}{of_subagents}, exported by Threefold from a verified backup.")];
        let left_out = &self.left_out;
        let unknown: u64 = left_out.unknown.values().sum();
        let kinds: Vec<&str> = left_out.unknown.keys().take(10).map(String::as_str).collect();
        let counts = [
            (left_out.reminders, "reminders of Claude Code to the model, which the option --full writes".to_owned()),
            (left_out.bookkeeping, "records of bookkeeping".to_owned()),
            (left_out.repeated, "messages that came again".to_owned()),
            (unknown, format!("records of types unknown here: {}", kinds.join(", "))),
            (
                left_out.unwanted,
                format!("calls and results of tools, thoughts and the like, by the option {}", self.keep.option()),
            ),
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

fn time_of(clock: Clock, ms: i64) -> Time {
    let seconds = clock.exact(ms);
    // The page says at its head which zone it is.
    let mut words = seconds.split(' ').map(str::to_owned);
    let (day, time) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Time { day, clock: time, exact: format_rfc3339_ms(ms) }
}

fn hash_of(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
