//! A history of edits that is made up by chance, and who wrote which line of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::types::Kind;
use super::*;
use crate::save::roots::RootKind;
use crate::testing::Scene;

/// The lines that are asked about, and how many answers may be wrong.
const ASKED: usize = 100;
const WRONG_MAX: usize = 5;
/// Histories that are tried: each by the number that chance begins with.
const HISTORIES: u64 = 4;
/// Things that happen in each.
const EVENTS: usize = 140;

/// xorshift64: the same numbers on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A line, and the session that wrote it; none of one by hand.
type Owned = (String, Option<usize>);

/// A file by its name in a checkout.
#[derive(Clone, Default)]
struct File {
    lines: Vec<Owned>,
    is_crlf: bool,
}

impl File {
    fn text(&self) -> String {
        self.lines.iter().map(|(line, _)| format!("{line}\n")).collect()
    }
}

struct History {
    chance: Chance,
    root: PathBuf,
    /// By the checkout's directory and the name in it.
    files: BTreeMap<(PathBuf, String), File>,
    /// Records by session, and by the subagent that they are of.
    records: BTreeMap<(usize, bool), Vec<Value>>,
    minute: i64,
    made: usize,
}

const SESSIONS: usize = 7;

fn id(session: usize) -> String {
    format!("{session:08}-0000-4000-8000-000000000018")
}

impl History {
    fn new(root: &Path, seed: u64) -> History {
        let chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (files, records) = (BTreeMap::new(), BTreeMap::new());
        History { chance, root: root.to_owned(), files, records, minute: 0, made: 0 }
    }

    fn worktree(&self) -> PathBuf {
        self.root.join(".claude/worktrees/fox")
    }

    /// Lines as code has them: many that say something, some that stand everywhere.
    fn line(&mut self) -> String {
        self.made += 1;
        let common = ["}", "", "    return Ok(());", "    else {", "use std::fs;"];
        match self.chance.below(4) {
            0 => common[self.chance.below(common.len())].to_owned(),
            _ => format!("    let value_{} = compute({});", self.made, self.chance.below(9)),
        }
    }

    fn lines(&mut self, session: usize) -> Vec<Owned> {
        (0..1 + self.chance.below(5)).map(|_| (self.line(), Some(session))).collect()
    }

    fn record(&mut self, session: usize, is_aside: bool, cwd: &Path, kind: &str, content: Value, more: Value) {
        self.minute += 1;
        let (hour, minute) = (self.minute / 60, self.minute % 60);
        let mut record = json!({"type": kind, "uuid": format!("u-{:06}", self.minute), "sessionId": id(session),
            "timestamp": format!("2026-11-{:02}T{:02}:{minute:02}:00.000Z", 1 + hour / 24, hour % 24),
            "cwd": cwd, "isSidechain": is_aside, "message": {"role": kind, "content": content}});
        if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
            record.extend(more);
        }
        let records = self.records.entry((session, is_aside)).or_default();
        records.push(record);
    }

    /// A call and its answer, with or without what Claude Code notes beside it.
    fn call(
        &mut self,
        session: usize,
        checkout: &Path,
        tool: &str,
        mut input: Value,
        before: Option<&str>,
        has_failed: bool,
    ) {
        let is_aside = self.chance.one_in(5);
        let cwd = if self.chance.one_in(3) { checkout.join("src") } else { checkout.to_owned() };
        if let Some(path) = input["file_path"].as_str().map(PathBuf::from)
            && let Ok(below) = path.strip_prefix(&cwd)
            && self.chance.one_in(4)
        {
            input["file_path"] = json!(below);
        }
        let call = format!("toolu_{}", self.minute);
        let content = json!([{"type": "tool_use", "id": call, "name": tool, "input": input}]);
        self.record(session, is_aside, &cwd, "assistant", content, json!({}));
        // Of a file that was written whole only the note says what it was: what came into it by hand stands in no edit.
        let is_noted = self.chance.one_in(2) || tool == "Write";
        let noted = match before.filter(|_| !has_failed && is_noted) {
            Some("") => json!({"toolUseResult": {"type": "create", "originalFile": null}}),
            Some(before) => json!({"toolUseResult": {"originalFile": before}}),
            None => json!({}),
        };
        let content = json!([{"type": "tool_result", "tool_use_id": call, "is_error": has_failed, "content": "done"}]);
        self.record(session, is_aside, &cwd, "user", content, noted);
    }

    /// Rows of lines in place of others, with as many lines around them as make the text unique.
    fn edit(&mut self, session: usize, key: &(PathBuf, String)) {
        let file = self.files[key].clone();
        let before = file.text();
        let (checkout, name) = key;
        let path = checkout.join(name);
        if file.lines.is_empty() || self.chance.one_in(8) {
            // All of it once more, with some lines more at its end.
            let mut lines = file.lines.clone();
            lines.extend(self.lines(session));
            let written = File { lines, ..file };
            let content = written.text();
            self.call(session, checkout, "Write", json!({"file_path": path, "content": content}), Some(&before), false);
            self.files.insert(key.clone(), written);
            return;
        }
        if self.chance.one_in(10) {
            return self.replace_all(session, key);
        }
        let from = self.chance.below(file.lines.len());
        let to = (from + self.chance.below(3)).min(file.lines.len());
        let (mut first, mut last) = (from, to);
        let joined = |range: &[Owned]| range.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>().join("\n");
        while first == last || before.matches(&joined(&file.lines[first..last])).count() != 1 {
            match (first > 0, last < file.lines.len()) {
                (true, _) if self.chance.one_in(2) || last == file.lines.len() => first -= 1,
                (_, true) => last += 1,
                (true, false) => first -= 1,
                (false, false) => return,
            }
        }
        let new = self.lines(session);
        let around = |new: &[Owned]| [&file.lines[first..from], new, &file.lines[to..last]].concat();
        let (old_string, new_string) = (joined(&file.lines[first..last]), joined(&around(&new)));
        let has_failed = self.chance.one_in(9);
        let input = match self.chance.one_in(6) {
            true => json!({"file_path": path, "edits": [{"old_string": old_string, "new_string": new_string}]}),
            false => json!({"file_path": path, "old_string": old_string, "new_string": new_string}),
        };
        let tool = if input["edits"].is_array() { "MultiEdit" } else { "Edit" };
        self.call(session, checkout, tool, input, Some(&before), has_failed);
        if !has_failed {
            let lines = [&file.lines[..first], &around(&new), &file.lines[last..]].concat();
            self.files.insert(key.clone(), File { lines, ..file });
        }
    }

    fn replace_all(&mut self, session: usize, key: &(PathBuf, String)) {
        let mut file = self.files[key].clone();
        let before = file.text();
        let (old, new) = ("compute", format!("compute{}", self.made));
        let input = json!({"file_path": key.0.join(&key.1), "old_string": old, "new_string": new, "replace_all": true});
        for (line, owner) in file.lines.iter_mut().filter(|(line, _)| line.contains(old)) {
            (*line, *owner) = (line.replace(old, &new), Some(session));
        }
        if file.text() != before {
            self.call(session, &key.0, "Edit", input, Some(&before), false);
            self.files.insert(key.clone(), file);
        }
    }

    fn by_hand(&mut self, key: &(PathBuf, String)) {
        self.made += 1;
        let file = self.files.get_mut(key).unwrap();
        let at = self.chance.below(file.lines.len() + 1);
        match self.chance.below(3) {
            0 if at < file.lines.len() => drop(file.lines.remove(at)),
            _ => file.lines.insert(at, (format!("    // by hand {}", self.made), None)),
        }
    }

    /// Lines from one place of the file to another, by one edit that writes all of it.
    fn move_lines(&mut self, session: usize, key: &(PathBuf, String)) {
        let mut file = self.files[key].clone();
        let before = file.text();
        let Some(from) = (0..file.lines.len()).find(|at| file.lines[*at].0.contains("value_")) else { return };
        let (line, _) = file.lines.remove(from);
        file.lines.push((line, Some(session)));
        if file.text() == before {
            return;
        }
        let input = json!({"file_path": key.0.join(&key.1), "content": file.text()});
        self.call(session, &key.0, "Write", input, Some(&before), false);
        self.files.insert(key.clone(), file);
    }

    fn rename(&mut self, session: usize, key: &(PathBuf, String)) {
        self.made += 1;
        let new = format!("src/renamed_{}.rs", self.made);
        let command = if self.chance.one_in(2) { "git mv" } else { "mv" };
        let input = json!({"command": format!("cd {} && {command} {} {new}", key.0.display(), key.1)});
        self.call(session, &key.0, "Bash", input, None, false);
        let file = self.files.remove(key).unwrap();
        self.files.insert((key.0.clone(), new), file);
    }

    /// What was written in the worktree comes into the checkout by git, which no conversation tells.
    fn merge(&mut self) {
        let (root, worktree) = (self.root.clone(), self.worktree());
        let of_worktree = |((checkout, name), file): (&(PathBuf, String), &File)| {
            (*checkout == worktree).then(|| (name.clone(), file.clone()))
        };
        let merged: Vec<(String, File)> = self.files.iter().filter_map(of_worktree).collect();
        self.files.extend(merged.into_iter().map(|(name, file)| ((root.clone(), name), file)));
    }

    fn happen(&mut self) {
        let session = self.chance.below(SESSIONS);
        let keys: Vec<(PathBuf, String)> = self.files.keys().cloned().collect();
        let main: Vec<_> =
            keys.iter().filter(|(checkout, name)| *checkout == self.root && !name.contains("tree")).collect();
        if main.len() < 4 {
            self.made += 1;
            let is_crlf = main.len() == 1;
            let key = (self.root.clone(), format!("src/file_{}.rs", self.made));
            self.files.insert(key.clone(), File { lines: Vec::new(), is_crlf });
            return self.edit(session, &key);
        }
        let key = main[self.chance.below(main.len())].clone();
        match self.chance.below(20) {
            0..=2 => self.by_hand(&key),
            3 => self.rename(session, &key),
            4 => self.move_lines(session, &key),
            5 | 6 => {
                let key = (self.worktree(), "src/tree.rs".to_owned());
                self.files.entry(key.clone()).or_default();
                self.edit(session, &key);
            }
            7 => self.merge(),
            _ => self.edit(session, &key),
        }
    }

    fn lay_down(&self, scene: &Scene) {
        for ((checkout, name), file) in &self.files {
            let text = if file.is_crlf { file.text().replace('\n', "\r\n") } else { file.text() };
            scene.write(&checkout.join(name), &text);
        }
        for session in 0..SESSIONS {
            let text = |is_aside| -> String {
                let first = json!({"type": "user", "uuid": format!("first-{session}-{is_aside}"), "sessionId": id(session),
                    "isSidechain": is_aside, "timestamp": "2026-11-01T00:00:00.000Z", "cwd": self.root,
                    "message": {"role": "user", "content": format!("task {session}")}});
                let records = self.records.get(&(session, is_aside)).into_iter().flatten();
                std::iter::once(&first).chain(records).map(|record| format!("{record}\n")).collect()
            };
            let transcript = scene.transcript_in("-app", &id(session));
            scene.write(&transcript, &text(false));
            scene.write(&transcript.with_extension("").join("subagents/agent-a1.jsonl"), &text(true));
            scene.save_as(&transcript, RootKind::Claude, None, None).unwrap();
        }
    }
}

fn ask(scene: &Scene, root: &Path, file: String) -> Why {
    let here = Here { directory: Some(root.to_owned()), home: scene.places.home.clone(), ..Here::default() };
    why(&scene.places, &WhyRequest { file: Some(file), here, ..WhyRequest::default() }).unwrap()
}

#[test]
fn who_wrote_a_line_is_told_exactly_whatever_happened_to_the_file() {
    for seed in 1..=HISTORIES {
        let scene = Scene::new();
        let root = fs::canonicalize(&scene.places.home).unwrap().join("app");
        fs::create_dir_all(root.join(".git")).unwrap();
        let mut history = History::new(&root, seed);
        (0..EVENTS).for_each(|_| history.happen());
        history.merge();
        history.lay_down(&scene);
        let mut lines: Vec<(String, usize, Owned)> = Vec::new();
        for ((checkout, name), file) in history.files.iter().filter(|((checkout, _), _)| *checkout == root) {
            let numbered = file.lines.iter().cloned().enumerate();
            lines.extend(numbered.map(|(n, line)| (checkout.join(name).display().to_string(), n + 1, line)));
        }
        let (mut written, by_hand): (Vec<_>, Vec<_>) = lines.into_iter().partition(|(.., (_, owner))| owner.is_some());
        while written.len() > ASKED {
            written.remove(history.chance.below(written.len()));
        }
        assert!(written.len() == ASKED && !by_hand.is_empty(), "{} and {} lines", written.len(), by_hand.len());
        let mut wrong = Vec::new();
        for (file, line, (text, owner)) in &written {
            let told = ask(&scene, &root, format!("{file}:{line}"));
            let first = told.answers.first().filter(|answer| answer.exact).map(|answer| answer.session_id.clone());
            if first != owner.map(id) {
                wrong.push(format!("{file}:{line} {text:?}: {first:?}, not {owner:?}"));
            }
        }
        println!("history {seed}: {} of {ASKED} wrong\n{}", wrong.len(), wrong.join("\n"));
        assert!(wrong.len() <= WRONG_MAX, "{}", wrong.join("\n"));
        for (file, line, (text, _)) in &by_hand {
            let told = ask(&scene, &root, format!("{file}:{line}"));
            assert!(told.answers.iter().all(|answer| !answer.exact), "{file}:{line} {text}: {told:#?}");
        }
    }
}

/// A call of a command and its answer, as two lines of a transcript.
fn command(n: u32, command: &str, printed: &str, is_error: bool) -> String {
    let record = |n: u32, kind: &str, content: Value| {
        json!({"type": kind, "uuid": format!("r-{n}"), "cwd": "/app", "timestamp": format!("2026-11-22T10:{n:02}:00.000Z"),
            "message": {"role": kind, "content": content}})
    };
    let call = json!([{"type": "tool_use", "id": format!("t{n}"), "name": "Bash", "input": {"command": command}}]);
    let answer =
        json!([{"type": "tool_result", "tool_use_id": format!("t{n}"), "is_error": is_error, "content": printed}]);
    format!("{}\n{}\n", record(n, "assistant", call), record(n + 1, "user", answer))
}

#[test]
fn what_was_run_after_an_error_is_told_and_whether_it_helped() {
    let scene = Scene::new();
    let edit = json!({"type": "assistant", "uuid": "e", "cwd": "/app", "timestamp": "2026-11-22T10:03:00.000Z", "message": {"content":
        [{"type": "tool_use", "id": "e", "name": "Edit", "input": {"file_path": "/app/a.rs", "old_string": "x", "new_string": "y"}}]}});
    let failing = "error[E0502]: cannot borrow `line` as mutable at 0x7f31";
    scene.transcribe(&[
        crate::testing::prompt(0, "make it build"),
        command(1, "cd /app && cargo test -q", failing, true),
        format!("{edit}\n"),
        command(4, "cargo test", "all well", false),
        command(6, "git push", "done", false),
    ]);
    scene.receipt(None);
    let ask = |error: &str, file: Option<&str>| {
        let request = WhyRequest { error: Some(error.to_owned()), file: file.map(str::to_owned), ..Default::default() };
        let told = why(&scene.places, &request).unwrap();
        (to_text(&told, &request, &crate::terminal::Terminal::PLAIN), told)
    };
    let (text, _) = ask("cannot borrow `line` as mutable", None);
    insta::assert_snapshot!(text, @r#"
    1 · exact · run · 2026-11-22 10:02 · proj/aaaaaaaa-0000-4000-8000-000000000001 @ r-2
      asked: make it build
      $ cd /app && cargo test -q
      error: error[E0502]: cannot borrow `line` as mutable at 0x7f31
      then: Edit /app/a.rs
      then: $ cargo test
      it worked
    1 answer in all projects, 1 exact
    "#);
    assert!(ask("E0502", None).1.answers[0].exact, "an error that is a number");
    let folded = command(1, "make", "Datei größer als erlaubt: 文件过大", true);
    scene.write(&scene.transcript_in("-app", &id(8)), &[crate::testing::prompt(0, "x"), folded].concat());
    scene.save_as(&scene.transcript_in("-app", &id(8)), RootKind::Claude, None, None).unwrap();
    for error in ["datei größer als erlaubt", "文件过大"] {
        assert!(ask(error, None).1.answers.first().is_some_and(|answer| answer.exact), "{error}");
    }
    let apart = command(1, "make", "one wolverine here\nand an ocelot there", true);
    scene.write(&scene.transcript_in("-app", &id(9)), &[crate::testing::prompt(0, "x"), apart].concat());
    scene.save_as(&scene.transcript_in("-app", &id(9)), RootKind::Claude, None, None).unwrap();
    assert!(!ask("wolverine ocelot", None).1.answers[0].exact, "words in two lines are no error");
    // The same error at another address is no more than likely the same.
    let (_, other) = ask("error[E0502]: cannot borrow `line` as mutable at 0x99aa", None);
    assert_eq!((other.answers.len(), other.answers[0].exact, other.answers[0].worked), (1, false, Some(true)));
    assert!(ask("as mutable: `line` cannot borrow", None).1.answers[0].exact, "all words in one line");
    assert!(ask("cannot borrow", Some("a.rs")).1.answers[0].worked == Some(true));
    assert!(ask("cannot borrow", Some("b.rs")).1.answers.iter().all(|answer| answer.evidence == Kind::Words));
    assert!(ask("no such words anywhere", None).1.answers.is_empty());
}

#[test]
fn what_no_edit_wrote_is_of_the_conversation_that_committed_it() {
    let git = |root: &Path, args: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        let run = std::process::Command::new("git").arg("-C").arg(root).args(identity).args(args).output().unwrap();
        assert!(run.status.success(), "{args:?}: {run:?}");
        String::from_utf8(run.stdout).unwrap()
    };
    let scene = Scene::new();
    let root = fs::canonicalize(&scene.places.home).unwrap().join("app");
    scene.write(&root.join("made.txt"), "what a command made\n");
    git(&root, &["init", "-q"]);
    git(&root, &["add", "made.txt"]);
    let printed = git(&root, &["commit", "-m", "add what was made"]);
    scene.write(&root.join("made.txt"), "what a command made\nand by hand\n");
    scene.transcribe(&[
        crate::testing::prompt(0, "make it"),
        command(1, "generate > made.txt && git commit -m 'add what was made'", &printed, false),
    ]);
    scene.receipt(None);
    let told = |line: usize| {
        let request = WhyRequest {
            file: Some(format!("made.txt:{line}")),
            from: Some(root.clone()),
            all: Some(true),
            ..Default::default()
        };
        why(&scene.places, &request).unwrap().answers
    };
    let first = &told(1)[0];
    assert_eq!((first.evidence, first.exact, first.message.as_str()), (Kind::Commit, true, "r-2"));
    assert_eq!(first.commit.as_ref().map(|commit| commit.subject.as_str()), Some("add what was made"));
    assert!(told(2).iter().all(|answer| !answer.exact));
    // Only of the conversations that are meant: here is another project.
    let here = Here { directory: Some(root.clone()), home: scene.places.home.clone(), ..Here::default() };
    let request = WhyRequest {
        file: Some("made.txt:1".to_owned()),
        project: Some("other".to_owned()),
        here,
        ..Default::default()
    };
    assert!(why(&scene.places, &request).unwrap().answers.is_empty());
}
