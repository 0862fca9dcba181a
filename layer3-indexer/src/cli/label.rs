//! `name`, `tag`, `pin` and `note`: their arguments, and what they print.

use clap::Args;
use layer1_prebackup::archive::LabelChange;
use layer1_prebackup::config::places::Places;

use crate::cli::called::one;
use crate::cli::screen::{Screen, notes};
use crate::failure::Failure;
use crate::save::LogSink;
use crate::save::labels::{self, Labelled, checked_name, checked_note, checked_tag};
use crate::terminal::{Terminal, lines, one_line};

// Said as documentation, these would stand in the help instead of what the commands are for.
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The conversation: its id, a unique beginning of it, or what it is called
    session: String,
    /// The name; at most 100 characters
    #[arg(required_unless_present = "remove")]
    name: Option<String>,
    /// Take the name away; the title that Claude Code gave it is shown again
    #[arg(long, conflicts_with = "name")]
    remove: bool,
}

#[derive(Debug, Args)]
pub(super) struct TagArgs {
    /// The conversation: its id, a unique beginning of it, or what it is called
    session: String,
    /// The tags: words without a blank, at most 40 characters each
    #[arg(required = true)]
    tags: Vec<String>,
    /// Take these tags away
    #[arg(long)]
    remove: bool,
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// The conversation: its id, a unique beginning of it, or what it is called
    session: String,
    /// Unpin it
    #[arg(long)]
    remove: bool,
}

#[derive(Debug, Args)]
pub(super) struct NoteArgs {
    /// The conversation: its id, a unique beginning of it, or what it is called
    session: String,
    /// The note; at most 2000 characters
    #[arg(required_unless_present = "remove")]
    note: Option<String>,
    /// Take the note away
    #[arg(long, conflicts_with = "note")]
    remove: bool,
}

/// Runs `name`.
pub(super) fn run_name(places: &Places, args: NameArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let name = args.name.as_deref().map(checked_name).transpose()?;
    label(places, &args.session, &[LabelChange::Name(name)], screen)
}

/// Runs `tag`.
pub(super) fn run_tag(places: &Places, args: TagArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let change = |tag: &String| Ok(LabelChange::Tag(checked_tag(tag)?, !args.remove));
    let changes = args.tags.iter().map(change).collect::<Result<Vec<_>, Failure>>()?;
    label(places, &args.session, &changes, screen)
}

/// Runs `pin`.
pub(super) fn run_pin(places: &Places, args: PinArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    label(places, &args.session, &[LabelChange::Pinned(!args.remove)], screen)
}

/// Runs `note`.
pub(super) fn run_note(places: &Places, args: NoteArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let note = args.note.as_deref().map(checked_note).transpose()?;
    label(places, &args.session, &[LabelChange::Note(note)], screen)
}

fn label(places: &Places, typed: &str, changes: &[LabelChange], screen: &mut Screen<'_>) -> Result<(), Failure> {
    let key = one(places, typed, screen)?;
    let labelled = labels::label(places, &LogSink::new(places, false), &key, changes)?;
    screen.answer(&labelled, |terminal| to_text(&labelled, terminal))?;
    notes(&labelled.notes);
    Ok(())
}

/// What the conversation is called now.
fn to_text(labelled: &Labelled, terminal: &Terminal) -> String {
    let mut parts =
        vec![labelled.name.as_deref().map_or("no name".to_owned(), |name| format!("\"{}\"", one_line(name)))];
    parts.extend(labelled.pinned.then(|| "pinned".to_owned()));
    parts.extend(labelled.tags.iter().map(|tag| format!("#{}", one_line(tag))));
    let id = format!("{}/{}", labelled.project, labelled.session_id);
    let mut text = format!("{}  {}\n", terminal.paint(crate::terminal::Style::Cyan, &one_line(&id)), parts.join("  "));
    if let Some(note) = &labelled.note {
        text.push_str(&format!("{}\n", lines(note)));
    }
    text
}
