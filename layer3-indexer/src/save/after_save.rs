//! What follows a copy that is stored: its rows in the index, its metadata, what it lost of older versions.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::places::Places;

use crate::failure::{Failure, chain};
use crate::index::{Index, IndexError, owed};
use crate::save::log::LogSink;
use crate::save::metadata_file::write_metadata;
use crate::save::rebuild::{make_whole, not_indexed};
use crate::save::steps::Steps;
use crate::stores::{SessionCopies, Stores};

/// Indexes the session and writes its metadata; gives the number of its messages. The copy is stored
/// already, so whatever fails here is a warning, made good by the next save or by `rebuild`. So is a
/// panic: no record, however odd, makes a stored session unacknowledged.
pub(super) fn index_or_warn(
    places: &Places,
    journal: &LogSink,
    archive: &Archive,
    key: &SessionKey,
    trigger: &str,
    steps: &Steps<'_>,
    warnings: &mut Vec<String>,
) -> u64 {
    let run = AssertUnwindSafe(|| index(places, journal, archive, key, trigger, steps, warnings));
    let why = match panic::catch_unwind(run) {
        Ok(Ok(messages)) => return messages,
        Ok(Err(error)) => chain(&error),
        Err(_) => "the indexer failed on this transcript".to_owned(),
    };
    warnings.push(format!("stored but not indexed: {why}"));
    0
}

/// Records what the newest content lost, so that whoever looks need not compare; what fails is a warning, as above.
pub(super) fn record_loss_or_warn(places: &Places, key: &SessionKey, steps: &Steps<'_>, warnings: &mut Vec<String>) {
    let record = |progress: &dyn Fn(u64)| -> Result<(), Failure> {
        SessionCopies::of(&Rc::new(Stores::open(places)?), key)?.record_loss(progress)
    };
    let why = match panic::catch_unwind(AssertUnwindSafe(|| steps.run(record))) {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => "comparing the versions of this transcript failed".to_owned(),
    };
    warnings.push(format!("what it lost could not be recorded: {why}"));
}

fn index(
    places: &Places,
    journal: &LogSink,
    archive: &Archive,
    key: &SessionKey,
    trigger: &str,
    steps: &Steps<'_>,
    warnings: &mut Vec<String>,
) -> Result<u64, IndexError> {
    let opened = Index::open(&places.index);
    let is_behind = opened.as_ref().map_or(Ok(true), |index| index.is_behind(archive, key)).unwrap_or(true);
    // First of all: whatever happens from here on, it is known that this session is to be indexed.
    let noted = is_behind.then(|| owed::add(archive.root(), key)).transpose().unwrap_or_else(|error| {
        warnings.push(format!("stored; that it is to be indexed could not be noted: {}", chain(&error)));
        None
    });
    let mut index = match opened {
        Ok(index) => index,
        Err(error) => {
            owed::sync(archive.root())?;
            return Err(error);
        }
    };
    if let Some(aside) = index.set_aside() {
        // Said, but no failure: what was lost with it is made again below.
        let aside = aside.display();
        journal.line(&format!("[session-save] note: the index could not be used and was set aside as {aside}"));
    }
    let messages = match steps.run(|progress| index.update_session(archive, key, trigger, noted.as_ref(), progress)) {
        Ok(messages) => {
            if let Err(error) = write_metadata(&index, archive, key) {
                warnings.push(format!("stored but its metadata could not be written: {}", chain(&error)));
            }
            messages
        }
        Err(error) => {
            warnings.push(format!("stored but not indexed: {}", chain(&error)));
            owed::sync(archive.root())?;
            0
        }
    };
    // One that is fresh, or was interrupted, lacks other sessions of the store.
    match steps.run(|progress| make_whole(&mut index, archive, &|done, _| progress(done as u64))) {
        Ok(failed) => warnings.extend(failed.iter().map(not_indexed)),
        Err(error) => warnings.push(format!("other sessions could not be indexed: {}", chain(&error))),
    }
    Ok(messages)
}
