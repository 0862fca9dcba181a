//! The command line: what was typed, what it means, and what comes out. The only place of this
//! crate that reads the environment.
//!
//! 0: done. 1: refused, failed, or typed wrongly. Never 2, which would block Claude Code.

mod compress;
mod doctor;
mod prune;
mod restore;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use layer1_prebackup::config::places::{CLAUDE_CONFIG_DIR, PlaceFlags, Places, claude_dir_of_transcript};
use layer1_prebackup::config::settings::{SettingFlags, Settings};
use layer1_prebackup::names::{ProjectName, SessionId};
use layer1_prebackup::wire::event::{Event, read_event};
use serde_json::json;

use crate::browse::export::{self, Exported, Format};
use crate::browse::list::{self, Listing};
use crate::browse::search::{self, Search};
use crate::browse::show::{self, Window};
use crate::failure::{Error, chain};
use crate::health::status::{self, Commands, Viewpoint};
use crate::index::snippet::Marks;
use crate::restore::resume::ConfigDir;
use crate::save::import::{self, Summary};
use crate::save::rebuild;
use crate::save::roots::{RootKind, Roots};
use crate::save::verify::{self, Report};
use crate::save::{self, Answer, Journal, Request};
use crate::serve;
use crate::stores::content::Holdings;
use crate::terminal::time;
use crate::terminal::{self, COLUMNS_DEFAULT, COLUMNS_MIN, Style, Terminal, one_line};

/// How long `save` waits for an event on stdin.
const EVENT_WAIT: Duration = Duration::from_secs(8);
/// Characters of a conversation that `show` prints unless told otherwise.
const SHOW_CHARS_DEFAULT: usize = 1_000_000;
/// Marks of matched words on a colour terminal: characters that no text has, painted later.
const MARKS_COLOUR: (&str, &str) = ("\u{e000}", "\u{e001}");

/// Layer 3 of Threefold: every Claude Code conversation, verified, searchable and restorable
#[derive(Debug, Parser)]
#[command(name = "layer3-indexer", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    places: PlaceFlags,
    #[command(flatten)]
    settings: SettingFlags,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
// Only the one that is called is built: starting the program is a good part of what it costs.
#[command(defer = true)]
enum Command {
    /// Be the MCP server `session-manager` on stdin and stdout
    Serve {
        /// Another directory whose project folders may hold transcripts to save
        #[arg(long = "allow-root", value_name = "DIR")]
        allow_roots: Vec<PathBuf>,
    },
    /// Save one session: a verified copy, its metadata, its rows in the index
    Save(SaveArgs),
    /// Save everything that Claude Code and layer 1 have
    Import,
    /// Search all that was said
    Search(SearchArgs),
    /// List saved sessions, newest first
    List(ListArgs),
    /// Print a conversation
    Show(ShowArgs),
    /// Put a conversation back where Claude Code finds it
    Restore(restore::RestoreArgs),
    /// Go on with a conversation: put back what is missing, then `claude --resume`
    Resume(restore::ResumeArgs),
    /// Write a conversation as Markdown or as one HTML page
    Export(ExportArgs),
    /// Re-read and re-hash every stored file
    Verify {
        /// Only this session: its id or a unique beginning of it
        session: Option<String>,
        /// Heal what is wrong from the source or from layer 1's store, where the recorded hash proves them right
        #[arg(long)]
        repair: bool,
    },
    /// Make the index again from the store
    Rebuild,
    /// Remove sessions or older contents of them from both stores; shows them and asks first
    #[command(after_long_help = crate::retention::prune::HELP)]
    Prune(prune::PruneArgs),
    /// Compress old transcripts in both stores; everything reads them as before
    #[command(after_long_help = crate::retention::compress::HELP)]
    Compress(compress::CompressArgs),
    /// Tell what is saved, what is not, and what needs you; exit code 1 if something does
    #[command(after_long_help = status::HELP)]
    Status,
    /// Look whether programs, hooks, server, stores and timer do what they should; exit code 1 if anything is wrong
    #[command(after_long_help = crate::health::doctor::HELP)]
    Doctor(doctor::DoctorArgs),
}

#[derive(Debug, Args)]
struct SaveArgs {
    /// The transcript, ID.jsonl; without it a hook event is read from stdin
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,
    /// The working directory of the session
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// What caused the save, for the log and the metadata
    #[arg(long, value_name = "WORD")]
    trigger: Option<String>,
}

#[derive(Debug, Args)]
struct Scope {
    /// Only this project; by default the current directory's
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    project: Option<String>,
    /// All projects
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct SearchArgs {
    /// Words (all must occur), "a phrase", OR, NOT, prefix*, NEAR(a b, 5); or any other text, behind `--` if it begins with -
    #[arg(required_unless_present_any = ["tool", "file", "role", "branch", "session"])]
    query: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Only in this session, every message: its id or a unique beginning of it
    #[arg(long, value_name = "ID", conflicts_with_all = ["project", "all"])]
    session: Option<String>,
    /// Not before: a date, yesterday, an RFC 3339 time, or an age such as 7d or "2 weeks ago"
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Not after; of a day its end
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only what this one said: user, assistant, tool, summary, system
    #[arg(long)]
    role: Option<String>,
    /// Only messages on this git branch
    #[arg(long)]
    branch: Option<String>,
    /// Only calls of this tool and their results: Bash, Edit, …
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Only in sessions that read or changed this file: its path, the end of it, or a folder
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    /// Every message, not only the best one of each session
    #[arg(long)]
    each: bool,
    /// Show the N messages before each hit
    #[arg(long, value_name = "N")]
    before: Option<usize>,
    /// Show the N messages after each hit
    #[arg(long, value_name = "N")]
    after: Option<usize>,
    /// Show the N messages before and after each hit
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// At most so many hits
    #[arg(long, value_name = "N", default_value_t = search::LIMIT_DEFAULT)]
    limit: usize,
    /// Which page of so many hits
    #[arg(long, value_name = "N", default_value_t = 1)]
    page: usize,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    scope: Scope,
    /// Only with a message since: a date, yesterday, an RFC 3339 time, or an age such as 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// At most so many sessions
    #[arg(long, value_name = "N", default_value_t = list::LIMIT_DEFAULT)]
    limit: usize,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The session: its id or a unique beginning of it
    session: String,
    /// The part around this message: what `search` gives (a uuid, its beginning, or PATH:OFFSET), or an RFC 3339 time
    #[arg(long, value_name = "MESSAGE|TIME")]
    around: Option<String>,
    /// Only the last N messages
    #[arg(long, value_name = "N", conflicts_with = "around")]
    last: Option<usize>,
    /// At most about so many characters; what is left out is said
    #[arg(long, value_name = "N", default_value_t = SHOW_CHARS_DEFAULT)]
    max_chars: usize,
    /// An older content of the transcript, 1 being the oldest
    #[arg(long, value_name = "N", conflicts_with = "around")]
    generation: Option<u32>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The session: its id or a unique beginning of it
    session: String,
    /// What to write; by default what the name of FILE says, else Markdown
    #[arg(long, value_enum)]
    format: Option<PageFormat>,
    /// Write to this file, which may not exist yet, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Mask what looks like a secret: keys, tokens, passwords. By their form only, so some may stay: read it before you share it
    #[arg(long)]
    redact: bool,
    /// Write long outputs of tools whole instead of their beginning and end
    #[arg(long)]
    full: bool,
    /// An older content of the transcript, 1 being the oldest
    #[arg(long, value_name = "N")]
    generation: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PageFormat {
    /// Markdown
    Md,
    /// One HTML page that needs no network and no scripts
    Html,
}

/// The command line, as completions and manual pages are made from it.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs the program on its own arguments, environment and streams.
pub fn main() -> ExitCode {
    layer1_prebackup::fs::signals::survive_file_size_limit("layer3-indexer");
    // Not locked: `serve` writes to standard output from another thread.
    let mut out = io::stdout();
    let caught = panic::catch_unwind(AssertUnwindSafe(|| run(std::env::args_os(), &mut out)));
    match caught.unwrap_or(Err(Stop::Printed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Printed) => ExitCode::FAILURE,
        Err(Stop::Failed(error)) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(Stop::Failed(error)) => {
            complain(&format!("layer3-indexer: failed to {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Why a run did not succeed.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The arguments were wrong, or this program has a bug and panicked; that was printed.
    Printed,
    /// Something failed.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Failed(error.into())
    }
}

/// Runs one command; its answer goes to `out`, everything for people to stderr.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> Result<(), Stop> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error, out),
    };
    let env = |name: &str| std::env::var_os(name);
    let (settings, problems) = Settings::gather(&env);
    if let Some(problem) = problems.into_iter().next() {
        // A server that did not start would keep every session from being saved.
        match cli.command {
            Command::Serve { .. } => complain(&format!("layer3-indexer: warning: failed to {problem}")),
            _ => return Err(Stop::Failed(problem.into())),
        }
    }
    let settings = settings.with_flags(&cli.settings);
    let places = Places::resolve_with(&cli.places, &env, &settings).map_err(Error::from)?;
    let mut screen = Screen { out, terminal: terminal(), json: cli.json };
    command(cli.command, places, &cli.places, &mut screen).map_err(Stop::Failed)
}

fn print_usage(error: &clap::Error, out: &mut dyn Write) -> Result<(), Stop> {
    if error.use_stderr() {
        // clap writes to stderr; if that is closed there is nobody to tell.
        let _ = error.print();
        return Err(Stop::Printed);
    }
    write!(out, "{}", error.render()).and_then(|()| out.flush()).map_err(|e| Error::io("write to stdout", e))?;
    Ok(())
}

fn command(command: Command, places: Places, flags: &PlaceFlags, screen: &mut Screen<'_>) -> Result<(), Error> {
    match command {
        Command::Serve { allow_roots } => {
            let allowed = allow_roots.into_iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
            serve::serve(places, &allowed)
        }
        Command::Save(args) => save_one(&places, &args, screen),
        Command::Import => import_all(&places, screen),
        Command::Search(args) => search_for(&places, args, screen),
        Command::List(args) => list_sessions(&places, args, screen),
        Command::Show(args) => show_session(&places, args, screen),
        Command::Restore(args) => restore::restore_sessions(&places, args, screen),
        Command::Resume(args) => restore::resume_session(&places, args, screen),
        Command::Export(args) => export_session(&places, &args, screen),
        Command::Verify { session, repair } => verify_store(&places, session.as_deref(), repair, screen),
        Command::Rebuild => rebuild_index(&places, screen),
        Command::Prune(args) => prune::prune(&places, args, screen),
        Command::Compress(args) => compress::compress(&places, args, screen),
        Command::Status => show_status(&places, flags, screen),
        Command::Doctor(args) => doctor::examine(places, flags, args, screen),
    }
}

/// Where answers go and what can be shown there.
struct Screen<'a> {
    out: &'a mut dyn Write,
    terminal: Terminal,
    json: bool,
}

impl Screen<'_> {
    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(|error| Error::io("write to stdout", error))
    }

    fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(value).map_err(|error| Error::io("write JSON", error.into()))?;
        self.text(&(terminal::json(text) + "\n"))
    }
}

/// Colours for a terminal unless `NO_COLOR` is set; its width, or `COLUMNS`, or a default.
fn terminal() -> Terminal {
    let is_terminal = io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let size = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let set = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = if is_terminal { size().filter(|columns| *columns > 0).or_else(set) } else { set() };
    Terminal {
        columns: columns.unwrap_or(COLUMNS_DEFAULT).max(COLUMNS_MIN),
        colour: is_terminal && !no_colour,
        interactive: is_terminal,
    }
}

/// A line for people. If nobody reads stderr, nothing is lost that the exit code does not say.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", terminal::lines(line));
}

/// How a `claude` that we start finds the directory that we use.
fn config_dir(places: &Places) -> ConfigDir {
    let usual = places.home.join(".claude");
    let set = std::env::var_os(CLAUDE_CONFIG_DIR).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    match set {
        _ if set.as_ref().unwrap_or(&usual) == &places.claude_dir => ConfigDir::Inherited,
        _ if places.claude_dir == usual => ConfigDir::Default,
        _ => ConfigDir::Given(places.claude_dir.clone()),
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, Error> {
    std::path::absolute(&path).map_err(|error| Error::io(format!("resolve {}", path.display()), error))
}

/// The project that `search` and `list` look at, and how to say so.
fn scope(scope: &Scope) -> Result<(Option<String>, String), Error> {
    if scope.all {
        return Ok((None, "in all projects".to_owned()));
    }
    let project = match &scope.project {
        Some(project) => project.clone(),
        None => {
            let cwd = std::env::current_dir().map_err(|error| Error::io("find the current directory", error))?;
            ProjectName::from_cwd(&cwd.to_string_lossy()).to_string()
        }
    };
    let said = format!("in project {}", one_line(&project));
    Ok((Some(project), said))
}

fn save_one(places: &Places, args: &SaveArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let (id, transcript, root, event) = match &args.transcript {
        Some(file) => {
            let path = resolved(file)?;
            (SessionId::of_transcript(&path)?, path, RootKind::Claude, Event::default())
        }
        None => {
            let bytes = read_event(io::stdin(), EVENT_WAIT).map_err(|error| Error::io("read stdin", error))?;
            let event = Event::parse(&bytes)?;
            let id = SessionId::parse(&event.session_id)?;
            let Some(path) = &event.transcript_path else {
                return Err(layer1_prebackup::wire::event::EventError::Field("transcript_path").into());
            };
            let allowed: Vec<PathBuf> =
                claude_dir_of_transcript(path).map(|dir| dir.join("projects")).into_iter().collect();
            let checked = Roots::resolve(places, &allowed).check(&id, path)?;
            (id, checked.path, checked.root, event)
        }
    };
    let of_event = (!event.kind.is_empty()).then(|| event.trigger());
    let journal = Journal::new(places, true);
    let trigger = args.trigger.clone().or(of_event);
    let cwd = args.cwd.clone().or(event.cwd);
    let request = Request {
        id: &id,
        transcript: &transcript,
        root,
        cwd: cwd.as_deref(),
        trigger: trigger.as_deref(),
        project: None,
        expected: None,
    };
    let answer = match save::refused_by_settings(places, &request) {
        Some(skipped) => skipped,
        None => save::save(places, &journal, &request, &|_| {})?,
    };
    if screen.json {
        return screen.json(&answer);
    }
    match answer {
        Answer::Skipped(skipped) => screen.text(&format!("Nothing to save: {}\n", one_line(&skipped.reason))),
        Answer::Receipt(receipt) => {
            let files = terminal::count(receipt.files.len() as u64, "file");
            let messages = terminal::count(receipt.messages_indexed, "message");
            screen.text(&format!("Saved {}/{}: {files}, {messages} indexed\n", receipt.project, receipt.session_id))
        }
    }
}

/// The file as typed, with the links above it resolved; a link as the last component is refused
/// when it is opened.
fn resolved(file: &Path) -> Result<PathBuf, Error> {
    let path = absolute(file.to_owned())?;
    let examine = |error| Error::io(format!("find the transcript {}", file.display()), error);
    let meta = std::fs::symlink_metadata(&path).map_err(examine)?;
    let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), meta.is_file()) else {
        let why = "it must be a regular file named SESSION_ID.jsonl".to_owned();
        return Err(Error::Argument { name: "--transcript", value: file.display().to_string(), why });
    };
    Ok(std::fs::canonicalize(parent).map_err(examine)?.join(name))
}

fn import_all(places: &Places, screen: &mut Screen<'_>) -> Result<(), Error> {
    let bar = progress_bar("{bar:30} {bytes}/{total_bytes} {msg} {eta}");
    let journal = Journal::new(places, false);
    let summary = import::import(places, &journal, &|at| {
        bar.set_length(at.bytes_all);
        bar.set_position(at.bytes_done);
        bar.set_message(format!("{}/{} sessions", at.sessions_done, at.sessions_all));
    });
    bar.finish_and_clear();
    report_import(&summary?, screen)
}

fn report_import(summary: &Summary, screen: &mut Screen<'_>) -> Result<(), Error> {
    if screen.json {
        screen.json(summary)?;
    } else {
        let mut line = format!(
            "{}: {} saved, {} unchanged",
            terminal::count(summary.sessions as u64, "session"),
            summary.saved,
            summary.unchanged
        );
        if summary.skipped > 0 {
            line.push_str(&format!(", {} empty", summary.skipped));
        }
        if !summary.failed.is_empty() {
            line.push_str(&format!(", {} failed", summary.failed.len()));
        }
        screen.text(&(line + "\n"))?;
    }
    for note in &summary.notes {
        complain(&format!("layer3-indexer: note: {}", one_line(note)));
    }
    for failure in &summary.failed {
        complain(&format!("layer3-indexer: {}: {}", failure.session_id, one_line(&failure.error)));
    }
    match summary.failed.len() {
        0 => Ok(()),
        failed => Err(Error::Some { doing: "save", failed, all: summary.sessions }),
    }
}

/// A bar on stderr if somebody watches it, else nothing.
fn progress_bar(template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    // The templates are constants; one that does not parse shows the plain bar.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Runs what tells how many of its things are done, and of how many; a bar shows it.
fn counting<T>(things: &str, run: impl FnOnce(&dyn Fn(usize, usize)) -> T) -> T {
    let bar = progress_bar(&format!("{{bar:30}} {{pos}}/{{len}} {things} {{eta}}"));
    let given = run(&|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    given
}

fn search_for(places: &Places, args: SearchArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let (project, said) = match &args.session {
        Some(session) => (None, format!("in session {}", one_line(session))),
        None => scope(&args.scope)?,
    };
    let marks = if screen.terminal.colour && !screen.json {
        Marks { start: MARKS_COLOUR.0.to_owned(), end: MARKS_COLOUR.1.to_owned() }
    } else {
        Marks::default()
    };
    let search = Search {
        query: args.query.join(" "),
        project,
        session: args.session,
        since: args.since,
        until: args.until,
        role: args.role,
        branch: args.branch,
        tool: args.tool,
        file: args.file,
        each: args.each,
        limit: Some(args.limit),
        page: Some(args.page),
        before: args.before.or(args.context).unwrap_or(0),
        after: args.after.or(args.context).unwrap_or(0),
        marks,
    };
    let results = search::search(places, &search)?;
    if screen.json {
        return screen.json(&results);
    }
    let text = search::to_text(&results, &search, &said, &screen.terminal);
    let hint =
        if results.hits.is_empty() && search.project.is_some() { "`--all` searches all projects.\n" } else { "" };
    screen.text(&(text + hint))
}

fn list_sessions(places: &Places, args: ListArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let (project, said) = scope(&args.scope)?;
    let listing = Listing { project, since: args.since, limit: Some(args.limit) };
    let listed = list::list(places, &listing)?;
    if screen.json {
        return screen.json(&listed);
    }
    let text = list::to_text(&listed, &said, &screen.terminal);
    let hint =
        if listed.sessions.is_empty() && listing.project.is_some() { "`--all` lists all projects.\n" } else { "" };
    screen.text(&(text + hint))
}

fn show_session(places: &Places, args: ShowArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let holdings = Holdings::find(places, &args.session)?;
    let (around, last, generation) = (args.around, args.last, args.generation);
    let window = Window { around, last, max_chars: args.max_chars.max(1), generation };
    let conversation = show::conversation(&holdings, &window)?;
    if screen.json {
        return screen.json(&conversation);
    }
    let text = conversation.to_text(&screen.terminal);
    screen.text(&text)
}

fn export_session(places: &Places, args: &ExportArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let path = args.output.clone().map(absolute).transpose()?;
    if screen.json && path.is_none() {
        let why = "the page itself goes to standard output; name a file with -o".to_owned();
        return Err(Error::Argument { name: "--json", value: "export".to_owned(), why });
    }
    let options = export::Options {
        format: page_format(args.format, path.as_deref()),
        redact: args.redact,
        full: args.full,
        generation: args.generation.unwrap_or(0),
    };
    let holdings = Holdings::find(places, &args.session)?;
    let exported = match &path {
        Some(path) => export::export_to_file(&holdings, &options, path, args.force)?,
        None => export::export(&holdings, &options, screen.out)?,
    };
    if screen.json {
        screen.json(&json!({ "exported": exported }))?;
    } else if let (Some(path), Some(bytes)) = (&exported.path, exported.bytes) {
        let messages = terminal::count(exported.messages, "message");
        screen.text(&format!("Exported {messages} to {} ({})\n", one_line(path), terminal::size(bytes)))?;
    }
    report_export(&exported)
}

fn page_format(asked: Option<PageFormat>, path: Option<&Path>) -> Format {
    let is_html = path.and_then(Path::extension).is_some_and(|ext| ext == "html" || ext == "htm");
    match asked {
        Some(PageFormat::Html) => Format::Html,
        None if is_html => Format::Html,
        _ => Format::Markdown,
    }
}

/// What the reader of the page should know, on stderr: standard output may be the page.
fn report_export(exported: &Exported) -> Result<(), Error> {
    for note in &exported.notes {
        complain(&format!("layer3-indexer: note: {}", one_line(note)));
    }
    if let Some(masked) = exported.masked {
        let masked = terminal::count(masked, "secret");
        complain(&format!(
            "layer3-indexer: {masked} masked, by their form; others may be left, read it before you share it"
        ));
    }
    for problem in &exported.problems {
        complain(&format!("layer3-indexer: left out: failed to {}", one_line(problem)));
    }
    match exported.problems.len() {
        0 => Ok(()),
        failed => Err(Error::LeftOut { failed }),
    }
}

fn verify_store(places: &Places, session: Option<&str>, repair: bool, screen: &mut Screen<'_>) -> Result<(), Error> {
    let report = match repair {
        true => verify::repair(places, &Journal::new(places, false), session)?,
        false => verify::verify(places, session)?,
    };
    if screen.json {
        screen.json(&report)?;
    } else {
        screen.text(&report_text(&report, &screen.terminal))?;
    }
    let unhealed = report.repairs.iter().filter(|repair| !repair.healed).count();
    match report.findings.len().max(unhealed) {
        0 => Ok(()),
        findings => Err(Error::Findings { findings }),
    }
}

fn report_text(report: &Report, terminal: &Terminal) -> String {
    let mut text = String::new();
    for repair in &report.repairs {
        let (style, word) = if repair.healed { (Style::Green, "healed") } else { (Style::Red, "not healed") };
        let path = format!("{}/{}", one_line(&repair.project), one_line(&repair.path));
        text.push_str(&format!("{}  {path}: {}\n", terminal.paint(style, word), one_line(&repair.detail)));
    }
    for finding in &report.findings {
        let kind = terminal.paint(Style::Red, &finding.kind);
        let path = format!("{}/{}", one_line(&finding.project), one_line(&finding.path));
        text.push_str(&format!("{kind}  {path}: {}\n", one_line(&finding.detail)));
    }
    let sessions = terminal::count(report.sessions as u64, "session");
    if report.ok {
        text.push_str(&terminal.paint(Style::Green, &format!("All is well: {sessions} read and compared")));
        text.push('\n');
    }
    text
}

fn rebuild_index(places: &Places, screen: &mut Screen<'_>) -> Result<(), Error> {
    let rebuilt = counting("sessions", |progress| rebuild::rebuild(places, progress))?;
    if screen.json {
        screen.json(&rebuilt)?;
    } else {
        let sessions = terminal::count(rebuilt.sessions, "session");
        let messages = terminal::count(rebuilt.messages, "message");
        screen.text(&format!("Index made again: {sessions}, {messages}\n"))?;
    }
    for failure in &rebuilt.failed {
        complain(&format!("layer3-indexer: {}", one_line(failure)));
    }
    match rebuilt.failed.len() {
        0 => Ok(()),
        failed => Err(Error::Some { doing: "index", failed, all: rebuilt.sessions as usize + failed }),
    }
}

fn show_status(places: &Places, flags: &PlaceFlags, screen: &mut Screen<'_>) -> Result<(), Error> {
    let now_ms = u64::try_from(time::now_ms()).unwrap_or(0);
    // Without a current directory there is no light for it.
    let view =
        Viewpoint { now_ms, cwd: std::env::current_dir().ok(), commands: pasteable(flags), program_dir: program_dir() };
    let status = status::status(places, &view);
    if screen.json {
        screen.json(&status)?;
    } else {
        let text = status::to_text(&status, &places.home, &screen.terminal);
        screen.text(&text)?;
    }
    match status.findings.iter().filter(|finding| finding.needs_person).count() {
        0 => Ok(()),
        needing => Err(Error::NeedsPerson { needing }),
    }
}

/// The folder that this program lies in, links followed.
fn program_dir() -> Option<PathBuf> {
    let here = std::env::current_exe().ok().and_then(|exe| std::fs::canonicalize(exe).ok())?;
    here.parent().map(Path::to_owned)
}

/// Our programs as one would type them now: their names where the `PATH` leads to them, else
/// their paths beside this program; then the flags that were typed for this run.
fn pasteable(flags: &PlaceFlags) -> Commands {
    let folder = program_dir();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let command = |name: &str| {
        let ours = folder.as_ref().map(|folder| folder.join(name));
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        let found = found.and_then(|file| std::fs::canonicalize(file).ok());
        let mut words = match ours {
            Some(ours) if found.as_ref() != Some(&ours) => terminal::shell_quoted(&ours.to_string_lossy()),
            _ => name.to_owned(),
        };
        let PlaceFlags { claude_dir, pre_backup_dir, backup_dir, session_db } = flags;
        let given = [
            ("--claude-dir", claude_dir),
            ("--pre-backup-dir", pre_backup_dir),
            ("--backup-dir", backup_dir),
            ("--session-db", session_db),
        ];
        for (flag, value) in given {
            let value = value.as_ref().map(|value| terminal::shell_quoted(&value.to_string_lossy()));
            words.extend(value.map(|value| format!(" {flag} {value}")));
        }
        words
    };
    Commands {
        layer1: command("layer1-prebackup"),
        layer2: command("layer2-save-client"),
        layer3: command("layer3-indexer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_tells_every_command() {
        let help = Cli::command().term_width(100).render_help().to_string();
        insta::assert_snapshot!(help, @r#"
        Layer 3 of Threefold: every Claude Code conversation, verified, searchable and restorable

        Usage: layer3-indexer [OPTIONS] <COMMAND>

        Commands:
          serve     Be the MCP server `session-manager` on stdin and stdout
          save      Save one session: a verified copy, its metadata, its rows in the index
          import    Save everything that Claude Code and layer 1 have
          search    Search all that was said
          list      List saved sessions, newest first
          show      Print a conversation
          restore   Put a conversation back where Claude Code finds it
          resume    Go on with a conversation: put back what is missing, then `claude --resume`
          export    Write a conversation as Markdown or as one HTML page
          verify    Re-read and re-hash every stored file
          rebuild   Make the index again from the store
          prune     Remove sessions or older contents of them from both stores; shows them and asks first
          compress  Compress old transcripts in both stores; everything reads them as before
          status    Tell what is saved, what is not, and what needs you; exit code 1 if something does
          doctor    Look whether programs, hooks, server, stores and timer do what they should; exit code 1
                    if anything is wrong
          help      Print this message or the help of the given subcommand(s)

        Options:
              --claude-dir <DIR>      Claude Code's directory [env: CLAUDE_CONFIG_DIR] [default: ~/.claude]
              --pre-backup-dir <DIR>  Layer 1's store [env: PRE_BACKUP_DIR] [default:
                                      ~/.claude-backup-sessions]
              --backup-dir <DIR>      Layer 3's store [env: BACKUP_DIR] [default: ~/.claude-backup]
              --session-db <FILE>     The index [env: SESSION_DB_PATH] [default: sessions.db in layer 3's
                                      store]
              --json                  Print one JSON object instead of text
          -h, --help                  Print help
          -V, --version               Print version

        Settings (docs/settings.md):
              --exclude <GLOB>           Leave sessions of such a project, directory or transcript uncopied;
                                         may be repeated [env: THREEFOLD_EXCLUDE]
              --free-space-floor <SIZE>  Begin no copy that leaves less free on the disk, such as 256MB
                                         [env: THREEFOLD_FREE_SPACE_FLOOR]
              --log-level <LEVEL>        What gets into the log: info, warn or off [env:
                                         THREEFOLD_LOG_LEVEL]
        "#);
        let restore = Cli::command().find_subcommand("restore").unwrap().clone();
        insta::assert_snapshot!(restore.term_width(100).render_help(), @r#"
        Put a conversation back where Claude Code finds it

        Usage: restore [OPTIONS] [SESSION]

        Arguments:
          [SESSION]  The session: its id or a unique beginning of it; at a terminal, without it, a list to
                     choose from

        Options:
              --all-missing     Bring back everything that is gone from Claude Code's directory, and leave
                                what is there as it is
              --project <NAME>  The project that is meant by the list, and by --all-missing
              --generation <N>  An older content of the transcript, 1 being the oldest; side files come as
                                they were last
              --longest         The longest content of the transcript, whichever generation it is, and of
                                each subagent's
              --to <DIR>        Write to this directory instead of Claude Code's
              --cwd <DIR>       The project lies here now
              --map <OLD=NEW>   A directory of old, with all below it, lies elsewhere now; as often as
                                needed
              --force           Replace a different file that stands there; it is saved first
              --dry-run         Tell what would be written, and write nothing
          -h, --help            Print help
        "#);
        let search = Cli::command().find_subcommand("search").unwrap().clone();
        insta::assert_snapshot!(search.term_width(100).render_help(), @r#"
        Search all that was said

        Usage: search [OPTIONS] [QUERY]...

        Arguments:
          [QUERY]...  Words (all must occur), "a phrase", OR, NOT, prefix*, NEAR(a b, 5); or any other text,
                      behind `--` if it begins with -

        Options:
              --project <NAME>   Only this project; by default the current directory's
              --all              All projects
              --session <ID>     Only in this session, every message: its id or a unique beginning of it
              --since <WHEN>     Not before: a date, yesterday, an RFC 3339 time, or an age such as 7d or "2
                                 weeks ago"
              --until <WHEN>     Not after; of a day its end
              --role <ROLE>      Only what this one said: user, assistant, tool, summary, system
              --branch <BRANCH>  Only messages on this git branch
              --tool <NAME>      Only calls of this tool and their results: Bash, Edit, …
              --file <PATH>      Only in sessions that read or changed this file: its path, the end of it,
                                 or a folder
              --each             Every message, not only the best one of each session
              --before <N>       Show the N messages before each hit
              --after <N>        Show the N messages after each hit
              --context <N>      Show the N messages before and after each hit
              --limit <N>        At most so many hits [default: 20]
              --page <N>         Which page of so many hits [default: 1]
          -h, --help             Print help
        "#);
    }

    #[test]
    fn wrong_arguments_stop_without_exit_code_2() {
        let mut out = Vec::new();
        let run_on = |args: &[&str], out: &mut Vec<u8>| run(args.iter().map(OsString::from), out);
        for args in [&["layer3-indexer", "bogus"][..], &["layer3-indexer"], &["layer3-indexer", "search"]] {
            assert!(matches!(run_on(args, &mut out), Err(Stop::Printed)), "{args:?}");
        }
        assert!(run_on(&["layer3-indexer", "--help"], &mut out).is_ok());
        assert!(run_on(&["layer3-indexer", "serve", "--help"], &mut out).is_ok());
        assert!(String::from_utf8(out).unwrap().contains("Usage: layer3-indexer"));
    }
}
