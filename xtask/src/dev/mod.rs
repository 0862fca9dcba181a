//! What those who build Threefold run: tests, faults, measurements, what is handed out.

mod agent_sdk;
pub(crate) mod bench;
pub(crate) mod dist;
pub(crate) mod e2e_claude;
pub(crate) mod faults;
#[cfg(test)]
mod imports;
pub(crate) mod interop;
mod machine;
pub(crate) mod offsite_tools;
pub(crate) mod plugin;
pub(crate) mod recall;
pub(crate) mod record;
pub(crate) mod soak;
pub(crate) mod suites;
pub(crate) mod targets;
pub(crate) mod test;
#[cfg(test)]
mod tidy;
