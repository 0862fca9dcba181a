//! The third place, from what layer 2 wrote down: nothing is started and nobody is asked.

use std::path::Path;

use layer1_prebackup::names::{LAYER2, typed};
use layer1_prebackup::wire::offsite::{self, State, folders};

use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind, Subject};

/// How each place is, and what is wrong with it.
pub(super) fn state(examination: &mut Examination<'_>) {
    for folder in folders(&examination.context.places.layer1_store) {
        state_of(examination, &folder);
    }
}

fn state_of(examination: &mut Examination<'_>, folder: &Path) {
    let context = examination.context;
    let store = &context.places.layer1_store;
    let state = match State::read_in(store, folder) {
        Ok(None) => return,
        Ok(Some(state)) => state,
        Err(_) if examination.is_foreign(&store.join(folder)) => return,
        Err(error) => {
            let what = format!("what is known of the third place cannot be read: {error}");
            return examination.found(Kind::OffsiteState, what, &store.join(folder));
        }
    };
    let line = state.in_a_line(context.now_ms);
    for found in state.findings(context.now_ms) {
        let finding = Finding::new(context, kind_of(found.kind), found.what, Path::new(&state.place));
        examination.findings.push(finding.mend(found.fix).needing_person(found.needs_person));
    }
    examination.summarise(Subject::Offsite, line.clone());
    examination.figures.offsite.push(line);
}

/// Where none is set up and one disk has both copies, what a third one would be for.
pub(super) fn none_on_one_disk(examination: &mut Examination<'_>) {
    let store = &examination.context.places.layer1_store;
    if folders(store).iter().any(|folder| !matches!(State::read_in(store, folder), Ok(None))) {
        return;
    }
    examination.leave_unchecked(Subject::Offsite, "not set up (optional)".to_owned());
    if examination.figures.one_disk {
        let what = "both copies are on this disk: if it breaks or is stolen, they are lost together";
        let store = examination.context.places.layer1_store.clone();
        let finding = Finding::new(examination.context, Kind::OffsiteOff, what, &store);
        examination.findings.push(finding.mend(typed(LAYER2, "offsite init PLACE --name NAME")));
    }
}

fn kind_of(kind: offsite::Kind) -> Kind {
    match kind {
        offsite::Kind::EngineMissing => Kind::EngineMissing,
        offsite::Kind::EngineOld => Kind::EngineOld,
        offsite::Kind::OffsiteUnreachable => Kind::OffsiteUnreachable,
        offsite::Kind::NotMounted => Kind::NotMounted,
        offsite::Kind::WrongKey => Kind::WrongKey,
        offsite::Kind::KeyMissing => Kind::KeyMissing,
        offsite::Kind::AnotherRepository => Kind::AnotherRepository,
        offsite::Kind::AnotherWriter => Kind::AnotherWriter,
        offsite::Kind::OffsiteOneDisk => Kind::OffsiteOneDisk,
        offsite::Kind::OffsiteFull => Kind::OffsiteFull,
        offsite::Kind::Locked => Kind::Locked,
        offsite::Kind::NotCovered => Kind::NotCovered,
        offsite::Kind::OffsiteFailed => Kind::OffsiteFailed,
        offsite::Kind::DrillFailed => Kind::DrillFailed,
        offsite::Kind::CheckFailed => Kind::CheckFailed,
        offsite::Kind::SnapshotsBroken => Kind::SnapshotsBroken,
        offsite::Kind::DrillOld => Kind::DrillOld,
        offsite::Kind::OffsiteBehind => Kind::OffsiteBehind,
        offsite::Kind::KeyUnconfirmed => Kind::KeyUnconfirmed,
        offsite::Kind::ManySnapshots => Kind::ManySnapshots,
        offsite::Kind::RepositoryReplaced => Kind::RepositoryReplaced,
        offsite::Kind::RotationBegun => Kind::RotationBegun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words stand in `status --help` once, and in layer 2's answers too.
    #[test]
    fn both_layers_say_the_same_words() {
        let all = [
            offsite::Kind::EngineMissing,
            offsite::Kind::EngineOld,
            offsite::Kind::OffsiteUnreachable,
            offsite::Kind::NotMounted,
            offsite::Kind::WrongKey,
            offsite::Kind::KeyMissing,
            offsite::Kind::AnotherRepository,
            offsite::Kind::AnotherWriter,
            offsite::Kind::OffsiteFull,
            offsite::Kind::Locked,
            offsite::Kind::NotCovered,
            offsite::Kind::OffsiteFailed,
            offsite::Kind::DrillFailed,
            offsite::Kind::CheckFailed,
            offsite::Kind::SnapshotsBroken,
            offsite::Kind::DrillOld,
            offsite::Kind::OffsiteBehind,
            offsite::Kind::KeyUnconfirmed,
            offsite::Kind::ManySnapshots,
            offsite::Kind::OffsiteOneDisk,
            offsite::Kind::RepositoryReplaced,
            offsite::Kind::RotationBegun,
        ];
        for kind in all {
            assert_eq!(kind.word(), kind_of(kind).word());
        }
    }
}
