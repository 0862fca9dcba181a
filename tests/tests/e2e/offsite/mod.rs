//! The off-site copy, on real engines and real servers.

mod damage;
mod faults;
mod forgotten;
mod hooks;
mod keys;
mod kills;
mod machine;
mod machines;
mod places;
mod restores;
mod rotations;
mod second;
mod secrets;
mod servers;
mod storm;
mod team;
mod trouble;
