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
//! An action that goes on elsewhere leaves its row open; it is called again on that when it is asked again.
//! Nothing is buried here: an attempt that is not known to have taken place may be made again.

use pactum_core::fence::{self, Refusal, Verdict, judge};
use pactum_core::saga::limits::RESULT_BYTES_MAX;

use super::calling::{Call, call};
use super::error::ActionError;
use super::handler::{Handler, Kept, Left, Stopped};
use super::participant::ActionParticipant;
use super::phase_one::{Local, write_body};
use super::pool::ActionDatabase;
use super::report::{BUSY_PAUSE, UNKNOWN_PAUSE, later, not_begun, too_late, unknown};
use crate::barrier::{self, FoundRow, Mode, OpenRow};
use crate::branch::{Answer, StepAnswer, Work};
use crate::db::{DbError, Failure, is_passing};
use crate::saga::{Acted, PANICKED_CODE, RESULT_CODE, StepCall, TIMED_OUT_CODE};

/// The code of an attempt that came after the step was rolled back.
const ROLLED_BACK_CODE: &str = "pactum-rolled-back";

impl<DB: ActionDatabase> ActionParticipant<DB> {
    /// Runs the action, or says what an earlier attempt left.
    pub(super) async fn act(&self, work: &Work) -> Answer {
        let name = work.action_name();
        let Some(handler) = self.registry.find_soon(name).await else { return unknown(name) };
        let row = OpenRow {
            key: work.key.clone(),
            store: work.store,
            mode: Mode::Saga,
            format: handler.version(),
            body: String::new(),
        };
        let attempt = Attempt { work, handler: &*handler, row };
        match self.first(&attempt).await {
            Ok(answer) => answer,
            Err(Entered::Not(answer)) => answer,
            Err(Entered::Before) => match self.earlier(&attempt).await {
                Ok(Earlier::Ongoing) => self.once_more(&attempt).await,
                Ok(Earlier::Answer(answer)) => answer,
                Err(error) => busy(&error),
            },
        }
    }

    /// An attempt that nobody made before.
    async fn first(&self, attempt: &Attempt<'_, DB>) -> Result<Answer, Entered> {
        let mut local = self.local(attempt).await.map_err(Entered::Not)?;
        match self.enter(&mut local, &attempt.row).await {
            Ok(()) => Ok(self.attempted(attempt, local).await),
            Err(entered) => {
                local.rollback().await;
                Err(entered)
            }
        }
    }

    /// An attempt on what an earlier one left that goes on elsewhere.
    async fn once_more(&self, attempt: &Attempt<'_, DB>) -> Answer {
        let mut local = match self.local(attempt).await {
            Ok(local) => local,
            Err(answer) => return answer,
        };
        let Attempt { work: Work { key, store, .. }, .. } = attempt;
        let looked = {
            let mut sql = DB::sql(local.connection());
            barrier::look(&mut *sql, key, *store, Mode::Saga).await
        };
        match looked {
            Ok((fence::Row::Open, _)) => self.attempted(attempt, local).await,
            Ok(_) => {
                local.rollback().await;
                later(Some(BUSY_PAUSE), "its barrier row has just changed")
            }
            Err(error) => {
                local.rollback().await;
                busy(&error)
            }
        }
    }

    async fn local(&self, attempt: &Attempt<'_, DB>) -> Result<Local<DB>, Answer> {
        let left = attempt.work.time_left();
        if left.is_zero() {
            return Err(too_late());
        }
        let wait = self.options.local_lock_wait_max.min(left);
        self.begin_on(&self.actions, wait, left).await.map_err(|error| not_begun(&error))
    }

    /// The handler, its result in the open row, and the local commit.
    async fn attempted(&self, attempt: &Attempt<'_, DB>, mut local: Local<DB>) -> Answer {
        let left = match self.run(attempt, &mut local).await {
            Ok(left) => left,
            Err(answer) => {
                local.rollback().await;
                return answer;
            }
        };
        let name = attempt.handler.name();
        match write_body(&mut local, &attempt.row, name, &left.body).await {
            Ok(()) => self.committed(attempt, local, left.answer).await,
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

    async fn enter(&self, local: &mut Local<DB>, row: &OpenRow) -> Result<(), Entered> {
        let (condition, values) = DB::at_the_barrier(self.barrier_place.as_deref(), 9);
        let mut sql = DB::sql(local.connection());
        match barrier::insert_open(&mut *sql, row, self.wall(), (&condition, &values)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Entered::Not(not_begun(&ActionError::Elsewhere))),
            Err(error) if error.failure == Failure::Unique => Err(Entered::Before),
            Err(error) => Err(Entered::Not(not_begun(&ActionError::from_db(error)))),
        }
    }

    async fn run(&self, attempt: &Attempt<'_, DB>, local: &mut Local<DB>) -> Result<Left, Answer> {
        let Attempt { work, handler, .. } = attempt;
        let time_left = attempt.work.time_left();
        let step_call = StepCall::new(work, time_left);
        let bytes_max = self.options.context_bytes_max;
        let acted = handler.act(&step_call, local.connection(), work.payload(), bytes_max);
        let (code, message) = match call(time_left, acted).await {
            Call::Returned(Ok(Left { answer: Acted::Done(output), .. }))
                if output.len() > RESULT_BYTES_MAX =>
            {
                let bytes = output.len();
                let message = format!(
                    "its result has {bytes} bytes, more than {RESULT_BYTES_MAX}: keep documents in a \
                     table, and return their key"
                );
                return Err(failed(RESULT_CODE, message, true));
            }
            Call::Returned(Ok(left)) => return Ok(left),
            Call::Returned(Err(error)) => return Err(error.into_answer()),
            Call::Panicked(message) => (PANICKED_CODE, format!("it panicked: {message}")),
            Call::TimedOut => (TIMED_OUT_CODE, "it did not end within its time".to_owned()),
        };
        local.cut_short();
        Err(failed(code, message, false))
    }

    async fn committed(
        &self,
        attempt: &Attempt<'_, DB>,
        local: Local<DB>,
        answer: Acted<Vec<u8>>,
    ) -> Answer {
        let Err(error) = local.commit().await else { return acted(answer) };
        match DB::classify(&error) {
            Failure::Unique | Failure::Constraint => {
                failed("failed", format!("the local commit failed: {error}"), false)
            }
            Failure::Busy | Failure::Other if is_passing(&error) => {
                later(Some(BUSY_PAUSE), &format!("the local commit failed: {error}"))
            }
            // A handler may have ended the local transaction by itself.
            Failure::Busy | Failure::Statement | Failure::Other => {
                match (self.earlier(attempt).await, answer) {
                    (Ok(Earlier::Answer(done @ Answer::Step(StepAnswer::Done(_)))), _) => done,
                    (Ok(Earlier::Ongoing), answer @ Acted::Ongoing { .. }) => acted(answer),
                    (Ok(_) | Err(_), _) => {
                        let why = format!("the outcome of the local commit is not known: {error}");
                        Answer::Step(StepAnswer::Unknown(why))
                    }
                }
            }
        }
    }

    /// What the row that is there already says.
    async fn earlier(&self, attempt: &Attempt<'_, DB>) -> Result<Earlier, DbError> {
        let Work { key, store, .. } = attempt.work;
        let mut own = self.own.begin().await?;
        let looked = barrier::look(&mut *own, key, *store, Mode::Saga).await;
        own.rollback().await;
        let (row, found) = looked?;
        Ok(Earlier::Answer(match (judge(row, fence::Call::Act), found) {
            (Verdict::AlreadyDone, Some(row)) => return Ok(attempt.kept(&row)),
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
        }))
    }
}

/// An attempt of a step's action.
struct Attempt<'a, DB: ActionDatabase> {
    work: &'a Work,
    handler: &'a dyn Handler<DB>,
    row: OpenRow,
}

/// Why the handler is not called.
enum Entered {
    /// An attempt was here before.
    Before,
    Not(Answer),
}

/// What an earlier attempt left.
enum Earlier {
    /// It goes on elsewhere.
    Ongoing,
    Answer(Answer),
}

impl<DB: ActionDatabase> Attempt<'_, DB> {
    fn kept(&self, row: &FoundRow) -> Earlier {
        let kept = Kept { format: row.format, body: &row.body, told: &[] };
        Earlier::Answer(match self.handler.output(kept) {
            Ok(None) => return Earlier::Ongoing,
            Ok(Some(output)) => Answer::Step(StepAnswer::Done(output)),
            Err(Stopped::Newer(version)) => {
                let why = format!("it kept version {version}, which this instance does not know");
                later(Some(UNKNOWN_PAUSE), &why)
            }
            Err(Stopped::Unreadable(why)) => {
                Answer::Step(StepAnswer::Unknown(format!("what it kept cannot be read: {why}")))
            }
            Err(Stopped::Failed(error)) => Answer::Step(StepAnswer::Unknown(error.to_string())),
        })
    }
}

fn acted(answer: Acted<Vec<u8>>) -> Answer {
    Answer::Step(match answer {
        Acted::Done(output) => StepAnswer::Done(output),
        Acted::Ongoing { ask_after } => StepAnswer::Ongoing { ask_after },
    })
}

fn failed(code: &str, message: String, is_final: bool) -> Answer {
    Answer::Step(StepAnswer::Failed { code: code.to_owned(), message, is_final })
}

fn busy(error: &DbError) -> Answer {
    let after = (error.failure == Failure::Busy).then_some(BUSY_PAUSE);
    later(after, &error.chain())
}
