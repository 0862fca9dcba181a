//! `list`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::list::{self, ListRequest};
use crate::browse::tree;
use crate::cli::screen::{Scope, Screen, here};
use crate::failure::Failure;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    request: ListRequest,
    /// Forks below what they were forked from, and subagents below what started them
    #[arg(long)]
    tree: bool,
}

/// Runs `list`.
pub(super) fn run(places: &Places, args: ListArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let Scope { project, all } = args.scope;
    let listing = ListRequest { project, all: Some(all), here: here(places), ..args.request };
    let listed = list::list(places, &listing)?;
    screen.offset = listing.offset.unwrap_or(0);
    if args.tree {
        let tree = tree::tree(places, listed)?;
        return screen.long_answer(&tree, |terminal| tree::to_text(&tree, terminal));
    }
    screen.long_answer(&listed, |terminal| list::to_text(&listed, terminal))
}
