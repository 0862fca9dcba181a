//! Both stores: which sessions they hold, and which copy of a content is good.

pub(crate) mod acknowledged;
mod both;
pub(crate) mod called;
mod copies;
mod held;
pub(crate) mod loss;
pub(crate) mod memory_loss;
pub(crate) mod not_forgotten;
pub(crate) mod one_copy;
pub(crate) mod session_name;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use both::{Stores, second_as_found};
pub(crate) use copies::{SessionCopies, slug_of_source};
pub(crate) use types::{BadCopy, Chosen, Copy, Layer, Pair, Unfit, Which};
