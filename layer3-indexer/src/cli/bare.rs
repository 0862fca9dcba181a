//! The command alone, at a terminal: the finder, then what was chosen in it.

use std::path::Path;
use std::process::{Command, Stdio};

use layer1_prebackup::config::places::Places;

use crate::browse::finder::{Purpose, Until, Verb};
use crate::cli::screen::{Screen, here};
use crate::cli::{export, find, restore, resume, show};
use crate::failure::Failure;
use crate::restore::Point;
use crate::scope::Scope;

/// What opens a page, the first that there is: the user's choice, then those of the systems.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

/// Runs it.
pub(super) fn run(places: &Places, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let scope = Scope { all: false, project: None, here: here(places) };
    if !find::can_be_shown(screen) {
        return resume::run(places, resume::ResumeArgs::default(), screen);
    }
    let Some(chosen) = find::run(places, &scope, Purpose::Anything)? else { return Ok(()) };
    let session = Some(chosen.session);
    let point = chosen.until.map(|until| match until {
        Until::Message(message) => Point::At(message),
        Until::Compaction => Point::BeforeCompaction(None),
    });
    match chosen.verb {
        Verb::Resume => resume::run(places, resume::ResumeArgs::of(session, point), screen),
        Verb::Restore => restore::run(places, restore::RestoreArgs::of(session), screen),
        Verb::Show => show::run(places, show::ShowArgs::of(session), screen),
        Verb::Export => {
            let id = session.as_deref().and_then(|session| session.rsplit('/').next()).unwrap_or_default();
            let page = std::env::temp_dir().join(format!("threefold-{id}.html"));
            export::run(places, &export::ExportArgs::to_page(session.clone(), page.clone()), screen)?;
            open(&page);
            Ok(())
        }
    }
}

/// Opens a page in a browser. Where none can be started, its path was printed.
fn open(page: &Path) {
    let chosen = std::env::var("BROWSER").ok().filter(|browser| !browser.is_empty() && !browser.contains(['%', ' ']));
    for program in chosen.iter().map(String::as_str).chain(OPENERS) {
        let mut command = Command::new(program);
        command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.spawn().is_ok() {
            return;
        }
    }
}
