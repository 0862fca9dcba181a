//! What the programs say about themselves, and that no argument makes one exit 2.

use insta::assert_snapshot;
use tests::binaries::{self, LAYER1, LAYER2, LAYER3};
use tests::scratch::Scratch;
use tests::transcripts::{self, INTERACTIVE};

use crate::product::fake_server;

/// `--help` of a program and of each of its commands.
fn helps(program: &str, commands: &[&str]) -> String {
    let scratch = Scratch::new();
    let mut text = scratch.run(program, &["--help"]).output().ok().unworried().text();
    for command in commands {
        text += &format!("\n$ {program} {command} --help\n");
        text += &scratch.run(program, &[command, "--help"]).output().ok().unworried().text();
    }
    text
}

#[test]
fn layer1_help() {
    assert_snapshot!(helps(LAYER1, &["sweep", "status", "verify", "history"]));
}

#[test]
fn layer2_help() {
    assert_snapshot!(helps(LAYER2, &["drain", "pending"]));
}

#[test]
fn layer3_help() {
    let commands = [
        "serve", "save", "import", "search", "list", "show", "restore", "resume", "export", "verify", "rebuild",
        "prune", "compress", "status", "doctor",
    ];
    assert_snapshot!(helps(LAYER3, &commands));
}

#[test]
fn every_program_tells_its_version() {
    let scratch = Scratch::new();
    for program in binaries::ALL {
        let text = scratch.run(program, &["--version"]).output().ok().text();
        assert!(text.starts_with(program), "{text}");
    }
}

#[test]
fn no_bad_argument_ever_exits_2() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let event = transcripts::session_end(&transcript);
    let any: [&[&str]; 9] = [
        &["--no-such-flag"],
        &["no-such-command"],
        &["--quiet", "--no-such-flag"],
        &["--claude-dir"],
        &["--claude-dir", "relative"],
        &["--backup-dir", ""],
        &["verify", "--no-such-flag"],
        &["history"],
        &["\u{1b}[31m"],
    ];
    let layer2: [&[&str]; 8] = [
        &["--wait", "soon"],
        &["--timeout"],
        &["--attempts", "0"],
        &["--attempts", "-1"],
        &["--delay", "99999999999999999999s"],
        &["--server"],
        &["drain", "--wait", "x"],
        &["pending", "extra"],
    ];
    let layer3: [&[&str]; 7] = [
        &[],
        &["search"],
        &["restore", "../../x"],
        &["restore", "unknown-session"],
        &["list", "--limit", "many"],
        &["show", ""],
        &["save", "--transcript"],
    ];
    for program in binaries::ALL {
        let own: &[&[&str]] = match program {
            LAYER2 => &layer2,
            LAYER3 => &layer3,
            _ => &[],
        };
        for args in any.iter().chain(own) {
            let outcome = scratch.run(program, args).stdin(event.clone()).output();
            assert!(!outcome.timed_out && outcome.signal.is_none(), "{outcome:#?}");
            assert!(matches!(outcome.code, Some(0 | 1)), "{outcome:#?}");
        }
    }
    scratch.await_no_process(crate::product::DELIVERY);
}

#[test]
fn a_hook_with_a_bad_argument_or_place_still_exits_0() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let event = transcripts::session_end(&transcript);
    for flags in ["--no-such-flag", "--wait soon", "--attempts x", "--server"] {
        scratch.hook(&scratch.chain_command(flags), &event).output().ok().silent();
    }
    for (variable, value) in
        [("BACKUP_DIR", "relative"), ("PRE_BACKUP_DIR", "relative"), ("CLAUDE_CONFIG_DIR", "relative")]
    {
        for command in [scratch.chain_command(""), scratch.turn_command()] {
            scratch.hook(&command, &event).env(variable, value).output().ok().silent();
        }
    }
    scratch.hook(&scratch.chain_command(""), &event).env("PATH", "").output().ok().silent();
    // Without HOME the home is the one that the system's list of users names, and that is somebody's real
    // one: every place is given, so that nothing is written there.
    let mut hook = scratch.hook(&scratch.chain_command(""), &event).env("HOME", "");
    for (variable, place) in [
        ("CLAUDE_CONFIG_DIR", scratch.claude_dir()),
        ("PRE_BACKUP_DIR", scratch.layer1_store()),
        ("BACKUP_DIR", scratch.layer3_store()),
    ] {
        hook = hook.env(variable, place);
    }
    hook.output().ok().silent();
    scratch.await_no_process(crate::product::DELIVERY);
}

#[test]
fn stdout_stays_silent_whatever_a_hook_reports() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    std::fs::write(scratch.layer3_store(), "a file stands where the store should be").expect("block the store");
    let outcome = scratch.hook(&scratch.chain_command("--attempts 1"), &transcripts::session_end(&transcript)).output();
    outcome.ok().silent();
    let args = ["--foreground", "--attempts", "1", "--server", fake_server().to_str().expect("UTF-8"), "error-result"];
    scratch.layer2(&args).stdin(transcripts::session_end(&transcript)).output().silent();
}
