//! The operator commands: one call to the coordinator's admin service each.
//!
//! A refusal comes in-band, as a typed error; it is told with its page in `docs/errors`.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use pactum_proto::v1::admin_client::AdminClient;
use pactum_proto::v1::{
    ForgetResourceRequest, ListResourcesRequest, ListTransactionsRequest, Resolution,
    ResolveBranchRequest, RetryTransactionRequest, ShowTransactionRequest, SummaryRequest,
};
use tonic::transport::Channel;

use crate::args::{
    Choice, ForgetArgs, ListArgs, Remote, ResolveArgs, Resource, ShowArgs, Tx, XidArgs,
};
use crate::database;
use crate::remote::{answered, granted};
use crate::show::{self, json, text};

/// A search through a full history takes a second.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A transaction of a thousand branches with full park reports.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

pub(crate) async fn tx(command: Tx) -> anyhow::Result<()> {
    match command {
        Tx::List(args) => list(args).await,
        Tx::Show(args) => show(args).await,
        Tx::Retry(args) => retry(args).await,
        Tx::Resolve(args) => resolve(args).await,
    }
}

pub(crate) async fn resource(command: Resource) -> anyhow::Result<()> {
    match command {
        Resource::List(remote) => resources(remote).await,
        Resource::Forget(args) => forget(args).await,
    }
}

pub(crate) async fn status(remote: Remote) -> anyhow::Result<()> {
    let reply = connect(&remote).await?.summary(SummaryRequest {}).await;
    let reply = answered(&remote, reply)?;
    remote.show(json::summary(&reply), text::summary(&reply))
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let ListArgs { remote, unfinished, parked, max, before } = args;
    let before_xid = before.unwrap_or_default();
    let request = ListTransactionsRequest { unfinished, parked, max, before_xid };
    let reply = connect(&remote).await?.list_transactions(request).await;
    let reply = answered(&remote, reply)?;
    granted(reply.error)?;
    remote.show(json::transactions(&reply.transactions), text::transactions(&reply.transactions))
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let ShowArgs { on: XidArgs { remote, xid }, db } = args;
    let request = ShowTransactionRequest { xid: xid.clone() };
    let reply = connect(&remote).await?.show_transaction(request).await;
    let reply = answered(&remote, reply)?;
    granted(reply.error)?;
    let transaction = reply.transaction.context("the coordinator's answer is empty")?;
    let branches = reply.branches;
    let mut object = json::transaction(&transaction, &branches);
    let mut text = text::transaction(&transaction, &branches);
    for url in db {
        let found = database::evidence(&url, &xid).await?;
        let name = database::without_password(&url);
        object["databases"][&name] = json::evidence(&found);
        text.push_str(&text::evidence(&name, &found));
    }
    remote.show(object, text)
}

async fn retry(args: XidArgs) -> anyhow::Result<()> {
    let XidArgs { remote, xid } = args;
    let request = RetryTransactionRequest { xid: xid.clone() };
    let reply = connect(&remote).await?.retry_transaction(request).await;
    let reply = answered(&remote, reply)?;
    granted(reply.error)?;
    let said = match reply.branches {
        0 => format!("no branch of {xid} waits for phase two\n"),
        1 => format!("1 branch of {xid} is tried again\n"),
        many => format!("{many} branches of {xid} are tried again\n"),
    };
    remote.show(serde_json::json!({ "xid": xid, "branches": reply.branches }), said)
}

async fn resolve(args: ResolveArgs) -> anyhow::Result<()> {
    let ResolveArgs { remote, xid, branch, resolution, reason } = args;
    let resolution = match resolution {
        Choice::Restore => Resolution::Restore,
        Choice::Keep => Resolution::Keep,
        Choice::Retry => Resolution::Retry,
    };
    let request = ResolveBranchRequest {
        xid: xid.clone(),
        branch_id: branch,
        resolution: resolution.into(),
        reason: reason.clone(),
    };
    let reply = connect(&remote).await?.resolve_branch(request).await;
    granted(answered(&remote, reply)?.error)
        .map_err(|refusal| anyhow!("branch {branch} of {xid} is not resolved: {refusal}"))?;
    let json = serde_json::json!({
        "xid": xid,
        "branch_id": branch.to_string(),
        "resolution": show::resolution(resolution),
        "reason": reason,
    });
    remote.show(json, text::resolved(&xid, branch, resolution, &reason))
}

async fn resources(remote: Remote) -> anyhow::Result<()> {
    let reply = connect(&remote).await?.list_resources(ListResourcesRequest {}).await;
    let reply = answered(&remote, reply)?;
    remote.show(json::resources(&reply.resources), text::resources(&reply.resources))
}

async fn forget(args: ForgetArgs) -> anyhow::Result<()> {
    let ForgetArgs { remote, resource } = args;
    let request = ForgetResourceRequest { resource_id: resource.clone() };
    let reply = connect(&remote).await?.forget_resource(request).await;
    granted(answered(&remote, reply)?.error)
        .map_err(|refusal| anyhow!("resource {resource} is not forgotten: {refusal}"))?;
    let said = format!("the binding of resource {resource} is forgotten\n");
    remote.show(serde_json::json!({ "resource_id": resource, "forgotten": true }), said)
}

async fn connect(remote: &Remote) -> anyhow::Result<AdminClient<Channel>> {
    let channel = remote.connect(Some(CALL_TIMEOUT)).await?;
    Ok(AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}
