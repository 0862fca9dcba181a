//! How things stand: `status` runs the checks that cost little, `doctor` all of them.

pub mod doctor;
pub mod status;
