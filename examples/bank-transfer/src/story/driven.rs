//! Tells the steps of a declared saga.
//!
//! ```text
//! 1 submit   2 step   3 action   4 local commit   5 result   6 end
//!            └──────────── once for each leg ───────────┘
//! ```
//!
//! The transfer service tells the first and, if it still runs, the last; a bank tells its action, inside
//! the local transaction. The others are seen at the coordinator.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pactum_proto::v1::{Saga, SagaStep, SagaStepState, TransactionStatus};
use tokio::time::Instant;

use super::ear::Held;
use super::stage::{SHOWS_MAX, Stage, bank, change, settled, show};
use crate::screen::Ink;
use crate::services::order::Leg;
use crate::services::tell::{End, Step, Told};
use crate::world::World;

/// Between two looks at the coordinator.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

impl Stage {
    pub(super) async fn tell_driven(&mut self, told: &Told) -> Result<()> {
        let Told { transfer, xid, step } = told;
        match step {
            Step::Begun => {
                self.xids.insert(transfer.clone(), xid.clone());
                self.line(told, "1 submit", "transfer", &self.screen.paint(Ink::Name, xid));
            }
            Step::Worked { leg, mode, holding } => {
                let change = change(leg, *mode, *holding);
                self.tell_acted(told, leg, &change).await?;
                let twice = self.worked.insert((transfer.clone(), leg.bank.clone()), change);
                ensure!(twice.is_none(), "bank {} did its leg of {transfer} twice", leg.bank);
            }
            Step::Refused { leg, .. } => {
                let short = "the account is short, nothing is written";
                self.tell_acted(told, leg, &self.screen.paint(Ink::Bad, short)).await?;
            }
            Step::Settled { leg, how, holding } => {
                self.line(told, "  undo", &bank(leg), &settled(leg, *how, *holding));
            }
            Step::Decided(end) => self.tell_end(told, *end).await?,
            // A bank is called by nobody but the coordinator here.
            Step::Calls(_) | Step::CommittedLocally(_) | Step::Answered(_) | Step::Asks(_) => {}
        }
        Ok(())
    }

    async fn tell_acted(&self, told: &Told, leg: &Leg, what: &str) -> Result<()> {
        let xid = self.xids.get(&told.transfer).context("a bank acted before the submission")?;
        let step = self.saga_step(xid, &leg.bank).await?;
        if self.at_length > 0 {
            let asked = format!("`{}`: action `{}`", step.path, step.action);
            self.line(told, "2 step", "coordinator", &format!("{asked}, key {}", step.branch_id));
            self.line(told, "3 action", &bank(leg), what);
        } else {
            let asked = format!("`{}`: {}", step.path, show(leg));
            self.line(told, "3 action", &bank(leg), &format!("{asked}, {what}"));
        }
        Ok(())
    }

    async fn tell_end(&self, told: &Told, end: End) -> Result<()> {
        let saga = self.world.admin.saga(&told.xid).await?;
        let what = match (end, &saga.failure) {
            (End::Commit, _) => self.screen.paint(Ink::Good, "committed: every step is done"),
            (End::Rollback, Some(failure)) => {
                let why = format!("`{}` failed with `{}`", saga.failed_step, failure.code);
                self.screen.paint(Ink::Bad, format!("rolled back: {why}"))
            }
            (End::Rollback, None) => self.screen.paint(Ink::Bad, "rolled back"),
        };
        self.line(told, "6 end", "coordinator", &what);
        Ok(())
    }

    /// Lets a bank's held action go on, and tells what becomes durable by it.
    pub(super) async fn tell_durable(&mut self, held: Held, bank: &str) -> Result<()> {
        let told = held.told.clone();
        drop(held);
        self.at_length = 0;
        let xid = self.xid_of(&told.transfer)?;
        self.wait_for_step(&xid, bank, SagaStepState::Done).await?;
        let step = self.saga_step(&xid, bank).await?;
        let commit = "rows, and a barrier row with the result, in one local transaction";
        self.line(&told, "4 local commit", &format!("bank {bank}"), commit);
        self.line(&told, "5 result", "coordinator", &format!("`{}` is done", step.path));
        Ok(())
    }

    /// Tells what banks do until the saga has ended, whoever waits for that.
    pub(super) async fn tell_until_ended(&mut self, xid: &str) -> Result<Saga> {
        let until = Instant::now() + SHOWS_MAX;
        loop {
            while let Some(held) = self.next_within(LOOK_PAUSE).await? {
                self.tell(&held.told).await?;
            }
            // It may have been started just now, and not answer.
            if let Ok(saga) = self.world.admin.saga(xid).await
                && has_ended(&saga)
            {
                return Ok(saga);
            }
            ensure!(Instant::now() < until, "saga `{xid}` did not end in {SHOWS_MAX:?}");
        }
    }

    /// Forgets that a bank told its action, which was killed in it.
    pub(super) fn lost(&mut self, held: Held) {
        if let Step::Worked { leg, .. } = &held.told.step {
            self.worked.remove(&(held.told.transfer.clone(), leg.bank.clone()));
        }
    }

    /// Waits until the coordinator has a bank's step in a state.
    pub(super) async fn wait_for_step(
        &self,
        xid: &str,
        bank: &str,
        state: SagaStepState,
    ) -> Result<()> {
        let resource = self.world.bank(bank).resource.clone();
        let is_there = async |world: &World| {
            let steps = world.admin.saga(xid).await?.steps;
            Ok(steps.iter().any(|step| step.resource_id == resource && step.state() == state))
        };
        self.wait(&format!("bank {bank}'s step to be {}", state.as_str_name()), is_there).await
    }

    /// The XID of a transfer whose submission was told.
    pub(super) fn xid_of(&self, transfer: &str) -> Result<String> {
        self.xids.get(transfer).cloned().context("its submission was not told")
    }

    /// A bank's step, as the coordinator has it.
    async fn saga_step(&self, xid: &str, bank: &str) -> Result<SagaStep> {
        let resource = &self.world.bank(bank).resource;
        let steps = self.world.admin.saga(xid).await?.steps;
        let mut steps = steps.into_iter();
        let step = steps.find(|step| step.resource_id == *resource);
        step.with_context(|| format!("`{xid}` has reached no step at `{resource}`"))
    }
}

fn has_ended(saga: &Saga) -> bool {
    let status = saga.outcome.map(|outcome| outcome.status());
    matches!(status, Some(TransactionStatus::Committed | TransactionStatus::RolledBack))
}
