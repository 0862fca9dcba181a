//! How often the conversation that answers a plain question is found, and found first, beside what plain FTS5 finds.
//!
//! Two measures of others, of which nothing is kept here: [`locomo`], long dialogues with questions about them, and
//! [`commits`], real coding sessions and the commits that were made in them. Weights are chosen on the questions whose hash
//! is even ([`Half`]); the others say whether the choice holds for what it was not made on.

mod commits;
mod git;
mod locomo;
mod measure;
mod plain_fts;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

pub use measure::{Recall, Searched};

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
    fn has(self, parity: &str) -> bool {
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

/// Lays the transcripts of a measure out below `projects`, from the git directory that holds its data.
pub fn lay_out(name: &str, git_dir: &Path, projects: &Path, half: Half) -> io::Result<Measure> {
    let mut measure = match name {
        "locomo" => locomo::lay_out(git_dir, projects)?,
        _ => commits::lay_out(git_dir, projects)?,
    };
    let hashes = git::sha256(measure.questions.iter().map(|question| question.text.as_str()))?;
    let mut hashes = hashes.iter();
    measure.questions.retain(|_| hashes.next().is_some_and(|hash| half.has(hash)));
    Ok(measure)
}
