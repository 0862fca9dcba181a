//! The diagnosis as text: a line a check, and below it what is wrong with the line that mends it.

use std::path::Path;

use super::{Check, Diagnosis, Found};
use crate::terminal::{Style, Terminal, count, left, one_line};

/// Findings of one kind that are shown; `--json` has all.
const SHOWN_MAX: usize = 3;

/// For people. `home` is written as `~` outside of commands.
pub(crate) fn to_text(diagnosis: &Diagnosis, home: &Path, terminal: &Terminal) -> String {
    let mut text = String::new();
    for mended in &diagnosis.mended {
        let (style, mark) = if mended.done { (Style::Green, "mended") } else { (Style::Red, "not mended") };
        let place = one_line(&short(&mended.place, home));
        let mark = terminal.paint(style, &format!("{mark} {}", mended.kind));
        text.push_str(&format!("{mark}  {place}: {}\n", one_line(&mended.said)));
    }
    for check in &diagnosis.checks {
        text.push_str(&line(check, terminal));
        let findings = diagnosis.findings.iter().filter(|found| found.check == check.name);
        text.push_str(&details(&findings.collect::<Vec<_>>(), home, terminal));
    }
    let wrong = diagnosis.findings.iter().filter(|found| found.finding.needs_person).count() as u64;
    let last = match wrong {
        0 => terminal.paint(Style::Green, "All is well."),
        n => terminal.paint(Style::Red, &format!("{} wrong.", count(n, "thing"))),
    };
    text + &last + "\n"
}

fn line(check: &Check, terminal: &Terminal) -> String {
    let mark = if check.ok { terminal.paint(Style::Green, "✓") } else { terminal.paint(Style::Red, "✗") };
    let name = terminal.paint(Style::Bold, &left(check.name, 11));
    format!("{mark} {name}  {}\n", one_line(&check.said))
}

fn details(findings: &[&Found], home: &Path, terminal: &Terminal) -> String {
    let mut text = String::new();
    for (nth, found) in findings.iter().enumerate() {
        let kind = found.finding.kind;
        let before = findings[..nth].iter().filter(|before| before.finding.kind == kind).count();
        let all = findings.iter().filter(|other| other.finding.kind == kind).count();
        if before == SHOWN_MAX {
            text.push_str(&format!("    … and {} more {kind}, which --json lists\n", all - SHOWN_MAX));
        }
        if before >= SHOWN_MAX {
            continue;
        }
        let (style, mark) = if found.finding.needs_person { (Style::Red, "✗") } else { (Style::Yellow, "·") };
        let kind = terminal.paint(style, &format!("{mark} {kind}"));
        let place = one_line(&short(&found.finding.place, home));
        text.push_str(&format!("    {kind}  {place}: {}\n", one_line(&found.finding.what)));
        if let Some(mend) = &found.finding.mend {
            let fix = if found.fixable { "   (or --fix)" } else { "" };
            text.push_str(&format!("        {}{fix}\n", terminal.paint(Style::Bold, &one_line(mend))));
        }
    }
    text
}

fn short(path: &Path, home: &Path) -> String {
    match path.strip_prefix(home) {
        Ok(below) => format!("~/{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}
