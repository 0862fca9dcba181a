//! What a person has removed or made smaller: `prune` and `compress`.

pub(crate) mod compress;
mod open;
pub(crate) mod prune;
