//! What went wrong with the third place, in a kind that is kept and reported until it is well again.

use layer1_prebackup::log::in_one_line;
use layer1_prebackup::wire::offsite::Kind;

use crate::error::Error;

/// A failure of a known kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use the third place: {what} ({})", kind.word())]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    /// In a sentence.
    pub(crate) what: String,
    /// Whether it may be that what is stored there is not what it should be; the way there was well.
    pub(crate) is_of_content: bool,
}

impl Trouble {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Trouble {
        Trouble { kind, what: what.into(), is_of_content: false }
    }
}

/// What a person has to know of an error.
pub(crate) fn said(error: &Error) -> String {
    match error.downcast_ref::<Trouble>() {
        Some(trouble) => trouble.what.clone(),
        None => in_one_line(&**error),
    }
}

/// Whether an error is of what is stored.
pub(crate) fn is_of_content(error: &Error) -> bool {
    error.downcast_ref::<Trouble>().is_some_and(|trouble| trouble.is_of_content)
}
