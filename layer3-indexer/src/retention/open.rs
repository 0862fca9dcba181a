//! What both verbs begin with: the stores, and the age from which on something is old.

use layer1_prebackup::archive::{Archive, ArchiveError};
use layer1_prebackup::config::places::Places;

use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::stores::{Stores, second_as_found};
use crate::terminal::time::{now_ms, parse_when_ms};

/// Both stores, as they are found if nothing is to be written. One that is there and cannot be opened
/// is an error.
pub(super) fn open(places: &Places, dry_run: bool) -> Result<Stores, Failure> {
    if let Some(why) = places.away(&places.layer1_store) {
        return Err(ArchiveError::Away(why).into());
    }
    let (layer1, layer3) = match dry_run {
        true => (Archive::open_as_found(&places.layer1_store)?, second_as_found(places)?),
        false => (Archive::open_or_adopt(&places.layer1_store)?, adopt_v1::open(places)?),
    };
    let stores = Stores { layer1, layer3, notes: Vec::new() };
    match stores.is_empty() {
        true => Err(Failure::no_store(&places.layer3_store)),
        false => Ok(stores),
    }
}

/// The first moment that is not older than what was typed, in milliseconds since 1970.
pub(super) fn before_ms(typed: &str, example: &str) -> Result<i64, Failure> {
    let why = format!("it must be an age such as {example}, or a date such as 2026-01-31");
    let parsed = parse_when_ms(typed, now_ms()).map(|(first, _)| first);
    parsed.ok_or_else(|| Failure::argument("--older-than", typed, &why))
}
