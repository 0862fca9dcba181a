//! What is protected now: five lines from the installed programs' own words.

use layer1_prebackup::names::{LAYER1, LAYER2, LAYER3, typed};
use std::io::Write;
use std::process::Stdio;

use layer1_prebackup::config::size::Size;
use serde_json::Value;

use crate::failure::Context;
use crate::setup::Result;
use crate::setup::site::Site;

/// Asks the three programs and says in five lines what they hold, and last of all what to do next, `hint` what is left to
/// do before. Fails if one of them does not answer.
pub(crate) fn report(site: &Site, command: &str, hint: &str, out: &mut dyn Write) -> Result<()> {
    let first = ask(site, LAYER1, "status")?;
    let waiting = ask(site, LAYER2, "pending")?;
    let third = ask(site, LAYER3, "status")?;
    let places = &site.places;
    let delivery = match waiting["jobs"].as_array().map_or(0, Vec::len) {
        0 => "nothing waits to be delivered".to_owned(),
        1 => format!("1 session waits to be delivered: {}", typed(LAYER2, "pending")),
        n => format!("{n} sessions wait to be delivered: {}", typed(LAYER2, "pending")),
    };
    writeln!(out, "first copy    {}, {}, in {}", sessions(&first), size(&first), places.layer1_store.display())
        .context("write to stdout")?;
    writeln!(out, "second copy   {}, {}, in {}", sessions(&third), size(&third), places.layer3_store.display())
        .context("write to stdout")?;
    let index = third.get("index").unwrap_or(&third);
    writeln!(out, "index         {} in {}", counted(index, "messages", "message"), places.index.display())
        .context("write to stdout")?;
    writeln!(out, "outbox        {delivery}").context("write to stdout")?;
    let findings = third["findings"].as_array().into_iter().flatten();
    match findings.filter(|finding| finding["needs_person"] == true).count() {
        0 => {}
        1 => writeln!(out, "needs you     1 thing: {} status", site.program(LAYER3).display())
            .context("write to stdout")?,
        n => writeln!(out, "needs you     {n} things: {} status", site.program(LAYER3).display())
            .context("write to stdout")?,
    }
    let hint = if hint.is_empty() { String::new() } else { format!("{hint}\n") };
    writeln!(
        out,
        "\n{hint}Use Claude Code as before: each turn is saved. In it, /search-sessions WORDS finds what was said.\n\
         {command} status tells whether everything is saved; {command} alone finds, shows and resumes a conversation."
    )
    .context("write to stdout")?;
    Ok(())
}

fn ask(site: &Site, program: &str, verb: &str) -> Result<Value> {
    let asked = format!("ask {} {verb} --json", site.program(program).display());
    let mut command = site.own_command(program);
    let output =
        command.args([verb, "--json"]).stdin(Stdio::null()).stderr(Stdio::inherit()).output().context(&asked)?;
    // An answer that names what needs a person comes with exit code 1.
    let answer = serde_json::from_slice::<Value>(&output.stdout);
    ensure!(output.status.success() || answer.is_ok(), "{asked} ({})", output.status);
    answer.context(&asked)
}

fn sessions(status: &Value) -> String {
    counted(status, "sessions", "session")
}

fn counted(status: &Value, key: &str, noun: &str) -> String {
    match status[key].as_u64() {
        Some(1) => format!("1 {noun}"),
        Some(n) => format!("{n} {noun}s"),
        None => format!("an unknown number of {noun}s"),
    }
}

fn size(status: &Value) -> String {
    status["bytes"].as_u64().map_or("of unknown size".to_owned(), |bytes| Size(bytes).to_string())
}
