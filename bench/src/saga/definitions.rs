//! The sagas of the bench.

use anyhow::{Context as _, Result, bail};
use pactum_proto::v1::sagas_client::SagasClient;
use pactum_proto::v1::{self, define_saga_reply};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use super::{ACTION, SERVICE};

/// One after the other.
pub(super) fn chain(name: &str, steps: usize) -> Value {
    let steps: Vec<Value> = (0..steps).map(|number| step(&format!("step-{number}"))).collect();
    json!({ "saga": name, "version": 1, "steps": steps })
}

/// All side by side.
pub(super) fn side_by_side(name: &str, steps: usize) -> Value {
    let mut steps: Vec<Value> = (0..steps).map(|number| step(&format!("step-{number}"))).collect();
    steps.iter_mut().for_each(|step| step["after"] = json!([]));
    json!({ "saga": name, "version": 1, "steps": steps })
}

/// A step for each item of a list, one after the other.
pub(super) fn each(name: &str, items: usize) -> Value {
    let items: Vec<usize> = (0..items).collect();
    let each = json!({
        "id": "each",
        "each": { "in": items, "limit": items.len(), "steps": [step("step")] }
    });
    json!({ "saga": name, "version": 1, "steps": [each] })
}

/// A wait that outlasts the run.
pub(super) fn wait(name: &str) -> Value {
    let wait = json!({ "id": "wait", "wait": { "for": "1d" } });
    json!({ "saga": name, "version": 1, "steps": [wait, step("then")] })
}

fn step(id: &str) -> Value {
    json!({ "id": id, "action": ACTION, "resource": SERVICE })
}

/// Has a coordinator keep a definition.
pub(super) async fn define(url: &str, definition: &Value) -> Result<()> {
    let endpoint = Endpoint::from_shared(url.to_owned()).context("read the address")?;
    let channel = endpoint.connect().await.with_context(|| format!("connect to {url}"))?;
    let request = v1::DefineSagaRequest { definition: definition.to_string().into() };
    let reply = SagasClient::new(channel).define_saga(request).await.context("define a saga")?;
    match reply.into_inner().result {
        Some(define_saga_reply::Result::Defined(_)) => Ok(()),
        other => bail!("a definition was refused: {other:?}"),
    }
}
