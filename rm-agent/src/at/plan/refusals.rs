//! Statements that are refused by their first word: what, why, and the way out.

use sqlparser::tokenizer::Token;

use super::Refused;

const BYPASS: &str = "run it outside of global transactions, through `bypass()`";
const ONE_BY_ONE: &str = "use INSERT, UPDATE and DELETE statements, whose rows can be captured";
const OPTIONS: &str = "set it in the connect options, or for each connection in `after_connect`";

/// First words, the kind of statement they begin, why it is refused and what to do instead.
const REFUSED: [(&[&str], &str, &str, &str); 20] = [
    (
        &["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"],
        "transaction control",
        "the agent must know where its local transaction begins and ends",
        "use `begin()`, `commit()` and `rollback()`; for a savepoint, `savepoint()`",
    ),
    (
        &["SAVEPOINT", "RELEASE"],
        "savepoint",
        "as text it would leave the undo log and the database out of step",
        "use `savepoint()` of the transaction",
    ),
    (
        &["XA"],
        "XA statement",
        "another coordinator's branch cannot be part of the local transaction",
        "use the agent's XA mode for this resource",
    ),
    (
        &["TRUNCATE"],
        "TRUNCATE",
        "it removes rows without naming them, and so has no before image",
        "use DELETE without a WHERE",
    ),
    (
        &["CREATE", "ALTER", "DROP", "RENAME", "REINDEX", "COMMENT", "GRANT", "REVOKE", "CLUSTER"],
        "DDL",
        "a change of the schema has no before image",
        BYPASS,
    ),
    (
        &["REFRESH", "SECURITY", "REASSIGN", "IMPORT", "INSTALL", "UNINSTALL"],
        "DDL",
        "a change of the schema has no before image",
        BYPASS,
    ),
    (
        &["CALL", "DO"],
        "procedure call",
        "what it changes cannot be known from its text",
        "send the statements of the procedure themselves",
    ),
    (
        &["EXECUTE", "PREPARE", "DEALLOCATE"],
        "prepared statement as text",
        "what it runs cannot be known from its text",
        "send the statement itself: it is prepared by the driver",
    ),
    (&["COPY", "LOAD", "HANDLER"], "bulk statement", "its rows pass the agent by", ONE_BY_ONE),
    (
        &["MERGE"],
        "MERGE",
        "for each row it decides anew whether to insert, change or remove",
        "use an upsert, or an UPDATE and an INSERT",
    ),
    (&["REPLACE"], "REPLACE", "this database has no such statement", "use `INSERT … ON CONFLICT`"),
    (
        &["LOCK", "UNLOCK"],
        "table lock",
        "it may end the local transaction, and global locks do not know of it",
        "lock rows with `SELECT … FOR UPDATE`",
    ),
    (
        &["SET", "RESET", "DISCARD"],
        "change of a setting",
        "settings change what later statements mean and how values are captured",
        OPTIONS,
    ),
    (
        &["USE"],
        "USE",
        "the names of later statements would mean other tables",
        "connect to the database that is meant",
    ),
    (
        &["LISTEN", "UNLISTEN", "NOTIFY"],
        "notification",
        "it takes effect with the local commit, before the global transaction is decided",
        "notify when the global transaction has ended",
    ),
    (
        &["ATTACH", "DETACH"],
        "ATTACH",
        "another database's rows are not this resource's",
        "attach each database to the agent as a resource of its own",
    ),
    (
        &["VACUUM", "ANALYZE", "ANALYSE", "OPTIMIZE", "REPAIR", "CHECK", "CHECKSUM", "CHECKPOINT"],
        "maintenance statement",
        "it works on the whole database or a whole table",
        BYPASS,
    ),
    (
        &[
            "FLUSH", "KILL", "PURGE", "CHANGE", "STOP", "SHUTDOWN", "RESTART", "BINLOG", "CLONE",
            "CACHE",
        ],
        "statement for the server",
        "it works on the server and not on rows",
        BYPASS,
    ),
    (
        &["DECLARE", "FETCH", "MOVE", "CLOSE", "OPEN"],
        "cursor as text",
        "what it reads or positions cannot be followed from its text",
        "run the query, and take its rows as a stream",
    ),
    (
        &["EXPLAIN", "DESCRIBE", "DESC", "SHOW", "PRAGMA", "TABLE", "HELP"],
        "statement",
        "this database has no such statement",
        "use the one that it has",
    ),
];

/// Why a statement that begins with this word is refused.
pub(super) fn refuse(word: &str, token: &Token) -> Refused {
    match REFUSED.iter().find(|(words, ..)| words.contains(&word)) {
        Some((_, statement, why, instead)) => Refused::new(*statement, *why, *instead),
        None => Refused::new(
            "statement",
            format!("a statement that begins with `{token}` is not known here"),
            "write it in a form that the parser knows, or run it through `bypass()`",
        ),
    }
}
