//! How often the conversation that answers a plain question is found, and found first, beside what plain FTS5 finds.
//!
//! Three measures of others, of which nothing is kept here: [`locomo`], long dialogues with questions about them,
//! [`commits`], real coding sessions and the commits that were made in them, and [`sentences`] of these sessions, pasted as they
//! stand. Weights are chosen on the questions whose hash
//! is even ([`Half`]); the others say whether the choice holds for what it was not made on.

mod commits;
mod git;
mod locomo;
mod measure;
mod plain_fts;
mod sentences;
mod types;

use std::io;
use std::path::Path;

pub use measure::{Recall, Searched};
pub use types::{Half, Measure, Question};

/// Lays the transcripts of a measure out below `projects`, from the git directory that holds its data.
pub fn lay_out(name: &str, git_dir: &Path, projects: &Path, half: Half) -> io::Result<Measure> {
    let mut measure = match name {
        "locomo" => locomo::lay_out(git_dir, projects)?,
        "sentences" => sentences::lay_out(git_dir, projects)?,
        _ => commits::lay_out(git_dir, projects)?,
    };
    let hashes = git::sha256(measure.questions.iter().map(|question| question.text.as_str()))?;
    let mut hashes = hashes.iter();
    measure.questions.retain(|_| hashes.next().is_some_and(|hash| half.has(hash)));
    Ok(measure)
}
