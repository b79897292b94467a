//! A context as JSON in the barrier row, which says its version.

use crate::action::{ActionDatabase, ActionError, Kept, Stopped};
use crate::tcc::TccAction;

/// The context as it is stored.
pub(super) fn write<DB: ActionDatabase, A: TccAction<DB>>(
    context: &A::Context,
    limit: usize,
) -> Result<String, ActionError> {
    let action = A::NAME;
    let body =
        serde_json::to_string(context).map_err(|source| ActionError::Encode { action, source })?;
    let bytes = body.len();
    if bytes > limit {
        return Err(ActionError::ContextTooLarge { action, bytes, limit });
    }
    Ok(body)
}

pub(super) fn read<DB: ActionDatabase, A: TccAction<DB>>(
    kept: Kept<'_>,
) -> Result<A::Context, Stopped> {
    let unreadable = |error: serde_json::Error| Stopped::Unreadable(error.to_string());
    let Ok(version) = u8::try_from(kept.format) else { return Err(Stopped::Newer(kept.format)) };
    if version > A::VERSION {
        return Err(Stopped::Newer(kept.format));
    }
    if version == A::VERSION {
        return serde_json::from_str(kept.body).map_err(unreadable);
    }
    let old = serde_json::from_str(kept.body).map_err(unreadable)?;
    A::migrate(version, old).map_err(Stopped::Unreadable)
}
