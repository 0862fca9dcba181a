//! Sending what is new: each conversation in a transaction of its own, so that a push that is cut off goes on with the next
//! one, and what was half sent was not sent.
//!
//! Rows are told apart by what they say. Of a conversation that changed, those that are there already stay, the others are
//! added, and those that it no longer has are taken out: so nothing is doubled, and a text that was forgotten leaves.
//! A conversation that is only gone from this machine's store stays in the archive; one that was forgotten, or that may
//! not be sent any more, leaves it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::rc::Rc;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::names::SessionId;
use postgres::error::SqlState;
use postgres::{Client, Transaction};
use serde_json::{Value, json};

use super::connect::{connect, is};
use super::rows::{each_row, escaped, learned, mask_all};
use super::tables::{Part, own};
use super::types::{Answer, Archive, Sender};
use crate::browse::list::{self, ListRequest, list};
use crate::failure::{Context, Failure};
use crate::index::SessionRow;
use crate::save::adopt_v1;
use crate::stores::{SessionCopies, Stores};
use crate::terminal::count;
use crate::terminal::time::{now_ms, parse_rfc3339_ms};
use crate::transcript::redact::in_words;

/// Raised with anything that makes other rows of the same conversation: all are made again then.
const ROWS: u32 = 1;

/// A conversation that is to be sent.
pub(super) struct ToSend {
    key: SessionKey,
    /// What is said of it in lists, without what is of this computer alone.
    listed: Value,
    digest: Vec<u8>,
}

/// What a push would do.
pub(super) struct Plan {
    stores: Rc<Stores>,
    /// The id of this computer's store.
    store: String,
    pub(super) send: Vec<ToSend>,
    /// Conversations of this store to be taken out, by project and id.
    pub(super) remove: Vec<(String, String)>,
    /// How many may be sent at all.
    pub(super) all: usize,
    pub(super) failed: Vec<String>,
}

/// What this computer has, compared with what the archive has of it.
pub(super) fn plan(client: &mut Client, part: &Part, sender: &Sender<'_>) -> Result<Plan, Failure> {
    let (stores, store) = store_of(sender)?;
    let sql = format!("SELECT project, session, digest FROM {} WHERE store = $1", part.sessions());
    let sent = client.query(&sql, &[&store]).context("ask the archive what was sent")?;
    let sent: HashMap<(String, String), Vec<u8>> =
        sent.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
    let mut plan =
        Plan { store, send: Vec::new(), remove: Vec::new(), all: 0, failed: Vec::new(), stores: Rc::clone(&stores) };
    let mut kept = HashSet::new();
    for row in listed(sender)? {
        let key = SessionKey::parse(&row.metadata.project, &row.metadata.session_id)?;
        let name = (key.project.to_string(), key.id.to_string());
        plan.all += 1;
        match SessionCopies::of(&stores, &key).map_err(Failure::from) {
            Ok(copies) => {
                let listed = json!({ "row": of_row(&row)?, "rows": ROWS });
                let digest = blake3::hash(format!("{}{listed}", copies.contents_recorded()).as_bytes());
                let digest = digest.as_bytes().to_vec();
                if sent.get(&name) != Some(&digest) {
                    plan.send.push(ToSend { key, listed: of_row(&row)?, digest });
                }
            }
            Err(error) => plan.failed.push(format!("send {}: {error}", key.id)),
        }
        kept.insert(name);
    }
    let here: BTreeSet<String> = stores.sessions()?.into_iter().map(|key| key.id.to_string()).collect();
    for name in sent.into_keys().filter(|name| !kept.contains(name)) {
        if here.contains(&name.1) || is_forgotten(&stores, &name.1)? {
            plan.remove.push(name);
        }
    }
    plan.remove.sort();
    Ok(plan)
}

/// The stores of this computer, and the id of the one whose conversations are sent.
fn store_of(sender: &Sender<'_>) -> Result<(Rc<Stores>, String), Failure> {
    let stores = adopt_v1::stores(sender.places)?;
    let store = stores.indexed().map(|archive| archive.store_id().to_owned());
    Ok((stores, store.ok_or_else(|| Failure::no_store(&sender.places.layer3_store))?))
}

/// All conversations that may be sent.
fn listed(sender: &Sender<'_>) -> Result<Vec<SessionRow>, Failure> {
    let (mut rows, mut offset) = (Vec::new(), 0);
    loop {
        let asked = ListRequest {
            all: Some(true),
            here: sender.here.clone(),
            limit: Some(list::LIMIT_MAX),
            offset: Some(offset),
            ..ListRequest::default()
        };
        let page = list(sender.places, &asked)?.sessions;
        offset += list::LIMIT_MAX;
        let is_last = page.len() < list::LIMIT_MAX;
        rows.extend(page);
        if is_last {
            rows.retain(|row| {
                let directories: Vec<String> =
                    row.metadata.directory.iter().chain(&row.metadata.cwd).cloned().collect();
                !sender.exclude.is_saved_excluded(&row.metadata.project, &directories)
            });
            return Ok(rows);
        }
    }
}

fn is_forgotten(stores: &Stores, id: &str) -> Result<bool, Failure> {
    let Ok(id) = SessionId::parse(id) else { return Ok(false) };
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        if archive.forgotten(&id)?.is_some_and(|forgotten| forgotten.is_whole()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn of_row(row: &SessionRow) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(row).context("write JSON")?;
    if let Value::Object(fields) = &mut value {
        // Of this computer alone, and never the same for long.
        fields.retain(|name, _| !["source_gone", "lost_messages"].contains(&name.as_str()));
    }
    Ok(value)
}

/// What a push did.
#[derive(Default)]
struct Done {
    sent: u64,
    added: u64,
    removed: u64,
    deleted: u64,
    masked: std::collections::BTreeMap<&'static str, u64>,
}

/// Sends all that changed since the last push, masked. `progress` is told how many conversations are done, and of how many.
pub(crate) fn push(archive: &Archive, sender: &Sender<'_>, progress: &dyn Fn(usize, usize)) -> Result<Answer, Failure> {
    let mut client = connect(archive)?;
    let part = own(&mut client)?;
    one_at_a_time(&mut client, &store_of(sender)?.1)?;
    let plan = plan(&mut client, &part, sender)?;
    let (mut done, mut failed) = (Done::default(), plan.failed.clone());
    for (n, session) in plan.send.iter().enumerate() {
        progress(n, plan.send.len());
        match send(&mut client, &part, &plan, session, &mut done) {
            Ok(()) => done.sent += 1,
            // What cannot be read is this conversation's; without the server nothing can be sent.
            Err(error) if !client.is_closed() => failed.push(format!("send {}: {error}", session.key.id)),
            Err(error) => return Err(error),
        }
    }
    for (project, session) in &plan.remove {
        let mut work = client.transaction().context("delete from the archive")?;
        for table in [part.messages(), part.sessions()] {
            let sql = format!("DELETE FROM {table} WHERE store = $1 AND project = $2 AND session = $3");
            work.execute(&sql, &[&plan.store, project, session]).context("delete from the archive")?;
        }
        work.commit().context("delete from the archive")?;
        done.deleted += 1;
    }
    let Done { sent, added, removed, deleted, masked } = done;
    let mut text = match sent {
        0 => format!("nothing new of {}\n", count(plan.all as u64, "conversation")),
        sent => format!(
            "sent {} of {}: {} added, {removed} taken out\n{}\n",
            sent,
            count(plan.all as u64, "conversation"),
            count(added, "message"),
            in_words(&masked)
        ),
    };
    if deleted > 0 {
        let what = count(deleted, "conversation");
        text.push_str(&format!("deleted {what} from the archive: forgotten here, or no longer to be sent\n"));
    }
    let structure = json!({
        "person": part.person, "conversations": plan.all, "sent": sent, "messages_added": added,
        "messages_removed": removed, "deleted": deleted, "masked": masked, "failed": failed,
    });
    Ok(Answer { structure, text, failed })
}

/// Two pushes of one store would each take out what the other one adds. The right ends with the connection, however that ends.
fn one_at_a_time(client: &mut Client, store: &String) -> Result<(), Failure> {
    let sql = "SELECT pg_advisory_lock(hashtextextended('threefold ' || current_user || ' ' || $1, 0))";
    match client.query(sql, &[store]) {
        Err(error) if is(&error, &SqlState::LOCK_NOT_AVAILABLE) => {
            Err(Failure::new("send anything: another push of these conversations runs"))
        }
        taken => taken.map(drop).context("ask the archive for the right to write"),
    }
}

fn send(client: &mut Client, part: &Part, plan: &Plan, session: &ToSend, done: &mut Done) -> Result<(), Failure> {
    let key = &session.key;
    let copies = SessionCopies::of(&plan.stores, key)?;
    let mut redactor = learned(&copies)?;
    let mut work = client.transaction().context("write to the archive")?;
    let whose = [&part.person, &plan.store, &key.project.to_string(), &key.id.to_string()].map(|name| escaped(name));
    let whose_line = whose.join("\t");
    let names = (&plan.store, &key.project.to_string(), &key.id.to_string());
    let sql = format!("SELECT id FROM {} WHERE store = $1 AND project = $2 AND session = $3", part.messages());
    let known = work.query(&sql, &[names.0, names.1, names.2]).context("ask the archive what was sent")?;
    let mut known: HashSet<Vec<u8>> = known.iter().map(|row| row.get(0)).collect();
    let added = copy_rows(&mut work, part, &whose_line, &copies, &mut redactor, &mut known)?;
    let gone: Vec<Vec<u8>> = known.into_iter().collect();
    let sql =
        format!("DELETE FROM {} WHERE store = $1 AND project = $2 AND session = $3 AND id = ANY($4)", part.messages());
    let removed =
        work.execute(&sql, &[names.0, names.1, names.2, &gone]).context("take out what is gone from the archive")?;
    let mut listed = session.listed.clone();
    mask_all(&mut listed, &mut redactor);
    let text = |name: &str| listed[name].as_str().map(str::to_owned);
    let last_ms = text("timestamp_end").and_then(|time| parse_rfc3339_ms(&time));
    let number = |name: &str| listed[name].as_i64().unwrap_or(0);
    let title = text("title").or(text("first_topic"));
    let sql = format!(
        "INSERT INTO {} (person, store, project, session, digest, pushed_ms, title, directory, last_ms, messages, bytes, metadata)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (person, store, project, session) DO UPDATE SET digest = $5, pushed_ms = $6, title = $7,
         directory = $8, last_ms = $9, messages = $10, bytes = $11, metadata = $12",
        part.sessions()
    );
    let directory = text("directory").or(text("cwd"));
    let (messages, bytes, metadata) = (number("messages"), number("bytes"), without_nul(&listed.to_string()));
    let values: [&(dyn postgres::types::ToSql + Sync); 12] = [
        &part.person,
        names.0,
        names.1,
        names.2,
        &session.digest,
        &now_ms(),
        &title.map(|title| without_nul(&title)),
        &directory.map(|directory| without_nul(&directory)),
        &last_ms,
        &messages,
        &bytes,
        &metadata,
    ];
    work.execute(&sql, &values).context("write to the archive")?;
    work.commit().context("write to the archive")?;
    done.added += added;
    done.removed += removed;
    for (kind, count) in redactor.counts() {
        *done.masked.entry(kind).or_default() += count;
    }
    Ok(())
}

/// PostgreSQL keeps no NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', " ")
}

/// Writes the rows that are not there yet; what is left of `known` is no row of the conversation any more.
fn copy_rows(
    work: &mut Transaction<'_>,
    part: &Part,
    whose: &str,
    copies: &SessionCopies,
    redactor: &mut crate::transcript::redact::Redactor,
    known: &mut HashSet<Vec<u8>>,
) -> Result<u64, Failure> {
    let mut writer = work.copy_in(&format!("COPY {} FROM STDIN", part.messages())).context("write to the archive")?;
    let mut written = Ok(());
    each_row(copies, redactor, &mut |row| {
        if written.is_ok() && !known.remove(row.id.as_slice()) {
            written = writer.write_all(row.to_line(whose).as_bytes());
        }
    })?;
    written.context("write to the archive")?;
    writer.finish().context("write to the archive")
}
