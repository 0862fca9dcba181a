//! `list`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};
use serde_json::Value;

use crate::browse::list::{self, ListRequest};
use crate::browse::tree;
use crate::cli::host;
use crate::cli::screen::{Scope, Screen, here};
use crate::failure::Failure;
use crate::terminal::time::parse_rfc3339_ms;
use crate::terminal::{Terminal, one_line, short_id};

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    scope: Scope,
    /// What another computer sent to the third place, by its name there (`offsite machines`)
    #[arg(long, value_name = "HOST", conflicts_with_all = ["project", "since", "tag", "pinned", "gone", "sort", "tree"])]
    host: Option<String>,
    #[command(flatten)]
    request: ListRequest,
    /// Forks below what they were forked from, and subagents below what started them
    #[arg(long)]
    tree: bool,
}

/// Runs `list`.
pub(super) fn run(places: &Places, args: ListArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    if let Some(host) = &args.host {
        return of_host(places, host, &args.request, screen);
    }
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

fn of_host(places: &Places, host: &str, request: &ListRequest, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let mut answer = host::list(places, host)?;
    let all = answer.sessions.len();
    let offset = request.offset.unwrap_or(0).min(all);
    answer.sessions.drain(..offset);
    answer.sessions.truncate(request.limit.unwrap_or(list::LIMIT_DEFAULT));
    screen.offset = offset;
    screen.long_answer(&answer, |terminal| {
        let more = all - offset - answer.sessions.len();
        let more = if more > 0 { format!("{more} more; --limit N shows more\n") } else { String::new() };
        let show = typed(LAYER3, &format!("show ID --host {}", one_line(host)));
        let lines: String = answer.sessions.iter().map(|one| line(one, terminal)).collect();
        format!("{lines}{more}`{show}` shows one\n")
    })
}

fn line(one: &Value, terminal: &Terminal) -> String {
    let text = |field: &str| one_line(one[field].as_str().unwrap_or_default());
    let when = parse_rfc3339_ms(&text("changed")).map(|ms| terminal.clock.exact(ms)).unwrap_or_default();
    let size = Size(one["bytes"].as_u64().unwrap_or_default()).to_string();
    format!("{}  {when:<26}  {size:>9}  {}\n", short_id(&text("session_id")), text("project"))
}
