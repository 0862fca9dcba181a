//! What would go, and why that is safe; what stays, and why.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use clap::Args;
use layer1_prebackup::archive::{PruneReason, SessionKey, StoredFile};
use layer1_prebackup::claude::live;
use layer1_prebackup::claude::side_files::open_source;
use layer1_prebackup::claude::survey::{FoundTranscript, survey};
use layer1_prebackup::claude::transcripts::open_transcript;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::names::{SessionId, StoredName};
use serde::Serialize;

use super::item::{Item, Target};
use crate::failure::{Context, Failure, Kind};
use crate::retention::open;
use crate::save::read_metadata;
use crate::save::roots::all_resolved_projects;
use crate::scope::{self, Here, Scope};
use crate::stores::session_name;
use crate::stores::{Layer, Pair, Stores};
use crate::terminal::time::parse_rfc3339_ms;
use crate::transcript::metadata::Metadata;

// What is asked for, as typed. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PruneRequest {
    /// Conversations to delete: their ids or unique beginnings
    pub(crate) sessions: Vec<String>,
    /// Older contents go, not whole sessions
    #[arg(long)]
    pub(crate) generations: bool,
    /// What repairs set aside goes
    #[arg(long, conflicts_with = "keep_last")]
    pub(crate) damaged: bool,
    /// Only what is older: an age such as 90d or "6 months", or a date
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: Option<String>,
    /// The newest N stay: sessions of the scope, or generations of each file
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<usize>,
    /// Only this project: its directory, or a part of its name; by default the current directory's
    #[arg(long, value_name = "PROJECT", conflicts_with_all = ["all", "sessions"])]
    pub(crate) project: Option<String>,
    /// All projects
    #[arg(long, conflicts_with = "sessions")]
    pub(crate) all: bool,
    /// What is old enough, and with SESSION --generations each older content, goes even where nothing else has it
    #[arg(long, conflicts_with = "damaged")]
    pub(crate) only_copies: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where it is asked.
    #[arg(skip)]
    pub(crate) here: Here,
}

/// Of an older content that is not safe.
const ALONE: &str = "no content that stays in this store begins with it";

/// Something that stays although it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Kept {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder.
    pub(crate) project: String,
    /// Why.
    pub(crate) why: String,
}

impl Kept {
    pub(super) fn new(key: &SessionKey, why: String) -> Kept {
        Kept { session_id: key.id.to_string(), project: key.project.to_string(), why }
    }
}

/// What would go, in the order in which it goes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What goes.
    pub(crate) items: Vec<Item>,
    /// What stays.
    pub(crate) kept: Vec<Kept>,
    pub(super) stores: Stores,
    /// Sessions of which a run that was killed removed older contents and did not finish.
    pub(super) unfinished: Vec<(Layer, SessionKey)>,
    /// The sessions that were looked at.
    pub(super) examined: Vec<Pair>,
    /// What to know about which they are.
    pub(super) notes: Vec<String>,
}

/// What was removed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// What went, or would go.
    pub(crate) pruned: Vec<Item>,
    /// What was asked for and stays, with the reason.
    pub(crate) kept: Vec<Kept>,
    /// The bytes of what went.
    pub(crate) bytes: u64,
    /// Whether this only tells.
    pub(crate) dry_run: bool,
    /// What could not be removed, and why.
    pub(crate) failed: Vec<Kept>,
    /// What the user should know besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

impl Summary {
    /// Of a plan that is not carried out.
    pub(crate) fn of(plan: &Plan) -> Summary {
        let bytes = plan.items.iter().map(|item| item.bytes).sum();
        let (pruned, kept) = (plan.items.clone(), plan.kept.clone());
        Summary { pruned, kept, bytes, dry_run: true, notes: plan.notes.clone(), ..Summary::default() }
    }
}

/// Looks at both stores and Claude Code's files, reads and hashes what is to prove that something may
/// go, and says what would. Without a project it is about all of them. Removes nothing. A store that cannot be opened is an error: the other
/// one's copy would be taken for the only one.
pub(crate) fn plan(places: &Places, wanted: &PruneRequest) -> Result<Plan, Failure> {
    let is_selecting = wanted.older_than.is_some() || wanted.keep_last.is_some();
    if wanted.sessions.is_empty() && !wanted.generations && !wanted.damaged && !is_selecting {
        let message = "choose what goes: name sessions, or say --older-than or --keep-last for whole sessions, --generations for older contents, --damaged for what repairs set aside";
        return Err(Failure::new(message));
    }
    let stores = open::open(places, wanted.dry_run)?;
    let pairs = stores.pairs()?;
    let mut begun = Vec::new();
    for pair in &pairs {
        if is_begun(&stores, pair) {
            begun.push(pair.clone());
        }
    }
    let (examined, notes) = match wanted.sessions.is_empty() {
        true => of_scope(wanted, &stores, &pairs),
        false => (named(&pairs, &wanted.sessions)?, Vec::new()),
    };
    let before_ms = wanted.older_than.as_deref().map(|typed| open::before_ms(typed, "90d or \"6 months\""));
    let mut planner = Planner {
        places,
        wanted,
        before_ms: before_ms.transpose()?,
        found: survey(all_resolved_projects(places)).0,
        pairs: &pairs,
        stores: &stores,
        items: Vec::new(),
        kept: Vec::new(),
    };
    for pair in &begun {
        planner.finish(pair)?;
    }
    let open: Vec<&Pair> = examined.iter().filter(|pair| !begun.contains(pair)).collect();
    if wanted.generations || wanted.damaged {
        for pair in open {
            let mut looked = Ok(());
            if wanted.generations {
                looked = planner.generations(pair);
            }
            if wanted.damaged {
                looked = looked.and(planner.set_asides(pair));
            }
            match looked {
                // One that was not named and cannot be read stays, and hinders no other.
                Err(error) if wanted.sessions.is_empty() => planner.keep(pair, error.to_string()),
                looked => looked?,
            }
        }
    } else if wanted.sessions.is_empty() {
        planner.selected(&open)?;
    } else {
        for pair in open {
            planner.named(pair)?;
        }
    }
    let Planner { items, kept, .. } = planner;
    let examined = examined.into_iter().chain(begun).collect();
    let unfinished = unfinished(&stores, &pairs);
    Ok(Plan { items, kept, stores, unfinished, examined, notes })
}

/// The sessions of the project that is meant. Where nothing is known of the current directory, none is: nothing is removed on
/// a guess.
fn of_scope(wanted: &PruneRequest, stores: &Stores, pairs: &[Pair]) -> (Vec<Pair>, Vec<String>) {
    let scope = Scope { all: wanted.all, project: wanted.project.clone(), here: wanted.here.clone() };
    let keys: Vec<SessionKey> = pairs.iter().map(|pair| pair.key().clone()).collect();
    let meant = scope::meant(&scope, &scope::whereabouts(stores, &keys));
    match meant.is_guess {
        false => (meant.chosen(pairs.to_vec()), meant.notes),
        true => {
            (Vec::new(), vec!["no session of the current directory is saved; --project or --all chooses".to_owned()])
        }
    }
}

/// One that cannot be read is told where it is looked at.
fn is_begun(stores: &Stores, pair: &Pair) -> bool {
    stores.holding(pair).any(|(_, archive, key)| archive.is_being_pruned(key).unwrap_or(false))
}

/// As [`is_begun`].
fn unfinished(stores: &Stores, pairs: &[Pair]) -> Vec<(Layer, SessionKey)> {
    let held = pairs.iter().flat_map(|pair| stores.holding(pair));
    let unfinished = held.filter(|(_, archive, key)| archive.has_unfinished_removals(key).unwrap_or(false));
    unfinished.map(|(layer, _, key)| (layer, key.clone())).collect()
}

/// The sessions that were typed, each once.
fn named(pairs: &[Pair], typed: &[String]) -> Result<Vec<Pair>, Failure> {
    let mut found: Vec<Pair> = Vec::new();
    for typed in typed {
        let keys = pairs.iter().map(|pair| pair.key().clone()).collect();
        let key = session_name::only(session_name::matches(keys, typed), typed)?;
        let pair = pairs.iter().find(|pair| *pair.key() == key);
        if let Some(pair) = pair.filter(|pair| !found.contains(pair)) {
            found.push(pair.clone());
        }
    }
    Ok(found)
}

struct Planner<'a> {
    places: &'a Places,
    wanted: &'a PruneRequest,
    before_ms: Option<i64>,
    found: Vec<FoundTranscript>,
    pairs: &'a [Pair],
    stores: &'a Stores,
    items: Vec<Item>,
    kept: Vec<Kept>,
}

/// A session as both stores and Claude Code have it.
struct Looked {
    pair: Pair,
    files1: Vec<StoredFile>,
    files3: Vec<StoredFile>,
    metadata: Option<Metadata>,
    /// The latest sign of life, in milliseconds since 1970.
    last_ms: i64,
    bytes: u64,
    /// Claude Code's transcripts of it that are there.
    sources: Vec<PathBuf>,
}

impl Planner<'_> {
    /// A removal that a killed run had begun.
    fn finish(&mut self, pair: &Pair) -> Result<(), Failure> {
        let looked = self.look(pair)?;
        let why = "its removal was begun and is finished now".to_owned();
        self.push_session(looked, false, why, None, true, false);
        Ok(())
    }

    /// A session that the user named goes, unless it is live.
    fn named(&mut self, pair: &Pair) -> Result<(), Failure> {
        refuse_live(self.places, &pair.key().id)?;
        let looked = self.look(pair)?;
        let is_held = are_held(&looked.sources, &pair.key().id, looked.files1.iter().chain(&looked.files3))?;
        let why = if is_held { held_by(&looked.sources) } else { only_copy(&looked.sources) };
        let again = "that file stays where it is, and the next sweep saves the session again";
        let note = self.saved_again(&looked).map(|_| again.to_owned());
        self.push_session(looked, !is_held, why, note, false, false);
        Ok(())
    }

    /// Of the sessions in scope those that are old enough, and not among the newest that stay.
    fn selected(&mut self, open: &[&Pair]) -> Result<(), Failure> {
        let mut all = Vec::new();
        for pair in open {
            match self.look(pair) {
                Ok(looked) => all.push(looked),
                Err(error) => self.keep(pair, error.to_string()),
            }
        }
        all.sort_by_key(|looked| (Reverse(looked.last_ms), looked.pair.key().clone()));
        let keep = self.wanted.keep_last.unwrap_or(0);
        let mut chosen: Vec<Looked> = all.into_iter().skip(keep).collect();
        chosen.retain(|looked| self.before_ms.is_none_or(|before| looked.last_ms < before));
        chosen.reverse();
        for looked in chosen {
            self.select(looked)?;
        }
        Ok(())
    }

    fn select(&mut self, looked: Looked) -> Result<(), Failure> {
        let id = looked.pair.key().id.clone();
        if let Err(error) = refuse_live(self.places, &id) {
            self.keep(&looked.pair, error.to_string());
            return Ok(());
        }
        if let Some(path) = self.saved_again(&looked) {
            let why = format!("Claude Code still has {}; the next sweep would save it again", path.display());
            self.keep(&looked.pair, why);
            return Ok(());
        }
        let is_held = are_held(&looked.sources, &id, looked.files1.iter().chain(&looked.files3))?;
        if is_held {
            let why = held_by(&looked.sources);
            self.push_session(looked, false, why, None, false, true);
        } else if self.wanted.only_copies {
            let why = only_copy(&looked.sources);
            self.push_session(looked, true, why, None, false, false);
        } else {
            let why = format!("{}; --only-copies lets it go", only_copy(&looked.sources));
            self.keep(&looked.pair, why);
        }
        Ok(())
    }

    fn keep(&mut self, pair: &Pair, why: String) {
        self.kept.push(Kept::new(pair.key(), why));
    }

    /// Older contents that others begin with; of a session that was named those alone, too, if that was asked for.
    fn generations(&mut self, pair: &Pair) -> Result<(), Failure> {
        let is_named = !self.wanted.sessions.is_empty();
        // Naming a session says nothing of what only an older content of it has, which may be the most of it.
        let may_take_alone = is_named && self.wanted.only_copies;
        if let Err(error) = refuse_live(self.places, &pair.key().id) {
            if is_named {
                return Err(error);
            }
            self.keep(pair, error.to_string());
            return Ok(());
        }
        for (layer, archive, key) in self.stores.holding(pair) {
            let files = archive.files(key)?;
            let going: Vec<StoredFile> = files.iter().filter(|file| self.may_go(file, &files)).cloned().collect();
            let may_go = |file: &StoredFile| going.iter().any(|going| going.name == file.name);
            let mut superseded = archive.superseded(key, &may_go)?;
            // What makes another safe must not go with it.
            superseded.retain(|found| !may_take_alone || !going.iter().any(|going| going.name == found.by));
            let (safe, alone): (Vec<_>, Vec<_>) = going
                .into_iter()
                .map(|file| (superseded.iter().find(|found| found.file.name == file.name), file))
                .partition(|(found, _)| found.is_some());
            if is_named && !may_take_alone {
                for (_, file) in &alone {
                    self.keep(pair, format!("{}: {ALONE}; --only-copies lets it go", file.path));
                }
            }
            let alone = alone.into_iter().filter(|_| may_take_alone);
            for (found, file) in safe.into_iter().chain(alone) {
                let grounds = if found.is_some() { PruneReason::Superseded } else { PruneReason::Named };
                let why = match found {
                    Some(found) => format!("{} begins with all of it", found.by.to_text(&key.id)),
                    None => ALONE.to_owned(),
                };
                let target = Target::Generation { pair: pair.clone(), layer, file: Box::new(file.clone()), grounds };
                let time_ms = i64::try_from(file.committed_ms).unwrap_or(0);
                self.items.push(Item {
                    path: Some(file.path),
                    store: Some(layer),
                    only_copy: found.is_none(),
                    ..Item::new("generation", key, time_ms, file.disk_bytes, why, target)
                });
            }
        }
        Ok(())
    }

    /// Whether a content is an older one, old enough, and not among the latest generations that stay.
    fn may_go(&self, file: &StoredFile, files: &[StoredFile]) -> bool {
        let later =
            |other: &&StoredFile| other.name.file == file.name.file && other.name.generation > file.name.generation;
        let is_old = self.before_ms.is_none_or(|before| i64::try_from(file.committed_ms).is_ok_and(|ms| ms < before));
        let is_kept = files.iter().filter(later).count() < self.wanted.keep_last.unwrap_or(0);
        file.name.generation > 0 && is_old && !is_kept
    }

    fn set_asides(&mut self, pair: &Pair) -> Result<(), Failure> {
        for (layer, archive, key) in self.stores.holding(pair) {
            for aside in archive.healed_quarantine(key)? {
                let changed_ms = i64::try_from(aside.changed_ms).unwrap_or(0);
                if self.before_ms.is_some_and(|before| changed_ms >= before) {
                    continue;
                }
                let why = "what it was is repaired, and all of the session verifies".to_owned();
                self.items.push(Item {
                    path: Some(aside.path.display().to_string()),
                    store: Some(layer),
                    ..Item::new("set-aside", key, changed_ms, aside.bytes, why, Target::Quarantined { layer, aside })
                });
            }
        }
        Ok(())
    }

    fn look(&self, pair: &Pair) -> Result<Looked, Failure> {
        let (mut files1, mut files3) = (Vec::new(), Vec::new());
        let mut last_ms = Vec::new();
        let mut committed_ms = 0;
        let mut bytes = 0;
        for (layer, archive, key) in self.stores.holding(pair) {
            let files = if layer == Layer::One { &mut files1 } else { &mut files3 };
            *files = archive.files(key)?;
            bytes += files.iter().map(|file| file.disk_bytes).sum::<u64>();
            bytes += archive.leftovers(key)?.iter().map(|(_, bytes)| bytes).sum::<u64>();
            committed_ms = files.iter().map(|file| file.committed_ms).fold(committed_ms, u64::max);
            last_ms.extend(archive.quick_check(key)?.source_modified_ms);
        }
        let metadata = self.metadata(pair);
        let end = metadata.as_ref().and_then(|metadata| parse_rfc3339_ms(metadata.timestamp_end.as_deref()?));
        let modified = last_ms.into_iter().max().and_then(|ms| i64::try_from(ms).ok());
        let last_ms = end.max(modified).unwrap_or_else(|| i64::try_from(committed_ms).unwrap_or(i64::MAX));
        Ok(Looked { pair: pair.clone(), files1, files3, metadata, last_ms, bytes, sources: self.sources(pair)? })
    }

    /// What layer 3 wrote down about the session. Without it, the files' times must do.
    fn metadata(&self, pair: &Pair) -> Option<Metadata> {
        let (archive, key) = (self.stores.layer3.as_ref()?, pair.layer3.as_ref()?);
        read_metadata(archive, key)
    }

    /// Claude Code's transcripts of the session: where it was copied from, and what bears its id
    /// below `projects/` and is no other session's.
    fn sources(&self, pair: &Pair) -> Result<Vec<PathBuf>, Failure> {
        let mut sources = Vec::new();
        for (_, archive, key) in self.stores.holding(pair) {
            sources.extend(archive.source_of(key)?);
        }
        sources.retain(|path| !path.starts_with(&self.places.layer1_store));
        let id = &pair.key().id;
        for found in self.found.iter().filter(|found| found.id == *id) {
            let mut is_anothers = false;
            let twins = self.pairs.iter().filter(|other| other.key().id == *id && *other != pair);
            for (_, archive, key) in twins.flat_map(|twin| self.stores.holding(twin)) {
                is_anothers |= archive.source_of(key)?.as_ref() == Some(&found.path);
            }
            if !is_anothers {
                sources.push(found.path.clone());
            }
        }
        sources.sort();
        sources.dedup();
        let mut there = Vec::new();
        // One that cannot be read may be saved again as soon as it can, and holds nothing until then.
        let is_left = |path: &Path| self.found.iter().any(|found| found.path == path);
        let is_there = |path: &Path| !matches!(open_transcript(path), Ok(None)) || is_left(path);
        for path in sources {
            if is_there(&path) {
                there.push(path);
            }
        }
        Ok(there)
    }

    /// The source that the next sweep would copy again.
    fn saved_again(&self, looked: &Looked) -> Option<PathBuf> {
        let projects = all_resolved_projects(self.places);
        let is_swept = |path: &&PathBuf| {
            let given = self.places.all_claude_dirs().map(|dir| dir.join("projects"));
            projects.iter().cloned().chain(given).any(|projects| path.starts_with(projects))
        };
        let exclude = &self.places.policy.exclude;
        looked.sources.iter().filter(is_swept).find(|path| !exclude.is_excluded(path, None)).cloned()
    }

    fn push_session(
        &mut self,
        looked: Looked,
        only_copy: bool,
        why: String,
        note: Option<String>,
        begun: bool,
        held_by_source: bool,
    ) {
        let Looked { pair, files1: shown1, files3: shown3, metadata, last_ms, bytes, sources } = looked;
        let key = pair.key().clone();
        let topic = metadata.and_then(|metadata| metadata.title.or(metadata.first_topic));
        let target = Target::Session { pair, shown1, shown3, sources, held_by_source, begun };
        let item = Item::new("session", &key, last_ms, bytes, why, target);
        self.items.push(Item { topic, only_copy, note, ..item });
    }
}

fn held_by(sources: &[PathBuf]) -> String {
    let path = sources.first().map(|path| path.display().to_string()).unwrap_or_default();
    format!("Claude Code has every byte of it: {path}")
}

fn only_copy(sources: &[PathBuf]) -> String {
    match sources.first() {
        None => "the only copy: Claude Code no longer has it".to_owned(),
        Some(path) => format!("the only copy of some of it, which {} does not have", path.display()),
    }
}

/// Whether one of the transcripts, or a side file beside it, begins with each of these contents:
/// they are read and hashed. Nothing stored is held by nobody.
pub(super) fn are_held<'f>(
    sources: &[PathBuf],
    id: &SessionId,
    files: impl Iterator<Item = &'f StoredFile>,
) -> Result<bool, Failure> {
    for file in files {
        let mut is_held = false;
        for transcript in sources {
            is_held = is_held || begins_with(transcript, id, &file.name, file)?;
        }
        if !is_held {
            return Ok(false);
        }
    }
    Ok(!sources.is_empty())
}

fn begins_with(transcript: &Path, id: &SessionId, name: &StoredName, file: &StoredFile) -> Result<bool, Failure> {
    // As above: one that cannot be read holds nothing.
    let Ok(Some(opened)) = open_source(transcript, id, &name.file) else { return Ok(false) };
    match fs::hash_of_prefix(&opened, file.bytes, transcript) {
        Ok(hash) => Ok(hash == file.blake3),
        Err(error) if error.source.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// An error while a process has the session open.
pub(super) fn refuse_live(places: &Places, id: &SessionId) -> Result<(), Failure> {
    match live::live_process(&places.claude_dir, id) {
        Ok(None) => Ok(()),
        Ok(Some(pid)) => {
            let message = format!("prune session {id}: it is live, process {pid} has it open");
            Err(Failure::new(message).of(Kind::Live).hint("end that first"))
        }
        Err(error) => {
            let path = places.claude_dir.join("sessions");
            Err(error).context(format_args!("see whether session {id} is live, in {}", path.display()))
        }
    }
}
