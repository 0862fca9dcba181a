//! Generations: an older content of a file keeps its bytes under a number of its own.

use super::compress::resolve_forms;
use super::ledger::{Entry, Intent, Record};
use super::paths::Form;
use super::session::OpenSession;
use super::types::ArchiveError;
use crate::names::{FileName, GENERATION_MAX, StoredName};

impl OpenSession<'_> {
    /// Renames the newest content of `file` to the next free generation and records it there as
    /// `record`. The intent is synced first, so that a kill in between is finished by the next run.
    pub(super) fn rotate(&mut self, file: &FileName, record: Record) -> Result<(), ArchiveError> {
        let newest = StoredName::newest(file.clone());
        let target = self.next_generation(file)?;
        if let Some(known) = self.ledger.record(&newest) {
            resolve_forms(self, &newest, known)?;
        }
        let is_compressed = self.slot(&newest).is_compressed_alone(self.ledger.record(&newest))?;
        self.commit(&[Entry::Begin(file.clone(), Intent::Rotate { to: target.generation })])?;
        self.rename(&newest, &target, if is_compressed { Form::Compressed } else { Form::Plain })?;
        let compressed = record.compressed.filter(|_| is_compressed);
        self.commit(&[Entry::Commit(target, Box::new(Record { compressed, ..record })), Entry::Gone(newest)])
    }

    /// A generation of `file` that neither the ledger nor the disk knows.
    pub(super) fn next_generation(&self, file: &FileName) -> Result<StoredName, ArchiveError> {
        let highest = self.ledger.generation_max(file);
        let is_free = |generation: &u32| {
            let name = StoredName { file: file.clone(), generation: *generation };
            let is_known = self.ledger.record(&name).is_some() || self.ledger.is_pruned(&name);
            Ok::<_, ArchiveError>(!is_known && self.slot(&name).form()?.is_none())
        };
        // Where somebody's file takes the last number, one before it will do.
        for generation in (highest + 1..=GENERATION_MAX).chain((1..highest).rev()) {
            if is_free(&generation)? {
                return Ok(StoredName { file: file.clone(), generation });
            }
        }
        Err(ArchiveError::damaged(self.slot(&StoredName::newest(file.clone())).path(), "it has too many versions"))
    }

    fn rename(&self, from: &StoredName, to: &StoredName, form: Form) -> Result<(), ArchiveError> {
        let (from_slot, to_slot) = (self.slot(from), self.slot(to));
        let gone = || ArchiveError::damaged(from_slot.path(), "its folder is gone");
        let (from_dir, to_dir) = (from_slot.dir()?.ok_or_else(gone)?, self.create_dir_of(to)?);
        Ok(from_dir.rename_new(&from_slot.file_name(form), &to_dir, &to_slot.file_name(form))?)
    }
}
