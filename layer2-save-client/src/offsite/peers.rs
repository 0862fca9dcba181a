//! The other machines of the place: what each has sent, and one conversation of one of them.
//!
//! All of it reads: no lock is taken or left at the place, and nothing is written there. What is fetched is cut to its
//! seal and compared with it before anybody gets to see it. What is wrong with another machine's repository is that
//! machine's to say: our state keeps none of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, Said};
use layer1_prebackup::fs::{self, Dir, Lock};
use layer1_prebackup::wire::offsite::{FETCHED, FOLDER, Kind};
use serde::Serialize;

use super::drill::Source;
use super::engine::Engine;
use super::machines::{cards, repository_name};
use super::push::escaped;
use super::seal::{Seal, Sealed};
use super::site::{SetUp, Site};
use super::snapshots::{Snapshot, entries, repository_id, snapshots};
use super::trouble::Trouble;
use crate::error::{Error, failed};

/// What is fetched next, in [`FOLDER`].
pub(crate) const WANTED_FILE: &str = "wanted";
/// Digits of the seal's hash in a folder's name.
const DIGITS: usize = 16;

/// A conversation of another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) host: String,
    pub(crate) project: String,
    pub(crate) session_id: String,
    /// All of its files.
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    /// When one of them last changed there, RFC 3339; empty where that is not known.
    pub(crate) changed: String,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fetched {
    pub(crate) host: String,
    pub(crate) project: String,
    pub(crate) session_id: String,
    pub(crate) snapshot: String,
    /// When the snapshot was made.
    pub(crate) time: String,
    /// A store of this conversation alone.
    pub(crate) store: PathBuf,
}

/// What a machine has sent, newest first.
pub(crate) fn list(site: &Site<'_>, set_up: &SetUp, lock: &Lock, host: &str) -> Result<Vec<Listed>, Error> {
    let engine = site.engine(&set_up.place, lock)?;
    let (repository, snapshot) = of_host(&engine, set_up, host)?;
    let seal = Source { engine: &engine, repository: &repository, snapshot: &snapshot.id }.seal()?;
    let mut changed: HashMap<String, String> = HashMap::new();
    entries(&engine, &repository, &snapshot.id, &[], &mut |entry| {
        changed.insert(entry.path, entry.mtime);
    })?;
    let label = set_up.label(host);
    let mut all: Vec<Listed> =
        conversations(&seal).map(|(session, files)| of(&label, session, files, &changed)).collect();
    all.sort_by(|one, other| (&other.changed, &one.session_id).cmp(&(&one.changed, &other.session_id)));
    Ok(all)
}

/// Brings one conversation of a machine into a store of its own below ours, or finds it there.
pub(crate) fn fetch(
    site: &Site<'_>,
    set_up: &SetUp,
    lock: &Lock,
    (host, typed): (&str, &str),
) -> Result<Fetched, Error> {
    let engine = site.engine(&set_up.place, lock)?;
    let (repository, snapshot) = of_host(&engine, set_up, host)?;
    let seal = Source { engine: &engine, repository: &repository, snapshot: &snapshot.id }.seal()?;
    let (session, files) = chosen(&seal, host, typed)?;
    let (project, id) = session.split_once('/').unwrap_or_default();
    let said = said_of(&files)?;
    let label = set_up.label(host);
    let folder = Path::new(FOLDER).join(FETCHED).join(&label).join(id);
    // Another content is another store.
    let name = serde_json::to_vec(&files).map_err(failed("encode what is sealed as JSON"))?;
    let name = &blake3::hash(&name).to_hex()[..DIGITS];
    let store = site.store().join(&folder).join(name);
    let found = Fetched {
        host: label,
        project: project.to_owned(),
        session_id: id.to_owned(),
        snapshot: snapshot.id.clone(),
        time: snapshot.time.clone(),
        store: store.clone(),
    };
    if store.is_dir() && missing_in(&store, &said)?.is_empty() {
        return Ok(found);
    }
    // It grew there since it was fetched, or a fetch was cut off.
    fs::empty_dir(&site.store().join(&folder))?;
    Dir::create_own(site.store())?.create_own_beneath(&folder)?;
    // Before anything is in it: what a store finds when it is made counts as unproven.
    Archive::create(&store)?;
    let wanted = Path::new(FOLDER).join(WANTED_FILE);
    fs::replace_own(site.store(), &wanted, patterns(project, id).as_bytes())?;
    let (wanted, target) = (site.store().join(wanted), store.display().to_string());
    let wanted = wanted.to_str().ok_or("fetch: the path of the store is not UTF-8")?;
    let args = ["restore", "--json", "--no-lock", "--include-file", wanted, "--target", &target, &snapshot.id];
    engine.lines(&repository, &args, &mut |_| Ok(()))?;
    match missing_in(&store, &said)?.first() {
        None => Ok(found),
        Some(path) => {
            let what = format!("{} of {host} did not come back as it was sent", path.display());
            Err(Trouble { kind: Kind::OffsiteFailed, what, is_of_content: true }.into())
        }
    }
}

/// A machine's repository and its newest snapshot. An error where the repository is not the one of its card.
pub(crate) fn newest(
    engine: &Engine<'_>,
    set_up: &SetUp,
    card: &Snapshot,
) -> Result<(String, Option<Snapshot>), Error> {
    let repository = set_up.place.repository(&repository_name(card));
    let id = repository_id(engine, &repository)?;
    if id != card.repository() {
        return Err(format!("read {repository}: it is not the repository of {} any more", card.hostname).into());
    }
    Ok((repository.clone(), snapshots(engine, &repository)?.pop()))
}

fn of_host(engine: &Engine<'_>, set_up: &SetUp, host: &str) -> Result<(String, Snapshot), Error> {
    let cards = cards(engine, &set_up.place)?;
    let Some(card) = cards.iter().find(|card| card.hostname == host) else {
        let known: Vec<&str> = cards.iter().map(|card| card.hostname.as_str()).collect();
        return Err(format!("find the machine {host:?}: there are {}", known.join(", ")).into());
    };
    match newest(engine, set_up, card)? {
        (repository, Some(newest)) => Ok((repository, newest)),
        _ => Err(format!("find a conversation of {host}: it has sent nothing yet").into()),
    }
}

/// The conversations of a seal; what is remembered of a project is none.
pub(crate) fn conversations(seal: &Seal) -> impl Iterator<Item = (&str, Vec<&Sealed>)> {
    seal.by_session().into_iter().filter(|(session, _)| session.matches('/').count() == 1)
}

fn of(host: &str, session: &str, files: Vec<&Sealed>, changed: &HashMap<String, String>) -> Listed {
    let (project, id) = session.split_once('/').unwrap_or_default();
    let times = files.iter().filter_map(|file| changed.get(&file.in_snapshot()));
    let newest = times.max_by_key(|time| super::snapshots::instant(time));
    Listed {
        host: host.to_owned(),
        project: project.to_owned(),
        session_id: id.to_owned(),
        files: files.len(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        changed: newest.map(|time| super::seal::rfc3339(super::snapshots::instant(time))).unwrap_or_default(),
    }
}

/// The one conversation that is meant: an id, or its beginning; also behind its project.
fn chosen<'s>(seal: &'s Seal, host: &str, typed: &str) -> Result<(&'s str, Vec<&'s Sealed>), Error> {
    let is_meant = |session: &str| {
        let (project, id) = session.split_once('/').unwrap_or_default();
        match typed.split_once('/') {
            Some((of, typed)) => of == project && id.starts_with(typed),
            None => !typed.is_empty() && id.starts_with(typed),
        }
    };
    let mut found: Vec<_> = conversations(seal).filter(|(session, _)| is_meant(session)).collect();
    // What is an id is no beginning of another one.
    let is_exact = |session: &str| session.rsplit('/').next() == Some(typed);
    if found.iter().filter(|(session, _)| is_exact(session)).count() == 1 {
        found.retain(|(session, _)| is_exact(session));
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(format!("find {typed:?}: no conversation of {host} has an id that begins so").into()),
        _ => {
            let named: Vec<&str> = found.iter().take(5).map(|(session, _)| *session).collect();
            let count = found.len();
            Err(format!("find {typed:?}: {count} conversations of {host} are meant: {}", named.join(", ")).into())
        }
    }
}

/// What is sealed of files, by their paths.
pub(crate) fn said_of(files: &[&Sealed]) -> Result<Said, Error> {
    let one = |file: &&Sealed| -> Result<_, Error> {
        let hash = Hash::from_hex(&file.blake3).map_err(failed(format!("understand the seal of {}", file.path)))?;
        Ok((PathBuf::from(&file.path), (file.bytes, hash)))
    };
    files.iter().map(one).collect()
}

/// Records what is there; gives what is not as it was sealed.
fn missing_in(store: &Path, said: &Said) -> Result<Vec<PathBuf>, Error> {
    let Some(archive) = Archive::open(store)? else { return Ok(said.keys().cloned().collect()) };
    Ok(archive.record_returned(said)?)
}

/// What is a conversation's in a snapshot: what was sealed may be there as an older version by now.
pub(crate) fn patterns(project: &str, id: &str) -> String {
    let before = format!("/{}/{}", escaped(project), escaped(id));
    ["", ".jsonl", ".jsonl.zst", ".gen-*"].map(|behind| format!("{before}{behind}\n")).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(paths: &[&str]) -> Seal {
        let files: Vec<String> = paths
            .iter()
            .map(|path| format!(r#"{{"path":"{path}","generation":0,"bytes":5,"blake3":"{}"}}"#, "0".repeat(64)))
            .collect();
        let json = format!(r#"{{"format":1,"store":"","writer":"","host":"","at":"","files":[{}]}}"#, files.join(","));
        Seal::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_conversation_is_meant_by_its_beginning_and_never_guessed() {
        let seal = seal(&["p/ab1.jsonl", "p/ab1/x", "p/ab12.jsonl", "q/cd.jsonl", "r/cd.jsonl", ".memory/p/ab9/M.md"]);
        let meant = |typed: &str| chosen(&seal, "desktop", typed).map(|(session, files)| (session, files.len()));
        assert_eq!(meant("ab12").unwrap(), ("p/ab12", 1));
        // One that is an id wins over one that only begins so.
        assert_eq!(meant("ab1").unwrap(), ("p/ab1", 2));
        assert_eq!(meant("q/c").unwrap(), ("q/cd", 1));
        for (typed, told) in
            [("ab", "2 conversations"), ("cd", "2 conversations"), ("ab9", "no conversation"), ("", "no ")]
        {
            let refused = meant(typed).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn a_list_has_the_newest_change_of_each_conversation_and_no_memory() {
        let seal = seal(&["p/a.jsonl", "p/a/x", ".memory/p/m/M.md"]);
        let changed = [("/p/a.jsonl", "2026-01-01T02:00:00+02:00"), ("/p/a/x", "2026-01-01T00:00:01Z")];
        let changed = changed.map(|(path, time)| (path.to_owned(), time.to_owned())).into_iter().collect();
        let all: Vec<Listed> =
            conversations(&seal).map(|(session, files)| of("desktop", session, files, &changed)).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].files, all[0].bytes, all[0].changed.as_str()), (2, 10, "2026-01-01T00:00:01Z"));
    }
}
