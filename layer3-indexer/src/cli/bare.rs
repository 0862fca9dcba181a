//! The command alone, at a terminal: the finder, then what was chosen in it.

use layer1_prebackup::config::places::Places;

use crate::browse::finder::{Purpose, Until, Verb};
use crate::cli::screen::{Screen, here};
use crate::cli::{export, find, restore, resume, show};
use crate::failure::Failure;
use crate::restore::Point;
use crate::scope::Scope;

/// Runs it.
pub(super) fn run(places: &Places, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let scope = Scope { all: false, project: None, here: here(places) };
    if !find::can_be_shown(screen) {
        return resume::run(places, resume::ResumeArgs::default(), screen);
    }
    let Some(chosen) = find::run(places, &scope, Purpose::Anything)? else { return Ok(()) };
    let session = Some(chosen.session);
    let found = match &chosen.until {
        Some(Until::Message(message)) => Some(message.clone()),
        _ => None,
    };
    let point = chosen.until.map(|until| match until {
        Until::Message(message) => Point::At(message),
        Until::Compaction => Point::BeforeCompaction(None),
    });
    match chosen.verb {
        Verb::Resume => resume::run(places, resume::ResumeArgs::of(session, point), screen),
        Verb::Restore => restore::run(places, restore::RestoreArgs::of(session), screen),
        Verb::Show => show::run(places, show::ShowArgs::of(session, found), screen),
        Verb::Export => export::run(places, &export::ExportArgs::to_browser(session), screen),
    }
}
