//! Snapshots, hostile input, secrets.
