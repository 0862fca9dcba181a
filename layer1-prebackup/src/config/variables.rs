//! Variables of the environment that a user may set, besides those of single settings.

/// Set by a user: Claude Code's directory.
pub const CLAUDE_CONFIG_DIR: &str = "CLAUDE_CONFIG_DIR";
/// Set by a user: layer 1's store.
pub const PRE_BACKUP_DIR: &str = "PRE_BACKUP_DIR";
/// Set by a user: layer 3's store.
pub const BACKUP_DIR: &str = "BACKUP_DIR";
/// Set by a user: the index.
pub const SESSION_DB_PATH: &str = "SESSION_DB_PATH";
/// Set by a user: where configuration lies, `~/.config` by default.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Every other variable of ours begins so.
pub(crate) const VARIABLE_PREFIX: &str = "THREEFOLD_";
