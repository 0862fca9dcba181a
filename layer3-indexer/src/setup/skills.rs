//! The skills of Claude Code that come with Threefold.
//!
//! The last line of an installed skill holds the hash of the rest. So an update knows a skill
//! of ours that nobody changed from one that the user wrote or improved, which is left alone.
use layer1_prebackup::claude::shell::quoted_if_needed;
use layer1_prebackup::names::LAYER3;
use std::path::{Path, PathBuf};

use layer1_prebackup::fs;

use crate::setup::Result;
use crate::setup::settings_json;
use crate::setup::site::{self, Site, Standing};

/// The skills: the name of each one's folder, and its text with a placeholder in it.
const SKILLS: [(&str, &str); 3] = [
    ("continue-dev", include_str!("../../skills/continue-dev/SKILL.md")),
    ("search-sessions", include_str!("../../skills/search-sessions/SKILL.md")),
    ("session-health", include_str!("../../skills/session-health/SKILL.md")),
];

/// Stands in a skill's text for layer 3's program and its flags.
const PLACEHOLDER: &str = "{{LAYER3_INDEXER}}";
const SEAL_START: &str = "<!-- installed by Threefold, ";
const SEAL_END: &str = " -->\n";
/// Skills are read by everybody who may read the rest of the folder, and hold no secrets.
const MODE: u32 = 0o644;

/// A skill and what stands in its place.
#[derive(Debug)]
pub(crate) struct Skill {
    /// Its folder's name, by which it is called.
    pub name: &'static str,
    /// Where it belongs.
    pub path: PathBuf,
    /// What it should hold.
    text: String,
    /// What is there.
    pub standing: Standing,
}

/// Longer is no skill.
const SKILL_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The skills, filled in for `site`, and what stands in their places.
pub(crate) fn of_site(site: &Site) -> Result<Vec<Skill>> {
    SKILLS.iter().map(|(name, template)| skill(site, name, template)).collect()
}

/// Writes the skill; a user's own only with `replace`, and then not without a copy of it.
/// Returns what was done, for people; empty if nothing was to do.
pub(crate) fn install(skill: &Skill, replace: bool) -> Result<String> {
    let Skill { name, path, text, standing } = skill;
    let done = match standing {
        Standing::Same => return Ok(String::new()),
        Standing::Theirs if !replace => {
            return Ok(format!("left your own skill alone: {} (--replace-old replaces it)", path.display()));
        }
        Standing::Theirs => {
            let theirs = fs::read_foreign(path, SKILL_BYTES_MAX)?.unwrap_or_default();
            format!(
                "replaced the skill /{name}, kept yours as {}",
                settings_json::keep_copy(path, &theirs, MODE)?.display()
            )
        }
        Standing::Absent => format!("installed the skill /{name}"),
        Standing::Ours => format!("updated the skill /{name}"),
    };
    fs::replace_file_with_mode(path, text.as_bytes(), MODE)?;
    Ok(done)
}

/// The skills that are installed and unchanged.
pub(crate) fn installed(site: &Site) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut ours = Vec::new();
    for (name, _) in SKILLS {
        let path = path_of(site, name);
        if read(&path)?.is_some_and(|text| is_sealed(&text)) {
            ours.push((name, path));
        }
    }
    Ok(ours)
}

fn skill(site: &Site, name: &'static str, template: &str) -> Result<Skill> {
    let text = sealed(&filled_in(template, &program_line(site)?));
    let path = path_of(site, name);
    let standing = match read(&path)? {
        None => Standing::Absent,
        Some(there) if there == text => Standing::Same,
        Some(there) if is_sealed(&there) => Standing::Ours,
        Some(_) => Standing::Theirs,
    };
    Ok(Skill { name, path, text, standing })
}

fn path_of(site: &Site, name: &str) -> PathBuf {
    site.skills_dir().join(name).join("SKILL.md")
}

/// The template with the program's command line in its places. In the front matter that is a rule
/// in a list of YAML, quoted so that no path can be read as anything else there.
fn filled_in(template: &str, program: &str) -> String {
    let filled = |line: &str| match line.strip_prefix("  - ").filter(|rule| rule.contains(PLACEHOLDER)) {
        // A JSON string is a YAML string too. In a rule, parentheses and backslashes are escaped.
        Some(rule) => {
            let escaped = program.replace('\\', r"\\").replace('(', r"\(").replace(')', r"\)");
            format!("  - {}", serde_json::Value::from(rule.replace(PLACEHOLDER, &escaped)))
        }
        None => line.replace(PLACEHOLDER, program),
    };
    let lines: Vec<String> = template.lines().map(filled).collect();
    lines.join("\n") + "\n"
}

fn program_line(site: &Site) -> Result<String> {
    let program = site.program(LAYER3);
    let words = std::iter::once(site::text(&program)?).chain(site.flags.iter().map(String::as_str));
    Ok(words.map(quoted_without_backslash).collect::<Vec<_>>().join(" "))
}

/// A word for `sh`. Claude Code compares a command with its rules as text, but asks for permission
/// whenever there is a backslash in it, so an apostrophe is put in double quotes where that can be done.
fn quoted_without_backslash(word: &str) -> String {
    let is_plain_in_double_quotes = !word.contains(['"', '$', '`', '\\', '!', '\n']);
    if word.contains('\'') && is_plain_in_double_quotes { format!("\"{word}\"") } else { quoted_if_needed(word) }
}

pub(super) fn sealed(body: &str) -> String {
    format!("{body}{SEAL_START}{}{SEAL_END}", blake3::hash(body.as_bytes()).to_hex())
}

fn is_sealed(text: &str) -> bool {
    text.rfind(SEAL_START).is_some_and(|at| sealed(&text[..at]) == text)
}

fn read(path: &Path) -> Result<Option<String>> {
    // One that is not UTF-8 is not of ours, and that is all there is to know about it.
    let bytes = fs::read_foreign(path, SKILL_BYTES_MAX)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_runs_and_is_allowed() {
        let template = "---\nallowed-tools:\n  - Bash({{LAYER3_INDEXER}} list:*)\n---\n   {{LAYER3_INDEXER}} list\n";
        let check = |path: &str| filled_in(template, &quoted_without_backslash(path));
        insta::assert_snapshot!(check("/h/.claude/hooks/layer3-indexer"), @r#"
        ---
        allowed-tools:
          - "Bash(/h/.claude/hooks/layer3-indexer list:*)"
        ---
           /h/.claude/hooks/layer3-indexer list
        "#);
        insta::assert_snapshot!(check("/my home/layer3-indexer"), @r#"
        ---
        allowed-tools:
          - "Bash('/my home/layer3-indexer' list:*)"
        ---
           '/my home/layer3-indexer' list
        "#);
        insta::assert_snapshot!(check("/it's (mine)/layer3-indexer"), @r#"
        ---
        allowed-tools:
          - "Bash(\"/it's \\(mine\\)/layer3-indexer\" list:*)"
        ---
           "/it's (mine)/layer3-indexer" list
        "#);
        insta::assert_snapshot!(check("/it's $HOME/layer3-indexer"), @r#"
        ---
        allowed-tools:
          - "Bash('/it'\\\\''s $HOME/layer3-indexer' list:*)"
        ---
           '/it'\''s $HOME/layer3-indexer' list
        "#);
    }

    #[test]
    fn each_skill_allows_only_our_program_and_names_the_users_language() {
        for (name, text) in SKILLS {
            let front = text.split("---\n").nth(1).unwrap();
            let rules: Vec<&str> = front.lines().filter_map(|line| line.strip_prefix("  - ")).collect();
            assert!(
                !rules.is_empty() && rules.iter().all(|rule| rule.starts_with("Bash({{LAYER3_INDEXER}} ")),
                "{name}"
            );
            assert!(text.contains("the language that the user speaks"), "{name}");
            let commands = text.lines().filter(|line| line.trim_start().starts_with(PLACEHOLDER));
            for command in commands {
                let allowed = |rule: &&str| {
                    let prefix = rule.strip_prefix("Bash(").and_then(|rule| rule.strip_suffix(":*)")).unwrap();
                    command.trim_start().starts_with(&format!("{prefix} "))
                };
                assert!(rules.iter().any(allowed), "{name}: {command}");
            }
        }
    }
}
