//! A server process on a directory of its own, and what talks to it.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use pactum_core::lock::key::{KeyKind, KeyValue, LockKey};
use pactum_proto::PROTOCOL_VERSION;
use pactum_proto::v1::coordinator_client::CoordinatorClient;
use pactum_proto::v1::{
    AttachRequest, Attached, BeginRequest, Begun, BranchMode, CommitRequest, Lock, LockMode,
    Outcome, PhaseOneReport, PhaseOneResult, RegisterRequest, Resource, ResourceKind,
    RollbackRequest, RollbackScopeRequest, ScopeStatus, TakeWorkRequest, Wait, Work, WorkResult,
    attach_reply, begin_reply, outcome_reply, phase_one_reply, register_reply, scope_reply,
    work_result,
};
use pactum_testkit::wait::wait_for;
use pactum_testkit::{Command, Process, TempDir, temp_dir};
use tonic::transport::{Channel, Endpoint};

/// Far beyond what anything here takes.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) fn pactum() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pactum"));
    // What the machine has set must not change a test.
    for variable in ["PACTUM_CONFIG", "PACTUM_SERVER", "PACTUM_DATA_DIR", "PACTUM_LISTEN"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command to its end: exit status, stdout, stderr.
pub(crate) async fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = pactum().args(args).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) directory: TempDir,
    pub(crate) url: String,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let directory = temp_dir("pactum-cli").unwrap();
        let mut process = Process::spawn("server", Server::command(directory.path())).unwrap();
        let url = Server::url(&mut process).await;
        Server { process, directory, url }
    }

    pub(crate) fn command(directory: &Path) -> Command {
        let mut command = pactum();
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory);
        command
    }

    async fn url(process: &mut Process) -> String {
        let ready = process.wait_for_line("pactum server ready on ", BOUND).await.unwrap();
        let url = ready.strip_prefix("pactum server ready on ").unwrap();
        url.split(' ').next().unwrap().to_owned()
    }

    /// SIGKILL, and a new process on the same directory.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.process.kill_hard().await.unwrap();
        self.process.restart().unwrap();
        self.url = Server::url(&mut self.process).await;
    }

    /// An operator command that must succeed.
    pub(crate) async fn operator(&self, args: &[&str]) -> String {
        let (status, stdout, stderr) = self.command_of_operator(args).await;
        assert_eq!((status, stderr.as_str()), (0, ""), "{args:?}: {stdout}");
        stdout
    }

    /// An operator command, until its answer contains `text`: an answer to phase two is acted on and
    /// written after whoever gave it was heard.
    pub(crate) async fn operator_until(&self, args: &[&str], text: &str) -> String {
        let what = format!("`{text}` in the answer to {args:?}");
        let look = async || Some(self.operator(args).await).filter(|answer| answer.contains(text));
        wait_for(&what, BOUND, look).await.unwrap()
    }

    pub(crate) async fn command_of_operator(&self, args: &[&str]) -> (i32, String, String) {
        run(&[args, &["--server", &self.url]].concat()).await
    }

    pub(crate) async fn participant(&self) -> Participant {
        Participant::attach(&self.url).await
    }
}

/// Both sides of a simple client: it begins transactions and takes part in them.
pub(crate) struct Participant {
    client: CoordinatorClient<Channel>,
    attached: Attached,
}

impl Participant {
    async fn attach(url: &str) -> Participant {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        let mut client = CoordinatorClient::new(channel);
        let bank = Resource {
            resource_id: "bank-a".to_owned(),
            kind: ResourceKind::Database.into(),
            resource_uid: vec![7; 16].into(),
            actions: Vec::new(),
        };
        let request = AttachRequest {
            node_id: vec![9; 16].into(),
            resources: vec![bank],
            protocol_version: PROTOCOL_VERSION,
            agent_version: "test".to_owned(),
        };
        let reply = client.attach(request).await.unwrap().into_inner();
        let Some(attach_reply::Result::Attached(attached)) = reply.result else {
            panic!("{reply:?}");
        };
        Participant { client, attached }
    }

    /// A transaction with one branch, which is done with phase one and holds a lock on account 7.
    pub(crate) async fn begin_with_branch(&mut self) -> Begun {
        let begun = self.begin_registered(|_| ()).await;
        let report = PhaseOneReport {
            xid: begun.xid.clone(),
            store_id: begun.store_id.clone(),
            branch_id: self.branch_id(),
            result: PhaseOneResult::Done.into(),
            resource_id: "bank-a".to_owned(),
        };
        let reply = self.client.report_phase_one(report).await.unwrap().into_inner();
        assert_eq!(reply.result, Some(phase_one_reply::Result::Recorded(true)));
        begun
    }

    /// A transaction whose branch has reported nothing, registered after this change.
    pub(crate) async fn begin_registered(
        &mut self,
        change: impl FnOnce(&mut RegisterRequest),
    ) -> Begun {
        let request = BeginRequest {
            name: "transfer".to_owned(),
            timeout_ms: 600_000,
            ..BeginRequest::default()
        };
        let reply = self.client.begin(request).await.unwrap().into_inner();
        let Some(begin_reply::Result::Begun(begun)) = reply.result else { panic!("{reply:?}") };
        let values = vec![KeyValue::Integer(7)];
        let key = LockKey { table: "account".to_owned(), kind: KeyKind::Row, values };
        let key = key.encode().unwrap().as_bytes().to_vec().into();
        let mut request = RegisterRequest {
            xid: begun.xid.clone(),
            store_id: begun.store_id.clone(),
            branch_id: self.branch_id(),
            resource_id: "bank-a".to_owned(),
            mode: BranchMode::At.into(),
            locks: vec![Lock { key, mode: LockMode::Exclusive.into() }],
            attachment_id: self.attached.attachment_id.clone(),
            ..RegisterRequest::default()
        };
        change(&mut request);
        let reply = self.client.register(request).await.unwrap().into_inner();
        let Some(register_reply::Result::Registered(_)) = reply.result else { panic!("{reply:?}") };
        begun
    }

    /// Leaves the commit to the branch.
    pub(crate) async fn delegate(&mut self, begun: &Begun) -> Outcome {
        let request = CommitRequest {
            xid: begun.xid.clone(),
            store_id: begun.store_id.clone(),
            delegate_to: self.branch_id(),
            ..CommitRequest::default()
        };
        let reply = self.client.commit(request).await.unwrap().into_inner();
        let Some(outcome_reply::Result::Outcome(outcome)) = reply.result else {
            panic!("{reply:?}");
        };
        outcome
    }

    /// Rolls a nested scope back, and does not wait for it to be undone.
    pub(crate) async fn roll_back_scope(&mut self, begun: &Begun, scope: u64) -> ScopeStatus {
        let request = RollbackScopeRequest {
            xid: begun.xid.clone(),
            store_id: begun.store_id.clone(),
            scope,
            wait: Wait::Decided.into(),
        };
        let reply = self.client.rollback_scope(request).await.unwrap().into_inner();
        let Some(scope_reply::Result::Scope(scope)) = reply.result else { panic!("{reply:?}") };
        scope.status()
    }

    fn branch_id(&self) -> u64 {
        self.attached.branch_ids.unwrap().first
    }

    pub(crate) async fn commit(&mut self, begun: &Begun) -> Outcome {
        let request = CommitRequest {
            xid: begun.xid.clone(),
            store_id: begun.store_id.clone(),
            done_branch_ids: vec![self.branch_id()],
            wait: Wait::Decided.into(),
            ..CommitRequest::default()
        };
        let reply = self.client.commit(request).await.unwrap().into_inner();
        let Some(outcome_reply::Result::Outcome(outcome)) = reply.result else {
            panic!("{reply:?}");
        };
        outcome
    }

    pub(crate) async fn roll_back(&mut self, begun: &Begun) -> Outcome {
        let request = RollbackRequest {
            xid: begun.xid.clone(),
            store_id: begun.store_id.clone(),
            wait: Wait::Decided.into(),
        };
        let reply = self.client.rollback(request).await.unwrap().into_inner();
        let Some(outcome_reply::Result::Outcome(outcome)) = reply.result else {
            panic!("{reply:?}");
        };
        outcome
    }

    /// Waits for the one piece of work that is to be done.
    pub(crate) async fn take_work(&mut self) -> Work {
        let attachment_id = self.attached.attachment_id.clone();
        let request = TakeWorkRequest { attachment_id, max: 10, wait_ms: 20_000 };
        let reply = self.client.take_work(request).await.unwrap().into_inner();
        assert_eq!(reply.work.len(), 1, "{reply:?}");
        reply.work.into_iter().next().unwrap()
    }

    pub(crate) async fn report(&mut self, work: &Work, result: work_result::Result) {
        let result = WorkResult {
            xid: work.xid.clone(),
            branch_id: work.branch_id,
            kind: work.kind,
            result: Some(result),
        };
        let request = pactum_proto::v1::ReportWorkRequest {
            attachment_id: self.attached.attachment_id.clone(),
            results: vec![result],
        };
        let reply = self.client.report_work(request).await.unwrap().into_inner();
        assert_eq!(reply.error, None);
    }
}
