//! What a person can set: the settings' file, the places, what is left out.

pub mod exclude;
pub mod places;
pub mod settings;
