//! What is in a repository, as `restic` says it: its id, its snapshots, the files of one.

use std::collections::HashMap;

use chrono::{DateTime, Local};
use layer1_prebackup::wire::offsite::Kind;
use serde::Deserialize;

use super::engine::{Ended, Engine};
use super::trouble::Trouble;
use crate::error::{Error, failed};

/// What stands before the store's id in a snapshot's tag.
const STORE_TAG: &str = "store=";
/// The same of the set-up's.
const WRITER_TAG: &str = "writer=";
/// The same of the push: how many there were by then, and something random.
const PUSH_TAG: &str = "push=";
/// The same of a repository's, on a card.
const REPOSITORY_TAG: &str = "repository=";
/// The same of the repository's name in the place, on a card.
const NAME_TAG: &str = "in=";

/// No machine has had more repositories in a place.
const GENERATIONS_MAX: u32 = 99;

/// A snapshot.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    /// RFC 3339, in the zone of the machine that made it.
    pub(crate) time: String,
    /// The machine, by its name in the place.
    pub(crate) hostname: String,
    /// The id of what it holds.
    #[serde(default)]
    pub(crate) tree: String,
    /// The snapshot that it was before it was written again without something.
    #[serde(default)]
    pub(crate) original: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    summary: Summary,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Summary {
    data_added_packed: u64,
}

impl Snapshot {
    fn tag(&self, before: &str) -> &str {
        self.tags.iter().find_map(|tag| tag.strip_prefix(before)).unwrap_or_default()
    }

    /// The id of the store that it is of.
    pub(crate) fn store(&self) -> &str {
        self.tag(STORE_TAG)
    }

    /// The set-up that made it.
    pub(crate) fn writer(&self) -> &str {
        self.tag(WRITER_TAG)
    }

    /// How many pushes were begun by then, and what tells this one from another of that number.
    pub(crate) fn push(&self) -> (u64, &str) {
        let parts = self.tag(PUSH_TAG).split_once('-');
        parts.and_then(|(number, push)| Some((number.parse().ok()?, push))).unwrap_or_default()
    }

    /// On a card: the id of the machine's repository.
    pub(crate) fn repository(&self) -> &str {
        self.tag(REPOSITORY_TAG)
    }

    /// On a card: which of the machine's repositories that is, as its number.
    pub(crate) fn generation(&self) -> u32 {
        let number = self.tag(NAME_TAG).strip_prefix(&self.hostname).and_then(|rest| rest.strip_prefix('.'));
        // A machine's first one has no number, and its cards from before there were others no such tag.
        let number = number.and_then(|number| number.parse().ok());
        // Anybody with the key can write a card.
        number.filter(|number| *number <= GENERATIONS_MAX).unwrap_or(0)
    }

    /// When it was made, in milliseconds since 1970; 0 where that cannot be understood.
    pub(crate) fn at_ms(&self) -> u64 {
        instant(&self.time)
    }

    /// Bytes that were sent for it.
    pub(crate) fn sent(&self) -> u64 {
        self.summary.data_added_packed
    }
}

/// The first 8 digits of an id.
pub(crate) fn short_id(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// The tags of a card, as one argument: of a machine's repository its id and its name in the place.
pub(crate) fn card_tags(store: &str, writer: &str, repository: &str, name: &str) -> String {
    format!("card,{STORE_TAG}{store},{WRITER_TAG}{writer},{REPOSITORY_TAG}{repository},{NAME_TAG}{name}")
}

/// The tags of a push's snapshot.
pub(crate) fn push_tags(store: &str, writer: &str, (number, push): (u64, &str)) -> String {
    format!("threefold,{STORE_TAG}{store},{WRITER_TAG}{writer},{PUSH_TAG}{number}-{push}")
}

/// The repository's id, which also says that the key opens it.
pub(crate) fn repository_id(engine: &Engine<'_>, repository: &str) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Config {
        id: String,
    }
    let text = engine.text(repository, &["cat", "config", "--no-lock"])?;
    let config: Config = serde_json::from_str(&text).map_err(failed("understand restic's answer to `cat config`"))?;
    Ok(config.id)
}

/// All snapshots of a repository, the newest last. Leaves no lock and needs none.
pub(crate) fn snapshots(engine: &Engine<'_>, repository: &str) -> Result<Vec<Snapshot>, Error> {
    listed(engine, repository, &[])
}

/// The same, of what lies at the place alone: one that is damaged there is not among them, though it is cached here.
pub(crate) fn stored_snapshots(engine: &Engine<'_>, repository: &str) -> Result<Vec<Snapshot>, Error> {
    listed(engine, repository, &["--no-cache"])
}

fn listed(engine: &Engine<'_>, repository: &str, caching: &[&str]) -> Result<Vec<Snapshot>, Error> {
    let text = engine.text(repository, &[&["snapshots", "--json", "--no-lock"], caching].concat())?;
    let mut all: Vec<Snapshot> = match text.trim() {
        "null" => Vec::new(),
        text => serde_json::from_str(text).map_err(failed("understand restic's answer to `snapshots`"))?,
    };
    all.sort_by_key(Snapshot::at_ms);
    Ok(all)
}

/// A file in a snapshot.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    /// In the snapshot: it begins with `/`.
    pub(crate) path: String,
    size: u64,
    /// RFC 3339.
    pub(crate) mtime: String,
}

/// The files of a snapshot, by their paths in it, with their lengths; of several that are spelled alike the least.
pub(crate) fn files(
    engine: &Engine<'_>,
    repository: &str,
    snapshot: &str,
    caching: &[&str],
) -> Result<HashMap<String, u64>, Error> {
    let mut files = HashMap::new();
    entries(engine, repository, snapshot, caching, &mut |entry| {
        files.entry(entry.path).and_modify(|size: &mut u64| *size = entry.size.min(*size)).or_insert(entry.size);
    })?;
    Ok(files)
}

/// Hands on each file of a snapshot.
pub(crate) fn entries(
    engine: &Engine<'_>,
    repository: &str,
    snapshot: &str,
    caching: &[&str],
    each: &mut dyn FnMut(Entry),
) -> Result<(), Error> {
    let args = [&["ls", "--json", "--no-lock"], caching, &[snapshot]].concat();
    let ended = engine.lines(repository, &args, &mut |line| {
        let entry: Entry = serde_json::from_slice(line).map_err(failed("understand restic's answer to `ls`"))?;
        if entry.kind == "file" {
            each(entry);
        }
        Ok(())
    })?;
    complete(ended)
}

/// A trouble where something could not be read: only of a backup that says nothing bad.
pub(crate) fn complete(ended: Ended) -> Result<(), Error> {
    match ended {
        Ended::Well => Ok(()),
        Ended::Incomplete => {
            Err(Trouble::new(Kind::OffsiteFailed, "restic ended with exit code 3: not everything could be read").into())
        }
    }
}

/// A time that `restic` wrote, in milliseconds since 1970; 0 where that cannot be understood.
pub(crate) fn instant(time: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(time).ok();
    time.and_then(|time| u64::try_from(time.timestamp_millis()).ok()).unwrap_or(0)
}

/// The same for people: to the minute, in the zone of this machine. As it was where it cannot be understood.
pub(crate) fn local(time: &str) -> String {
    let parsed = DateTime::parse_from_rfc3339(time).map(|time| time.with_timezone(&Local));
    parsed.map_or_else(|_| time.to_owned(), |time| time.format("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_which_of_a_machines_repositories_is_the_one() {
        let generation = |tags: &str| {
            let tags = tags.replace(',', "\",\"");
            let json = format!(r#"{{"id":"i","time":"","hostname":"laptop","tags":["{tags}"]}}"#);
            let card: Snapshot = serde_json::from_str(&json).unwrap();
            (card.repository().to_owned(), card.generation())
        };
        assert_eq!(generation(&card_tags("s", "w", "5f", "laptop.3")), ("5f".to_owned(), 3));
        assert_eq!(generation(&card_tags("s", "w", "5f", "laptop")), ("5f".to_owned(), 0));
        // Another machine's, what is no number, and a card from before there were others.
        for tags in ["in=desktop.3", "in=laptop.x", "in=laptop3", "in=laptop.100", "card"] {
            assert_eq!(generation(tags).1, 0, "{tags}");
        }
    }

    #[test]
    fn times_of_any_zone_are_one_instant() {
        let at = |time: &str| {
            let json = format!(r#"{{"id":"0123456789ab","time":"{time}","hostname":"laptop","tags":["a","store=s"]}}"#);
            let snapshot: Snapshot = serde_json::from_str(&json).unwrap();
            assert_eq!((snapshot.store(), snapshot.writer(), short_id(&snapshot.id)), ("s", "", "01234567"));
            snapshot.at_ms()
        };
        let utc = at("2026-11-29T14:13:53.549426169Z");
        assert_eq!(utc, 1_795_961_633_549);
        assert_eq!(at("2026-11-29T15:13:53.549426169+01:00"), utc);
        assert_eq!(at("2026-11-29T08:43:53.549426169-05:30"), utc);
        assert_eq!((at("yesterday"), at("")), (0, 0));
        assert_eq!((local("2026-11-29T14:13:53Z").len(), local("yesterday").as_str()), (16, "yesterday"));
    }
}
