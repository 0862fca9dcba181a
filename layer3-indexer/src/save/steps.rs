//! The steps of one save: their progress as one number, and what they found covered.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey};
use layer1_prebackup::names::FileName;

use crate::save::receipt::Expected;

/// Reports the bytes of several steps as one ever growing number, and remembers what was found
/// covered: what was read back once in this save is not read again.
pub(super) struct Steps<'a> {
    report: &'a dyn Fn(u64),
    covered: RefCell<HashSet<(SessionKey, FileName, u64, Hash)>>,
    /// Highest number reported.
    done: Cell<u64>,
    /// Where the present step began.
    base: Cell<u64>,
}

impl Steps<'_> {
    pub(super) fn new(report: &dyn Fn(u64)) -> Steps<'_> {
        Steps { report, covered: RefCell::default(), done: Cell::new(0), base: Cell::new(0) }
    }

    /// [`Archive::covers_all`]: one answer each. Only a yes is remembered: nothing stored ever goes away.
    pub(super) fn are_covered(
        &self,
        archive: &Archive,
        key: &SessionKey,
        wanted: &[&Expected],
    ) -> Result<Vec<bool>, ArchiveError> {
        let content = |want: &Expected| (key.clone(), want.name.file.clone(), want.bytes, want.blake3);
        let is_known = |want: &Expected| self.covered.borrow().contains(&content(want));
        let asked: Vec<&Expected> = wanted.iter().copied().filter(|want| !is_known(want)).collect();
        let contents: Vec<_> = asked.iter().map(|want| (&want.name.file, want.bytes, want.blake3)).collect();
        let answers = self.run(|progress| archive.covers_all(key, &contents, progress))?;
        let covered = asked.iter().zip(answers).filter(|(_, covered)| *covered);
        self.covered.borrow_mut().extend(covered.map(|(want, _)| content(want)));
        Ok(wanted.iter().map(|want| is_known(want)).collect())
    }

    /// What the archive wrote and read back just now need not be read once more.
    pub(super) fn know_as_covered(&self, key: &SessionKey, written: &[(FileName, u64, Hash)]) {
        let contents = written.iter().map(|(file, bytes, blake3)| (key.clone(), file.clone(), *bytes, *blake3));
        self.covered.borrow_mut().extend(contents);
    }

    /// Runs one step. Its numbers are added to what was done before, so that the sum grows with
    /// every report: a client may take a number that stands still for a server that hangs.
    pub(super) fn run<T>(&self, step: impl FnOnce(&dyn Fn(u64)) -> T) -> T {
        self.base.set(self.done.get() + 1);
        step(&|bytes| {
            self.done.set(self.done.get().max(self.base.get().saturating_add(bytes)));
            (self.report)(self.done.get());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::names::StoredName;

    #[test]
    fn the_steps_of_a_save_are_one_number_that_grows_and_what_was_read_back_is_known() {
        let told = RefCell::new(Vec::new());
        let report = |number| told.borrow_mut().push(number);
        let steps = Steps::new(&report);
        steps.run(|progress| [5, 10, 7].map(progress));
        steps.run(|_| ());
        steps.run(|progress| progress(3));
        assert_eq!(told.take(), [6, 11, 11, 15]);
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(dir.path()).unwrap();
        let key = SessionKey::parse("p", "a").unwrap();
        let want =
            |bytes| Expected { name: StoredName::newest(FileName::Transcript), bytes, blake3: blake3::hash(b"x") };
        // Nobody looks for what this save wrote and read back itself.
        steps.know_as_covered(&key, &[(FileName::Transcript, 1, blake3::hash(b"x"))]);
        assert_eq!(steps.are_covered(&archive, &key, &[&want(1), &want(2)]).unwrap(), [true, false]);
    }
}
