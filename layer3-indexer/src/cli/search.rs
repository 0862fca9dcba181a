//! `search`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::search::{self, Search};
use crate::cli::screen::{Scope, Screen, scope};
use crate::failure::Failure;
use crate::index::Marks;
use crate::terminal::one_line;

/// Marks of matched words on a colour terminal: characters that no text has, painted later.
const MARKS_COLOUR: (&str, &str) = ("\u{e000}", "\u{e001}");

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
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

/// Runs `search`.
pub(super) fn run(places: &Places, args: SearchArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
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
