//! `setup`: programs, hooks, MCP server, skills, the command; then the sessions that exist.
//!
//! Everything that could be refused is looked at before anything is changed. A second run finds
//! everything in its place and changes nothing.
use layer1_prebackup::names::{LAYER1, LAYER2, LAYER3, PROGRAMS, THREEFOLD};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use layer1_prebackup::config::places::INSTALLED_FROM;
use layer1_prebackup::fs;

use crate::failure::Context;
use crate::setup::Result;
use crate::setup::command::{self, Link};
use crate::setup::mcp::{self, Registered};
use crate::setup::protection;
use crate::setup::settings_json::{self, Change};
use crate::setup::site::{Site, Standing};
use crate::setup::skills;
use crate::setup::timer::Timer;
use layer1_prebackup::claude::hooks;

/// Mode of an installed program.
const MODE_PROGRAM: u32 = 0o755;

// What was typed. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Show what would change, as a diff where it is a text, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove the hooks and the MCP server of the first version, and replace skills of the same name; without it a terminal is asked
    #[arg(long)]
    pub replace_old: bool,
    /// Install the programs that lie in this directory [default: where this program lies]
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Leave the sessions that exist alone; the next session's start saves them
    #[arg(long)]
    pub no_import: bool,
    /// Also set a timer of this user (systemd, launchd) that saves every ten minutes, whatever becomes of the hooks
    #[arg(long)]
    pub timer: bool,
    /// Put the command `threefold` into this directory [default: ~/.local/bin]
    #[arg(long, value_name = "DIR", conflicts_with = "no_bin")]
    pub bin_dir: Option<PathBuf>,
    /// Put no command `threefold` anywhere
    #[arg(long)]
    pub no_bin: bool,
}

/// Installs the programs that lie in `from`: looks, then writes.
pub(crate) fn run(site: &Site, from: &Path, args: &Args, out: &mut dyn Write) -> Result<()> {
    if args.dry_run {
        return preview(site, from, args, out);
    }
    let args = &Args { replace_old: args.replace_old || may_replace_old(site)?, ..args.clone() };
    check(site, args.replace_old)?;
    wanted_timer(site, args)?;
    record_origin(site, from)?;
    install(site, from, args, out)
}

/// Keeps by what the programs were installed, for the cures that `status` and `doctor` name.
fn record_origin(site: &Site, from: &Path) -> Result<()> {
    // An installation that mends itself came from where it came from.
    if from == site.hooks_dir() || std::fs::canonicalize(from).ok() == std::fs::canonicalize(site.hooks_dir()).ok() {
        return Ok(());
    }
    let path = site.program(INSTALLED_FROM);
    let script = from.parent().map(|folder| folder.join("install.sh")).filter(|script| script.is_file());
    let Some(script) = script else { return Ok(fs::remove_file(&path).map(|_| ())?) };
    let line = format!("{}\n", script.display());
    // What cannot be read is written anew, which tells why.
    if fs::read_foreign(&path, line.len() as u64).ok().flatten().as_deref() != Some(line.as_bytes()) {
        fs::replace_file(&path, line.as_bytes())?;
    }
    Ok(())
}

/// Tells what [`install`] would do.
fn preview(site: &Site, from: &Path, args: &Args, out: &mut dyn Write) -> Result<()> {
    let registered = check(site, args.replace_old)?;
    let (programs, hooks_dir) = (PROGRAMS.join(", "), site.hooks_dir());
    writeln!(out, "would take {programs} from {} and copy what differs to {}", from.display(), hooks_dir.display())
        .context("write to stdout")?;
    let change = settings_change(site, args.replace_old)?;
    if change.is_empty() {
        writeln!(out, "would leave {} as it is", site.settings().display()).context("write to stdout")?;
    } else {
        write!(out, "would change {}:\n{}", site.settings().display(), change.diff()).context("write to stdout")?;
    }
    if registered != Registered::Same {
        writeln!(out, "would register the MCP server:\n{}", mcp::lines(site, &registered)?)
            .context("write to stdout")?;
    }
    for skill in skills::of_site(site)? {
        let what = match skill.standing {
            Standing::Same => continue,
            Standing::Absent | Standing::Ours => "write",
            Standing::Theirs if args.replace_old => "replace, keeping a copy of,",
            Standing::Theirs => "leave alone, since it is your own,",
        };
        writeln!(out, "would {what} {}", skill.path.display()).context("write to stdout")?;
    }
    if let Some(link) = wanted_link(site, args)? {
        match link.standing {
            Standing::Same => {}
            Standing::Theirs => writeln!(out, "would leave alone, since it is not ours, {}", link.path.display())
                .context("write to stdout")?,
            Standing::Absent | Standing::Ours => {
                writeln!(out, "would link {}", link.path.display()).context("write to stdout")?;
            }
        }
    }
    if let Some(timer) = wanted_timer(site, args)? {
        write!(out, "{}", timer.preview()).context("write to stdout")?;
    }
    if !args.no_import {
        writeln!(out, "would save all sessions under {}", site.places.projects().display())
            .context("write to stdout")?;
    }
    writeln!(out, "nothing was changed").context("write to stdout")?;
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
    )
    .context("write to stdout")?;
    out.flush().context("write to stderr")?;
    let mut line = String::new();
    answer.read_line(&mut line).context("read the answer")?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

/// What of the first version, or of others, uses the places that are ours; and what is registered as our MCP server.
fn in_the_way(site: &Site) -> Result<(Vec<String>, Registered)> {
    let mut old = Vec::new();
    let settings_path = site.settings();
    if let Some(text) = settings_json::read_body(&settings_path)? {
        let commands = settings_json::commands(&text)
            .context(format_args!("read {}: it was not changed; fix it and run this again", settings_path.display()))?;
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
    settings_change(site, replace_old)?;
    Ok(registered)
}

/// Installs the programs that lie in `from`, and says what it did.
fn install(site: &Site, from: &Path, args: &Args, out: &mut dyn Write) -> Result<()> {
    let registered = check(site, args.replace_old)?;
    let timer = wanted_timer(site, args)?;
    let mut done = place_programs(site, from, out)?;
    for skill in skills::of_site(site)? {
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
    let link = wanted_link(site, args)?;
    if let Some(link) = &link {
        done |= say(out, &link.install(site)?)?;
    }
    if !done {
        say(out, "everything is installed already")?;
    }
    if !args.no_import {
        save_what_exists(site, out)?;
    }
    let command = match &link {
        Some(link) if link.standing != Standing::Theirs => THREEFOLD.to_owned(),
        _ => site.program(LAYER3).display().to_string(),
    };
    let hint = link.map(|link| link.path_hint(site)).unwrap_or_default();
    protection::report(site, &command, &hint, out)
}

fn wanted_link(site: &Site, args: &Args) -> Result<Option<Link>> {
    // Who installs into a directory apart, to try it for instance, gets nothing into his own.
    if args.no_bin || (site.is_elsewhere && args.bin_dir.is_none()) {
        return Ok(None);
    }
    command::of_site(site, args.bin_dir.as_deref()).map(Some)
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
        let content = std::fs::read(&source).context(format_args!("read {}", source.display()))?;
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
    let there = fs::read_foreign(target, content.len() as u64);
    mode.is_ok_and(|mode| mode == MODE_PROGRAM) && there.is_ok_and(|there| there.as_deref() == Some(content))
}

/// Has the installed programs save every session that exists, in both stores, with receipts.
fn save_what_exists(site: &Site, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "saving the sessions that exist …").context("write to stdout")?;
    let mut failed = Vec::new();
    for (program, verb) in [(LAYER1, "sweep"), (LAYER3, "import"), (LAYER2, "drain")] {
        let mut command = site.own_command(program);
        let status = command.arg(verb).status().context(format_args!("start {}", site.program(program).display()))?;
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
        writeln!(out, "{line}").context("write to stdout")?;
    }
    Ok(!line.is_empty())
}

#[cfg(test)]
mod tests;
