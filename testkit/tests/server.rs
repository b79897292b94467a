//! What a test may rely on when it uses a database server.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::env;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pactum_testkit::server::install::Places;
use pactum_testkit::server::{Database, Host, Kind, Server, database};
use pactum_testkit::wait::{wait_for, wait_until};
use pactum_testkit::{Command, temp_dir};

const BOUND: Duration = Duration::from_secs(60);
/// Set for a process of this test program that is to start a server and be killed.
const HOLD: &str = "PACTUM_TESTKIT_HOLD";

/// A row that was committed is there after a kill of everything, at the same URL.
async fn a_killed_server_comes_back(kind: Kind) {
    let mut server = Server::start(kind).await.unwrap();
    let database = server.database("kept").await.unwrap();
    database.execute("CREATE TABLE account (id int PRIMARY KEY, name text)").await.unwrap();
    database.execute("INSERT INTO account VALUES (1, 'ann'), (2, 'bob')").await.unwrap();
    server.restart().await.unwrap_err();

    // An open session is a process of its own in PostgreSQL: it has to go too.
    let session = tokio::spawn({
        let database = database.clone();
        async move {
            // Longer than the test: the end of this session is that of the server.
            let long = match kind {
                Kind::Postgres => "SELECT pg_sleep (600)",
                Kind::Mysql => "SELECT sleep (600)",
            };
            database.execute(long).await
        }
    });
    let open = match kind {
        Kind::Postgres => "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        Kind::Mysql => {
            "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'"
        }
    };
    wait_until("the session", BOUND, async || database.execute(open).await.unwrap() == "1")
        .await
        .unwrap();

    if kind == Kind::Postgres {
        // Stopped, it cannot notice by itself that the first process is gone.
        let sql = open.replace("count(*)", "pid");
        let stop = format!("kill -STOP {}", database.execute(&sql).await.unwrap());
        assert!(Command::new("sh").args(["-c", &stop]).status().await.unwrap().success());
    }

    server.kill_hard().await.unwrap();
    #[cfg(target_os = "linux")]
    assert!(!runs_in(&server.folder().join("data")));
    server.kill_hard().await.unwrap();
    session.await.unwrap().unwrap_err();
    database.execute("SELECT 1").await.unwrap_err();

    server.restart().await.unwrap();
    let rows = database.execute("SELECT id, name FROM account ORDER BY id").await.unwrap();
    assert_eq!(rows, "1\tann\n2\tbob");
}

async fn one_setting(database: &Database, name: &str) -> String {
    match database.kind() {
        Kind::Postgres => database.execute(&format!("SHOW {name}")).await.unwrap(),
        Kind::Mysql => database.execute(&format!("SELECT @@{name}")).await.unwrap(),
    }
}

async fn servers_run_side_by_side(kind: Kind) {
    // In tasks, as services start theirs.
    let (one, other) = (tokio::spawn(Server::start(kind)), tokio::spawn(Server::start(kind)));
    let (one, other) = (one.await.unwrap().unwrap(), other.await.unwrap().unwrap());
    assert_ne!(one.port(), other.port());
    let there = one.database("here").await.unwrap();
    assert!(databases(&one).await.contains(&there.name().to_owned()));
    assert!(!databases(&other).await.contains(&there.name().to_owned()));
}

/// Two that ask for the same name get two, of one server, and see nothing of each other.
async fn databases_are_apart(kind: Kind) {
    let (one, other) = tokio::join!(database(kind, "Same name!"), database(kind, "Same name!"));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.name().starts_with("pactum_same_name__"), "{}", one.name());
    assert_ne!(one.name(), other.name());
    let server = |database: &Database| database.url().replace(database.name(), "");
    assert_eq!(server(&one), server(&other));
    for database in [&one, &other] {
        database.execute("CREATE TABLE account (id int PRIMARY KEY)").await.unwrap();
    }
    one.execute("INSERT INTO account VALUES (1)").await.unwrap();
    assert_eq!(one.execute("SELECT count(*) FROM account").await.unwrap(), "1");
    assert_eq!(other.execute("SELECT count(*) FROM account").await.unwrap(), "0");
    let error = other.execute("SELECT * FROM nothing").await.unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("exist"), "{error}");
}

/// Runs a test of this program in a process of its own.
fn another_run(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).kill_on_drop(true);
    command
}

async fn the_environment_decides(kind: Kind) {
    let server = Server::start(kind).await.unwrap();
    let test = format!("{}::databases_of_one_name_are_apart", kind.test_module());
    let mut run = another_run(&test);
    run.env(kind.url_variable(), server.url()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(run.status().await.unwrap().success());
    let made = databases(&server).await;
    let made = made.iter().filter(|name| name.starts_with("pactum_same_name__")).count();
    assert_eq!(made, 2, "the databases are in the server that the environment names");

    let mut run = another_run(&test);
    run.env(kind.url_variable(), "http://example.org");
    let output = run.output().await.unwrap();
    assert!(!output.status.success(), "a wrong URL is no reason to use another server");
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.contains(kind.url_variable()), "{output}");
}

async fn databases(server: &Server) -> Vec<String> {
    let sql = match server.kind() {
        Kind::Postgres => "SELECT datname FROM pg_database",
        Kind::Mysql => "SHOW DATABASES",
    };
    let list = server.database("list").await.unwrap().execute(sql).await.unwrap();
    list.lines().map(str::to_owned).collect()
}

#[cfg(target_os = "linux")]
async fn nothing_is_left(kind: Kind) {
    let server = Server::start(kind).await.unwrap();
    let folder = server.folder().to_owned();
    assert!(runs_in(&folder.join("data")));
    drop(server);
    assert!(!folder.exists());
    assert!(!runs_in(&folder.join("data")));
}

#[cfg(target_os = "linux")]
async fn nothing_is_left_by_a_killed_process(kind: Kind) {
    let mut run = another_run(&format!("{}::holds_a_server_if_told_to", kind.test_module()));
    let place = temp_dir("testkit").unwrap();
    let note = place.path().join("note");
    run.env(HOLD, &note).stdout(Stdio::null());
    let mut run = run.spawn().unwrap();
    let folder = wait_for("the server of another process", BOUND, async || {
        std::fs::read_to_string(&note).ok().filter(|text| text.ends_with('\n'))
    });
    let folder = folder.await.unwrap();
    let folder = Path::new(folder.trim_end());
    assert!(runs_in(&folder.join("data")));
    run.kill().await.unwrap();
    wait_until("the folder to be removed", BOUND, async || !folder.exists()).await.unwrap();
    let data = folder.join("data");
    wait_until("the server to be gone", BOUND, async || !runs_in(&data)).await.unwrap();
}

/// Nothing by itself: the other half of the test above.
async fn hold(kind: Kind) {
    if let Some(note) = env::var_os(HOLD) {
        let server = Server::start(kind).await.unwrap();
        std::fs::write(note, format!("{}\n", server.folder().display())).unwrap();
        std::future::pending::<()>().await;
    }
}

/// Whether a process works in `data`; a removed folder is remembered as such.
#[cfg(target_os = "linux")]
fn runs_in(data: &Path) -> bool {
    let data = data.display().to_string();
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let cwd = std::fs::read_link(process.path().join("cwd"));
        cwd.is_ok_and(|cwd| cwd.display().to_string().starts_with(&data))
    })
}

#[tokio::test]
async fn what_is_missing_is_named_with_a_way_out() {
    let empty = temp_dir("empty").unwrap();
    for (kind, program, package) in [
        (Kind::Postgres, "`initdb`, `postgres`, `psql`", "apt-get install postgresql`"),
        (Kind::Mysql, "`mariadb-install-db`, `mariadbd`, `mariadb`", "install mariadb-server`"),
    ] {
        let places = Places::Only(vec![empty.path().to_owned()]);
        let error = format!("{:#}", Server::start_from(kind, &places).await.unwrap_err());
        let folder = empty.path().display().to_string();
        for part in [&kind.to_string(), program, package, &folder] {
            assert!(error.contains(part), "no {part} in: {error}");
        }
    }
}

/// A server that was there before us keeps nothing of ours.
async fn what_is_removed_is_gone(kind: Kind) {
    let server = Server::start(kind).await.unwrap();
    let host = Host::open(kind, Some(&server.url())).await.unwrap();
    let database = host.database("guest").await.unwrap();
    database.execute("CREATE TABLE t (id INT)").await.unwrap();
    host.remove(&database).await.unwrap();
    database.execute("SELECT 1").await.unwrap_err();
    server.database("other").await.unwrap().execute("SELECT 1").await.unwrap();
}

mod on_postgres {
    use super::*;

    const KIND: Kind = Kind::Postgres;

    #[tokio::test]
    async fn a_killed_server_comes_back_with_what_was_committed() {
        a_killed_server_comes_back(KIND).await;
    }

    #[tokio::test]
    async fn writes_are_synced_and_there_is_room_for_many() {
        let database = database(KIND, "settings").await.unwrap();
        assert_eq!(one_setting(&database, "fsync").await, "on");
        assert_eq!(one_setting(&database, "synchronous_commit").await, "on");
        assert!(one_setting(&database, "max_connections").await.parse::<u32>().unwrap() >= 200);
        let prepared = one_setting(&database, "max_prepared_transactions").await;
        assert!(prepared.parse::<u32>().unwrap() >= 64);
    }

    #[tokio::test]
    async fn two_servers_run_side_by_side() {
        servers_run_side_by_side(KIND).await;
    }

    #[tokio::test]
    async fn databases_of_one_name_are_apart() {
        databases_are_apart(KIND).await;
    }

    #[tokio::test]
    async fn what_is_removed_from_a_running_server_is_gone() {
        what_is_removed_is_gone(KIND).await;
    }

    #[tokio::test]
    async fn a_server_from_the_environment_is_used() {
        the_environment_decides(KIND).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_dropped_server_leaves_nothing() {
        nothing_is_left(KIND).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_server_of_a_killed_process_leaves_nothing() {
        nothing_is_left_by_a_killed_process(KIND).await;
    }

    #[tokio::test]
    async fn holds_a_server_if_told_to() {
        hold(KIND).await;
    }
}

mod on_mysql {
    use super::*;

    const KIND: Kind = Kind::Mysql;

    #[tokio::test]
    async fn a_killed_server_comes_back_with_what_was_committed() {
        a_killed_server_comes_back(KIND).await;
    }

    #[tokio::test]
    async fn writes_are_synced_and_there_is_room_for_many() {
        let database = database(KIND, "settings").await.unwrap();
        assert_eq!(one_setting(&database, "innodb_flush_log_at_trx_commit").await, "1");
        assert!(one_setting(&database, "max_connections").await.parse::<u32>().unwrap() >= 200);
    }

    #[tokio::test]
    async fn two_servers_run_side_by_side() {
        servers_run_side_by_side(KIND).await;
    }

    #[tokio::test]
    async fn databases_of_one_name_are_apart() {
        databases_are_apart(KIND).await;
    }

    #[tokio::test]
    async fn what_is_removed_from_a_running_server_is_gone() {
        what_is_removed_is_gone(KIND).await;
    }

    #[tokio::test]
    async fn a_server_from_the_environment_is_used() {
        the_environment_decides(KIND).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_dropped_server_leaves_nothing() {
        nothing_is_left(KIND).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_server_of_a_killed_process_leaves_nothing() {
        nothing_is_left_by_a_killed_process(KIND).await;
    }

    #[tokio::test]
    async fn holds_a_server_if_told_to() {
        hold(KIND).await;
    }
}
