//! XA as the fallback: a statement that AT cannot undo, in a branch that the database itself will undo.
//!
//! ```text
//! refused by the plan ──▶ tables it names ──▶ run as it is ──▶ the local transaction is now an XA branch
//! commit:  register (mode XA, all keys, table locks) ∥ barrier row (mode XA) ──▶ PREPARE
//! ```
//!
//! On PostgreSQL any open local transaction can be prepared, so nothing has to be known at its begin.
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
use super::connection::{AtConnection, CUT_SHORT, Gathered, Health};
use super::engine::{AtDatabase, Statement, Step};
use super::error::AtError;
use super::keys::table_key;
use super::options::Fallback;
use super::plan::{Refused, named_tables};
use super::undo::Stored;
use crate::barrier::Mode;
use crate::branch::BranchKey;
use crate::branch::phase_one::PhaseOne;
use crate::context::TransactionContext;
use crate::db::{Kind, Value};
use crate::session::{Claim, Registration};
use crate::xa::{self, XaError};

/// The plain table under a name, as lock keys name it; a NULL where it is a view, a partition or the
/// like, whose rows are also another table's.
const PLAIN_TABLE: &str = "SELECT CASE WHEN c.relkind = 'r' AND NOT c.relispartition AND NOT EXISTS \
     (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent)) \
     THEN format('%I.%I', n.nspname, c.relname) END \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = to_regclass(?1)::oid";

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
        self.health = Health::OnlyRollback(CUT_SHORT);
        let steps = DB::run(&mut self.local, statement).try_collect().await;
        let steps: Vec<Step<DB>> = match steps {
            Ok(steps) => steps,
            Err(error) => {
                self.note_failure(&error);
                return Err(self.refused(error));
            }
        };
        for name in &locks {
            let key = table_key(name).map_err(|error| AtError::from_key(error.into(), name))?;
            self.gathered.keys.push(key, LockMode::Exclusive);
        }
        self.gathered.falls_back = true;
        self.health = Health::Sound;
        Ok(steps)
    }

    /// The tables that a statement names, as lock keys name them.
    async fn tables_named(&mut self, refused: &Refused, sql: &str) -> Result<Vec<String>, AtError> {
        // What this refuses has the better reason only where AT has none.
        let named = named_tables(sql, Kind::Postgres).map_err(|_| refused.clone())?;
        let mut locks = Vec::new();
        for name in &named {
            let found = DB::sql(&mut self.local).query(PLAIN_TABLE, &[Value::text(name)]).await;
            // A name of the statement's own (WITH …) is no table; of any other the database will say so.
            let found = found.map_err(AtError::from_db)?;
            let Some(found) = found.first() else { continue };
            let Some(table) = found[0].as_text() else {
                return Err(Refused::new(
                    refused.statement.clone(),
                    format!(
                        "AT cannot undo it, and `{name}` is no plain table that could be locked"
                    ),
                    "name the tables themselves",
                )
                .into());
            };
            locks.push(table.to_owned());
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
        let AtConnection { shared, mut local, turn, .. } = self;
        let support = shared.xa.as_ref().expect("a statement fell back only where there is XA");
        let name = support.name(&context, key);
        // The empty transaction is for sqlx, which believes that it is still in one.
        let text = format!("{}; BEGIN", support.prepare(&name));
        phase_one.sent();
        local.sending();
        let prepared = DB::sql(&mut local).run(&text).await;
        local.answered();
        local.rollback().await.ok();
        drop(turn);
        match prepared {
            Ok(_) => {
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
        let link = self.shared.link.clone();
        let branch = link.next_branch_id().await.map_err(AtError::from)?;
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

fn not_prepared(error: XaError) -> AtError {
    match error {
        XaError::NotPrepared(source) => AtError::LocalCommit(source),
        _ => AtError::OutcomeUnknown,
    }
}
