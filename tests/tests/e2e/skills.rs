//! The skills of Claude Code: each is installed into a scratch home, and every command that stands
//! in it is run as it stands there. The fields that a skill's text names are in the answers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::binaries;
use tests::run::{Outcome, Run};
use tests::scratch::{SLUG, Scratch};
use tests::transcripts::{self, INTERACTIVE, SUBAGENT};

/// What stands for something else in a skill's commands, and what it is here.
const FILLED_IN: [(&str, &str); 3] =
    [("SESSION_ID", SUBAGENT), ("MESSAGE_UUID", "2026-01-01T00:00:00Z"), ("WORDS", "hello")];

/// `xtask install` into a scratch home with the recorded conversations, which it saves.
struct Installed {
    scratch: Scratch,
    claude_dir: PathBuf,
}

impl Installed {
    fn at(claude_dir: &str) -> Installed {
        let scratch = Scratch::new();
        let claude_dir = scratch.home().join(claude_dir);
        transcripts::lay_out_recorded(&scratch);
        if claude_dir != scratch.claude_dir() {
            fs::rename(scratch.claude_dir(), &claude_dir).expect("move Claude Code's directory");
        }
        let stage = scratch.beside("built");
        fs::create_dir(&stage).expect("make a folder for the binaries");
        for name in binaries::ALL {
            fs::copy(binaries::folder().join(name), stage.join(name)).expect("copy a binary");
        }
        let install = Run::new(binaries::xtask()).arg("install").arg("--binaries").arg(&stage);
        scratch.at_home(install.arg("--claude-dir").arg(&claude_dir)).output().ok();
        Installed { scratch, claude_dir }
    }

    fn skill(&self, name: &str) -> String {
        fs::read_to_string(self.claude_dir.join("skills").join(name).join("SKILL.md")).expect("read a skill")
    }

    /// Runs each command of a skill with `sh`, in a directory whose project is the recorded one.
    fn run_all(&self, skill: &str) -> Vec<Outcome> {
        let commands = commands(&self.skill(skill));
        assert!(!commands.is_empty(), "no command in {skill}");
        commands.iter().map(|command| self.run(command)).collect()
    }

    fn run(&self, command: &str) -> Outcome {
        let command = FILLED_IN.iter().fold(command.to_owned(), |c, (name, value)| c.replace(name, value));
        let project = self.scratch.home().join("elsewhere/proj");
        fs::create_dir_all(&project).expect("make a project's directory");
        self.scratch.at_home(Run::new("/bin/sh")).args(["-c", &command]).current_dir(&project).output().ok()
    }
}

/// The lines of the fenced blocks.
fn commands(skill: &str) -> Vec<String> {
    let blocks = skill.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| block.strip_prefix("sh\n").expect("a block for sh").lines());
    lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The rules of `allowed-tools`, as Claude Code reads them.
fn rules(skill: &str) -> Vec<String> {
    let front = skill.split("---\n").nth(1).expect("front matter");
    let rules = front.lines().filter_map(|line| line.strip_prefix("  - "));
    rules.map(|rule| serde_json::from_str(rule).expect("a quoted rule")).collect()
}

/// Whether a rule `Bash(PREFIX:*)` lets this command run: they are compared as text.
fn allows(rule: &str, command: &str) -> bool {
    let prefix = rule.strip_prefix("Bash(").and_then(|rule| rule.strip_suffix(":*)")).expect("a rule with a prefix");
    let prefix = prefix.replace(r"\(", "(").replace(r"\)", ")").replace(r"\\", r"\");
    command.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[track_caller]
fn assert_fields(value: &Value, fields: &[&str]) {
    for field in fields {
        let pointer = format!("/{}", field.replace('.', "/"));
        assert!(value.pointer(&pointer).is_some(), "no field {field} in {value:#}");
    }
}

#[test]
fn the_commands_of_continue_dev_run_as_they_stand_there() {
    let installed = Installed::at(".claude");
    let [list, show] = installed.run_all("continue-dev").try_into().expect("two commands");
    let list = list.unworried().json();
    let sessions = list["sessions"].as_array().expect("sessions");
    assert_eq!(sessions.len(), transcripts::RECORDED.len());
    let named = "session_id bytes timestamp_start timestamp_end git_branch edited_files title first_topic";
    let fields: Vec<&str> = named.split(' ').collect();
    let skill = installed.skill("continue-dev");
    for field in &fields {
        assert!(skill.contains(&format!("`{field}`")), "the skill does not name {field}");
    }
    assert_fields(&sessions[0], &fields);
    let text = show.unworried().text();
    assert!(text.contains(SUBAGENT) && text.chars().count() < 45_000, "{text}");
}

#[test]
fn the_commands_of_search_sessions_run_as_they_stand_there() {
    let installed = Installed::at(".claude");
    let [here, everywhere, show] = installed.run_all("search-sessions").try_into().expect("three commands");
    for found in [here, everywhere] {
        let found = found.unworried().json();
        let hits = found["hits"].as_array().expect("hits");
        assert!(hits.iter().any(|hit| hit["session_id"] == INTERACTIVE), "{found:#}");
        assert_fields(&hits[0], &["session_id", "time", "role", "snippet", "uuid"]);
    }
    assert!(show.unworried().text().contains(SUBAGENT));
    // The user's own words and options, as the skill says to pass them.
    let search = commands(&installed.skill("search-sessions")).remove(1);
    for words in [r#"it'\''s "quoted" --all $HOME `x`"#, "-5 OR (", "ñandú*"] {
        let found = installed.run(&search.replace("WORDS", words)).unworried().json();
        assert_fields(&found, &["hits"]);
    }
}

#[test]
fn the_command_of_session_health_runs_as_it_stands_there() {
    let installed = Installed::at(".claude");
    let [status] = installed.run_all("session-health").try_into().expect("one command");
    let status = status.unworried().json();
    assert_eq!((&status["ok"], &status["hooks"]["state"]), (&Value::Bool(true), &Value::from("installed")));
    let named = "ok light.colour light.sessions light.bytes light.largest_bytes layer1 outbox.jobs index.state disks";
    let skill = installed.skill("session-health");
    for field in named.split(' ') {
        assert!(skill.contains(&format!("`{field}`")), "the skill does not name {field}");
    }
    assert_fields(&status, &named.split(' ').collect::<Vec<_>>());
    let rest =
        "findings one_disk sessions bytes last_save layer1.sessions layer1.bytes layer1.last_save disks.0.free_bytes";
    assert_fields(&status, &rest.split(' ').collect::<Vec<_>>());
    // What needs the user is exit code 1, with a complete answer.
    fs::write(installed.claude_dir.join("settings.json"), "{}").expect("lose the hooks");
    let command = commands(&skill).remove(0);
    let told = installed.scratch.at_home(Run::new("/bin/sh")).args(["-c", &command]).output().ok().json();
    assert_fields(&told, &["findings.0.what", "findings.0.where", "findings.0.mend", "findings.0.needs_person"]);
    assert_eq!(told["findings"][0]["kind"], "hooks-missing");
}

#[test]
fn a_directory_with_blanks_and_quotes_in_its_name_will_do() {
    for name in ["my claude", "it's claude (mine)", "\"$HOME\" & 'co'"] {
        let installed = Installed::at(name);
        for skill in ["continue-dev", "search-sessions", "session-health"] {
            let text = installed.skill(skill);
            for outcome in installed.run_all(skill) {
                outcome.unworried();
            }
            for command in commands(&text) {
                assert!(rules(&text).iter().any(|rule| allows(rule, &command)), "{skill}: {command}");
            }
            // Claude Code asks for permission where a command holds a backslash.
            assert!(name.contains('"') || commands(&text).iter().all(|c| !c.contains('\\')), "{text}");
        }
        assert!(installed.claude_dir.join("projects").join(SLUG).is_dir());
    }
}

#[test]
fn only_reading_commands_are_allowed_without_asking() {
    let installed = Installed::at(".claude");
    let program = installed.claude_dir.join("hooks").join(binaries::LAYER3);
    let verbs = |skill: &str| -> Vec<String> {
        let verb = |rule: &String| {
            let rest = rule.strip_prefix(&format!("Bash({} ", program.display())).expect("our program");
            rest.strip_suffix(":*)").expect("a prefix").to_owned()
        };
        rules(&installed.skill(skill)).iter().map(verb).collect()
    };
    assert_eq!(verbs("continue-dev"), ["list", "show"]);
    assert_eq!(verbs("search-sessions"), ["search", "show"]);
    assert_eq!(verbs("session-health"), ["status"]);
    assert!(Path::new(&program).is_file());
}
