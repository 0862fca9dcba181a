//! `export`: its arguments, and what it prints.

use std::path::{Path, PathBuf};

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};
use serde_json::json;

use crate::browse::export::{self, Exported, Format, Keep, Options};
use crate::browse::finder::Verb;
use crate::browse::pages;
use crate::browse::search::when;
use crate::cli::browser;
use crate::cli::restore::chosen;
use crate::cli::screen::{Screen, absolute, counting, here, notes, problem, unless_none};
use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::scope::Scope;
use crate::stores::SessionCopies;
use crate::terminal::time::now_ms;
use crate::terminal::{self, one_line, shell_quoted};
use crate::transcript::record::Role;
use crate::transcript::redact::in_words;

/// As the file to write to: standard output.
const STDOUT: &str = "-";

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Default, Args)]
pub(super) struct ExportArgs {
    /// The conversation: its id, a unique beginning of it, or its name; omit it at a terminal to choose from a list
    #[arg(conflicts_with_all = ["all", "project"])]
    session: Option<String>,
    /// A page of every conversation, in the directory of -o
    #[arg(long, short, conflicts_with = "project")]
    all: bool,
    /// A page of every conversation of this project (its directory, or a part of its name), likewise
    #[arg(long, short, value_name = "PROJECT")]
    project: Option<String>,
    /// Of those, only conversations with a message since: a date, yesterday, an RFC 3339 time, or an age such as 7d
    #[arg(long, value_name = "WHEN", conflicts_with = "session")]
    since: Option<String>,
    /// What to write; by default what the name of the file says, else Markdown
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file, which may not exist yet, instead of standard output, which is `-` too; with --all or --project, to this directory
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Replace the file if it exists; with --all or --project, write pages again that have not changed
    #[arg(long, requires = "output")]
    force: bool,
    /// Open the page in a browser; without -o it is written to the temporary directory
    #[arg(long)]
    open: bool,
    /// Mask what looks like a secret: keys, tokens, passwords. The last line says how many. Some may stay: read it before you share it
    #[arg(long)]
    redact: bool,
    /// Write long outputs of tools whole instead of their beginning and end
    #[arg(long)]
    full: bool,
    /// Only what was said: no tools, no thinking
    #[arg(long)]
    compact: bool,
    /// Only messages of these: user, assistant, tool, summary or system; several with commas
    #[arg(long, value_name = "ROLE", value_parser = role, value_delimiter = ',')]
    role: Vec<Role>,
    /// Leave pictures out of HTML pages; --redact leaves them out too, because nothing in them can be masked
    #[arg(long)]
    no_images: bool,
    /// An older version, 1 being the oldest
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "project"])]
    generation: Option<u32>,
}

impl ExportArgs {
    /// A page of a conversation, opened in a browser.
    pub(super) fn to_browser(session: Option<String>) -> ExportArgs {
        ExportArgs { session, open: true, ..ExportArgs::default() }
    }

    /// Whether what is written goes to nobody but the reader of standard output.
    pub(super) fn is_to_stdout(&self) -> bool {
        !self.open && self.output.as_ref().is_none_or(|path| path.as_os_str() == STDOUT)
    }

    fn options(&self, format: Format) -> Options {
        Options {
            redact: self.redact,
            full: self.full,
            pictures: !self.no_images,
            keep: Keep { roles: self.role.clone(), is_compact: self.compact },
            generation: self.generation.unwrap_or(0),
            ..Options::of(format)
        }
    }
}

/// How it is typed: a conversation goes to a file, many go to a directory.
pub(super) fn usage() -> String {
    let words = ["export [OPTIONS] [SESSION] [-o FILE]", "export [OPTIONS] <--all|--project PROJECT> -o DIR"];
    words.map(|words| typed(LAYER3, words)).join("\n       ")
}

/// Runs `export`.
pub(super) fn run(places: &Places, args: &ExportArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    if args.all || args.project.is_some() {
        return pages_of_all(places, args, screen);
    }
    if let Some(since) = &args.since {
        return Err(Failure::argument("--since", since, "it needs --all or --project"));
    }
    let is_stdout = |path: &PathBuf| path.as_os_str() == STDOUT;
    let given = args.output.clone().filter(|path| !is_stdout(path)).map(absolute).transpose()?;
    if screen.json && given.is_none() && !args.open {
        let why = "the page itself goes to standard output; name a file with -o";
        return Err(Failure::argument("--json", "export", why));
    }
    let scope = Scope { all: false, project: None, here: here(places) };
    let session = chosen(places, args.session.clone(), &scope, Verb::Export, screen)?;
    let copies = SessionCopies::find(&adopt_v1::stores(places)?, &session)?;
    let temporary = || std::env::temp_dir().join(format!("threefold-{}.html", copies.key.id));
    let path = given.clone().or_else(|| args.open.then(temporary));
    let options = args.options(args.format.unwrap_or_else(|| format_of(path.as_deref())));
    let exported = match &path {
        Some(path) => export::export_to_file(&copies, &options, path, args.force || given.is_none())?,
        None => export::export(&copies, &options, screen.out)?,
    };
    if screen.json {
        screen.json(&json!({ "exported": exported }))?;
    } else if let (Some(path), Some(bytes)) = (&exported.path, exported.bytes) {
        let messages = terminal::count(exported.messages, "message");
        screen.text(&format!("Exported {messages} to {} ({})\n", one_line(path), Size(bytes)))?;
    }
    if let Some(path) = path.filter(|_| args.open) {
        browser::open(&path);
    }
    report_export(&exported)
}

/// A page of each conversation, in a directory.
fn pages_of_all(places: &Places, args: &ExportArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let Some(folder) = args.output.clone().filter(|folder| folder.as_os_str() != STDOUT) else {
        let which = match &args.project {
            Some(project) => format!("--project {}", shell_quoted(project)),
            None => "--all".to_owned(),
        };
        let example = typed(LAYER3, &format!("export {which} -o pages"));
        let what = "export every conversation: a directory for the pages has to be named";
        return Err(Failure::new(what).hint(format!("`{example}` makes `pages` and writes them there")));
    };
    let folder = absolute(folder)?;
    if args.format == Some(Format::Markdown) {
        return Err(Failure::argument("--format", "md", "with --all and --project there are only HTML pages"));
    }
    let since_ms = when("since", args.since.as_deref(), now_ms())?.map(|(first, _)| first);
    let scope = Scope { all: args.all, project: args.project.clone(), here: here(places) };
    let options = pages::options(args.options(Format::Html));
    let request = pages::Request { folder: &folder, scope: &scope, since_ms, options: &options, force: args.force };
    let done = counting("pages", |progress| pages::write(places, &request, progress))?;
    if screen.json {
        screen.json(&json!({ "exported": done }))?;
    } else {
        let deleted = Some(format!(", {} deleted (forgotten)", done.deleted)).filter(|_| done.deleted > 0);
        screen.text(&format!(
            "{}: {} written, {} unchanged{}. Start at {}\n",
            terminal::count(done.pages, "page"),
            done.written,
            done.unchanged,
            deleted.unwrap_or_default(),
            one_line(&done.index)
        ))?;
    }
    if args.open {
        browser::open(Path::new(&done.index));
    }
    notes(&done.notes);
    done.problems.iter().for_each(|why| problem(why));
    if args.redact {
        report_masked(&done.masked_kinds);
    }
    unless_none(done.problems.len(), |failed| {
        let failed = terminal::count(failed as u64, "problem");
        Failure::new(format!("export all of it: {failed}")).hint(format!("`{}` tells more", typed(LAYER3, "verify")))
    })
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("it must be one of {}", Role::ALL.map(Role::as_str).join(", ")))
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
        report_masked(&exported.masked_kinds);
    }
    unless_none(exported.problems.len(), |failed| {
        let failed = terminal::count(failed as u64, "subagent");
        Failure::new(format!("export all of the session: {failed} left out"))
    })
}

fn report_masked(kinds: &std::collections::BTreeMap<&'static str, u64>) {
    problem("what has neither the form nor the name of a secret is not masked: read it before you share it");
    problem(&in_words(kinds));
}
