//! Going on with a conversation: put back what is missing of it, then become `claude --resume`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use layer1_prebackup::config::places::{CLAUDE_CONFIG_DIR, Places};
use layer1_prebackup::fs::platform::process::become_program;

use crate::failure::{Context, Failure};
use crate::restore::carry_out::save_in_both;
use crate::restore::place::{refuse_live, standing};
use crate::restore::plan::{Plan, plan};
use crate::restore::types::{Options, Restored};
use crate::restore::until::{self, Point};
use crate::stores::loss::Loss;
use crate::stores::{SessionCopies, Stores, Which};

/// Set by a running Claude Code for its children. One that inherits them takes itself for a child
/// and writes no transcript.
const NOT_FOR_CHILDREN: [&str; 3] = ["CLAUDECODE", "CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_SESSION_ID"];

/// How `claude` is told its configuration directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ConfigDir {
    /// As the environment says.
    #[default]
    Inherited,
    /// This one.
    Given(PathBuf),
    /// None: `~/.claude`.
    Default,
}

/// A session that is all there.
#[derive(Debug)]
pub(crate) struct Ready {
    /// What was put back.
    pub(crate) restored: Restored,
    command: String,
    /// The configuration directory that it lies in, unless that is the primary one.
    config_dir: Option<PathBuf>,
}

/// What the session's newest content lost, so that somebody has to say with which one to go on. What stands below Claude
/// Code's directory is saved before: it may have been rewritten without a hook.
pub(crate) fn loss(places: &Places, typed: &str) -> Result<Option<Loss>, Failure> {
    let stores = Rc::new(Stores::open(places)?);
    let key = stores.find(typed)?;
    if let Some(path) = standing(places, &key.id)? {
        save_in_both(places, &SessionCopies::of(&stores, &key)?, &path)?;
    }
    Ok(SessionCopies::of(&Rc::new(Stores::open(places)?), &key)?.loss())
}

/// Puts back what is missing of the session. What stands there is left as it is, unless another content than the
/// newest is asked for: then it is saved and replaced. Refuses where its directory does not exist, before it writes
/// anything, and while it is live.
pub(crate) fn ready(places: &Places, typed: &str, options: &Options) -> Result<Ready, Failure> {
    let as_it_is = options.content == Which::Newest;
    let options = Options { only_absent: as_it_is, force: !as_it_is, in_place: true, ..options.clone() };
    refuse_live(places, &Stores::open(places)?.find(typed)?.id, false)?;
    carried_out(places, plan(places, typed, &options)?)
}

fn carried_out(places: &Places, plan: Plan) -> Result<Ready, Failure> {
    if let Some(cwd) = plan.cwd().filter(|cwd| !Path::new(cwd).is_dir()) {
        let message = format!("resume session {}: its directory {cwd} does not exist", plan.id());
        return Err(Failure::new(message).hint("--cwd DIR names the one it lies in now"));
    }
    let config_dir = plan.other_config_dir(places);
    let restored = plan.carry_out(places)?;
    let command = restored.command.clone().unwrap_or_default();
    Ok(Ready { restored, command, config_dir })
}

/// Makes a new session of the conversation up to a point; refuses where its directory does not exist, before it writes
/// anything. The conversation itself may be live.
pub(crate) fn ready_at(places: &Places, typed: &str, point: &Point, options: &Options) -> Result<Ready, Failure> {
    carried_out(places, until::plan(places, typed, point, options)?)
}

/// Becomes `claude --resume ID ARGS…` in the session's directory, with the user's own environment
/// except for what a Claude Code above us would tell its children. Returns only if that fails.
pub(crate) fn become_claude(ready: &Ready, args: &[OsString], config_dir: &ConfigDir) -> Result<Infallible, Failure> {
    let mut claude = Command::new("claude");
    claude.arg("--resume").arg(&ready.restored.session_id).args(args);
    if let Some(cwd) = &ready.restored.cwd {
        // Programs believe this variable where it leads to the same directory, so it must.
        claude.current_dir(cwd).env("PWD", cwd);
    }
    for name in NOT_FOR_CHILDREN {
        claude.env_remove(name);
    }
    let given = ready.config_dir.clone().map(ConfigDir::Given);
    match given.as_ref().unwrap_or(config_dir) {
        ConfigDir::Inherited => {}
        ConfigDir::Given(dir) => drop(claude.env(CLAUDE_CONFIG_DIR, dir)),
        ConfigDir::Default => drop(claude.env_remove(CLAUDE_CONFIG_DIR)),
    }
    let source = become_program(&mut claude, None);
    let command = &ready.command;
    match source.kind() {
        io::ErrorKind::NotFound => Err(Failure::new("start claude: it is not on the PATH")
            .hint(format!("in a shell that has it on its PATH, type: {command}"))),
        _ => Err(source).context(format_args!("start claude: {command}")),
    }
}
