//! Arguments of every kind that the driver binds, and every way to run a query.

use futures_util::TryStreamExt;
use sqlx::Postgres;
use sqlx::query::Query;

use super::World;
use crate::at::tests::world::take;
use crate::branch::Answer;

const SCHEMA: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id bigint PRIMARY KEY, a boolean, b double precision, c real, d bytea, e text, f numeric(20,5), g smallint, h timestamptz, j jsonb, k int[], l text[], m mood, n uuid, o \"char\", p oid, q interval, r int GENERATED ALWAYS AS (g * 2) STORED); \
         INSERT INTO t VALUES (1, true, 1, 1, 'a', 'a', 1, 1, '2024-01-01', '{}', '{1,2}', '{a,NULL}', 'sad', gen_random_uuid(), 'x', 1, '1 day'), (2, false, 2, 2, 'b', 'b', 2, 2, '2024-01-01', '[]', NULL, NULL, 'ok', NULL, NULL, NULL, NULL); \
         CREATE TABLE s (k varchar(20) PRIMARY KEY, v int UNIQUE); INSERT INTO s VALUES ('1', 1), ('01', 2), ('b', 3); \
         CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, w text DEFAULT 'w')";

type Bound = Query<'static, Postgres, sqlx::postgres::PgArguments>;

fn first() -> Vec<Vec<Bound>> {
    vec![
    vec![
        sqlx::query("UPDATE t SET a = NOT a, k = $1 WHERE id = ANY($1)").bind(vec![1i32, 2]),
    ],
    vec![
        sqlx::query("DELETE FROM t WHERE id = ANY($1::bigint[]) AND e = ANY($2)").bind(vec![1i64, 2]).bind(vec![Some("a".to_owned()), None]),
    ],
    vec![
        sqlx::query("UPDATE t SET b = $1, c = $1, f = $1::numeric WHERE b <= $1 OR c = $1").bind(2.5f64),
    ],
    vec![
        sqlx::query("UPDATE t SET e = $3 || $1 WHERE id = $2").bind("x").bind(1i64).bind("y"),
    ],
    vec![
        sqlx::query("UPDATE t SET b = $1, c = $1").bind(0.1f32),
    ],
    vec![
        sqlx::query("UPDATE t SET a = $1, b = $2, c = $3, d = $4, e = $5, g = $6, k = $7, l = $8 WHERE id = $9").bind(None::<bool>).bind(None::<f64>).bind(None::<f32>).bind(None::<Vec<u8>>).bind(None::<String>).bind(None::<i16>).bind(None::<Vec<i32>>).bind(None::<Vec<String>>).bind(1i16),
    ],
    vec![
        sqlx::query("UPDATE t SET f = $1::text::numeric, h = $2::timestamptz, j = $3::jsonb, m = $4::mood, n = $5::uuid, q = $6::interval, k = $7::int[] WHERE id = $8::text::bigint").bind("3.14159").bind("2020-02-29 01:02:03.456789+05").bind("{\"a\": [1.00]}").bind("ok").bind("123e4567-e89b-12d3-a456-426614174000").bind("1 mon -1 day").bind("[0:1]={4,5}").bind("1"),
    ],
    ]
}

fn second() -> Vec<Vec<Bound>> {
    vec![
    vec![
        sqlx::query("UPDATE t SET o = $1, p = $2 WHERE id = 1").bind(-5i8).bind(sqlx::postgres::types::Oid(4_000_000_000)),
    ],
    vec![
        sqlx::query("UPDATE t SET g = $1 WHERE id = $2 RETURNING g + $3, $4::text, *").bind(7i16).bind(1i64).bind(5i32).bind("z"),
    ],
    vec![
        sqlx::query("INSERT INTO s VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v + $3 WHERE s.v < $4").bind("b").bind(50).bind(7).bind(100),
    ],
    vec![
        sqlx::query("INSERT INTO s (v, k) VALUES ($2, $1), ($4, $3) ON CONFLICT (v) DO UPDATE SET v = $5 + s.v").bind("new").bind(3).bind("new2").bind(1).bind(100),
    ],
    vec![
        sqlx::query("INSERT INTO s SELECT x, $2 + ord::int FROM unnest($1) WITH ORDINALITY q(x, ord) ON CONFLICT (k) DO UPDATE SET v = excluded.v").bind(vec!["1".to_owned(), "b".to_owned(), "q".to_owned()]).bind(500),
    ],
    vec![
        sqlx::query("INSERT INTO s SELECT * FROM unnest($1::text[], $2::int[])").bind(vec!["x1", "x2"]).bind(vec![91, 92]),
    ],
    vec![
        sqlx::query("INSERT INTO i (v) VALUES ($1), ($1)").bind(2),
        sqlx::query("INSERT INTO i (id, v) OVERRIDING SYSTEM VALUE VALUES ($1, $1)").bind(2000),
        sqlx::query("UPDATE i SET v = 4, w = DEFAULT"),
        sqlx::query("DELETE FROM i WHERE id = 2000"),
    ],
    ]
}

fn third() -> Vec<Vec<Bound>> {
    vec![
    vec![
        sqlx::query("INSERT INTO i DEFAULT VALUES RETURNING *, id"),
    ],
    vec![
        sqlx::query("UPDATE t SET a = $1, g = s.v::int2 + $2 FROM s WHERE s.k = t.e AND s.v >= $3").bind(false).bind(1i16).bind(0),
    ],
    vec![
        sqlx::query("DELETE FROM t WHERE e = $1").bind("a").persistent(false),
    ],
    vec![
        sqlx::query("UPDATE t SET (e, b) = (SELECT k, v FROM s WHERE s.v = $1) WHERE (id, e) IN (($2, $3))").bind(3).bind(1i64).bind("a"),
    ],
    vec![
        sqlx::query("DELETE FROM t z WHERE id = $1 RETURNING z, $2::int").bind(1i64).bind(5),
    ],
    vec![
        sqlx::query("WITH q AS (SELECT $1::bigint AS id) UPDATE t SET e = $2 WHERE id IN (SELECT id FROM q)").bind(1i64).bind("c"),
    ],
    vec![
        sqlx::query("UPDATE t SET j = j || jsonb_build_object('a?', $1::int) WHERE j @> '{}' AND NOT j ? 'a'").bind(1),
    ],
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
    let insert = "INSERT INTO s VALUES ($1, 50), ('n2', 51) RETURNING k, v";
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
