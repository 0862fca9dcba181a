//! The scenarios, a file for each kind.

mod agents;
mod ending;
mod failing;
mod going_on;
mod losing;
mod plugin;
mod printing;
mod reading;
mod swept;

use crate::row::Row;

pub(crate) use plugin::ALONE;

/// Those of the home that all share, in order; last, what needs many conversations, and what leaves some unhooked.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    let by_kind: [&[Row]; 9] = [
        &printing::ROWS,
        &losing::ROWS,
        &going_on::ROWS,
        &agents::ROWS,
        &failing::ROWS,
        &swept::ROWS,
        &ending::ROWS,
        &reading::ROWS,
        &ending::LAST,
    ];
    by_kind.into_iter().flatten()
}
