//! Whether an installation does what it should: `status` looks at what is saved, `doctor` also at what
//! is to save it, and has it save something.
//!
//! It changes nothing of the user's unless it is told to mend ([`mend`]), and then only what cannot
//! do harm. A synthetic conversation goes through the installed chain in a scratch directory of its
//! own. Whatever it starts is waited for within a bound. What is wrong is a [`Found`] with the
//! command that mends it, never an error.

mod child;
mod hooks;
mod mcp;
mod mend;
mod programs;
mod round_trip;
mod stores;
mod text;
mod timer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use layer1_prebackup::config::places::Places;
use serde::Serialize;

use crate::health::status::installation::{self, Installation};
use crate::health::status::{self, Finding, Status, Viewpoint};
use crate::index::{self, Index, IndexError};
use crate::terminal;

pub(crate) use mend::{Mended, mend};
pub(crate) use text::to_text;

/// What `--help` adds.
pub(crate) const HELP: &str = "\
Exit code 1 when anything is wrong, 0 otherwise. It can find what `status --help` lists, and:
  program-missing, program-not-executable, program-broken, program-version
                        one of the three programs is not fit for use, or of another version
  hook-changed, hook-restricted, hook-timeout, hook-twice, hook-places
                        a hook is not what install writes, or uses other stores than this command
  hooks-managed-only, first-version-hooks
                        the administrator lets no hook of yours run; old scripts are still hooks
  mcp-missing, mcp-foreign, mcp-stale, mcp-places, mcp-unreadable, mcp-silent, mcp-tools
                        the MCP server is not registered, is another's, or does not answer
  store-missing, store-unwritable, store-open
                        a store is gone, cannot be written, or others may read it
  fts5-missing          SQLite was built without full-text search
  timer-silent          the timer is set, and has not run for half an hour
  round-trip-failed, round-trip-copy, round-trip-receipt, round-trip-search
                        a synthetic conversation did not come through the installed chain
--fix does what is safe: makes a program executable again, makes a store that is gone, takes its
rights from others, delivers what is pending, makes the index again. `cargo xtask doctor --fix`
and an archive's `./setup doctor --fix` also install again. Only told: pending, index-set-aside.

--json: ok, version, checks (name, ok, said), findings (as of `status`, with check
and fixable), mended.

Example: layer3-indexer doctor --fix";

/// The check of layer 1's store.
const FIRST: &str = "first copy";
/// The check of layer 3's store.
const SECOND: &str = "second copy";
/// The name of our MCP server.
const MCP_NAME: &str = "session-manager";

/// What is to be looked at, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Patient {
    /// Claude Code's directory, the stores, the index.
    pub(crate) places: Places,
    /// Where Claude Code keeps the MCP servers of this user.
    pub(crate) claude_json: PathBuf,
    /// The folder of the administrator's settings of Claude Code.
    pub(crate) managed_dir: PathBuf,
    /// Where the user's programs keep their settings.
    pub(crate) config_home: PathBuf,
    /// Where scratch directories are made.
    pub(crate) temp_dir: PathBuf,
    /// What a hook inherits of the environment, as far as it concerns us: the home, the `PATH`, the
    /// language, the places. No secrets.
    pub(crate) vars: Vec<(OsString, OsString)>,
    /// Now, the current directory, the programs as one types them.
    pub(crate) view: Viewpoint,
    /// Whether a conversation is sent through the chain.
    pub(crate) round_trip: bool,
}

impl Patient {
    /// How it came onto this machine, which says what installs it again.
    fn installation(&self) -> Installation {
        installation::find(&self.places.claude_dir, self.view.program_dir.as_deref())
    }

    /// What installs again what is wrong with the programs and hooks.
    fn install_line(&self) -> String {
        self.installation().install_line()
    }

    /// What installs again a program that lies here: in the plugin's folder that is the plugin, whatever else is installed.
    fn install_line_of(&self, program: &Path) -> String {
        // Settings that cannot be read enable nothing.
        let settings = status::hooks::read(&self.places.claude_dir.join("settings.json")).unwrap_or_default();
        let plugin = status::plugin::installed(&self.places.claude_dir, &settings);
        let plugin = plugin.filter(|plugin| program.starts_with(&plugin.folder));
        plugin.map_or_else(|| self.install_line(), |plugin| plugin.install_line())
    }

    /// What a timer does where the installer sets none: to be run by whatever runs things at their time.
    fn save_now_line(&self) -> String {
        let commands = &self.view.commands;
        format!("{} sweep; {} drain", commands.layer1, commands.layer2)
    }
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Diagnosis {
    /// Whether nothing is wrong.
    pub(crate) ok: bool,
    /// Of this program.
    pub(crate) version: &'static str,
    /// What was looked at, in order.
    pub(crate) checks: Vec<Check>,
    /// What is wrong or worth knowing.
    pub(crate) findings: Vec<Found>,
    /// What was mended before this was found out.
    pub(crate) mended: Vec<Mended>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Which: a stable word or two.
    pub(crate) name: &'static str,
    /// Whether it is as it should be.
    pub(crate) ok: bool,
    /// How it is, in one line.
    pub(crate) said: String,
}

/// A finding, and the check that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    /// The check's name.
    pub(crate) check: &'static str,
    /// Whether `--fix` mends it.
    pub(crate) fixable: bool,
    /// What, where, and the command that mends it.
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// Looks at everything. Writes nothing but scratch files, which it removes.
pub(crate) fn examine(patient: &Patient) -> Diagnosis {
    let status = status::status(&patient.places, &patient.view);
    let mut chart = Chart { patient, checks: Vec::new(), findings: Vec::new() };
    let hooks = hooks::look(patient, &mut chart.findings);
    programs(&mut chart, &hooks, &status);
    chart.of_status("hooks", &status);
    let hooks_said = match &status.hooks.state {
        &"no-claude" => "Claude Code's directory does not exist".to_owned(),
        &"plugin" => format!("by the plugin ({})", chart.short(status.hooks.place())),
        state => format!("{state} ({})", chart.short(&status.hooks.settings)),
    };
    chart.check("hooks", hooks_said);
    let said = mcp::look(patient, &mut chart.findings);
    chart.check("mcp server", said);
    for check in [FIRST, SECOND] {
        chart.of_status(check, &status);
        let said = stores::look(patient, &status, check, &mut chart.findings);
        chart.check(check, said);
    }
    index(&mut chart, &status);
    chart.of_status("outbox", &status);
    outbox(&mut chart, &status);
    chart.of_status("transcripts", &status);
    chart.check("transcripts", transcripts(&status));
    let said = timer::look(patient, &mut chart.findings);
    chart.check("timer", said);
    if patient.round_trip {
        let said = round_trip::run(patient, &hooks, &mut chart.findings);
        chart.check("round trip", said);
    }
    let Chart { checks, mut findings, .. } = chart;
    findings.sort_by_key(|found| !found.finding.needs_person);
    let ok = findings.iter().all(|found| !found.finding.needs_person);
    Diagnosis { ok, version: env!("CARGO_PKG_VERSION"), checks, findings, mended: Vec::new() }
}

/// The check that a finding of `status` belongs to.
fn check_of(patient: &Patient, finding: &Finding) -> &'static str {
    match finding.kind {
        "hooks-missing" | "hooks-incomplete" | "hooks-disabled" | "hook-program-missing" | "settings-unreadable" => {
            "hooks"
        }
        "damaged-copy" | "store-unreadable" | "set-aside" | "disk-low" => {
            if finding.place.starts_with(&patient.places.layer3_store) { SECOND } else { FIRST }
        }
        "failed-job" | "stuck-job" | "unreadable-job" => "outbox",
        "index" => "index",
        _ => "transcripts",
    }
}

struct Chart<'a> {
    patient: &'a Patient,
    checks: Vec<Check>,
    findings: Vec<Found>,
}

impl Chart<'_> {
    /// Takes over what `status` found for this check.
    fn of_status(&mut self, check: &'static str, status: &Status) {
        // What is missing is told by the check of the programs.
        let patient = self.patient;
        let wanted = |finding: &&Finding| check_of(patient, finding) == check && finding.kind != "hook-program-missing";
        self.findings.extend(status.findings.iter().filter(wanted).map(|finding| {
            let mut finding = finding.clone();
            if finding.mend.is_none() && matches!(finding.kind, "hooks-disabled" | "settings-unreadable") {
                finding.mend = Some(edit(&finding.place));
            }
            found(check, finding)
        }));
    }

    /// The check is over: it is as it should be where it found nothing wrong.
    fn check(&mut self, name: &'static str, said: String) {
        let ok = !self.findings.iter().any(|found| found.check == name && found.finding.needs_person);
        self.checks.push(Check { name, ok, said });
    }

    fn short(&self, path: &Path) -> String {
        short(self.patient, path)
    }
}

fn programs(chart: &mut Chart<'_>, hooks: &hooks::Hooks, status: &Status) {
    let said = if status.hooks.state == "no-claude" {
        "Claude Code's directory does not exist".to_owned()
    } else {
        programs::look(chart.patient, &hooks.programs, &mut chart.findings)
    };
    chart.check("programs", said);
}

fn index(chart: &mut Chart<'_>, status: &Status) {
    let index = &status.index;
    let layer3 = &chart.patient.view.commands.layer3;
    for finding in status.findings.iter().filter(|finding| finding.kind == "index") {
        // It heals by itself; but who asks a doctor wants to know, and can have it now.
        let mended = Finding { needs_person: true, ..finding.clone() }.mend(format!("{layer3} rebuild"));
        chart.findings.push(found("index", mended));
    }
    set_asides(chart, &index.path);
    let sqlite = match index::versions() {
        Ok(versions) => format!("SQLite {} with FTS5", versions.sqlite),
        Err(error @ IndexError::Sqlite { .. }) => {
            let what = format!("SQLite has no full-text search: {}", crate::failure::chain(&error));
            let finding = Finding::new("fts5-missing", true, what, &index.path).mend(chart.patient.install_line());
            chart.findings.push(found("index", finding));
            "SQLite without FTS5".to_owned()
        }
        Err(error) => crate::failure::chain(&error),
    };
    let messages = terminal::count(index.messages, "message");
    chart.check("index", format!("{}, {messages}, {sqlite} ({})", index.state, chart.short(&index.path)));
}

/// Indexes that could not be used stay until the user removes them: all that they said is made again from the copies.
fn set_asides(chart: &mut Chart<'_>, index: &Path) {
    let asides = Index::set_asides(index);
    let Some((first, _)) = asides.first() else { return };
    let bytes = terminal::size(asides.iter().map(|(_, bytes)| bytes).sum());
    let (what, that) = match asides.len() {
        1 => ("an index that could not be used was".to_owned(), "it"),
        n => (format!("{n} indexes that could not be used were"), "they"),
    };
    let what = format!("{what} set aside, {bytes}; {that} may go once verify is clean");
    let removed: Vec<String> =
        asides.iter().map(|(path, _)| terminal::shell_quoted(&path.to_string_lossy()) + "*").collect();
    let mend = format!("{} verify && rm {}", chart.patient.view.commands.layer3, removed.join(" "));
    chart.findings.push(found("index", Finding::new("index-set-aside", false, what, first).mend(mend)));
}

fn outbox(chart: &mut Chart<'_>, status: &Status) {
    let outbox = &status.outbox;
    let young = outbox.jobs.saturating_sub(outbox.failed);
    if young > 0 && !status.findings.iter().any(|finding| finding.kind == "stuck-job") {
        let what = format!("{} waiting for the second copy", terminal::count(young, "session"));
        let mend = format!("{} drain --foreground", chart.patient.view.commands.layer2);
        chart.findings.push(found("outbox", Finding::new("pending", false, what, &outbox.path).mend(mend)));
    }
    let said = match outbox.jobs {
        0 => "nothing waits for the second copy".to_owned(),
        jobs => format!("{} waiting, {} failed", terminal::count(jobs, "session"), outbox.failed),
    };
    chart.check("outbox", said);
}

/// What there is, what of it is saved, and when Claude Code deletes the next.
fn transcripts(status: &Status) -> String {
    let sources = &status.sources;
    let days = terminal::count(sources.cleanup_period_days, "day");
    let saved = match status.not_yet_saved.len() {
        0 => "all saved twice".to_owned(),
        n => format!("{n} not yet saved twice"),
    };
    let next = match sources.expiring.iter().min_by_key(|expiring| expiring.days_left) {
        None => "none within a week".to_owned(),
        Some(next) => {
            let unsaved = sources.expiring.iter().filter(|expiring| !expiring.saved).count();
            let first = match next.days_left {
                0 => "at its next start".to_owned(),
                n => format!("in {}", terminal::count(n, "day")),
            };
            format!("the next {first}, {} within a week, {unsaved} of them not saved", sources.expiring.len())
        }
    };
    let all = terminal::count(sources.transcripts, "transcript");
    format!("{all}, {saved}; Claude Code deletes them {days} after their last change: {next}")
}

fn found(check: &'static str, finding: Finding) -> Found {
    Found { check, fixable: mend::is_safe(&finding), finding }
}

/// The command that opens a file of the user's, where only the user can say what it should hold.
fn edit(path: &Path) -> String {
    format!("${{EDITOR:-vi}} {}", terminal::shell_quoted(&path.to_string_lossy()))
}

/// A path below the home with `~`.
fn short(patient: &Patient, path: &Path) -> String {
    match path.strip_prefix(&patient.places.home) {
        Ok(below) => format!("~/{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}

/// The places that are not the defaults, as flags for our programs, each with its value.
fn place_flags(places: &Places) -> Vec<(&'static str, &Path)> {
    let Places { home, claude_dir, layer1_store, layer3_store, index, policy: _ } = places;
    let with_default = [
        ("--claude-dir", claude_dir, home.join(".claude")),
        ("--pre-backup-dir", layer1_store, home.join(".claude-backup-sessions")),
        ("--backup-dir", layer3_store, home.join(".claude-backup")),
        ("--session-db", index, layer3_store.join("sessions.db")),
    ];
    let others = with_default.into_iter().filter(|(_, place, default)| *place != default);
    others.map(|(flag, place, _)| (flag, place.as_path())).collect()
}
