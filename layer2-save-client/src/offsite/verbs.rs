//! The commands of the third place, as they are typed and carried out.

use std::io::{BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};
use layer1_prebackup::config::settings::Peers;
use layer1_prebackup::fs::Lock;
use layer1_prebackup::log::{in_one_line, now_ms};
use layer1_prebackup::names::{LAYER2, LAYER3, typed};
use layer1_prebackup::wire::offsite::{Kind, conversations, counted};
use layer1_prebackup::wire::shown::shown;
use serde_json::json;

use super::change::change;
use super::check::{Extent, check};
use super::drill::{Which, drill, print};
use super::due::{is_of_yesterday, may_try};
use super::engine::check_mounted;
use super::forget;
use super::key::{Key, WORDS};
use super::keys::{self, OfPlace};
use super::machines::{self, machines};
use super::peers;
use super::pull::{Pulled, pull, pull_due};
use super::push::{Pushed, Reading, note_attempt, note_waiting, push};
use super::repair::{Agree, repair};
use super::restore::{self, restore};
use super::rotate;
use super::setup::{KeyBy, Wanted, only_read, set_up, sheet};
use super::site::{SetUp, Site, Sites, is_away};
use super::status;
use super::thin;
use super::trouble::{Trouble, said};
use crate::error::{Error, failed};

/// What stands below the help of a verb.
fn example(words: &str) -> String {
    format!("Example: {}", typed(LAYER2, &format!("offsite {words}")))
}

/// What is typed behind `offsite`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Asked {
    #[command(subcommand)]
    verb: Verb,
    /// Which place, by its name in the settings ([offsite.NAME]) [default: the first one; push and status: all]
    #[arg(long = "place", value_name = "NAME", global = true, id = "called")]
    pub(crate) called: Option<String>,
}

impl Asked {
    /// What a timer asks for.
    pub(crate) fn due() -> Asked {
        Asked { verb: Verb::Push { now: false, due: true }, called: None }
    }
}

/// The verbs.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Sets up a third place for this machine: makes the key and the repository, prints the recovery sheet, sends everything
    #[command(after_help = example("init sftp:backup:threefold --name laptop"))]
    Init {
        /// An existing directory such as /media/usb/threefold, or sftp:HOST:PATH, rest:https://HOST/, s3:HOST/BUCKET, rclone:REMOTE:PATH
        place: String,
        /// What this machine is called there: lower-case letters, digits, hyphens
        #[arg(long)]
        name: String,
        /// Go on with what these same conversations were sent to before, from a computer that is no more
        #[arg(long)]
        take_over: bool,
    },
    /// Sets up a place that another computer of yours uses already, or one that you only read; asks for its key
    #[command(after_help = example("join sftp:backup:threefold --name desktop"))]
    Join {
        /// The place, as it was given to `init` there
        place: String,
        /// What this machine is called there: lower-case letters, digits, hyphens
        #[arg(long, required_unless_present = "read")]
        name: Option<String>,
        /// Only read what another person sends there, who made a key for you with `key add`; with --place NAME
        #[arg(long, conflicts_with = "name")]
        read: bool,
    },
    /// Lists the computers of the place, and when each sent something last
    #[command(after_help = example("machines"))]
    Machines {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Removes older snapshots of this computer; lists them and asks first
    #[command(after_help = example("thin --dry-run"))]
    Thin {
        /// Only list them
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Takes what was forgotten here out of the snapshots that were sent before; says what and asks first
    #[command(after_help = example("forget --dry-run"))]
    Forget {
        /// Only say what
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Lists the conversations that a computer has sent, newest first, as one JSON object: `threefold list --host` shows it
    #[command(hide = true, after_help = example("list desktop"))]
    List {
        /// The computer's name in the place
        host: String,
    },
    /// Fetches one conversation of a computer into a store of its own and says where, as one JSON object
    #[command(hide = true, after_help = example("fetch desktop 5b3d80da"))]
    Fetch {
        /// The computer's name in the place
        host: String,
        /// The conversation's id, or its beginning
        session: String,
    },
    /// Sends what is saved and has not arrived yet, and reads back what arrived
    #[command(after_help = example("push"))]
    Push {
        /// Now, which is what it does without this
        #[arg(long, conflicts_with = "due")]
        now: bool,
        /// Only if it is time to: for timers, prints nothing
        #[arg(long)]
        due: bool,
    },
    /// Brings what the other computers of the place, and of those that are only read, have sent; only what changed is fetched
    #[command(after_help = example("pull"))]
    Pull {
        /// One computer's name in the place; all of them if none is given
        host: Option<String>,
    },
    /// Shows what arrived, what waits, what was proven and what is wrong; exit code 1 if something needs you
    #[command(after_help = example("status"))]
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Brings a conversation back from the place and compares it with what was sent
    #[command(after_help = example("drill --all"))]
    Drill {
        /// The conversation's id, or its beginning; one is drawn if none is given
        session: Option<String>,
        /// All of them
        #[arg(long, conflicts_with = "session")]
        all: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Checks the repository, and a 28th of its data, another one each time
    #[command(after_help = example("check --all"))]
    Check {
        /// All of its data
        #[arg(long)]
        all: bool,
    },
    /// Sends again what the place lost or damaged, and proves it
    #[command(after_help = example("repair"))]
    Repair {
        /// Also take out of older snapshots what is lost for good; lists it and asks first
        #[arg(long)]
        drop_broken: bool,
        /// Do not ask
        #[arg(long, requires = "drop_broken")]
        yes: bool,
    },
    /// Brings everything back that a machine sent, onto one that has nothing yet
    #[command(after_help = example("restore sftp:backup:threefold --host laptop"))]
    Restore {
        /// The place [default: the setting offsite]
        place: Option<String>,
        /// The machine's name there
        #[arg(long)]
        host: String,
    },
    /// The recovery sheet and the keys of the place
    #[command(after_help = example("key show"))]
    Key {
        #[command(subcommand)]
        verb: KeyVerb,
    },
}

/// What is done with the key.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum KeyVerb {
    /// Prints the recovery sheet, with the key
    #[command(after_help = example("key show"))]
    Show,
    /// Asks for two of the words, to see that the sheet is kept
    #[command(after_help = example("key confirm"))]
    Confirm,
    /// Makes a new key for all computers of the place; no other one opens anything any more
    #[command(after_help = example("key change"))]
    Change,
    /// Makes a new repository for this computer, with a new master key, fills and proves it, and sends to it from then on
    #[command(after_help = example("key rotate"))]
    Rotate {
        /// Remove the repositories that others took the place of; asks first
        #[arg(long)]
        drop_old: bool,
        /// Do not ask
        #[arg(long, requires = "drop_old")]
        yes: bool,
    },
    /// Makes a further key for the same place, for a safe or for somebody else; prints its sheet and keeps nothing of it
    #[command(after_help = example("key add safe"))]
    Add {
        /// What it is called in `key list`: lower-case letters, digits, hyphens
        name: String,
        /// Ask for the words of a sheet that you have, for computers that came after it
        #[arg(long)]
        words: bool,
    },
    /// Lists the keys of the place, and which computers' conversations each opens
    #[command(after_help = example("key list"))]
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Takes a key away that was added; asks first
    #[command(after_help = example("key remove safe"))]
    Remove {
        /// Its name, or the beginning of its id, as `key list` shows it
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Carries a verb out; false where the exit code is 1.
pub(crate) fn run(sites: &Sites<'_>, asked: &Asked, out: &mut impl Write) -> Result<bool, Error> {
    let called = asked.called.as_deref();
    let site = &sites.of(called)?;
    match &asked.verb {
        Verb::Init { place, name, take_over } => {
            let wanted = Wanted { place: place.clone(), name: name.clone(), take_over: *take_over };
            begin(site, &wanted, KeyBy::Making, out)
        }
        Verb::Join { place, name: Some(name), .. } => {
            let wanted = Wanted { place: place.clone(), name: name.clone(), take_over: false };
            begin(site, &wanted, KeyBy::Asking(&mut ask_for_words), out)
        }
        Verb::Join { place, name: None, .. } => {
            let lock = site.lock()?;
            let found = only_read(site, &lock, place, &mut ask_for_words)?;
            let labels: Vec<String> =
                found.iter().map(|host| format!("{}.{host}", called.unwrap_or_default())).collect();
            let pull = site.typed("pull");
            let hosts = if labels.is_empty() { "nothing was sent there yet".to_owned() } else { labels.join(", ") };
            say(out, &format!("Only read here: {hosts}. `{pull}` brings it here, to be searched.\n"))
        }
        Verb::Machines { json } => {
            let lock = site.lock()?;
            let found = machines(site, &mut site.readable()?, &lock)?;
            machines::print(&found, *json, out)?;
            Ok(true)
        }
        Verb::Thin { dry_run, yes } => {
            let lock = site.lock()?;
            let mut set_up = site.set_up()?;
            let plan = thin::plan(site, &mut set_up, &lock)?;
            say(out, &plan.to_text())?;
            if *dry_run || plan.going.is_empty() {
                return Ok(true);
            }
            confirm_removal(*yes, "remove snapshots")?;
            thin::carry_out(site, &mut set_up, &lock, &plan)?;
            say(out, "Every conversation came back equal; removed.\n")
        }
        Verb::Forget { dry_run, yes } => {
            let lock = site.lock()?;
            let mut set_up = site.set_up()?;
            let plan = forget::plan(site, &mut set_up, &lock)?;
            say(out, &plan.to_text(&site.typed("key rotate --drop-old")))?;
            if !*dry_run && !plan.is_empty() {
                confirm_removal(*yes, "take it out of snapshots")?;
                forget::carry_out(site, &mut set_up, &lock, &plan)?;
                say(out, "Taken out; every conversation that is saved here came back equal.\n")?;
            }
            let is_other = |other: &&Site<'_>| plan.is_of_any() && other.called != site.called;
            for other in sites.set_up().iter().filter(is_other) {
                let (name, forget) = (name_of(other), other.typed("forget"));
                say(out, &format!("{name} may have what was sent there before too: `{forget}`\n"))?;
            }
            Ok(true)
        }
        Verb::List { host } => {
            let lock = site.lock()?;
            let all = first_of(sites, called, host, |site, host| peers::list(site, &site.readable()?, &lock, host))?;
            say(out, &format!("{}\n", json!({ "sessions": all })))
        }
        Verb::Fetch { host, session } => {
            let lock = site.lock()?;
            let fetch = |site: &Site<'_>, host: &str| peers::fetch(site, &site.readable()?, &lock, (host, session));
            let found = first_of(sites, called, host, fetch)?;
            say(out, &format!("{}\n", json!(found)))
        }
        Verb::Push { due: true, .. } => {
            push_due(sites, called);
            Ok(true)
        }
        Verb::Push { .. } => push_now(sites, called, out),
        Verb::Pull { host } => pull_now(sites, called, host.as_deref(), out),
        Verb::Status { json } => status::run(sites, called, *json, out),
        Verb::Drill { session, all, json } => {
            let which = match session {
                Some(id) => Which::Named(id.clone()),
                None if *all => Which::All,
                None => Which::Drawn,
            };
            let lock = site.lock()?;
            let lines = drill(site, &mut site.set_up()?, &lock, &which)?;
            print(&lines, *json, out)?;
            Ok(true)
        }
        Verb::Check { all } => {
            let lock = site.lock()?;
            let mut set_up = site.set_up()?;
            check(site, &mut set_up, &lock, if *all { Extent::All } else { Extent::NextPart })?;
            let part =
                set_up.state.check.filter(|_| !*all).map(|check| format!(" (part {} of {})", check.part, check.parts));
            say(out, &format!("No errors{}.\n", part.unwrap_or_default()))
        }
        Verb::Repair { drop_broken, yes } => {
            let lock = site.lock()?;
            let mut agree = |list: &str| {
                say(out, &format!("{}What is lost goes out of these snapshots.\n", shown(list)))?;
                confirm_removal(*yes, "take what is lost out of snapshots")
            };
            let agree: Option<Agree<'_>> = if *drop_broken { Some(&mut agree) } else { None };
            let done = repair(site, &mut site.set_up()?, &lock, agree)?;
            let (packs, sessions) = (done.packs, conversations(done.drilled.len() as u64));
            let left = match done.left.as_str() {
                "" => "No errors are left.\n".to_owned(),
                left => {
                    let drop = site.typed("repair --drop-broken");
                    format!(
                        "Older snapshots have lost what this computer has no more ({left}); \
                         `{drop}` takes that out of them.\n"
                    )
                }
            };
            say(
                out,
                &format!(
                    "{}{}{sessions} came back equal. {left}",
                    if packs == 0 { String::new() } else { format!("Broken packs that were taken out: {packs}. ") },
                    done.pushed.to_text()
                ),
            )
        }
        Verb::Restore { place, host } => {
            let wanted = restore::Wanted { place: place.clone(), host: host.clone() };
            let lock = site.lock()?;
            let restored = restore(site, &lock, &wanted, &mut ask_for_words)?;
            say(out, &restored.to_text())?;
            Ok(restored.wrong.is_empty())
        }
        Verb::Key { verb: KeyVerb::Show } => {
            let (set_up, key) = (site.set_up()?, key(site)?);
            say(out, &sheet(&set_up, &key, None))
        }
        Verb::Key { verb: KeyVerb::Change } => {
            let lock = site.lock()?;
            let mut set_up = site.set_up()?;
            change(site, &mut set_up, &lock, &mut |set_up, key, concerned| {
                say(out, &format!("{}\n", sheet(set_up, key, None)))?;
                for name in &concerned.machines {
                    let words = "put the new words into its key file, or nothing is sent from there.";
                    say(out, &format!("On {name}: {words}\n"))?;
                }
                for name in &concerned.added {
                    let add = site.typed(&format!("key add {name}"));
                    say(out, &format!("The key {name} opens nothing any more either: `{add}` makes another one.\n"))?;
                }
                Ok(())
            })?;
            say(out, "The old sheet opens nothing any more: destroy it.\n")
        }
        Verb::Key { verb: KeyVerb::Rotate { drop_old: true, yes } } => drop_old(site, *yes, out),
        Verb::Key { verb: KeyVerb::Rotate { .. } } => {
            let lock = site.lock()?;
            let mut set_up = site.set_up()?;
            let lacking = rotate::rotate(site, &mut set_up, &lock, &mut |set_up, key| {
                say(out, &format!("{}\n", sheet(set_up, key, None)))?;
                let old = "Copying everything there and bringing it back; until that is done nothing changes …\n";
                say(out, old).map(drop)
            })?;
            let (state, drop_old) = (&set_up.state, site.typed("key rotate --drop-old"));
            let (new, old) = (state.repository_name(), state.replaced.join(", "));
            let all = conversations(state.receipt.as_ref().map_or(0, |receipt| receipt.sessions));
            say(
                out,
                &format!(
                    "{all} came back equal from {new}; everything is sent there from now on. The words are the same; keep the \
                     new sheet instead of the old one. {old} is still there, and can be read with its old master key: \
                     `{drop_old}` removes it.\n"
                ),
            )?;
            for name in lacking {
                let add = site.typed(&format!("key add {name} --words"));
                say(out, &format!("The key {name} does not open it: `{add}` asks for its words and lets it.\n"))?;
            }
            Ok(true)
        }
        Verb::Key { verb: KeyVerb::Add { name, words } } => {
            let words = if *words { Some(Key::parse(&ask_for_words()?)?) } else { None };
            let lock = site.lock()?;
            keys::add(site, &mut site.set_up()?, &lock, (name, words), &mut |set_up, key| {
                say(out, &format!("{}\n", sheet(set_up, key, Some(name)))).map(drop)
            })?;
            say(out, "The key is added. Its words are not kept on this computer: this sheet alone has them.\n")
        }
        Verb::Key { verb: KeyVerb::List { json } } => {
            let lock = site.lock()?;
            let mut set_up = site.set_up()?;
            let found = keys::list(site, &mut set_up, &lock)?;
            let place = site.options.key.place();
            let text = |key: &OfPlace| match json {
                true => format!("{}\n", key.to_json()),
                false => key.to_text(&set_up.state, &place),
            };
            say(out, &found.iter().map(text).collect::<String>())
        }
        Verb::Key { verb: KeyVerb::Remove { name, yes } } => {
            confirm_removal(*yes, "remove a key")?;
            let lock = site.lock()?;
            keys::remove(site, &mut site.set_up()?, &lock, name)?;
            say(out, &format!("The key {name} opens nothing any more.\n"))
        }
        Verb::Key { verb: KeyVerb::Confirm } => {
            let key = key(site)?;
            confirm(site, &key)?;
            let _lock = site.lock()?;
            let mut set_up = site.set_up()?;
            set_up.state.key_confirmed_ms = Some(now_ms());
            set_up.state.write(site.store())?;
            say(out, "Both words are right: the recovery sheet is kept.\n")
        }
    }
}

/// Whether a verb leaves a store that is to be saved a second time, and what to type then.
pub(crate) fn is_restore(asked: &Asked) -> bool {
    matches!(asked.verb, Verb::Restore { .. })
}

/// A place's name, for people.
fn name_of(site: &Site<'_>) -> String {
    site.called.map_or_else(|| "The first place".to_owned(), |called| format!("The place {called}"))
}

/// What the first place can say that can say it: all hold what other machines have sent there. Of several errors the first.
fn first_of<T>(
    sites: &Sites<'_>,
    called: Option<&str>,
    host: &str,
    ask: impl Fn(&Site<'_>, &str) -> Result<T, Error>,
) -> Result<T, Error> {
    if let Some((site, host)) = of_another_person(sites, host) {
        return ask(&site, host);
    }
    let own = sites.of(called)?;
    let mut answer = ask(&own, host);
    let others = sites.set_up().into_iter().filter(|other| called.is_none() && other.called.is_some());
    for other in others {
        if answer.is_err() {
            answer = ask(&other, host).or(answer);
        }
    }
    answer
}

/// The place that is only read, and the machine in it, of a name such as `anna.laptop`.
fn of_another_person<'s, 'h>(sites: &Sites<'s>, host: &'h str) -> Option<(Site<'s>, &'h str)> {
    let (called, host) = host.split_once('.')?;
    let mut read = sites.only_read().into_iter();
    read.find(|(site, _)| site.called == Some(called)).map(|(site, _)| (site, host))
}

/// Pulls from the place that is named, or from all. One that cannot be read is told, and keeps nothing of the others from
/// coming; a disk that is not connected is no failure.
fn pull_now(sites: &Sites<'_>, called: Option<&str>, host: Option<&str>, out: &mut impl Write) -> Result<bool, Error> {
    let first = sites.of(called)?;
    let of_another = host.and_then(|host| of_another_person(sites, host));
    let (asked, host) = match of_another {
        Some((site, host)) => (vec![site], Some(host)),
        None if called.is_some() => (vec![first], host),
        None => {
            let read = sites.only_read().into_iter().map(|(site, _)| site);
            // Who only reads has no place to send to.
            let asked: Vec<Site<'_>> = sites.set_up().into_iter().chain(read).collect();
            (if asked.is_empty() { vec![first] } else { asked }, host)
        }
    };
    let lock = asked[0].lock()?;
    let (mut is_well, mut is_found) = (true, false);
    for site in &asked {
        if let (Some(name), true) = (site.called, asked.len() > 1)
            && site.readable().is_ok_and(|set_up| is_away(&set_up.place))
        {
            say(out, &format!("{name}: its disk is not connected\n"))?;
            continue;
        }
        let pulled = match site.options.peers {
            Peers::None => Err("pull: offsite_peers is \"none\", so nothing of other computers is kept here".into()),
            _ => site.readable().and_then(|mut set_up| pull(site, &mut set_up, &lock, host)),
        };
        match pulled {
            Ok(pulled) => {
                say(out, &pulled.iter().map(Pulled::to_text).collect::<String>())?;
                is_well &= pulled.iter().all(Pulled::is_whole);
                is_found |= !pulled.is_empty();
            }
            Err(error) if asked.len() == 1 => return Err(error),
            Err(error) => {
                let name = site.called.unwrap_or("the first place");
                say(out, &format!("{name}: cannot be read: {}\n", shown(&in_one_line(&*error))))?;
                is_well = false;
            }
        }
    }
    match host.filter(|_| !is_found) {
        Some(host) => Err(format!("find the machine {host:?}: no other one of this name has sent anything").into()),
        None => Ok(is_well),
    }
}

/// Sends to the place that is named, or to all that are set up. One whose disk is not connected waits for it.
fn push_now(sites: &Sites<'_>, called: Option<&str>, out: &mut impl Write) -> Result<bool, Error> {
    let all = sites.set_up();
    let asked = match called.is_some() || all.is_empty() {
        true => vec![sites.of(called)?],
        false => all,
    };
    let (lock, are_several) = (asked[0].lock()?, asked.len() > 1);
    let mut failed = Vec::new();
    for site in &asked {
        let before = site.called.filter(|_| are_several).map(|called| format!("{called}: ")).unwrap_or_default();
        let name = site.called.unwrap_or("the first place");
        let done = site.set_up().and_then(|mut set_up| {
            if waits_for_its_disk(site, &mut set_up)? {
                let waits = || "its disk is not connected; what waits is sent when it is.\n".to_owned();
                // No try that failed: those that follow do not wait the longer.
                return if called.is_none() { Ok(waits()) } else { check_mounted(&set_up.place).map(|()| waits()) };
            }
            Ok(push(site, &mut set_up, &lock, Reading::Changed)?.to_text())
        });
        match done {
            Ok(text) => drop(say(out, &format!("{before}{text}"))?),
            Err(error) if !are_several => return Err(error),
            Err(error) => failed.push(format!("{name}: {}", in_one_line(&*error))),
        }
    }
    match failed.is_empty() {
        true => Ok(true),
        false => Err(format!("send to {} of {} places: {}", failed.len(), asked.len(), failed.join("; ")).into()),
    }
}

/// Whether a place is on a disk that need not always be connected, and is not; its state says so then.
fn waits_for_its_disk(site: &Site<'_>, set_up: &mut SetUp) -> Result<bool, Error> {
    let before = set_up.state.clone();
    (set_up.state.away, set_up.state.max_age_ms) = (is_away(&set_up.place), site.options.max_age_ms(&set_up.place));
    let waits = set_up.state.away && set_up.state.max_age_ms.is_some();
    if let (true, Ok(seal)) = (waits, site.seal(&set_up.state)) {
        note_waiting(site, set_up, &seal);
    }
    if set_up.state != before {
        set_up.state.write(site.store())?;
    }
    Ok(waits)
}

/// Removes the repositories that others took the place of.
fn drop_old(site: &Site<'_>, yes: bool, out: &mut impl Write) -> Result<bool, Error> {
    let lock = site.lock()?;
    let mut set_up = site.set_up()?;
    let old = set_up.state.replaced.join(", ");
    if old.is_empty() {
        return say(out, "Nothing to remove: no repository of this computer was replaced.\n");
    }
    say(out, &format!("To be removed, with all of its snapshots: {old} in {}.\n", shown(set_up.place.as_str())))?;
    confirm_removal(yes, "remove what was replaced")?;
    let left = rotate::drop_old(site, &mut set_up, &lock)?;
    say(out, "Every conversation came back equal from the new one; removed.\n")?;
    for name in left {
        say(out, &format!("Nothing is in {name} any more; delete its folder at the place.\n"))?;
    }
    Ok(true)
}

fn say(out: &mut impl Write, text: &str) -> Result<bool, Error> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failed("write to stdout"))?;
    Ok(true)
}

fn begin(site: &Site<'_>, wanted: &Wanted, key_by: KeyBy<'_>, out: &mut impl Write) -> Result<bool, Error> {
    let lock = site.lock()?;
    let (mut set_up, key) = set_up(site, &lock, wanted, key_by)?;
    say(out, &sheet(&set_up, &key, None))?;
    if set_up.state.one_disk {
        say(out, "\nThis place is on the disk that has your backup: one on another disk or computer outlives it.\n")?;
    }
    say(out, "\nSending everything for the first time; this may take a while …\n")?;
    let pushed = push(site, &mut set_up, &lock, Reading::Changed)?;
    let confirm = site.typed("key confirm");
    say(out, &format!("{}When the sheet is kept, type `{confirm}`.\n", pushed.to_text()))
}

impl Pushed {
    fn to_text(&self) -> String {
        match self {
            Pushed::NothingNew => "Nothing new: all that is saved has arrived before.\n".to_owned(),
            Pushed::Received(receipt) => {
                let (sessions, files) = (conversations(receipt.sessions), counted(receipt.files, "file"));
                let snapshot = super::snapshots::short_id(&receipt.snapshot);
                format!("{sessions}, {files} arrived and were read back (snapshot {snapshot}).\n")
            }
        }
    }
}

fn key(site: &Site<'_>) -> Result<Key, Error> {
    let key = site.options.key.read(&site.options.key_env(&site.settings.child_env))?;
    key.ok_or_else(|| format!("find the key: there is none in {}", site.options.key.place()).into())
}

/// The words of the key, typed.
fn ask_for_words() -> Result<String, Error> {
    if std::io::stdin().is_terminal() {
        prompt("The 24 words of the recovery sheet, with blanks between them: ")?;
    }
    let mut words = String::new();
    let mut stdin = std::io::stdin().lock();
    while words.split_whitespace().count() < WORDS {
        if stdin.read_line(&mut words).map_err(failed("read the words"))? == 0 {
            break;
        }
    }
    Ok(words)
}

/// Asks, unless `yes` was typed before; an error where the answer is not yes.
fn confirm_removal(yes: bool, doing: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    prompt("This cannot be undone. Type \"yes\" to remove them: ")?;
    match line_of_stdin()?.trim() {
        "yes" => Ok(()),
        _ => Err(format!("{doing}: it was not confirmed; nothing was removed").into()),
    }
}

fn line_of_stdin() -> Result<String, Error> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(failed("read an answer"))?;
    Ok(line)
}

fn prompt(text: &str) -> Result<(), Error> {
    let mut stderr = std::io::stderr();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).map_err(failed("ask on stderr"))
}

/// Asks for two of the words, drawn.
fn confirm(site: &Site<'_>, key: &Key) -> Result<(), Error> {
    let words = key.words();
    let mut drawn = [0; 2];
    layer1_prebackup::fs::platform::random(&mut drawn).map_err(failed("ask the system for random numbers"))?;
    let first = usize::from(drawn[0]) % WORDS;
    let second = (first + 1 + usize::from(drawn[1]) % (WORDS - 1)) % WORDS;
    for nth in [first, second] {
        prompt(&format!("Word {}: ", nth + 1))?;
        let answer = line_of_stdin()?;
        if answer.trim().to_lowercase() != words[nth] {
            let show = site.typed("key show");
            return Err(format!("confirm the key: word {} is another one; `{show}` prints the sheet", nth + 1).into());
        }
    }
    Ok(())
}

/// Does what is due at each place, and says what goes wrong in the log and in the state alone. The place that was longest
/// not tried comes first: one may take long.
fn push_due(sites: &Sites<'_>, called: Option<&str>) {
    let mut due: Vec<Site<'_>> = sites.set_up();
    due.retain(|site| called.is_none() || site.called == called);
    due.sort_by_key(|site| site.state().ok().flatten().and_then(|state| state.attempt).map(|last| last.at_ms));
    let Some(first) = due.first() else { return };
    let tell = |error: &Error| first.report.line_with_time(&format!("[offsite] failed to {}", in_one_line(&**error)));
    match first.lock_now() {
        Ok(Some(lock)) => due.iter().for_each(|site| drop(what_is_due(site, &lock).inspect_err(tell))),
        // Another one is at it.
        Ok(None) => {}
        Err(error) => tell(&error),
    }
}

fn what_is_due(site: &Site<'_>, lock: &Lock) -> Result<(), Error> {
    if site.state()?.is_none() {
        return Ok(());
    }
    let ready = site.set_up().and_then(|set_up| Ok((site.seal(&set_up.state)?, set_up)));
    let (seal, mut set_up) = match ready {
        Ok(ready) => ready,
        Err(error) => return note_unready(site, &error),
    };
    if waits_for_its_disk(site, &mut set_up)? {
        return Ok(());
    }
    let before = (set_up.state.waiting, set_up.state.dirty_since_ms);
    note_waiting(site, &mut set_up, &seal);
    if before != (set_up.state.waiting, set_up.state.dirty_since_ms) {
        set_up.state.write(site.store())?;
    }
    if !may_try(&set_up.state, site.options.every, now_ms()) {
        return Ok(());
    }
    // One that failed before anything was looked at is over once there is nothing to send either.
    if set_up.state.dirty_since_ms.is_some() || set_up.state.attempt.as_ref().is_some_and(|attempt| !attempt.ok) {
        push(site, &mut set_up, lock, Reading::Changed)?;
    }
    if set_up.state.receipt.is_none() {
        return Ok(());
    }
    let (drilled, checked) = (set_up.state.drill.as_ref(), set_up.state.check.as_ref());
    let (drilled, checked) = (drilled.map(|drill| drill.at_ms), checked.map(|check| check.at_ms));
    let mut proven = Ok(());
    if is_of_yesterday(drilled, now_ms()) {
        proven = keep_going(drill(site, &mut set_up, lock, &Which::Drawn));
    }
    if proven.is_ok() && is_of_yesterday(checked, now_ms()) {
        proven = keep_going(check(site, &mut set_up, lock, Extent::NextPart));
    }
    if let Err(error) = &proven {
        // It waits as after a push that failed.
        note_attempt(site, &mut set_up.state, &Err(in_one_line(&**error)))?;
    }
    proven.and(pull_due(site, &mut set_up, lock))
}

/// Keeps in the state why nothing can be sent: settings that say something else than what is set up, or a store that
/// cannot be read. Where nobody can write there, the log has it.
fn note_unready(site: &Site<'_>, error: &Error) -> Result<(), Error> {
    let Some(mut state) = site.state()?.filter(|state| may_try(state, site.options.every, now_ms())) else {
        return Ok(());
    };
    let kind = error.downcast_ref::<Trouble>().map_or(Kind::OffsiteFailed, |trouble| trouble.kind);
    state.trouble(kind, &said(error), now_ms());
    note_attempt(site, &mut state, &Err(in_one_line(&**error)))
}

/// A proof that failed is in the state, and keeps nothing else from being done.
fn keep_going<T>(done: Result<T, Error>) -> Result<(), Error> {
    match done {
        Err(error) => match error.downcast::<Trouble>() {
            Ok(trouble) if matches!(trouble.kind, Kind::DrillFailed | Kind::CheckFailed) => Ok(()),
            Ok(trouble) => Err(trouble),
            Err(error) => Err(error),
        },
        Ok(_) => Ok(()),
    }
}

/// What to type when everything is back.
pub(crate) fn after_restore() -> String {
    format!("Give Claude Code its conversations back with `{}`.\n", typed(LAYER3, "restore --all-missing"))
}
