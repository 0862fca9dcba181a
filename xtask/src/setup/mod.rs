//! What users run, which the program that is installed does itself: its verbs `setup`, `uninstall` and `doctor`.

pub(crate) mod doctor;
pub(crate) mod install;
pub(crate) mod origin;
pub(crate) mod uninstall;
