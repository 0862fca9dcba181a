//! Placeholder.

pub mod index;
pub mod metadata;
pub mod query;
pub mod record;
pub mod snippet;
pub mod time;
