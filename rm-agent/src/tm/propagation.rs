//! What a run means for the global transaction that the running code is in already, or is not.

use super::options::BeginError;
use crate::context::TransactionContext;

/// How a run relates to the global transaction of the running task. `docs/propagation.md` has the
/// table with all consequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Joins the transaction; outside of one, begins one. A joined run that fails vetoes what it
    /// joined. The default.
    #[default]
    Required,
    /// Joins the transaction; outside of one, runs without.
    Supports,
    /// Joins the transaction; outside of one it is an error.
    Mandatory,
    /// Begins a transaction of its own, whatever becomes of the other, which is suspended meanwhile.
    RequiresNew,
    /// Runs without a transaction; one that there is, is suspended meanwhile.
    NotSupported,
    /// Runs without a transaction; inside of one it is an error.
    Never,
    /// Opens a scope inside the transaction, which can be rolled back by itself; outside of one, begins
    /// one.
    Nested,
}

/// What a run does.
#[derive(Debug)]
pub(super) enum Plan {
    Begin,
    Join(TransactionContext),
    Nest(TransactionContext),
    /// Without a transaction, suspending the running task's if it has one.
    Outside,
}

impl Propagation {
    pub(super) fn plan(self, current: Option<TransactionContext>) -> Result<Plan, BeginError> {
        match (self, current) {
            (Self::Required | Self::Supports | Self::Mandatory, Some(outer)) => {
                Ok(Plan::Join(outer))
            }
            (Self::Nested, Some(outer)) => Ok(Plan::Nest(outer)),
            (Self::Never, Some(outer)) => Err(BeginError::InsideAnother(outer.xid().clone())),
            (Self::Required | Self::Nested, None) | (Self::RequiresNew, _) => Ok(Plan::Begin),
            (Self::Mandatory, None) => Err(BeginError::Outside),
            (Self::Supports | Self::Never, None) | (Self::NotSupported, _) => Ok(Plan::Outside),
        }
    }
}

/// What a run's closure is given: the context of its transaction, or `None` where the propagation
/// allows that there is none. Implemented for these two.
pub trait Given: Sized {
    #[doc(hidden)]
    fn given(context: Option<TransactionContext>) -> Self;
}

impl Given for Option<TransactionContext> {
    fn given(context: Option<TransactionContext>) -> Self {
        context
    }
}

impl Given for TransactionContext {
    fn given(context: Option<TransactionContext>) -> Self {
        context.expect("without a stated propagation a run joins or begins")
    }
}
