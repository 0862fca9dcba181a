//! `status`: how things stand, and our programs as one would type them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::child_env;
use layer1_prebackup::config::places::{CLAUDE_CONFIG_DIR, PlaceFlags, Places};
use layer1_prebackup::config::settings::XDG_CONFIG_HOME;
use layer1_prebackup::fs::platform::MANAGED_SETTINGS_DIR;
use layer1_prebackup::names::{LAYER1, LAYER2, LAYER3, program_name};

use crate::cli::pass_on::program_dir;
use crate::cli::screen::{Screen, here, needing_person};
use crate::failure::{Context as _, Failure};
use crate::health::checks::{Depth, examine};
use crate::health::context::{Commands, Context};
use crate::health::finding::{Finding, Kind};
use crate::health::text::Renderer;
use crate::restore::standing;
use crate::save::adopt_v1;
use crate::stores::acknowledged::{self, Seen};
use crate::stores::memory_loss::memory_losses;
use crate::stores::{SessionCopies, Stores};
use crate::terminal::{path_quoted, time};

// The arguments of `status`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Tell no more of these conversations or memories: that they lost something, or that you deleted them; without a name, of all of them
    #[arg(long, value_name = "SESSION", num_args = 0..)]
    acknowledge: Option<Vec<String>>,
    /// Also how much Claude Code has to resume in the current directory
    #[arg(long, short)]
    verbose: bool,
    /// With --for-model: skip this many findings
    #[arg(long, value_name = "N", default_value_t = 0, requires = "for_model")]
    offset: usize,
}

/// Runs `status`.
pub(super) fn run(
    places: Places,
    flags: &PlaceFlags,
    args: StatusArgs,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    if let Some(sessions) = args.acknowledge {
        acknowledge(&context(places.clone(), flags), &sessions)?;
    }
    let context = context(places, flags);
    let report = examine(&context, Depth::Cheap);
    let mut told = serde_json::to_value(report.status_json()).context("write JSON")?;
    if let Some(findings) = told.get_mut("findings").and_then(serde_json::Value::as_array_mut) {
        drop(findings.drain(..args.offset.min(findings.len())));
    }
    screen.offset = args.offset;
    let verbose = args.verbose;
    screen.answer(&told, |terminal| Renderer { report: &report, context: &context, terminal, verbose }.status())?;
    // Of a command that fails a model gets less.
    if screen.for_model { Ok(()) } else { needing_person(report.needing()) }
}

/// Acknowledges these conversations; without a name, all that lost something or are gone without being due.
fn acknowledge(context: &Context, sessions: &[String]) -> Result<(), Failure> {
    let stores = Rc::new(Stores::open(&context.places)?);
    let places = context.places.of_memories();
    // What cannot be read has nothing to be acknowledged.
    let memories =
        [&places.layer3_store, &places.layer1_store].map(|store| Archive::open_as_found(store).ok().flatten());
    let mut memories = memory_losses(memories.each_ref().map(Option::as_ref), stores.layer3.as_ref());
    memories.retain(|loss| sessions.is_empty() || sessions.iter().any(|typed| *typed == loss.key.id.as_str()));
    let is_conversation = |typed: &&String| memories.iter().all(|loss| **typed != loss.key.id.as_str());
    let named = sessions.iter().filter(is_conversation).map(|typed| stores.find(typed));
    let mut named = named.collect::<Result<Vec<_>, _>>()?;
    if sessions.is_empty() {
        let told = examine(context, Depth::Cheap).findings.into_iter();
        let told = told.filter(|finding| finding.kind.is_loss() || finding.kind == Kind::Vanished);
        let key = |finding: Finding| SessionKey::parse(&finding.project?, &finding.session_id?).ok();
        named.extend(told.filter_map(key));
    }
    let copies = named.iter().map(|key| SessionCopies::of(&stores, key)).collect::<Result<Vec<_>, _>>()?;
    let archive = adopt_v1::create(&context.places)?;
    // Who lets a loss be said nothing of what happens to the transcript later.
    let is_there = |copies: &SessionCopies| {
        copies.sources().any(Path::exists) || !matches!(standing(&context.places, &copies.key.id), Ok(None))
    };
    let seen = |copies| (copies, if is_there(copies) { Seen::Loss } else { Seen::Gone });
    acknowledged::acknowledge(&archive, copies.iter().map(seen))?;
    acknowledged::acknowledge_memories(&archive, memories.iter().map(|loss| (&loss.key, loss.marks.as_slice())))
}

/// What is looked at by default, as the environment and the flags say.
pub(super) fn context(places: Places, flags: &PlaceFlags) -> Context {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let vars: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| child_env::is_allowed(name)).collect();
    // What resolves with the settings' file resolves without it.
    let typed_places = Places::resolve_with(flags, &set, &layer1_prebackup::config::settings::Settings::default())
        .unwrap_or_else(|_| places.clone());
    // Beside the usual directory; inside one that the variable names, or that is another.
    let is_named = flags.claude_dir.is_none() && set(CLAUDE_CONFIG_DIR).is_some();
    let is_inside = is_named || places.claude_dir != places.home.join(".claude");
    let claude_json = if is_inside { &places.claude_dir } else { &places.home }.join(".claude.json");
    let config_home = set(XDG_CONFIG_HOME).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let asking = here(&places).asking(&places.claude_dir);
    Context {
        asking,
        now_ms: u64::try_from(time::now_ms()).unwrap_or(0),
        // Without a current directory there is no light for it.
        cwd: std::env::current_dir().ok(),
        commands: pasteable(flags),
        program_dir: program_dir().ok(),
        claude_json,
        managed_dir: MANAGED_SETTINGS_DIR.into(),
        config_home: config_home.unwrap_or_else(|| places.home.join(".config")),
        temp_dir: std::env::temp_dir(),
        vars,
        round_trip: false,
        typed_places,
        places,
    }
}

/// Our programs as one would type them now: the one command where this was started by its name, else each by its own;
/// names where the `PATH` leads to them, else paths; then the flags that were typed for this run.
fn pasteable(flags: &PlaceFlags) -> Commands {
    let folder = program_dir().ok();
    let own = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let command = |program: &'static str| {
        let name = program_name(program);
        let is_one = name != program;
        let ours = folder.as_ref().map(|folder| folder.join(if is_one { LAYER3 } else { program }));
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        let found = found.and_then(|file| std::fs::canonicalize(file).ok());
        let mut words = match ours {
            Some(ours) if found.as_ref() == Some(&ours) => name.to_owned(),
            // What was typed leads to it, from here at least.
            Some(_) if is_one && own.components().count() > 1 => {
                path_quoted(&std::path::absolute(&own).unwrap_or(own.clone()))
            }
            Some(ours) => path_quoted(&ours),
            _ => name.to_owned(),
        };
        for (flag, value) in flags.named() {
            words.extend(value.map(|value| format!(" {flag} {}", path_quoted(value))));
        }
        words
    };
    let layer1 = command(LAYER1);
    // `verify` alone is layer 3's.
    let first_copy = if program_name(LAYER1) == LAYER1 { layer1.clone() } else { format!("{layer1} {LAYER1}") };
    Commands { layer1, layer2: command(LAYER2), layer3: command(LAYER3), first_copy }
}
