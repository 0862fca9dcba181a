//! Searching, and hits as people read them.

use std::time::SystemTime;

use layer1_prebackup::archive::Archive;
use layer1_prebackup::places::Places;

use crate::error::Error;
use crate::index::{Hit, SearchQuery, SearchResults};
use crate::rebuild;
use crate::record::Role;
use crate::render::{self, Style, Terminal, one_line};
use crate::snippet::Marks;
use crate::time::parse_when_ms;

/// Hits, unless another number is asked for.
pub const LIMIT_DEFAULT: usize = 20;
/// Most hits of one answer.
pub const LIMIT_MAX: usize = 500;

/// What is searched for, as typed.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Any text.
    pub query: String,
    /// Only in this project.
    pub project: Option<String>,
    /// Not before: RFC 3339, a date, or an age such as `7d`.
    pub since: Option<String>,
    /// Not after.
    pub until: Option<String>,
    /// `user`, `assistant`, `tool`, `summary` or `system`.
    pub role: Option<String>,
    /// Only messages on this branch.
    pub branch: Option<String>,
    /// At most so many hits.
    pub limit: Option<usize>,
    /// Marks of matched words; `[` and `]` by default.
    pub marks: Marks,
}

/// Searches everything that is stored. An index that is missing or damaged is made again first.
/// Where nothing was ever saved, nothing is found.
pub fn search(places: &Places, search: &Search) -> Result<SearchResults, Error> {
    let now_ms = now_ms();
    let query = SearchQuery {
        project: search.project.clone(),
        since_ms: when("since", search.since.as_deref(), now_ms)?,
        until_ms: when("until", search.until.as_deref(), now_ms)?,
        role: role(search.role.as_deref())?,
        branch: search.branch.clone(),
        limit: search.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        marks: search.marks.clone(),
        ..SearchQuery::new(&search.query, now_ms)
    };
    let Some(archive) = Archive::open(&places.layer3_store)? else {
        return Ok(SearchResults { hits: Vec::new(), notes: vec!["nothing was saved yet".to_owned()] });
    };
    let mut notes = Vec::new();
    let mut results = rebuild::ask(places, &archive, &mut notes, |index| index.search(&archive, &query))?;
    notes.append(&mut results.notes);
    Ok(SearchResults { notes, ..results })
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    // A clock before 1970 makes ages meaningless, nothing worse.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

/// A point in time as typed.
pub fn when(name: &'static str, text: Option<&str>, now_ms: i64) -> Result<Option<i64>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let refuse = || Error::Argument {
        name,
        value: text.to_owned(),
        why: "it must be a date (2026-11-22), a time (2026-11-22T10:00:00Z) or an age (7d, 12h, 30m)".to_owned(),
    };
    parse_when_ms(text, now_ms).map(Some).ok_or_else(refuse)
}

fn role(text: Option<&str>) -> Result<Option<Role>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let all = || Role::ALL.map(Role::as_str).join(", ");
    let refuse =
        || Error::Argument { name: "role", value: text.to_owned(), why: format!("it must be one of {}", all()) };
    Role::parse(text).map(Some).ok_or_else(refuse)
}

/// Hits for a reader: two lines each, the snippet below who and when. `marks` are the ones of the
/// search; on a colour terminal they become bold.
pub fn to_text(results: &SearchResults, marks: &Marks, scope: &str, terminal: &Terminal) -> String {
    let mut text = String::new();
    for note in &results.notes {
        text.push_str(&terminal.paint(Style::Yellow, &format!("note: {}", one_line(note))));
        text.push('\n');
    }
    for hit in &results.hits {
        text.push_str(&hit_to_text(hit, marks, terminal));
    }
    if results.hits.is_empty() {
        text.push_str(&format!("No hit {scope}.\n"));
    } else {
        text.push_str(
            &terminal.paint(Style::Dim, &format!("{} {scope}", render::count(results.hits.len() as u64, "hit"))),
        );
        text.push('\n');
    }
    text
}

fn hit_to_text(hit: &Hit, marks: &Marks, terminal: &Terminal) -> String {
    let time = hit.time.as_deref().map_or("no time".to_owned(), render::minute);
    let mut head = format!("{} · {time} · {}", hit.rank, hit.role.as_str());
    if hit.is_sidechain {
        head.push_str(" (subagent)");
    }
    if let Some(branch) = render::branch(hit.branch.as_deref()) {
        head.push_str(&format!(" · {branch}"));
    }
    let session = format!("{}/{}", one_line(&hit.project), one_line(&hit.session_id));
    let snippet = one_line(&hit.snippet);
    let lines = if terminal.interactive { render::wrap(&snippet, terminal.columns - 2) } else { vec![snippet] };
    let snippet = painted(&lines.join("\n  "), marks, terminal);
    format!("{} · {}\n  {snippet}\n", terminal.paint(Style::Dim, &head), terminal.paint(Style::Cyan, &session))
}

/// The snippet with its marks as bold, where there are colours.
fn painted(snippet: &str, marks: &Marks, terminal: &Terminal) -> String {
    if !terminal.colour {
        return snippet.to_owned();
    }
    snippet.replace(marks.start.as_str(), "\x1b[1;33m").replace(marks.end.as_str(), "\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scene, answer, prompt};

    fn found(scene: &Scene, query: &str) -> SearchResults {
        search(&scene.places, &Search { query: query.to_owned(), ..Search::default() }).unwrap()
    }

    #[test]
    fn hits_say_who_when_and_where() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "where is the sesión parser?"), answer(2, "the parser\u{1b}[31m is in parse.rs")]);
        scene.receipt(None);
        let results = found(&scene, "parser");
        insta::assert_snapshot!(to_text(&results, &Marks::default(), "in all projects", &Terminal::PLAIN), @r#"
        1 · 2026-11-22 10:00 · user · [main] · proj/aaaaaaaa-0000-4000-8000-000000000001
          where is the sesión [parser]?
        2 · 2026-11-22 10:00 · assistant · [main] · proj/aaaaaaaa-0000-4000-8000-000000000001
          the [parser] [31m is in parse.rs
        2 hits in all projects
        "#);
        let none = found(&scene, "nowhere");
        insta::assert_snapshot!(to_text(&none, &Marks::default(), "in all projects", &Terminal::PLAIN), @"No hit in all projects.");
        let colour = Terminal { colour: true, ..Terminal::PLAIN };
        let text = to_text(&results, &Marks::default(), "in all projects", &colour);
        assert!(text.contains("\u{1b}[1;33mparser\u{1b}[0m"), "{text:?}");
    }

    #[test]
    fn before_anything_was_saved_nothing_is_found() {
        let results = found(&Scene::new(), "x");
        assert!(results.hits.is_empty());
        assert_eq!(results.notes, ["nothing was saved yet"]);
    }

    #[test]
    fn a_lost_or_damaged_index_is_made_again_by_the_search() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "needle")]);
        scene.receipt(None);
        std::fs::write(&scene.places.index, "this is no database, whatever it was before").unwrap();
        let results = found(&scene, "needle");
        assert_eq!((results.hits.len(), results.notes.len()), (1, 1), "{results:?}");
        assert_eq!(found(&scene, "needle").notes.len(), 0);
    }

    #[test]
    fn filters_are_checked_by_name() {
        let scene = Scene::new();
        let refused = |search: Search| super::search(&scene.places, &search).unwrap_err().to_string();
        let since = refused(Search { since: Some("yesterday-ish".to_owned()), ..Search::default() });
        let role = refused(Search { role: Some("dog".to_owned()), ..Search::default() });
        insta::assert_snapshot!([since, role].join("\n"), @r#"
        use since "yesterday-ish": it must be a date (2026-11-22), a time (2026-11-22T10:00:00Z) or an age (7d, 12h, 30m)
        use role "dog": it must be one of user, assistant, tool, summary, system
        "#);
    }
}
