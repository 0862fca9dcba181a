//! Where the sessions of the stores belong, as their metadata says. Writes nothing.

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::claude::transcripts::first_cwd_in;
use layer1_prebackup::names::{FileName, StoredName};

use crate::index::Whereabouts;
use crate::save::read_metadata;
use crate::stores::Stores;

/// Where these sessions belong. Of one without metadata, the first directory that its transcript names.
pub(crate) fn whereabouts(stores: &Stores, keys: &[SessionKey]) -> Vec<Whereabouts> {
    keys.iter().map(|key| of_session(stores, key)).collect()
}

fn of_session(stores: &Stores, key: &SessionKey) -> Whereabouts {
    let metadata = stores.layer3.as_ref().and_then(|archive| read_metadata(archive, key)).unwrap_or_default();
    let own = metadata.directory.or_else(|| first_directory(stores, key));
    let mut directories: Vec<String> = own.into_iter().chain(metadata.cwd).collect();
    directories.dedup();
    Whereabouts { row: 0, project: key.project.to_string(), session_id: key.id.to_string(), directories }
}

/// Of a transcript that cannot be read nothing is known: its folder's name decides.
fn first_directory(stores: &Stores, key: &SessionKey) -> Option<String> {
    let transcript = StoredName::newest(FileName::Transcript);
    let first = |archive: &Archive| {
        let slot = archive.slot(key, &transcript);
        first_cwd_in(slot.open().ok()?, &slot.place()).ok()?
    };
    [&stores.layer3, &stores.layer1].into_iter().flatten().find_map(first)
}
