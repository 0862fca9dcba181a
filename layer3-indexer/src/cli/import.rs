//! `import`: everything that Claude Code and layer 1 have.

use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;

use crate::cli::screen::{Screen, notes, problem, progress_bar, unless_none};
use crate::failure::Failure;
use crate::save::LogSink;
use crate::save::import::{self, Summary};
use crate::terminal;

/// Runs `import`.
pub(super) fn run(places: &Places, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let bar = progress_bar("{bar:30} {percent}% of {msg} {eta}");
    let journal = LogSink::new(places, false);
    let summary = import::import(places, &journal, &|at| {
        bar.set_length(at.work_all);
        bar.set_position(at.work_done);
        bar.set_message(format!("{}, {}/{} sessions", Size(at.bytes), at.sessions_done, at.sessions_all));
    });
    bar.finish_and_clear();
    let summary = summary?;
    screen.answer(&summary, |_| summary_text(&summary))?;
    notes(&summary.notes);
    summary.failed.iter().for_each(|failure| problem(&format!("{}: {}", failure.session_id, failure.error)));
    unless_none(summary.failed.len(), |failed| Failure::some("save", failed, summary.sessions))
}

fn summary_text(summary: &Summary) -> String {
    let sessions = terminal::count(summary.sessions as u64, "session");
    let mut line = format!("{sessions}: {} saved, {} unchanged", summary.saved, summary.unchanged);
    for (number, what) in [(summary.skipped, "empty"), (summary.failed.len(), "failed")] {
        if number > 0 {
            line.push_str(&format!(", {number} {what}"));
        }
    }
    line + "\n"
}
