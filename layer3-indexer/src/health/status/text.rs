//! The state as text: a line a place, then what needs a person, then what is worth knowing.

use std::path::Path;

use super::{Colour, Finding, Status, StoreStatus};
use crate::terminal::{self, Style, Terminal, count, left, one_line, size};

/// Findings of one kind that are shown; `--json` has all.
const SHOWN_MAX: usize = 3;

/// For people: no more than a screen when all is well. `home` is written as `~` outside of commands.
pub(crate) fn to_text(status: &Status, home: &Path, terminal: &Terminal) -> String {
    let page = Page { status, home, terminal };
    let mut text = page.headline();
    for (name, value) in page.places() {
        let name = terminal.paint(Style::Bold, &left(name, 11));
        text.push_str(&format!("  {name}  {}\n", one_line(&value)));
    }
    for needs_person in [true, false] {
        for group in groups(&status.findings, needs_person) {
            text.push_str(&page.group(&group, needs_person));
        }
    }
    text
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

struct Page<'a> {
    status: &'a Status,
    home: &'a Path,
    terminal: &'a Terminal,
}

impl Page<'_> {
    fn headline(&self) -> String {
        let needing = self.status.findings.iter().filter(|finding| finding.needs_person).count() as u64;
        let nothing = self.status.layer1.sessions + self.status.layer3.sessions == 0;
        let (style, text) = match needing {
            0 if nothing => (Style::Yellow, "Nothing is saved yet, and nothing needs you.".to_owned()),
            0 => (Style::Green, "All is well.".to_owned()),
            1 => (Style::Red, "1 thing needs you, below.".to_owned()),
            n => (Style::Red, format!("{n} things need you, below.")),
        };
        self.terminal.paint(style, &text) + "\n"
    }

    fn places(&self) -> [(&'static str, String); 8] {
        let status = self.status;
        [
            ("first copy", self.store(&status.layer1)),
            ("second copy", self.store(&status.layer3)),
            ("index", self.index()),
            ("outbox", self.outbox()),
            ("transcripts", self.sources()),
            ("hooks", self.hooks()),
            ("disk", self.disk()),
            ("this folder", self.light()),
        ]
    }

    fn store(&self, store: &StoreStatus) -> String {
        let place = self.short(&store.store);
        let Some(age) = store.last_save_age_seconds else { return format!("nothing yet ({place})") };
        let sessions = count(store.sessions, "session");
        format!("{sessions}, {}, last save {} ago ({place})", size(store.bytes), duration(age))
    }

    fn index(&self) -> String {
        let index = &self.status.index;
        format!("{}, {}, {}", index.state, count(index.messages, "message"), size(index.bytes))
    }

    fn outbox(&self) -> String {
        let outbox = &self.status.outbox;
        let oldest = outbox.oldest_age_seconds.map(|age| format!(", the oldest for {}", duration(age)));
        let failed = if outbox.failed > 0 { format!(", {} failed", outbox.failed) } else { String::new() };
        match outbox.jobs {
            0 => "empty".to_owned(),
            n => format!("{} waiting for the second copy{}{failed}", count(n, "session"), oldest.unwrap_or_default()),
        }
    }

    fn sources(&self) -> String {
        let sources = &self.status.sources;
        let saved = match self.status.not_yet_saved.len() {
            _ if sources.transcripts == 0 => String::new(),
            0 => ", all saved twice".to_owned(),
            n => format!(", {n} not yet saved twice"),
        };
        let expiring = match sources.expiring.len() {
            0 => String::new(),
            n => format!("; Claude Code deletes {n} within a week"),
        };
        let gone = self.status.vanished.iter().filter(|vanished| vanished.expected).count();
        let gone = if gone > 0 { format!("; {gone} it deleted are saved") } else { String::new() };
        format!("{}, {}{saved}{expiring}{gone}", count(sources.transcripts, "transcript"), size(sources.bytes))
    }

    fn hooks(&self) -> String {
        match self.status.hooks.state {
            "no-claude" => "Claude Code's directory does not exist".to_owned(),
            "plugin" => format!("by the plugin ({})", self.short(self.status.hooks.place())),
            state => format!("{state} ({})", self.short(&self.status.hooks.settings)),
        }
    }

    fn disk(&self) -> String {
        let free = |disk: &super::DiskStatus| format!("{} of {} free", size(disk.free_bytes), size(disk.total_bytes));
        match self.status.disks.as_slice() {
            [disk, ..] if self.status.one_disk => {
                format!("{}; both copies lie on it, BACKUP_DIR can move one", free(disk))
            }
            disks => disks.iter().map(free).collect::<Vec<_>>().join("; "),
        }
    }

    fn light(&self) -> String {
        let light = &self.status.light;
        let mark = match light.colour {
            Colour::Green => "🟢",
            Colour::Yellow => "🟡",
            Colour::Red => "🔴",
        };
        if light.folder.is_none() {
            return format!("{mark} Claude Code has no transcript of it");
        }
        let (sessions, bytes) = (count(light.sessions, "transcript"), size(light.bytes));
        let largest = size(light.largest_bytes);
        format!("{mark} {sessions}, {bytes}, the largest {largest}: what Claude Code resumes with ease, not the copies")
    }

    fn group(&self, group: &[&Finding], needs_person: bool) -> String {
        let (style, mark) = if needs_person { (Style::Red, "✗") } else { (Style::Yellow, "·") };
        let kind = self.terminal.paint(style, &format!("{mark} {}", group[0].kind));
        let number = if group.len() > 1 { format!(" ({})", group.len()) } else { String::new() };
        let mut text = format!("\n{kind}{number}\n");
        for (n, finding) in group.iter().take(SHOWN_MAX).enumerate() {
            let what = one_line(&finding.what);
            text.push_str(&format!("    {}: {what}\n", one_line(&self.short(&finding.place))));
            let next = group[..group.len().min(SHOWN_MAX)].get(n + 1);
            if let Some(mend) = &finding.mend
                && next.is_none_or(|next| next.mend != finding.mend)
            {
                text.push_str(&format!("      {}\n", self.terminal.paint(Style::Bold, &one_line(mend))));
            }
        }
        if group.len() > SHOWN_MAX {
            text.push_str(&format!("    … and {} more, which --json lists\n", group.len() - SHOWN_MAX));
        }
        text
    }

    fn short(&self, path: &Path) -> String {
        match path.strip_prefix(self.home) {
            Ok(below) => format!("~/{}", below.display()),
            Err(_) => terminal::one_line(&path.display().to_string()),
        }
    }
}

/// The findings by kind, in the order in which the kinds come.
fn groups(findings: &[Finding], needs_person: bool) -> Vec<Vec<&Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.needs_person == needs_person) {
        match groups.iter_mut().find(|group| group[0].kind == finding.kind) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
}
