//! The closure form: begin, join or nest, run, and end by what the closure returns.
//!
//! Easy to get wrong: a closure that joined cannot roll back what others did, and its caller may
//! swallow its error. So a joined run that fails, panics or is dropped vetoes.

use std::marker::PhantomData;
use std::time::Duration;

use super::finished::{Ended, Fate, Finished, RunError, TransactionError};
use super::hooks::{HookList, Hooks};
use super::options::{BeginOptions, Wait};
use super::propagation::{Given, Plan, Propagation};
use super::rules::{ErrorRules, Judge, RollBackAlways};
use super::scope::NestedScope;
use super::transaction::GlobalTransaction;
use crate::context::{TransactionContext, waiting_xid};
use crate::session::Session;

/// A global transaction to be run: see [`Agent::global`](crate::Agent::global).
///
/// `C` is what its closure is given, `R` the rules of which errors roll back.
#[must_use = "nothing happens before `run`"]
pub struct Global<'a, C = TransactionContext, R = RollBackAlways> {
    session: &'a Session,
    name: &'a str,
    options: BeginOptions,
    propagation: Propagation,
    hooks: HookList,
    rules: R,
    given: PhantomData<fn(C)>,
}

impl<'a> Global<'a> {
    pub(crate) fn new(session: &'a Session, hooks: &HookList, name: &'a str) -> Self {
        Global {
            session,
            name,
            options: BeginOptions::default(),
            propagation: Propagation::default(),
            hooks: hooks.clone(),
            rules: RollBackAlways,
            given: PhantomData,
        }
    }
}

impl<'a, R> Global<'a, TransactionContext, R> {
    /// What the run means inside and outside of another transaction. Default
    /// [`Propagation::Required`]. Since some of them run without a transaction, the closure is then
    /// given an `Option` of the context.
    pub fn propagation(
        self,
        propagation: Propagation,
    ) -> Global<'a, Option<TransactionContext>, R> {
        let Global { session, name, options, hooks, rules, .. } = self;
        Global { session, name, options, propagation, hooks, rules, given: PhantomData }
    }
}

impl<'a, C> Global<'a, C, RollBackAlways> {
    /// An exception from the rule that every error rolls back: with an error for which `rule` says
    /// `true` the run commits, or stands in what it joined, and returns the error with its
    /// [`Fate`]. It concerns no other error.
    ///
    /// ```no_run
    /// # async fn example(agent: pactum_agent::Agent) {
    /// #[derive(Debug)]
    /// enum OrderError { SoldOut, Broken }
    ///
    /// let order = agent
    ///     .global("order")
    ///     .no_rollback_on(|error| matches!(error, OrderError::SoldOut))
    ///     .run(async |_context| {
    ///         // … note the attempt, which is to stay …
    ///         Err::<(), _>(OrderError::SoldOut)
    ///     });
    /// # let _ = order.await;
    /// # }
    /// ```
    pub fn no_rollback_on<E>(
        self,
        rule: impl Fn(&E) -> bool + Send + Sync + 'a,
    ) -> Global<'a, C, ErrorRules<'a, E>> {
        self.with_rules(ErrorRules::new()).no_rollback_on(rule)
    }

    /// An exception from [`no_rollback_on`](Self::no_rollback_on): an error for which `rule` says
    /// `true` rolls back even if that names it too. Alone it changes nothing.
    pub fn rollback_on<E>(
        self,
        rule: impl Fn(&E) -> bool + Send + Sync + 'a,
    ) -> Global<'a, C, ErrorRules<'a, E>> {
        self.with_rules(ErrorRules::new()).rollback_on(rule)
    }

    fn with_rules<R>(self, rules: R) -> Global<'a, C, R> {
        let Global { session, name, options, propagation, hooks, given, .. } = self;
        Global { session, name, options, propagation, hooks, rules, given }
    }
}

impl<'a, C, E> Global<'a, C, ErrorRules<'a, E>> {
    /// One more exception from the rule that every error rolls back.
    pub fn no_rollback_on(mut self, rule: impl Fn(&E) -> bool + Send + Sync + 'a) -> Self {
        self.rules.no_rollback_on.push(Box::new(rule));
        self
    }

    /// One more exception from [`no_rollback_on`](Self::no_rollback_on).
    pub fn rollback_on(mut self, rule: impl Fn(&E) -> bool + Send + Sync + 'a) -> Self {
        self.rules.rollback_on.push(Box::new(rule));
        self
    }
}

impl<C: Given, R> Global<'_, C, R> {
    /// After this time a transaction that the run begins rolls back unless it is decided. Default
    /// 60 s. One that it joins keeps its own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How long the answer of a transaction that the run begins waits. Default [`Wait::Completed`].
    pub fn wait(mut self, wait: Wait) -> Self {
        self.options.wait = wait;
        self
    }

    /// Hears of the transaction that the run begins, after the agent's own hooks.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// Runs `work` as the propagation says. In a transaction of its own, `Ok` commits, and `Err`, a
    /// panic and dropping this future roll back; in a nested scope, `Ok` keeps it and they roll it
    /// back; in a transaction that it joined, they veto it.
    ///
    /// # Errors
    ///
    /// See [`RunError`]: only *in doubt* leaves open what happened.
    pub async fn run<T, E, F>(self, work: impl FnOnce(C) -> F) -> Result<Finished<T>, RunError<E>>
    where
        F: Future<Output = Result<T, E>>,
        R: Judge<E>,
    {
        match self.propagation.plan(TransactionContext::current())? {
            Plan::Begin => self.run_own(work).await,
            Plan::Join(outer) => self.run_joined(outer, work).await,
            Plan::Nest(outer) => self.run_nested(&outer, work).await,
            Plan::Outside => {
                let worked = TransactionContext::suspended(|_| work(C::given(None))).await;
                match worked {
                    Ok(value) => Ok(Finished { value, ended: Ended::NoTransaction }),
                    Err(error) => Err(RunError::Work { error, fate: Fate::NoTransaction }),
                }
            }
        }
    }

    async fn run_own<T, E, F>(self, work: impl FnOnce(C) -> F) -> Result<Finished<T>, RunError<E>>
    where
        F: Future<Output = Result<T, E>>,
        R: Judge<E>,
    {
        let outer = waiting_xid();
        let Global { session, name, options, hooks, rules, .. } = self;
        let begun = GlobalTransaction::begin(session, hooks, name, options, outer.as_ref());
        let transaction = begun.await?;
        let error = match within(transaction.context(), work).await {
            Ok(value) => {
                let handle = transaction.handle();
                let outcome = transaction.commit().await?;
                if !outcome.is_committed() {
                    return Err(RunError::RolledBack(outcome));
                }
                let ended = Ended::Committed { outcome, transaction: handle };
                return Ok(Finished { value, ended });
            }
            Err(error) => error,
        };
        if rules.rolls_back(&error) {
            let fate = Fate::RolledBack(transaction.rollback().await);
            return Err(RunError::Work { error, fate });
        }
        let fate = match transaction.commit().await {
            Ok(outcome) if outcome.is_committed() => Fate::Committed(outcome),
            Ok(outcome) => Fate::DoesNotStand(Box::new(TransactionError::RolledBack(outcome))),
            Err(in_doubt) => Fate::DoesNotStand(Box::new(in_doubt.into())),
        };
        Err(RunError::Work { error, fate })
    }

    async fn run_joined<T, E, F>(
        self,
        outer: TransactionContext,
        work: impl FnOnce(C) -> F,
    ) -> Result<Finished<T>, RunError<E>>
    where
        F: Future<Output = Result<T, E>>,
        R: Judge<E>,
    {
        let joined = Joined { name: self.name, outer: Some(&outer) };
        let worked = within(&outer, work).await;
        match worked {
            Ok(value) => {
                joined.stands();
                Ok(Finished { value, ended: Ended::Joined })
            }
            Err(error) if self.rules.rolls_back(&error) => {
                joined.veto("failed");
                Err(RunError::Work { error, fate: Fate::OuterVetoed })
            }
            Err(error) => {
                joined.stands();
                Err(RunError::Work { error, fate: Fate::Joined })
            }
        }
    }

    async fn run_nested<T, E, F>(
        self,
        outer: &TransactionContext,
        work: impl FnOnce(C) -> F,
    ) -> Result<Finished<T>, RunError<E>>
    where
        F: Future<Output = Result<T, E>>,
        R: Judge<E>,
    {
        let scope = NestedScope::open(self.session, outer)?;
        match within(scope.context(), work).await {
            Ok(value) => {
                scope.keep().await?;
                Ok(Finished { value, ended: Ended::Joined })
            }
            Err(error) if self.rules.rolls_back(&error) => {
                let fate = Fate::Scope(scope.rollback().await);
                Err(RunError::Work { error, fate })
            }
            Err(error) => {
                let fate = match scope.keep().await {
                    Ok(()) => Fate::Joined,
                    Err(vetoed) => Fate::DoesNotStand(Box::new(vetoed.into())),
                };
                Err(RunError::Work { error, fate })
            }
        }
    }
}

impl<C, R> std::fmt::Debug for Global<'_, C, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Global")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("propagation", &self.propagation)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}

/// Runs the closure inside a transaction. It is called there too, not only its future polled.
async fn within<C: Given, F: Future>(
    context: &TransactionContext,
    work: impl FnOnce(C) -> F,
) -> F::Output {
    let given = C::given(Some(context.clone()));
    context.clone().scope(async move { work(given).await }).await
}

/// A run inside a transaction that somebody else ends. Left without a word it vetoes.
struct Joined<'a> {
    name: &'a str,
    /// Taken when it was left.
    outer: Option<&'a TransactionContext>,
}

impl Joined<'_> {
    fn stands(mut self) {
        self.outer = None;
    }

    fn veto(mut self, how: &str) {
        self.veto_now(how);
    }

    fn veto_now(&mut self, how: &str) {
        if let Some(outer) = self.outer.take() {
            outer.mark_veto(&format!("`{}`, which is a part of it, {how}", self.name));
        }
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.veto_now("panicked or was dropped");
    }
}
