//! `rebuild`: the index made again.

use layer1_prebackup::config::places::Places;

use crate::cli::screen::{Screen, complain, counting};
use crate::failure::Failure;
use crate::save::rebuild;
use crate::terminal::{self, one_line};

/// Runs `rebuild`.
pub(super) fn run(places: &Places, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let rebuilt = counting("sessions", |progress| rebuild::rebuild(places, progress))?;
    if screen.json {
        screen.json(&rebuilt)?;
    } else {
        let sessions = terminal::count(rebuilt.sessions, "session");
        let messages = terminal::count(rebuilt.messages, "message");
        screen.text(&format!("Index made again: {sessions}, {messages}\n"))?;
    }
    for failure in &rebuilt.failed {
        complain(&format!("layer3-indexer: {}", one_line(failure)));
    }
    match rebuilt.failed.len() {
        0 => Ok(()),
        failed => Err(Failure::some("index", failed, rebuilt.sessions as usize + failed)),
    }
}
