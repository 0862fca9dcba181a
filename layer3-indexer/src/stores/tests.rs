//! Which copy is good: one answer to every command.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::browse::show::{self, Window};
use crate::restore::{self, Options};
use crate::save::verify;
use crate::stores::Which;
use crate::testing::{ID, Scene, answer, flip_last_byte, prompt};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    First,
    Second,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ahead,
    Equal,
    Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Good,
    Damaged,
    DamagedAtTheEnd,
    Missing,
    Unreadable,
}

const SHORT: &str = "two lines";
const LONG: &str = "three lines";

fn lines(content: &str) -> Vec<String> {
    let mut lines = vec![prompt(1, "one"), answer(2, "two")];
    lines.extend((content == LONG).then(|| answer(3, "three")));
    lines
}

/// Both stores have the session, this one in this state, and its copy is so.
fn scene(store: Store, state: State, condition: Condition) -> (Scene, [PathBuf; 2]) {
    let scene = Scene::new();
    let (first, second) = match (store, state) {
        (_, State::Equal) => (SHORT, SHORT),
        (Store::First, State::Ahead) | (Store::Second, State::Behind) => (LONG, SHORT),
        (Store::First, State::Behind) | (Store::Second, State::Ahead) => (SHORT, LONG),
    };
    if first == SHORT {
        scene.transcribe(&lines(SHORT));
        scene.layer1_copies();
    }
    scene.transcribe(&lines(second));
    scene.receipt(None);
    if first == LONG {
        scene.transcribe(&lines(LONG));
        scene.layer1_copies();
    }
    scene.remove_sources();
    let copies = [&scene.places.layer1_store, &scene.places.layer3_store].map(|s| s.join(format!("proj/{ID}.jsonl")));
    let copy = &copies[usize::from(store == Store::Second)];
    break_it(copy, condition);
    (scene, copies)
}

#[allow(clippy::disallowed_methods)]
fn break_it(copy: &Path, condition: Condition) {
    match condition {
        Condition::Good => {}
        Condition::DamagedAtTheEnd => flip_last_byte(copy),
        Condition::Damaged => {
            let mut bytes = std::fs::read(copy).unwrap();
            bytes[20] ^= 1;
            std::fs::write(copy, bytes).unwrap();
        }
        Condition::Missing => std::fs::remove_file(copy).unwrap(),
        Condition::Unreadable => {
            std::fs::remove_file(copy).unwrap();
            std::fs::create_dir(copy).unwrap();
        }
    }
}

/// What a command gave, and which copies it called bad.
type Answer = (Option<&'static str>, BTreeSet<PathBuf>);

fn named(copies: &[PathBuf; 2], text: &str) -> BTreeSet<PathBuf> {
    let is_bad = |copy: &&PathBuf| {
        let of_it = text.split(copy.to_str().unwrap()).nth(1).unwrap_or_default();
        [" is damaged", " is missing", " cannot be "].into_iter().any(|bad| of_it.starts_with(bad))
    };
    copies.iter().filter(is_bad).cloned().collect()
}

fn restored(scene: &Scene, copies: &[PathBuf; 2], content: Which) -> Answer {
    let to = scene.places.home.join(format!("{content:?}"));
    let options = Options { content, to: Some(to.clone()), ..Options::default() };
    match restore::plan(&scene.places, ID, &options).and_then(|plan| plan.carry_out(&scene.places)) {
        Ok(restored) => {
            let text = std::fs::read_to_string(to.join(format!("{ID}.jsonl"))).unwrap();
            let given = [SHORT, LONG].into_iter().find(|content| lines(content).concat() == text);
            (given, named(copies, &restored.notes.join("\n")))
        }
        Err(failure) => (None, named(copies, &failure.to_string())),
    }
}

fn shown(scene: &Scene, copies: &[PathBuf; 2]) -> Answer {
    let window = Window { max_chars: 10_000, ..Window::default() };
    match show::conversation(&scene.copies(), &window) {
        Ok(conversation) => {
            let text = conversation.text;
            let given = if text.contains("three") { LONG } else { SHORT };
            (Some(given), named(copies, &text))
        }
        Err(failure) => (None, named(copies, &failure.to_string())),
    }
}

fn verified(scene: &Scene, copies: &[PathBuf; 2]) -> BTreeSet<PathBuf> {
    let report = verify::verify(&scene.places, None).unwrap();
    let (ahead, own): (Vec<_>, Vec<_>) = report.findings.iter().partition(|f| f.detail.starts_with("layer 1's copy "));
    assert!(report.findings.iter().all(|finding| finding.path == format!("{ID}.jsonl")), "{report:?}");
    let mut bad: BTreeSet<PathBuf> = own.iter().map(|_| copies[1].clone()).collect();
    bad.extend(ahead.iter().flat_map(|finding| named(copies, &finding.detail)));
    assert_eq!(report.ok, bad.is_empty());
    bad
}

#[test]
fn every_command_gives_the_same_bytes_and_calls_the_same_copy_bad() {
    use Condition::*;
    let mut wrong = Vec::new();
    for store in [Store::First, Store::Second] {
        for state in [State::Ahead, State::Equal, State::Behind] {
            for condition in [Good, Damaged, DamagedAtTheEnd, Missing, Unreadable] {
                let (scene, copies) = scene(store, state, condition);
                let bad = &copies[usize::from(store == Store::Second)];
                let is_best = state == State::Ahead || (state == State::Equal && store == Store::Second);
                let given = match (state, condition) {
                    (State::Ahead, Good) | (State::Behind, _) => LONG,
                    _ => SHORT,
                };
                // The copy that would have been the best; that of the second store is always verified.
                let said = (is_best && condition != Good).then(|| bad.clone()).into_iter().collect::<BTreeSet<_>>();
                let mut verified_bad = said.clone();
                verified_bad.extend((store == Store::Second && condition != Good).then(|| bad.clone()));
                let expected = (Some(given), said);
                let answers = [
                    ("restore", restored(&scene, &copies, Which::Newest)),
                    ("restore --longest", restored(&scene, &copies, Which::Longest)),
                    ("show", shown(&scene, &copies)),
                ];
                for (command, answer) in answers.into_iter().filter(|(_, answer)| *answer != expected) {
                    wrong.push(format!("{store:?} {state:?} {condition:?}: {command} gives {answer:?}"));
                }
                let found = verified(&scene, &copies);
                if found != verified_bad {
                    wrong.push(format!("{store:?} {state:?} {condition:?}: verify finds {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
