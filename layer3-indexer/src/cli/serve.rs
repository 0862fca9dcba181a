//! `serve`: the MCP server.

use std::path::PathBuf;

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::cli::screen::{absolute, here};
use crate::cli::why::child_env;
use crate::failure::Failure;
use crate::serve;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Another directory whose project folders may hold transcripts to save
    #[arg(long = "allow-root", value_name = "DIR")]
    allow_roots: Vec<PathBuf>,
}

/// Runs `serve`.
pub(super) fn run(places: Places, args: ServeArgs) -> Result<(), Failure> {
    let allowed = args.allow_roots.into_iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    let mut here = here(&places);
    // Who starts the server is its client, whatever the environment came from.
    here.clients.insert(0, None);
    let env = child_env(&places);
    serve::serve(places, here, env, &allowed)
}
