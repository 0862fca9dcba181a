//! `list`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::list::{self, Listing};
use crate::cli::screen::{Scope, Screen, scope};
use crate::failure::Failure;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    scope: Scope,
    /// Only with a message since: a date, yesterday, an RFC 3339 time, or an age such as 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// At most so many sessions
    #[arg(long, value_name = "N", default_value_t = list::LIMIT_DEFAULT)]
    limit: usize,
}

/// Runs `list`.
pub(super) fn run(places: &Places, args: ListArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
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
