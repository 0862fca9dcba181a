//! Listing sessions, and the table of them.

use std::rc::Rc;

use clap::Args;
use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};
use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::browse::fit::file_names;
use crate::browse::search::when;
use crate::failure::Failure;
use crate::index::{Index, SessionFilter, SessionRow, SessionTotals};
use crate::save::adopt_v1;
use crate::save::rebuild;
use crate::save::sources::Sources;
use crate::scope::{self, Here, Labels, Scope};
use crate::stores::called::{Called, describe};
use crate::stores::{Stores, loss};
use crate::terminal::time::now_ms;
use crate::terminal::{
    self, COLUMNS_WHOLE, HUGE_BYTES, LARGE_BYTES, Style, Terminal, fit, fit_middle, left, one_line, right, short_id,
    width,
};
use crate::transcript::desktop;

/// Sessions, unless another number is asked for.
pub(crate) const LIMIT_DEFAULT: usize = 50;
/// Most sessions of one answer.
pub(crate) const LIMIT_MAX: usize = 1000;
/// Columns of the edited files.
const FILES_COLUMNS: usize = 28;
/// Columns of a project.
const PROJECT_COLUMNS: usize = 16;
/// Columns of a branch.
const BRANCH_COLUMNS: usize = 16;
/// Columns of a topic below which others give way.
const TOPIC_COLUMNS_MIN: usize = 24;

// Which sessions, as typed: see [`crate::browse::search::SearchRequest`].
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars", rename = "ListInput", example = serde_json::json!({"project": "app", "limit": 10}))]
pub(crate) struct ListRequest {
    /// Only of this project: its directory, or a part of its name. Without it: of the current directory's project.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) project: Option<String>,
    /// Of all projects.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) all: Option<bool>,
    /// Where it is asked.
    #[arg(skip)]
    #[serde(skip)]
    pub(crate) here: Here,
    /// Only with a message since: a date (2026-11-22), yesterday, an RFC 3339 time, or an age (7d, "2 weeks ago").
    #[arg(long, value_name = "WHEN")]
    #[arg(help = "Only with a message since: a date, yesterday, an RFC 3339 time, or an age such as 7d")]
    #[serde(default)]
    pub(crate) since: Option<String>,
    /// Only with this tag of the user's; with several of them, with all.
    #[arg(long, value_name = "TAG", help = "Only with this tag; repeat it for more")]
    #[serde(default)]
    pub(crate) tag: Vec<String>,
    /// Only what the user pinned.
    #[arg(long, num_args = 0, default_missing_value = "true", help = "Only pinned conversations")]
    #[serde(default)]
    pub(crate) pinned: Option<bool>,
    /// Only what Claude Code no longer has.
    #[arg(
        long,
        num_args = 0,
        default_missing_value = "true",
        help = "Only conversations that Claude Code no longer has"
    )]
    #[serde(default)]
    pub(crate) gone: Option<bool>,
    /// In this order: newest (the default), oldest, size or messages, the largest first.
    #[arg(long, value_name = "ORDER", help = "newest, oldest, size or messages (the largest first) [default: newest]")]
    #[serde(default)]
    pub(crate) sort: Option<String>,
    /// At most so many; 50 by default, 1000 at most.
    #[arg(long, short = 'n', value_name = "N", default_value = "50", help = "Maximum number of conversations")]
    #[serde(default)]
    pub(crate) limit: Option<usize>,
    /// Pass over so many: those of the answers before.
    #[arg(long, value_name = "N", default_value = "0", help = "Skip this many conversations")]
    #[serde(default)]
    pub(crate) offset: Option<usize>,
}

impl ListRequest {
    fn scope(&self) -> Scope {
        Scope { all: self.all == Some(true), project: self.project.clone(), here: self.here.clone() }
    }
}

/// Sessions and what there is to know about them as a whole. What is said of the fields, MCP clients read.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Listed {
    /// Newest first. Each has session_id, project, cwd, directory (of its project), timestamp_start, timestamp_end, git_branch, title, name, tags, pinned and note (where the user gave them), edited_files, read_files, bash_commands, tool_counts, first_topic, last_topic, messages, bytes, blake3, subagents, forks, forked_from and continued_in (where there is one), source_gone (Claude Code no longer has it), lost_messages (its newest version lost them, an older one has them).
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub(crate) sessions: Vec<SessionRow>,
    /// sessions, bytes and messages of all that were asked for, also beyond the limit.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(crate) totals: SessionTotals,
    /// Which sessions were asked for, in words.
    pub(crate) scope: String,
    /// Whether they are of all projects.
    pub(crate) all_projects: bool,
    /// What to know about the index, or about which sessions these are; mostly empty.
    pub(crate) notes: Vec<String>,
}

/// In which order sessions are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Newest,
    Oldest,
    Size,
    Messages,
}

impl Order {
    fn parse(text: Option<&str>) -> Result<Order, Failure> {
        match text {
            None | Some("newest") => Ok(Order::Newest),
            Some("oldest") => Ok(Order::Oldest),
            Some("size") => Ok(Order::Size),
            Some("messages") => Ok(Order::Messages),
            Some(other) => Err(Failure::argument("sort", other, "it must be newest, oldest, size or messages")),
        }
    }

    /// What comes newest first in this order; of equals the newest stays first.
    fn apply(self, sessions: &mut [(SessionRow, SessionKey)]) {
        match self {
            Order::Newest => {}
            Order::Oldest => sessions.reverse(),
            Order::Size => sessions.sort_by_key(|(row, _)| std::cmp::Reverse(row.metadata.bytes)),
            Order::Messages => sessions.sort_by_key(|(row, _)| std::cmp::Reverse(row.metadata.messages)),
        }
    }
}

/// Lists sessions. Where nothing was ever saved, there are none.
pub(crate) fn list(places: &Places, listing: &ListRequest) -> Result<Listed, Failure> {
    let since_ms = when("since", listing.since.as_deref(), now_ms())?.map(|(first, _)| first);
    let limit = listing.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let mut notes = Vec::new();
    let Some(archive) = adopt_v1::open(places)? else {
        return Ok(Listed { notes: vec!["nothing was saved yet".to_owned()], ..Listed::default() });
    };
    let scope = listing.scope();
    let stores = Rc::new(Stores::open(places)?);
    let called = Called::of(&stores);
    let pinned = listing.pinned == Some(true);
    let (only_gone, order) = (listing.gone == Some(true), Order::parse(listing.sort.as_deref())?);
    // What the index does not know is asked of all.
    let (asked, offset) = (Some(limit).filter(|_| !only_gone && order == Order::Newest), listing.offset.unwrap_or(0));
    let ask = |index: &Index| {
        let known = index.whereabouts()?;
        let mut meant = scope::meant(&scope, &known);
        meant.keep(&known, &listing.tag, pinned, &called);
        let within = meant.rows(&known);
        let offset = if asked.is_some() { offset } else { 0 };
        let filter = SessionFilter { since_ms, limit: asked, offset, within, ..SessionFilter::default() };
        Ok((meant, Labels::of(&known), index.sessions(&filter)?, index.totals(&filter)?))
    };
    let (mut meant, labels, mut sessions, mut totals) = rebuild::ask(places, &archive, &mut notes, ask)?;
    let key = |row: &SessionRow| SessionKey::parse(&row.metadata.project, &row.metadata.session_id);
    let found = sessions.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let sources = Sources::look(places, &archive, found.iter())?;
    let mut keys = found.clone();
    if asked.is_none() {
        let mut both: Vec<_> = sessions.into_iter().zip(keys).collect();
        if only_gone {
            let lack = both.iter().map(|(_, key)| sources.lack(key)).collect::<Result<Vec<_>, _>>()?;
            let mut lack = lack.into_iter();
            both.retain(|_| lack.next() == Some(true));
            let of = |count: fn(&SessionRow) -> u64| both.iter().map(|(row, _)| count(row)).sum();
            let (bytes, messages) = (of(|row| row.metadata.bytes), of(|row| row.metadata.messages));
            totals = SessionTotals { sessions: both.len() as u64, bytes, messages };
        }
        order.apply(&mut both);
        (sessions, keys) = both.into_iter().skip(offset).take(limit).unzip();
    }
    let mut titles = desktop::titles(&places.home);
    for (row, key) in sessions.iter_mut().zip(&keys) {
        row.metadata.title = row.metadata.title.take().or_else(|| titles.remove(key.id.as_str()));
        if let Some(labels) = called.get(key.id.as_str()) {
            describe(&mut row.metadata, labels);
        }
        row.source_gone = sources.lack(key)?;
        row.label = labels.label(&row.metadata.project, row.metadata.directory.as_deref());
        row.lost_messages = loss::recorded_messages(&stores, key);
    }
    notes.append(&mut meant.notes);
    let all_projects = !meant.is_narrow();
    Ok(Listed { sessions, totals, scope: meant.said, all_projects, notes })
}

/// The table: number, id, size with ⚠️ over 2 MB and 🔴 over 5 MB, period, branch, edited
/// files, title or first topic with the number of subagents; the project where there are several.
/// Then totals. Fits the terminal's columns.
pub(crate) fn to_text(listed: &Listed, terminal: &Terminal) -> String {
    let mut text = String::new();
    for note in &listed.notes {
        text.push_str(&terminal.line(Style::Yellow, &format!("note: {}", one_line(note))));
    }
    let sessions = &listed.sessions;
    let Some(first) = sessions.first() else {
        if listed.scope.is_empty() {
            return text;
        }
        text.push_str(&format!("No conversation {}.\n", listed.scope));
        if !listed.all_projects {
            text.push_str("`--all` lists all projects.\n");
        }
        return text;
    };
    let several = sessions.iter().any(|row| row.label != first.label);
    let rows: Vec<Vec<String>> =
        sessions.iter().enumerate().map(|(n, row)| cells(n + 1, row, several, terminal)).collect();
    let periods: Vec<[String; 3]> = sessions.iter().map(|row| shorter_periods(row, terminal)).collect();
    for line in table(rows, periods, terminal) {
        text.push_str(&line);
        text.push('\n');
    }
    for line in totals(listed) {
        let line = if terminal.interactive { line } else { fit(&line, terminal.columns).into_owned() };
        text.push_str(&terminal.at_blanks(&terminal.line(Style::Dim, &line)));
    }
    text
}

fn totals(listed: &Listed) -> Vec<String> {
    let all = &listed.totals;
    let shown = listed.sessions.len() as u64;
    let cut = if shown < all.sessions { format!(" ({shown} shown, --limit shows more)") } else { String::new() };
    let mut lines = vec![format!(
        "{}, {}, {} {}{cut}",
        terminal::count(all.sessions, "conversation"),
        Size(all.bytes),
        terminal::count(all.messages, "message"),
        listed.scope
    )];
    if listed.sessions.iter().any(|row| !terminal::size_mark(row.metadata.bytes).is_empty()) {
        let (large, huge) = (Size(LARGE_BYTES), Size(HUGE_BYTES));
        lines.push(format!("⚠️ more than {large}, 🔴 more than {huge}: `claude --resume` may be slow"));
    }
    let gone = listed.sessions.iter().filter(|row| row.source_gone).count() as u64;
    if gone > 0 {
        lines.push(format!(
            "{gone} of these deleted by Claude Code; `{}` brings all back",
            typed(LAYER3, "restore --all-missing")
        ));
    }
    let lost = listed.sessions.iter().filter(|row| row.lost_messages > 0).count() as u64;
    if lost > 0 {
        lines.push(format!(
            "{} lost messages that an older version still has; `status` says what to do",
            terminal::count(lost, "conversation")
        ));
    }
    lines
}

const HEADINGS: [&str; 9] = ["#", "ID", "PROJECT", "SIZE", "MSGS", "PERIOD", "BRANCH", "EDITED", "TITLE"];
const PROJECT: usize = 2;
const SIZE: usize = 3;
const MESSAGES: usize = 4;
const PERIOD: usize = 5;
const BRANCH: usize = 6;
const EDITED: usize = 7;
const TOPIC: usize = 8;

fn cells(number: usize, row: &SessionRow, several: bool, terminal: &Terminal) -> Vec<String> {
    let m = &row.metadata;
    let mark = terminal::size_mark(m.bytes);
    let branch = terminal::branch(m.git_branch.as_deref());
    let at_most = |columns| if terminal.columns == COLUMNS_WHOLE { COLUMNS_WHOLE } else { columns };
    vec![
        number.to_string(),
        short_id(&m.session_id),
        if several { fit_middle(&row.label, at_most(PROJECT_COLUMNS)).into_owned() } else { String::new() },
        if mark.is_empty() { Size(m.bytes).to_string() } else { format!("{mark} {}", Size(m.bytes)) },
        m.messages.to_string(),
        terminal.period(m.timestamp_start.as_deref(), m.timestamp_end.as_deref()),
        branch.map_or(String::new(), |branch| fit(&branch, at_most(BRANCH_COLUMNS)).into_owned()),
        fit(&file_names(&m.edited_files, 3), at_most(FILES_COLUMNS)).into_owned(),
        topic(row),
    ]
}

/// What the session is called or began with; before it whether its source is gone and how many
/// subagents are folded into it, because the end may be cut.
fn topic(row: &SessionRow) -> String {
    let m = &row.metadata;
    let mut marks = Vec::new();
    if m.pinned {
        marks.push("pinned".to_owned());
    }
    marks.extend(m.tags.iter().map(|tag| format!("#{}", one_line(tag))));
    if row.source_gone {
        marks.push("deleted".to_owned());
    }
    if row.lost_messages > 0 {
        marks.push(format!("lost {}", terminal::count(row.lost_messages, "message")));
    }
    if row.subagents > 0 {
        marks.push(format!("+{}", terminal::count(row.subagents, "subagent")));
    }
    if let Some(origin) = &m.forked_from {
        marks.push(format!("fork of {}", short_id(origin)));
    }
    if row.forks > 0 {
        marks.push(terminal::count(row.forks, "fork"));
    }
    if let Some(next) = &m.continued_in {
        marks.push(format!("continued in {}", short_id(next)));
    }
    let topic = one_line(m.title.as_deref().or(m.first_topic.as_deref()).unwrap_or("–"));
    if marks.is_empty() { topic } else { format!("({}) {topic}", marks.join(", ")) }
}

fn shorter_periods(row: &SessionRow, terminal: &Terminal) -> [String; 3] {
    terminal.shorter_periods(row.metadata.timestamp_start.as_deref(), row.metadata.timestamp_end.as_deref())
}

/// What gives way to the topic.
enum Way {
    /// The column has at most so many columns.
    Narrow(usize, usize),
    /// Periods are the shorter ones of this place.
    Period(usize),
}

/// One after the other, until the topic has its room.
const GIVING_WAY: [Way; 13] = [
    Way::Narrow(BRANCH, BRANCH_COLUMNS / 2),
    Way::Narrow(EDITED, FILES_COLUMNS / 2),
    Way::Narrow(EDITED, 0),
    Way::Period(0),
    Way::Narrow(MESSAGES, 0),
    Way::Narrow(BRANCH, 0),
    Way::Period(1),
    Way::Narrow(PROJECT, PROJECT_COLUMNS / 2),
    Way::Period(2),
    Way::Narrow(SIZE, 0),
    Way::Narrow(PERIOD, 0),
    Way::Narrow(PROJECT, 0),
    Way::Narrow(0, 0),
];

fn table(mut rows: Vec<Vec<String>>, mut periods: Vec<[String; 3]>, terminal: &Terminal) -> Vec<String> {
    let widest = |rows: &[Vec<String>], column: usize| {
        let cells = rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
        if cells == 0 { 0 } else { cells.max(width(HEADINGS[column])) }
    };
    let mut columns: Vec<usize> = (0..HEADINGS.len()).map(|column| widest(&rows, column)).collect();
    let room = |columns: &[usize]| {
        let used: usize = columns[..TOPIC].iter().filter(|columns| **columns > 0).map(|columns| columns + 2).sum();
        terminal.columns.max(terminal::COLUMNS_MIN).saturating_sub(used)
    };
    for way in GIVING_WAY {
        if room(&columns) >= columns[TOPIC].min(TOPIC_COLUMNS_MIN) {
            break;
        }
        match way {
            Way::Narrow(column, columns_max) => columns[column] = columns[column].min(columns_max),
            Way::Period(shorter) => {
                for (row, periods) in rows.iter_mut().zip(&mut periods) {
                    row[PERIOD] = std::mem::take(&mut periods[shorter]);
                }
                columns[PERIOD] = widest(&rows, PERIOD);
            }
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
            let cell = if i == PROJECT { fit_middle(cell, *columns) } else { fit(cell, *columns) };
            if [0, SIZE, MESSAGES].contains(&i) { right(&cell, *columns) } else { left(&cell, *columns) }
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::metadata::Metadata;

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
        SessionRow { metadata, subagents: 0, forks: 0, source_gone: false, lost_messages: 0, label: "proj".to_owned() }
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

    fn listed(sessions: Vec<SessionRow>) -> Listed {
        let totals = SessionTotals { sessions: sessions.len() as u64, bytes: 45_134_343, messages: 36 };
        Listed { sessions, totals, scope: "in ~/proj".to_owned(), ..Listed::default() }
    }

    #[test]
    fn the_table_is_aligned_by_display_width() {
        insta::assert_snapshot!(to_text(&listed(rows()), &Terminal::PLAIN), @r"
        #  ID             SIZE  MSGS  PERIOD                  BRANCH    TITLE
        1  aaaaaaaa      39 kB    12  2026-11-22 10:17→11:02  [main]    fix the parser
        2  bbbbbbbb  ⚠️ 3.1 MB    12  2026-11-22 10:17→11:02            日本語のプロジェクトを説明してくだ…
        3  short      🔴 42 MB    12  2026-11-22 10:17→11:02  [featur…  colours ·[31mred· and lines
        3 conversations, 45 MB, 36 messages in ~/proj
        ⚠️ more than 2.0 MB, 🔴 more than 5.0 MB: `claude --resume` may be slow
        ");
    }

    #[test]
    fn the_table_fits_a_narrow_terminal() {
        let narrow = Terminal { columns: 72, ..Terminal::PLAIN };
        let notes = vec!["the index was made again".to_owned()];
        let listed = Listed { notes, scope: "in all projects".to_owned(), ..listed(rows()) };
        let text = to_text(&listed, &narrow);
        assert!(text.lines().all(|line| width(line) <= 72), "{text}");
        insta::assert_snapshot!(text, @r"
        note: the index was made again
        #  ID             SIZE  PERIOD                  TITLE
        1  aaaaaaaa      39 kB  2026-11-22 10:17→11:02  fix the parser
        2  bbbbbbbb  ⚠️ 3.1 MB  2026-11-22 10:17→11:02  日本語のプロジェクトを…
        3  short      🔴 42 MB  2026-11-22 10:17→11:02  colours ·[31mred· and l…
        3 conversations, 45 MB, 36 messages in all projects
        ⚠️ more than 2.0 MB, 🔴 more than 5.0 MB: `claude --resume` may be slow
        ");
    }

    /// Rows in which everything is long.
    fn long_rows() -> Vec<SessionRow> {
        let mut rows = rows();
        rows[0].label = "work/customers/northwind/service".to_owned();
        rows[0].metadata.timestamp_start = Some("2026-07-28T21:09:00.000Z".to_owned());
        rows[0].metadata.timestamp_end = Some("2026-07-29T11:45:00.000Z".to_owned());
        rows[0].metadata.first_topic = Some("why does the parser of the service fail at noon".to_owned());
        rows[1].label = "日本語のとても長いプロジェクト".to_owned();
        rows
    }

    #[test]
    fn the_title_has_room_at_every_width() {
        for columns in 40..140 {
            let terminal = Terminal { columns, interactive: true, ..Terminal::PLAIN };
            let text = to_text(&listed(long_rows()), &terminal);
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}: {text}");
            let head = text.lines().next().unwrap();
            let title = columns - width(head.strip_suffix("TITLE").expect("a column of titles"));
            assert!(title >= TOPIC_COLUMNS_MIN, "{title} of {columns}: {text}");
        }
        let at = |columns| to_text(&listed(long_rows()), &Terminal { columns, interactive: true, ..Terminal::PLAIN });
        insta::assert_snapshot!(at(60) + "\n" + &at(80) + "\n" + &at(120), @r"
        #  ID        PROJECT   PERIOD      TITLE
        1  aaaaaaaa  work…ice  2026-07-28  why does the parser of t…
        2  bbbbbbbb  日本…ト   2026-11-22  日本語のプロジェクトを説…
        3  short     proj      2026-11-22  colours ·[31mred· and li…
        3 conversations, 45 MB, 36 messages in ~/proj
        ⚠️ more than 2.0 MB, 🔴 more than 5.0 MB: `claude --resume`
          may be slow

        #  ID        PROJECT        SIZE  PERIOD            TITLE
        1  aaaaaaaa  work…ice      39 kB  2026-07-28 21:09  why does the parser of the …
        2  bbbbbbbb  日本…ト   ⚠️ 3.1 MB  2026-11-22 10:17  日本語のプロジェクトを説明…
        3  short     proj       🔴 42 MB  2026-11-22 10:17  colours ·[31mred· and lines
        3 conversations, 45 MB, 36 messages in ~/proj
        ⚠️ more than 2.0 MB, 🔴 more than 5.0 MB: `claude --resume` may be slow

        #  ID        PROJECT                SIZE  MSGS  PERIOD                             BRANCH    TITLE
        1  aaaaaaaa  work/cus…service      39 kB    12  2026-07-28 21:09→2026-07-29 11:45  [main]    why does the parser of the…
        2  bbbbbbbb  日本語の…ェクト   ⚠️ 3.1 MB    12  2026-11-22 10:17→11:02                       日本語のプロジェクトを説明…
        3  short     proj               🔴 42 MB    12  2026-11-22 10:17→11:02             [featur…  colours ·[31mred· and lines
        3 conversations, 45 MB, 36 messages in ~/proj
        ⚠️ more than 2.0 MB, 🔴 more than 5.0 MB: `claude --resume` may be slow
        ");
    }

    #[test]
    fn into_a_pipe_every_field_is_whole() {
        let text = to_text(&listed(long_rows()), &Terminal { columns: terminal::COLUMNS_WHOLE, ..Terminal::PLAIN });
        insta::assert_snapshot!(text, @r"
        #  ID        PROJECT                                SIZE  MSGS  PERIOD                             BRANCH                           EDITED            TITLE
        1  aaaaaaaa  work/customers/northwind/service      39 kB    12  2026-07-28 21:09→2026-07-29 11:45  [main]                           lex.rs, parse.rs  why does the parser of the service fail at noon
        2  bbbbbbbb  日本語のとても長いプロジェクト    ⚠️ 3.1 MB    12  2026-11-22 10:17→11:02                                                                日本語のプロジェクトを説明してください、できるだけ詳しく、例も添えて
        3  short     proj                               🔴 42 MB    12  2026-11-22 10:17→11:02             [feature/very-long-branch-name]  e, d, c +2        colours ·[31mred· and lines
        3 conversations, 45 MB, 36 messages in ~/proj
        ⚠️ more than 2.0 MB, 🔴 more than 5.0 MB: `claude --resume` may be slow
        ");
    }

    #[test]
    fn projects_years_subagents_and_lost_sources_are_told_where_there_are_any() {
        let mut rows = rows();
        rows[0].subagents = 2;
        rows[1].label = "other".to_owned();
        rows[1].source_gone = true;
        rows[1].subagents = 1;
        rows[0].forks = 2;
        rows[2].metadata.forked_from = Some("aaaaaaaa-0000-4000-8000-000000000001".to_owned());
        rows[2].metadata.continued_in = Some("next".to_owned());
        rows[2].metadata.timestamp_start = Some("2025-12-31T23:50:00.000Z".to_owned());
        rows[2].metadata.timestamp_end = Some("2026-01-01T00:10:00.000Z".to_owned());
        rows[2].metadata.title = Some("a title".to_owned());
        let wide = Terminal { columns: 160, ..Terminal::PLAIN };
        let mut listed = listed(rows);
        listed.totals.sessions = 120;
        listed.scope = "in all projects".to_owned();
        insta::assert_snapshot!(to_text(&listed, &wide), @r"
        #  ID        PROJECT       SIZE  MSGS  PERIOD                             BRANCH            EDITED            TITLE
        1  aaaaaaaa  proj         39 kB    12  2026-11-22 10:17→11:02             [main]            lex.rs, parse.rs  (+2 subagents, 2 forks) fix the parser
        2  bbbbbbbb  other    ⚠️ 3.1 MB    12  2026-11-22 10:17→11:02                                                 (deleted, +1 subagent) 日本語のプロジェクトを説明…
        3  short     proj      🔴 42 MB    12  2025-12-31 23:50→2026-01-01 00:10  [feature/very-l…  e, d, c +2        (fork of aaaaaaaa, continued in next) a title
        120 conversations, 45 MB, 36 messages in all projects (3 shown, --limit shows more)
        ⚠️ more than 2.0 MB, 🔴 more than 5.0 MB: `claude --resume` may be slow
        1 of these deleted by Claude Code; `layer3-indexer restore --all-missing` brings all back
        ");
    }

    #[test]
    fn no_session_is_said_plainly() {
        insta::assert_snapshot!(to_text(&listed(Vec::new()), &Terminal::PLAIN), @r"
        No conversation in ~/proj.
        `--all` lists all projects.
        ");
    }
}
