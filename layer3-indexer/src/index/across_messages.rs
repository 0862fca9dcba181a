//! Conversations that hold all words of a query, though no single message does: a question names
//! one half of a matter, its answer the other, the session's title a third.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use rusqlite::types::Value;

use super::conditions::Conditions;
use super::query::{Expression, Query};
use super::ranking::{Ranking, Scored, by_worth, sorted};
use super::text::Speaker;

/// Most parts of a query that are looked for apart.
const PARTS_MAX: usize = 12;
/// Messages that are looked at for each part, those indexed last. A part that more of them hold
/// is looked for in the sessions that the rarer parts leave.
const MESSAGES_MAX: usize = 1000;
/// Sessions that are looked into for such a part.
const SESSIONS_MAX: usize = 40;
/// What words that stand apart are worth, of what they are together.
const APART: f64 = 0.7;
/// What a word of a title is worth, of the best message that holds it.
const TITLE: f64 = 1.0;
/// What it is worth when no message holds it.
const TITLE_ALONE: f64 = 8.0;

/// The best message of each session for one part; no message where its title holds the part.
type Best = HashMap<i64, Scored>;

impl Ranking<'_> {
    /// Such sessions, each with the message that says most. `together`: the messages that hold all of the query.
    pub(super) fn sessions_across(&self, query: &Query, together: &[Scored]) -> rusqlite::Result<Vec<Scored>> {
        let parts = query.parts_match();
        if parts.is_empty() || parts.len() > PARTS_MAX {
            return Ok(Vec::new());
        }
        let titles = self.titles()?;
        let (mut rare, mut common) = (Vec::new(), Vec::new());
        for (part, expression) in &parts {
            let found = match parts.len() {
                1 => Cow::Borrowed(together),
                _ => {
                    let found = self.scored(expression, MESSAGES_MAX)?;
                    Cow::Owned(sorted(found.into_iter().filter(|found| !found.is_echo).collect()))
                }
            };
            let is_rare = found.len() < MESSAGES_MAX;
            let best = best_of_sessions(&found, Some(part), &titles);
            if is_rare { rare.push(best) } else { common.push((expression, best)) }
        }
        let Some(first) = rare.first() else { return Ok(Vec::new()) };
        let mut sessions: Vec<(f64, i64)> = first
            .keys()
            .filter_map(|session| {
                let scores: Option<f64> = rare.iter().map(|best| best.get(session).map(|found| found.score)).sum();
                scores.map(|score| (score, *session))
            })
            .collect();
        sessions.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        if !common.is_empty() {
            sessions.truncate(SESSIONS_MAX);
        }
        let mut found = Vec::new();
        'sessions: for (_, session) in sessions {
            let mut bests: Vec<Scored> = rare.iter().map(|best| best[&session]).collect();
            for (expression, best) in &common {
                match best
                    .get(&session)
                    .copied()
                    .map_or_else(|| self.best_in(session, expression), |best| Ok(Some(best)))?
                {
                    Some(best) => bests.push(best),
                    None => continue 'sessions,
                }
            }
            found.extend(self.together(session, &bests)?);
        }
        Ok(found)
    }

    /// Sessions that hold the most of a question's words, in whatever message: each is worth the best message for each
    /// word. With the number of words that none of them holds.
    pub(super) fn sessions_by_words(&self, words: &[String]) -> rusqlite::Result<(Vec<Scored>, usize)> {
        let mut sessions: HashMap<i64, Vec<Scored>> = HashMap::new();
        let mut missing = 0;
        for word in words {
            let mut found = self.best_of(word, MESSAGES_MAX)?;
            found.retain(|found| !found.is_echo);
            missing += usize::from(found.is_empty());
            let best = best_of_sessions(&sorted(found), None, &[]);
            best.into_iter().for_each(|(session, best)| sessions.entry(session).or_default().push(best));
        }
        let mut all = Vec::new();
        for (session, bests) in sessions {
            all.extend(self.together(session, &bests)?);
        }
        Ok((sorted(all), missing))
    }

    /// Titles of sessions that the filters leave. A title is nobody's message: a filter that asks
    /// for certain messages leaves none.
    fn titles(&self) -> rusqlite::Result<Vec<(i64, String)>> {
        let query = self.query;
        if query.role.is_some() || query.tool.is_some() || query.since_ms.is_some() || query.until_ms.is_some() {
            return Ok(Vec::new());
        }
        let mut conditions = Conditions::default();
        conditions.add_project("project", query.project.as_deref());
        conditions.add_rows("id", query.within.as_deref());
        conditions.add("session = ?", query.session_id.clone().map(Value::from));
        let sql = format!("SELECT id, title FROM tracked WHERE listed = 1 AND title IS NOT NULL {}", conditions.sql);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows =
            statement.query_map(rusqlite::params_from_iter(conditions.values), |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// The best message of a session for a part.
    fn best_in(&self, session: i64, expression: &str) -> rusqlite::Result<Option<Scored>> {
        let mut conditions = self.conditions(Some(expression.to_owned()), false);
        // Rows of a session mostly lie side by side: the index of words skips what is outside.
        conditions.add("words.rowid >= (SELECT min(id) FROM messages WHERE session = ?)", Some(Value::from(session)));
        conditions.add("words.rowid <= (SELECT max(id) FROM messages WHERE session = ?)", Some(Value::from(session)));
        conditions.add("m.session = ?", Some(Value::from(session)));
        conditions.sql.push_str(&format!(" AND NOT {}", Speaker::sql_is_echo()));
        let sql = format!(
            "SELECT {}, {} FROM words JOIN messages m ON m.id = words.rowid WHERE words MATCH ?1 {}",
            Scored::sql(),
            self.score(),
            conditions.sql,
        );
        Ok(self.query_scored(&sql, conditions.values)?.into_iter().max_by(by_worth))
    }

    /// A session's score, and the message that holds the most of what counts; the first message
    /// that the filters leave where only the title holds anything.
    fn together(&self, session: i64, bests: &[Scored]) -> rusqlite::Result<Option<Scored>> {
        let score = APART * bests.iter().map(|best| best.score).sum::<f64>();
        let mut messages: BTreeMap<i64, (f64, Scored)> = BTreeMap::new();
        for best in bests.iter().filter(|best| best.message != 0) {
            messages.entry(best.message).or_insert((0.0, *best)).0 += best.score;
        }
        let best = messages.into_values().max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, best)| best);
        let best = match best {
            Some(best) => Some(best),
            None => self.first_message(session)?,
        };
        Ok(best.map(|best| Scored { score, ..best }))
    }

    fn first_message(&self, session: i64) -> rusqlite::Result<Option<Scored>> {
        let mut conditions = self.conditions(None, false);
        conditions.add("m.session = ?", Some(Value::from(session)));
        let sql = format!(
            "SELECT {}, 0.0 FROM messages m WHERE m.speaker = 0 {} ORDER BY m.id LIMIT 1",
            Scored::sql(),
            conditions.sql
        );
        Ok(self.query_scored(&sql, conditions.values)?.first().copied())
    }
}

fn best_of_sessions(found: &[Scored], part: Option<&Expression>, titles: &[(i64, String)]) -> Best {
    let mut best = Best::new();
    // Best first.
    for found in found {
        best.entry(found.session).or_insert(*found);
    }
    let title = found.first().map_or(TITLE_ALONE, |found| TITLE * found.score);
    for (session, _) in titles.iter().filter(|(_, title)| part.is_some_and(|part| part.is_in_words_of(title))) {
        let of_title = Scored {
            message: 0,
            session: *session,
            key: 0,
            is_echo: false,
            time_ms: 0,
            score: title,
            is_in_a_row: false,
        };
        let known = best.entry(*session).or_insert(of_title);
        known.score = known.score.max(title);
    }
    best
}
