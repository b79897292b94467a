//! The coordinator's calls: each a request checked, an event, an answer.

use pactum_core::id::NodeId;
use pactum_core::step::Reply;
use pactum_proto::v1;
use pactum_proto::v1::coordinator_server::Coordinator;
use tonic::{Request, Response, Status, Streaming};

use super::outgoing::Outgoing;
use super::{Context, session};

/// The node of a report that comes outside of any attachment.
const NO_NODE: NodeId = NodeId(0);

/// The service.
pub(super) struct CoordinatorService(pub(super) Context);

impl CoordinatorService {
    async fn ask_begin(&self, request: v1::BeginRequest) -> Result<v1::BeginReply, v1::Error> {
        let leading = self.0.engine.leading()?;
        self.0.engine.admit_begin()?;
        let reply =
            self.0.ask(&leading, |reply| leading.reader.begin(request, None, reply)).await?;
        Ok(leading.identity.begun(reply))
    }

    async fn ask_register(
        &self,
        request: v1::RegisterRequest,
    ) -> Result<v1::RegisterReply, v1::Error> {
        let leading = self.0.engine.leading()?;
        let attachment = self.0.attachment(&request.attachment_id)?;
        let session = attachment.link.id();
        let event = |reply| leading.reader.register(&request, session, reply);
        let reply = self.0.ask(&leading, event).await?;
        Ok(leading.identity.registered(reply))
    }

    async fn ask_scope(
        &self,
        request: &v1::RollbackScopeRequest,
    ) -> Result<v1::ScopeReply, v1::Error> {
        let leading = self.0.engine.leading()?;
        let event = |reply| leading.reader.rollback_scope(request, reply);
        let reply = self.0.ask(&leading, event).await?;
        Ok(leading.identity.scope(reply))
    }

    async fn ask_phase_one(
        &self,
        report: v1::PhaseOneReport,
    ) -> Result<v1::PhaseOneReply, v1::Error> {
        let leading = self.0.engine.leading()?;
        let event = |reply| leading.reader.phase_one(&report, NO_NODE, Some(reply));
        let reply = self.0.ask(&leading, event).await?;
        Ok(leading.identity.phase_one(reply))
    }

    async fn ask_outcome(
        &self,
        event: impl FnOnce(
            &pactum_proto::convert::RequestReader,
            pactum_core::step::ReplyTo,
        ) -> Result<pactum_core::event::Event, v1::Error>,
    ) -> Result<Response<v1::OutcomeReply>, Status> {
        let answer = async {
            let leading = self.0.engine.leading()?;
            let reply: Reply = self.0.ask(&leading, |reply| event(&leading.reader, reply)).await?;
            Ok(leading.identity.outcome(reply))
        };
        let refused =
            |error| v1::OutcomeReply { result: Some(v1::outcome_reply::Result::Error(error)) };
        Ok(Response::new(answer.await.unwrap_or_else(refused)))
    }
}

#[tonic::async_trait]
impl Coordinator for CoordinatorService {
    async fn begin(
        &self,
        request: Request<v1::BeginRequest>,
    ) -> Result<Response<v1::BeginReply>, Status> {
        let refused =
            |error| v1::BeginReply { result: Some(v1::begin_reply::Result::Error(error)) };
        let reply = self.ask_begin(request.into_inner()).await;
        Ok(Response::new(reply.unwrap_or_else(refused)))
    }

    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::OutcomeReply>, Status> {
        self.ask_outcome(|reader, reply| reader.commit(request.into_inner(), reply)).await
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::OutcomeReply>, Status> {
        self.ask_outcome(|reader, reply| reader.rollback(request.get_ref(), reply)).await
    }

    async fn veto(
        &self,
        request: Request<v1::VetoRequest>,
    ) -> Result<Response<v1::OutcomeReply>, Status> {
        self.ask_outcome(|reader, reply| reader.veto(request.get_ref(), reply)).await
    }

    async fn rollback_scope(
        &self,
        request: Request<v1::RollbackScopeRequest>,
    ) -> Result<Response<v1::ScopeReply>, Status> {
        let refused =
            |error| v1::ScopeReply { result: Some(v1::scope_reply::Result::Error(error)) };
        let reply = self.ask_scope(request.get_ref()).await;
        Ok(Response::new(reply.unwrap_or_else(refused)))
    }

    async fn can_commit(
        &self,
        request: Request<v1::CanCommitRequest>,
    ) -> Result<Response<v1::CanCommitReply>, Status> {
        let answer = async {
            let leading = self.0.engine.leading()?;
            let asked = leading.reader.can_commit(request.get_ref())?;
            Ok(self.0.can_commit(&leading, &asked).await)
        };
        let result = match answer.await {
            Ok(opinion) => v1::can_commit_reply::Result::Opinion(opinion),
            Err(error) => v1::can_commit_reply::Result::Error(error),
        };
        Ok(Response::new(v1::CanCommitReply { result: Some(result) }))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::OutcomeReply>, Status> {
        self.ask_outcome(|reader, reply| reader.get(request.get_ref(), reply)).await
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let refused =
            |error| v1::RegisterReply { result: Some(v1::register_reply::Result::Error(error)) };
        let reply = self.ask_register(request.into_inner()).await;
        Ok(Response::new(reply.unwrap_or_else(refused)))
    }

    async fn report_phase_one(
        &self,
        request: Request<v1::PhaseOneReport>,
    ) -> Result<Response<v1::PhaseOneReply>, Status> {
        let refused =
            |error| v1::PhaseOneReply { result: Some(v1::phase_one_reply::Result::Error(error)) };
        let reply = self.ask_phase_one(request.into_inner()).await;
        Ok(Response::new(reply.unwrap_or_else(refused)))
    }

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<v1::AttachReply>, Status> {
        let result = match self.0.attach(request.into_inner()).await {
            Ok(attached) => v1::attach_reply::Result::Attached(attached),
            Err(error) => v1::attach_reply::Result::Error(error),
        };
        Ok(Response::new(v1::AttachReply { result: Some(result) }))
    }

    async fn take_work(
        &self,
        request: Request<v1::TakeWorkRequest>,
    ) -> Result<Response<v1::TakeWorkReply>, Status> {
        let reply = match self.0.take_work(request.get_ref()).await {
            Ok(work) => v1::TakeWorkReply { work, error: None },
            Err(error) => v1::TakeWorkReply { work: Vec::new(), error: Some(error) },
        };
        Ok(Response::new(reply))
    }

    async fn report_work(
        &self,
        request: Request<v1::ReportWorkRequest>,
    ) -> Result<Response<v1::ReportWorkReply>, Status> {
        let reported = async {
            let leading = self.0.engine.leading()?;
            self.0.report_work(&leading, request.into_inner()).await
        };
        Ok(Response::new(v1::ReportWorkReply { error: reported.await.err() }))
    }

    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<v1::ClientBatch>>,
    ) -> Result<Response<Outgoing>, Status> {
        session::open(&self.0, request.into_inner()).map(Response::new)
    }
}
