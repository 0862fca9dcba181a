//! The off-site copy as tests have it: restic, and servers on the loopback interface that keep its repositories.
//!
//! [`tools`] knows what is there to run, [`server`] starts, freezes and kills one of them, and [`place`] is what a
//! person types after `offsite init`, with everything that has to be running for it. [`postgres`] keeps a team's archive.

pub mod place;
pub mod postgres;
pub mod restic;
pub mod server;
pub mod tools;
