//! Texts made to be misread, and any text at all.

use proptest::prelude::*;

use super::super::scan::scan;
use super::*;

const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::Mysql];

/// What a database would take for code, by our own lexical rules: the rest is blanked.
fn code(sql: &str, kind: Kind) -> String {
    let mut bytes = sql.as_bytes().to_vec();
    for opaque in scan(sql, kind).unwrap() {
        bytes[opaque.place].fill(b'~');
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn strings_and_comments_end_where_the_database_ends_them() {
    for (kind, sql, expected) in [
        (Kind::Sqlite, r"'a\' b 'c'", r"~~~~ b ~~~"),
        (Kind::Sqlite, "[a]]b] \"c\"\"d\" `e``f`", "~~~]b] ~~~~~~ ~~~~~~"),
        (Kind::Sqlite, "a --b\nc /* /* */ d */", "a ~~~\nc ~~~~~~~~ d */"),
        (Kind::Sqlite, "a --b\rc\nd", "a ~~~~~\nd"),
        (Kind::Postgres, r"'a\' b 'c'", r"~~~~ b ~~~"),
        (Kind::Postgres, r"E'a\' b' c", r"E~~~~~~~ c"),
        (Kind::Postgres, r"e'a\\' b", r"e~~~~~ b"),
        (Kind::Postgres, r"some'a\' b", r"some~~~~ b"),
        (Kind::Postgres, r"U&'a\' b", r"U&~~~~ b"),
        (Kind::Postgres, "$$a'$$ b $x$ $$ $x$ c", "~~~~~~ b ~~~~~~~~~~ c"),
        (Kind::Postgres, "$1 a$b$c $2", "$1 a$b$c $2"),
        (Kind::Postgres, "a /* /* */ b */ c", "a ~~~~~~~~~~~~~ c"),
        (Kind::Postgres, "a --b\rc", "a ~~~\rc"),
        (Kind::Mysql, r#"'a\' b' "c\" d" e"#, r#"~~~~~~~ ~~~~~~~ e"#),
        (Kind::Mysql, r"`a\` b", r"~~~~ b"),
        (Kind::Mysql, "1--2 -- 3\n4 --\t5\n6 --", "1--2 ~~~~\n4 ~~~~\n6 ~~"),
        (Kind::Mysql, "a # b ' \nc", "a ~~~~~~\nc"),
        (Kind::Mysql, "a /* /* */ b */", "a ~~~~~~~~ b */"),
    ] {
        assert_eq!(code(sql, kind), expected, "{sql}");
    }
}

#[test]
fn a_statement_hidden_behind_quotes_is_seen_or_refused() {
    for (kind, sql) in [
        // The parser's tokenizer takes a backslash in these for an escape.
        (Kind::Postgres, r"SELECT x'\' FROM t; DELETE FROM t --'"),
        (Kind::Sqlite, r"SELECT x'\' FROM t; DELETE FROM t --'"),
        (Kind::Sqlite, r"SELECT N'\' FROM t; DELETE FROM t --'"),
        // A line comment that ends at a return.
        (Kind::Postgres, "SELECT 1 -- x\r; DELETE FROM t"),
        // A string with escapes that goes on in the next line.
        (Kind::Postgres, "SELECT E'a'\n'\\'; DELETE FROM t --'"),
        (Kind::Postgres, "SELECT E'a' -- x\n'\\'; DELETE FROM t --'"),
        // No comment without a blank.
        (Kind::Mysql, "SELECT 1--1; DELETE FROM t"),
        // Code in a comment.
        (Kind::Mysql, "SELECT 1 /*! ; DELETE FROM t */"),
        (Kind::Mysql, "SELECT 1 /*!50000 INTO @x */ FROM t"),
        (Kind::Mysql, "UPDATE t SET a = 1 /*M! WHERE b */"),
        // Comments do not nest.
        (Kind::Mysql, "SELECT 1 /* /* */ ; DELETE FROM t -- */"),
        (Kind::Sqlite, "SELECT 1 /* /* */ ; DELETE FROM t -- */"),
        (Kind::Mysql, r"SELECT 'a\\'; DELETE FROM t -- '"),
        (Kind::Mysql, "SELECT \"a\\\\\"; DELETE FROM t -- \""),
        (Kind::Sqlite, "SELECT [a'] ; DELETE FROM t --']"),
        (Kind::Postgres, "SELECT $a$ $a$ ; DELETE FROM t -- $a$"),
        (Kind::Postgres, "SELECT 'a' ; DELETE FROM t"),
        (Kind::Sqlite, "SELECT 1 \0; DELETE FROM t"),
        // Never closed.
        (Kind::Sqlite, "SELECT 1 /* "),
        (Kind::Postgres, "SELECT $$ "),
        (Kind::Mysql, "SELECT 'a\\'"),
    ] {
        let shown = show(sql, kind);
        assert!(shown.starts_with("refused "), "{kind:?} {sql:?}: {shown}");
    }
}

#[test]
fn words_in_strings_and_comments_are_no_clauses() {
    for kind in KINDS {
        let shown = show(
            "UPDATE t SET a = ' WHERE ' /* WHERE ' */ -- RETURNING\n WHERE b = 'FROM u' -- LIMIT 1",
            kind,
        );
        let shown = shown.replace("\"t\"", "t");
        assert_eq!(
            shown, "t as t: update [a] {t} set {a = ' WHERE '} where {b = 'FROM u'}",
            "{kind:?}"
        );
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for kind in KINDS {
        let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
        let shown = show(&format!("UPDATE t SET a = ({deep})"), kind);
        assert!(shown.starts_with("refused "), "{shown}");
    }
}

/// Pieces that statements are made of, good and bad.
fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "INSERT",
        "INTO",
        "REPLACE",
        "UPDATE",
        "DELETE",
        "FROM",
        "SELECT",
        "WITH",
        "VALUES",
        "SET",
        "t",
        "u AS x",
        "a",
        "b",
        "*",
        "(",
        ")",
        ",",
        ".",
        "=",
        "?",
        "?2",
        "$1",
        ":a",
        "@b",
        "1",
        "'s'",
        "'",
        "\"q\"",
        "\"",
        "`",
        "[",
        "]",
        "E'\\''",
        "\\",
        "$$",
        "$a$",
        "--",
        "-- ",
        "/*",
        "*/",
        "/*!",
        "#",
        "\n",
        "\r",
        ";",
        "WHERE",
        "AND",
        "ORDER BY",
        "LIMIT",
        "RETURNING",
        "ON CONFLICT",
        "DO UPDATE",
        "DO NOTHING",
        "ON DUPLICATE KEY UPDATE",
        "JOIN",
        "LEFT JOIN",
        "ON",
        "USING",
        "FOR UPDATE",
        "OF",
        "SKIP LOCKED",
        "DEFAULT",
        "OR IGNORE",
        "IGNORE",
        "ONLY",
        "EXPLAIN",
        "ANALYZE",
        "INTO x",
        "UNION",
        "ü",
        "\u{0}",
        "ARRAY[",
        "x'00'",
        "N'\\'",
        "U&'\\'",
        "LATERAL",
        "AS",
        "true",
        "||",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..24), junk in ".{0,20}") {
        let text = format!("{}{junk}", pieces.join(" "));
        for kind in KINDS {
            let _ = plan(&text, kind);
            let _ = plan_locking_read(&text, kind);
        }
    }
}

/// A statement with a parameter wherever there may be one, and how many each part holds.
fn update() -> impl Strategy<Value = (String, [usize; 6])> {
    (0..3_usize, 1..4_usize, 0..3_usize, 0..2_usize, 0..2_usize, proptest::bool::ANY).prop_map(
        |(with, set, condition, order, limit, comments)| {
            let noise = if comments { " /* ? */ -- ?\n" } else { " " };
            let list = |count: usize| vec!["?"; count].join(" + ");
            let mut sql = String::new();
            if with > 0 {
                sql.push_str(&format!("WITH n AS (SELECT {}){noise}", list(with)));
            }
            sql.push_str(&format!("UPDATE t{noise}SET a = '?' + {}", list(set)));
            if condition > 0 {
                sql.push_str(&format!("{noise}WHERE b = {}", list(condition)));
            }
            if order > 0 {
                sql.push_str(&format!("{noise}ORDER BY c + {}", list(order)));
            }
            if limit > 0 {
                sql.push_str(&format!("{noise}LIMIT {}", list(limit)));
            }
            (sql, [with, set, condition, order, limit, with + set + condition + order + limit])
        },
    )
}

proptest! {
    #[test]
    fn each_parameter_is_in_exactly_one_part((sql, counts) in update()) {
        let Plan::Change(change) = plan(&sql, Kind::Mysql).unwrap() else { panic!("{sql}") };
        let ChangeKind::Update(Update { assigned: _, rows }) = &change.kind else { panic!("{sql}") };
        let count = |part: &Option<Part>| part.as_ref().map_or(0, |part| part.parameters);
        let found = [
            count(&rows.with),
            count(&rows.set),
            count(&rows.condition),
            count(&rows.order),
            count(&rows.limit),
            change.text.parameters,
        ];
        prop_assert_eq!(found, counts);
        prop_assert_eq!(rows.from.parameters + rows.skipped, 0);
    }
}
