//! `cargo xtask uninstall`: takes away what `install` wrote, and no data.
use layer1_prebackup::names::PROGRAMS;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use layer1_prebackup::config::places::{INSTALLED_FROM, PlaceFlags};
use layer1_prebackup::fs;

use crate::setup::mcp::{self, Registered};
use crate::setup::settings_json::{self, Change};
use crate::setup::site::{Site, remove_if_empty};
use crate::setup::skills;
use crate::setup::timer::Timer;
use layer1_prebackup::claude::hooks;

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Show what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where it was installed
    #[command(flatten)]
    pub places: PlaceFlags,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    uninstall(&Site::here(&args.places)?, args.dry_run, &mut std::io::stdout().lock())
}

/// Hooks first, so that none is started whose program is gone; then the server, the timer, the
/// skills and the programs.
pub(crate) fn uninstall(site: &Site, dry_run: bool, out: &mut dyn Write) -> Result<()> {
    let change = Change::of_removal(&site.settings(), |text| settings_json::without_hooks(text, hooks::is_ours))?;
    let skills = skills::installed(site)?;
    let timer = Some(Timer::of_site(site)?).filter(Timer::is_set);
    let programs: Vec<_> =
        PROGRAMS.iter().chain([&INSTALLED_FROM]).map(|name| site.program(name)).filter(|path| is_there(path)).collect();
    if dry_run {
        write!(out, "{}", change.diff())?;
        let servers = matches!(mcp::registered(site)?, Registered::Same | Registered::Stale);
        if servers {
            writeln!(out, "would remove the MCP server:\n{}", mcp::removal_line(site)?)?;
        }
        let units = timer.iter().flat_map(Timer::paths);
        for path in units.chain(skills.iter().map(|(_, path)| path)).chain(&programs) {
            writeln!(out, "would remove {}", path.display())?;
        }
        writeln!(out, "nothing was changed")?;
        return Ok(());
    }
    let backup = change.make()?;
    if !change.is_empty() {
        writeln!(out, "removed the hooks from {}", site.settings().display())?;
    }
    if let Some(backup) = backup {
        writeln!(out, "kept what was there as {}", backup.display())?;
    }
    let unregistered = mcp::unregister(site)?;
    if !unregistered.is_empty() {
        writeln!(out, "{unregistered}")?;
    }
    if let Some(timer) = &timer {
        writeln!(out, "{}", timer.uninstall(site)?)?;
    }
    for (name, path) in &skills {
        remove_with_folder(path)?;
        writeln!(out, "removed the skill /{name}")?;
    }
    if !skills.is_empty() {
        remove_if_empty(&site.skills_dir())?;
    }
    for path in &programs {
        remove_with_folder(path)?;
        writeln!(out, "removed {}", path.display())?;
    }
    let places = &site.places;
    writeln!(out, "your saved sessions stay where they are:")?;
    for place in [&places.layer1_store, &places.layer3_store, &places.index] {
        if is_there(place) && (place != &places.index || !place.starts_with(&places.layer3_store)) {
            writeln!(out, "  {}", place.display())?;
        }
    }
    Ok(())
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Removes a file, and its folder if nothing else is in it.
fn remove_with_folder(path: &Path) -> Result<()> {
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), remove_if_empty)
}
