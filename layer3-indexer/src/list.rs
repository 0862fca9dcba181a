//! Listing sessions, and the table of them.

use layer1_prebackup::archive::Archive;
use layer1_prebackup::places::Places;

use crate::error::Error;
use crate::index::{SessionFilter, SessionRow};
use crate::rebuild;
use crate::render::{self, Style, Terminal, fit, left, one_line, right, width};
use crate::search::{now_ms, when};
use crate::show::file_names;

/// Sessions, unless another number is asked for.
pub const LIMIT_DEFAULT: usize = 50;
/// Most sessions of one answer.
pub const LIMIT_MAX: usize = 1000;
/// Columns of the edited files.
const FILES_COLUMNS: usize = 28;
/// Columns of a branch.
const BRANCH_COLUMNS: usize = 16;
/// Columns of a topic below which branch and edited files give way.
const TOPIC_COLUMNS_MIN: usize = 24;

/// Which sessions, as typed.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Only of this project.
    pub project: Option<String>,
    /// Only with a message since then: RFC 3339, a date, or an age such as `7d`.
    pub since: Option<String>,
    /// At most so many, newest first.
    pub limit: Option<usize>,
}

/// Sessions, newest first by their last message, and what the user should know about the index.
pub fn list(places: &Places, listing: &Listing) -> Result<(Vec<SessionRow>, Vec<String>), Error> {
    let filter = SessionFilter {
        project: listing.project.clone(),
        since_ms: when("since", listing.since.as_deref(), now_ms())?,
        limit: Some(listing.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)),
        ..SessionFilter::default()
    };
    let mut notes = Vec::new();
    let Some(archive) = Archive::open(&places.layer3_store)? else {
        return Ok((Vec::new(), vec!["nothing was saved yet".to_owned()]));
    };
    let sessions = rebuild::ask(places, &archive, &mut notes, |index| index.sessions(&filter))?;
    Ok((sessions, notes))
}

/// The table: number, id, size with ⚠️ over 2 MB and 🔴 over 5 MB, period, branch, edited files,
/// first topic; then totals. Fits the terminal's columns.
pub fn to_text(sessions: &[SessionRow], notes: &[String], scope: &str, terminal: &Terminal) -> String {
    let mut text = String::new();
    for note in notes {
        text.push_str(&terminal.paint(Style::Yellow, &format!("note: {}", one_line(note))));
        text.push('\n');
    }
    if sessions.is_empty() {
        text.push_str(&format!("No session {scope}.\n"));
        return text;
    }
    let year = common_year(sessions);
    let rows: Vec<Vec<String>> = sessions.iter().enumerate().map(|(n, row)| cells(n + 1, row, year)).collect();
    for line in table(&rows, terminal) {
        text.push_str(&line);
        text.push('\n');
    }
    let bytes = sessions.iter().map(|row| row.metadata.bytes).sum();
    let messages = sessions.iter().map(|row| row.metadata.messages).sum();
    let totals = format!(
        "{}, {}, {} {scope}",
        render::count(sessions.len() as u64, "session"),
        render::size(bytes),
        render::count(messages, "message")
    );
    text.push_str(&terminal.paint(Style::Dim, &fit(&totals, terminal.columns)));
    text.push('\n');
    text
}

const HEADINGS: [&str; 7] = ["#", "SESSION", "SIZE", "PERIOD", "BRANCH", "EDITED", "TOPIC"];
const SIZE: usize = 2;
const BRANCH: usize = 4;
const EDITED: usize = 5;
const TOPIC: usize = 6;

/// The year and `-` that all times begin with: it need not stand in every row.
fn common_year(sessions: &[SessionRow]) -> Option<&str> {
    let times = || sessions.iter().flat_map(|row| [&row.metadata.timestamp_start, &row.metadata.timestamp_end]);
    let year = times().flatten().next()?.get(..5)?;
    times().flatten().all(|time| time.starts_with(year)).then_some(year)
}

fn cells(number: usize, row: &SessionRow, year: Option<&str>) -> Vec<String> {
    let m = &row.metadata;
    let mut period = render::period(m.timestamp_start.as_deref(), m.timestamp_end.as_deref());
    if let Some(year) = year {
        period = period.replace(year, "");
    }
    let mark = render::size_mark(m.bytes);
    let topic = m.title.as_deref().or(m.first_topic.as_deref()).unwrap_or("–");
    let branch = render::branch(m.git_branch.as_deref());
    vec![
        number.to_string(),
        short_id(&m.session_id),
        if mark.is_empty() { render::size(m.bytes) } else { format!("{mark} {}", render::size(m.bytes)) },
        period,
        branch.map_or(String::new(), |branch| fit(&branch, BRANCH_COLUMNS).into_owned()),
        fit(&file_names(&m.edited_files, 3), FILES_COLUMNS).into_owned(),
        one_line(topic),
    ]
}

/// The first group of a uuid names a session well enough to type it; other ids stay whole.
fn short_id(id: &str) -> String {
    let is_uuid = id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    fit(if is_uuid { &id[..8] } else { id }, 20).into_owned()
}

fn table(rows: &[Vec<String>], terminal: &Terminal) -> Vec<String> {
    let mut columns: Vec<usize> = (0..HEADINGS.len())
        .map(|i| rows.iter().map(|row| width(&row[i])).max().unwrap_or(0))
        .zip(HEADINGS)
        .map(|(cells, heading)| if cells == 0 { 0 } else { cells.max(width(heading)) })
        .collect();
    let room = |columns: &[usize]| {
        let used: usize = columns[..TOPIC].iter().filter(|columns| **columns > 0).map(|columns| columns + 2).sum();
        terminal.columns.max(render::COLUMNS_MIN).saturating_sub(used)
    };
    // What gives way to the topic, one after the other.
    for (column, columns_max) in [(BRANCH, BRANCH_COLUMNS / 2), (EDITED, FILES_COLUMNS / 2), (EDITED, 0), (BRANCH, 0)] {
        if room(&columns) < columns[TOPIC].min(TOPIC_COLUMNS_MIN) {
            columns[column] = columns[column].min(columns_max);
        }
    }
    columns[TOPIC] = columns[TOPIC].min(room(&columns));
    let headings: Vec<String> = HEADINGS.iter().map(|heading| (*heading).to_owned()).collect();
    let mut lines = vec![terminal.paint(Style::Bold, &line(&headings, &columns))];
    lines.extend(rows.iter().map(|row| line(row, &columns)));
    lines
}

fn line(cells: &[String], columns: &[usize]) -> String {
    let aligned = cells.iter().zip(columns).enumerate().filter(|(_, (_, columns))| **columns > 0);
    let cells: Vec<String> = aligned
        .map(|(i, (cell, columns))| {
            let cell = fit(cell, *columns);
            if i == 0 || i == SIZE { right(&cell, *columns) } else { left(&cell, *columns) }
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    fn row(id: &str, bytes: u64, branch: &str, files: &[&str], topic: &str) -> SessionRow {
        let metadata = Metadata {
            session_id: id.to_owned(),
            project: "proj".to_owned(),
            timestamp_start: Some("2026-11-22T10:17:51.992Z".to_owned()),
            timestamp_end: Some("2026-11-22T11:02:00.000Z".to_owned()),
            git_branch: Some(branch.to_owned()),
            edited_files: files.iter().map(|file| (*file).to_owned()).collect(),
            first_topic: Some(topic.to_owned()),
            messages: 12,
            bytes,
            ..Metadata::default()
        };
        SessionRow { metadata, start_ms: None, end_ms: None }
    }

    fn rows() -> Vec<SessionRow> {
        vec![
            row(
                "aaaaaaaa-0000-4000-8000-000000000001",
                38_775,
                "main",
                &["/p/src/parse.rs", "/p/src/lex.rs"],
                "fix the parser",
            ),
            row(
                "bbbbbbbb-0000-4000-8000-000000000002",
                3 << 20,
                "HEAD",
                &[],
                "日本語のプロジェクトを説明してください、できるだけ詳しく、例も添えて",
            ),
            row(
                "short",
                40 << 20,
                "feature/very-long-branch-name",
                &["/a", "/b", "/c", "/d", "/e"],
                "colours \u{1b}[31mred\u{7} and\nlines",
            ),
        ]
    }

    #[test]
    fn the_table_is_aligned_by_display_width() {
        insta::assert_snapshot!(to_text(&rows(), &[], "in project proj", &Terminal::PLAIN), @r#"
        #  SESSION        SIZE  PERIOD             BRANCH    EDITED            TOPIC
        1  aaaaaaaa      38 KB  11-22 10:17→11:02  [main]    lex.rs, parse.rs  fix the parser
        2  bbbbbbbb  ⚠️ 3.0 MB  11-22 10:17→11:02                              日本語のプロジェクトを説明し…
        3  short      🔴 40 MB  11-22 10:17→11:02  [featur…  e, d, c +2        colours ·[31mred· and lines
        3 sessions, 43 MB, 36 messages in project proj
        "#);
    }

    #[test]
    fn the_table_fits_a_narrow_terminal() {
        let narrow = Terminal { columns: 72, ..Terminal::PLAIN };
        let text = to_text(&rows(), &["the index was made again".to_owned()], "in all projects", &narrow);
        assert!(text.lines().all(|line| width(line) <= 72), "{text}");
        insta::assert_snapshot!(text, @r#"
        note: the index was made again
        #  SESSION        SIZE  PERIOD             TOPIC
        1  aaaaaaaa      38 KB  11-22 10:17→11:02  fix the parser
        2  bbbbbbbb  ⚠️ 3.0 MB  11-22 10:17→11:02  日本語のプロジェクトを説明し…
        3  short      🔴 40 MB  11-22 10:17→11:02  colours ·[31mred· and lines
        3 sessions, 43 MB, 36 messages in all projects
        "#);
    }

    #[test]
    fn no_session_is_said_plainly() {
        insta::assert_snapshot!(to_text(&[], &[], "in project proj", &Terminal::PLAIN), @"No session in project proj.");
    }
}
