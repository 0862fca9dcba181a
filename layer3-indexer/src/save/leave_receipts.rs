//! What a save of many sessions leaves for layer 2: a receipt of each, so that its `drain` does not send them again.

use std::ffi::OsStr;
use std::path::Path;

use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{Dir, Lock};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::outbox_job::JobName;
use layer1_prebackup::wire::outbox_receipt::{FileEntry, RECEIPT_BYTES_MAX, RECEIPT_FORMAT, RECEIPTS, Receipt as Kept};

use crate::failure::{Context, Failure};
use crate::save::receipt::Receipt;

/// Keeps the receipts where layer 2 looks for them. Without layer 1's store, or while somebody delivers, none is: then
/// a session is delivered once more, which is always safe.
pub(super) fn leave(places: &Places, receipts: &[Receipt]) -> Result<(), Failure> {
    let Some(layer1) = Archive::open(&places.layer1_store)?.filter(|_| !receipts.is_empty()) else { return Ok(()) };
    let outbox = places.outbox();
    let outbox = Dir::create_own(&outbox)?;
    let Some(lock) = Lock::try_in(&outbox, OsStr::new("deliver.lock"))? else { return Ok(()) };
    let folder = outbox.create_own_beneath(Path::new(RECEIPTS))?;
    // What an earlier run left unsynced is not made safe here, so its mark is not set either.
    let was_clean = lock.is_clean()?;
    lock.mark_unknown()?;
    for receipt in receipts.iter().filter(|receipt| receipt.files.iter().all(|file| file.covered)) {
        let id = SessionId::parse(&receipt.session_id)?;
        // By what layer 1 calls the session; of two, nobody knows here which is meant.
        let project = match layer1.find(&id)?.as_slice() {
            [] => receipt.project.clone(),
            [only] => only.project.to_string(),
            _ => continue,
        };
        let name = JobName::of(&id, Some(&project), "");
        if let Ok(Some(text)) = folder.read_own_file(OsStr::new(&name.file()), RECEIPT_BYTES_MAX)
            && serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|kept| is_newer(&kept))
        {
            continue;
        }
        let mut text = serde_json::to_vec(&kept(receipt)).context("encode a receipt as JSON")?;
        text.push(b'\n');
        folder.replace_file_unsynced(OsStr::new(&name.file()), &text)?;
    }
    folder.sync()?;
    if was_clean {
        lock.mark_clean()?;
    }
    Ok(())
}

fn is_newer(kept: &serde_json::Value) -> bool {
    kept["format"].as_u64().is_some_and(|format| format > u64::from(RECEIPT_FORMAT))
}

fn kept(receipt: &Receipt) -> Kept {
    let entry = |file: &crate::save::receipt::ReceiptFile| FileEntry {
        path: file.path.clone(),
        generation: file.generation,
        bytes: file.bytes,
        blake3: file.blake3.clone(),
    };
    Kept {
        format: RECEIPT_FORMAT,
        session_id: receipt.session_id.clone(),
        project: Some(receipt.project.clone()),
        store_id: receipt.store_id.clone(),
        server: "layer3-indexer import".to_owned(),
        received_ms: now_ms(),
        unreceipted: false,
        files: receipt.files.iter().map(entry).collect(),
    }
}
