//! The second and the third copy repair each other: damage at any place of either store is found,
//! healed and kept aside; bookkeeping that is lost costs no byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tests::binaries::{LAYER1, LAYER3};
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{self, assert_saved_twice};
use tests::strace::{self, Traced};
use tests::transcripts::{self, SUBAGENT};
use tests::tree;

use crate::product::{assert_verified, chain_delivered, drain, findings, session_ids};

/// A session with side files whose transcript and one side file have an older generation, saved twice.
fn saved(scratch: &Scratch) -> PathBuf {
    let transcript = transcripts::lay_out(scratch, SUBAGENT);
    let side = transcript.with_extension("").join("tool-results/toolu_1.txt");
    transcripts::append(&side, "what the tool said first");
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    transcripts::rewrite(&transcript, transcripts::prompt_line(SUBAGENT, 1, "all new"));
    transcripts::rewrite(&side, "what the tool said then");
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(scratch, &transcript);
    transcript
}

/// The copies in a store: every generation of transcript and side files.
fn copies(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let metadata = format!("{PROJECT}/{SUBAGENT}.json");
    let files = tree::session_files(store).into_iter().filter(|path| *path != metadata);
    files.map(|path| (path.clone(), fs::read(store.join(path)).expect("read a copy"))).collect()
}

fn layers(scratch: &Scratch) -> [(PathBuf, impl Fn(&[&str]) -> Run); 2] {
    let run = |is_first: bool| move |args: &[&str]| if is_first { scratch.layer1(args) } else { scratch.layer3(args) };
    [(scratch.layer1_store(), run(true)), (scratch.layer3_store(), run(false))]
}

#[test]
fn a_flipped_bit_at_any_place_of_either_store_is_found_healed_and_kept_aside() {
    let scratch = Scratch::new();
    saved(&scratch);
    for (store, layer) in layers(&scratch) {
        let good = copies(&store);
        assert!(good.keys().any(|path| path.contains("subagents/")), "{:?}", good.keys());
        assert_eq!(good.keys().filter(|path| path.contains(".gen-0001")).count(), 2, "{:?}", good.keys());
        for (path, bytes) in &good {
            let place = store.join(path);
            for at in [0, bytes.len() / 3, bytes.len() * 2 / 3, bytes.len() - 1] {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(&place, bad).expect("flip a bit");
                let outcome = layer(&["verify", "--json"]).output().exits(1);
                let file = path.strip_prefix(PROJECT).expect("below the project's folder").trim_start_matches('/');
                let said = outcome.text();
                assert!(said.contains("damaged") && said.contains(file), "{path} at {at}: {outcome:#?}");
            }
            let bad = fs::read(&place).expect("read a damaged copy");
            layer(&["verify", "--repair"]).output().ok();
            assert_eq!(fs::read(&place).ok().as_ref(), Some(bytes), "{path} is healed");
            assert_eq!(fs::read(store.join(".state/damaged").join(path)).ok(), Some(bad), "{path} is kept aside");
            layer(&["verify"]).output().ok();
        }
        assert_eq!(copies(&store), good);
    }
    assert_verified(&scratch);
}

#[test]
fn a_store_that_lost_all_its_bookkeeping_is_proven_again_by_the_other() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch);
    for (store, layer) in layers(&scratch) {
        let good = copies(&store);
        fs::remove_dir_all(store.join(".state")).expect("lose the bookkeeping");
        let outcome = layer(&["verify"]).output().exits(1);
        assert!(outcome.text().contains("bookkeeping-lost"), "{outcome:#?}");
        layer(&["verify", "--repair"]).output().ok();
        assert_eq!(copies(&store), good);
        layer(&["verify"]).output().ok();
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn stores_that_both_lost_their_bookkeeping_lose_no_byte() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch);
    let good = layers(&scratch).map(|(store, _)| copies(&store));
    for (store, _) in layers(&scratch) {
        fs::remove_dir_all(store.join(".state")).expect("lose the bookkeeping");
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(layers(&scratch).map(|(store, _)| copies(&store)), good, "no byte lost, no generation begun");
    // The source proves the newest contents; what is older, each store proves to the other.
    scratch.layer1(&["verify", "--repair"]).output();
    scratch.layer3(&["verify", "--repair"]).output();
    assert_verified(&scratch);
}

/// Somebody renames it, and the transcripts may be gone by then.
#[test]
fn a_project_whose_folder_was_renamed_in_a_store_gets_its_copies_back_and_is_no_second_conversation() {
    for (renamed, to, is_gone, by) in [
        (&[0][..], "another", false, LAYER3),
        (&[1], "zoo", false, LAYER3),
        (&[0, 1], "another", false, LAYER3),
        (&[0, 1], "zoo", true, LAYER3),
        (&[0], "another", true, LAYER1),
        (&[0], "zoo", false, LAYER1),
    ] {
        let scratch = Scratch::new();
        let transcript = saved(&scratch);
        let stores = [scratch.layer1_store(), scratch.layer3_store()];
        let held = |store: &PathBuf| {
            let (all, own) = (copies(store), format!("{PROJECT}/"));
            all.into_iter().filter(|(path, _)| path.starts_with(&own)).collect::<BTreeMap<_, _>>()
        };
        let before = stores.each_ref().map(held);
        if is_gone {
            fs::remove_file(&transcript).expect("the transcript is swept");
            fs::remove_dir_all(transcript.with_extension("")).expect("and its side files");
        }
        for store in renamed {
            fs::rename(stores[*store].join(PROJECT), stores[*store].join(to)).expect("rename the folder");
        }
        let case = format!("{renamed:?} {to} {is_gone} {by}");
        drain(&scratch);
        let status = scratch.layer3(&["status"]).output().exits(1).text();
        assert!(status.contains("verify --repair"), "{case}: {status}");
        scratch.run(by, &["verify", "--repair"]).output().ok();
        assert_eq!(stores.each_ref().map(held), before, "{case}");
        drain(&scratch);
        assert_verified(&scratch);
        assert_eq!(session_ids(&scratch), [SUBAGENT], "{case}");
        scratch.layer3(&["show", SUBAGENT]).output().ok();
        // What is left there is a copy that somebody made.
        let told = findings(&scratch, "conflict-copies");
        assert!(told.len() == renamed.len() && told[0].contains(to), "{case}: {told:?}");
    }
}

#[test]
fn a_source_that_diverged_is_named_and_a_repair_keeps_both() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch);
    transcripts::append(&transcript, transcripts::prompt_line(SUBAGENT, 2, "only longer"));
    for (_, layer) in layers(&scratch) {
        layer(&["verify"]).output().ok();
    }
    let before = transcripts::prompt_line(SUBAGENT, 1, "all new");
    transcripts::rewrite(&transcript, transcripts::prompt_line(SUBAGENT, 3, "something else"));
    for (store, layer) in layers(&scratch) {
        let outcome = layer(&["verify", "--json"]).output().exits(1);
        assert!(outcome.text().contains("source-diverged"), "{outcome:#?}");
        layer(&["verify", "--repair"]).output().ok();
        let read = |name: &str| fs::read(store.join(PROJECT).join(name)).expect("read a copy");
        assert_eq!(read(&format!("{SUBAGENT}.jsonl")), fs::read(&transcript).expect("read the transcript"));
        assert_eq!(read(&format!("{SUBAGENT}.gen-0002.jsonl")), before.as_bytes());
        layer(&["verify"]).output().ok();
    }
    fs::remove_dir_all(transcript.parent().expect("a folder")).expect("delete the sources");
    assert_verified(&scratch);
    let found = scratch.layer3(&["search", "--all", "something else"]).output().ok();
    assert!(found.text().contains(&SUBAGENT[..8]), "{found:#?}");
}

/// What is done to the bytes of a copy, at a place among them.
type Damage = fn(&mut Vec<u8>, usize);

/// More bytes in the middle of a copy, fewer, and another one.
const DAMAGES: [(&str, Damage); 3] = [
    ("longer", |bytes, at| drop(bytes.splice(at..at, *b"inserted bytes"))),
    ("cut short", |bytes, at| bytes.truncate(at)),
    ("changed", |bytes, at| bytes[at] ^= 4),
];

/// What saves a conversation.
type Save = fn(&Scratch, &Path);

/// The transcript goes on.
fn go_on(transcript: &Path) {
    transcripts::append(transcript, transcripts::prompt_line(SUBAGENT, 9, "it went on"));
}

/// The transcript goes on, and the first copy has that already.
fn go_on_in_the_first(scratch: &Scratch, transcript: &Path) {
    go_on(transcript);
    let hook = scratch.layer1(&["--quiet"]).stdin(transcripts::session_end(transcript));
    hook.output().ok().silent();
}

/// Deletes the transcript and brings it back.
fn bring_back(scratch: &Scratch, transcript: &Path, flags: &[&str]) {
    fs::remove_file(transcript).expect("delete the transcript");
    scratch.layer3(&[&["restore", SUBAGENT], flags].concat()).output().ok();
}

/// What comes upon a damaged copy, of the first store or of the second.
const SAVES: [(&str, bool, Save); 5] = [
    ("a hook, first copy", true, |scratch, transcript| {
        chain_delivered(scratch, &transcripts::session_end(transcript));
    }),
    ("a hook", false, |scratch, transcript| {
        go_on(transcript);
        chain_delivered(scratch, &transcripts::session_end(transcript));
    }),
    ("a restore", false, |scratch, transcript| bring_back(scratch, transcript, &[])),
    ("a drain", false, |scratch, transcript| {
        go_on_in_the_first(scratch, transcript);
        drain(scratch);
    }),
    ("an import", false, |scratch, transcript| {
        go_on_in_the_first(scratch, transcript);
        scratch.layer3(&["import"]).output().ok();
    }),
];

#[test]
fn damaged_bytes_are_set_aside_and_become_no_version_whatever_save_comes_upon_them() {
    for (save, is_first, heal) in SAVES {
        for (kind, damage) in DAMAGES {
            let scratch = Scratch::new();
            let transcript = transcripts::lay_out(&scratch, SUBAGENT);
            chain_delivered(&scratch, &transcripts::session_end(&transcript));
            let store = if is_first { scratch.layer1_store() } else { scratch.layer3_store() };
            let copy = store.join(PROJECT).join(format!("{SUBAGENT}.jsonl"));
            let mut bad = fs::read(&copy).expect("read a copy");
            let middle = bad.len() / 2;
            damage(&mut bad, middle);
            fs::write(&copy, &bad).expect("damage a copy");

            heal(&scratch, &transcript);
            assert_eq!(findings(&scratch, "one-copy"), [""; 0], "{save}, {kind}: nothing is in one copy only");
            drain(&scratch);
            let differs = |(store, _): &(PathBuf, _)| stores::difference(store, PROJECT, &transcript);
            assert_eq!(layers(&scratch).iter().find_map(differs), None, "{save}, {kind}");
            assert_verified(&scratch);
            for (store, _) in layers(&scratch) {
                let is_version = |path: &String| path.contains(".gen-");
                let versions: Vec<_> = tree::session_files(&store).into_iter().filter(is_version).collect();
                assert_eq!(versions, [""; 0], "{save}, {kind}: in {}", store.display());
            }
            let aside = fs::read_dir(store.join(".state/damaged").join(PROJECT)).expect("read what was set aside");
            let begins = |at: PathBuf| fs::read(at).is_ok_and(|bytes| bytes.starts_with(&bad));
            assert!(aside.flatten().any(|entry| begins(entry.path())), "{save}, {kind}: it is kept aside");
            let good = fs::read(&transcript).expect("read the transcript");
            bring_back(&scratch, &transcript, &["--longest"]);
            assert!(fs::read(&transcript).expect("read what came back") == good, "{save}, {kind}");
        }
    }
}

#[test]
fn damage_that_was_found_leads_the_status_until_it_is_repaired() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    let long = "x".repeat(20_000);
    transcripts::append(&transcript, transcripts::prompt_line(SUBAGENT, 2, &long));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let copy = |store: &Path| store.join(format!("{PROJECT}/{SUBAGENT}.jsonl"));
    let damage = || {
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            let mut bytes = fs::read(copy(&store)).expect("read a copy");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(copy(&store), bytes).expect("damage a copy");
        }
    };
    let places = |run: Run| -> Vec<String> {
        let told = run.output().json();
        let all = told["findings"].as_array().expect("findings").iter();
        let of = all.filter(|finding| finding["kind"] == "damaged-copy");
        of.map(|finding| finding["where"].as_str().expect("a place").to_owned()).collect()
    };
    damage();
    assert_eq!(places(scratch.layer3(&["status", "--json"])).len(), 0, "a quick look must not see it");
    let both = [scratch.layer1_store(), scratch.layer3_store()].map(|store| copy(&store).display().to_string());
    let found = scratch.layer3(&["verify"]).output().exits(1);
    assert_eq!(found.text().matches("damaged  ").count(), 2, "{found:#?}");
    assert_eq!(places(scratch.layer3(&["status", "--json"])), both);
    assert_eq!(places(scratch.layer3(&["doctor", "--json"])), both);
    let status = scratch.layer3(&["status"]).output().exits(1).text();
    let first = status.lines().next().expect("a headline");
    assert!(first.contains("2 saved files are damaged"), "{status}");
    assert!(status.contains("verify` found it a few seconds ago") && status.contains("verify --repair"), "{status}");
    let of_first = scratch.layer1(&["status"]).output().ok().text();
    assert!(of_first.contains("damaged      1 file;"), "{of_first}");
    // The next save reads no more than it needs; a look at one copy alone says nothing of the other.
    transcripts::append(&transcript, transcripts::prompt_line(SUBAGENT, 3, "more"));
    scratch.layer1(&["verify"]).output().exits(1);
    assert_eq!(places(scratch.layer3(&["status", "--json"])), both);
    scratch.layer3(&["verify", "--repair"]).output().ok();
    assert_eq!(places(scratch.layer3(&["status", "--json"])).len(), 0);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert!(!store.join(".state/damage.json").exists(), "nothing is left of it in {}", store.display());
    }
}

#[test]
fn damage_that_cannot_be_noted_is_told_all_the_same() {
    if !strace::is_here("damage_that_cannot_be_noted_is_told_all_the_same") {
        return;
    }
    let scratch = Scratch::new();
    saved(&scratch);
    let copy = scratch.layer3_store().join(format!("{PROJECT}/{SUBAGENT}.gen-0001.jsonl"));
    let mut bytes = fs::read(&copy).expect("read a copy");
    bytes[20] ^= 1;
    fs::write(&copy, bytes).expect("damage a copy");
    let calls = "?rename,?renameat,renameat2";
    let inject = format!("inject={calls}:error=ENOSPC");
    let traced = Traced::new(&scratch, calls, &["-e", &inject], LAYER3, &["verify"]).output();
    assert!(traced.fault_fired(), "{:#?}", traced.lines);
    let found = traced.outcome.exits(1);
    assert!(found.text().contains("damaged  "), "{found:#?}");
    assert!(found.stderr.contains("status` will not know what was found damaged"), "{found:#?}");
}
