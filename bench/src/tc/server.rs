//! The coordinator under load, wherever it runs.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use pactum_coordinator::Server;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Options;
use crate::child::Child;
use crate::serve::{self, Written};

/// A coordinator, with its store if it is ours.
pub(crate) struct Coordinator {
    pub(crate) url: String,
    place: Place,
    /// Goes with it.
    _folder: Option<TempDir>,
}

enum Place {
    /// In a process of its own: the only place where its memory and processor time are known.
    Child(Box<Child>),
    /// On its own threads in this process.
    Here(Box<Server>, Runtime),
    /// Somewhere else: nothing is known of it.
    Elsewhere,
}

impl Coordinator {
    /// Starts one on a fresh store, as the options say.
    pub(super) async fn start(options: &Options) -> Result<Self> {
        if let Some(url) = &options.tc {
            let place = Place::Elsewhere;
            return Ok(Coordinator { url: url.clone(), place, _folder: None });
        }
        let folder = options.folder()?;
        let mut coordinator = if options.in_process {
            Self::here(folder.path())?
        } else {
            Self::child(folder.path(), options.log).await?
        };
        coordinator._folder = Some(folder);
        Ok(coordinator)
    }

    /// Starts one in a process of its own, on a directory that stays.
    pub(crate) async fn child(data_dir: &Path, log: bool) -> Result<Self> {
        let data_dir = data_dir.to_str().context("the directory's name is not UTF-8")?;
        let mut arguments = vec!["serve", "--data-dir", data_dir];
        arguments.extend(log.then_some("--log"));
        let child = Child::start(&arguments).await?;
        Ok(Coordinator {
            url: child.url.clone(),
            place: Place::Child(Box::new(child)),
            _folder: None,
        })
    }

    fn here(data_dir: &Path) -> Result<Self> {
        let runtime = Runtime::new().context("start a runtime for the coordinator")?;
        // From a thread of its own: this one is driving a runtime already.
        let server = std::thread::scope(|scope| {
            scope.spawn(|| runtime.block_on(serve::start(data_dir))).join()
        });
        let server = server.map_err(|_| anyhow!("the start of the coordinator panicked"))??;
        let address = server.address().context("it listens on a socket")?;
        let place = Place::Here(Box::new(server), runtime);
        Ok(Coordinator { url: format!("http://{address}"), place, _folder: None })
    }

    /// Its process, if it has one of its own.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.place {
            Place::Child(child) => Some(child.pid),
            Place::Here(..) | Place::Elsewhere => None,
        }
    }

    /// What it wrote so far, if that can be known.
    pub(crate) async fn written(&mut self) -> Result<Option<Written>> {
        match &mut self.place {
            Place::Child(child) => {
                let answer = child.ask("written").await?;
                let written = serde_json::from_str(&answer);
                written.with_context(|| format!("understand `{answer}`")).map(Some)
            }
            Place::Here(server, _) => Ok(Some(Written::of(server))),
            Place::Elsewhere => Ok(None),
        }
    }

    /// Ends it in order.
    pub(crate) async fn end(self) -> Result<()> {
        match self.place {
            Place::Child(child) => child.end().await,
            Place::Here(server, runtime) => {
                let drained = runtime.spawn(server.drain()).await;
                runtime.shutdown_background();
                drained.context("drain the coordinator")?.context("drain the coordinator")
            }
            Place::Elsewhere => Ok(()),
        }
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(self) -> Result<()> {
        match self.place {
            Place::Child(child) => child.kill().await,
            Place::Here(..) | Place::Elsewhere => bail!("only a process of our own can be killed"),
        }
    }
}
