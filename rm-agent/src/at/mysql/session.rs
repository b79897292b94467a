//! What a session must be like for its images to be exact, and the agent's own sessions.
//!
//! An application's connections are its own: what it set there is not changed, but checked by the
//! statement that writes the barrier row. The agent's connections for phase two are tolerant, so
//! that whatever a table holds can be written back to it.

use crate::at::engine::Assumed;
pub(super) use crate::db::in_mysql_database as in_database;

/// What must hold, and what it would mean if it did not.
struct Demand {
    condition: &'static str,
    otherwise: &'static str,
}

const DEMANDS: [Demand; 6] = [
    Demand {
        condition: "find_in_set('ANSI_QUOTES', @@sql_mode) = 0",
        otherwise: "the session's sql_mode has ANSI_QUOTES, so what its statements mean is not what \
                    the agent reads: leave it out",
    },
    Demand {
        condition: "find_in_set('NO_BACKSLASH_ESCAPES', @@sql_mode) = 0",
        otherwise: "the session's sql_mode has NO_BACKSLASH_ESCAPES, so what its statements mean is \
                    not what the agent reads: leave it out",
    },
    Demand {
        condition: "find_in_set('PAD_CHAR_TO_FULL_LENGTH', @@sql_mode) = 0 \
                    AND find_in_set('EMPTY_STRING_IS_NULL', @@sql_mode) = 0",
        otherwise: "the session's sql_mode has PAD_CHAR_TO_FULL_LENGTH or EMPTY_STRING_IS_NULL, so \
                    text is not read as it is stored: leave them out",
    },
    Demand {
        condition: "@@time_zone = '+00:00'",
        otherwise: "the session's time zone is not +00:00, so the images of TIMESTAMP columns are \
                    not those that a rollback reads: leave sqlx's default",
    },
    Demand {
        condition: "@@character_set_client = 'utf8mb4' AND @@character_set_connection = 'utf8mb4' \
                    AND @@character_set_results = 'utf8mb4'",
        otherwise: "the session's character set is not utf8mb4, so images may lose characters: leave \
                    sqlx's default",
    },
    Demand {
        condition: "@@foreign_key_checks = 1 AND @@unique_checks = 1",
        otherwise: "the session has foreign_key_checks or unique_checks off, so rows may refer to \
                    rows that nobody locks: leave them on",
    },
];

pub(super) const ELSEWHERE: &str = "the session is in another database than the agent's own sessions, \
                                    which would not find what is written there: leave it in the one \
                                    that the pool's URL names";

/// For statements whose before image must show also that a row was not there.
const REPEATABLE: &str = "the session's isolation is not REPEATABLE READ or stricter, so rows may \
                          come into being behind the image of an upsert, a REPLACE, an INSERT \
                          IGNORE, an INSERT … SELECT or a LIMIT: set it for the pool, or write the \
                          statement otherwise";

fn repeatable(assumed: &Assumed) -> Option<String> {
    let facts = assumed.tables.iter().find_map(|table| table.mysql.as_deref());
    let variable = facts.filter(|_| assumed.repeatable_read)?.isolation;
    Some(format!("{variable} IN ('REPEATABLE-READ', 'SERIALIZABLE')"))
}

/// All demands as one condition.
pub(super) fn condition(assumed: &Assumed) -> String {
    let demands = DEMANDS.iter().map(|demand| format!("({})", demand.condition));
    demands.chain(repeatable(assumed)).collect::<Vec<_>>().join(" AND ")
}

/// A query whose row says of each demand whether it holds, and what each means.
pub(super) fn demands(assumed: &Assumed) -> (String, Vec<&'static str>) {
    let mut conditions: Vec<String> =
        DEMANDS.iter().map(|demand| format!("({})", demand.condition)).collect();
    let mut meanings: Vec<&'static str> = DEMANDS.iter().map(|demand| demand.otherwise).collect();
    if let Some(condition) = repeatable(assumed) {
        conditions.push(condition);
        meanings.push(REPEATABLE);
    }
    (format!("SELECT {}", conditions.join(", ")), meanings)
}
