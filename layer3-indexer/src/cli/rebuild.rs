//! `rebuild`: the index made again.

use layer1_prebackup::config::places::Places;

use crate::cli::screen::{Screen, counting, problem, unless_none};
use crate::failure::Failure;
use crate::save::rebuild;
use crate::terminal::count;

/// Runs `rebuild`.
pub(super) fn run(places: &Places, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let rebuilt = counting("sessions", |progress| rebuild::rebuild(places, progress))?;
    screen.answer(&rebuilt, |_| {
        let (sessions, messages) = (count(rebuilt.sessions, "session"), count(rebuilt.messages, "message"));
        format!("Index made again: {sessions}, {messages}\n")
    })?;
    rebuilt.failed.iter().for_each(|failure| problem(failure));
    let all = rebuilt.sessions as usize + rebuilt.failed.len();
    unless_none(rebuilt.failed.len(), |failed| Failure::some("index", failed, all))
}
