//! The barrier rows of committed branches, and of ended ones: deleted by one statement for many.

use std::collections::HashSet;

use pactum_core::id::StoreId;

use super::{Mode, id};
use crate::branch::BranchKey;
use crate::db::{DbError, Kind, Row, Sql, Value};

/// Branches a statement: far below SQLite's limits on parameters (32766) and on the depth of an
/// expression (1000), and enough to amortise it.
const BRANCHES_PER_STATEMENT: usize = 256;

/// Deletes the open rows of these branches: their transactions committed. Returns those of them that
/// still have a row, which no committed branch may have.
pub(crate) async fn delete_open(
    sql: &mut dyn Sql,
    store: StoreId,
    mode: Mode,
    keys: &[BranchKey],
) -> Result<Vec<BranchKey>, DbError> {
    let mut left = Vec::new();
    for chunk in keys.chunks(BRANCHES_PER_STATEMENT) {
        let (branches, ids) = one_of(sql.kind(), chunk, 3);
        let from = match sql.kind() {
            Kind::Sqlite | Kind::Postgres => "FROM pactum_barrier",
            // By the index on the state it would read, lock and wait for the rows of all branches
            // that are open.
            Kind::Mysql => "pactum_barrier FROM pactum_barrier FORCE INDEX (PRIMARY)",
        };
        let text = format!(
            "DELETE {from} WHERE state = 'open' AND store_id = ?1 AND mode = ?2 AND {branches}"
        );
        let owner = [Value::text(store.to_string()), Value::text(mode.as_str())];
        let values: Vec<Value> = owner.into_iter().chain(ids).collect();
        let deleted = sql.execute(&text, &values).await?;
        if usize::try_from(deleted) != Ok(chunk.len()) {
            // A repeat finds its row gone, which is well; a row that is still there is not.
            left.extend(still_there(sql, chunk).await?);
        }
    }
    Ok(left)
}

/// Deletes the rows of these branches that are used up: their transactions have ended.
pub(crate) async fn delete_settled(sql: &mut dyn Sql, keys: &[BranchKey]) -> Result<u64, DbError> {
    let mut deleted = 0;
    for chunk in keys.chunks(BRANCHES_PER_STATEMENT) {
        let (branches, ids) = one_of(sql.kind(), chunk, 1);
        let from = match sql.kind() {
            Kind::Sqlite | Kind::Postgres => "FROM pactum_barrier",
            Kind::Mysql => "pactum_barrier FROM pactum_barrier FORCE INDEX (PRIMARY)",
        };
        let text = format!("DELETE {from} WHERE state <> 'open' AND {branches}");
        deleted += sql.execute(&text, &ids).await?;
    }
    Ok(deleted)
}

async fn still_there(sql: &mut dyn Sql, keys: &[BranchKey]) -> Result<Vec<BranchKey>, DbError> {
    let (branches, ids) = one_of(sql.kind(), keys, 1);
    let text = format!("SELECT xid, branch_id FROM pactum_barrier WHERE {branches}");
    let found: HashSet<Row> = sql.query(&text, &ids).await?.into_iter().collect();
    let is_there = |key: &&BranchKey| found.contains(id(key).as_slice());
    Ok(keys.iter().filter(is_there).cloned().collect())
}

/// The condition for these branches, with parameters numbered from `first`, and their values.
fn one_of(kind: Kind, keys: &[BranchKey], first: usize) -> (String, Vec<Value>) {
    match kind {
        // One term a key: for a list of pairs SQLite would read the whole table. The last key comes
        // again up to a power of two, so that there are few texts to prepare.
        Kind::Sqlite | Kind::Mysql => {
            let repeated = keys.last().into_iter().cycle();
            let terms = keys.len().next_power_of_two();
            let keys: Vec<&BranchKey> = keys.iter().chain(repeated).take(terms).collect();
            let term = |place: usize| {
                format!("(xid = ?{} AND branch_id = ?{})", first + place, first + place + 1)
            };
            let terms: Vec<String> = (0..keys.len()).map(|key| term(2 * key)).collect();
            (format!("({})", terms.join(" OR ")), keys.into_iter().flat_map(id).collect())
        }
        // The same for any number of branches, so that it is planned once.
        Kind::Postgres => {
            let condition = format!(
                "(xid, branch_id) IN (SELECT * FROM unnest(string_to_array(?{first}, ','), \
                 string_to_array(?{}, ',')::bigint[]))",
                first + 1
            );
            (condition, id_lists(keys).to_vec())
        }
    }
}

fn id_lists(keys: &[BranchKey]) -> [Value; 2] {
    let list = |each: &dyn Fn(&BranchKey) -> String| {
        Value::Text(keys.iter().map(each).collect::<Vec<_>>().join(","))
    };
    [list(&|key| key.xid.to_string()), list(&|key| key.branch.0.cast_signed().to_string())]
}
