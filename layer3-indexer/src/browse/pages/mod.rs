//! A folder of pages, one a conversation, and two that lead to them.
//!
//! A page is written again only if what it was made from has changed; each is written durably, whole or not at all. The page of
//! a conversation that was forgotten is deleted; of one that the stores have lost otherwise it stays, and the list says so.
//! Nothing else in the folder is touched, and one program at a time writes there.

mod kept;
mod lists;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{self, Existing};
use serde::Serialize;

use crate::browse::export::{self, Options};
use crate::failure::{Context, Failure, Kind};
use crate::save::adopt_v1;
use crate::scope::{self, Labels, Scope};
use crate::stores::{SessionCopies, Stores};
use crate::terminal::time::{Clock, parse_rfc3339_ms};
use crate::transcript::redact::Redactor;
use kept::{BY_PROJECT, BY_TIME, Kept, Page, path_of};
use lists::{by_project, by_time};

const HALF_A_YEAR_MS: i64 = 182 * 24 * 60 * 60 * 1000;
/// From a page to the first one.
const BACK: &str = "../index.html";

/// Which pages, and where.
pub(crate) struct Request<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) scope: &'a Scope,
    /// Only of conversations in which something was said since, in milliseconds since 1970.
    pub(crate) since_ms: Option<i64>,
    /// How each is written.
    pub(crate) options: &'a Options,
    /// Whether those are written again that have not changed.
    pub(crate) force: bool,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Written {
    /// The page that leads to all.
    pub(crate) index: String,
    /// Pages that it leads to.
    pub(crate) pages: u64,
    /// Pages that were written.
    pub(crate) written: u64,
    /// Pages that were as they should be.
    pub(crate) unchanged: u64,
    /// Pages that were deleted, of conversations that were forgotten.
    pub(crate) deleted: u64,
    /// Secrets masked in what was written, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) masked_kinds: BTreeMap<&'static str, u64>,
    /// What to know about the copies that were read, and about which conversations these are.
    pub(crate) notes: Vec<String>,
    /// Conversations, and subagents in them, that could not be exported.
    pub(crate) problems: Vec<String>,
}

/// Writes the pages. One that cannot be written is a problem and no end. `progress` is told how many are done, and of
/// how many.
pub(crate) fn write(
    places: &Places,
    request: &Request<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Written, Failure> {
    let stores = adopt_v1::stores(places)?;
    let all = stores.sessions()?;
    let known = scope::whereabouts(&stores, &all);
    let labels = Labels::of(&known);
    let label = |key: &SessionKey, at: usize| labels.label(&key.project.to_string(), scope::directory_of(&known[at]));
    let mut meant = scope::meant(request.scope, &known);
    let mut done = Written { notes: std::mem::take(&mut meant.notes), ..Written::default() };
    let is_meant: HashSet<usize> = meant.chosen((0..all.len()).collect()).into_iter().collect();
    let _lock = kept::lock(request.folder)?;
    let mut kept = Kept::read(request.folder, request.options.redact)?;
    let forgotten = delete_forgotten(&stores, &all, &mut kept, request.folder, &mut done)?;
    begin(&mut kept, request.folder, is_meant.iter().map(|at| &all[*at]))?;
    for (at, key) in all.iter().enumerate() {
        progress(at, all.len());
        let page = kept.pages.iter().position(|page| is_of(page, key));
        // A page that still holds what was forgotten is made again, whatever was asked for.
        let is_due = page.is_some() && forgotten.contains(key.id.as_str());
        if !is_meant.contains(&at) && !is_due {
            continue;
        }
        match of_session(&stores, key, request, is_due, page.map(|page| &kept.pages[page])) {
            Ok(Outcome::NotMeant) => {}
            Ok(Outcome::Unchanged) => done.unchanged += 1,
            Ok(Outcome::Written(made, exported)) => {
                page.map(|page| kept.pages.remove(page));
                let label = masked(request.options, &label(key, at));
                kept.pages.push(Page { label, ..*made });
                done.written += 1;
                done.notes.extend(exported.notes);
                done.problems.extend(exported.problems);
                for (kind, count) in exported.masked_kinds {
                    *done.masked_kinds.entry(kind).or_default() += count;
                }
            }
            Err(failure) if failure.is(Kind::Damaged) || failure.is(Kind::Exists) => {
                done.problems.push(format!("{}: failed to {failure}", key.id));
            }
            // A full disk is one for the next page too.
            Err(failure) => return Err(failure),
        }
    }
    let stored: HashSet<String> = all.iter().map(|key| path_of(key).to_string_lossy().into_owned()).collect();
    // What was begun and is not there never was.
    kept.pages.retain(|page| !page.is_begun || page.path().is_some_and(|path| request.folder.join(path).exists()));
    for page in &mut kept.pages {
        page.is_gone = page.path().is_none_or(|path| !stored.contains(&*path.to_string_lossy()));
    }
    kept.write(request.folder)?;
    let whole: Vec<Page> = kept.pages.iter().filter(|page| !page.is_begun).cloned().collect();
    done.pages = whole.len() as u64;
    list(request.folder.join(BY_TIME), |out| by_time(out, &whole))?;
    let index = list(request.folder.join(BY_PROJECT), |out| by_project(out, &whole))?;
    done.index = index.display().to_string();
    Ok(done)
}

/// Notes the pages that may be written and are not there yet, before any is. What lies there by then is none of ours.
fn begin<'k>(kept: &mut Kept, folder: &Path, keys: impl Iterator<Item = &'k SessionKey>) -> Result<(), Failure> {
    let known: HashSet<PathBuf> = kept.pages.iter().filter_map(Page::path).collect();
    let is_new = |key: &&SessionKey| {
        let path = path_of(key);
        !known.contains(&path) && folder.join(path).symlink_metadata().is_err()
    };
    let begun: Vec<Page> = keys.filter(is_new).map(Page::begun).collect();
    if begun.is_empty() {
        return Ok(());
    }
    kept.pages.extend(begun);
    kept.write(folder)
}

/// An error where the folder of a page is a link: what it leads to is none of ours.
fn check_no_link(path: &Path) -> Result<(), Failure> {
    match path.parent().map(Path::symlink_metadata) {
        Some(Ok(meta)) if !meta.is_dir() => {
            let folder = path.parent().unwrap_or(path).display();
            Err(Failure::new(format!("write {}: {folder} is no folder of its own", path.display())).of(Kind::Exists))
        }
        _ => Ok(()),
    }
}

fn list(path: PathBuf, write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Result<PathBuf, Failure> {
    let what = format!("write {}", path.display());
    fs::write_file(&path, Existing::Replaced, |out| write(out).context(&what))?;
    Ok(path)
}

/// Deletes the pages of what was forgotten, and gives the ids of all of which something was.
fn delete_forgotten(
    stores: &Stores,
    all: &[SessionKey],
    kept: &mut Kept,
    folder: &Path,
    done: &mut Written,
) -> Result<HashSet<String>, Failure> {
    let mut ids = HashSet::new();
    for archive in [&stores.layer3, &stores.layer1].into_iter().flatten() {
        // What is not known to be forgotten stays.
        let readable = archive.all_forgotten()?.into_iter().filter_map(|(id, told)| told.is_ok().then_some(id));
        ids.extend(readable.map(|id| id.to_string()));
    }
    let mut left = Vec::new();
    for page in std::mem::take(&mut kept.pages) {
        let is_stored = all.iter().any(|key| is_of(&page, key));
        let path = page.path().map(|path| folder.join(path));
        match path.filter(|_| !is_stored && ids.contains(&page.session_id)) {
            Some(path) => {
                check_no_link(&path)?;
                fs::remove_file(&path).context(format_args!("delete {}", path.display()))?;
                done.deleted += u64::from(!page.is_begun);
            }
            None => left.push(page),
        }
    }
    kept.pages = left;
    Ok(ids)
}

fn is_of(page: &Page, key: &SessionKey) -> bool {
    page.session_id == key.id.as_str() && page.project == key.project.to_string()
}

enum Outcome {
    /// Nothing was said in it since then.
    NotMeant,
    Unchanged,
    Written(Box<Page>, Box<export::Exported>),
}

fn of_session(
    stores: &Rc<Stores>,
    key: &SessionKey,
    request: &Request<'_>,
    is_due: bool,
    page: Option<&Page>,
) -> Result<Outcome, Failure> {
    let copies = SessionCopies::of(stores, key)?;
    let made_from = made_from(&copies, request.options);
    let path = request.folder.join(path_of(&copies.key));
    check_no_link(&path)?;
    let is_there = |page: &&Page| std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.len() == page.bytes);
    if let Some(page) = page.filter(|page| page.made_from == made_from && !page.has_notes).filter(is_there)
        && !request.force
    {
        let is_since = page.timestamp_end.as_deref().and_then(parse_rfc3339_ms) >= request.since_ms;
        return Ok(if is_since { Outcome::Unchanged } else { Outcome::NotMeant });
    }
    if let Some(since_ms) = request.since_ms.filter(|_| !is_due)
        && export::last_said_ms(&copies)?.is_none_or(|last_ms| last_ms < since_ms)
    {
        return Ok(Outcome::NotMeant);
    }
    // What stands there and is none of ours stays.
    let exported = export::export_to_file(&copies, request.options, &path, page.is_some())?;
    let page = Page {
        title: exported.title.clone(),
        timestamp_end: exported.timestamp_end.clone(),
        messages: exported.messages,
        bytes: exported.bytes.unwrap_or(0),
        made_from,
        has_notes: !exported.notes.is_empty(),
        ..Page::begun(&copies.key)
    };
    let page = Page { is_begun: false, ..page };
    Ok(Outcome::Written(Box::new(page), Box::new(exported)))
}

/// Differs where the page would.
fn made_from(copies: &SessionCopies, options: &Options) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
    hasher.update(export::HEAD.as_bytes());
    hasher.update(format!("{options:?} {:?}", copies.labels()).as_bytes());
    // Times are in the machine's zone: in two halves of a year they tell which.
    hasher.update([0, HALF_A_YEAR_MS].map(|ms| Clock::LOCAL.minute(ms)).concat().as_bytes());
    hasher.update(copies.contents_recorded().as_bytes());
    hasher.finalize().to_hex().to_string()
}

fn masked(options: &Options, text: &str) -> String {
    if options.redact { Redactor::default().mask(text).into_owned() } else { text.to_owned() }
}

/// The options of pages that lie in a folder.
pub(crate) fn options(options: Options) -> Options {
    Options { back: Some(BACK), ..options }
}
