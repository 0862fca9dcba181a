//! Which transcripts may be saved over MCP: `<root>/<slug>/<session id>.jsonl`, nothing else.
//!
//! A model can call `session_save` with any path. It must not be able to have a password file
//! copied, nor one session's file stored as another's. So the path is taken apart as text, its
//! root must be one of a few known directories, and below that root nothing may be a symlink.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use layer1_prebackup::claude::transcripts;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::SessionId;

use crate::failure::{Context, Failure, Kind};

/// What a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootKind {
    /// Claude Code's `projects/`, or a directory the user allowed.
    Claude,
    /// Layer 1's store: what lies there is a copy, not a source.
    Layer1Store,
    /// Claude Code's, but reached by a link or under a second name, which is not read for whoever names it: only what
    /// layer 1 copied of it, at a hook of Claude Code's, counts.
    Unread,
}

/// A path that passed the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedTranscript {
    /// `<resolved root>/<slug>/<session id>.jsonl`. The file may be absent.
    pub(crate) path: PathBuf,
    /// What kind of root it lies below.
    pub(crate) root: RootKind,
}

/// Claude Code's `projects/` with the links in its path resolved, so that this layer records each
/// source under one spelling; as it is given where it does not exist.
pub(crate) fn resolved_projects(places: &Places) -> PathBuf {
    let projects = places.projects();
    fs::canonicalize(&projects).unwrap_or(projects)
}

/// The folder of transcripts of every directory that is kept, [`resolved_projects`] first.
pub(crate) fn all_resolved_projects(places: &Places) -> Vec<PathBuf> {
    let all = places.all_claude_dirs().map(|dir| dir.join("projects"));
    all.map(|projects| fs::canonicalize(&projects).unwrap_or(projects)).collect()
}

/// Whether both lead to one file or folder: layer 1 records paths as the events spell them, this
/// layer as they resolve.
pub(crate) fn is_same_path(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

#[derive(Debug)]
struct Root {
    kind: RootKind,
    given: PathBuf,
    /// Set once the directory exists: Claude Code makes `projects/` with its first prompt, which
    /// may be after this server started.
    resolved: OnceLock<PathBuf>,
}

/// The directories whose project folders may hold transcripts. Each is resolved once.
#[derive(Debug)]
pub(crate) struct Roots {
    roots: Vec<Root>,
}

impl Roots {
    /// Claude Code's `projects/`, layer 1's store, and what the user allowed; resolved now, as
    /// far as they exist.
    pub(crate) fn resolve(places: &Places, allowed: &[PathBuf]) -> Roots {
        let more = places.more_claude_dirs.iter().map(|dir| (RootKind::Claude, dir.join("projects")));
        let ours = [(RootKind::Claude, places.projects()), (RootKind::Layer1Store, places.layer1_store.clone())];
        let ours = ours.into_iter().chain(more);
        let allowed = allowed.iter().map(|given| (RootKind::Claude, given.clone()));
        let new = |(kind, given)| Root { kind, given, resolved: OnceLock::new() };
        let roots = Roots { roots: ours.chain(allowed).map(new).collect() };
        for root in &roots.roots {
            root.resolved();
        }
        roots
    }

    /// Accepts exactly `<root>/<slug>/<session id>.jsonl` with a real directory and a regular or
    /// absent file. The root may be spelled in any way that leads to the same directory.
    pub(crate) fn check(&self, id: &SessionId, path: &Path) -> Result<CheckedTranscript, Failure> {
        let refuse = |why: &str| Err(refused(path, why));
        let plain = path.is_absolute() && path.components().all(|c| c != Component::ParentDir);
        if !plain || path.as_os_str().as_encoded_bytes().contains(&0) {
            return refuse("it must be absolute and without \"..\"");
        }
        let expected = format!("{id}.jsonl");
        if path.file_name() != Some(OsStr::new(&expected)) || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return refuse(&format!("its last component must be {expected:?}, the session's own file"));
        }
        let outside = || {
            let roots = self.for_people();
            refused(path, &format!("it must lie in a project folder directly below one of {roots}"))
                .hint("--allow-root DIR allows another")
        };
        let folder = path.parent().ok_or_else(outside)?;
        let slug = folder.file_name().ok_or_else(outside)?;
        let (root, resolved) = self.root_of(folder.parent().ok_or_else(outside)?).ok_or_else(outside)?;
        // The hidden folders of a store are its bookkeeping and layer 2's outbox.
        if root.kind == RootKind::Layer1Store && slug.as_encoded_bytes().starts_with(b".") {
            return Err(outside());
        }
        let folder = resolved.join(slug);
        check_folder(path, &folder, root.kind)?;
        let file = folder.join(expected);
        self.check_file(path, &file, root.kind)?;
        Ok(CheckedTranscript { path: file, root: root.kind })
    }

    /// The root that `directory` names, as it was given or through symlinks above it.
    fn root_of(&self, directory: &Path) -> Option<(&Root, &Path)> {
        let existing = || self.roots.iter().filter_map(|root| Some((root, root.resolved()?)));
        existing()
            .find(|(root, resolved)| root.given == directory || *resolved == directory)
            .or_else(|| {
                // A directory that cannot be resolved is none of the roots: those exist.
                let canonical = fs::canonicalize(directory).ok()?;
                existing().find(|(_, resolved)| *resolved == canonical)
            })
            .or_else(|| {
                // A root that does not exist yet holds no file: its transcripts are absent.
                self.roots.iter().find(|root| root.given == directory).map(|root| (root, root.given.as_path()))
            })
    }

    /// A transcript may be a link to one of the same user's, but to no other session's.
    fn check_file(&self, path: &Path, file: &Path, root: RootKind) -> Result<(), Failure> {
        let Some(meta) = examine(file)? else { return Ok(()) };
        let kind = meta.file_type();
        let kind = match kind {
            _ if kind.is_file() => return Ok(()),
            _ if kind.is_symlink() && root == RootKind::Claude => match self.leads_to_its_own(file) {
                Ok(()) => return Ok(()),
                Err(why) => format!("a symlink, and {why}"),
            },
            _ if kind.is_symlink() => "a symlink".to_owned(),
            _ if kind.is_dir() => "a directory".to_owned(),
            _ => "a FIFO, a socket or a device".to_owned(),
        };
        Err(refused(path, &format!("it is {kind}, not a regular file")))
    }

    fn leads_to_its_own(&self, link: &Path) -> Result<(), String> {
        transcripts::open_transcript(link).map_err(|error| error.source.to_string())?;
        let target = fs::canonicalize(link).map_err(|error| error.to_string())?;
        let is_below_a_root = target.parent().and_then(Path::parent).is_some_and(|above| self.root_of(above).is_some());
        match is_below_a_root && target.file_name() != link.file_name() {
            true => Err("it leads to another session's transcript".to_owned()),
            false => Ok(()),
        }
    }

    fn for_people(&self) -> String {
        self.roots.iter().map(|root| root.given.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Root {
    fn resolved(&self) -> Option<&Path> {
        if self.resolved.get().is_none() {
            // Absent now; asked again at the next check.
            let resolved = fs::canonicalize(&self.given).ok()?;
            return Some(self.resolved.get_or_init(|| resolved));
        }
        self.resolved.get().map(PathBuf::as_path)
    }
}

/// A project's folder may be a link that stands in the root: to a folder of the user whose root it is.
fn check_folder(path: &Path, folder: &Path, root: RootKind) -> Result<(), Failure> {
    let refuse = |why: &str| Err(refused(path, &format!("{folder:?} must be a directory{why}")));
    match examine(folder)? {
        None => Ok(()),
        Some(meta) if meta.is_dir() => Ok(()),
        Some(meta) if meta.is_symlink() && root == RootKind::Claude => match fs::metadata(folder) {
            Ok(target) if target.is_dir() && target.uid() == meta.uid() => Ok(()),
            _ => refuse(", or a link of yours to one of yours"),
        },
        Some(_) => refuse(", not a symlink or a file"),
    }
}

/// What lies at `path` itself, not behind it; `None` where nothing does.
fn examine(path: &Path) -> Result<Option<Metadata>, Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        meta => meta.map(Some).context(format_args!("examine {path:?}")),
    }
}

/// The path is none that may be saved. Nothing was opened or copied.
fn refused(path: &Path, why: &str) -> Failure {
    Failure::new(format!("accept transcript path {path:?}: {why}")).of(Kind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::config::places::PlaceFlags;
    use std::os::unix::fs::symlink;

    struct Scene {
        home: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Scene {
            let home = tempfile::tempdir().unwrap();
            fs::create_dir_all(home.path().join(".claude/projects/-p")).unwrap();
            fs::create_dir_all(home.path().join(".claude-backup-sessions/p")).unwrap();
            Scene { home }
        }

        fn path(&self, rel: &str) -> PathBuf {
            self.home.path().join(rel)
        }

        fn roots(&self, allowed: &[PathBuf]) -> Roots {
            let home = self.home.path().as_os_str().to_owned();
            let places = Places::resolve_with(
                &PlaceFlags::default(),
                &|n| (n == "HOME").then(|| home.clone()),
                &layer1_prebackup::config::settings::Settings::default(),
            )
            .unwrap();
            Roots::resolve(&places, allowed)
        }

        /// The resolved path below HOME, or the error with HOME filtered out.
        fn check(&self, id: &str, path: &Path) -> String {
            let id = SessionId::parse(id).unwrap();
            let text = match self.roots(&[]).check(&id, path) {
                Ok(checked) => format!("{:?} {}", checked.root, checked.path.display()),
                Err(error) => error.to_string(),
            };
            let real = fs::canonicalize(self.home.path()).unwrap();
            text.replace(real.to_str().unwrap(), "~").replace(self.home.path().to_str().unwrap(), "~")
        }
    }

    #[test]
    fn honest_paths_pass_through_any_spelling_of_the_root() {
        let scene = Scene::new();
        fs::write(scene.path(".claude/projects/-p/a.jsonl"), "x").unwrap();
        symlink(scene.path(".claude"), scene.path("link")).unwrap();
        for given in [".claude/projects/-p/a.jsonl", "link/projects/-p/a.jsonl", ".claude//projects/./-p/a.jsonl"] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(scene.check("a", &scene.path(given)), @"Claude ~/.claude/projects/-p/a.jsonl");
            }
        }
        // A transcript that never existed is no error here: it is skipped later.
        insta::assert_snapshot!(scene.check("b", &scene.path(".claude/projects/-new/b.jsonl")), @"Claude ~/.claude/projects/-new/b.jsonl");
        insta::assert_snapshot!(scene.check("b", &scene.path(".claude-backup-sessions/p/b.jsonl")), @"Layer1Store ~/.claude-backup-sessions/p/b.jsonl");
    }

    #[test]
    fn a_symlinked_configuration_directory_is_followed_once() {
        let scene = Scene { home: tempfile::tempdir().unwrap() };
        fs::create_dir_all(scene.path("real/projects/-p")).unwrap();
        fs::write(scene.path("real/projects/-p/a.jsonl"), "x").unwrap();
        symlink(scene.path("real"), scene.path(".claude")).unwrap();
        insta::assert_snapshot!(scene.check("a", &scene.path(".claude/projects/-p/a.jsonl")), @"Claude ~/real/projects/-p/a.jsonl");
        insta::assert_snapshot!(scene.check("a", &scene.path("real/projects/-p/a.jsonl")), @"Claude ~/real/projects/-p/a.jsonl");
    }

    #[test]
    fn two_paths_are_the_same_where_they_lead_to_one_file() {
        let scene = Scene::new();
        for name in ["a", "b"] {
            fs::write(scene.path(name), "x").unwrap();
        }
        symlink(scene.path("a"), scene.path("link")).unwrap();
        for (one, two, expected) in [
            ("a", "a", true),
            ("a", "link", true),
            ("a", "b", false),
            ("gone", "gone", true),
            ("gone", "lost", false),
            ("a", "gone", false),
        ] {
            assert_eq!(is_same_path(&scene.path(one), &scene.path(two)), expected, "{one} {two}");
        }
    }

    #[test]
    fn a_projects_folder_and_a_transcript_may_be_links_of_the_users_own() {
        let scene = Scene::new();
        fs::create_dir(scene.path("elsewhere")).unwrap();
        fs::write(scene.path("elsewhere/a.jsonl"), "x").unwrap();
        symlink(scene.path("elsewhere"), scene.path(".claude/projects/-slug")).unwrap();
        symlink(scene.path("elsewhere/a.jsonl"), scene.path(".claude/projects/-p/a.jsonl")).unwrap();
        for given in [".claude/projects/-slug/a.jsonl", ".claude/projects/-p/a.jsonl"] {
            assert_eq!(scene.check("a", &scene.path(given)), format!("Claude ~/{given}"));
        }
    }

    #[test]
    fn a_root_that_appears_later_is_resolved_then() {
        let scene = Scene::new();
        let later = scene.path("later/projects");
        let roots = scene.roots(std::slice::from_ref(&later));
        let id = SessionId::parse("a").unwrap();
        assert!(roots.check(&id, &later.join("-p/a.jsonl")).is_ok());
        fs::create_dir_all(later.join("-p")).unwrap();
        fs::write(later.join("-p/a.jsonl"), "x").unwrap();
        assert_eq!(roots.check(&id, &later.join("-p/a.jsonl")).unwrap().root, RootKind::Claude);
        let outside = scene.roots(&[]).check(&id, &later.join("-p/a.jsonl")).unwrap_err();
        assert!(outside.to_string().contains("directly below one of"), "{outside}");
    }

    #[test]
    fn everything_else_is_refused() {
        let scene = Scene::new();
        let p = |rel: &str| scene.path(".claude/projects").join(rel);
        fs::write(p("-p/other.jsonl"), "x").unwrap();
        symlink("/etc/passwd", p("-p/link.jsonl")).unwrap();
        fs::create_dir(p("-p/dir.jsonl")).unwrap();
        layer1_prebackup::fs::platform::make_fifo(&p("-p/fifo.jsonl"));
        fs::create_dir(scene.path("elsewhere")).unwrap();
        fs::write(scene.path("elsewhere/a.jsonl"), "x").unwrap();
        symlink(p("-p/other.jsonl"), p("-p/another.jsonl")).unwrap();
        symlink("/etc/passwd", p("-file")).unwrap();
        symlink(scene.path("elsewhere"), scene.path(".claude-backup-sessions/link")).unwrap();
        let refused: Vec<String> = [
            ("a", PathBuf::from("/etc/passwd")),
            ("a", PathBuf::from("a.jsonl")),
            ("a", p("-p/../../../elsewhere/a.jsonl")),
            ("a", p("-p/other.jsonl")),
            ("a", p("a.jsonl")),
            ("a", p("-p/sub/a.jsonl")),
            ("link", p("-p/link.jsonl")),
            ("dir", p("-p/dir.jsonl")),
            ("fifo", p("-p/fifo.jsonl")),
            ("another", p("-p/another.jsonl")),
            ("a", p("-file/a.jsonl")),
            ("a", scene.path(".claude-backup-sessions/link/a.jsonl")),
            ("a", scene.path("elsewhere/a.jsonl")),
            ("a", scene.path(".claude-backup-sessions/.state/a.jsonl")),
        ]
        .iter()
        .map(|(id, path)| scene.check(id, path))
        .collect();
        insta::assert_snapshot!(refused.join("\n"), @r#"
        accept transcript path "/etc/passwd": its last component must be "a.jsonl", the session's own file
        accept transcript path "a.jsonl": it must be absolute and without ".."
        accept transcript path "~/.claude/projects/-p/../../../elsewhere/a.jsonl": it must be absolute and without ".."
        accept transcript path "~/.claude/projects/-p/other.jsonl": its last component must be "a.jsonl", the session's own file
        accept transcript path "~/.claude/projects/a.jsonl": it must lie in a project folder directly below one of ~/.claude/projects, ~/.claude-backup-sessions; --allow-root DIR allows another
        accept transcript path "~/.claude/projects/-p/sub/a.jsonl": it must lie in a project folder directly below one of ~/.claude/projects, ~/.claude-backup-sessions; --allow-root DIR allows another
        accept transcript path "~/.claude/projects/-p/link.jsonl": it is a symlink, and it is a link to something that is no transcript, not a regular file
        accept transcript path "~/.claude/projects/-p/dir.jsonl": it is a directory, not a regular file
        accept transcript path "~/.claude/projects/-p/fifo.jsonl": it is a FIFO, a socket or a device, not a regular file
        accept transcript path "~/.claude/projects/-p/another.jsonl": it is a symlink, and it leads to another session's transcript, not a regular file
        accept transcript path "~/.claude/projects/-file/a.jsonl": "~/.claude/projects/-file" must be a directory, or a link of yours to one of yours
        accept transcript path "~/.claude-backup-sessions/link/a.jsonl": "~/.claude-backup-sessions/link" must be a directory, not a symlink or a file
        accept transcript path "~/elsewhere/a.jsonl": it must lie in a project folder directly below one of ~/.claude/projects, ~/.claude-backup-sessions; --allow-root DIR allows another
        accept transcript path "~/.claude-backup-sessions/.state/a.jsonl": it must lie in a project folder directly below one of ~/.claude/projects, ~/.claude-backup-sessions; --allow-root DIR allows another
        "#);
    }
}
