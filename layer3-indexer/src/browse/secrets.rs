//! Which conversations hold what kinds of secrets, and how many: never a secret itself.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{FileName, LAYER3, typed};
use serde::Serialize;

use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::scope::{self, Labels, Scope};
use crate::stores::SessionCopies;
use crate::terminal::{self, Style, Terminal, short_id};
use crate::transcript::record::{TornLine, read_records};
use crate::transcript::redact::{Redactor, listed};

/// Of a side file that is no transcript, so much is looked through at once.
const PIECE_BYTES: u64 = 4 << 20;

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Secrets {
    /// The conversations that hold any, those with most first.
    pub(crate) sessions: Vec<SessionSecrets>,
    /// How many conversations were looked through.
    pub(crate) looked_through: usize,
    /// Which, in words.
    pub(crate) scope: String,
    /// How many of which kind there are in all of them. The same secret counts each time that it stands somewhere.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    /// Files that could not be read, and what to know about which conversations these are.
    pub(crate) notes: Vec<String>,
}

/// What one conversation holds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SessionSecrets {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// What its project is called.
    #[serde(skip)]
    label: String,
    /// How many of which kind.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
}

/// Looks through the conversations that are named, or those of the scope: every message of every version, subagents
/// and side files. `progress` is told how many are done, and of how many.
pub(crate) fn secrets(
    places: &Places,
    named: &[String],
    scope: &Scope,
    progress: &dyn Fn(usize, usize),
) -> Result<Secrets, Failure> {
    let stores = adopt_v1::stores(places)?;
    let all = stores.sessions()?;
    let mut found = Secrets::default();
    let keys: Vec<SessionKey> = if named.is_empty() {
        let known = scope::whereabouts(&stores, &all);
        let mut meant = scope::meant(scope, &known);
        found.notes.append(&mut meant.notes);
        found.scope = meant.said.clone();
        meant.chosen(all)
    } else {
        let one = |typed: &String| scope::named(places, &stores, &scope.here, all.clone(), typed);
        named.iter().map(one).collect::<Result<_, _>>()?
    };
    let known = scope::whereabouts(&stores, &keys);
    let labels = Labels::of(&known);
    found.looked_through = keys.len();
    for (n, (key, whereabouts)) in keys.iter().zip(&known).enumerate() {
        progress(n, keys.len());
        let kinds = match SessionCopies::of(&stores, key) {
            Ok(copies) => of_session(&copies, &mut found.notes),
            Err(error) => {
                found.notes.push(format!("{}: {error}", key.id));
                continue;
            }
        };
        for (kind, count) in &kinds {
            *found.kinds.entry(*kind).or_default() += count;
        }
        if !kinds.is_empty() {
            let label = labels.label(&key.project.to_string(), scope::directory_of(whereabouts));
            found.sessions.push(SessionSecrets {
                session_id: key.id.to_string(),
                project: key.project.to_string(),
                label,
                kinds,
            });
        }
    }
    found.sessions.sort_by_key(|session| std::cmp::Reverse(session.kinds.values().sum::<u64>()));
    Ok(found)
}

/// How many of which kind a conversation holds. A value that is named in one of its files is known in those behind it.
fn of_session(copies: &SessionCopies, notes: &mut Vec<String>) -> BTreeMap<&'static str, u64> {
    let mut redactor = Redactor::default();
    for name in copies.names() {
        let is_transcript = match &name.file {
            FileName::Transcript => true,
            FileName::Side(rel) => rel.extension().is_some_and(|ext| ext == "jsonl"),
        };
        let mut look = |text: &str| {
            redactor.learn(text);
            redactor.mask(text);
        };
        let read = copies.get_even_damaged(&name).map_err(|failure| failure.to_string()).and_then(|mut content| {
            let read = content.read().and_then(|bytes| match is_transcript {
                true => {
                    let each = &mut |located: crate::transcript::record::Located<'_>| {
                        located.record.each_text(&mut look);
                        ControlFlow::Continue(())
                    };
                    read_records(io::BufReader::new(bytes), 0, TornLine::Final, each).map(drop)
                }
                false => pieces(bytes, &mut look),
            });
            read.map_err(|error| error.to_string())
        });
        if let Err(why) = read {
            notes.push(format!("{}: {}: {why}", copies.key.id, name.to_text(&copies.key.id)));
        }
    }
    redactor.counts().clone()
}

/// A file of whatever kind, as far as it is text.
fn pieces(mut bytes: impl Read, look: &mut dyn FnMut(&str)) -> io::Result<()> {
    loop {
        let mut piece = Vec::new();
        bytes.by_ref().take(PIECE_BYTES).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        if !piece.contains(&0) {
            look(&String::from_utf8_lossy(&piece));
        }
    }
}

/// For a reader: a conversation a line, what is in all of them, and what helps.
pub(crate) fn to_text(found: &Secrets, terminal: &Terminal) -> String {
    let mut text = String::new();
    for note in &found.notes {
        text.push_str(&terminal.line(Style::Yellow, &format!("note: {}", terminal::one_line(note))));
    }
    for session in &found.sessions {
        let name = format!("{}/{}", session.label, short_id(&session.session_id));
        text.push_str(&format!("{}  {}\n", terminal.paint(Style::Cyan, &name), listed(&session.kinds)));
    }
    let looked = terminal::count(found.looked_through as u64, "conversation");
    if found.sessions.is_empty() {
        text.push_str(&format!("No secret is recognised in {looked} {}.\n", found.scope).replace(" .", "."));
        return text;
    }
    let holding = terminal::count(found.sessions.len() as u64, "conversation");
    text.push_str(&format!("{holding} of {}: {}\n", found.looked_through, listed(&found.kinds)));
    let show = typed(LAYER3, "show ID --full --redact");
    let forget = typed(LAYER3, "forget --match -");
    let export = typed(LAYER3, "export ID --redact");
    text.push_str(&format!(
        "Change what is still valid where it was issued: the copy in a conversation is not the only one.\n\
         `{show}` shows where they are, `{forget}` deletes one from every copy (it reads the secret from \
         standard input), `{export}` writes a page without them.\n"
    ));
    text
}
