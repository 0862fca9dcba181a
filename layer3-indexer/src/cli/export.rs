//! `export`: its arguments, and what it prints.

use std::path::{Path, PathBuf};

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use serde_json::json;

use crate::browse::export::{self, Exported, Format, Keep, Options};
use crate::browse::finder::Verb;
use crate::cli::restore::chosen;
use crate::cli::screen::{Screen, absolute, here, notes, problem, unless_none};
use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::scope::Scope;
use crate::stores::SessionCopies;
use crate::terminal::{self, one_line};
use crate::transcript::record::Role;
use crate::transcript::redact::in_words;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Default, Args)]
pub(super) struct ExportArgs {
    /// The conversation: its id, a unique beginning of it, or its name; omit it at a terminal to choose from a list
    session: Option<String>,
    /// What to write; by default what the name of FILE says, else Markdown
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file, which may not exist yet, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Mask what looks like a secret: keys, tokens, passwords. The last line says how many. Some may stay: read it before you share it
    #[arg(long)]
    redact: bool,
    /// Write long outputs of tools whole instead of their beginning and end
    #[arg(long)]
    full: bool,
    /// Only what these said: user, assistant, tool, summary or system; several with commas
    #[arg(long, value_name = "ROLE", value_parser = role, value_delimiter = ',')]
    role: Vec<Role>,
    /// Only what was said: no tools, no thinking
    #[arg(long)]
    compact: bool,
    /// Leave pictures out of an HTML page; --redact leaves them out too, because nothing in them can be masked
    #[arg(long)]
    no_images: bool,
    /// Open the page in a browser; without FILE it is written to the temporary directory
    #[arg(long)]
    open: bool,
    /// An older version, 1 being the oldest
    #[arg(long, value_name = "N")]
    generation: Option<u32>,
}

impl ExportArgs {
    /// A page of a conversation, in place of what is there.
    pub(super) fn to_page(session: Option<String>, page: PathBuf) -> ExportArgs {
        ExportArgs { session, output: Some(page), force: true, ..ExportArgs::default() }
    }
}

/// Runs `export`.
pub(super) fn run(places: &Places, args: &ExportArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let path = args.output.clone().map(absolute).transpose()?;
    if screen.json && path.is_none() {
        let why = "the page itself goes to standard output; name a file with -o";
        return Err(Failure::argument("--json", "export", why));
    }
    let options = Options {
        redact: args.redact,
        full: args.full,
        pictures: !args.no_images,
        keep: Keep { roles: args.role.clone(), is_compact: args.compact },
        generation: args.generation.unwrap_or(0),
        ..Options::of(args.format.unwrap_or_else(|| format_of(path.as_deref())))
    };
    let scope = Scope { all: false, project: None, here: here(places) };
    let session = chosen(places, args.session.clone(), &scope, Verb::Export, screen)?;
    let copies = SessionCopies::find(&adopt_v1::stores(places)?, &session)?;
    let exported = match &path {
        Some(path) => export::export_to_file(&copies, &options, path, args.force)?,
        None => export::export(&copies, &options, screen.out)?,
    };
    if screen.json {
        screen.json(&json!({ "exported": exported }))?;
    } else if let (Some(path), Some(bytes)) = (&exported.path, exported.bytes) {
        let messages = terminal::count(exported.messages, "message");
        screen.text(&format!("Exported {messages} to {} ({})\n", one_line(path), Size(bytes)))?;
    }
    report_export(&exported)
}

fn role(text: &str) -> Result<Role, String> {
    let known = || Role::ALL.map(Role::as_str).join(", ");
    Role::parse(text).ok_or_else(|| format!("it must be one of {}", known()))
}

fn format_of(path: Option<&Path>) -> Format {
    let is_html = path.and_then(Path::extension).is_some_and(|ext| ext == "html" || ext == "htm");
    if is_html { Format::Html } else { Format::Markdown }
}

/// What the reader of the page should know, on stderr: standard output may be the page.
fn report_export(exported: &Exported) -> Result<(), Failure> {
    notes(&exported.notes);
    exported.problems.iter().for_each(|why| problem(&format!("left out: failed to {why}")));
    if exported.masked.is_some() {
        problem("what has neither the form nor the name of a secret is not masked: read it before you share it");
        problem(&in_words(&exported.masked_kinds));
    }
    unless_none(exported.problems.len(), |failed| {
        let failed = terminal::count(failed as u64, "subagent");
        Failure::new(format!("export all of the session: {failed} left out"))
    })
}
