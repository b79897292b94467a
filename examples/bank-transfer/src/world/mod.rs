//! The processes: a coordinator, three banks and a transfer service, all on ports of their own.

mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pactum_testkit::wait::wait_until;
use pactum_testkit::{Command, free_port};

use crate::admin::Admin;
use crate::args::{Db, Mode};
use crate::books::{Book, Open};
use crate::places::Room;
use crate::screen::Screen;
use crate::services::bank::DB_URL;
use crate::services::serve::LISTENING;
pub(crate) use server::Server;

/// How long a coordinator that is there may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The banks' names.
pub(crate) const BANKS: [&str; 3] = ["a", "b", "c"];

/// What is started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) db: Db,
    /// How many accounts each bank has, and what each holds.
    pub(crate) accounts: u32,
    pub(crate) opening: i64,
    /// A coordinator that runs already.
    pub(crate) tc: Option<String>,
    /// Who is told each step.
    pub(crate) story: Option<String>,
}

/// All that runs. What still runs when it is dropped is killed.
#[derive(Debug)]
pub(crate) struct World {
    /// None if the coordinator is not ours.
    pub(crate) tc: Option<Arc<Server>>,
    pub(crate) tc_url: String,
    pub(crate) admin: Admin,
    pub(crate) banks: Vec<Bank>,
    pub(crate) tm: Arc<Server>,
    /// The name of the declared saga that every transfer is, in the mode that has one.
    pub(crate) saga: Option<String>,
}

/// A bank's process and its database.
#[derive(Clone, Debug)]
pub(crate) struct Bank {
    pub(crate) name: &'static str,
    /// What the coordinator knows it as.
    pub(crate) resource: String,
    pub(crate) server: Arc<Server>,
    /// Of its database.
    pub(crate) url: String,
}

impl World {
    /// Starts everything and waits until it answers.
    pub(crate) async fn start(plan: &Plan, run: &str, room: &Room) -> Result<Self> {
        let (tc, tc_url) = match &plan.tc {
            Some(url) => (None, url.clone()),
            None => {
                let tc = start_tc(room.dir()).await?;
                let url = tc.url();
                (Some(tc), url)
            }
        };
        let admin = Admin::new(&tc_url)?;
        answers(&admin).await.with_context(|| format!("reach the coordinator at {tc_url}"))?;

        // A coordinator that outlives this run binds a resource id to its database for good, and the name
        // of a saga to its definition.
        let own = |name: &str| match tc {
            Some(_) => name.to_owned(),
            None => format!("{name}-{run}"),
        };
        let mut banks = Vec::new();
        for name in BANKS {
            let resource = own(&format!("bank-{name}"));
            banks.push(start_bank(name, resource, plan, &tc_url, room)?);
        }
        let saga = (plan.mode == Mode::SagaDeclared).then(|| own("transfer"));
        let tm = start_tm(plan, saga.as_deref(), &tc_url, &banks, room.dir())?;
        for server in banks.iter().map(|bank| &bank.server).chain([&tm]) {
            server.ready().await?;
        }
        Ok(World { tc, tc_url, admin, banks, tm, saga })
    }

    /// The bank of this name.
    pub(crate) fn bank(&self, name: &str) -> &Bank {
        let bank = self.banks.iter().find(|bank| bank.name == name);
        bank.expect("names come from BANKS, and every one of them is started")
    }

    /// All books, as they are now.
    pub(crate) async fn books(&self) -> Result<Vec<Book>> {
        let mut books = Vec::new();
        for bank in &self.banks {
            books.push(Book::read(bank.name, &bank.url).await?);
        }
        Ok(books)
    }

    /// What the banks' branches have not brought to an end, bank by bank.
    pub(crate) async fn open(&self) -> Result<Vec<Open>> {
        let mut open = Vec::new();
        for bank in &self.banks {
            open.push(Open::read(&bank.url).await?);
        }
        Ok(open)
    }

    /// Everything that runs.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        let banks = self.banks.iter().map(|bank| &bank.server);
        [&self.tm].into_iter().chain(banks).chain(&self.tc)
    }

    /// Asks everything to end, the coordinator last. One that is not ours forgets the banks.
    pub(crate) async fn stop(&self) -> Result<()> {
        for server in self.servers() {
            server.stop().await?;
        }
        if self.tc.is_none() {
            for bank in &self.banks {
                self.admin.forget(&bank.resource).await?;
            }
        }
        Ok(())
    }

    /// After a failure: shows what each process wrote at last.
    pub(crate) async fn show_remains(&self, screen: Screen) {
        for server in self.servers() {
            screen.complain(format!("{} wrote at last:{}", server.name, server.last_lines().await));
        }
    }
}

/// Waits until the coordinator answers; one that is not ours may be starting.
async fn answers(admin: &Admin) -> Result<()> {
    let mut last = None;
    let answered = wait_until("an answer", ANSWER_MAX, async || {
        let answer = admin.summary().await;
        let answered = answer.is_ok();
        last = answer.err();
        answered
    });
    let waited = answered.await;
    last.map_or(waited, Err)
}

async fn start_tc(dir: &Path) -> Result<Arc<Server>> {
    let address = free_address()?;
    let mut command = this_program("tc")?;
    command.arg("--data-dir").arg(dir.join("coordinator"));
    command.arg("--listen").arg(address.to_string());
    let tc = Server::spawn("coordinator", command, address, "server ready", dir)?;
    tc.ready().await?;
    Ok(tc)
}

fn start_bank(
    name: &'static str,
    resource: String,
    plan: &Plan,
    tc_url: &str,
    room: &Room,
) -> Result<Bank> {
    let (address, url) = (free_address()?, room.url(name)?.to_owned());
    let mut command = this_program("bank")?;
    command.arg("--resource").arg(&resource).env(DB_URL, &url);
    command.arg("--listen").arg(address.to_string()).arg("--tc").arg(tc_url);
    command.arg("--accounts").arg(plan.accounts.to_string());
    command.arg("--opening").arg(plan.opening.to_string());
    for mode in plan.mode.of_bank(name, plan.db) {
        command.arg("--mode").arg(mode.name());
    }
    tell(&mut command, plan).arg(name);
    let server = Server::spawn(&format!("bank-{name}"), command, address, LISTENING, room.dir())?;
    Ok(Bank { name, resource, server, url })
}

fn start_tm(
    plan: &Plan,
    saga: Option<&str>,
    tc_url: &str,
    banks: &[Bank],
    dir: &Path,
) -> Result<Arc<Server>> {
    let address = free_address()?;
    let mut command = this_program("transfer")?;
    command.arg("--listen").arg(address.to_string()).arg("--tc").arg(tc_url);
    if let Some(saga) = saga {
        command.arg("--saga").arg(saga);
    }
    for bank in banks {
        match saga {
            // It never calls them.
            Some(_) => command.arg("--resource").arg(format!("{}={}", bank.name, bank.resource)),
            None => command.arg("--bank").arg(format!("{}={}", bank.name, bank.server.url())),
        };
    }
    tell(&mut command, plan);
    Server::spawn("transfer", command, address, LISTENING, dir)
}

fn tell<'a>(command: &'a mut Command, plan: &Plan) -> &'a mut Command {
    if let Some(story) = &plan.story {
        command.arg("--story").arg(story);
    }
    command
}

/// This very program, in another role.
pub(crate) fn this_program(role: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg(role);
    Ok(command)
}

fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}
