//! What is asked, what is answered, and what the answers are taken from.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::child_env::ChildEnv;
use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::git::Commit;
use crate::index::{Index, IndexError, Line, Wanted};
use crate::scope::Here;
use crate::terminal::time::format_rfc3339_ms;
use crate::transcript::metadata::shortened;
use crate::transcript::record::with_record;

/// Characters of what was asked, of a line and of a command, as they are shown.
pub(super) const SHOWN_CHARS: usize = 300;

// What is asked, as typed: see [`crate::browse::search::SearchRequest`].
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars", rename = "WhyInput", example = serde_json::json!({"file": "src/parser.rs", "line": 42}))]
pub(crate) struct WhyRequest {
    /// The file: its path, or FILE:LINE, or FILE:FIRST-LAST. With `error`: only errors in conversations that read or changed this file.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// The line of the file that is asked about, from 1 on. Without it: who last touched the file.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) line: Option<usize>,
    /// An error, as it was printed: what was run after it before, and whether that helped.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// Only in this project: its directory, or a part of its name. Without it: in the file's project, else the current directory's.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) project: Option<String>,
    /// In all projects.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) all: Option<bool>,
    /// Where it is asked.
    #[arg(skip)]
    #[serde(skip)]
    pub(crate) here: Here,
    /// Where a relative path begins.
    #[arg(skip)]
    #[serde(skip)]
    pub(crate) from: Option<PathBuf>,
    /// What git is started with.
    #[arg(skip)]
    #[serde(skip)]
    pub(crate) env: ChildEnv,
    /// Maximum number of conversations; 10 by default, 200 at most.
    #[arg(long, value_name = "N", default_value = "10", help = "Maximum number of conversations")]
    #[serde(default)]
    pub(crate) limit: Option<usize>,
    /// Pass over so many: those of the answers before.
    #[arg(long, value_name = "N", default_value = "0", help = "Skip this many conversations")]
    #[serde(default)]
    pub(crate) offset: Option<usize>,
}

impl WhyRequest {
    /// Those of the answers before.
    pub(crate) fn passed_over(&self) -> usize {
        self.offset.unwrap_or(0)
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref().map(str::trim).filter(|error| !error.is_empty())
    }

    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_deref().map(str::trim).filter(|file| !file.is_empty())
    }
}

/// What speaks for a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// An edit.
    Edit,
    /// The commit that the line is of.
    Commit,
    /// What was run after the error.
    Run,
    /// The same words.
    #[default]
    Words,
}

/// A conversation, and what speaks for it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Answer {
    /// 1 for the first.
    pub(crate) rank: usize,
    pub(crate) evidence: Kind,
    /// Whether the transcripts prove it; else it is a guess.
    pub(crate) exact: bool,
    /// Why it is no more than a guess, or what is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<String>,
    /// The lines of the file that it stands for: `12` or `12-20`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<String>,
    pub(crate) session_id: String,
    pub(crate) project: String,
    /// The directory of its project.
    pub(crate) directory: Option<String>,
    #[serde(skip)]
    pub(crate) label: String,
    pub(crate) title: Option<String>,
    /// When, RFC 3339.
    pub(crate) time: Option<String>,
    /// What `session_get_context` and `show --around` take to read on from here.
    pub(crate) message: String,
    pub(crate) is_sidechain: bool,
    pub(crate) branch: Option<String>,
    /// What the user had asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<String>,
    /// The tool that made the edit, and the file as it was called there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The change: lines that went behind `-`, lines that came behind `+`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) change: Vec<String>,
    /// Its edits of the file, and how many lines of the file are still its.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) edits: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lines_kept: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<Commit>,
    /// The error as it was printed, what had been run, and what was run after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<String>,
    /// Whether what had failed was then run without the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worked: Option<bool>,
}

impl Answer {
    pub(super) fn of(line: &Line, message: String, evidence: Kind, exact: bool) -> Answer {
        Answer {
            evidence,
            exact,
            session_id: line.session_id.clone(),
            project: line.project.clone(),
            title: line.title.clone(),
            time: (line.time_ms != 0).then(|| format_rfc3339_ms(line.time_ms)),
            message,
            is_sidechain: line.is_sidechain,
            branch: line.branch.clone(),
            ..Answer::default()
        }
    }

    pub(super) fn because(self, why: &str) -> Answer {
        Answer { because: Some(why.to_owned()), ..self }
    }
}

/// What was found. What is said of the fields, MCP clients read.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Why {
    /// What is proven first, by the lines of the file; then what is guessed. Each has session_id, project, directory, title, time, message (for session_get_context), evidence (edit: it wrote the line; commit: it made the commit of the line; run: what was run after the error; words: the same words), exact (true: the transcripts prove it; false: a guess, because says why), lines (of the file), asked (what the user had asked for), tool, file, change; edits and lines_kept of a whole file; commit; error, command, after (what was run after it, in order) and worked.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub(crate) answers: Vec<Answer>,
    /// The file that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The line that was asked about, as it stands in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Whether there are more.
    pub(crate) more: bool,
    /// Where it was looked for, in words.
    pub(crate) scope: String,
    /// Whether that is all projects.
    pub(crate) all_projects: bool,
    /// What to know about it; mostly empty.
    pub(crate) notes: Vec<String>,
}

/// What a question found, before it is shown.
#[derive(Default)]
pub(super) struct Found {
    pub(super) answers: Vec<Answer>,
    pub(super) file: Option<String>,
    pub(super) text: Option<String>,
    /// Words that may lead on where nothing else does.
    pub(super) words: Option<String>,
    pub(super) notes: Vec<String>,
}

/// What a question is put to.
pub(super) struct Asking<'a> {
    pub(super) index: &'a Index,
    pub(super) archive: &'a Archive,
    pub(super) within: Option<&'a [i64]>,
}

impl Asking<'_> {
    /// What the user had asked for before a line was written.
    pub(super) fn asked(&self, line: &Line) -> Result<Option<String>, IndexError> {
        let mut asked = None;
        self.index.lines(self.archive, Wanted::Asked { line }, None, &mut |line| {
            let said = with_record(&line.bytes, |record| shortened(&record.said(), SHOWN_CHARS));
            asked = said.filter(|said| !said.is_empty());
            ControlFlow::Break(())
        })?;
        Ok(asked)
    }
}

/// What names a line to a reader: its record's id, or its place.
pub(super) fn message_of(line: &Line) -> String {
    let uuid = with_record(&line.bytes, |record| record.uuid.as_deref().map(str::to_owned)).flatten();
    uuid.unwrap_or_else(|| line.place.clone())
}
