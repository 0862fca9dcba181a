//! `prune`: its arguments, what it asks, and what it prints.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::cli::screen::{Scope, Screen, notes, scope, unless_none};
use crate::failure::{Context, Failure};
use crate::retention::prune::{self, Plan, Summary, Wanted};
use crate::save::LogSink;

// The arguments of `prune`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Sessions that go, whole: their ids or unique beginnings
    sessions: Vec<String>,
    /// Older contents go, not whole sessions
    #[arg(long)]
    generations: bool,
    /// What repairs set aside goes
    #[arg(long, conflicts_with = "keep_last")]
    damaged: bool,
    /// Only what is older: an age such as 90d or "6 months", or a date
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,
    /// The newest N stay: sessions of the scope, or generations of each file
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
    /// Only this project; by default the current directory's
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all", "sessions"])]
    project: Option<String>,
    /// All projects
    #[arg(long, conflicts_with = "sessions")]
    all: bool,
    /// What is old enough, and with SESSION --generations each older content, goes even where nothing else has it
    #[arg(long, conflicts_with = "damaged")]
    only_copies: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs `prune`.
pub(super) fn run(places: &Places, args: PruneArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    if !args.sessions.is_empty() && !args.generations && !args.damaged {
        let given = [("--older-than", args.older_than.is_some()), ("--keep-last", args.keep_last.is_some())];
        if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
            let why = "sessions that are named go whatever their age; leave one of the two out".to_owned();
            return Err(Failure::argument(name, &args.sessions.join(" "), &why));
        }
    }
    if args.only_copies && args.generations == args.sessions.is_empty() {
        let why = match args.generations {
            true => "older contents that nothing else has go from sessions that are named alone; name them",
            false => "sessions that are named go whoever has them; leave it out",
        };
        return Err(Failure::argument("--only-copies", &args.sessions.join(" "), why));
    }
    let project = match args.sessions.is_empty() {
        true => scope(&Scope { project: args.project, all: args.all })?.0,
        false => None,
    };
    let wanted = Wanted {
        sessions: args.sessions,
        project,
        generations: args.generations,
        damaged: args.damaged,
        older_than: args.older_than,
        keep_last: args.keep_last,
        only_copies: args.only_copies,
        dry_run: args.dry_run,
    };
    let plan = prune::plan(places, &wanted)?;
    if args.dry_run {
        return screen.answer(&Summary::of(&plan), |terminal| prune::to_text(&plan, terminal));
    }
    if !screen.json {
        let text = prune::to_text(&plan, &screen.terminal);
        screen.text(&text)?;
    }
    if !args.yes && plan.items.iter().any(|item| !item.is_begun()) {
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
        let mut stderr = io::stderr();
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
