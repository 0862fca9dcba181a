//! What a person can set: the settings' file, the places, what is left out, what a child gets to see.

mod apart;
pub mod arguments;
pub(crate) mod away;
pub mod child_env;
pub mod exclude;
pub mod places;
pub mod settings;
pub mod size;
pub mod threads;
mod variables;
