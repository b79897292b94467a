//! The transfer service as the transaction manager.
//!
//! ```text
//! begin ─▶ POST /debit, /credit at each bank ─▶ commit, or rollback ─▶ answer
//! ```
//!
//! Easy to get wrong: a bank that did not answer may have done its leg, and a
//! commit without an answer may have happened. The first is safe to undo, because the commit was not
//! asked for yet; the second must be asked about, never repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use pactum_agent::web::RequestBuilderExt as _;
use pactum_agent::{
    Agent, BeginOptions, Decision, GlobalTransaction, InDoubt, Outcome, TransactionContext,
    TransactionHandle, Wait,
};
use tokio::time::{Instant, sleep, timeout};

use crate::services::order::{Answer, Entry, Leg, Order, Refusal, WaitFor, chain};
use crate::services::tell::{End, Step, Teller};

/// A transfer takes milliseconds; this is for a coordinator or a bank that has to come back.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an outcome in doubt is asked for before the caller is told that it is.
const DOUBT_MAX: Duration = Duration::from_secs(30);
/// How long the undoing of one attempt may take before the next would meet its remains.
const UNDONE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The pause before a bank is called that could not be reached.
const CALL_PAUSE: Duration = Duration::from_millis(25);
/// The longest pause after the first attempt, and by how much it grows with each; random, so that two
/// that met do not meet again.
const AGAIN_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Global transactions of the orders, and the banks to call in them.
pub(super) struct Transfers {
    pub(super) agent: Agent,
    pub(super) client: reqwest::Client,
    pub(super) banks: BTreeMap<String, String>,
    pub(super) teller: Teller,
}

/// How one attempt ended.
enum Attempt {
    Ended(Answer),
    /// It is undone, and what stopped it may be gone by now.
    MayRunAgain(Answer),
}

impl Transfers {
    /// Runs the order until it ends, or passing trouble has met it too often.
    pub(super) async fn run(&self, order: &Order) -> Answer {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(order).await {
                Attempt::MayRunAgain(answer) if attempts < order.attempts_max => {
                    tracing::info!(transfer = order.id, ?answer, "the transfer runs again");
                    let pause_max = AGAIN_PAUSE_MAX * attempts;
                    sleep(pause_max.mul_f64(fastrand::f64())).await;
                }
                Attempt::MayRunAgain(answer) => {
                    tracing::warn!(transfer = order.id, ?answer, "the transfer was run too often");
                    return answer;
                }
                Attempt::Ended(answer) => return answer,
            }
        }
    }

    async fn attempt(&self, order: &Order) -> Attempt {
        let wait = match order.wait {
            WaitFor::Decided => Wait::Decided,
            WaitFor::Completed => Wait::Completed,
        };
        let options = BeginOptions { timeout: TRANSFER_TIMEOUT, wait };
        let transaction = match self.agent.begin(&order.name(), options).await {
            Ok(transaction) => transaction,
            Err(error) => return Attempt::Ended(Answer::NotBegun { why: chain(&error) }),
        };
        let (context, handle) = (transaction.context().clone(), transaction.handle());
        self.tell(order, &context, || Step::Begun).await;
        match self.call_all(order, &context).await {
            Ok(()) => self.commit(order, transaction).await,
            Err(refusal) => {
                self.tell(order, &context, || Step::Asks(End::Rollback)).await;
                let outcome = transaction.rollback().await;
                self.tell(order, &context, || Step::Decided(End::Rollback)).await;
                rolled_back(&handle, outcome, refusal).await
            }
        }
    }

    async fn call_all(&self, order: &Order, context: &TransactionContext) -> Result<(), Refusal> {
        for leg in &order.legs {
            self.tell(order, context, || Step::Calls(leg.clone())).await;
            self.call(order, leg, context).await?;
            self.tell(order, context, || Step::Answered(leg.clone())).await;
        }
        Ok(())
    }

    /// Has a bank do one leg. The XID goes with the request, the finished branch comes back with the
    /// answer: `send_in` sees to both.
    async fn call(
        &self,
        order: &Order,
        leg: &Leg,
        context: &TransactionContext,
    ) -> Result<(), Refusal> {
        let bank = self.banks.get(&leg.bank).ok_or_else(|| Refusal {
            why: format!("there is no bank `{}`", leg.bank),
            passing: false,
        })?;
        let url = format!("{bank}/{}", leg.verb());
        let entry =
            Entry { transfer: order.id.clone(), account: leg.account, amount: leg.amount.abs() };
        loop {
            let request = self.client.post(&url).json(&entry).timeout(context.remaining());
            let response = match request.send_in(context).await {
                Ok(response) => response,
                // It was not reached, so it did nothing: it may be starting again.
                Err(error) if error.is_connect() && context.remaining() > CALL_PAUSE => {
                    sleep(CALL_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(Refusal { why: chain(&error), passing: true }),
            };
            if response.status().is_success() {
                return Ok(());
            }
            let status = response.status();
            let unreadable = |error| Refusal {
                why: format!("bank {} answered {status}: {}", leg.bank, chain(&error)),
                passing: true,
            };
            return Err(response.json().await.unwrap_or_else(unreadable));
        }
    }

    async fn commit(&self, order: &Order, transaction: GlobalTransaction) -> Attempt {
        let (context, handle) = (transaction.context().clone(), transaction.handle());
        self.tell(order, &context, || Step::Asks(End::Commit)).await;
        let xid = context.xid().to_string();
        let outcome = match transaction.commit().await {
            Ok(outcome) => outcome,
            Err(doubt) => match settle(doubt).await {
                Ok(outcome) => outcome,
                Err(doubt) => return Attempt::Ended(Answer::InDoubt { xid, why: chain(&doubt) }),
            },
        };
        match outcome.decision {
            Decision::Committed => {
                self.tell(order, &context, || Step::Decided(End::Commit)).await;
                Attempt::Ended(Answer::Committed { xid })
            }
            Decision::RolledBack(cause) => {
                self.tell(order, &context, || Step::Decided(End::Rollback)).await;
                let refusal = Refusal { why: format!("{cause:?}"), passing: true };
                rolled_back(&handle, outcome, refusal).await
            }
        }
    }

    async fn tell(&self, order: &Order, context: &TransactionContext, step: impl FnOnce() -> Step) {
        self.teller.tell(&order.id, &context.xid().to_string(), step).await;
    }
}

/// Asks until there is an answer.
async fn settle(mut doubt: InDoubt) -> Result<Outcome, InDoubt> {
    let until = Instant::now() + DOUBT_MAX;
    while doubt.is_retryable() && Instant::now() < until {
        match doubt.ask().await {
            Ok(outcome) => return Ok(outcome),
            Err(still) => doubt = still,
        }
    }
    Err(doubt)
}

/// What a rollback means for the order. It may run again only after all is undone: its rows of before
/// would be in its way.
async fn rolled_back(handle: &TransactionHandle, outcome: Outcome, refusal: Refusal) -> Attempt {
    let answer = Answer::RolledBack { xid: handle.xid().to_string(), why: refusal.why };
    if !refusal.passing {
        return Attempt::Ended(answer);
    }
    let undone = outcome.completed
        || matches!(timeout(UNDONE_WAIT_MAX, handle.completed()).await, Ok(Ok(_)));
    if undone {
        return Attempt::MayRunAgain(answer);
    }
    tracing::warn!(?answer, "the transfer is not undone yet, and so cannot run again");
    Attempt::Ended(answer)
}
