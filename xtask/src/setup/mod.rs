//! What users run: installing, removing, looking whether it works.

pub(crate) mod doctor;
pub(crate) mod hooks;
pub(crate) mod install;
pub(crate) mod mcp;
pub(crate) mod origin;
pub(crate) mod protection;
pub(crate) mod settings_json;
pub(crate) mod site;
pub(crate) mod skills;
pub(crate) mod timer;
pub(crate) mod uninstall;
