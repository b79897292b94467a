//! What is kept of a step: at the coordinator its input and until when it may be attempted, and in
//! the barrier row its input and output.

use pactum_core::time::WallTime;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::SagaStep;
use crate::action::{ActionDatabase, ActionError, Kept, Stopped};

/// What the coordinator stores with the branch before the action runs.
#[derive(Serialize)]
struct Payload<'a, I> {
    until_ms: u64,
    input: &'a I,
}

/// The part of it that phase two needs: the input is in the barrier row too.
#[derive(Deserialize)]
struct Until {
    until_ms: u64,
}

#[derive(Serialize)]
struct Body<'a, I, O> {
    input: &'a I,
    output: Option<&'a O>,
    /// The action goes on elsewhere, and there is no output yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ongoing: bool,
}

#[derive(Deserialize)]
struct Mark {
    #[serde(rename = "input")]
    _input: IgnoredAny,
    #[serde(default)]
    ongoing: bool,
}

#[derive(Deserialize)]
struct Read<I, O> {
    input: I,
    output: O,
}

/// What the barrier row says of the action.
#[derive(Clone, Copy)]
pub(super) enum Output<'a, O> {
    /// Nothing: it has not run.
    None,
    Ongoing,
    Returned(&'a O),
}

/// Until when the step's action may be attempted; `None` if it cannot be told.
pub(crate) fn attempts_end(payload: &[u8]) -> Option<WallTime> {
    serde_json::from_slice(payload).ok().map(|until: Until| WallTime(until.until_ms))
}

pub(super) fn payload<DB: ActionDatabase, S: SagaStep<DB>>(
    input: &S::Input,
    until: WallTime,
) -> Result<Vec<u8>, ActionError> {
    let payload = Payload { until_ms: until.0, input };
    serde_json::to_vec(&payload).map_err(|source| ActionError::Encode { action: S::NAME, source })
}

/// The barrier row's body.
pub(super) fn write<DB: ActionDatabase, S: SagaStep<DB>>(
    input: &S::Input,
    output: Output<'_, S::Output>,
    limit: usize,
) -> Result<String, ActionError> {
    let action = S::NAME;
    let (output, ongoing) = match output {
        Output::None => (None, false),
        Output::Ongoing => (None, true),
        Output::Returned(output) => (Some(output), false),
    };
    let body = serde_json::to_string(&Body { input, output, ongoing })
        .map_err(|source| ActionError::Encode { action, source })?;
    let bytes = body.len();
    if bytes > limit {
        return Err(ActionError::ContextTooLarge { action, bytes, limit });
    }
    Ok(body)
}

/// Input and output; no output where the action goes on elsewhere, and nobody has told how it ended.
pub(super) fn read<DB: ActionDatabase, S: SagaStep<DB>>(
    kept: Kept<'_>,
) -> Result<(S::Input, Option<S::Output>), Stopped> {
    let unreadable = |error: serde_json::Error| Stopped::Unreadable(error.to_string());
    let Ok(version) = u8::try_from(kept.format) else { return Err(Stopped::Newer(kept.format)) };
    if version > S::VERSION {
        return Err(Stopped::Newer(kept.format));
    }
    let mark: Mark = serde_json::from_str(kept.body).map_err(unreadable)?;
    if mark.ongoing {
        if version != S::VERSION {
            let why = format!("version {version} of it was ongoing, and cannot be read any more");
            return Err(Stopped::Unreadable(why));
        }
        let Read { input, output: () } = serde_json::from_str(kept.body).map_err(unreadable)?;
        let told = (!kept.told.is_empty()).then(|| serde_json::from_slice(kept.told)).transpose();
        return Ok((input, told.map_err(unreadable)?));
    }
    if version == S::VERSION {
        let Read { input, output } = serde_json::from_str(kept.body).map_err(unreadable)?;
        return Ok((input, Some(output)));
    }
    let Read { input, output } = serde_json::from_str(kept.body).map_err(unreadable)?;
    let (input, output) = S::migrate(version, input, output).map_err(Stopped::Unreadable)?;
    Ok((input, Some(output)))
}
