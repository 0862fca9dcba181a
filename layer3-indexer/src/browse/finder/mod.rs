//! The finder: every conversation in a list at a terminal, searched as one types.
//!
//! What is shown and what a key does is plain data (`model`, `keys`), drawn by `draw`; titles are matched in `matching`,
//! on the spot, while texts are searched and previews read by threads of their own (`work`). `screen` alone knows the
//! terminal: it takes it over, and gives it back however this ends.

mod draw;
mod keys;
mod line;
mod matching;
mod model;
mod rows;
mod screen;
mod work;

#[cfg(test)]
mod tests;

pub(crate) use model::{Chosen, Purpose, Until, Verb};
pub(crate) use screen::run;
