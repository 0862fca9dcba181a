//! The finder, for who types no conversation at a terminal.

use std::io::{self, IsTerminal};

use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::places::Places;

use crate::browse::finder::{self, Purpose, Verb};
use crate::cli::screen::{Screen, complain};
use crate::failure::Failure;
use crate::index::Index;
use crate::scope::Scope;

/// Whether somebody sits at a terminal that can show more than lines.
pub(super) fn can_be_shown(screen: &Screen<'_>) -> bool {
    let is_plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !screen.json && !screen.for_model && !is_plain && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Which conversation, for what one is needed for.
pub(super) fn choose(places: &Places, scope: &Scope, verb: Verb) -> Result<String, Failure> {
    let chosen = run(places, scope, Purpose::Only(verb))?;
    chosen.map(|chosen| chosen.session).ok_or_else(|| Failure::new("choose a conversation: none was chosen"))
}

/// The finder; `None` where nothing was chosen in it.
pub(super) fn run(places: &Places, scope: &Scope, purpose: Purpose) -> Result<Option<finder::Chosen>, Failure> {
    if !is_whole(places) {
        complain("The search index lacks conversations. It is being made whole, which may take a while…");
    }
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    finder::run(places, scope, purpose, !no_colour)
}

/// Whether the index needs nothing before it is asked; in doubt it does not.
fn is_whole(places: &Places) -> bool {
    let Ok(Some(archive)) = Archive::open(&places.layer3_store) else { return true };
    Index::open_read_only(&places.index)
        .is_ok_and(|index| index.is_some_and(|index| matches!(index.is_incomplete(&archive), Ok(false))))
}
