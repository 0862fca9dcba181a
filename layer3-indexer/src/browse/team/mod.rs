//! A team's archive: what several people's machines have saved, in one PostgreSQL database, searched in one question.
//!
//! It is for where one machine's index is outgrown. The copies stay where they are; what goes there is the text, masked on
//! the machine that it is from, and never anything else. Each person has a partition of each table, and GRANTs say who reads
//! it: a question is asked of the partitions that the role may read, by their names, and the tables above them belong to
//! nobody but who made them. Nothing here knows of the third place, and nothing is sent there or read from there unless it
//! is typed.
//!
//! Only a program that was built with the feature `archive` has it; any other one says so.
//!
//! From the bottom: `connect` opens the database; `tables` makes the tables, and says whose partitions there are; `rows`
//! makes the rows of one conversation; `push` sends them; `search` and `list` ask.

#[cfg(not(feature = "archive"))]
mod absent;
#[cfg(feature = "archive")]
mod connect;
#[cfg(feature = "archive")]
mod list;
#[cfg(feature = "archive")]
mod push;
#[cfg(feature = "archive")]
mod rows;
#[cfg(feature = "archive")]
mod search;
#[cfg(feature = "archive")]
mod status;
#[cfg(feature = "archive")]
mod tables;
mod types;

#[cfg(not(feature = "archive"))]
pub(crate) use absent::{init, let_read, list, push, search, status};
pub(crate) use types::{Answer, Archive, Sender};
#[cfg(feature = "archive")]
pub(crate) use {
    list::list,
    push::push,
    search::search,
    status::status,
    tables::{init, let_read},
};
