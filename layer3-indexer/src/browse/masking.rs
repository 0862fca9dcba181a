//! Masking in what is shown of a conversation: all of it is learned from first, and each text is masked before it is cut.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;

use layer1_prebackup::names::StoredName;

use crate::stores::SessionCopies;
use crate::transcript::record::{TornLine, read_records};
use crate::transcript::redact::Redactor;

/// What masks the texts of a conversation, for all windows of it; nothing does where nothing is to be masked.
pub(crate) type Masking = Option<Rc<RefCell<Redactor>>>;

/// What knows every value that stands under the name of a secret in these files, and masks it without the name too.
pub(crate) fn learned(copies: &SessionCopies, names: Vec<StoredName>) -> Rc<RefCell<Redactor>> {
    let mut redactor = Redactor::default();
    for name in names {
        // What cannot be read now is told where it is to be shown.
        let Ok(mut content) = copies.get_even_damaged(&name) else { continue };
        let _ = content.read().and_then(|bytes| {
            read_records(io::BufReader::new(bytes), 0, TornLine::Final, &mut |located| {
                located.record.each_text(|text| redactor.learn(text));
                ControlFlow::Continue(())
            })
        });
    }
    Rc::new(RefCell::new(redactor))
}

/// The text as it may be shown.
pub(crate) fn masked<'t>(masking: &Masking, text: &'t str) -> Cow<'t, str> {
    match masking {
        Some(redactor) => redactor.borrow_mut().mask(text),
        None => Cow::Borrowed(text),
    }
}
