//! The machines of a place: each has left a card, and each writes to a repository of its own. They are only read here,
//! without a lock.

use std::io::Write;

use layer1_prebackup::fs::Lock;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{ago, numbered};
use layer1_prebackup::wire::shown::shown;
use serde_json::json;

use super::engine::Engine;
use super::place::{MACHINES, Place, machine_name};
use super::seal::rfc3339;
use super::site::{MET_BY_LOOKING, SetUp, Site};
use super::snapshots::{Snapshot, snapshots};
use super::trouble::said;
use crate::error::{Error, failed};

/// A machine of the place.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    /// Its newest snapshot and how many there are, or why that is not known.
    pub(crate) newest: Result<Option<(Snapshot, usize)>, String>,
    is_this: bool,
}

/// The newest card of each machine, by name.
pub(crate) fn cards(engine: &Engine<'_>, place: &Place) -> Result<Vec<Snapshot>, Error> {
    let mut cards: Vec<Snapshot> = Vec::new();
    for card in snapshots(engine, &place.repository(MACHINES))? {
        cards.retain(|known| known.hostname != card.hostname);
        // Anybody with the key can write a card.
        if machine_name(&card.hostname).is_ok() {
            cards.push(card);
        }
    }
    cards.sort_by(|one, other| one.hostname.cmp(&other.hostname));
    Ok(cards)
}

/// The name of the repository that a card tells of.
pub(crate) fn repository_name(card: &Snapshot) -> String {
    numbered(&card.hostname, card.generation())
}

/// All machines of the place, by name.
pub(crate) fn machines(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock) -> Result<Vec<Machine>, Error> {
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let machine = |card: Snapshot| {
            let repository = set_up.place.repository(&repository_name(&card));
            let all = snapshots(&engine, &repository).map_err(|error| said(&error));
            let newest = all.map(|all| all.last().cloned().map(|newest| (newest, all.len())));
            let is_this = card.hostname == set_up.state.name;
            Machine { name: set_up.label(&card.hostname), newest, is_this }
        };
        Ok(cards(&engine, &set_up.place)?.into_iter().map(machine).collect())
    })
}

/// Prints them.
pub(crate) fn print(machines: &[Machine], as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    let mut text = String::new();
    for Machine { name, newest, is_this } in machines {
        let line = match (newest, as_json) {
            (Ok(Some((newest, count))), true) => {
                let at = rfc3339(newest.at_ms());
                json!({ "name": name, "this": is_this, "last": at, "snapshots": count, "store": newest.store() })
                    .to_string()
            }
            (Ok(None), true) => json!({ "name": name, "this": is_this, "last": null, "snapshots": 0 }).to_string(),
            (Err(why), true) => json!({ "name": name, "this": is_this, "error": why }).to_string(),
            (Ok(Some((newest, count))), false) => {
                let age = ago(now_ms().saturating_sub(newest.at_ms()));
                let plural = if *count == 1 { "" } else { "s" };
                let this = if *is_this { " (this computer)" } else { "" };
                format!("{name}{this}: last push {age}, {count} snapshot{plural}")
            }
            (Ok(None), false) => format!("{name}: nothing sent yet"),
            (Err(why), false) => format!("{name}: cannot be read: {why}"),
        };
        text.push_str(&shown(&line));
        text.push('\n');
    }
    out.write_all(text.as_bytes()).map_err(failed("write to stdout"))
}
