//! Which edit wrote a line: the edits of a file are carried out once more, and its lines are followed back through them.
//!
//! Forwards each edit becomes a step, the lines of the file before it and after it. What Claude Code noted beside a result
//! says what the file was; where it noted nothing, the steps before say it. Backwards, from the file as it is, a line that
//! a step has as new is that step's, and one that it has as old is looked for before it. A line that a step does not have
//! came in another way: by hand, by a command, or from another branch.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

use crate::transcript::edits::{Change, EditCall, EditResult};

/// How long the versions of one file are compared at most; what is left is then compared more coarsely, and proves nothing.
const COMPARE_MAX: Duration = Duration::from_secs(3);
/// Letters and digits from which on a line says something by itself.
const TELLING_CHARS: usize = 4;

/// A text by its lines, told apart by hashes.
type Hashes = Vec<u64>;

/// The edits of one file, in the order in which they were made.
#[derive(Debug)]
pub(super) struct Replay {
    is_notebook: bool,
    comparing: Comparing,
    /// What the file holds after the last step, as far as that is known.
    state: Option<String>,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    edit: usize,
    time_ms: i64,
    does: Does,
}

#[derive(Debug)]
enum Does {
    Whole {
        /// Of each line before it, which one it is.
        before: Hashes,
        after: Hashes,
        /// Of each line after it, which one before it that was; none of a new one.
        from: Vec<Option<usize>>,
        /// Whether Claude Code noted what the file was, or the steps before say it.
        is_noted: bool,
    },
    /// Of an edit of an unknown text.
    Piece { old: String, new: String },
}

/// The edit that wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its place among all that were added.
    pub(super) edit: usize,
    /// Where a later edit did not have the line: when. Then it was taken out and put back by somebody else, or it was on
    /// another branch at that time.
    pub(super) missing_ms: Option<i64>,
    /// Whether versions of the file were compared in haste: a line may then be taken for a new one that was moved.
    pub(super) is_coarse: bool,
}

impl Origin {
    /// Whether the edits alone prove it.
    pub(super) fn is_proof(&self) -> bool {
        self.missing_ms.is_none() && !self.is_coarse
    }
}

/// The time that comparing has taken, all versions of a file together, and whether that was enough.
#[derive(Debug, Default)]
struct Comparing {
    taken: Cell<Duration>,
    is_coarse: Cell<bool>,
}

/// A file as it is.
#[derive(Debug)]
pub(super) struct Disk {
    text: String,
    hashes: Hashes,
    /// Of each line, whether it says something by itself and comes once.
    is_telling: Vec<bool>,
}

impl Disk {
    pub(super) fn of(text: &str, is_notebook: bool) -> Disk {
        let text = plain(text);
        let hashes = hashes(&text, is_notebook);
        let mut counts: HashMap<u64, usize> = HashMap::new();
        hashes.iter().for_each(|hash| *counts.entry(*hash).or_default() += 1);
        let is_telling =
            text.lines().zip(&hashes).map(|(line, hash)| says_something(line) && counts[hash] == 1).collect();
        Disk { text, hashes, is_telling }
    }

    pub(super) fn lines(&self) -> usize {
        self.hashes.len()
    }

    /// A line, from 0 on.
    pub(super) fn line(&self, at: usize) -> &str {
        self.text.lines().nth(at).unwrap_or_default()
    }
}

/// Whether a line says something by itself: a brace does not.
pub(super) fn says_something(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphanumeric()).count() >= TELLING_CHARS
}

impl Replay {
    pub(super) fn new(is_notebook: bool) -> Replay {
        Replay { is_notebook, comparing: Comparing::default(), state: None, steps: Vec::new() }
    }

    /// Adds an edit that is newer than all before. One that failed changed nothing.
    pub(super) fn add(&mut self, edit: usize, time_ms: i64, call: &EditCall, result: Option<&EditResult>) {
        if result.is_some_and(|result| result.has_failed) {
            return;
        }
        let noted = result.and_then(|result| result.before.as_deref()).map(plain);
        let is_noted = noted.is_some();
        let changes =
            result.map(|result| &result.changes).filter(|changes| !changes.is_empty()).unwrap_or(&call.changes);
        let changes: Vec<Change> = changes.iter().map(plain_change).collect();
        let before = noted.or_else(|| self.state.clone());
        let after = result.and_then(|result| result.after.as_deref()).map(plain);
        let after = after.or_else(|| carried_out(before.clone().unwrap_or_default(), &changes));
        if let Some(after) = after {
            let (was, is) = (hashes(&before.unwrap_or_default(), self.is_notebook), hashes(&after, self.is_notebook));
            let from = self.comparing.aligned(&is, &was);
            self.steps.push(Step { edit, time_ms, does: Does::Whole { before: was, after: is, from, is_noted } });
            self.state = Some(after);
            return;
        }
        for change in changes {
            let does = match change {
                Change::Whole(_) => continue,
                Change::Replace { old, new, .. } => Does::Piece { old, new },
                Change::Cell(new) => Does::Piece { old: String::new(), new },
            };
            self.steps.push(Step { edit, time_ms, does });
        }
    }

    /// Which edits wrote these lines of the file as it is.
    pub(super) fn origins(&self, disk: &Disk, asked: Range<usize>) -> Vec<Option<Origin>> {
        let mut way = Way {
            disk,
            comparing: &self.comparing,
            found: vec![None; disk.lines()],
            missing: HashMap::new(),
            at: disk.hashes.iter().enumerate().map(|(n, hash)| (*hash, asked.contains(&n).then_some(n))).collect(),
        };
        for step in self.steps.iter().rev() {
            match &step.does {
                Does::Whole { before, after, from, is_noted } => {
                    way.find_again(step, after, &|at| from[at].is_none());
                    way.go_back(step, before, after, from, *is_noted);
                }
                Does::Piece { old, new } => way.pass_piece(step, old, new, self.is_notebook),
            }
            if way.is_at_end() {
                break;
            }
        }
        let is_coarse = self.comparing.is_coarse.get();
        way.found.drain(asked).map(|found| found.map(|origin| Origin { is_coarse, ..origin })).collect()
    }
}

/// Going back from the file as it is.
struct Way<'d> {
    disk: &'d Disk,
    comparing: &'d Comparing,
    found: Vec<Option<Origin>>,
    /// Lines that a step did not have, and since when they are known to be missing.
    missing: HashMap<usize, Option<i64>>,
    /// The file where the way has come to, and which of its lines are still looked for.
    at: Vec<(u64, Option<usize>)>,
}

impl Way<'_> {
    fn is_at_end(&self) -> bool {
        self.missing.is_empty() && self.at.iter().all(|(_, line)| line.is_none())
    }

    fn go_back(&mut self, step: &Step, before: &[u64], after: &[u64], from: &[Option<usize>], is_noted: bool) {
        let here: Hashes = self.at.iter().map(|(hash, _)| *hash).collect();
        let places = self.comparing.aligned(&here, after);
        let mut earlier: Vec<(u64, Option<usize>)> = before.iter().map(|hash| (*hash, None)).collect();
        for ((_, line), place) in self.at.iter().zip(places) {
            let Some(line) = *line else { continue };
            match place.map(|place| from[place]) {
                Some(None) => self.found[line] = Some(Origin { edit: step.edit, missing_ms: None, is_coarse: false }),
                Some(Some(was)) => earlier[was].1 = Some(line),
                None => drop(self.missing.insert(line, is_noted.then_some(step.time_ms))),
            }
        }
        self.at = earlier;
    }

    /// Looks for lines that later steps did not have: this one may have written them.
    fn find_again(&mut self, step: &Step, lines: &[u64], is_new: &dyn Fn(usize) -> bool) {
        if self.missing.is_empty() {
            return;
        }
        for (line, at) in self.rows_in_common(lines) {
            if let Some(missing_ms) = self.missing.get(&line).copied().filter(|_| is_new(at)) {
                self.missing.remove(&line);
                self.found[line] = Some(Origin { edit: step.edit, missing_ms, is_coarse: false });
            }
        }
    }

    /// Lines that the file has in common with others, in rows of which one line at least says something by itself.
    fn rows_in_common(&self, lines: &[u64]) -> Vec<(usize, usize)> {
        let places = self.comparing.aligned(&self.disk.hashes, lines);
        let mut common: Vec<(usize, usize)> = Vec::new();
        let mut row: Vec<(usize, usize)> = Vec::new();
        for (line, place) in places.iter().enumerate().chain([(usize::MAX, &None)]) {
            let goes_on = place.is_some_and(|place| row.last().is_none_or(|(_, last)| last + 1 == place));
            if !goes_on {
                if row.iter().any(|(line, _)| self.disk.is_telling[*line]) {
                    common.append(&mut row);
                }
                row.clear();
            }
            row.extend(place.map(|place| (line, place)));
        }
        common
    }

    /// An edit of an unknown text: where what it wrote stands in the file once, that is its place.
    fn pass_piece(&mut self, step: &Step, old: &str, new: &str, is_notebook: bool) {
        let mut is_written = vec![false; self.disk.lines()];
        if says_something(new) && self.disk.text.matches(new).count() == 1 {
            let before = hashes(&self.disk.text.replacen(new, old, 1), is_notebook);
            let from = self.comparing.aligned(&self.disk.hashes, &before);
            is_written.iter_mut().zip(from).for_each(|(is_written, from)| *is_written = from.is_none());
        } else {
            let (was, is) = (hashes(old, is_notebook), hashes(new, is_notebook));
            let from = self.comparing.aligned(&is, &was);
            for (line, at) in self.rows_in_common(&is) {
                is_written[line] = from[at].is_none();
            }
        }
        for (line, _) in is_written.iter().enumerate().filter(|(_, is_written)| **is_written) {
            let here = self.at.iter_mut().find(|(_, looked_for)| *looked_for == Some(line));
            let missing_ms = self.missing.remove(&line);
            if here.is_some() || missing_ms.is_some() {
                here.into_iter().for_each(|(_, looked_for)| *looked_for = None);
                self.found[line] = Some(Origin { edit: step.edit, missing_ms: missing_ms.flatten(), is_coarse: false });
            }
        }
    }
}

/// All changes, one after the other; `None` where one cannot be made.
fn carried_out(text: String, changes: &[Change]) -> Option<String> {
    changes.iter().try_fold(text, |text, change| change.apply(&text))
}

impl Comparing {
    /// Of each of these, which of the others it is; what is in the same order in both is.
    fn aligned(&self, these: &[u64], others: &[u64]) -> Vec<Option<usize>> {
        let prefix = these.iter().zip(others).take_while(|(a, b)| a == b).count();
        let rest = these.len().min(others.len()) - prefix;
        let suffix = these.iter().rev().zip(others.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
        let (last, last_of_others) = (these.len() - suffix, others.len() - suffix);
        let mut places: Vec<Option<usize>> = (0..prefix).map(Some).collect();
        places.resize(last, None);
        let (between, between_of_others) = (&these[prefix..last], &others[prefix..last_of_others]);
        let begun = Instant::now();
        let deadline = begun + COMPARE_MAX.saturating_sub(self.taken.get());
        let same = capture_diff_slices_deadline(Algorithm::Patience, between, between_of_others, Some(deadline));
        let now = Instant::now();
        self.taken.set(self.taken.get() + (now - begun));
        // Where nothing was left to compare, no time was needed.
        let is_compared = !between.is_empty() && !between_of_others.is_empty();
        self.is_coarse.set(self.is_coarse.get() || (is_compared && now >= deadline));
        for same in same {
            if let DiffOp::Equal { old_index, new_index, len } = same {
                (0..len).for_each(|n| places[prefix + old_index + n] = Some(prefix + new_index + n));
            }
        }
        places.extend((last_of_others..others.len()).map(Some));
        places
    }
}

/// The text as Claude Code compares it: whatever the line breaks are.
fn plain(text: &str) -> String {
    text.trim_start_matches('\u{feff}').replace("\r\n", "\n")
}

fn plain_change(change: &Change) -> Change {
    match change {
        Change::Whole(content) => Change::Whole(plain(content)),
        Change::Replace { old, new, all } => Change::Replace { old: plain(old), new: plain(new), all: *all },
        Change::Cell(source) => Change::Cell(plain(source)),
    }
}

/// Of a notebook, a line of source stands as a string of JSON in the file.
fn hashes(text: &str, is_notebook: bool) -> Hashes {
    let hash = |line: &str| {
        let mut hasher = DefaultHasher::new();
        let source = || serde_json::from_str::<String>(line.trim().trim_end_matches(',')).ok();
        match is_notebook.then(source).flatten() {
            Some(source) => source.trim_end_matches('\n').hash(&mut hasher),
            None => line.hash(&mut hasher),
        }
        hasher.finish()
    };
    text.lines().map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An edit as `old=>new`, a file as `=new`; what an editor or a command wrote in between as `!`. With `noted`, what
    /// Claude Code notes. Gives of each line of the file at the end the edit that wrote it, from 0 on.
    fn check(edits: &[&str], disk: &str, noted: bool, expected: &str) {
        let mut replay = Replay::new(false);
        let mut file = String::new();
        for (n, edit) in edits.iter().enumerate() {
            let before = file.clone();
            let change = match edit.split_once("=>") {
                Some((old, new)) => Change::Replace { old: old.to_owned(), new: new.to_owned(), all: false },
                None if edit.starts_with('!') => {
                    edit[1..].clone_into(&mut file);
                    continue;
                }
                None => Change::Whole(edit[1..].to_owned()),
            };
            file = change.apply(&file).unwrap_or_default();
            let call = EditCall { id: None, tool: "Edit".into(), path: "/f".into(), changes: vec![change] };
            let result = EditResult {
                id: String::new(),
                has_failed: false,
                before: noted.then_some(before),
                after: None,
                changes: Vec::new(),
            };
            replay.add(n, n as i64, &call, Some(&result));
        }
        let disk = Disk::of(disk, false);
        let said = |origin: Option<Origin>| match origin {
            None => "-".to_owned(),
            Some(Origin { edit, missing_ms: None, .. }) => edit.to_string(),
            Some(Origin { edit, .. }) => format!("{edit}?"),
        };
        let origins = replay.origins(&disk, 0..disk.lines());
        assert_eq!(origins.into_iter().map(said).collect::<Vec<_>>().join(" "), expected, "{edits:?}");
    }

    #[test]
    fn each_line_is_of_the_edit_that_wrote_it() {
        for noted in [true, false] {
            check(&["=one\ntwo\nthree\n"], "one\ntwo\nthree\n", noted, "0 0 0");
            check(&["=one\ntwo\nthree\n", "two=>2\n2b"], "one\n2\n2b\nthree\n", noted, "0 1 1 0");
            // What an edit names only to be found stays whose it was.
            check(&["=one\ntwo\n}\n", "two\n}=>two\nmore\n}"], "one\ntwo\nmore\n}\n", noted, "0 0 1 0");
            // A part of a line; the whole file once more, with one line changed; a line taken out.
            check(&["=let x = 1;\nend\n", "1=>2"], "let x = 2;\nend\n", noted, "1 0");
            check(&["=one\ntwo\n", "=one\n2\n"], "one\n2\n", noted, "0 1");
            check(&["=one\ntwo\nthree\n", "two\n=>"], "one\nthree\n", noted, "0 0");
            // The same line by two edits, in two places.
            check(&["=alpha\nend\nomega\n", "omega=>omega\nend"], "alpha\nend\nomega\nend\n", noted, "0 0 0 1");
            // Written over twice, and back: the last one wrote it.
            check(&["=alpha\n", "alpha=>beta", "beta=>alpha"], "alpha\n", noted, "2");
            // CRLF in the file.
            check(&["=one\ntwo\n", "two=>2"], "one\r\n2\r\n", noted, "0 1");
        }
    }

    #[test]
    fn lines_by_hand_are_of_no_edit() {
        check(&["=one\ntwo\n", "!one\nby hand\ntwo\n", "two=>2"], "one\nby hand\n2\n", true, "0 - 2");
        check(&["=one\ntwo\n", "!one\nby hand\ntwo\n", "two=>2"], "one\nby hand\n2\n", false, "0 - 2");
        check(&["=one\ntwo\n"], "one\nchanged\ntwo\n", true, "0 - 0");
        // Taken out by an edit and put back by hand, or written on another branch meanwhile: it may be the first one's.
        check(&["=one\ntwo or more\n", "two or more=>2"], "one\ntwo or more\n", true, "0 0?");
        // An edit of what was written by hand, of a file of which only edits are known.
        check(&["old text=>new text here"], "a\nnew text here\nb\n", false, "- 0 -");
        check(&["=one\n", "!one\nby hand\n", "by hand=>by hand, edited"], "one\nby hand, edited\n", false, "0 2");
    }

    #[test]
    fn lines_of_an_edit_that_was_itself_edited_are_found_by_what_is_left() {
        let edits = ["before=>first line of it\nsecond line of it\nthird line of it", "second line=>2nd line"];
        check(&edits, "x\nfirst line of it\n2nd line of it\nthird line of it\n", false, "- 0 1 0");
    }

    #[test]
    fn what_was_compared_in_haste_proves_nothing() {
        let mut replay = Replay::new(false);
        let change = |new: &str| vec![Change::Whole(new.to_owned())];
        for (n, text) in ["first line\nsecond line\n", "another\nsecond line\nmore\n"].into_iter().enumerate() {
            let call = EditCall { id: None, tool: "Write".into(), path: "/f".into(), changes: change(text) };
            replay.add(n, n as i64, &call, None);
            replay.comparing.taken.set(COMPARE_MAX);
        }
        let disk = Disk::of("another\nsecond line\nmore\n", false);
        let origins = replay.origins(&disk, 0..disk.lines());
        assert!(origins.iter().flatten().count() > 0 && origins.iter().flatten().all(|origin| !origin.is_proof()));
    }

    #[test]
    fn a_line_of_a_notebook_is_a_string_in_the_file() {
        let mut replay = Replay::new(true);
        let changes = vec![Change::Cell("import sys\nprint(\"a\")".to_owned())];
        let call = EditCall { id: None, tool: "NotebookEdit".into(), path: "/n.ipynb".into(), changes };
        replay.add(7, 1, &call, None);
        let disk = Disk::of("{\n \"source\": [\n  \"import sys\\n\",\n  \"print(\\\"a\\\")\"\n ]\n}\n", true);
        let origins = replay.origins(&disk, 0..disk.lines());
        let edits: Vec<_> = origins.iter().map(|origin| origin.map(|origin| origin.edit)).collect();
        assert_eq!(edits, [None, None, Some(7), Some(7), None, None]);
    }
}
