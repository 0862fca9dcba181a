//! What a person has removed or made smaller: `prune` and `compress`.

pub mod compress;
pub mod prune;
