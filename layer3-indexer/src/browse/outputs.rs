//! What tools gave back that was too large for the transcript: Claude Code keeps it in files of its own, and names them in
//! what the model was given.

use layer1_prebackup::names::{FileName, StoredName};

use crate::stores::SessionCopies;
use crate::transcript::record::is_output;

/// Every stored one of a conversation, older versions too.
pub(crate) fn outputs(copies: &SessionCopies) -> Vec<StoredName> {
    let mut names = copies.names();
    names.retain(|name| is_output(&name.file));
    names
}

/// Those that were not written yet.
pub(crate) struct Outputs(Vec<StoredName>);

impl Outputs {
    /// All newest ones, or none where they are not `wanted`.
    pub(crate) fn of(copies: &SessionCopies, wanted: bool) -> Outputs {
        let mut names = if wanted { outputs(copies) } else { Vec::new() };
        names.retain(|name| name.generation == 0);
        Outputs(names)
    }

    /// Takes those that a text names.
    pub(crate) fn named_in(&mut self, text: &str) -> Vec<StoredName> {
        let is_named = |name: &mut StoredName| match &name.file {
            FileName::Side(rel) => rel.to_str().is_some_and(|rel| text.contains(rel)),
            FileName::Transcript => false,
        };
        self.0.extract_if(.., is_named).collect()
    }

    /// Takes all that are left.
    pub(crate) fn rest(&mut self) -> Vec<StoredName> {
        std::mem::take(&mut self.0)
    }
}
