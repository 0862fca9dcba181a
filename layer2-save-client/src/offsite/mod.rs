//! The third place: beyond one disk and one machine. What layer 1 has saved is sent there by an installed `restic`, one
//! repository a machine; a push counts when it was read back, and each day a conversation is brought back and compared.
//!
//! Nothing of encryption, deduplication, repository or transport is ours, and nothing happens in a hook's time. Nothing
//! is made, adopted, forgotten or pruned by itself: what is another's (key, repository, machine) is refused before
//! anything is written to it.
//!
//! From the bottom: `place`, `trouble` and `key` say where, what went wrong and with what; `options` resolves settings;
//! `engine` runs `restic`; `snapshots` understands it; `seal` and `receipt` say what is to arrive and whether it has;
//! `site` is this machine and one of its places; on that stand `push`, `drill`, `check`, `put_back`, `repair`, `restore`, `setup`,
//! `machines`, `peers` and `pull` (what other machines sent), `thin`, `forget`, `keys`, `change` (of the key) and `rotate`
//! (of the repository), and `verbs` on all.

mod change;
mod check;
mod drill;
pub(crate) mod due;
mod engine;
mod forget;
mod key;
mod keys;
mod machines;
pub(crate) mod options;
mod peers;
mod place;
mod pull;
mod push;
mod put_back;
mod receipt;
mod repair;
mod restore;
mod rotate;
mod seal;
mod setup;
pub(crate) mod site;
mod snapshots;
mod status;
mod thin;
mod trouble;
pub(crate) mod verbs;
