//! Which pages a folder holds and what each was made from, as a file in it says; a page that is not named there is not ours.

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::fs;
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};

/// Beside the pages.
const NAME: &str = "pages.json";
/// Longest such file that is read, in bytes: some 100,000 pages.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const FORMAT: u32 = 1;

/// The pages of a folder.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    format: u32,
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
}

impl Page {
    /// Where it lies in the folder; none, if what is written there is no session.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let key = SessionKey::parse(&self.project, &self.session_id).ok()?;
        Some(path_of(&key))
    }
}

/// Where the page of a session lies in the folder.
pub(super) fn path_of(key: &SessionKey) -> PathBuf {
    Path::new(&key.project.to_string()).join(format!("{}.html", key.id))
}

impl Kept {
    /// What the folder holds; nothing where it is new.
    pub(super) fn read(folder: &Path) -> Result<Kept, Failure> {
        let path = folder.join(NAME);
        let Some(dir) = fs::Dir::open(folder).context(format_args!("read {}", folder.display()))? else {
            return Ok(Kept::default());
        };
        let bytes = dir.read_own_file(NAME.as_ref(), BYTES_MAX).context(format_args!("read {}", path.display()))?;
        let Some(bytes) = bytes else { return Ok(Kept::default()) };
        let wrong = || Failure::new(format!("read {}: it is not what an export wrote", path.display()));
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if kept.format > FORMAT {
            return Err(Failure::new(format!("read {}: a newer version wrote it", path.display())));
        }
        Ok(kept)
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
