//! Which pages a folder holds and what each was made from, as a file in it says; a page that is not named there is not ours.
//! It is named there before it is written, so that one that was cut off is ours too.

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::fs;
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure, Kind};

/// The first page.
pub(super) const BY_PROJECT: &str = "index.html";
/// The other list.
pub(super) const BY_TIME: &str = "by-time.html";
/// Beside the pages.
const NAME: &str = "pages.json";
/// Longest such file that is read, in bytes: some 100,000 pages.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const FORMAT: u32 = 1;
/// Held by whoever writes the folder.
const LOCK: &str = ".pages.lock";

/// The pages of a folder.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    format: u32,
    /// Whether secrets are masked in all that it holds.
    #[serde(default)]
    is_masked: bool,
    pub(super) pages: Vec<Page>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// The session's folder in the store, and its id: with them, and nothing else, the page is named.
    pub(super) project: String,
    pub(super) session_id: String,
    /// What stands in the list: all of it was masked if the page was.
    pub(super) title: String,
    pub(super) label: String,
    /// RFC 3339.
    pub(super) timestamp_end: Option<String>,
    pub(super) messages: u64,
    /// Length of the page.
    pub(super) bytes: u64,
    /// Of what it was made from, and how.
    pub(super) made_from: String,
    /// Whether the stores still have the conversation.
    #[serde(default)]
    pub(super) is_gone: bool,
    /// Whether the page tells of something about the copies that may be mended by now.
    #[serde(default)]
    pub(super) has_notes: bool,
    /// Whether it was about to be written, and may be there or not.
    #[serde(default)]
    pub(super) is_begun: bool,
}

impl Page {
    /// One that is about to be written.
    pub(super) fn begun(key: &SessionKey) -> Page {
        Page {
            project: key.project.to_string(),
            session_id: key.id.to_string(),
            title: String::new(),
            label: String::new(),
            timestamp_end: None,
            messages: 0,
            bytes: 0,
            made_from: String::new(),
            is_gone: false,
            has_notes: false,
            is_begun: true,
        }
    }

    /// Where it lies in the folder; none, if what is written there is no session.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let key = SessionKey::parse(&self.project, &self.session_id).ok()?;
        Some(path_of(&key))
    }
}

/// Where the page of a session lies in the folder.
pub(super) fn path_of(key: &SessionKey) -> PathBuf {
    let mut folder = key.project.to_string();
    // A project may be named like a file that lies there.
    if [BY_PROJECT, BY_TIME, NAME, LOCK].contains(&folder.as_str()) {
        folder.push('_');
    }
    Path::new(&folder).join(format!("{}.html", key.id))
}

/// Takes the folder for this program alone, for as long as the lock is kept.
pub(super) fn lock(folder: &Path) -> Result<fs::Lock, Failure> {
    let path = folder.join(LOCK);
    let lock = fs::Lock::try_now(&path).context(format_args!("lock {}", path.display()))?;
    lock.ok_or_else(|| Failure::new(format!("write pages to {}: another export writes there now", folder.display())))
}

impl Kept {
    /// What the folder holds; nothing where it is new. An error where lists lie there that no export wrote, or where
    /// pages with secrets and pages without would lie side by side.
    pub(super) fn read(folder: &Path, is_masked: bool) -> Result<Kept, Failure> {
        let path = folder.join(NAME);
        let dir = fs::Dir::open(folder).context(format_args!("read {}", folder.display()))?;
        let bytes = match dir {
            Some(dir) => dir.read_own_file(NAME.as_ref(), BYTES_MAX),
            None => Ok(None),
        };
        let Some(bytes) = bytes.context(format_args!("read {}", path.display()))? else {
            let lists = [BY_PROJECT, BY_TIME].map(|list| folder.join(list));
            return match lists.iter().find(|list| list.symlink_metadata().is_ok()) {
                Some(list) => Err(Failure::new(format!("write {}: it exists, and no export wrote it", list.display()))
                    .of(Kind::Exists)
                    .hint("name another folder with -o")),
                None => Ok(Kept { is_masked, ..Kept::default() }),
            };
        };
        let wrong = || Failure::new(format!("read {}: it is not what an export wrote", path.display()));
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if kept.format > FORMAT {
            return Err(Failure::new(format!("read {}: a newer version wrote it", path.display())));
        }
        if kept.is_masked != is_masked && !kept.pages.is_empty() {
            let (are, hint) = match kept.is_masked {
                true => ("masked", "give --redact, or name another folder with -o"),
                false => ("not masked", "leave --redact out, or name another folder with -o"),
            };
            let folder = folder.display();
            return Err(Failure::new(format!("write pages to {folder}: the secrets in its pages are {are}")).hint(hint));
        }
        Ok(Kept { is_masked, ..kept })
    }

    /// Writes it, durably.
    pub(super) fn write(&mut self, folder: &Path) -> Result<(), Failure> {
        self.format = FORMAT;
        self.pages.sort_by(|a, b| (&a.project, &a.session_id).cmp(&(&b.project, &b.session_id)));
        let path = folder.join(NAME);
        let text = serde_json::to_vec_pretty(self).context("write JSON")?;
        fs::replace_file(&path, &text).context(format_args!("write {}", path.display()))
    }
}
