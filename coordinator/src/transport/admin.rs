//! What an operator asks. Searches run on the store, beside the group task; what is live is looked
//! up in the group by its id.

use std::collections::BTreeMap;

use pactum_core::event::{Event, Target};
use pactum_core::id::{ResourceNumber, XidNumber};
use pactum_core::step::{Outcome, Reply};
use pactum_core::time::Timestamp;
use pactum_core::transaction::{
    Branch, BranchRow, PhaseTwo, Resolved, ResourceRow, TransactionRow,
};
use pactum_proto::convert::{self, Identity};
use pactum_proto::v1;
use pactum_proto::v1::admin_server::Admin;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::status::status;
use super::{Context, stopped};
use crate::engine::chain;
use crate::store::Search;

/// How many transactions a list holds unless it is asked for another number.
const LIST_DEFAULT: u32 = 50;
/// How many a list may hold.
const LIST_MAX: u32 = 1000;

/// The service.
pub(super) struct AdminService(pub(super) Context);

/// A transaction with its branches, from wherever it was found.
struct Found {
    row: TransactionRow,
    branches: Vec<Branch>,
}

impl AdminService {
    async fn list(
        &self,
        request: &v1::ListTransactionsRequest,
    ) -> Result<Vec<v1::Transaction>, v1::Error> {
        let leading = self.0.engine.leading()?;
        let max = match request.max {
            0 => LIST_DEFAULT,
            1..=LIST_MAX => request.max,
            more => {
                let message =
                    format!("`max` is {more}; send 1 to {LIST_MAX}, or 0 for {LIST_DEFAULT}");
                return Err(convert::invalid_over("max", u64::from(LIST_MAX), message));
            }
        };
        let before = match request.before_xid.as_str() {
            "" => None,
            xid => Some(leading.reader.operator_xid(xid)?),
        };
        let (unfinished, parked) = (request.unfinished, request.parked);
        let search = Search { unfinished, parked, before, max };
        let found = self.0.store.search(search).await.map_err(|error| unreadable(&error))?;
        let identity = &leading.identity;
        let shown = found.iter();
        let shown =
            shown.map(|found| transaction(identity, &found.row, found.branches, found.parked));
        Ok(shown.collect())
    }

    async fn show(&self, xid: &str) -> Result<(v1::Transaction, Vec<v1::Branch>), v1::Error> {
        let leading = self.0.engine.leading()?;
        let number = leading.reader.operator_xid(xid)?;
        let found = self.find(number).await?.ok_or_else(|| v1::Error {
            code: v1::ErrorCode::UnknownTransaction.into(),
            field: "xid".to_owned(),
            message: format!("global transaction `{xid}` is neither unfinished nor in the history"),
            ..v1::Error::default()
        })?;
        let resources = self.resources().await?;
        let count = u32::try_from(found.branches.len()).unwrap_or(u32::MAX);
        let shown = transaction(&leading.identity, &found.row, count, found.parked());
        let branches = found.branches.iter().map(|branch| shown_branch(branch, &resources));
        Ok((shown, branches.collect()))
    }

    /// A live transaction from the group, which knows more than is stored; an ended one from the
    /// store.
    async fn find(&self, xid: XidNumber) -> Result<Option<Found>, v1::Error> {
        let look = self.0.engine.look(move |group| {
            let txn = group.transaction(xid)?;
            Some(Found { row: txn.row.clone(), branches: txn.branches.clone() })
        });
        if let Some(found) = look.await.ok_or_else(stopped)? {
            return Ok(Some(found));
        }
        let stored = self.0.store.transaction(xid).await.map_err(|error| unreadable(&error))?;
        Ok(stored.map(|(row, branches)| {
            let branches = branches.into_iter().map(|branch| as_ended(&row, branch)).collect();
            Found { row, branches }
        }))
    }

    async fn resources(&self) -> Result<BTreeMap<ResourceNumber, ResourceRow>, v1::Error> {
        let look = self
            .0
            .engine
            .look(|group| group.resources().map(|row| (row.number, row.clone())).collect());
        look.await.ok_or_else(stopped)
    }

    async fn retry(&self, xid: &str) -> Result<u32, v1::Error> {
        let leading = self.0.engine.leading()?;
        let xid = leading.reader.operator_xid(xid)?;
        // An operator speaks to one coordinator; what it does not know is simply unknown.
        let target = Target { xid, store_named: false };
        let reply = self.0.ask(&leading, |reply| Ok(Event::RetryRequested { target, reply }));
        match reply.await? {
            Reply::Retried(branches) => Ok(branches),
            other => Err(unexpected(&other)),
        }
    }

    async fn resolve(&self, request: &v1::ResolveBranchRequest) -> Result<(), v1::Error> {
        let leading = self.0.engine.leading()?;
        let reply = self.0.ask(&leading, |reply| leading.reader.resolve(request, reply));
        match reply.await? {
            Reply::Resolved => {
                let resolution = request.resolution().as_str_name();
                let (xid, branch) = (&request.xid, request.branch_id);
                tracing::info!(
                    txn.xid = xid,
                    txn.branch_id = branch,
                    resolution,
                    "an operator resolved a parked branch"
                );
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn forget(&self, resource_id: &str) -> Result<(), v1::Error> {
        let leading = self.0.engine.leading()?;
        let resource = resource_id.parse().map_err(|malformed| {
            let max = u64::try_from(pactum_core::id::RESOURCE_ID_BYTES_MAX).unwrap_or(u64::MAX);
            convert::invalid_over(
                "resource_id",
                max,
                format!("`resource_id` is malformed: {malformed}"),
            )
        })?;
        let reply = self.0.ask(&leading, |reply| Ok(Event::ForgetRequested { resource, reply }));
        match reply.await? {
            Reply::Forgotten => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn list_transactions(
        &self,
        request: Request<v1::ListTransactionsRequest>,
    ) -> Result<Response<v1::ListTransactionsReply>, Status> {
        let (transactions, error) = parts(self.list(request.get_ref()).await);
        Ok(Response::new(v1::ListTransactionsReply { transactions, error }))
    }

    async fn show_transaction(
        &self,
        request: Request<v1::ShowTransactionRequest>,
    ) -> Result<Response<v1::ShowTransactionReply>, Status> {
        let reply = match self.show(&request.get_ref().xid).await {
            Ok((transaction, branches)) => {
                v1::ShowTransactionReply { transaction: Some(transaction), branches, error: None }
            }
            Err(error) => v1::ShowTransactionReply { error: Some(error), ..Default::default() },
        };
        Ok(Response::new(reply))
    }

    async fn retry_transaction(
        &self,
        request: Request<v1::RetryTransactionRequest>,
    ) -> Result<Response<v1::RetryTransactionReply>, Status> {
        let (branches, error) = parts(self.retry(&request.get_ref().xid).await);
        Ok(Response::new(v1::RetryTransactionReply { branches, error }))
    }

    async fn resolve_branch(
        &self,
        request: Request<v1::ResolveBranchRequest>,
    ) -> Result<Response<v1::ResolveBranchReply>, Status> {
        let error = self.resolve(request.get_ref()).await.err();
        Ok(Response::new(v1::ResolveBranchReply { error }))
    }

    async fn list_resources(
        &self,
        _: Request<v1::ListResourcesRequest>,
    ) -> Result<Response<v1::ListResourcesReply>, Status> {
        self.0.engine.leading().map_err(|error| status(&error))?;
        let look = self.0.engine.look(|group| {
            let shown = group.resources().map(|row| {
                let (sessions, branches) = group.resource_load(row.number);
                shown_resource(row, sessions, branches)
            });
            shown.collect()
        });
        let resources = look.await.ok_or_else(|| status(&stopped()))?;
        Ok(Response::new(v1::ListResourcesReply { resources }))
    }

    async fn forget_resource(
        &self,
        request: Request<v1::ForgetResourceRequest>,
    ) -> Result<Response<v1::ForgetResourceReply>, Status> {
        let error = self.forget(&request.get_ref().resource_id).await.err();
        Ok(Response::new(v1::ForgetResourceReply { error }))
    }

    async fn summary(
        &self,
        _: Request<v1::SummaryRequest>,
    ) -> Result<Response<v1::SummaryReply>, Status> {
        let leading = self.0.engine.leading().map_err(|error| status(&error))?;
        let look = self.0.engine.look(pactum_core::group::Group::summary);
        let summary = look.await.ok_or_else(|| status(&stopped()))?;
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(Response::new(v1::SummaryReply {
            store_id: leading.identity.store_bytes(),
            group: leading.identity.group.to_string(),
            epoch: leading.identity.epoch.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            active: wide(summary.active),
            unfinished: wide(summary.unfinished),
            parked_branches: wide(summary.parked_branches),
            locks: wide(summary.locks),
            waiters: wide(summary.waiters),
            sessions: wide(summary.sessions),
        }))
    }
}

impl Found {
    fn parked(&self) -> u32 {
        let parked = self.branches.iter().filter(|branch| branch.is_parked()).count();
        u32::try_from(parked).unwrap_or(u32::MAX)
    }
}

/// What an ended branch was tried is not kept.
fn as_ended(transaction: &TransactionRow, row: BranchRow) -> Branch {
    let scope_undone = transaction.has_undone(&row.scopes);
    let next_attempt_at = Timestamp::default();
    Branch { row, scope_undone, attempt: 0, next_attempt_at, last_reason: None }
}

fn transaction(
    identity: &Identity,
    row: &TransactionRow,
    branch_count: u32,
    parked: u32,
) -> v1::Transaction {
    v1::Transaction {
        xid: identity.xid(row.number),
        name: row.name.as_ref().to_owned(),
        outcome: Some(Outcome { status: row.status, parked }.into()),
        begun_at_unix_ms: row.begun_at.0,
        timeout_ms: u64::try_from(row.timeout.as_millis()).unwrap_or(u64::MAX),
        ended_at_unix_ms: row.ended_at.map_or(0, |at| at.0),
        branch_count,
        undone_scopes: row.undone_scopes.iter().map(|undone| undone.scope().0).collect(),
    }
}

fn shown_branch(branch: &Branch, resources: &BTreeMap<ResourceNumber, ResourceRow>) -> v1::Branch {
    let row = &branch.row;
    let resource = resources.get(&row.resource);
    let resource_id = resource.map_or_else(
        || format!("forgotten resource {}", row.resource),
        |resource| resource.id.as_str().to_owned(),
    );
    v1::Branch {
        branch_id: row.id.0,
        sequence: row.sequence,
        resource_id,
        mode: v1::BranchMode::from(row.mode).into(),
        phase_one: v1::PhaseOneKnowledge::from(row.phase_one).into(),
        phase_two: v1::PhaseTwoState::from(row.phase_two).into(),
        attempt: branch.attempt,
        scopes: row.scopes.iter().map(|scope| scope.0).collect(),
        scope_undone: branch.scope_undone,
        action: row
            .action
            .as_ref()
            .map(|action| action.name.as_ref().to_owned())
            .unwrap_or_default(),
        locks: row.locks.iter().map(|lock| lock.key.decode().to_string()).collect(),
        park_report: park_report(row),
        last_reason: branch.last_reason.as_deref().unwrap_or_default().to_owned(),
        resolutions: row.resolutions.iter().map(resolved).collect(),
    }
}

fn resolved(resolved: &Resolved) -> v1::Resolved {
    v1::Resolved {
        resolution: v1::Resolution::from(resolved.resolution).into(),
        reason: resolved.reason.as_ref().to_owned(),
        at_unix_ms: resolved.at.0,
        parked: v1::ParkReason::from(resolved.parked).into(),
    }
}

/// The report of a parked branch. Also where it cannot be read, a person sees why it is parked.
fn park_report(row: &BranchRow) -> Option<v1::ParkReport> {
    let PhaseTwo::Parked(reason) = row.phase_two else { return None };
    let told = row.park_report.as_ref().map(|report| v1::ParkReport::decode(&report[..]));
    let report = told.and_then(Result::ok).unwrap_or_else(|| v1::ParkReport {
        message: "the participant gave no report that can be read".to_owned(),
        ..v1::ParkReport::default()
    });
    Some(v1::ParkReport { reason: v1::ParkReason::from(reason).into(), ..report })
}

fn shown_resource(row: &ResourceRow, sessions: usize, branches: usize) -> v1::BoundResource {
    let kind = match row.uid {
        Some(_) => v1::ResourceKind::Database,
        None => v1::ResourceKind::Service,
    };
    v1::BoundResource {
        resource_id: row.id.as_str().to_owned(),
        kind: kind.into(),
        resource_uid: row.uid.map(|uid| uid.to_bytes().to_vec().into()).unwrap_or_default(),
        sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        unfinished_branches: u64::try_from(branches).unwrap_or(u64::MAX),
    }
}

fn parts<T: Default>(result: Result<T, v1::Error>) -> (T, Option<v1::Error>) {
    match result {
        Ok(value) => (value, None),
        Err(error) => (T::default(), Some(error)),
    }
}

fn unreadable(error: &crate::store::Error) -> v1::Error {
    tracing::warn!(error = %chain(error), "an operator's search failed");
    convert::unavailable(
        format!("the store cannot be read: {error}; try again"),
        std::time::Duration::from_secs(1),
    )
}

fn unexpected(reply: &Reply) -> v1::Error {
    tracing::error!(?reply, "the group gave an operator another kind of answer");
    convert::internal("the group gave another kind of answer")
}
