//! What a person or a model reads of the stores: lists, hits, conversations, pages to keep.

pub mod export;
pub mod list;
pub mod search;
pub mod show;
