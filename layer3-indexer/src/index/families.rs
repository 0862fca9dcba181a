//! Sessions that have copied from each other: forks, and those that go on in a new file. Each holds the messages
//! of the one before under the same ids.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::conditions::Conditions;

/// What tells which of a family a message is shown in: no fork before a fork, then the one that began first, and
/// that ended first.
pub(super) type Age = (bool, i64, i64, i64);

/// SQL of the age of a session `t`.
pub(super) const AGE: &str = "t.id, t.is_fork, coalesce(t.start_ms, 0), coalesce(t.end_ms, 0)";

pub(super) fn age(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Age)> {
    Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?, row.get(0)?)))
}

/// The families that were looked up, among what the filters of a search leave: what another session holds that they
/// do not leave is shown by nobody else.
pub(super) struct Families {
    /// By session: see [`family`].
    of: HashMap<i64, Vec<i64>>,
    filters: Conditions,
}

impl Families {
    /// `filters`: what is asked of messages `m`.
    pub(crate) fn new(mut filters: Conditions) -> Families {
        filters.add("m.session = ?", Some(Value::Null));
        filters.add("m.key = ?", Some(Value::Null));
        Families { of: HashMap::new(), filters }
    }

    /// How many others hold a message of a session too; `None` if one of them is older, and shows it.
    pub(crate) fn copies(
        &mut self,
        connection: &Connection,
        session: i64,
        key: i64,
    ) -> rusqlite::Result<Option<usize>> {
        let Families { of, filters } = self;
        let family = match of.entry(session) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(family(connection, session)?),
        };
        let mut holds = connection.prepare_cached(&format!("SELECT 1 FROM messages m WHERE 1 {}", filters.sql))?;
        let at = filters.values.len() - 2;
        filters.values[at + 1] = Value::from(key);
        let mut copies = 0;
        let mut is_younger = false;
        for other in family {
            filters.values[at] = Value::from(*other);
            if *other == session {
                is_younger = true;
            } else if holds.exists(params_from_iter(&filters.values))? {
                if !is_younger {
                    return Ok(None);
                }
                copies += 1;
            }
        }
        Ok(Some(copies))
    }
}

/// Sessions that have copied from another one, or were copied from.
pub(super) fn shared(connection: &Connection) -> rusqlite::Result<HashSet<i64>> {
    let sql =
        "SELECT session FROM beginnings WHERE key IN (SELECT key FROM beginnings GROUP BY key HAVING count(*) > 1)";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Of a session those of its project that it shares a beginning with, itself included, the oldest first.
pub(super) fn family(connection: &Connection, session: i64) -> rusqlite::Result<Vec<i64>> {
    let sql = format!(
        "SELECT DISTINCT {AGE} FROM beginnings a CROSS JOIN beginnings b ON b.key = a.key
         CROSS JOIN tracked t ON t.id = b.session JOIN tracked s ON s.id = a.session
         WHERE a.session = ?1 AND t.project = s.project AND t.listed = 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut all = statement.query_map([session], age)?.collect::<rusqlite::Result<Vec<_>>>()?;
    all.sort_by_key(|(_, age)| *age);
    Ok(all.into_iter().map(|(session, _)| session).collect())
}
