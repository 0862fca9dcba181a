//! The edits of a file that the stored conversations tell of, in each of the checkouts that they were made in.

use layer1_prebackup::names::{LAYER3, typed};
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use super::replay::{Disk, Origin, Replay};
use super::target::{Target, absolute};
use crate::index::{Contents, Index, IndexError, Line, Wanted};
use crate::scope::resolved;
use crate::transcript::edits::{EditCall, EditResult, calls_in, results_in};
use crate::transcript::metadata::EDITING_TOOLS;
use crate::transcript::record::with_record;

/// Bytes of transcripts that are read of one file's edits, the newest first.
const READ_BYTES_MAX: usize = 192 * 1024 * 1024;

/// A name that the file bore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) path: PathBuf,
    /// It bears another one since.
    pub(super) until_ms: Option<i64>,
}

/// An edit of the file.
#[derive(Debug)]
pub(super) struct Edit {
    /// Where it is called for; its bytes were let go.
    pub(super) line: Line,
    /// What `show --around` takes.
    pub(super) message: String,
    pub(super) call: EditCall,
    /// Whether it was made in the checkout that is asked about.
    pub(super) is_here: bool,
}

/// All edits of the file.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Oldest first; those that failed are none.
    pub(super) edits: Vec<Edit>,
    /// By the directory of the checkout.
    checkouts: Vec<(PathBuf, Replay)>,
    pub(super) notes: Vec<String>,
}

/// A call as it was read, before it is known to be of the file.
struct Call {
    call: EditCall,
    line: Line,
    message: String,
    path: PathBuf,
    cwd: Option<PathBuf>,
}

impl History {
    /// Reads them from the store: of these sessions, or of all.
    pub(super) fn read(
        index: &Index,
        contents: &dyn Contents,
        target: &Target,
        names: &[Name],
        within: Option<&[i64]>,
    ) -> Result<History, IndexError> {
        let mut history = History::default();
        let mut lines = Vec::new();
        let mut bytes = 0;
        let mut known: Vec<&str> = names.iter().filter_map(|name| name.path.file_name()?.to_str()).collect();
        known.sort_unstable();
        known.dedup();
        for name in known {
            let unread = index.lines(contents, Wanted::File { name, tools: &EDITING_TOOLS }, within, &mut |line| {
                bytes += line.bytes.len();
                lines.push(line);
                if bytes > READ_BYTES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if unread > 0 {
                history.notes.push(format!(
                    "{unread} edits could not be read from the store; `{}` says why",
                    typed(LAYER3, "verify")
                ));
            }
        }
        if bytes > READ_BYTES_MAX {
            history.notes.push("only the newest edits of the file were looked at".to_owned());
        }
        // Stable: of messages of one time, the one that was indexed first.
        lines.reverse();
        lines.sort_by_key(|line| line.time_ms);
        let (calls, results) = calls_and_results(lines);
        history.add(calls, results, target, names);
        Ok(history)
    }

    fn add(&mut self, calls: Vec<Call>, mut results: HashMap<String, EditResult>, target: &Target, names: &[Name]) {
        for call in calls {
            let result = call.call.id.as_ref().and_then(|id| results.remove(id));
            if result.as_ref().is_some_and(|result| result.has_failed) {
                continue;
            }
            let Some(root) = checkout_of(&call, target, names) else { continue };
            let edit = self.edits.len();
            let known = self.checkouts.iter().position(|(known, _)| *known == root);
            let at = known.unwrap_or_else(|| {
                self.checkouts.push((root.clone(), Replay::new(target.is_notebook())));
                self.checkouts.len() - 1
            });
            self.checkouts[at].1.add(edit, call.line.time_ms, &call.call, result.as_ref());
            let is_here = root == target.root;
            self.edits.push(Edit { line: call.line, message: call.message, call: call.call, is_here });
        }
    }

    /// Which edits wrote these lines of the file as it is: those of its own checkout first. Of the others, each with
    /// what it says, the newest first.
    pub(super) fn origins(&self, target: &Target, disk: &Disk, asked: Range<usize>) -> Vec<Vec<Origin>> {
        let mut all: Vec<Vec<Origin>> = vec![Vec::new(); asked.len()];
        let is_own = |root: &PathBuf| *root == target.root;
        let own = self.checkouts.iter().filter(|(root, _)| is_own(root));
        let others = self.checkouts.iter().filter(|(root, _)| !is_own(root));
        for (root, replay) in own.chain(others) {
            let is_settled =
                |found: &Vec<Origin>| found.iter().any(|origin| origin.is_proof() && self.edits[origin.edit].is_here);
            if !is_own(root) && all.iter().all(is_settled) {
                break;
            }
            for (found, origin) in all.iter_mut().zip(replay.origins(disk, asked.clone())) {
                found.extend(origin);
            }
        }
        for found in &mut all {
            let order = |origin: &Origin| {
                let edit = &self.edits[origin.edit];
                (!origin.is_proof(), !edit.is_here, -edit.line.time_ms)
            };
            found.sort_by_key(order);
        }
        all
    }
}

fn calls_and_results(lines: Vec<Line>) -> (Vec<Call>, HashMap<String, EditResult>) {
    let mut calls: Vec<Call> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut results: HashMap<String, EditResult> = HashMap::new();
    let mut answered: Vec<i64> = Vec::new();
    for mut line in lines {
        let bytes = std::mem::take(&mut line.bytes);
        let read = with_record(&bytes, |record| {
            let cwd = record.cwd.as_deref().map(str::to_owned);
            (calls_in(record), results_in(record, &bytes), record.uuid.as_deref().map(str::to_owned), cwd)
        });
        let Some((called, answers, uuid, cwd)) = read else { continue };
        for answer in answers {
            answered.push(line.session);
            results.entry(answer.id.clone()).or_insert(answer);
        }
        for call in called {
            // A fork holds what it was forked from; what the first one did is not done again.
            if let Some(at) = call.id.as_ref().and_then(|id| known.get(id)) {
                if line.age < calls[*at].line.age {
                    calls[*at].line = line.clone();
                }
                continue;
            }
            known.extend(call.id.clone().map(|id| (id, calls.len())));
            let path = absolute(&call.path, cwd.as_deref());
            let message = uuid.clone().unwrap_or_else(|| line.place.clone());
            calls.push(Call { path, line: line.clone(), message, call, cwd: cwd.as_ref().map(PathBuf::from) });
        }
    }
    // A call without an answer was cut off, unless the transcript keeps no answers at all.
    answered.sort_unstable();
    calls.retain(|call| {
        let is_answered = call.call.id.as_ref().is_some_and(|id| results.contains_key(id));
        is_answered || answered.binary_search(&call.line.session).is_err()
    });
    (calls, results)
}

/// The directory of the checkout in which a call edits the file; `None` where it edits another file.
fn checkout_of(call: &Call, target: &Target, names: &[Name]) -> Option<PathBuf> {
    let is_of_time = |name: &&Name| name.until_ms.is_none_or(|until_ms| call.line.time_ms <= until_ms);
    for name in names.iter().filter(is_of_time) {
        if call.path == name.path || resolved(&call.path) == name.path {
            return Some(target.root.clone());
        }
        let Ok(relative) = name.path.strip_prefix(&target.root) else { continue };
        let Some(root) = without_end(&call.path, relative) else { continue };
        // A folder of the checkout that is asked about has another file of this name; a worktree in it has the same one.
        let is_checkout = || root.join(".git").exists() || call.cwd.as_ref().is_some_and(|cwd| cwd.starts_with(&root));
        let is_folder = root.starts_with(&target.root) && !root.to_string_lossy().contains("worktree");
        if !is_folder && is_checkout() {
            return Some(root);
        }
    }
    None
}

/// What stands before the end of a path.
fn without_end(path: &Path, end: &Path) -> Option<PathBuf> {
    path.ends_with(end).then(|| path.ancestors().nth(end.components().count()).map(Path::to_owned))?
}
