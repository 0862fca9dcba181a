//! Searching the parts of the archive that the role may read. The words are those of this program's own index, so a word that
//! is found there is found here; parts of words are not, but for `beginning*`.

use postgres::types::ToSql;
use postgres::{Client, Row};
use serde_json::{Value, json};

use super::connect::connect;
use super::rows::cut;
use super::tables::{Part, readable};
use super::types::{Answer, Archive};
use crate::browse::search::{FRAME, LIMIT_DEFAULT, LIMIT_MAX, SearchRequest, hit_to_text, when};
use crate::failure::{Context, Failure};
use crate::index::Hit;
use crate::index::fold::{folded, words};
use crate::index::matching::By;
use crate::index::query::{Expression, Query};
use crate::index::snippet::snippet;
use crate::scope::Limits;
use crate::terminal::time::{format_rfc3339_ms, now_ms};
use crate::terminal::{Terminal, count, one_line};
use crate::transcript::record::Role;

/// Of each person, so many of the newest messages that match are looked at.
const MATCHES_MAX: i64 = 2000;
/// How long an answer may take.
const PATIENCE: &str = "SET statement_timeout = '60s'";

/// Searches what all readable people have sent.
pub(crate) fn search(archive: &Archive, limits: &Limits, request: &SearchRequest) -> Result<Answer, Failure> {
    for (name, value) in [("file", &request.file), ("tool", &request.tool), ("tag", &request.tag.first().cloned())] {
        if let Some(value) = value {
            return Err(Failure::argument(name, value, "an archive does not know it; leave it out"));
        }
    }
    let none = || Failure::argument("query", &request.query, "an archive finds words, and there is none in it");
    let query = Query::parse(&request.query).ok_or_else(none)?;
    let asked = tsquery(&query.expression).ok_or_else(none)?;
    let now_ms = now_ms();
    let limit = request.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let mut client = connect(archive)?;
    let parts = readable(&mut client)?;
    let found = match parts.is_empty() {
        true => Vec::new(),
        false => rows(&mut client, &parts, request, (&asked, now_ms, limit))?,
    };
    let more = found.len() > limit;
    let mut notes = Vec::new();
    if request.context.is_some_and(|messages| messages > 0) {
        notes.push("an archive does not show the messages around a hit".to_owned());
    }
    let mut hits = Vec::new();
    for (n, row) in found.iter().take(limit).enumerate() {
        let hit = hit(row, &query, request, request.passed_over() + n + 1);
        let directories: Vec<String> = hit.directory.iter().cloned().collect();
        if !limits.exclude.is_saved_excluded(&hit.project, &directories) {
            hits.push((row.get::<_, String>("person"), row.get::<_, String>("store"), hit));
        }
    }
    let scope = format!("in the archive of {}", named(&parts));
    let text = to_text(&hits, &notes, &scope, more, request);
    let as_json = |(person, store, hit): &(String, String, Hit)| -> Result<Value, Failure> {
        let mut value = serde_json::to_value(hit).context("write JSON")?;
        if let Value::Object(fields) = &mut value {
            fields.insert("person".to_owned(), json!(person));
            fields.insert("store".to_owned(), json!(store));
        }
        Ok(value)
    };
    let listed = hits.iter().map(as_json).collect::<Result<Vec<_>, _>>()?;
    let structure = json!({ "hits": listed, "more": more, "scope": scope, "all_projects": true, "notes": notes });
    Ok(Answer { structure, text, failed: Vec::new() })
}

/// People as a sentence has them.
pub(super) fn named(parts: &[Part]) -> String {
    match parts {
        [] => "nobody: this role may read no part of it".to_owned(),
        parts => parts.iter().map(|part| part.person.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// A text of a filter that was given and is not blank.
pub(super) fn typed(text: &Option<String>) -> Option<String> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn rows(
    client: &mut Client,
    parts: &[Part],
    request: &SearchRequest,
    (asked, now_ms, limit): (&str, i64, usize),
) -> Result<Vec<Row>, Failure> {
    let since = when("since", request.since.as_deref(), now_ms)?.map(|(first, _)| first);
    let until = when("until", request.until.as_deref(), now_ms)?.map(|(_, last)| last);
    let role = typed(&request.role);
    if let Some(role) = role.as_deref().filter(|role| Role::parse(role).is_none()) {
        let why = format!("it must be one of {}", Role::ALL.map(Role::as_str).join(", "));
        return Err(Failure::argument("role", role, &why));
    }
    let of_part = |part: &Part| {
        format!(
            "(SELECT m.person, m.store, m.project, m.session, m.message, m.path, m.at, m.time_ms, m.role, m.is_sidechain,
                m.branch, m.uuid, m.text, s.title, s.directory,
                ts_rank(m.words, $1::text::tsquery) * CASE WHEN m.role IN ('tool', 'system') THEN 0.4 ELSE 1 END AS worth
            FROM {} m JOIN {} s USING (person, store, project, session)
            WHERE m.words @@ $1::text::tsquery
                AND ($2::bigint IS NULL OR m.time_ms >= $2) AND ($3::bigint IS NULL OR m.time_ms <= $3)
                AND ($4::text IS NULL OR m.role = $4) AND ($5::text IS NULL OR m.branch = $5)
                AND ($6::text IS NULL OR starts_with(m.session, $6))
                AND ($7::text IS NULL OR strpos(lower(concat(s.directory, ' ', m.project)), lower($7)) > 0)
            ORDER BY m.time_ms DESC NULLS LAST LIMIT {MATCHES_MAX})",
            part.messages(),
            part.sessions()
        )
    };
    let of_parts: Vec<String> = parts.iter().map(of_part).collect();
    let sql = format!(
        "SELECT * FROM (
            SELECT found.*, count(*) OVER same - 1 AS others,
                row_number() OVER (same ORDER BY worth DESC, time_ms DESC NULLS LAST, message) AS nth
            FROM ({}) found WINDOW same AS (PARTITION BY person, store, project, session)) best
        WHERE $8 OR nth = 1
        ORDER BY worth DESC, time_ms DESC NULLS LAST, person, message OFFSET $9 LIMIT $10",
        of_parts.join(" UNION ALL ")
    );
    let (branch, session, project) = (typed(&request.branch), typed(&request.session_id), typed(&request.project));
    let (offset, limit) = (request.passed_over() as i64, limit as i64 + 1);
    let values: [&(dyn ToSql + Sync); 10] =
        [&asked, &since, &until, &role, &branch, &session, &project, &request.is_each(), &offset, &limit];
    client.batch_execute(PATIENCE).context("search the archive")?;
    client.query(&sql, &values).context("search the archive")
}

fn hit(row: &Row, query: &Query, request: &SearchRequest, rank: usize) -> Hit {
    let (person, project): (String, String) = (row.get("person"), row.get("project"));
    let text: String = row.get("text");
    Hit {
        rank,
        session_id: row.get("session"),
        directory: row.get("directory"),
        label: one_line(&format!("{person}/{project}")),
        project,
        title: row.get("title"),
        first_topic: None,
        name: None,
        tags: Vec::new(),
        pinned: false,
        time: row.get::<_, Option<i64>>("time_ms").map(format_rfc3339_ms),
        role: Role::parse(row.get("role")).unwrap_or(Role::System),
        is_sidechain: row.get("is_sidechain"),
        branch: row.get("branch"),
        uuid: row.get("uuid"),
        message: row.get("message"),
        others_in_session: if request.is_each() { 0 } else { row.get::<_, i64>("others").max(0) as usize },
        other_sessions: 0,
        source_gone: false,
        lost_messages: 0,
        snippet: snippet(&text, query, By::Words, &request.marks).text,
        path: row.get("path"),
        offset: row.get::<_, i64>("at").max(0) as u64,
        before: Vec::new(),
        after: Vec::new(),
    }
}

fn to_text(
    hits: &[(String, String, Hit)],
    notes: &[String],
    scope: &str,
    more: bool,
    request: &SearchRequest,
) -> String {
    let mut text: String = notes.iter().map(|note| format!("note: {}\n", one_line(note))).collect();
    for (.., hit) in hits {
        text.push_str(&hit_to_text(hit, &request.marks, &Terminal::PAGE));
        text.push('\n');
    }
    if hits.is_empty() {
        return text + &format!("No hit {scope}.\n");
    }
    let all = count(hits.len() as u64, "hit");
    let more =
        if more { format!("; offset: {} shows more", request.passed_over() + hits.len()) } else { String::new() };
    text + &format!("{all} {scope}{more}\n{FRAME}\n")
}

/// A query as PostgreSQL has it; `None` where nothing of it is a word. Of words that are to stand near each other all
/// have to be there.
fn tsquery(expression: &Expression) -> Option<String> {
    let together = |parts: Vec<String>, operator: &str| match parts.len() {
        0 => None,
        _ => Some(format!("({})", parts.join(operator))),
    };
    match expression {
        Expression::Term(term) => phrase(&term.text, term.is_prefix),
        Expression::Near(terms, _) => {
            together(terms.iter().filter_map(|term| phrase(&term.text, term.is_prefix)).collect(), " & ")
        }
        Expression::And(parts) => together(parts.iter().filter_map(tsquery).collect(), " & "),
        Expression::Or(parts) => together(parts.iter().filter_map(tsquery).collect(), " | "),
        Expression::Not(keep, drop) => {
            let keep = tsquery(keep)?;
            Some(tsquery(drop).map_or_else(|| keep.clone(), |drop| format!("({keep} & !{drop})")))
        }
    }
}

/// Words side by side. They are letters and digits alone, so nothing in them wants to be escaped.
fn phrase(text: &str, is_prefix: bool) -> Option<String> {
    let folded = folded(text);
    let words: Vec<String> = words(&folded).map(|word| format!("'{}'", cut(word))).collect();
    let behind = if is_prefix { ":*" } else { "" };
    (!words.is_empty()).then(|| format!("({}{behind})", words.join(" <-> ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_one_for_postgresql() {
        for (typed, expected) in [
            ("retry policy", Some("(('retry') & ('policy'))")),
            ("\"retry policy\"", Some("('retry' <-> 'policy')")),
            ("foo_bar", Some("('foo' <-> 'bar')")),
            ("retr*", Some("('retr':*)")),
            ("a OR b", Some("(('a') | ('b'))")),
            ("a NOT b", Some("(('a') & !('b'))")),
            ("NEAR(a b, 5)", Some("(('a') & ('b'))")),
            ("it's '; DROP TABLE x --", Some("(('it' <-> 's') & ('drop') & ('table') & ('x'))")),
            ("Sesión", Some("('sesion')")),
            ("->", None),
        ] {
            let query = Query::parse(typed).and_then(|query| tsquery(&query.expression));
            assert_eq!(query.as_deref(), expected, "{typed}");
        }
    }
}
