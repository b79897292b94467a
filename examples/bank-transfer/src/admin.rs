//! The coordinator as an operator sees it: the same calls that `bank-transfer pactum …` makes.

use anyhow::{Context as _, Result, bail};
use pactum_proto::v1::admin_client::AdminClient;
use pactum_proto::v1::sagas_client::SagasClient;
use pactum_proto::v1::{
    ForgetResourceRequest, GetSagaRequest, ListTransactionsRequest, RollbackCause, Saga, SagaReply,
    ShowTransactionReply, ShowTransactionRequest, SummaryReply, SummaryRequest, Transaction,
    TransactionStatus, saga_reply,
};
use tonic::transport::{Channel, Endpoint};

/// The largest page that the coordinator gives.
const PAGE: u32 = 1000;

/// What an operator asks of a coordinator. Cheap to clone; finds its way back after a restart.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    admin: AdminClient<Channel>,
    sagas: SagasClient<Channel>,
}

/// One global transaction of the coordinator's history.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) xid: String,
    pub(crate) name: String,
    pub(crate) standing: Standing,
}

/// Where a global transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not decided.
    Active,
    /// Decided to commit, and perhaps everywhere.
    Committed,
    /// Decided to roll back after its manager asked for an end, whichever; or, where the coordinator itself
    /// is the manager, because a step failed.
    RolledBack,
    /// Decided to roll back before its manager asked for any.
    Unasked,
}

impl Admin {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("`{url}` is no address like http://127.0.0.1:8091"))?;
        let channel = endpoint.connect_lazy();
        Ok(Admin { admin: AdminClient::new(channel.clone()), sagas: SagasClient::new(channel) })
    }

    pub(crate) async fn summary(&self) -> Result<SummaryReply> {
        let reply = self.admin.clone().summary(SummaryRequest {}).await;
        Ok(reply.context("ask the coordinator for its counts")?.into_inner())
    }

    pub(crate) async fn show(&self, xid: &str) -> Result<ShowTransactionReply> {
        let request = ShowTransactionRequest { xid: xid.to_owned() };
        let reply = self.admin.clone().show_transaction(request).await;
        let reply = reply.with_context(|| format!("look at `{xid}`"))?.into_inner();
        match reply.error {
            Some(error) => bail!("look at `{xid}`: {}", error.message),
            None => Ok(reply),
        }
    }

    /// Where a declared saga stands, with each step that was reached.
    pub(crate) async fn saga(&self, xid: &str) -> Result<Saga> {
        let request =
            GetSagaRequest { xid: xid.to_owned(), with_steps: true, ..GetSagaRequest::default() };
        let reply = self.sagas.clone().get_saga(request).await;
        saga(reply.with_context(|| format!("look at the saga `{xid}`"))?.into_inner())
            .with_context(|| format!("look at the saga `{xid}`"))
    }

    /// Forgets which database a resource is; refused while it has unfinished branches.
    pub(crate) async fn forget(&self, resource: &str) -> Result<()> {
        let request = ForgetResourceRequest { resource_id: resource.to_owned() };
        let reply = self.admin.clone().forget_resource(request).await;
        match reply.with_context(|| format!("forget `{resource}`"))?.into_inner().error {
            Some(error) => bail!("forget `{resource}`: {}", error.message),
            None => Ok(()),
        }
    }

    /// The newest transaction; none if the coordinator has none.
    pub(crate) async fn newest(&self) -> Result<Option<String>> {
        let page = self.page(ListTransactionsRequest { max: 1, ..Default::default() }).await?;
        Ok(page.into_iter().next().map(|transaction| transaction.xid))
    }

    /// All transactions after `since`, newest first.
    pub(crate) async fn since(&self, since: Option<&str>) -> Result<Vec<Entry>> {
        self.list(false, since).await
    }

    /// All transactions that have not ended, newest first.
    pub(crate) async fn unfinished(&self) -> Result<Vec<Entry>> {
        self.list(true, None).await
    }

    async fn list(&self, unfinished: bool, since: Option<&str>) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let before_xid = entries.last().map_or_else(String::new, |last| last.xid.clone());
            let request =
                ListTransactionsRequest { unfinished, parked: false, max: PAGE, before_xid };
            let page = self.page(request).await?;
            if page.is_empty() {
                return Ok(entries);
            }
            for transaction in page {
                if Some(transaction.xid.as_str()) == since {
                    return Ok(entries);
                }
                entries.push(entry(transaction)?);
            }
        }
    }

    async fn page(&self, request: ListTransactionsRequest) -> Result<Vec<Transaction>> {
        let reply = self.admin.clone().list_transactions(request).await;
        let reply = reply.context("list the coordinator's transactions")?.into_inner();
        match reply.error {
            Some(error) => bail!("list the coordinator's transactions: {}", error.message),
            None => Ok(reply.transactions),
        }
    }
}

fn saga(reply: SagaReply) -> Result<Saga> {
    match reply.result {
        Some(saga_reply::Result::Saga(saga)) => Ok(saga),
        Some(saga_reply::Result::Error(error)) => bail!("{}", error.message),
        None => bail!("the coordinator's answer is of another kind"),
    }
}

fn entry(transaction: Transaction) -> Result<Entry> {
    let outcome = transaction.outcome.unwrap_or_default();
    let standing = match outcome.status() {
        TransactionStatus::Active | TransactionStatus::Delegated => Standing::Active,
        TransactionStatus::Committing | TransactionStatus::Committed => Standing::Committed,
        TransactionStatus::RollingBack | TransactionStatus::RolledBack => match outcome.cause() {
            RollbackCause::Requested
            | RollbackCause::PhaseOneUnknown
            | RollbackCause::PhaseOneFailed
            | RollbackCause::StepFailed => Standing::RolledBack,
            // A bank vetoes when its caller hangs up half-way.
            RollbackCause::Vetoed
            | RollbackCause::Deadlock
            | RollbackCause::TimedOut
            | RollbackCause::ManagerLost
            | RollbackCause::Unrecorded
            | RollbackCause::ScopeNotUndone => Standing::Unasked,
            RollbackCause::Unspecified => {
                bail!("the coordinator does not say why `{}` rolls back", transaction.xid)
            }
        },
        TransactionStatus::Unspecified => {
            bail!("the coordinator does not say where `{}` stands", transaction.xid)
        }
    };
    Ok(Entry { xid: transaction.xid, name: transaction.name, standing })
}
