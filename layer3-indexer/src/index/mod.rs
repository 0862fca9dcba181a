//! The index: one row a message, in SQLite FTS5. Disposable: everything in it comes from the
//! store and can be made again from it. It holds no text; hits are re-read from the store.

mod across_messages;
mod checksums;
mod context;
pub(crate) mod fold;
mod header;
mod prepare;
pub mod query;
mod read;
mod reading;
mod schema;
mod search;
pub(crate) mod snippet;
#[cfg(test)]
mod tests;
mod text;
mod tool_calls;
pub(crate) mod trigram;
mod trigram_rows;
mod version;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, ArchiveError, Ranges, SessionKey, StoredFile};
use layer1_prebackup::fs::DurableError;
use layer1_prebackup::names::StoredName;
use rusqlite::Connection;
use serde::Serialize;

use crate::index::snippet::Marks;
use crate::transcript::metadata::Metadata;
use crate::transcript::record::Role;

pub(crate) use version::versions;

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
    /// The index is damaged, of an older version or another program's. [`Index::open`] sets it aside and makes a fresh one.
    #[error("use the index {path}: {what}; `layer3-indexer rebuild` makes it again from the store", path = path.display())]
    Unusable {
        /// The index.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The index was made by a newer version. Nothing was touched.
    #[error(
        "use the index {path}: it is of version {version}, made by a newer Threefold; update this one, or give it an index of its own (SESSION_DB_PATH)",
        path = path.display()
    )]
    Newer {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: i32,
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
    /// The store changed again and again while a session was indexed. The next update goes on.
    #[error("index session {session}: its stored copy kept changing; the next save goes on")]
    Changing {
        /// The session.
        session: String,
    },
}

impl IndexError {
    /// Whether the index has to be made again: see [`Index::renew`].
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, IndexError::Unusable { .. })
    }
}

/// Says what was being done when SQLite failed.
trait Sqlite<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, IndexError>;
}

impl<T> Sqlite<T> for rusqlite::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, IndexError> {
        self.map_err(|source| match schema::is_damage(&source) {
            true => IndexError::Unusable { path: path.to_owned(), what: source.to_string() },
            false => IndexError::Sqlite { doing, path: path.to_owned(), source },
        })
    }
}

/// Times that an update begins again because the store changed under it.
const RACES_MAX: u32 = 100;
/// Times that one call makes a fresh index because the one in use was damaged or replaced.
const RENEWALS_MAX: u32 = 3;
/// Key of the id of the store that the index was filled from.
const FILLED_FROM: &str = "filled_from";

/// Where the text of messages lies. [`Archive`] is the one that counts; tests have others.
pub trait Contents {
    /// See [`Archive::store_id`].
    fn store_id(&self) -> &str;
    /// See [`Archive::files`].
    fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError>;
    /// See [`Archive::open_file`].
    fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError>;
    /// See [`Archive::open_ranges`].
    fn open_ranges(&self, key: &SessionKey, name: &StoredName) -> Result<Ranges, ArchiveError> {
        Ok(Ranges::plain(self.open_file(key, name)?, name.to_path(&key.id)))
    }
    /// See [`Archive::sessions`].
    fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError>;
    /// What caused the session's last save, as its metadata file has it: a rebuilt index takes it from there.
    fn last_trigger(&self, key: &SessionKey) -> Option<String>;
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
    fn open_ranges(&self, key: &SessionKey, name: &StoredName) -> Result<Ranges, ArchiveError> {
        Archive::open_ranges(self, key, name)
    }
    fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        Archive::sessions(self)
    }
    fn last_trigger(&self, key: &SessionKey) -> Option<String> {
        let path = self.root().join(key.project.as_str()).join(format!("{}.json", key.id));
        // A lost metadata file costs this word alone.
        let metadata: Metadata = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        Some(metadata.trigger)
    }
}

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionFilter {
    /// Only of this project.
    pub(crate) project: Option<String>,
    /// Only with a message at or after this time, in milliseconds since 1970.
    pub(crate) since_ms: Option<i64>,
    /// Only with a message at or before this time, in milliseconds since 1970.
    pub(crate) until_ms: Option<i64>,
    /// Only whose last branch this is.
    pub(crate) branch: Option<String>,
    /// At most so many, newest first; `None` for all.
    pub(crate) limit: Option<usize>,
}

/// A session in a list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SessionRow {
    /// Everything known about it; `project` and `session_id` name it.
    #[serde(flatten)]
    pub(crate) metadata: Metadata,
    /// Its subagents: those whose own transcripts are stored with it.
    pub(crate) subagents: u64,
    /// Whether Claude Code no longer has the session; what is stored can be restored.
    pub(crate) source_gone: bool,
}

/// Numbers about all sessions that a list is taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SessionTotals {
    /// Sessions.
    pub(crate) sessions: u64,
    /// Bytes of their newest transcripts.
    pub(crate) bytes: u64,
    /// Their messages.
    pub(crate) messages: u64,
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
    /// Only calls of this tool and their results; an MCP tool may be named without its server.
    pub tool: Option<String>,
    /// Only in sessions that read or changed this file: its path, the end of it, or a folder. Beside
    /// a tool, or without a text, only the calls that did so, and their results.
    pub file: Option<String>,
    /// Every message, not only the best one of each session.
    pub each: bool,
    /// Hits to pass over: those of the pages before.
    pub offset: usize,
    /// At most so many hits.
    pub limit: usize,
    /// Messages to show before each hit.
    pub before: usize,
    /// Messages to show after each hit.
    pub after: usize,
    /// Marks of the matched words in snippets.
    pub marks: Marks,
    /// Now, in milliseconds since 1970: newer messages are mildly preferred.
    pub now_ms: i64,
}

impl SearchQuery {
    /// A search for `text` everywhere, every message, 20 hits at most, marks `[` and `]`.
    pub fn new(text: &str, now_ms: i64) -> SearchQuery {
        SearchQuery {
            text: text.to_owned(),
            project: None,
            session_id: None,
            since_ms: None,
            until_ms: None,
            role: None,
            branch: None,
            tool: None,
            file: None,
            each: true,
            offset: 0,
            limit: 20,
            before: 0,
            after: 0,
            marks: Marks::default(),
            now_ms,
        }
    }
}

impl SearchQuery {
    /// Whether there is something to find without a text.
    fn has_filter(&self) -> bool {
        self.tool.is_some()
            || self.file.is_some()
            || self.role.is_some()
            || self.branch.is_some()
            || self.session_id.is_some()
    }
}

/// A message that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Hit {
    /// 1 for the best.
    pub(crate) rank: usize,
    /// Its session.
    pub(crate) session_id: String,
    /// The session's folder.
    pub(crate) project: String,
    /// The session's name, where it has one.
    pub(crate) title: Option<String>,
    /// When, RFC 3339.
    pub(crate) time: Option<String>,
    /// Who.
    pub(crate) role: Role,
    /// Whether a subagent's.
    pub(crate) is_sidechain: bool,
    /// The branch.
    pub(crate) branch: Option<String>,
    /// The record's id.
    pub(crate) uuid: Option<String>,
    /// What `show --around` and `session_get_context` take to read on from here: the uuid or, where
    /// the record has none, `PATH:OFFSET`.
    pub message: String,
    /// Other messages of the session that match; none where every message is a hit by itself.
    pub(crate) others_in_session: usize,
    /// Whether Claude Code no longer has the session; what is stored can be restored.
    pub(crate) source_gone: bool,
    /// The words around the match, matches marked, on one line.
    pub snippet: String,
    /// The stored file, relative to the project's folder ([`StoredName::to_text`]).
    pub(crate) path: String,
    /// Of the record, in that file.
    pub(crate) offset: u64,
    /// Messages before it, as many as were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) before: Vec<Nearby>,
    /// Messages after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<Nearby>,
}

/// A message beside a hit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Nearby {
    /// When, RFC 3339.
    pub(crate) time: Option<String>,
    /// Who.
    pub(crate) role: Role,
    /// As [`Hit::message`].
    pub(crate) message: String,
    /// How it begins, on one line.
    pub(crate) text: String,
}

/// What a search found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SearchResults {
    /// Best first: by words, then by substrings. One for each session unless every message was asked for.
    pub hits: Vec<Hit>,
    /// Whether there are more behind these.
    pub(crate) more: bool,
    /// What the user should know about how it was searched, in plain words; mostly empty.
    pub(crate) notes: Vec<String>,
}

/// Numbers about the whole index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sessions in lists.
    pub(crate) sessions: u64,
    /// Sessions that have neither a prompt nor an answer and are not listed.
    pub(crate) sessions_unlisted: u64,
    /// Messages.
    pub messages: u64,
    /// Pieces of lines that no record could be read from.
    pub(crate) unparsable: u64,
    /// Records of types that this program does not know, by type.
    pub(crate) unknown: BTreeMap<String, u64>,
    /// Size of the database file and its write-ahead log.
    pub(crate) bytes: u64,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    connection: Connection,
    identity: (u64, u64),
    set_aside: Option<PathBuf>,
}

impl Index {
    /// Opens the index for reading and writing, makes it (0600) where there is none. A damaged
    /// one, or one of an older version or another program, is set aside under a dated name beside it
    /// and a fresh one is made; see [`Index::set_aside`] and [`Index::is_incomplete`]. A newer
    /// version's is refused and left alone.
    pub fn open(path: &Path) -> Result<Index, IndexError> {
        let mut index = Index::of(path, schema::open(path)?);
        // What a killed run left in the log is proven before anything is written over it.
        match index.settle().and_then(|()| checksums::require_sums(&mut index.connection, path)) {
            Err(error) if error.is_damage() => index.renew()?,
            settled => settled?,
        }
        Ok(index)
    }

    /// Opens an existing index for reading only; `None` where there is none. A damaged one or
    /// one of another version is [`IndexError::Unusable`]; damage can also show later.
    pub(crate) fn open_read_only(path: &Path) -> Result<Option<Index>, IndexError> {
        Ok(schema::open_read_only(path)?.map(|opened| Index::of(path, opened)))
    }

    fn of(path: &Path, opened: schema::Opened) -> Index {
        let schema::Opened { connection, set_aside, identity } = opened;
        Index { path: path.to_owned(), connection, identity, set_aside }
    }

    /// Whether the database at `path` is another program's, as far as its header tells.
    pub(crate) fn is_foreign(path: &Path) -> Result<bool, IndexError> {
        Ok(header::look(path)? == header::Whose::Foreign)
    }

    /// Indexes that were set aside from `path` and are still there, with their sizes. Nothing reads them any more.
    pub(crate) fn set_asides(path: &Path) -> Vec<(PathBuf, u64)> {
        schema::set_asides(path)
    }

    /// Where [`Index::open`] or [`Index::renew`] put an index that could not be used.
    pub(crate) fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Sets the index aside, because it turned out damaged, and opens a fresh one in its place;
    /// if another process has done so already, opens that one. Then [`Index::fill`] it.
    pub(crate) fn renew(&mut self) -> Result<(), IndexError> {
        let set_aside = schema::set_aside(&self.path, Some(self.identity))?;
        // Not `open`: whoever renews goes on to write, and what cannot be proven then is renewed again.
        let fresh = Index::of(&self.path, schema::open(&self.path)?);
        *self = Index { set_aside: set_aside.or(fresh.set_aside), ..fresh };
        Ok(())
    }

    /// Whether the index was never filled from this store from end to end: it is fresh, or
    /// filling it was interrupted, or the store is another one. [`Index::fill`] heals that.
    pub(crate) fn is_incomplete(&self, contents: &dyn Contents) -> Result<bool, IndexError> {
        let mut statement =
            self.connection.prepare_cached("SELECT value FROM meta WHERE key = ?1").doing("read", &self.path)?;
        let mut rows = statement.query([FILLED_FROM]).doing("read", &self.path)?;
        let store: Option<String> = match rows.next().doing("read", &self.path)? {
            Some(row) => Some(row.get(0).doing("read", &self.path)?),
            None => None,
        };
        Ok(store.as_deref() != Some(contents.store_id()))
    }

    /// Brings every session of the store up to date and forgets sessions that the store no longer
    /// has; `progress` is told the sessions done and their number. A session that cannot be read
    /// does not stop the others; their errors are returned. A damaged index is renewed and filled.
    pub fn fill(
        &mut self,
        contents: &dyn Contents,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        for _ in 0..RENEWALS_MAX {
            match self.try_fill(contents, progress) {
                Err(error) if error.is_damage() => self.renew()?,
                // Renewed by one of its updates: what was done before is not in the fresh one.
                Ok(_) if self.is_incomplete(contents)? => {}
                filled => return filled,
            }
        }
        let filled = self.try_fill(contents, progress);
        self.abandoned(filled)
    }

    /// The result of a last attempt. What is damaged even then does not stay where the next run
    /// would take it for good.
    fn abandoned<T>(&self, result: Result<T, IndexError>) -> Result<T, IndexError> {
        if result.as_ref().is_err_and(IndexError::is_damage) {
            schema::set_aside(&self.path, Some(self.identity))?;
        }
        result
    }

    /// Moves what was committed from the write-ahead log into the database and proves both by
    /// reading them back. What cannot be proven is [`IndexError::Unusable`]. Called before a write
    /// too: one that failed half-way is made up for before anything is written over the log.
    fn settle(&mut self) -> Result<(), IndexError> {
        checksums::settle(&mut self.connection, &self.path)
    }

    /// [`Index::settle`] where much is waiting.
    fn settle_some(&mut self) -> Result<(), IndexError> {
        if checksums::log_bytes(&self.path)? < checksums::LOG_BYTES_MAX { Ok(()) } else { self.settle() }
    }

    /// Re-reads the whole database file at `path` and compares it with what was written. What is
    /// wrong, in plain words, if anything is: then [`Index::renew`] it. One that is not there is well.
    pub(crate) fn verify(path: &Path) -> Result<Option<String>, IndexError> {
        let verify = || {
            let Some(mut index) = Index::open_read_only(path)? else { return Ok(None) };
            // Moving what waits in the log takes the write lock for a moment.
            index.connection.pragma_update(None, "query_only", false).doing("open", path)?;
            checksums::verify(&mut index.connection, path)
        };
        match verify() {
            Err(IndexError::Unusable { what, .. }) => Ok(Some(what)),
            verified => verified,
        }
    }

    fn try_fill(
        &mut self,
        contents: &dyn Contents,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        self.settle()?;
        let identity = self.identity;
        let sessions = contents.sessions()?;
        let mut behind = Vec::new();
        let mut failed = Vec::new();
        for key in &sessions {
            match self.behind(contents, key, None) {
                Ok(found) => behind.extend(found),
                Err(error) if is_of_one_session(&error) => failed.push((key.clone(), error)),
                Err(error) => return Err(error),
            }
        }
        let before = sessions.len() - behind.len();
        failed.extend(self.update_all(contents, &behind, &|done| progress(before + done, sessions.len()))?);
        if self.identity != identity {
            return Ok(failed);
        }
        self.forget_others(contents, &sessions)?;
        let transaction = schema::begin(&self.connection, &self.path)?;
        transaction
            .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [FILLED_FROM, contents.store_id()])
            .doing("write", &self.path)?;
        transaction.commit().doing("commit", &self.path)?;
        self.settle()?;
        progress(sessions.len(), sessions.len());
        Ok(failed)
    }

    /// Brings the sessions that are behind their contents up to date, with `trigger` as what caused
    /// that (none: what caused their last save), and writes nothing for the others; `progress` is told how many are done and their number.
    /// One that fails does not stop the rest; their errors are returned. A damaged index is renewed and filled.
    pub(crate) fn catch_up(
        &mut self,
        contents: &dyn Contents,
        sessions: &[SessionKey],
        trigger: Option<&str>,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        let run = |index: &mut Index| {
            let mut behind = Vec::new();
            let mut failed = Vec::new();
            for key in sessions {
                match index.behind(contents, key, trigger) {
                    Ok(found) => behind.extend(found),
                    Err(error) if error.is_damage() => return Err(error),
                    Err(error) => failed.push((key.clone(), error)),
                }
            }
            failed.extend(index.update_all(contents, &behind, &|done| progress(done, behind.len()))?);
            index.settle().map(|()| failed)
        };
        match run(self) {
            Err(error) if error.is_damage() => {
                self.renew()?;
                self.fill(contents, progress)
            }
            caught_up => caught_up,
        }
    }

    /// Says that sessions are about to be stored and indexed later. Until [`Index::fill`] has gone
    /// through all of them the index is incomplete, so that whoever is killed in between leaves
    /// nothing that is stored and never found.
    pub(crate) fn expect_more(&mut self) -> Result<(), IndexError> {
        self.settle()?;
        let transaction = schema::begin(&self.connection, &self.path)?;
        transaction.execute("DELETE FROM meta WHERE key = ?1", [FILLED_FROM]).doing("write", &self.path)?;
        transaction.commit().doing("commit", &self.path)?;
        self.settle()
    }

    /// The session and what is to be said to have caused its update, if it is behind its contents.
    fn behind(
        &self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: Option<&str>,
    ) -> Result<Option<(SessionKey, String)>, IndexError> {
        if !self.is_behind(contents, key)? {
            return Ok(None);
        }
        let trigger = match trigger {
            Some(trigger) => trigger.to_owned(),
            None => {
                let known = read::session(&self.connection, &self.path, key)?.map(|(row, _)| row.metadata.trigger);
                known.filter(|trigger| !trigger.is_empty()).or_else(|| contents.last_trigger(key)).unwrap_or_default()
            }
        };
        Ok(Some((key.clone(), trigger)))
    }

    /// Updates these sessions, many in one transaction; `progress` is told how many are done. Gives
    /// those that could not be read. After a renewal by another process the rest is left to [`Index::fill`].
    fn update_all(
        &mut self,
        contents: &dyn Contents,
        sessions: &[(SessionKey, String)],
        progress: &dyn Fn(usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        self.settle()?;
        let mut failed = Vec::new();
        let mut done = 0;
        while done < sessions.len() {
            progress(done);
            let apart = match write::group(&self.connection, &self.path, contents, &sessions[done..]) {
                Ok(write::Grouped::Done(many)) => {
                    done += many;
                    0
                }
                Ok(write::Grouped::Apart(many)) => many,
                Err(error) if error.is_damage() => return Err(error),
                Err(_) => 1,
            };
            let identity = self.identity;
            for (key, trigger) in &sessions[done..done + apart] {
                match self.update(contents, key, trigger, &|_| progress(done), Index::settle_some) {
                    Ok(_) => {}
                    Err(error) if is_of_one_session(&error) => failed.push((key.clone(), error)),
                    Err(error) => return Err(error),
                }
                done += 1;
            }
            self.settle_some()?;
            if self.identity != identity {
                return Ok(failed);
            }
            if schema::identity_of(&self.path)? != Some(self.identity) {
                self.renew()?;
                return Ok(failed);
            }
        }
        progress(done);
        Ok(failed)
    }

    fn forget_others(&self, contents: &dyn Contents, sessions: &[SessionKey]) -> Result<(), IndexError> {
        let kept: BTreeSet<(&str, &str)> = sessions.iter().map(|key| (key.project.as_str(), key.id.as_str())).collect();
        let list = || {
            let mut statement = self.connection.prepare("SELECT id, project, session FROM tracked")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<rusqlite::Result<Vec<(i64, String, String)>>>()
        };
        for (id, project, session) in list().doing("list sessions", &self.path)? {
            if kept.contains(&(project.as_str(), session.as_str())) {
                continue;
            }
            let key = SessionKey::parse(&project, &session).ok();
            write::forget(&self.connection, &self.path, contents, key.as_ref(), id)?;
        }
        Ok(())
    }

    /// Removes the rows of a session that the store has nothing of any more; one that it has stays. A
    /// damaged index is renewed and filled.
    pub(crate) fn forget(&mut self, contents: &dyn Contents, key: &SessionKey) -> Result<(), IndexError> {
        let run = |index: &mut Index| {
            index.settle()?;
            let session = write::session_id(&index.connection, key).doing("look up a session", &index.path)?;
            if let Some(session) = session {
                write::forget(&index.connection, &index.path, contents, Some(key), session)?;
            }
            index.settle()
        };
        match run(self) {
            Err(error) if error.is_damage() => {
                self.renew()?;
                self.fill(contents, &|_, _| {}).map(|_| ())
            }
            forgotten => forgotten,
        }
    }

    /// Empties the index, sets a damaged one aside: [`Index::fill`] then makes it from nothing (`rebuild`).
    pub(crate) fn clear(&mut self) -> Result<(), IndexError> {
        match self.try_clear() {
            Err(error) if error.is_damage() => self.renew(),
            cleared => cleared,
        }
    }

    fn try_clear(&mut self) -> Result<(), IndexError> {
        self.settle()?;
        let transaction = schema::begin(&self.connection, &self.path)?;
        transaction
            .execute_batch(
                "INSERT INTO words (words) VALUES ('delete-all');
                 INSERT INTO parts (parts) VALUES ('delete-all');
                 DELETE FROM messages; DELETE FROM contents; DELETE FROM unknown; DELETE FROM branches;
                 DELETE FROM spans; DELETE FROM uses; DELETE FROM calls; DELETE FROM tools; DELETE FROM files;
                 DELETE FROM tracked; DELETE FROM tallies; DELETE FROM meta;",
            )
            .doing("empty", &self.path)?;
        transaction.commit().doing("commit", &self.path)
    }

    /// Indexes what the store holds of a session and the index does not: transcript, subagents,
    /// older generations. Gives the messages of the session that the index holds then. Costs the delta, commits in batches, and goes on where an interrupted
    /// update stopped. `trigger` goes into the metadata; `progress` is told the bytes read so far.
    ///
    /// An index that turns out damaged is renewed and the session indexed in the fresh one:
    /// look at [`Index::is_incomplete`] afterwards. A stored file that cannot be read is left
    /// for the next update and everything else is indexed before the error is returned.
    pub(crate) fn update_session(
        &mut self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: &str,
        progress: &dyn Fn(u64),
    ) -> Result<u64, IndexError> {
        self.update(contents, key, trigger, progress, Index::settle)
    }

    fn update(
        &mut self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: &str,
        progress: &dyn Fn(u64),
        settle: fn(&mut Index) -> Result<(), IndexError>,
    ) -> Result<u64, IndexError> {
        let run = |index: &mut Index| {
            settle(index)?;
            let updated = index.try_update(contents, key, trigger, progress)?;
            settle(index).map(|()| updated)
        };
        for _ in 0..RENEWALS_MAX {
            match run(self) {
                Err(error) if error.is_damage() => self.renew()?,
                // Another process found it damaged meanwhile, and these rows went aside with it.
                Ok(_) if schema::identity_of(&self.path)? != Some(self.identity) => self.renew()?,
                updated => return updated,
            }
        }
        let updated = run(self);
        self.abandoned(updated)
    }

    fn try_update(
        &mut self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: &str,
        tell: &dyn Fn(u64),
    ) -> Result<u64, IndexError> {
        let mut progress = write::Progress::new(tell);
        let mut races = 0;
        if self.is_behind(contents, key)? {
            loop {
                match write::step(&self.connection, &self.path, contents, key, trigger, &mut progress)? {
                    write::Step::More => self.settle_some()?,
                    write::Step::Done => break,
                    write::Step::Raced if races < RACES_MAX => races += 1,
                    write::Step::Raced => return Err(IndexError::Changing { session: key.id.to_string() }),
                }
            }
        }
        if let Some((_, error)) = progress.failed.pop_first() {
            return Err(error);
        }
        let Some((row, _)) = read::session(&self.connection, &self.path, key)? else { return Ok(0) };
        if row.metadata.trigger != trigger {
            write::set_trigger(&self.connection, &self.path, key, trigger)?;
        }
        Ok(row.metadata.messages)
    }

    /// Whether [`Index::update_session`] would have something to do.
    pub(crate) fn is_behind(&self, contents: &dyn Contents, key: &SessionKey) -> Result<bool, IndexError> {
        write::is_behind(&self.connection, &self.path, contents, key)
    }

    /// Listed sessions, newest first by their last message.
    pub(crate) fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, IndexError> {
        read::sessions(&self.connection, &self.path, filter)
    }

    /// How many sessions that is without a limit, and their sizes.
    pub(crate) fn totals(&self, filter: &SessionFilter) -> Result<SessionTotals, IndexError> {
        read::totals(&self.connection, &self.path, filter)
    }

    /// One session, listed or not; `None` if the index does not know it.
    pub(crate) fn session(&self, key: &SessionKey) -> Result<Option<SessionRow>, IndexError> {
        Ok(read::session(&self.connection, &self.path, key)?.map(|(row, _)| row))
    }

    /// Searches. No text is an error; an empty one finds nothing.
    pub fn search(&self, contents: &dyn Contents, query: &SearchQuery) -> Result<SearchResults, IndexError> {
        search::search(&self.connection, &self.path, contents, query)
    }

    /// Counts everything.
    pub fn counts(&self) -> Result<Counts, IndexError> {
        read::counts(&self.connection, &self.path)
    }
}

/// Whether other sessions can go on: their contents are others.
fn is_of_one_session(error: &IndexError) -> bool {
    matches!(error, IndexError::Read { .. } | IndexError::Archive(_) | IndexError::Changing { .. })
}
