//! The file that is asked about: where it lies, what it is called in other checkouts, which of its lines are meant.

use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::scope::{Here, resolved};

/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The file that is asked about.
#[derive(Debug)]
pub(super) struct Target {
    /// Absolute, without links as far as it is there.
    pub(super) path: PathBuf,
    /// The directory of its repository; without one, where it is asked.
    pub(super) root: PathBuf,
    /// What it holds, if it is there and is text.
    pub(super) text: Option<String>,
    /// The lines that are meant, from 0 on; `None`: the file as a whole.
    pub(super) lines: Option<Range<usize>>,
}

impl Target {
    /// `FILE`, `FILE:LINE`, `FILE:LINE-LINE` or, as compilers say it, `FILE:LINE:COLUMN`. A relative one begins in
    /// `from`, else in the directory of the project.
    pub(super) fn parse(typed: &str, line: Option<usize>, from: Option<&Path>, here: &Here) -> Result<Target, Failure> {
        let typed = typed.trim();
        let place = |file: &str| {
            let candidates = from.into_iter().chain(here.directory.as_deref());
            let candidates = candidates.map(|directory| directory.join(expanded(file, &here.home)));
            let all: Vec<PathBuf> = candidates.collect();
            let there = all.iter().find(|path| path.exists()).or(all.last());
            there.map_or_else(|| expanded(file, &here.home), |path| resolved(path))
        };
        let whole = place(typed);
        let (file, lines) = match with_lines(typed).filter(|_| !whole.is_file()) {
            Some((file, lines)) => (place(file), Some(lines)),
            None => (whole, None),
        };
        if file.file_name().is_none() || file.is_dir() {
            return Err(Failure::argument("file", typed, "it must be a file, not a directory"));
        }
        let lines =
            lines.or(line.map(|line| line..=line)).map(|lines| *lines.start()..=*lines.end().max(lines.start()));
        let text = read(&file)?;
        let lines = match (lines, &text) {
            (None, _) => None,
            (Some(_), None) => {
                let why = "the file is not there; without a line, `why` says who touched it";
                return Err(Failure::argument("file", typed, why));
            }
            (Some(lines), Some(text)) => {
                // A byte order mark is none of a line.
                let all = text.trim_start_matches('\u{feff}').lines().count();
                if *lines.start() == 0 || *lines.start() > all {
                    let why =
                        format!("the file has {} and the first one is 1", crate::terminal::count(all as u64, "line"));
                    return Err(Failure::argument("line", &lines.start().to_string(), &why));
                }
                Some(lines.start() - 1..(*lines.end()).min(all))
            }
        };
        let below = |directory: &PathBuf| file.starts_with(directory).then(|| directory.clone());
        let repository = file.ancestors().skip(1).find(|above| above.join(".git").exists()).map(Path::to_owned);
        let asked_in = || here.directory.as_deref().map(resolved).as_ref().and_then(below);
        let root = repository.or_else(asked_in).or_else(|| file.parent().map(Path::to_owned)).unwrap_or_default();
        Ok(Target { path: file, root, text, lines })
    }

    /// Relative to its repository.
    pub(super) fn relative(&self) -> &Path {
        self.path.strip_prefix(&self.root).unwrap_or(&self.path)
    }

    pub(super) fn is_notebook(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "ipynb")
    }
}

fn expanded(file: &str, home: &Path) -> PathBuf {
    match file.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(file),
    }
}

/// The file, and the lines behind it.
fn with_lines(typed: &str) -> Option<(&str, std::ops::RangeInclusive<usize>)> {
    let (file, last) = typed.rsplit_once(':')?;
    let number = |text: &str| text.parse::<usize>().ok();
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(text).map(|line| line..=line),
    };
    let of_compiler = || {
        let (file, line) = file.rsplit_once(':')?;
        number(last)?;
        Some((file, range(line)?))
    };
    of_compiler().or_else(|| Some((file, range(last)?))).filter(|(file, _)| !file.is_empty())
}

fn read(file: &Path) -> Result<Option<String>, Failure> {
    let failed = |source| Failure::caused(format!("read {}", file.display()), Kind::Other, source);
    let meta = match fs::metadata(file) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        meta => meta.map_err(failed)?,
    };
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err(Failure::argument("file", &file.display().to_string(), "it is no file of text"));
    }
    let mut bytes = Vec::new();
    // Its length need not be what it says.
    fs::File::open(file).and_then(|open| open.take(FILE_BYTES_MAX).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A path that a record names, which may begin in the directory that the record names.
pub(super) fn absolute(path: &str, cwd: Option<&str>) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in Path::new(cwd.unwrap_or("/")).join(path).components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_behind_the_file() {
        for (typed, expected) in [
            ("a.rs:12", Some(("a.rs", 12..=12))),
            ("a.rs:12-20", Some(("a.rs", 12..=20))),
            ("a.rs:12:5", Some(("a.rs", 12..=12))),
            ("/x/a:b.rs:3", Some(("/x/a:b.rs", 3..=3))),
            ("a.rs", None),
            ("a:b", None),
            (":3", None),
        ] {
            assert_eq!(with_lines(typed), expected, "{typed}");
        }
    }

    #[test]
    fn a_path_of_a_record_begins_in_its_directory() {
        for (path, cwd, expected) in [
            ("/a/b.rs", Some("/c"), "/a/b.rs"),
            ("src/b.rs", Some("/c"), "/c/src/b.rs"),
            ("../b.rs", Some("/c/d"), "/c/b.rs"),
            ("./b.rs", None, "/b.rs"),
        ] {
            assert_eq!(absolute(path, cwd), Path::new(expected), "{path}");
        }
    }
}
