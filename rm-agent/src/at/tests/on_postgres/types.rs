//! Every built-in type, with its ugly values, comes back byte for byte: through INSERT, UPDATE and
//! DELETE. `docs/at.md` has the same list.

use super::World;

/// Kinds of types that users make.
const MADE: &str = "CREATE SCHEMA \"Other Place\"; \
     CREATE TYPE \"Other Place\".mood AS ENUM ('sad', 'so so', 'it''s \"fine\"'); \
     CREATE TYPE pair AS (x integer, y text); \
     CREATE DOMAIN small AS numeric(6, 2) CHECK (value < 1000); \
     CREATE DOMAIN padded AS char(4); \
     CREATE TYPE span AS RANGE (subtype = float8);";

/// A type, and values of it, as SQL.
const TYPES: [(&str, &[&str]); 95] = [
    ("smallint", &["-32768", "0", "32767"]),
    ("integer", &["-2147483648", "0", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1.0",
            "1.00",
            "0",
            "1e-30",
            "-123456789012345678901234567890.123456789",
        ],
    ),
    ("numeric(20, 4)", &["1.5", "-0.0001", "'NaN'"]),
    ("money", &["'-92233720368547758.08'", "0.5", "'1234.56'"]),
    ("real", &["'NaN'", "'-0'", "'Infinity'", "1e-45", "3.4028235e38", "0.1"]),
    (
        "double precision",
        &["'NaN'", "'-0'", "'-Infinity'", "5e-324", "1.7976931348623157e308", "0.1 + 0.2"],
    ),
    ("boolean", &["true", "false"]),
    (
        "text",
        &[
            "''",
            "' a '",
            "'it''s \"so\" \\ \u{1f980} ü'",
            "repeat('long ', 5000)",
            "E'\\n\\t\\r'",
            "'NULL'",
        ],
    ),
    ("text COLLATE \"und-x-icu\"", &["'ä'", "'A'"]),
    ("varchar", &["''", "'a  '"]),
    ("varchar(3)", &["'a  '", "'üöä'"]),
    ("char", &["' '", "'x'"]),
    ("char(5)", &["'ab'", "''", "'   x'"]),
    ("bpchar", &["'ab   '", "'ab'", "''"]),
    ("\"char\"", &["'a'", "(-56)::integer::\"char\"", "''", "0::integer::\"char\""]),
    ("name", &["'a name'", "''"]),
    ("bytea", &["''", "'\\x00ff27'", "'\\\\\\000'::bytea"]),
    ("date", &["'0044-03-15 BC'", "'infinity'", "'-infinity'", "'5874897-12-31'"]),
    ("time", &["'24:00'", "'00:00:00.000001'"]),
    ("time(2)", &["'12:34:56.78'"]),
    ("timetz", &["'24:00+15:59'", "'12:00:00.5-03:30'"]),
    ("timestamp", &["'infinity'", "'4713-01-01 BC'", "'294276-12-31 23:59:59.999999'"]),
    (
        "timestamptz",
        &["'-infinity'", "'0001-01-01 00:00:00+15'", "'2024-03-31 02:30 Europe/Berlin'"],
    ),
    ("timestamptz(0)", &["'2024-01-01 00:00:01+01'"]),
    (
        "interval",
        &[
            "'-1 year 2 mons -3 days 04:05:06.000007'",
            "'-178000000 years'",
            "'0'",
            "'1 day -24:00'",
        ],
    ),
    ("interval day to second(3)", &["'1 02:03:04.567'"]),
    ("interval year to month", &["'-1-2'"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "gen_random_uuid()"]),
    ("json", &["'null'", "' {\"a\":1, \"a\" : 2 } '", "'[]'", "'\"\\u00e4\"'"]),
    ("jsonb", &["'null'", "'{\"b\": 1.00, \"a\": null}'", "'1e400'"]),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'", "'strict $'"]),
    (
        "xml",
        &[
            "'<a>1</a>'",
            "'text <b/> more'",
            "xmlparse(document '<?xml version=\"1.0\"?><!DOCTYPE a><a/>')",
        ],
    ),
    ("inet", &["'192.168.1.5/24'", "'::1'", "'10.0.0.1'"]),
    ("cidr", &["'192.168.0.0/16'", "'2001:db8::/32'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("bit", &["B'1'", "B'0'"]),
    ("bit(11)", &["B'10101010101'", "B'00000000000'"]),
    ("bit varying", &["B''", "B'1010101010101010101'"]),
    ("bit varying(5)", &["B'101'"]),
    ("tsvector", &["''", "'a:1A,2B b:3 ''it''''s''  '", "'fat cat'"]),
    ("tsquery", &["''", "'fat & !(rat | cat:AB)'", "'a <-> b <3> c:*'"]),
    ("point", &["'(1e-300,-0)'", "'(NaN,Infinity)'"]),
    ("line", &["'{1,-1,0.1}'"]),
    ("lseg", &["'[(0,0),(0.1,1e17)]'"]),
    ("box", &["'(1,1),(0,0)'"]),
    ("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"]),
    ("polygon", &["'((0,0),(1,1),(0.1,0))'"]),
    ("circle", &["'<(0,0),0.1>'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'", "'0/0'"]),
    ("pg_snapshot", &["'10:20:10,14'"]),
    ("oid", &["4294967295", "0"]),
    ("xid", &["'4294967295'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("cid", &["'7'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("oidvector", &["'1 2 3'"]),
    ("int2vector", &["'1 -2'"]),
    ("refcursor", &["'c'"]),
    ("regclass", &["'pg_class'", "4294967295::oid::regclass", "0::oid::regclass"]),
    ("regproc", &["'now'", "'abs(integer)'::regprocedure::oid::regproc"]),
    ("regprocedure", &["'abs(integer)'"]),
    ("regoperator", &["'+(integer,integer)'"]),
    ("regoper", &["'+(integer,integer)'::regoperator::oid::regoper"]),
    ("regtype", &["'pair'", "'\"Other Place\".mood'"]),
    ("regrole", &["'postgres'"]),
    ("regnamespace", &["'\"Other Place\"'"]),
    ("regconfig", &["'english'"]),
    ("regdictionary", &["'simple'"]),
    ("regcollation", &["'\"C\"'"]),
    ("int4range", &["'empty'", "'(,)'", "'[1,5)'"]),
    ("numrange", &["'(1.0,2.00]'", "'(,5]'"]),
    ("tsrange", &["'[2024-01-01,infinity)'"]),
    ("tstzrange", &["'[\"2024-01-01 00:00+05\",)'"]),
    ("daterange", &["'[2024-01-01,2024-02-01)'", "'[,infinity]'"]),
    ("int8multirange", &["'{}'", "'{[1,2),[5,)}'"]),
    ("tstzmultirange", &["'{[2024-01-01,2024-01-02),[2025-01-01,)}'"]),
    ("span", &["'[-0.1,NaN]'", "'empty'"]),
    ("\"Other Place\".mood", &["'sad'", "'it''s \"fine\"'"]),
    ("\"Other Place\".mood[]", &["'{sad,\"so so\"}'", "'{}'"]),
    ("pair", &["'(1,)'", "'(,\"\")'", "ROW(2, 'a, \"b\" (c)')::pair"]),
    ("pair[]", &["ARRAY[ROW(1, 'x,y')::pair, NULL]"]),
    ("small", &["1.5", "0.10", "-999.99"]),
    ("padded", &["'a'", "''"]),
    ("integer[]", &["'{}'", "'{1,NULL,-3}'", "'[0:1][-1:0]={{1,2},{3,4}}'"]),
    ("text[]", &["'{\"NULL\",NULL,\"\",\"a,b\",\"\\\"{}\\\\\"}'", "'[5:5]={x}'"]),
    ("numeric(8, 3)[]", &["'{1.5,NaN}'"]),
    ("timestamptz[]", &["'{infinity,\"2024-01-01 00:00+05\"}'"]),
    ("bytea[]", &["ARRAY['\\x00ff'::bytea, NULL, '']"]),
    ("jsonb[]", &["ARRAY['null'::jsonb, NULL, '{\"a\": [1]}']"]),
    ("char(3)[]", &["'{a,\"b  \"}'"]),
    ("regclass[]", &["'{pg_class,pg_type}'"]),
    ("double precision[]", &["'{-0,NaN,5e-324}'"]),
];

/// As many rows as the longest list has values, and one of NULLs.
const ROWS: usize = 9;

/// The values in turn, and then a NULL.
fn value(values: &[&str], turn: usize) -> String {
    let value = values.get(turn % (values.len() + 1));
    value.map_or_else(|| "NULL".to_owned(), |value| format!("({value})"))
}

/// Rows with ids from `first`.
fn insert(first: usize) -> String {
    let row = |turn: usize| {
        let values: Vec<String> = TYPES.iter().map(|(_, values)| value(values, turn)).collect();
        format!("({}, {})", first + turn, values.join(", "))
    };
    format!("INSERT INTO t VALUES {}", (0..ROWS).map(row).collect::<Vec<_>>().join(", "))
}

fn update(id: usize, turn: usize) -> String {
    let columns = TYPES.iter().enumerate();
    let set: Vec<String> = columns
        .map(|(number, (_, values))| format!("\"c {number}\" = {}", value(values, turn)))
        .collect();
    format!("UPDATE t SET {} WHERE id = {id}", set.join(", "))
}

#[tokio::test]
async fn every_type_survives_every_undo() {
    let columns = TYPES.iter().enumerate();
    let columns: Vec<String> =
        columns.map(|(number, (declared, _))| format!("\"c {number}\" {declared}")).collect();
    let schema = format!("{MADE} CREATE TABLE t (id integer PRIMARY KEY, {})", columns.join(", "));
    let world = World::new(&schema).await;
    world.undo(&[&insert(0)]).await;
    world.behind(&insert(0)).await;
    world.undo(&["DELETE FROM t"]).await;
    for shift in 1..ROWS {
        let updates: Vec<String> = (0..ROWS).map(|id| update(id, id + shift)).collect();
        let updates: Vec<&str> = updates.iter().map(String::as_str).collect();
        world.undo(&updates).await;
    }
    // One on top of another.
    world
        .undo(&[&update(1, 2), "DELETE FROM t WHERE id < 5", &insert(1000), &update(1003, 7)])
        .await;
}

/// The same in a key, where the database compares it.
#[tokio::test]
async fn every_type_that_can_be_a_key_can_be_found_again() {
    let tables = TYPES.iter().enumerate().map(|(number, (declared, values))| {
        let values: Vec<String> = values.iter().map(|value| format!("({value}, 1)")).collect();
        // Some types have no order, and so no key.
        format!(
            "DO $$ BEGIN CREATE TABLE t{number} (k {declared} PRIMARY KEY, x integer); \
             INSERT INTO t{number} VALUES {} ON CONFLICT DO NOTHING; \
             EXCEPTION WHEN undefined_object THEN NULL; END $$;",
            values.join(", ")
        )
    });
    let world = World::new(&format!("{MADE} {}", tables.collect::<String>())).await;
    let mut statements = Vec::new();
    let mut keys = 0;
    for (number, (_, values)) in TYPES.iter().enumerate() {
        if world.value(&format!("SELECT to_regclass('t{number}')::text")).await == "NULL" {
            continue;
        }
        keys += 1;
        statements.push(format!("UPDATE t{number} SET x = 2"));
        statements.push(format!("DELETE FROM t{number}"));
        statements.push(format!("INSERT INTO t{number} VALUES ({}, 3)", values[0]));
        statements.push(format!("UPDATE t{number} SET x = 4"));
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    world.undo(&statements).await;
    assert!(keys > 60, "{keys}");
}
