//! Claude Code's transcripts against the two stores: what is not saved, what vanished, what shrank,
//! what its cleanup will delete next, and conversations of which there never was a transcript.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use layer1_prebackup::archive::{Archive, QuickCheck, SessionKey, Verification};
use layer1_prebackup::claude::transcripts::{self, FoundTranscript};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::hook::event_log;
use layer1_prebackup::names::{FileName, SessionId};
use serde::Serialize;

use super::stores::Held;
use super::text::duration;
use super::{Finding, Viewpoint, hooks};
use crate::failure::chain;
use crate::save::roots::resolved_projects;
use crate::terminal::count;
use crate::terminal::time::format_rfc3339_ms;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A transcript of which there is no copy at all is normal for as long as its first turn lasts.
const NO_COPY_MS: u64 = HOUR_MS;
/// The next start of Claude Code catches up with what hooks have missed; a day passes without one.
const BEHIND_MS: u64 = DAY_MS;
/// Turns without a transcript are news for so long.
const JOURNAL_NEWS_MS: u64 = 2 * DAY_MS;
/// `cleanupPeriodDays` unless the settings say otherwise.
const CLEANUP_DAYS_DEFAULT: u64 = 30;
/// How long before its end a transcript is about to expire.
const EXPIRING_DAYS: u64 = 7;
/// So many transcripts do not vanish one by one.
const MASS_MIN: usize = 5;

/// Claude Code's transcripts in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SourceStatus {
    /// Their directory.
    pub(crate) projects: PathBuf,
    /// How many there are.
    pub(crate) transcripts: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Days after which Claude Code deletes one that did not change.
    pub(crate) cleanup_period_days: u64,
    /// Those that it deletes within a week.
    pub(crate) expiring: Vec<Expiring>,
}

/// A transcript that Claude Code is about to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Expiring {
    /// The session.
    pub(crate) session_id: String,
    /// Its transcript.
    pub(crate) path: PathBuf,
    /// Whole days that are left.
    pub(crate) days_left: u64,
    /// Whether its present content is in a store.
    pub(crate) saved: bool,
}

/// A transcript whose present content is not in both stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NotSaved {
    /// The session.
    pub(crate) session_id: String,
    /// Its transcript.
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
    /// `no-copy`, `changed` since its copy, or `unreadable`.
    pub(crate) reason: &'static str,
    /// When it was last modified, RFC 3339.
    pub(crate) changed: Option<String>,
    /// How long ago that was.
    pub(crate) age_seconds: u64,
    /// Whether its present content is in layer 1's store.
    pub(crate) in_layer1: bool,
    /// Whether its present content is in layer 3's store.
    pub(crate) in_layer3: bool,
}

/// A saved session whose transcript is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Vanished {
    /// The session.
    pub(crate) session_id: String,
    /// Its project.
    pub(crate) project: String,
    /// Where its transcript was.
    pub(crate) path: PathBuf,
    /// Whether it was old enough for Claude Code's cleanup.
    pub(crate) expected: bool,
    /// The command that brings it back.
    pub(crate) restore: String,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Sources {
    pub(crate) status: SourceStatus,
    pub(crate) not_yet_saved: Vec<NotSaved>,
    pub(crate) vanished: Vec<Vanished>,
}

struct Look<'a> {
    places: &'a Places,
    view: &'a Viewpoint,
    first: &'a Held,
    second: &'a Held,
    cleanup_days: u64,
}

pub(super) fn look(
    places: &Places,
    view: &Viewpoint,
    first: &Held,
    second: &Held,
    findings: &mut Vec<Finding>,
) -> Sources {
    let cleanup_days = hooks::cleanup_days(&places.claude_dir).unwrap_or(CLEANUP_DAYS_DEFAULT);
    let look = Look { places, view, first, second, cleanup_days };
    let projects = resolved_projects(places);
    let mut sources = Sources {
        status: SourceStatus {
            projects: projects.clone(),
            transcripts: 0,
            bytes: 0,
            cleanup_period_days: cleanup_days,
            expiring: Vec::new(),
        },
        not_yet_saved: Vec::new(),
        vanished: Vec::new(),
    };
    let mut found = match transcripts::transcripts(&projects) {
        Ok(found) => found,
        Err(error) => {
            let what = format!("failed to {}", chain(&error));
            findings.push(Finding::new("sources-unreadable", true, what, &projects));
            return sources;
        }
    };
    sources.status.transcripts = found.len() as u64;
    sources.status.bytes = found.iter().map(|found| found.bytes).sum();
    let ids: BTreeSet<SessionId> = found.iter().map(|found| found.id.clone()).collect();
    let all = found.len();
    found.retain(|found| !places.policy.exclude.is_excluded(&found.path, None));
    if found.len() < all {
        let what = format!("{} not copied: the settings exclude them", count((all - found.len()) as u64, "transcript"));
        findings.push(Finding::new("excluded", false, what, &projects));
    }
    for transcript in &found {
        look.at(transcript, &mut sources, findings);
    }
    let ids: BTreeSet<&SessionId> = ids.iter().collect();
    look.for_the_lost(&ids, &mut sources.vanished, findings);
    look.for_journals(&ids, findings);
    sources
}

impl Look<'_> {
    /// One transcript: is it saved, and how long will it be there?
    fn at(&self, found: &FoundTranscript, sources: &mut Sources, findings: &mut Vec<Finding>) {
        let modified_ms = modified_ms(&found.path);
        let age_ms = self.view.now_ms.saturating_sub(modified_ms.unwrap_or(self.view.now_ms));
        let not_saved = self.not_saved(found, modified_ms, age_ms, findings);
        let saved = not_saved.as_ref().is_none_or(|not_saved| not_saved.in_layer1 || not_saved.in_layer3);
        let left_ms = (self.cleanup_days.saturating_mul(DAY_MS)).saturating_sub(age_ms);
        if left_ms <= EXPIRING_DAYS * DAY_MS && found.bytes > 0 {
            let days_left = left_ms / DAY_MS;
            let (session_id, path) = (found.id.to_string(), found.path.clone());
            sources.status.expiring.push(Expiring { session_id, path, days_left, saved });
            if !saved {
                let what = format!("Claude Code deletes it in {}, and it is not saved", count(days_left, "day"));
                let finding = Finding::new("expiring-unsaved", true, what, &found.path);
                findings.push(finding.mend(self.save_line(false)).of(&found.id, None));
            }
        }
        sources.not_yet_saved.extend(not_saved);
    }

    fn not_saved(
        &self,
        found: &FoundTranscript,
        modified_ms: Option<u64>,
        age_ms: u64,
        findings: &mut Vec<Finding>,
    ) -> Option<NotSaved> {
        let (mut unreadable, mut has_copy) = (None, false);
        let mut current = |held: &Held| match &held.archive {
            // An empty transcript is never stored, so there is nothing to wait for.
            _ if found.bytes == 0 => true,
            None => false,
            Some(archive) => {
                has_copy |= held.sessions.iter().any(|(key, _)| key.id == found.id);
                let behind = is_behind(archive, found, self.places);
                behind.map(|behind| !behind).unwrap_or_else(|error| {
                    unreadable = Some(chain(&error));
                    false
                })
            }
        };
        let (in_layer1, in_layer3) = (current(self.first), current(self.second));
        if in_layer1 && in_layer3 {
            return None;
        }
        let reason = match (&unreadable, has_copy) {
            (Some(_), _) => "unreadable",
            (None, true) => "changed",
            (None, false) => "no-copy",
        };
        let limit_ms = if reason == "no-copy" { NO_COPY_MS } else { BEHIND_MS };
        let ago = duration(age_ms / 1000);
        let (kind, what) = match (unreadable, in_layer1, in_layer3) {
            (Some(error), ..) => ("sources-unreadable", format!("failed to {error}")),
            (None, true, _) => ("not-saved", format!("only the first copy has what changed {ago} ago")),
            (None, _, true) => ("not-saved", format!("only the second copy has what changed {ago} ago")),
            _ if has_copy => ("not-saved", format!("changed since its copy, {ago} ago")),
            _ => ("not-saved", format!("no copy; it changed {ago} ago")),
        };
        let needs_person = kind == "sources-unreadable" || age_ms > limit_ms;
        let finding = Finding::new(kind, needs_person, what, &found.path).of(&found.id, None);
        findings.push(if reason == "unreadable" { finding } else { finding.mend(self.save_line(in_layer1)) });
        Some(NotSaved {
            session_id: found.id.to_string(),
            path: found.path.clone(),
            bytes: found.bytes,
            reason,
            changed: modified_ms.map(|ms| format_rfc3339_ms(ms as i64)),
            age_seconds: age_ms / 1000,
            in_layer1,
            in_layer3,
        })
    }

    fn save_line(&self, in_layer1: bool) -> String {
        let commands = &self.view.commands;
        let import = format!("{} import", commands.layer3);
        if in_layer1 { import } else { format!("{} sweep && {import}", commands.layer1) }
    }

    /// Stored sessions whose transcript is gone, or is shorter than an older content of it.
    fn for_the_lost(&self, ids: &BTreeSet<&SessionId>, vanished: &mut Vec<Vanished>, findings: &mut Vec<Finding>) {
        let mut stored: BTreeMap<&SessionKey, &QuickCheck> = BTreeMap::new();
        for (key, glance) in self.first.sessions.iter().chain(&self.second.sessions) {
            // Layer 3's word comes last and counts, unless it never saw the source.
            if glance.source.is_some() || !stored.contains_key(key) {
                stored.insert(key, glance);
            }
        }
        let mut projects_of: BTreeMap<&SessionId, usize> = BTreeMap::new();
        stored.keys().for_each(|key| *projects_of.entry(&key.id).or_default() += 1);
        for (key, glance) in &stored {
            let is_there = ids.contains(&key.id) || glance.source.as_ref().is_some_and(|path| path.exists());
            let name =
                if projects_of[&key.id] > 1 { format!("{}/{}", key.project, key.id) } else { key.id.to_string() };
            let restore = format!("{} restore {}", self.view.commands.layer3, crate::terminal::shell_quoted(&name));
            if !is_there && !glance.files.is_empty() {
                vanished.push(self.vanished(key, glance, restore.clone()));
            }
            findings.extend(shrunk(key, glance, &restore, is_there));
        }
        self.tell_vanished(vanished, stored.len(), findings);
    }

    fn vanished(&self, key: &SessionKey, glance: &QuickCheck, restore: String) -> Vanished {
        let committed_ms = glance.files.iter().map(|file| file.committed_ms).max();
        let changed_ms = glance.source_modified_ms.or(committed_ms).unwrap_or(0);
        let age_ms = self.view.now_ms.saturating_sub(changed_ms);
        Vanished {
            session_id: key.id.to_string(),
            project: key.project.to_string(),
            path: glance.source.clone().unwrap_or_default(),
            expected: age_ms > self.cleanup_days.saturating_mul(DAY_MS),
            restore,
        }
    }

    fn tell_vanished(&self, vanished: &[Vanished], stored: usize, findings: &mut Vec<Finding>) {
        let unexpected: Vec<&Vanished> = vanished.iter().filter(|vanished| !vanished.expected).collect();
        let should_be_there = stored - (vanished.len() - unexpected.len());
        if unexpected.len() >= MASS_MIN && unexpected.len() * 2 >= should_be_there {
            let gone = unexpected.len();
            let days = count(self.cleanup_days, "day");
            let what = format!(
                "{gone} of {should_be_there} transcripts are gone that changed within {days}, so no cleanup was due; all are saved"
            );
            let mend = format!("{} restore --all-missing", self.view.commands.layer3);
            findings.push(Finding::new("mass-disappearance", true, what, &self.places.projects()).mend(mend));
        }
        findings.extend(unexpected.into_iter().map(|gone| {
            let what = "its transcript is gone, its copies are there";
            let finding = Finding::new("vanished", false, what, &gone.path).mend(gone.restore.clone());
            finding.of(&gone.session_id, Some(&gone.project))
        }));
    }

    /// Conversations of which layer 1 kept the events, because Claude Code wrote no transcript.
    fn for_journals(&self, ids: &BTreeSet<&SessionId>, findings: &mut Vec<Finding>) {
        // A store that cannot be read was told already.
        for path in event_log::published(&self.places.layer1_store).unwrap_or_default() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(id) = name.strip_suffix(".events.jsonl").and_then(|id| SessionId::parse(id).ok()) else {
                continue;
            };
            let is_stored = |held: &Held| held.sessions.iter().any(|(key, _)| key.id == id);
            if ids.contains(&id) || is_stored(self.first) || is_stored(self.second) {
                continue;
            }
            let age_ms = self.view.now_ms.saturating_sub(modified_ms(&path).unwrap_or(0));
            let ago = duration(age_ms / 1000);
            let what = format!("turns were seen {ago} ago, but Claude Code wrote no transcript; this is what is left");
            let project = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
            let finding = Finding::new("no-transcript", age_ms < JOURNAL_NEWS_MS, what, &path);
            findings.push(finding.of(&id, project.as_deref()));
        }
    }
}

fn shrunk(key: &SessionKey, glance: &QuickCheck, restore: &str, is_there: bool) -> Option<Finding> {
    // What somebody else wrote over our copy is no older content of the conversation.
    let contents = glance
        .files
        .iter()
        .filter(|file| file.name.file == FileName::Transcript && file.verification != Verification::Found);
    let (newest, older): (Vec<_>, Vec<_>) = contents.partition(|file| file.name.generation == 0);
    let newest = newest.first()?;
    let longest = older.iter().map(|file| file.bytes).max()?;
    if longest <= newest.bytes {
        return None;
    }
    let what = format!(
        "its transcript has {} and had {} before",
        crate::terminal::size(newest.bytes),
        crate::terminal::size(longest)
    );
    let force = if is_there { " --force" } else { "" };
    let place = glance.source.clone().unwrap_or_default();
    let finding = Finding::new("shrunk", false, what, &place).mend(format!("{restore} --longest{force}"));
    Some(finding.of(&key.id, Some(key.project.as_str())))
}

/// Whether the present content is not in the store. Layer 1 records a source as its event spells
/// it, layer 3 with all links resolved; either spelling will do.
fn is_behind(
    archive: &Archive,
    found: &FoundTranscript,
    places: &Places,
) -> Result<bool, layer1_prebackup::archive::ArchiveError> {
    if !archive.is_behind(&found.id, &found.path)? {
        return Ok(false);
    }
    let below = found.path.strip_prefix(resolved_projects(places)).ok();
    match below.map(|below| places.projects().join(below)) {
        Some(given) if given != found.path => archive.is_behind(&found.id, &given),
        _ => Ok(true),
    }
}

fn modified_ms(path: &Path) -> Option<u64> {
    // A file that is gone by now has no age, and is told as such at the next look.
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok()?;
    modified.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_millis()).ok())
}
