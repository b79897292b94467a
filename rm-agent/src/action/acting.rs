//! The action of a declared saga's step: one local transaction, with the barrier row first.
//!
//! ```text
//! BEGIN, barrier row ─▶ handler ─▶ its result in the row ─▶ COMMIT ─▶ done
//!    │ a row is there     │ error, panic, limit              │ error
//!    ▼                    ▼                                 ▼
//! its kept result      rolled back: failed               done if the row is there, else unknown
//! ```
//!
//! All attempts have one key, whoever makes them. Of two at once the second waits for the first at the row.
//! Nothing is buried here: an attempt that is not known to have taken place may be made again.

use pactum_core::fence::{self, Refusal, Verdict, judge};
use pactum_core::saga::limits::RESULT_BYTES_MAX;
use tokio::time::Instant;

use super::calling::{Call, call};
use super::error::ActionError;
use super::handler::{Handler, Kept, Left, Stopped};
use super::participant::ActionParticipant;
use super::phase_one::{Local, write_body};
use super::pool::ActionDatabase;
use super::report::{BUSY_PAUSE, UNKNOWN_PAUSE, later, not_begun, unknown};
use crate::barrier::{self, FoundRow, Mode, OpenRow};
use crate::branch::{Answer, StepAnswer, Work};
use crate::db::{DbError, Failure, is_passing};
use crate::saga::{PANICKED_CODE, RESULT_CODE, TIMED_OUT_CODE};

/// The code of an attempt that came after the step was rolled back.
const ROLLED_BACK_CODE: &str = "pactum-rolled-back";

impl<DB: ActionDatabase> ActionParticipant<DB> {
    /// Runs the action, or says what an earlier attempt left.
    pub(super) async fn act(&self, work: &Work) -> Answer {
        let name = work.action_name();
        let Some(handler) = self.registry.find(name) else { return unknown(name) };
        let until = work.step.as_ref().map_or_else(Instant::now, |step| step.until);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return later(None, "its turn came after the end of its time");
        }
        let wait = self.options.local_lock_wait_max.min(left);
        let mut local = match self.begin_within(wait, left).await {
            Ok(local) => local,
            Err(error) => return not_begun(&error),
        };
        let row = OpenRow {
            key: work.key.clone(),
            store: work.store,
            mode: Mode::Saga,
            format: handler.version(),
            body: String::new(),
        };
        if let Err(error) = self.enter(&mut local, &row).await {
            local.rollback().await;
            return match error {
                Entered::Before => self.repeated(work, &*handler).await.unwrap_or_else(busy),
                Entered::Not(error) => not_begun(&error),
            };
        }
        match self.run(work, &*handler, &mut local, until).await {
            Ok(Left { body, output }) => {
                match write_body(&mut local, &row, handler.name(), &body).await {
                    Ok(()) => self.committed(work, &*handler, local, output).await,
                    Err(error @ ActionError::LocalTransactionEnded { .. }) => {
                        local.rollback().await;
                        // What it wrote may be committed, without the row that says so.
                        Answer::Step(StepAnswer::Unknown(error.to_string()))
                    }
                    Err(error) => {
                        local.rollback().await;
                        not_begun(&error)
                    }
                }
            }
            Err(answer) => {
                local.rollback().await;
                answer
            }
        }
    }

    async fn enter(&self, local: &mut Local<DB>, row: &OpenRow) -> Result<(), Entered> {
        let (condition, values) = DB::at_the_barrier(self.barrier_place.as_deref(), 9);
        let mut sql = DB::sql(local.connection());
        match barrier::insert_open(&mut *sql, row, self.wall(), (&condition, &values)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Entered::Not(ActionError::Elsewhere)),
            Err(error) if error.failure == Failure::Unique => Err(Entered::Before),
            Err(error) => Err(Entered::Not(ActionError::from_db(error))),
        }
    }

    async fn run(
        &self,
        work: &Work,
        handler: &dyn Handler<DB>,
        local: &mut Local<DB>,
        until: Instant,
    ) -> Result<Left, Answer> {
        let left = until.saturating_duration_since(Instant::now());
        let acted = handler.act(local.connection(), work.payload(), self.options.context_bytes_max);
        let (code, message) = match call(left, acted).await {
            Call::Returned(Ok(left)) if left.output.len() <= RESULT_BYTES_MAX => return Ok(left),
            Call::Returned(Ok(left)) => {
                let bytes = left.output.len();
                let message = format!(
                    "its result has {bytes} bytes, more than {RESULT_BYTES_MAX}: keep documents in a \
                     table, and return their key"
                );
                return Err(failed(RESULT_CODE, message, true));
            }
            Call::Returned(Err(error)) => return Err(error.into_answer()),
            Call::Panicked(message) => (PANICKED_CODE, format!("it panicked: {message}")),
            Call::TimedOut => (TIMED_OUT_CODE, "it did not end within its time".to_owned()),
        };
        local.cut_short();
        Err(failed(code, message, false))
    }

    async fn committed(
        &self,
        work: &Work,
        handler: &dyn Handler<DB>,
        local: Local<DB>,
        output: Vec<u8>,
    ) -> Answer {
        let Err(error) = local.commit().await else {
            return Answer::Step(StepAnswer::Done(output));
        };
        match DB::classify(&error) {
            Failure::Unique | Failure::Constraint => {
                failed("failed", format!("the local commit failed: {error}"), false)
            }
            Failure::Busy | Failure::Other if is_passing(&error) => {
                later(Some(BUSY_PAUSE), &format!("the local commit failed: {error}"))
            }
            // A handler may have ended the local transaction by itself.
            Failure::Busy | Failure::Statement | Failure::Other => {
                let unknown = format!("the outcome of the local commit is not known: {error}");
                match self.repeated(work, handler).await {
                    Ok(answer @ Answer::Step(StepAnswer::Done(_))) => answer,
                    Ok(_) | Err(_) => Answer::Step(StepAnswer::Unknown(unknown)),
                }
            }
        }
    }

    /// What the row that is there already says.
    async fn repeated(&self, work: &Work, handler: &dyn Handler<DB>) -> Result<Answer, DbError> {
        let mut own = self.own.begin().await?;
        let looked = barrier::look(&mut *own, &work.key, work.store, Mode::Saga).await;
        own.rollback().await;
        let (row, found) = looked?;
        Ok(match (judge(row, fence::Call::Act), found) {
            (Verdict::AlreadyDone, Some(row)) => kept(handler, &row),
            (Verdict::Refuse(Refusal::RolledBack), _) => {
                let message = "the step was rolled back before this attempt came".to_owned();
                failed(ROLLED_BACK_CODE, message, true)
            }
            (Verdict::Refuse(Refusal::Duplicate | Refusal::Untrusted), _) => {
                let message = "its barrier row is another coordinator's or another mode's, or was \
                               changed by hand; nothing was called";
                Answer::Step(StepAnswer::Unknown(message.to_owned()))
            }
            (
                Verdict::Run
                | Verdict::AlreadyDone
                | Verdict::NotDone
                | Verdict::Bury
                | Verdict::Later
                | Verdict::Park(_),
                _,
            ) => later(Some(BUSY_PAUSE), "its barrier row came and went"),
        })
    }
}

/// Why the handler is not called.
enum Entered {
    /// An attempt was here before.
    Before,
    Not(ActionError),
}

fn kept<DB: ActionDatabase>(handler: &dyn Handler<DB>, row: &FoundRow) -> Answer {
    match handler.output(Kept { format: row.format, body: &row.body }) {
        Ok(output) => Answer::Step(StepAnswer::Done(output)),
        Err(Stopped::Newer(version)) => {
            let why = format!("it kept version {version}, which this instance does not know");
            later(Some(UNKNOWN_PAUSE), &why)
        }
        Err(Stopped::Unreadable(why)) => {
            Answer::Step(StepAnswer::Unknown(format!("what it kept cannot be read: {why}")))
        }
        Err(Stopped::Failed(error)) => Answer::Step(StepAnswer::Unknown(error.to_string())),
    }
}

fn failed(code: &str, message: String, is_final: bool) -> Answer {
    Answer::Step(StepAnswer::Failed { code: code.to_owned(), message, is_final })
}

fn busy(error: DbError) -> Answer {
    let after = (error.failure == Failure::Busy).then_some(BUSY_PAUSE);
    later(after, &error.chain())
}
