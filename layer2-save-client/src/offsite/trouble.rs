//! What went wrong with the third place, in a kind that is kept and reported until it is well again.

use layer1_prebackup::wire::offsite::Kind;

/// A failure of a known kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use the third place: {what} ({})", kind.word())]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    /// In a sentence.
    pub(crate) what: String,
}

impl Trouble {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Trouble {
        Trouble { kind, what: what.into() }
    }
}
