//! What the user calls a session, as the index keeps it: a row of `meta` for each session that is called anything, so
//! that it is found by that, and known to be behind when that changes.

use layer1_prebackup::archive::Labels;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// Begins the key of a row, before the session's own.
const KEY: &str = "label:";
/// Behind all keys of such rows.
const KEYS_END: &str = "label;";
/// Between what the user says and what Claude Code called the session, which is to be found by that too.
const THEN: char = '\u{1f}';

/// What of it is searched: name, tags and note; `None` where there is nothing.
pub(super) fn words(labels: Option<&Labels>) -> Option<String> {
    let labels = labels?;
    let texts: Vec<&str> = labels.name().into_iter().chain(labels.tags()).chain(labels.note()).collect();
    Some(texts.join("\n").replace(THEN, " ")).filter(|words| !words.is_empty())
}

/// What was written of a session by [`write()`], and with which other title.
pub(super) fn kept(connection: &Connection, session: i64) -> rusqlite::Result<Option<(String, String)>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let kept: Option<String> = statement.query_row([key(session)], |row| row.get(0)).optional()?;
    Ok(kept.map(|kept| {
        let (words, title) = kept.split_once(THEN).unwrap_or((&kept, ""));
        (words.to_owned(), title.to_owned())
    }))
}

/// Writes what is said of a session.
pub(super) fn write(
    transaction: &Transaction<'_>,
    session: i64,
    now: Option<&(String, String)>,
) -> rusqlite::Result<()> {
    let Some((words, title)) = now else { return remove(transaction, session) };
    let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
    transaction.prepare_cached(sql)?.execute(params![key(session), format!("{words}{THEN}{title}")])?;
    Ok(())
}

/// Removes what is said of a session.
pub(super) fn remove(transaction: &Transaction<'_>, session: i64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key(session)])?;
    Ok(())
}

/// What is said of each session that is called anything.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare_cached("SELECT key, value FROM meta WHERE key > ?1 AND key < ?2")?;
    let rows = statement.query_map([KEY, KEYS_END], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let session = |(key, value): (String, String)| Some((key.strip_prefix(KEY)?.parse().ok()?, value));
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().filter_map(session).collect())
}

fn key(session: i64) -> String {
    format!("{KEY}{session}")
}
