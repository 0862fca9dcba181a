//! Which sessions are meant: by default those of the current directory's project.
//!
//! A project is a directory, told from the directories that the records of a session name, and never from the name of its
//! folder in the store: two directories of one name are two projects. Where nothing is known of the current directory, all
//! sessions are meant, or those of a directory of its name that is gone; and the answer says so.

mod called;
mod here;
mod names;
mod project;
mod stored;

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::ProjectName;

use crate::failure::Failure;
use crate::index::Whereabouts;
use crate::stores::called::Called;
use crate::stores::{Stores, session_name};
use crate::terminal::one_line;
pub(crate) use called::{Candidate, called};
pub(crate) use here::{Here, Limits, directory_of};
pub(crate) use names::Labels;
use project::Project;
pub(crate) use project::resolved;
pub(crate) use stored::whereabouts;

/// Which sessions are asked for, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// All of them.
    pub(crate) all: bool,
    /// Those of a project: its directory, or a part of its name. Without it, of the project that is here.
    pub(crate) project: Option<String>,
    /// Where it is asked.
    pub(crate) here: Here,
}

/// The sessions that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meant {
    /// Which of those that were given, by their place; `None`: all.
    pub(crate) places: Option<Vec<usize>>,
    /// As in "12 sessions in ~/app".
    pub(crate) said: String,
    /// What to know about it.
    pub(crate) notes: Vec<String>,
    /// Whether nothing is known of what was asked for, and these are what may be of use instead.
    pub(crate) is_guess: bool,
}

impl Meant {
    fn all(notes: Vec<String>) -> Meant {
        Meant { places: None, said: "in all projects".to_owned(), notes, is_guess: false }
    }

    /// The rows of the index, where the sessions that were given came from it.
    pub(crate) fn rows(&self, known: &[Whereabouts]) -> Option<Vec<i64>> {
        Some(self.places.as_ref()?.iter().map(|place| known[*place].row).collect())
    }

    /// Those of the sessions that were given.
    pub(crate) fn chosen<T>(&self, sessions: Vec<T>) -> Vec<T> {
        let Some(places) = &self.places else { return sessions };
        let is_meant = |place: &usize| places.binary_search(place).is_ok();
        sessions.into_iter().enumerate().filter(|(place, _)| is_meant(place)).map(|(_, session)| session).collect()
    }

    /// Those of them that have all of these tags, and are pinned if that is asked for.
    pub(crate) fn keep(&mut self, known: &[Whereabouts], tags: &[String], pinned: bool, called: &Called) {
        if tags.is_empty() && !pinned {
            return;
        }
        let all = self.places.take().unwrap_or_else(|| (0..known.len()).collect());
        let kept = all.into_iter().filter(|place| called.is(&known[*place].session_id, tags, pinned));
        self.places = Some(kept.collect());
        let tags = tags.iter().map(|tag| format!(" with the tag {}", one_line(tag)));
        self.said.extend(tags.chain(pinned.then(|| " that are pinned".to_owned())));
    }

    /// Whether less than everything is meant.
    pub(crate) fn is_narrow(&self) -> bool {
        self.places.is_some()
    }
}

/// Which of these sessions are meant, of those that may be handed out; of no other one anything is said.
pub(crate) fn meant(scope: &Scope, known: &[Whereabouts]) -> Meant {
    let limits = Served::by(&scope.here);
    let served = places(known, |session| limits.is_met_by(session));
    if served.len() == known.len() {
        return asked_for(scope, known);
    }
    let of_served: Vec<Whereabouts> = served.iter().map(|place| known[*place].clone()).collect();
    let meant = asked_for(scope, &of_served);
    let chosen = meant.places.map(|all| all.into_iter().map(|place| served[place]).collect());
    Meant { places: Some(chosen.unwrap_or(served)), ..meant }
}

/// The one of these sessions that `typed` names, of those that may be handed out.
pub(crate) fn named(
    places: &Places,
    stores: &Stores,
    here: &Here,
    keys: Vec<SessionKey>,
    typed: &str,
) -> Result<SessionKey, Failure> {
    let mut all = session_name::matches(keys.clone(), typed);
    if all.is_empty() {
        all = called(places, stores, &keys, typed).into_iter().map(|candidate| candidate.key).collect();
    }
    let known = whereabouts(stores, &all);
    let limits = Served::by(here);
    let served = all.iter().zip(&known).filter(|(_, session)| limits.is_met_by(session));
    let served: Vec<SessionKey> = served.map(|(key, _)| key.clone()).collect();
    if served.is_empty() && !all.is_empty() {
        let why = "the settings (mcp_scope, exclude) keep this server from handing it out";
        return Err(Failure::argument("session_id", typed, why));
    }
    let told = |failure: Failure| stores.notes.iter().fold(failure, |failure, note| failure.hint(note));
    session_name::only(served, typed).map_err(told)
}

/// Which sessions may be handed out: none that a setting excludes, or of another project than it keeps to.
struct Served<'a> {
    /// The project, where only one is meant; none of it where it is not known.
    project: Option<Option<Project>>,
    exclude: &'a Exclusions,
}

impl Served<'_> {
    fn by(here: &Here) -> Served<'_> {
        let Limits { project_of, exclude } = &here.limits;
        let project = |directory: &Option<PathBuf>| directory.as_ref().map(|at| Project::of(at, &here.home));
        Served { project: project_of.as_ref().map(project), exclude }
    }

    fn is_met_by(&self, session: &Whereabouts) -> bool {
        let is_of_it = |project: &Option<Project>| project.as_ref().is_some_and(|project| is_of(session, project));
        self.project.as_ref().is_none_or(is_of_it)
            && !self.exclude.is_saved_excluded(&session.project, &session.directories)
    }
}

fn asked_for(scope: &Scope, known: &[Whereabouts]) -> Meant {
    let here = &scope.here;
    if scope.all {
        return Meant::all(Vec::new());
    }
    match scope.project.as_deref().map(str::trim).filter(|typed| !typed.is_empty()) {
        Some(typed) => by_name(typed, here, known),
        None => by_directory(here, known),
    }
}

fn by_directory(here: &Here, known: &[Whereabouts]) -> Meant {
    let Some(directory) = &here.directory else { return Meant::all(Vec::new()) };
    let project = Project::of(directory, &here.home);
    let in_project = |project: &Project| Meant {
        places: Some(places(known, |session| is_of(session, project))),
        said: format!("in {}", here.shown(project.directory())),
        ..Meant::default()
    };
    let found = in_project(&project);
    if found.places.as_ref().is_some_and(|places| !places.is_empty()) {
        return found;
    }
    // Without a repository nothing says where a project begins, but a session that was started above does.
    if let Some(above) = started_above(project.directory(), here, known) {
        return in_project(&above);
    }
    let none = format!("no session of {} is saved", here.shown(project.directory()));
    match moved(project.directory(), known) {
        Some(old) => {
            let shown = here.shown(old.directory());
            let note = format!("{none}; these are of {shown}, which does not exist any more");
            Meant { notes: vec![note], is_guess: true, ..in_project(&old) }
        }
        None => Meant { is_guess: true, ..Meant::all(vec![format!("{none}, so these are of all projects")]) },
    }
}

/// The nearest directory above in which a session was started.
fn started_above(directory: &Path, here: &Here, known: &[Whereabouts]) -> Option<Project> {
    let above = directory.ancestors().skip(1).take_while(|above| !here.home.starts_with(above));
    let project = |above: &Path| Project::with_all_below(vec![above.to_owned()]);
    let started = |above: &&Path| known.iter().filter_map(directory_of).any(|directory| Path::new(directory) == *above);
    above.into_iter().find(started).map(project)
}

/// A directory of the same name of which sessions are saved, and which is not there any more: it may be here now.
fn moved(directory: &Path, known: &[Whereabouts]) -> Option<Project> {
    let name = directory.file_name()?;
    let is_old =
        |known: &&Path| known.file_name() == Some(name) && *known != directory && known.symlink_metadata().is_err();
    let old = known.iter().rev().filter_map(directory_of).map(Path::new).find(is_old)?;
    Some(Project::with_all_below(vec![old.to_owned()]))
}

fn by_name(typed: &str, here: &Here, known: &[Whereabouts]) -> Meant {
    let is_path = typed.starts_with(['/', '~'])
        || matches!(typed, "." | "..")
        || typed.starts_with("./")
        || typed.starts_with("../");
    let path = here.path(typed);
    if is_path || (typed.contains('/') && path.is_dir()) {
        for project in [Project::at(&path, &here.home), Project::of(&path, &here.home)] {
            let found = places(known, |session| is_of(session, &project));
            if !found.is_empty() {
                let said = format!("in {}", here.shown(project.directory()));
                return Meant { places: Some(found), said, ..Meant::default() };
            }
        }
        let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return nothing(
            &format!("no session of {} is saved", here.shown(&project::resolved(&path))),
            &here.shown(&path),
            &last,
            here,
            known,
        );
    }
    let found = names::find(typed, known);
    if found.is_empty() {
        return nothing(&format!("no project is called {:?}", one_line(typed)), typed, typed, here, known);
    }
    // All that belongs to a directory of that name, whatever the folders are called.
    let last = |text: &str| text.rsplit(['/', '\\']).next().unwrap_or_default().to_lowercase();
    let is_named = |directory: &&str| last(directory).contains(&last(typed.trim_end_matches('/')));
    let directories = found.iter().filter_map(|place| directory_of(&known[*place]));
    let mut directories: Vec<&str> = directories.filter(is_named).collect();
    directories.sort_unstable();
    directories.dedup();
    let projects: Vec<Project> =
        directories.iter().map(|directory| Project::at(Path::new(directory), &here.home)).collect();
    let mut notes = Vec::new();
    if directories.len() > 1 {
        let shown: Vec<String> = directories.iter().map(|directory| here.shown(Path::new(directory))).collect();
        notes.push(format!("{:?} means {} directories: {}", one_line(typed), shown.len(), names::few(&shown)));
    }
    let known_of = |session: &Whereabouts| projects.iter().any(|project| is_of_directories(session, project));
    let mut all = places(known, known_of);
    all.extend(found);
    all.sort_unstable();
    all.dedup();
    Meant { places: Some(all), said: format!("in project {}", one_line(typed)), notes, is_guess: false }
}

/// No session is meant; what may have been.
fn nothing(why: &str, typed: &str, name: &str, here: &Here, known: &[Whereabouts]) -> Meant {
    let like = names::like(name, known, here);
    let meant = if like.is_empty() { String::new() } else { format!("; did you mean {}?", like.join(" or ")) };
    Meant {
        places: Some(Vec::new()),
        said: format!("in project {}", one_line(typed)),
        notes: vec![format!("{why}{meant}")],
        is_guess: false,
    }
}

fn places(known: &[Whereabouts], is_meant: impl Fn(&Whereabouts) -> bool) -> Vec<usize> {
    (0..known.len()).filter(|place| is_meant(&known[*place])).collect()
}

/// Whether a session is of the project. Of one whose records name no directory the name of its folder decides.
fn is_of(session: &Whereabouts, project: &Project) -> bool {
    let named =
        |root: &PathBuf| names::is_folder_of(&session.project, ProjectName::from_cwd(&root.to_string_lossy()).as_str());
    is_of_directories(session, project) || (session.directories.is_empty() && project.roots.iter().any(named))
}

fn is_of_directories(session: &Whereabouts, project: &Project) -> bool {
    session.directories.iter().any(|directory| project.has(directory))
}

#[cfg(test)]
mod tests;
