//! How things stand: what is protected, what is not and why, and what a person should do.
//!
//! `status` runs the checks that cost little: it looks at Claude Code's directory, both stores, the
//! outbox and the index, never writes, never hashes a whole file (`verify` does), and never fails.
//! `doctor` runs all: it looks also at what is to save, and has it save something. A place that is
//! missing, unreadable or full of garbage is a [`finding::Finding`] like any other, with the command
//! that cures it, never an error. Whatever is started is waited for within a bound.

mod causes;
pub(crate) mod checks;
mod child;
pub(crate) mod claude_settings;
pub(crate) mod context;
mod examination;
mod figures;
pub(crate) mod finding;
pub(crate) mod fix;
mod installation;
mod plugin;
pub(crate) mod report;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod titles;
