//! `cargo xtask install`: programs, hooks, MCP server, skills; then the sessions that exist.
//!
//! Everything that could be refused is looked at before anything is changed. A second run finds
//! everything in its place and changes nothing.
use layer1_prebackup::names::{LAYER1, LAYER2, LAYER3, PROGRAMS};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use layer1_prebackup::config::places::{INSTALLED_FROM, PlaceFlags};
use layer1_prebackup::fs;
use xshell::Shell;

use crate::setup::mcp::{self, Registered};
use crate::setup::origin::Origin;
use crate::setup::protection;
use crate::setup::settings_json::{self, Change};
use crate::setup::site::{Site, Standing};
use crate::setup::skills;
use crate::setup::timer::Timer;
use layer1_prebackup::claude::hooks;

/// Mode of an installed program.
const MODE_PROGRAM: u32 = 0o755;

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Show what would change, as a diff where it is a text, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove the hooks and the MCP server of the first version, and replace skills of the same name; without it a terminal is asked
    #[arg(long)]
    pub replace_old: bool,
    /// Install the programs that lie in this directory instead of building them
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// Leave the sessions that exist alone; the next session's start saves them
    #[arg(long)]
    pub no_import: bool,
    /// Also set a timer of this user (systemd, launchd) that saves every ten minutes, whatever becomes of the hooks
    #[arg(long)]
    pub timer: bool,
    /// Where to install, and which stores the hooks use
    #[command(flatten)]
    pub places: PlaceFlags,
}

/// Runs the verb: looks, builds, installs.
pub(crate) fn run(sh: &Shell, origin: &Origin, args: &Args) -> Result<()> {
    let site = Site::here(&args.places)?;
    let mut out = std::io::stdout().lock();
    if args.dry_run {
        return preview(&site, origin, args, &mut out);
    }
    let args = &Args { replace_old: args.replace_old || may_replace_old(&site)?, ..args.clone() };
    check(&site, args.replace_old)?;
    wanted_timer(&site, args)?;
    let stage = origin.stage(sh, args.binaries.as_deref())?;
    record_origin(&site, origin)?;
    install(&site, &stage, args, &mut out)
}

/// Keeps by what the programs were installed, for the cures that `status` and `doctor` name.
fn record_origin(site: &Site, origin: &Origin) -> Result<()> {
    let path = site.program(INSTALLED_FROM);
    match origin {
        Origin::Workspace => fs::remove_file(&path).map(|_| ())?,
        Origin::Unpacked(folder) => {
            let line = format!("{}\n", folder.join("install.sh").display());
            if std::fs::read_to_string(&path).ok().as_ref() != Some(&line) {
                fs::replace_file(&path, line.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Tells what [`install`] would do.
fn preview(site: &Site, origin: &Origin, args: &Args, out: &mut dyn Write) -> Result<()> {
    let registered = check(site, args.replace_old)?;
    let get = match args.binaries.clone().or_else(|| origin.binaries()) {
        Some(binaries) => format!("take {} from {}", PROGRAMS.join(", "), binaries.display()),
        None => format!("build {}", PROGRAMS.join(", ")),
    };
    writeln!(out, "would {get} and copy what differs to {}", site.hooks_dir().display())?;
    let change = settings_change(site, args.replace_old)?;
    if change.is_empty() {
        writeln!(out, "would leave {} as it is", site.settings().display())?;
    } else {
        write!(out, "would change {}:\n{}", site.settings().display(), change.diff())?;
    }
    if registered != Registered::Same {
        writeln!(out, "would register the MCP server:\n{}", mcp::lines(site, &registered)?)?;
    }
    for skill in skills::of_site(site, &origin.skills())? {
        let what = match skill.standing {
            Standing::Same => continue,
            Standing::Absent | Standing::Ours => "write",
            Standing::Theirs if args.replace_old => "replace, keeping a copy of,",
            Standing::Theirs => "leave alone, since it is your own,",
        };
        writeln!(out, "would {what} {}", skill.path.display())?;
    }
    if let Some(timer) = wanted_timer(site, args)? {
        write!(out, "{}", timer.preview())?;
    }
    if !args.no_import {
        writeln!(out, "would save all sessions under {}", site.places.projects().display())?;
    }
    writeln!(out, "nothing was changed")?;
    Ok(())
}

/// Asks at a terminal whether what stands in the way may go; false where nothing does or nobody can be asked.
fn may_replace_old(site: &Site) -> Result<bool> {
    let (old, _) = in_the_way(site)?;
    if old.is_empty() || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    ask_to_replace(&old, &mut std::io::stdin().lock(), &mut std::io::stderr())
}

/// Only a yes is one.
fn ask_to_replace(old: &[String], answer: &mut dyn BufRead, out: &mut dyn Write) -> Result<bool> {
    write!(
        out,
        "These would overwrite the same files:\n{}\nRemove them (settings.json is copied first), and replace skills of \
         the same name? No saved session is touched. [y/N] ",
        old.join("\n")
    )?;
    out.flush()?;
    let mut line = String::new();
    answer.read_line(&mut line)?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

/// What of the first version, or of others, uses the places that are ours; and what is registered as our MCP server.
fn in_the_way(site: &Site) -> Result<(Vec<String>, Registered)> {
    let mut old = Vec::new();
    let settings_path = site.settings();
    if let Some(text) = settings_json::read_body(&settings_path)? {
        let commands = settings_json::commands(&text).with_context(|| {
            format!("read {}: it is left as it is; mend it and run this again", settings_path.display())
        })?;
        let first_version = commands.iter().filter(|(_, command)| hooks::is_first_version(command));
        old.extend(first_version.map(|(event, command)| format!("  hook of {event}: {command}")));
    }
    let registered = mcp::registered(site)?;
    if let Registered::Foreign(command) = &registered {
        old.push(format!("  MCP server {}: {command}", mcp::NAME));
    }
    Ok((old, registered))
}

/// Refuses what would end badly. Returns what is registered as our MCP server.
fn check(site: &Site, replace_old: bool) -> Result<Registered> {
    let (old, registered) = in_the_way(site)?;
    if !old.is_empty() && !replace_old {
        bail!(
            "install beside what stands there, because it would overwrite the same files:\n{}\n\
             To have just these removed (settings.json is copied first), add --replace-old. No saved session is touched.",
            old.join("\n")
        );
    }
    if matches!(registered, Registered::Foreign(_)) && site.claude().is_none() {
        bail!(
            "replace the MCP server {} without `claude` on the PATH; put it there, or run this and then install again:\n{}",
            mcp::NAME,
            mcp::removal_line(site)?
        );
    }
    Ok(registered)
}

/// Installs from a stage (`bin` and `skills`) and says what it did.
fn install(site: &Site, stage: &Path, args: &Args, out: &mut dyn Write) -> Result<()> {
    let registered = check(site, args.replace_old)?;
    let timer = wanted_timer(site, args)?;
    let mut done = place_programs(site, &stage.join("bin"), out)?;
    for skill in skills::of_site(site, &stage.join("skills"))? {
        done |= say(out, &skills::install(&skill, args.replace_old)?)?;
    }
    let change = settings_change(site, args.replace_old)?;
    if let Some(backup) = change.make()? {
        done |= say(out, &format!("kept what was there as {}", backup.display()))?;
    }
    if !change.is_empty() {
        done |= say(out, &format!("wrote the hooks into {}", site.settings().display()))?;
    }
    done |= say(out, &mcp::register(site, &registered)?)?;
    if let Some(timer) = timer {
        done |= say(out, &timer.install(site)?)?;
    }
    if !done {
        say(out, "everything is installed already")?;
    }
    if !args.no_import {
        save_what_exists(site, out)?;
    }
    protection::report(site, out)
}

/// The timer, where it is asked for, or is set already and may have to be brought up to date.
/// Fails where it is asked for and another installation's stands there.
fn wanted_timer(site: &Site, args: &Args) -> Result<Option<Timer>> {
    let timer = Timer::of_site(site)?;
    if args.timer {
        timer.refuse_anothers()?;
    }
    Ok(Some(timer).filter(|timer| args.timer || timer.is_set()))
}

fn settings_change(site: &Site, replace_old: bool) -> Result<Change> {
    let wanted = crate::setup::hooks::of_site(site)?;
    Change::of(&site.settings(), |text| {
        let merged = settings_json::with_hooks(text, &wanted)?;
        if replace_old { settings_json::without_hooks(&merged, hooks::is_first_version) } else { Ok(merged) }
    })
}

/// Puts the programs in their places. A hook may be running one of them, so none is ever
/// written in place.
fn place_programs(site: &Site, from: &Path, out: &mut dyn Write) -> Result<bool> {
    let mut done = false;
    for name in PROGRAMS {
        let (source, target) = (from.join(name), site.program(name));
        let content = std::fs::read(&source).with_context(|| format!("read {}", source.display()))?;
        if !stands(&target, &content) {
            fs::replace_file_with_mode(&target, &content, MODE_PROGRAM)?;
            done |= say(out, &format!("installed {}", target.display()))?;
        }
    }
    Ok(done)
}

fn stands(target: &Path, content: &[u8]) -> bool {
    let mode = std::fs::symlink_metadata(target).map(|meta| meta.permissions().mode() & 0o7777);
    // One that cannot be read is not the one that should be there; replacing it tells why.
    mode.is_ok_and(|mode| mode == MODE_PROGRAM) && std::fs::read(target).is_ok_and(|there| there == content)
}

/// Has the installed programs save every session that exists, in both stores, with receipts.
fn save_what_exists(site: &Site, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "saving the sessions that exist …")?;
    let mut failed = Vec::new();
    for (program, verb) in [(LAYER1, "sweep"), (LAYER3, "import"), (LAYER2, "drain")] {
        let mut command = site.own_command(program);
        let status =
            command.arg(verb).status().with_context(|| format!("start {}", site.program(program).display()))?;
        if !status.success() {
            failed.push(format!("{program} {verb} ({status})"));
        }
    }
    let failed = failed.join(", ");
    ensure!(
        failed.is_empty(),
        "save all sessions: {failed}; the hooks are installed, the next session's start tries again"
    );
    Ok(())
}

/// Says a line, unless there is nothing to say; true if there was.
fn say(out: &mut dyn Write, line: &str) -> Result<bool> {
    if !line.is_empty() {
        writeln!(out, "{line}")?;
    }
    Ok(!line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::uninstall;
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
            let scene = Scene {
                _turn: turn,
                dir: tempfile::tempdir().unwrap(),
                flags: PlaceFlags::default(),
                vars: Vec::new(),
            };
            for program in PROGRAMS {
                scene.write_program(&format!("stage/bin/{program}"), STUB);
            }
            scene.write_program("path/claude", CLAUDE);
            let options = fs_extra::dir::CopyOptions::new();
            fs_extra::copy_items(&[Origin::Workspace.skills()], scene.at("stage"), &options).unwrap();
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
            let path = std::env::join_paths([self.at("path"), "/usr/bin".into(), "/bin".into()]).unwrap();
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
            let result = uninstall::uninstall(&self.site(), dry_run, &mut out);
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
        saving the sessions that exist …
        first copy    5 sessions, 351 kB, in /home/.claude-backup-sessions
        second copy   5 sessions, 351 kB, in /home/.claude-backup
        index         345 messages in /home/.claude-backup/sessions.db
        outbox        nothing waits to be delivered
        next          use Claude Code as before: each turn is saved; ask it, or type /search-sessions WORDS
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
        600 .claude/settings.json
        644 .claude/skills/continue-dev/SKILL.md
        644 .claude/skills/search-sessions/SKILL.md
        644 .claude/skills/session-health/SKILL.md
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
        next          use Claude Code as before: each turn is saved; ask it, or type /search-sessions WORDS
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
        removed /home/.claude/hooks/layer1-prebackup
        removed /home/.claude/hooks/layer2-save-client
        removed /home/.claude/hooks/layer3-indexer
        your saved sessions stay where they are:
          /home/.claude-backup
        ");
        let mut after = scene.tree();
        after.retain(|name, _| !name.contains("threefold-backup"));
        after.remove(".claude.json");
        assert_eq!(after, before);
        insta::assert_snapshot!(scene.uninstall(false), @"
        your saved sessions stay where they are:
          /home/.claude-backup
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
        first copy    5 sessions, 351 kB, in /home/.claude-backup-sessions
        second copy   5 sessions, 351 kB, in /home/.claude-backup
        index         345 messages in /home/.claude-backup/sessions.db
        outbox        nothing waits to be delivered
        next          use Claude Code as before: each turn is saved; ask it, or type /search-sessions WORDS
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
        scene.write("stage/skills/session-health/SKILL.md", "a newer text\n");
        let told = scene.install(&args);
        insta::assert_snapshot!(told.lines().filter(|line| line.contains("skill")).collect::<Vec<_>>().join("\n"), @"
        left your own skill alone: /home/.claude/skills/continue-dev/SKILL.md (--replace-old replaces it)
        updated the skill /session-health
        ");
        assert_eq!(std::fs::read_to_string(skill("continue-dev")).unwrap(), improved);
        assert!(std::fs::read_to_string(skill("session-health")).unwrap().starts_with("a newer text\n"));
        let told = scene.install(&Args { replace_old: true, ..args });
        insta::assert_snapshot!(told.lines().filter(|line| line.contains("skill")).collect::<Vec<_>>().join("\n"), @"replaced the skill /continue-dev, kept yours as /home/.claude/skills/continue-dev/SKILL.md.threefold-backup-TIME");
    }

    #[test]
    fn a_preview_changes_nothing() {
        let scene = Scene::new();
        scene.write("home/.claude/settings.json", "{\n  \"model\": \"opus\"\n}\n");
        let before = scene.tree();
        let mut out = Vec::new();
        let result = preview(&scene.site(), &Origin::Workspace, &Args::default(), &mut out);
        let told = scene.told(out, result);
        insta::assert_snapshot!(told.lines().filter(|line| !line.starts_with('+')).collect::<Vec<_>>().join("\n"), @r#"
        would build layer1-prebackup, layer2-save-client, layer3-indexer and copy what differs to /home/.claude/hooks
        would change /home/.claude/settings.json:
        --- /home/.claude/settings.json
        @@ -1,3 +1,93 @@
         {
        -  "model": "opus"
         }
        would register the MCP server:
          claude mcp add --scope user session-manager -- /home/.claude/hooks/layer3-indexer serve
        would write /home/.claude/skills/continue-dev/SKILL.md
        would write /home/.claude/skills/search-sessions/SKILL.md
        would write /home/.claude/skills/session-health/SKILL.md
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
        assert!(
            std::process::Command::new("sh").args(["-c", &stop]).env("HOME", scene.home()).status().unwrap().success()
        );
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
        scene.write_program("stage/bin/layer3-indexer", "#!/bin/sh\nexit 1\n");
        let told = scene.install(&Args::default());
        insta::assert_snapshot!(told.lines().last().unwrap(), @"failed to save all sessions: layer3-indexer import (exit status: 1); the hooks are installed, the next session's start tries again");
    }
}
