//! The hooks that stand in settings.json: which events, which commands, and whose.
//!
//! All handlers of an event run in parallel, so what must happen in order stands in one command.
//! Every command ends with `|| :`, because a hook that fails shows the user an error and exit 2
//! would block Claude Code.

use anyhow::Result;
use serde::Serialize;

use crate::release::{LAYER1, LAYER2};
use crate::setup::site::{self, Site};

/// Seconds for the events that save a conversation at its end; without it SessionEnd has 1.5.
const TIMEOUT_SAVE_SECS: u32 = 30;
/// Seconds for the copy before a prompt is sent; the user waits for it.
const TIMEOUT_PROMPT_SECS: u32 = 10;

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
pub(crate) struct Handler {
    /// Always `command`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// For `sh -c`.
    pub command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u32>,
    #[serde(rename = "async", skip_serializing_if = "Option::is_none")]
    run_async: Option<bool>,
}

/// A handler and the event it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Claude Code's name of the event.
    pub event: &'static str,
    /// What is to run.
    pub handler: Handler,
}

/// A hook as an entry of its event's list: a group with one handler and no matcher.
#[derive(Debug, Serialize)]
pub(crate) struct Group<'a> {
    /// Its only handler.
    pub hooks: [&'a Handler; 1],
}

/// All hooks of an installation, in the order of a conversation's life.
pub(crate) fn of_site(site: &Site) -> Result<Vec<Hook>> {
    let flags: String = site.flags.chunks(2).map(|pair| format!(" {} {}", pair[0], site::quoted(&pair[1]))).collect();
    let program = |name| Ok::<_, anyhow::Error>(site::quoted(site::text(&site.program(name))?) + &flags);
    let (copy, deliver) = (program(LAYER1)?, program(LAYER2)?);
    Ok(of_programs(&copy, &deliver, &chain(&copy, &deliver)))
}

/// The hooks of the plugin: the same, with the programs in its own folder. No timeout of a plugin's
/// gives SessionEnd more than 1.5 s, so what is saved there detaches itself before that.
pub(crate) fn of_plugin() -> Vec<Hook> {
    let program = |name: &str| format!("\"${{CLAUDE_PLUGIN_ROOT}}/bin/{name}\"");
    let (copy, deliver) = (program(LAYER1), program(LAYER2));
    of_programs(&copy, &deliver, &detaching_chain(&copy, &deliver))
}

fn of_programs(copy: &str, deliver: &str, save_at_end: &str) -> Vec<Hook> {
    let save = chain(copy, deliver);
    let copy_turn = format!("{copy} --quiet || :");
    let catch_up = format!("{copy} sweep --quiet; {deliver} drain || :");

    let hook = |event, command: &str, timeout, run_async| Hook {
        event,
        handler: Handler { kind: "command", command: command.to_owned(), timeout, run_async },
    };
    vec![
        hook("SessionStart", &catch_up, None, Some(true)),
        hook("UserPromptSubmit", &copy_turn, Some(TIMEOUT_PROMPT_SECS), None),
        hook("Stop", &copy_turn, None, Some(true)),
        hook("StopFailure", &copy_turn, None, Some(true)),
        hook("SubagentStop", &copy_turn, None, Some(true)),
        hook("PreCompact", &save, Some(TIMEOUT_SAVE_SECS), None),
        hook("PostCompact", &copy_turn, None, Some(true)),
        hook("SessionEnd", save_at_end, Some(TIMEOUT_SAVE_SECS), None),
    ]
}

fn chain(copy: &str, deliver: &str) -> String {
    format!("{{ {copy} || cat; }} | {deliver} || :")
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
         {{ sleep 1; echo; }} 3<&- & ) 2>/dev/null | read -r end || :"
    )
}

/// Whether a command runs one of our hook programs, wherever it is installed.
pub(crate) fn is_ours(command: &str) -> bool {
    [LAYER1, LAYER2].iter().any(|program| {
        command.match_indices(program).any(|(at, _)| {
            let ends = command[at + program.len()..].chars().next();
            command[..at].ends_with('/') && ends.is_none_or(|c| c.is_whitespace() || "'\";|&)".contains(c))
        })
    })
}

/// Whether a command runs a script of the first version.
pub(crate) fn is_first_version(command: &str) -> bool {
    FIRST_VERSION.iter().any(|script| command.contains(script))
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::config::places::PlaceFlags;

    fn table(flags: &PlaceFlags) -> String {
        let site = Site::resolve(flags, vec![("HOME".into(), "/h".into())]).unwrap();
        let row = |hook: Hook| format!("{:16} {}\n", hook.event, serde_json::to_string(&hook.handler).unwrap());
        of_site(&site).unwrap().into_iter().map(row).collect()
    }

    #[test]
    fn the_whole_configuration() {
        insta::assert_snapshot!(table(&PlaceFlags::default()), @r#"
        SessionStart     {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' sweep --quiet; '/h/.claude/hooks/layer2-save-client' drain || :","async":true}
        UserPromptSubmit {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","timeout":10}
        Stop             {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        StopFailure      {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        SubagentStop     {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        PreCompact       {"type":"command","command":"{ '/h/.claude/hooks/layer1-prebackup' || cat; } | '/h/.claude/hooks/layer2-save-client' || :","timeout":30}
        PostCompact      {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        SessionEnd       {"type":"command","command":"{ '/h/.claude/hooks/layer1-prebackup' || cat; } | '/h/.claude/hooks/layer2-save-client' || :","timeout":30}
        "#);
    }

    #[test]
    fn other_places_become_flags_and_quotes_in_them_are_escaped() {
        let flags = PlaceFlags {
            claude_dir: Some("/it's here".into()),
            backup_dir: Some("/disk/b".into()),
            ..PlaceFlags::default()
        };
        insta::assert_snapshot!(table(&flags), @r#"
        SessionStart     {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' sweep --quiet; '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' drain || :","async":true}
        UserPromptSubmit {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","timeout":10}
        Stop             {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        StopFailure      {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        SubagentStop     {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        PreCompact       {"type":"command","command":"{ '/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || cat; } | '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || :","timeout":30}
        PostCompact      {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        SessionEnd       {"type":"command","command":"{ '/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || cat; } | '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || :","timeout":30}
        "#);
    }

    #[test]
    fn the_plugins_hooks_differ_in_their_programs_and_in_how_the_last_one_ends() {
        let row = |hook: Hook| format!("{:16} {}\n", hook.event, serde_json::to_string(&hook.handler).unwrap());
        let table: String = of_plugin().into_iter().map(row).collect();
        insta::assert_snapshot!(table.replace("\\\"${CLAUDE_PLUGIN_ROOT}/bin/", "\\\"…/"), @r#"
        SessionStart     {"type":"command","command":"\"…/layer1-prebackup\" sweep --quiet; \"…/layer2-save-client\" drain || :","async":true}
        UserPromptSubmit {"type":"command","command":"\"…/layer1-prebackup\" --quiet || :","timeout":10}
        Stop             {"type":"command","command":"\"…/layer1-prebackup\" --quiet || :","async":true}
        StopFailure      {"type":"command","command":"\"…/layer1-prebackup\" --quiet || :","async":true}
        SubagentStop     {"type":"command","command":"\"…/layer1-prebackup\" --quiet || :","async":true}
        PreCompact       {"type":"command","command":"{ \"…/layer1-prebackup\" || cat; } | \"…/layer2-save-client\" || :","timeout":30}
        PostCompact      {"type":"command","command":"\"…/layer1-prebackup\" --quiet || :","async":true}
        SessionEnd       {"type":"command","command":"exec 3<&0; ( { { \"…/layer1-prebackup\" || cat; } <&3 3<&- | \"…/layer2-save-client\" --wait 500ms 3<&- || :; echo; } & { sleep 1; echo; } 3<&- & ) 2>/dev/null | read -r end || :","timeout":30}
        "#);
        let events = |hooks: Vec<Hook>| hooks.into_iter().map(|hook| hook.event).collect::<Vec<_>>();
        let site = Site::resolve(&PlaceFlags::default(), vec![("HOME".into(), "/h".into())]).unwrap();
        assert_eq!(events(of_plugin()), events(of_site(&site).unwrap()));
    }

    #[test]
    fn our_commands_are_known_by_the_programs_names() {
        for ours in
            ["'/h/layer1-prebackup' --quiet || :", "~/.claude/hooks/layer2-save-client", "/x/layer1-prebackup;:"]
        {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["echo layer1-prebackup", "/x/layer1-prebackup-old", "/x/my-layer1-prebackup", "cat", ""] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
