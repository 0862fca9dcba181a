//! `offsite pull`: what the other machines of the place have sent, brought here to be searched. Of each machine there is
//! a store of its own, in which the origin of everything stays what it was there.
//!
//! As with one conversation of another machine (see `peers`), nothing is written at the place. Only what changed since the
//! last pull is fetched. What was deleted there stays here; what grew there grows here, and what was rewritten is a version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, Said};
use layer1_prebackup::config::settings::Peers;
use layer1_prebackup::fs::{self, Dir, Lock};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::names::{TO_INDEX, TO_INDEX_NAME_CHARS};
use layer1_prebackup::wire::offsite::{FOLDER, PEERS, conversations as in_words, counted};

use super::drill::Source;
use super::engine::Engine;
use super::machines::cards;
use super::peers::{conversations, newest, said_of};
use super::restore::{fetch, make_sure_of_room};
use super::seal::{Seal, session_of};
use super::site::{SetUp, Site};
use super::snapshots::Snapshot;
use super::trouble::said;
use crate::error::Error;

/// Where it comes back to, in [`FOLDER`]: on the store's disk, so that it is moved and not copied.
const PULLING: &str = "pulling";

/// What was pulled of a machine.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) host: String,
    /// Conversations that were new or had changed, or why there are none.
    pub(crate) sessions: Result<usize, String>,
    /// Files that did not come back as they were sent; the next pull tries again.
    pub(crate) wrong: Vec<PathBuf>,
}

/// Pulls where that is set and long enough ago. What went wrong stands in the log: it is the other machine's to say.
pub(crate) fn pull_due(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock) -> Result<(), Error> {
    let (now, every) = (now_ms(), site.options.every.as_millis() as u64);
    // A clock that was set back makes nothing wait for ever.
    let is_due = set_up.state.pulled_ms.is_none_or(|at| now < at || now - at >= every);
    if site.options.peers != Peers::All || !is_due {
        return Ok(());
    }
    for one in pull(site, set_up, lock, None)? {
        if !matches!(one.sessions, Ok(0)) {
            one.to_text().lines().for_each(|line| site.report.line_with_time(&format!("[offsite] pull: {line}")));
        }
    }
    Ok(())
}

/// Pulls from all other machines of the place, or from one, if it has sent something there. One that cannot be read does
/// not stop the others.
pub(crate) fn pull(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, only: Option<&str>) -> Result<Vec<Pulled>, Error> {
    let engine = site.engine(&set_up.place, lock)?;
    let mut cards = cards(&engine, &set_up.place)?;
    cards.retain(|card| card.hostname != set_up.state.name && only.is_none_or(|only| only == card.hostname));
    let of_one = |card: &Snapshot| {
        let host = set_up.label(&card.hostname);
        match pull_one(site, set_up, &engine, card) {
            Ok((sessions, wrong)) => Pulled { host, sessions: Ok(sessions), wrong },
            Err(error) => Pulled { host, sessions: Err(said(&error)), wrong: Vec::new() },
        }
    };
    let pulled = cards.iter().map(of_one).collect();
    if set_up.is_only_read() {
        return Ok(pulled);
    }
    set_up.state.pulled_ms = Some(now_ms());
    set_up.state.write(site.store())?;
    Ok(pulled)
}

fn pull_one(
    site: &Site<'_>,
    set_up: &SetUp,
    engine: &Engine<'_>,
    card: &Snapshot,
) -> Result<(usize, Vec<PathBuf>), Error> {
    let (repository, Some(snapshot)) = newest(engine, set_up, card)? else { return Ok((0, Vec::new())) };
    let store = Dir::create_own(site.store())?.create_own_beneath(&folder_of(&set_up.label(&card.hostname)))?;
    let store = store.path().to_owned();
    let source = Source { engine, repository: &repository, snapshot: &snapshot.id };
    let mut seal = source.seal()?;
    let last = Seal::last_received(&store, Path::new(FOLDER));
    let is_older = |last: &Seal| last.writer != seal.writer && last.at > seal.at;
    if last.as_ref().is_some_and(|last| last.store == seal.store && is_older(last)) {
        // Another place had something newer of it. What another machine of this name has sent is as new as that is.
        return Ok((0, Vec::new()));
    }
    // What was forgotten here is not wanted from elsewhere either.
    let forgotten = Archive::open(site.store())?.map(|own| own.all_forgotten()).transpose()?.unwrap_or_default();
    seal.files.retain(|file| !forgotten.iter().any(|(id, _)| file.session().ends_with(&format!("/{id}"))));
    let wanted = said_of_changed(&seal, last.as_ref())?;
    if wanted.is_empty() {
        return Ok((0, Vec::new()));
    }
    let wrong = take_in(site, &source, &store, &wanted)?;
    // What is not whole is looked at again, with all of its conversation.
    let again: BTreeSet<String> = wrong.iter().map(|path| session_of(&path.to_string_lossy()).to_owned()).collect();
    seal.files.retain(|file| !again.contains(session_of(&file.path)));
    Dir::create_own(&store)?.create_own_beneath(Path::new(FOLDER))?;
    seal.keep_as_received(&store, Path::new(FOLDER))?;
    let name = snapshot.id.get(..TO_INDEX_NAME_CHARS).unwrap_or_default();
    fs::replace_own(&store, Path::new(TO_INDEX), format!("{name}\n").as_bytes())?;
    let sessions: BTreeSet<&str> = wanted.keys().filter_map(|path| Some(session_of(path.to_str()?))).collect();
    Ok((sessions.iter().filter(|session| !again.contains(**session)).count(), wrong))
}

/// The store of a machine, below ours.
fn folder_of(host: &str) -> PathBuf {
    Path::new(FOLDER).join(PEERS).join(host)
}

/// What is sealed of the conversations of which something is other than it last was.
fn said_of_changed(seal: &Seal, last: Option<&Seal>) -> Result<Said, Error> {
    let known = last.map(Seal::by_session).unwrap_or_default();
    let changed = conversations(seal).filter(|(session, files)| known.get(session) != Some(files));
    said_of(&changed.flat_map(|(_, files)| files).collect::<Vec<_>>())
}

/// Fetches what the machine's store has not and takes it in; gives what is not as it was sealed.
fn take_in(site: &Site<'_>, source: &Source<'_>, store: &Path, wanted: &Said) -> Result<Vec<PathBuf>, Error> {
    let folder = Path::new(FOLDER).join(PULLING);
    let folder = Dir::create_own(site.store())?.create_own_beneath(&folder)?.path().to_owned();
    fs::empty_dir(&folder)?;
    let into = Archive::create(store)?;
    let mut missing = into.take_returned(&Archive::create(&folder)?, wanted)?;
    if !missing.is_empty() {
        make_sure_of_room(site, wanted, Some(&missing))?;
        fetch(site, source, &folder, Some(&missing), "always")?;
        // Its bookkeeping came back too.
        let from = Archive::create(&folder)?;
        from.record_returned(wanted)?;
        missing = into.take_returned(&from, wanted)?;
    }
    fs::empty_dir(&folder)?;
    Ok(missing)
}

impl Pulled {
    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let host = &self.host;
        let mut text = match &self.sessions {
            Ok(0) => format!("{host}: nothing new\n"),
            Ok(sessions) => format!("{host}: {} came\n", in_words(*sessions as u64)),
            Err(why) => format!("{host}: cannot be read: {why}\n"),
        };
        if let Some(first) = self.wrong.first() {
            let files = counted(self.wrong.len() as u64, "file");
            text += &format!(
                "{host}: {files} did not come as sent, {} first; the next pull tries again\n",
                first.display()
            );
        }
        text
    }

    /// Whether all of it came.
    pub(crate) fn is_whole(&self) -> bool {
        self.sessions.is_ok() && self.wrong.is_empty()
    }
}
