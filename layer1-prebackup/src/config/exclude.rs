//! Sessions that a user does not want copied, by globs.
//!
//! A glob without `/` names a project's folder in the stores. One with `/` names a directory that a
//! session works in, or a transcript; what lies below it is meant too. `*` and `?` stand for letters
//! within a name, `**` for anything, `~/` for the home directory.

use std::path::Path;

use crate::claude::memory::is_memory;
use crate::claude::project_folder::cwd_of_folder;
use crate::claude::side_files::cwd_of_session;
use crate::claude::transcripts::{Reach, first_cwd};
use crate::fs::DurableError;
use crate::names::{ProjectName, SessionId};

/// Which sessions are not copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    globs: Vec<Glob>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob {
    typed: String,
    /// With the home directory in its place.
    pattern: String,
}

impl Exclusions {
    /// From globs as typed.
    pub fn new(globs: &[String], home: &Path) -> Exclusions {
        let glob = |typed: &String| Glob {
            typed: typed.clone(),
            pattern: match typed.strip_prefix("~/") {
                Some(rest) => format!("{}/{rest}", home.display()),
                None => typed.clone(),
            },
        };
        Exclusions { globs: globs.iter().map(glob).collect() }
    }

    /// Whether nothing is excluded.
    pub(crate) fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }

    /// Whether the session of a transcript is not to be copied. In doubt it is copied, and what
    /// keeps it from being read is told then.
    pub fn is_excluded(&self, transcript: &Path, cwd: Option<&str>) -> bool {
        matches!(self.excluding(transcript, cwd), Ok(Some(_)))
    }

    /// Whether what was saved in a project's folder, of a session that worked in these directories, is excluded now.
    pub fn is_saved_excluded(&self, folder: &str, directories: &[String]) -> bool {
        let is_name = |glob: &Glob| !glob.pattern.contains('/') && matches(&glob.pattern, folder);
        let nowhere = Path::new("");
        self.globs.iter().any(is_name)
            || directories.iter().any(|directory| self.match_session(nowhere, Some(directory)).is_some())
    }

    /// The glob that excludes the session of a transcript. Where it works is the first directory
    /// that it names, else `cwd`.
    pub(crate) fn excluding(&self, transcript: &Path, cwd: Option<&str>) -> Result<Option<&str>, DurableError> {
        if self.is_empty() {
            return Ok(None);
        }
        let named = match SessionId::of_transcript(transcript) {
            _ if is_memory(transcript) => transcript.parent().and_then(cwd_of_folder),
            Ok(id) => cwd_of_session(Reach::Links, transcript, &id)?,
            Err(_) => first_cwd(transcript)?,
        };
        Ok(self.match_session(transcript, named.as_deref().or(cwd)))
    }

    fn match_session(&self, transcript: &Path, cwd: Option<&str>) -> Option<&str> {
        let project = cwd.map(ProjectName::from_cwd);
        let transcript = transcript.to_string_lossy();
        let excludes = |glob: &&Glob| {
            let pattern = glob.pattern.trim_end_matches('/');
            if !glob.pattern.contains('/') {
                return project.as_ref().is_some_and(|project| matches(pattern, project.as_str()));
            }
            cwd.iter().copied().chain([&*transcript]).any(|path| is_at_or_below(pattern, path))
        };
        self.globs.iter().find(excludes).map(|glob| glob.typed.as_str())
    }
}

/// Whether the glob matches the path or a directory that it lies in.
fn is_at_or_below(pattern: &str, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter(|end| *end > 0).any(|end| matches(pattern, &path[..end]))
}

/// Whether a glob matches all of a text.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // `reached[n]`: what was read of the pattern matches the first n letters.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let is_any = pattern[at] == '*' && pattern.get(at + 1) == Some(&'*');
        let mut next = vec![false; text.len() + 1];
        match pattern[at] {
            '*' => {
                next[0] = reached[0];
                for n in 0..text.len() {
                    next[n + 1] = reached[n + 1] || (next[n] && (is_any || text[n] != '/'));
                }
            }
            letter => {
                for n in 0..text.len() {
                    next[n + 1] = reached[n] && (letter == text[n] || (letter == '?' && text[n] != '/'));
                }
            }
        }
        reached = next;
        at += if is_any { 2 } else { 1 };
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        };
        check("scratch-*", "scratch-1", true);
        check("scratch-*", "my-scratch-1", false);
        check("a?c", "abc", true);
        check("a?c", "a/c", false);
        check("/h/*/x", "/h/a/x", true);
        check("/h/*/x", "/h/a/b/x", false);
        check("/h/**/x", "/h/a/b/x", true);
        check("**", "", true);
        check("*ä*", "bär", true);
        check("", "a", false);
    }

    #[test]
    fn a_project_a_directory_and_what_lies_below_it_are_excluded() {
        let check = |glob: &str, cwd: Option<&str>, expected: bool| {
            let exclusions = Exclusions::new(&[glob.to_owned()], Path::new("/h"));
            let found = exclusions.match_session(Path::new("/h/.claude/projects/-h-dev-secret/a.jsonl"), cwd);
            assert_eq!(found.is_some(), expected, "{glob} {cwd:?}");
        };
        check("secret", Some("/h/dev/secret"), true);
        check("secret", Some("/h/dev/secret/sub"), false);
        check("~/dev/secret", Some("/h/dev/secret/sub"), true);
        check("~/dev/", Some("/h/dev/secret"), true);
        check("/h/de", Some("/h/dev/secret"), false);
        check("~/dev/*", Some("/h/dev"), false);
        check("**/-h-dev-*", None, true);
        check("secret", None, false);
    }
}
