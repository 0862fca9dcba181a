//! Which archive is meant, who sends, and what comes back.

use std::path::PathBuf;

use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::config::places::Places;
use serde_json::Value;

use crate::scope::Here;

/// Where an archive is.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "archive"), expect(dead_code, reason = "a program without archives asks none"))]
pub(crate) struct Archive {
    /// `postgres://NAME@HOST/DATABASE`, without a password: everybody on this computer sees it.
    pub(crate) address: String,
    /// The file of passwords that `psql` reads.
    pub(crate) passwords: PathBuf,
}

/// Whose conversations are sent.
#[derive(Debug)]
#[cfg_attr(not(feature = "archive"), expect(dead_code, reason = "a program without archives asks none"))]
pub(crate) struct Sender<'a> {
    pub(crate) places: &'a Places,
    pub(crate) here: Here,
    /// None of these, beside what `here` leaves out.
    pub(crate) exclude: Exclusions,
}

/// What was done or found: for programs, and for people.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) structure: Value,
    pub(crate) text: String,
    /// Problems that a person has to know of; each fits after "failed to".
    pub(crate) failed: Vec<String>,
}
