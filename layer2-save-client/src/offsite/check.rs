//! `offsite check`: `restic check` of the structure and of a part of the data, another part each day.

use layer1_prebackup::fs::Lock;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{Check, Kind};
use serde::Deserialize;

use super::engine::Engine;
use super::setup::keep_keys;
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use super::trouble::Trouble;
use crate::error::Error;

/// So many parts make the whole.
const PARTS: u32 = 28;

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The part that is next.
    NextPart,
    /// Everything.
    All,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Ids of the packs that are not what they should be.
    pub(crate) broken_packs: Vec<String>,
    /// In a sentence; empty where all is well.
    pub(crate) said: String,
}

/// Checks, under the lock. An error where something is wrong.
pub(crate) fn check(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, extent: Extent) -> Result<Checked, Error> {
    let checked = site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repository = set_up.repository();
        our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
        // Another machine may have changed the key.
        keep_keys(site, &engine, set_up)?;
        let part = match extent {
            Extent::NextPart => next_part(set_up.state.check.as_ref()),
            Extent::All => PARTS,
        };
        let checked = read_data(&engine, &repository, (extent == Extent::NextPart).then_some(part))?;
        let ok = checked.said.is_empty();
        set_up.state.check = Some(Check { at_ms: now_ms(), part, parts: PARTS, ok });
        Ok(checked)
    })?;
    match checked.said.as_str() {
        "" => {
            // A part that is well says nothing of another.
            if extent == Extent::All {
                set_up.state.is_well(&[Kind::CheckFailed]);
                set_up.state.write(site.store())?;
            }
            site.report.line_with_time("[offsite] check: no errors");
            Ok(checked)
        }
        said => {
            site.report.line_with_time(&format!("[offsite] ❌ check: {said}"));
            let trouble = Trouble::new(Kind::CheckFailed, said);
            site.noting(set_up, &[], |_| Err(trouble.into()))
        }
    }
}

fn next_part(last: Option<&Check>) -> u32 {
    last.map_or(1, |last| last.part % PARTS + 1)
}

/// Has `restic` check, after the locks of killed ones of ours were removed: it wants the repository for itself.
pub(crate) fn read_data(engine: &Engine<'_>, repository: &str, part: Option<u32>) -> Result<Checked, Error> {
    #[derive(Deserialize)]
    struct Summary {
        num_errors: u64,
        #[serde(default)]
        broken_packs: Option<Vec<String>>,
    }
    engine.unlock(repository)?;
    let extent = part.map_or("--read-data".to_owned(), |part| format!("--read-data-subset={part}/{PARTS}"));
    let mut checked = Checked::default();
    let mut errors = None;
    let done = engine.lines(repository, &["check", "--json", &extent], &mut |line| {
        match serde_json::from_slice::<Summary>(line) {
            Ok(summary) => {
                errors = Some(summary.num_errors);
                checked.broken_packs.extend(summary.broken_packs.unwrap_or_default());
            }
            // The version before 0.18 says it in words.
            Err(_) => checked.broken_packs.extend(packs_in(&String::from_utf8_lossy(line))),
        }
        Ok(())
    });
    match done {
        Ok(_) if errors.unwrap_or(0) == 0 && checked.broken_packs.is_empty() => {}
        Ok(_) => checked.said = format!("{} errors", errors.unwrap_or(checked.broken_packs.len() as u64)),
        Err(error) => match error.downcast::<Trouble>() {
            Ok(trouble) if trouble.is_of_content => checked.said = trouble.what,
            Ok(trouble) => return Err(trouble),
            Err(error) => return Err(error),
        },
    }
    Ok(checked)
}

/// The packs in the command that `restic` advises.
fn packs_in(line: &str) -> Vec<String> {
    let Some((_, ids)) = line.split_once("restic repair packs ") else { return Vec::new() };
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    ids.split_whitespace().filter(is_id).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_four_weeks_each_part_is_read() {
        let mut parts = Vec::new();
        let mut last = None;
        for _ in 0..PARTS {
            let part = next_part(last.as_ref());
            parts.push(part);
            last = Some(Check { at_ms: 0, part, parts: PARTS, ok: true });
        }
        assert_eq!(parts, (1..=PARTS).collect::<Vec<_>>());
        assert_eq!(next_part(last.as_ref()), 1);
    }

    #[test]
    fn the_packs_of_the_advised_command_are_found() {
        let id = "5f".repeat(32);
        assert_eq!(packs_in(&format!("  restic repair packs {id} {id}")), [id.clone(), id]);
        assert!(packs_in("restic repair packs x").is_empty() && packs_in("").is_empty());
    }
}
