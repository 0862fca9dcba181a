//! What users run once: installing the programs, hooks, MCP server, skills and the command `threefold`, and taking it
//! all away again.
//!
//! Everything that has to be written is in the program itself, so that an installation can be mended and removed when
//! what it came from is gone. The stores are never touched.

use crate::failure::Failure;

/// What a step gives.
type Result<T, E = Failure> = std::result::Result<T, E>;

/// Ends a step with a failure, in words that fit after "failed to".
macro_rules! bail {
    ($($words:tt)*) => { return Err(crate::failure::Failure::new(format!($($words)*))) };
}

/// [`bail!`], unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => { if !$holds { bail!($($words)*) } };
}

pub(crate) mod command;
mod hooks;
pub(crate) mod install;
mod mcp;
mod protection;
mod settings_json;
pub(crate) mod site;
mod skills;
mod timer;
pub(crate) mod uninstall;
