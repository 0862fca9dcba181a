//! The only module of the workspace that may sync, rename, truncate or unlink.
//!
//! The order that everything here keeps: write to a temporary file in a place of our own, check
//! the length, sync the file, read it back through a new descriptor and compare, rename it into
//! place, sync the directory; only then say that it is done. A sync that failed is never tried
//! again on the same bytes: the kernel may have dropped them and would call the next one a
//! success. The caller starts again from its source.
//!
//! Each file imports only those before it in this list: `error`, `syscall`, `signals`, `shortcomings`,
//! `platform/`, `file`, `dir`, `lock`, `atomic`, `own`. Callers write `fs::replace_file`, wherever it stands.
//!
//! Directories are held open as [`Dir`] and names are looked up in them one component at a time
//! without following symlinks, so that nobody can redirect a write by planting a link.
#![allow(clippy::disallowed_methods)]

mod atomic;
#[cfg(test)]
pub(crate) mod counted;
mod dir;
mod error;
mod file;
mod lock;
mod own;
pub mod platform;
mod shortcomings;
pub mod signals;
pub(crate) mod syscall;

pub use self::{
    atomic::{Existing, copy_file, nameless_file, replace_file, replace_file_with_mode, write_file},
    dir::{Dir, empty_dir, remove_dir, remove_file, rename_new},
    error::DurableError,
    file::{
        FILE_MODE, hash_of_prefix, read_at, read_bounded, read_foreign, stat_of, sync_data, truncate, wait_for,
        write_at,
    },
    lock::Lock,
    own::{read_own, replace_own},
};
pub(crate) use atomic::{HashingWriter, is_temp};
pub(crate) use dir::{open_making_folders, was_put_aside};
pub(crate) use file::{
    COPY_BYTES, has_other_names, hash_of_prefix_with, hashes_of_prefixes, may_be_ours, read_exact_at,
};
pub(crate) use own::remove_own;
pub(crate) use shortcomings::Shortcoming;
