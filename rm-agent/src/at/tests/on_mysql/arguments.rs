//! Arguments of every kind that the driver binds, and every way to run a query.

use futures_util::TryStreamExt;
use sqlx::MySql;
use sqlx::query::Query;

use super::world::World;
use crate::at::tests::world::take;
use crate::branch::Answer;

const SCHEMA: &str = "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, a TINYINT(1), b DOUBLE, c FLOAT, d VARBINARY(50), e VARCHAR(50), f DECIMAL(20,5), g BIT(8), h DATETIME(6), j JSON, k YEAR, m ENUM('x','y'), n SET('p','q')); \
         INSERT INTO t VALUES (1, 1, 1, 1, 'a', 'a', 1, 1, '2024-01-01', '{}', 2000, 'x', 'p'), (2, 0, 2, 2, 'b', 'b', 2, 2, '2024-01-01', '[]', 2001, 'y', 'q'), (18446744073709551615, 1, 1, 1, 'a', 'a', 1, 1, '2024-01-01', '{}', 2000, 'x', 'p'); \
         CREATE TABLE s (k VARCHAR(20) PRIMARY KEY, v INT UNIQUE); INSERT INTO s VALUES ('1', 1), ('01', 2), ('b', 3); \
         CREATE TABLE g (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, v INT) AUTO_INCREMENT = 9223372036854775810";

type Bound = Query<'static, MySql, sqlx::mysql::MySqlArguments>;

fn first() -> Vec<Vec<Bound>> {
    vec![
        vec![sqlx::query("UPDATE t SET a = ? WHERE id = ?").bind(false).bind(u64::MAX)],
        vec![sqlx::query("DELETE FROM t WHERE id >= ?").bind(u64::MAX - 1)],
        vec![sqlx::query("INSERT INTO t (id, a) VALUES (?, ?)").bind(u64::MAX - 5).bind(true)],
        vec![
            sqlx::query("INSERT INTO t (id, a) VALUES (?, ?) ON DUPLICATE KEY UPDATE a = ?")
                .bind(u64::MAX)
                .bind(true)
                .bind(7i8),
        ],
        vec![
            sqlx::query("REPLACE INTO t (id, a) VALUES (?, ?), (?, ?)")
                .bind(u64::MAX)
                .bind(true)
                .bind(77u64)
                .bind(false),
        ],
        vec![sqlx::query("INSERT INTO g (v) VALUES (?), (?)").bind(1).bind(2)],
        vec![sqlx::query("INSERT INTO g (v) SELECT a FROM t WHERE id < ?").bind(3u64)],
    ]
}

fn second() -> Vec<Vec<Bound>> {
    vec![
        vec![
            sqlx::query("UPDATE t SET b = ?, c = ? WHERE c = ?")
                .bind(0.1f32)
                .bind(0.1f32)
                .bind(1f32),
        ],
        vec![
            sqlx::query("UPDATE t SET b = ?, c = ? WHERE id = 1").bind(0.1f32).bind(0.1f64),
            sqlx::query("UPDATE t SET e = 'q' WHERE c = ?").bind(0.1f32),
        ],
        vec![
            sqlx::query(
                "UPDATE t SET a = ?, b = ?, c = ?, d = ?, e = ?, f = ?, g = ?, h = ? WHERE id = ?",
            )
            .bind(None::<bool>)
            .bind(None::<f64>)
            .bind(None::<f32>)
            .bind(None::<Vec<u8>>)
            .bind(None::<String>)
            .bind(None::<i64>)
            .bind(None::<u8>)
            .bind(None::<String>)
            .bind("1"),
        ],
        vec![
            sqlx::query(
                "UPDATE t SET a = ?, b = ?, f = ?, h = ?, k = ?, m = ?, n = ? WHERE id = ?",
            )
            .bind("1")
            .bind("1e3")
            .bind("3.14159")
            .bind("2020-02-29 01:02:03.456789")
            .bind("1999")
            .bind("y")
            .bind("p,q")
            .bind("2"),
        ],
        vec![
            sqlx::query("UPDATE t SET e = ?, g = ?, k = ?, m = ?, n = ? WHERE id = ?")
                .bind(5)
                .bind(255u8)
                .bind(70)
                .bind(2)
                .bind(3)
                .bind(2.0f64),
        ],
        vec![
            sqlx::query("UPDATE t SET d = ?, j = ? WHERE e = ?")
                .bind(&b"\x00\xff'\\"[..])
                .bind("{\"a\":  1}")
                .bind("a"),
        ],
        vec![sqlx::query("INSERT INTO s VALUES (?, ?)").bind(7).bind("77")],
    ]
}

fn third() -> Vec<Vec<Bound>> {
    vec![
        vec![
            sqlx::query("INSERT INTO s VALUES (?, ?) ON DUPLICATE KEY UPDATE v = v + 10")
                .bind(1)
                .bind(5),
        ],
        vec![sqlx::query("DELETE FROM s WHERE v >= ? ORDER BY v DESC LIMIT ?").bind("1").bind(2)],
        vec![
            sqlx::query("INSERT INTO s SELECT CONCAT(k, ?), v + ? FROM s WHERE v < ?")
                .bind("x")
                .bind(1000)
                .bind(3),
        ],
        vec![
            sqlx::query("INSERT INTO s SELECT CONCAT(k, ?), v + ? FROM s").bind(1).bind(1000.4f64),
        ],
        vec![
            sqlx::query("UPDATE t JOIN s ON t.e = s.k SET t.a = ?, t.b = s.v + ? WHERE s.v > ?")
                .bind(3)
                .bind(0.5f32)
                .bind(0),
        ],
        vec![sqlx::query("DELETE FROM t WHERE e = ?").bind("a").persistent(false)],
        vec![sqlx::query("UPDATE t SET a = ? WHERE a = ?").bind(9).bind(true)],
    ]
}

#[tokio::test]
async fn what_is_bound_is_undone() {
    let world = World::new(SCHEMA).await;
    let runs = first().into_iter().chain(second()).chain(third());
    for (number, queries) in runs.enumerate() {
        let before = world.dump().await;
        let context = world.context();
        let mut tx = world.at.begin_in(&context).await.unwrap();
        for query in queries {
            let done = query.execute(&mut *tx).await.map_err(take);
            done.unwrap_or_else(|error| panic!("run {number}: {error}"));
        }
        tx.commit().await.unwrap();
        assert_ne!(world.dump().await, before, "run {number} changed nothing");
        assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done], "run {number}");
        assert_eq!(world.dump().await, before, "run {number}");
    }
}

/// Some of them stop reading after the first row: the change is whole all the same.
#[tokio::test]
async fn every_way_to_run_a_query_is_undone() {
    let world = World::new(SCHEMA).await;
    let before = world.dump().await;
    let insert = "INSERT INTO s VALUES (?, 50), ('n2', 51) RETURNING k, v";
    for way in 0..7 {
        let context = world.context();
        let mut tx = world.at.begin_in(&context).await.unwrap();
        match way {
            0 => {
                let row = sqlx::query_as::<_, (String, i32)>(insert).bind("n1");
                assert_eq!(row.fetch_one(&mut *tx).await.unwrap(), ("n1".to_owned(), 50));
            }
            1 => {
                let row = sqlx::query(insert).bind("n1").fetch_optional(&mut *tx).await.unwrap();
                assert!(row.is_some());
            }
            2 => {
                let mut rows = sqlx::query(insert).bind("n1").fetch(&mut *tx);
                assert!(rows.try_next().await.unwrap().is_some());
            }
            3 => {
                let keys = sqlx::query_scalar::<_, String>(insert).bind("n1");
                assert_eq!(keys.fetch_all(&mut *tx).await.unwrap(), ["n1", "n2"]);
            }
            4 => {
                let update = sqlx::query("UPDATE s SET v = v + 10 WHERE k = 'b'");
                assert!(update.fetch_optional(&mut *tx).await.unwrap().is_none());
            }
            5 => {
                let raw = sqlx::raw_sql("INSERT INTO s VALUES ('q', 8) RETURNING k");
                assert_eq!(raw.fetch_all(&mut *tx).await.unwrap().len(), 1);
            }
            _ => {
                let mut rows = sqlx::query("SELECT * FROM s, s z, s y").fetch(&mut *tx);
                assert!(rows.try_next().await.unwrap().is_some());
                drop(rows);
                sqlx::query("DELETE FROM s WHERE k = 'b'").execute(&mut *tx).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
        assert_ne!(world.dump().await, before, "{way}");
        assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done], "{way}");
        assert_eq!(world.dump().await, before, "{way}");
    }
}
