//! The index: what is found, what is counted, and what a rebuild brings back.

mod finding;
mod questions;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{ArchiveError, SessionKey, StoredFile, Verification};
use layer1_prebackup::names::{FileName, StoredName};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::files::SUMS;
use super::{Contents, Index, IndexError, SearchQuery, SessionFilter, SessionRow, files, wait, write};
use crate::terminal::time::parse_rfc3339_ms;
use crate::transcript::record::Role;

/// A store as simple as can be: generations of files, in a directory.
struct Store {
    dir: tempfile::TempDir,
    id: String,
    files: RefCell<BTreeMap<SessionKey, Vec<StoredFile>>>,
    /// What happens when a file is opened.
    on_open: RefCell<Option<OnOpen>>,
    opened: Cell<usize>,
}

type OnOpen = Box<dyn FnOnce(&Store)>;

impl Store {
    fn new() -> Store {
        let dir = tempfile::tempdir().unwrap();
        Store {
            dir,
            id: "store".into(),
            files: RefCell::default(),
            on_open: RefCell::default(),
            opened: Cell::default(),
        }
    }

    fn path_of(&self, key: &SessionKey, name: &StoredName) -> PathBuf {
        self.dir.path().join(key.project.as_str()).join(name.to_path(&key.id))
    }

    /// The newest content of a file becomes these bytes, by whatever way.
    fn put(&self, key: &SessionKey, file: FileName, bytes: &[u8]) {
        let name = StoredName::newest(file);
        let path = self.path_of(key, &name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As an append or a first write; `rotate` makes room for anything else.
        fs::write(&path, bytes).unwrap();
        let stored = StoredFile {
            disk_bytes: 0,
            path: name.to_text(&key.id),
            name: name.clone(),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes),
            verification: Verification::Written,
            committed_ms: 0,
        };
        let mut files = self.files.borrow_mut();
        let files = files.entry(key.clone()).or_default();
        files.retain(|file| file.name != name);
        files.push(stored);
    }

    /// The newest content of a file becomes an older generation.
    #[allow(clippy::disallowed_methods)]
    fn rotate(&self, key: &SessionKey, file: &FileName) {
        let mut files = self.files.borrow_mut();
        let files = files.get_mut(key).unwrap();
        let last = files.iter().filter(|f| f.name.file == *file).map(|f| f.name.generation).max().unwrap();
        let newest = files.iter_mut().find(|f| f.name.file == *file && f.name.generation == 0).unwrap();
        let from = self.path_of(key, &newest.name);
        newest.name.generation = last + 1;
        newest.path = newest.name.to_text(&key.id);
        fs::rename(from, self.path_of(key, &newest.name)).unwrap();
    }

    fn transcript(&self, key: &SessionKey, text: &str) {
        self.put(key, FileName::Transcript, text.as_bytes());
    }
}

impl Contents for Store {
    fn store_id(&self) -> &str {
        &self.id
    }
    fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        Ok(self.files.borrow().get(key).cloned().unwrap_or_default())
    }
    fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError> {
        self.opened.set(self.opened.get() + 1);
        if let Some(on_open) = self.on_open.take() {
            on_open(self);
        }
        let path = self.path_of(key, name);
        File::open(&path).map_err(|error| ArchiveError::Damaged { path, what: error.to_string() })
    }
    fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        Ok(self.files.borrow().keys().cloned().collect())
    }
    fn last_trigger(&self, _: &SessionKey) -> Option<String> {
        Some("stop".into())
    }
}

fn key(project: &str, id: &str) -> SessionKey {
    SessionKey::parse(project, id).unwrap()
}

fn side(path: &str) -> FileName {
    FileName::Side(path.into())
}

/// A user's prompt, `n` minutes after the beginning of an hour.
fn user(n: u32, text: &str) -> String {
    record(n, "user", &format!(r#"{{"role":"user","content":{}}}"#, serde_json::to_string(text).unwrap()))
}

fn answer(n: u32, blocks: &str) -> String {
    record(n, "assistant", &format!(r#"{{"role":"assistant","content":[{blocks}]}}"#))
}

fn said(n: u32, text: &str) -> String {
    answer(n, &format!(r#"{{"type":"text","text":{}}}"#, serde_json::to_string(text).unwrap()))
}

fn record(n: u32, kind: &str, message: &str) -> String {
    format!(
        "{{\"parentUuid\":null,\"type\":\"{kind}\",\"message\":{message},\"uuid\":\"uuid-{n}\",\"timestamp\":\"2026-11-22T10:{n:02}:00Z\",\"cwd\":\"/w\",\"gitBranch\":\"main\",\"sessionId\":\"s\"}}\n"
    )
}

fn update(index: &mut Index, store: &Store, key: &SessionKey) -> u64 {
    index.update_session(store, key, "stop", None, &|_| {}).unwrap()
}

fn find(index: &Index, store: &Store, text: &str) -> Vec<String> {
    search(index, store, &SearchQuery::new(text, 0))
}

fn search(index: &Index, store: &Store, query: &SearchQuery) -> Vec<String> {
    let results = index.search(store, query).unwrap();
    results.hits.into_iter().map(|hit| format!("{} {}: {}", hit.session_id, hit.role.as_str(), hit.snippet)).collect()
}

fn fresh(store: &Store) -> Index {
    Index::open(&store.dir.path().join("index").join("sessions.db")).unwrap()
}

/// All that an index knows, rows in an order of their own.
fn dump(index: &Index) -> Vec<String> {
    let mut rows = Vec::new();
    for sql in [
        "SELECT 'message', t.session, c.path, c.generation, m.offset, m.length, m.time_ms, m.speaker, b.name, m.key
         FROM messages m JOIN tracked t ON t.id = m.session JOIN contents c ON c.id = m.content
         LEFT JOIN branches b ON b.id = m.branch",
        "SELECT 'session', project, tracked.session, listed, start_ms, end_ms, branch, title, messages, unparsable, save_trigger, tally
         FROM tracked LEFT JOIN tallies ON tallies.session = tracked.id",
        "SELECT 'content', t.session, path, generation, read_bytes, hex(read_tail), seen_bytes, hex(seen_blake3), settled, last_ms
         FROM contents c JOIN tracked t ON t.id = c.session",
        "SELECT 'beginning', t.session, b.key FROM beginnings b JOIN tracked t ON t.id = b.session",
        "SELECT 'unknown', t.session, kind, records FROM unknown u JOIN tracked t ON t.id = u.session",
        "SELECT 'use', m.session, m.key, t.name, f.path FROM uses u JOIN messages m ON m.id = u.message
         JOIN tools t ON t.id = u.tool LEFT JOIN files f ON f.id = u.file",
        "SELECT 'call', c.path, c.generation, p.call, t.name FROM calls p JOIN contents c ON c.id = p.content
         JOIN tools t ON t.id = p.tool",
        "SELECT 'words', count(*) FROM words",
        // How messages are gathered in spans depends on how they came; each is in one of its session.
        "SELECT 'spanned', count(*) FROM messages m JOIN spans s ON m.id BETWEEN s.first AND s.last AND s.session = m.session",
        "SELECT 'no span', count(*) FROM parts WHERE rowid NOT IN (SELECT id FROM spans)",
    ] {
        let mut statement = index.connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            rows.push((0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap())).collect::<Vec<_>>().join(" "));
        }
    }
    rows.sort();
    rows
}

/// The same store, indexed from nothing, in an index of its own.
fn rebuilt(store: &Store) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut index = Index::open(&dir.path().join("sessions.db")).unwrap();
    assert!(index.fill(store, &|_, _| {}).unwrap().is_empty());
    dump(&index)
}

#[test]
fn words_and_parts_of_words_are_found() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let text = [
        user(1, "¿Puedes guardar la sesión?"),
        said(2, "fn parse_config_file() reads it; see foo-bar and don't use C:\\x or file.rs"),
        answer(3, r#"{"type":"tool_use","name":"Bash","input":{"command":"grep -rn needle_in_command ."}}"#),
        record(4, "user", r#"{"content":[{"type":"tool_result","content":"needle_in_output"}]}"#),
        user(5, "昨日は日本語を勉強した。中国語言学。한국어를 배운다"),
        answer(6, r#"{"type":"thinking","thinking":"the user ponders"}"#),
        user(7, "party 🎉 at 10:00 -> now"),
    ];
    store.transcript(&s, &text.concat());
    assert_eq!(update(&mut index, &store, &s), 7);
    let check = |text: &str, expected: &[&str]| assert_eq!(find(&index, &store, text), expected, "{text}");
    check("sesion", &["s user: ¿Puedes guardar la [sesión]?"]);
    check("SESIÓN", &["s user: ¿Puedes guardar la [sesión]?"]);
    let parse = "fn parse_config_file() reads it; see foo-bar and don't use C:\\x or file.rs";
    for (query, marked) in [
        ("parse_conf", "[parse_conf]ig"),
        ("onfig_fi", "c[onfig_fi]le"),
        ("foo-bar", "[foo-bar]"),
        ("don't", "[don't]"),
        ("C:\\x", "[C:\\x]"),
        ("file.rs", "[file.rs]"),
        ("\"parse config\"", "[parse_config]"),
        ("pars*", "[parse]"),
        ("NEAR(parse reads, 5)", "[parse]_config_file() [reads]"),
    ] {
        check(query, &[&format!("s assistant: {}", parse.replacen(&marked.replace(['[', ']'], ""), marked, 1))]);
    }
    check("needle_in_command", &["s tool: Bash grep -rn [needle_in_command] ."]);
    check("eedle_in_comm", &["s tool: Bash grep -rn n[eedle_in_comm]and ."]);
    check("needle_in_output", &["s tool: [needle_in_output]"]);
    check("eedle_in_outp", &[]);
    for (query, marked) in
        [("日本語", "[日本語]"), ("中国語", "[中国語]"), ("국어를", "[국어를]"), ("勉強", "[勉強]"), ("日", "[日]")]
    {
        let all = "昨日は日本語を勉強した。中国語言学。한국어를 배운다";
        let expected = match query {
            "국어를" => all.replace("한국어를", "한[국어를]"),
            "日" => all.replace('日', "[日]"),
            _ => all.replacen(query, marked, 1),
        };
        check(query, &[&format!("s user: {expected}")]);
    }
    check("ponders", &["s assistant: the user [ponders]"]);
    check("🎉", &["s user: party [🎉] at 10:00 -> now"]);
    check("->", &["s user: party 🎉 at 10:00 [->] now"]);
    check("party NOT 10", &[]);
    check("party OR sesión NOT guardar", &["s user: [party] 🎉 at 10:00 -> now"]);
    check("user:party", &[]);
    for nothing in ["", "*", "\"", "\0", "\"open quote", "nowhere"] {
        check(nothing, &[]);
    }
}

#[test]
fn human_words_come_before_tool_noise_and_substrings_last() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let noise: Vec<String> = (10..30)
        .map(|n| record(n, "user", r#"{"content":[{"type":"tool_result","content":"deploy deploy deploy"}]}"#))
        .collect();
    let text =
        format!("{}{}{}{}", noise.concat(), said(1, "how to deploy it"), user(2, "deploy it"), user(3, "redeployment"));
    store.transcript(&s, &text);
    update(&mut index, &store, &s);
    let mut query = SearchQuery::new("deploy", 0);
    query.limit = 30;
    let hits = search(&index, &store, &query);
    assert_eq!(
        (hits.len(), hits[0].as_str(), hits[1].as_str()),
        (23, "s user: [deploy] it", "s assistant: how to [deploy] it")
    );
    assert_eq!(hits[22], "s user: re[deploy]ment");
}

#[test]
fn filters_narrow() {
    let store = Store::new();
    let mut index = fresh(&store);
    let (a, b, c) = (key("p", "a"), key("p~2", "b"), key("q", "c"));
    for (key, n) in [(&a, 1), (&b, 2), (&c, 3)] {
        let side_branch = said(n + 10, "needle").replace("main", "topic/x");
        store.transcript(key, &format!("{}{side_branch}", user(n, "needle")));
        update(&mut index, &store, key);
    }
    let at = |n: u32| parse_rfc3339_ms(&format!("2026-11-22T10:{n:02}:00Z"));
    let check = |change: &dyn Fn(&mut SearchQuery), expected: &str| {
        let mut query = SearchQuery::new("needle", 0);
        change(&mut query);
        let results = index.search(&store, &query).unwrap();
        let mut found: Vec<String> = results
            .hits
            .iter()
            .map(|hit| format!("{}{}", hit.session_id, hit.role.as_str().chars().next().unwrap()))
            .collect();
        found.sort();
        assert_eq!(found.join(" "), expected);
    };
    check(&|_| {}, "aa au ba bu ca cu");
    check(&|q| q.project = Some("p".into()), "aa au ba bu");
    check(&|q| q.project = Some("p~2".into()), "ba bu");
    check(&|q| q.project = Some("%".into()), "");
    check(&|q| q.session_id = Some("c".into()), "ca cu");
    check(&|q| q.role = Some(Role::User), "au bu cu");
    check(&|q| q.role = Some(Role::Tool), "");
    check(&|q| q.branch = Some("topic/x".into()), "aa ba ca");
    check(&|q| q.since_ms = at(12), "ba ca");
    check(&|q| q.until_ms = at(2), "au bu");
    check(&|q| (q.since_ms, q.until_ms) = (at(2), at(11)), "aa bu cu");
    check(&|q| q.limit = 0, "");
    let list = |filter: SessionFilter| -> Vec<String> {
        index.sessions(&filter).unwrap().into_iter().map(|row| row.metadata.session_id).collect()
    };
    assert_eq!(list(SessionFilter::default()), ["c", "b", "a"]);
    assert_eq!(list(SessionFilter { limit: Some(1), ..Default::default() }), ["c"]);
    assert_eq!(list(SessionFilter { project: Some("p".into()), ..Default::default() }), ["b", "a"]);
    assert_eq!(list(SessionFilter { since_ms: at(12), ..Default::default() }), ["c", "b"]);
    assert_eq!(list(SessionFilter { branch: Some("topic/x".into()), ..Default::default() }), ["c", "b", "a"]);
}

#[test]
fn an_index_that_grew_equals_a_rebuilt_one() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let lines: Vec<String> = (0..50)
        .map(|n| match n % 5 {
            0 => user(n, &format!("prompt {n}")),
            1 => answer(
                n,
                &format!(r#"{{"type":"tool_use","id":"t{n}","name":"Edit","input":{{"file_path":"/f{n}"}}}}"#),
            ),
            2 => "{\"type\":\"hologram\"}\n".to_owned(),
            3 => "garbage\n".to_owned(),
            _ => said(n, "answer"),
        })
        .collect();
    let all = lines.concat();
    let mut cut = 0;
    while cut < all.len() {
        cut = (cut + 37).min(all.len());
        while !all.is_char_boundary(cut) {
            cut += 1;
        }
        store.transcript(&s, &all[..cut]);
        if cut % 3 == 0 {
            store.put(&s, side("subagents/agent-a.jsonl"), &all.as_bytes()[..cut / 2]);
        }
        update(&mut index, &store, &s);
        assert!(!index.is_behind(&store, &s).unwrap());
    }
    assert_eq!(dump(&index), rebuilt(&store));
    let counts = index.counts().unwrap();
    assert_eq!((counts.sessions, counts.unknown), (1, [("hologram".to_owned(), 15)].into()));
    let before = dump(&index);
    update(&mut index, &store, &s);
    assert_eq!(dump(&index), before);
}

#[test]
fn repeated_history_is_indexed_once() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let history = format!("{}{}", user(1, "hello"), said(2, "hi"));
    // The same id with another text is another message.
    store.transcript(&s, &format!("{history}{history}{}", user(1, "hello again")));
    assert_eq!(update(&mut index, &store, &s), 3);
    assert_eq!(find(&index, &store, "hi"), ["s assistant: [hi]"]);
}

#[test]
fn rows_follow_their_bytes_into_an_older_generation() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let first = format!("{}{}{}", user(1, "retracted"), said(2, "kept"), &user(3, "torn")[..40]);
    store.transcript(&s, &first);
    update(&mut index, &store, &s);
    // It grows once more without being indexed, then is rewritten, twice.
    store.transcript(&s, &format!("{first}{}\n{}", &user(3, "torn")[40..], user(4, "late")));
    store.rotate(&s, &FileName::Transcript);
    store.transcript(&s, &format!("{}{}", said(2, "kept"), user(5, "second")));
    assert!(index.is_behind(&store, &s).unwrap());
    update(&mut index, &store, &s);
    for (query, expected) in [("retracted", 1), ("kept", 1), ("torn", 1), ("late", 1), ("second", 1)] {
        assert_eq!(find(&index, &store, query).len(), expected, "{query}");
    }
    assert_eq!(dump(&index), rebuilt(&store));
    store.rotate(&s, &FileName::Transcript);
    store.transcript(&s, &user(6, "third"));
    assert_eq!((update(&mut index, &store, &s), index.counts().unwrap().messages), (1, 6));
    assert_eq!(dump(&index), rebuilt(&store));
    let hit = &index.search(&store, &SearchQuery::new("late", 0)).unwrap().hits[0];
    assert_eq!((hit.path.as_str(), hit.uuid.as_deref()), ("s.gen-0001.jsonl", Some("uuid-4")));
}

#[test]
fn contents_that_changed_in_place_make_the_session_begin_again() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    store.transcript(&s, &user(1, "before"));
    update(&mut index, &store, &s);
    // A store repaired from elsewhere: other bytes, no generation.
    store.transcript(&s, &format!("{}{}", user(1, "after!"), user(2, "more")));
    update(&mut index, &store, &s);
    assert_eq!((find(&index, &store, "before").len(), find(&index, &store, "after").len()), (0, 1));
    store.transcript(&s, &user(3, "short"));
    update(&mut index, &store, &s);
    assert_eq!((find(&index, &store, "after").len(), find(&index, &store, "short").len()), (0, 1));
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn a_rotation_during_an_update_is_noticed() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    store.transcript(&s, &user(1, "before"));
    let during = s.clone();
    *store.on_open.borrow_mut() = Some(Box::new(move |store: &Store| {
        store.rotate(&during, &FileName::Transcript);
        store.transcript(&during, &user(2, "after"));
    }));
    update(&mut index, &store, &s);
    assert_eq!((find(&index, &store, "before").len(), find(&index, &store, "after").len()), (1, 1));
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn a_large_transcript_is_indexed_in_batches_and_resumed() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let text: String = (0..200).map(|n| user(n % 60, &format!("number {n}")) + &noise(400_000)).collect();
    assert!(text.len() as u64 > write::BATCH_BYTES);
    store.transcript(&s, &text);
    let told = RefCell::new(Vec::new());
    let tell = |n| told.borrow_mut().push(n);
    let mut progress = write::Progress::new(&tell);
    // As after a crash: one batch, and nothing more.
    let step = write::step(&index.connection, &index.path, &store, &s, "stop", None, &mut progress).unwrap();
    assert!(matches!(step, write::Step::More));
    // Whoever waits sees that something happens long before a batch is full.
    assert!(told.borrow().len() > 10 && told.borrow()[0] < 2_000_000, "{told:?}");
    assert!(index.is_behind(&store, &s).unwrap());
    assert!(progress.added > 0, "the first batch stays");
    assert_eq!(update(&mut index, &store, &s), 200);
    assert_eq!(dump(&index), rebuilt(&store));
}

/// A record that is read and not indexed.
fn noise(bytes: usize) -> String {
    format!("{{\"type\":\"api-request\",\"request\":\"{}\"}}\n", "x".repeat(bytes))
}

#[test]
fn many_sessions_are_indexed_together_as_each_would_be_by_itself() {
    let store = Store::new();
    let mut index = fresh(&store);
    let keys: Vec<SessionKey> = (0..40).map(|n| key("p", &format!("s{n:02}"))).collect();
    for (n, key) in keys.iter().enumerate() {
        // One of them needs more than a transaction takes.
        let size = if n == 7 { write::BATCH_BYTES as usize } else { 1_000_000 };
        store.transcript(key, &(user(1, &format!("needle {n}")) + &noise(size) + &user(2, "the end")));
    }
    let seen = RefCell::new(Vec::new());
    let progress = |done, all| seen.borrow_mut().push((done, all));
    assert!(index.catch_up(&store, &keys, Some("stop"), &progress).unwrap().is_empty());
    // None is read again for that: of the large one the rest.
    assert_eq!(store.opened.get(), 40 + 1);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut one_by_one = Index::open(&elsewhere.path().join("sessions.db")).unwrap();
    keys.iter().for_each(|key| _ = update(&mut one_by_one, &store, key));
    assert_eq!(dump(&index), dump(&one_by_one));
    assert_eq!(seen.borrow().last(), Some(&(40, 40)));
    assert!(seen.borrow().is_sorted() && seen.borrow().len() < 20, "{seen:?}");
    // Nothing is behind now.
    seen.borrow_mut().clear();
    index.catch_up(&store, &keys, Some("import"), &progress).unwrap();
    assert_eq!(*seen.borrow(), [(0, 0)]);
}

#[test]
fn one_session_that_cannot_be_read_or_changes_meanwhile_does_not_stop_those_beside_it() {
    let store = Store::new();
    let mut index = fresh(&store);
    let keys: Vec<SessionKey> = (0..6).map(|n| key("p", &format!("s{n}"))).collect();
    keys.iter().for_each(|key| store.transcript(key, &user(1, &format!("needle of {}", key.id))));
    layer1_prebackup::fs::remove_file(&store.path_of(&keys[2], &StoredName::newest(FileName::Transcript))).unwrap();
    let changing = keys[0].clone();
    store.on_open.replace(Some(Box::new(move |store: &Store| {
        store.rotate(&changing, &FileName::Transcript);
        store.transcript(&changing, &user(2, "another needle"));
    })));
    let failed = index.catch_up(&store, &keys, Some("import"), &|_, _| {}).unwrap();
    assert_eq!(failed.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&keys[2]]);
    assert_eq!(find(&index, &store, "needle").len(), 6);
}

#[test]
fn an_index_that_was_told_to_expect_more_is_incomplete_until_it_is_filled() {
    let store = Store::new();
    let mut index = fresh(&store);
    let s = key("p", "s");
    index.fill(&store, &|_, _| {}).unwrap();
    assert!(!index.is_incomplete(&store).unwrap());
    index.expect_more().unwrap();
    // As after a kill: what was stored meanwhile is found by whoever comes next.
    store.transcript(&s, &user(1, "needle"));
    let mut index = Index::open(&index.path).unwrap();
    assert!(index.is_incomplete(&store).unwrap());
    index.fill(&store, &|_, _| {}).unwrap();
    assert!(!index.is_incomplete(&store).unwrap());
    assert_eq!(find(&index, &store, "needle").len(), 1);
}

#[test]
fn sessions_without_prompt_or_answer_are_not_listed() {
    let store = Store::new();
    let mut index = fresh(&store);
    let check = |index: &mut Index, id: &str, text: &str, listed: bool| {
        let key = key("p", id);
        store.transcript(&key, text);
        update(index, &store, &key);
        let rows = index.sessions(&SessionFilter::default()).unwrap();
        assert_eq!(rows.iter().any(|row| row.metadata.session_id == id), listed, "{id}");
    };
    let mode = "{\"type\":\"mode\",\"mode\":\"normal\",\"sessionId\":\"s\"}\n";
    let exit = user(1, "<command-name>/exit</command-name>\n<command-message>exit</command-message>");
    let bye = user(2, "<local-command-stdout>Bye!</local-command-stdout>");
    check(&mut index, "only-bookkeeping", mode, false);
    check(&mut index, "exit", &format!("{mode}{exit}{bye}"), false);
    check(&mut index, "prompt", &format!("{mode}{}", user(1, "hello")), true);
    check(&mut index, "answer", &said(1, "hello"), true);
    check(&mut index, "unknown", "{\"type\":\"hologram\"}\n", true);
    check(&mut index, "unparsable", "garbage\n", true);
    check(&mut index, "torn", "{\"type\":\"us", true);
    check(&mut index, "exit", &format!("{mode}{exit}{bye}{}", user(3, "so")), true);
    assert_eq!(find(&index, &store, "bye"), ["exit tool: [Bye]!"]);
}

#[test]
fn files_that_cannot_be_read_do_not_hide_the_rest() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    store.transcript(&s, &user(1, "main"));
    store.put(&s, side("subagents/deep/agent-a.jsonl"), user(2, "lost").as_bytes());
    store.put(&s, side("subagents/agent-b.jsonl"), user(3, "found").as_bytes());
    store.put(&s, side("subagents/agent-b.meta.json"), b"{}");
    store.put(&s, side("tool-results/x.txt"), b"no message\n");
    let lost = store.path_of(&s, &StoredName::newest(side("subagents/deep/agent-a.jsonl")));
    fs::set_permissions(&lost, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let hidden = lost.with_extension("hidden");
    #[allow(clippy::disallowed_methods)]
    fs::rename(&lost, &hidden).unwrap();
    assert!(index.update_session(&store, &s, "stop", None, &|_| {}).is_err());
    assert_eq!((find(&index, &store, "main").len(), find(&index, &store, "found").len()), (1, 1));
    #[allow(clippy::disallowed_methods)]
    fs::rename(&hidden, &lost).unwrap();
    fs::set_permissions(&lost, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!((update(&mut index, &store, &s), index.counts().unwrap().messages), (1, 3));
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn a_content_that_does_not_hash_to_its_record_is_not_indexed() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    store.transcript(&s, &user(1, "whole"));
    update(&mut index, &store, &s);
    // The delta alone is damaged; what was indexed before may be, for all that is known.
    let good = format!("{}{}", user(1, "whole"), user(2, "needle"));
    store.transcript(&s, &good);
    let path = store.path_of(&s, &StoredName::newest(FileName::Transcript));
    fs::write(&path, good.replace("needle", "noodle")).unwrap();
    let other = side("subagents/agent-b.jsonl");
    store.put(&s, other, user(3, "beside").as_bytes());
    let error = index.update_session(&store, &s, "stop", None, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("s.jsonl"), "{error}");
    let found = |index: &Index, text: &str| find(index, &store, text).len();
    assert_eq!((found(&index, "noodle"), found(&index, "beside")), (0, 1));
    fs::write(&path, good).unwrap();
    update(&mut index, &store, &s);
    assert_eq!((found(&index, "whole"), found(&index, "needle"), found(&index, "beside")), (1, 1, 1));
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn a_content_that_is_shorter_than_its_record_is_not_indexed() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    store.transcript(&s, &format!("{}{}", user(1, "whole"), user(2, "needle")));
    let path = store.path_of(&s, &StoredName::newest(FileName::Transcript));
    fs::write(&path, user(1, "whole")).unwrap();
    assert!(index.update_session(&store, &s, "stop", None, &|_| {}).is_err());
    assert_eq!(find(&index, &store, "whole").len(), 0);
}

#[test]
fn a_hit_whose_text_is_gone_is_still_a_hit() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    store.transcript(&s, &user(1, "needle"));
    update(&mut index, &store, &s);
    fs::write(store.path_of(&s, &StoredName::newest(FileName::Transcript)), "").unwrap();
    let results = index.search(&store, &SearchQuery::new("needle", 0)).unwrap();
    assert_eq!((results.hits.len(), results.hits[0].snippet.as_str(), results.notes.len()), (1, "", 1));
}

#[test]
fn filling_forgets_what_the_store_no_longer_has() {
    let store = Store::new();
    let (mut index, a, b) = (fresh(&store), key("p", "a"), key("p", "b"));
    store.transcript(&a, &user(1, "needle"));
    store.transcript(&b, &user(2, "needle"));
    assert!(index.is_incomplete(&store).unwrap());
    index.fill(&store, &|_, _| {}).unwrap();
    assert!(!index.is_incomplete(&store).unwrap());
    store.files.borrow_mut().remove(&a);
    index.fill(&store, &|_, _| {}).unwrap();
    assert_eq!(find(&index, &store, "needle"), ["b user: [needle]"]);
    assert_eq!(dump(&index), rebuilt(&store));
    assert_eq!(index.session(&b).unwrap().unwrap().metadata.trigger, "stop");
    index.clear().unwrap();
    assert!(index.is_incomplete(&store).unwrap());
    assert_eq!(find(&index, &store, "needle"), Vec::<String>::new());
    index.fill(&store, &|_, _| {}).unwrap();
    assert_eq!(dump(&index), rebuilt(&store));
    let other = Store { id: "other".into(), ..Store::new() };
    assert!(index.is_incomplete(&other).unwrap());
}

#[test]
fn an_unusable_index_is_set_aside_and_made_again() {
    use std::os::unix::fs::PermissionsExt;
    let store = Store::new();
    let s = key("p", "s");
    store.transcript(&s, &user(1, "needle"));
    let path = store.dir.path().join("index").join("sessions.db");
    let damage = |path: &Path, n: u32| match n {
        0 => fs::write(path, "this is no database, and long enough to be looked at as one").unwrap(),
        1 => rusqlite::Connection::open(path).unwrap().pragma_update(None, "user_version", 1).unwrap(),
        2 => rusqlite::Connection::open(path).unwrap().pragma_update(None, "application_id", 7).unwrap(),
        _ => {
            // Deep damage, seen only when the pages are used.
            let mut bytes = fs::read(path).unwrap();
            bytes[files::PAGE_BYTES..].fill(0x5a);
            fs::write(path, bytes).unwrap();
        }
    };
    for n in 0..4 {
        Index::open(&path).unwrap().update_session(&store, &s, "stop", None, &|_| {}).unwrap();
        damage(&path, n);
        let read_only = Index::open_read_only(&path);
        assert!(n == 3 || read_only.as_ref().is_err_and(IndexError::is_damage), "{n}: {read_only:?}");
        drop(read_only);
        let mut index = Index::open(&path).unwrap();
        update(&mut index, &store, &s);
        assert!(index.set_aside().is_some_and(Path::exists), "{n}");
        assert!(index.is_incomplete(&store).unwrap());
        assert_eq!(find(&index, &store, "needle"), ["s user: [needle]"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(Index::open_read_only(&store.dir.path().join("none.db")).unwrap().is_none());
}

#[test]
fn an_index_of_a_newer_version_is_refused_in_whatever_file_it_says_so() {
    let store = Store::new();
    let s = key("p", "s");
    store.transcript(&s, &user(1, "needle"));
    let path = store.dir.path().join("index").join("sessions.db");
    Index::open(&path).unwrap().update_session(&store, &s, "stop", None, &|_| {}).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    let refused = || {
        assert!(matches!(Index::open_read_only(&path), Err(IndexError::Newer { version: 99, .. })));
        assert!(matches!(Index::open(&path), Err(IndexError::Newer { version: 99, .. })));
    };
    // In its log alone, then in the database.
    refused();
    drop(other);
    let before = fs::read(&path).unwrap();
    refused();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn many_processes_share_an_index() {
    let store = Store::new();
    let path = store.dir.path().join("index").join("sessions.db");
    let text: String = (0..60).map(|n| user(n, &format!("needle {n}"))).collect();
    let keys: Vec<SessionKey> = (0..20).map(|n| key("p", &format!("s{}", n % 10))).collect();
    for key in &keys {
        store.transcript(key, &text);
    }
    // Connections of their own, as processes have, from the making of the database on.
    std::thread::scope(|scope| {
        for key in &keys {
            let (path, text) = (&path, &text);
            scope.spawn(move || {
                let store = Store::new();
                store.transcript(key, text);
                for trigger in ["stop", "pre-compact", "session-end"] {
                    let mut index = Index::open(path).unwrap();
                    index.update_session(&store, key, trigger, None, &|_| {}).unwrap();
                    find(&index, &store, "needle");
                }
            });
        }
    });
    let index = Index::open(&path).unwrap();
    let counts = index.counts().unwrap();
    assert_eq!((counts.sessions, counts.messages), (10, 600));
    assert_eq!(index.set_aside(), None);
    let mut query = SearchQuery::new("needle", 0);
    query.limit = 1000;
    let hits = index.search(&store, &query).unwrap().hits;
    assert_eq!((hits.len(), hits.iter().map(|hit| 1 + hit.other_sessions).sum()), (60, 600));
}

/// The real transcripts that the tests of the whole chain use too.
fn fixtures() -> Store {
    let store = Store::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/transcripts");
    for folder in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        for path in files_below(&folder) {
            let inside = path.strip_prefix(&folder).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
            let session = key("proj", first.trim_end_matches(".jsonl"));
            let file = match inside.strip_prefix(session.id.as_str()) {
                Ok(side) => FileName::Side(side.to_owned()),
                Err(_) => FileName::Transcript,
            };
            store.put(&session, file, &fs::read(&path).unwrap());
        }
    }
    store
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn real_transcripts_are_understood() {
    let store = fixtures();
    let mut index = fresh(&store);
    assert!(index.fill(&store, &|_, _| {}).unwrap().is_empty());
    let counts = index.counts().unwrap();
    assert_eq!((counts.sessions, counts.sessions_unlisted, counts.unparsable), (5, 0, 0));
    assert_eq!(counts.unknown, BTreeMap::new());
    let rows = index.sessions(&SessionFilter::default()).unwrap();
    let shown: Vec<String> = rows
        .iter()
        .map(|SessionRow { metadata: m, .. }| {
            let topics = [&m.title, &m.first_topic, &m.last_topic].map(|t| t.as_deref().unwrap_or("-")).join(" | ");
            let tools: Vec<String> = m.tool_counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
            format!(
                "{} {} {} {} | {topics} | {} | {}",
                &m.session_id[..8],
                m.timestamp_start.as_deref().unwrap_or("-"),
                m.cwd.as_deref().unwrap_or("-"),
                m.messages,
                tools.join(", "),
                m.bash_commands.join("; ")
            )
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    ae4ed748 2026-11-22T10:42:47.667Z /home/dev/proj 4 | - | @agent @bash echo x | @agent @bash echo x | Agent 1, Bash 1 | echo x
    98146ed2 2026-11-22T10:42:25.351Z /home/dev/proj 6 | - | @full echo q | @full echo q | Bash 1 | echo q
    5b3d80da 2026-11-22T10:19:27.703Z /home/dev/proj 18 | my-session-name | before compact one | in resumed |  | 
    5629db17 2026-11-22T10:19:29.118Z /home/dev/proj 15 | my-session-name | after compact | forked |  | 
    df1f039c 2026-11-22T10:17:51.992Z /home/dev/proj 2 | - | hello interactive | hello interactive |  |
    "#);
    let found = |text: &str| -> Vec<String> {
        let hits = find(&index, &store, text);
        hits.into_iter().map(|hit| format!("{}{}", &hit[..8], &hit[36..])).collect()
    };
    insta::assert_debug_snapshot!(found("\"before compact one\""), @r#"
    [
        "5b3d80da user: [before compact one]",
        "5b3d80da assistant: STUB-REPLY 53 to: [before compact one]",
    ]
    "#);
    insta::assert_debug_snapshot!(found("STUB-SUMMARY"), @r#"
    [
        "98146ed2 summary: … </system-reminder> Summary: [STUB-SUMMARY] 2 If you need specific details from before compaction (like exact code snippets, error messages, or content you generated), read the full transcript at: /hom…",
        "5b3d80da summary: … </system-reminder> Summary: [STUB-SUMMARY] 55 If you need specific details from before compaction (like exact code snippets, error messages, or content you generated), read the full transcript at: /ho…",
    ]
    "#);
    insta::assert_debug_snapshot!(found("\"echo x\" NOT summary"), @r#"
    [
        "ae4ed748 user: @bash [echo x]",
        "ae4ed748 user: @agent @bash [echo x]",
        "ae4ed748 tool: Bash [echo x] stub",
        "ae4ed748 tool: Agent stub agent @bash [echo x] general-purpose",
    ]
    "#);
    insta::assert_debug_snapshot!(found("my-session-name"), @r#"
    [
        "5b3d80da user: /rename [my-session-name]",
        "5b3d80da tool: Session renamed to: [my-session-name]",
        "5b3d80da system: The user named this session \"[my-session-name]\". This may indicate the session's focus or intent.",
    ]
    "#);
    // Nothing of what Claude Code sends along with every request.
    assert_eq!(found("characters elided"), Vec::<String>::new());
    assert_eq!(found("CronCreate"), Vec::<String>::new());
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn any_text_can_be_searched_for() {
    let store = fixtures();
    let mut index = fresh(&store);
    let odd = key("proj", "odd");
    store.transcript(&odd, &user(1, "日本語 🎉 C:\\x \"quoted\" don't foo-bar file.rs (a AND b)"));
    index.fill(&store, &|_, _| {}).unwrap();
    let pieces = [
        "AND", "OR", "NOT", "NEAR(", "\"", "'", "(", ")", "*", "^", ":", "{", "}", "+", "-", ",", ";", "%", "\\", "/*",
        "--", "\0", "日", "本語", "é", "e\u{301}", "🎉", "a", "foo", "user", "rowid", "words", "echo", "5", " ", "\n",
        "\u{202e}", "\u{feff}",
    ];
    // A generator of its own, so that every run asks the same.
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut hits = 0;
    for n in 0..1_500 {
        let text: String = match n % 2 {
            0 => (0..random(9)).map(|_| pieces[random(pieces.len())]).collect(),
            _ => (0..random(24)).filter_map(|_| char::from_u32(random(0x3_0000) as u32)).collect(),
        };
        let mut query = SearchQuery::new(&text, 0);
        query.limit = 3;
        query.each = n % 3 == 0;
        query.offset = random(4);
        query.after = random(2);
        let mut piece = |one_in: usize| (random(one_in) == 0).then(|| pieces[random(pieces.len())].to_owned());
        (query.tool, query.file, query.branch) = (piece(20), piece(20), piece(40));
        hits += index.search(&store, &query).unwrap_or_else(|error| panic!("{text:?}: {error:?}")).hits.len();
    }
    assert!(hits > 150, "{hits}");
}

#[test]
fn an_index_that_another_process_is_moving_pages_into_is_no_damaged_one() {
    let store = Store::new();
    let mut index = fresh(&store);
    let (path, s) = (index.path.clone(), key("p", "s"));
    store.transcript(&s, &user(1, "needle"));
    update(&mut index, &store, &s);
    assert_eq!(files::log_bytes(&path).unwrap(), 0);
    // As between the two: the database has pages of which the sums are still to be written.
    let moving = wait::write_lock(&path).unwrap();
    let sums = files::beside(&path, SUMS, "");
    let written = fs::read(&sums).unwrap();
    fs::write(&sums, &written[..written.len() - 8]).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(Index::open(&path).map(|index| index.set_aside().map(Path::to_owned))).unwrap());
        let early = told.recv_timeout(std::time::Duration::from_millis(300));
        fs::write(&sums, &written).unwrap();
        drop(moving);
        assert!(early.is_err(), "it did not wait: {early:?}");
    });
    assert_eq!(told.recv().unwrap().unwrap(), None);
    assert_eq!(find(&index, &store, "needle"), ["s user: [needle]"]);
}

#[test]
fn a_reader_from_before_the_tables_makes_no_index_a_damaged_one() {
    let store = Store::new();
    let path = store.dir.path().join("index").join("sessions.db");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let early = Connection::open(&path).unwrap();
    early.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    early.execute_batch("PRAGMA page_size = 8192; PRAGMA journal_mode = wal; BEGIN").unwrap();
    let tables = || early.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(tables(), 0);
    for _ in 0..2 {
        assert_eq!(Index::open(&path).unwrap().set_aside(), None);
    }
    // Nothing of it could be moved.
    assert_eq!((tables(), fs::metadata(&path).unwrap().len()), (0, files::PAGE_BYTES as u64));
    drop(early);
    let mut index = Index::open(&path).unwrap();
    let s = key("p", "s");
    store.transcript(&s, &user(1, "needle"));
    update(&mut index, &store, &s);
    assert_eq!((index.set_aside(), files::log_bytes(&path).unwrap()), (None, 0));
    assert_eq!(Index::verify(&path).unwrap(), None);
}

#[test]
fn neither_a_reader_nor_a_writer_moves_the_log_by_itself() {
    let store = Store::new();
    let written = fresh(&store);
    let read = Index::open_read_only(&written.path).unwrap().unwrap();
    for index in [&written, &read] {
        let pages: i64 = index.connection.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap();
        assert_eq!(pages, 0);
    }
}

#[test]
fn a_writer_of_many_batches_lets_others_in() {
    let small = Store::new();
    let path = small.dir.path().join("index").join("sessions.db");
    let (l, s) = (key("p", "large"), key("p", "small"));
    small.transcript(&s, &user(1, "small"));
    drop(Index::open(&path).unwrap());
    let started = std::sync::Barrier::new(2);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let large = Store::new();
            let text: String = (0..400).map(|n| user(n % 60, &format!("number {n}")) + &noise(450_000)).collect();
            assert!(text.len() as u64 > 2 * write::BATCH_BYTES);
            large.transcript(&l, &text);
            let mut index = Index::open(&path).unwrap();
            let first = std::cell::Cell::new(true);
            let tell = |_| {
                if first.replace(false) {
                    started.wait();
                }
            };
            index.update_session(&large, &l, "stop", None, &tell).unwrap();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        started.wait();
        let mut index = Index::open(&path).unwrap();
        update(&mut index, &small, &s);
        assert!(!done.load(std::sync::atomic::Ordering::SeqCst), "the small session waited for the whole large one");
    });
}

#[test]
fn damage_that_shows_late_is_healed_by_every_way_of_writing() {
    let store = Store::new();
    let s = key("p", "s");
    store.transcript(&s, &user(1, "needle"));
    let path = store.dir.path().join("index").join("sessions.db");
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[files::PAGE_BYTES..].fill(0x5a);
        fs::write(path, bytes).unwrap();
    };
    let ways: [&dyn Fn(&mut Index); 3] =
        [&|index| _ = update(index, &store, &s), &|index| drop(index.fill(&store, &|_, _| {}).unwrap()), &|index| {
            index.clear().unwrap();
            index.fill(&store, &|_, _| {}).unwrap();
        }];
    for way in ways {
        Index::open(&path).unwrap().fill(&store, &|_, _| {}).unwrap();
        damage(&path);
        let mut index = Index::open(&path).unwrap();
        way(&mut index);
        assert_eq!(find(&index, &store, "needle"), ["s user: [needle]"]);
    }
}

#[test]
fn an_index_that_another_process_replaced_is_left_for_the_fresh_one() {
    let store = Store::new();
    let s = key("p", "s");
    store.transcript(&s, &user(1, "needle"));
    let path = store.dir.path().join("index").join("sessions.db");
    let (mut ours, mut theirs) = (Index::open(&path).unwrap(), Index::open(&path).unwrap());
    theirs.renew().unwrap();
    update(&mut ours, &store, &s);
    assert_eq!(find(&Index::open(&path).unwrap(), &store, "needle"), ["s user: [needle]"]);
}
