//! The off-site copy, on real engines and real servers.

mod servers;
