//! `cargo xtask plugin`: Threefold as a plugin of Claude Code, for those who have no source.
//!
//! The folder is laid out as Claude Code's reference of plugins says: `.claude-plugin/plugin.json`,
//! `hooks/hooks.json`, `.mcp.json`, `skills/`, and `bin/`, which is on the `PATH` of the commands that
//! Claude runs. Beside it lies the list of a marketplace with this one plugin, from which it can be
//! installed for good. Hooks, server and skills are made from the same data as an installation's.

use layer1_prebackup::claude::shell::quoted_if_needed;
use layer1_prebackup::names::{LAYER3, PROGRAMS};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_extra::file::CopyOptions;
use serde_json::{Map, Value, json};
use xshell::Shell;

use crate::release::{self};
use crate::setup::origin::skills_source;
use layer1_prebackup::claude::hooks;

/// The plugin's name, and its marketplace's.
const NAME: &str = "threefold";
const DESCRIPTION: &str = "Keeps every conversation, whatever fails: two verified copies outside of Claude Code's \
    directory, searchable and restorable";
/// The MCP server's name.
const SERVER: &str = "session-manager";
/// The skills' folders, and what stands in their texts for layer 3's program: the plugin's `bin` is on the `PATH` of the
/// commands that Claude runs.
const SKILLS: [&str; 3] = ["continue-dev", "search-sessions", "session-health"];
const PLACEHOLDER: &str = "{{LAYER3_INDEXER}}";
/// What must go along with the programs, from the root of the workspace.
pub(crate) const TEXTS: [&str; 4] = ["README.md", "LICENSE", "LICENSE-MIT", "LICENSE-APACHE"];

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Take the programs from this directory instead of building them
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Where to make the marketplace with the plugin in it [default: ~/.local/share/threefold/plugin]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Runs the verb: builds, lays the plugin out anew, and says how it is used.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    let binaries = match &args.binaries {
        Some(binaries) => binaries.clone(),
        None => release::build(sh)?,
    };
    let to = match &args.to {
        Some(to) => std::path::absolute(to).with_context(|| format!("find {}", to.display()))?,
        None => lasting_place()?,
    };
    let plugin = lay_out(sh, &binaries, &to)?;
    println!("made {}; to try it, or to install it for good:", plugin.display());
    println!("  claude --plugin-dir {}", quoted_if_needed(&plugin.display().to_string()));
    println!("  claude plugin marketplace add {}", quoted_if_needed(&to.display().to_string()));
    println!("  claude plugin install {NAME}@{NAME}");
    Ok(())
}

/// Where it stays: Claude Code reads a marketplace in place, and without its folder the plugin is dead.
fn lasting_place() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    Ok(data.context("find a place for it: HOME is not set; --to names one")?.join("threefold/plugin"))
}

/// Makes the marketplace in `to` and in it the plugin, whose folder is returned. What an earlier run
/// made there goes first.
fn lay_out(sh: &Shell, binaries: &Path, to: &Path) -> Result<PathBuf> {
    let plugin = to.join(NAME);
    sh.remove_path(&plugin)?;
    let write = |path: PathBuf, value: &Value| sh.write_file(path, format!("{value:#}\n"));
    write(to.join(".claude-plugin/marketplace.json"), &marketplace())?;
    write(plugin.join(".claude-plugin/plugin.json"), &manifest())?;
    write(plugin.join("hooks/hooks.json"), &hooks_json()?)?;
    write(plugin.join(".mcp.json"), &mcp_json())?;
    for name in SKILLS {
        let text = sh.read_file(skills_source().join(name).join("SKILL.md"))?;
        sh.write_file(plugin.join("skills").join(name).join("SKILL.md"), skill(&text))?;
    }
    let copy = |from: PathBuf, to: PathBuf| {
        let copied = fs_extra::file::copy(&from, &to, &CopyOptions::new());
        copied.with_context(|| format!("copy {} to {}", from.display(), to.display()))
    };
    sh.create_dir(plugin.join("bin"))?;
    for program in PROGRAMS {
        copy(binaries.join(program), plugin.join("bin").join(program))?;
    }
    for text in TEXTS {
        copy(release::workspace().join(text), plugin.join(text))?;
    }
    // README.md points into docs.
    fs_extra::copy_items(&[release::workspace().join("docs")], &plugin, &fs_extra::dir::CopyOptions::new())
        .with_context(|| format!("copy docs to {}", plugin.display()))?;
    Ok(plugin)
}

fn manifest() -> Value {
    json!({
        "name": NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "description": DESCRIPTION,
        "author": {"name": "Threefold"},
        "license": env!("CARGO_PKG_LICENSE"),
        "keywords": ["backup", "history", "search", "sessions", "transcripts"],
    })
}

fn marketplace() -> Value {
    json!({
        "name": NAME,
        "owner": {"name": "Threefold"},
        "metadata": {"description": DESCRIPTION},
        "plugins": [{"name": NAME, "source": format!("./{NAME}"), "description": DESCRIPTION}],
    })
}

fn hooks_json() -> Result<Value> {
    let mut events = Map::new();
    for hook in hooks::of_plugin() {
        let handler = serde_json::to_value(&hook.handler).context("write the hooks")?;
        events.insert(hook.event.to_owned(), json!([{"hooks": [handler]}]));
    }
    Ok(json!({"description": DESCRIPTION, "hooks": events}))
}

/// A skill's text with the program in it; a rule of what is allowed becomes a string of YAML, as an installation writes it.
fn skill(template: &str) -> String {
    let filled = |line: &str| match line.strip_prefix("  - ").filter(|rule| rule.contains(PLACEHOLDER)) {
        Some(rule) => format!("  - {}\n", Value::from(rule.replace(PLACEHOLDER, LAYER3))),
        None => line.replace(PLACEHOLDER, LAYER3) + "\n",
    };
    template.lines().map(filled).collect()
}

fn mcp_json() -> Value {
    let program = format!("${{CLAUDE_PLUGIN_ROOT}}/bin/{LAYER3}");
    json!({"mcpServers": {SERVER: {"command": program, "args": ["serve"]}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_laid_out_as_the_reference_of_plugins_says() {
        let dir = tempfile::tempdir().unwrap();
        let binaries = dir.path().join("built");
        std::fs::create_dir(&binaries).unwrap();
        for program in PROGRAMS {
            std::fs::write(binaries.join(program), program).unwrap();
        }
        let sh = Shell::new().unwrap();
        let to = dir.path().join("made");
        sh.write_file(to.join("threefold/skills/of-an-earlier-version/SKILL.md"), "old").unwrap();
        let plugin = lay_out(&sh, &binaries, &to).unwrap();
        let names = names(&to);
        let docs = names.lines().filter(|name| name.starts_with("threefold/docs/")).count();
        assert_eq!(docs, std::fs::read_dir(release::workspace().join("docs")).unwrap().count());
        let others: Vec<_> = names.lines().filter(|name| !name.starts_with("threefold/docs/")).collect();
        insta::assert_snapshot!(others.join("\n"), @"
        .claude-plugin/marketplace.json
        threefold/.claude-plugin/plugin.json
        threefold/.mcp.json
        threefold/LICENSE
        threefold/LICENSE-APACHE
        threefold/LICENSE-MIT
        threefold/README.md
        threefold/bin/layer1-prebackup
        threefold/bin/layer2-save-client
        threefold/bin/layer3-indexer
        threefold/hooks/hooks.json
        threefold/skills/continue-dev/SKILL.md
        threefold/skills/search-sessions/SKILL.md
        threefold/skills/session-health/SKILL.md
        ");
        let json = |name: &str| {
            let text = std::fs::read_to_string(plugin.join(name)).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let server = json!({"command": "${CLAUDE_PLUGIN_ROOT}/bin/layer3-indexer", "args": ["serve"]});
        assert_eq!(json(".mcp.json"), json!({"mcpServers": {"session-manager": server}}));
        let hooks = json("hooks/hooks.json");
        assert_eq!(hooks["hooks"].as_object().unwrap().len(), hooks::of_plugin().len());
        let skill = std::fs::read_to_string(plugin.join("skills/continue-dev/SKILL.md")).unwrap();
        assert!(skill.contains("  - \"Bash(layer3-indexer list:*)\"\n"), "{skill}");
    }

    fn names(folder: &Path) -> String {
        let mut names = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    names.push(path.strip_prefix(folder).unwrap().display().to_string());
                }
            }
        }
        names.sort();
        names.join("\n")
    }
}
