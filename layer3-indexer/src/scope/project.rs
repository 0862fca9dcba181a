//! The project of a directory: its git repository with all its worktrees, else the directory itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use layer1_prebackup::claude::worktrees::project_of_worktree;
use layer1_prebackup::fs::read_foreign;

/// A project, as directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    /// Its own directory first, then those of its worktrees.
    pub(super) roots: Vec<PathBuf>,
    /// Whether what lies below belongs to it. Not so of the home directory and those above: that would be everything.
    with_all_below: bool,
    /// Directories that were asked for: many sessions are of one, and links cost a look at the disk each.
    known: RefCell<HashMap<String, bool>>,
}

impl Project {
    /// Of these directories, its own first, with what lies below them.
    pub(super) fn with_all_below(roots: Vec<PathBuf>) -> Project {
        Project { roots, with_all_below: true, known: RefCell::default() }
    }

    /// The project of a directory, which need not exist: its git repository, else itself. `/`, the home directory and
    /// what lies between are a project without what lies below, whether they are a repository or not.
    pub(super) fn of(directory: &Path, home: &Path) -> Project {
        let directory = outside_of_worktree(&resolved(directory));
        let home = resolved(home);
        if home.starts_with(&directory) {
            return Project { with_all_below: false, ..Project::with_all_below(vec![directory]) };
        }
        let repository = directory.ancestors().take_while(|above| !home.starts_with(above)).find_map(|above| {
            let mut roots = repository_at(above)?;
            roots.retain(|root| !home.starts_with(root));
            Some(roots)
        });
        Project::with_all_below(repository.unwrap_or_else(|| vec![directory]))
    }

    /// The directory and what lies below, whichever repository it is in; its worktrees where it is one itself.
    pub(super) fn at(directory: &Path, home: &Path) -> Project {
        let project = Project::of(directory, home);
        let directory = resolved(directory);
        if project.roots.contains(&directory) { project } else { Project { roots: vec![directory], ..project } }
    }

    /// Whether a directory that a record names is of this project.
    pub(super) fn has(&self, directory: &str) -> bool {
        if let Some(known) = self.known.borrow().get(directory) {
            return *known;
        }
        let has = self.has_looked_up(directory);
        self.known.borrow_mut().insert(directory.to_owned(), has);
        has
    }

    fn has_looked_up(&self, directory: &str) -> bool {
        let directory = Path::new(project_of_worktree(directory));
        let is_in = |directory: &Path| {
            let is_at =
                |root: &PathBuf| if self.with_all_below { directory.starts_with(root) } else { directory == root };
            self.roots.iter().any(is_at)
        };
        // The record may name it through a symlink.
        is_in(directory) || is_in(&resolved(directory))
    }

    /// Its own directory.
    pub(super) fn directory(&self) -> &Path {
        &self.roots[0]
    }
}

fn outside_of_worktree(directory: &Path) -> PathBuf {
    directory.to_str().map_or(directory.to_owned(), |text| PathBuf::from(project_of_worktree(text)))
}

/// The real path of what exists, and what is left of it as it was typed.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    let known = |above: &Path| Some((fs::canonicalize(above).ok()?, above.to_owned()));
    // `..` behind a symlink leads elsewhere than its text says, so what exists is asked as it was typed.
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match plain.ancestors().find_map(known) {
        Some((real, above)) => plain.strip_prefix(above).map_or(plain.clone(), |rest| real.join(rest)),
        None => plain,
    }
}

/// The work trees of the repository that has one here, the main one first; `None` where none has.
fn repository_at(directory: &Path) -> Option<Vec<PathBuf>> {
    let dot_git = directory.join(".git");
    let is_bare = || directory.join("HEAD").is_file() && directory.join("worktrees").is_dir();
    let (git_dir, main) = if dot_git.is_dir() {
        (dot_git, Some(directory.to_owned()))
    } else if !dot_git.exists() {
        (is_bare().then(|| directory.to_owned())?, Some(directory.to_owned()))
    } else {
        let git_dir = named_in(&dot_git, "gitdir: ")?;
        match named_in(&git_dir.join("commondir"), "") {
            // A worktree. The main one stands around its `.git`, unless the repository is bare.
            Some(common) => {
                let main = common.file_name().is_some_and(|name| name == ".git").then(|| common.parent());
                let main = main.flatten().map(Path::to_owned);
                (common, main)
            }
            // A submodule, or a repository that keeps its data elsewhere.
            None => (git_dir, Some(directory.to_owned())),
        }
    };
    let mut roots: Vec<PathBuf> = main.into_iter().collect();
    let worktrees = fs::read_dir(git_dir.join("worktrees")).into_iter().flatten().flatten();
    let mut others: Vec<PathBuf> = worktrees
        .filter_map(|entry| named_in(&entry.path().join("gitdir"), ""))
        .filter_map(|dot_git| dot_git.parent().map(Path::to_owned))
        .chain([directory.to_owned()])
        .collect();
    others.sort();
    others.dedup();
    others.retain(|other| !roots.contains(other));
    roots.append(&mut others);
    Some(roots)
}

/// A path is shorter.
const PATH_BYTES_MAX: u64 = 16 * 1024;

/// The path that a file of git names, as seen from the file's folder.
fn named_in(file: &Path, prefix: &str) -> Option<PathBuf> {
    let text = String::from_utf8(read_foreign(file, PATH_BYTES_MAX).ok()??).ok()?;
    let named = text.trim_end_matches(['\n', '\r']).strip_prefix(prefix)?;
    (!named.is_empty()).then(|| resolved(&file.parent().unwrap_or(Path::new("")).join(named)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What git lays down; see gitrepository-layout(5).
    #[test]
    fn a_directory_belongs_to_its_repository_and_all_worktrees_of_it() {
        let scratch = tempfile::tempdir().unwrap();
        let at = fs::canonicalize(scratch.path()).unwrap();
        let path = |rel: &str| at.join(rel);
        for folder in ["home/app/src/deep", "home/plain/sub", "home/app-fix/src", "home/bare/feature"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        write(&path("home/app/.git/HEAD"), "ref: refs/heads/main\n");
        write(&path("home/app/.git/worktrees/fix/gitdir"), &format!("{}\n", path("home/app-fix/.git").display()));
        write(&path("home/app/.git/worktrees/fix/commondir"), "../..\n");
        write(&path("home/app-fix/.git"), &format!("gitdir: {}\n", path("home/app/.git/worktrees/fix").display()));
        write(&path("home/app/sub/.git"), "gitdir: ../.git/modules/sub\n");
        write(&path("home/app/.git/modules/sub/HEAD"), "ref: refs/heads/main\n");
        write(&path("home/bare/.git"), "gitdir: ./.bare\n");
        write(&path("home/bare/.bare/worktrees/feature/gitdir"), "../../../feature/.git\n");
        write(&path("home/bare/.bare/worktrees/feature/commondir"), "../..\n");
        write(&path("home/bare/feature/.git"), "gitdir: ../.bare/worktrees/feature\n");
        write(&path("home/bare/.bare/HEAD"), "ref: refs/heads/main\n");
        std::os::unix::fs::symlink(path("home/app/src"), path("home/link")).unwrap();
        for (directory, roots) in [
            ("home/app", &["home/app", "home/app-fix"][..]),
            ("home/app/src/deep", &["home/app", "home/app-fix"]),
            ("home/app/src/removed/below", &["home/app", "home/app-fix"]),
            ("home/link/deep", &["home/app", "home/app-fix"]),
            ("home/app-fix/src", &["home/app", "home/app-fix"]),
            ("home/app/.claude/worktrees/gone", &["home/app", "home/app-fix"]),
            ("home/app/sub", &["home/app/sub"]),
            ("home/bare", &["home/bare", "home/bare/feature"]),
            ("home/bare/feature", &["home/bare/feature"]),
            ("home/bare/.bare/worktrees", &["home/bare/.bare", "home/bare/feature"]),
            ("home/plain/sub", &["home/plain/sub"]),
        ] {
            let project = Project::of(&path(directory), &path("home"));
            let roots: Vec<PathBuf> = roots.iter().map(|root| path(root)).collect();
            assert_eq!((project.roots, project.with_all_below), (roots, true), "{directory}");
        }
    }

    #[test]
    fn the_home_directory_and_those_above_are_no_project_of_what_lies_below() {
        let scratch = tempfile::tempdir().unwrap();
        let at = fs::canonicalize(scratch.path()).unwrap();
        // As those have it who keep their settings in a repository.
        write(&at.join("home/.git/HEAD"), "ref: refs/heads/main\n");
        fs::create_dir_all(at.join("home").join("below/app")).unwrap();
        let home = at.join("home");
        for directory in [Path::new("/"), &at, &home] {
            let project = Project::of(directory, &home);
            assert!(!project.with_all_below && project.has(directory.to_str().unwrap()), "{project:?}");
            assert!(!project.has(home.join("work/app").to_str().unwrap()));
        }
        assert_eq!(Project::of(&home.join("work/app"), &home).roots, [home.join("work/app")]);
    }

    #[test]
    fn a_record_may_name_a_project_through_a_symlink() {
        let scratch = tempfile::tempdir().unwrap();
        let at = fs::canonicalize(scratch.path()).unwrap();
        fs::create_dir_all(at.join("disk/app/src")).unwrap();
        std::os::unix::fs::symlink(at.join("disk"), at.join("work")).unwrap();
        let project = Project::of(&at.join("work/app"), Path::new("/home/me"));
        for (named, is_in) in
            [("work/app/src", true), ("disk/app", true), ("disk/app/gone", true), ("disk/apple", false)]
        {
            assert_eq!(project.has(at.join(named).to_str().unwrap()), is_in, "{named}");
        }
    }
}
