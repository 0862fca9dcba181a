//! What a person or a model reads of the stores: lists, hits, conversations, pages to keep.

pub(crate) mod export;
pub(crate) mod finder;
pub(crate) mod fit;
pub(crate) mod hosts;
pub(crate) mod list;
mod masking;
mod outputs;
pub(crate) mod pages;
pub(crate) mod search;
pub(crate) mod secrets;
pub(crate) mod show;
mod subagents;
pub(crate) mod team;
mod title;
pub(crate) mod tree;
pub(crate) mod why;
