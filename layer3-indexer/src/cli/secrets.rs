//! `secrets`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::secrets;
use crate::cli::screen::{Scope, Screen, counting, here};
use crate::failure::Failure;
use crate::scope;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct SecretsArgs {
    /// Only these conversations: their ids or unique beginnings of them
    #[arg(value_name = "ID", conflicts_with_all = ["project", "all"])]
    conversations: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

/// Runs `secrets`.
pub(super) fn run(places: &Places, args: SecretsArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let Scope { project, all } = args.scope;
    let scope = scope::Scope { all, project, here: here(places) };
    let found = counting("conversations", |progress| secrets::secrets(places, &args.conversations, &scope, progress))?;
    screen.long_answer(&found, |terminal| secrets::to_text(&found, terminal))
}
