//! What is shown before anything goes, and what is told afterwards.

use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};

use super::item::Item;
use super::plan::{Kept, Plan, Summary};
use crate::terminal::{self, Style, Terminal, fit, left, one_line};

/// What `--help` tells beyond the options.
const HELP: &str = "\
What goes:
  SESSION...                 these sessions, whole, from both stores and the index
  --older-than, --keep-last  whole sessions without a sign of life since then, or all but the newest N
  --generations              older contents that a newer one begins with, byte for byte
  --damaged                  what repairs set aside, where all of the session verifies by now

What makes it safe:
  Nothing is deleted until you have seen it listed and confirmed. What is called safe
  was just read and hashed, and is so again under the session's lock before it goes.
  A session whose bytes Claude Code does not have, all of them, is the only copy: by age or number it
  goes with --only-copies alone; --yes is not enough. So does, of a session that is named, an older
  content that no other begins with: it may be longer than the newest.
  A session that Claude Code still has would be saved again by the next sweep: by age or number it
  stays, unless the settings exclude it. If it is named it goes, and that is said.
  A session that is live is never touched, and no file of Claude Code's ever is.
  A run that was killed is finished by the next prune.

Exit code 1 if anything that was to go did not, or nobody confirmed it.

";

/// [`HELP`], and an example.
pub(crate) fn help() -> String {
    format!("{HELP}\nExample: {}", typed(LAYER3, "prune --older-than '6 months' --dry-run"))
}

/// Longest topic that is shown, in columns.
const TOPIC_COLUMNS: usize = 50;

/// The plan, for a person to decide on.
pub(crate) fn to_text(plan: &Plan, terminal: &Terminal) -> String {
    let mut text: String =
        plan.notes.iter().map(|note| terminal.line(Style::Yellow, &format!("note: {}", one_line(note)))).collect();
    for item in &plan.items {
        text.push_str(&line(item, terminal));
    }
    text.push_str(&kept_text(&plan.kept, "kept", terminal));
    text.push_str(&match plan.items.len() {
        0 => "Nothing to remove\n".to_owned(),
        _ => format!("{} to remove\n", sums(&plan.items)),
    });
    text
}

/// What was removed, and what was not.
pub(crate) fn summary_text(summary: &Summary, terminal: &Terminal) -> String {
    let mut text = kept_text(&summary.failed, "not removed", terminal);
    text.push_str(&match summary.pruned.len() {
        0 => "Nothing was removed\n".to_owned(),
        _ => format!("{} removed\n", sums(&summary.pruned)),
    });
    text
}

/// What is asked, and the answer that lets it go.
pub(crate) fn question(plan: &Plan) -> (String, &'static [&'static str]) {
    match plan.items.iter().filter(|item| item.only_copy).count() {
        0 => ("Remove them? [y/N] ".to_owned(), &["y", "yes"]),
        only => {
            let of = if only == plan.items.len() { "These".to_owned() } else { format!("{only} of these") };
            (format!("{of} exist nowhere else, so this cannot be undone. Type \"yes\" to delete: "), &["yes"])
        }
    }
}

/// One thing that goes, for the log.
pub(super) fn named(item: &Item) -> String {
    let store = item.store.map_or(String::new(), |store| format!(" of {}", store.name()));
    format!("{} {}{store} ({} bytes): {}", item.kind, name(item), item.bytes, item.why)
}

fn name(item: &Item) -> String {
    match &item.path {
        None => format!("{}/{}", item.project, item.session_id),
        Some(path) if item.kind == "set-aside" => path.clone(),
        Some(path) => format!("{}/{path}", item.project),
    }
}

fn line(item: &Item, terminal: &Terminal) -> String {
    let store = item.store.map_or(String::new(), |store| format!(" ({})", store.name()));
    let topic =
        item.topic.as_ref().map_or(String::new(), |topic| format!("  {}", fit(&one_line(topic), TOPIC_COLUMNS)));
    let style = if item.only_copy { Style::Red } else { Style::Green };
    let mut text = format!(
        "{}  {}  {:>7}  {}{store}{topic}\n    {}\n",
        left(item.kind, 10),
        terminal.minute(&item.time),
        Size(item.bytes),
        one_line(&name(item)),
        terminal.paint(style, &one_line(&item.why)),
    );
    if let Some(note) = &item.note {
        text.push_str(&format!("    {}\n", terminal.paint(Style::Yellow, &one_line(note))));
    }
    text
}

fn kept_text(kept: &[Kept], word: &str, terminal: &Terminal) -> String {
    let line = |kept: &Kept| {
        let session = one_line(&format!("{}/{}", kept.project, kept.session_id));
        format!("{}  {session}\n    {}\n", terminal.paint(Style::Yellow, &left(word, 10)), one_line(&kept.why))
    };
    kept.iter().map(line).collect()
}

fn sums(items: &[Item]) -> String {
    let kinds = [("session", "session"), ("generation", "generation"), ("set-aside", "set-aside file")];
    let count = |kind: &str| items.iter().filter(|item| item.kind == kind).count() as u64;
    let counts: Vec<String> = kinds
        .iter()
        .filter(|(kind, _)| count(kind) > 0)
        .map(|(kind, noun)| terminal::count(count(kind), noun))
        .collect();
    let only = items.iter().filter(|item| item.only_copy).count();
    let only = if only > 0 { format!(", {only} of them the only copy") } else { String::new() };
    format!("{} ({}){only}", counts.join(", "), Size(items.iter().map(|item| item.bytes).sum()))
}
