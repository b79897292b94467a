//! Declared sagas over the wire: each call a request checked, an event, an answer.
//!
//! Definitions are checked here, beside the group's task. Of a saga that has ended the group keeps only how
//! it ended; what else is asked is read from the store, and its course is worked out again from its rows.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use pactum_core::event::Event;
use pactum_core::id::XidNumber;
use pactum_core::rejection::Rejection;
use pactum_core::saga::{Defined, DefinitionKey, Fault, Graph, LiveSaga};
use pactum_core::step::{Outcome, Reply, ReplyTo};
use pactum_core::transaction::Status as Decided;
use pactum_proto::convert;
use pactum_proto::v1::sagas_server::Sagas;
use pactum_proto::v1::{self, saga_reply, submit_saga_request};
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};

use super::{Context, stopped};
use crate::engine::{Leading, WATCHERS_MAX, Watcher, chain};

/// The least time between two looks of one watcher. A look copies the saga on the group's task, which takes
/// a millisecond for one of 20,000 steps; what happens meanwhile comes as one.
const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// The service.
pub(super) struct SagasService(pub(super) Context);

/// A saga from wherever it was found.
struct Found {
    saga: LiveSaga,
    outcome: Outcome,
}

impl SagasService {
    async fn define(&self, json: &[u8]) -> Result<DefinitionKey, v1::Error> {
        let leading = self.0.engine.leading()?;
        let (mut defined, parts) = read(json, &BTreeMap::new());
        if !parts.is_empty() {
            let known = self.0.engine.look(move |group| {
                let found = |key| Some((group.definition(&key)?.graph.clone(), key));
                let found = parts.into_iter().filter_map(found);
                found.map(|(graph, key)| (key, graph)).collect()
            });
            defined = read(json, &known.await.ok_or_else(stopped)?).0;
        }
        let defined = Arc::new(defined.map_err(|faults| convert::invalid_definition(&faults))?);
        let reply = self.0.ask(&leading, |reply| Ok(Event::DefineRequested { defined, reply }));
        match reply.await? {
            Reply::Defined(key) => Ok(key),
            other => Err(unexpected(&other)),
        }
    }

    async fn submit(&self, mut request: v1::SubmitSagaRequest) -> Result<v1::Saga, v1::Error> {
        if let Some(submit_saga_request::Definition::Inline(json)) = &request.definition {
            let key = self.define(json).await?;
            let name = v1::SagaName { name: key.name.as_ref().to_owned(), version: key.version };
            request.definition = Some(submit_saga_request::Definition::Saga(name));
        }
        self.0.engine.admit_begin()?;
        let leading = self.0.engine.leading()?;
        let reply = self.0.ask(&leading, |reply| leading.reader.submit_saga(request, reply));
        self.answered(&leading, reply.await?).await
    }

    /// Asks the group about a saga, and the store where the group knows no more.
    async fn ask(
        &self,
        event: impl FnOnce(&convert::RequestReader, ReplyTo) -> Result<Event, v1::Error>,
    ) -> Result<v1::Saga, v1::Error> {
        let leading = self.0.engine.leading()?;
        let reply = self.0.ask(&leading, |reply| event(&leading.reader, reply)).await?;
        self.answered(&leading, reply).await
    }

    async fn answered(&self, leading: &Leading, reply: Reply) -> Result<v1::Saga, v1::Error> {
        match reply {
            Reply::Saga(standing) => Ok(leading.identity.saga(&standing)),
            Reply::SagaEnded(xid, outcome) => {
                let found = self.stored(leading, xid).await?;
                Ok(leading.identity.saga(&found.saga.standing(outcome)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// A saga with its steps: live from the group, which knows more than is stored, or from the store.
    async fn show(&self, leading: &Leading, xid: XidNumber) -> Result<v1::Saga, v1::Error> {
        let live = self.0.engine.look(move |group| {
            let (txn, saga) = group.saga(xid)?;
            Some(Found { saga: saga.clone(), outcome: txn.outcome() })
        });
        let found = match live.await.ok_or_else(stopped)? {
            Some(found) => found,
            None => self.stored(leading, xid).await?,
        };
        Ok(leading.identity.saga_with_steps(&found.saga, found.outcome))
    }

    async fn stored(&self, leading: &Leading, xid: XidNumber) -> Result<Found, v1::Error> {
        let no_saga = || convert::rejection(&leading.identity.group, &Rejection::IsNoSaga(xid));
        let transaction =
            self.0.store.transaction(xid).await.map_err(|error| unreadable(&error))?;
        let saga = self.0.store.saga(xid).await.map_err(|error| unreadable(&error))?;
        let ((row, _), (saga, steps)) = transaction.zip(saga).ok_or_else(no_saga)?;
        let key = saga.definition.clone();
        let defined = self.0.engine.look(move |group| group.definition(&key).cloned());
        let defined = defined.await.ok_or_else(stopped)?.ok_or_else(no_saga)?;
        let mut saga = LiveSaga::new(saga, Arc::clone(&defined.graph));
        for step in steps {
            saga.take(&Arc::new(step));
        }
        saga.run.loaded();
        match row.status {
            Decided::RollingBack(_) | Decided::RolledBack(_) => saga.turn_back(),
            Decided::Active | Decided::Delegated | Decided::Committing | Decided::Committed => {}
        }
        Ok(Found { saga, outcome: Outcome { status: row.status, parked: 0 } })
    }

    async fn definition(&self, name: &v1::SagaName) -> Result<Vec<u8>, v1::Error> {
        let leading = self.0.engine.leading()?;
        let (wanted, version) = (name.name.clone(), (name.version != 0).then_some(name.version));
        let found = self.0.engine.look(move |group| {
            let defined = group.definition_named(&wanted, version);
            defined.map(|defined| defined.row.body.to_vec())
        });
        found.await.ok_or_else(stopped)?.ok_or_else(|| {
            let name = name.name.as_str().into();
            let rejection = Rejection::UnknownSaga { name, version };
            convert::rejection(&leading.identity.group, &rejection)
        })
    }
}

#[tonic::async_trait]
impl Sagas for SagasService {
    async fn define_saga(
        &self,
        request: Request<v1::DefineSagaRequest>,
    ) -> Result<Response<v1::DefineSagaReply>, Status> {
        let result = match self.define(&request.get_ref().definition).await {
            Ok(key) => v1::define_saga_reply::Result::Defined(v1::SagaName {
                name: key.name.as_ref().to_owned(),
                version: key.version,
            }),
            Err(error) => v1::define_saga_reply::Result::Error(error),
        };
        Ok(Response::new(v1::DefineSagaReply { result: Some(result) }))
    }

    async fn submit_saga(
        &self,
        request: Request<v1::SubmitSagaRequest>,
    ) -> Result<Response<v1::SagaReply>, Status> {
        Ok(Response::new(answer(self.submit(request.into_inner()).await)))
    }

    async fn get_saga(
        &self,
        request: Request<v1::GetSagaRequest>,
    ) -> Result<Response<v1::SagaReply>, Status> {
        let request = request.into_inner();
        let answered = async {
            let asked = self.ask(|reader, reply| reader.get_saga(&request, reply));
            let saga = asked.await?;
            if !request.with_steps {
                return Ok(saga);
            }
            let leading = self.0.engine.leading()?;
            self.show(&leading, leading.reader.operator_xid(&request.xid)?).await
        };
        Ok(Response::new(answer(answered.await)))
    }

    type WatchSagaStream = Pin<Box<dyn Stream<Item = Result<v1::SagaReply, Status>> + Send>>;

    async fn watch_saga(
        &self,
        request: Request<v1::WatchSagaRequest>,
    ) -> Result<Response<Self::WatchSagaStream>, Status> {
        let xid = request.into_inner().xid;
        let service = SagasService(self.0.clone());
        let begun = self.0.engine.leading().and_then(|leading| {
            let number = leading.reader.operator_xid(&xid)?;
            // Watched before it is looked at, so that nothing falls between.
            let watcher = self.0.engine.watchers.watch(number).ok_or_else(too_many_watch)?;
            Ok((number, watcher))
        });
        let (number, watcher) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let refused = stream::once(async { Ok(answer(Err(error))) });
                return Ok(Response::new(Box::pin(refused)));
            }
        };
        let first =
            Watching { service, number, watcher, seen: None, looked_at: None, is_over: false };
        Ok(Response::new(Box::pin(stream::unfold(first, |watching| watching.next()))))
    }

    async fn signal_saga(
        &self,
        request: Request<v1::SignalSagaRequest>,
    ) -> Result<Response<v1::SagaReply>, Status> {
        let request = request.into_inner();
        let answered = self.ask(|reader, reply| reader.signal_saga(request, reply)).await;
        Ok(Response::new(answer(answered)))
    }

    async fn complete_step(
        &self,
        request: Request<v1::CompleteStepRequest>,
    ) -> Result<Response<v1::SagaReply>, Status> {
        let request = request.into_inner();
        let answered = self.ask(|reader, reply| reader.complete_step(request, reply)).await;
        Ok(Response::new(answer(answered)))
    }

    async fn operate_saga(
        &self,
        request: Request<v1::OperateSagaRequest>,
    ) -> Result<Response<v1::SagaReply>, Status> {
        let request = request.into_inner();
        let asked = self.ask(|reader, reply| reader.operate_saga(&request, reply));
        let answered = asked.await;
        if answered.is_ok() {
            let (verb, step) = (request.verb().as_str_name(), &request.step);
            tracing::info!(txn.xid = request.xid, verb, step, "an operator spoke to a saga");
        }
        Ok(Response::new(answer(answered)))
    }

    async fn show_definition(
        &self,
        request: Request<v1::SagaName>,
    ) -> Result<Response<v1::ShowDefinitionReply>, Status> {
        let result = match self.definition(request.get_ref()).await {
            Ok(json) => v1::show_definition_reply::Result::Definition(json.into()),
            Err(error) => v1::show_definition_reply::Result::Error(error),
        };
        Ok(Response::new(v1::ShowDefinitionReply { result: Some(result) }))
    }
}

/// Checks a definition against the sagas that are known of its parts, and names those that it has.
fn read(
    json: &[u8],
    known: &BTreeMap<DefinitionKey, Arc<Graph>>,
) -> (Result<Defined, Vec<Fault>>, BTreeSet<DefinitionKey>) {
    let parts = RefCell::new(BTreeSet::new());
    let find = |key: &DefinitionKey| {
        parts.borrow_mut().insert(key.clone());
        known.get(key).map(Arc::clone)
    };
    let defined = Defined::read(json, &find);
    (defined, parts.into_inner())
}

/// A stream of where a saga stands.
struct Watching {
    service: SagasService,
    number: XidNumber,
    watcher: Watcher,
    seen: Option<v1::Saga>,
    looked_at: Option<Instant>,
    is_over: bool,
}

impl Watching {
    /// A move that comes after a look is not missed: the watcher knows that it was not told of it.
    async fn next(mut self) -> Option<(Result<v1::SagaReply, Status>, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            if let Some(looked_at) = self.looked_at {
                self.watcher.moved().await;
                sleep_until(looked_at + WATCH_PAUSE).await;
            }
            self.looked_at = Some(Instant::now());
            let leading = match self.service.0.engine.leading() {
                Ok(leading) => leading,
                Err(error) => return Some(self.last(error)),
            };
            match self.service.show(&leading, self.number).await {
                Err(error) => return Some(self.last(error)),
                Ok(saga) if self.seen.as_ref() != Some(&saga) => {
                    self.is_over = has_ended(&saga);
                    self.seen = Some(saga.clone());
                    return Some((Ok(answer(Ok(saga))), self));
                }
                Ok(_) => {}
            }
        }
    }

    fn last(mut self, error: v1::Error) -> (Result<v1::SagaReply, Status>, Self) {
        self.is_over = true;
        (Ok(answer(Err(error))), self)
    }
}

fn has_ended(saga: &v1::Saga) -> bool {
    let status = saga.outcome.map(|outcome| outcome.status());
    matches!(status, Some(v1::TransactionStatus::Committed | v1::TransactionStatus::RolledBack))
}

fn answer(result: Result<v1::Saga, v1::Error>) -> v1::SagaReply {
    let result = match result {
        Ok(saga) => saga_reply::Result::Saga(saga),
        Err(error) => saga_reply::Result::Error(error),
    };
    v1::SagaReply { result: Some(result) }
}

fn too_many_watch() -> v1::Error {
    let message = format!("{WATCHERS_MAX} watch sagas already; ask for this one with `wait_ms`");
    convert::limit_reached("xid", WATCHERS_MAX as u64, message)
}

fn unreadable(error: &crate::store::Error) -> v1::Error {
    tracing::warn!(error = %chain(error), "a saga could not be read");
    convert::unavailable(
        format!("the store cannot be read: {error}; try again"),
        Duration::from_secs(1),
    )
}

fn unexpected(reply: &Reply) -> v1::Error {
    tracing::error!(?reply, "the group gave a saga's caller another kind of answer");
    convert::internal("the group gave another kind of answer")
}
