//! Names, tags, pins and notes: in both stores, found, typed instead of an id, and as lasting as the conversations.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::scratch::Scratch;
use tests::transcripts;

use crate::product::{assert_verified, chain_delivered, drain, found_in, sessions, text};

/// Stands in the first conversation.
const ID: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
/// Begins as [`ID`] does not.
const OTHER: &str = "22222222-aaaa-4bbb-8ccc-000000000002";

fn spoken(scratch: &Scratch, id: &str, words: &str) -> PathBuf {
    let transcript = scratch.transcript(id);
    transcripts::append(&transcript, transcripts::prompt_line(id, 1, words));
    transcripts::append(&transcript, transcripts::answer_line(id, 2, "as you say"));
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    transcript
}

fn two_conversations() -> Scratch {
    let scratch = Scratch::new();
    spoken(&scratch, ID, "the parser fails");
    spoken(&scratch, OTHER, "the lexer fails");
    scratch
}

fn say(scratch: &Scratch, args: &[&str]) -> Value {
    scratch.layer3(args).arg("--json").output().ok().json()
}

fn label_everything(scratch: &Scratch) {
    say(scratch, &["name", ID, "auth bug"]);
    say(scratch, &["tag", "auth bug", "work", "#urgent"]);
    say(scratch, &["pin", "AUTH"]);
    let said = say(scratch, &["note", ID, "see the zebra"]);
    let expected = json!({"session_id": ID, "project": said["project"], "name": "auth bug", "tags": ["urgent", "work"],
        "pinned": true, "note": "see the zebra", "notes": []});
    assert_eq!(said, expected);
}

/// The one conversation that is called anything is called all of it.
#[track_caller]
fn assert_labelled(scratch: &Scratch) {
    let all = sessions(scratch);
    assert_eq!(all.len(), 2, "{all:#?}");
    for session in &all {
        match text(session, "session_id") == ID {
            true => {
                assert_eq!((text(session, "title"), text(session, "name")), ("auth bug".into(), "auth bug".into()));
                assert_eq!(session["tags"], json!(["urgent", "work"]));
                assert_eq!((&session["pinned"], text(session, "note")), (&json!(true), "see the zebra".to_owned()));
            }
            false => assert_eq!(session.get("tags").or(session.get("name")), None),
        }
    }
    for query in ["auth", "zebra", "urgent"] {
        assert_eq!(found_in(scratch, query), [ID], "{query}");
    }
    for args in [&["list", "--all", "--tag", "work"][..], &["list", "--all", "--pinned"]] {
        assert_eq!(say(scratch, args)["sessions"].as_array().map(Vec::len), Some(1), "{args:?}");
    }
    assert_eq!(say(scratch, &["search", "--all", "--tag", "work", "fails"])["hits"].as_array().map(Vec::len), Some(1));
    assert!(say(scratch, &["show", "auth bug"])["text"].as_str().is_some_and(|text| text.contains("#urgent #work")));
}

#[test]
fn what_a_conversation_is_called_is_in_both_copies_and_each_comes_back_from_the_other() {
    let scratch = two_conversations();
    label_everything(&scratch);
    assert_labelled(&scratch);
    scratch.layer3(&["rebuild"]).output().ok();
    assert_labelled(&scratch);
    scratch.layer3(&["compress", "--older-than", "2100-01-01"]).output().ok();
    scratch.layer3(&["restore", "auth bug", "--force"]).output().ok();
    assert_labelled(&scratch);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        fs::rename(&store, scratch.beside("lost")).expect("lose a store");
        // As a start of Claude Code does.
        scratch.layer1(&["sweep", "--all"]).output().ok();
        drain(&scratch);
        assert_labelled(&scratch);
        assert_verified(&scratch);
        fs::remove_dir_all(scratch.beside("lost")).expect("remove it");
        // One bit of one copy.
        let path = store.join(format!(".state/labels/{ID}.labels"));
        let whole = fs::read(&path).expect("the labels");
        let mut bytes = whole.clone();
        bytes[40] ^= 1;
        fs::write(&path, &bytes).expect("flip a bit");
        assert_labelled(&scratch);
        let found = scratch.layer3(&["verify"]).output().exits(1);
        assert!(found.text().contains("labels-differ"), "{found:#?}");
        scratch.layer3(&["verify", "--repair"]).output().ok();
        assert_eq!(fs::read(&path).expect("the labels"), whole);
        assert_verified(&scratch);
    }
}

#[test]
fn a_copy_that_is_not_there_is_told_of_and_called_the_same_later() {
    let scratch = two_conversations();
    for (store, copy) in [(scratch.layer3_store(), "second"), (scratch.layer1_store(), "first")] {
        let away = scratch.beside("away");
        fs::rename(&store, &away).expect("put a store away");
        let said = say(&scratch, &["name", ID, copy]);
        assert!(
            said["notes"][0].as_str().is_some_and(|note| note.contains(copy) && note.contains("drain")),
            "{said:#}"
        );
        fs::remove_dir_all(&store).ok();
        fs::rename(&away, &store).expect("bring it back");
        drain(&scratch);
        let path = store.join(format!(".state/labels/{ID}.labels"));
        let kept = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(kept.contains(&format!("\"{copy}\"")), "{kept}");
        assert_eq!(found_in(&scratch, copy), [ID]);
        assert_verified(&scratch);
    }
}

#[test]
fn an_id_wins_over_a_name_and_a_name_of_several_is_asked_for() {
    let scratch = two_conversations();
    // A name that looks like the beginning of another one's id.
    say(&scratch, &["name", ID, "22222222"]);
    assert_eq!(text(&say(&scratch, &["show", "22222222"]), "session_id"), OTHER);
    say(&scratch, &["name", ID, "parser work"]);
    say(&scratch, &["name", OTHER, "lexer work"]);
    assert_eq!(text(&say(&scratch, &["show", "parser WORK"]), "session_id"), ID);
    let refused = scratch.layer3(&["show", "work"]).output().exits(1).silent().stderr;
    for part in ["2 conversations are called so", ID, OTHER, "parser work", "lexer work", "type the id"] {
        assert!(refused.contains(part), "{refused}");
    }
    let mut terminal = scratch.layer3(&["show", "work"]).at_terminal();
    terminal.await_text("Number");
    terminal.type_in("2\n");
    let (code, shown) = terminal.end();
    assert!(code == Some(0) && shown.contains("the lexer fails"), "{shown}");
    for args in [
        &["name", ID, ""][..],
        &["name", ID, "a\nb"],
        &["name", ID, &"x".repeat(101)],
        &["tag", ID, "two words"],
        &["name", "nothing of it", "x"],
        &["name", ID],
    ] {
        let refused = scratch.layer3(args).output().exits(1).silent().stderr;
        assert!(!refused.contains("panicked"), "{args:?}: {refused}");
    }
    say(&scratch, &["name", "parser work", "--remove"]);
    assert!(sessions(&scratch).iter().all(|session| session["name"] != "parser work"));
    // The other programs' verbs are given the id.
    say(&scratch, &["history", "lexer work"]);
}

#[test]
fn what_is_forgotten_is_not_called_anything() {
    let scratch = two_conversations();
    label_everything(&scratch);
    scratch.layer3(&["forget", "--match", "zebra", "--yes"]).output();
    say(&scratch, &["note", ID, "the pelican"]);
    scratch.layer3(&["forget", "auth bug", "--yes"]).output().ok();
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert!(!store.join(format!(".state/labels/{ID}.labels")).exists());
    }
    assert_eq!(found_in(&scratch, "pelican"), [""; 0]);
}
