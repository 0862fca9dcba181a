//! The hooks that stand in Claude Code's settings: which events, which commands, and whose.
//!
//! All handlers of an event run in parallel, so what must happen in order stands in one command.
//! Every command ends with `|| :`, because a hook that fails shows the user an error and exit 2
//! would block Claude Code. What `:` is given it ignores: our name, for who reads the settings.
//!
//! At a compaction Claude Code shows its user a line for each hook of PreCompact and PostCompact, with the command. None
//! stands on PostCompact: SessionStart follows a compaction too, within 20 ms of that event, and catches up.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::claude::shell;
use crate::names::{LAYER1, LAYER2};

/// Seconds for the events that save a conversation at its end; without it SessionEnd has 1.5.
const TIMEOUT_SAVE_SECS: u32 = 30;
/// Seconds for the copy before a prompt is sent; the user waits for it.
const TIMEOUT_PROMPT_SECS: u32 = 10;

/// How every command ends.
const END: &str = "|| : threefold";

/// What a hook does.
#[derive(Clone, Copy)]
enum Task {
    /// Copies and delivers what was missed.
    CatchUp,
    /// Copies the session.
    Copy,
    /// Copies the session and delivers it.
    Save,
}

/// Every event, what its hook does, how many seconds it has, and whether Claude Code goes on meanwhile; in the
/// order of a conversation's life.
const TABLE: [(&str, Task, Option<u32>, bool); 7] = [
    ("SessionStart", Task::CatchUp, None, true),
    ("UserPromptSubmit", Task::Copy, Some(TIMEOUT_PROMPT_SECS), false),
    ("Stop", Task::Copy, None, true),
    ("StopFailure", Task::Copy, None, true),
    ("SubagentStop", Task::Copy, None, true),
    ("PreCompact", Task::Save, Some(TIMEOUT_SAVE_SECS), false),
    ("SessionEnd", Task::Save, Some(TIMEOUT_SAVE_SECS), false),
];

/// What the commands of the first version contain; the last is the file that its oldest hook wrote to.
const FIRST_VERSION: [&str; 5] = [
    "pre-session-save-backup.sh",
    "pre-compact-backup.sh",
    "session-end-save.sh",
    "call-mcp-session-save.js",
    "current-session.jsonl",
];

/// A handler as it stands in settings.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Handler {
    /// Always `command`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// For `sh -c`.
    pub command: String,
    /// Seconds that Claude Code gives it; `None` leaves that to Claude Code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Whether Claude Code goes on meanwhile; absent where it waits.
    #[serde(rename = "async", skip_serializing_if = "Option::is_none")]
    pub run_async: Option<bool>,
}

/// A handler and the event it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Claude Code's name of the event.
    pub event: &'static str,
    /// What is to run.
    pub handler: Handler,
}

/// The events that an installation has hooks on.
pub fn events() -> [&'static str; TABLE.len()] {
    TABLE.map(|(event, ..)| event)
}

/// The hooks of an installation. `copy` and `deliver` are the programs of layers 1 and 2, quoted for
/// `sh`, with the flags that they always get.
pub fn of_programs(copy: &str, deliver: &str) -> Vec<Hook> {
    let hook = |(event, task, timeout, run_async): (&'static str, Task, Option<u32>, bool)| {
        let command = match task {
            Task::CatchUp => format!("{copy} sweep --quiet; {deliver} drain {END}"),
            Task::Copy => format!("{copy} --quiet {END}"),
            Task::Save => format!("{{ {copy} || cat; }} | {deliver} {END}"),
        };
        Hook { event, handler: Handler { kind: "command", command, timeout, run_async: run_async.then_some(true) } }
    };
    TABLE.map(hook).into()
}

/// The hooks of the plugin: the same, with the programs in its own folder. No timeout of a plugin's
/// gives SessionEnd more than 1.5 s, so what is saved there detaches itself before that.
pub fn of_plugin() -> Vec<Hook> {
    let program = |name: &str| format!("\"${{CLAUDE_PLUGIN_ROOT}}/bin/{name}\"");
    let (copy, deliver) = (program(LAYER1), program(LAYER2));
    let mut hooks = of_programs(&copy, &deliver);
    for hook in hooks.iter_mut().filter(|hook| hook.event == "SessionEnd") {
        hook.handler.command = detaching_chain(&copy, &deliver);
    }
    hooks
}

/// The chain, waited for until it is done or a second has passed, whichever comes first. It runs in
/// the background of a subshell that ends at once: when the time is up, Claude Code ends a hook and
/// its descendants, which it finds by their parents, and a process whose parent has ended is none.
///
/// `read` gets a line when the chain is done, and one after a second. The shell gives what it runs in
/// the background no input, so the event comes through descriptor 3, which the deliverer does not
/// inherit. Half of the second is left for the deliverer, so that a small conversation is delivered
/// even where everything ends with the client, in a container for instance.
fn detaching_chain(copy: &str, deliver: &str) -> String {
    format!(
        "exec 3<&0; ( {{ {{ {copy} || cat; }} <&3 3<&- | {deliver} --wait 500ms 3<&- || :; echo; }} & \
         {{ sleep 1; echo; }} 3<&- & ) 2>/dev/null | read -r end {END}"
    )
}

/// Whether a command runs one of our hook programs, wherever it is installed and however its path is written.
pub fn is_ours(command: &str) -> bool {
    shell::tokens(command, Path::new("~")).iter().any(|token| {
        [LAYER1, LAYER2].iter().any(|program| {
            token.text.match_indices(program).any(|(at, _)| {
                let ends = token.text[at + program.len()..].chars().next();
                token.text[..at].ends_with('/') && ends.is_none_or(|c| c.is_whitespace() || "'\";|&)".contains(c))
            })
        })
    })
}

/// The hook programs that a command names by a path, `home` put in. A path that holds another variable is
/// left out: what it leads to is not known here.
pub fn programs(command: &str, home: &Path) -> Vec<PathBuf> {
    let known = shell::tokens(command, home).into_iter().filter(|token| token.is_known).map(|token| token.text);
    known.filter(|word| word.contains('/')).map(PathBuf::from).filter(|path| is_program(path)).collect()
}

/// Whether this is the path of one of our hook programs.
pub fn is_program(path: &Path) -> bool {
    [LAYER1, LAYER2].iter().any(|program| path.file_name().is_some_and(|name| name == *program))
}

/// Whether a command is one of the first version's.
pub fn is_first_version(command: &str) -> bool {
    FIRST_VERSION.iter().any(|script| command.contains(script))
}

/// The command of a handler as it stands in the settings, with its arguments, which may stand in a list of
/// their own; `None` where there is no command.
pub fn command_of(handler: &Value) -> Option<String> {
    let mut command = handler.get("command")?.as_str()?.to_owned();
    for arg in handler.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        command.push(' ');
        command.push_str(arg);
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_hooks_differ_in_their_programs_and_in_how_the_last_one_ends() {
        let row = |hook: Hook| format!("{:16} {}\n", hook.event, serde_json::to_string(&hook.handler).unwrap());
        let table: String = of_plugin().into_iter().map(row).collect();
        insta::assert_snapshot!(table.replace("\\\"${CLAUDE_PLUGIN_ROOT}/bin/", "\\\"…/"), @r#"
        SessionStart     {"type":"command","command":"\"…/layer1-prebackup\" sweep --quiet; \"…/layer2-save-client\" drain || : threefold","async":true}
        UserPromptSubmit {"type":"command","command":"\"…/layer1-prebackup\" --quiet || : threefold","timeout":10}
        Stop             {"type":"command","command":"\"…/layer1-prebackup\" --quiet || : threefold","async":true}
        StopFailure      {"type":"command","command":"\"…/layer1-prebackup\" --quiet || : threefold","async":true}
        SubagentStop     {"type":"command","command":"\"…/layer1-prebackup\" --quiet || : threefold","async":true}
        PreCompact       {"type":"command","command":"{ \"…/layer1-prebackup\" || cat; } | \"…/layer2-save-client\" || : threefold","timeout":30}
        SessionEnd       {"type":"command","command":"exec 3<&0; ( { { \"…/layer1-prebackup\" || cat; } <&3 3<&- | \"…/layer2-save-client\" --wait 500ms 3<&- || :; echo; } & { sleep 1; echo; } 3<&- & ) 2>/dev/null | read -r end || : threefold","timeout":30}
        "#);
        let events = |hooks: Vec<Hook>| hooks.into_iter().map(|hook| hook.event).collect::<Vec<_>>();
        assert_eq!(events(of_plugin()), super::events());
    }

    #[test]
    fn our_commands_are_known_by_the_programs_names_however_their_paths_are_written() {
        for ours in [
            "'/h/layer1-prebackup' --quiet || :",
            "/x/layer1-prebackup;:",
            "~/.claude/hooks/layer2-save-client",
            "$HOME/.claude/hooks/layer1-prebackup --quiet",
            "\"${HOME}/.claude/hooks/\"layer1-prebackup --quiet",
            "\"$CLAUDE_PROJECT_DIR\"/.claude/hooks/layer1-prebackup",
            "sh -c '/x/layer1-prebackup --quiet'",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["echo layer1-prebackup", "/x/layer1-prebackup-old", "/x/my-layer1-prebackup", "cat", ""] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn programs_are_known_where_their_paths_are() {
        let check = |command: &str, expected: &[&str]| {
            let found = programs(command, Path::new("/h"));
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{command}");
        };
        check(
            "{ ~/a/layer1-prebackup || cat; } | '/x y/layer2-save-client'",
            &["/h/a/layer1-prebackup", "/x y/layer2-save-client"],
        );
        check("${OTHER}/layer1-prebackup", &[]);
        check("'$HOME/layer1-prebackup' || layer1-prebackup", &["$HOME/layer1-prebackup"]);
    }

    #[test]
    fn arguments_of_their_own_belong_to_the_command() {
        let handler = serde_json::json!({"type": "command", "command": "sh", "args": ["-c", "/x/layer1-prebackup"]});
        assert!(is_ours(&command_of(&handler).unwrap()));
    }

    #[test]
    fn the_first_version_is_known_by_its_scripts_and_its_file() {
        for old in ["~/.claude/hooks/session-end-save.sh", "cat > ~/.claude/current-session.jsonl"] {
            assert!(is_first_version(old), "{old}");
        }
        assert!(!is_first_version("'/h/layer1-prebackup' --quiet || :"));
    }
}
