//! The index: one row a message, in SQLite FTS5. Disposable: everything in it comes from the
//! store and can be made again from it. It holds no text; hits are re-read from the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile};
use layer1_prebackup::durable::DurableError;
use layer1_prebackup::names::StoredName;
use serde::Serialize;

use crate::metadata::Metadata;
use crate::record::Role;
use crate::snippet::Marks;

/// The index failed to do something. The store is not touched by any of this.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite failed.
    #[error("{doing} in the index {path}", path = path.display())]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// The index.
        path: PathBuf,
        /// SQLite's word.
        source: rusqlite::Error,
    },
    /// The index is damaged or of another version. [`Index::open`] sets it aside and makes a fresh one.
    #[error("use the index {path}: {what}; `layer3-indexer rebuild` makes it again from the store", path = path.display())]
    Unusable {
        /// The index.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The index file could not be made or set aside.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A file could not be read or made.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Where the text of messages lies. [`Archive`] is the one that counts; tests have others.
pub trait Contents {
    /// See [`Archive::store_id`].
    fn store_id(&self) -> &str;
    /// See [`Archive::files`].
    fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError>;
    /// See [`Archive::open_file`].
    fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError>;
    /// See [`Archive::sessions`].
    fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError>;
}

impl Contents for Archive {
    fn store_id(&self) -> &str {
        Archive::store_id(self)
    }
    fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        Archive::files(self, key)
    }
    fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError> {
        Archive::open_file(self, key, name)
    }
    fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        Archive::sessions(self)
    }
}

/// What an update of one session did.
#[derive(Debug, Clone)]
pub struct Updated {
    /// Messages of the session in the index, all of them.
    pub messages_indexed: u64,
    /// Of those, the ones that this update added.
    pub messages_added: u64,
    /// The content of `{SESSION_ID}.json`.
    pub metadata: Metadata,
    /// Whether the session appears in lists: false only when every record is of a known kind and
    /// none is a prompt or an answer.
    pub listed: bool,
}

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Only of this project.
    pub project: Option<String>,
    /// Only with a message at or after this time, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Only with a message at or before this time, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Only whose last branch this is.
    pub branch: Option<String>,
    /// At most so many, newest first; `None` for all.
    pub limit: Option<usize>,
}

/// A session in a list.
#[derive(Debug, Clone, Serialize)]
pub struct SessionRow {
    /// Everything known about it; `project` and `session_id` name it.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// First time of a message, in milliseconds since 1970.
    #[serde(skip)]
    pub start_ms: Option<i64>,
    /// Last time of a message, in milliseconds since 1970.
    #[serde(skip)]
    pub end_ms: Option<i64>,
}

/// What to search for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// As typed: FTS5 syntax where it parses, plain words otherwise.
    pub text: String,
    /// Only in this project.
    pub project: Option<String>,
    /// Only in this session.
    pub session_id: Option<String>,
    /// Only at or after this time, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Only at or before this time, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Only what this one said.
    pub role: Option<Role>,
    /// Only messages on this branch.
    pub branch: Option<String>,
    /// At most so many hits.
    pub limit: usize,
    /// Marks of the matched words in snippets.
    pub marks: Marks,
    /// Now, in milliseconds since 1970: newer messages are mildly preferred.
    pub now_ms: i64,
}

impl SearchQuery {
    /// A search for `text` everywhere, 20 hits at most, marks `[` and `]`.
    pub fn new(text: &str, now_ms: i64) -> SearchQuery {
        SearchQuery {
            text: text.to_owned(),
            project: None,
            session_id: None,
            since_ms: None,
            until_ms: None,
            role: None,
            branch: None,
            limit: 20,
            marks: Marks::default(),
            now_ms,
        }
    }
}

/// A message that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Hit {
    /// 1 for the best.
    pub rank: usize,
    /// Its session.
    pub session_id: String,
    /// The session's folder.
    pub project: String,
    /// The session's name, where it has one.
    pub title: Option<String>,
    /// When, RFC 3339.
    pub time: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip)]
    pub time_ms: Option<i64>,
    /// Who.
    pub role: Role,
    /// Whether a subagent's.
    pub is_sidechain: bool,
    /// The branch.
    pub branch: Option<String>,
    /// The record's id: `session_get_context` takes it as `around`.
    pub uuid: Option<String>,
    /// The words around the match, matches marked, on one line.
    pub snippet: String,
    /// The stored file, relative to the project's folder ([`StoredName::to_text`]).
    pub path: String,
    /// Of the record, in that file.
    pub offset: u64,
}

/// What a search found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SearchResults {
    /// Best first: by words, then by substrings.
    pub hits: Vec<Hit>,
    /// What the user should know about how it was searched, in plain words; mostly empty.
    pub notes: Vec<String>,
}

/// Numbers about the whole index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sessions in lists.
    pub sessions: u64,
    /// Sessions that have neither a prompt nor an answer and are not listed.
    pub sessions_unlisted: u64,
    /// Messages.
    pub messages: u64,
    /// Pieces of lines that no record could be read from.
    pub unparsable: u64,
    /// Records of types that this program does not know, by type.
    pub unknown: BTreeMap<String, u64>,
    /// Size of the database file and its write-ahead log.
    pub bytes: u64,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
}

#[allow(clippy::todo, unused_variables)]
impl Index {
    /// Opens the index for reading and writing, makes it (0600) where there is none. A damaged
    /// one, or one of another version, is set aside under a dated name beside it and a fresh
    /// one is made; see [`Index::set_aside`] and [`Index::is_incomplete`].
    pub fn open(path: &Path) -> Result<Index, IndexError> {
        todo!()
    }

    /// Opens an existing index for reading only; `None` where there is none. A damaged one or
    /// one of another version is [`IndexError::Unusable`].
    pub fn open_read_only(path: &Path) -> Result<Option<Index>, IndexError> {
        todo!()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where [`Index::open`] put an index that it could not use.
    pub fn set_aside(&self) -> Option<&Path> {
        todo!()
    }

    /// Whether the index was never filled from this store from end to end: it is fresh, or
    /// filling it was interrupted, or the store is another one. [`Index::fill`] heals that.
    pub fn is_incomplete(&self, contents: &dyn Contents) -> Result<bool, IndexError> {
        todo!()
    }

    /// Brings every session of the store up to date and forgets sessions that the store no longer
    /// has; `progress` is told the sessions done and their number. A session that cannot be read
    /// does not stop the others; their errors are returned.
    pub fn fill(
        &mut self,
        contents: &dyn Contents,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        todo!()
    }

    /// Empties the index: [`Index::fill`] then makes it from nothing (`rebuild`).
    pub fn clear(&mut self) -> Result<(), IndexError> {
        todo!()
    }

    /// Indexes what the store holds of a session and the index does not: transcript, subagents,
    /// older generations. Costs the delta, commits in batches, and goes on where an interrupted
    /// update stopped. `trigger` goes into the metadata; `progress` is told the bytes read so far.
    pub fn update_session(
        &mut self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: &str,
        progress: &dyn Fn(u64),
    ) -> Result<Updated, IndexError> {
        todo!()
    }

    /// Whether [`Index::update_session`] would have something to do.
    pub fn is_behind(&self, contents: &dyn Contents, key: &SessionKey) -> Result<bool, IndexError> {
        todo!()
    }

    /// Listed sessions, newest first by their last message.
    pub fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, IndexError> {
        todo!()
    }

    /// One session, listed or not; `None` if the index does not know it.
    pub fn session(&self, key: &SessionKey) -> Result<Option<SessionRow>, IndexError> {
        todo!()
    }

    /// Searches. No text is an error; an empty one finds nothing.
    pub fn search(&self, contents: &dyn Contents, query: &SearchQuery) -> Result<SearchResults, IndexError> {
        todo!()
    }

    /// Counts everything.
    pub fn counts(&self) -> Result<Counts, IndexError> {
        todo!()
    }
}
