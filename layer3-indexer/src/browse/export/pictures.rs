//! Which pictures of a conversation come into a page: as data within it, of the types that a browser draws and that can
//! hold no script, and only so many bytes of them.

use std::borrow::Cow;

use layer1_prebackup::config::size::Size;

use crate::transcript::record;

/// Longest picture, in characters of its base64; Claude Code sends none that is longer.
const PICTURE_CHARS_MAX: usize = 7 * 1024 * 1024;
/// All pictures of a page together, likewise.
const PICTURES_CHARS_MAX: usize = 64 * 1024 * 1024;
/// The types, as browsers know them.
const TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// A picture as a page shows it.
pub(super) enum Picture<'a> {
    /// Its type, one of [`TYPES`], and its bytes in base64, of which every character is one.
    Data { media_type: &'static str, data: Cow<'a, str> },
    /// Why it is not there.
    LeftOut(String),
}

/// Decides for one picture after the other.
pub(super) struct Pictures {
    /// Why none is wanted, if none is.
    pub(super) none: Option<&'static str>,
    left: usize,
    pub(super) written: u64,
}

impl Pictures {
    pub(super) fn new(none: Option<&'static str>) -> Pictures {
        Pictures { none, left: PICTURES_CHARS_MAX, written: 0 }
    }

    pub(super) fn of<'a>(&mut self, picture: record::Picture<'a>) -> Picture<'a> {
        let left_out = |why: &str| Picture::LeftOut(format!("a picture, {why}"));
        if let Some(why) = self.none {
            return left_out(why);
        }
        let Some((media_type, data)) = picture.data() else { return left_out("which the transcript does not hold") };
        let Some(media_type) = TYPES.into_iter().find(|known| *known == media_type) else {
            return left_out("of a type that is not exported");
        };
        if data.is_empty() || !data.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)) {
            return left_out("whose bytes are damaged");
        }
        if data.len() > PICTURE_CHARS_MAX || data.len() > self.left {
            return left_out(&format!("left out because it has {}", Size(data.len() as u64 / 4 * 3)));
        }
        self.left -= data.len();
        self.written += 1;
        Picture::Data { media_type, data }
    }
}
