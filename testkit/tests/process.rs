//! What a test may rely on when it controls processes.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use pactum_testkit::{Command, Process, temp_dir, wait::wait_until};

const BOUND: Duration = Duration::from_secs(20);
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// A script that says `ready` and then does nothing, for longer than any test.
const SERVER: &str = "echo ready; exec sleep 600";

fn sh(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("GREETING", "hello");
    Process::spawn("script", command).expect("sh is there")
}

fn runs(id: u32) -> bool {
    Path::new(&format!("/proc/{id}/stat")).exists()
}

#[tokio::test]
async fn lines_of_both_pipes_are_found_also_after_the_end() {
    let mut process = sh("echo $GREETING out; echo $GREETING err >&2");
    assert_eq!(process.wait_for_line("err", BOUND).await.unwrap(), "hello err");
    assert!(process.wait(BOUND).await.unwrap().success());
    assert_eq!(process.wait_for_line("out", BOUND).await.unwrap(), "hello out");
    let mut lines = process.lines();
    lines.sort();
    assert_eq!(lines, ["hello err", "hello out"]);
}

#[tokio::test]
async fn a_process_that_ends_before_its_line_is_reported_with_its_last_words() {
    let mut process = sh("echo no luck; exit 3");
    let error = format!("{:#}", process.wait_for_line("ready", BOUND).await.unwrap_err());
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(error.contains("no luck"), "{error}");
}

#[tokio::test]
async fn terminate_lets_it_end_by_itself() {
    let mut process = sh("trap 'echo bye; exit 7' TERM; echo ready; while :; do :; done");
    process.wait_for_line("ready", BOUND).await.unwrap();
    let status = process.terminate(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(process.lines(), ["ready", "bye"]);
    assert_eq!(process.terminate(BOUND).await.unwrap(), status, "asking again is no error");
}

#[tokio::test]
async fn terminate_kills_what_does_not_listen() {
    let mut process = sh("trap '' TERM; echo ready; while :; do :; done");
    process.wait_for_line("ready", BOUND).await.unwrap();
    process.terminate(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(process.exit_status().unwrap().unwrap().signal(), Some(SIGKILL));
}

#[tokio::test]
async fn a_killed_process_can_be_started_again() {
    let folder = temp_dir("testkit").unwrap();
    let log = folder.path().join("log");
    let mut process = sh(SERVER).log_to(&log).unwrap();
    process.wait_for_line("ready", BOUND).await.unwrap();
    process.restart().unwrap_err();

    process.kill_hard().await.unwrap();
    assert_eq!(process.exit_status().unwrap().unwrap().signal(), Some(SIGKILL));
    process.kill_hard().await.unwrap();

    process.restart().unwrap();
    process.wait_for_line("ready", BOUND).await.unwrap();
    assert_eq!(process.lines(), ["ready"], "the lines of the first run are forgotten");
    let status = process.terminate(BOUND).await.unwrap();
    assert_eq!(status.signal(), Some(SIGTERM));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ready\nready\n", "the log keeps both");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dropped_process_is_killed() {
    let mut process = sh(SERVER);
    process.wait_for_line("ready", BOUND).await.unwrap();
    let id = process.id().unwrap();
    assert!(runs(id));
    drop(process);
    wait_until("the process to be gone", BOUND, async || !runs(id)).await.unwrap();
}

#[tokio::test]
async fn a_chatty_process_is_not_stopped_by_a_full_pipe() {
    let mut process = sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    assert!(process.wait(BOUND).await.unwrap().success());
    assert_eq!(process.lines().last().unwrap(), "line 19999");
}
