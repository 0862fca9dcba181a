//! Which conversation wrote a line, or last touched a file.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use layer1_prebackup::config::child_env::ChildEnv;
use similar::{ChangeTag, TextDiff};

use super::commands::{maker, names};
use super::git::{Commit, Git};
use super::history::{Edit, History, Name};
use super::replay::{Disk, Origin, says_something};
use super::target::Target;
use super::types::{Answer, Asking, Found, Kind, SHOWN_CHARS, message_of};
use crate::index::{IndexError, Line};
use crate::transcript::edits::Change;
use crate::transcript::metadata::shortened;

/// A commit is made at most so much before the edits in it, as clocks tell.
const CLOCK_MS: i64 = 2 * 60 * 1000;
/// A conversation whose edit was committed by somebody else did it at most so long before.
const BEFORE_COMMIT_MS_MAX: i64 = 2 * 24 * 60 * 60 * 1000;
/// Lines of a change that are shown.
const CHANGE_LINES_MAX: usize = 8;

/// An answer, and the lines that it is of.
type OfLines = (Answer, Range<usize>);

/// Who wrote the lines that are meant, or who touched the file.
pub(super) fn who(asking: &Asking<'_>, target: &Target, env: &ChildEnv) -> Result<Found, IndexError> {
    let names = names(asking.index, asking.archive, target, asking.within)?;
    let history = History::read(asking.index, asking.archive, target, &names, asking.within)?;
    let git = Git { root: target.root.clone(), env };
    let mut found = match (&target.lines, &target.text) {
        (Some(lines), Some(text)) => {
            let disk = Disk::of(text, target.is_notebook());
            of_lines(asking, target, &git, history, names, &disk, lines.clone())?
        }
        _ => of_file(asking, target, &git, history)?,
    };
    found.file = Some(target.path.display().to_string());
    Ok(found)
}

fn of_lines(
    asking: &Asking<'_>,
    target: &Target,
    git: &Git<'_>,
    mut history: History,
    mut names: Vec<Name>,
    disk: &Disk,
    lines: Range<usize>,
) -> Result<Found, IndexError> {
    let mut origins = history.origins(target, disk, lines.clone());
    let is_settled = |history: &History, found: &Vec<Origin>| {
        found.first().is_some_and(|origin| origin.is_proof() && history.edits[origin.edit].is_here)
    };
    let mut commits = vec![None; lines.len()];
    if !origins.iter().all(|found| is_settled(&history, found)) {
        commits = git.blame(target.relative(), &lines).unwrap_or(commits);
        commits.resize(lines.len(), None);
        let before = names.len();
        for commit in commits.iter().flatten() {
            let path = target.root.join(&commit.file);
            if names.iter().all(|name| name.path != path) {
                names.push(Name { path, until_ms: None });
            }
        }
        if names.len() > before {
            history = History::read(asking.index, asking.archive, target, &names, asking.within)?;
            origins = history.origins(target, disk, lines.clone());
        }
    }
    let mut makers: HashMap<String, Option<(Line, bool)>> = HashMap::new();
    let (mut proven, mut guessed): (Vec<OfLines>, Vec<OfLines>) = (Vec::new(), Vec::new());
    for (line, (found, commit)) in lines.clone().zip(origins.iter().zip(&commits)) {
        let answers = of_line(asking, &history, found, commit.as_ref(), &mut makers, disk.line(line))?;
        for answer in answers {
            let list = if answer.exact { &mut proven } else { &mut guessed };
            let goes_on = list.iter_mut().find(|(known, of)| {
                of.end == line
                    && (known.evidence, &known.session_id, &known.message)
                        == (answer.evidence, &answer.session_id, &answer.message)
            });
            match goes_on {
                Some((_, of)) => of.end = line + 1,
                None => list.push((answer, line..line + 1)),
            }
        }
    }
    let mut answers = Vec::new();
    for (mut answer, of) in proven.into_iter().chain(guessed) {
        answer.lines = Some(match of.len() {
            1 => (of.start + 1).to_string(),
            _ => format!("{}-{}", of.start + 1, of.end),
        });
        answers.push(answer);
    }
    // A line that no conversation is known to have written is not repeated to who may not read the file.
    let text = (lines.len() == 1 && !answers.is_empty()).then(|| shortened(disk.line(lines.start), SHOWN_CHARS));
    let words = lines.clone().map(|line| disk.line(line).trim()).find(|line| says_something(line));
    let words = words.map(|line| format!("\"{}\"", line.replace('"', " ")));
    Ok(Found { answers, text, words, notes: history.notes, file: None })
}

/// What speaks for whom, of one line: the one who is proven, or all that may be.
fn of_line(
    asking: &Asking<'_>,
    history: &History,
    found: &[Origin],
    commit: Option<&Commit>,
    makers: &mut HashMap<String, Option<(Line, bool)>>,
    text: &str,
) -> Result<Vec<Answer>, IndexError> {
    let mut guesses = Vec::new();
    for origin in found {
        let edit = &history.edits[origin.edit];
        let edited_ms = edit.line.time_ms;
        let is_in_commit = commit.map(|commit| edited_ms <= commit.made_ms + CLOCK_MS);
        let (is_proven, because) = match (origin.missing_ms, is_in_commit) {
            (_, _) if origin.is_coarse => {
                (false, Some("the versions of the file are too long to be compared in full; it wrote the same line"))
            }
            (None, _) if edit.is_here => (true, None),
            (_, Some(false)) => continue,
            (None, _) if asking.within.is_some() => (true, None),
            // Among all projects a file of this name may be another file.
            (None, _) => (false, Some("it wrote the same line in a file of this name in another directory")),
            // Written on another branch, and there when the edit was made that does not have it.
            (Some(missing_ms), Some(true)) if commit.is_some_and(|commit| commit.author_ms < missing_ms) => {
                (true, None)
            }
            (Some(_), _) => (false, Some("it wrote the same line, which a later edit of the file did not find there")),
        };
        let mut answer = edited(edit, is_proven, text);
        answer.commit = commit.cloned();
        answer.asked = asking.asked(&edit.line)?;
        if is_proven {
            return Ok(vec![answer]);
        }
        guesses.push(Answer { because: because.map(str::to_owned), ..answer });
    }
    let Some(commit) = commit else { return Ok(guesses) };
    if !makers.contains_key(&commit.hash) {
        let maker = maker(asking.index, asking.archive, commit, asking.within)?;
        makers.insert(commit.hash.clone(), maker);
    }
    if let Some(Some((line, is_certain))) = makers.get(&commit.hash) {
        let answer = committed(asking, line, commit, *is_certain)?;
        if *is_certain {
            return Ok(vec![answer]);
        }
        guesses.push(answer);
    } else if let Some(edit) = edit_before(history, commit)
        && guesses.is_empty()
    {
        let answer = edited(edit, false, "").because("it was the last to edit the file before the line was committed");
        let asked = asking.asked(&edit.line)?;
        let commit = Some(commit.clone());
        guesses.push(Answer { evidence: Kind::Commit, commit, asked, change: Vec::new(), ..answer });
    }
    Ok(guesses)
}

fn committed(asking: &Asking<'_>, line: &Line, commit: &Commit, is_certain: bool) -> Result<Answer, IndexError> {
    let answer = Answer::of(line, message_of(line), Kind::Commit, is_certain);
    let answer = if is_certain {
        answer
    } else {
        answer.because("it made a commit of this message, and another one may have too")
    };
    Ok(Answer { commit: Some(commit.clone()), asked: asking.asked(line)?, ..answer })
}

fn edit_before<'h>(history: &'h History, commit: &Commit) -> Option<&'h Edit> {
    let is_before = |edit: &&Edit| {
        let ms = commit.author_ms - edit.line.time_ms;
        (-CLOCK_MS..BEFORE_COMMIT_MS_MAX).contains(&ms)
    };
    history.edits.iter().rev().find(is_before)
}

fn edited(edit: &Edit, exact: bool, text: &str) -> Answer {
    Answer {
        tool: Some(edit.call.tool.clone()),
        file: Some(edit.call.path.clone()),
        change: change_around(&edit.call.changes, text),
        ..Answer::of(&edit.line, edit.message.clone(), Kind::Edit, exact)
    }
}

/// The lines of an edit that went and came, as far as they stand near the one that is asked about.
fn change_around(changes: &[Change], text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for change in changes {
        match change {
            // The whole file is no answer to a question about a line.
            Change::Whole(_) => {}
            Change::Cell(new) => lines.extend(new.lines().map(|line| format!("+ {line}"))),
            Change::Replace { old, new, .. } => {
                let diff = TextDiff::from_lines(old, new);
                lines.extend(diff.iter_all_changes().filter_map(|change| {
                    let sign = match change.tag() {
                        ChangeTag::Equal => return None,
                        ChangeTag::Delete => '-',
                        ChangeTag::Insert => '+',
                    };
                    Some(format!("{sign} {}", change.value().trim_end()))
                }));
            }
        }
    }
    let is_it = |line: &String| line[1..].trim() == text.trim();
    let at = lines.iter().position(is_it).unwrap_or(0);
    let from = at.saturating_sub(CHANGE_LINES_MAX / 2).min(lines.len().saturating_sub(CHANGE_LINES_MAX));
    lines.into_iter().skip(from).take(CHANGE_LINES_MAX).map(|line| line.chars().take(SHOWN_CHARS).collect()).collect()
}

fn of_file(asking: &Asking<'_>, target: &Target, git: &Git<'_>, history: History) -> Result<Found, IndexError> {
    let mut kept: HashMap<i64, usize> = HashMap::new();
    if let Some(text) = &target.text {
        let disk = Disk::of(text, target.is_notebook());
        for found in history.origins(target, &disk, 0..disk.lines()) {
            let proven = found.first().filter(|origin| origin.is_proof());
            if let Some(origin) = proven {
                *kept.entry(history.edits[origin.edit].line.session).or_default() += 1;
            }
        }
    }
    let mut answers: Vec<(i64, Answer)> = Vec::new();
    // The newest first: the last edit stands for its conversation.
    for edit in history.edits.iter().rev() {
        match answers.iter_mut().find(|(session, _)| *session == edit.line.session) {
            Some((_, answer)) => answer.edits = answer.edits.map(|edits| edits + 1),
            None => {
                let is_proven = edit.is_here || asking.within.is_some();
                let answer = edited(edit, is_proven, "");
                let answer = if is_proven {
                    answer
                } else {
                    answer.because("it edited a file of this name in another directory")
                };
                let (edits, lines_kept) = (Some(1), target.text.is_some().then_some(0));
                let lines_kept = kept.get(&edit.line.session).copied().or(lines_kept);
                answers.push((
                    edit.line.session,
                    Answer { edits, lines_kept, asked: asking.asked(&edit.line)?, ..answer },
                ));
            }
        }
    }
    let mut answers: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
    if answers.is_empty()
        && let Some(commit) = git.last(target.relative())
        && let Some((line, is_certain)) = maker(asking.index, asking.archive, &commit, asking.within)?
    {
        answers.push(committed(asking, &line, &commit, is_certain)?);
    }
    let words = Some(format!("\"{}\"", target.relative().display())).filter(|_| target.relative() != Path::new(""));
    Ok(Found { answers, words, notes: history.notes, ..Found::default() })
}
