//! What was found out as text: how each thing is, and what is wrong with the line that cures it.

use std::path::Path;

use super::context::short;
use super::figures::{Colour, DiskStatus, Figures, StoreStatus};
use super::finding::{Finding, Kind};
use super::report::Report;
use layer1_prebackup::config::size::Size;

use crate::terminal::{Style, Terminal, count, left, one_line};

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
    pub(crate) home: &'a Path,
    pub(crate) terminal: &'a Terminal,
}

impl Renderer<'_> {
    /// What `status` prints: a line a place, then what needs a person, then what is worth knowing. No
    /// more than a screen when all is well.
    pub(crate) fn status(&self) -> String {
        let mut text = self.headline();
        for (name, value) in self.places() {
            let name = self.terminal.paint(Style::Bold, &left(name, 11));
            text.push_str(&format!("  {name}  {}\n", one_line(&value)));
        }
        for needs_person in [true, false] {
            let findings = self.report.findings.iter().filter(|finding| finding.needs_person == needs_person);
            for group in groups(findings) {
                text.push_str(&self.group(&group));
            }
        }
        text
    }

    /// What `doctor` prints: a line a check, and below it what is wrong.
    pub(crate) fn doctor(&self) -> String {
        let mut text = String::new();
        for mended in &self.report.mended {
            let (style, mark) = if mended.done { (Style::Green, "mended") } else { (Style::Red, "not mended") };
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
            text.push_str(&format!("{} {name}  {}\n", self.terminal.paint(style, mark), one_line(&check.said)));
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

    fn headline(&self) -> String {
        let lost = self.report.findings.iter().filter(|finding| finding.needs_person && finding.kind.is_loss()).count();
        if lost > 0 {
            let lost = count(lost as u64, "conversation");
            let text = format!(
                "{lost} lost messages that an older version has; {} in all need you, below.",
                count(self.report.needing() as u64, "thing")
            );
            return self.terminal.paint(Style::Red, &text) + "\n";
        }
        let nothing = self.figures().layer1.sessions + self.figures().layer3.sessions == 0;
        let (style, text) = match self.report.needing() {
            0 if nothing => (Style::Yellow, "Nothing is saved yet, and nothing needs you.".to_owned()),
            0 => (Style::Green, "All is well.".to_owned()),
            1 => (Style::Red, "1 thing needs you, below.".to_owned()),
            n => (Style::Red, format!("{n} things need you, below.")),
        };
        self.terminal.paint(style, &text) + "\n"
    }

    fn places(&self) -> [(&'static str, String); 8] {
        let figures = self.figures();
        [
            ("first copy", self.store(&figures.layer1)),
            ("second copy", self.store(&figures.layer3)),
            ("index", self.index()),
            ("outbox", self.outbox()),
            ("transcripts", self.sources()),
            ("hooks", figures.hooks.to_text(self.home)),
            ("disk", self.disk()),
            ("this folder", self.light()),
        ]
    }

    fn store(&self, store: &StoreStatus) -> String {
        let place = self.short(&store.store);
        if self.report.findings.iter().any(|found| found.kind == Kind::StoreAway && found.place == store.store) {
            return format!("not there ({place})");
        }
        let Some(age) = store.last_save_age_seconds else { return format!("nothing yet ({place})") };
        let sessions = count(store.sessions, "session");
        format!("{sessions}, {}, last save {} ago ({place})", Size(store.bytes), duration(age))
    }

    fn index(&self) -> String {
        let index = &self.figures().index;
        format!("{}, {}, {}", index.state, count(index.messages, "message"), Size(index.bytes))
    }

    fn outbox(&self) -> String {
        let outbox = &self.figures().outbox;
        let oldest = outbox.oldest_age_seconds.map(|age| format!(", the oldest for {}", duration(age)));
        let failed = if outbox.failed > 0 { format!(", {} failed", outbox.failed) } else { String::new() };
        match outbox.jobs {
            0 => "empty".to_owned(),
            n => format!("{} waiting for the second copy{}{failed}", count(n, "session"), oldest.unwrap_or_default()),
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
                format!("{}; both copies lie on it, BACKUP_DIR can move one", free(disk))
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
            return format!("{mark} Claude Code has no transcript of it");
        }
        let (sessions, bytes) = (count(light.sessions, "transcript"), Size(light.bytes));
        let largest = Size(light.largest_bytes);
        format!("{mark} {sessions}, {bytes}, the largest {largest}: what Claude Code resumes with ease, not the copies")
    }

    fn group(&self, group: &[&Finding]) -> String {
        let number = if group.len() > 1 { format!(" ({})", group.len()) } else { String::new() };
        let mut text = format!("\n{}{number}\n", self.kind(group[0]));
        let shown = &group[..group.len().min(SHOWN_MAX)];
        for (nth, finding) in shown.iter().enumerate() {
            text.push_str(&format!("    {}\n", self.what(finding)));
            if let Some(mend) = &finding.mend
                && shown.get(nth + 1).is_none_or(|next| next.mend != finding.mend)
            {
                text.push_str(&format!("      {}\n", self.command(mend)));
            }
        }
        if group.len() > SHOWN_MAX {
            text.push_str(&format!("    … and {} more, which --json lists\n", group.len() - SHOWN_MAX));
        }
        text
    }

    fn details(&self, findings: &[&Finding]) -> String {
        let mut text = String::new();
        for (nth, finding) in findings.iter().enumerate() {
            let is_same = |other: &&&Finding| other.kind == finding.kind;
            let before = findings[..nth].iter().filter(is_same).count();
            if before == SHOWN_MAX {
                let more = findings.iter().filter(is_same).count() - SHOWN_MAX;
                text.push_str(&format!("    … and {more} more {}, which --json lists\n", finding.kind.word()));
            }
            if before >= SHOWN_MAX {
                continue;
            }
            text.push_str(&format!("    {}  {}\n", self.kind(finding), self.what(finding)));
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

    fn what(&self, finding: &Finding) -> String {
        format!("{}: {}", self.short(&finding.place), one_line(&finding.what))
    }

    fn command(&self, mend: &str) -> String {
        self.terminal.paint(Style::Bold, &one_line(mend))
    }

    fn short(&self, path: &Path) -> String {
        one_line(&short(path, self.home))
    }
}

/// The findings by kind, in the order in which the kinds come.
fn groups<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<Vec<&'a Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        match groups.iter_mut().find(|group| group[0].kind == finding.kind) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
}
