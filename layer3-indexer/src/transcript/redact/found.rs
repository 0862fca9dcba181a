//! A secret that was found in a text.

use std::ops::Range;

/// How a mask begins; behind it stands what was masked.
pub(super) const MASK_BEGIN: &str = "[masked: ";

/// A secret where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: Range<usize>,
    pub(super) kind: &'static str,
    /// The quote that closes its name, where the value of a JSON text has none.
    pub(super) quote: Option<Range<usize>>,
    /// What of it is looked for elsewhere; all of it unless something is said.
    pub(super) learned: Option<Range<usize>>,
    pub(super) is_learned: bool,
    /// Whether only its name makes it one.
    pub(super) is_named: bool,
    /// The rest of a secret that was broken into lines.
    pub(super) is_rest: bool,
}

impl Found {
    pub(super) fn of(kind: &'static str, at: Range<usize>) -> Found {
        Found { at, kind, quote: None, learned: None, is_learned: false, is_named: false, is_rest: false }
    }

    pub(super) fn named(kind: &'static str, at: Range<usize>) -> Found {
        Found { is_named: true, is_learned: true, ..Found::of(kind, at) }
    }
}

/// Whether an escape stands there, as JSON and most languages have them.
pub(super) fn is_escape(bytes: &[u8], at: usize) -> bool {
    bytes.get(at) == Some(&b'\\') && bytes.get(at + 1).is_none_or(|next| b"nrtu\"'/\\".contains(next))
}
