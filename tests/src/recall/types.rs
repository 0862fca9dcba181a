//! Questions, what answers them, and which of them are asked.

use std::collections::BTreeSet;

/// A question, and what answers it.
#[derive(Debug, Clone)]
pub struct Question {
    /// As it was asked.
    pub text: String,
    /// The folder of the project that it is asked in; `None` for all.
    pub project: Option<String>,
    /// Ids of the sessions, each of which answers it.
    pub expects: BTreeSet<String>,
    /// Whether the question stands in none of these as it is.
    pub is_not_verbatim: bool,
}

/// Which questions are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Those whose SHA-256 is an even number.
    Even,
    /// Those whose SHA-256 is an odd number.
    Odd,
    /// All of them.
    All,
}

impl Half {
    pub(super) fn has(self, parity: &str) -> bool {
        let is_even =
            parity.chars().next_back().and_then(|digit| digit.to_digit(16)).is_some_and(|digit| digit % 2 == 0);
        match self {
            Half::Even => is_even,
            Half::Odd => !is_even,
            Half::All => true,
        }
    }
}

/// A set of transcripts, and what is asked of them.
#[derive(Debug)]
pub struct Measure {
    /// As the table calls it.
    pub name: &'static str,
    /// The questions.
    pub questions: Vec<Question>,
}
