//! `resume`: its arguments, and becoming `claude --resume`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::finder::Verb;
use crate::cli::restore::{choose_version, chosen, directory, given, restored_text, take_over, version};
use crate::cli::screen::{Screen, complain, config_dir, here, notes};
use crate::failure::Failure;
use crate::restore::resume;
use crate::restore::{Options, Point};
use crate::scope::Scope;
use crate::stores::{SessionCopies, Stores, Which};
use crate::terminal::one_line;

// The arguments of `resume`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Default, Args)]
pub(super) struct ResumeArgs {
    /// The conversation: its id, a unique beginning of it, or its name; omit it to choose from a list
    session: Option<String>,
    /// A list of this project: its directory, or a part of its name; by default of the current directory's
    #[arg(long, value_name = "PROJECT", conflicts_with_all = ["session", "all"])]
    project: Option<String>,
    /// A list of all projects
    #[arg(long, conflicts_with = "session")]
    all: bool,
    /// The project's current directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Go on with the longest version, where the newest lost something
    #[arg(long, group = "version")]
    longest: bool,
    /// Go on with this older version, 1 being the oldest
    #[arg(long, group = "version", value_name = "N")]
    generation: Option<u32>,
    /// Go on with all versions joined: the older messages, then what only newer ones have
    #[arg(long, group = "version")]
    joined: bool,
    /// Go on with the newest version, whatever it lost
    #[arg(long, group = "version")]
    newest: bool,
    /// Go on from this message, in a new session that has all up to it and nothing after: what `search` gives (a uuid, its
    /// beginning, or PATH:OFFSET), or a time
    #[arg(long, value_name = "MESSAGE|TIME", conflicts_with_all = ["before_compaction", "newest"])]
    at: Option<String>,
    /// Go on from before a compaction, in a new session: before the Nth, 1 being the oldest, or before the last one
    #[arg(long, value_name = "N", num_args = 0..=1, conflicts_with = "newest")]
    before_compaction: Option<Option<usize>>,
    /// More arguments for `claude`
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

impl ResumeArgs {
    /// Of a conversation, up to a point if there is one.
    pub(super) fn of(session: Option<String>, point: Option<Point>) -> ResumeArgs {
        let (at, before_compaction) = match point {
            Some(Point::At(message)) => (Some(message), None),
            Some(Point::BeforeCompaction(n)) => (None, Some(n)),
            None => (None, None),
        };
        ResumeArgs { session, at, before_compaction, ..ResumeArgs::default() }
    }
}

/// Runs `resume`; returns only if `claude` could not be started.
pub(super) fn run(places: &Places, args: ResumeArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    if screen.json {
        let why = "claude takes over this terminal; `restore --json` gives the command to run";
        return Err(Failure::argument("--json", "resume", why));
    }
    let config_dir = config_dir(places);
    let mut options = Options {
        content: args.generation.map_or_else(|| version(args.longest, args.joined), Which::Generation),
        cwd: args.cwd.map(directory).transpose()?,
        config_dir: given(config_dir.clone()),
        ..Options::default()
    };
    take_over(places);
    let scope = Scope { all: args.all, project: args.project, here: here(places) };
    let session = chosen(places, args.session, &scope, Verb::Resume, screen)?;
    let point = args.at.map(Point::At).or(args.before_compaction.map(Point::BeforeCompaction));
    if let Some(point) = point {
        let ready = resume::ready_at(places, &session, &point, &options)?;
        complain(&format!(
            "A new session was made, {}; the conversation itself is as it was.",
            ready.restored.session_id
        ));
        notes(ready.restored.notes.iter().chain(&ready.restored.problems));
        resume::become_claude(&ready, &args.args, &config_dir)?;
        return Ok(());
    }
    let is_said = args.newest || args.longest || args.joined || args.generation.is_some();
    if !is_said && let Some(loss) = resume::loss(places, &session)? {
        options.content = choose_version("resume", &session, &loss, screen)?;
    }
    let ready = resume::ready(places, &session, &options)?;
    if let Some(called) = called(places, &session) {
        complain(&called);
    }
    if ready.restored.files_written > 0 {
        // stdout is claude's from here on.
        complain(restored_text(&ready.restored, false, &screen.terminal).lines().next().unwrap_or_default());
    }
    notes(ready.restored.notes.iter().chain(&ready.restored.problems));
    resume::become_claude(&ready, &args.args, &config_dir)?;
    Ok(())
}

/// What the user calls the conversation that is about to go on, where it is called anything.
fn called(places: &Places, session: &str) -> Option<String> {
    // For reading alone: what cannot be told keeps nobody from going on.
    let copies = SessionCopies::find(&Rc::new(Stores::open(places).ok()?), session).ok()?;
    let labels = copies.labels();
    let name = labels.name().map(|name| format!("\"{}\"", one_line(name)));
    let tags = labels.tags().map(|tag| format!("#{}", one_line(tag)));
    let note = labels.note().map(|note| format!("note: {}", one_line(note)));
    let parts: Vec<String> = name.into_iter().chain(tags).chain(note).collect();
    (!parts.is_empty()).then(|| parts.join("  "))
}
