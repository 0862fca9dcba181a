//! Long answers at a terminal: shown in the pager that the user has, if any is wanted.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tests::scratch::Scratch;
use tests::transcripts::{self, made_id};

use crate::product::chain_delivered;

/// A command, and what is set for it.
type Typed<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// A conversation that is longer than a screen, and one that is not.
fn long_and_short() -> Scratch {
    let scratch = Scratch::new();
    for (id, turns) in [(made_id(1), 40), (made_id(2), 2)] {
        let transcript = scratch.transcript(&id);
        for turn in 1..=turns {
            transcripts::append(&transcript, transcripts::prompt_line(&id, turn, &format!("word number {turn}")));
        }
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    let pager = scratch.beside("pager");
    fs::write(&pager, "#!/bin/sh\nsed 's/^/paged with '\"$LESS\"': /'\n").expect("write a pager");
    fs::set_permissions(&pager, fs::Permissions::from_mode(0o755)).expect("make it executable");
    scratch
}

#[test]
fn what_does_not_fit_goes_to_the_pager_and_nothing_else_does() {
    let scratch = long_and_short();
    let pager = scratch.beside("pager").display().to_string();
    let (long, short) = (made_id(1), made_id(2));
    let shown = |args: &[&str], vars: &[(&str, &str)]| {
        let run =
            vars.iter().fold(scratch.layer3(args).env("TERM", "xterm"), |run, (name, value)| run.env(name, *value));
        let (code, text) = run.at_terminal().end();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("word number 2"), "{text}");
        text
    };
    let paged = shown(&["show", &long], &[("PAGER", &pager)]);
    assert!(paged.contains("paged with FRX: ") && paged.contains("word number 40"), "{paged}");
    let with_arguments = format!("{pager} --of-mine");
    assert!(shown(&["show", &long], &[("PAGER", &with_arguments), ("LESS", "M")]).contains("paged with M: "));
    let printed: [Typed; 7] = [
        (&["show", &short], &[("PAGER", &pager)]),
        (&["show", &long, "--no-pager"], &[("PAGER", &pager)]),
        (&["show", &long], &[("PAGER", &pager), ("NO_PAGER", "1")]),
        (&["show", &long], &[("PAGER", &pager), ("TERM", "dumb")]),
        (&["show", &long, "--json"], &[("PAGER", &pager)]),
        (&["show", &long], &[("PAGER", "")]),
        (&["show", &long], &[("PAGER", "/nowhere/pager")]),
    ];
    for (args, vars) in printed {
        assert!(!shown(args, vars).contains("paged"), "{args:?} {vars:?}");
    }
    let piped = scratch.layer3(&["show", &long]).env("TERM", "xterm").env("PAGER", &pager).output().ok();
    assert!(!piped.text().contains("paged") && piped.text().contains("word number 40"), "{piped:#?}");
}

#[test]
fn a_hit_in_the_middle_is_where_the_pager_opens() {
    let scratch = long_and_short();
    let fake = scratch.beside("less");
    fs::write(&fake, "#!/bin/sh\nfor last; do :; done\necho \"opened with $*\"\ntail -n \"$last\"\n")
        .expect("write a pager");
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).expect("make it executable");
    let found = scratch.layer3(&["search", "--all", "\"word number 20\""]).output().ok().text();
    let read_on = found.lines().find_map(|line| line.strip_prefix("read on: ")).expect("it says what to type");
    let args: Vec<&str> = read_on.split(' ').skip(1).collect();
    let shown = |args: &[&str], pager: &str| {
        let run = scratch.layer3(args).env("TERM", "xterm").env("NO_COLOR", "1").env("PAGER", pager);
        let (code, text) = run.at_terminal().end();
        assert_eq!(code, Some(0), "{text}");
        text
    };
    let mark = "▶ user";
    // The line is the first that is shown.
    for pager in [fake.display().to_string(), format!("{} -S", fake.display())] {
        let text = shown(&args, &pager);
        let (told, rest) = text.split_once('\n').expect("it was opened");
        assert!(told.starts_with("opened with ") && told.contains('+'), "{text}");
        assert!(rest.starts_with(mark) && rest.contains("word number 20") && rest.contains("word number 40"), "{text}");
    }
    // No pager, and one of which it is not known how to begin elsewhere: what stands around it, and what is left out.
    for pager in ["", "sed 's/^/paged: /'"] {
        let text = shown(&args, pager).replace("paged: ", "");
        assert_eq!(text.matches(mark).count(), 1, "{text}");
        assert!(text.contains("[… 14 earlier messages left out]"), "{text}");
        assert!(text.contains("[… 15 later messages left out]"), "{text}");
        assert!(text.contains(&format!("show {}` shows all of it]", made_id(1))), "{text}");
        assert!(text.contains("word number 15\n") && !text.contains("word number 14\n"), "{text}");
    }
    let all = shown(&[&args[..], &["--max-chars", "900000"]].concat(), "");
    assert!(all.contains("word number 1\n") && all.contains(mark), "{all}");
    let piped = scratch.layer3(&args).env("TERM", "xterm").output().ok();
    assert!(piped.text().contains("word number 1\n") && piped.text().contains(mark), "{piped:#?}");
}

#[test]
fn what_has_no_room_is_told_with_how_to_read_it() {
    let scratch = long_and_short();
    let id = made_id(1);
    let shown = |args: &[&str]| scratch.layer3(&[&["show", &id], args].concat()).output().ok().text();
    let cut = shown(&["--full", "--max-chars", "200"]);
    let go_on = "[`--offset 0` reads all of it, page by page; `--max-chars N` shows more at once]";
    assert!(cut.contains(" left out]") && cut.contains(go_on) && !cut.contains("word number 1\n"), "{cut}");
    for args in [&["--full"][..], &["--last", "3"], &["--offset", "0"]] {
        assert!(!shown(args).contains("page by page"), "{args:?}");
    }
}

#[test]
fn a_pager_that_failed_has_shown_nothing() {
    let scratch = long_and_short();
    for pager in ["false", "exit 3;", "exit 126;"] {
        let run = scratch.layer3(&["show", &made_id(1)]).env("TERM", "xterm").env("PAGER", pager);
        let (code, text) = run.at_terminal().end();
        assert_eq!(code, Some(0), "{pager}: {text}");
        assert!(text.contains("word number 1") && text.contains("word number 40"), "{pager}: {text}");
    }
}

#[test]
fn an_interrupt_is_the_pagers() {
    let scratch = long_and_short();
    // What Ctrl-C and Ctrl-\ send to whoever is at the terminal; the pager goes on, as less does.
    let pager = "kill -INT $PPID && kill -QUIT $PPID && sed 's/^/paged: /'";
    let run = scratch.layer3(&["show", &made_id(1)]).env("TERM", "xterm").env("PAGER", pager);
    let (code, text) = run.at_terminal().end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("paged: ") && text.contains("word number 40"), "{text}");
    // One that an interrupt ends with an error was not left for want of the rest.
    let pager = "trap 'echo interrupted; exit 2' INT; kill -INT $PPID; kill -INT $$; echo not reached";
    let run = scratch.layer3(&["show", &made_id(1)]).env("TERM", "xterm").env("PAGER", pager);
    let (code, text) = run.at_terminal().end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("interrupted") && !text.contains("word number"), "{text}");
}

#[test]
fn what_a_search_matched_stands_out_at_a_terminal() {
    let scratch = long_and_short();
    let (code, text) = scratch.layer3(&["search", "--all", "number"]).env("TERM", "xterm").at_terminal().end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\u{1b}[1;33mnumber\u{1b}[0m") && !text.contains("·["), "{text:?}");
}
