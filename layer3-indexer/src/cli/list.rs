//! `list`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::list::{self, ListRequest};
use crate::cli::screen::{Scope, Screen, scope};
use crate::failure::Failure;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    request: ListRequest,
}

/// Runs `list`.
pub(super) fn run(places: &Places, args: ListArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let (project, said) = scope(&args.scope)?;
    let listing = ListRequest { project, ..args.request };
    let listed = list::list(places, &listing)?;
    let is_lacking = listed.sessions.is_empty() && listing.project.is_some();
    let hint = if is_lacking { "`--all` lists all projects.\n" } else { "" };
    screen.answer(&listed, |terminal| list::to_text(&listed, &said, terminal) + hint)
}
