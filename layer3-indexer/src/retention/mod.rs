//! What a person has removed or made smaller: `prune`, `forget` and `compress`.

pub(crate) mod compress;
pub(crate) mod forget;
mod open;
mod pending_delivery;
pub(crate) mod prune;
