//! How a server starts and ends.

use pactum_proto::v1::work_result::Result;
use pactum_proto::v1::{BranchMode, Done, ScopeStatus, TransactionStatus, WorkKind};
use pactum_testkit::Process;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::server::{BOUND, Server, pactum, run};

#[tokio::test]
async fn the_ready_line_names_address_directory_and_store() {
    let server = Server::start().await;
    let line = server.process.lines().into_iter().find(|line| line.contains("ready")).unwrap();
    let directory = server.directory.path().display();
    assert!(line.contains(&format!("(data {directory}, store ")), "{line}");
    let status = server.operator(&["status"]).await;
    let store = line.split("store ").nth(1).unwrap().trim_end_matches(')');
    assert_eq!(store.len(), 32, "{line}");
    assert!(status.contains(store), "{status}");
}

#[tokio::test]
async fn sigterm_drains_and_ends_well() {
    let mut server = Server::start().await;
    let status = server.process.terminate(BOUND).await.unwrap();
    assert!(status.success(), "{status}: {:?}", server.process.lines());
    // Everything was closed: nothing is left in the log.
    assert!(!server.directory.path().join("pactum.db-wal").exists());
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused() {
    let server = Server::start().await;
    let mut second = Process::spawn("second", Server::command(server.directory.path())).unwrap();
    let status = second.wait(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let said = second.lines().join("\n");
    let holder = server.process.id().unwrap();
    assert!(said.contains(&format!("in use by process {holder}")), "{said}");
    assert!(said.contains(&server.directory.path().display().to_string()), "{said}");
    // The first one did not mind.
    server.operator(&["status"]).await;
}

#[tokio::test]
async fn a_decision_outlives_a_crash() {
    let mut server = Server::start().await;
    let mut participant = server.participant().await;
    let begun = participant.begin_with_branch().await;
    let outcome = participant.commit(&begun).await;
    assert_eq!(outcome.status(), TransactionStatus::Committing);
    server.crash_and_restart().await;
    let shown = server.operator(&["tx", "show", &begun.xid]).await;
    assert!(shown.contains("status    committing"), "{shown}");
    // The participant comes back, and is told again.
    let mut participant = server.participant().await;
    let work = participant.take_work().await;
    assert_eq!(work.xid, begun.xid);
}

#[tokio::test]
async fn a_rolled_back_scope_outlives_a_crash() {
    let mut server = Server::start().await;
    let mut participant = server.participant().await;
    let begun = participant.begin_registered(|request| request.scopes = vec![1, 42]).await;
    let status = participant.roll_back_scope(&begun, 42).await;
    assert_eq!(status, ScopeStatus::RollingBack);
    server.crash_and_restart().await;
    let show = ["tx", "show", &begun.xid];
    let shown = server.operator(&show).await;
    assert!(shown.contains("undone    000000000000002a\n"), "{shown}");
    let path = "scope     0000000000000001 > 000000000000002a (rolled back)\n";
    assert!(shown.contains(path), "{shown}");
    let mut participant = server.participant().await;
    let work = participant.take_work().await;
    assert_eq!((work.xid.as_str(), work.kind()), (begun.xid.as_str(), WorkKind::Rollback));
    participant.report(&work, Result::Done(Done {})).await;
    let shown = server.operator_until(&show, "phase two done").await;
    assert!(shown.contains("status    active\n"), "{shown}");
}

#[tokio::test]
async fn a_delegated_commit_outlives_a_crash_and_its_branch_is_asked() {
    let mut server = Server::start().await;
    let mut participant = server.participant().await;
    let begun = participant.begin_registered(|one| one.mode = BranchMode::Xa.into()).await;
    let outcome = participant.delegate(&begun).await;
    assert_eq!(outcome.status(), TransactionStatus::Delegated);
    server.crash_and_restart().await;
    let show = ["tx", "show", &begun.xid];
    let shown = server.operator(&show).await;
    assert!(shown.contains("status    delegated\n"), "{shown}");
    let mut participant = server.participant().await;
    let work = participant.take_work().await;
    assert_eq!((work.xid.as_str(), work.kind()), (begun.xid.as_str(), WorkKind::AskPhaseOne));
    participant.report(&work, Result::Done(Done {})).await;
    server.operator_until(&show, "status    committed\n").await;
}

#[tokio::test]
async fn a_bad_configuration_is_told_at_once_with_status_2() {
    let args = ["server", "--listen", "here", "--set", "policy.lock_wait=1s"];
    let (status, stdout, stderr) = run(&args).await;
    assert_eq!((status, stdout.as_str()), (2, ""));
    for problem in [
        "`listen` is `here` in --listen",
        "did you mean `policy.lock_wait_max`?",
        "`data_dir` is not set",
    ] {
        assert!(stderr.contains(problem), "{stderr}");
    }
}

#[tokio::test]
async fn print_config_shows_what_is_in_force_and_starts_nothing() {
    let mut command = pactum();
    command.args(["server", "--print-config", "--set", "drain_max=3s"]);
    command.env("PACTUM_GROUP", "east");
    let output = command.output().await.unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = |start: &str| printed.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(line("group = \"east\"").ends_with("# PACTUM_GROUP"), "{printed}");
    assert!(line("drain_max = \"3s\"").ends_with("# --set drain_max"), "{printed}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = pactum();
    command.args(["server", "--print-config"]).stdout(writer);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Goal: a log that cannot be written, as on a full disk, does not end the coordinator.
#[tokio::test]
async fn a_log_that_cannot_be_written_is_lost_and_no_more() {
    let directory = pactum_testkit::temp_dir("full-log").unwrap();
    let mut command = Server::command(directory.path());
    command.stderr(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    command.stdout(std::process::Stdio::piped());
    let mut server = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let ready = lines.next_line().await.unwrap().unwrap();
    assert!(ready.contains("pactum server ready"), "{ready}");
    let url = ready.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    let (status, _, said) = run(&["status", "--server", url]).await;
    assert_eq!(status, 0, "{said}");
    assert!(server.try_wait().unwrap().is_none(), "it has ended");
}
