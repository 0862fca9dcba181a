//! The folder that Claude Code keeps a project's transcripts in.

/// Longer names are cut to this and go on with a hash.
const SLUG_CHARS_MAX: usize = 200;

/// The folder that Claude Code gives to a project: every UTF-16 unit outside `[A-Za-z0-9]` as `-`. Of a
/// long one, what stands before the hash.
pub fn slug_of_cwd(cwd: &str) -> String {
    let slug: String = cwd
        .encode_utf16()
        .map(|unit| char::from_u32(unit.into()).filter(char::is_ascii_alphanumeric).unwrap_or('-'))
        .collect();
    slug[..slug.len().min(SLUG_CHARS_MAX)].to_owned()
}

/// Whether Claude Code may have made the slug from this directory.
pub fn is_slug_of(slug: &str, cwd: &str) -> bool {
    let made = slug_of_cwd(cwd);
    slug == made || (made.len() == SLUG_CHARS_MAX && slug.starts_with(&made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_made_as_claude_code_makes_them() {
        assert_eq!(slug_of_cwd("/home/dev/my_proj.rs ñ"), "-home-dev-my-proj-rs--");
        let long = "x".repeat(300);
        assert_eq!(slug_of_cwd(&long).len(), SLUG_CHARS_MAX);
        assert!(is_slug_of(&(slug_of_cwd(&long) + "-1a2b"), &long) && !is_slug_of("-home-x", "/home"));
    }
}
