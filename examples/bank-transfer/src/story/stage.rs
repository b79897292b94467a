//! Lets a transfer run, and tells its steps.
//!
//! ```text
//! 1 begin   2 call   3 work   4 register   5 local commit   6 answer   7 decide   8 phase two
//!           └────────────────── once for each bank ─────────────────┘
//! ```
//!
//! Steps 1 to 3 and 5 to 7 are told by the services as they do them. Steps 4 and 8 are seen at the
//! coordinator, where they happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pactum_proto::v1::{Branch, PhaseTwoState};
use pactum_testkit::wait::wait_for;
use tokio::task::JoinHandle;

use super::RUN;
use super::ear::{Ear, Held};
use crate::audit::{Heard, Sent};
use crate::books;
use crate::screen::{Ink, Screen};
use crate::services::order::{Answer, Leg, Order, WaitFor};
use crate::services::tell::{End, Step, Told};
use crate::world::{World, this_program};

/// How long one thing may take to show.
const SHOWS_MAX: Duration = Duration::from_secs(30);

/// Everything that plays.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) screen: Screen,
    /// What was sent, and answered.
    pub(crate) sent: Vec<Sent>,
    ear: Ear,
    client: reqwest::Client,
    /// How many of the next bank's steps are told one by one; later ones take a line together.
    at_length: usize,
    /// Balances that banks told and the story has not.
    balances: BTreeMap<(String, String), i64>,
    /// What a transfer is called where there are two.
    tags: BTreeMap<String, &'static str>,
}

/// A transfer that is under way.
pub(crate) struct Running {
    id: String,
    answer: JoinHandle<Result<Answer>>,
}

impl Stage {
    pub(crate) fn new(world: World, ear: Ear, screen: Screen) -> Self {
        Stage {
            world,
            screen,
            sent: Vec::new(),
            ear,
            client: reqwest::Client::new(),
            at_length: 0,
            balances: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    /// Says who plays.
    pub(crate) async fn introduce(&self) {
        for server in self.world.tc.iter().chain(self.world.banks.iter().map(|bank| &bank.server)) {
            self.introduce_one(server).await;
        }
        self.introduce_one(&self.world.tm).await;
    }

    async fn introduce_one(&self, server: &crate::world::Server) {
        let pid = server.pid().await.map_or_else(String::new, |pid| format!("process {pid}"));
        let line = format!("  {:<14}{:<22}{pid}", server.name, server.address.to_string());
        self.screen.line(self.screen.paint(Ink::Aside, line));
    }

    /// Begins a part. The first `at_length` banks' steps are told one by one.
    pub(crate) fn part(&mut self, title: &str, at_length: usize) {
        self.at_length = at_length;
        self.tags.clear();
        self.screen.line("");
        self.screen.line(self.screen.paint(Ink::Heading, title));
    }

    /// A sentence between the steps.
    pub(crate) fn remark(&self, text: &str) {
        self.screen.line(self.screen.paint(Ink::Waiting, format!("    {text}")));
    }

    /// Gives a transfer a name to be told apart by.
    pub(crate) fn tag(&mut self, id: &str, tag: &'static str) {
        self.tags.insert(format!("{RUN}-{id}"), tag);
    }

    /// Sends a transfer off.
    pub(crate) fn send(&mut self, id: &str, legs: &[(&str, i64)], wait: WaitFor) -> Running {
        let id = format!("{RUN}-{id}");
        let legs: Vec<Leg> = legs.iter().map(|(bank, amount)| Leg::new(bank, 1, *amount)).collect();
        self.sent.push(Sent { id: id.clone(), legs: legs.clone(), heard: Heard::Nothing });
        let order = Order { id: id.clone(), legs, wait, attempts_max: 1 };
        let request = self.client.post(format!("{}/transfer", self.world.tm.url())).json(&order);
        let answer = tokio::spawn(async move {
            let response = request.send().await.context("send a transfer")?;
            response.json().await.context("read the transfer service's answer")
        });
        Running { id, answer }
    }

    /// The answer of a transfer whose end was told.
    pub(crate) async fn answer(&mut self, running: Running) -> Result<Answer> {
        let answer = running.answer.await.context("a transfer's task failed")??;
        let heard = match &answer {
            Answer::Committed { .. } => Heard::Committed,
            Answer::RolledBack { .. } => Heard::RolledBack,
            Answer::InDoubt { .. } => Heard::InDoubt,
            Answer::NotBegun { why } => bail!("a transfer was not begun: {why}"),
        };
        for sent in self.sent.iter_mut().filter(|sent| sent.id == running.id) {
            sent.heard = heard;
        }
        Ok(answer)
    }

    /// Tells all steps up to and including the first that `stop` wants, and holds that.
    pub(crate) async fn tell_until(&mut self, stop: impl Fn(&Told) -> bool) -> Result<Held> {
        loop {
            let held = self.ear.next().await?;
            self.tell(&held.told).await?;
            if stop(&held.told) {
                return Ok(held);
            }
        }
    }

    /// Tells a transfer to its end, phase two included, and returns the XID.
    pub(crate) async fn tell_to_the_end(&mut self, running: Running) -> Result<String> {
        let id = running.id.clone();
        let is_end = |told: &Told| told.transfer == id && matches!(told.step, Step::Decided(_));
        let held = self.tell_until(is_end).await?;
        let told = held.told.clone();
        drop(held);
        if let Step::Decided(end) = told.step {
            self.tell_phase_two(&told.xid, end).await?;
        }
        self.answer(running).await?;
        Ok(told.xid)
    }

    async fn tell(&mut self, told: &Told) -> Result<()> {
        let Told { transfer, xid, step } = told;
        match step {
            Step::Begun => self.step(told, 1, "transfer", &self.screen.paint(Ink::Name, xid)),
            Step::Calls(leg) if self.at_length > 0 => {
                let what = format!("{}; the XID goes along in a header", show(leg));
                self.step(told, 2, &bank(leg), &what);
            }
            Step::Worked { leg, balance } if self.at_length > 0 => {
                let what =
                    format!("balance {} → {balance}, and a ledger row", balance - leg.amount);
                self.step(told, 3, &bank(leg), &what);
            }
            Step::Worked { leg, balance } => {
                self.balances.insert((transfer.clone(), leg.bank.clone()), *balance);
            }
            Step::Refused { leg } => {
                let what = format!("{}: the account is short, nothing is written", show(leg));
                self.step(told, 3, &bank(leg), &self.screen.paint(Ink::Bad, what));
            }
            Step::CommittedLocally(leg) if self.at_length > 0 => {
                let branch = self.branch(xid, leg).await?;
                let what = format!("branch {}, locks {}", branch.branch_id, branch.locks.join(" "));
                self.step(told, 4, "coordinator", &what);
                self.step(told, 5, &bank(leg), "rows and undo row, in one local transaction");
            }
            Step::Answered(leg) if self.at_length > 0 => {
                self.at_length -= 1;
                self.step(told, 6, &bank(leg), "done; the branch comes back in a header");
            }
            Step::Answered(leg) => {
                let branch = self.branch(xid, leg).await?;
                let balance = self.balances.remove(&(transfer.clone(), leg.bank.clone()));
                let balance = balance.context("a bank answered that told no balance")?;
                let before = balance - leg.amount;
                let what = format!(
                    "{}, balance {before} → {balance}, branch {}",
                    show(leg),
                    branch.branch_id
                );
                self.line(told, "2-6 all that", &bank(leg), &what);
            }
            Step::Decided(End::Commit) => {
                self.step(told, 7, "coordinator", &self.screen.paint(Ink::Good, "commit"));
            }
            Step::Decided(End::Rollback) => {
                self.step(told, 7, "coordinator", &self.screen.paint(Ink::Bad, "roll back"));
            }
            Step::Calls(_) | Step::CommittedLocally(_) | Step::Asks(_) => {}
        }
        Ok(())
    }

    /// Tells phase two, bank by bank, until all have confirmed.
    pub(crate) async fn tell_phase_two(&self, xid: &str, end: End) -> Result<()> {
        let mut told = BTreeSet::new();
        let pending = async || {
            let Ok(shown) = self.world.admin.show(xid).await else { return None };
            let done = |branch: &&Branch| branch.phase_two() == PhaseTwoState::Done;
            for branch in shown.branches.iter().filter(done) {
                if told.insert(branch.branch_id) {
                    self.tell_phase_two_of(branch, end).await;
                }
            }
            (told.len() == shown.branches.len()).then_some(())
        };
        wait_for("phase two to end", SHOWS_MAX, pending).await
    }

    async fn tell_phase_two_of(&self, branch: &Branch, end: End) {
        let bank = self.world.banks.iter().find(|bank| bank.resource == branch.resource_id);
        let Some(bank) = bank else { return };
        let what = match end {
            End::Commit => "undo row deleted".to_owned(),
            End::Rollback => match books::balance(&bank.url, 1).await {
                Ok(balance) => format!("rows as they were: balance {balance}"),
                Err(_) => "rows as they were".to_owned(),
            },
        };
        self.screen.line(columns("8 phase two", &format!("bank {}", bank.name), &what));
    }

    /// The branch of a leg, as the coordinator has it.
    async fn branch(&self, xid: &str, leg: &Leg) -> Result<Branch> {
        let resource = &self.world.bank(&leg.bank).resource;
        let branches = self.world.admin.show(xid).await?.branches;
        let mut branches = branches.into_iter();
        let branch = branches.find(|branch| branch.resource_id == *resource);
        branch.with_context(|| format!("`{xid}` has no branch at `{resource}`"))
    }

    fn step(&self, told: &Told, number: usize, who: &str, what: &str) {
        let names =
            ["begin", "call", "work", "register", "local commit", "answer", "decide", "phase two"];
        self.line(told, &format!("{number} {}", names[number - 1]), who, what);
    }

    fn line(&self, told: &Told, step: &str, who: &str, what: &str) {
        match self.tags.get(&told.transfer) {
            Some(tag) => self.screen.line(columns(step, who, &format!("{tag}: {what}"))),
            None => self.screen.line(columns(step, who, what)),
        }
    }

    /// Says what the three accounts hold, and fails if that is not as it must be.
    pub(crate) async fn balances(&self, expected: [i64; 3]) -> Result<()> {
        let mut found = Vec::new();
        let mut text = Vec::new();
        for bank in &self.world.banks {
            let balance = books::balance(&bank.url, 1).await?;
            text.push(format!("{} {balance}", bank.name.to_uppercase()));
            found.push(balance);
        }
        self.screen.line(self.screen.paint(Ink::Heading, format!("    → {}", text.join("   "))));
        ensure!(found == expected, "the accounts hold {found:?} and should hold {expected:?}");
        Ok(())
    }

    /// Runs one of the operator's commands as a person would, and shows what it says.
    pub(crate) async fn operate(&self, words: &[&str]) -> Result<()> {
        let typed = format!("    $ bank-transfer pactum {}", words.join(" "));
        self.screen.line(self.screen.paint(Ink::Name, typed));
        let mut command = this_program("pactum")?;
        command.args(words).arg("--server").arg(&self.world.tc_url);
        let output = command.output().await.context("run the operator's command")?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            self.screen.line(format!("      {line}"));
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`pactum {}` failed: {complaint}", words.join(" "));
        Ok(())
    }

    /// Waits until the coordinator shows something of a transaction, or of all.
    pub(crate) async fn wait<F>(&self, what: &str, mut condition: F) -> Result<()>
    where
        F: AsyncFnMut(&World) -> Result<bool>,
    {
        wait_for(what, SHOWS_MAX, async || match condition(&self.world).await {
            Ok(true) => Some(()),
            // Not yet, or just restarted and not answering.
            Ok(false) | Err(_) => None,
        })
        .await
    }
}

fn bank(leg: &Leg) -> String {
    format!("bank {}", leg.bank)
}

fn show(leg: &Leg) -> String {
    format!("{} {}", leg.verb(), leg.amount.abs())
}

fn columns(step: &str, who: &str, what: &str) -> String {
    format!("    {step:<16}{who:<13}{what}")
}
