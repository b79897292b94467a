//! The transfer service without a transaction of its own: an order is a declared saga, which the
//! coordinator drives through the banks' saga steps.
//!
//! ```text
//! submit, with the order's id as the key ─▶ wait for the end ─▶ answer
//!
//! for each leg, one after the other:  which bank? ─┬─▶ a: book-leg at a's resource
//!                                                  ├─▶ b: …
//! ```
//!
//! One definition serves every transfer: its legs come with the input. At which resource an action runs
//! is fixed in a definition, so there is a step for each bank, and a choice between them.
//!
//! Easy to get wrong: what to do without an answer. Here the order is sent again, as often as one likes:
//! by its key it is the same saga.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use pactum_agent::sagas::builder::{Saga as Declared, Step as Part, from};
use pactum_agent::sagas::{Definition, Saga};
use pactum_agent::{CallError, SagaError, Sagas};
use serde_json::json;

use crate::services::order::{Answer, BOOK_LEG, Order, SHORT, chain};
use crate::services::tell::{End, Step, Teller};

/// Of the definition: whoever changes it raises this.
const VERSION: u32 = 1;
/// How long a transfer may take. 10 min: nobody waits for a bank that is away for longer.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The legs of one transfer: more than there are banks.
const LEGS_MAX: u32 = 10;
/// How often a leg is tried that failed without a final reason, and the pauses between.
const ATTEMPTS: u32 = 10;
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long an answer waits for the end of the saga.
const END_WAIT_MAX: Duration = Duration::from_secs(60);

/// Sagas of the orders.
pub(super) struct Transfers {
    sagas: Sagas,
    name: String,
    banks: BTreeSet<String>,
    teller: Teller,
}

impl Transfers {
    /// Defines the saga, which changes nothing if it is defined already.
    pub(super) async fn define(
        sagas: Sagas,
        name: String,
        resources: &BTreeMap<String, String>,
        teller: Teller,
    ) -> Result<Self> {
        sagas.define(&transfer(&name, resources)).await.context("define the transfer's saga")?;
        Ok(Transfers { sagas, name, banks: resources.keys().cloned().collect(), teller })
    }

    /// Starts the order's saga, or finds it, and waits until it has ended: to commit is decided when
    /// all is done, so there is nothing to wait for in between.
    pub(super) async fn run(&self, order: &Order) -> Answer {
        if let Some(leg) = order.legs.iter().find(|leg| !self.banks.contains(&leg.bank)) {
            // No case of the choice would fit, and the leg would be passed over.
            return Answer::NotBegun { why: format!("there is no bank `{}`", leg.bank) };
        }
        let xid = match self.submit(order).await {
            Ok(saga) => saga.xid().to_owned(),
            Err(answer) => return answer,
        };
        self.teller.tell(&order.id, &xid, || Step::Begun).await;
        let answer = match self.sagas.wait(&xid, END_WAIT_MAX).await {
            Ok(saga) => answer(&saga),
            Err(error) => Answer::InDoubt { xid: xid.clone(), why: chain(&error) },
        };
        let end = match &answer {
            Answer::Committed { .. } => End::Commit,
            Answer::RolledBack { .. } => End::Rollback,
            Answer::InDoubt { .. } | Answer::NotBegun { .. } => return answer,
        };
        self.teller.tell(&order.id, &xid, || Step::Decided(end)).await;
        answer
    }

    async fn submit(&self, order: &Order) -> Result<Saga, Answer> {
        let input = json!({ "transfer": order.id, "legs": order.legs });
        let submission = self.sagas.submit(&self.name).version(VERSION).input(&input);
        let error = match submission.key(&order.id).await {
            Ok(saga) => return Ok(saga),
            Err(error) => error,
        };
        let why = chain(&error);
        tracing::warn!(transfer = order.id, why, "the saga was not submitted");
        Err(match error {
            // Nobody knows its XID, nor whether it has one.
            SagaError::Coordinator(CallError::NoAnswer(_)) => {
                Answer::InDoubt { xid: String::new(), why }
            }
            SagaError::Coordinator(_) | SagaError::Json { .. } | SagaError::TooLarge { .. } => {
                Answer::NotBegun { why }
            }
        })
    }
}

/// How a saga ended, if it has.
fn answer(saga: &Saga) -> Answer {
    let xid = saga.xid().to_owned();
    if !saga.has_ended() {
        let why = match saga.needs_attention() {
            true => "a step needs a person",
            false => "it has not ended yet",
        };
        return Answer::InDoubt { xid, why: why.to_owned() };
    }
    if saga.is_committed() {
        return Answer::Committed { xid };
    }
    let why = match saga.failure() {
        Some((step, why)) => format!("{step} failed, {}: {}", why.code, why.message),
        None => "it was cancelled, or took too long".to_owned(),
    };
    Answer::RolledBack { xid, why }
}

/// The definition: every leg in the order in which it came, each at its bank.
fn transfer(name: &str, resources: &BTreeMap<String, String>) -> Definition {
    let leg = json!({ "transfer": from("/input/transfer"), "leg": from("/each/legs/item") });
    let mut which = Part::choice("bank");
    let mut books = Vec::new();
    for (bank, resource) in resources {
        which = which.when(format!("each.legs.item.bank == '{bank}'"), bank);
        let book = Part::action(bank, resource, BOOK_LEG).input(leg.clone());
        books.push(book.attempts(ATTEMPTS).backoff(BACKOFF, BACKOFF_MAX).final_errors([SHORT]));
    }
    let body = [which].into_iter().chain(books);
    Declared::new(name, VERSION)
        .timeout(TRANSFER_TIMEOUT)
        .step(Part::each("legs", from("/input/legs"), LEGS_MAX, body))
        .build()
}
