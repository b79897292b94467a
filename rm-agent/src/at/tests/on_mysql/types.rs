//! Every built-in type with its ugly values comes back byte for byte. `docs/at-mysql.md` has the same
//! list.

use super::world::World;
use crate::at::tests::page;

/// A type, with its ugly values.
const TYPES: [(&str, &[&str]); 49] = [
    ("TINYINT", &["-128", "127", "0"]),
    ("TINYINT(1)", &["-128", "127", "TRUE"]),
    ("TINYINT(1) UNSIGNED", &["0", "200", "255"]),
    ("TINYINT UNSIGNED ZEROFILL", &["7", "255"]),
    ("SMALLINT", &["-32768", "32767"]),
    ("SMALLINT UNSIGNED", &["65535"]),
    ("MEDIUMINT", &["-8388608", "8388607"]),
    ("MEDIUMINT UNSIGNED ZEROFILL", &["16777215", "3"]),
    ("INT", &["-2147483648", "2147483647"]),
    ("INT UNSIGNED", &["4294967295"]),
    ("BIGINT", &["-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    ("BIGINT UNSIGNED", &["18446744073709551615", "9223372036854775808"]),
    (
        "DECIMAL(65,30)",
        &[
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.000000000000000000000000000001",
            "-0",
        ],
    ),
    ("DECIMAL(10,0) UNSIGNED ZEROFILL", &["42", "9999999999"]),
    ("FLOAT", &["1.1", "-3.402823e38", "1.175494e-38", "1e-45", "-0e0", "16777217"]),
    ("FLOAT(7,3)", &["1234.567", "-0.001"]),
    (
        "DOUBLE",
        &[
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "5e-324",
            "0.1e0 + 0.2e0",
            "-0e0",
            "1e0/3",
        ],
    ),
    ("BIT(1)", &["b'1'", "b'0'"]),
    (
        "BIT(64)",
        &[
            "b'1111111111111111111111111111111111111111111111111111111111111111'",
            "b'0'",
            "b'1000000000000000000000000000000000000000000000000000000000000000'",
        ],
    ),
    (
        "DATE",
        &[
            "'0000-00-00'",
            "'2024-00-00'",
            "'2024-02-00'",
            "'9999-12-31'",
            "'1000-01-01'",
            "'2023-02-31'",
        ],
    ),
    ("DATETIME", &["'0000-00-00 00:00:00'", "'2024-00-15 01:02:03'", "'9999-12-31 23:59:59'"]),
    ("DATETIME(6)", &["'2024-02-29 23:59:59.999999'", "'0000-00-00 00:00:00.000001'"]),
    (
        "TIMESTAMP NULL",
        &["'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"],
    ),
    ("TIMESTAMP(6) NULL", &["'2024-03-31 02:30:00.000001'"]),
    ("TIME", &["'838:59:59'", "'-838:59:59'", "'00:00:00'"]),
    ("TIME(6)", &["'838:59:59.000000'", "'-00:00:00.000001'"]),
    ("YEAR", &["0", "1901", "2155"]),
    ("CHAR(10)", &["''", "'a'", "'ü🦀'", "'it''s \\\\ \\\"?1\\\"'"]),
    ("CHAR(10) CHARACTER SET latin1", &["CONVERT(x'80818d8f9d9eff' USING latin1)", "'é'"]),
    ("VARCHAR(20)", &["''", "'a  '", "' a\\0b\\n'", "'NULL'", "'ünïcödé 🦀'"]),
    ("VARCHAR(20) CHARACTER SET utf16", &["'🦀ü'", "''"]),
    ("VARCHAR(20) CHARACTER SET ucs2", &["'ü'", "_ucs2 x'd800'", "_ucs2 x'0041'"]),
    ("VARCHAR(20) CHARACTER SET utf32 COLLATE utf32_bin", &["'🦀'", "'a '"]),
    ("VARCHAR(20) CHARACTER SET sjis", &["CONVERT(x'8160815c' USING sjis)", "'ｱ'"]),
    ("VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", &["'A '", "'ß'"]),
    ("TEXT", &["''", "REPEAT('äb', 3000)"]),
    ("LONGTEXT CHARACTER SET big5", &["CONVERT(x'a440' USING big5)"]),
    ("BINARY(5)", &["'a'", "x'00'", "x'ff00fe0000'"]),
    ("VARBINARY(20)", &["''", "'a  '", "x'00ff'", "x'e4'"]),
    ("BLOB", &["''", "x'00ff00'", "REPEAT(x'80', 5000)"]),
    ("ENUM('a','B','it''s','ü')", &["'a'", "0", "'ü'", "'it''s'"]),
    ("ENUM('','x')", &["0", "1", "2"]),
    ("SET('a','b','c')", &["''", "'a,c'", "7"]),
    ("SET('','y') CHARACTER SET ucs2", &["1", "3", "2", "0"]),
    ("JSON", &["'{\"b\": 1, \"a\": [1.0, null], \"a\": \"ü\"}'", "'null'", "'1e400'"]),
    (
        "GEOMETRY",
        &["ST_GeomFromText('POINT(1 2)', 4326)", "ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))')"],
    ),
    ("INET6", &["'::ffff:1.2.3.4'", "'::'"]),
    ("INET4", &["'1.2.3.4'"]),
    ("UUID", &["'123e4567-e89b-12d3-a456-426614174000'", "'00000000-0000-0000-0000-000000000000'"]),
];

/// What an account's own mode would refuse to write.
const TOLERANT: &str = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'";

#[tokio::test]
async fn every_value_of_every_type_survives_every_undo() {
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(index, (name, _))| format!("c{index} {name}")).collect();
    let schema = format!(
        "CREATE TABLE t (id INT PRIMARY KEY, note INT, {}) ROW_FORMAT=DYNAMIC",
        columns.join(", ")
    );
    let world = World::new(&schema).await;
    let rounds = TYPES.iter().map(|(_, values)| values.len()).max().unwrap();
    let mut rows = vec![vec!["NULL"; TYPES.len()]];
    for round in 0..rounds {
        rows.push(TYPES.iter().map(|(_, values)| values[round % values.len()]).collect());
    }
    for (id, row) in rows.iter().enumerate() {
        let insert = format!("INSERT INTO t VALUES ({id}, 0, {})", row.join(", "));
        world.behind(&format!("{TOLERANT}; {insert}; SET SESSION sql_mode = DEFAULT")).await;
    }
    world.undo(&["DELETE FROM t"]).await;
    world.undo(&["UPDATE t SET note = 1"]).await;
    let to_null: Vec<String> = (0..TYPES.len()).map(|index| format!("c{index} = NULL")).collect();
    world.undo(&[&format!("UPDATE t SET {}", to_null.join(", "))]).await;
    world.undo(&["INSERT INTO t (id) VALUES (100)"]).await;
    // From one row's values to another's, and a copy of all.
    let to_other: Vec<String> =
        (0..TYPES.len()).map(|index| format!("t.c{index} = o.c{index}")).collect();
    let copy = "INSERT INTO t SELECT id + 200, ";
    let names: Vec<String> = (0..TYPES.len()).map(|index| format!("c{index}")).collect();
    let copy = format!("{copy}note, {} FROM t RETURNING id", names.join(", "));
    let swap = format!("UPDATE t JOIN t o ON o.id = (t.id + 1) % 7 SET {}", to_other.join(", "));
    world.at_tolerant(&[&swap]).await;
    world.at_tolerant(&[&copy]).await;
    world.at_tolerant(&[&swap, "DELETE FROM t WHERE id = 2", &copy, "DELETE FROM t"]).await;
}

/// Each as the primary key of a table, and beside it as a unique one.
#[tokio::test]
async fn every_value_survives_as_a_key() {
    let world = World::new("CREATE TABLE x (id INT PRIMARY KEY)").await;
    for (index, (name, values)) in TYPES.iter().enumerate() {
        let no_key = ["TEXT", "BLOB", "JSON", "GEOMETRY"].iter().any(|word| name.contains(word));
        if no_key {
            continue;
        }
        let unknown = ["sjis", "big5"].iter().any(|word| name.contains(word));
        world
            .behind(&format!(
                "CREATE TABLE t{index} (k {} PRIMARY KEY, u {name} UNIQUE, n INT NOT NULL)",
                name.replace(" NULL", "")
            ))
            .await;
        if unknown {
            let refused = world
                .run(&world.context(), &[&format!("UPDATE t{index} SET n = 1")])
                .await
                .unwrap_err();
            assert!(refused.to_string().contains("collation"), "{name}: {refused}");
            continue;
        }
        for (number, value) in values.iter().enumerate() {
            let insert = format!("INSERT IGNORE INTO t{index} VALUES ({value}, {value}, {number})");
            world.behind(&format!("{TOLERANT}; {insert}; SET SESSION sql_mode = DEFAULT")).await;
        }
        let touch = format!("UPDATE t{index} SET n = n + 1, u = NULL");
        world.at_tolerant(&[&touch, &format!("DELETE FROM t{index}")]).await;
        // Sent with its keys.
        let delete = format!("DELETE FROM t{index} LIMIT 99");
        world.at_tolerant(&[&format!("{touch} LIMIT 99"), &delete]).await;
        world.behind(&format!("DROP TABLE t{index}")).await;
    }
}

#[tokio::test]
async fn every_kind_of_column_and_table_is_restored() {
    for (schema, statements) in [
        // What sets itself, what is computed, what is hidden.
        (
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT DEFAULT 7, \
             at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), \
             v INT AS (a * 2) VIRTUAL, s INT AS (a + 1) STORED, \
             h VARCHAR(9) INVISIBLE DEFAULT 'hid', e DATETIME DEFAULT NULL ON UPDATE NOW()); \
             INSERT INTO t (id, a, at, h, e) VALUES (1, 1, '2020-01-01', 'x', NULL), \
             (2, 2, '2021-01-01', 'y', '2000-01-01')",
            "UPDATE t SET a = a + 1; UPDATE t SET at = at, e = e, a = 9; DELETE FROM t WHERE id = 1; \
             INSERT INTO t (a) VALUES (5); INSERT INTO t VALUES (NULL, 6, NOW(), DEFAULT, DEFAULT, \
             NULL); UPDATE t SET h = 'z'",
        ),
        (
            "CREATE TABLE `or der` (`select` INT, `a?1` VARCHAR(20) COLLATE utf8mb4_unicode_ci, \
             `from` INT, PRIMARY KEY (`a?1`, `select`)); INSERT INTO `or der` VALUES (1, 'x', 2)",
            "UPDATE `or der` SET `from` = 3; DELETE FROM `or der`; INSERT INTO `or der` VALUES \
             (5, 'é', 6)",
        ),
        (
            "CREATE TABLE t (id INT, d DATE, x INT, PRIMARY KEY (id, d)) PARTITION BY RANGE \
             (YEAR(d)) (PARTITION a VALUES LESS THAN (2020), PARTITION b VALUES LESS THAN MAXVALUE); \
             INSERT INTO t VALUES (1, '2019-01-01', 1), (2, '2021-01-01', 2)",
            "UPDATE t SET x = x + 1; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3, \
             '2019-05-05', 3)",
        ),
        // A unique value that wanders over the rows: only one order of undoing works.
        (
            "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE); INSERT INTO t VALUES (1, 1), (2, 2), \
             (3, 3)",
            "UPDATE t SET u = u - 1; UPDATE t SET u = NULL WHERE id = 3; UPDATE t SET u = 2 WHERE \
             id = 1",
        ),
        (
            "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE); INSERT INTO t VALUES (1, 1), (2, 2)",
            "UPDATE t SET u = u + 1 ORDER BY u DESC; UPDATE t SET u = u + 1 ORDER BY id DESC",
        ),
        (
            "CREATE TABLE t (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES t (id)); \
             INSERT INTO t VALUES (1, 1), (2, 1), (3, 2)",
            "INSERT INTO t VALUES (8, NULL), (9, 8); DELETE FROM t WHERE id IN (2, 3) ORDER BY id DESC",
        ),
        // A table that refers to itself, and one that refers to another.
        (
            "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE t (id INT PRIMARY KEY, up INT, p INT, \
             FOREIGN KEY (up) REFERENCES t (id), FOREIGN KEY (p) REFERENCES p (id)); \
             INSERT INTO p VALUES (1), (2); INSERT INTO t VALUES (1, NULL, 1), (2, 1, 1), (3, 2, 2)",
            "DELETE FROM t WHERE id = 3; UPDATE t SET up = NULL; INSERT INTO p VALUES (7); INSERT \
             INTO t VALUES (8, NULL, 7); DELETE FROM t WHERE id = 2; DELETE FROM t WHERE id = 1; \
             DELETE FROM p WHERE id = 2",
        ),
    ] {
        let world = World::new(schema).await;
        let statements: Vec<&str> = statements.split(';').map(str::trim).collect();
        world.undo(&statements).await;
        for statement in &statements {
            world.undo(&[statement]).await;
            world.behind(statement).await;
        }
    }
}

#[test]
fn the_page_lists_the_types_that_are_tried() {
    page::check("at-mysql.md", "types mysql", |_| page::types(&TYPES));
}
