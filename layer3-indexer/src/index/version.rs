//! Which SQLite this is, and that it has full-text search.

use std::path::Path;

use rusqlite::Connection;

use super::error::{IndexError, Sqlite};

/// What the index is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versions {
    /// SQLite's version.
    pub(crate) sqlite: String,
    /// The source from which its full-text search was built.
    pub(crate) fts5: String,
}

/// Asks SQLite, in memory. Fails where it has no FTS5.
pub(crate) fn versions() -> Result<Versions, IndexError> {
    let memory = Path::new(":memory:");
    let connection = Connection::open_in_memory().doing("open a database", memory)?;
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0));
    let sqlite = one("SELECT sqlite_version()").doing("ask for the version", memory)?;
    let fts5 = one("SELECT fts5_source_id()").doing("look for FTS5", memory)?;
    Ok(Versions { sqlite, fts5 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_one_has_full_text_search() {
        let versions = versions().unwrap();
        assert!(versions.sqlite.starts_with("3.") && !versions.fts5.is_empty(), "{versions:?}");
    }
}
