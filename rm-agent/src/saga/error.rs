//! Why an attempt of a declared saga's step came to nothing.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use pactum_proto::v1::StepFailed;

use crate::branch::{Answer, StepAnswer};
use crate::chain::chain;
use crate::db::is_passing;

/// The code of a step whose input is not what it takes.
const INPUT_CODE: &str = "pactum-input";
/// The code of a step that failed, and whose handler did not say why.
const FAILED_CODE: &str = "failed";
/// The pause after an error that the database itself calls passing: a few local transactions.
const PASSING_PAUSE: Duration = Duration::from_millis(100);

/// Why an attempt of a declared saga's step came to nothing, as the coordinator is told.
///
/// Whatever it is, what the step wrote in the local transaction that it was handed is rolled back.
///
/// ```
/// use pactum_agent::StepError;
///
/// let no_seat = StepError::failed("sold-out", "no seat is left on flight 12").last();
/// let limited = StepError::later(std::time::Duration::from_secs(5), "the airline asks us to wait");
/// let lost = StepError::unknown("the airline did not answer");
/// # let _ = (no_seat, limited, lost);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    kind: Kind,
    message: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Failed { code: Cow<'static, str>, is_final: bool },
    Unknown,
    Later(Duration),
}

impl StepError {
    /// This attempt did not take place, for certain. Whether another one is made is the definition's to
    /// say: it has so many attempts, and lists the codes (1 to 64 bytes) that are final.
    pub fn failed(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let kind = Kind::Failed { code: code.into(), is_final: false };
        StepError { kind, message: message.into() }
    }

    /// It may have taken place or not, at another service say. The step is repeated under the same key,
    /// or compensated, as the definition says under `unknown`.
    pub fn unknown(message: impl Into<Cow<'static, str>>) -> Self {
        StepError { kind: Kind::Unknown, message: message.into() }
    }

    /// Not now: nothing took place, and the step is asked for again after this delay. Costs no attempt.
    pub fn later(after: Duration, message: impl Into<Cow<'static, str>>) -> Self {
        StepError { kind: Kind::Later(after), message: message.into() }
    }

    /// The same failure, and no other attempt can succeed, whatever the definition says. Of no effect on
    /// *unknown* and *later*.
    #[must_use]
    pub fn last(mut self) -> Self {
        if let Kind::Failed { is_final, .. } = &mut self.kind {
            *is_final = true;
        }
        self
    }

    /// An error of the local transaction, which is rolled back: *later* for what the database itself calls
    /// passing, and otherwise that this attempt failed, with the code `failed`. For the errors that a
    /// handler has nothing of its own to say about.
    #[must_use]
    pub fn rolled_back(error: &(dyn Error + Send + Sync + 'static)) -> Self {
        let message = chain(error);
        match error.downcast_ref().is_some_and(is_passing) {
            true => StepError::later(PASSING_PAUSE, message),
            false => StepError::failed(FAILED_CODE, message),
        }
    }

    /// An input that is not what the step takes.
    pub(crate) fn input(error: &serde_json::Error) -> Self {
        StepError::failed(INPUT_CODE, format!("its input is not what it takes: {error}")).last()
    }

    /// As whoever completes a step from outside says it: then it is known how the action ended.
    pub(crate) fn into_failed(self) -> StepFailed {
        let (code, is_final) = match self.kind {
            Kind::Failed { code, is_final } => (code, is_final),
            Kind::Unknown | Kind::Later(_) => (FAILED_CODE.into(), false),
        };
        StepFailed {
            code: code.into_owned(),
            message: self.message.into_owned(),
            r#final: is_final,
        }
    }

    pub(crate) fn into_answer(self) -> Answer {
        let message = self.message.into_owned();
        match self.kind {
            Kind::Failed { code, is_final } => {
                Answer::Step(StepAnswer::Failed { code: code.into_owned(), message, is_final })
            }
            Kind::Unknown => Answer::Step(StepAnswer::Unknown(message)),
            Kind::Later(after) => Answer::Later { after: Some(after), reason: message },
        }
    }
}

/// Nothing is known of what an error like this left behind.
impl<E: Error> From<E> for StepError {
    fn from(error: E) -> Self {
        StepError::unknown(chain(&error))
    }
}
