//! Fault injection: every file- and process-related system call of the programs is made to fail,
//! one after the other, and nothing acknowledged may be lost, no failure hidden, nothing left behind.
//!
//! A *workload* is something that a program does from a starting state. A clean run of it under
//! strace shows its calls; each with each way in which it can fail is a *point*. At a point the
//! starting state is laid out, the program is run with that fault, the fault is seen in the trace,
//! the oracles are asked, the program is run again without faults (now and then killed once
//! more in between), and the oracles are asked again.

mod attempt;
mod bounds;
pub mod crash;
mod layer1;
mod layer2;
mod layer3;
mod oracles;
pub mod order;
mod passed;
mod plan;
mod point;
mod report;
mod scene;
mod sweep;
pub mod trace;
mod workload;

pub use bounds::Bounds;
pub use report::{Failure, ProgramSummary, Summary};
pub use sweep::sweep;
