//! A conversation by what it is called, where its id is not typed.

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;

use crate::index::Index;
use crate::stores::Stores;
use crate::stores::called::Called;
use crate::transcript::desktop;

/// A conversation that may be meant, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) key: SessionKey,
    pub(crate) title: String,
}

/// The conversations of these that a name means: of exactly that name, else of that name or title whatever its case, else
/// those whose name or title it is a part of.
pub(crate) fn called(places: &Places, stores: &Stores, keys: &[SessionKey], typed: &str) -> Vec<Candidate> {
    let typed = typed.trim();
    let lower = typed.to_lowercase();
    if lower.is_empty() {
        return Vec::new();
    }
    let mut candidates: Vec<(bool, Candidate)> = Vec::new();
    let called = Called::of(stores);
    for (id, labels) in called.all() {
        let Some(name) = labels.name() else { continue };
        candidates.extend(of(keys, id).map(|key| (true, Candidate { key: key.clone(), title: name.to_owned() })));
    }
    // Names are in the stores; without an index there are no titles.
    let indexed = Index::open_read_only(&places.index).ok().flatten().and_then(|index| index.titles().ok());
    let desktop = desktop::titles(&places.home).into_iter().map(|(id, title)| (None, id, title));
    let indexed = indexed.unwrap_or_default().into_iter().map(|(project, id, title)| (Some(project), id, title));
    for (project, id, title) in indexed.chain(desktop) {
        if !title.to_lowercase().contains(&lower) || called.get(&id).is_some_and(|labels| labels.name().is_some()) {
            continue;
        }
        let is_it = |key: &&SessionKey| project.as_ref().is_none_or(|project| project == key.project.as_str());
        let found =
            of(keys, &id).filter(is_it).map(|key| (false, Candidate { key: key.clone(), title: title.clone() }));
        candidates.extend(found);
    }
    let chosen = |is_meant: &IsMeant<'_>| -> Vec<Candidate> {
        let meant = candidates.iter().filter(|(is_name, candidate)| is_meant(*is_name, &candidate.title));
        let mut meant: Vec<Candidate> = meant.map(|(_, candidate)| candidate.clone()).collect();
        meant.sort_by(|a, b| a.key.cmp(&b.key));
        meant.dedup_by(|a, b| a.key == b.key);
        meant
    };
    let ways: [&IsMeant<'_>; 4] = [
        &|is_name, title| is_name && title == typed,
        &|is_name, title| is_name && title.to_lowercase() == lower,
        &|_, title| title.to_lowercase() == lower,
        &|_, title| title.to_lowercase().contains(&lower),
    ];
    ways.into_iter().map(chosen).find(|meant| !meant.is_empty()).unwrap_or_default()
}

/// Whether a title is meant; the first says that the user gave it.
type IsMeant<'a> = dyn Fn(bool, &str) -> bool + 'a;

fn of<'k>(keys: &'k [SessionKey], id: &'k str) -> impl Iterator<Item = &'k SessionKey> {
    keys.iter().filter(move |key| key.id.as_str() == id)
}
