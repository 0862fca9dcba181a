//! What conversations are called: an id says nothing to a person.

use std::cell::OnceCell;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use layer1_prebackup::archive::Archive;
use layer1_prebackup::claude::transcripts::open_regular;
use layer1_prebackup::names::SessionId;

use super::context::Context;
use super::finding::Finding;
use crate::transcript::metadata::{Metadata, Order, SessionStats, metadata_text, shortened};
use crate::transcript::record::{TornLine, read_records};

/// Of a transcript that is not saved so much is read for its title, in bytes.
const READ_BYTES_MAX: u64 = 256 * 1024;
/// Longest title in a report, in characters.
const TITLE_CHARS_MAX: usize = 60;

/// Looks titles up; the store is opened at the first.
pub(super) struct Titles<'a> {
    context: &'a Context,
    stored: OnceCell<Option<Archive>>,
}

impl<'a> Titles<'a> {
    pub(super) fn new(context: &'a Context) -> Titles<'a> {
        Titles { context, stored: OnceCell::new() }
    }

    /// The title of the conversation that a finding is about, else how it begins. Nothing where neither is known: what
    /// keeps it from being read was found, or is no concern of a title.
    pub(super) fn of(&self, finding: &Finding) -> Option<String> {
        let id = finding.session_id.as_deref()?;
        let title = self.stored(id).or_else(|| of_transcript(&finding.place))?;
        Some(shortened(&title, TITLE_CHARS_MAX))
    }

    fn stored(&self, id: &str) -> Option<String> {
        let open = || Archive::open_as_found(&self.context.places.layer3_store).ok().flatten();
        let archive = self.stored.get_or_init(open).as_ref()?;
        let key = archive.find(&SessionId::parse(id).ok()?).ok()?.into_iter().min()?;
        let metadata: Metadata = serde_json::from_slice(&metadata_text(archive, &key)?).ok()?;
        metadata.title.or(metadata.first_topic)
    }
}

/// The title of a transcript by its beginning.
fn of_transcript(path: &Path) -> Option<String> {
    let file = open_regular(path).ok().flatten()?.take(READ_BYTES_MAX);
    let (mut stats, mut order) = (SessionStats::default(), Order::default());
    let read = read_records(file, 0, TornLine::Wait, &mut |located| {
        let time_ms = order.next_ms(&located.record);
        stats.add(&located.record, time_ms);
        ControlFlow::Continue(())
    });
    read.ok()?;
    let metadata = stats.to_metadata();
    metadata.title.or(metadata.first_topic)
}
