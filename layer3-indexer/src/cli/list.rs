//! `list`: its arguments, and what it prints.

use std::collections::HashMap;

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER2, LAYER3, typed};
use serde_json::Value;

use crate::browse::list::{self, ListRequest};
use crate::browse::tree;
use crate::cli::host;
use crate::cli::screen::{Scope, Screen, here};
use crate::failure::Failure;
use crate::index::{Glance, Index};
use crate::terminal::time::parse_rfc3339_ms;
use crate::terminal::{Terminal, fit, one_line, short_id};

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
    name(places, host, &mut answer.sessions);
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
        let nameless = answer.sessions.iter().any(|one| one["title"].is_null());
        let pull = typed(LAYER2, "offsite pull");
        let titles = if nameless { format!("`{pull}` brings their titles too\n") } else { String::new() };
        format!("{lines}{more}{titles}`{show}` shows one\n")
    })
}

/// Gives each the title that what was pulled of that computer says, or what is on this one, or how it began there.
fn name(places: &Places, host: &str, sessions: &mut [Value]) {
    let pulled = host::pulled(places, Some(host)).unwrap_or_default().into_iter().map(|(_, places)| places);
    // Where titles cannot be read, the list has none.
    let mut titles = titles(places).unwrap_or_default();
    for there in pulled {
        titles.extend(self::titles(&there).unwrap_or_default());
    }
    for session in sessions {
        let title = session["session_id"].as_str().and_then(|id| titles.remove(id));
        session["title"] = title.map_or(Value::Null, Value::from);
    }
}

/// What the conversations of an index are called or how they began, by id.
fn titles(places: &Places) -> Result<HashMap<String, String>, Failure> {
    let Some(index) = Index::open_read_only(&places.index)? else { return Ok(HashMap::new()) };
    let glances = index.glances()?;
    let untitled: Vec<i64> = glances.iter().filter(|one| one.title.is_none()).map(|one| one.row).collect();
    let mut begun: HashMap<i64, String> = index.beginnings(&untitled)?.into_iter().collect();
    let title = |one: Glance| Some((one.session, one.title.or_else(|| begun.remove(&one.row))?));
    Ok(glances.into_iter().filter_map(title).collect())
}

fn line(one: &Value, terminal: &Terminal) -> String {
    let text = |field: &str| one_line(one[field].as_str().unwrap_or_default());
    let when = parse_rfc3339_ms(&text("changed")).map(|ms| terminal.clock.exact(ms)).unwrap_or_default();
    let size = Size(one["bytes"].as_u64().unwrap_or_default()).to_string();
    let title = one["title"].as_str().map(|title| format!("  {}", one_line(title))).unwrap_or_default();
    let line = format!("{}  {when:<26}  {size:>9}  {}{title}", short_id(&text("session_id")), text("project"));
    format!("{}\n", if terminal.interactive { fit(&line, terminal.columns) } else { line.into() })
}
