//! `prune`: its arguments, what it asks, and what it prints.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::wire::shown;

use crate::cli::screen::{Screen, here, notes, unless_none};
use crate::failure::{Context, Failure};
use crate::retention::prune::{self, Plan, PruneRequest, Summary};
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
            false => "sessions that are named go whoever has them; leave it out",
        };
        return Err(Failure::argument("--only-copies", &request.sessions.join(" "), why));
    }
    request.here = here(places);
    let plan = prune::plan(places, &request)?;
    if request.dry_run {
        return screen.answer(&Summary::of(&plan), |terminal| prune::to_text(&plan, terminal));
    }
    if !screen.json {
        let text = prune::to_text(&plan, &screen.terminal);
        screen.text(&text)?;
    }
    if !yes && plan.items.iter().any(|item| !item.is_begun()) {
        confirm(&plan, screen)?;
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
        Failure::new(format!("remove {failed} of {}: each is told above", plan.items.len()))
    })
}

/// Asks at the terminal. Any other answer than the one that was asked for is a no.
fn confirm(plan: &Plan, screen: &Screen<'_>) -> Result<(), Failure> {
    if screen.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = "remove anything: there is no terminal to ask at";
        return Err(Failure::new(message).hint("look with --dry-run, then say --yes"));
    }
    let (question, yes) = prune::question(plan);
    let ask = || {
        let mut line = String::new();
        let mut stderr = shown::Screen(io::stderr());
        stderr.write_all(question.as_bytes())?;
        stderr.flush()?;
        io::stdin().lock().read_line(&mut line).map(|_| line)
    };
    let line = ask().context("ask at the terminal")?;
    match yes.contains(&line.trim()) {
        true => Ok(()),
        false => Err(Failure::new("remove anything: it was not confirmed")),
    }
}
