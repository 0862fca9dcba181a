//! The hooks that stand in settings.json: which events, which commands, and whose.
//!
//! All handlers of an event run in parallel, so what must happen in order stands in one command.
//! Every command ends with `|| :`, because a hook that fails shows the user an error and exit 2
//! would block Claude Code.

use anyhow::Result;
use serde::Serialize;

use crate::site::{self, LAYER1, LAYER2, Site};

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
pub struct Handler {
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
pub struct Hook {
    /// Claude Code's name of the event.
    pub event: &'static str,
    /// What is to run.
    pub handler: Handler,
}

/// A hook as an entry of its event's list: a group with one handler and no matcher.
#[derive(Debug, Serialize)]
pub struct Group<'a> {
    /// Its only handler.
    pub hooks: [&'a Handler; 1],
}

/// All hooks of an installation, in the order of a conversation's life.
pub fn of_site(site: &Site) -> Result<Vec<Hook>> {
    let flags: String = site.flags.chunks(2).map(|pair| format!(" {} {}", pair[0], site::quoted(&pair[1]))).collect();
    let program = |name| Ok::<_, anyhow::Error>(site::quoted(site::text(&site.program(name))?) + &flags);
    let (copy, deliver) = (program(LAYER1)?, program(LAYER2)?);

    let save = format!("{{ {copy} || cat; }} | {deliver} || :");
    let copy_turn = format!("{copy} --quiet || :");
    let catch_up = format!("{copy} sweep --quiet; {deliver} drain || :");

    let hook = |event, command: &String, timeout, run_async| Hook {
        event,
        handler: Handler { kind: "command", command: command.clone(), timeout, run_async },
    };
    Ok(vec![
        hook("SessionStart", &catch_up, None, Some(true)),
        hook("UserPromptSubmit", &copy_turn, Some(TIMEOUT_PROMPT_SECS), None),
        hook("Stop", &copy_turn, None, Some(true)),
        hook("StopFailure", &copy_turn, None, Some(true)),
        hook("SubagentStop", &copy_turn, None, Some(true)),
        hook("PreCompact", &save, Some(TIMEOUT_SAVE_SECS), None),
        hook("PostCompact", &copy_turn, None, Some(true)),
        hook("SessionEnd", &save, Some(TIMEOUT_SAVE_SECS), None),
    ])
}

/// Whether a command runs one of our hook programs, wherever it is installed.
pub fn is_ours(command: &str) -> bool {
    [LAYER1, LAYER2].iter().any(|program| {
        command.match_indices(program).any(|(at, _)| {
            let ends = command[at + program.len()..].chars().next();
            command[..at].ends_with('/') && ends.is_none_or(|c| c.is_whitespace() || "'\";|&)".contains(c))
        })
    })
}

/// Whether a command runs a script of the first version.
pub fn is_first_version(command: &str) -> bool {
    FIRST_VERSION.iter().any(|script| command.contains(script))
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::places::PlaceFlags;

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
