//! `search`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{LAYER3, typed};

use crate::browse::hosts;
use crate::browse::search::{self, SearchRequest};
use crate::cli::host;
use crate::cli::screen::{Scope, Screen, here};
use crate::failure::Failure;
use crate::index::Marks;
use crate::terminal::shell_quoted;

/// Marks of matched words on a colour terminal: characters that no text has, painted later.
const MARKS_COLOUR: (&str, &str) = ("\u{e000}", "\u{e001}");

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Words (all must occur), "a phrase", OR, NOT, prefix*, NEAR(a b, 5); or any other text, behind `--` if it begins with -
    #[arg(required_unless_present_any = ["tool", "file", "role", "branch", "session_id", "tag"])]
    query: Vec<String>,
    /// Also what other computers have sent to the third place, as it was pulled last (`offsite pull`)
    #[arg(long)]
    all_hosts: bool,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    request: SearchRequest,
}

/// Runs `search`.
pub(super) fn run(places: &Places, args: SearchArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let SearchArgs { query, all_hosts, scope: of, request } = args;
    let is_by_tag_alone = query.is_empty()
        && [&request.tool, &request.file, &request.role, &request.branch, &request.session_id]
            .iter()
            .all(|of| of.is_none());
    if is_by_tag_alone {
        let tags: String = request.tag.iter().map(|tag| format!(" --tag {}", shell_quoted(tag))).collect();
        let list = typed(LAYER3, &format!("list --all{tags}"));
        return Err(
            Failure::new("search: there are no words to search for").hint(format!("`{list}` shows what has that tag"))
        );
    }
    let marks = if screen.terminal.colour && !screen.json {
        Marks { start: MARKS_COLOUR.0.to_owned(), end: MARKS_COLOUR.1.to_owned() }
    } else {
        Marks::default()
    };
    let Scope { project, all } = of;
    let search =
        SearchRequest { query: query.join(" "), project, all: Some(all), here: here(places), marks, ..request };
    if all_hosts || search.host.is_some() {
        let there = host::pulled(places, search.host.as_deref())?;
        let own = all_hosts.then(|| (None, places.clone()));
        let hosts = own.into_iter().chain(there.into_iter().map(|(name, places)| (Some(name), places))).collect();
        let found = hosts::search_hosts(places, hosts, &search)?;
        screen.offset = search.passed_over();
        return screen.long_answer(&found.flat(), |terminal| hosts::to_text(&found, terminal));
    }
    let results = search::search(places, &search)?;
    screen.offset = search.passed_over();
    screen.long_answer(&results, |terminal| search::to_text(&results, &search, terminal))
}
