//! `compress`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::archive::LEVELS;
use layer1_prebackup::config::places::Places;

use crate::cli::screen::{Screen, complain, counting};
use crate::failure::Failure;
use crate::retention::compress::{self, LEVEL_DEFAULT, OLDER_THAN_DEFAULT, Wanted};
use crate::save::LogSink;
use crate::terminal::{self, one_line};

// The arguments of `compress`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct CompressArgs {
    /// Only contents that were stored before: an age such as 30d, or a date
    #[arg(long, value_name = "AGE", default_value = OLDER_THAN_DEFAULT)]
    older_than: String,
    /// How hard to try, from 1 to 19
    #[arg(long, value_name = "N", default_value_t = LEVEL_DEFAULT, value_parser = clap::value_parser!(i32).range(i64::from(*LEVELS.start())..=i64::from(*LEVELS.end())))]
    level: i32,
    /// Leave the newest content of each session plain
    #[arg(long)]
    generations_only: bool,
    /// Tell what would be compressed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `compress`.
pub(super) fn run(places: &Places, args: CompressArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let CompressArgs { older_than, level, generations_only, dry_run } = args;
    let wanted = Wanted { older_than, level, generations_only, dry_run };
    let journal = LogSink::new(places, false);
    let summary = counting("contents", |progress| compress::compress(places, &journal, &wanted, progress))?;
    if screen.json {
        screen.json(&summary)?;
    } else {
        let text = compress::to_text(&summary, &screen.terminal);
        screen.text(&text)?;
    }
    for failure in &summary.failed {
        let content = format!("{}/{}", failure.project, failure.path);
        complain(&format!("layer3-indexer: {}: failed to {}", one_line(&content), one_line(&failure.error)));
    }
    match summary.failed.len() {
        0 => Ok(()),
        failed => Err(Failure::new(format!("compress {}", terminal::count(failed as u64, "older content")))),
    }
}
