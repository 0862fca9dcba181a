//! What stands in the archive for whom, and what waits here.

use serde_json::json;

use super::connect::connect;
use super::push::plan;
use super::tables::{own, readable, readers};
use super::types::{Answer, Archive, Sender};
use crate::failure::{Context, Failure};
use crate::terminal::count;
use crate::terminal::time::{format_rfc3339_ms, now_ms};

/// Looks, and changes nothing.
pub(crate) fn status(archive: &Archive, sender: &Sender<'_>) -> Result<Answer, Failure> {
    let mut client = connect(archive)?;
    let (mut text, mut people) = (String::new(), Vec::new());
    for part in readable(&mut client)? {
        let sql =
            format!("SELECT count(*), coalesce(sum(messages), 0)::bigint, max(pushed_ms) FROM {}", part.sessions());
        let row = client.query_one(&sql, &[]).context("ask the archive")?;
        let (sessions, messages, last): (i64, i64, Option<i64>) = (row.get(0), row.get(1), row.get(2));
        let (sessions, messages) = (sessions.max(0) as u64, messages.max(0) as u64);
        let age = last.map(|ms| layer1_prebackup::wire::offsite::ago(now_ms().saturating_sub(ms).max(0) as u64));
        let told = age.map_or(String::new(), |age| format!(", last push {age}"));
        text.push_str(&format!(
            "{}: {}, {}{told}\n",
            part.person,
            count(sessions, "conversation"),
            count(messages, "message")
        ));
        people.push(json!({
            "person": part.person, "conversations": sessions, "messages": messages,
            "last_push": last.map(format_rfc3339_ms),
        }));
    }
    let Ok(part) = own(&mut client) else {
        let structure = json!({ "people": people, "own": null });
        return Ok(Answer { structure, text, failed: Vec::new() });
    };
    let readers = readers(&mut client, &part)?;
    let named = if readers.is_empty() { "nobody else".to_owned() } else { readers.join(", ") };
    text.push_str(&format!("{} may be read by {named}\n", part.person));
    let (waiting, to_delete) = match plan(&mut client, &part, sender) {
        Ok(plan) => (plan.send.len() as u64, plan.remove.len() as u64),
        // Of a computer that has saved nothing there is nothing to tell.
        Err(_) if !sender.places.layer3_store.exists() => (0, 0),
        Err(error) => return Err(error),
    };
    text.push_str(&format!("{} of this computer waiting to be sent", count(waiting, "conversation")));
    text.push_str(&if to_delete > 0 { format!(", {to_delete} to be deleted there\n") } else { "\n".to_owned() });
    let own = json!({ "person": part.person, "readers": readers, "waiting": waiting, "to_delete": to_delete });
    Ok(Answer { structure: json!({ "people": people, "own": own }), text, failed: Vec::new() })
}
