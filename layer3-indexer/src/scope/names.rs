//! The names of projects: which ones are meant by what was typed, and what tells two of one name apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use layer1_prebackup::claude::worktrees::project_of_worktree;

use crate::index::Whereabouts;
use crate::scope::here::{Here, directory_of};
use crate::terminal::one_line;

/// How alike two names have to be for one to be a misspelling of the other; 1 is the same.
const LIKENESS_MIN: f64 = 0.8;
/// Most names that are told at a time.
const TOLD_MAX: usize = 3;

/// Whether a store's folder is that of a project's name, or of a second session of an id there, `NAME~2`.
pub(super) fn is_folder_of(folder: &str, name: &str) -> bool {
    folder.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('~'))
}

/// The sessions of the projects that a name means: of exactly that name, else of that name whatever its case, else of
/// one that contains it.
pub(super) fn find(typed: &str, known: &[Whereabouts]) -> Vec<usize> {
    let typed = typed.trim_end_matches('/');
    let lower = typed.to_lowercase();
    let ends_with = |path: &str, name: &str| path.strip_suffix(name).is_some_and(|rest| rest.ends_with(['/', '\\']));
    let exact = |name: &str, path: &str| is_folder_of(name, typed) || ends_with(path, typed);
    let any_case =
        |name: &str, path: &str| is_folder_of(&name.to_lowercase(), &lower) || ends_with(&path.to_lowercase(), &lower);
    let part = |name: &str, path: &str| {
        let path = path.to_lowercase();
        let last = path.rsplit(['/', '\\']).next().unwrap_or_default();
        name.to_lowercase().contains(&lower) || if lower.contains('/') { &path } else { last }.contains(&lower)
    };
    type Way<'a> = &'a dyn Fn(&str, &str) -> bool;
    let ways: [Way<'_>; 3] = [&exact, &any_case, &part];
    let of = |way: Way<'_>| -> Vec<usize> {
        let is_meant = |session: &Whereabouts| way(&session.project, directory_of(session).unwrap_or_default());
        (0..known.len()).filter(|place| is_meant(&known[*place])).collect()
    };
    ways.into_iter().map(of).find(|found| !found.is_empty()).unwrap_or_default()
}

/// Names of projects that `typed` may be a misspelling of, the likeliest first.
pub(super) fn like(typed: &str, known: &[Whereabouts], here: &Here) -> Vec<String> {
    let typed = typed.to_lowercase();
    let mut likely: BTreeMap<String, f64> = BTreeMap::new();
    for session in known {
        let directory = directory_of(session);
        let last = directory.and_then(|directory| directory.rsplit(['/', '\\']).next()).unwrap_or(&session.project);
        let likeness = [last, &session.project].map(|name| strsim::jaro_winkler(&typed, &name.to_lowercase()));
        let likeness = likeness.into_iter().fold(0.0, f64::max);
        if likeness >= LIKENESS_MIN {
            let shown = directory.map_or(one_line(&session.project), |directory| here.shown(Path::new(directory)));
            likely.insert(shown, likeness);
        }
    }
    let mut likely: Vec<(String, f64)> = likely.into_iter().collect();
    likely.sort_by(|a, b| b.1.total_cmp(&a.1));
    likely.into_iter().take(TOLD_MAX).map(|(name, _)| name).collect()
}

/// A few of these, and how many more there are.
pub(super) fn few(names: &[String]) -> String {
    let more = names.len().saturating_sub(TOLD_MAX);
    let few = names[..names.len() - more].join(", ");
    if more > 0 { format!("{few} and {more} more") } else { few }
}

/// What the projects are called where several are shown: by their folder, and two of one name by so much of their
/// directories that they are told apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels(BTreeMap<String, BTreeSet<String>>);

impl Labels {
    /// Of all these sessions.
    pub(crate) fn of(known: &[Whereabouts]) -> Labels {
        let mut directories: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for session in known {
            let (name, directory) = (base(&session.project), directory_of(session));
            // Nearly all are of a name and in a directory that are known by then.
            if directories.get(name).is_some_and(|of_name| directory.is_none_or(|known| of_name.contains(known))) {
                continue;
            }
            directories.entry(name.to_owned()).or_default().extend(directory.map(str::to_owned));
        }
        directories.retain(|_, directories| directories.len() > 1);
        Labels(directories)
    }

    /// What a session's project is called.
    pub(crate) fn label(&self, project: &str, directory: Option<&str>) -> String {
        let directory = directory.map(project_of_worktree);
        let (Some(others), Some(directory)) = (self.0.get(base(project)), directory) else { return one_line(project) };
        let ends = |directory: &str, parts: usize| {
            let mut ends: Vec<&str> = directory.rsplitn(parts + 1, '/').take(parts).collect();
            ends.reverse();
            ends.join("/")
        };
        let parts_max = directory.matches('/').count();
        let is_alone =
            |parts: &usize| others.iter().filter(|other| ends(other, *parts) == ends(directory, *parts)).count() <= 1;
        one_line(&(1..=parts_max).find(is_alone).map_or(directory.to_owned(), |parts| ends(directory, parts)))
    }
}

/// The name without the `~2` of a second session of an id.
fn base(folder: &str) -> &str {
    match folder.rsplit_once('~') {
        Some((base, number)) if !base.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => base,
        _ => folder,
    }
}
