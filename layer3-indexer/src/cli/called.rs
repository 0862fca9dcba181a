//! Which conversation was typed: an id, a beginning of one, or what it is called.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::wire::shown;

use crate::cli::screen::Screen;
use crate::failure::{Context, Failure, Kind};
use crate::scope::{Candidate, called};
use crate::stores::{Stores, session_name};
use crate::terminal::one_line;

/// Most conversations that are named where several are called so.
const NAMED_MAX: usize = 20;

/// What was typed where it may be an id, else `PROJECT/ID` of the conversation that is called so. At a terminal it asks
/// which one is meant of several.
pub(super) fn id_of(places: &Places, typed: String, screen: &Screen<'_>) -> Result<String, Failure> {
    let is_uuid = typed.len() == 36 && typed.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    // Where no store is there, or none can be read, the command itself says so.
    let Some(stores) = Some(is_uuid).filter(|is_uuid| !is_uuid).and_then(|_| Stores::open(places).ok()) else {
        return Ok(typed);
    };
    let mut keys = BTreeSet::new();
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        keys.extend(archive.sessions()?);
    }
    let keys: Vec<SessionKey> = keys.into_iter().collect();
    // An id always wins.
    if !session_name::matches(keys.clone(), &typed).is_empty() {
        return Ok(typed);
    }
    // One conversation may lie in a folder of another name in each store: then the second copy's is told.
    let mut found = called(places, &stores, &keys, &typed);
    let known = stores.sessions()?;
    found.retain(|candidate| known.contains(&candidate.key));
    match found.as_slice() {
        [] => Ok(typed),
        [only] => Ok(named(&only.key)),
        several => choose(several, &typed, screen),
    }
}

/// [`id_of`], and the session.
pub(super) fn one(places: &Places, typed: &str, screen: &Screen<'_>) -> Result<SessionKey, Failure> {
    let id = id_of(places, typed.to_owned(), screen)?;
    crate::save::adopt_v1::stores(places)?.find(&id)
}

fn named(key: &SessionKey) -> String {
    format!("{}/{}", key.project, key.id)
}

fn choose(several: &[Candidate], typed: &str, screen: &Screen<'_>) -> Result<String, Failure> {
    let line = |(n, candidate): (usize, &Candidate)| {
        format!("  {}  {}  {}", n + 1, one_line(&named(&candidate.key)), one_line(&candidate.title))
    };
    let shown: Vec<String> = several.iter().enumerate().take(NAMED_MAX).map(line).collect();
    let more = several.len() - shown.len();
    let more = if more > 0 { format!("\n  … and {more} more") } else { String::new() };
    let list = format!("{} conversations are called so:\n{}{more}", several.len(), shown.join("\n"));
    if screen.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = format!("choose conversation {typed:?}: {list}");
        return Err(Failure::new(message).of(Kind::InvalidInput).hint("type the id of the one you mean"));
    }
    let mut stderr = shown::Screen(io::stderr());
    write!(stderr, "{list}\nNumber (Enter to cancel): ")
        .and_then(|()| stderr.flush())
        .context("ask at the terminal")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("ask at the terminal")?;
    let number = line.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    match number.and_then(|at| several.get(at)) {
        Some(candidate) => Ok(named(&candidate.key)),
        None => Err(Failure::new("choose a conversation: none was chosen")),
    }
}
