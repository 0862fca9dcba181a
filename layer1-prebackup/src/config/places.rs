//! Where everything lies: Claude Code's directory, the two stores, the index.
//!
//! Resolved once, from flags over environment variables over the settings' file over defaults, in each program's
//! `cli.rs`; below it nothing reads the environment.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::claude::other_dirs;
use crate::claude::remembered_dirs::remembered;
use crate::claude::shell;
use crate::claude::survey::PassedOver;
use crate::claude::transcripts::claude_dir_of_transcript;
use crate::config::apart::Directories;
use crate::config::away;
use crate::config::settings::{Policy, Settings, SettingsError};
pub use crate::config::variables::{BACKUP_DIR, CLAUDE_CONFIG_DIR, PRE_BACKUP_DIR, SESSION_DB_PATH};
use crate::fs::{Dir, DurableError, platform};
use crate::names::{INDEX_FILE, LAYER1, LAYER3, typed};

/// Beside the installed programs: the path of the `install.sh` that installed them, one line. Where it
/// is absent they were installed from the sources.
pub const INSTALLED_FROM: &str = "threefold-installed-from";

/// The flags of Claude Code's directory, layer 1's store, layer 3's store and the index.
pub(crate) const PLACE_FLAGS: [&str; 4] = ["--claude-dir", "--pre-backup-dir", "--backup-dir", "--session-db"];

/// Directories as flags, to be flattened into a clap parser. Flags win over the environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlaceFlags {
    /// Claude Code's directory [env: CLAUDE_CONFIG_DIR] [default: ~/.claude]
    #[arg(long, value_name = "DIR", global = true)]
    pub claude_dir: Option<PathBuf>,
    /// Layer 1's store [env: PRE_BACKUP_DIR] [default: ~/.claude-backup-sessions]
    #[arg(long, value_name = "DIR", global = true)]
    pub pre_backup_dir: Option<PathBuf>,
    /// Layer 3's store [env: BACKUP_DIR] [default: ~/.claude-backup]
    #[arg(long, value_name = "DIR", global = true)]
    pub backup_dir: Option<PathBuf>,
    /// The index [env: SESSION_DB_PATH] [default: sessions.db in layer 3's store]
    #[arg(long, value_name = "FILE", global = true)]
    pub session_db: Option<PathBuf>,
}

impl PlaceFlags {
    /// Each flag, and what was given for it.
    pub fn named(&self) -> [(&'static str, Option<&Path>); 4] {
        let PlaceFlags { claude_dir, pre_backup_dir, backup_dir, session_db } = self;
        let given = [claude_dir, pre_backup_dir, backup_dir, session_db];
        std::array::from_fn(|nth| (PLACE_FLAGS[nth], given[nth].as_deref()))
    }
}

/// Absolute paths of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The user's home directory.
    pub home: PathBuf,
    /// Claude Code's configuration directory; transcripts lie in its `projects/`.
    pub claude_dir: PathBuf,
    /// More of them: those that the settings name and, where nothing says which one is meant, those in which a hook has
    /// copied a conversation and those that other programs of Anthropic keep for the same user.
    pub more_claude_dirs: Vec<PathBuf>,
    /// Layer 1's store.
    pub layer1_store: PathBuf,
    /// Layer 3's store.
    pub layer3_store: PathBuf,
    /// The SQLite index.
    pub index: PathBuf,
    /// What is to be heeded when something is copied to there.
    pub policy: Policy,
}

impl Places {
    /// Flags, else variables (`env` looks one up; an empty one counts as unset), else what the file
    /// says, else defaults below `HOME`.
    pub fn resolve_with(
        flags: &PlaceFlags,
        env: &dyn Fn(&str) -> Option<OsString>,
        settings: &Settings,
    ) -> Result<Places, SettingsError> {
        // Not from the system's list of users: a HOME that was taken away was taken away on purpose.
        let home = env("HOME").map(PathBuf::from).filter(|home| home.is_absolute()).ok_or_else(no_home)?;
        let pick = |flag: &Option<PathBuf>, flag_name, variable, set: &Option<PathBuf>, default: PathBuf| {
            let from_env = || env(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
            match (flag, from_env()) {
                (Some(value), _) => absolute(flag_name, value, &home),
                (None, Some(value)) => absolute(variable, &value, &home),
                (None, None) => set.as_ref().map_or(Ok(default), |set| absolute("the settings", set, &home)),
            }
        };
        let [claude, pre, backup] = default_dirs(&home);
        let claude_dir = pick(&flags.claude_dir, PLACE_FLAGS[0], CLAUDE_CONFIG_DIR, &settings.claude_dir, claude)?;
        let layer1_store = pick(&flags.pre_backup_dir, PLACE_FLAGS[1], PRE_BACKUP_DIR, &settings.pre_backup_dir, pre)?;
        let layer3_store = pick(&flags.backup_dir, PLACE_FLAGS[2], BACKUP_DIR, &settings.backup_dir, backup)?;
        let beside = default_index(&layer3_store);
        let index = pick(&flags.session_db, PLACE_FLAGS[3], SESSION_DB_PATH, &settings.session_db_path, beside)?;
        let policy = settings.policy(&home);
        let is_named = flags.claude_dir.is_some() || env(CLAUDE_CONFIG_DIR).is_some_and(|dir| !dir.is_empty());
        let (directories, stores) = (Directories::default(), [layer1_store.as_path(), layer3_store.as_path()]);
        let more_claude_dirs = more_claude_dirs(&home, &claude_dir, is_named, settings, stores, &directories);
        let places = Places { home, claude_dir, more_claude_dirs, layer1_store, layer3_store, index, policy };
        match places.not_apart(&directories) {
            Some(problem) => Err(problem),
            None => Ok(places),
        }
    }

    /// The places of a hook, and all that cannot be used of what was said of them: it copies whatever was said. Of
    /// each place what can be used is taken, in the order of [`Places::resolve_with`]. `transcript` is the event's: it
    /// lies in Claude Code's directory, and that in somebody's home. An error only where nothing says of any home.
    pub fn of_hook(
        flags: &PlaceFlags,
        env: &dyn Fn(&str) -> Option<OsString>,
        settings: &Settings,
        transcript: Option<&Path>,
    ) -> (Result<Places, SettingsError>, Vec<SettingsError>) {
        let of_event = transcript.filter(|path| path.is_absolute()).and_then(claude_dir_of_transcript);
        let above = of_event.as_deref().and_then(Path::parent);
        let mut problems = Vec::new();
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let home = match (set("HOME").map(PathBuf::from), above) {
            (Some(home), _) if home.is_absolute() && home.is_dir() => home,
            (given, Some(above)) => {
                let given = given.unwrap_or_default();
                problems.push(SettingsError(format!("use HOME={given:?}: it must be an existing directory")));
                above.to_owned()
            }
            // One that is to be made.
            (Some(home), None) if home.is_absolute() => home,
            (_, None) => return (Err(no_home()), problems),
        };
        let [claude, pre, backup] = default_dirs(&home);
        let mut pick =
            |nth: usize, flag: &Option<PathBuf>, variable: &str, in_file: &Option<PathBuf>, why_not: WhyNot<'_>| {
                let said = [
                    (PLACE_FLAGS[nth], flag.clone()),
                    (variable, set(variable).map(PathBuf::from)),
                    ("the settings", in_file.clone()),
                ];
                said.into_iter().find_map(|(setting, value)| {
                    let value = value?;
                    let usable = absolute(setting, &value, &home).and_then(|place| match why_not(&place) {
                        None => Ok(place),
                        Some(why) => Err(SettingsError(format!("use {setting}={value:?}: {why}"))),
                    });
                    usable.map_err(|problem| problems.push(problem)).ok()
                })
            };
        let claude_dir = pick(0, &flags.claude_dir, CLAUDE_CONFIG_DIR, &settings.claude_dir, &no_directory);
        let claude_dir = claude_dir.or_else(|| of_event.clone().filter(|dir| dir.is_dir())).unwrap_or(claude);
        let unusable = |store: &Path| away::away(&home, store).or_else(|| unwritable(store).map(str::to_owned));
        let layer1_store = pick(1, &flags.pre_backup_dir, PRE_BACKUP_DIR, &settings.pre_backup_dir, &unusable);
        // The other ones can wait, in layer 1's.
        let layer3_store = pick(2, &flags.backup_dir, BACKUP_DIR, &settings.backup_dir, &|_| None);
        let index = pick(3, &flags.session_db, SESSION_DB_PATH, &settings.session_db_path, &|_| None);
        let directories = Directories::default();
        let among = |store: &PathBuf| directories.not_from_transcripts(store, [claude_dir.as_path()]);
        let layer1_store = layer1_store.filter(|store| {
            let why = among(store);
            problems.extend(why.iter().map(|why| refused(FIRST, store, why)));
            why.is_none()
        });
        let layer1_store = layer1_store.unwrap_or_else(|| {
            let of_default = among(&pre).or_else(|| away::away(&home, &pre));
            problems.extend(of_default.map(|why| refused(FIRST, &pre, &why)));
            // Where all is as it was set up, a default that cannot be used is a failure to tell.
            if problems.is_empty() {
                return pre.clone();
            }
            let beside = above.map(|above| default_dirs(above)[1].clone());
            let inside = of_event.as_ref().unwrap_or(&claude_dir).join("backup-sessions");
            let others = [Some(&pre), beside.as_ref(), Some(&inside)].into_iter().flatten();
            others.into_iter().find(|store| unusable(store).is_none() && among(store).is_none()).unwrap_or(&pre).clone()
        });
        // Nothing is written among the transcripts, be it a log that says so.
        if let Some(why) = among(&layer1_store) {
            return (Err(refused(FIRST, &layer1_store, &why)), problems);
        }
        let with_first = |store: &Path| directories.not_from_first_copy(store, &layer1_store);
        let no_second = |store: &PathBuf| among(store).or_else(|| with_first(store));
        let layer3_store = layer3_store.filter(|store| {
            let why = no_second(store);
            problems.extend(why.iter().map(|why| refused(SECOND, store, why)));
            why.is_none()
        });
        // Where the default is wrong too, nothing is saved a second time until that is made good: the server refuses it.
        let layer3_store = layer3_store.unwrap_or_else(|| {
            problems.extend(no_second(&backup).map(|why| refused(SECOND, &backup, &why)));
            backup
        });
        let index = index.unwrap_or_else(|| default_index(&layer3_store));
        let policy = settings.policy(&home);
        let is_named = flags.claude_dir.is_some() || set(CLAUDE_CONFIG_DIR).is_some();
        let stores = [layer1_store.as_path(), layer3_store.as_path()];
        let more_claude_dirs = more_claude_dirs(&home, &claude_dir, is_named, settings, stores, &directories);
        (Ok(Places { home, claude_dir, more_claude_dirs, layer1_store, layer3_store, index, policy }), problems)
    }

    /// Why a directory cannot be the place of a further copy: it is, lies in or holds a store, or where Claude Code keeps
    /// its transcripts.
    pub fn not_for_a_further_copy(&self, directory: &Path) -> Option<String> {
        let directories = Directories::default();
        let with = |store: &Path| directories.not_from_copy(directory, store);
        let among = || directories.not_from_transcripts(directory, self.all_claude_dirs());
        with(&self.layer1_store).or_else(|| with(&self.layer3_store)).or_else(among)
    }

    /// What is wrong where the stores do not lie apart from each other and from the transcripts.
    fn not_apart(&self, directories: &Directories) -> Option<SettingsError> {
        let among = |name, store: &Path| {
            directories.not_from_transcripts(store, self.all_claude_dirs()).map(|why| refused(name, store, &why))
        };
        let with_first = || {
            let why = directories.not_from_first_copy(&self.layer3_store, &self.layer1_store)?;
            Some(refused(SECOND, &self.layer3_store, &why))
        };
        among(FIRST, &self.layer1_store).or_else(|| among(SECOND, &self.layer3_store)).or_else(with_first)
    }

    /// All of them, each with the flag that leads a program of ours to it.
    pub fn to_flags(&self) -> [(&'static str, &Path); 4] {
        let places = [&self.claude_dir, &self.layer1_store, &self.layer3_store, &self.index];
        std::array::from_fn(|nth| (PLACE_FLAGS[nth], places[nth].as_path()))
    }

    /// Those that a program of ours would not find by itself: they are not the defaults.
    pub fn to_flags_but_defaults(&self) -> Vec<(&'static str, &Path)> {
        let index = default_index(&self.layer3_store);
        let defaults = default_dirs(&self.home).into_iter().chain([index]);
        let flags = self.to_flags().into_iter().zip(defaults);
        flags.filter(|((_, place), default)| place != default).map(|(flag, _)| flag).collect()
    }

    /// Claude Code's folder of transcripts.
    pub fn projects(&self) -> PathBuf {
        self.claude_dir.join("projects")
    }

    /// Every configuration directory whose conversations are kept, the primary one first, none twice. The others need
    /// not exist.
    pub fn all_claude_dirs(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.claude_dir).chain(&self.more_claude_dirs).map(PathBuf::as_path)
    }

    /// Directories with transcripts that are not kept, beside the usual one and beside its `projects`, and how they would
    /// be. Costs a listing of the home directory and of the one for temporary files.
    pub fn not_kept(&self, temp_dir: &Path) -> Vec<PassedOver> {
        let kept: Vec<PathBuf> = self.all_claude_dirs().map(resolved).collect();
        let is_kept = |dir: &Path| {
            let dir = resolved(dir);
            kept.contains(&dir)
                || [&self.layer1_store, &self.layer3_store].into_iter().any(|store| dir == resolved(store))
        };
        let known = other_dirs::beside(&self.home).into_iter().chain(other_dirs::known(&self.home));
        let passed = |path: PathBuf, why: String| PassedOver { path, why, is_unreadable: false };
        let mut others: Vec<PassedOver> = Vec::new();
        for path in known.filter(|dir| !is_kept(dir)) {
            let name = path.strip_prefix(&self.home).unwrap_or(&path).display();
            let why = format!(
                "no setting names this directory of Claude Code's; `claude_dirs = [\"~/{name}\"]` in ~/.config/threefold/config.toml does"
            );
            if !others.iter().any(|other| other.path == path) {
                others.push(passed(path, why));
            }
        }
        for path in self.all_claude_dirs().flat_map(other_dirs::beside_projects) {
            let why = "only what lies in `projects` beside it is kept, and what is moved there from it".to_owned();
            others.push(passed(path, why));
        }
        // Who lives in such a directory has neighbours there.
        let is_at_home = resolved(&self.home).starts_with(resolved(temp_dir));
        let temporary = if is_at_home { Vec::new() } else { other_dirs::temporary(temp_dir) };
        for path in temporary.into_iter().filter(|dir| !is_kept(dir)) {
            let dir = shell::quoted(&path.to_string_lossy());
            let why = format!(
                "it is temporary; `{} && {}` saves what is in it now",
                typed(LAYER1, &format!("sweep --claude-dir {dir}")),
                typed(LAYER3, &format!("import --claude-dir {dir}"))
            );
            others.push(passed(path, why));
        }
        others
    }

    /// The same places, where the stores are those of the projects' memories: one in each store of conversations.
    pub fn of_memories(&self) -> Places {
        let [layer1_store, layer3_store] = [&self.layer1_store, &self.layer3_store].map(|store| memories_of(store));
        Places { layer1_store, layer3_store, ..self.clone() }
    }

    /// Why a store is not in its place, where it lies on a disk that is not there: then none is made.
    pub fn away(&self, store: &Path) -> Option<String> {
        away::away(&self.home, store).map(|why| format!("use {}: {why}", store.display()))
    }

    /// Notes on which disk a store lies that was opened to be written, for [`Places::away`].
    pub fn note_disk(&self, store: &Path) -> Result<(), DurableError> {
        away::note(&self.home, store)
    }

    /// Layer 2's outbox, inside layer 1's store.
    pub fn outbox(&self) -> PathBuf {
        self.layer1_store.join(".outbox")
    }
}

/// The store of memories that belongs to a store of conversations.
pub(crate) fn memories_of(store: &Path) -> PathBuf {
    store.join(".memory")
}

/// What the two stores are called where a place for one is refused.
const FIRST: &str = "the store of the first copy (PRE_BACKUP_DIR)";
const SECOND: &str = "the store of the second copy (BACKUP_DIR)";

fn refused(name: &str, place: &Path, why: &str) -> SettingsError {
    SettingsError(format!("use {} as {name}: {why}", place.display()))
}

/// What every store of conversations has.
const STATE: &str = ".state";

/// Says why a place cannot be used, if it cannot.
type WhyNot<'w> = &'w dyn Fn(&Path) -> Option<String>;

fn no_directory(place: &Path) -> Option<String> {
    (!place.is_dir()).then(|| "it must be an existing directory".to_owned())
}

/// Of a store that is there, asks for the right to write; of one that is still to be made, tries to make something
/// where it is to lie. A full disk is no wrong place.
fn unwritable(place: &Path) -> Option<&'static str> {
    for folder in place.ancestors() {
        return match std::fs::metadata(folder) {
            Ok(meta) if !meta.is_dir() => Some("it must be a directory"),
            Ok(_) if folder.join(STATE).is_dir() && folder == place => {
                (!platform::may_write_in(folder)).then_some("it cannot be written")
            }
            Ok(_) => match Dir::open(folder).and_then(|dir| dir.map_or(Ok(()), |dir| dir.try_to_make())) {
                Err(error) if !error.is_disk_full() => Some("it cannot be written"),
                _ => None,
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(_) => Some("it cannot be read"),
        };
    }
    Some("it cannot be made")
}

/// Claude Code's directory and the two stores.
fn default_dirs(home: &Path) -> [PathBuf; 3] {
    [".claude", ".claude-backup-sessions", ".claude-backup"].map(|name| home.join(name))
}

/// All but the primary one. Settings that name one that is no place were refused, or told, when they were read.
fn more_claude_dirs(
    home: &Path,
    primary: &Path,
    is_named: bool,
    settings: &Settings,
    stores: [&Path; 2],
    directories: &Directories,
) -> Vec<PathBuf> {
    let listed = settings.claude_dirs.iter().flatten().filter_map(|dir| absolute("the settings", dir, home).ok());
    // One that nobody named cannot make a store a wrong place: a transcript may have been named that lies in a store.
    let is_apart = |dir: &PathBuf| {
        stores.into_iter().all(|store| directories.not_from_transcripts(store, [dir.as_path()]).is_none())
    };
    let unnamed = || remembered(stores[0]).into_iter().chain(other_dirs::known(home)).filter(is_apart).collect();
    let known: Vec<PathBuf> = if is_named { Vec::new() } else { unnamed() };
    let mut dirs = vec![primary.to_owned()];
    for dir in listed.chain(known) {
        // One directory under two names is one.
        if !dirs.contains(&dir) && !dirs.iter().any(|other| resolved(other) == resolved(&dir)) {
            dirs.push(dir);
        }
    }
    dirs.split_off(1)
}

fn resolved(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}

/// The index follows its store, wherever that is. In a store of the version before, a project of the index's name
/// may have its place; then it is hidden beside it, where no project can be.
fn default_index(layer3_store: &Path) -> PathBuf {
    let usual = layer3_store.join(INDEX_FILE);
    if usual.is_dir() { layer3_store.join(format!(".{INDEX_FILE}")) } else { usual }
}

fn no_home() -> SettingsError {
    SettingsError("find the home directory: set HOME".to_owned())
}

/// Hooks run in whatever directory the project has, so a relative path would scatter the stores.
fn absolute(setting: &str, value: &Path, home: &Path) -> Result<PathBuf, SettingsError> {
    if value.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(SettingsError(format!("use {setting}={value:?}: no path holds a NUL")));
    }
    match value.strip_prefix("~") {
        Ok(rest) => Ok(through_what_is_there(&home.join(rest))),
        Err(_) if value.is_absolute() => Ok(through_what_is_there(value)),
        Err(_) => {
            Err(SettingsError(format!("resolve {setting}={value:?}: it must be an absolute path (or begin with ~/)")))
        }
    }
}

/// The path without each `..` behind a part that does not exist: the system finds nothing there, and nothing can be made.
fn through_what_is_there(path: &Path) -> PathBuf {
    let mut through = PathBuf::new();
    for part in path.components() {
        let is_gone = || through.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if part == Component::ParentDir && is_gone() {
            through.pop();
        } else {
            through.push(part);
        }
    }
    through
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::remembered_dirs::remember;

    fn resolve(flags: &PlaceFlags, vars: &[(&str, &str)]) -> Result<Places, SettingsError> {
        Places::resolve_with(
            flags,
            &|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()),
            &crate::config::settings::Settings::default(),
        )
    }

    #[test]
    fn defaults_lie_below_home() {
        let places = resolve(&PlaceFlags::default(), &[("HOME", "/h"), ("BACKUP_DIR", "")]).unwrap();
        assert_eq!(places.claude_dir, Path::new("/h/.claude"));
        assert_eq!(places.layer1_store, Path::new("/h/.claude-backup-sessions"));
        assert_eq!(places.index, Path::new("/h/.claude-backup/sessions.db"));
        assert_eq!(places.outbox(), Path::new("/h/.claude-backup-sessions/.outbox"));
    }

    #[test]
    fn without_a_home_nothing_is_guessed() {
        for vars in [&[][..], &[("HOME", "")], &[("HOME", "relative")]] {
            let refused = resolve(&PlaceFlags::default(), vars).unwrap_err();
            assert_eq!(refused.to_string(), "find the home directory: set HOME");
        }
    }

    #[test]
    fn flags_win_over_variables_and_the_index_follows_its_store() {
        let flags = PlaceFlags { backup_dir: Some("/flag".into()), ..PlaceFlags::default() };
        let vars = [("HOME", "/h"), ("BACKUP_DIR", "/env"), ("PRE_BACKUP_DIR", "~/pre")];
        let places = resolve(&flags, &vars).unwrap();
        assert_eq!(places.index, Path::new("/flag/sessions.db"));
        assert_eq!(places.layer1_store, Path::new("/h/pre"));
    }

    #[test]
    fn a_relative_path_is_refused_by_the_name_of_its_setting() {
        let error = resolve(&PlaceFlags::default(), &[("HOME", "/h"), ("BACKUP_DIR", "backups")]).unwrap_err();
        assert_eq!(error.to_string(), "resolve BACKUP_DIR=\"backups\": it must be an absolute path (or begin with ~/)");
    }

    #[test]
    fn a_way_through_what_is_not_there_leads_to_where_it_would() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let elsewhere = dir.path().join("elsewhere/below");
        for folder in [&home.join("there"), &home.join(".claude/projects"), &elsewhere] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::os::unix::fs::symlink(&elsewhere, home.join("link")).unwrap();
        for (said, meant) in [
            ("nox/../x", "x"),
            ("nox/deep/../../x/y", "x/y"),
            ("nox/../../home/x", "../home/x"),
            ("there/../x", "there/../x"),
            ("there/nox/../x", "there/x"),
            ("link/../x", "link/../x"),
            ("nox/../.claude/projects", ".claude/projects"),
        ] {
            for name in [PRE_BACKUP_DIR, BACKUP_DIR] {
                let env = |variable: &str| match variable {
                    "HOME" => Some(home.clone().into()),
                    variable if variable == name => Some(home.join(said).into()),
                    _ => None,
                };
                let resolved = Places::resolve_with(&PlaceFlags::default(), &env, &Settings::default());
                let (of_hook, problems) = Places::of_hook(&PlaceFlags::default(), &env, &Settings::default(), None);
                if meant == ".claude/projects" {
                    assert!(resolved.is_err() && !problems.is_empty(), "{name} {said}: {resolved:?}");
                    continue;
                }
                for places in [resolved.unwrap(), of_hook.unwrap()] {
                    let store = if name == BACKUP_DIR { &places.layer3_store } else { &places.layer1_store };
                    assert_eq!(*store, home.join(meant), "{name} {said}");
                    Dir::create(store).unwrap();
                }
                assert!(problems.is_empty(), "{name} {said}: {problems:?}");
            }
        }
    }

    /// Every way to say a place × every way in which it can be wrong.
    #[test]
    fn a_place_that_is_wrong_is_told_and_costs_no_hook_its_store() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let transcript = home.join(".claude/projects/-p/s1.jsonl");
        crate::fs::replace_file(&transcript, b"{}\n").unwrap();
        let (file, good) = (dir.path().join("file"), dir.path().join("good"));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&good).unwrap();
        let text = |path: &Path| path.display().to_string();
        let file_below = file.join("below");
        // In the last one nobody can make anything, whatever rights one has.
        let wrong = ["relative", "./.claude", &text(&file), &text(&file_below), "/proc/threefold"].map(str::to_owned);
        let with_nul = "/nul\0/store".to_owned();
        let absent = text(&dir.path().join("not/there"));
        for place in ["HOME", CLAUDE_CONFIG_DIR, PRE_BACKUP_DIR, BACKUP_DIR, SESSION_DB_PATH] {
            for value in wrong.iter().chain([&absent, &with_nul, &String::new()]) {
                for by_flag in [false, true] {
                    let is = |name: &str| !by_flag && place == name;
                    let env = |name: &str| match name {
                        name if is(name) => Some(value.into()),
                        "HOME" => Some(home.clone().into()),
                        _ => None,
                    };
                    let flag = |name: &str| (by_flag && place == name).then(|| PathBuf::from(value));
                    let flags = PlaceFlags {
                        claude_dir: flag(CLAUDE_CONFIG_DIR),
                        pre_backup_dir: flag(PRE_BACKUP_DIR),
                        backup_dir: flag(BACKUP_DIR),
                        session_db: flag(SESSION_DB_PATH),
                    };
                    let (places, problems) = Places::of_hook(&flags, &env, &Settings::default(), Some(&transcript));
                    let (places, what) = (places.unwrap(), format!("{place}={value:?} by flag: {by_flag}"));
                    for path in [&places.home, &places.claude_dir, &places.layer1_store, &places.index] {
                        assert!(path.is_absolute(), "{what}: {places:?}");
                    }
                    assert_eq!(unwritable(&places.layer1_store), None, "{what}: {places:?}");
                    assert!(places.home == home || by_flag || place == "HOME", "{what}: {places:?}");
                    // What is not there is made, but for what Claude Code makes; what is absolute may wait.
                    let is_relative = !value.is_empty() && !value.starts_with('/') || *value == with_nul;
                    let is_told = match place {
                        _ if value.is_empty() => place == "HOME" && !by_flag,
                        "HOME" => !by_flag,
                        CLAUDE_CONFIG_DIR => true,
                        PRE_BACKUP_DIR => *value != absent,
                        _ => is_relative,
                    };
                    assert_eq!(
                        !problems.is_empty(),
                        is_told || by_flag && value.is_empty() && place != "HOME",
                        "{what}: {problems:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_place_in_which_nothing_can_be_made_is_told_whatever_its_rights_say() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unwritable(&dir.path().join("a/b")), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        for place in ["/proc", "/proc/threefold", "/proc/threefold/store", "/dev/null/store"] {
            assert!(unwritable(Path::new(place)).is_some(), "{place}");
        }
    }

    #[test]
    fn without_any_home_a_hook_keeps_its_copies_beside_the_directory_that_the_transcript_lies_in() {
        let transcript = Path::new("/nowhere/of/.claude/projects/-p/s1.jsonl");
        let (places, problems) =
            Places::of_hook(&PlaceFlags::default(), &|_| None, &Settings::default(), Some(transcript));
        assert_eq!(places.unwrap().layer1_store, Path::new("/nowhere/of/.claude-backup-sessions"));
        assert_eq!(problems[0].to_string(), "use HOME=\"\": it must be an existing directory");
        let (places, _) = Places::of_hook(&PlaceFlags::default(), &|_| None, &Settings::default(), None);
        assert_eq!(places.unwrap_err().to_string(), "find the home directory: set HOME");
    }

    /// Stores that do not lie apart, said in any way: refused by commands; a hook tells, and copies to what is right.
    #[test]
    fn stores_that_do_not_lie_apart_are_refused_and_cost_no_hook_its_store() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let transcript = home.join(".claude/projects/-p/s1.jsonl");
        crate::fs::replace_file(&transcript, b"{}\n").unwrap();
        std::os::unix::fs::symlink(home.join(".claude/projects"), home.join("link")).unwrap();
        std::os::unix::fs::symlink(&home, dir.path().join("home2")).unwrap();
        let usual = [".claude-backup-sessions", ".claude-backup"];
        for (first, second, expected) in [
            ("one", "two", ["one", "two"]),
            ("same", "same", ["same", usual[1]]),
            ("../home2/same", "same", ["../home2/same", usual[1]]),
            ("one", "one/two", ["one", usual[1]]),
            ("two/one", "two", ["two/one", usual[1]]),
            (".claude/projects", "two", [usual[0], "two"]),
            ("link", "two", [usual[0], "two"]),
            ("link/-p", "link", usual),
            (".claude", "two", [usual[0], "two"]),
            ("one", ".claude/projects/-p", ["one", usual[1]]),
            ("one", ".", ["one", usual[1]]),
            (".claude/backup", ".claude/backup2", [".claude/backup", ".claude/backup2"]),
        ] {
            for by_flag in [false, true] {
                let env = |name: &str| match name {
                    "HOME" => Some(home.clone().into()),
                    PRE_BACKUP_DIR if !by_flag => Some(home.join(first).into()),
                    BACKUP_DIR if !by_flag => Some(home.join(second).into()),
                    _ => None,
                };
                let flag = |place: &str| by_flag.then(|| home.join(place));
                let flags =
                    PlaceFlags { pre_backup_dir: flag(first), backup_dir: flag(second), ..PlaceFlags::default() };
                let what = format!("{first} {second} by flag: {by_flag}");
                let is_right = expected == [first, second];
                let resolved = Places::resolve_with(&flags, &env, &Settings::default());
                assert_eq!(resolved.is_ok(), is_right, "{what}: {resolved:?}");
                let (places, problems) = Places::of_hook(&flags, &env, &Settings::default(), Some(&transcript));
                let places = places.unwrap();
                let stores = [&places.layer1_store, &places.layer3_store];
                assert_eq!(stores, [&home.join(expected[0]), &home.join(expected[1])], "{what}");
                assert_eq!(problems.is_empty(), is_right, "{what}: {problems:?}");
            }
        }
    }

    #[test]
    fn a_directory_that_a_hook_remembered_makes_no_store_a_wrong_place() {
        let dir = tempfile::tempdir().unwrap();
        let (home, temp) = (dir.path().join("home"), dir.path().join("tmp"));
        let [first, second] = [".claude-backup-sessions", ".claude-backup"].map(|store| home.join(store));
        let other = home.join("other");
        for claude_dir in [&first, &second, &home, &other] {
            std::fs::create_dir_all(claude_dir.join("projects")).unwrap();
            remember(&first, claude_dir, &temp).unwrap();
        }
        remember(&first, &first.join("p"), &temp).unwrap();
        let env = |name: &str| (name == "HOME").then(|| home.clone().into());
        let places = Places::resolve_with(&PlaceFlags::default(), &env, &Settings::default()).unwrap();
        assert_eq!(places.more_claude_dirs, [home.clone(), other]);
        let (_, problems) = Places::of_hook(&PlaceFlags::default(), &env, &Settings::default(), None);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn defaults_that_lead_to_one_directory_leave_the_first_copy_and_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        std::fs::create_dir(home.join(".claude-backup-sessions")).unwrap();
        std::os::unix::fs::symlink(".claude-backup-sessions", home.join(".claude-backup")).unwrap();
        let env = |name: &str| (name == "HOME").then(|| home.into());
        let (places, problems) = Places::of_hook(&PlaceFlags::default(), &env, &Settings::default(), None);
        assert_eq!(places.unwrap().layer1_store, home.join(".claude-backup-sessions"));
        let is_first = |problem: &SettingsError| problem.to_string().contains("the directory of the first copy");
        assert!(problems.len() == 1 && is_first(&problems[0]), "{problems:?}");
    }
}
