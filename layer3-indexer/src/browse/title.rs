//! The name that the user gave a session last: Claude Code keeps it in a file beside the transcript.

use std::ops::ControlFlow;

use layer1_prebackup::names::{FileName, StoredName};

use crate::stores::SessionCopies;
use crate::transcript::TITLE_FILE;
use crate::transcript::record::{TornLine, read_records};

/// The name in that file. None where there is no such file, or it cannot be read: the transcript may hold one too.
pub(super) fn side_title(copies: &SessionCopies) -> Option<String> {
    let name = StoredName::newest(FileName::Side(TITLE_FILE.into()));
    let mut content = copies.names().contains(&name).then(|| copies.get(&name).ok())??;
    let mut title = None;
    let read = read_records(content.read().ok()?, 0, TornLine::Final, &mut |located| {
        title = located.record.title.map(|title| title.into_owned());
        ControlFlow::Continue(())
    });
    read.ok().and(title).filter(|title| !title.trim().is_empty())
}
