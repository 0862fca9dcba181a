//! Searching what other computers of the third place have sent, where it was pulled (`offsite pull`): each has an index of
//! its own, and a hit says which computer it is of.

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{self, FileName, LAYER2};
use layer1_prebackup::wire::offsite::{FOLDER, SEALS, ago};
use serde::Serialize;

use crate::browse::search::{self, SearchRequest, search};
use crate::failure::Failure;
use crate::index::{Hit, SearchResults};
use crate::save::adopt_v1;
use crate::terminal::{Style, Terminal, count, one_line};

/// What was found of one computer.
#[derive(Debug)]
struct OfHost {
    /// Its name at the third place; none is this computer.
    host: Option<String>,
    results: SearchResults,
    /// What was asked of it.
    asked: SearchRequest,
}

/// What was found, this computer first.
#[derive(Debug)]
pub(crate) struct Found(Vec<OfHost>);

/// The same for programs: as the results of one computer are, and of each hit its host.
#[derive(Debug, Serialize)]
pub(crate) struct Flat<'f> {
    hits: Vec<HitOf<'f>>,
    more: bool,
    notes: Vec<&'f str>,
}

#[derive(Debug, Serialize)]
struct HitOf<'f> {
    host: Option<&'f str>,
    #[serde(flatten)]
    hit: &'f Hit,
}

impl Found {
    /// All hits in one list.
    pub(crate) fn flat(&self) -> Flat<'_> {
        let hits = self.0.iter().flat_map(|of| of.results.hits.iter().map(|hit| (of.host.as_deref(), hit)));
        Flat {
            hits: hits.map(|(host, hit)| HitOf { host, hit }).collect(),
            more: self.0.iter().any(|of| of.results.more),
            notes: self.0.iter().flat_map(|of| of.results.notes.iter().map(String::as_str)).collect(),
        }
    }
}

/// Searches each of these; `host` says which computer, none for this one. A conversation that is on this computer too, with
/// at least what the other one has of it, is found here alone.
pub(crate) fn search_hosts(
    own: &Places,
    hosts: Vec<(Option<String>, Places)>,
    request: &SearchRequest,
) -> Result<Found, Failure> {
    let is_here_asked = hosts.iter().any(|(host, _)| host.is_none());
    let here = adopt_v1::open(own)?.filter(|_| is_here_asked);
    let of_host = |(host, places): (Option<String>, Places)| {
        // No directory of this computer is a project of another one.
        let all = if host.is_some() { Some(request.project.is_none()) } else { request.all };
        let asked = SearchRequest { host, all, ..request.clone() };
        let mut results = search(&places, &asked)?;
        if let Some(host) = &asked.host {
            only_there(&places, here.as_ref(), &mut results)?;
            results.notes.extend(last_news(&places, host));
        }
        Ok(OfHost { host: asked.host.clone(), results, asked })
    };
    Ok(Found(hosts.into_iter().map(of_host).collect::<Result<_, Failure>>()?))
}

/// When something of it was pulled last: what it has sent since is not found here.
fn last_news(places: &Places, host: &str) -> Option<String> {
    let seal = places.layer3_store.join(FOLDER).join(SEALS[2]);
    let age = seal.metadata().and_then(|seal| seal.modified()).ok()?.elapsed().unwrap_or_default();
    let pull = names::typed(LAYER2, "offsite pull");
    Some(format!("{host} had something new {}; `{pull}` asks for more", ago(age.as_millis() as u64)))
}

/// Leaves out what is here too. Whether its file is still where it was, nobody here can know.
fn only_there(places: &Places, here: Option<&Archive>, results: &mut SearchResults) -> Result<(), Failure> {
    results.hits.iter_mut().for_each(|hit| hit.source_gone = false);
    let (Some(here), Some(there)) = (here, adopt_v1::open(places)?) else { return Ok(()) };
    let before = results.hits.len();
    let mut kept = Vec::new();
    for hit in std::mem::take(&mut results.hits) {
        if !is_held(here, &there, &hit)? {
            kept.push(hit);
        }
    }
    let left_out = (before - kept.len()) as u64;
    if left_out > 0 {
        results.notes.push(format!("{} of what is on this computer too: left out", count(left_out, "hit")));
    }
    results.hits = kept;
    Ok(())
}

/// Whether a session of this id here begins with all that is there of it.
fn is_held(here: &Archive, there: &Archive, hit: &Hit) -> Result<bool, Failure> {
    let Ok(key) = SessionKey::parse(&hit.project, &hit.session_id) else { return Ok(false) };
    let files = there.files(&key)?;
    let newest = files.iter().find(|file| file.name.file == FileName::Transcript && file.name.generation == 0);
    let Some(newest) = newest else { return Ok(false) };
    for own in here.find(&key.id)? {
        if here.covers(&own, &FileName::Transcript, newest.bytes, &newest.blake3)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// For people: what was found of each computer below its name.
pub(crate) fn to_text(found: &Found, terminal: &Terminal) -> String {
    let of_host = |of: &OfHost| {
        let name = of.host.as_ref().map_or("this computer".to_owned(), |host| one_line(host));
        let heading = terminal.paint(Style::Bold, &format!("== {name}"));
        format!("{heading}\n{}", search::to_text(&of.results, &of.asked, terminal))
    };
    let parts: Vec<String> = found.0.iter().map(of_host).collect();
    parts.join("\n")
}
