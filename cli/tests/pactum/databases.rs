//! The commands that look into a participant's database, beside a real agent.

use std::path::Path;

use pactum_agent::{Agent, AgentOptions, AtOptions, AtPool, Fate, RunError};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

use super::server::{Server, run};

async fn bank(file: &Path) -> SqlitePool {
    let connect = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let pool = SqlitePool::connect_with(connect).await.unwrap();
    let table = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER); \
                 INSERT INTO account VALUES (7, 100)";
    sqlx::raw_sql(table).execute(&pool).await.unwrap();
    pool
}

async fn balance(pool: &SqlitePool) -> i64 {
    sqlx::query_scalar("SELECT balance FROM account").fetch_one(pool).await.unwrap()
}

/// Goal: somebody wrote past the global lock. The rollback stops and says what it found, the undo
/// log can be read, and the operator's word ends it.
#[tokio::test]
async fn a_dirty_write_is_shown_with_its_undo_log_and_resolved() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bank.db");
    let pool = bank(&file).await;
    let agent = Agent::connect(AgentOptions::new(server.url.as_str())).await.unwrap();
    let options = AtOptions::default().create_tables(true);
    let at = AtPool::attach(&agent, "bank", pool.clone(), options).await.unwrap();

    let run = agent.global("transfer").run(async |context| {
        sqlx::query("UPDATE account SET balance = balance - 30").execute(&at).await?;
        sqlx::query("UPDATE account SET balance = 65").execute(at.bypass()).await?;
        Err::<(), _>(sqlx::Error::Protocol(context.xid().to_string()))
    });
    let RunError::Work { error: sqlx::Error::Protocol(xid), fate: Fate::RolledBack(outcome) } =
        run.await.unwrap_err()
    else {
        panic!("the work fails by itself");
    };
    assert!(!outcome.completed, "its branch is parked");

    let url = format!("sqlite://{}", file.display());
    let shown = server.operator_until(&["tx", "show", &xid, "--db", &url], "dirty write").await;
    for part in ["balance  100     70     65", ": at, open\n", "\"balance\": 70", "\"before\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = server.operator(&["tx", "show", &xid, "--db", &url, "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let branch = json["branches"][0]["branch_id"].to_string();
    let undo = &json["databases"][&url][0]["body"]["changes"][0]["rows"][0]["updated"];
    assert_eq!(undo["set"]["balance"], 70);

    let branch = branch.trim_matches('"');
    let resolve = ["tx", "resolve", &xid, branch, "restore", "--reason", "65 was a mistake"];
    server.operator(&resolve).await;
    let ended = server.operator_until(&["tx", "show", &xid, "--db", &url], "undone").await;
    assert!(ended.contains("65 was a mistake"), "{ended}");
    assert_eq!(balance(&pool).await, 100);
    agent.shutdown().await;
}

#[tokio::test]
async fn a_script_is_checked_against_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bank.db");
    let pool = bank(&file).await;
    let good = dir.path().join("good.sql");
    let bad = dir.path().join("bad.sql");
    std::fs::write(&good, "UPDATE account SET balance = ? WHERE id = ?;\nSELECT 1;").unwrap();
    std::fs::write(&bad, "SELECT 1;\n\nDROP TABLE account;").unwrap();
    let url = format!("sqlite://{}", file.display());
    let path = |file: &Path| file.display().to_string();

    let said = run(&["check-sql", "--db", &url, &path(&good)]).await;
    assert_eq!(said.0, 0, "{said:?}");
    assert!(said.1.contains(":1: UPDATE account SET balance = ? WHERE id = ?\n"), "{said:?}");
    assert!(said.1.contains("can be undone, on account\n"), "{said:?}");

    let said = run(&["check-sql", "--db", &url, "--json", &path(&good), &path(&bad)]).await;
    assert_eq!(said.0, 1);
    assert!(said.2.contains("1 of 4 statements cannot be sent through AT"), "{said:?}");
    let json: serde_json::Value = serde_json::from_str(&said.1).unwrap();
    assert_eq!(json[3]["verdict"], "refused");
    assert_eq!(json[3]["line"], 3);
    assert!(json[3]["instead"].as_str().unwrap().contains("bypass()"));

    for (db, file, why) in [
        ("oracle://h", path(&good), "`oracle` is no database that the agent knows"),
        (&*url, path(&dir.path().join("gone.sql")), "gone.sql"),
    ] {
        let said = run(&["check-sql", "--db", db, &file]).await;
        assert_eq!(said.0, 1);
        assert!(said.2.contains(why), "{said:?}");
    }
    assert_eq!(balance(&pool).await, 100);
}
