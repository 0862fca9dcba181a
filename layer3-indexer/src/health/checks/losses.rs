//! Conversations whose newest content lost what an older one has: they come first, and stay until somebody decides.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::claude::side_files::{is_tool_result, place_of};
use layer1_prebackup::claude::survey::FoundTranscript;
use layer1_prebackup::names::{FileName, SessionId};

use crate::health::examination::{Examination, FoundSession};
use crate::health::finding::{Finding, Kind};
use crate::restore::standing;
use crate::stores::loss::Loss;
use crate::stores::{Pair, SessionCopies, Stores};
use crate::terminal::{count, shell_quoted};
use crate::transcript::lost::How;

/// What each saved conversation lost. Where it was compared already, nothing is read but its record.
pub(super) fn of_sessions(examination: &mut Examination<'_>) {
    let context = examination.context;
    // Stores that cannot be read were reported.
    let Ok(stores) = Stores::open(&context.places).map(Rc::new) else { return };
    for key in &may_have_lost(examination) {
        let Ok(copies) = SessionCopies::of(&stores, key) else { continue };
        if let Some(loss) = copies.loss() {
            let what = loss.to_text();
            let place = standing(&context.places, &key.id).ok().flatten();
            let force = if place.is_some() { " --force" } else { "" };
            let place = place.or_else(|| copies.sources().next().map(ToOwned::to_owned)).unwrap_or_default();
            let flags = format!("{}{force}", loss.flag());
            found(examination, &copies, &loss, what, &place, &flags);
        }
        for (rel, loss) in copies.side_losses() {
            let whose = if is_tool_result(&rel) { "a tool's result" } else { "its subagent's file" };
            let what = format!("of {whose} {}: {}", rel.display(), loss.to_text());
            let source = copies.sources().next().unwrap_or(Path::new(""));
            let (folder, below) = place_of(source, &key.id, &FileName::Side(rel));
            found(examination, &copies, &loss, what, &folder.join(below), "--longest --force");
        }
        if let files @ 1.. = copies.subagents_gone().len() as u64 {
            let layer3 = &context.commands.layer3;
            let gone = if files == 1 { "was deleted; it is backed up" } else { "were deleted; they are backed up" };
            let name = shell_quoted(&copies.name());
            let what = format!(
                "{} of its subagents {gone}; if that is all right, `{layer3} status --acknowledge {name}`",
                count(files, "file")
            );
            let source = copies.sources().next().unwrap_or(Path::new(""));
            let finding = Finding::new(context, Kind::Vanished, what, source).mend(format!("{layer3} restore {name}"));
            examination.findings.push(finding.of(&key.id, Some(key.project.as_str())));
        }
    }
}

/// The conversations of which, or of whose tools' results, an older content is stored, or a subagent's file that may be gone, as layer 3 knows them,
/// else as layer 1 does.
fn may_have_lost(examination: &Examination<'_>) -> Vec<SessionKey> {
    let (first, second) = (&examination.first, &examination.second);
    let stored = first.sessions.iter().chain(&second.sessions);
    let ids: HashSet<&SessionId> =
        stored.filter(|stored| stored.has_older || stored.has_subagents).map(|stored| &stored.key.id).collect();
    let mut pairs = Pair::of(first.keys_of(&ids), second.keys_of(&ids));
    let sources = examination.found.0.iter().filter(|found| ids.contains(&found.id));
    let found: HashMap<&SessionId, &FoundTranscript> = sources.map(|found| (&found.id, found)).collect();
    pairs.retain(|pair| {
        let stored =
            [pair.layer1.as_ref().map(|key| first.session(key)), pair.layer3.as_ref().map(|key| second.session(key))];
        let all: Option<Vec<&FoundSession>> = stored.into_iter().flatten().collect();
        let Some(all) = all else { return true };
        let is_there = || {
            let source = found.get(&pair.key().id);
            let is_saved = source.is_some_and(|found| examination.saved(found).is_some());
            !is_saved && all.iter().any(|stored| stored.source.as_ref().is_some_and(|source| source.exists()))
        };
        all.iter().any(|stored| stored.has_older) || (all.iter().any(|stored| stored.has_subagents) && is_there())
    });
    let mut keys: Vec<SessionKey> = pairs.into_iter().map(|pair| pair.key().clone()).collect();
    keys.sort();
    keys
}

fn found(
    examination: &mut Examination<'_>,
    copies: &SessionCopies,
    loss: &Loss,
    what: String,
    place: &Path,
    flags: &str,
) {
    let context = examination.context;
    let layer3 = &context.commands.layer3;
    let kind = match loss.how {
        How::Split => Kind::Split,
        How::Rewritten => Kind::Rewritten,
        How::Shrunk | How::Compacted => Kind::Shrunk,
    };
    let name = shell_quoted(&copies.name());
    let what = format!("{what}; or, if that is all right, `{layer3} status --acknowledge {name}`");
    let finding = Finding::new(context, kind, what, place).mend(format!("{layer3} restore {name} {flags}"));
    examination.findings.push(finding.of(&copies.key.id, Some(copies.key.project.as_str())));
}
