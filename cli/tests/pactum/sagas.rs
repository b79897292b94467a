//! Declared sagas on the command line: from a file to the end, with an operator's words.

use super::server::{Server, pactum, run};

/// A saga that needs no service: an approval, and then one way or the other.
const APPROVAL: &str = "
saga: approval
version: 1
steps:
  - { id: approve, wait: { event: true, timeout: 1d } }
  - id: which
    choice: [{ when: results.approve.yes, then: rest }]
    else: long
  - { id: rest, after: [which], wait: { for: 10ms } }
  - { id: long, after: [which], wait: { for: 3650d } }
output: { by: { $from: /results/approve/by } }
";

async fn started(server: &Server, key: &str) -> String {
    let told = server.operator(&["saga", "submit", "approval", "--key", key]).await;
    assert!(told.contains("  active"), "{told}");
    told.split_whitespace().next().unwrap().to_owned()
}

/// Goal: a person takes a saga from a file to its end with the command alone, and a crash of the
/// coordinator in between changes nothing.
#[tokio::test]
async fn a_saga_is_checked_defined_started_and_signalled() {
    let mut server = Server::start().await;
    let path = server.directory.path().join("approval.yaml");
    std::fs::write(&path, APPROVAL).unwrap();
    let file = path.to_str().unwrap();
    let (status, told, _) = run(&["saga", "validate", file]).await;
    assert_eq!((status, told.contains("approval@1 is right")), (0, true), "{told}");
    let (status, drawn, _) = run(&["saga", "draw", file]).await;
    assert_eq!((status, drawn.starts_with("flowchart")), (0, true), "{drawn}");
    let (_, drawn, _) = run(&["saga", "draw", "--format", "dot", file]).await;
    assert!(drawn.starts_with("digraph"), "{drawn}");

    assert_eq!(server.operator(&["saga", "define", file]).await, "approval@1 is defined\n");
    let kept = server.operator(&["saga", "definition", "approval@1"]).await;
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["steps"][0]["wait"]["event"], true);

    let xid = started(&server, "order-1").await;
    server.crash_and_restart().await;
    assert_eq!(started(&server, "order-1").await, xid);
    let shown = server.operator(&["saga", "show", &xid]).await;
    for part in ["name      approval@1", "status    active", "approve  waiting"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let payload = r#"{ "yes": true, "by": "Ada" }"#;
    server.operator(&["saga", "signal", &xid, "approve", "--payload", payload]).await;
    let shown = server.operator(&["saga", "show", &xid, "--wait", "30s", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["status"], &shown["output"]["by"]), (&"committed".into(), &"Ada".into()));
    assert_eq!(shown["steps"][0]["result"]["by"], "Ada");
    let watched = server.operator(&["saga", "watch", &xid]).await;
    assert!(watched.contains("status    committed"), "{watched}");
}

#[tokio::test]
async fn an_operator_pauses_skips_forces_and_cancels_and_each_word_is_kept() {
    let server = Server::start().await;
    let path = server.directory.path().join("approval.yaml");
    std::fs::write(&path, APPROVAL).unwrap();
    server.operator(&["saga", "define", path.to_str().unwrap()]).await;

    let xid = started(&server, "forced").await;
    let said = server.operator(&["saga", "pause", &xid, "--reason", "lunch"]).await;
    assert!(said.contains(", paused"), "{said}");
    server.operator(&["saga", "resume", &xid, "--reason", "coffee"]).await;
    let result = r#"{"yes": true, "by": "nobody"}"#;
    let force = ["saga", "force", &xid, "approve", "--result", result, "--reason", "it rang"];
    server.operator(&force).await;
    let shown = server.operator(&["saga", "show", &xid, "--wait", "30s"]).await;
    for part in ["status    committed", "pause   all", "force   approve", "it rang"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    let xid = started(&server, "cancelled").await;
    server.operator(&["saga", "cancel", &xid, "--reason", "too late"]).await;
    let (status, shown, error) =
        server.command_of_operator(&["saga", "show", &xid, "--wait", "30s"]).await;
    assert_eq!((status, shown.contains("rolled back (requested)")), (1, true), "{shown}");
    assert!(error.contains(&format!("saga {xid} is rolled back")), "{error}");
    let skip = ["saga", "skip", &xid, "approve", "--reason", "no"];
    let (status, _, error) = server.command_of_operator(&skip).await;
    assert_eq!((status, error.contains("TX0025")), (1, true), "{error}");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let server = Server::start().await;
    let path = server.directory.path().join("wrong.yaml");
    std::fs::write(
        &path,
        "saga: wrong\nversion: 1\nsteps: [{ id: a, after: [a], wait: { for: 1s } }]\n",
    )
    .unwrap();
    let file = path.to_str().unwrap();
    let (status, told, error) = run(&["saga", "validate", file]).await;
    assert_eq!((status, error.as_str()), (1, "error: 1 definition is wrong\n"), "{told}");
    assert!(told.contains("/steps/0"), "{told}");
    let (status, _, error) = server.command_of_operator(&["saga", "define", file]).await;
    assert_eq!((status, error.contains("/steps/0")), (1, true), "{error}");

    let (status, _, error) = server.command_of_operator(&["saga", "submit", "nothing"]).await;
    assert_eq!((status, error.contains("TX0022")), (1, true), "{error}");
    let (status, _, error) = run(&["saga", "submit", "x", "--input", "Ada"]).await;
    assert_eq!((status, error.contains("needs quotes")), (1, true), "{error}");
    let mut gone = pactum();
    gone.args(["saga", "show", "default:9", "--server", "http://127.0.0.1:9"]);
    let gone = gone.output().await.unwrap();
    assert_eq!(gone.status.code(), Some(1));
    let (status, _, error) = run(&["saga", "pause", "default:9"]).await;
    assert_eq!((status, error.contains("--reason")), (2, true), "{error}");
}
