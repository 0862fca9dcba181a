//! Claude Code's transcripts against the two stores: what is not saved, what vanished, what its cleanup will delete next, and conversations of which there never was a transcript.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey};
use layer1_prebackup::claude::survey::{FoundTranscript, PassedOver, survey};
use layer1_prebackup::names::{LAYER1, SessionId, typed};
use layer1_prebackup::status::published_journals;

use crate::failure::chain;
use crate::health::claude_settings;
use crate::health::context::Context;
use crate::health::examination::{Examination, FoundSession, FoundStore};
use crate::health::figures::{Expiring, NotSaved, Vanished};
use crate::health::finding::{Finding, Kind, Subject};
use crate::health::text::{duration, how_saved};
use crate::save::roots::{all_resolved_projects, resolved_projects};
use crate::stores::acknowledged::Acknowledged;
use crate::stores::{SessionCopies, Stores};
use crate::terminal::time::format_rfc3339_ms;
use crate::terminal::{count, one_line, shell_quoted};

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A transcript of which there is no copy at all is normal for as long as its first turn lasts.
pub(super) const NO_COPY_MS: u64 = HOUR_MS;
/// The next start of Claude Code catches up with what hooks have missed; a day passes without one.
pub(super) const BEHIND_MS: u64 = DAY_MS;
/// Turns without a transcript are news for so long.
const JOURNAL_NEWS_MS: u64 = 2 * DAY_MS;
/// `cleanupPeriodDays` unless the settings say otherwise.
const CLEANUP_DAYS_DEFAULT: u64 = 30;
/// How long before its end a transcript is about to expire.
const EXPIRING_DAYS: u64 = 7;
/// So many transcripts do not vanish one by one.
const MASS_MIN: usize = 5;
/// Names in one finding; a screen and a model have room for these.
const NAMED_MAX: usize = 20;

/// Claude Code's transcripts.
pub(super) fn found(examination: &mut Examination<'_>) {
    let places = &examination.context.places;
    let given = places.all_claude_dirs().map(|dir| dir.join("projects"));
    examination.roots = all_resolved_projects(places).into_iter().zip(given).collect();
    examination.found = survey(examination.roots.iter().map(|(resolved, _)| resolved));
}

/// The same against the stores.
pub(super) fn transcripts(examination: &mut Examination<'_>) {
    let context = examination.context;
    let cleanup_days = claude_settings::cleanup_days(&context.settings()).unwrap_or(CLEANUP_DAYS_DEFAULT);
    let projects = resolved_projects(&context.places);
    let sources = &mut examination.figures.sources;
    sources.projects.clone_from(&projects);
    sources.cleanup_period_days = cleanup_days;
    let (all, mut passed_over) = std::mem::take(&mut examination.found);
    sources.transcripts = all.len() as u64;
    sources.bytes = all.iter().map(|found| found.bytes).sum();
    let ids: HashSet<&SessionId> = all.iter().map(|found| &found.id).collect();
    let mut found: Vec<&FoundTranscript> = all.iter().collect();
    found.retain(|found| !context.places.policy.exclude.is_excluded(&found.path, None));
    if found.len() < all.len() {
        let left_out = (all.len() - found.len()) as u64;
        let what = format!("{} not copied: the settings exclude them", count(left_out, "transcript"));
        examination.found(Kind::Excluded, what, &projects);
    }
    let archives = [&examination.first, &examination.second].into_iter().filter_map(|store| store.archive.as_ref());
    let tombstones: Vec<_> = archives.map(|archive| (archive, archive.forgotten_ids().unwrap_or_default())).collect();
    // In doubt, a tombstone that cannot be read, it is looked at like any other.
    let is_forgotten = |found: &&FoundTranscript| {
        let mut with = tombstones.iter().filter(|(_, ids)| ids.contains(&found.id));
        with.any(|(archive, _)| archive.is_forgotten(&found.id).unwrap_or(false))
    };
    found.retain(|found| !is_forgotten(found));
    examination.figures.sources.left_out = (all.len() - found.len()) as u64;
    for transcript in &found {
        one(transcript, examination);
    }
    passed_over.extend(found.iter().filter(|found| !examination.is_whole(found)).flat_map(|found| found.passed_over()));
    passed_over.retain(|passed| !context.places.policy.exclude.is_excluded(&passed.path, None));
    let not_kept = context.places.not_kept(&context.temp_dir);
    passed_over.extend(not_kept.into_iter().filter(|passed| !is_covered(&passed.path, examination)));
    report_passed_over(&passed_over, &projects, examination);
    lost(&ids, examination);
    without_transcript(&ids, examination);
    examination.found.0 = all;
}

/// What looks like a conversation and is not copied: what cannot be read each by itself, the rest by its reason.
fn report_passed_over(passed_over: &[PassedOver], projects: &Path, examination: &mut Examination<'_>) {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for passed in passed_over {
        if passed.is_unreadable {
            examination.found(Kind::SourcesUnreadable, format!("cannot read it: {}", passed.why), &passed.path);
        } else {
            by_reason.entry(&passed.why).or_default().push(one_line(&passed.path.display().to_string()));
        }
    }
    for (why, paths) in by_reason {
        let (all, looks) = match paths.len() {
            1 if Path::new(&paths[0]).is_dir() => ("1 directory".to_owned(), "holds conversations and is passed over"),
            1 => ("1 file".to_owned(), "looks like a conversation and is passed over"),
            n => (format!("{n} files"), "look like conversations and are passed over"),
        };
        let left = paths.len().saturating_sub(NAMED_MAX);
        let mut named = paths[..paths.len() - left].join(", ");
        if left > 0 {
            named.push_str(&format!(" and {left} more (`{}` lists all)", typed(LAYER1, "status --json")));
        }
        let what = format!("{all} {looks}, not saved, because {why}: {named}");
        examination.found(Kind::PassedOver, what, projects);
    }
}

/// Whether all in a directory that is not kept is saved all the same, as where somebody swept it.
fn is_covered(claude_dir: &Path, examination: &Examination<'_>) -> bool {
    let stores = [&examination.first, &examination.second];
    let archives: Vec<&Archive> = stores.into_iter().filter_map(|store| store.archive.as_ref()).collect();
    let is_saved =
        |found: &FoundTranscript| archives.iter().any(|archive| !archive.is_behind_found(found).unwrap_or(true));
    // One that lies beside `projects` is itself what projects lie in.
    let projects = claude_dir.join("projects");
    let (found, passed_over) = survey([if projects.is_dir() { projects } else { claude_dir.to_owned() }]);
    passed_over.is_empty() && found.iter().all(is_saved)
}

/// What there is, what of it is saved, and when Claude Code deletes the next.
pub(super) fn expiring(examination: &mut Examination<'_>) {
    let sources = &examination.figures.sources;
    let days = count(sources.cleanup_period_days, "day");
    let saved = how_saved(&examination.figures);
    let next = match sources.expiring.iter().min_by_key(|expiring| expiring.days_left) {
        None => "none within a week".to_owned(),
        Some(next) => {
            let unsaved = sources.expiring.iter().filter(|expiring| !expiring.saved).count();
            let first = match next.days_left {
                0 => "at its next start".to_owned(),
                n => format!("in {}", count(n, "day")),
            };
            format!("the next {first}, {} within a week, {unsaved} of them not saved", sources.expiring.len())
        }
    };
    let all = count(sources.transcripts, "transcript");
    let summary = format!("{all}, {saved}; Claude Code deletes them {days} after their last change: {next}");
    match sources.projects.symlink_metadata() {
        Err(_) if sources.transcripts == 0 => examination.leave_unchecked(Subject::Transcripts, "none yet".to_owned()),
        _ => examination.summarise(Subject::Transcripts, summary),
    }
}

/// One transcript: is it saved, and how long will it be there?
fn one(found: &FoundTranscript, examination: &mut Examination<'_>) {
    let context = examination.context;
    let modified_ms = found.modified_ms().or_else(|| modified_ms(&found.path));
    let age_ms = context.now_ms.saturating_sub(modified_ms.unwrap_or(context.now_ms));
    let not_saved = not_saved(found, modified_ms, age_ms, examination);
    let saved = not_saved.as_ref().is_none_or(|not_saved| not_saved.in_layer1 || not_saved.in_layer3);
    let sources = &mut examination.figures.sources;
    let left_ms = (sources.cleanup_period_days.saturating_mul(DAY_MS)).saturating_sub(age_ms);
    if left_ms <= EXPIRING_DAYS * DAY_MS && found.bytes > 0 {
        let days_left = left_ms / DAY_MS;
        let (session_id, path) = (found.id.to_string(), found.path.clone());
        sources.expiring.push(Expiring { session_id, path, days_left, saved });
        if !saved {
            let what = match days_left {
                0 => "not saved, and Claude Code deletes it today".to_owned(),
                n => format!("not saved, and Claude Code deletes it in {}", count(n, "day")),
            };
            let finding = Finding::new(context, Kind::ExpiringUnsaved, what, &found.path);
            examination.findings.push(finding.mend(save_line(context, false)).of(&found.id, None));
        }
    }
    examination.figures.not_yet_saved.extend(not_saved);
}

fn not_saved(
    found: &FoundTranscript,
    modified_ms: Option<u64>,
    age_ms: u64,
    examination: &mut Examination<'_>,
) -> Option<NotSaved> {
    let context = examination.context;
    // It goes on while it asks; its own hooks save it at the end of the turn.
    if context.asking.as_deref() == Some(found.id.as_str()) {
        return None;
    }
    let saved = examination.saved(found);
    let (mut unreadable, mut has_copy) = (None, false);
    let mut current = |store: &FoundStore, is_known: bool| match &store.archive {
        // An empty transcript is never stored, so there is nothing to wait for.
        _ if found.bytes == 0 || is_known => true,
        None => false,
        Some(archive) => {
            has_copy |= store.has(&found.id);
            let behind = is_behind(archive, found, examination);
            behind.map(|behind| !behind).unwrap_or_else(|error| {
                unreadable = Some(chain(&error));
                false
            })
        }
    };
    let in_layer1 = current(&examination.first, saved.is_some());
    // What is the same in both is saved in both.
    let other = saved.and_then(|one| Some((one, examination.second.session(&one.key)?)));
    let in_layer3 = current(&examination.second, other.is_some_and(|(one, other)| one.has_the_same_as(other)));
    if in_layer1 && in_layer3 {
        return None;
    }
    let ago = duration(age_ms / 1000);
    let (reason, limit_ms, what) = match (&unreadable, has_copy) {
        (Some(error), _) => ("unreadable", 0, format!("failed to {error}")),
        (None, _) if in_layer1 => ("changed", BEHIND_MS, format!("the second copy is out of date (changed {ago} ago)")),
        (None, _) if in_layer3 => ("changed", BEHIND_MS, format!("the first copy is out of date (changed {ago} ago)")),
        (None, true) => ("changed", BEHIND_MS, format!("changed {ago} ago, after its last copy")),
        (None, false) => ("no-copy", NO_COPY_MS, format!("no copy (changed {ago} ago)")),
    };
    let lacking = if in_layer1 { &examination.second } else { &examination.first };
    // What cannot be counted is behind all the same.
    let sides =
        lacking.archive.as_ref().filter(|_| has_copy).map_or(0, |archive| archive.sides_behind(found).unwrap_or(0));
    let what = if sides > 0 { format!("{what}, {} still to be copied", count(sides, "side file")) } else { what };
    let finding = match unreadable {
        Some(_) => Finding::new(context, Kind::SourcesUnreadable, what, &found.path),
        None => Finding::new(context, Kind::NotSaved, what, &found.path)
            .needing_person(age_ms > limit_ms)
            .mend(save_line(context, in_layer1)),
    };
    examination.findings.push(finding.of(&found.id, None));
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

pub(super) fn save_line(context: &Context, in_layer1: bool) -> String {
    let import = format!("{} import", context.commands.layer3);
    if in_layer1 { import } else { format!("{} sweep && {import}", context.commands.layer1) }
}

/// Stored sessions whose transcript is gone.
fn lost(ids: &HashSet<&SessionId>, examination: &mut Examination<'_>) {
    let context = examination.context;
    let (mut stored, mut gone) = (0, Vec::new());
    for found in of_either(&examination.first.sessions, &examination.second.sessions) {
        stored += 1;
        let is_there = ids.contains(&found.key.id) || found.source.as_ref().is_some_and(|path| path.exists());
        if !is_there && found.files > 0 {
            gone.push(found);
        }
    }
    let acknowledged = Acknowledged::read(examination.second.archive.as_ref());
    let stores = Stores::open(&context.places).map(Rc::new).ok();
    let is_acknowledged = |key: &SessionKey| {
        let copies = || SessionCopies::of(stores.as_ref()?, key).ok();
        acknowledged.knows_gone(key) && copies().is_some_and(|copies| acknowledged.is_gone(&copies))
    };
    gone.retain(|found| !is_acknowledged(&found.key));
    let mut projects_of: HashMap<&SessionId, usize> = HashMap::new();
    let wanted: HashSet<&SessionId> = gone.iter().map(|found| &found.key.id).collect();
    for found in of_either(&examination.first.sessions, &examination.second.sessions) {
        if wanted.contains(&found.key.id) {
            *projects_of.entry(&found.key.id).or_default() += 1;
        }
    }
    let cleanup_ms = examination.figures.sources.cleanup_period_days.saturating_mul(DAY_MS);
    let told = gone.into_iter().map(|found| {
        let key = &found.key;
        let name = if projects_of[&key.id] > 1 { format!("{}/{}", key.project, key.id) } else { key.id.to_string() };
        vanished(context, found, format!("{} restore {}", context.commands.layer3, shell_quoted(&name)), cleanup_ms)
    });
    let gone: Vec<Vanished> = told.collect();
    report_vanished(&gone, stored, examination);
    examination.figures.vanished = gone;
}

/// The sessions of both stores, by project and id. Of one that is in both, layer 3's word counts, unless it never saw the
/// source.
fn of_either<'f>(first: &'f [FoundSession], second: &'f [FoundSession]) -> impl Iterator<Item = &'f FoundSession> {
    let (mut first, mut second) = (first.iter().peekable(), second.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (first.peek(), second.peek()) {
            (Some(one), Some(other)) => one.key.cmp(&other.key),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => first.next(),
            Ordering::Greater => second.next(),
            Ordering::Equal => {
                let (one, other) = (first.next(), second.next());
                other.filter(|other| other.source.is_some()).or(one)
            }
        }
    })
}

fn vanished(context: &Context, found: &FoundSession, restore: String, cleanup_ms: u64) -> Vanished {
    let changed_ms = found.source_modified_ms.or(found.committed_ms).unwrap_or(0);
    Vanished {
        session_id: found.key.id.to_string(),
        project: found.key.project.to_string(),
        path: found.source.clone().unwrap_or_default(),
        expected: context.now_ms.saturating_sub(changed_ms) > cleanup_ms,
        restore,
    }
}

fn report_vanished(vanished: &[Vanished], stored: usize, examination: &mut Examination<'_>) {
    let context = examination.context;
    let unexpected: Vec<&Vanished> = vanished.iter().filter(|vanished| !vanished.expected).collect();
    let should_be_there = stored - (vanished.len() - unexpected.len());
    if unexpected.len() >= MASS_MIN && unexpected.len() * 2 >= should_be_there {
        let gone = unexpected.len();
        let days = count(examination.figures.sources.cleanup_period_days, "day");
        let what = format!(
            "{gone} of {should_be_there} transcripts are gone that changed within {days}, so no cleanup was due; all are saved. If you deleted them yourself, `{} status --acknowledge` lets them be, and `{} prune` removes the copies",
            context.commands.layer3, context.commands.layer3
        );
        examination.found(Kind::MassDisappearance, what, &context.places.projects());
    }
    examination.findings.extend(unexpected.into_iter().map(|gone| {
        let what = "deleted by Claude Code or by hand; it is backed up";
        let finding = Finding::new(context, Kind::Vanished, what, &gone.path).mend(gone.restore.clone());
        finding.of(&gone.session_id, Some(&gone.project))
    }));
}

/// Conversations of which layer 1 kept the events, because Claude Code wrote no transcript.
fn without_transcript(ids: &HashSet<&SessionId>, examination: &mut Examination<'_>) {
    let context = examination.context;
    // A store that cannot be read was reported already.
    for path in published_journals(&context.places.layer1_store).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(id) = name.strip_suffix(".events.jsonl").and_then(|id| SessionId::parse(id).ok()) else {
            continue;
        };
        let stored = [&examination.first, &examination.second];
        let is_stored = stored.iter().any(|store| store.has(&id));
        if ids.contains(&id) || is_stored {
            continue;
        }
        let age_ms = context.now_ms.saturating_sub(modified_ms(&path).unwrap_or(0));
        let ago = duration(age_ms / 1000);
        let what = format!("turns were seen {ago} ago, but Claude Code wrote no transcript; this is what is left");
        let project = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
        let finding = Finding::new(context, Kind::NoTranscript, what, &path);
        let is_news = age_ms < JOURNAL_NEWS_MS;
        examination.findings.push(finding.needing_person(is_news).of(&id, project.as_deref()));
    }
}

/// Whether the present content is not in the store; either spelling of its source will do.
fn is_behind(archive: &Archive, found: &FoundTranscript, examination: &Examination<'_>) -> Result<bool, ArchiveError> {
    if !archive.is_behind_found(found)? {
        return Ok(false);
    }
    match examination.other_spelling(&found.path) {
        Some(given) => archive.is_behind(&found.id, &given),
        None => Ok(true),
    }
}

pub(super) fn modified_ms(path: &Path) -> Option<u64> {
    // A file that is gone by now has no age, and is reported as such at the next look.
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok()?;
    modified.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_millis()).ok())
}
