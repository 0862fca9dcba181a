//! How a verb ends.

/// A failure that the verb has told in its own words.
#[derive(Debug)]
pub(crate) struct AlreadyTold;

impl std::fmt::Display for AlreadyTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pass")
    }
}
