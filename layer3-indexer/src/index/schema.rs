//! The database file: made, opened, set aside.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use layer1_prebackup::fs;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{IndexError, Sqlite};
use super::files::{self, MAGIC, PAGE_BYTES, PARTS, beside, database, free_name, identity_of, not_ours};
use super::wait::{begin, read_while_busy, retry_while_busy, wait_for_others, write_lock};

/// Version of the schema and of everything that is derived from transcripts. An index of an older
/// version is set aside and made again; a newer one is refused.
const VERSION: i32 = 12;
/// Says that a database is this program's (`PRAGMA application_id`): "3fld".
const APPLICATION_ID: i32 = 0x3366_6c64;
const PAGE_CACHE_KIB: i64 = 8 * 1024;
/// Of a reader. Memory that is touched for the first time costs a search more than reading a page again.
const PAGES_READ: i64 = 32;

// Of the header that every database begins with: <https://sqlite.org/fileformat2.html#the_database_header>.
const HEADER_BYTES: usize = 100;
/// Big-endian numbers in the header.
const PAGE_BYTES_AT: usize = 16;
const PAGES_AT: usize = 28;
const VERSION_AT: usize = 60;
const APPLICATION_AT: usize = 68;

/// `words` finds words in all text. `parts` finds parts of words in what people and the model
/// wrote: without positions, and in several messages together, so hits are checked against the text.
/// Neither holds any text.
pub(super) const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One row for each session of the store, also for those that appear in no list.
CREATE TABLE tracked (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    session TEXT NOT NULL,
    listed INTEGER NOT NULL DEFAULT 0,
    start_ms INTEGER,
    end_ms INTEGER,
    branch TEXT,
    title TEXT,
    is_fork INTEGER NOT NULL DEFAULT 0, -- its messages say that they were copied from another one
    messages INTEGER NOT NULL DEFAULT 0,
    topic_words INTEGER NOT NULL DEFAULT 0, -- of its topics, each as often as it stands
    first_message INTEGER,              -- its messages and perhaps those of others lie between these …
    last_message INTEGER,
    unparsable INTEGER NOT NULL DEFAULT 0,
    save_trigger TEXT NOT NULL DEFAULT '',
    UNIQUE (project, session)
);
CREATE INDEX tracked_end ON tracked (end_ms);
-- What is counted of each: by itself, because a search reads the rows above one after the other.
CREATE TABLE tallies (session INTEGER PRIMARY KEY, tally TEXT NOT NULL);
-- The directories by which a session is told to be of a project.
CREATE TABLE directories (
    session INTEGER NOT NULL,
    rank INTEGER NOT NULL,       -- the project's own first
    path TEXT NOT NULL,
    PRIMARY KEY (session, rank)
) WITHOUT ROWID;
CREATE VIEW sessions AS SELECT * FROM tracked WHERE listed = 1;

-- One row for each stored file that holds messages, in each of its generations.
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    path TEXT NOT NULL,          -- the newest content's, whatever the generation
    generation INTEGER NOT NULL,
    read_bytes INTEGER NOT NULL, -- all before is indexed
    read_tail BLOB NOT NULL,     -- hash of the last bytes before
    read_tree TEXT NOT NULL,     -- state of the hash of all before
    seen_bytes INTEGER NOT NULL, -- committed length at the last update …
    seen_blake3 BLOB NOT NULL,   -- … and its hash
    settled INTEGER NOT NULL,    -- nothing more is to be read of what was seen
    last_ms INTEGER NOT NULL,    -- time of the last record that had one
    shown INTEGER NOT NULL DEFAULT 0, -- messages that a reader sees, each once
    UNIQUE (session, path, generation)
);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    content INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    speaker INTEGER NOT NULL,
    branch INTEGER NOT NULL,
    key INTEGER NOT NULL         -- hash of time and text
);
CREATE UNIQUE INDEX messages_key ON messages (session, key);
-- What our own search was asked and answered: see `text.rs`.
CREATE INDEX messages_echo ON messages (id) WHERE (speaker % 16 >= 6);

-- Keys of the messages that a session may begin with where another one has it too: its first and its summaries.
-- Sessions that share one have copied from each other.
CREATE TABLE beginnings (
    key INTEGER NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (key, session)
) WITHOUT ROWID;
CREATE INDEX beginnings_session ON beginnings (session);

CREATE TABLE branches (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

-- What a message asks of a tool or has from it, and the file that is touched thereby; 0 for none.
CREATE TABLE uses (
    message INTEGER NOT NULL,
    tool INTEGER NOT NULL,
    file INTEGER NOT NULL,
    PRIMARY KEY (message, tool, file)
) WITHOUT ROWID;
CREATE INDEX uses_file ON uses (file) WHERE file != 0;
CREATE TABLE tools (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
-- Calls of a content that no result was read of yet: it may come with the next save.
CREATE TABLE calls (
    content INTEGER NOT NULL,
    call INTEGER NOT NULL,       -- hash of its id
    tool INTEGER NOT NULL,
    file INTEGER NOT NULL,
    own INTEGER NOT NULL,        -- whether our own search is asked
    PRIMARY KEY (content, call)
) WITHOUT ROWID;
-- Messages of a content that wait in the queue of prompts: they go when they come again as what was sent.
CREATE TABLE queued (
    content INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (content, message)
) WITHOUT ROWID;
CREATE TABLE unknown (
    session INTEGER NOT NULL,
    kind TEXT NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (session, kind)
) WITHOUT ROWID;

CREATE VIRTUAL TABLE words USING fts5 (
    user, assistant, thinking, tool_input, tool_output,
    content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
-- What sessions are about: see `topics.rs`.
CREATE VIRTUAL TABLE topics USING fts5 (
    words,
    content = '', contentless_delete = 1, detail = none, tokenize = 'porter unicode61 remove_diacritics 2'
);
-- A row has the tokens of `trigram.rs` of the messages of one span.
CREATE VIRTUAL TABLE parts USING fts5 (
    tokens,
    content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
CREATE TABLE spans (
    id INTEGER PRIMARY KEY,      -- the rowid in parts
    session INTEGER NOT NULL,
    first INTEGER NOT NULL,      -- these messages and all between are of that session
    last INTEGER NOT NULL
);

-- Fewer and larger segments: a transaction gathers its words in memory, and merging, which writes
-- them once more, waits until there are more segments of a size than the usual four. The sizes do
-- for what a transaction has of conversations as they are; of words that come once they take three
-- times as much memory as they say.
INSERT INTO words (words, rank) VALUES ('hashsize', 3145728), ('automerge', 8), ('crisismerge', 64);
INSERT INTO topics (topics, rank) VALUES ('hashsize', 524288), ('automerge', 8), ('crisismerge', 64);
INSERT INTO parts (parts, rank) VALUES ('hashsize', 2097152), ('automerge', 8), ('crisismerge', 64);
";

/// A connection, and what became of an index that could not be used.
pub(super) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) set_aside: Option<PathBuf>,
    /// Device and inode of the file that is open.
    pub(crate) identity: (u64, u64),
}

/// Opens for writing; makes the file, sets an unusable one aside.
pub(super) fn open(path: &Path) -> Result<Opened, IndexError> {
    if let Some(parent) = path.parent() {
        fs::Dir::create(parent)?;
    }
    own_files(path)?;
    match open_once(path) {
        Err(error) if error.is_damage() => {
            let set_aside = set_aside(path, None)?;
            Ok(Opened { set_aside, ..open_once(path)? })
        }
        opened => opened,
    }
}

/// Puts copies in the place of files that have further names, as after `cp -al`: SQLite writes in place, so in the
/// snapshot too. What readers share is made again by the first of them.
fn own_files(path: &Path) -> Result<(), IndexError> {
    if files::linked(path)?.is_empty() {
        return Ok(());
    }
    let _lock = write_lock(path)?;
    for file in files::linked(path)? {
        let unreadable = |source| IndexError::Read { path: file.clone(), source };
        let mut source = File::open(&file).map_err(unreadable)?;
        let bytes = source.metadata().map_err(unreadable)?.len();
        if file == beside(path, "-shm", "") {
            fs::remove_file(&file)?;
        } else {
            let hash = fs::hash_of_prefix(&source, bytes, &file)?;
            fs::copy_file(&mut source, &file, bytes, &hash, fs::Existing::Replaced)?;
        }
    }
    Ok(())
}

/// Opens an existing index for reading.
pub(super) fn open_read_only(path: &Path) -> Result<Option<Opened>, IndexError> {
    let Some(identity) = identity_of(path)? else { return Ok(None) };
    refuse_others(path)?;
    // Readers of a WAL database share memory through a file beside it. Where that cannot be
    // written, SQLite still reads if it can.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)
        .or_else(|_| Connection::open_with_flags(path, read_only))
        .doing("open", path)?;
    prepare(&mut connection, path)?;
    match version_of(&connection, path)? {
        Some(VERSION) => {}
        version => return Err(other_version(path, version)),
    }
    make_sure_of_schema(&connection, path)?;
    connection.pragma_update(None, "cache_size", PAGES_READ).doing("open", path)?;
    connection.pragma_update(None, "query_only", true).doing("open", path)?;
    Ok(Some(Opened { connection, set_aside: None, identity }))
}

/// Renames the index and what belongs to it, unless another process has already replaced the
/// file that was found unusable. The new name, or `None` where there was nothing to rename.
pub(super) fn set_aside(path: &Path, unusable: Option<(u64, u64)>) -> Result<Option<PathBuf>, IndexError> {
    let _lock = fs::Lock::wait(&beside(path, ".lock", "."))?;
    let identity = identity_of(path)?;
    let is_replaced = match unusable {
        Some(unusable) => identity != Some(unusable),
        None => open_once(path).is_ok(),
    };
    if identity.is_none() || is_replaced {
        return Ok(None);
    }
    let aside = free_name(path);
    // The log goes first: a database without its log is still recognised as unusable, a fresh
    // one beside a foreign log would not be.
    for suffix in PARTS {
        let from = beside(path, suffix, "");
        if from.symlink_metadata().is_ok() {
            fs::rename_new(&from, &beside(&aside, suffix, ""))?;
        }
    }
    Ok(Some(aside))
}

/// Unlinks the index, what belongs to it and what was set aside of it, unless it is another program's. A term that is
/// deleted from an index by its rows stays in its pages.
pub(super) fn remove(path: &Path) -> Result<(), IndexError> {
    refuse_others(path)?;
    let _lock = fs::Lock::wait(&beside(path, ".lock", "."))?;
    let asides = files::set_asides(path).into_iter().map(|(aside, _)| aside);
    for database in asides.chain([path.to_owned()]) {
        for suffix in PARTS {
            fs::remove_file(&beside(&database, suffix, ""))?;
        }
    }
    Ok(())
}

fn open_once(path: &Path) -> Result<Opened, IndexError> {
    // SQLite makes files by the umask, and the files beside the database with the database's mode.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(IndexError::Read { path: path.to_owned(), source }),
    }
    refuse_others(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).doing("open", path)?;
    prepare(&mut connection, path)?;
    prepare_to_write(&connection, path)?;
    // The switch to WAL takes a lock for which SQLite does not wait.
    let mode: String =
        retry_while_busy(path, || connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)))
            .doing("open", path)?;
    debug_assert_eq!(mode, "wal");
    match version_of(&connection, path)? {
        Some(VERSION) => make_sure_of_schema(&connection, path)?,
        None => create(&connection, path)?,
        version => return Err(other_version(path, version)),
    }
    let identity = identity_of(path)?.unwrap_or_default();
    Ok(Opened { connection, set_aside: None, identity })
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), IndexError> {
    let mut prepare = || {
        connection.busy_handler(Some(wait_for_others))?;
        // The index can be made again, so a power cut may cost its last transactions but not its form.
        connection.pragma_update(None, "synchronous", "normal")?;
        // What is in the log is moved by `Index::checkpoint` alone, which reads it back.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // A database may come from anywhere: what its schema says is not to run.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        // Or a statement is planned anew for each value that it is given.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(())
    };
    prepare().doing("open", path)
}

fn prepare_to_write(connection: &Connection, path: &Path) -> Result<(), IndexError> {
    // Of a new database: half as many reads for what a common word is found in as with SQLite's usual 4096.
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64).doing("open", path)?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB).doing("open", path)
}

/// The version; `None` for an empty database; another program's database has version -1.
fn version_of(connection: &Connection, path: &Path) -> Result<Option<i32>, IndexError> {
    let read = || {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(match (tables, application) {
            (0, 0) => None,
            (_, APPLICATION_ID) => Some(version),
            _ => Some(-1),
        })
    };
    read_while_busy(path, read).doing("open", path)
}

/// A database with anything else in it than ours is made again.
fn make_sure_of_schema(connection: &Connection, path: &Path) -> Result<(), IndexError> {
    let digest = read_while_busy(path, || schema_digest(connection)).doing("open", path)?;
    match digest.to_hex().as_str() == TABLES {
        true => Ok(()),
        false => Err(IndexError::Unusable { path: path.to_owned(), what: "its tables are not ours".to_owned() }),
    }
}

/// Hash of all that [`SCHEMA`] makes, as SQLite keeps it ([`schema_digest`]). What a database has besides (a trigger, a
/// view) would run when ours is read or written. Written down, because making the tables takes longer than many a search.
const TABLES: &str = "f8c7a2003f2d8af70ed87054591f6d4ba9880b16024e40e0e8d80bde49f816cb";

/// Of every table, index, view and trigger: its kind, its name, the table that it is of, and how it was made.
fn schema_digest(connection: &Connection) -> rusqlite::Result<blake3::Hash> {
    let mut statement =
        connection.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY name, type")?;
    let mut rows = statement.query([])?;
    let mut hasher = blake3::Hasher::new();
    while let Some(row) = rows.next()? {
        for column in 0..4 {
            // A name that is no text, as somebody may have written into the schema, is none of ours.
            let text: String = row.get(column)?;
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
    }
    Ok(hasher.finalize())
}

fn create(connection: &Connection, path: &Path) -> Result<(), IndexError> {
    let transaction = begin(connection, path)?;
    if version_of(&transaction, path)?.is_none() {
        let make = || {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)
        };
        make().doing("make the tables", path)?;
    }
    transaction.commit().doing("make the tables", path)?;
    match version_of(connection, path)? {
        Some(VERSION) => Ok(()),
        version => Err(other_version(path, version)),
    }
}

/// Before SQLite opens it: what is not ours is not changed, in no byte.
fn refuse_others(path: &Path) -> Result<(), IndexError> {
    if let Some(what) = not_ours(path)? {
        return Err(IndexError::Unusable { path: path.to_owned(), what });
    }
    match look(path)? {
        Whose::Unsaid => Ok(()),
        Whose::Newer(version) => Err(other_version(path, Some(version))),
        Whose::Foreign => Err(other_version(path, Some(-1))),
        Whose::Misshapen => Err(IndexError::Unusable {
            path: path.to_owned(),
            what: "its pages have another size than ours".to_owned(),
        }),
    }
}

fn other_version(path: &Path, version: Option<i32>) -> IndexError {
    let path = path.to_owned();
    match version {
        None => IndexError::Unusable { path, what: "it is empty".to_owned() },
        Some(version) if version > VERSION => IndexError::Newer { path, version },
        Some(version) if version > 0 => IndexError::Outdated { path, version },
        Some(_) => IndexError::Unusable { path, what: "it was made by another program".to_owned() },
    }
}

/// Whose the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Ours, or not to be told from the header alone: absent, empty, no database, or all in its log.
    Unsaid,
    /// A newer version's of ours.
    Newer(i32),
    /// Another program's.
    Foreign,
    /// It says that it is ours, and its pages are not.
    Misshapen,
}

/// Whose a database is, from its header before SQLite opens it: opening it for writing would already
/// change what is not ours to change. Looks again before it is believed that the file is not ours.
pub(super) fn look(path: &Path) -> Result<Whose, IndexError> {
    match look_once(path)? {
        Whose::Unsaid => Ok(Whose::Unsaid),
        _ => look_once(path),
    }
}

fn look_once(path: &Path) -> Result<Whose, IndexError> {
    if identity_of(path)?.is_none() || not_ours(path)?.is_some() {
        return Ok(Whose::Unsaid);
    }
    let mut header = [0; HEADER_BYTES];
    let came = fs::read_at(database(path)?, 0, &mut header, path)?;
    if came < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Ok(Whose::Unsaid);
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page_bytes = usize::from(u16::from_be_bytes([header[PAGE_BYTES_AT], header[PAGE_BYTES_AT + 1]]));
    Ok(match number(APPLICATION_AT) {
        APPLICATION_ID if number(VERSION_AT) > VERSION => Whose::Newer(number(VERSION_AT)),
        APPLICATION_ID if number(VERSION_AT) == VERSION && page_bytes != PAGE_BYTES => Whose::Misshapen,
        APPLICATION_ID => Whose::Unsaid,
        // One of ours whose tables are in its log still has a single page.
        _ if number(PAGES_AT) > 1 => Whose::Foreign,
        _ => Whose::Unsaid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(more: &str) -> blake3::Hash {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        connection.execute_batch(more).unwrap();
        schema_digest(&connection).unwrap()
    }

    #[test]
    fn the_schema_is_ours_and_nothing_else() {
        let ours = digest_of("");
        for more in [
            "CREATE TRIGGER t AFTER INSERT ON branches BEGIN DELETE FROM messages; END",
            "CREATE VIEW v AS SELECT * FROM meta",
            "CREATE TABLE t (x)",
            "CREATE INDEX i ON branches (name)",
            "DROP TABLE queued; CREATE TABLE queued (content, message)",
            "DROP TABLE queued; CREATE VIEW queued AS SELECT 1 AS content, 2 AS message",
            "DROP INDEX tracked_end",
        ] {
            assert_ne!(digest_of(more), ours, "{more}");
        }
    }

    /// Two installations that take turns would each set the other's index aside. Whoever changes what a version makes
    /// (a comment within a table or SQLite itself is enough) raises [`VERSION`].
    #[test]
    fn what_a_version_makes_does_not_change() {
        assert_eq!(digest_of("").to_hex().as_str(), TABLES);
        insta::assert_snapshot!(format!("{VERSION}: {TABLES}"), @"12: f8c7a2003f2d8af70ed87054591f6d4ba9880b16024e40e0e8d80bde49f816cb");
    }
}
