//! The index: its state, whether SQLite can search at all, and what was set aside beside it.

use layer1_prebackup::config::size::Size;

use crate::failure::chain;
use crate::health::examination::Examination;
use crate::health::figures::IndexStatus;
use crate::health::finding::{Finding, Kind, Subject};
use crate::index::{self, Index, IndexError};
use crate::terminal::{count, shell_quoted};

/// Whether it can be used and has everything.
pub(super) fn state(examination: &mut Examination<'_>) {
    let path = &examination.context.places.index;
    let archive = examination.second.archive.as_ref();
    let mut status = IndexStatus { path: path.clone(), state: "missing", ..IndexStatus::default() };
    let look = || -> Result<_, IndexError> {
        let Some(index) = Index::open_read_only(path)? else { return Ok(None) };
        let incomplete = archive.map_or(Ok(false), |archive| index.is_incomplete(archive))?;
        let unindexed = match archive.filter(|_| incomplete) {
            Some(archive) => index.unindexed(archive)?,
            None => 0,
        };
        let sessions = examination.second.sessions.iter().filter(|found| found.files > 0).map(|found| &found.key);
        let lacks = if unindexed == 0 { index.lacks(sessions)? } else { 0 };
        Ok(Some((index.counts()?, incomplete, unindexed, lacks)))
    };
    let finding = |what: String| Finding::new(examination.context, Kind::Index, what, path);
    let mut found = None;
    match look() {
        Ok(None) => {}
        Ok(Some((counts, incomplete, unindexed, lacks))) => {
            if lacks > 0 {
                let them = if lacks == 1 { "it" } else { "them" };
                let what = format!("{} cannot be found: the index lacks {them}", count(lacks as u64, "conversation"));
                let rebuild = format!("{} rebuild", examination.context.commands.layer3);
                found = Some(finding(what).needing_person(true).mend(rebuild));
            }
            if unindexed > 0 {
                let are = if unindexed == 1 { "is" } else { "are" };
                let lacking = count(unindexed as u64, "conversation");
                found = Some(finding(format!("{lacking} {are} not indexed yet; the next save or search does it")));
            }
            status.state = if incomplete || lacks > 0 { "incomplete" } else { "ready" };
            status.messages = counts.messages;
            status.bytes = counts.bytes;
        }
        Err(error) => {
            status.state = "unusable";
            status.detail = Some(chain(&error));
            if matches!(error, IndexError::Newer { .. }) {
                status.state = "newer";
                found = Some(finding(format!("failed to {error}")).needing_person(true));
            }
        }
    }
    if found.is_none() && status.state != "ready" && archive.is_some() {
        let detail = status.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        found = Some(finding(format!("the index is {}{detail}; the next save or search makes it again", status.state)));
    }
    examination.findings.extend(found);
    examination.figures.index = status;
}

/// Whether SQLite has full-text search, and which indexes were set aside.
pub(super) fn search(examination: &mut Examination<'_>) {
    let layer3 = &examination.context.commands.layer3;
    for finding in examination.findings.iter_mut().filter(|finding| finding.kind == Kind::Index) {
        // It heals by itself; but who asks a doctor wants to know, and can have it now.
        finding.needs_person = true;
        finding.mend = Some(format!("{layer3} rebuild"));
    }
    set_asides(examination);
    let index = examination.figures.index.clone();
    let sqlite = match index::versions() {
        Ok(versions) => format!("SQLite {} with FTS5", versions.sqlite),
        Err(error @ IndexError::Sqlite { .. }) => {
            let what = format!("SQLite has no full-text search: {}", chain(&error));
            examination.found(Kind::Fts5Missing, what, &index.path);
            "SQLite without FTS5".to_owned()
        }
        Err(error) => chain(&error),
    };
    let (messages, place) = (count(index.messages, "message"), examination.context.short(&index.path));
    examination.summarise(Subject::Index, format!("{}, {messages}, {sqlite} ({place})", index.state));
}

/// Indexes that could not be used stay until the user removes them: all that they said is made again from the copies.
fn set_asides(examination: &mut Examination<'_>) {
    let context = examination.context;
    let asides = Index::set_asides(&context.places.index);
    let Some((first, _)) = asides.first() else { return };
    let bytes = Size(asides.iter().map(|(_, bytes)| bytes).sum());
    let (what, that) = match asides.len() {
        1 => ("an index that could not be used was".to_owned(), "it"),
        n => (format!("{n} indexes that could not be used were"), "they"),
    };
    let what = format!("{what} set aside, {bytes}; {that} may go once verify is clean");
    let removed: Vec<String> = asides.iter().map(|(path, _)| shell_quoted(&path.to_string_lossy()) + "*").collect();
    let remove = format!("{} verify && rm {}", context.commands.layer3, removed.join(" "));
    examination.findings.push(Finding::new(context, Kind::IndexSetAside, what, first).mend(remove));
}
