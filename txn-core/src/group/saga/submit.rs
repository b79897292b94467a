//! Defining a saga, starting one, asking where one stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{FoundSaga, standing, tell};
use crate::event::{Event, Submit, Target, Timer};
use crate::group::Group;
use crate::rejection::{ActionMissing, Limit, Rejection};
use crate::saga::limits::SAGA_SECONDS_MAX;
use crate::saga::{Defined, DefinitionKey, Graph, SagaRow};
use crate::step::{Reply, ReplyTo, Step, Volatile, Write};
use crate::time::{Now, Timestamp};
use crate::transaction::TransactionRow;

impl Group {
    /// A definition that is kept.
    #[must_use]
    pub fn definition(&self, key: &DefinitionKey) -> Option<&Arc<Defined>> {
        self.definitions.get(key)
    }

    /// Every definition.
    #[must_use]
    pub fn definitions(&self) -> &BTreeMap<DefinitionKey, Arc<Defined>> {
        &self.definitions
    }

    /// The definition of a name: of this version, or the latest.
    #[must_use]
    pub fn definition_named(&self, name: &str, version: Option<u32>) -> Option<&Arc<Defined>> {
        let key = |version| DefinitionKey { name: name.into(), version };
        match version {
            Some(version) => self.definitions.get(&key(version)),
            None => {
                let mut all = self.definitions.range(key(0)..=key(u32::MAX));
                all.next_back().map(|(_, defined)| defined)
            }
        }
    }

    pub(in crate::group) fn define(&self, defined: &Arc<Defined>, reply: ReplyTo) -> Step {
        let key = &defined.row.key;
        let mut step = Step::default();
        match self.definitions.get(key) {
            Some(known) if known.row.body == defined.row.body => {}
            Some(_) => return Step::rejected(reply, Rejection::DefinitionTaken(key.clone())),
            None => {
                let max = self.policy().definitions_max;
                if self.definitions.len() >= max {
                    let limit = Rejection::Limit { limit: Limit::Definitions, max: max as u64 };
                    return Step::rejected(reply, limit);
                }
                step.store(Write::PutDefinition(Arc::clone(defined)));
            }
        }
        step.reply(reply, Reply::Defined(key.clone()));
        step
    }

    pub(in crate::group) fn submit(&self, submit: &Submit, at: Now) -> Step {
        let key = submit.idempotency_key.as_ref();
        if let Some(xid) = key.and_then(|key| self.idempotency.get(key)) {
            let target = Target { xid: *xid, store_named: true };
            return self.saga_requested(target, submit.wait, submit.reply, at);
        }
        let Some(defined) = self.definition_named(&submit.name, submit.version) else {
            let (name, version) = (Arc::clone(&submit.name), submit.version);
            return Step::rejected(submit.reply, Rejection::UnknownSaga { name, version });
        };
        if let Err(rejection) = self.check_actions(&defined.graph) {
            return Step::rejected(submit.reply, rejection);
        }
        let number = match self.next_number(submit.reply) {
            Ok(number) => number,
            Err(step) => return *step,
        };
        let unlimited = Duration::from_secs(SAGA_SECONDS_MAX);
        let timeout = defined.graph.timeout().unwrap_or(unlimited);
        let row = TransactionRow {
            idempotency_key: submit.idempotency_key.clone(),
            ..TransactionRow::begun(number, Arc::clone(&defined.row.key.name), timeout, at.wall)
        };
        let saga = SagaRow {
            xid: number,
            definition: defined.row.key.clone(),
            input: Arc::clone(&submit.input),
            paused: false,
            words: Vec::new(),
        };
        let mut step = Step::default();
        let deadline = at.mono.after(timeout);
        step.note(Volatile::Began { row: row.clone(), deadline });
        if defined.graph.timeout().is_some() {
            step.timers.push((deadline, Timer::Deadline(number)));
        }
        step.store(Write::PutTransaction(row));
        step.store(Write::PutSaga(saga));
        // Asked before anything of it can end, in a step that sees it.
        let target = Target { xid: number, store_named: true };
        step.follow(Event::SagaRequested { target, wait: submit.wait, reply: submit.reply });
        step.follow(Event::SagaMoved(number));
        self.refill_ids(step)
    }

    /// Whether somebody offers every action that a saga needs. Of a resource at which nobody offers anything
    /// nothing is known: its service may be starting. It attaches before it has registered its actions, and
    /// a refusal in between would blame a saga for that.
    fn check_actions(&self, graph: &Graph) -> Result<(), Rejection> {
        for used in graph.actions() {
            let bound = self.bindings.by_id(&used.resource).map(|row| row.number);
            let why = match bound {
                None => Some(ActionMissing::Resource),
                Some(number) => match self.sessions.offered(number, &used.action) {
                    Some(false) if used.compensable => Some(ActionMissing::Compensation),
                    Some(_) => None,
                    None if self.sessions.is_anything_offered(number) => {
                        Some(ActionMissing::Action)
                    }
                    None => None,
                },
            };
            if let Some(why) = why {
                return Err(Rejection::UnknownAction {
                    step: used.step.as_str().into(),
                    action: Arc::clone(&used.action),
                    resource: used.resource.clone(),
                    why,
                });
            }
        }
        Ok(())
    }

    /// Where a saga stands: now, or at its end if that comes in time.
    pub(in crate::group) fn saga_requested(
        &self,
        target: Target,
        wait: Option<Duration>,
        reply: ReplyTo,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        match self.find_saga(target) {
            Err(rejection) => step.reject(reply, rejection),
            Ok(FoundSaga::Ended(outcome)) => {
                step.reply(reply, Reply::SagaEnded(target.xid, outcome));
            }
            Ok(FoundSaga::Live(txn, saga)) => match wait {
                None => tell(&mut step, reply, standing(txn, saga)),
                Some(wait) => {
                    let until = at.mono.after(wait.min(self.policy().saga_wait_max));
                    self.await_end(&mut step, target, until, reply);
                }
            },
        }
        step
    }

    fn await_end(&self, step: &mut Step, target: Target, until: Timestamp, reply: ReplyTo) {
        step.note(Volatile::CompletionAwaited(target.xid, reply));
        step.timers.push((until, Timer::Completion(target.xid, reply)));
    }
}
