//! What was found out as text: how each thing is, and what is wrong with the line that cures it.

use std::path::Path;

use super::causes::{Cause, capitalised, causes, headline};
use super::context::Context;
use super::figures::{Colour, DiskStatus, Figures, StoreStatus};
use super::finding::{Finding, Kind};
use super::report::Report;
use super::titles::Titles;
use layer1_prebackup::config::size::Size;

use crate::terminal::{Style, Terminal, count, left, one_line, short_id};

/// Findings of one kind that are shown; `--json` has all.
const SHOWN_MAX: usize = 3;

/// What is saved of Claude Code's transcripts. Those that are not to be saved are not called so.
pub(crate) fn how_saved(figures: &Figures) -> String {
    let left_out = figures.sources.left_out;
    let saved = match figures.not_yet_saved.len() {
        0 if left_out == 0 => "all saved twice, ".to_owned(),
        0 if left_out == figures.sources.transcripts => String::new(),
        0 => format!("{} saved twice, ", figures.sources.transcripts - left_out),
        n => format!("{n} not yet saved twice, "),
    };
    match left_out {
        0 => saved.trim_end_matches(", ").to_owned(),
        n => format!("{saved}{n} not saved on purpose (excluded, or deleted with `forget`)"),
    }
}

/// `a few seconds`, `3 hours`, `12 days`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => "a few seconds".to_owned(),
        60..3600 => count(seconds / 60, "minute"),
        3600..86_400 => count(seconds / 3600, "hour"),
        _ => count(seconds / 86_400, "day"),
    }
}

/// A report, for people. The home is written as `~` outside of commands.
pub(crate) struct Renderer<'a> {
    pub(crate) report: &'a Report,
    pub(crate) context: &'a Context,
    pub(crate) terminal: &'a Terminal,
    /// Whether also what only Claude Code's own limits are about.
    pub(crate) verbose: bool,
}

impl Renderer<'_> {
    /// What `status` prints: one line that is true of all, a line a place, then each cause of what needs a person, then
    /// what is worth knowing. No more than a screen when all is well.
    pub(crate) fn status(&self) -> String {
        let causes = causes(self.report);
        let mut text = self.headline(&causes);
        for (name, value) in self.places() {
            let name = self.terminal.paint(Style::Bold, &left(name, 11));
            text.push_str(&format!("  {name}  {}\n", one_line(&value)));
        }
        let titles = Titles::new(self.context);
        for cause in &causes {
            let (style, mark) = if cause.needs_person { (Style::Red, "✗") } else { (Style::Yellow, "·") };
            let heading = format!("{mark} {}", capitalised(&cause.heading()));
            text.push_str(&format!("\n{} ({})\n", self.terminal.paint(style, &heading), cause.kind.word()));
            text.push_str(&self.cause(cause, &titles));
            for consequence in &cause.consequences {
                let heading = capitalised(&consequence.heading());
                text.push_str(&format!(
                    "  {heading} ({})\n{}",
                    consequence.kind.word(),
                    self.things(consequence, false, &titles)
                ));
            }
        }
        self.terminal.at_blanks(&text)
    }

    /// What `doctor` prints: a line a check, and below it what is wrong.
    pub(crate) fn doctor(&self) -> String {
        let mut text = String::new();
        for mended in &self.report.mended {
            let (style, mark) = if mended.done { (Style::Green, "fixed") } else { (Style::Red, "not fixed") };
            let mark = self.terminal.paint(style, &format!("{mark} {}", mended.kind.word()));
            text.push_str(&format!("{mark}  {}: {}\n", self.short(&mended.place), one_line(&mended.said)));
        }
        for check in &self.report.checks {
            let is_wrong = self.report.findings.iter().any(|found| found.needs_person && found.subject == check.name);
            let (style, mark) = match (check.checked, is_wrong) {
                (_, true) => (Style::Red, "✗"),
                (true, false) => (Style::Green, "✓"),
                (false, false) => (Style::Yellow, "–"),
            };
            let name = self.terminal.paint(Style::Bold, &left(check.name.name(), 11));
            let line = format!("{} {name}  {}\n", self.terminal.paint(style, mark), one_line(&check.said));
            text.push_str(&self.terminal.at_blanks(&line));
            let findings: Vec<_> =
                self.report.findings.iter().filter(|finding| finding.subject == check.name).collect();
            text.push_str(&self.details(&findings));
        }
        let last = match self.report.needing() as u64 {
            0 if self.report.checks.iter().any(|check| !check.ok) => {
                self.terminal.paint(Style::Yellow, "Nothing is wrong in what could be checked.")
            }
            0 => self.terminal.paint(Style::Green, "All is well."),
            n => self.terminal.paint(Style::Red, &format!("{} wrong.", count(n, "thing"))),
        };
        text + &last + "\n"
    }

    fn figures(&self) -> &Figures {
        &self.report.figures
    }

    fn headline(&self, causes: &[Cause<'_>]) -> String {
        let store = &self.figures().layer3;
        let last = store.last_save_age_seconds.map(|age| format!(", last save {} ago", duration(age)));
        let conversations = count(store.sessions, "conversation");
        let mut saved = format!("{conversations}, {}, two copies{}", Size(store.bytes), last.unwrap_or_default());
        if let left_out @ 1.. = self.figures().sources.left_out {
            saved.push_str(&format!(" ({left_out} not saved on purpose)"));
        }
        let line = headline(self.report, causes, &saved);
        let (style, mark) = match (line.needs_person, line.is_saved) {
            (true, _) => (Style::Red, "⚠"),
            (false, true) => (Style::Green, "✓"),
            (false, false) => (Style::Yellow, "–"),
        };
        let text = self.terminal.paint(style, &one_line(&format!("{mark} {}", line.text)));
        let mend = line.mend.map(|mend| format!(" → {}", self.command(&mend)));
        format!("{text}{}\n", mend.unwrap_or_default())
    }

    fn places(&self) -> Vec<(&'static str, String)> {
        let figures = self.figures();
        let mut places = vec![
            ("first copy", self.store(&figures.layer1)),
            ("second copy", self.store(&figures.layer3)),
            ("index", self.index()),
            ("waiting", self.outbox()),
            ("transcripts", self.sources()),
            ("hooks", figures.hooks.to_text(&self.context.places.home)),
            ("disk", self.disk()),
        ];
        places.extend(figures.offsite.iter().map(|offsite| ("off-site", offsite.clone())));
        if self.verbose {
            places.push(("this folder", self.light()));
        }
        places
    }

    fn store(&self, store: &StoreStatus) -> String {
        let place = self.short(&store.store);
        if self.report.findings.iter().any(|found| found.kind == Kind::StoreAway && found.place == store.store) {
            return format!("not there ({place})");
        }
        let Some(age) = store.last_save_age_seconds else { return format!("– nothing yet ({place})") };
        let sessions = count(store.sessions, "conversation");
        format!("{sessions}, {}, last save {} ago ({place})", Size(store.bytes), duration(age))
    }

    fn index(&self) -> String {
        let index = &self.figures().index;
        if index.state == "missing" {
            return "– none yet".to_owned();
        }
        format!("{}, {}, {}", index.state, count(index.messages, "message"), Size(index.bytes))
    }

    fn outbox(&self) -> String {
        let outbox = &self.figures().outbox;
        let oldest = outbox.oldest_age_seconds.map(|age| format!(", the oldest for {}", duration(age)));
        let failed = if outbox.failed > 0 { format!(", {} failed", outbox.failed) } else { String::new() };
        match outbox.jobs {
            0 => "nothing".to_owned(),
            n => format!("{} for the second copy{}{failed}", count(n, "conversation"), oldest.unwrap_or_default()),
        }
    }

    fn sources(&self) -> String {
        let sources = &self.figures().sources;
        let saved = match sources.transcripts {
            0 => String::new(),
            _ => format!(", {}", how_saved(self.figures())),
        };
        let expiring = match sources.expiring.len() {
            0 => String::new(),
            n => format!("; Claude Code deletes {n} within a week"),
        };
        let gone = self.figures().vanished.iter().filter(|vanished| vanished.expected).count();
        let gone = if gone > 0 { format!("; {gone} it deleted are saved") } else { String::new() };
        format!("{}, {}{saved}{expiring}{gone}", count(sources.transcripts, "transcript"), Size(sources.bytes))
    }

    fn disk(&self) -> String {
        let free = |disk: &DiskStatus| format!("{} of {} free", Size(disk.free_bytes), Size(disk.total_bytes));
        match self.figures().disks.as_slice() {
            [disk, ..] if self.figures().one_disk => {
                format!("{}; both copies are on this disk (set BACKUP_DIR to put one elsewhere)", free(disk))
            }
            disks => disks.iter().map(free).collect::<Vec<_>>().join("; "),
        }
    }

    fn light(&self) -> String {
        let light = &self.figures().light;
        let mark = match light.colour {
            Colour::Green => "🟢",
            Colour::Yellow => "🟡",
            Colour::Red => "🔴",
        };
        if light.folder.is_none() {
            return "– Claude Code has no transcript of it".to_owned();
        }
        let (sessions, bytes) = (count(light.sessions, "transcript"), Size(light.bytes));
        let largest = Size(light.largest_bytes);
        let slow = if light.colour == Colour::Green { "is quick" } else { "may be slow" };
        format!(
            "{mark} {sessions}, {bytes}, the largest {largest}: `claude --resume` {slow} here; it is not about your copies"
        )
    }

    /// Up to three of what a cause is about, and the command that fixes it.
    fn cause(&self, cause: &Cause<'_>, titles: &Titles<'_>) -> String {
        let mend = cause.mend().map(str::to_owned).or_else(|| self.mend_of_all(cause));
        let mut text = self.things(cause, mend.is_none(), titles);
        if let Some(mend) = mend {
            text.push_str(&format!("    → {}\n", self.command(&mend)));
        }
        text
    }

    /// What brings back all at once what was deleted.
    fn mend_of_all(&self, cause: &Cause<'_>) -> Option<String> {
        let is_of_all = cause.kind == Kind::Vanished && cause.things() > SHOWN_MAX as u64;
        is_of_all.then(|| format!("{} restore --all-missing", self.context.commands.layer3))
    }

    /// Up to three things; each `with` its own command where they differ.
    fn things(&self, cause: &Cause<'_>, with: bool, titles: &Titles<'_>) -> String {
        let mut text = String::new();
        let about = cause.about();
        for finding in about.iter().take(SHOWN_MAX) {
            text.push_str(&format!("    {}\n", self.what(finding, titles)));
            if let Some(mend) = finding.mend.as_ref().filter(|_| with) {
                text.push_str(&format!("      → {}\n", self.command(mend)));
            }
        }
        if about.len() > SHOWN_MAX {
            text.push_str(&format!("    … and {} more (--json lists all)\n", about.len() - SHOWN_MAX));
        }
        text
    }

    fn details(&self, findings: &[&Finding]) -> String {
        let titles = Titles::new(self.context);
        let mut text = String::new();
        for (nth, finding) in findings.iter().enumerate() {
            let is_same = |other: &&&Finding| other.kind == finding.kind;
            let before = findings[..nth].iter().filter(is_same).count();
            if before == SHOWN_MAX {
                let more = findings.iter().filter(is_same).count() - SHOWN_MAX;
                text.push_str(&format!("    … and {more} more {} (--json lists all)\n", finding.kind.word()));
            }
            if before >= SHOWN_MAX {
                continue;
            }
            let line = format!("    {}  {}\n", self.kind(finding), self.what(finding, &titles));
            text.push_str(&self.terminal.at_blanks(&line));
            if let Some(mend) = &finding.mend {
                let fix = if finding.kind.remedy().is_some() { "   (or --fix)" } else { "" };
                text.push_str(&format!("        {}{fix}\n", self.command(mend)));
            }
        }
        text
    }

    fn kind(&self, finding: &Finding) -> String {
        let (style, mark) = if finding.needs_person { (Style::Red, "✗") } else { (Style::Yellow, "·") };
        self.terminal.paint(style, &format!("{mark} {}", finding.kind.word()))
    }

    /// A conversation by its title, anything else by its place.
    fn what(&self, finding: &Finding, titles: &Titles<'_>) -> String {
        let what = one_line(&finding.what);
        match (titles.of(finding), &finding.session_id) {
            (Some(title), Some(id)) => format!("{} ({}): {what}", one_line(&title), short_id(id)),
            _ => format!("{}: {what}", self.short(&finding.place)),
        }
    }

    fn command(&self, mend: &str) -> String {
        self.terminal.paint(Style::Bold, &one_line(mend))
    }

    fn short(&self, path: &Path) -> String {
        one_line(&self.context.short(path))
    }
}
