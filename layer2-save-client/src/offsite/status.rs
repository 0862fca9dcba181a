//! `offsite status`: how the third place is, from what was written down. Starts nothing, asks nobody.

use std::io::Write;

use layer1_prebackup::config::size::Size;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{State, counted};
use layer1_prebackup::wire::shown::shown;
use serde_json::{Value, json};

use super::seal::rfc3339;
use super::site::{SetUp, Site, Sites, is_away};
use super::snapshots::short_id;
use crate::error::{Error, failed};

/// Prints it; false where something needs a person.
pub(crate) fn run(sites: &Sites<'_>, called: Option<&str>, as_json: bool, out: &mut impl Write) -> Result<bool, Error> {
    let asked = sites.of(called)?;
    let mut all = match called {
        Some(_) => Vec::new(),
        None => sites.set_up(),
    };
    all.retain(|site| site.called.is_some());
    let read = if called.is_some() { Vec::new() } else { sites.only_read() };
    let now = now_ms();
    let others: Vec<State> = all.iter().map(state_now).collect::<Result<_, Error>>()?;
    // Where there are others, that one is missing is no error.
    let is_none = asked.state()?.is_none() && (as_json || !others.is_empty() || !read.is_empty());
    let first = if is_none { None } else { Some(state_now(&asked)?) };
    let text = match as_json {
        true => {
            let none = json!({ "place": null, "findings": [] });
            let mut json = first.as_ref().map_or(none, |state| to_json(state, now));
            if !others.is_empty() {
                json["places"] = others.iter().map(|state| to_json(state, now)).collect();
            }
            if !read.is_empty() {
                let place = |(site, set_up): &(Site<'_>, SetUp)| json!({ "called": site.called, "place": set_up.place.as_str() });
                json["only_read"] = read.iter().map(place).collect();
            }
            json.to_string()
        }
        false => {
            let own = first.iter().chain(&others).map(|state| to_text(state, now));
            own.chain(read.iter().map(only_read)).collect::<Vec<_>>().join("\n")
        }
    };
    writeln!(out, "{text}").map_err(failed("write to stdout"))?;
    let is_well = |state: &State| state.findings(now).iter().all(|found| !found.needs_person);
    Ok(first.iter().chain(&others).all(is_well))
}

fn only_read((site, set_up): &(Site<'_>, SetUp)) -> String {
    let (called, place) = (site.called.unwrap_or_default(), shown(set_up.place.as_str()));
    format!("only read    {called}: {place} (`{}` brings what is new)", site.typed("pull"))
}

fn state_now(site: &Site<'_>) -> Result<State, Error> {
    let mut set_up = site.set_up()?;
    // What was said last may be of before the last conversation.
    if let Ok(seal) = site.seal(&set_up.state) {
        super::push::note_waiting(site, &mut set_up, &seal);
    }
    set_up.state.away = is_away(&set_up.place);
    Ok(set_up.state)
}

fn to_json(state: &State, now: u64) -> Value {
    let findings = state.findings(now).into_iter().map(|found| {
        json!({
            "kind": found.kind, "what": found.what, "since": rfc3339(found.since_ms),
            "needs_person": found.needs_person, "fix": found.fix,
        })
    });
    json!({
        "called": state.called(), "place": state.place, "name": state.name, "repository": state.repository,
        "in": state.repository_name(), "replaced": state.replaced, "engine": state.engine,
        "waiting": state.waiting, "dirty": state.dirty_since_ms.is_some(),
        "push": state.receipt.as_ref().map(|push| json!({
            "at": rfc3339(push.at_ms), "snapshot": push.snapshot, "sessions": push.sessions, "files": push.files,
            "bytes": push.bytes, "complete": true,
        })),
        "last_try": state.attempt.as_ref().map(|last| json!({
            "at": rfc3339(last.at_ms), "ok": last.ok, "said": last.said,
        })),
        "drill": state.drill.as_ref().map(|drill| json!({
            "at": rfc3339(drill.at_ms), "session": drill.session, "path": drill.path, "snapshot": drill.snapshot,
            "result": drill.result, "equal": drill.equal, "of": drill.of,
        })),
        "check": state.check.as_ref().map(|check| json!({
            "at": rfc3339(check.at_ms), "part": check.part, "parts": check.parts, "ok": check.ok,
        })),
        "snapshots": state.snapshots.map(|(count, _)| count), "stored_bytes": state.snapshots.map(|(_, bytes)| bytes),
        "key_confirmed": state.key_confirmed_ms.is_some(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

fn to_text(state: &State, now: u64) -> String {
    let mut lines = vec![format!("off-site     {}", state.in_a_line(now))];
    if let Some(line) = proof(state, now) {
        lines.push(format!("             {line}"));
    }
    for found in state.findings(now) {
        let mark = if found.needs_person { "✗" } else { "·" };
        lines.push(format!("{mark} {}: {}\n    {}", found.kind.word(), found.what, found.fix));
    }
    shown(&lines.join("\n")).into_owned()
}

/// What was proven of it.
fn proof(state: &State, now: u64) -> Option<String> {
    let drill = state.drill.as_ref().map(|drill| {
        let (age, session, result) = (ago(now, drill.at_ms), session_id(&drill.session), &drill.result);
        format!("drill {age}: {session} {result} ({} of {} within 31 days)", drill.equal, drill.of)
    });
    let check = state.check.as_ref().map(|check| match check.ok {
        true => format!("data check {} of {}", check.part, check.parts),
        false => format!("data check {} of {} failed", check.part, check.parts),
    });
    let stored = state.snapshots.map(|(count, bytes)| format!("{} sent, {}", Size(bytes), counted(count, "snapshot")));
    let newest = state.receipt.as_ref().map(|receipt| format!("the newest is {}", short_id(&receipt.snapshot)));
    let all: Vec<String> = [drill, check, stored, newest].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn session_id(session: &str) -> &str {
    let id = session.rsplit('/').next().unwrap_or(session);
    short_id(id)
}

fn ago(now: u64, then: u64) -> String {
    layer1_prebackup::wire::offsite::ago(now.saturating_sub(then))
}
