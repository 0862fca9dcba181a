//! What our own search was asked, and what it answered. Claude's searches stand in transcripts like any
//! other call, and hold the very words that the next search is for: what they found is worth finding,
//! not that it was searched for.

use serde_json::value::RawValue;

use crate::transcript::record::{Block, Class, Record, tool_input_text};

/// The tools that give text of conversations, whatever the server is called that has them.
const TOOLS: [&str; 4] = ["session_search", "session_list", "session_get_context", "session_why"];
/// Our programs …
const PROGRAMS: [&str; 2] = ["layer3-indexer", "threefold"];
/// … and their verbs that do the same.
const VERBS: [&str; 7] = ["search", "list", "show", "export", "why", "fix", "resume"];
/// Words between a program and its verb: `-- search`, `--backup-dir DIR search`.
const WORDS_BETWEEN_MAX: usize = 6;
/// Our skills, which call these.
const SKILLS: [&str; 3] = ["search-sessions", "continue-dev", "session-health"];
/// Tools that run a command, and tools that run a skill.
const COMMANDS: [&str; 3] = ["Bash", "PowerShell", "Shell"];
const SKILL_TOOLS: [&str; 2] = ["Skill", "SlashCommand"];

/// Whether a call asks us.
pub(super) fn is_own_call(name: &str, input: Option<&RawValue>) -> bool {
    if TOOLS.iter().any(|tool| name.strip_suffix(tool).is_some_and(|rest| rest.is_empty() || rest.ends_with("__"))) {
        return true;
    }
    let text = || input.map(tool_input_text).unwrap_or_default();
    if COMMANDS.contains(&name) {
        return runs_own_search(&text());
    }
    SKILL_TOOLS.contains(&name) && text().lines().any(names_skill)
}

/// Whether a record of the user or of Claude Code is a call of one of our skills.
pub(super) fn is_own_command(record: &Record<'_>) -> bool {
    let is_ours = |block: &Block<'_>| match block {
        Block::Act { name, args } => names_skill(name) || (&**name == "!" && runs_own_search(args)),
        Block::Text(text) | Block::Notice { text, .. } => record.class == Class::Meta && runs_own_search(text),
        _ => false,
    };
    matches!(record.class, Class::Command | Class::Meta) && record.blocks.iter().any(is_ours)
}

/// `search-sessions`, `/search-sessions words`, `threefold:search-sessions`.
fn names_skill(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default().trim_start_matches('/');
    SKILLS.contains(&first.rsplit(':').next().unwrap_or_default())
}

/// Whether a shell's text runs one of our programs to search or read.
fn runs_own_search(text: &str) -> bool {
    PROGRAMS.iter().any(|program| {
        memchr::memmem::find_iter(text.as_bytes(), program).any(|at| {
            let is_name = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_');
            let rest = &text[at + program.len()..];
            let rest = rest.strip_prefix(".exe").unwrap_or(rest).trim_start_matches(['\'', '"']);
            is_name && rest.starts_with(char::is_whitespace) && verb_comes(rest)
        })
    })
}

fn verb_comes(rest: &str) -> bool {
    let mut may_be_value = false;
    for word in rest.split_whitespace().take(WORDS_BETWEEN_MAX) {
        if VERBS.contains(&word.trim_end_matches(['`', ';', ')'])) {
            return true;
        }
        let is_option = word.starts_with('-');
        if !is_option && !may_be_value {
            return false;
        }
        may_be_value = is_option;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks_us(name: &str, input: &str) -> bool {
        is_own_call(name, Some(serde_json::from_str(input).unwrap()))
    }

    #[test]
    fn our_tools_are_known_by_whatever_name_they_are_called() {
        for name in [
            "session_search",
            "mcp__session-manager__session_search",
            "mcp__plugin_threefold_session-manager__session_get_context",
            "mcp__my_server__session_list",
        ] {
            assert!(asks_us(name, "{}"), "{name}");
        }
        for name in ["mcp__files__search", "mcp__x__my_session_search", "mcp__session-manager__session_save", "Bash"] {
            assert!(!asks_us(name, "{}"), "{name}");
        }
    }

    #[test]
    fn commands_that_search_are_known() {
        let runs = |command: &str| asks_us("Bash", &serde_json::json!({"command": command}).to_string());
        for command in [
            "'/home/a b/.claude/hooks/layer3-indexer' search --json --limit 20 -- 'quarklet'",
            "cd /w && ~/.claude/hooks/layer3-indexer show 8c1f04de --around x",
            "layer3-indexer --backup-dir /b search x",
            "cargo run -p layer3-indexer -- search x",
            "threefold why src/lib.rs:4",
            "C:\\bin\\layer3-indexer.exe list",
        ] {
            assert!(runs(command), "{command}");
        }
        for command in [
            "cargo build -p layer3-indexer && ./search x",
            "grep search layer3-indexer/src",
            "layer3-indexer verify",
            "git clone threefold-search",
            "rg my-threefold search",
        ] {
            assert!(!runs(command), "{command}");
        }
        assert!(asks_us("Skill", r#"{"skill":"threefold:search-sessions","args":"quarklet"}"#));
        assert!(asks_us("SlashCommand", r#"{"command":"/search-sessions quarklet"}"#));
        assert!(!asks_us("Skill", r#"{"skill":"review","args":"of search-sessions"}"#));
    }
}
