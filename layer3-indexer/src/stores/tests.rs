//! Which copy is good: one answer to every command.

// A test plays the part of Claude Code, of a user and of a failing disk.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::names::{FileName, StoredName};

use crate::browse::show::{self, Window};
use crate::restore::{self, Options};
use crate::save::verify;
use crate::stores::acknowledged::{self, Acknowledged, Seen};
use crate::stores::{Copy, Layer, SessionCopies, Stores, Unfit, Which};
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
            // Nothing that is known to be bad, and no state of the same content, is called longer.
            assert!(!restored.notes.join("\n").contains("--longest"), "{:?}", restored.notes);
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

fn verified(scene: &Scene, copies: &[PathBuf; 2], condition: Condition) -> BTreeSet<PathBuf> {
    let mut report = verify::verify(&scene.places, None).unwrap();
    assert_eq!(report.ok, report.findings.is_empty());
    // The sources are gone, and one store has what the other has not.
    report.findings.retain(|finding| finding.kind != "one-copy");
    let (ahead, own): (Vec<_>, Vec<_>) = report.findings.iter().partition(|f| f.detail.starts_with("layer 1's copy "));
    assert!(report.findings.iter().all(|finding| finding.path == format!("{ID}.jsonl")), "{report:?}");
    let of_copy = |finding: &&verify::FindingEntry| usize::from(!finding.detail.starts_with("in the first copy: "));
    let mut bad: BTreeSet<PathBuf> = own.iter().map(|finding| copies[of_copy(finding)].clone()).collect();
    let kind = if condition == Condition::Missing { "missing" } else { "damaged" };
    assert!(report.findings.iter().all(|finding| finding.kind == kind), "{report:?}");
    bad.extend(ahead.iter().flat_map(|finding| named(copies, &finding.detail)));
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
                // The copy that would have been the best; both are verified.
                let said = (is_best && condition != Good).then(|| bad.clone()).into_iter().collect::<BTreeSet<_>>();
                let verified_bad = (condition != Good).then(|| bad.clone()).into_iter().collect::<BTreeSet<_>>();
                let expected = (Some(given), said);
                let answers = [
                    ("restore", restored(&scene, &copies, Which::Newest)),
                    ("restore --longest", restored(&scene, &copies, Which::Longest)),
                    ("show", shown(&scene, &copies)),
                ];
                for (command, answer) in answers.into_iter().filter(|(_, answer)| *answer != expected) {
                    wrong.push(format!("{store:?} {state:?} {condition:?}: {command} gives {answer:?}"));
                }
                let found = verified(&scene, &copies, condition);
                if found != verified_bad {
                    wrong.push(format!("{store:?} {state:?} {condition:?}: verify finds {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_session_whose_bookkeeping_in_one_store_is_a_newer_version_s_is_served_by_the_other() {
    for broken in [0, 1] {
        for has_other in [true, false] {
            let (scene, _) = scene(Store::First, State::Equal, Condition::Good);
            let mut stores = [scene.places.layer1_store.clone(), scene.places.layer3_store.clone()];
            stores.swap(0, broken);
            let line = "{\"format\":9}";
            let line = format!("{} {line}\n", &blake3::hash(line.as_bytes()).to_hex()[..16]);
            std::fs::write(stores[0].join(format!(".state/sessions/{ID}/proj.ledger")), line).unwrap();
            if !has_other {
                std::fs::remove_dir_all(&stores[1]).unwrap();
            }
            let opened = std::rc::Rc::new(Stores::open(&scene.places).unwrap());
            let copies = SessionCopies::find(&opened, ID);
            let Ok(copies) = copies else {
                assert!(!has_other);
                continue;
            };
            assert!(has_other || broken == 0, "{broken} {has_other}");
            assert!(copies.notes[0].contains("store cannot be used: "), "{:?}", copies.notes);
            assert_eq!(copies.get(&newest()).is_ok(), has_other);
        }
    }
}

fn newest() -> StoredName {
    StoredName::newest(FileName::Transcript)
}

fn text(mut copy: Copy) -> String {
    let mut text = String::new();
    copy.read().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_serves_instead_of_a_damaged_content_is_the_same_content_of_the_other_layer_first() {
    let scene = Scene::new();
    scene.transcribe(&lines(LONG));
    scene.receipt(None);
    scene.transcribe(&lines(SHORT));
    scene.receipt(None);
    // An older content of layer 3 begins with the newest one.
    let bad = scene.copy();
    break_it(&bad, Condition::Damaged);
    let older = bad.with_file_name(format!("{ID}.gen-0001.jsonl"));
    let chosen = scene.copies().get(&newest()).unwrap();
    assert_eq!((chosen.at.path.clone(), text(chosen)), (older, lines(SHORT).concat()));
    scene.layer1_copies();
    let copies = scene.copies();
    let chosen = copies.get(&newest()).unwrap();
    assert_eq!(chosen.at.path, scene.places.layer1_store.join(format!("proj/{ID}.jsonl")));
    assert_eq!(chosen.bad.iter().map(|bad| &bad.name).collect::<Vec<_>>(), [&newest()]);
    // What is damaged everywhere is given to be looked at, and no other content.
    for path in [chosen.at.path.clone(), bad.with_file_name(format!("{ID}.gen-0001.jsonl"))] {
        break_it(&path, Condition::Damaged);
    }
    let failure = copies.get(&newest()).unwrap_err().to_string();
    assert!(failure.contains("layer 3's copy ") && failure.contains("layer 1's copy "), "{failure}");
    assert!(!failure.contains("gen-0001"), "of other contents nothing is said: {failure}");
    let shown = copies.get_even_damaged(&newest()).unwrap();
    assert_eq!((&shown.at.name, shown.at.path.clone()), (&newest(), bad));
    assert_eq!(text(shown).len(), lines(SHORT).concat().len());
}

#[test]
fn what_is_empty_at_last_is_given_as_it_was_before_and_by_its_own_name_as_it_is() {
    let scene = Scene::new();
    scene.transcribe(&lines(SHORT));
    scene.write(
        &scene.transcript().with_extension("").join("side"),
        "a side file that is much longer than the rest, which is short",
    );
    scene.layer1_copies();
    scene.transcribe(&[]);
    scene.layer1_copies();
    scene.receipt(None);
    let copies = scene.copies();
    assert_eq!(text(copies.newest(&FileName::Transcript).unwrap()), lines(SHORT).concat());
    assert_eq!(text(copies.get(&newest()).unwrap()), "");
    let older = StoredName { generation: 1, ..newest() };
    assert_eq!(text(copies.get(&older).unwrap()), lines(SHORT).concat());
    assert_eq!(text(copies.choose(&FileName::Transcript, Which::Longest).unwrap()), lines(SHORT).concat());
    let names: Vec<String> = copies.names().iter().map(|name| name.to_text(&scene.id()).replace(ID, "ID")).collect();
    assert_eq!(names, ["ID.jsonl", "ID/side", "ID.gen-0001.jsonl"]);
    assert_eq!(copies.side_files(), BTreeSet::from([PathBuf::from("side")]));
    assert_eq!(
        (copies.bytes(), copies.sources().find_map(super::slug_of_source).as_deref()),
        (0, Some("-home-dev-proj"))
    );
    assert!(copies.in_layer3().is_some() && !copies.is_unproven());
    assert!(copies.key_in(Layer::Three).is_some() && copies.key_in(Layer::One).is_some());
    // Layer 1 alone has a generation that layer 3 lacks.
    scene.transcribe(&[prompt(5, "other")]);
    scene.layer1_copies();
    scene.transcribe(&[prompt(6, "another")]);
    scene.layer1_copies();
    scene.transcribe(&[prompt(7, "once more")]);
    scene.layer1_copies();
    let copies = scene.copies();
    let second = copies.generation(&FileName::Transcript, 2).unwrap();
    assert_eq!(second.notes, [format!("{ID}.gen-0002.jsonl: layer 3 has no such generation, layer 1's is used")]);
    assert_eq!(text(second), prompt(5, "other"));
    assert!(copies.generation(&FileName::Transcript, 1).unwrap().notes.is_empty());
    let Err(Unfit::NoGeneration(known)) = copies.generation(&FileName::Transcript, 9) else { panic!("there is none") };
    assert_eq!(known.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1]);
}

/// Stores as they are found, with these sessions.
fn found(layer1: &[&str], layer3: &[&str]) -> (Scene, Stores) {
    let scene = Scene::new();
    for (store, keys) in [(&scene.places.layer1_store, layer1), (&scene.places.layer3_store, layer3)] {
        keys.iter().for_each(|key| scene.write(&store.join(format!("{key}.jsonl")), "x"));
    }
    let stores = Stores::open(&scene.places).unwrap();
    (scene, stores)
}

#[test]
fn a_session_in_another_folder_is_the_same_if_it_is_the_only_one_of_its_id_in_both_stores() {
    for (layer1, layer3, expected) in [
        (vec!["p/a"], vec!["p/a"], "p/a=p/a"),
        (vec!["p/a"], vec!["q/a"], "p/a=q/a"),
        (vec!["p/a", "p/b"], vec!["q/a"], "p/a=q/a p/b=-"),
        (vec!["p/a", "q/a"], vec!["r/a"], "-=r/a p/a=- q/a=-"),
        (vec!["p/a"], vec!["q/a", "r/a"], "-=q/a -=r/a p/a=-"),
        (vec!["p/a", "q/a"], vec!["q/a", "p/a"], "p/a=p/a q/a=q/a"),
        (vec!["p/a"], vec!["p/a", "q/a"], "p/a=p/a -=q/a"),
        (vec!["p/b"], vec!["p/a"], "-=p/a p/b=-"),
        (vec!["p/a"], vec![], "p/a=-"),
        (vec![], vec!["p/a"], "-=p/a"),
    ] {
        let (_scene, stores) = found(&layer1, &layer3);
        let told =
            |key: &Option<SessionKey>| key.as_ref().map_or("-".to_owned(), |key| format!("{}/{}", key.project, key.id));
        let pairs = stores.pairs().unwrap();
        let text: Vec<_> = pairs.iter().map(|pair| format!("{}={}", told(&pair.layer1), told(&pair.layer3))).collect();
        assert_eq!(text.join(" "), expected);
        // Whoever asks for one session gets the same answer.
        let (stores, pairs) = (std::rc::Rc::new(stores), pairs);
        for pair in pairs {
            let copies = SessionCopies::of(&stores, pair.key()).unwrap();
            let keys = [Layer::One, Layer::Three].map(|layer| copies.key_in(layer).cloned());
            assert_eq!(keys, [pair.layer1.clone(), pair.layer3.clone()], "{expected}");
        }
        assert!(stores.indexed().is_none() && !stores.is_empty());
    }
}

#[test]
fn what_was_acknowledged_is_added_to_and_never_written_over_unread() {
    let scene = Scene::new();
    scene.transcribe(&lines(SHORT));
    scene.receipt(None);
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    let acknowledge = || acknowledged::acknowledge(&archive, [(&scene.copies(), Seen::Gone)]);
    let is_gone = || Acknowledged::read(Some(&archive)).is_gone(&scene.copies());
    let path = archive.root().join(".state/acknowledged.json");
    for earlier in [None, Some(r#"{"format": 1, "losses": {"p/b": ["1:x"]}, "gone": {"p/c": "2:y"}}"#)] {
        if let Some(earlier) = earlier {
            std::fs::write(&path, earlier).unwrap();
        }
        assert!(!is_gone());
        acknowledge().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(is_gone() && earlier.is_none_or(|_| text.contains("1:x") && text.contains("2:y")), "{text}");
    }
    for (unread, why) in [
        (r#"{"format": 2, "seen": []}"#, "format 2"),
        (r#"{"format": 1, "losses": {"#, "move that file away"),
        (r#"{"format": 1}"#, "move that file away"),
        ("[]", "move that file away"),
    ] {
        std::fs::write(&path, unread).unwrap();
        let failure = acknowledge().unwrap_err().to_string();
        assert!(failure.contains(why), "{unread}: {failure}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), unread);
        assert!(!is_gone(), "what cannot be read is told again");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    acknowledge().unwrap_err();
}

/// Layer 3's ledger was put back to what it was before a rewriting; what stands there is what layer 1 has too.
#[test]
fn a_ledger_that_was_put_back_makes_no_older_content_the_newest() {
    let scene = Scene::new();
    scene.transcribe(&lines(LONG));
    let held = scene.layer1_copies();
    scene.receipt(Some(&scene.expected(&held)));
    let key = Archive::open(&scene.places.layer3_store).unwrap().unwrap().find(&scene.id()).unwrap().remove(0);
    let ledger = scene.places.layer3_store.join(format!(".state/sessions/{ID}/{}.ledger", key.project));
    let before = std::fs::read(&ledger).unwrap();
    scene.transcribe(&[prompt(7, "begun anew")]);
    let held = scene.layer1_copies();
    scene.receipt(Some(&scene.expected(&held)));
    std::fs::write(&ledger, before).unwrap();
    let mut newest = String::new();
    let mut copy = scene.copies().newest(&FileName::Transcript).unwrap();
    copy.file.read_to_string(&mut newest).unwrap();
    assert_eq!(newest, prompt(7, "begun anew"), "{:?}", copy.at);
}

/// Of what has lost its bookkeeping its own bytes say what it is: they are news only if they go on in lines of JSON.
#[test]
fn what_nothing_proves_is_no_news_unless_it_goes_on_as_claude_code_writes() {
    type Spoil = fn(&Scene, &Path, &Path);
    let cases: [(&str, Spoil, bool); 5] = [
        (
            "layer 1 went on, and lost its bookkeeping",
            |scene, first, _| {
                scene.transcribe(&lines(LONG));
                scene.layer1_copies();
                std::fs::remove_dir_all(first.parent().unwrap().with_file_name(".state")).unwrap();
                std::fs::remove_file(scene.transcript()).unwrap();
            },
            true,
        ),
        (
            "layer 1 lost its bookkeeping, and has rubbish behind its end",
            |_, first, _| {
                let rubbish = [std::fs::read(first).unwrap(), vec![0xfe; 900]].concat();
                std::fs::write(first, rubbish).unwrap();
                std::fs::remove_dir_all(first.parent().unwrap().with_file_name(".state")).unwrap();
            },
            false,
        ),
        (
            "layer 3 lost its bookkeeping, and something else stands there",
            |_, _, second| {
                std::fs::write(second, "something else\n".repeat(400)).unwrap();
                std::fs::remove_dir_all(second.parent().unwrap().parent().unwrap().join(".state/sessions")).unwrap();
            },
            false,
        ),
        (
            "layer 3 lost its bookkeeping, and has rubbish behind its end",
            |_, _, second| {
                let rubbish = [std::fs::read(second).unwrap(), vec![0xfe; 900]].concat();
                std::fs::write(second, rubbish).unwrap();
                std::fs::remove_dir_all(second.parent().unwrap().parent().unwrap().join(".state/sessions")).unwrap();
            },
            false,
        ),
        (
            "layer 3 lost its bookkeeping alone",
            |_, _, second| {
                std::fs::remove_dir_all(second.parent().unwrap().parent().unwrap().join(".state/sessions")).unwrap();
            },
            false,
        ),
    ];
    for (what, spoil, is_long) in cases {
        let scene = Scene::new();
        scene.transcribe(&lines(SHORT));
        let held = scene.layer1_copies();
        scene.receipt(Some(&scene.expected(&held)));
        let first = held.0.slot(&held.1, &StoredName::newest(FileName::Transcript)).path();
        spoil(&scene, &first, &scene.copy());
        let mut newest = Vec::new();
        let mut copy = scene.copies().newest(&FileName::Transcript).unwrap();
        copy.file.read_to_end(&mut newest).unwrap();
        newest.truncate(copy.at.bytes as usize);
        let expected = lines(if is_long { LONG } else { SHORT }).concat();
        assert_eq!(String::from_utf8_lossy(&newest), expected, "{what}: {:?}", copy.at);
    }
}
