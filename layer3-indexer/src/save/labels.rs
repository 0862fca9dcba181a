//! Naming conversations: what the user says of one is written to both stores, and each store takes over what the other
//! one has. What one of them cannot be told now it is told by the next `drain`.

use std::collections::BTreeSet;

use layer1_prebackup::archive::{Archive, ArchiveError, LabelChange, Labels, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::names::{LAYER2, SessionId, typed};
use serde::Serialize;

use crate::failure::{Failure, chain};
use crate::save::LogSink;
use crate::save::adopt_v1;
use crate::save::after_save::index_or_warn;
use crate::save::metadata_file::read_metadata;
use crate::save::steps::Steps;
use crate::stores::Stores;
use crate::stores::called::labels_of;

/// Longest name, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 100;
/// Longest tag, in characters.
pub(crate) const TAG_CHARS_MAX: usize = 40;
/// Most tags of a conversation.
pub(crate) const TAGS_MAX: usize = 50;
/// Longest note, in characters.
pub(crate) const NOTE_CHARS_MAX: usize = 2000;

/// What a conversation is called now.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Labelled {
    /// The conversation.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// The user's name for it.
    pub(crate) name: Option<String>,
    /// Its tags, in order.
    pub(crate) tags: Vec<String>,
    /// Whether it is pinned.
    pub(crate) pinned: bool,
    /// The user's note about it.
    pub(crate) note: Option<String>,
    /// What to know about it; mostly empty.
    pub(crate) notes: Vec<String>,
}

/// A name as it is kept; an error where it cannot be one.
pub(crate) fn checked_name(text: &str) -> Result<String, Failure> {
    checked("name", text, NAME_CHARS_MAX, |c| c.is_control())
}

/// A tag as it is kept; an error where it cannot be one.
pub(crate) fn checked_tag(text: &str) -> Result<String, Failure> {
    let text = text.trim().trim_start_matches('#');
    if text.contains([' ', ',']) {
        return Err(Failure::argument("tag", text, "a tag has no blank and no comma in it"));
    }
    checked("tag", text, TAG_CHARS_MAX, |c| c.is_control())
}

/// A note as it is kept; an error where it cannot be one.
pub(crate) fn checked_note(text: &str) -> Result<String, Failure> {
    checked("note", text, NOTE_CHARS_MAX, |c| c.is_control() && c != '\n' && c != '\t')
}

fn checked(
    what: &'static str,
    text: &str,
    chars_max: usize,
    is_refused: impl Fn(char) -> bool,
) -> Result<String, Failure> {
    let text = text.trim();
    let chars = text.chars().count();
    let why = match () {
        () if text.is_empty() => format!("a {what} needs at least one character; --remove takes it away"),
        () if chars > chars_max => format!("it has {chars} characters, a {what} has at most {chars_max}"),
        () if text.contains(is_refused) => format!("a {what} has no control characters in it, such as a line break"),
        () => return Ok(text.to_owned()),
    };
    let shown: String = text.chars().take(chars_max).collect();
    Err(Failure::argument(what, &shown, &why))
}

/// Writes what the user says of a conversation to both stores and to the index. One store that cannot be written is a note.
pub(crate) fn label(
    places: &Places,
    journal: &LogSink,
    key: &SessionKey,
    changes: &[LabelChange],
) -> Result<Labelled, Failure> {
    let stores = adopt_v1::stores(places)?;
    let mut labels = labels_of(&stores, &key.id);
    let now_ms = now_ms();
    changes.iter().for_each(|change| labels.change(change.clone(), now_ms));
    if labels.tags().count() > TAGS_MAX {
        let why = format!("a conversation has at most {TAGS_MAX} tags");
        return Err(Failure::argument("tag", &labels.tags().count().to_string(), &why));
    }
    let mut notes = Vec::new();
    let mut failed = None;
    let second = || match places.away(&places.layer3_store) {
        Some(why) => Err(ArchiveError::Away(why)),
        None => Archive::open(&places.layer3_store),
    };
    let mut written = 0;
    for (copy, opened) in [("second", second()), ("first", Archive::open(&places.layer1_store))] {
        let told = opened.and_then(|archive| match archive {
            Some(archive) => archive.merge_labels(&key.id, &labels).map(|_| true),
            None => Ok(false),
        });
        match told {
            Ok(true) => written += 1,
            Ok(false) => notes.push(format!("there is no {copy} copy yet; `{}` makes it", typed(LAYER2, "drain"))),
            Err(error) => {
                let drain = typed(LAYER2, "drain");
                notes.push(format!("the {copy} copy could not be told: {}; `{drain}` does it later", chain(&error)));
                failed = Some(error);
            }
        }
    }
    if written == 0 {
        return Err(failed.map_or_else(|| Failure::no_store(&places.layer3_store), Failure::from));
    }
    notes.extend(index(places, journal, &stores, key));
    Ok(Labelled {
        session_id: key.id.to_string(),
        project: key.project.to_string(),
        name: labels.name().map(str::to_owned),
        tags: labels.tags().map(str::to_owned).collect(),
        pinned: labels.is_pinned(),
        note: labels.note().map(str::to_owned),
        notes,
    })
}

/// What could not be written to the index and the metadata.
fn index(places: &Places, journal: &LogSink, stores: &Stores, key: &SessionKey) -> Vec<String> {
    let mut notes = Vec::new();
    // One that is only looked at, or away, is indexed when it is written.
    if let Some(archive) = stores.indexed()
        && archive.files(key).is_ok_and(|files| !files.is_empty())
    {
        let trigger = read_metadata(archive, key).map(|metadata| metadata.trigger).unwrap_or_default();
        index_or_warn(places, journal, archive, key, &trigger, &Steps::new(&|_| {}), &mut notes);
    }
    notes
}

/// Has each store take over what the other one has; whose labels could not be, and why.
pub(crate) fn exchange(one: &Archive, other: &Archive) -> Vec<(SessionId, ArchiveError)> {
    let mut failed = Vec::new();
    let ids = |archive: &Archive| archive.all_labels().unwrap_or_default().into_iter().map(|(id, _)| id);
    let ids: BTreeSet<SessionId> = ids(one).chain(ids(other)).collect();
    for id in ids {
        let of: Vec<Labels> =
            [one, other].into_iter().filter_map(|archive| archive.labels(&id).ok().flatten()).collect();
        for archive in [one, other] {
            let taken = of.iter().try_for_each(|labels| archive.merge_labels(&id, labels).map(drop));
            failed.extend(taken.err().map(|error| (id.clone(), error)));
        }
    }
    failed
}

/// What of a conversation's labels one store has and the other has not, or cannot be read; `None` where all is well.
pub(crate) fn difference(one: &Archive, other: &Archive, id: &SessionId) -> Option<String> {
    let read = [("second", one.labels(id)), ("first", other.labels(id))];
    for (copy, labels) in &read {
        if let Err(error) = labels {
            return Some(format!("its name, tags and note cannot be read in the {copy} copy: {}", chain(error)));
        }
    }
    let [one, other] = read.map(|(_, labels)| labels.ok().flatten().unwrap_or_else(|| Labels::none(id)));
    let is_behind = one.clone().merge(&other) || other.clone().merge(&one);
    is_behind.then(|| "its name, tags and note are not the same in both copies".to_owned())
}

#[cfg(test)]
// A test plays the part of a damaged disk.
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::browse::list::{ListRequest, Listed, list};
    use crate::browse::search::{SearchRequest, search};
    use crate::save::{rebuild, verify};
    use crate::testing::{ID, Scene, prompt};

    const TITLE: &str = "{\"type\":\"ai-title\",\"aiTitle\":\"Client title\"}\n";

    fn scene() -> Scene {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello"), TITLE.to_owned()]);
        scene.layer1_copies();
        scene.receipt(None);
        scene
    }

    fn give(scene: &Scene, changes: &[LabelChange]) -> Labelled {
        let key = SessionKey::parse("proj", ID).unwrap();
        label(&scene.places, &LogSink::new(&scene.places, false), &key, changes).unwrap()
    }

    fn all_of_it() -> [LabelChange; 4] {
        let text = |text: &str| Some(text.to_owned());
        [
            LabelChange::Name(text("auth bug")),
            LabelChange::Tag("work".to_owned(), true),
            LabelChange::Pinned(true),
            LabelChange::Note(text("see the zebra")),
        ]
    }

    fn listed(scene: &Scene, tag: &[&str]) -> Listed {
        let tag = tag.iter().map(|tag| (*tag).to_owned()).collect();
        list(&scene.places, &ListRequest { all: Some(true), tag, ..ListRequest::default() }).unwrap()
    }

    fn found(scene: &Scene, query: &str) -> Option<Option<String>> {
        let request = SearchRequest { query: query.to_owned(), all: Some(true), ..SearchRequest::default() };
        search(&scene.places, &request).unwrap().hits.pop().map(|hit| hit.title)
    }

    #[test]
    fn what_a_conversation_is_called_is_found_listed_and_made_again_with_the_index() {
        let scene = scene();
        assert_eq!((found(&scene, "client"), found(&scene, "zebra")), (Some(Some("Client title".to_owned())), None));
        let given = give(&scene, &all_of_it());
        assert_eq!((given.name.as_deref(), given.notes.len()), (Some("auth bug"), 0), "{:?}", given.notes);
        for is_rebuilt in [false, true] {
            if is_rebuilt {
                rebuild::rebuild(&scene.places, &|_, _| {}).unwrap();
            }
            for query in ["auth", "bug", "work", "zebra", "client", "\"auth bug\"", "hello", "auth zebra"] {
                assert_eq!(found(&scene, query), Some(Some("auth bug".to_owned())), "{query} {is_rebuilt}");
            }
            let row = listed(&scene, &["WORK"]).sessions.remove(0).metadata;
            assert_eq!((row.title.as_deref(), row.pinned), (Some("auth bug"), true));
            assert_eq!((row.tags.join(" ").as_str(), row.note.as_deref()), ("work", Some("see the zebra")));
            assert!(listed(&scene, &["other"]).sessions.is_empty());
            let metadata = std::fs::read_to_string(scene.copy().with_extension("json")).unwrap();
            assert!(metadata.contains("\"name\": \"auth bug\"") && metadata.contains("\"pinned\": true"), "{metadata}");
        }
        // The client's stands again.
        give(&scene, &[LabelChange::Name(None), LabelChange::Tag("work".to_owned(), false), LabelChange::Note(None)]);
        assert_eq!((found(&scene, "hello"), found(&scene, "auth")), (Some(Some("Client title".to_owned())), None));
        assert!(listed(&scene, &["work"]).sessions.is_empty());
    }

    #[test]
    fn each_copy_comes_back_from_the_other_one() {
        let scene = scene();
        give(&scene, &all_of_it());
        let id = scene.id();
        let stores = [&scene.places.layer1_store, &scene.places.layer3_store];
        let paths = stores.map(|store| store.join(Archive::labels_path(&id)));
        let whole = std::fs::read(&paths[0]).unwrap();
        assert_eq!(std::fs::read(&paths[1]).unwrap(), whole);
        let journal = LogSink::new(&scene.places, false);
        let well = |is_well: bool| {
            let report = verify::verify(&scene.places, None).unwrap();
            assert_eq!(report.findings.is_empty(), is_well, "{:?}", report.findings);
        };
        well(true);
        for path in &paths {
            for damage in [None, Some(&whole[..20])] {
                match damage {
                    None => std::fs::remove_file(path).unwrap(),
                    Some(damage) => std::fs::write(path, damage).unwrap(),
                }
                // What one copy lacks the other one says.
                assert_eq!(listed(&scene, &["work"]).sessions.len(), 1);
                well(false);
                let report = verify::repair(&scene.places, &journal, None).unwrap();
                assert!(report.ok, "{report:?}");
                assert_eq!(std::fs::read(path).unwrap(), whole);
                well(true);
            }
        }
        // The second copy takes it with the next save of the conversation.
        std::fs::remove_file(&paths[1]).unwrap();
        scene.receipt(None);
        assert_eq!(std::fs::read(&paths[1]).unwrap(), whole);
    }

    #[test]
    fn a_text_that_can_be_no_name_is_told_why() {
        for (text, why) in
            [("", "at least one"), (" \t", "at least one"), ("a\u{1b}b", "control"), (&"x".repeat(101), "101")]
        {
            let told = checked_name(text).unwrap_err().to_string();
            assert!(told.contains(why) && !told.contains('\u{1b}'), "{told}");
        }
        assert_eq!(checked_name("  日本 bug ").unwrap(), "日本 bug");
        assert_eq!(checked_tag("#work").unwrap(), "work");
        assert!(checked_tag("two words").is_err() && checked_tag("#").is_err());
        assert_eq!(checked_note("a\nb").unwrap(), "a\nb");
    }
}
