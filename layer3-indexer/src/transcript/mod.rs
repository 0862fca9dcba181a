//! What a record of a transcript means, decided once.

pub mod metadata;
pub mod record;
