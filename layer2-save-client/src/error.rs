//! What can go wrong in layer 2 itself.

/// Layer 2 itself failed. No job is lost by it: what was in the outbox is still there. It is told to
/// people and hardly ever told apart: its words fit after "failed to", its causes come behind.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
struct Failed {
    doing: String,
    source: Error,
}

/// The failure of `doing`, with its cause.
pub(crate) fn failed<E: Into<Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Error {
    let doing = doing.into();
    |cause| Box::new(Failed { doing, source: cause.into() })
}
