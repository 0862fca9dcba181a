//! Installations into a home of their own, by programs that only say how they were called.

use super::*;
use crate::setup::uninstall;
use layer1_prebackup::config::places::PlaceFlags;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// A home to install into, programs that only say how they were called, and a `claude` that
/// keeps its servers as the real one does.
struct Scene {
    /// A program that was just written cannot be started while another thread's child still
    /// holds its descriptor, so the scenes take turns.
    _turn: MutexGuard<'static, ()>,
    dir: tempfile::TempDir,
    flags: PlaceFlags,
    vars: Vec<(&'static str, PathBuf)>,
}

const STUB: &str = "#!/bin/sh\n\
        echo \"${0##*/} $*\" >> \"$HOME/calls\"\n\
        case \"$*\" in\n\
        *status*) echo '{\"sessions\": 5, \"bytes\": 351000, \"index\": {\"messages\": 345}}' ;;\n\
        *pending*) echo '{\"jobs\": []}' ;;\n\
        esac\n";

const CLAUDE: &str = "#!/bin/sh\n\
        echo \"claude $*\" >> \"$HOME/calls\"\n\
        file=\"${CLAUDE_CONFIG_DIR:-$HOME}/.claude.json\"\n\
        case \"$2\" in\n\
        remove) echo '{\"mcpServers\": {}}' > \"$file\" ;;\n\
        add) printf '{\"mcpServers\": {\"%s\": {\"command\": \"%s\", \"args\": [\"%s\"]}}}' \"$5\" \"$7\" \"$8\" > \"$file\" ;;\n\
        esac\n";

impl Scene {
    fn new() -> Scene {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let scene =
            Scene { _turn: turn, dir: tempfile::tempdir().unwrap(), flags: PlaceFlags::default(), vars: Vec::new() };
        for program in PROGRAMS {
            scene.write_program(&format!("stage/{program}"), STUB);
        }
        scene.write_program("path/claude", CLAUDE);
        std::fs::create_dir(scene.home()).unwrap();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.at("home")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn write_program(&self, name: &str, text: &str) {
        self.write(name, text);
        std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn site(&self) -> Site {
        let path =
            std::env::join_paths([self.at("path"), self.home().join(".local/bin"), "/usr/bin".into(), "/bin".into()])
                .unwrap();
        let mut vars = vec![("HOME".into(), self.home().into_os_string()), ("PATH".into(), path)];
        vars.extend(self.vars.iter().map(|(name, value)| (name.into(), value.clone().into_os_string())));
        Site::resolve(&self.flags, vars).unwrap()
    }

    /// What was said, or why it was refused.
    fn install(&self, args: &Args) -> String {
        let mut out = Vec::new();
        let result = install(&self.site(), &self.at("stage"), args, &mut out);
        self.told(out, result)
    }

    fn uninstall(&self, dry_run: bool) -> String {
        let mut out = Vec::new();
        let result = uninstall::uninstall(&self.site(), &uninstall::Args { dry_run, keep_command: false }, &mut out);
        self.told(out, result)
    }

    fn told(&self, out: Vec<u8>, result: Result<()>) -> String {
        let error = result.err().map(|error| format!("failed to {error:#}\n")).unwrap_or_default();
        let told = String::from_utf8(out).unwrap() + &error;
        let told = told.replace(self.dir.path().to_str().unwrap(), "");
        let mut parts = told.split("threefold-backup-");
        let first = parts.next().unwrap().to_owned();
        let is_time = |c: char| c.is_ascii_alphanumeric() || c == '-';
        parts.fold(first, |told, part| told + "threefold-backup-TIME" + part.trim_start_matches(is_time))
    }

    fn calls(&self) -> String {
        let calls = std::fs::read_to_string(self.home().join("calls")).unwrap_or_default();
        calls.replace(self.dir.path().to_str().unwrap(), "")
    }

    /// Every file below the home but the record of calls, with its mode and content.
    fn tree(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.home()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.home()).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name != "calls" {
                    let mode = path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
                    tree.insert(name, (mode, std::fs::read(path).unwrap()));
                }
            }
        }
        tree
    }

    fn names(&self) -> String {
        self.tree().iter().map(|(name, (mode, _))| format!("{mode:o} {name}\n")).collect()
    }
}

#[test]
fn a_first_installation() {
    let scene = Scene::new();
    insta::assert_snapshot!(scene.install(&Args::default()), @"
        installed /home/.claude/hooks/layer1-prebackup
        installed /home/.claude/hooks/layer2-save-client
        installed /home/.claude/hooks/layer3-indexer
        installed the skill /continue-dev
        installed the skill /search-sessions
        installed the skill /session-health
        wrote the hooks into /home/.claude/settings.json
        registered the MCP server session-manager
        linked /home/.local/bin/threefold: the command for everything
        saving the sessions that exist …
        first copy    5 sessions, 351 kB, in /home/.claude-backup-sessions
        second copy   5 sessions, 351 kB, in /home/.claude-backup
        index         345 messages in /home/.claude-backup/sessions.db
        outbox        nothing waits to be delivered

        Use Claude Code as before: each turn is saved. In it, /search-sessions WORDS finds what was said.
        threefold status tells whether everything is saved; threefold alone finds, shows and resumes a conversation.
        ");
    insta::assert_snapshot!(scene.calls(), @"
        claude mcp add --scope user session-manager -- /home/.claude/hooks/layer3-indexer serve
        layer1-prebackup sweep
        layer3-indexer import
        layer2-save-client drain
        layer1-prebackup status --json
        layer2-save-client pending --json
        layer3-indexer status --json
        ");
    insta::assert_snapshot!(scene.names(), @"
        644 .claude.json
        755 .claude/hooks/layer1-prebackup
        755 .claude/hooks/layer2-save-client
        755 .claude/hooks/layer3-indexer
        600 .claude/hooks/threefold-command
        600 .claude/settings.json
        644 .claude/skills/continue-dev/SKILL.md
        644 .claude/skills/search-sessions/SKILL.md
        644 .claude/skills/session-health/SKILL.md
        777 .local/bin/threefold
        ");
}

#[test]
fn a_second_installation_changes_nothing() {
    let scene = Scene::new();
    scene.write("home/.claude/settings.json", "{\n  \"model\": \"opus\"\n}\n");
    scene.install(&Args::default());
    let before = scene.tree();
    insta::assert_snapshot!(scene.install(&Args::default()), @"
        everything is installed already
        saving the sessions that exist …
        first copy    5 sessions, 351 kB, in /home/.claude-backup-sessions
        second copy   5 sessions, 351 kB, in /home/.claude-backup
        index         345 messages in /home/.claude-backup/sessions.db
        outbox        nothing waits to be delivered

        Use Claude Code as before: each turn is saved. In it, /search-sessions WORDS finds what was said.
        threefold status tells whether everything is saved; threefold alone finds, shows and resumes a conversation.
        ");
    assert_eq!(scene.tree(), before);
}

#[test]
fn uninstalling_leaves_what_was_there_before_and_the_data() {
    let scene = Scene::new();
    scene.write("home/.claude/settings.json", "{\n  \"model\": \"opus\"\n}\n");
    scene.write("home/.claude/skills/mine/SKILL.md", "mine");
    scene.write("home/.claude-backup/p/s.jsonl", "data");
    let before = scene.tree();
    scene.install(&Args { no_import: true, ..Args::default() });
    let installed = scene.tree();
    insta::assert_snapshot!(scene.uninstall(true).lines().filter(|l| l.starts_with("would") || l.starts_with("no")).collect::<Vec<_>>().join("\n"), @"
        would remove the MCP server:
        would remove /home/.claude/skills/continue-dev/SKILL.md
        would remove /home/.claude/skills/search-sessions/SKILL.md
        would remove /home/.claude/skills/session-health/SKILL.md
        would remove /home/.claude/hooks/layer1-prebackup
        would remove /home/.claude/hooks/layer2-save-client
        would remove /home/.claude/hooks/layer3-indexer
        would remove /home/.local/bin/threefold
        nothing was changed
        ");
    assert_eq!(scene.tree(), installed);
    insta::assert_snapshot!(scene.uninstall(false), @"
        removed the hooks from /home/.claude/settings.json
        kept what was there as /home/.claude/settings.json.threefold-backup-TIME
        removed the MCP server session-manager
        removed the skill /continue-dev
        removed the skill /search-sessions
        removed the skill /session-health
        removed /home/.local/bin/threefold
        removed /home/.claude/hooks/layer1-prebackup
        removed /home/.claude/hooks/layer2-save-client
        removed /home/.claude/hooks/layer3-indexer
        your saved sessions stay where they are:
          /home/.claude-backup
        each is PROJECT/SESSION.jsonl there, one JSON record a line (`zstd -d` unpacks .jsonl.zst); copied to
        ~/.claude/projects/PROJECT/SESSION.jsonl, `claude --resume SESSION` goes on with it
        ");
    let mut after = scene.tree();
    after.retain(|name, _| !name.contains("threefold-backup"));
    after.remove(".claude.json");
    assert_eq!(after, before);
    insta::assert_snapshot!(scene.uninstall(false), @"
        your saved sessions stay where they are:
          /home/.claude-backup
        each is PROJECT/SESSION.jsonl there, one JSON record a line (`zstd -d` unpacks .jsonl.zst); copied to
        ~/.claude/projects/PROJECT/SESSION.jsonl, `claude --resume SESSION` goes on with it
        ");
}

const FIRST_VERSION: &str = r#"{"hooks": {"SessionEnd": [{"hooks": [{"type": "command", "command": "~/.claude/hooks/session-end-save.sh"}]}]}}"#;
const FOREIGN: &str = r#"{"mcpServers": {"session-manager": {"command": "node", "args": ["index.js"]}}}"#;

#[test]
fn uninstalling_from_an_empty_home_leaves_no_file_and_no_folder_of_ours() {
    let scene = Scene::new();
    scene.install(&Args { no_import: true, ..Args::default() });
    scene.uninstall(false);
    assert_eq!(scene.names(), "644 .claude.json\n");
    assert_eq!(std::fs::read_dir(scene.home().join(".claude")).unwrap().count(), 0);
}

#[test]
fn the_first_version_is_refused_and_replaced_only_when_told() {
    let scene = Scene::new();
    scene.write("home/.claude/settings.json", FIRST_VERSION);
    scene.write("home/.claude.json", FOREIGN);
    let before = scene.tree();
    insta::assert_snapshot!(scene.install(&Args::default()), @"
        failed to install beside what stands there, because it would overwrite the same files:
          hook of SessionEnd: ~/.claude/hooks/session-end-save.sh
          MCP server session-manager: node index.js
        To have just these removed (settings.json is copied first), add --replace-old. No saved session is touched.
        ");
    assert_eq!(scene.tree(), before);
    assert_eq!(scene.calls(), "");
    let replace = Args { replace_old: true, no_import: true, ..Args::default() };
    insta::assert_snapshot!(scene.install(&replace), @"
        installed /home/.claude/hooks/layer1-prebackup
        installed /home/.claude/hooks/layer2-save-client
        installed /home/.claude/hooks/layer3-indexer
        installed the skill /continue-dev
        installed the skill /search-sessions
        installed the skill /session-health
        kept what was there as /home/.claude/settings.json.threefold-backup-TIME
        wrote the hooks into /home/.claude/settings.json
        registered the MCP server session-manager
        linked /home/.local/bin/threefold: the command for everything
        first copy    5 sessions, 351 kB, in /home/.claude-backup-sessions
        second copy   5 sessions, 351 kB, in /home/.claude-backup
        index         345 messages in /home/.claude-backup/sessions.db
        outbox        nothing waits to be delivered

        Use Claude Code as before: each turn is saved. In it, /search-sessions WORDS finds what was said.
        threefold status tells whether everything is saved; threefold alone finds, shows and resumes a conversation.
        ");
    insta::assert_snapshot!(scene.calls().lines().filter(|l| l.starts_with("claude")).collect::<Vec<_>>().join("\n"), @"
        claude mcp remove --scope user session-manager
        claude mcp add --scope user session-manager -- /home/.claude/hooks/layer3-indexer serve
        ");
    let settings = std::fs::read_to_string(scene.home().join(".claude/settings.json")).unwrap();
    assert!(!settings.contains("session-end-save.sh"));
    assert_eq!(mcp::registered(&scene.site()).unwrap(), Registered::Same);
}

#[test]
fn without_claude_the_line_is_told_and_a_foreign_server_is_refused() {
    let scene = Scene::new();
    fs::remove_file(&scene.at("path/claude")).unwrap();
    scene.write("home/.claude.json", FOREIGN);
    let replace = Args { replace_old: true, no_import: true, ..Args::default() };
    insta::assert_snapshot!(scene.install(&replace), @"
        failed to replace the MCP server session-manager without `claude` on the PATH; put it there, or run this and then install again:
          claude mcp remove --scope user session-manager
        ");
    fs::remove_file(&scene.home().join(".claude.json")).unwrap();
    let told = scene.install(&replace);
    insta::assert_snapshot!(told.lines().filter(|line| line.contains("claude mcp") || line.contains("PATH")).collect::<Vec<_>>().join("\n"), @"
        `claude` is not on the PATH; to register the MCP server, run
          claude mcp add --scope user session-manager -- /home/.claude/hooks/layer3-indexer serve
        ");
}

#[test]
fn a_skill_of_the_users_own_is_left_alone_and_one_of_ours_is_updated() {
    let scene = Scene::new();
    let args = Args { no_import: true, ..Args::default() };
    scene.install(&args);
    let skill = |name: &str| scene.home().join(format!(".claude/skills/{name}/SKILL.md"));
    let improved = std::fs::read_to_string(skill("continue-dev")).unwrap() + "Always in Spanish.\n";
    std::fs::write(skill("continue-dev"), &improved).unwrap();
    // As a version with other words installed it.
    let text = std::fs::read_to_string(skill("session-health")).unwrap();
    std::fs::write(skill("session-health"), skills::sealed("an older text\n")).unwrap();
    let told = scene.install(&args);
    insta::assert_snapshot!(told.lines().filter(|line| line.contains("skill")).collect::<Vec<_>>().join("\n"), @"
        left your own skill alone: /home/.claude/skills/continue-dev/SKILL.md (--replace-old replaces it)
        updated the skill /session-health
        ");
    assert_eq!(std::fs::read_to_string(skill("continue-dev")).unwrap(), improved);
    assert_eq!(std::fs::read_to_string(skill("session-health")).unwrap(), text);
    let told = scene.install(&Args { replace_old: true, ..args });
    insta::assert_snapshot!(told.lines().filter(|line| line.contains("skill")).collect::<Vec<_>>().join("\n"), @"replaced the skill /continue-dev, kept yours as /home/.claude/skills/continue-dev/SKILL.md.threefold-backup-TIME");
}

#[test]
fn a_preview_changes_nothing() {
    let scene = Scene::new();
    scene.write("home/.claude/settings.json", "{\n  \"model\": \"opus\"\n}\n");
    let before = scene.tree();
    let mut out = Vec::new();
    let result = preview(&scene.site(), Path::new("/built"), &Args::default(), &mut out);
    let told = scene.told(out, result);
    insta::assert_snapshot!(told.lines().filter(|line| !line.starts_with('+')).collect::<Vec<_>>().join("\n"), @r#"
        would take layer1-prebackup, layer2-save-client, layer3-indexer from /built and copy what differs to /home/.claude/hooks
        would change /home/.claude/settings.json:
        --- /home/.claude/settings.json
        @@ -1,3 +1,82 @@
         {
        -  "model": "opus"
         }
        would register the MCP server:
          claude mcp add --scope user session-manager -- /home/.claude/hooks/layer3-indexer serve
        would write /home/.claude/skills/continue-dev/SKILL.md
        would write /home/.claude/skills/search-sessions/SKILL.md
        would write /home/.claude/skills/session-health/SKILL.md
        would link /home/.local/bin/threefold
        would save all sessions under /home/.claude/projects
        nothing was changed
        "#);
    assert_eq!(scene.tree(), before);
    assert_eq!(scene.calls(), "");
}

#[test]
fn another_directory_is_served_with_flags_and_its_own_list_of_servers() {
    let mut scene = Scene::new();
    let folder = scene.at("it's claude");
    std::fs::create_dir(&folder).unwrap();
    scene.vars.push(("CLAUDE_CONFIG_DIR", folder.clone()));
    scene.flags.backup_dir = Some(scene.at("disk"));
    fs::remove_file(&scene.at("path/claude")).unwrap();
    let told = scene.install(&Args { no_import: true, ..Args::default() });
    let line = told.lines().find(|line| line.contains("claude mcp")).unwrap();
    insta::assert_snapshot!(line.trim(), @r"CLAUDE_CONFIG_DIR='/it'\''s claude' claude mcp add --scope user session-manager -- '/it'\''s claude/hooks/layer3-indexer' serve --claude-dir '/it'\''s claude' --backup-dir /disk");
    let settings = std::fs::read_to_string(folder.join("settings.json")).unwrap();
    let commands = settings_json::commands(&settings).unwrap();
    let stop = commands.iter().find(|(event, _)| event == "Stop").unwrap().1.clone();
    assert!(std::process::Command::new("sh").args(["-c", &stop]).env("HOME", scene.home()).status().unwrap().success());
    insta::assert_snapshot!(scene.calls().lines().last().unwrap(), @"layer1-prebackup --claude-dir /it's claude --backup-dir /disk --quiet");
    let skill = std::fs::read_to_string(folder.join("skills/continue-dev/SKILL.md")).unwrap();
    assert!(skill.contains(&format!("\"{}/hooks/layer3-indexer\" --claude-dir ", folder.display())), "{skill}");
}

#[test]
fn the_first_version_is_replaced_at_a_terminal_only_after_a_yes() {
    let old = ["  hook of SessionEnd: ~/.claude/hooks/session-end-save.sh".to_owned()];
    for (answer, expected) in
        [("y\n", true), ("Yes\n", true), ("\n", false), ("n\n", false), ("yellow\n", false), ("", false)]
    {
        let mut asked = Vec::new();
        assert_eq!(ask_to_replace(&old, &mut answer.as_bytes(), &mut asked).unwrap(), expected, "{answer:?}");
        assert!(String::from_utf8(asked).unwrap().contains("session-end-save.sh\nRemove them"));
    }
}

#[test]
fn sessions_that_could_not_be_saved_are_a_failure() {
    let scene = Scene::new();
    scene.write_program("stage/layer3-indexer", "#!/bin/sh\nexit 1\n");
    let told = scene.install(&Args::default());
    insta::assert_snapshot!(told.lines().last().unwrap(), @"failed to save all sessions: layer3-indexer import (exit status: 1); the hooks are installed, the next session's start tries again");
}

#[test]
fn what_stands_in_the_commands_place_and_is_not_ours_stays() {
    let scene = Scene::new();
    let args = Args { no_import: true, ..Args::default() };
    let link = scene.home().join(".local/bin/threefold");
    let linked_line = |told: &str| told.lines().find(|line| line.contains("/threefold")).unwrap_or_default().to_owned();
    scene.write("elsewhere/layer3-indexer", "another installation's");
    for theirs in ["a file", "a folder", "another's link", "another installation's link", "a link to nothing"] {
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        match theirs {
            "a file" => scene.write("home/.local/bin/threefold", "mine"),
            "a folder" => std::fs::create_dir(&link).unwrap(),
            "another's link" => std::os::unix::fs::symlink("/bin/sh", &link).unwrap(),
            "another installation's link" => {
                std::os::unix::fs::symlink("../../../elsewhere/layer3-indexer", &link).unwrap()
            }
            _ => std::os::unix::fs::symlink("/gone/threefold", &link).unwrap(),
        }
        let there = || (std::fs::read_link(&link).ok(), std::fs::read(&link).ok(), link.is_dir());
        let before = there();
        let told = linked_line(&scene.install(&args));
        assert_eq!(
            told,
            "left /home/.local/bin/threefold alone: it is not of this installation; --bin-dir DIR puts the command \
             elsewhere, --no-bin leaves it out",
            "{theirs}"
        );
        scene.uninstall(false);
        assert_eq!(there(), before, "{theirs}");
        let removed = if before.2 { fs::remove_dir(&link).map(drop) } else { fs::remove_file(&link).map(drop) };
        removed.unwrap();
    }
    // What another place of this installation left is ours.
    std::os::unix::fs::symlink("/gone/hooks/layer3-indexer", &link).unwrap();
    assert!(linked_line(&scene.install(&args)).starts_with("linked /home/.local/bin/threefold"));
    assert_eq!(std::fs::read_link(&link).unwrap(), scene.site().program(LAYER3));
}

#[test]
fn the_command_is_taken_away_from_wherever_it_was_put() {
    let scene = Scene::new();
    let args = |bin_dir: Option<&str>, no_bin| Args {
        no_import: true,
        no_bin,
        bin_dir: bin_dir.map(|dir| scene.at(dir)),
        ..Args::default()
    };
    assert!(!scene.install(&args(None, true)).contains("threefold:"));
    assert_eq!(scene.names().matches("threefold\n").count(), 0, "--no-bin");
    scene.install(&args(Some("home/my bin/deep"), false));
    // A later run, as an update makes it, finds it there.
    assert!(scene.install(&args(None, false)).contains("everything is installed already"));
    let kept = {
        let mut out = Vec::new();
        let args = uninstall::Args { dry_run: false, keep_command: true };
        let result = uninstall::uninstall(&scene.site(), &args, &mut out);
        scene.told(out, result)
    };
    assert!(kept.contains("the command stays"), "{kept}");
    assert!(
        !std::fs::read_to_string(scene.home().join(".claude/settings.json")).is_ok_and(|text| text.contains("hooks"))
    );
    assert!(scene.home().join("my bin/deep/threefold").exists());
    scene.uninstall(false);
    assert_eq!(scene.names(), "644 .claude.json\n");
    assert!(!scene.home().join("my bin").exists() && !scene.home().join(".local").exists());
}

#[test]
fn the_command_comes_into_this_home_when_the_programs_came_from_another_one() {
    let scene = Scene::new();
    let args = Args { no_import: true, ..Args::default() };
    scene.install(&args);
    let link = scene.home().join(".local/bin/threefold");
    std::fs::write(scene.site().program("threefold-command"), "/gone/home/.local/bin/threefold\n").unwrap();
    fs::remove_file(&link).unwrap();
    assert!(scene.install(&args).contains("linked /home/.local/bin/threefold"));
    assert_eq!(std::fs::read_link(&link).unwrap(), scene.site().program(LAYER3));
    scene.uninstall(false);
    assert!(link.symlink_metadata().is_err());
}

#[test]
fn settings_that_cannot_be_changed_are_told_before_anything_is_written() {
    for settings in [r#"{"hooks":[1]}"#, r#"{"hooks":{"Stop":"x"}}"#, "{", "[]"] {
        let scene = Scene::new();
        scene.write("home/.claude/settings.json", settings);
        let before = scene.tree();
        let told = scene.install(&Args::default());
        assert!(told.starts_with("failed to ") && told.contains("settings.json"), "{told}");
        assert_eq!(scene.tree(), before, "{settings}: {told}");
    }
}

#[test]
fn each_shell_is_told_its_own_line() {
    let mut scene = Scene::new();
    let elsewhere = scene.at("it's here");
    let hint = |scene: &Scene, bin_dir: Option<PathBuf>| {
        let told = scene.install(&Args { no_import: true, bin_dir, ..Args::default() });
        let hint = told.lines().skip_while(|line| !line.contains("PATH"));
        hint.take_while(|line| !line.starts_with("Use Claude")).map(str::trim).collect::<Vec<_>>().join(" | ")
    };
    let dir = Some(scene.home().join("bin"));
    for (shell, expected) in [
        ("/usr/bin/fish", "~/.config/fish/config.fish, then open a new terminal: | fish_add_path \"$HOME\"/bin"),
        ("/bin/zsh", "~/.zshrc, then open a new terminal: | export PATH=\"$HOME\"/bin:\"$PATH\""),
        ("/bin/bash", "~/.bashrc, then open a new terminal: | export PATH=\"$HOME\"/bin:\"$PATH\""),
        ("", "~/.profile, then open a new terminal: | export PATH=\"$HOME\"/bin:\"$PATH\""),
    ] {
        scene.vars = vec![("SHELL", shell.into())];
        assert_eq!(
            hint(&scene, dir.clone()),
            format!("`threefold` is not on your PATH yet; add this line to {expected}")
        );
    }
    assert!(hint(&scene, Some(elsewhere)).ends_with("export PATH='/it'\\''s here':\"$PATH\""));
    // Another program of the name comes first.
    scene.write_program("path/threefold", "#!/bin/sh\n");
    assert_eq!(
        hint(&scene, Some(scene.home().join(".local/bin"))),
        "another program comes first on the PATH: /path/threefold"
    );
}
