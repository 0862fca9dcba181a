//! `serve`: the MCP server.

use std::path::PathBuf;

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::settings::{Settings, parse_mcp_scope};

use crate::cli::archive::archive;
use crate::cli::screen::{absolute, here};
use crate::cli::why::child_env;
use crate::failure::{Failure, Kind};
use crate::scope::Limits;
use crate::serve;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Another directory whose project folders may hold transcripts to save
    #[arg(long = "allow-root", value_name = "DIR")]
    allow_roots: Vec<PathBuf>,
    /// Which conversations are handed to a model: of all projects, or of the client's project
    #[arg(long, value_name = "SCOPE", value_parser = ["project", "all"])]
    mcp_scope: Option<String>,
    /// Mask what looks like a secret in every answer
    #[arg(long)]
    mcp_redact: bool,
    /// Answer session_search and session_list from a team's archive in PostgreSQL, and nothing else
    #[arg(long, value_name = "postgres://NAME@HOST/DATABASE")]
    archive: Option<String>,
}

/// Runs `serve`.
pub(super) fn run(places: Places, args: ServeArgs, settings: &Settings) -> Result<(), Failure> {
    let allowed = args.allow_roots.into_iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    let mut here = here(&places);
    // Who starts the server is its client, whatever the environment came from.
    here.clients.insert(0, None);
    let of_project = args.mcp_scope.as_deref().and_then(parse_mcp_scope).or(settings.mcp_of_project);
    here.limits = Limits {
        project_of: of_project.unwrap_or(false).then(|| here.directory.clone()),
        exclude: places.policy.exclude.clone(),
    };
    if args.archive.is_some() && here.limits.project_of.is_some() {
        let message =
            "serve the archive: mcp_scope keeps the server to this computer's project, and an archive has none";
        return Err(Failure::new(message).of(Kind::InvalidInput));
    }
    let is_masking = args.mcp_redact || settings.mcp_redact.unwrap_or(false);
    let (env, archive) = (child_env(&places), args.archive.map(|address| archive(address, &places)));
    serve::serve(places, here, (env, is_masking, archive), &allowed)
}
