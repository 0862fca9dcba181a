//! `uninstall`: takes away what `install` wrote, and no data.
use layer1_prebackup::names::{LAYER3, PROGRAMS, typed};
use std::io::Write;
use std::path::Path;

use layer1_prebackup::config::places::INSTALLED_FROM;
use layer1_prebackup::fs;

use crate::failure::Context;
use crate::setup::Result;
use crate::setup::command;
use crate::setup::mcp::{self, Registered};
use crate::setup::settings_json::Change;
use crate::setup::site::{Site, remove_if_empty};
use crate::setup::skills;
use crate::setup::timer::Timer;

// What was typed. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Show what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the programs and the command, with which to read what is saved
    #[arg(long)]
    pub keep_command: bool,
}

/// Hooks first, so that none is started whose program is gone; then the server, the timer, the
/// skills and the programs.
pub(crate) fn uninstall(site: &Site, args: &Args, out: &mut dyn Write) -> Result<()> {
    let change = Change::of_removal(&site.settings(), &crate::setup::hooks::of_site(site)?)?;
    let skills = skills::installed(site)?;
    let timer = Some(Timer::of_site(site)?).filter(Timer::is_set);
    let programs = PROGRAMS.iter().chain([&INSTALLED_FROM]).map(|name| site.program(name));
    let programs: Vec<_> = programs.filter(|path| !args.keep_command && is_there(path)).collect();
    let link = command::installed(site)?.filter(|_| !args.keep_command);
    if args.dry_run {
        write!(out, "{}", change.diff()).context("write to stdout")?;
        let servers = matches!(mcp::registered(site)?, Registered::Same | Registered::Stale);
        if servers {
            writeln!(out, "would remove the MCP server:\n{}", mcp::removal_line(site)?).context("write to stdout")?;
        }
        let units = timer.iter().flat_map(Timer::paths);
        for path in units.chain(skills.iter().map(|(_, path)| path)).chain(&programs).chain(&link) {
            writeln!(out, "would remove {}", path.display()).context("write to stdout")?;
        }
        writeln!(out, "nothing was changed").context("write to stdout")?;
        return Ok(());
    }
    let backup = change.make()?;
    if !change.is_empty() {
        writeln!(out, "removed the hooks from {}", site.settings().display()).context("write to stdout")?;
    }
    if let Some(backup) = backup {
        writeln!(out, "kept what was there as {}", backup.display()).context("write to stdout")?;
    }
    let unregistered = mcp::unregister(site)?;
    if !unregistered.is_empty() {
        writeln!(out, "{unregistered}").context("write to stdout")?;
    }
    if let Some(timer) = &timer {
        writeln!(out, "{}", timer.uninstall(site)?).context("write to stdout")?;
    }
    for (name, path) in &skills {
        remove_with_folder(path)?;
        writeln!(out, "removed the skill /{name}").context("write to stdout")?;
    }
    if !skills.is_empty() {
        remove_if_empty(&site.skills_dir())?;
    }
    if !args.keep_command {
        let removed = command::uninstall(site)?;
        if !removed.is_empty() {
            writeln!(out, "{removed}").context("write to stdout")?;
        }
    }
    for path in &programs {
        remove_with_folder(path)?;
        writeln!(out, "removed {}", path.display()).context("write to stdout")?;
    }
    let places = &site.places;
    writeln!(out, "your saved sessions stay where they are:").context("write to stdout")?;
    for place in [&places.layer1_store, &places.layer3_store, &places.index] {
        if is_there(place) && (place != &places.index || !place.starts_with(&places.layer3_store)) {
            writeln!(out, "  {}", place.display()).context("write to stdout")?;
        }
    }
    out.write_all(how_to_read(args.keep_command).as_bytes()).context("write to stdout")
}

/// How what is saved is read from now on.
fn how_to_read(keeps_command: bool) -> String {
    if keeps_command {
        let (list, show) = (typed(LAYER3, "list --all"), typed(LAYER3, "show SESSION"));
        return format!("the command stays: `{list}`, `{show}`; `{}` removes it too\n", typed(LAYER3, "uninstall"));
    }
    "each is PROJECT/SESSION.jsonl there, one JSON record a line (`zstd -d` unpacks .jsonl.zst); copied to\n\
     ~/.claude/projects/PROJECT/SESSION.jsonl, `claude --resume SESSION` goes on with it\n"
        .to_owned()
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Removes a file, and its folder if nothing else is in it.
fn remove_with_folder(path: &Path) -> Result<()> {
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), remove_if_empty)
}
