//! What every command of the third place begins with: the settings, the state, the lock, and `restic`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::settings as config;
use layer1_prebackup::fs::platform::random;
use layer1_prebackup::fs::{self, Dir, Lock};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::names::{LAYER2, typed};
use layer1_prebackup::wire::offsite::{FOLDER, Kind, State, called, folder_of, folders};

use super::engine::{self, Engine, LOCK};
use super::options::Options;
use super::place::{Place, machine_name};
use super::seal::{Seal, Sealer};
use super::snapshots::{Snapshot, local, repository_id, snapshots};
use super::trouble::Trouble;
use crate::error::{Error, failed};
use crate::interrupt::Interrupt;
use crate::report::Report;
use crate::settings::Settings;

/// How long another command of ours is waited for; a push may take hours.
const BUSY_WAIT: Duration = Duration::from_secs(10);
const BUSY_POLL: Duration = Duration::from_millis(50);
const ID_DIGITS: usize = 16;
/// In the folder of a place that is only read: its address. Such a place has no state, so nothing is ever sent there.
const READ: &str = "read";
const READ_BYTES_MAX: u64 = 64 * 1024;
/// A repository's configuration and its key files have some hundred bytes; a longer one is none.
pub(crate) const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// A place that is known: the first one, one of the settings, or one of which something is written down.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its name in the settings; none of the first one.
    pub(crate) called: Option<String>,
    folder: PathBuf,
    pub(crate) options: Options,
}

impl Known {
    /// All of them, the first one first; `typed` is one that is asked for.
    pub(crate) fn all(
        store: &Path,
        set: &config::Settings,
        typed: Option<&str>,
        options: &dyn Fn(Option<&str>) -> Options,
    ) -> Vec<Known> {
        let of_store = folders(store).into_iter().filter_map(|folder| called(&folder).map(str::to_owned));
        let named: BTreeSet<String> =
            of_store.chain(set.offsite_names().map(str::to_owned)).chain(typed.map(str::to_owned)).collect();
        let known = |called: Option<String>| Known {
            folder: folder_of(called.as_deref()),
            options: options(called.as_deref()),
            called,
        };
        std::iter::once(None).chain(named.into_iter().map(Some)).map(known).collect()
    }
}

/// This machine and all of its places.
#[derive(Clone, Copy)]
pub(crate) struct Sites<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) places: &'a [Known],
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) report: &'a Report,
    /// `PATH` of the environment.
    pub(crate) path: &'a OsStr,
}

impl<'a> Sites<'a> {
    fn site(&self, known: &'a Known) -> Site<'a> {
        Site {
            settings: self.settings,
            places: self.places,
            options: &known.options,
            interrupt: self.interrupt,
            report: self.report,
            path: self.path,
            called: known.called.as_deref(),
            folder: &known.folder,
        }
    }

    /// A place by its name; none is the first one.
    pub(crate) fn of(&self, called: Option<&str>) -> Result<Site<'a>, Error> {
        let called = called.map(machine_name).transpose()?;
        let known = self.places.iter().find(|known| known.called.as_deref() == called);
        known.map(|known| self.site(known)).ok_or_else(|| format!("find the place {called:?}").into())
    }

    /// All places that are only read, with what is known of each.
    pub(crate) fn only_read(&self) -> Vec<(Site<'a>, SetUp)> {
        let sites = self.places.iter().map(|known| self.site(known));
        sites.filter_map(|site| site.only_read().ok().flatten().map(|set_up| (site, set_up))).collect()
    }

    /// All places that are set up, or of which it is not known whether they are.
    pub(crate) fn set_up(&self) -> Vec<Site<'a>> {
        let sites = self.places.iter().map(|known| self.site(known));
        sites.filter(|site| !matches!(site.state(), Ok(None))).collect()
    }
}

/// This machine, as far as one of its places is concerned.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) settings: &'a Settings,
    /// All places, this one among them.
    pub(crate) places: &'a [Known],
    pub(crate) options: &'a Options,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) report: &'a Report,
    /// `PATH` of the environment.
    pub(crate) path: &'a OsStr,
    /// The name of the place in the settings; none of the first one.
    pub(crate) called: Option<&'a str>,
    /// Where what is known of it lies, relative to the store.
    pub(crate) folder: &'a Path,
}

/// What is set up, with the place as it is used.
#[derive(Debug, Clone)]
pub(crate) struct SetUp {
    pub(crate) state: State,
    pub(crate) place: Place,
}

impl SetUp {
    /// The address of this machine's repository.
    pub(crate) fn repository(&self) -> String {
        self.place.repository(&self.state.repository_name())
    }

    /// Whether this machine only reads there.
    pub(crate) fn is_only_read(&self) -> bool {
        self.state.name.is_empty()
    }

    /// What a machine of the place is called here. One of a place that is only read is another person's, who may call it as
    /// one of ours is called.
    pub(crate) fn label(&self, host: &str) -> String {
        match self.state.called().filter(|_| self.is_only_read()) {
            Some(called) => format!("{called}.{host}"),
            None => host.to_owned(),
        }
    }
}

impl<'a> Site<'a> {
    /// Layer 1's store.
    pub(crate) fn store(&self) -> &'a Path {
        &self.settings.places.layer1_store
    }

    /// The right to use our repository. Waits a little for another command; a `restic` whose command was killed is ended.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let deadline = Instant::now() + BUSY_WAIT;
        loop {
            if let Some(lock) = self.lock_now()? {
                return Ok(lock);
            }
            if Instant::now() >= deadline || !self.interrupt.sleep(BUSY_POLL) {
                return Err(
                    "use the third place: another command uses it now; `offsite status` tells when it is done".into()
                );
            }
        }
    }

    /// The same, without waiting for a command that lives.
    pub(crate) fn lock_now(&self) -> Result<Option<Lock>, Error> {
        let folder = Dir::create_own(self.store())?.create_own_beneath(Path::new(FOLDER))?;
        let lock = Lock::try_in(&folder, OsStr::new(LOCK))?;
        if lock.is_none() && engine::end_orphan(self.store())? {
            self.report.line_with_time("[offsite] ended a restic that a killed push had left");
            return Ok(Lock::try_in(&folder, OsStr::new(LOCK))?);
        }
        Ok(lock)
    }

    /// What is known of the place; `None` where none was set up.
    pub(crate) fn state(&self) -> Result<Option<State>, Error> {
        State::read_in(self.store(), self.folder).map_err(failed("read the state of the third place"))
    }

    /// What is known of a place that is only read; `None` where this is none.
    pub(crate) fn only_read(&self) -> Result<Option<SetUp>, Error> {
        let doing = || failed("read which place is only read");
        let bytes = fs::read_own(self.store(), &self.folder.join(READ), READ_BYTES_MAX).or_else(|error| {
            let is_nothing = error.source.kind() == std::io::ErrorKind::NotADirectory;
            if is_nothing { Ok(None) } else { Err(error) }
        });
        let Some(bytes) = bytes.map_err(doing())? else { return Ok(None) };
        let place = Place::parse(String::from_utf8_lossy(&bytes).trim(), &self.settings.places.home)?;
        let state = State::set_up(place.as_str(), "", "", "", 0).kept_in(self.folder);
        Ok(Some(SetUp { state, place }))
    }

    /// Writes down that a place is only read.
    pub(crate) fn note_only_read(&self, place: &Place) -> Result<(), Error> {
        Dir::create_own(self.store())?.create_own_beneath(self.folder)?;
        Ok(fs::replace_own(self.store(), &self.folder.join(READ), format!("{}\n", place.as_str()).as_bytes())?)
    }

    /// What can be read of the place: where it was set up, or is only read.
    pub(crate) fn readable(&self) -> Result<SetUp, Error> {
        self.only_read()?.map_or_else(|| self.set_up(), Ok)
    }

    /// A command of the third place as it is typed for this one.
    pub(crate) fn typed(&self, words: &str) -> String {
        typed_for(self.called, words)
    }

    /// What was set up; an error where nothing was, or the settings name something else by now.
    pub(crate) fn set_up(&self) -> Result<SetUp, Error> {
        if let (Some(called), Some(_)) = (self.called, self.only_read()?) {
            let pull = self.typed("pull");
            return Err(format!("use the place {called:?}: it is only read here, with `{pull}` and --host").into());
        }
        let state = self.state()?.ok_or_else(|| {
            let init = self.typed("init PLACE --name NAME");
            let what = self.called.map_or_else(|| "a third place".to_owned(), |called| format!("the place {called:?}"));
            Error::from(format!("find {what}: none is set up; set one up with `{init}`"))
        })?;
        let place = Place::parse(&state.place, &self.settings.places.home)?;
        if let Some(set) = &self.options.place {
            let set = Place::parse(set, &self.settings.places.home)?;
            if set != place {
                let (set, place) = (set.as_str(), place.as_str());
                let init = self.typed(&format!("init {set} --name {}", state.name));
                return Err(format!(
                    "use the third place: the setting offsite says {set}, and {place} is set up; `{init}` sets it up"
                )
                .into());
            }
        }
        match &self.options.name {
            Some(name) if *name != state.name => {
                let known = &state.name;
                Err(format!("use the third place: the setting offsite_name says {name}, and {known} is set up").into())
            }
            _ => Ok(SetUp { state, place }),
        }
    }

    /// `restic`, once the key is known to be there and the place's disk to be mounted.
    pub(crate) fn engine<'l>(&self, place: &Place, lock: &'l Lock) -> Result<Engine<'l>, Error>
    where
        'a: 'l,
    {
        self.options.key.check()?;
        let common = (&self.settings.child_env, OsString::from(self.path));
        let engine = Engine::start(self.options, common, self.store(), lock, self.interrupt)?;
        engine::check_mounted(place)?;
        Ok(engine)
    }

    /// The store's id; an error where there is no store yet.
    pub(crate) fn store_id(&self) -> Result<String, Error> {
        let archive = Archive::open(self.store())?;
        let archive = archive.ok_or_else(|| Error::from("find conversations: nothing is saved yet"))?;
        Ok(archive.store_id().to_owned())
    }

    /// What there is to send now.
    pub(crate) fn seal(&self, state: &State) -> Result<Seal, Error> {
        let store_id = self.store_id()?;
        let by = Sealer { store: &store_id, writer: &state.writer, host: &state.name };
        Seal::of_store(self.store(), &self.options.exclude, by, now_ms())
    }

    /// Does something, and keeps in the state what kinds of trouble it met or no longer meets. `looked_at` are those
    /// that it would have met.
    pub(crate) fn noting<T>(
        &self,
        set_up: &mut SetUp,
        looked_at: &[Kind],
        work: impl FnOnce(&mut SetUp) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = work(set_up);
        if set_up.is_only_read() {
            return done;
        }
        set_up.state.away = is_away(&set_up.place);
        match &done {
            Ok(_) => set_up.state.is_well(looked_at),
            Err(error) => {
                if let Some(trouble) = error.downcast_ref::<Trouble>() {
                    // What keeps one from looking is one thing at a time: it came as far as here.
                    if MET_BY_LOOKING.contains(&trouble.kind) {
                        let others = MET_BY_LOOKING.into_iter().filter(|kind| *kind != trouble.kind);
                        set_up.state.is_well(&others.collect::<Vec<_>>());
                    }
                    set_up.state.trouble(trouble.kind, &trouble.what, now_ms());
                }
            }
        }
        match set_up.state.write(self.store()) {
            // What went wrong first is what a person has to know.
            Err(error) if done.is_ok() => Err(error.into()),
            _ => done,
        }
    }
}

/// All that is met by looking into a repository: where that went well, none of it is so any more.
pub(crate) const MET_BY_LOOKING: [Kind; 10] = [
    Kind::EngineMissing,
    Kind::EngineOld,
    Kind::KeyMissing,
    Kind::WrongKey,
    Kind::NotMounted,
    Kind::OffsiteUnreachable,
    Kind::AnotherRepository,
    Kind::AnotherWriter,
    Kind::Locked,
    Kind::OffsiteFailed,
];

/// Whether a repository in a directory of this machine has the configuration that was kept of it, byte for byte: no other
/// one has the same, for it is encrypted with a number that is drawn each time. That spares a call of `restic`.
pub(crate) fn is_as_kept(engine: &Engine<'_>, repository: &str, state: &State) -> bool {
    let kept = folder_of(state.called()).join("keys/config");
    let kept = || fs::read_own(&engine.store, &kept, SMALL_BYTES_MAX).ok().flatten();
    let there = || fs::read_foreign(&Path::new(repository).join("config"), SMALL_BYTES_MAX).ok().flatten();
    repository.starts_with('/') && kept().is_some_and(|kept| there() == Some(kept))
}

/// Our snapshots, after it was made sure that the repository is the one that was set up, and that no other machine
/// writes to it. Nothing is written before that.
pub(crate) fn our_snapshots(
    engine: &Engine<'_>,
    repository: &str,
    state: &State,
    store_id: &str,
) -> Result<Vec<Snapshot>, Error> {
    let id = match is_as_kept(engine, repository, state) {
        true => state.repository.clone(),
        false => repository_id(engine, repository)?,
    };
    if id != state.repository {
        let what =
            format!("another repository is there (id {id}, not {}); nothing was written to it", state.repository);
        return Err(Trouble::new(Kind::AnotherRepository, what).into());
    }
    if is_elsewhere(state, &engine.store) {
        return Err(another_writer(state, "this home was copied from another computer, which sends under this name"));
    }
    let all = snapshots(engine, repository)?;
    if let Some(other) = of_a_copy(&all, state) {
        let what = format!("a copy of this home sends under this name too (last at {})", local(&other.time));
        return Err(another_writer(state, &what));
    }
    let is_ours = |newest: &Snapshot| {
        newest.store() == store_id && (newest.writer() == state.writer || state.taken_over.as_ref() == Some(&newest.id))
    };
    match all.last() {
        Some(newest) if !is_ours(newest) => {
            let (name, time) = (&newest.hostname, local(&newest.time));
            let what = format!(
                "another machine writes to {repository} (as {name}, last at {time}); nothing was written to it. \
                 Set one of the two up again with a name of its own"
            );
            Err(Trouble::new(Kind::AnotherWriter, what).into())
        }
        _ => Ok(all),
    }
}

fn typed_for(called: Option<&str>, words: &str) -> String {
    let at = called.map(|called| format!(" --place {called}")).unwrap_or_default();
    typed(LAYER2, &format!("offsite {words}{at}"))
}

fn another_writer(state: &State, what: &str) -> Error {
    let State { place, name, .. } = state;
    let again = typed_for(state.called(), &format!("init {place} --name {name} --take-over"));
    let init = typed_for(state.called(), &format!("init {place} --name"));
    let what = format!(
        "{what}; nothing was written. On the computer that goes on as {name}: `{again}`; on the other one: `{init}` with \
         another name"
    );
    Trouble::new(Kind::AnotherWriter, what).into()
}

/// The newest snapshot that this state did not begin: one that is copied or put back knows fewer than there are.
pub(crate) fn of_a_copy<'s>(all: &'s [Snapshot], state: &State) -> Option<&'s Snapshot> {
    let is_known = |snapshot: &&Snapshot| {
        let (number, push) = snapshot.push();
        number < state.pushes || (number, push) == (state.pushes, state.push.as_str())
    };
    all.iter().rev().find(|snapshot| !is_known(snapshot))
}

/// Whether a state was made on another computer. One that names itself otherwise and has the same folder, as a container
/// does, is none; nor is one with another folder.
pub(crate) fn is_elsewhere(state: &State, store: &Path) -> bool {
    let (computer, folder) = here(store);
    state.machine.as_ref().is_some_and(|known| known.0 != computer && known.1 != folder)
}

/// What tells this computer and this store's folder from others.
pub(crate) fn here(store: &Path) -> (String, u64) {
    // A computer that has none of them is told by what it sends.
    let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"];
    let id = ids.iter().find_map(|path| std::fs::read_to_string(path).ok().filter(|id| !id.trim().is_empty()));
    // The id itself is not to be shown to others.
    let hash =
        |id: String| blake3::hash(format!("threefold {}", id.trim()).as_bytes()).to_hex()[..ID_DIGITS].to_owned();
    (id.map(hash).unwrap_or_default(), std::fs::metadata(store).map_or(0, |folder| folder.ino()))
}

/// Whether the place is a directory that is not there.
pub(crate) fn is_away(place: &Place) -> bool {
    place.directory().is_some_and(|directory| !directory.is_dir())
}

/// Whether the place is a directory on the disk that has the store.
pub(crate) fn is_on_one_disk(store: &Path, place: &Place) -> bool {
    let disk = |path: &Path| std::fs::metadata(path).ok().map(|folder| folder.dev());
    place.directory().and_then(disk).is_some_and(|of_place| disk(store) == Some(of_place))
}

/// What nobody else has drawn.
pub(crate) fn random_id() -> Result<String, Error> {
    let mut bytes = [0; ID_DIGITS / 2];
    random(&mut bytes).map_err(failed("ask the system for random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
