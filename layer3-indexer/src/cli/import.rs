//! `import`: everything that Claude Code and layer 1 have.

use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;

use crate::cli::screen::{Screen, complain, progress_bar};
use crate::failure::Failure;
use crate::save::LogSink;
use crate::save::import::{self, Summary};
use crate::terminal::{self, one_line};

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
    report_import(&summary?, screen)
}

fn report_import(summary: &Summary, screen: &mut Screen<'_>) -> Result<(), Failure> {
    if screen.json {
        screen.json(summary)?;
    } else {
        let mut line = format!(
            "{}: {} saved, {} unchanged",
            terminal::count(summary.sessions as u64, "session"),
            summary.saved,
            summary.unchanged
        );
        if summary.skipped > 0 {
            line.push_str(&format!(", {} empty", summary.skipped));
        }
        if !summary.failed.is_empty() {
            line.push_str(&format!(", {} failed", summary.failed.len()));
        }
        screen.text(&(line + "\n"))?;
    }
    for note in &summary.notes {
        complain(&format!("layer3-indexer: note: {}", one_line(note)));
    }
    for failure in &summary.failed {
        complain(&format!("layer3-indexer: {}: {}", failure.session_id, one_line(&failure.error)));
    }
    match summary.failed.len() {
        0 => Ok(()),
        failed => Err(Failure::some("save", failed, summary.sessions)),
    }
}
