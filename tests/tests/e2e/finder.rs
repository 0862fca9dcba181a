//! The finder at a pseudo terminal: opened, typed into, and left with what was chosen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tests::scratch::Scratch;
use tests::terminal::Terminal;
use tests::transcripts;

use crate::product::{chain_delivered, text};

const ID: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
const OTHER: &str = "22222222-aaaa-4bbb-8ccc-000000000002";
/// What gives the terminal back.
const LEFT: &str = "\u{1b}[?1049l";

fn two_conversations() -> Scratch {
    let scratch = Scratch::new();
    // Where it goes on must be there.
    let here = |line: String| line.replace("/home/dev/proj", scratch.project_dir().to_str().expect("UTF-8"));
    for (id, n, words, answer) in [
        (ID, 1, "the retry needs a backoff", "as the flamingo told the ibis"),
        (OTHER, 100, "zebras in the lexer", "so be it"),
    ] {
        let transcript = scratch.transcript(id);
        transcripts::append(&transcript, here(transcripts::prompt_line(id, n, words)));
        transcripts::append(&transcript, here(transcripts::answer_line(id, n + 1, answer)));
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    scratch
}

/// A folder with a `claude` that says what it was called with.
fn stand_in(scratch: &Scratch) -> PathBuf {
    let folder = scratch.beside("bin");
    fs::create_dir_all(&folder).expect("make a folder");
    let claude = folder.join("claude");
    fs::write(&claude, "#!/bin/sh\necho \"claude $* in $PWD\"\n").expect("write a script");
    fs::set_permissions(&claude, fs::Permissions::from_mode(0o755)).expect("make it executable");
    folder
}

fn open(scratch: &Scratch, args: &[&str], term: &str) -> Terminal {
    let path = format!("{}:/usr/bin:/bin", stand_in(scratch).display());
    scratch.layer3(args).env("TERM", term).env("PATH", path).at_terminal()
}

#[test]
fn what_is_typed_finds_it_and_enter_goes_on_with_it() {
    let scratch = two_conversations();
    let cwd = scratch.project_dir();
    // A title with an error in it, and a word that only an answer has.
    for (keys, shown) in [("bakoff", None), ("ibis", Some("flamingo"))] {
        let id = ID;
        let mut terminal = open(&scratch, &[], "xterm");
        terminal.await_text("type to search");
        terminal.type_in(keys);
        shown.into_iter().for_each(|word| terminal.await_text(word));
        terminal.type_in("\r");
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(0), "{shown}");
        let (_, after) = shown.rsplit_once(LEFT).expect("the terminal is given back");
        assert!(after.contains(&format!("claude --resume {id} in {}", cwd.display())), "{after}");
    }
}

#[test]
fn it_ends_where_its_terminal_goes_away() {
    let scratch = two_conversations();
    let mut terminal = open(&scratch, &[], "xterm");
    terminal.await_text("type to search");
    terminal.hang_up();
}

#[test]
fn it_is_left_as_it_was_found_and_verbs_without_an_id_open_it() {
    let scratch = two_conversations();
    let mut terminal = open(&scratch, &[], "xterm");
    terminal.await_text("type to search");
    terminal.type_in("\u{3}");
    let (code, shown) = terminal.end();
    assert!(code == Some(0) && shown.contains(LEFT), "{shown}");
    let mut terminal = open(&scratch, &["show"], "xterm");
    terminal.await_text("type to search");
    terminal.type_in("lexer\r");
    let (code, shown) = terminal.end();
    let (_, after) = shown.rsplit_once(LEFT).expect("the terminal is given back");
    assert!(code == Some(0) && after.contains("zebras in the lexer"), "{after}");
    // Name and tags, then a restore of what is gone.
    fs::remove_file(scratch.transcript(OTHER)).expect("remove a transcript");
    let mut terminal = open(&scratch, &[], "xterm");
    terminal.await_text("type to search");
    for keys in ["lexer", "\u{1b}[B", "t", "lexer work #deep\r", "r"] {
        terminal.type_in(keys);
    }
    let (code, shown) = terminal.end();
    assert!(code == Some(0) && scratch.transcript(OTHER).exists(), "{shown}");
    let known = scratch.layer3(&["show", "lexer work", "--json"]).output().ok().json();
    assert_eq!((text(&known, "session_id"), known["tags"][0].as_str()), (OTHER.to_owned(), Some("deep")));
    // A terminal that can show lines alone is asked as before.
    let mut terminal = open(&scratch, &["resume"], "dumb");
    terminal.await_text("umber (1-");
    terminal.type_in("\n");
    assert_eq!(terminal.end().0, Some(1));
}
