//! The wire: tonic services around the engine.
//!
//! - `unary`: the coordinator's calls, and the long poll.
//! - `session`, `frames`, `outgoing`: the session stream: its reader, its frames, its writing side.
//! - `attachment`: what a client without a stream is attached by.
//! - `can_commit`: what a transaction manager asks participants through us.
//! - `sagas`: declared sagas.
//! - `admin`: what an operator asks.
//! - `status`: typed errors as gRPC statuses, where they must be.
//! - `connection`: connections that can be cut.

mod admin;
mod attachment;
mod can_commit;
pub(crate) mod connection;
mod frames;
mod outgoing;
mod sagas;
mod session;
mod status;
mod unary;

use std::sync::Arc;

use pactum_core::event::Event;
use pactum_core::step::{Reply, ReplyTo};
use pactum_proto::v1::coordinator_server::CoordinatorServer;
use pactum_proto::v1::sagas_server::SagasServer;
use pactum_proto::v1::{self, admin_server::AdminServer};
use pactum_proto::{DESCRIPTORS, convert};
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

pub(crate) use attachment::Attachments;
pub(crate) use status::TypedRefusals;

use crate::dispatch::Heard;
use crate::engine::{Engine, Leading};
use crate::environment::Environment;
use crate::options::ServerOptions;
use crate::store::Store;
use crate::tasks::Tasks;

/// What every service needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) engine: Engine,
    pub(crate) options: Arc<ServerOptions>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) environment: Environment,
    pub(crate) tasks: Tasks,
    pub(crate) attachments: Arc<Attachments>,
}

/// The services that the health service speaks for; the empty one is the whole server.
pub(crate) const HEALTH_NAMES: [&str; 4] =
    ["", "pactum.v1.Coordinator", "pactum.v1.Sagas", "pactum.v1.Admin"];

/// All services.
pub(crate) fn routes(context: &Context, health: HealthServer<impl Health>) -> Routes {
    let bytes_max = context.options.message_bytes_max;
    let coordinator = CoordinatorServer::new(unary::CoordinatorService(context.clone()))
        .max_decoding_message_size(bytes_max);
    let admin =
        AdminServer::new(admin::AdminService(context.clone())).max_decoding_message_size(bytes_max);
    let sagas =
        SagasServer::new(sagas::SagasService(context.clone())).max_decoding_message_size(bytes_max);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were compiled with this crate");
    let mut routes = Routes::builder();
    routes.add_service(coordinator);
    routes.add_service(sagas);
    routes.add_service(admin);
    routes.add_service(health);
    routes.add_service(reflection);
    routes.routes()
}

/// Gives up the wait in the group if the caller goes away before it hears.
struct CancelGuard<'a> {
    engine: &'a Engine,
    reply: Option<ReplyTo>,
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if let Some(reply) = self.reply {
            // Where there is no room, the wait ends by its own bound.
            self.engine.inbox.send_if_room(Event::WaitCancelled { reply });
        }
    }
}

impl Context {
    /// Asks the group something for a unary caller.
    ///
    /// # Cancel safety
    /// Dropped before it hears, the request may still take effect; only its waits end.
    pub(crate) async fn ask(
        &self,
        leading: &Leading,
        event: impl FnOnce(ReplyTo) -> Result<Event, v1::Error>,
    ) -> Result<Reply, v1::Error> {
        let mut call = self.engine.calls.open();
        let event = event(call.reply_to())?;
        if self.engine.inbox.send(vec![event]).await.is_err() {
            return Err(stopped());
        }
        let mut guard = CancelGuard { engine: &self.engine, reply: Some(call.reply_to()) };
        let heard = call.heard().await;
        guard.reply = None;
        match heard {
            Heard::Reply(Reply::Rejected(rejection)) => {
                Err(convert::rejection(&leading.identity.group, &rejection))
            }
            Heard::Reply(reply) => Ok(reply),
            Heard::Unknown => Err(convert::outcome_unknown()),
        }
    }
}

pub(crate) fn stopped() -> v1::Error {
    convert::unavailable(
        "the coordinator has stopped; try again later",
        std::time::Duration::from_millis(100),
    )
}
