//! What a user typed into the search, and what it means. Any text is a valid query.
