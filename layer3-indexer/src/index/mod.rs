//! The index: one row a message, in SQLite FTS5. Disposable: everything in it comes from the
//! store and can be made again from it. It holds no text; hits are re-read from the store.

mod blobs;
mod checksums;
mod conditions;
mod contents;
mod context;
mod conversations;
mod dates;
mod error;
mod families;
mod files;
mod fill;
pub(crate) mod fold;
mod labels;
mod lines;
mod listed;
pub(crate) mod matching;
mod mentions;
mod open;
pub(crate) mod owed;
mod own;
mod prepare;
pub mod query;
mod question;
mod ranking;
mod read;
mod reading;
mod schema;
mod search;
mod sessions;
pub(crate) mod snippet;
mod spelling;
mod stop_words;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod tool_calls;
mod topics;
mod trigram;
mod trigram_rows;
mod types;
mod version;
mod wait;
mod write;

pub use contents::Contents;
pub use error::IndexError;
pub(crate) use lines::{Line, Wanted};
pub use open::Index;
pub(crate) use types::{
    CHARACTER, ContextMessage, Glance, Marks, SessionFilter, SessionRow, SessionTotals, Whereabouts,
};
pub use types::{Counts, Hit, SearchQuery, SearchResults};
pub(crate) use version::versions;
pub(crate) use wait::with_patience;
