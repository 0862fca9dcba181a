//! Forgetting by the user's command: a conversation goes from both copies for good, or every message that holds a text,
//! and does not come back.
//!
//! First the tombstones are written in both stores: from then on nobody stores anything of it. Then its contents go, each
//! store's by itself, what layer 2 has of it, and its id from the logs; the index is made again, because a term that is
//! deleted from SQLite's pages is still there to be read. At last every byte of both stores is read, to prove it. A run
//! that is killed is finished by the same command, and `status` and `verify` say so until then.

mod carry_out;
mod claude_files;
mod erase;
mod plan;
mod proof;
mod rewrite;
mod text;
mod types;

pub(crate) use carry_out::{allow_again, carry_out};
pub(crate) use plan::{ForgetRequest, plan};
pub(crate) use text::{QUESTION, help, summary_text, to_text};
pub(crate) use types::Summary;
