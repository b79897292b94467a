//! Which locks a branch takes on PostgreSQL: as the database compares.

use super::World;
use crate::at::AtError;
use crate::branch::Answer;

/// Takes no case and no accents for a difference.
const LOOSE: &str = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', \
     deterministic = false);";

/// The locks of each list of statements, as a branch of its own, one after another.
async fn locks_of<const N: usize>(schema: &str, branches: [&[&str]; N]) -> [Vec<String>; N] {
    let world = World::new(schema).await;
    let mut found = branches.map(|_| Vec::new());
    for (statements, found) in branches.iter().zip(&mut found) {
        let context = world.context();
        world.run(&context, statements).await.unwrap();
        *found = world.fake.locks(context.xid());
        assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    }
    found
}

#[tokio::test]
async fn rows_are_locked_by_what_their_key_equals() {
    let schema = format!(
        "{LOOSE} CREATE TABLE n (k numeric PRIMARY KEY, x int); \
         INSERT INTO n VALUES (1.0, 1), (1.5000, 1), ('NaN', 1); \
         CREATE TABLE c (k char(5) PRIMARY KEY, x int); INSERT INTO c VALUES ('ab', 1); \
         CREATE TABLE b (k bpchar PRIMARY KEY, x int); INSERT INTO b VALUES ('ab   ', 1); \
         CREATE TABLE p (a int, b text, x int, PRIMARY KEY (b, a)); INSERT INTO p VALUES (1, 'z', 1); \
         CREATE TABLE d (k date PRIMARY KEY, u uuid, x int); INSERT INTO d VALUES ('2024-01-01')"
    );
    let [n, c, b, p, d] = locks_of(
        &schema,
        [
            &["UPDATE n SET x = 2"],
            &["UPDATE c SET x = 2"],
            &["UPDATE b SET x = 2"],
            &["UPDATE p SET x = 2"],
            &["UPDATE d SET x = 2"],
        ],
    )
    .await;
    assert_eq!(n, ["public.n[\"1\"]", "public.n[\"1.5\"]", "public.n[\"NaN\"]"]);
    assert_eq!(c, ["public.c[\"ab\"]"]);
    assert_eq!(b, ["public.b[\"ab\"]"]);
    assert_eq!(p, ["public.p[\"z\", \"1\"]"]);
    assert_eq!(d, ["public.d[\"2024-01-01\"]"]);
}

/// Equal values that look different take one lock, whatever the database means by equal.
#[tokio::test]
async fn equal_keys_that_look_different_are_one_key() {
    const SAME: [(&str, &str, &str, &str); 14] = [
        ("numeric", "1.0", "1.000", "2"),
        ("double precision", "'-0'", "0", "1"),
        ("real", "'NaN'", "'nan'", "1"),
        ("text COLLATE loose", "'Ähre'", "'AHRE'", "'b'"),
        ("varchar(9) COLLATE loose", "'é'", "'E'", "'b'"),
        ("char(4) COLLATE loose", "'é'", "'E'", "'b'"),
        ("char(4)", "'a'", "'a  '", "'b'"),
        ("bpchar", "'a'", "'a  '", "'b'"),
        ("interval", "'1 day'", "'24:00'", "'25:00'"),
        ("jsonb", "'1.0'", "'1.00'", "'2'"),
        ("numeric[]", "'{1.0}'", "'{1.00}'", "'{2}'"),
        ("numrange", "'[1.0,2]'", "'[1,2.0]'", "'[1,3]'"),
        ("timestamptz", "'2024-01-01 00:00Z'", "'2024-01-01 01:00+01'", "'2024-01-01 00:00-01'"),
        ("inet", "'1.2.3.4'", "'1.2.3.4/32'", "'1.2.3.4/31'"),
    ];
    let tables = SAME.iter().enumerate().map(|(number, (declared, one, _, _))| {
        format!(
            "CREATE TABLE t{number} (k {declared} PRIMARY KEY, x int); \
             CREATE TABLE u{number} (id int PRIMARY KEY, k {declared} UNIQUE); \
             INSERT INTO t{number} VALUES ({one}, 1); INSERT INTO u{number} VALUES (1, {one});"
        )
    });
    let world = World::new(&format!("{LOOSE} {}", tables.collect::<String>())).await;
    for (number, (declared, _, other, third)) in SAME.iter().enumerate() {
        let holder = world.context();
        let delete = [format!("DELETE FROM t{number}"), format!("DELETE FROM u{number}")];
        world.run(&holder, &[&delete[0], &delete[1]]).await.unwrap();
        let insert = |value: &str| {
            [
                format!("INSERT INTO t{number} VALUES ({value}, 2)"),
                format!("INSERT INTO u{number} VALUES (2, {value})"),
            ]
        };
        for statement in insert(other) {
            let error = world.run(&world.context(), &[&statement]).await.unwrap_err();
            assert!(matches!(error, AtError::LockConflict { .. }), "{declared}: {error}");
        }
        let [row, unique] = insert(third);
        world.run(&world.context(), &[&row, &unique]).await.unwrap();
        assert_eq!(world.fake.roll_back(holder.xid()).await, vec![Answer::Done], "{declared}");
    }
}

#[tokio::test]
async fn unique_values_are_locked_when_they_come_or_go() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, mail text, a int, b int, UNIQUE (b, a)); \
         CREATE UNIQUE INDEX \"By Mail\" ON t (mail) INCLUDE (a); \
         CREATE UNIQUE INDEX part ON t (b) WHERE a > 5; INSERT INTO t VALUES (1, 'x', 1, 2)";
    let [same, moved, gone, nulls] = locks_of(
        schema,
        [
            &["UPDATE t SET a = a"],
            &["UPDATE t SET mail = 'z'"],
            &["DELETE FROM t"],
            &["INSERT INTO t VALUES (2, NULL, 1, NULL)"],
        ],
    )
    .await;
    assert_eq!(same, ["public.t[\"1\"]"]);
    assert_eq!(moved, ["public.t.By Mail[\"x\"]", "public.t.By Mail[\"z\"]", "public.t[\"1\"]"]);
    // A partial index is locked as if it were full.
    assert_eq!(
        gone,
        [
            "public.t.By Mail[\"x\"]",
            "public.t.part[\"2\"]",
            "public.t.t_b_a_key[\"2\", \"1\"]",
            "public.t[\"1\"]"
        ]
    );
    assert_eq!(nulls, ["public.t[\"2\"]"]);
}

#[tokio::test]
async fn a_key_that_cannot_be_named_locks_the_table() {
    for index in [
        "CREATE UNIQUE INDEX i ON t (lower(m))",
        "CREATE UNIQUE INDEX i ON t (m) NULLS NOT DISTINCT",
        "ALTER TABLE t ADD EXCLUDE USING gist (r WITH &&)",
        "CREATE UNIQUE INDEX i ON t (m COLLATE loose)",
        "CREATE UNIQUE INDEX i ON t (g)",
    ] {
        let schema = format!(
            "{LOOSE} CREATE TYPE pair AS (a int, b numeric); \
             CREATE TABLE t (id int PRIMARY KEY, m text, r int4range, g pair); {index}"
        );
        let [locks] =
            locks_of(&schema, [&["INSERT INTO t VALUES (1, 'A', '[1,2)', '(1,2)')"]]).await;
        assert_eq!(locks, ["public.t.*"], "{index}");
    }
    let pattern = "CREATE TABLE t (id int PRIMARY KEY, m text); \
                   CREATE UNIQUE INDEX i ON t (m text_pattern_ops)";
    let [locks] = locks_of(pattern, [&["INSERT INTO t VALUES (1, 'A')"]]).await;
    assert_eq!(locks, ["public.t.i[\"A\"]", "public.t[\"1\"]"]);
}

#[tokio::test]
async fn parents_are_shared_with_all_who_refer_to_them() {
    let schema = format!(
        "{LOOSE} CREATE SCHEMA \"Far\"; \
         CREATE TABLE \"Far\".parent (id bigint PRIMARY KEY, code varchar(9) UNIQUE, a int, b int, \
         loose text COLLATE loose UNIQUE, n numeric UNIQUE, UNIQUE (b, a)); \
         INSERT INTO \"Far\".parent VALUES (1, 'A', 1, 2, 'é', 1.0); \
         CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES \"Far\".parent, \
         c text REFERENCES \"Far\".parent (code), a int, b int, \
         l text COLLATE loose REFERENCES \"Far\".parent (loose), \
         n numeric(5, 2) REFERENCES \"Far\".parent (n), m int REFERENCES \"Far\".parent (n), \
         FOREIGN KEY (a, b) REFERENCES \"Far\".parent (a, b)); \
         INSERT INTO child VALUES (1)"
    );
    let set = |what: &str| format!("UPDATE child SET {what}");
    let sets = ["p = 1", "c = 'A'", "a = 1, b = 2", "n = 1", "m = 1", "l = 'E'"].map(set);
    let [p, c, ab, n, m, l] = locks_of(
        &schema,
        [&[&sets[0]], &[&sets[1]], &[&sets[2]], &[&sets[3]], &[&sets[4]], &[&sets[5]]],
    )
    .await;
    assert_eq!(p, ["\"Far\".parent[\"1\"] shared", "public.child[\"1\"]"]);
    assert_eq!(c, ["\"Far\".parent.parent_code_key[\"A\"] shared", "public.child[\"1\"]"]);
    assert_eq!(ab, ["\"Far\".parent.parent_b_a_key[\"2\", \"1\"] shared", "public.child[\"1\"]"]);
    assert_eq!(n, ["\"Far\".parent.parent_n_key[\"1\"] shared", "public.child[\"1\"]"]);
    // Of another type than what it refers to.
    assert_eq!(m, ["\"Far\".parent.* shared", "public.child[\"1\"]"]);
    assert!(l[0].starts_with("\"Far\".parent.parent_loose_key["), "{l:?}");

    // And the same key is what the parent's own change takes.
    let world = World::new(&schema).await;
    let holder = world.context();
    world.run(&holder, &["UPDATE child SET l = 'E', c = 'A', n = 1.00"]).await.unwrap();
    for column in ["loose = 'x'", "code = 'x'", "n = 5"] {
        let other = world.context();
        let change = format!("UPDATE \"Far\".parent SET {column}");
        let child = "UPDATE child SET l = NULL, c = NULL, n = NULL";
        // The database would refuse it first while the child still refers.
        world.behind(child).await;
        let error = world.run(&other, &[&change]).await.unwrap_err();
        assert!(matches!(error, AtError::LockConflict { .. }), "{column}: {error}");
    }
}

/// The hash of an array leaves out its bounds, by which the database tells two keys apart.
#[tokio::test]
async fn arrays_with_other_bounds_are_other_rows() {
    let world = World::new(
        "CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN pair AS int[]; \
         CREATE TABLE a (k int[] PRIMARY KEY, n int); \
         INSERT INTO a VALUES ('{1,2}', 1), ('[0:1]={1,2}', 2), ('{{1,2}}', 3), ('{}', 4); \
         CREATE TABLE m (k mood[] PRIMARY KEY, p pair UNIQUE); \
         INSERT INTO m VALUES ('{ok}', '{1}'), ('[7:7]={ok}', '[0:0]={1}'), ('{bad}', NULL)",
    )
    .await;
    for statement in [
        "UPDATE a SET n = n + 1",
        "UPDATE a SET n = s.n FROM (SELECT 9 AS n) s",
        "DELETE FROM a",
        "INSERT INTO a VALUES ('[5:6]={1,2}', 5), ('[0:1]={1,2}', 6) ON CONFLICT (k) DO UPDATE SET n = 7",
        "UPDATE m SET p = array_append(p, 3)",
        "DELETE FROM m",
    ] {
        world.undo(&[statement]).await;
    }
}
