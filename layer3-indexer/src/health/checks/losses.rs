//! Conversations whose newest content lost what an older one has: they come first, and stay until somebody decides.

use std::rc::Rc;

use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind};
use crate::restore::standing;
use crate::stores::{SessionCopies, Stores};
use crate::terminal::shell_quoted;
use crate::transcript::lost::How;

/// What each saved conversation lost. Where it was compared already, nothing is read but its record.
pub(super) fn of_sessions(examination: &mut Examination<'_>) {
    let context = examination.context;
    // Stores that cannot be read were reported.
    let Ok(stores) = Stores::open(&context.places).map(Rc::new) else { return };
    let layer3 = &context.commands.layer3;
    for key in stores.sessions().unwrap_or_default() {
        let Ok(copies) = SessionCopies::of(&stores, &key) else { continue };
        let Some(loss) = copies.loss() else { continue };
        let kind = match loss.how {
            How::Split => Kind::Split,
            How::Rewritten => Kind::Rewritten,
            How::Shrunk | How::Compacted => Kind::Shrunk,
        };
        let name = shell_quoted(&copies.name());
        let place = standing(&context.places, &key.id).ok().flatten();
        let force = if place.is_some() { " --force" } else { "" };
        let place = place.or_else(|| copies.sources().next().map(ToOwned::to_owned)).unwrap_or_default();
        let what = format!("{}; or, if that is all right, `{layer3} status --acknowledge {name}`", loss.to_text());
        let finding =
            Finding::new(context, kind, what, &place).mend(format!("{layer3} restore {name} {}{force}", loss.flag()));
        examination.findings.push(finding.of(&key.id, Some(key.project.as_str())));
    }
}
