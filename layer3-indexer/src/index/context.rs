//! The messages before and after a hit.

use std::borrow::Cow;

use rusqlite::Connection;

use super::snippet::beginning;
use super::text::Column;
use super::texts::{COLUMNS, Found, JOINS, Texts, found};
use super::types::ContextMessage;

/// On which side of a hit.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Before,
    After,
}

/// So many messages on one side of a hit, in the order of the conversation. Notices of Claude Code are
/// passed over.
pub(super) fn context(
    connection: &Connection,
    texts: &mut Texts<'_>,
    hit: &Found,
    side: Side,
    count: usize,
) -> rusqlite::Result<Vec<ContextMessage>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let (compare, order) = match side {
        Side::Before => ("<", "DESC"),
        Side::After => (">", "ASC"),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM messages m {JOINS}
         WHERE m.session = ?1 AND m.content = ?2 AND m.offset {compare} ?3 AND m.speaker % 16 NOT IN (5, 8)
         GROUP BY m.offset ORDER BY m.offset {order} LIMIT {count}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([hit.session_row, hit.place.content, hit.place.offset as i64], found)?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<Found>>>()?;
    if let Side::Before = side {
        rows.reverse();
    }
    Ok(rows.iter().map(|found| shown(texts, found)).collect())
}

fn shown(texts: &mut Texts<'_>, found: &Found) -> ContextMessage {
    let read = texts.with_sections(found, |uuid, sections| (uuid, text_of(sections)));
    let (uuid, text) = read.unwrap_or_default();
    ContextMessage { time: found.time(), role: found.speaker.role(), message: found.message(uuid.as_deref(), 0), text }
}

/// What was said; thoughts where there is nothing else.
fn text_of(sections: Vec<(Column, Cow<'_, str>)>) -> String {
    let said = |thinking: bool| {
        let texts = sections.iter().filter(|(column, _)| (*column == Column::Thinking) == thinking);
        texts.map(|(_, text)| &**text).collect::<Vec<_>>().join(" ")
    };
    let words = said(false);
    if words.is_empty() { beginning(&format!("(thinking) {}", said(true))) } else { beginning(&words) }
}
