//! The answers as people read them.

use super::types::{Answer, Kind, Why, WhyRequest};
use crate::terminal::{self, Style, Terminal, fit, one_line};

/// Each conversation: what speaks for it, when and where; below it what was asked and done.
pub(crate) fn to_text(why: &Why, request: &WhyRequest, terminal: &Terminal) -> String {
    let mut text = String::new();
    for note in &why.notes {
        text.push_str(&terminal.line(Style::Yellow, &format!("note: {}", one_line(note))));
    }
    if let Some(line) = &why.text {
        text.push_str(&format!("  {}\n", terminal.paint(Style::Bold, &one_line(line))));
    }
    why.answers.iter().for_each(|answer| text.push_str(&answer_to_text(answer, terminal)));
    let scope = &why.scope;
    if why.answers.is_empty() {
        let further = if request.passed_over() > 0 { "No further conversation" } else { "No conversation" };
        text.push_str(&format!("{further} {scope} is known to have to do with it.\n"));
        if !why.all_projects {
            text.push_str("`--all` looks in all projects.\n");
        }
        return text;
    }
    let exact = why.answers.iter().filter(|answer| answer.exact).count();
    let shown = terminal::count(why.answers.len() as u64, "answer");
    let mut totals = format!("{shown} {scope}, {exact} exact");
    if why.more {
        totals.push_str(&format!("; --offset {} shows more", request.passed_over() + why.answers.len()));
    }
    text.push_str(&terminal.line(Style::Dim, &totals));
    text
}

fn answer_to_text(answer: &Answer, terminal: &Terminal) -> String {
    let kind = match answer.evidence {
        Kind::Edit => "edit",
        Kind::Commit => "commit",
        Kind::Run => "run",
        Kind::Words => "words",
    };
    let (exact, style) = if answer.exact { ("exact", Style::Green) } else { ("guess", Style::Yellow) };
    let mut head =
        format!("{kind} · {}", answer.time.as_deref().map_or("no time".to_owned(), |time| terminal.minute(time)));
    if answer.is_sidechain {
        head.push_str(" (subagent)");
    }
    if let Some(branch) = terminal::branch(answer.branch.as_deref()) {
        head.push_str(&format!(" · {branch}"));
    }
    let lines = match &answer.lines {
        Some(lines) if lines.contains('-') => format!(" · lines {lines}"),
        Some(lines) => format!(" · line {lines}"),
        None => String::new(),
    };
    let mut text = format!(
        "{} · {} · {} · {} {}\n",
        answer.rank,
        terminal.paint(style, exact),
        terminal.paint(Style::Dim, &(head + &lines)),
        terminal.paint(Style::Cyan, &format!("{}/{}", answer.label, one_line(&answer.session_id))),
        terminal.paint(Style::Dim, &format!("@ {}", one_line(&answer.message)))
    );
    let mut line = |line: &str| {
        let line = format!("  {}", one_line(line));
        text.push_str(&if terminal.interactive { fit(&line, terminal.columns).into_owned() } else { line });
        text.push('\n');
    };
    for (name, value) in [("title", &answer.title), ("asked", &answer.asked), ("guess because", &answer.because)] {
        value.iter().for_each(|value| line(&format!("{name}: {value}")));
    }
    if let Some(commit) = &answer.commit {
        line(&format!("commit: {} {}", commit.hash.get(..10).unwrap_or(&commit.hash), commit.subject));
    }
    if let Some(edits) = answer.edits {
        let kept =
            answer.lines_kept.map(|kept| format!(", {} of the file are its", terminal::count(kept as u64, "line")));
        line(&format!("{}{}", terminal::count(edits as u64, "edit"), kept.unwrap_or_default()));
    }
    answer.change.iter().for_each(|change| line(change));
    answer.command.iter().for_each(|command| line(command));
    answer.error.iter().for_each(|error| line(&format!("error: {error}")));
    answer.after.iter().for_each(|step| line(&format!("then: {step}")));
    match answer.worked {
        Some(true) => line("it worked"),
        Some(false) if !answer.after.is_empty() => line("what had failed was not run again without the error"),
        _ => {}
    }
    text
}
