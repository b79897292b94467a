//! A statement that AT cannot undo, and what to do instead.

use std::borrow::Cow;

/// A statement that was refused before anything of it ran.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AT cannot undo this {statement}: {why}; {instead}")]
pub struct Refused {
    /// What kind of statement it is.
    pub statement: Cow<'static, str>,
    /// Why it cannot be undone.
    pub why: Cow<'static, str>,
    /// What to do instead.
    pub instead: Cow<'static, str>,
}

impl Refused {
    pub(crate) fn new(
        statement: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
        instead: impl Into<Cow<'static, str>>,
    ) -> Self {
        Refused { statement: statement.into(), why: why.into(), instead: instead.into() }
    }
}
