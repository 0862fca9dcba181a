//! What is shown before anything goes, and what is told afterwards.

use std::path::Path;

use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};

use super::types::{Item, Plan, Summary};
use crate::terminal::{self, Style, Terminal, fit, one_line, path_quoted};

/// What `--help` tells beyond the options.
const HELP: &str = "\
What is deleted:
  The conversation in both copies: every version, subagents and other side files, metadata, turns that
  were seen without a transcript, damaged files that were set aside, what waits to be saved, its entries
  in the search index (which is rebuilt), its id in the logs. It is deleted, not overwritten.
  Then every file of both copies is read, compressed ones unpacked, to check that nothing of it is left.

  With --match TEXT: in every conversation and memory, each piece of a message that holds the text, as it
  is typed, becomes \"[removed by threefold forget]\", in every version, subagent and side file. The rest
  stays byte for byte, and the conversation can be resumed. Lines of other files go whole. The name of a
  file stays as it is: if the text is in it, delete the conversation as a whole.

What keeps it from coming back:
  A note with its id stays in both copies. Hooks, sweeps, imports and saves skip the conversation from
  then on, also while it is still open. With --match the note has the hashes of the messages, and they are
  copied as replaced, although Claude Code still has them; typed once more it is a new message.
  --allow-again ends that.

What is not deleted:
  Claude Code's own files: they are listed, with the command that deletes them.
  Snapshots and backups of the disk, other machines, exports.
  Other conversations that quote it or began as a copy of it: they are named, to be looked at.

Exit code 1 if anything of it is left, or nobody confirmed it. If it is interrupted, the same command
finishes it, or --finish; until then `status` says so.

Example: ";

/// What `--help` tells beyond the options, with an example by the name that was typed.
pub(crate) fn help() -> String {
    format!("{HELP}{}", typed(LAYER3, "forget 8c1f04de --dry-run"))
}

/// What is asked; only `yes` deletes.
pub(crate) const QUESTION: &str = "This cannot be undone. Type \"yes\" to delete: ";

/// Longest title that is shown, in columns.
const TITLE_COLUMNS: usize = 60;

/// The plan, for a person to decide on.
pub(crate) fn to_text(plan: &Plan, terminal: &Terminal) -> String {
    let note = |note: &String| terminal.line(Style::Yellow, &format!("note: {}", one_line(note)));
    let mut text: String = plan.notes.iter().map(note).collect();
    for item in &plan.items {
        text.push_str(&described(item, terminal));
    }
    if plan.needle.is_some() {
        return text + &matching_text(plan);
    }
    let claude_files: Vec<&Path> = plan.items.iter().flat_map(|item| &item.claude_files).map(|path| &**path).collect();
    if !claude_files.is_empty() {
        let quoted: Vec<String> = claude_files.iter().map(|path| path_quoted(path)).collect();
        text.push_str(&format!(
            "Claude Code still has {} and Threefold leaves its files alone. To delete them too, after closing it there:\n  rm -r -- {}\n",
            if plan.items.len() == 1 { "it," } else { "some of them," },
            quoted.join(" ")
        ));
    }
    text.push_str(
        "Not reached: snapshots and backups of the disk, other machines, exports, Claude Code's history.jsonl\n",
    );
    let bytes = plan.items.iter().map(|item| item.bytes).sum();
    text.push_str(&format!("{} to delete from both copies ({})\n", conversations(plan.items.len()), Size(bytes)));
    text
}

/// What was deleted, and what was not.
pub(crate) fn summary_text(summary: &Summary, terminal: &Terminal) -> String {
    let mut text = String::new();
    for failed in &summary.failed {
        text.push_str(&terminal.line(Style::Red, &format!("not deleted: {}", one_line(failed))));
    }
    for path in &summary.still_there {
        let path = one_line(&path.display().to_string());
        text.push_str(&terminal.line(Style::Red, &format!("still holds some of it: {path}")));
    }
    if !summary.elsewhere.is_empty() {
        let ids: Vec<&str> = summary.elsewhere.iter().map(String::as_str).collect();
        text.push_str(&terminal.line(
            Style::Yellow,
            &format!("note: these mention it or hold a part of it, and stay: {}", one_line(&ids.join(", "))),
        ));
    }
    for id in &summary.named {
        let forget = typed(LAYER3, &format!("forget {id}"));
        let why = format!("still in the name of a file or folder of {id}, which stays: `{forget}` deletes all of it");
        text.push_str(&terminal.line(Style::Red, &one_line(&why)));
    }
    let (parts, whole): (Vec<_>, Vec<_>) = summary.forgotten.iter().partition(|item| item.messages.is_some());
    if !parts.is_empty() || whole.is_empty() {
        text.push_str(&format!("{} deleted\n", messages(parts)));
    }
    if !whole.is_empty() {
        text.push_str(&format!("{} deleted ({})\n", conversations(whole.len()), Size(summary.bytes)));
    }
    if summary.still_there.is_empty() && summary.failed.is_empty() {
        // What was looked for, and what was not, the notes say.
        if summary.checked_files > 0 && summary.named.is_empty() {
            let (files, bytes) = (terminal::count(summary.checked_files, "file"), Size(summary.checked_bytes));
            text.push_str(&format!("Checked: nothing of it is left in either copy ({files}, {bytes} read)\n"));
        }
        if !summary.forgotten.is_empty() {
            let allow = typed(LAYER3, "forget --allow-again ID");
            text.push_str(&format!("It will not be backed up again; `{allow}` would allow that\n"));
        }
    }
    text
}

/// What Claude Code still has of a text, and how much there is of it.
fn matching_text(plan: &Plan) -> String {
    let files: Vec<String> = plan
        .items
        .iter()
        .flat_map(|item| &item.claude_files)
        .map(|path| format!("  {}\n", path_quoted(path)))
        .collect();
    let mut text = match files.is_empty() {
        true => String::new(),
        false => format!(
            "Claude Code's own files still hold it. Threefold leaves them alone, and from then on copies them without it:\n{}",
            files.concat()
        ),
    };
    text.push_str(
        "Not reached: snapshots and backups of the disk, other machines, exports, Claude Code's history.jsonl\n",
    );
    text.push_str(&format!("{} to delete from both copies\n", messages(&plan.items)));
    text
}

fn messages<'i>(items: impl IntoIterator<Item = &'i Item>) -> String {
    let (mut all, mut conversations) = (0, 0);
    for item in items {
        all += item.messages.unwrap_or(0);
        conversations += 1;
    }
    format!("{} of {}", terminal::count(all, "message"), self::conversations(conversations))
}

fn conversations(count: usize) -> String {
    terminal::count(count as u64, "conversation")
}

fn described(item: &Item, terminal: &Terminal) -> String {
    let projects: Vec<&str> = item.projects.iter().map(String::as_str).collect();
    let name = match projects.is_empty() {
        true => item.session_id.clone(),
        false => format!("{}/{}", projects.join(","), item.session_id),
    };
    let title =
        item.title.as_ref().map_or(String::new(), |title| format!("  {}", fit(&one_line(title), TITLE_COLUMNS)));
    let time = item.time.as_ref().map_or(String::new(), |time| format!("last message {}, ", terminal.minute(time)));
    let what = match item.files {
        _ if item.messages.is_some() => {
            let memory = if item.is_memory { ", in what Claude Code remembers of the project" } else { "" };
            format!("{time}{} with the text{memory}", terminal::count(item.messages.unwrap_or(0), "message"))
        }
        0 => "nothing of it is in either copy; it will not be backed up".to_owned(),
        files => format!(
            "{time}{}, {}, {}",
            Size(item.bytes),
            terminal::count(files, "file"),
            terminal::count(item.versions, "version"),
        ),
    };
    format!("{}{title}\n    {}\n", terminal.paint(Style::Red, &one_line(&name)), one_line(&what))
}
