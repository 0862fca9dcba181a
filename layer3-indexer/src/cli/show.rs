//! `show`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::show::{self, Window};
use crate::cli::screen::Screen;
use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::stores::SessionCopies;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The session: its id or a unique beginning of it
    session: String,
    #[command(flatten)]
    window: Window,
}

/// Runs `show`.
pub(super) fn run(places: &Places, args: ShowArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let copies = SessionCopies::find(&adopt_v1::stores(places)?, &args.session)?;
    let window = Window { max_chars: args.window.max_chars.max(1), ..args.window };
    let conversation = show::conversation(&copies, &window)?;
    screen.answer(&conversation, |terminal| conversation.to_text(terminal))
}
