//! `offsite restore`: a machine's whole store from the place, onto a machine that has nothing yet.
//!
//! What comes back is cut to its seal, compared with it, and only then recorded. It may be cut off at any time and
//! begun again: what is there and equal is not fetched twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, Said};
use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::log::in_one_line;
use layer1_prebackup::wire::offsite::{FOLDER, Kind, State, conversations, counted};
use serde::{Deserialize, Serialize};

use super::drill::Source;
use super::engine::Engine;
use super::key::Key;
use super::place::{Place, machine_name};
use super::seal::Seal;
use super::site::Site;
use super::snapshots::{Snapshot, local, short_id, snapshots};
use super::trouble::{Trouble, is_of_content};
use crate::error::{Error, failed};

/// Which restore was begun; in [`FOLDER`].
const BEGUN: &str = "restoring.json";
const BEGUN_BYTES_MAX: u64 = 64 * 1024;
/// Where the store of memories lies in a store.
const MEMORIES: &str = ".memory";
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
    let repository = place.repository(host);
    let looked = site.engine(&place, lock).and_then(|engine| {
        let all = snapshots(&engine, &repository)?;
        Ok((engine, all))
    });
    let (engine, all) = looked.inspect_err(|error| {
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
    let seal = Source { engine: &engine, repository: &repository, snapshot }.seal()?;
    let mut wrong = fetch(site, &engine, &repository, snapshot, &seal, "if-changed")?;
    if !wrong.is_empty() {
        // A file that was damaged here after an earlier try looks unchanged by its length and time.
        wrong = fetch(site, &engine, &repository, snapshot, &seal, "always")?;
    }
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
    if State::read(site.store()).map_err(failed("read the state of the third place"))?.is_some() {
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

/// Fetches a snapshot into the store and records what is as it was sealed; gives what is not.
fn fetch(
    site: &Site<'_>,
    engine: &Engine<'_>,
    repository: &str,
    snapshot: &Snapshot,
    seal: &Seal,
    overwrite: &str,
) -> Result<Vec<PathBuf>, Error> {
    let store = site.store().to_str().ok_or("restore: the path of the store is not UTF-8")?;
    let args = ["restore", "--json", "--no-lock", "--overwrite", overwrite, "--target", store, &snapshot.id];
    match engine.lines(repository, &args, &mut |_| Ok(())) {
        Ok(_) => {}
        // What could not be read is missing below, by its name.
        Err(error) if is_of_content(&error) => {
            site.report.line_with_time(&format!("[offsite] failed to {}", in_one_line(&*error)));
        }
        Err(error) => return Err(error),
    }
    let (mut conversations, mut memories) = (Said::new(), Said::new());
    for file in &seal.files {
        let hash = Hash::from_hex(&file.blake3).map_err(failed(format!("understand the seal of {}", file.path)))?;
        let path = Path::new(&file.path);
        match path.strip_prefix(MEMORIES) {
            Ok(below) => memories.insert(below.to_owned(), (file.bytes, hash)),
            Err(_) => conversations.insert(path.to_owned(), (file.bytes, hash)),
        };
    }
    let mut wrong = recorded(site.store(), &conversations)?;
    if !memories.is_empty() {
        let folder = site.store().join(MEMORIES);
        wrong.extend(recorded(&folder, &memories)?.into_iter().map(|path| Path::new(MEMORIES).join(path)));
    }
    Ok(wrong)
}

fn recorded(store: &Path, said: &BTreeMap<PathBuf, (u64, Hash)>) -> Result<Vec<PathBuf>, Error> {
    let archive = match Archive::open(store)? {
        Some(archive) => archive,
        None => Archive::create(store)?,
    };
    Ok(archive.record_returned(said)?)
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
