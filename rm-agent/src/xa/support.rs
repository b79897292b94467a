//! What a database needs to prepare branches, whoever begins them: XA's own pool, or AT's where it
//! falls back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{ResourceId, ResourceUid};
use pactum_core::time::WallTime;
use pactum_core::transaction::BranchMode;

use super::check;
use super::error::XaError;
use super::janitor::Janitor;
use super::name::{DatabaseMark, Name};
use super::phase_two::XaParticipant;
use super::prepared::Prepared;
use crate::branch::BranchKey;
use crate::context::TransactionContext;
use crate::db::{LocalDatabase, Sql};
use crate::link::Link;

/// See the module's head.
pub(crate) struct Support {
    pub(crate) prepared: Arc<Prepared>,
    /// The barrier's table, under a name that means the same in every session.
    pub(super) table: String,
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

    /// Offers phase two of XA branches to the coordinator.
    pub(crate) async fn attach(
        &self,
        link: &Arc<dyn Link>,
        resource: &ResourceId,
        uid: ResourceUid,
    ) -> Result<(), XaError> {
        let participant = XaParticipant { prepared: Arc::clone(&self.prepared) };
        link.attach(resource.clone(), uid, BranchMode::Xa, Arc::new(participant)).await?;
        Ok(())
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
