//! The archive: one store of conversations, append-only, in generations. Layers 1 and 3 each
//! keep one, through this same code.
//!
//! Below the store's root, `{PROJECT}/` holds the contents under names that need no program to
//! read: `{ID}.jsonl` the newest, `{ID}.gen-0001.jsonl` the oldest, side files under `{ID}/` and
//! `{ID}.gen-0001/`. Generations are counted for each file by itself. `.state/` holds the
//! bookkeeping: the store's id, and for each session a lock, a ledger (`ledger`) and at most one
//! temporary file. All of it can be rebuilt from the contents.
//!
//! A copy is only ever appended to. What stands in the place of a newest content and is not the
//! beginning of the source is renamed to a generation first (`append`).

mod adopt_v1;
mod append;
mod committed;
mod compress;
mod foreign;
mod forget;
mod forgotten;
mod frames;
mod generations;
mod known_damage;
mod labels;
mod lacking;
mod ledger;
mod listings;
mod marks;
mod memory;
mod open;
mod paths;
mod quarantine;
mod quick_check;
mod rebuild_ledger;
mod recovery;
mod removal;
mod repair;
mod retention;
mod returned;
mod save;
mod seen;
mod session;
mod sessions;
mod slot;
mod store;
mod synced_folders;
#[cfg(test)]
mod tests;
mod tree_hash;
mod types;
mod verify;

pub(crate) use self::memory::keep_memory;
pub use self::{
    adopt_v1::TakenInAs,
    committed::{Committed, committed},
    compress::LEVELS,
    foreign::Foreign,
    forget::held_by_source,
    forgotten::Forgotten,
    frames::Ranges,
    known_damage::KnownDamage,
    labels::{LabelChange, Labels},
    ledger::StoredFile,
    marks::{HeldBy, Marks, Needle},
    quick_check::QuickCheck,
    removal::Quarantined,
    repair::Repair,
    retention::{PruneReason, Superseded},
    returned::Said,
    seen::{SEEN, SEEN_SECOND, Seen, SeenSession},
    sessions::Looked,
    slot::Slot,
    store::Archive,
    tree_hash::TreeHasher,
    types::{
        ArchiveError, Compare, Finding, FindingKind, SaveReport, SaveRequest, SessionKey, TranscriptState, Verification,
    },
};
