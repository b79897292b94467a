//! Lets a transfer run, and tells its steps.
//!
//! ```text
//! 1 begin   2 call   3 work   4 register   5 local commit   6 answer   7 decide   8 phase two
//!           └────────────────── once for each bank ─────────────────┘
//! ```
//!
//! Most steps are told by the services as they do them. The registration and, for what the agent does
//! by itself, phase two are seen at the coordinator. In AT mode a branch is registered as step 4, when
//! its work is done and its locks are known; in the others as step 3, before anything is done. Of a
//! declared saga the steps are others: [`super::driven`] tells those.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pactum_proto::v1::{self, Branch};
use pactum_testkit::wait::wait_for;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::RUN;
use super::ear::{Ear, Held};
use crate::audit::{Heard, Sent};
use crate::books;
use crate::screen::{Ink, Screen};
use crate::services::order::{Answer, BranchMode, Entry, Holding, Leg, Order, Refusal, WaitFor};
use crate::services::tell::{End, Settling, Step, Told};
use crate::world::{World, this_program};

/// How long one thing may take to show.
pub(super) const SHOWS_MAX: Duration = Duration::from_secs(30);

/// Everything that plays.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) screen: Screen,
    /// What was sent, and answered.
    pub(crate) sent: Vec<Sent>,
    ear: Ear,
    /// Whose decision was told; of declared sagas, whose submission.
    known: BTreeSet<String>,
    /// What banks did before that.
    early: Vec<Held>,
    client: reqwest::Client,
    /// How many of the next bank's steps are told one by one; later ones take a line together.
    pub(super) at_length: usize,
    /// What banks told and the story has not.
    pub(super) worked: BTreeMap<(String, String), String>,
    /// The XIDs of declared sagas by their transfers: a bank is not told the one, only the other.
    pub(super) xids: BTreeMap<String, String>,
    /// What a transfer is called where there are two.
    tags: BTreeMap<String, &'static str>,
}

/// A transfer that is under way.
pub(crate) struct Running {
    order: Order,
    answer: JoinHandle<Result<Answer>>,
}

impl Stage {
    pub(crate) fn new(world: World, ear: Ear, screen: Screen) -> Self {
        Stage {
            world,
            screen,
            sent: Vec::new(),
            ear,
            known: BTreeSet::new(),
            early: Vec::new(),
            client: reqwest::Client::new(),
            at_length: 0,
            worked: BTreeMap::new(),
            xids: BTreeMap::new(),
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
        let sent = Sent { id: id.clone(), legs: legs.clone(), heard: Heard::Nothing, xid: None };
        self.sent.push(sent);
        self.post(Order { id, legs, wait, attempts_max: 1 })
    }

    /// Sends a transfer off once more whose answer was lost, which only one that has a key may be.
    pub(crate) fn send_again(&self, running: Running) -> Running {
        running.answer.abort();
        self.post(running.order)
    }

    fn post(&self, order: Order) -> Running {
        let request = self.client.post(format!("{}/transfer", self.world.tm.url())).json(&order);
        let answer = tokio::spawn(async move {
            let response = request.send().await.context("send a transfer")?;
            response.json().await.context("read the transfer service's answer")
        });
        Running { order, answer }
    }

    /// Has a bank hear a leg of a transfer that has ended, as from a network that was slow, and gives
    /// its refusal back.
    pub(crate) async fn deliver_again(
        &self,
        id: &str,
        (bank, amount): (&str, i64),
        xid: &str,
    ) -> Result<String> {
        let leg = Leg::new(bank, 1, amount);
        let transfer = format!("{RUN}-{id}");
        let entry = Entry { transfer, account: leg.account, amount: amount.abs() };
        let url = format!("{}/{}", self.world.bank(bank).server.url(), leg.verb());
        // The one header that says enough by itself.
        let request = self.client.post(url).header("tx_xid", xid).json(&entry);
        let answer = request.send().await.context("deliver a request again")?;
        ensure!(!answer.status().is_success(), "a leg of a transfer that has ended was done");
        let refusal: Refusal = answer.json().await.context("read a bank's refusal")?;
        Ok(refusal.why)
    }

    /// The answer of a transfer whose end was told.
    pub(crate) async fn answer(&mut self, running: Running) -> Result<Answer> {
        let answer = running.answer.await.context("a transfer's task failed")??;
        let (heard, xid) = match &answer {
            Answer::Committed { xid } => (Heard::Committed, xid),
            Answer::RolledBack { xid, .. } => (Heard::RolledBack, xid),
            Answer::InDoubt { xid, .. } => (Heard::InDoubt, xid),
            Answer::NotBegun { why } => bail!("a transfer was not begun: {why}"),
        };
        for sent in self.sent.iter_mut().filter(|sent| sent.id == running.order.id) {
            (sent.heard, sent.xid) = (heard, Some(xid.clone()));
        }
        Ok(answer)
    }

    /// Tells all steps up to and including the first that `stop` wants, and holds that.
    pub(crate) async fn tell_until(&mut self, stop: impl Fn(&Told) -> bool) -> Result<Held> {
        loop {
            let held = self.next().await?;
            self.tell(&held.told).await?;
            if stop(&held.told) {
                return Ok(held);
            }
        }
    }

    /// The next step that can be told. A bank may hear of a decision, or be asked for a step of a declared
    /// saga, before the transfer service has its answer; what it does then waits.
    async fn next(&mut self) -> Result<Held> {
        loop {
            let is_known = |held: &Held| self.known.contains(&held.told.transfer);
            if let Some(known) = self.early.iter().position(is_known) {
                return Ok(self.early.remove(known));
            }
            let held = self.ear.next().await?;
            let is_declared = self.world.saga.is_some();
            match &held.told.step {
                Step::Settled { .. } if !is_known(&held) => self.early.push(held),
                Step::Worked { .. } | Step::Refused { .. } if is_declared && !is_known(&held) => {
                    self.early.push(held);
                }
                Step::Begun if is_declared => return Ok(self.known(held)),
                Step::Decided(_) => return Ok(self.known(held)),
                Step::Begun
                | Step::Calls(_)
                | Step::Worked { .. }
                | Step::Refused { .. }
                | Step::CommittedLocally(_)
                | Step::Answered(_)
                | Step::Asks(_)
                | Step::Settled { .. } => return Ok(held),
            }
        }
    }

    fn known(&mut self, held: Held) -> Held {
        self.known.insert(held.told.transfer.clone());
        held
    }

    /// The next step, if it comes soon.
    pub(super) async fn next_within(&mut self, bound: Duration) -> Result<Option<Held>> {
        // Nothing is lost if it is dropped: a step that came is in `early` or returned.
        timeout(bound, self.next()).await.ok().transpose()
    }

    /// Tells a transfer to its end, phase two included, and returns the XID.
    pub(crate) async fn tell_to_the_end(&mut self, running: Running) -> Result<String> {
        let id = running.order.id.clone();
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

    pub(super) async fn tell(&mut self, told: &Told) -> Result<()> {
        if self.world.saga.is_some() {
            return self.tell_driven(told).await;
        }
        let Told { transfer, xid, step } = told;
        match step {
            Step::Begun => self.step(told, 1, "transfer", &self.screen.paint(Ink::Name, xid)),
            Step::Calls(leg) if self.at_length > 0 => {
                let what = format!("{}; the XID goes along in a header", show(leg));
                self.step(told, 2, &bank(leg), &what);
            }
            Step::Worked { leg, mode, holding } if self.at_length > 0 => {
                self.tell_worked(told, leg, *mode, *holding).await?;
            }
            Step::Worked { leg, mode, holding } => {
                let key = (transfer.clone(), leg.bank.clone());
                self.worked.insert(key, change(leg, *mode, *holding));
            }
            Step::Refused { leg, mode } => {
                let what = format!("{}: the account is short, nothing is written", show(leg));
                let what = self.screen.paint(Ink::Bad, what);
                self.line(told, working(*mode), &bank(leg), &what);
            }
            Step::CommittedLocally(leg) if self.at_length > 0 => {
                self.tell_committed_locally(told, leg).await?;
            }
            Step::Answered(leg) if self.at_length > 0 => {
                self.at_length -= 1;
                self.step(told, 6, &bank(leg), "done; the branch comes back in a header");
            }
            Step::Answered(leg) => {
                let branch = self.branch(xid, leg).await?.branch_id;
                let change = self.worked.remove(&(transfer.clone(), leg.bank.clone()));
                let change = change.context("a bank answered that told no work")?;
                let what = format!("{}, {change}, branch {branch}", show(leg));
                self.line(told, "2-6 all that", &bank(leg), &what);
            }
            Step::Decided(End::Commit) => {
                self.step(told, 7, "coordinator", &self.screen.paint(Ink::Good, "commit"));
            }
            Step::Decided(End::Rollback) => {
                self.step(told, 7, "coordinator", &self.screen.paint(Ink::Bad, "roll back"));
            }
            Step::Settled { leg, how, holding } => {
                self.step(told, 8, &bank(leg), &settled(leg, *how, *holding));
            }
            Step::Calls(_) | Step::CommittedLocally(_) | Step::Asks(_) => {}
        }
        Ok(())
    }

    /// In AT mode a branch is registered after its work, when its locks are known; else before.
    async fn tell_worked(
        &self,
        told: &Told,
        leg: &Leg,
        mode: BranchMode,
        holding: Holding,
    ) -> Result<()> {
        if mode != BranchMode::At {
            let branch = self.branch(&told.xid, leg).await?;
            let action = match branch.action.as_str() {
                "" => String::new(),
                action => format!(", action `{action}`"),
            };
            let registered = format!("branch {}{action}", branch.branch_id);
            self.line(told, "3 register", "coordinator", &registered);
        }
        self.line(told, working(mode), &bank(leg), &change(leg, mode, holding));
        Ok(())
    }

    async fn tell_committed_locally(&self, told: &Told, leg: &Leg) -> Result<()> {
        let branch = self.branch(&told.xid, leg).await?;
        let (name, what) = match branch.mode() {
            v1::BranchMode::At => {
                let locks = branch.locks.join(" ");
                let registered = format!("branch {}, locks {locks}", branch.branch_id);
                self.step(told, 4, "coordinator", &registered);
                ("5 local commit", "rows and undo row, in one local transaction")
            }
            v1::BranchMode::Tcc => {
                ("5 local commit", "reservation and barrier row, in one local transaction")
            }
            v1::BranchMode::Saga => {
                ("5 local commit", "rows and barrier row, in one local transaction")
            }
            v1::BranchMode::Xa => {
                ("5 prepare", "rows and barrier row: durable, locked, and seen by nobody yet")
            }
            v1::BranchMode::Unspecified => bail!("the coordinator does not say a branch's mode"),
        };
        self.line(told, name, &bank(leg), what);
        Ok(())
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

    pub(super) fn line(&self, told: &Told, step: &str, who: &str, what: &str) {
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
            let balance = books::holding(&bank.url, 1).await?.balance;
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

pub(super) fn bank(leg: &Leg) -> String {
    format!("bank {}", leg.bank)
}

pub(super) fn show(leg: &Leg) -> String {
    format!("{} {}", leg.verb(), leg.amount.abs())
}

/// What the step is called in which a bank does its work.
fn working(mode: BranchMode) -> &'static str {
    match mode {
        BranchMode::At => "3 work",
        BranchMode::Tcc => "4 try",
        BranchMode::Saga => "4 action",
        BranchMode::Xa => "4 work",
    }
}

/// What a leg did to its account.
pub(super) fn change(leg: &Leg, mode: BranchMode, after: Holding) -> String {
    let Holding { balance, reserved } = after;
    match mode {
        BranchMode::At | BranchMode::Saga | BranchMode::Xa => {
            format!("balance {} → {balance}, and a ledger row", balance - leg.amount)
        }
        BranchMode::Tcc if leg.is_debit() => {
            format!("reserved {} → {reserved} of {balance}", reserved - leg.taken())
        }
        BranchMode::Tcc => "nothing to reserve".to_owned(),
    }
}

/// What a bank did in its phase two.
pub(super) fn settled(leg: &Leg, how: Settling, after: Holding) -> String {
    let Holding { balance, reserved } = after;
    match how {
        Settling::Confirm if leg.is_debit() => {
            let (before, held) = (balance - leg.amount, reserved + leg.taken());
            format!("confirm: balance {before} → {balance}, reserved {held} → {reserved}")
        }
        Settling::Confirm => format!("confirm: balance {} → {balance}", balance - leg.amount),
        Settling::Cancel if leg.is_debit() => {
            format!("cancel: reserved {} → {reserved} of {balance}", reserved + leg.taken())
        }
        Settling::Cancel => "cancel: nothing was reserved".to_owned(),
        Settling::Compensation => {
            format!("compensation: balance {} → {balance}", balance + leg.amount)
        }
    }
}

pub(super) fn columns(step: &str, who: &str, what: &str) -> String {
    format!("    {step:<16}{who:<13}{what}")
}
