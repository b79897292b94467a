//! The phase-one reports that the coordinator may not have heard.
//!
//! *Done* is a one-way message: nothing answers it but phase two itself. So each is kept, and
//! repeated on the next stream, until work for its branch arrives, its transaction is known to be
//! decided, or its deadline is long gone: a commit cannot need it any more then.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pactum_core::id::{BranchId, ResourceId, StoreId, Xid};
use pactum_proto::v1;
use tokio::time::Instant;

use crate::branch::BranchKey;
use crate::context::TransactionContext;

/// The most reports that are kept. 65 536: some megabytes. Beyond, the oldest is forgotten; the
/// coordinator then asks any session of the resource, which looks at the barrier row.
const REPORTS_MAX: usize = 1 << 16;
/// How long after its deadline a report is kept. 60 s: a restarted coordinator grants an undecided
/// transaction at least ten seconds more, and clocks differ.
const KEEP_AFTER_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    /// In the order of their making, so that the oldest goes first.
    reports: BTreeMap<u64, Report>,
    places: HashMap<Xid, Vec<u64>>,
}

#[derive(Clone, Debug)]
struct Report {
    key: BranchKey,
    store: StoreId,
    resource: ResourceId,
    deadline: Instant,
}

impl Reports {
    /// Keeps the report that a branch's local commit is done.
    pub(super) fn keep(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    ) {
        let report = Report {
            key: BranchKey { xid: context.xid_here().clone(), branch },
            store: context.store_id(),
            resource: resource.clone(),
            deadline: context.deadline(),
        };
        let mut kept = self.kept();
        let place = kept.next;
        kept.next += 1;
        kept.places.entry(report.key.xid.clone()).or_default().push(place);
        kept.reports.insert(place, report);
        if kept.reports.len() > REPORTS_MAX
            && let Some((_, oldest)) = kept.reports.first_key_value()
        {
            let oldest = oldest.key.clone();
            tracing::debug!(txn.xid = %oldest.xid, "too many phase-one reports kept");
            kept.forget(&oldest.xid, |report| report.key == oldest);
        }
    }

    /// Work for the branch arrived: the coordinator knows.
    pub(super) fn arrived(&self, key: &BranchKey) {
        self.kept().forget(&key.xid, |report| report.key == *key);
    }

    /// The transaction is decided: its reports are of no more use.
    pub(super) fn decided(&self, xid: &Xid) {
        self.kept().forget(xid, |_| true);
    }

    /// What is to be repeated to the coordinator of `store`. Drops what is out of date.
    pub(super) fn to_repeat(&self, store: StoreId, now: Instant) -> Vec<v1::PhaseOneReport> {
        let mut kept = self.kept();
        let stale =
            |report: &Report| report.store != store || report.deadline + KEEP_AFTER_DEADLINE <= now;
        let gone: Vec<Xid> = kept
            .reports
            .values()
            .filter(|report| stale(report))
            .map(|report| report.key.xid.clone())
            .collect();
        for xid in gone {
            kept.forget(&xid, stale);
        }
        kept.reports.values().map(Report::to_wire).collect()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget(&mut self, xid: &Xid, which: impl Fn(&Report) -> bool) {
        let Some(places) = self.places.get_mut(xid) else { return };
        let reports = &mut self.reports;
        places.retain(|place| match reports.get(place) {
            Some(report) if which(report) => {
                reports.remove(place);
                false
            }
            Some(_) => true,
            None => false,
        });
        if places.is_empty() {
            self.places.remove(xid);
        }
    }
}

impl Report {
    fn to_wire(&self) -> v1::PhaseOneReport {
        v1::PhaseOneReport {
            xid: self.key.xid.to_string(),
            store_id: self.store.to_bytes().to_vec().into(),
            branch_id: self.key.branch.0,
            result: v1::PhaseOneResult::Done.into(),
            resource_id: self.resource.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(xid: &str, store: u128) -> TransactionContext {
        TransactionContext::new(xid.parse().unwrap(), StoreId(store), Duration::from_secs(30))
    }

    fn branches(reports: &Reports) -> Vec<u64> {
        let repeated = reports.to_repeat(StoreId(1), Instant::now());
        repeated.iter().map(|report| report.branch_id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_kept_until_it_cannot_matter_any_more() {
        let reports = Reports::default();
        let resource = "bank".parse().unwrap();
        let (one, two) = (context("g:1", 1), context("g:2", 1));
        reports.keep(&one, &resource, BranchId(1));
        reports.keep(&one, &resource, BranchId(2));
        reports.keep(&two, &resource, BranchId(3));
        reports.keep(&context("g:1", 2), &resource, BranchId(4));
        assert_eq!(branches(&reports), [1, 2, 3], "another store's report is foreign");

        reports.arrived(&BranchKey { xid: one.xid().clone(), branch: BranchId(1) });
        assert_eq!(branches(&reports), [2, 3]);
        reports.decided(two.xid());
        assert_eq!(branches(&reports), [2]);
        tokio::time::advance(Duration::from_secs(91)).await;
        assert_eq!(branches(&reports), [0; 0]);
        assert!(reports.kept().places.is_empty());
    }

    #[test]
    fn too_many_reports_push_out_the_oldest() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let reports = Reports::default();
        let resource = "bank".parse().unwrap();
        let context = context("g:1", 1);
        for branch in 0..=REPORTS_MAX as u64 {
            // One transaction each would be slow to build; a report's place is what is counted.
            let xid = format!("g:{}", branch + 1).parse().unwrap();
            let context = TransactionContext::new(xid, context.store_id(), Duration::from_secs(9));
            reports.keep(&context, &resource, BranchId(branch));
        }
        let repeated = branches(&reports);
        assert_eq!(repeated.len(), REPORTS_MAX);
        assert_eq!(repeated[0], 1);
    }
}
