//! The benchmarks: Threefold's real programs beside the chain that it replaces and beside its peers,
//! in one run, on the same bytes; and instruction counts, which no busy machine disturbs.
//!
//! Contestants take turns on every workload, so that a slow moment hits all of them and the ratios
//! stand. Nothing is measured that did not end well: a contestant that fails fails the run.

pub mod budgets;
pub mod contest;
pub mod corpus;
pub mod instructions;
pub mod many;
pub mod meter;
pub mod old_chain;
pub mod peers;
pub mod picture;
pub mod report;
pub mod scale;
pub mod statistics;
pub mod words;
pub mod works;
