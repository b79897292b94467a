//! What a database needs to prepare branches, whoever begins them: XA's own pool, or AT's where it
//! falls back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{ResourceId, ResourceUid};
use pactum_core::time::WallTime;
use pactum_core::transaction::BranchMode;

use super::check;
use super::dialect::{AfterPrepare, Dialect, Limits};
use super::error::XaError;
use super::janitor::Janitor;
use super::name::{DatabaseMark, Name};
use super::phase_two::XaParticipant;
use super::prepared::Prepared;
use crate::branch::BranchKey;
use crate::context::TransactionContext;
use crate::db::{LocalDatabase, Sql};
use crate::link::Link;
use crate::session::Participant;

/// See the module's head.
pub(crate) struct Support {
    pub(crate) prepared: Arc<Prepared>,
    /// The barrier's table, under a name that means the same in every session.
    pub(super) table: String,
}

/// What is said on the connection of a branch that must begin as one, beside its prepare.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) name: Name,
    pub(crate) start: String,
    /// Commits it without preparing it.
    pub(crate) commit: String,
    /// Ends it without a trace.
    pub(crate) abandon: String,
}

impl Support {
    /// Checks that the database can prepare transactions. The agent's tables are there.
    pub(crate) async fn check(
        sql: &mut dyn Sql,
        database: Arc<dyn LocalDatabase>,
        uid: ResourceUid,
        wall: fn() -> WallTime,
    ) -> Result<Support, XaError> {
        let dialect = check::dialect(sql).await?;
        let table = dialect.barrier_table(sql).await.map_err(XaError::from_db)?;
        let mark = DatabaseMark::from(uid);
        Ok(Support { prepared: Arc::new(Prepared { database, dialect, mark, wall }), table })
    }

    /// Whom the coordinator asks for phase two of XA branches.
    pub(crate) fn participant(&self) -> (BranchMode, Arc<dyn Participant>) {
        let participant = XaParticipant { prepared: Arc::clone(&self.prepared) };
        (BranchMode::Xa, Arc::new(participant))
    }

    /// A branch that must begin as one; `None` where any local transaction can be prepared. Its barrier
    /// row is written at its end.
    pub(crate) fn branch(&self, context: &TransactionContext, key: BranchKey) -> Option<Branch> {
        let name = self.name(context, key);
        let left = context.remaining();
        let dialect = self.prepared.dialect;
        let start = dialect.begin_bare(&name, Limits { lock_wait: left, left })?;
        let (commit, abandon) = (self.commit_one_phase(&name), dialect.abandon(&name));
        Some(Branch { name, start, commit, abandon })
    }

    /// Whether a branch must begin as one.
    pub(crate) fn must_begin(&self) -> bool {
        match self.prepared.dialect {
            Dialect::Postgres => false,
            Dialect::Mysql(_) => true,
        }
    }

    /// Whether the connection on which a branch was prepared is as any other.
    pub(crate) fn frees_its_connection(&self) -> bool {
        match self.prepared.dialect.after_prepare() {
            AfterPrepare::Free => true,
            AfterPrepare::Bound => false,
        }
    }

    /// The name of a branch here.
    pub(crate) fn name(&self, context: &TransactionContext, key: BranchKey) -> Name {
        Name { key, store: context.store_id(), database: self.prepared.mark }
    }

    /// What prepares it.
    pub(crate) fn prepare(&self, name: &Name) -> String {
        self.prepared.dialect.prepare(name, &self.table)
    }

    /// What commits it, where it is not prepared.
    pub(super) fn commit_one_phase(&self, name: &Name) -> String {
        self.prepared.dialect.commit_one_phase(name, &self.table)
    }

    pub(crate) fn janitor(
        &self,
        link: &Arc<dyn Link>,
        resource: &ResourceId,
        barrier_keep: Duration,
    ) -> Janitor {
        Janitor {
            prepared: Arc::clone(&self.prepared),
            link: Arc::clone(link),
            resource: resource.clone(),
            barrier_keep,
            seen: BTreeSet::new(),
            after: None,
        }
    }
}
