//! The messages before and after a hit.

use super::search::{COLUMNS, Found, JOINS, Search, found};
use super::text::{Column, sections};
use super::{IndexError, Nearby, Sqlite};
use crate::index::snippet::beginning;
use crate::terminal::time::format_rfc3339_ms;
use crate::transcript::record::Record;

impl Search<'_> {
    /// As many messages before and after a hit as were asked for, in the order of the conversation.
    /// Notices of Claude Code are passed over.
    pub(super) fn nearby(&mut self, hit: &Found) -> Result<(Vec<Nearby>, Vec<Nearby>), IndexError> {
        let mut before = self.beside(hit, "m.offset < ?3", "DESC", self.asked.before)?;
        before.reverse();
        Ok((before, self.beside(hit, "m.offset > ?3", "ASC", self.asked.after)?))
    }

    fn beside(&mut self, hit: &Found, side: &str, order: &str, count: usize) -> Result<Vec<Nearby>, IndexError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM messages m {JOINS}
             WHERE m.session = ?1 AND m.content = ?2 AND {side} AND m.speaker % 16 != 5
             ORDER BY m.offset {order} LIMIT {count}"
        );
        let list = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map([hit.session_row, hit.place.content, hit.place.offset as i64], found)?;
            rows.collect::<rusqlite::Result<Vec<Found>>>()
        };
        let beside = list().doing("search", self.path)?;
        Ok(beside.iter().map(|found| self.nearby_of(found)).collect())
    }

    fn nearby_of(&mut self, found: &Found) -> Nearby {
        let read = self.texts.with_record(found, |record| (record.uuid.as_deref().map(str::to_owned), text_of(record)));
        let (uuid, text) = read.unwrap_or_default();
        Nearby {
            time: (found.time_ms != 0).then(|| format_rfc3339_ms(found.time_ms)),
            role: found.speaker.role(),
            message: uuid.unwrap_or_else(|| format!("{}:{}", found.path_text(), found.place.offset)),
            text,
        }
    }
}

/// What was said; thoughts where there is nothing else.
fn text_of(record: &Record<'_>) -> String {
    let sections = sections(record);
    let said = |thinking: bool| {
        let texts = sections.iter().filter(|(column, _)| (*column == Column::Thinking) == thinking);
        texts.map(|(_, text)| &**text).collect::<Vec<_>>().join(" ")
    };
    let words = said(false);
    if words.is_empty() { beginning(&format!("(thinking) {}", said(true))) } else { beginning(&words) }
}
