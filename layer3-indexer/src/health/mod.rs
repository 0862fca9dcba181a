//! How things stand: `status` runs the checks that cost little, `doctor` all of them.

pub(crate) mod doctor;
pub(crate) mod status;
