//! What a record of a transcript means, decided once.

pub(crate) mod metadata;
pub mod record;
