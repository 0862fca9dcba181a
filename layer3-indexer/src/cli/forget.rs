//! `forget`: its arguments, what it asks, and what it prints.

use std::io::{self, Read};

use clap::Args;
use layer1_prebackup::config::places::Places;
use serde_json::json;

use crate::cli::called::id_of;
use crate::cli::screen::{Screen, confirm, counting, notes};
use crate::failure::{Context, Failure};
use crate::retention::forget::{self, ForgetRequest, Summary};
use crate::save::LogSink;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    #[command(flatten)]
    request: ForgetRequest,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Let conversations that were forgotten be backed up again; what was deleted does not come back
    #[arg(long, conflicts_with_all = ["dry_run", "matching", "finish"])]
    allow_again: bool,
}

impl ForgetArgs {
    /// Whether it asks before it deletes.
    pub(super) fn asks(&self) -> bool {
        !self.yes && !self.request.finish && !self.allow_again
    }
}

/// Runs `forget`.
pub(super) fn run(places: &Places, args: ForgetArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let asks = args.asks();
    let ForgetArgs { mut request, allow_again, .. } = args;
    if request.matching.as_deref() == Some("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("read the text from standard input")?;
        request.matching = Some(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    if allow_again {
        return let_back(places, &request.conversations, screen);
    }
    for typed in &mut request.conversations {
        *typed = id_of(places, std::mem::take(typed), screen)?;
    }
    let plan = forget::plan(places, &request)?;
    if request.dry_run {
        return screen.answer(&Summary::of(&plan), |terminal| forget::to_text(&plan, terminal));
    }
    if !screen.json {
        let text = forget::to_text(&plan, &screen.terminal);
        screen.text(&text)?;
    }
    if asks {
        match confirm(screen, forget::QUESTION, &["yes"]).context("ask at the terminal")? {
            Some(true) => {}
            Some(false) => return Err(Failure::new("delete anything: cancelled")),
            None => {
                let hint = "look with --dry-run, then add --yes";
                return Err(Failure::new("delete anything: there is no terminal to ask at").hint(hint));
            }
        }
    }
    let journal = LogSink::new(places, false);
    let summary = counting("conversations", |progress| forget::carry_out(places, &journal, &plan, progress))?;
    if screen.json {
        screen.json(&summary)?;
    } else {
        let text = forget::summary_text(&summary, &screen.terminal);
        screen.text(&text)?;
    }
    notes(&summary.notes);
    match summary.failed.is_empty() && summary.still_there.is_empty() {
        true if summary.named.is_empty() => Ok(()),
        true => Err(Failure::new("delete it from names of files and folders: the conversations are named above")),
        false => {
            Err(Failure::new("delete all of it: what is left is named above").hint("the same command tries again"))
        }
    }
}

fn let_back(places: &Places, typed: &[String], screen: &mut Screen<'_>) -> Result<(), Failure> {
    let mut allowed = Vec::new();
    for typed in typed {
        allowed.push(forget::allow_again(places, typed)?.to_string());
    }
    screen.answer(&json!({ "allowed": allowed }), |_| {
        allowed.iter().map(|id| format!("{id} is backed up again from now on\n")).collect()
    })
}
