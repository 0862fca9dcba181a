//! Drawing the model. Nothing of a conversation reaches the screen but through `one_line` and `lines` of `terminal`.

use layer1_prebackup::config::size::Size;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Padding, Paragraph};

use super::model::{Mode, Model, Purpose, Row, RowState, Verb};
use crate::browse::fit::SAID;
use crate::browse::show::ASKED_MARK;
use crate::terminal::{count, fit, left, one_line, right, width, wrap};

/// How it is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Whether there are colours.
    pub(super) colour: bool,
    pub(super) now_ms: i64,
}

/// Columns from which the preview stands beside the list.
const BESIDE_COLUMNS: u16 = 110;
/// Lines from which there is a preview below it.
const PREVIEW_LINES: u16 = 14;
/// Columns from which a row says the project, the messages and the id.
const PROJECT_COLUMNS: usize = 56;
const NUMBERS_COLUMNS: usize = 96;
const ID_COLUMNS: usize = 8;
const LABEL_COLUMNS: usize = 14;
const AGE_COLUMNS: usize = 7;

impl Look {
    fn style(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(self) -> Style {
        if self.colour { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }
}

/// Draws all of it, and tells the model how many rows fit.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, look: Look) {
    let [query, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    let is_beside = body.width >= BESIDE_COLUMNS;
    let (list, preview) = if is_beside {
        let [list, preview] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(body);
        (list, Some((preview, Block::new().padding(Padding::left(2)))))
    } else if body.height >= PREVIEW_LINES {
        let [list, preview] = Layout::vertical([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(body);
        (list, Some((preview, Block::new().borders(Borders::TOP).border_style(look.dim()))))
    } else {
        (body, None)
    };
    draw_query(frame, query, model, look);
    draw_list(frame, list, model, look);
    if let Some((area, block)) = preview {
        draw_preview(frame, area, block, model, look);
    }
    draw_footer(frame, footer, model, look);
    match &model.mode {
        Mode::Help { .. } => draw_help(frame, body, model),
        Mode::Label(line) => draw_label(frame, body, line, model),
        Mode::Query | Mode::List => {}
    }
}

fn draw_query(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let columns = usize::from(area.width);
    let mut told = vec![format!("{} of {}", model.listed.len(), model.rows.len())];
    told.extend(model.only_gone.then(|| "deleted or shrunk".to_owned()));
    match &model.here {
        Some(here) if !model.all => told.push(one_line(here)),
        _ => told.push("all projects".to_owned()),
    }
    told.extend(model.is_searching().then(|| "searching…".to_owned()));
    let told = fit(&told.join(" · "), columns / 2).into_owned();
    let prompt = "> ";
    let room = columns.saturating_sub(width(prompt) + width(&told) + 3).max(4);
    // The end of a long query is what is being typed.
    let before = model.query.before();
    let skipped = before.char_indices().map(|(at, _)| at).find(|at| width(&before[*at..]) < room).unwrap_or(0);
    let text = fit(&one_line_keeping_ends(&model.query.text()[skipped..]), room).into_owned();
    let shown = if model.query.text().is_empty() {
        Span::styled(fit("type to search titles and texts", room).into_owned(), look.dim())
    } else {
        Span::raw(text.clone())
    };
    let used = width(prompt) + width(&shown.content);
    let gap = " ".repeat(columns.saturating_sub(used + width(&told)));
    let line = Line::from(vec![
        Span::styled(prompt, look.style(Color::Cyan).add_modifier(Modifier::BOLD)),
        shown,
        Span::raw(gap),
        Span::styled(told, look.dim()),
    ]);
    frame.render_widget(Paragraph::new(line), area);
    if model.mode == Mode::Query {
        let column = width(prompt) + width(&before[skipped..]);
        frame.set_cursor_position(Position::new(area.x + column.min(columns.saturating_sub(1)) as u16, area.y));
    }
}

/// What is typed has no line breaks; blanks at its end stay.
fn one_line_keeping_ends(text: &str) -> String {
    let blanks = text.len() - text.trim_end_matches(' ').len();
    format!("{}{}", one_line(text), " ".repeat(blanks))
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, model: &mut Model, look: Look) {
    let lines = usize::from(area.height).max(1);
    model.page = lines;
    if model.listed.is_empty() {
        let why = match (model.rows.is_empty(), model.only_gone, model.query.text().trim().is_empty(), model.all) {
            (true, ..) => "Nothing is saved yet. `threefold setup` installs what saves your conversations.",
            (_, true, true, _) => "Nothing was deleted or shrunk here. g shows everything again.",
            (_, _, false, false) => "Nothing found in this project. Tab searches all projects.",
            _ => "Nothing found.",
        };
        let text: Vec<Line<'_>> = wrap(why, usize::from(area.width).max(1)).into_iter().map(Line::from).collect();
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    // The selected one stays in sight, with as much as fits of what comes before.
    let from = model.selected.saturating_sub(lines.saturating_sub(1).min(lines * 2 / 3));
    let from = from.min(model.listed.len().saturating_sub(lines));
    let shown = model.listed.iter().enumerate().skip(from).take(lines);
    let text: Vec<Line<'_>> = shown
        .map(|(n, shown)| {
            let is_selected = n == model.selected;
            let line = row_to_line(&model.rows[shown.place], is_selected, usize::from(area.width), look);
            if is_selected { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
        })
        .collect();
    frame.render_widget(Paragraph::new(text), area);
}

fn row_to_line(row: &Row, is_selected: bool, columns: usize, look: Look) -> Line<'static> {
    let (mark, colour) = mark(row);
    let mut before = vec![Span::raw(if is_selected { "▸" } else { " " }.to_owned())];
    before.push(Span::styled(format!("{mark} "), look.style(colour)));
    let age = row.end_ms.map(|end_ms| age(look.now_ms - end_ms)).unwrap_or_default();
    let mut after = Vec::new();
    if columns >= PROJECT_COLUMNS {
        after.push(left(&fit(&one_line(&row.label), LABEL_COLUMNS), LABEL_COLUMNS));
    }
    after.push(right(&age, AGE_COLUMNS));
    if columns >= NUMBERS_COLUMNS {
        after.push(right(&row.messages.to_string(), 5));
        after.push(right(&Size(row.bytes).to_string(), 7));
        after.push(fit(&row.id, ID_COLUMNS + 1).chars().take(ID_COLUMNS).collect());
    }
    let after = format!("  {}", after.join("  "));
    let room = columns.saturating_sub(4 + width(&after)).max(8);
    let title = if row.title.is_empty() { "–".to_owned() } else { one_line(&row.title) };
    let tags: String = row.tags.iter().map(|tag| format!(" #{}", one_line(tag))).collect();
    let tags = fit(&tags, room / 2).into_owned();
    let title = fit(&title, room.saturating_sub(width(&tags))).into_owned();
    let gap = " ".repeat(room.saturating_sub(width(&title) + width(&tags)));
    let style = if row.name.is_empty() { Style::new() } else { Style::new().add_modifier(Modifier::BOLD) };
    before.extend([
        Span::styled(title, style),
        Span::styled(tags, look.style(Color::Cyan)),
        Span::raw(gap),
        Span::styled(after, if is_selected { Style::new() } else { look.dim() }),
    ]);
    Line::from(before)
}

/// What a row's sign says, in a sign.
fn mark(row: &Row) -> (&'static str, Color) {
    match row.state {
        RowState::Deleted => ("✗", Color::Red),
        RowState::Shrunk => ("↓", Color::Yellow),
        RowState::There | RowState::Unknown if row.is_pinned => ("*", Color::Yellow),
        RowState::There | RowState::Unknown => (" ", Color::Reset),
    }
}

/// `3 min`, `2 h`, `5 d`, `7 mo`, `2 y`.
fn age(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    let (hours, days) = (minutes / 60, minutes / 60 / 24);
    match () {
        () if minutes < 1 => "now".to_owned(),
        () if hours < 1 => format!("{minutes} min"),
        () if days < 1 => format!("{hours} h"),
        () if days < 60 => format!("{days} d"),
        () if days < 730 => format!("{} mo", days / 30),
        () => format!("{} y", days / 365),
    }
}

fn draw_preview(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, model: &Model, look: Look) {
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some((shown, row)) = model.selected() else { return };
    let columns = usize::from(inner.width).max(1);
    let mut head = vec![one_line(&row.label), count(row.messages, "message"), Size(row.bytes).to_string()];
    match row.state {
        RowState::Deleted => head.push("deleted by Claude Code; r restores it".to_owned()),
        RowState::Shrunk => head.push("shrunk; the full version is saved".to_owned()),
        RowState::There | RowState::Unknown => {}
    }
    head.extend(row.is_pinned.then(|| "pinned".to_owned()));
    let mut text = vec![Line::styled(fit(&head.join(" · "), columns).into_owned(), look.style(Color::Cyan))];
    let lines = if model.is_reading() { &[][..] } else { &model.preview.1 };
    let room = usize::from(inner.height).saturating_sub(1);
    let words = match shown.words.is_empty() {
        true => model.query.text().to_lowercase().split_whitespace().map(str::to_owned).collect(),
        false => shown.words.clone(),
    };
    let begin = first_shown(lines, &words, columns, room);
    let begin = (begin + model.scrolled).min(lines.len().saturating_sub(1));
    for line in lines.iter().skip(begin) {
        if text.len() > room {
            break;
        }
        // What was said is told from what is said of it in each line of the screen too.
        match line.strip_prefix(SAID) {
            Some(said) => {
                let pieces = wrap(said, columns.saturating_sub(2).max(1)).into_iter();
                text.extend(pieces.map(|piece| marked(format!("{SAID}{piece}"), &words, look)));
            }
            None => text.extend(wrap(line, columns).into_iter().map(|piece| Line::styled(piece, look.dim()))),
        }
    }
    if model.is_reading() {
        text.push(Line::styled("…", look.dim()));
    }
    frame.render_widget(Paragraph::new(text), inner);
}

/// The line of a preview with which it begins on the screen: that of the message that was found or, where that is long, a
/// little before the line of it that holds the most of what was meant; where none was found, the end.
fn first_shown(lines: &[String], words: &[String], columns: usize, room: usize) -> usize {
    let needed = |line: &String| wrap(line, columns).len();
    let mut left = room;
    let at_end = lines.iter().rev().take_while(|line| {
        let fits = needed(line) <= left;
        left = left.saturating_sub(needed(line));
        fits
    });
    let end = lines.len() - at_end.count();
    let Some(head) = lines.iter().position(|line| line.starts_with(ASKED_MARK)) else { return end };
    let held = |line: &String| {
        let line = line.to_lowercase();
        words.iter().filter(|word| line.contains(word.as_str())).count()
    };
    let of_message = || lines[head + 1..].iter().take_while(|line| line.starts_with(SAID));
    let most = of_message().map(held).max().unwrap_or(0);
    let hit = of_message().position(|line| held(line) == most).filter(|_| most > 0).map_or(head, |at| head + 1 + at);
    let before: usize = lines[head..hit].iter().map(needed).sum();
    // Where there is room for all that follows, for more before it too.
    end.min(if before <= room * 2 / 3 { head } else { hit.saturating_sub(room / 3) })
}

/// A line of what was said, with what was meant standing out.
fn marked(line: String, words: &[String], look: Look) -> Line<'static> {
    let lower = line.to_lowercase();
    let mut spans = Vec::new();
    let mut done = 0;
    // Where small letters take other room, nothing is marked.
    while lower.len() == line.len() {
        let at = |word: &String| lower[done..].find(word.as_str()).map(|at| (done + at, done + at + word.len()));
        let next = words
            .iter()
            .filter(|word| !word.is_empty())
            .filter_map(at)
            .min_by_key(|(from, to)| (*from, line.len() - to));
        let Some((from, to)) = next.filter(|(from, to)| line.is_char_boundary(*from) && line.is_char_boundary(*to))
        else {
            break;
        };
        spans.push(Span::raw(line[done..from].to_owned()));
        let bold = look.style(Color::Yellow).add_modifier(Modifier::BOLD);
        spans.push(Span::styled(line[from..to].to_owned(), bold));
        done = to;
    }
    spans.push(Span::raw(line[done..].to_owned()));
    Line::from(spans)
}

fn draw_footer(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let columns = usize::from(area.width);
    if let Some(said) = &model.said {
        frame.render_widget(
            Paragraph::new(Line::styled(fit(&one_line(said), columns).into_owned(), look.style(Color::Yellow))),
            area,
        );
        return;
    }
    let verb = model.usual().word();
    let is_free = model.purpose == Purpose::Anything;
    let is_empty = model.query.text().is_empty();
    let mut keys: Vec<(&str, &str)> = match &model.mode {
        Mode::Query => {
            let more = is_empty.then_some(("?", "keys"));
            let keys = [("↓", "list and its keys"), ("Tab", "projects"), ("Esc", "list"), ("Ctrl-C", "leave")];
            [("Enter", verb)].into_iter().chain(more).chain(keys).collect()
        }
        Mode::List => vec![("Enter", verb), ("/", "search"), ("?", "keys")],
        Mode::Label(_) => vec![("Enter", "save"), ("Esc", "back")],
        Mode::Help { .. } => vec![("any key", "back")],
    };
    if model.mode == Mode::List {
        let more = [("r", "restore"), ("e", "export"), ("s", "show")];
        keys.extend(more.into_iter().filter(|_| is_free));
        keys.extend([
            ("y", "copy"),
            ("t", "title, tags"),
            ("p", "pin"),
            ("g", "deleted"),
            ("Tab", "projects"),
            ("Esc", "leave"),
        ]);
    }
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, what) in keys {
        let needed = width(key) + width(what) + 3;
        if used + needed > columns + 2 {
            break;
        }
        used += needed;
        spans.push(Span::styled(key.to_owned(), Style::new().add_modifier(Modifier::BOLD)));
        spans.push(Span::styled(format!(" {what}  "), look.dim()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

const HELP: [(&str, &str); 19] = [
    ("letters", "search titles and texts (/ goes back there)"),
    ("↑ ↓ PgUp PgDn", "choose; then letters are commands"),
    ("Enter", "go on with it in Claude Code"),
    ("a", "go on from the message that was found, in a new session"),
    ("b", "go on from before its last compaction, likewise"),
    ("r", "restore it, where Claude Code deleted it"),
    ("e", "export it as a page, and open that"),
    ("s", "show all of it"),
    ("y", "copy the command that resumes it"),
    ("t", "title and tags: words, and #words"),
    ("p", "pin, unpin"),
    ("g", "only deleted (✗) or shrunk (↓) ones"),
    ("Tab", "this project, all projects"),
    ("Ctrl-D Ctrl-U", "scroll what is shown of it"),
    ("Alt-LETTER", "a command while searching"),
    ("*", "pinned"),
    ("✗", "deleted by Claude Code; saved here"),
    ("↓", "shrunk; its full version is saved here"),
    ("Esc, Ctrl-C, q", "leave"),
];

fn draw_help(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let is_shown =
        |(key, _): &&(&str, &str)| model.purpose == Purpose::Anything || !matches!(*key, "a" | "b" | "r" | "e" | "s");
    let usual = match model.usual() {
        Verb::Resume => None,
        verb => Some(verb.word()),
    };
    let text: Vec<Line<'_>> = HELP
        .iter()
        .filter(is_shown)
        .map(|(key, what)| {
            let what = usual.filter(|_| *key == "Enter").unwrap_or(what);
            Line::from(vec![Span::styled(left(key, 15), Style::new().add_modifier(Modifier::BOLD)), Span::raw(what)])
        })
        .collect();
    let (lines, columns) = (text.len() as u16 + 2, 64);
    popup(frame, area, "Keys", text, columns, lines);
}

fn draw_label(frame: &mut Frame<'_>, area: Rect, line: &super::line::Line, model: &Model) {
    let columns = area.width.min(70);
    let room = usize::from(columns).saturating_sub(4).max(4);
    let before = line.before();
    let skipped = before.char_indices().map(|(at, _)| at).find(|at| width(&before[*at..]) < room).unwrap_or(0);
    let typed = fit(&one_line_keeping_ends(&line.text()[skipped..]), room).into_owned();
    let of = model.selected().map(|(_, row)| one_line(&row.title)).unwrap_or_default();
    let text = vec![
        Line::from(typed),
        Line::from(fit(&format!("of: {of}"), room).into_owned()),
        Line::from("words: the name · #words: tags"),
    ];
    let inner = popup(frame, area, "Name and tags", text, columns, 5);
    let column = width(&before[skipped..]) as u16;
    frame.set_cursor_position(Position::new(inner.x + column.min(inner.width.saturating_sub(1)), inner.y));
}

fn popup(frame: &mut Frame<'_>, area: Rect, title: &str, text: Vec<Line<'_>>, columns: u16, lines: u16) -> Rect {
    let (columns, lines) = (columns.min(area.width), lines.min(area.height));
    let at = Rect {
        x: area.x + (area.width - columns) / 2,
        y: area.y + (area.height - lines) / 2,
        width: columns,
        height: lines,
    };
    let block = Block::bordered().title(title.to_owned());
    let inner = block.inner(at);
    frame.render_widget(Clear, at);
    frame.render_widget(block, at);
    frame.render_widget(Paragraph::new(text), inner);
    inner
}
