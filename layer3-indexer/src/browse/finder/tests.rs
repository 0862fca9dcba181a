//! What keys do, and what each screen looks like.

use std::rc::Rc;

use layer1_prebackup::archive::Archive;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::{Look, draw};
use crate::browse::search::{self, SearchRequest};
use crate::index::Index;
use crate::save::roots::RootKind;
use crate::scope::{Here, Scope};
use crate::stores::Stores;
use crate::testing::{ID, Scene, answer, prompt};

use super::model::{Asked, Chosen, Effect, Event, Found, Key, Mode, Model, Purpose, Row, RowState, Until, Verb, Want};
use super::rows::load;
use super::work;

const NOW_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn row(n: usize, title: &str, hours: i64) -> Row {
    Row {
        row: n as i64,
        project: "app".to_owned(),
        id: format!("{n:08}-aaaa-4bbb-8ccc-000000000000"),
        label: if n < 5 { "app" } else { "другой" }.to_owned(),
        is_here: n < 5,
        title: title.to_owned(),
        end_ms: Some(NOW_MS - hours * HOUR_MS),
        messages: 10 * n as u64,
        bytes: 12_345 * n as u64,
        state: RowState::There,
        ..Row::default()
    }
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(1, "Retry with backoff in the client", 0),
        row(2, "Release notes", 3),
        row(3, "Fix the parser \u{1b}[31mred\u{202e}", 30),
        row(4, "認証のバグを直す、とても長い題名がここに続きます、そしてさらに続く", 24 * 9),
        row(5, "Elsewhere", 24 * 90),
        row(6, "", 24 * 900),
    ];
    rows[1].tags = vec!["work".to_owned(), "v2".to_owned()];
    (rows[1].name, rows[1].is_pinned) = ("Release notes".to_owned(), true);
    rows[2].state = RowState::Deleted;
    rows[3].state = RowState::Shrunk;
    rows
}

fn model() -> Model {
    Model::new(Purpose::Anything, rows(), Some("in ~/app".to_owned()), None)
}

fn key_of(name: &str) -> Key {
    match name {
        "Enter" => Key::Enter,
        "Esc" => Key::Esc,
        "Tab" => Key::Tab,
        "Down" => Key::Down,
        "Up" => Key::Up,
        "End" => Key::End,
        "Home" => Key::Home,
        "PgDn" => Key::PageDown,
        "Left" => Key::Left,
        "Back" => Key::Backspace,
        _ if name.starts_with('^') => Key::Ctrl(name.chars().nth(1).unwrap()),
        _ if name.starts_with("M-") => Key::Alt(name.chars().nth(2).unwrap()),
        _ => Key::Char(name.chars().next().unwrap()),
    }
}

/// Presses keys, by name or letter for letter; gives what is to be done at the end, reading left out.
fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for word in keys.split(' ').filter(|word| !word.is_empty()) {
        let is_name = word.len() > 1 && (word.starts_with(|c: char| c.is_uppercase() || c == '^'));
        let keys: Vec<Key> = if is_name {
            vec![key_of(word)]
        } else {
            word.chars().map(|c| Key::Char(if c == '_' { ' ' } else { c })).collect()
        };
        for key in keys {
            effects = model.update(Event::Key(key));
        }
    }
    effects.retain(|effect| !matches!(effect, Effect::Read(_)));
    effects
}

fn ids(model: &Model) -> Vec<i64> {
    model.listed.iter().map(|shown| model.rows[shown.place].row).collect()
}

fn chosen(verb: Verb, n: usize) -> Vec<Effect> {
    vec![Effect::Leave(Some(Chosen { verb, session: format!("app/{n:08}-aaaa-4bbb-8ccc-000000000000"), until: None }))]
}

fn searched(query: &str) -> Vec<Effect> {
    vec![Effect::Search(asked(query, false))]
}

fn asked(query: &str, all: bool) -> Asked {
    Asked { query: query.to_owned(), all }
}

#[test]
fn each_key_does_what_the_footer_says() {
    let copied = |n: usize| vec![Effect::Copy(format!("layer3-indexer resume {n:08}-aaaa-4bbb-8ccc-000000000000"))];
    let before_compaction = vec![Effect::Leave(Some(Chosen {
        verb: Verb::Resume,
        session: "app/00000002-aaaa-4bbb-8ccc-000000000000".to_owned(),
        until: Some(Until::Compaction),
    }))];
    let table: Vec<(&str, Vec<i64>, Vec<Effect>)> = vec![
        // The pinned one first, then the latest of this project.
        ("", vec![2, 1, 3, 4], vec![]),
        ("Tab", vec![2, 1, 3, 4, 5, 6], vec![]),
        ("Tab Tab", vec![2, 1, 3, 4], vec![]),
        ("back", vec![1], searched("back")),
        ("bakoff", vec![1], searched("bakoff")),
        ("bakcoff", vec![1], searched("bakcoff")),
        // What the user has called so comes first.
        ("r", vec![2, 1, 3], vec![]),
        ("バグ", vec![4], searched("バグ")),
        ("work", vec![2], searched("work")),
        ("00000003", vec![3], searched("00000003")),
        ("else", vec![], searched("else")),
        ("else Tab", vec![5], vec![Effect::Search(asked("else", true))]),
        ("backx Back", vec![1], searched("back")),
        ("back ^u", vec![2, 1, 3, 4], vec![]),
        ("back ^w", vec![2, 1, 3, 4], vec![]),
        ("Enter", vec![2, 1, 3, 4], chosen(Verb::Resume, 2)),
        ("Down Enter", vec![2, 1, 3, 4], chosen(Verb::Resume, 1)),
        ("Down Down r", vec![2, 1, 3, 4], chosen(Verb::Restore, 3)),
        ("Esc e", vec![2, 1, 3, 4], chosen(Verb::Export, 2)),
        ("Esc s", vec![2, 1, 3, 4], chosen(Verb::Show, 2)),
        ("M-r", vec![2, 1, 3, 4], chosen(Verb::Restore, 2)),
        ("Down Down Down Down Down Enter", vec![2, 1, 3, 4], chosen(Verb::Resume, 4)),
        ("Down End Enter", vec![2, 1, 3, 4], chosen(Verb::Resume, 4)),
        ("Esc g", vec![3, 4], vec![]),
        ("Esc gg", vec![2, 1, 3, 4], vec![]),
        ("Esc g Enter", vec![3, 4], chosen(Verb::Resume, 3)),
        ("Esc a", vec![2, 1, 3, 4], vec![]),
        ("Esc b", vec![2, 1, 3, 4], before_compaction),
        ("Esc y", vec![2, 1, 3, 4], copied(2)),
        ("Esc / back", vec![1], searched("back")),
        ("Esc Esc", vec![2, 1, 3, 4], vec![Effect::Leave(None)]),
        ("zzzz Esc", vec![], vec![Effect::Leave(None)]),
        ("zzzz Enter", vec![], vec![]),
        ("^c", vec![2, 1, 3, 4], vec![Effect::Leave(None)]),
        ("Esc q", vec![2, 1, 3, 4], vec![Effect::Leave(None)]),
        ("^z", vec![2, 1, 3, 4], vec![Effect::Suspend]),
        ("Esc ? r", vec![2, 1, 3, 4], vec![]),
        ("Esc ? r r", vec![2, 1, 3, 4], chosen(Verb::Restore, 2)),
        // The keys are shown and left again; letters go where they went before.
        ("?", vec![2, 1, 3, 4], vec![]),
        ("? x back", vec![1], searched("back")),
        ("back?", vec![1], searched("back?")),
    ];
    for (keys, listed, effects) in table {
        let mut model = model();
        let done = press(&mut model, keys);
        assert_eq!((ids(&model), done), (listed, effects), "{keys:?}");
    }
}

#[test]
fn name_and_tags_are_typed_and_saved_or_refused() {
    for (keys, expected) in [
        ("Esc t Enter", "[Name(Some(\"Release notes\")), Tag(\"work\", true), Tag(\"v2\", true)]"),
        (
            "Esc t ^u new_name_#a Enter",
            "[Name(Some(\"new name\")), Tag(\"work\", false), Tag(\"v2\", false), Tag(\"a\", true)]",
        ),
        ("Esc t ^u Enter", "[Name(None), Tag(\"work\", false), Tag(\"v2\", false)]"),
        ("Esc p", "[Pinned(false)]"),
        ("Esc t Esc", ""),
    ] {
        let mut model = model();
        let done = press(&mut model, keys);
        let said = match done.as_slice() {
            [Effect::Label(1, changes)] => format!("{changes:?}"),
            [] => String::new(),
            other => panic!("{keys:?}: {other:?}"),
        };
        assert_eq!(said, expected, "{keys:?}");
    }
    let mut model = model();
    let too_long = format!("Esc t ^u {} Enter", "x".repeat(101));
    assert_eq!(press(&mut model, &too_long), []);
    assert!(model.said.as_ref().is_some_and(|said| said.contains("100")), "{:?}", model.said);
    model.update(Event::Labelled(1, Ok(("Other".to_owned(), vec!["x".to_owned()], false))));
    assert_eq!((model.rows[1].title.as_str(), ids(&model)), ("Other", vec![1, 2, 3, 4]));
}

fn texts(query: &str, all: bool, rows: &[usize]) -> Event {
    let found = |n: &usize| {
        let Row { project, id, .. } = row(*n, "", 0);
        Found { project, id, message: format!("m{n}"), words: Vec::new() }
    };
    Event::Texts(asked(query, all), rows.iter().map(found).collect())
}

#[test]
fn what_texts_hold_comes_behind_titles_that_do_and_before_those_that_are_like_it() {
    let mut model = model();
    press(&mut model, "Tab notes");
    // Of a query that was typed before.
    model.update(texts("note", true, &[5]));
    assert_eq!((ids(&model), model.is_searching()), (vec![2], true));
    model.update(texts("notes", true, &[5, 2, 99]));
    assert_eq!((ids(&model), model.is_searching()), (vec![2, 5], false));
    assert_eq!(model.listed[0].message.as_deref(), Some("m2"));
    // Until those of this project were asked, what was found of them is shown.
    press(&mut model, "Esc Tab");
    assert_eq!((ids(&model), model.is_searching()), (vec![2], true));
    let at = press(&mut model, "a");
    assert!(
        matches!(&at[..], [Effect::Leave(Some(Chosen { until: Some(Until::Message(message)), .. }))] if message == "m2")
    );
    press(&mut model, "/ ^u bakoff");
    model.update(texts("bakoff", false, &[3]));
    assert_eq!(ids(&model), [3, 1]);
    // Who has chosen keeps the choice, whatever arrives.
    press(&mut model, "Down");
    model.update(texts("bakoff", false, &[2, 3, 4]));
    assert_eq!(model.selected().map(|(_, row)| row.row), Some(1));
    model.update(Event::Titles(vec![(6, "begun so".to_owned())]));
    assert_eq!(model.rows[5].title, "begun so");
}

#[test]
fn enter_means_what_the_search_will_list_first() {
    let mut model = model();
    // A title is like it; a text holds it.
    assert_eq!(press(&mut model, "bakoff Enter"), []);
    assert_eq!((ids(&model), model.is_searching()), (vec![1], true));
    let other = model.update(texts("bak", false, &[4]));
    assert!(!other.iter().any(|effect| matches!(effect, Effect::Leave(_))), "{other:?}");
    assert_eq!(model.update(texts("bakoff", false, &[3]))[..1], chosen(Verb::Resume, 3));
    // Enter once more takes what is shown, and any other key is no Enter.
    assert_eq!(press(&mut model, "^u bakof Enter Enter").pop(), chosen(Verb::Resume, 1).pop());
    press(&mut model, "Enter x");
    let later = model.update(texts("bakofx", false, &[3]));
    assert!(!later.iter().any(|effect| matches!(effect, Effect::Leave(_))), "{later:?}");
}

#[test]
fn where_one_thing_is_asked_for_enter_does_it_and_nothing_else_can_be_done() {
    for verb in [Verb::Restore, Verb::Show, Verb::Export, Verb::Resume] {
        let mut model = Model::new(Purpose::Only(verb), rows(), None, None);
        for key in ["r", "e", "s", "b"] {
            assert_eq!(press(&mut model, &format!("Esc {key}")), []);
            assert_eq!(model.mode, Mode::List);
        }
        assert_eq!(press(&mut model, "Enter"), chosen(verb, 2));
    }
}

/// The screen as text, and whether anything on it is coloured.
fn screen(model: &mut Model, columns: u16, lines: u16, colour: bool) -> (String, bool) {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame, model, Look { colour, now_ms: NOW_MS })).unwrap();
    let buffer = terminal.backend().buffer();
    let is_coloured = buffer.content.iter().any(|cell| cell.fg != ratatui::style::Color::Reset);
    let text = terminal.backend().to_string();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    (text, is_coloured)
}

fn read(model: &mut Model, lines: &[&str]) {
    if let Some((shown, row)) = model.selected() {
        let want = Want { session: row.named(), message: shown.message.clone() };
        model.update(Event::Preview(want, lines.iter().map(|line| (*line).to_owned()).collect()));
    }
}

const TALK: [&str; 7] = [
    "── 2026-11-22 10:17 · app/00000002 · 20 messages ──",
    "",
    "user 2026-11-22 10:17",
    "│ why does the client retry so often?",
    "",
    "assistant 2026-11-22 10:18",
    "│ It retries without any backoff, so that each failure of the server brings ten more requests within a second.",
];

#[test]
fn every_screen_looks_as_it_should() {
    let shot = |keys: &str, found: Option<Event>, columns: u16, lines: u16| {
        let mut model = model();
        press(&mut model, keys);
        found.into_iter().for_each(|event| drop(model.update(event)));
        let is_found = model.selected().is_some_and(|(shown, _)| shown.message.is_some());
        let talk = TALK.map(|line| match line {
            "assistant 2026-11-22 10:18" if is_found => "▶ assistant 2026-11-22 10:18 · asked for",
            line => line,
        });
        read(&mut model, &talk);
        let (text, is_coloured) = screen(&mut model, columns, lines, true);
        assert!(is_coloured);
        let (plain, is_coloured) = screen(&mut model, columns, lines, false);
        assert!(!is_coloured && plain == text);
        text
    };
    insta::assert_snapshot!("list", shot("Tab", None, 80, 24));
    insta::assert_snapshot!("query", shot("backoff", Some(texts("backoff", false, &[3])), 80, 24));
    insta::assert_snapshot!("beside", shot("backoff", Some(texts("backoff", false, &[1, 3])), 120, 20));
    insta::assert_snapshot!("deleted", shot("Esc g", None, 80, 16));
    insta::assert_snapshot!("label", shot("Esc t", None, 80, 24));
    insta::assert_snapshot!("help", shot("Esc ?", None, 80, 24));
    insta::assert_snapshot!("narrow", shot("Down", None, 40, 10));
    insta::assert_snapshot!("nothing_found", shot("zzzz", None, 60, 8));
    let mut empty = Model::new(Purpose::Anything, Vec::new(), None, None);
    insta::assert_snapshot!("empty", screen(&mut empty, 60, 8, false).0);
    // Whatever the size, nothing breaks.
    for (columns, lines) in [(1, 1), (3, 2), (10, 3), (39, 9), (200, 60)] {
        for keys in ["", "Esc ?", "Esc t", "バグバグバグバグバグバグバグバグバグバグバグバグ", "Down"]
        {
            let mut model = model();
            press(&mut model, keys);
            read(&mut model, &TALK);
            screen(&mut model, columns, lines, true);
        }
    }
}

/// Not to be waited for at a key: a list of ten thousand.
#[test]
fn a_key_is_answered_at_once_among_ten_thousand() {
    let words = ["retry", "parser", "release", "auth", "index", "backoff", "session", "config", "cache", "worker"];
    let title = |n: usize| (0..6).map(|at| words[(n / (at + 1) + at * 3) % 10]).collect::<Vec<_>>().join(" ");
    let rows = (0..10_000).map(|n| Row { is_here: true, ..row(n, &title(n), n as i64) }).collect();
    let mut model = Model::new(Purpose::Anything, rows, None, None);
    let begun = std::time::Instant::now();
    press(&mut model, "bakcoff_reelase");
    let each = begun.elapsed() / 15;
    assert!(!model.listed.is_empty());
    // A build that is not optimised takes many times as long as one that is.
    assert!(each < std::time::Duration::from_secs(1), "{each:?}");
    println!("{each:?} a key");
}

#[test]
fn the_preview_begins_with_the_message_that_was_found() {
    let said = |n: usize| format!("│ the client retries, and how often it does, said for the {n}th time");
    let talk = |asked_at: usize, long: usize| {
        let mut lines = vec!["── 2026-11-22 10:17 · app/00000002 · 20 messages ──".to_owned()];
        for n in 1..=20 {
            let mark = if n == asked_at { "▶ " } else { "" };
            lines.extend([String::new(), format!("{mark}user 2026-11-22 10:17")]);
            lines.extend((0..if n == asked_at { long } else { 1 }).map(|_| said(n)));
            if n == asked_at {
                lines.push("│ so the Backoffs grew".to_owned());
            }
        }
        lines
    };
    for (long, first) in [(1, "▶ user"), (3, "▶ user"), (40, "│ the client")] {
        let mut model = model();
        press(&mut model, "how_does_backoff_work");
        let Row { project, id, .. } = row(2, "", 0);
        let found = Found { project, id, message: "m2".to_owned(), words: vec!["backoffs".to_owned()] };
        model.update(Event::Texts(asked("how does backoff work", false), vec![found]));
        let lines = talk(12, long);
        read(&mut model, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let (text, _) = screen(&mut model, 80, 24, false);
        let preview = text.split("messages · ").nth(1).unwrap();
        let line = preview.lines().nth(1).unwrap().trim_start_matches('"');
        assert!(line.starts_with(first) && preview.contains("so the Backoffs grew"), "{long}: {text}");
    }
}

#[test]
fn what_is_found_and_previewed_is_what_search_gives() {
    let scene = Scene::new();
    let says = |n: u32, text: &str| if n.is_multiple_of(2) { answer(n, text) } else { prompt(n, text) };
    let here =
        ["how do we do it", "we fixed the backoff by doubling the delay", "and how did the parser do it", "fine"];
    scene.transcribe(&(1..).zip(here).map(|(n, text)| says(n, text)).collect::<Vec<_>>());
    scene.receipt(None);
    let elsewhere = scene.transcript_in("-home-dev-other", &ID.replace("001", "002"));
    let there: Vec<String> = (11..40).map(|n| says(n, &format!("backoff of the {n}th other kind"))).collect();
    scene.write(&elsewhere, &there.concat().replace("dev/proj", "dev/other"));
    scene.save_as(&elsewhere, RootKind::Claude, None, None).unwrap();
    let scope = Scope { all: false, project: Some("proj".to_owned()), here: Here::default() };
    let archive = Archive::open_as_found(&scene.places.layer3_store).unwrap().unwrap();
    let loaded = load(&scene.places, &archive, &scope).unwrap();
    let rows: Vec<i64> = loaded.rows.iter().filter(|row| row.is_here).map(|row| row.row).collect();
    assert_eq!((loaded.rows.len(), rows.len()), (2, 1));
    let index = Index::open_read_only(&scene.places.index).unwrap().unwrap();
    let stores = Rc::new(Stores::open(&scene.places).unwrap());
    for query in ["how did we fix the backoff?", "backoff", "how did we fix the backoff delay", "doubl"] {
        for all in [false, true] {
            let request = SearchRequest {
                query: query.to_owned(),
                project: (!all).then(|| "proj".to_owned()),
                all: Some(all),
                ..SearchRequest::default()
            };
            let hits = search::search(&scene.places, &request).unwrap().hits;
            let found = work::texts(&archive, &index, &rows, &asked(query, all)).unwrap();
            let given: Vec<&str> = hits.iter().map(|hit| hit.message.as_str()).collect();
            assert_eq!(found.iter().map(|found| found.message.as_str()).collect::<Vec<_>>(), given, "{query} {all}");
            let first = &found[0];
            let want =
                Want { session: format!("{}/{}", first.project, first.id), message: Some(first.message.clone()) };
            let lines = work::preview(&stores, &want).unwrap();
            let at = lines.iter().position(|line| line.starts_with("▶ ")).unwrap();
            let text = lines[at + 1].to_lowercase();
            assert!(!first.words.is_empty() && first.words.iter().all(|word| text.contains(word)), "{lines:?}");
        }
    }
}
