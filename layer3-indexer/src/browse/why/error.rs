//! What was run after an error before, and whether it helped.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::commands::{SHELL, phrase};
use super::target::Target;
use super::types::{Answer, Asking, Found, Kind, SHOWN_CHARS, message_of};
use crate::index::fold::{folded, words};
use crate::index::{IndexError, Line, Wanted};
use crate::transcript::metadata::{EDITING_TOOLS, argument, shortened, touched_file};
use crate::transcript::record::{Block, with_record};

/// Answers that are looked at, the newest first.
const ERRORS_MAX: usize = 300;
/// Conversations that are followed.
const FOLLOWED_MAX: usize = 60;
/// Records before an error among which its call stands, and records behind it that are looked at.
const BEFORE_MAX: usize = 60;
const AFTER_MAX: usize = 200;
/// Steps that are shown.
const STEPS_MAX: usize = 12;
/// Words of an error that are looked for.
const WORDS_MAX: usize = 40;

/// Something that was run.
struct Run {
    id: String,
    /// What tells it apart from another thing that was run.
    what: String,
    shown: String,
}

/// What was run after the error, in the conversations that met it.
pub(super) fn after(asking: &Asking<'_>, error: &str, target: Option<&Target>) -> Result<Found, IndexError> {
    let of_file =
        target.map(|target| asking.index.sessions_of_file(&target.relative().to_string_lossy(), asking.within));
    let of_file = of_file.transpose()?;
    let within = of_file.as_deref().or(asking.within);
    let all: Vec<&str> = words(error).take(WORDS_MAX).collect();
    let mut lasting: Vec<&str> = all.iter().copied().filter(|word| !word.chars().any(|c| c.is_ascii_digit())).collect();
    // Of an error that is nothing but a number, the number.
    if lasting.is_empty() {
        lasting.clone_from(&all);
    }
    let together = |words: &[&str]| words.iter().map(|word| phrase(word)).collect::<Vec<_>>().join(" AND ");
    // As it was printed; the same words, which are the error if they stand in one line; and without what differs each time, numbers and names with numbers in them.
    let ways = [(phrase(&all.join(" ")), true), (together(&all), false), (together(&lasting), false)];
    let (mut answers, mut notes) = (Vec::new(), Vec::new());
    for (expression, is_exact) in ways.iter().filter(|_| !all.is_empty()) {
        let expression = format!("tool_output : ({expression})");
        for tool in [Some(SHELL), None] {
            let wanted = Wanted::Words { expression: &expression, tool, limit: ERRORS_MAX };
            let (mut errors, mut seen): (Vec<Line>, usize) = (Vec::new(), 0);
            asking.index.lines(asking.archive, wanted, within, &mut |line| {
                seen += 1;
                errors.extend(Some(line).filter(|line| !line.is_echo));
                ControlFlow::Continue(())
            })?;
            let errors = first_of_each(errors);
            for error in errors.iter().take(FOLLOWED_MAX) {
                answers.extend(followed(asking, error, &lasting, &all, *is_exact)?);
            }
            if !answers.is_empty() && (seen == ERRORS_MAX || errors.len() > FOLLOWED_MAX) {
                notes.push("many conversations have this error; only the newest were looked at. A file or a project narrows it".to_owned());
            }
            if !answers.is_empty() {
                break;
            }
        }
        if !answers.is_empty() {
            break;
        }
    }
    // What helped first; of equals the newest.
    answers.sort_by_key(|answer: &Answer| (answer.worked != Some(true), answer.after.is_empty()));
    let words = Some(all.join(" ")).filter(|words| !words.is_empty());
    let file = target.map(|target| target.path.display().to_string());
    Ok(Found { answers, words, file, notes, ..Found::default() })
}

/// Of each transcript the line where the error comes first; those that have it last first.
fn first_of_each(errors: Vec<Line>) -> Vec<Line> {
    let mut first: Vec<Line> = Vec::new();
    for error in errors {
        match first.iter_mut().find(|known| known.is_in_file_of(&error)) {
            Some(known) => *known = error,
            None => first.push(error),
        }
    }
    first
}

fn followed(
    asking: &Asking<'_>,
    error: &Line,
    words: &[&str],
    numbered: &[&str],
    is_exact: bool,
) -> Result<Option<Answer>, IndexError> {
    let Some((id, printed)) = answer_with(&error.bytes, words) else { return Ok(None) };
    let is_exact = is_exact || holds_all(&printed, numbered);
    let mut failed: Option<Run> = None;
    let before = Wanted::Before { line: error, limit: BEFORE_MAX };
    asking.index.lines(asking.archive, before, None, &mut |line| {
        failed = runs_in(&line.bytes).into_iter().find(|run| run.id == id);
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let (mut steps, mut worked) = (Vec::new(), false);
    let mut pending: HashMap<String, String> = HashMap::new();
    let after = Wanted::After { line: error, limit: AFTER_MAX };
    asking.index.lines(asking.archive, after, None, &mut |line| {
        for run in runs_in(&line.bytes) {
            pending.insert(run.id, run.what);
            steps.push(run.shown);
        }
        for (id, is_well) in results_in(&line.bytes, words) {
            let is_again = failed.as_ref().is_some_and(|failed| pending.get(&id) == Some(&failed.what));
            worked |= is_again && is_well;
        }
        if worked { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    match worked {
        true => drop(steps.drain(..steps.len().saturating_sub(STEPS_MAX))),
        false => steps.truncate(STEPS_MAX),
    }
    let answer = Answer::of(error, message_of(error), Kind::Run, is_exact);
    let answer = if is_exact {
        answer
    } else {
        answer.because("an error of the same words, in another order or with other numbers")
    };
    Ok(Some(Answer {
        error: Some(printed),
        command: failed.map(|run| run.shown),
        after: steps,
        worked: Some(worked),
        asked: asking.asked(error)?,
        ..answer
    }))
}

/// Whether a line holds all these words.
fn holds_all(line: &str, words: &[&str]) -> bool {
    let line = folded(line);
    words.iter().all(|word| line.contains(&folded(word)))
}

/// The call that the error is of, and the line of its answer that says most of it.
fn answer_with(bytes: &[u8], words: &[&str]) -> Option<(String, String)> {
    let held = |line: &str| {
        let line = folded(line);
        words.iter().filter(|word| line.contains(&folded(word))).count()
    };
    let of_block = |block: &Block<'_>| match block {
        Block::ToolResult { id: Some(id), text, .. } => {
            // The first of those that say as much.
            let best = text.lines().rev().max_by_key(|line| held(line))?;
            (held(best) > 0).then(|| (id.to_string(), shortened(best, SHOWN_CHARS)))
        }
        _ => None,
    };
    with_record(bytes, |record| record.blocks.iter().find_map(of_block))?
}

/// What a record runs that changes something: commands, and edits of files.
fn runs_in(bytes: &[u8]) -> Vec<Run> {
    let run = |block: &Block<'_>| {
        let Block::ToolUse { name, id: Some(id), input: Some(input) } = block else { return None };
        let (what, shown) = if name == SHELL {
            let command = argument(input, "command")?;
            (program_of(&command), format!("$ {}", shortened(&command, SHOWN_CHARS)))
        } else {
            let file = EDITING_TOOLS.contains(&&**name).then(|| touched_file(input)).flatten()?;
            (format!("{name} {file}"), format!("{name} {file}"))
        };
        Some(Run { id: id.to_string(), what, shown })
    };
    with_record(bytes, |record| record.blocks.iter().filter_map(run).collect()).unwrap_or_default()
}

/// What a command runs, by its first words: `cd /w && cargo test --all` is `cargo test`.
fn program_of(command: &str) -> String {
    let mut parts = command.split(['\n', ';', '|', '&']).map(str::trim).filter(|part| !part.is_empty());
    let is_work = |part: &&str| !part.starts_with("cd ") && !part.starts_with("export ");
    let part = parts.clone().find(is_work).or_else(|| parts.next()).unwrap_or_default();
    let words = part.split_whitespace().filter(|word| !word.starts_with('-') && !word.contains('='));
    words.take(2).collect::<Vec<_>>().join(" ")
}

/// The results in a record: of which call, and whether it went well without the error.
fn results_in(bytes: &[u8], words: &[&str]) -> Vec<(String, bool)> {
    let result = |block: &Block<'_>| match block {
        Block::ToolResult { id: Some(id), text, is_error, .. } => {
            let has_error = !words.is_empty() && holds_all(text, words);
            Some((id.to_string(), !is_error && !has_error))
        }
        _ => None,
    };
    with_record(bytes, |record| record.blocks.iter().filter_map(result).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_same_whatever_stands_around_it() {
        for (command, expected) in [
            ("cargo test -p a", "cargo test"),
            ("cd /w && RUST_LOG=debug cargo test 2>&1 | tail", "cargo test"),
            ("make", "make"),
            ("cd /w", "cd /w"),
            ("npm run build\n", "npm run"),
        ] {
            assert_eq!(program_of(command), expected, "{command}");
        }
    }
}
