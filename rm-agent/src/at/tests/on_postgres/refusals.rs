//! What the schema or the session makes impossible is refused, and says what to do.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::World;
use crate::at::tests::world::take;
use crate::at::{AtError, AtOptions, AtPool};
use crate::branch::Answer;
use crate::link::fake::Fake;

async fn refusal(world: &World, statement: &str) -> AtError {
    let before = world.dump().await;
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    let refused = sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.map_err(take);
    drop(tx);
    assert_eq!(world.dump().await, before, "{statement} ran");
    refused.expect_err(statement)
}

#[tokio::test]
async fn tables_that_cannot_be_undone_are_refused() {
    let world = World::new(
        "CREATE TABLE plain (id int PRIMARY KEY, a int); INSERT INTO plain VALUES (1, 1); \
         CREATE TABLE keyless (a int); \
         CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE); \
         CREATE VIEW view AS SELECT * FROM plain; \
         CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); \
         CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10); \
         CREATE TABLE base (id int PRIMARY KEY); \
         CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (base); \
         CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TABLE spied (id int PRIMARY KEY); \
         CREATE TRIGGER tr AFTER INSERT ON spied FOR EACH ROW EXECUTE FUNCTION spy(); \
         CREATE TABLE ruled (id int PRIMARY KEY); \
         CREATE RULE r AS ON DELETE TO ruled DO INSTEAD NOTHING; \
         CREATE TABLE up (id int PRIMARY KEY, k int UNIQUE); \
         CREATE TABLE down (id int PRIMARY KEY, up int REFERENCES up ON DELETE CASCADE, \
         k int REFERENCES up (k) ON UPDATE SET NULL); \
         CREATE SEQUENCE numbers",
    )
    .await;
    for (statement, why) in [
        ("INSERT INTO keyless VALUES (1)", "no primary key"),
        ("INSERT INTO deferred VALUES (1)", "primary key is deferrable"),
        ("DELETE FROM nothing", "no such table"),
        ("DELETE FROM view", "it is a view"),
        ("INSERT INTO unlogged VALUES (1)", "it is unlogged"),
        ("INSERT INTO parted VALUES (1)", "it is a partitioned table"),
        ("INSERT INTO part VALUES (1)", "it is a partition"),
        ("INSERT INTO base VALUES (1)", "inherits"),
        ("INSERT INTO heir VALUES (1)", "inherits"),
        ("INSERT INTO spied VALUES (1)", "trigger `tr`"),
        ("DELETE FROM ruled", "rule `r`"),
        ("DELETE FROM up", "a foreign key of `public.down`"),
        ("UPDATE up SET k = 1", "a foreign key of `public.down`"),
        ("UPDATE plain SET id = 2", "it assigns the primary key"),
        ("UPDATE plain SET nonsense = 2", "is not one of its columns"),
        ("DELETE FROM pactum_barrier", "not the application's"),
        ("UPDATE numbers SET last_value = 1", "it is no table"),
    ] {
        let error = refusal(&world, statement).await;
        assert!(matches!(error, AtError::Refused(_)), "{statement}: {error}");
        assert!(error.to_string().contains(why), "{statement}: {error}");
    }
}

#[tokio::test]
async fn what_only_looks_alike_is_accepted() {
    let world = World::new(
        "CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TABLE t (id int PRIMARY KEY, k int UNIQUE); INSERT INTO t VALUES (1, 1); \
         CREATE TRIGGER off AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION spy(); \
         ALTER TABLE t DISABLE TRIGGER off; \
         CREATE TRIGGER replica AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION spy(); \
         ALTER TABLE t ENABLE REPLICA TRIGGER replica; \
         CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t, k int REFERENCES t (k) ON UPDATE \
         RESTRICT); \
         ALTER TABLE c ENABLE ROW LEVEL SECURITY; \
         CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, \
         g int GENERATED ALWAYS AS (a * 2) STORED, \"q\"\"uote\" text DEFAULT 'd'); \
         INSERT INTO i (a) VALUES (1), (2); \
         CREATE SCHEMA \"Other\"; CREATE TABLE \"Other\".\"Ta.ble\" (\"order\" int PRIMARY KEY); \
         INSERT INTO \"Other\".\"Ta.ble\" VALUES (1)",
    )
    .await;
    world.undo(&["UPDATE t SET k = 2", "DELETE FROM t", "INSERT INTO t VALUES (5, 5)"]).await;
    world.undo(&["INSERT INTO c VALUES (1, 1, 1)"]).await;
    world
        .undo(&[
            "UPDATE i SET a = a + 1",
            "DELETE FROM i WHERE id = 1",
            "INSERT INTO i (a) VALUES (5), (6)",
        ])
        .await;
}

/// A role that may not bypass row security sees not all that a foreign key or a restore must see.
#[tokio::test]
async fn row_security_and_missing_rights_are_noticed() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1); \
         CREATE TABLE secret (id int PRIMARY KEY); INSERT INTO secret VALUES (1); \
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true)",
    )
    .await;
    let database = world.value("SELECT current_database()").await.replace('\'', "");
    let role = format!("role_{database}");
    world
        .behind(&format!(
            "CREATE ROLE {role}; GRANT ALL ON t TO {role}; GRANT UPDATE ON secret TO {role}"
        ))
        .await;
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("SET LOCAL ROLE {role}")))
        .execute(tx.bypass())
        .await
        .unwrap();
    let error =
        sqlx::query("UPDATE t SET a = 2").execute(&mut *tx).await.map_err(take).unwrap_err();
    assert!(error.to_string().contains("row security"), "{error}");
    let denied = sqlx::query("DELETE FROM secret").execute(&mut *tx).await.unwrap_err();
    assert!(
        denied.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42501"))
    );
    // Nothing else goes through in this transaction, and nothing is left of it.
    let next = sqlx::query("SELECT 1").execute(&mut *tx).await.map_err(take).unwrap_err();
    assert!(matches!(next, AtError::OnlyRollback { .. }), "{next}");
    assert!(matches!(tx.commit().await, Err(AtError::OnlyRollback { .. })));
    world.behind(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// Goal: nothing changes rows unseen. Way: a function, wherever a statement can call one.
#[tokio::test]
async fn own_functions_that_may_change_rows_are_refused() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1); \
         CREATE FUNCTION pay(int) RETURNS int LANGUAGE plpgsql \
         AS 'BEGIN UPDATE t SET a = 9; RETURN $1; END'; \
         CREATE FUNCTION \"Read it\"(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT a FROM t'",
    )
    .await;
    for statement in [
        "SELECT pay(1)",
        "SELECT public . PAY (1)",
        "SELECT * FROM \"pay\"(1)",
        "SELECT a FROM t WHERE pay(1) = 1 FOR UPDATE",
        "UPDATE t SET a = pay(2)",
        "INSERT INTO t VALUES (2, pay(2))",
        "DELETE FROM t WHERE id IN (SELECT pay(1))",
        "EXPLAIN ANALYZE SELECT pay(1)",
    ] {
        let refused = refusal(&world, statement).await.to_string();
        assert!(refused.contains("`pay` may change rows"), "{refused}");
        assert!(sqlx::query(AssertSqlSafe(statement)).execute(&world.at).await.is_err());
    }
    sqlx::query("SELECT \"Read it\"(1), gen_random_uuid()").execute(&world.at).await.unwrap();
    world.undo(&["UPDATE t SET a = \"Read it\"(id) + abs(-4)"]).await;
}

/// An undo that would be refused is noticed before there is something to undo.
#[tokio::test]
async fn an_account_that_may_not_undo_is_told_what_it_lacks() {
    let world =
        World::new("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)").await;
    let database = world.value("SELECT current_database()").await.replace('\'', "");
    let role = format!("role_{database}");
    world
        .behind(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT, INSERT, UPDATE ON t TO {role}; \
             GRANT ALL ON pactum_barrier, pactum_resource TO {role}"
        ))
        .await;
    let connect: PgConnectOptions = (*world.pool.connect_options()).clone();
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(connect.username(&role).password("x"))
        .await
        .unwrap();
    let fake = Arc::new(Fake::default());
    fake.let_wait_inside();
    let options = AtOptions::default();
    let at = AtPool::attach_over(Arc::clone(&fake) as _, "b".parse().unwrap(), pool, options);
    let at = at.await.unwrap();
    let context = world.context();
    let run = async |sql: &'static str| {
        let mut transaction = at.begin_in(&context).await.unwrap();
        sqlx::query(sql).execute(&mut *transaction).await?;
        transaction.commit().await.map_err(sqlx::Error::from)
    };
    let insert = "INSERT INTO t VALUES (2, 2)";
    let error = AtError::from(run(insert).await.unwrap_err());
    assert!(error.to_string().contains("right to DELETE"), "{error}");
    run("UPDATE t SET a = 3").await.unwrap();
    world.behind(&format!("REVOKE INSERT ON t FROM {role}; GRANT DELETE ON t TO {role}")).await;
    let error = AtError::from(run("DELETE FROM t").await.unwrap_err());
    assert!(error.to_string().contains("right to INSERT"), "{error}");
    world.behind(&format!("GRANT INSERT ON t TO {role}")).await;
    run(insert).await.unwrap();
    assert_eq!(fake.roll_back(context.xid()).await, vec![Answer::Done, Answer::Done]);
    drop(at);
    world.behind(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_session_that_reads_or_shows_values_otherwise_is_noticed() {
    let world =
        World::new("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)").await;
    let before = world.dump().await;
    for (setting, word) in [
        ("LOCAL session_replication_role = replica", "session_replication_role"),
        ("LOCAL synchronous_commit = off", "synchronous_commit"),
        ("LOCAL standard_conforming_strings = off", "standard_conforming_strings"),
        ("LOCAL DateStyle = 'German'", "DateStyle"),
        ("LOCAL TimeZone = 'Europe/Berlin'", "TimeZone"),
        ("LOCAL IntervalStyle = iso_8601", "IntervalStyle"),
        ("LOCAL extra_float_digits = 0", "extra_float_digits"),
        ("LOCAL bytea_output = escape", "bytea_output"),
        ("LOCAL xmloption = document", "xmloption"),
    ] {
        for context in [Some(world.context()), None] {
            let mut tx = match &context {
                Some(context) => world.at.begin_in(context).await.unwrap(),
                None => world.at.begin().await.unwrap(),
            };
            let set = AssertSqlSafe(format!("SET {setting}"));
            sqlx::query(set).execute(tx.bypass()).await.unwrap();
            sqlx::query("UPDATE t SET a = 2").execute(&mut *tx).await.unwrap();
            let error = tx.commit().await.unwrap_err();
            assert!(matches!(error, AtError::SessionSetting(why) if why.contains(word)), "{error}");
            assert_eq!(world.dump().await, before);
        }
    }
    // Which isolation it is is settled when the local transaction begins.
    isolate_by_default(&world, "repeatable read").await;
    for context in [Some(world.context()), None] {
        let mut tx = match &context {
            Some(context) => world.at.begin_in(context).await.unwrap(),
            None => world.at.begin().await.unwrap(),
        };
        sqlx::query("UPDATE t SET a = 2").execute(&mut *tx).await.unwrap();
        let error = tx.commit().await.unwrap_err();
        let AtError::SessionSetting(why) = error else { panic!("{error:?}") };
        assert!(why.contains("READ COMMITTED"), "{why}");
    }
    isolate_by_default(&world, "read committed").await;
    world.undo(&["UPDATE t SET a = 2"]).await;
}

/// On every connection of the application's.
async fn isolate_by_default(world: &World, isolation: &str) {
    let mut connections = Vec::new();
    for _ in 0..world.pool.options().get_max_connections() {
        let mut connection = world.pool.acquire().await.unwrap();
        let set = format!("SET default_transaction_isolation = '{isolation}'");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await.unwrap();
        connections.push(connection);
    }
}

/// The keys of rows that are only read are as much a matter of the session as images are.
#[tokio::test]
async fn a_session_is_looked_at_where_nothing_was_changed_too() {
    let world =
        World::new("CREATE TABLE t (id timestamptz PRIMARY KEY); INSERT INTO t VALUES ('now')")
            .await;
    for read in ["checked", "held"] {
        let mut tx = world.at.begin_in(&world.context()).await.unwrap();
        sqlx::query("SET LOCAL TimeZone = 'Asia/Tokyo'").execute(tx.bypass()).await.unwrap();
        let rows = match read {
            "checked" => tx.lock_rows(sqlx::query("SELECT id FROM t")).await.unwrap(),
            _ => tx.lock_rows_until_end(sqlx::query("SELECT id FROM t")).await.unwrap(),
        };
        assert_eq!(rows.len(), 1);
        let error = tx.commit().await.unwrap_err();
        assert!(
            matches!(error, AtError::SessionSetting(why) if why.contains("TimeZone")),
            "{read}: {error}"
        );
    }
}

#[tokio::test]
async fn a_name_that_means_another_table_is_noticed() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1); \
         CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY, a int)",
    )
    .await;
    // The plan is made for the table of the schema `public`.
    world.undo(&["UPDATE t SET a = 2"]).await;
    let before = world.dump().await;
    for (before_it, is_temporary) in [
        ("CREATE TEMPORARY TABLE t ON COMMIT DROP AS SELECT 1 AS id, 1 AS a", true),
        ("SET LOCAL search_path = other, public", false),
    ] {
        let mut tx = world.at.begin_in(&world.context()).await.unwrap();
        sqlx::query(before_it).execute(tx.bypass()).await.unwrap();
        let done = sqlx::query("UPDATE t SET a = 2").execute(&mut *tx).await;
        done.unwrap();
        // With no row changed there is nothing to undo, and so no branch.
        let error = tx.commit().await;
        match error {
            Ok(()) => assert!(!is_temporary),
            Err(AtError::TemporaryObjects) => assert!(is_temporary),
            Err(other) => panic!("{before_it}: {other}"),
        }
        assert_eq!(world.dump().await, before, "{before_it}");
        world.undo(&["UPDATE t SET a = 3"]).await;
    }
    let elsewhere = world.context();
    let mut tx = world.at.begin_in(&elsewhere).await.unwrap();
    sqlx::query("SET LOCAL search_path = other, public").execute(tx.bypass()).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (7, 7)").execute(&mut *tx).await.unwrap();
    // It was planned on this connection, for what it means here, and phase two finds it.
    tx.commit().await.unwrap();
    assert_eq!(world.fake.locks(elsewhere.xid()), ["other.t[\"7\"]"]);
    assert_eq!(world.fake.roll_back(elsewhere.xid()).await, vec![Answer::Done]);
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (7, 7)").execute(&mut *tx).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, AtError::SchemaChanged), "{error}");
}

/// Goal: a barrier row goes only where phase two looks for it. Method: a session whose `search_path`
/// finds another table of that name, as a schema of its own for each tenant would have one.
#[tokio::test]
async fn a_barrier_of_another_schema_is_not_written_to() {
    let world = World::new("CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA tenant").await;
    world
        .behind("CREATE TABLE tenant.pactum_barrier (LIKE public.pactum_barrier INCLUDING ALL)")
        .await;
    let before = world.dump().await;
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    sqlx::query("SET LOCAL search_path = tenant, public").execute(tx.bypass()).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *tx).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    let AtError::SessionSetting(why) = error else { panic!("{error:?}") };
    assert!(why.contains("search_path"), "{why}");
    assert_eq!(world.dump().await, before);

    // Another path is no obstacle as long as it finds the same barrier.
    world.behind("DROP TABLE tenant.pactum_barrier").await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query("SET LOCAL search_path = tenant, public").execute(tx.bypass()).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}
