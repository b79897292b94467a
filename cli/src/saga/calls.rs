//! What is asked of a coordinator about sagas.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use pactum_proto::v1::sagas_client::SagasClient;
use pactum_proto::v1::{
    CompleteStepRequest, DefineSagaRequest, GetSagaRequest, OperateSagaRequest, Saga, SagaReply,
    SagaVerb, SignalSagaRequest, StepDone, StepFailed, SubmitSagaRequest, TransactionStatus,
    WatchSagaRequest, complete_step_request, define_saga_reply, saga_reply, show_definition_reply,
    submit_saga_request,
};
use serde_json::json;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::args::{
    CompleteArgs, DefineArgs, DefinitionArgs, ForceArgs, Named, RetryArgs, ShowArgs, SignalArgs,
    SkipArgs, SubmitArgs, WordArgs,
};
use super::{files, show as looks};
use crate::args::{Remote, XidArgs};
use crate::output::say;
use crate::remote::{answered, granted};

/// How long one call waits for the end of a saga: half of what a coordinator allows.
const WAIT_STEP: Duration = Duration::from_secs(30);
/// How long an answer may take beyond that.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A saga of the most steps, each with its result.
const ANSWER_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// What is read as a value: more than any may have, so that the coordinator says how much that is.
const VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;

type Client = SagasClient<Channel>;
type Heard = Result<Response<SagaReply>, Status>;

pub(super) async fn define(args: DefineArgs) -> anyhow::Result<()> {
    let DefineArgs { remote, files } = args;
    let mut client = connect(&remote).await?;
    let mut defined = Vec::new();
    // In the order of their parts; what is wrong with one the coordinator says, who may know parts that
    // are not among the files.
    for checked in files::read(&files.files) {
        let request = DefineSagaRequest { definition: checked.json()?.into() };
        let reply = answered(&remote, client.define_saga(request).await)?;
        match reply.result.context("the coordinator's answer is empty")? {
            define_saga_reply::Result::Defined(name) => defined.push(name),
            define_saga_reply::Result::Error(error) => granted(Some(error))?,
        }
    }
    let said = defined.iter().map(|saga| format!("{}@{} is defined\n", saga.name, saga.version));
    let names = defined.iter().map(|saga| json!({ "name": saga.name, "version": saga.version }));
    remote.show(json!({ "defined": names.collect::<Vec<_>>() }), said.collect())
}

pub(super) async fn definition(args: DefinitionArgs) -> anyhow::Result<()> {
    let DefinitionArgs { remote, saga: Named(name) } = args;
    let reply = answered(&remote, connect(&remote).await?.show_definition(name).await)?;
    match reply.result.context("the coordinator's answer is empty")? {
        show_definition_reply::Result::Definition(json) => {
            let definition: serde_json::Value =
                serde_json::from_slice(&json).context("read the definition")?;
            say(&format!("{definition:#}\n"))
        }
        show_definition_reply::Result::Error(error) => granted(Some(error)),
    }
}

pub(super) async fn submit(args: SubmitArgs) -> anyhow::Result<()> {
    let SubmitArgs { remote, saga, input, key, wait } = args;
    let path = Path::new(&saga);
    let definition = if path.is_file() {
        let checked = files::read(&[path.to_owned()]).remove(0);
        submit_saga_request::Definition::Inline(checked.json()?.into())
    } else {
        let Named(name) = saga.parse().map_err(|why| anyhow::anyhow!("{saga}: {why}"))?;
        submit_saga_request::Definition::Saga(name)
    };
    let request = SubmitSagaRequest {
        definition: Some(definition),
        input: json_argument("--input", &input)?.into(),
        idempotency_key: key,
        wait_ms: 0,
    };
    let mut client = connect(&remote).await?;
    let saga = heard(&remote, client.submit_saga(request).await)?;
    match wait {
        None => remote.show(looks::json(&saga), looks::line(&saga)),
        Some(wait) => {
            let xid = saga.xid;
            let saga = ended(&remote, &mut client, &xid, wait).await;
            let saga = saga.with_context(|| format!("saga {xid} is started, and goes on"))?;
            remote.show(looks::json(&saga), looks::text(&saga))?;
            judge(&saga)
        }
    }
}

pub(super) async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let ShowArgs { on: XidArgs { remote, xid }, wait } = args;
    let mut client = connect(&remote).await?;
    let saga = ended(&remote, &mut client, &xid, wait.unwrap_or_default()).await?;
    remote.show(looks::json(&saga), looks::text(&saga))?;
    if wait.is_some() { judge(&saga) } else { Ok(()) }
}

pub(super) async fn watch(args: XidArgs) -> anyhow::Result<()> {
    let XidArgs { remote, xid } = args;
    // A saga may be silent for days.
    let channel = remote.connect(None).await?;
    let mut client = SagasClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let request = WatchSagaRequest { xid: xid.clone() };
    let mut changes = answered(&remote, client.watch_saga(request).await)?;
    let mut last = None;
    loop {
        let change = changes.message().await;
        let change = change.with_context(|| format!("watch {xid}; it goes on all the same"))?;
        let Some(change) = change else { break };
        let saga = told(change)?;
        if remote.json {
            say(&format!("{}\n", looks::json(&saga)))?;
        } else {
            say(&looks::text(&saga))?;
        }
        last = Some(saga);
    }
    match last {
        Some(saga) => judge(&saga),
        None => bail!("{} told nothing of {xid}", remote.server),
    }
}

pub(super) async fn signal(args: SignalArgs) -> anyhow::Result<()> {
    let SignalArgs { on: XidArgs { remote, xid }, step, payload } = args;
    let payload = json_argument("--payload", &payload)?.into();
    let request = SignalSagaRequest { xid, step, payload };
    let heard = connect(&remote).await?.signal_saga(request).await;
    stands(&remote, heard)
}

pub(super) async fn complete(args: CompleteArgs) -> anyhow::Result<()> {
    let CompleteArgs { remote, token, result, failed, message } = args;
    let result = match failed {
        Some(code) => {
            complete_step_request::Result::Failed(StepFailed { code, message, r#final: true })
        }
        None => {
            let result = json_argument("--result", result.as_deref().unwrap_or("null"))?;
            complete_step_request::Result::Done(StepDone { result: result.into() })
        }
    };
    let request = CompleteStepRequest { token, result: Some(result) };
    let heard = connect(&remote).await?.complete_step(request).await;
    stands(&remote, heard)
}

pub(super) async fn say_of_saga(args: WordArgs, verb: SagaVerb) -> anyhow::Result<()> {
    operate(args, verb, String::new(), Vec::new()).await
}

pub(super) async fn retry(args: RetryArgs) -> anyhow::Result<()> {
    operate(args.word, SagaVerb::Retry, args.step.unwrap_or_default(), Vec::new()).await
}

pub(super) async fn skip(args: SkipArgs) -> anyhow::Result<()> {
    operate(args.word, SagaVerb::Skip, args.step, Vec::new()).await
}

pub(super) async fn force(args: ForceArgs) -> anyhow::Result<()> {
    let result = json_argument("--result", &args.result)?;
    operate(args.word, SagaVerb::Force, args.step, result).await
}

async fn operate(
    args: WordArgs,
    verb: SagaVerb,
    step: String,
    result: Vec<u8>,
) -> anyhow::Result<()> {
    let WordArgs { on: XidArgs { remote, xid }, reason } = args;
    let request =
        OperateSagaRequest { xid, verb: verb.into(), step, result: result.into(), reason };
    let heard = connect(&remote).await?.operate_saga(request).await;
    stands(&remote, heard)
}

/// Says where the saga stands after a word that was taken.
fn stands(remote: &Remote, reply: Heard) -> anyhow::Result<()> {
    let saga = heard(remote, reply)?;
    remote.show(looks::json(&saga), looks::line(&saga))
}

/// A saga with its steps: once it has ended, needs a person, or `wait` has passed.
async fn ended(
    remote: &Remote,
    client: &mut Client,
    xid: &str,
    wait: Duration,
) -> anyhow::Result<Saga> {
    let until = Instant::now() + wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let step = left.min(WAIT_STEP).as_millis();
        let request = GetSagaRequest {
            xid: xid.to_owned(),
            wait_ms: u32::try_from(step).unwrap_or(u32::MAX),
            with_steps: true,
            ..GetSagaRequest::default()
        };
        let saga = heard(remote, client.get_saga(request).await)?;
        let outcome = saga.outcome.unwrap_or_default();
        if looks::has_ended(&saga) || outcome.parked > 0 || left.is_zero() {
            return Ok(saga);
        }
    }
}

/// Whether it ended as whoever waited for it hoped.
fn judge(saga: &Saga) -> anyhow::Result<()> {
    let outcome = saga.outcome.unwrap_or_default();
    let xid = &saga.xid;
    if outcome.status() == TransactionStatus::Committed {
        return Ok(());
    }
    let why = looks::failure(saga).map_or_else(String::new, |why| format!(": {why}"));
    if looks::has_ended(saga) {
        bail!("saga {xid} is rolled back{why}");
    }
    if outcome.parked > 0 {
        bail!("saga {xid} needs a person{why}");
    }
    bail!("saga {xid} goes on; ask again with `pactum saga show {xid} --wait 30s`")
}

/// An argument that holds JSON, or says where it is.
fn json_argument(name: &str, text: &str) -> anyhow::Result<Vec<u8>> {
    let read = if text == "-" {
        Some(read_value(std::io::stdin()).context("read standard input")?)
    } else if let Some(path) = text.strip_prefix('@') {
        let file = std::fs::File::open(path).with_context(|| format!("open {path}"))?;
        Some(read_value(file).with_context(|| format!("read {path}"))?)
    } else {
        None
    };
    let json = read.as_deref().unwrap_or(text.as_bytes());
    let value: serde_json::Value = serde_json::from_slice(json)
        .with_context(|| format!("{name} is no JSON; a text needs quotes, as in '\"Ada\"'"))?;
    Ok(serde_json::to_vec(&value)?)
}

fn read_value(from: impl std::io::Read) -> anyhow::Result<Vec<u8>> {
    let mut read = Vec::new();
    let limit = u64::try_from(VALUE_BYTES_MAX).unwrap_or(u64::MAX);
    from.take(limit + 1).read_to_end(&mut read)?;
    ensure!(read.len() <= VALUE_BYTES_MAX, "it is larger than {VALUE_BYTES_MAX} bytes");
    Ok(read)
}

async fn connect(remote: &Remote) -> anyhow::Result<Client> {
    let channel = remote.connect(Some(CALL_TIMEOUT)).await?;
    Ok(SagasClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}

fn heard(remote: &Remote, reply: Heard) -> anyhow::Result<Saga> {
    told(answered(remote, reply)?)
}

fn told(reply: SagaReply) -> anyhow::Result<Saga> {
    match reply.result.context("the coordinator's answer is empty")? {
        saga_reply::Result::Saga(saga) => Ok(saga),
        saga_reply::Result::Error(error) => {
            granted(Some(error))?;
            bail!("the coordinator's answer is empty")
        }
    }
}
