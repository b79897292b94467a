//! XA as the fallback: a statement that AT cannot undo, in a branch that the database itself will undo.
//!
//! ```text
//! refused by the plan ──▶ tables it names ──▶ run as it is ──▶ the local transaction is now an XA branch
//! commit:  register (mode XA, all keys, table locks) ∥ barrier row (mode XA) ──▶ PREPARE
//! ```
//!
//! On PostgreSQL any open local transaction can be prepared, so nothing has to be known at its begin.
//! MySQL and MariaDB must be told: a local transaction of `AtPool::with_fallback` begins as a branch, and
//! one whose first statement falls back begins once more.
//!
//! What was captured before is dropped: the database undoes those rows too. Their keys are registered all
//! the same, and the tables that the statement names are locked as a whole.
//!
//! Easy to get wrong: the locks. Rows that the statement changes in tables it does not name (by a
//! trigger, a function, a foreign key) are locked by the database only. And a second branch of the same
//! global transaction that needs these rows waits for the first until the deadline.

use futures_util::TryStreamExt as _;
use pactum_core::lock::key::LockMode;
use pactum_core::transaction::BranchMode;

use super::commit::{Failed, register};
use super::connection::{AtConnection, CUT_SHORT, Gathered, Health, LOST};
use super::engine::{AtDatabase, Statement, Step};
use super::error::AtError;
use super::keys::table_key;
use super::options::Fallback;
use super::plan::{Refused, named_tables};
use super::pool::{Shared, begin_failed};
use super::restore::Named;
use super::undo::Stored;
use crate::barrier::Mode;
use crate::branch::BranchKey;
use crate::branch::phase_one::PhaseOne;
use crate::context::TransactionContext;
use crate::session::{Claim, Registration};
use crate::xa::{self, Branch, Support, XaError};

impl<DB: AtDatabase> AtConnection<DB> {
    /// Runs a statement that AT refused, if the resource falls back to XA.
    pub(super) async fn fall_back(
        &mut self,
        refused: Refused,
        statement: Statement<DB>,
    ) -> Result<Vec<Step<DB>>, AtError> {
        // Outside of a global transaction there is nobody to decide.
        if self.shared.options.fallback == Fallback::Refuse || self.context.is_none() {
            return Err(refused.into());
        }
        let locks = self.tables_named(&refused, statement.sql.as_str()).await?;
        self.become_branch(&refused).await?;
        // Before it runs: where the transaction survives its failure, a part of it may have been done.
        for name in &locks {
            let key = table_key(name).map_err(|error| AtError::from_key(error.into(), name))?;
            self.gathered.keys.push(key, LockMode::Exclusive);
        }
        self.gathered.falls_back = true;
        self.health = Health::OnlyRollback(CUT_SHORT);
        let steps = DB::run(&mut self.local, statement).try_collect().await;
        self.health = Health::Sound;
        steps.map_err(|error| {
            self.note_failure(&error);
            self.refused(error)
        })
    }

    /// Whether it can only end as an XA branch: one that changed and locked nothing needs no second phase,
    /// as long as the agent knows what ran in it.
    pub(super) fn must_prepare(&self) -> bool {
        let has_keys = !self.gathered.keys.is_empty();
        self.gathered.falls_back || (has_keys && self.local.branch().is_some())
    }

    /// Sees to it that the local transaction is one that can be prepared.
    async fn become_branch(&mut self, refused: &Refused) -> Result<(), AtError> {
        let must_begin = self.shared.xa.as_ref().is_some_and(Support::must_begin);
        if !must_begin || self.local.branch().is_some() {
            return Ok(());
        }
        if !self.is_untouched {
            let why = format!(
                "{}, and this local transaction did not begin as one that XA could undo",
                refused.why
            );
            let instead =
                "begin it from `AtPool::with_fallback()`, or make this its first statement";
            return Err(Refused::new(refused.statement.clone(), why, instead).into());
        }
        let Some(context) = &self.context else { return Err(refused.clone().into()) };
        let Some(branch) = self.shared.branch(context).await? else { return Ok(()) };
        self.health = Health::OnlyRollback(LOST);
        self.local.begin_again(branch).await.map_err(begin_failed::<DB>)?;
        self.health = Health::Sound;
        self.is_untouched = false;
        Ok(())
    }

    /// The tables that a statement names, as lock keys name them.
    async fn tables_named(&mut self, refused: &Refused, sql: &str) -> Result<Vec<String>, AtError> {
        let kind = DB::sql(&mut self.local).kind();
        // What this refuses has the better reason only where AT has none.
        let named = named_tables(sql, kind).map_err(|_| refused.clone())?;
        let mut locks = Vec::new();
        for name in &named {
            let found = DB::dialect().named(&mut *DB::sql(&mut self.local), name).await;
            match found.map_err(AtError::from_db)? {
                Named::Table(table) => locks.push(table),
                Named::Nothing => {}
                Named::Unfit(unfit) => {
                    let why = format!("AT cannot undo it, and `{name}` {unfit}");
                    let instead = "name plain tables of the resource themselves";
                    return Err(Refused::new(refused.statement.clone(), why, instead).into());
                }
            }
        }
        if locks.is_empty() && self.shared.options.fallback != Fallback::XaWithoutLocks {
            return Err(Refused::new(
                refused.statement.clone(),
                "AT cannot undo it, and it names no table that could be locked while XA does",
                "name the tables, or allow it for the resource with `Fallback::XaWithoutLocks`",
            )
            .into());
        }
        Ok(locks)
    }

    /// Ends the local transaction as an XA branch.
    pub(super) async fn commit_prepared(
        mut self,
        context: TransactionContext,
        claim: Option<Claim>,
    ) -> Result<(), Failed> {
        let mut registered = None;
        if let Err(failed) = self.register_prepared(&context, claim, &mut registered).await {
            // In this order: whoever gets the locks finds the rows as they were.
            self.local.rollback().await.ok();
            drop(registered);
            return Err(failed);
        }
        let (mut phase_one, key) = registered.expect("it is registered where that did not fail");
        let AtConnection { shared, local, turn, .. } = self;
        let support = shared.xa.as_ref().expect("a statement fell back only where there is XA");
        let name = support.name(&context, key);
        phase_one.sent();
        let prepared = local.prepare(support, &name).await;
        drop(turn);
        match prepared {
            Ok(()) => {
                phase_one.done();
                Ok(())
            }
            Err(error) => {
                let settled = xa::settle(&support.prepared, &phase_one, &name, error).await;
                settled.map_err(|error| Failed::from(not_prepared(error)))
            }
        }
    }

    /// Everything up to the prepare. The caller rolls back locally on an error, and only then drops
    /// `registered`.
    async fn register_prepared(
        &mut self,
        context: &TransactionContext,
        claim: Option<Claim>,
        registered: &mut Option<(PhaseOne, BranchKey)>,
    ) -> Result<(), Failed> {
        if context.remaining().is_zero() {
            return Err(AtError::DeadlinePassed.into());
        }
        let Gathered { keys, mut assumed, .. } = std::mem::take(&mut self.gathered);
        self.release_savepoints().await?;
        let link = self.shared.link.clone();
        let branch = match self.local.branch() {
            Some(name) => name.key.branch,
            None => link.next_branch_id().await.map_err(AtError::from)?,
        };
        let (wait, _waiting) = self.wait_inside();
        let registration = Registration {
            branch,
            resource: self.shared.resource.clone(),
            mode: BranchMode::Xa,
            action: None,
            locks: keys.merged(self.shared.options.row_locks_per_table_max),
            wait,
            holds_local_locks: true,
            lock_only: false,
            claim,
        };
        let key = BranchKey { xid: context.xid_here().clone(), branch };
        assumed.barrier.clone_from(&self.shared.barrier_place);
        let bodiless = Stored { format: 0, body: String::new() };
        let (phase_one, written) = tokio::join!(
            register(link, context, &registration),
            self.write_barrier(context, &key, (Mode::Xa, bodiless), &assumed),
        );
        *registered = Some((phase_one?, key));
        written?;
        if context.remaining().is_zero() {
            return Err(AtError::DeadlinePassed.into());
        }
        Ok(())
    }
}

impl<DB: AtDatabase> Shared<DB> {
    /// A new branch that must begin as one; `None` where nothing falls back, or any local transaction can
    /// be prepared.
    pub(super) async fn branch(
        &self,
        context: &TransactionContext,
    ) -> Result<Option<Branch>, AtError> {
        let Some(xa) = self.xa.as_ref().filter(|xa| xa.must_begin()) else { return Ok(None) };
        let branch = self.link.next_branch_id().await.map_err(AtError::from)?;
        Ok(xa.branch(context, BranchKey { xid: context.xid().clone(), branch }))
    }
}

fn not_prepared(error: XaError) -> AtError {
    match error {
        XaError::NotPrepared(source) => AtError::LocalCommit(source),
        _ => AtError::OutcomeUnknown,
    }
}
