//! The few words around a hit, with the matched ones marked.

/// Strings put before and after each matched word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Before.
    pub start: String,
    /// After.
    pub end: String,
}

impl Default for Marks {
    /// `[` and `]`.
    fn default() -> Marks {
        Marks { start: "[".into(), end: "]".into() }
    }
}

/// Length of a snippet, in characters, without the marks.
pub const SNIPPET_CHARS: usize = 200;
