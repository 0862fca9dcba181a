//! `offsite init` and `offsite join`: a key, a repository, a card. It happens once, by command, and adopts nothing that is
//! another's. `join` never makes a key, and `init` never uses a place that has another one.

use std::cell::Cell;
use std::path::Path;

use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{FOLDER, Kind, State, numbered};

use super::engine::Engine;
use super::key::Key;
use super::machines::cards;
use super::place::{MACHINES, Place, machine_name};
use super::put_back::is_whole;
use super::site::{SMALL_BYTES_MAX, SetUp, Site, here, is_as_kept, is_elsewhere, is_on_one_disk, of_a_copy, random_id};
use super::snapshots::{Snapshot, card_tags, local, repository_id, snapshots};
use super::trouble::Trouble;
use crate::error::{Error, failed};

/// What a card holds, besides its tags; in [`FOLDER`].
const CARD: &str = "card.json";

/// Which machine is set up where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) place: String,
    pub(crate) name: String,
    /// Whether a repository that these same conversations were sent to before is gone on with.
    pub(crate) take_over: bool,
}

/// How the key comes to be here.
pub(crate) enum KeyBy<'a> {
    /// It is made where there is none: the place is new.
    Making,
    /// It is asked for where there is none: other machines use the place.
    Asking(&'a mut dyn FnMut() -> Result<String, Error>),
}

/// Makes what is missing of key, repository and card, and writes down what was set up. The same again changes nothing.
pub(crate) fn set_up(
    site: &Site<'_>,
    lock: &Lock,
    wanted: &Wanted,
    mut key_by: KeyBy<'_>,
) -> Result<(SetUp, Key), Error> {
    let place = Place::parse(&wanted.place, &site.settings.places.home)?;
    let name = machine_name(&wanted.name)?;
    if site.only_read()?.is_some() {
        return Err("send to a place that is only read here: give it another name with --place".into());
    }
    if let Some(why) = place.directory().and_then(|place| site.settings.places.not_for_a_further_copy(place)) {
        return Err(
            format!("use the place {}: {why}, on another disk, such as /media/usb/threefold", place.as_str()).into()
        );
    }
    let (key, is_new) = key(site, &mut key_by)?;
    let joins = matches!(key_by, KeyBy::Asking(_));
    let has_made = Cell::new(false);
    let made = make_missing(site, lock, &place, name, (wanted, joins), &has_made);
    let state = made.inspect_err(|error| {
        let is_refused = error.downcast_ref::<Trouble>().is_some_and(|trouble| trouble.kind == Kind::WrongKey);
        if is_new && is_refused && !has_made.get() {
            // Nothing was made with it, and the right one is to be put there. Where it stays, that is said then.
            let _ = fs::remove_file(&site.options.key.file);
        }
    })?;
    Ok((SetUp { state, place }, key))
}

/// Notes a place that is only read: somebody else's, who added a key for it. Nothing is written there, now or later. Gives the
/// machines of the place.
pub(crate) fn only_read(
    site: &Site<'_>,
    lock: &Lock,
    place: &str,
    ask: &mut dyn FnMut() -> Result<String, Error>,
) -> Result<Vec<String>, Error> {
    let called = site.called.ok_or("read another person's place: say with --place NAME what it is called here")?;
    if site.state()?.is_some() {
        return Err(format!("only read the place {called:?}: this computer sends there").into());
    }
    let place = Place::parse(place, &site.settings.places.home)?;
    let (_, is_new) = key(site, &mut KeyBy::Asking(ask))?;
    let found = site.engine(&place, lock).and_then(|engine| cards(&engine, &place)).inspect_err(|error| {
        if is_new && error.downcast_ref::<Trouble>().is_some_and(|trouble| trouble.kind == Kind::WrongKey) {
            // As above: the right one is to be put there.
            let _ = fs::remove_file(&site.options.key.file);
        }
    })?;
    site.note_only_read(&place)?;
    Ok(found.into_iter().map(|card| card.hostname).collect())
}

/// Makes what is missing at the place, and writes down what was set up.
fn make_missing(
    site: &Site<'_>,
    lock: &Lock,
    place: &Place,
    name: &str,
    (wanted, joins): (&Wanted, bool),
    has_made: &Cell<bool>,
) -> Result<State, Error> {
    let store_id = site.store_id()?;
    let engine = site.engine(place, lock)?;
    let machines = place.repository(MACHINES);
    // A bucket that is not there is made by `init`, and waited for by everything else.
    if !joins && place.is_of_buckets() && engine.text(&machines, &["init", "--json"]).is_ok() {
        has_made.set(true);
    }
    let has_machines = id_of(&engine, &machines).map_err(|error| refuse_other_key(error, site, place, name))?.is_some();
    if joins && !has_machines {
        let init = site.typed(&format!("init {} --name {name}", place.as_str()));
        let what = format!("no machine uses {} yet; `{init}` begins there", place.as_str());
        return Err(Trouble::new(Kind::NotMounted, what).into());
    }
    let cards = if has_machines { snapshots(&engine, &machines)? } else { Vec::new() };
    let card = cards.iter().rev().find(|card| card.hostname == name);
    let known = site.state()?.filter(|known| known.place == place.as_str() && known.name == name);
    // A state that was put back knows an older one, and a card that is due tells of an older one.
    let generation =
        card.map_or(0, Snapshot::generation).max(known.as_ref().map_or(0, |known: &State| known.generation));
    let repository = place.repository(&numbered(name, generation));
    let found = id_of(&engine, &repository)?;
    let known = known.filter(|known| Some(&known.repository) == found.as_ref());
    let writer = match &known {
        Some(known) => known.writer.clone(),
        None => random_id()?,
    };
    let sent = if found.is_some() { snapshots(&engine, &repository)? } else { Vec::new() };
    let is_copy = known.as_ref().is_some_and(|it| is_elsewhere(it, site.store()) || of_a_copy(&sent, it).is_some());
    for other in card.into_iter().chain(sent.last()) {
        refuse_another(site, other, &store_id, other.writer() == writer && !is_copy, wanted)?;
    }
    let make = |repository: &str| {
        engine.text(repository, &["init", "--json"])?;
        has_made.set(true);
        repository_id(&engine, repository)
    };
    if !has_machines {
        make(&machines)?;
    }
    let id = match found {
        Some(id) => id,
        None => make(&repository)?,
    };
    let is_written = |card: &Snapshot| card.writer() == writer && card.repository() == id;
    let new = || State::set_up(place.as_str(), name, &id, &writer, now_ms()).kept_in(site.folder);
    let mut state = known.map_or_else(|| still_there(&engine, place, generation, new()), Ok)?;
    state.max_age_ms = site.options.max_age_ms(place);
    state.engine = Some(engine.version.clone());
    // It was looked at above, and is ours or was taken over.
    state.taken_over = sent.last().map(|newest| newest.id.clone());
    (state.machine, state.one_disk) = (Some(here(site.store())), is_on_one_disk(site.store(), place));
    if of_a_copy(&sent, &state).is_some() {
        // From here on all that others began is older.
        let most = sent.iter().map(|snapshot| snapshot.push().0).max();
        (state.pushes, state.push) = (most.unwrap_or_default() + 1, String::new());
    }
    // Before the card: a set-up that is cut off here goes on as the one that it was.
    state.write(site.store())?;
    let mut set_up = SetUp { state, place: place.clone() };
    if !card.is_some_and(is_written) {
        write_card(site, &engine, &mut set_up)?;
    }
    keep_keys(site, &engine, &set_up)?;
    Ok(set_up.state)
}

/// A new state of a repository of this number, which knows those before it that are still there.
fn still_there(engine: &Engine<'_>, place: &Place, generation: u32, mut state: State) -> Result<State, Error> {
    state.generation = generation;
    for before in (1..generation).map(|before| numbered(&state.name, before)) {
        if id_of(engine, &place.repository(&before))?.is_some() {
            state.replaced.push(before);
        }
    }
    Ok(state)
}

/// The key, and whether it was made or asked for now. It is on the disk before anything is locked with it.
fn key(site: &Site<'_>, by: &mut KeyBy<'_>) -> Result<(Key, bool), Error> {
    let env = site.options.key_env(&site.settings.child_env);
    if let Some(key) = site.options.key.read(&env)? {
        return Ok((key, false));
    }
    let key = match by {
        KeyBy::Making => Key::random()?,
        KeyBy::Asking(ask) => Key::parse(&ask()?)?,
    };
    site.options.key.write(&key, &env)?;
    Ok((key, true))
}

/// The id of a repository; `None` where there is none.
pub(crate) fn id_of(engine: &Engine<'_>, repository: &str) -> Result<Option<String>, Error> {
    match repository_id(engine, repository) {
        Err(error) if error.downcast_ref::<Trouble>().is_some_and(|it| it.kind == Kind::NotMounted) => Ok(None),
        id => id.map(Some),
    }
}

fn refuse_other_key(error: Error, site: &Site<'_>, place: &Place, name: &str) -> Error {
    match error.downcast_ref::<Trouble>() {
        Some(trouble) if trouble.kind == Kind::WrongKey => {
            let join = site.typed(&format!("join {} --name {name}", place.as_str()));
            let what = format!("{} has another key; without one here, `{join}` asks for it", place.as_str());
            Trouble::new(Kind::WrongKey, what).into()
        }
        _ => error,
    }
}

/// An error where a name is another machine's, or was this one's under another set-up.
fn refuse_another(
    site: &Site<'_>,
    newest: &Snapshot,
    store_id: &str,
    is_ours: bool,
    wanted: &Wanted,
) -> Result<(), Error> {
    let Wanted { place, name, take_over } = wanted;
    if newest.store() != store_id {
        let what = format!("{name} is the name of another machine in {place}; choose another one");
        return Err(Trouble::new(Kind::AnotherWriter, what).into());
    }
    if !is_ours && !take_over {
        let again = site.typed(&format!("init {place} --name {name} --take-over"));
        let what = format!(
            "these conversations are sent to {name} in {place} from another machine, or from this one before it was \
             set up anew (last at {}). If that one is no more, `{again}`",
            local(&newest.time)
        );
        return Err(Trouble::new(Kind::AnotherWriter, what).into());
    }
    Ok(())
}

/// Writes the card by which the other machines of the place know this one.
pub(crate) fn write_card(site: &Site<'_>, engine: &Engine<'_>, set_up: &mut SetUp) -> Result<(), Error> {
    let (state, store_id) = (&set_up.state, site.store_id()?);
    let card =
        serde_json::json!({ "format": 1, "name": state.name, "store": store_id, "repository": state.repository });
    let rel = Path::new(FOLDER).join(CARD);
    fs::replace_own(site.store(), &rel, format!("{card}\n").as_bytes())?;
    let tags = card_tags(&store_id, &state.writer, &state.repository, &state.repository_name());
    let rel = rel.to_string_lossy();
    let args = ["backup", "--json", "--host", &state.name, "--group-by", "host", "--tag", &tags, &rel];
    let machines = set_up.place.repository(MACHINES);
    super::snapshots::complete(engine.lines(&machines, &args, &mut |_| Ok(()))?)?;
    if set_up.state.card_due {
        set_up.state.card_due = false;
        set_up.state.write(site.store())?;
    }
    Ok(())
}

/// A key file of a repository, as it lies there, in the order in which `restic` writes it.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeyFile {
    created: String,
    username: String,
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u64,
    p: u64,
    salt: String,
    data: String,
}

/// Keeps a copy of the repository's key files, which are encrypted with the key, and of its config where that is a file
/// of this machine: a server that lost them would take everything with it. Of another repository than the one that was set
/// up nothing is kept: the next look at it tells of that.
pub(crate) fn keep_keys(site: &Site<'_>, engine: &Engine<'_>, set_up: &SetUp) -> Result<(), Error> {
    let (store, repository) = (site.store(), set_up.repository());
    if set_up.place.directory().is_some()
        && !is_as_kept(engine, &repository, &set_up.state)
        && repository_id(engine, &repository)? != set_up.state.repository
    {
        return Ok(());
    }
    let keep = |name: &str, bytes: &[u8]| fs::replace_own(store, &site.folder.join("keys").join(name), bytes);
    let ids = engine.text(&repository, &["list", "keys", "--no-lock"])?;
    let there = |id: &str| {
        set_up.place.directory()?;
        fs::read_foreign(&Path::new(&repository).join("keys").join(id), SMALL_BYTES_MAX).ok().flatten()
    };
    for id in ids.split_whitespace() {
        let bytes = match there(id).filter(|bytes| is_whole(id, bytes)) {
            Some(bytes) => bytes,
            None => key_file(engine, &repository, id)?,
        };
        keep(&format!("keys/{id}"), &bytes)?;
    }
    // One that opens nothing any more would open it again where it was put back.
    let folder = fs::Dir::create_own(store)?.create_own_beneath(&site.folder.join("keys/keys"))?;
    for (name, _) in folder.entries()? {
        if !ids.split_whitespace().any(|id| name == id) {
            folder.remove(&name)?;
        }
    }
    if set_up.place.directory().is_some() {
        let config = Path::new(&repository).join("config");
        let bytes = fs::read_foreign(&config, SMALL_BYTES_MAX).map_err(failed(format!("read {}", config.display())))?;
        keep("config", &bytes.ok_or_else(|| format!("read {}: it is not there", config.display()))?)?;
    }
    Ok(())
}

/// A key file, asked of `restic`, which says what is wrong where it is damaged.
fn key_file(engine: &Engine<'_>, repository: &str, id: &str) -> Result<Vec<u8>, Error> {
    let text = engine.text(repository, &["cat", "key", id, "--no-lock"])?;
    let key: KeyFile = serde_json::from_str(&text).map_err(failed("understand restic's answer to `cat key`"))?;
    serde_json::to_vec(&key).map_err(failed("encode a key file as JSON"))
}

/// The recovery sheet; `added` is the name of a key that was added to the place.
pub(crate) fn sheet(set_up: &SetUp, key: &Key, added: Option<&str>) -> String {
    let SetUp { state, place } = set_up;
    let words = key.words();
    let rows: Vec<String> = words
        .chunks(6)
        .enumerate()
        .map(|(row, words)| {
            let numbered = words.iter().enumerate().map(|(nth, word)| format!("{:>2} {word:<9}", row * 6 + nth + 1));
            format!("  {}", numbered.collect::<Vec<_>>().join(" ").trim_end())
        })
        .collect();
    let (place, name, repository) = (place.as_str(), &state.name, set_up.repository());
    let restore = "threefold offsite restore";
    let at = state.called().map(|called| format!(" --place {called}")).unwrap_or_default();
    let of_key = added.map(|added| format!(", key {added}")).unwrap_or_default();
    format!(
        "RECOVERY SHEET for the conversations of {name}{of_key}
Print this, or write it down. Keep it where neither this computer nor the place below is.
Without these 24 words nobody can read what is stored there, and nobody can help, the makers of Threefold included.

{}

  place       {place}
  machine     {name}
  repository  {} ({repository})

On a new computer: install restic and Threefold, then
  {restore} {place} --host {name}{at}
and type the words when asked. Without Threefold, the words are restic's password, with single blanks between them:
  restic -r {repository} restore latest --target FOLDER
",
        rows.join("\n"),
        super::snapshots::short_id(&state.repository),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_has_all_that_a_person_needs() {
        let words: Vec<String> = "abandon ".repeat(23).split_whitespace().map(str::to_owned).collect();
        let key = Key::parse(&format!("{} art", words.join(" "))).unwrap();
        let place = Place::parse("sftp:backup:threefold", Path::new("/h")).unwrap();
        let state = State::set_up(place.as_str(), "laptop", &"5f".repeat(32), "w", 0);
        insta::assert_snapshot!(sheet(&SetUp { state, place }, &key, None), @r#"
        RECOVERY SHEET for the conversations of laptop
        Print this, or write it down. Keep it where neither this computer nor the place below is.
        Without these 24 words nobody can read what is stored there, and nobody can help, the makers of Threefold included.

           1 abandon    2 abandon    3 abandon    4 abandon    5 abandon    6 abandon
           7 abandon    8 abandon    9 abandon   10 abandon   11 abandon   12 abandon
          13 abandon   14 abandon   15 abandon   16 abandon   17 abandon   18 abandon
          19 abandon   20 abandon   21 abandon   22 abandon   23 abandon   24 art

          place       sftp:backup:threefold
          machine     laptop
          repository  5f5f5f5f (sftp:backup:threefold/laptop)

        On a new computer: install restic and Threefold, then
          threefold offsite restore sftp:backup:threefold --host laptop
        and type the words when asked. Without Threefold, the words are restic's password, with single blanks between them:
          restic -r sftp:backup:threefold/laptop restore latest --target FOLDER
        "#);
    }
}
