//! What the programs say about themselves, and that no argument makes one exit 2.

use clap::Command;
use tests::binaries::{self, LAYER1, LAYER2, LAYER3};
use tests::scratch::Scratch;
use tests::transcripts::{self, INTERACTIVE};

use crate::product::fake_server;

/// The command lines of the three programs, as the programs parse them.
fn command_lines() -> [Command; 3] {
    let lines = [
        layer1_prebackup::cli::command_line(),
        layer2_save_client::cli::command_line(),
        layer3_indexer::cli::command_line(),
    ];
    lines.map(|mut line| {
        line.build();
        line
    })
}

/// The commands of a program that its help lists.
fn verbs(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set())
}

/// Flags of layer 2 that say how to deliver.
const OF_DELIVERY: [&str; 7] = ["wait", "timeout", "delay", "attempts", "no-receipt", "foreground", "server"];

/// Whether a description says more than the name that it describes.
pub(crate) fn describes(description: &str, name: &str) -> bool {
    let words = description.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let (named, other): (Vec<_>, Vec<_>) = words.partition(|word| name.contains(&word.to_lowercase()));
    named.len() + other.len() > 1 && other.iter().any(|word| word.len() > 2)
}

/// The words of a line in which only single quotes quote.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn every_verb_and_flag_says_what_it_does() {
    for program in command_lines() {
        for command in std::iter::once(&program).chain(program.get_subcommands()) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(describes(&about, command.get_name()), "{} {}: {about:?}", program.get_name(), command.get_name());
            for flag in command.get_arguments() {
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(describes(&help, flag.get_id().as_str()), "{} {flag}: {help:?}", command.get_name());
            }
        }
    }
}

#[test]
fn the_help_of_every_verb_shows_an_example_that_the_program_understands() {
    let scratch = Scratch::new();
    for program in command_lines() {
        for verb in verbs(&program) {
            let help = scratch.run(program.get_name(), &[verb.get_name(), "--help"]).output().ok().unworried().text();
            let example = help.lines().find_map(|line| line.strip_prefix("Example: "));
            let example = example.unwrap_or_else(|| panic!("no example: {help}"));
            let parsed = program.clone().try_get_matches_from(words(example));
            let parsed = parsed.unwrap_or_else(|error| panic!("{example}: {error}"));
            assert_eq!(parsed.subcommand_name(), Some(verb.get_name()), "{example}");
            // What is passed on is told by the program that does it.
            let is_its_own = !verb.get_arguments().any(clap::Arg::is_trailing_var_arg_set);
            let names = if is_its_own { vec![program.get_name()] } else { vec![LAYER1, LAYER2] };
            let begins = |name: &&str| example.starts_with(&format!("{name} {}", verb.get_name()));
            assert!(names.iter().any(begins), "{example}");
            for flag in verb.get_arguments().filter_map(|flag| flag.get_long()).filter(|_| is_its_own) {
                // The third place's help leaves out what only says how to deliver.
                let is_told = verb.get_name() != "offsite" || !OF_DELIVERY.contains(&flag);
                assert_eq!(help.contains(&format!("--{flag}")), is_told, "--{flag} and {help}");
            }
        }
    }
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
