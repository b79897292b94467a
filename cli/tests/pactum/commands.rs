//! The operator commands and their exit statuses.

use pactum_proto::v1::{
    ColumnReport, Done, ParkReason, ParkReport, Resolution, RowReport, work_result,
};

use super::server::{Server, run};

fn dirty_write() -> ParkReport {
    let column = ColumnReport {
        column: "balance".to_owned(),
        before: Some("100".to_owned()),
        after: Some("70".to_owned()),
        current: Some("65".to_owned()),
    };
    let row = RowReport { table: "account".to_owned(), key: "7".to_owned(), columns: vec![column] };
    ParkReport {
        reason: ParkReason::DirtyWrite.into(),
        message: "account[7] is neither as it was nor as it was left".to_owned(),
        rows: vec![row],
        rows_left_out: 0,
    }
}

/// Goal: an operator finds a stuck transaction, sees what is wrong, mends it and ends it, and all of
/// that outlives a crash of the coordinator.
#[tokio::test]
async fn a_parked_branch_is_found_shown_and_retried() {
    let mut server = Server::start().await;
    let mut participant = server.participant().await;
    let begun = participant.begin_with_branch().await;
    let xid = begun.xid.as_str();
    participant.roll_back(&begun).await;
    let work = participant.take_work().await;
    participant.report(&work, work_result::Result::Parked(dirty_write())).await;

    let list = server.operator_until(&["tx", "list", "--parked"], xid).await;
    assert!(list.contains("needs attention: 1 parked"), "{list}");
    server.crash_and_restart().await;
    let shown = server.operator(&["tx", "show", xid]).await;
    for part in [
        "status    rolling back (requested), needs attention: 1 parked",
        "phase two parked: dirty write",
        "locks     account[7]",
        "TABLE    KEY  COLUMN   BEFORE  AFTER  CURRENT",
        "account  7    balance  100     70     65",
        &format!("pactum tx retry {xid}"),
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = server.operator(&["tx", "show", xid, "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["branches"][0]["park_report"]["rows"][0]["columns"][0]["current"], "65");

    let mut participant = server.participant().await;
    let said = server.operator(&["tx", "retry", xid]).await;
    assert_eq!(said, format!("1 branch of {xid} is tried again\n"));
    let work = participant.take_work().await;
    participant.report(&work, work_result::Result::Done(Done {})).await;
    server.operator_until(&["tx", "show", xid], "status    rolled back (requested)\n").await;
    let list = server.operator(&["tx", "list", "--unfinished"]).await;
    assert_eq!(list, "no such global transactions\n");
}

/// Goal: an operator decides about a dirty write, the decision survives a crash and reaches the
/// participant, and whoever looks later sees who decided what and why.
#[tokio::test]
async fn a_parked_branch_is_resolved_with_a_reason() {
    let mut server = Server::start().await;
    let mut participant = server.participant().await;
    let begun = participant.begin_with_branch().await;
    let xid = begun.xid.as_str();
    participant.roll_back(&begun).await;
    let work = participant.take_work().await;
    participant.report(&work, work_result::Result::Parked(dirty_write())).await;
    server.operator_until(&["tx", "list", "--parked"], xid).await;

    let branch = work.branch_id.to_string();
    let resolve =
        |choice| ["tx", "resolve", xid, &branch, choice, "--reason", "agreed, ticket 4711"];
    let said = server.operator(&resolve("restore")).await;
    let expected =
        format!("branch {branch} of {xid} is resolved by restore: agreed, ticket 4711\n");
    assert_eq!(said, expected);
    let (status, _, stderr) = server.command_of_operator(&resolve("keep")).await;
    assert_eq!(status, 1);
    assert!(stderr.contains("is not resolved") && stderr.contains("TX0018"), "{stderr}");

    server.crash_and_restart().await;
    let mut participant = server.participant().await;
    let work = participant.take_work().await;
    assert_eq!(work.resolution(), Resolution::Restore);
    participant.report(&work, work_result::Result::Done(Done {})).await;
    let shown = server.operator_until(&["tx", "show", xid], "status    rolled back").await;
    assert!(shown.contains(" restore, when parked: dirty write: agreed, ticket 4711\n"), "{shown}");
}

#[tokio::test]
async fn a_resource_is_forgotten_only_when_nothing_of_it_is_left() {
    let mut server = Server::start().await;
    let mut participant = server.participant().await;
    let begun = participant.begin_with_branch().await;
    let list = server.operator(&["resource", "list"]).await;
    assert!(list.contains("bank-a    database"), "{list}");
    let forget = ["resource", "forget", "bank-a"];
    let (status, stdout, stderr) = server.command_of_operator(&forget).await;
    assert_eq!((status, stdout.as_str()), (1, ""));
    assert!(stderr.contains("bank-a") && stderr.contains("TX0017"), "{stderr}");

    participant.roll_back(&begun).await;
    let work = participant.take_work().await;
    participant.report(&work, work_result::Result::Done(Done {})).await;
    server.operator_until(&["tx", "show", &begun.xid], "status    rolled back").await;
    // With the process its attachments are gone.
    server.crash_and_restart().await;
    let said = server.operator(&forget).await;
    assert_eq!(said, "the binding of resource bank-a is forgotten\n");
    assert_eq!(server.operator(&["resource", "list"]).await, "no resources are bound\n");
}

#[tokio::test]
async fn what_is_not_there_and_what_is_malformed_is_refused_with_status_1() {
    let server = Server::start().await;
    for args in [
        &["tx", "show", "default:1"][..],
        &["tx", "show", "nonsense"],
        &["tx", "show", "elsewhere:1"],
        &["tx", "retry", "default:1"],
        &["tx", "resolve", "default:1", "7", "keep", "--reason", "why"],
        &["tx", "list", "--before", "x"],
        &["resource", "forget", "nobody"],
    ] {
        let (status, stdout, stderr) = server.command_of_operator(args).await;
        assert_eq!((status, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains("(TX00"), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_coordinator_that_is_not_there_is_named_with_status_1() {
    let port = pactum_testkit::free_port().unwrap();
    let url = format!("127.0.0.1:{port}");
    let (status, _, stderr) = run(&["status", "--server", &url]).await;
    assert_eq!(status, 1);
    assert!(stderr.contains(&format!("no coordinator answers at {url}")), "{stderr}");
    assert!(stderr.contains("--server URL"), "{stderr}");
}

#[tokio::test]
async fn a_wrong_command_line_is_status_2_and_help_is_0() {
    let long = "x".repeat(1025);
    for args in [
        &["tx"][..],
        &["tx", "show"],
        &["tx", "list", "--max", "0"],
        &["tx", "resolve", "default:1", "7", "keep"],
        &["tx", "resolve", "default:1", "7", "keep", "--reason", " "],
        &["tx", "resolve", "default:1", "7", "keep", "--reason", &long],
        &["tx", "resolve", "default:1", "7", "undo", "--reason", "why"],
        &["nonsense"],
        &[],
    ] {
        let (status, _, stderr) = run(args).await;
        assert_eq!(status, 2, "{args:?}: {stderr}");
    }
    let (status, stdout, _) = run(&["--help"]).await;
    assert_eq!(status, 0);
    assert!(stdout.contains("server"), "{stdout}");
}
