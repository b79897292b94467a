//! One server for many tests: the one that the environment names, or one for this process.

use std::env;

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::install::Places;
use super::url::AdminUrl;
use super::{Database, Kind, Server};

/// Started at most once per process, also if that fails: hundreds of tests would otherwise wait for
/// the same failure one after another. Never dropped; it ends with the process all the same.
struct Shared(OnceCell<Result<Server, String>>);

static POSTGRES: Shared = Shared(OnceCell::const_new());
static MYSQL: Shared = Shared(OnceCell::const_new());

/// Creates a database that nobody else has, its name beginning with `name`: in the server that
/// [`Kind::url_variable`] names if it is set, otherwise in a private server that this process starts
/// once and keeps until it ends.
///
/// A server from the environment keeps the databases; they are named `pactum_…`.
///
/// # Errors
/// If there is no such server and none can be started, or it refuses.
pub async fn database(kind: Kind, name: &str) -> Result<Database> {
    let variable = kind.url_variable();
    let Some(url) = env::var(variable).ok().filter(|url| !url.is_empty()) else {
        return own(kind).await?.database(name).await;
    };
    let url = AdminUrl::parse(kind, &url).with_context(|| format!("read `{variable}`"))?;
    let client = spawn_blocking(move || Places::ThisMachine.client_program(kind));
    let client = client.await.context("look for the client program")??;
    Database::create(&url, &client, name)
        .await
        .with_context(|| format!("create a database in the server that `{variable}` names"))
}

async fn own(kind: Kind) -> Result<&'static Server> {
    let shared = match kind {
        Kind::Postgres => &POSTGRES,
        Kind::Mysql => &MYSQL,
    };
    let start = || async {
        let way_out = format!("or name a running server: {}=URL", kind.url_variable());
        Server::start(kind).await.map_err(|error| format!("{error:#}; {way_out}"))
    };
    shared.0.get_or_init(start).await.as_ref().map_err(|error| anyhow!("{error}"))
}
