//! `compress`: what it prints.

use layer1_prebackup::config::places::Places;

use crate::cli::screen::{Screen, counting, problem, unless_none};
use crate::failure::Failure;
use crate::retention::compress::{self, CompressRequest};
use crate::save::LogSink;
use crate::terminal;

/// Runs `compress`.
pub(super) fn run(places: &Places, request: &CompressRequest, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let journal = LogSink::new(places, false);
    let summary = counting("contents", |progress| compress::compress(places, &journal, request, progress))?;
    screen.answer(&summary, |terminal| compress::to_text(&summary, terminal))?;
    for failure in &summary.failed {
        problem(&format!("{}/{}: failed to {}", failure.project, failure.path, failure.error));
    }
    unless_none(summary.failed.len(), |failed| {
        Failure::new(format!("compress {}", terminal::count(failed as u64, "older content")))
    })
}
