//! `prune`: its arguments, what it asks, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::cli::called::id_of;
use crate::cli::screen::{Screen, confirm, here, notes, unless_none};
use crate::failure::{Context, Failure};
use crate::retention::prune::{self, PruneRequest, Summary};
use crate::save::LogSink;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    request: PruneRequest,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl PruneArgs {
    /// Whether it asks before it deletes.
    pub(super) fn asks(&self) -> bool {
        !self.yes
    }
}

/// Runs `prune`.
pub(super) fn run(places: &Places, args: PruneArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let PruneArgs { mut request, yes } = args;
    if !request.sessions.is_empty() && !request.generations && !request.damaged {
        let given = [("--older-than", request.older_than.is_some()), ("--keep-last", request.keep_last.is_some())];
        if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
            let why = "sessions that are named go whatever their age; leave one of the two out".to_owned();
            return Err(Failure::argument(name, &request.sessions.join(" "), &why));
        }
    }
    if request.only_copies && request.generations == request.sessions.is_empty() {
        let why = match request.generations {
            true => "older contents that nothing else has go from sessions that are named alone; name them",
            false => "conversations that are named are deleted in any case; leave it out",
        };
        return Err(Failure::argument("--only-copies", &request.sessions.join(" "), why));
    }
    request.here = here(places);
    for typed in &mut request.sessions {
        *typed = id_of(places, std::mem::take(typed), screen)?;
    }
    let plan = prune::plan(places, &request)?;
    if request.dry_run {
        return screen.answer(&Summary::of(&plan), |terminal| prune::to_text(&plan, terminal));
    }
    if !screen.json {
        let text = prune::to_text(&plan, &screen.terminal);
        screen.text(&text)?;
    }
    if !yes && plan.items.iter().any(|item| !item.is_begun()) {
        let (question, yes) = prune::question(&plan);
        let (doing, hint) = ("remove anything", "look with --dry-run, then say --yes");
        match confirm(screen, &question, yes).context("ask at the terminal")? {
            Some(true) => {}
            Some(false) => return Err(Failure::new(format!("{doing}: cancelled"))),
            None => return Err(Failure::new(format!("{doing}: there is no terminal to ask at")).hint(hint)),
        }
    }
    let summary = prune::carry_out(places, &LogSink::new(places, false), &plan)?;
    if screen.json {
        screen.json(&summary)?;
    } else if !plan.items.is_empty() {
        let text = prune::summary_text(&summary, &screen.terminal);
        screen.text(&text)?;
    }
    notes(&summary.notes);
    unless_none(summary.failed.len(), |failed| {
        Failure::new(format!("remove {failed} of {}: each is named above", plan.items.len()))
    })
}
