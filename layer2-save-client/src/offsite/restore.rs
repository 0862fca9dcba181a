//! `offsite restore`: a machine's whole store from the place, onto a machine that has nothing yet.
//!
//! What comes back is cut to its seal and compared with it in a folder of its own, and only then taken into the store.
//! It may be cut off at any time and begun again: what is in the store is not fetched twice, and never written over, for
//! from the first conversation on that came back Claude Code goes on with it, and hooks save it there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, Said};
use layer1_prebackup::fs::{self, Dir, Lock};
use layer1_prebackup::log::in_one_line;
use layer1_prebackup::wire::offsite::{FOLDER, Kind, State, conversations, counted, folders};
use serde::{Deserialize, Serialize};

use super::drill::Source;
use super::engine::Engine;
use super::key::Key;
use super::machines::{cards, repository_name};
use super::peers::{WANTED_FILE, patterns, said_of};
use super::place::{Place, machine_name};
use super::seal::{Seal, session_of};
use super::site::Site;
use super::snapshots::{Snapshot, local, short_id, snapshots};
use super::trouble::{Trouble, is_of_content};
use crate::error::{Error, failed};

/// Which restore was begun; in [`FOLDER`].
const BEGUN: &str = "restoring.json";
const BEGUN_BYTES_MAX: u64 = 64 * 1024;
/// Where it comes back to, in [`FOLDER`]: on the store's disk, so that it is moved and not copied.
const RETURNING: &str = "returning";
/// Where the store of memories lies in a store.
const MEMORIES: &str = ".memory";
/// What says in a store which one it is.
const STORE_FILE: &str = ".state/store.json";
const STORE_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Bookkeeping of the copy itself, in a store and in the store of memories.
const OF_THE_COPY: [&str; 4] = [".state/sessions", ".state/store.json", ".state/labels", ".state/offsite"];
const SHOWN_MAX: usize = 5;

/// What is to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// As typed; the settings say it where nothing was.
    pub(crate) place: Option<String>,
    pub(crate) host: String,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) snapshot: String,
    pub(crate) time: String,
    pub(crate) sessions: usize,
    pub(crate) files: usize,
    /// Sealed files that did not come back as they were sent.
    pub(crate) wrong: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    place: String,
    host: String,
    snapshot: String,
}

/// Brings a store back. `ask` is called for the words of the key where no file has them.
pub(crate) fn restore(
    site: &Site<'_>,
    lock: &Lock,
    wanted: &Wanted,
    ask: &mut dyn FnMut() -> Result<String, Error>,
) -> Result<Restored, Error> {
    let host = machine_name(&wanted.host)?;
    let place = wanted.place.as_ref().or(site.options.place.as_ref());
    let place = place.ok_or("find a place: none is typed, and the setting offsite names none")?;
    let place = Place::parse(place, &site.settings.places.home)?;
    let begun = begun(site.store())?;
    refuse_a_store_in_use(site, begun.as_ref(), &place, host)?;
    let is_new_key = key(site, ask)?;
    let looked = site.engine(&place, lock).and_then(|engine| {
        let repository = repository_of(&engine, &place, host)?;
        let all = snapshots(&engine, &repository)?;
        Ok((engine, repository, all))
    });
    let (engine, repository, all) = looked.inspect_err(|error| {
        let is_refused = error.downcast_ref::<Trouble>().is_some_and(|trouble| trouble.kind == Kind::WrongKey);
        if is_new_key && is_refused {
            // It opens nothing, and the next try asks again. Where it stays, that is said then.
            let _ = fs::remove_file(&site.options.key.file);
        }
    })?;
    let is_begun = |snapshot: &&Snapshot| begun.as_ref().is_some_and(|begun| begun.snapshot == snapshot.id);
    let chosen = all.iter().find(is_begun).or(all.last());
    let snapshot = chosen.ok_or_else(|| Error::from(format!("find a snapshot of {host}: nothing was sent yet")))?;
    let note = Begun { place: place.as_str().to_owned(), host: host.to_owned(), snapshot: snapshot.id.clone() };
    let note = serde_json::to_vec(&note).map_err(failed("encode what was begun as JSON"))?;
    fs::replace_own(site.store(), &Path::new(FOLDER).join(BEGUN), &note)?;
    let source = Source { engine: &engine, repository: &repository, snapshot: &snapshot.id };
    let seal = source.seal()?;
    let wrong = bring_back(site, &source, &seal, begun.is_some())?;
    if wrong.is_empty() {
        fs::remove_file(&site.store().join(FOLDER).join(BEGUN))?;
    }
    Ok(Restored {
        snapshot: snapshot.id.clone(),
        time: snapshot.time.clone(),
        sessions: seal.by_session().len(),
        files: seal.files.len(),
        wrong: wrong.iter().map(|path| path.display().to_string()).collect(),
    })
}

/// The address of a machine's repository, as its card says it; of one whose card cannot be read its first one.
fn repository_of(engine: &Engine<'_>, place: &Place, host: &str) -> Result<String, Error> {
    let cards = match cards(engine, place) {
        Err(error)
            if !error.downcast_ref::<Trouble>().is_some_and(|it| it.is_of_content || it.kind == Kind::NotMounted) =>
        {
            return Err(error);
        }
        cards => cards.unwrap_or_default(),
    };
    let name = cards.iter().find(|card| card.hostname == host).map(repository_name);
    Ok(place.repository(name.as_deref().unwrap_or(host)))
}

fn begun(store: &Path) -> Result<Option<Begun>, Error> {
    let text = fs::read_own(store, &Path::new(FOLDER).join(BEGUN), BEGUN_BYTES_MAX)?;
    text.map(|text| serde_json::from_slice(&text).map_err(failed("understand which restore was begun"))).transpose()
}

/// What is there already is never written over.
fn refuse_a_store_in_use(site: &Site<'_>, begun: Option<&Begun>, place: &Place, host: &str) -> Result<(), Error> {
    let store = site.store().display();
    if let Some(begun) = begun {
        if begun.place == place.as_str() && begun.host == host {
            return Ok(());
        }
        let (host, place) = (&begun.host, &begun.place);
        return Err(format!(
            "restore into {store}: the restore of {host} from {place} was begun there; finish that first"
        )
        .into());
    }
    let elsewhere = "name another directory with --pre-backup-dir";
    let is_set_up = |folder| State::read_in(site.store(), folder).map_err(failed("read the state of the third place"));
    let states = folders(site.store()).iter().map(|folder| is_set_up(folder)).collect::<Result<Vec<_>, Error>>()?;
    if states.iter().any(Option::is_some) {
        return Err(format!("restore into {store}: its conversations are sent to a place already; {elsewhere}").into());
    }
    match Archive::open(site.store())? {
        Some(archive) if !archive.sessions()?.is_empty() => {
            Err(format!("restore into {store}: conversations are there already; {elsewhere}").into())
        }
        _ => Ok(()),
    }
}

/// Makes sure that a key is where it belongs; true if it was asked for now.
fn key(site: &Site<'_>, ask: &mut dyn FnMut() -> Result<String, Error>) -> Result<bool, Error> {
    let env = site.options.key_env(&site.settings.child_env);
    if site.options.key.command.is_some() || site.options.key.read(&env)?.is_some() {
        return Ok(false);
    }
    site.options.key.write(&Key::parse(&ask()?)?, &env)?;
    Ok(true)
}

/// Fetches what the store has not, and takes it in; gives what is not as it was sealed.
fn bring_back(site: &Site<'_>, source: &Source<'_>, seal: &Seal, is_begun: bool) -> Result<Vec<PathBuf>, Error> {
    let folder = site.store().join(FOLDER).join(RETURNING);
    Dir::create_own(site.store())?.create_own_beneath(&Path::new(FOLDER).join(RETURNING))?;
    let said = said_of(&seal.files.iter().collect::<Vec<_>>())?;
    // Of what an earlier try took in nothing is to be fetched once more.
    let mut missing = if is_begun { Some(take_in(site.store(), &folder, &said)?) } else { None };
    make_sure_of_room(site, &said, missing.as_deref())?;
    fetch(site, source, &folder, missing.as_deref(), "if-changed")?;
    place_others(site.store(), &folder, &seal.store)?;
    let mut wrong = take_in(site.store(), &folder, &said)?;
    if !wrong.is_empty() {
        // A file that was damaged here after an earlier try looks unchanged by its length and time.
        missing = Some(wrong);
        fetch(site, source, &folder, missing.as_deref(), "always")?;
        wrong = take_in(site.store(), &folder, &said)?;
    }
    fs::empty_dir(&folder)?;
    Ok(wrong)
}

/// An error where what is said of these files, or of all, does not fit: hooks need room too.
pub(crate) fn make_sure_of_room(site: &Site<'_>, said: &Said, missing: Option<&[PathBuf]>) -> Result<(), Error> {
    let missing: Option<BTreeSet<&PathBuf>> = missing.map(|missing| missing.iter().collect());
    let is_missing = |path: &PathBuf| missing.as_ref().is_none_or(|missing| missing.contains(path));
    let bytes = said.iter().filter(|(path, _)| is_missing(path)).map(|(_, (bytes, _))| bytes).sum();
    let floor = site.settings.places.policy.free_space_floor;
    Ok(Archive::create(site.store())?.leaving_free(floor).make_sure_of_room(bytes)?)
}

/// Fetches a snapshot into a folder: all of it, or the sessions of these files and what is of none.
pub(crate) fn fetch(
    site: &Site<'_>,
    source: &Source<'_>,
    folder: &Path,
    missing: Option<&[PathBuf]>,
    overwrite: &str,
) -> Result<(), Error> {
    let not_text = "restore: the path of the store is not UTF-8";
    let wanted = Path::new(FOLDER).join(WANTED_FILE);
    let (wanted_path, folder) = (site.store().join(&wanted), folder.to_str().ok_or(not_text)?);
    let mut args = vec!["restore", "--json", "--no-lock", "--overwrite", overwrite, "--target", folder];
    if let Some(missing) = missing {
        let sessions: BTreeSet<&str> = missing.iter().filter_map(|path| Some(session_of(path.to_str()?))).collect();
        let sessions = sessions.iter().filter_map(|session| session.rsplit_once('/'));
        let text: String = sessions.map(|(project, id)| patterns(project, id)).collect();
        let text = format!("/.state\n/{MEMORIES}/.state\n{text}");
        fs::replace_own(site.store(), &wanted, text.as_bytes())?;
        args.extend(["--include-file", wanted_path.to_str().ok_or(not_text)?]);
    }
    args.push(source.snapshot);
    match source.engine.lines(source.repository, &args, &mut |_| Ok(())) {
        Ok(_) => Ok(()),
        // What could not be read is missing later on, by its name.
        Err(error) if is_of_content(&error) => {
            site.report.line_with_time(&format!("[offsite] failed to {}", in_one_line(&*error)));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Records what came back, and takes it into the store and its store of memories; gives what is in neither.
fn take_in(store: &Path, folder: &Path, said: &Said) -> Result<Vec<PathBuf>, Error> {
    let (mut conversations, mut memories) = (Said::new(), Said::new());
    for (path, what) in said {
        match path.strip_prefix(MEMORIES) {
            Ok(below) => memories.insert(below.to_owned(), *what),
            Err(_) => conversations.insert(path.clone(), *what),
        };
    }
    let mut wrong = Vec::new();
    for (below, said) in [("", &conversations), (MEMORIES, &memories)] {
        let (into, from) = (store.join(below), folder.join(below));
        if said.is_empty() && !from.is_dir() {
            continue;
        }
        let from = Archive::create(&from)?;
        from.record_returned(said)?;
        let missing = Archive::create(&into)?.take_returned(&from, said)?;
        wrong.extend(missing.into_iter().map(|path| Path::new(below).join(path)));
    }
    Ok(wrong)
}

/// Places what came back and is of no session, where nothing is in its place. The store becomes the one that was sent.
fn place_others(store: &Path, folder: &Path, id: &str) -> Result<(), Error> {
    for below in ["", MEMORIES] {
        let (into, from) = (store.join(below), folder.join(below));
        let Some(sent) = Archive::open(&from)? else { continue };
        let is_another = |own: Archive| below.is_empty() && own.store_id() != id && sent.store_id() == id;
        if Archive::open(&into)?.is_none_or(is_another) {
            let text = fs::read_own(&from, Path::new(STORE_FILE), STORE_FILE_BYTES_MAX)?.unwrap_or_default();
            fs::replace_own(&into, Path::new(STORE_FILE), &text)?;
        }
        let sessions = sent.sessions()?.into_iter().map(|key| format!("{}/{}", key.project, key.id)).collect();
        place_below(&into, &from, Path::new(""), &sessions)?;
    }
    Ok(())
}

fn place_below(into: &Path, from: &Path, below: &Path, sessions: &BTreeSet<String>) -> Result<(), Error> {
    let doing = || format!("read {}", from.join(below).display());
    for entry in std::fs::read_dir(from.join(below)).map_err(failed(doing()))? {
        let entry = entry.map_err(failed(doing()))?;
        let (rel, kind) = (below.join(entry.file_name()), entry.file_type().map_err(failed(doing()))?);
        let is_kept_back = OF_THE_COPY.iter().any(|path| rel == Path::new(path))
            || rel == Path::new(MEMORIES)
            || rel.extension().is_some_and(|extension| extension == "lock")
            || sessions.contains(session_of(&rel.to_string_lossy()));
        if is_kept_back {
        } else if kind.is_dir() {
            place_below(into, from, &rel, sessions)?;
        } else if into.join(&rel).symlink_metadata().is_err() {
            Dir::create_own(into)?.create_own_beneath(below)?;
            fs::rename_new(&from.join(&rel), &into.join(&rel))?;
        }
    }
    Ok(())
}

impl Restored {
    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let Restored { sessions, files, wrong, .. } = self;
        let of = format!("snapshot {} of {}", short_id(&self.snapshot), local(&self.time));
        if wrong.is_empty() {
            let (sessions, files) = (conversations(*sessions as u64), counted(*files as u64, "file"));
            return format!("{sessions} came back, {files}, each as it was sealed ({of}).\n");
        }
        let shown: Vec<&str> = wrong.iter().take(SHOWN_MAX).map(String::as_str).collect();
        let more = if wrong.len() > SHOWN_MAX {
            format!("\n  … and {} more", wrong.len() - SHOWN_MAX)
        } else {
            String::new()
        };
        format!(
            "{} of {files} files did not come back as they were sent ({of}):\n  {}{more}\nAll others did. \
             An older snapshot may have them; the same command again tries once more.\n",
            wrong.len(),
            shown.join("\n  ")
        )
    }
}
