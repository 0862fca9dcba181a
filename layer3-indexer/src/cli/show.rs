//! `show`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;

use crate::browse::show::{self, Window};
use crate::cli::screen::Screen;
use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::stores::SessionCopies;

/// Characters of a conversation that `show` prints unless told otherwise.
const SHOW_CHARS_DEFAULT: usize = 1_000_000;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The session: its id or a unique beginning of it
    session: String,
    /// The part around this message: what `search` gives (a uuid, its beginning, or PATH:OFFSET), or an RFC 3339 time
    #[arg(long, value_name = "MESSAGE|TIME")]
    around: Option<String>,
    /// Only the last N messages
    #[arg(long, value_name = "N", conflicts_with = "around")]
    last: Option<usize>,
    /// At most about so many characters; what is left out is said
    #[arg(long, value_name = "N", default_value_t = SHOW_CHARS_DEFAULT)]
    max_chars: usize,
    /// An older content of the transcript, 1 being the oldest
    #[arg(long, value_name = "N", conflicts_with = "around")]
    generation: Option<u32>,
}

/// Runs `show`.
pub(super) fn run(places: &Places, args: ShowArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let copies = SessionCopies::find(&adopt_v1::stores(places)?, &args.session)?;
    let (around, last, generation) = (args.around, args.last, args.generation);
    let window = Window { around, last, max_chars: args.max_chars.max(1), generation };
    let conversation = show::conversation(&copies, &window)?;
    screen.answer(&conversation, |terminal| conversation.to_text(terminal))
}
