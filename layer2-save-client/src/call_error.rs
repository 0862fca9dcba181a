//! What can go wrong in one call of `session_save`, and what is to be done about it.

use std::time::Duration;

use layer1_prebackup::log::in_one_line;

use crate::error::Error;
use crate::receipt::ReceiptError;

/// One attempt at `session_save` failed. Most hold the other side's word.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The program is not there, not executable, or could not be started.
    #[error("start the server {command}")]
    Start { command: String, source: std::io::Error },
    /// The system has not what a conversation with a server needs.
    #[error("speak with a server")]
    Runtime(#[source] std::io::Error),
    /// No answer and no progress within `--timeout`.
    #[error("get an answer from the server within {waited}", waited = humantime::format_duration(*waited))]
    Timeout { waited: Duration, in_handshake: bool },
    /// The server ended, or closed its stdout, without an answer: its exit status and last words on stderr.
    #[error("get an answer: the server ended {how}")]
    Ended { how: String, in_handshake: bool },
    /// The handshake came to a wrong end.
    #[error("agree with the server on the protocol: {0}")]
    Handshake(String),
    /// An answer that is none to `tools/call`, or a JSON-RPC error.
    #[error("call session_save: {0}")]
    Protocol(String),
    /// The tool said that it failed; another time it may not.
    #[error("save on the server: {0}")]
    Tool(String),
    /// The server said that the input is invalid. It will say so again.
    #[error("save on the server: it refuses the input: {0}")]
    Refused(String),
    /// The receipt is missing, wrong, or does not cover what layer 1 holds.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// Saved, but what layer 1 holds could not be read, so nothing can be compared with the receipt.
    #[error("compare the receipt with layer 1's store: {0}")]
    Layer1Unreadable(String),
    /// The server was good, but the receipt could not be kept.
    #[error("keep the receipt: {0}")]
    Keep(String),
    /// This program was told to end.
    #[error("go on: interrupted by a signal")]
    Interrupted,
}

impl From<Error> for CallError {
    fn from(error: Error) -> CallError {
        CallError::Keep(in_one_line(&*error))
    }
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again after the delay, as long as attempts are left.
    Retry,
    /// It cannot heal by itself: set the job aside as failed.
    SetAside,
    /// End now; the job waits.
    GiveUp,
}

impl CallError {
    /// The one place that decides what may heal.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            CallError::Refused(_) => Verdict::SetAside,
            CallError::Interrupted | CallError::Layer1Unreadable(_) => Verdict::GiveUp,
            _ => Verdict::Retry,
        }
    }

    /// Whether the server that was called may be called again. One that hung, died or broke the
    /// protocol may not: an answer that comes late would be taken for the next one's.
    pub(crate) fn server_is_healthy(&self) -> bool {
        use CallError::{Keep, Layer1Unreadable, Receipt, Refused, Tool};
        matches!(self, Tool(_) | Refused(_) | Receipt(_) | Layer1Unreadable(_) | Keep(_))
    }

    /// Whether the server never got as far as to see the job, so that the next job would fare no better.
    pub(crate) fn is_before_the_call(&self) -> bool {
        match self {
            CallError::Start { .. } | CallError::Runtime(_) | CallError::Handshake(_) => true,
            CallError::Timeout { in_handshake, .. } | CallError::Ended { in_handshake, .. } => *in_handshake,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_one_bounded_line() {
        let source = std::io::Error::from_raw_os_error(2);
        let error = CallError::Start { command: "/x/server serve".into(), source };
        assert_eq!(in_one_line(&error), "start the server /x/server serve: No such file or directory (os error 2)");
    }

    #[test]
    fn only_a_refusal_is_set_aside() {
        assert_eq!(CallError::Refused(String::new()).verdict(), Verdict::SetAside);
        assert_eq!(CallError::Tool(String::new()).verdict(), Verdict::Retry);
        assert_eq!(CallError::Interrupted.verdict(), Verdict::GiveUp);
    }
}
