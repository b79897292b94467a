//! Whoever books a trip: defines the saga, submits it, and may then look on, or go.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::pin;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use pactum_agent::Sagas;
use pactum_agent::sagas::{Saga, StepStanding, StepState};
use serde::Serialize;

/// The saga, as the coordinator is told it.
pub const DEFINITION: &[u8] = include_bytes!("../trip.json");
const NAME: &str = "book-trip";
/// The step that waits for an event.
pub const APPROVE: &str = "approve";

/// What the saga is given: `/input` in its mappings.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Trip {
    /// Names the trip, and is the idempotency key of its saga.
    #[arg(long)]
    pub trip: String,
    #[arg(long)]
    pub to: String,
    #[arg(long = "night")]
    pub nights: Vec<String>,
    #[arg(long)]
    pub card: String,
}

impl Trip {
    /// A trip of so many of the nights on offer.
    #[must_use]
    pub fn new(trip: impl Into<String>, to: &str, nights: usize, card: &str) -> Self {
        let nights = (1..=nights).map(|day| format!("{day} May")).collect();
        Trip { trip: trip.into(), to: to.to_owned(), nights, card: card.to_owned() }
    }
}

/// Starts the trip's saga; once more, it is the same one. From here on it needs nobody but the coordinator.
///
/// # Errors
/// If the coordinator refuses, or does not answer.
pub async fn submit(sagas: &Sagas, trip: &Trip) -> Result<Saga> {
    sagas.define_json(DEFINITION).await.context("define the saga")?;
    let submission = sagas.submit(NAME).input(trip).key(&trip.trip);
    submission.await.with_context(|| format!("submit the trip `{}`", trip.trip))
}

/// Looks on until the trip is booked, or all of it undone: `tell` hears of each step as it becomes durable,
/// and `approve` names who approves, if it must be.
///
/// # Errors
/// If the coordinator is lost. The saga goes on.
pub async fn look_on(
    sagas: &Sagas,
    xid: &str,
    approve: &str,
    mut tell: impl FnMut(&StepStanding),
) -> Result<Saga> {
    let mut told = BTreeMap::new();
    let mut moved = pin!(sagas.watch(xid));
    while let Some(moved) = moved.next().await {
        moved?;
        let saga = sagas.get_with_steps(xid).await?;
        // They come in the order of the definition. What failed is told before what is undone for it.
        let mut steps: Vec<&StepStanding> = saga.steps().iter().collect();
        steps.sort_by_key(|step| step.state);
        for step in steps {
            if told.insert(step.path.clone(), step.state()) == Some(step.state()) {
                continue;
            }
            tell(step);
            if step.path == APPROVE && step.state() == StepState::Waiting {
                sagas.signal(xid, APPROVE, &serde_json::json!({ "by": approve })).await?;
            }
        }
        if saga.has_ended() || saga.needs_attention() {
            return Ok(saga);
        }
    }
    Ok(sagas.get_with_steps(xid).await?)
}

/// A step as a line of the story.
#[must_use]
pub fn line(step: &StepStanding) -> impl Display + use<> {
    let result = String::from_utf8_lossy(&step.result);
    let says = match step.state() {
        StepState::Running => "runs".to_owned(),
        StepState::Waiting => "waits".to_owned(),
        StepState::Done if result.is_empty() || result == "null" => "done".to_owned(),
        StepState::Done => format!("done  {result}"),
        StepState::Failed => {
            let failure = step.failure.clone().unwrap_or_default();
            format!("failed: {} ({})", failure.message, failure.code)
        }
        StepState::Undoing => "is being undone".to_owned(),
        StepState::Undone => "undone".to_owned(),
        StepState::Skipped | StepState::Parked | StepState::Unspecified => {
            format!("needs a person: {}", step.last_reason)
        }
    };
    format!("  {:<18} {says}", step.path)
}
