//! `verify`: its arguments, and what it prints.

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{LAYER2, LAYER3, typed};

use crate::cli::called::id_of;
use crate::cli::screen::{Screen, notes, unless_none};
use crate::failure::Failure;
use crate::save::LogSink;
use crate::save::verify::{self, Report};
use crate::terminal::{self, Style, Terminal, one_line};

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Only this session: its id, a unique beginning of it, or what it is called
    session: Option<String>,
    /// Repair damaged files from the transcript or the other copy, where the recorded hash proves them good
    #[arg(long)]
    repair: bool,
}

/// Runs `verify`.
pub(super) fn run(places: &Places, args: &VerifyArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let session = args.session.clone().map(|typed| id_of(places, typed, screen)).transpose()?;
    let report = match args.repair {
        true => verify::repair(places, &LogSink::new(places, false), session.as_deref())?,
        false => verify::verify(places, session.as_deref())?,
    };
    screen.answer(&report, |terminal| report_text(&report, args, terminal))?;
    notes(&report.unnoted);
    let unhealed = report.repairs.iter().filter(|repair| !repair.healed).count();
    unless_none(report.findings.len().max(unhealed), |wrong| {
        Failure::new(format!("verify: {} found wrong", terminal::count(wrong as u64, "thing")))
    })
}

fn report_text(report: &Report, args: &VerifyArgs, terminal: &Terminal) -> String {
    let mut text = String::new();
    for repair in &report.repairs {
        let (style, word) = if repair.healed { (Style::Green, "repaired") } else { (Style::Red, "not repaired") };
        let path = format!("{}/{}", one_line(&repair.project), one_line(&repair.path));
        text.push_str(&format!("{}  {path}: {}\n", terminal.paint(style, word), one_line(&repair.detail)));
    }
    for finding in &report.findings {
        let kind = terminal.paint(Style::Red, &finding.kind);
        let path = format!("{}/{}", one_line(&finding.project), one_line(&finding.path));
        text.push_str(&format!("{kind}  {path}: {}\n", one_line(&finding.detail)));
    }
    for note in &report.notes {
        let path = format!("{}/{}", one_line(&note.project), one_line(&note.path));
        text.push_str(&format!("{}  {path}: {}\n", note.kind, one_line(&note.detail)));
    }
    if report.in_one_copy > 0 {
        let conversations = terminal::count(report.in_one_copy as u64, "conversation");
        let are = if report.in_one_copy == 1 { "is" } else { "are" };
        text.push_str(&format!(
            "{conversations} {are} in one copy only; `{}` makes the other one\n",
            typed(LAYER2, "drain --foreground")
        ));
    }
    let can_be_repaired = ["damaged", "missing", "bookkeeping-lost"];
    if !args.repair && report.findings.iter().any(|finding| can_be_repaired.contains(&finding.kind.as_str())) {
        let repair = typed(LAYER3, "verify --repair");
        text.push_str(&format!("`{repair}` takes what is damaged or missing from the other copy, or the transcript\n"));
    }
    let sessions = terminal::count(report.sessions as u64, "session");
    if report.ok {
        text.push_str(&terminal.line(Style::Green, &format!("All is well: {sessions} read and compared")));
    }
    text
}
