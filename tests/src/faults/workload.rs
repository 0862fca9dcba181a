//! Something that a program does.

use super::scene::Scene;

/// Something that a program does, from a starting state that can be laid out again.
#[derive(Clone, Copy)]
pub(super) struct Workload {
    /// `layer1`, `layer2` or `layer3`.
    pub program: &'static str,
    /// Its name in point ids.
    pub name: &'static str,
    /// Lays it out in a scratch home of its own.
    pub make: fn() -> Scene,
}
