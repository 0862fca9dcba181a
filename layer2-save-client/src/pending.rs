//! `pending`: what waits in the outbox, for people and for programs; `dismiss`: what was set aside there as failed is
//! not told any more.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Error, failed};
use crate::outbox::{Listing, Outbox};
use layer1_prebackup::wire::outbox_job::{Job, JobName};
use layer1_prebackup::wire::shown::{self, shown_on_a_line};

/// Writes a table, or `{"jobs": […], "unreadable": […]}`. Changes nothing.
pub(crate) fn run(outbox: &Outbox, as_json: bool, now_ms: u64, out: &mut impl Write) -> Result<(), Error> {
    let listing = outbox.list()?;
    let text =
        if as_json { shown::in_json(format!("{}\n", in_json(&listing, now_ms))) } else { in_words(&listing, now_ms) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(failed("write to stdout")),
    }
}

/// Dismisses the jobs that were set aside and what is no job, of these sessions or names, or all; says what it did to
/// `out`. An error if one that is named is not there.
pub(crate) fn dismiss(outbox: &Outbox, wanted: &[String], now_ms: u64, out: &mut impl Write) -> Result<(), Error> {
    let listing = outbox.list()?;
    let is_wanted = |names: &[&str]| {
        wanted.is_empty() || wanted.iter().any(|wanted| names.iter().any(|name| name.starts_with(wanted.as_str())))
    };
    let mut done = Vec::new();
    for (name, job) in &listing.jobs {
        let is_told = job.failed.as_ref().is_some_and(|failed| !failed.dismissed);
        if is_told && is_wanted(&[name.as_str()]) {
            outbox.update(name, |job| {
                if let Some(failed) = &mut job.failed {
                    failed.dismissed = true;
                }
            })?;
            done.push(job.session_id.clone());
        }
    }
    for file in listing.unreadable.iter().filter(|file| is_wanted(&[&file.name])) {
        outbox.put_aside(&file.name, now_ms)?;
        done.push(file.name.clone());
    }
    if done.is_empty() && !wanted.is_empty() {
        return Err(format!("dismiss {}: nothing of it was set aside as failed", wanted.join(" ")).into());
    }
    let text = match done.as_slice() {
        [] => "Nothing to dismiss.\n".to_owned(),
        done => done.iter().map(|what| format!("Dismissed {}\n", shown_on_a_line(what))).collect(),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failed("write to stdout"))
}

fn in_json(listing: &Listing, now_ms: u64) -> Value {
    let jobs: Vec<Value> = listing.jobs.iter().map(|(name, job)| job_in_json(name, job, now_ms)).collect();
    json!({ "jobs": jobs, "unreadable": listing.unreadable })
}

fn job_in_json(name: &JobName, job: &Job, now_ms: u64) -> Value {
    json!({
        "name": name.as_str(),
        "session_id": job.session_id,
        "project": job.project,
        "transcript_path": job.transcript_path,
        "cwd": job.cwd,
        "trigger": job.trigger,
        "seq": job.seq,
        "created_ms": job.created_ms,
        "updated_ms": job.updated_ms,
        "age_seconds": now_ms.saturating_sub(job.created_ms) / 1000,
        "attempts": job.attempts,
        "failed": job.failed.is_some(),
        "dismissed": job.failed.as_ref().is_some_and(|failed| failed.dismissed),
        "last_error": job.last_error,
    })
}

fn in_words(listing: &Listing, now_ms: u64) -> String {
    let mut text = String::new();
    if listing.jobs.is_empty() {
        text.push_str("Nothing is pending: every session in the outbox was delivered.\n");
    } else {
        text.push_str(&table(listing, now_ms));
        let is_told = |job: &Job| job.failed.as_ref().is_some_and(|failed| !failed.dismissed);
        let failed = listing.jobs.iter().filter(|(_, job)| is_told(job)).count();
        if failed > 0 {
            let ways = "`drain --retry-failed` tries again, `dismiss` stops telling you";
            text.push_str(&format!("\n{failed} set aside as failed; {ways}.\n"));
        }
    }
    if !listing.unreadable.is_empty() {
        text.push_str("\nNot understood and left alone:\n");
        for file in &listing.unreadable {
            text.push_str(&format!("  {}: {}\n", shown_on_a_line(&file.name), shown_on_a_line(&file.what)));
        }
    }
    text
}

fn table(listing: &Listing, now_ms: u64) -> String {
    let head = ["SESSION", "PROJECT", "TRIGGER", "AGE", "ATTEMPTS", "STATE", "LAST ERROR"].map(str::to_owned);
    let rows = listing.jobs.iter().map(|(_, job)| {
        [
            job.session_id.clone(),
            job.project.clone().unwrap_or_else(|| "-".to_owned()),
            job.trigger.clone(),
            age(now_ms.saturating_sub(job.created_ms)),
            job.attempts.to_string(),
            match &job.failed {
                Some(failed) if failed.dismissed => "dismissed",
                Some(_) => "failed",
                None => "waiting",
            }
            .to_owned(),
            job.last_error.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    // A job is a file that anybody may have written.
    let rows = rows.map(|row| row.map(|cell| shown_on_a_line(&cell).into_owned()));
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The age in its largest unit: `12s`, `3m`, `5h`, `2d`.
fn age(ms: u64) -> String {
    let seconds = Duration::from_millis(ms).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::NewJob;
    use layer1_prebackup::names::SessionId;
    use layer1_prebackup::wire::outbox_job::Failed;

    fn output(outbox: &Outbox, as_json: bool) -> String {
        let mut out = Vec::new();
        run(outbox, as_json, 190_000, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_empty_outbox_is_said_plainly() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(dir.path().join(".outbox"));
        insta::assert_snapshot!(output(&outbox, false), @"Nothing is pending: every session in the outbox was delivered.");
        insta::assert_snapshot!(output(&outbox, true), @r#"{"jobs":[],"unreadable":[]}"#);
    }

    #[test]
    fn jobs_and_strangers_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(dir.path().join(".outbox"));
        for (id, project) in [("aaaa", Some("proj")), ("b", None)] {
            let job = NewJob {
                id: SessionId::parse(id).unwrap(),
                project: project.map(str::to_owned),
                transcript_path: format!("/h/.claude/projects/-p/{id}.jsonl"),
                claude_dir: "/h/.claude".into(),
                cwd: None,
                trigger: "session-end".into(),
            };
            outbox.enqueue(&job, 10_000).unwrap();
        }
        let (name, _) = outbox.list().unwrap().jobs.remove(0);
        outbox
            .update(&name, |job| {
                job.attempts = 2;
                job.last_error = Some("save on the server: disk full".into());
                job.failed = Some(Failed {
                    reason: "x".into(),
                    content: "y".into(),
                    server: "z".into(),
                    told: false,
                    dismissed: false,
                });
            })
            .unwrap();
        std::fs::write(dir.path().join(".outbox/notes"), "").unwrap();
        insta::assert_snapshot!(output(&outbox, false), @"
        SESSION  PROJECT  TRIGGER      AGE  ATTEMPTS  STATE    LAST ERROR
        aaaa     proj     session-end  3m   2         failed   save on the server: disk full
        b        -        session-end  3m   0         waiting  -

        1 set aside as failed; `drain --retry-failed` tries again, `dismiss` stops telling you.

        Not understood and left alone:
          notes: not a job
        ");
        let json: Value = serde_json::from_str(&output(&outbox, true)).unwrap();
        assert_eq!((&json["jobs"][0]["failed"], &json["jobs"][0]["dismissed"]), (&json!(true), &json!(false)));
        assert_eq!(json["jobs"][0]["age_seconds"], 180);
        assert_eq!(json["unreadable"][0]["name"], "notes");

        let dismissed = |wanted: &[&str]| {
            let mut out = Vec::new();
            let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            dismiss(&outbox, &wanted, 190_001, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        // What waits is delivered, and cannot be dismissed.
        insta::assert_snapshot!(dismissed(&["b"]).unwrap_err(), @"dismiss b: nothing of it was set aside as failed");
        assert_eq!(dismissed(&["aa"]).unwrap(), "Dismissed aaaa\n");
        assert_eq!(dismissed(&[]).unwrap(), "Dismissed notes\n");
        assert_eq!(dismissed(&[]).unwrap(), "Nothing to dismiss.\n");
        insta::assert_snapshot!(output(&outbox, false), @"
        SESSION  PROJECT  TRIGGER      AGE  ATTEMPTS  STATE      LAST ERROR
        aaaa     proj     session-end  3m   2         dismissed  save on the server: disk full
        b        -        session-end  3m   0         waiting    -
        ");
    }
}
