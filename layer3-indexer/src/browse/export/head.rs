//! What stands above a conversation, found in a first pass over it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{FileName, LAYER3, typed};

use super::options::Options;
use super::renderer::{Header, Row};
use super::text::{Sanitized, Sanitizer};
use crate::browse::title::side_title;
use crate::failure::{Context, Failure};
use crate::stores::{Copy, SessionCopies};
use crate::terminal::time::parse_rfc3339_ms;
use crate::transcript::metadata::{Metadata, Order, SessionStats};
use crate::transcript::record::{self, Located, Spent, TornLine};
use crate::transcript::redact::Redactor;

/// Files named in the table.
const FILES_NAMED_MAX: usize = 30;
/// Longest value in the table, and longest title, in characters.
pub(super) const VALUE_CHARS_MAX: usize = 300;
/// Models named in the table.
const MODELS_NAMED_MAX: usize = 10;

/// What a first pass over the transcript learns for the table.
pub(super) struct Survey {
    pub(super) metadata: Metadata,
    version: Option<String>,
    models: BTreeSet<String>,
    spent: Spent,
}

impl Survey {
    pub(super) fn of(content: &mut Copy, redactor: &mut Option<Redactor>) -> Result<Survey, Failure> {
        let mut tally = SessionStats::default();
        let (mut version, mut order) = (None, Order::default());
        let (mut models, mut spent, mut last) = (BTreeSet::new(), Spent::default(), None);
        each_record(content, &mut |located| {
            let record = &located.record;
            tally.add(record, order.next_ms(record));
            if let Some(redactor) = redactor {
                record.each_text(|text| redactor.learn(text));
            }
            if let Some(of_record) = &record.version {
                version = Some(of_record.to_string());
            }
            if let Some(model) = record.model.as_deref().filter(|_| models.len() < MODELS_NAMED_MAX) {
                models.insert(model.to_owned());
            }
            // Each record of one answer says the same.
            let now = record.spent();
            if let Some(now) = now.filter(|_| now != last) {
                spent = spent.and(now);
            }
            last = now.or(last);
            ControlFlow::Continue(())
        })?;
        Ok(Survey { metadata: tally.to_metadata(), version, models, spent })
    }
}

/// What stands under the name of a secret in a subagent's transcript is one in all of them.
pub(super) fn learn_of_subagents(copies: &SessionCopies, redactor: &mut Redactor) {
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

pub(super) fn each_record(
    content: &mut Copy,
    each: &mut dyn FnMut(Located<'_>) -> ControlFlow<()>,
) -> Result<record::ReadReport, Failure> {
    let path = content.at.path.clone();
    let read = content.read().and_then(|bytes| record::read_records(bytes, 0, TornLine::Final, each));
    read.context(format_args!("read {}", path.display()))
}

pub(super) fn header(
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
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |is_main: bool, name: &'static str, values: Vec<Option<&str>>| {
        let values = values.into_iter().flatten().filter(|value| !value.trim().is_empty());
        let values: Vec<_> = values.map(|value| sanitizer.clean(value).headline(VALUE_CHARS_MAX)).collect();
        if !values.is_empty() {
            rows.push(Row { name, values, is_main });
        }
    };
    let time = |time: &Option<String>| Some(options.clock.exact(parse_rfc3339_ms(time.as_ref()?)?));
    let older = format!("generation {}: an older content of the transcript", options.generation);
    row(true, "Content", vec![Some(older.as_str()).filter(|_| options.generation > 0)]);
    row(true, "Directory", vec![metadata.cwd.as_deref()]);
    row(true, "Branch", vec![metadata.git_branch.as_deref().filter(|branch| *branch != "HEAD")]);
    row(true, "Start", vec![time(&metadata.timestamp_start).as_deref()]);
    row(true, "End", vec![time(&metadata.timestamp_end).as_deref()]);
    row(true, "Tags", tags.iter().map(|tag| Some(tag.as_str())).collect());
    row(true, "Note", vec![labels.note()]);
    row(true, "Resume", vec![Some(&typed(LAYER3, &format!("resume {}", key.id)))]);
    if options.redact {
        row(true, "Secrets", vec![Some("masked where they were recognised by their form")]);
    }
    row(false, "Session", vec![Some(&id)]);
    row(false, "Claude Code", vec![survey.version.as_deref()]);
    row(false, "Model", survey.models.iter().map(|model| Some(model.as_str())).collect());
    row(false, "Tokens", vec![Some(survey.spent.in_words().as_str()).filter(|_| survey.spent != Spent::default())]);
    let edited = &metadata.edited_files;
    let more = format!("and {} more", edited.len().saturating_sub(FILES_NAMED_MAX));
    let latest = edited.iter().rev().take(FILES_NAMED_MAX).map(|file| Some(file.as_str()));
    let more = Some(more.as_str()).filter(|_| edited.len() > FILES_NAMED_MAX);
    row(false, "Edited files", latest.chain([more]).collect());
    row(false, "First topic", vec![metadata.first_topic.as_deref()]);
    let last_topic = metadata.last_topic.as_deref().filter(|_| metadata.last_topic != metadata.first_topic);
    row(false, "Last topic", vec![last_topic]);
    row(false, "Fork of", vec![metadata.forked_from.as_deref()]);
    row(false, "Continued in", vec![metadata.continued_in.as_deref()]);
    row(false, "Transcript", vec![Some(&Size(content.at.bytes).to_string())]);
    let warnings = copies.notes.iter().chain(&content.notes).map(|note| sanitizer.clean(note).into_owned()).collect();
    let title: Sanitized<'static> = sanitizer.clean(title).headline(VALUE_CHARS_MAX);
    Header { title, back: options.back, rows, has_tools: options.keep.keeps_tools(), warnings }
}
