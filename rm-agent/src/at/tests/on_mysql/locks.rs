//! Which locks a branch takes: what the database holds equal is one key.

use std::collections::HashMap;

use super::world::World;
use crate::at::AtError;
use crate::branch::Answer;

async fn locks_of(world: &World, statements: &[&str]) -> Vec<String> {
    let context = world.context();
    let run = world.run(&context, statements).await;
    run.unwrap_or_else(|error| panic!("{statements:?}: {error}"));
    let mut locks = world.fake.locks(context.xid());
    locks.dedup();
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    locks
}

const TEXTS: [&str; 14] =
    ["a", "A", "a ", "á", "ä", "ae", "æ", "ss", "ß", "a\\t", "", " ", "🦀", "a\u{a0}"];
const COLLATIONS: [(&str, &str); 12] = [
    ("utf8mb4", "utf8mb4_general_ci"),
    ("utf8mb4", "utf8mb4_unicode_ci"),
    ("utf8mb4", "utf8mb4_unicode_520_ci"),
    ("utf8mb4", "utf8mb4_bin"),
    ("utf8mb4", "utf8mb4_nopad_bin"),
    ("utf8mb4", "utf8mb4_unicode_nopad_ci"),
    ("utf8mb4", "utf8mb4_german2_ci"),
    ("utf8mb4", "utf8mb4_thai_520_w2"),
    ("utf8mb4", "uca1400_ai_ci"),
    ("utf8mb4", "uca1400_as_cs"),
    ("utf8mb3", "utf8mb3_swedish_ci"),
    ("utf16", "utf16_unicode_ci"),
];

/// The database decides what is equal, pair by pair, and the keys must agree with it.
#[tokio::test]
async fn equal_texts_are_one_key_and_others_are_not() {
    let world = World::new("CREATE TABLE x (id INT PRIMARY KEY)").await;
    for (index, (charset, collation)) in COLLATIONS.iter().enumerate() {
        let column = format!("VARCHAR(10) CHARACTER SET {charset} COLLATE {collation} NOT NULL");
        world
            .behind(&format!("CREATE TABLE t{index} (k {column} PRIMARY KEY, u {column} UNIQUE)"))
            .await;
        let texts = TEXTS.iter().filter(|text| **text != "🦀" || *charset != "utf8mb3");
        let mut keys = HashMap::new();
        for text in texts {
            let insert = format!("INSERT INTO t{index} VALUES ('{text}', '{text}')");
            keys.insert(*text, locks_of(&world, &[&insert]).await);
        }
        let pairs: Vec<(&str, &str)> =
            keys.keys().flat_map(|one| keys.keys().map(|other| (*one, *other))).collect();
        let converted =
            |text: &str| format!("CONVERT('{text}' USING {charset}) COLLATE {collation}");
        let asked =
            pairs.iter().map(|(one, other)| format!("{} = {}", converted(one), converted(other)));
        let asked = asked.collect::<Vec<_>>().join(", ");
        let equal = world.query(&format!("SELECT {asked}")).await;
        for (place, (one, other)) in pairs.iter().enumerate() {
            assert_eq!(keys[one].len(), 2, "{collation}: {:?}", keys[one]);
            let equal = equal[0][place].as_integer() == Some(1);
            assert_eq!(keys[one] == keys[other], equal, "{collation}: {one:?} and {other:?}");
        }
    }
}

#[tokio::test]
async fn keys_are_named_by_what_they_compare() {
    let world = World::new(
        "CREATE TABLE Num (id BIGINT UNSIGNED, d DECIMAL(10,2), f FLOAT, PRIMARY KEY (d, id), \
         UNIQUE KEY By_F (f)); \
         CREATE TABLE kinds (e ENUM('a','b'), y YEAR, b BIT(8), t DATETIME(3), r VARBINARY(5), \
         x INT, PRIMARY KEY (e, y, b, t, r)); \
         CREATE TABLE part (id INT PRIMARY KEY, t TEXT, b BLOB, UNIQUE KEY (t(3)), \
         UNIQUE KEY short (b(2))); \
         CREATE TABLE odd (id INT PRIMARY KEY, t VARCHAR(9) CHARACTER SET big5 UNIQUE); \
         INSERT INTO kinds VALUES ('b', 2024, 255, '2024-01-02 03:04:05.678', x'00ff', 1)",
    )
    .await;
    for (statement, expected) in [
        (
            "INSERT INTO Num VALUES (18446744073709551615, 1.5, -0e0)",
            vec!["Num.by_f[0]", "Num[\"1.50\", 18446744073709551615]"],
        ),
        (
            "UPDATE kinds SET x = 2",
            vec!["kinds[\"b\", 2024, 255, \"2024-01-02 03:04:05.678\", [0, 255]]"],
        ),
        (
            "INSERT INTO part VALUES (1, 'abcdef', x'414243')",
            vec!["part.short[[65, 66]]", "part.t[\"004100420043\"]", "part[1]"],
        ),
        // NULLs are equal to nothing.
        ("INSERT INTO part VALUES (1, NULL, NULL)", vec!["part[1]"]),
        // What such a collation holds equal is not known.
        ("INSERT INTO odd VALUES (1, 'a')", vec!["odd.*"]),
    ] {
        assert_eq!(locks_of(&world, &[statement]).await, expected, "{statement}");
    }
}

#[tokio::test]
async fn parents_are_shared_with_all_who_refer_to_them() {
    let world = World::new(
        "CREATE TABLE parent (id INT PRIMARY KEY, code VARCHAR(9) COLLATE utf8mb4_unicode_ci \
         UNIQUE, n INT, KEY (n)); \
         CREATE TABLE child (id INT PRIMARY KEY, p INT, c VARCHAR(9) COLLATE utf8mb4_unicode_ci, \
         n INT, FOREIGN KEY (p) REFERENCES parent (id), \
         FOREIGN KEY (c) REFERENCES parent (code), FOREIGN KEY (n) REFERENCES parent (n)); \
         INSERT INTO parent VALUES (1, 'A', 1), (2, 'B', 2); \
         INSERT INTO child VALUES (1, 1, 'a', NULL)",
    )
    .await;
    let weight = world.value("SELECT HEX(WEIGHT_STRING('b' COLLATE utf8mb4_unicode_ci))").await;
    let weight = weight.trim_matches('\'');
    let old = world.value("SELECT HEX(WEIGHT_STRING('a' COLLATE utf8mb4_unicode_ci))").await;
    let old = old.trim_matches('\'');
    assert_eq!(
        locks_of(&world, &["UPDATE child SET p = 2"]).await,
        ["child[1]", "parent[1] shared", "parent[2] shared"]
    );
    assert_eq!(
        locks_of(&world, &["UPDATE child SET c = 'b'"]).await,
        [
            "child[1]".to_owned(),
            format!("parent.code[\"{old}\"] shared"),
            format!("parent.code[\"{weight}\"] shared")
        ]
    );
    // No unique key: any row of the parent may be the one.
    assert_eq!(
        locks_of(&world, &["UPDATE child SET n = 2"]).await,
        ["child[1]", "parent.* shared"]
    );
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["INSERT INTO parent VALUES (3, 'C', 3)"]).await.unwrap();
    let refused = world.run(&second, &["UPDATE child SET p = 3"]).await;
    assert!(matches!(refused, Err(AtError::LockConflict { .. })), "a child of a new parent");
    assert_eq!(
        locks_of(&world, &["UPDATE parent SET code = 'z' WHERE id = 2"]).await.len(),
        3,
        "the old value, the new one, the row"
    );
}

/// A rollback would find its value taken, by a text that looks different.
#[tokio::test]
async fn an_equal_text_waits_for_the_decision() {
    let world = World::new(
        "CREATE TABLE t (id INT PRIMARY KEY, mail VARCHAR(40) COLLATE utf8mb4_general_ci UNIQUE); \
         INSERT INTO t VALUES (1, 'é')",
    )
    .await;
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["DELETE FROM t WHERE id = 1"]).await.unwrap();
    let refused = world.run(&second, &["INSERT INTO t VALUES (2, 'E ')"]).await;
    let Err(AtError::LockConflict { holder, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(holder, first.xid().to_string());
    assert_eq!(world.fake.roll_back(first.xid()).await, vec![Answer::Done]);
}
