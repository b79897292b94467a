//! What MySQL says about a table.
//!
//! The definition is the text of `SHOW CREATE TABLE`: it holds the columns, keys and foreign keys,
//! costs no more than a small query, and shows a temporary table that stands in for the real one.
//! It does not show triggers and the foreign keys of other tables: those are *around* the table, and
//! looking for them costs more than a whole small transaction.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::around::{Around, parents};
use super::column::RawColumn;
use super::dialect::quote;
use super::raw::{Raw, SPLIT};
use super::shape::Shape;
use crate::at::plan::Refused;
use crate::at::table::{Table, Wrap};
use crate::db::{DbError, Failure, Row, Sql, Value};

/// How old a look around a table may be, at most. 1 s: it costs about a third of a millisecond of
/// the server's time, and changes of a schema are rare and not raced against.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(1);

/// What only the plans for this database ask.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The column whose values the database makes.
    pub(super) auto_increment: Option<usize>,
    /// The columns that an INSERT without a list of columns fills.
    pub(super) visible: Vec<usize>,
    /// The columns of each unique key, the primary one too; `None` for a key that holds something
    /// else than whole columns.
    pub(super) unique_keys: Vec<Option<Vec<usize>>>,
    /// Of each column, whether a row that does not name it cannot be in another row's way.
    pub(super) nobodys_if_absent: Vec<bool>,
    /// Of each column, what stands around an expression that is compared with it.
    pub(super) compared: Vec<Wrap>,
    /// Of each column of whole numbers, as what a literal is cast to be the number that is stored.
    pub(super) whole: Vec<Option<&'static str>>,
    /// Columns that any UPDATE sets, unless it sets them itself.
    pub(super) updated_by_themselves: Vec<usize>,
    /// Whether INSERT and DELETE can return rows.
    pub(super) returning: bool,
    /// Whether the rows of one statement get consecutive numbers even if a query decides how many.
    pub(super) consecutive_numbers: bool,
    /// The variable that holds the session's isolation.
    pub(super) isolation: &'static str,
    looked_around: Mutex<Option<Instant>>,
}

impl Facts {
    /// Whether any UPDATE sets this column, unless it sets it itself.
    pub(crate) fn sets_on_update(&self, place: usize) -> bool {
        self.updated_by_themselves.contains(&place)
    }

    #[cfg(test)]
    pub(crate) fn returns_nothing(&mut self) {
        self.returning = false;
    }

    fn looked(&self) {
        let now = Some(Instant::now());
        *self.looked_around.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn is_look_old(&self) -> bool {
        let looked = *self.looked_around.lock().unwrap_or_else(PoisonError::into_inner);
        looked.is_none_or(|looked| looked.elapsed() >= LOOK_AROUND_EVERY)
    }
}

/// For comparing tables: when somebody looked is not part of what a table is.
impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        self.auto_increment == other.auto_increment
            && self.visible == other.visible
            && self.unique_keys == other.unique_keys
            && self.nobodys_if_absent == other.nobodys_if_absent
            && self.compared == other.compared
            && self.whole == other.whole
            && self.updated_by_themselves == other.updated_by_themselves
            && self.returning == other.returning
            && self.consecutive_numbers == other.consecutive_numbers
            && self.isolation == other.isolation
    }
}

impl Eq for Facts {}

/// Between the definition and what is around, in a table's version.
const AROUND: char = '\0';

/// Reads a table; `None` if there is none of that name.
pub(crate) async fn load(sql: &mut dyn Sql, written: &str) -> Result<Option<Table>, DbError> {
    let server = Server::load(sql).await?;
    let Some(plain) = in_database(written, &server) else { return Ok(None) };
    let Some(definition) = definition(sql, plain).await? else { return Ok(None) };
    let Some(found) = find(sql, &server, plain).await? else { return Ok(None) };
    let name = text(&found[0]);
    let raw = Raw::load(sql, &server.database, &name).await?;
    let mut shape = Shape::new(&raw);
    let keys = shape.keys(&raw);
    let parents = parents(sql, &server, &name, &raw, &mut shape).await?;
    let around = Around::load(sql, &name).await?;
    let children = around.children(&raw, sql, &server.database).await?;
    let refusal = match refuse_kind(&name, &found, &definition) {
        Some(refused) => Some(refused),
        None => match around.refuse(&name, &server.database, sql).await? {
            Some(refused) => Some(refused),
            None => raw.refuse(&name).or_else(|| keys.refusal(&name)),
        },
    };
    let facts = Facts {
        auto_increment: raw.columns.iter().position(RawColumn::is_auto_increment),
        visible: raw.places(|column| !column.is_invisible()),
        unique_keys: raw.unique_keys(),
        nobodys_if_absent: raw.nobodys_if_absent(),
        compared: raw.columns.iter().map(RawColumn::compared).collect(),
        whole: raw.columns.iter().map(RawColumn::whole).collect(),
        updated_by_themselves: raw.places(RawColumn::is_updated_by_itself),
        returning: server.returning,
        // The partitions of a table number their rows one by one.
        consecutive_numbers: server.locks_numbers && !text(&found[3]).contains("partitioned"),
        isolation: server.isolation,
        ..Facts::default()
    };
    facts.looked();
    Ok(Some(Table {
        written: written.to_owned(),
        lock_name: server.lock_name(&name),
        version: format!("{definition}{AROUND}{}", around.describe()),
        fingerprint: raw.fingerprint(),
        columns: shape.columns,
        primary: keys.primary,
        key: keys.key,
        uniques: keys.uniques,
        locks_whole_table: keys.locks_whole_table,
        parents,
        children,
        refusal,
        mysql: Some(Arc::new(facts)),
        name,
    }))
}

/// Whether a table is still what it was when it was loaded.
pub(super) async fn is_unchanged(sql: &mut dyn Sql, table: &Table) -> Result<bool, DbError> {
    let Some((then, around)) = table.version.split_once(AROUND) else { return Ok(false) };
    if definition(sql, &table.name).await?.as_deref() != Some(then) {
        return Ok(false);
    }
    let Some(facts) = table.mysql.as_deref().filter(|facts| facts.is_look_old()) else {
        return Ok(true);
    };
    let unchanged = Around::load(sql, &table.name).await?.describe() == around;
    if unchanged {
        facts.looked();
    }
    Ok(unchanged)
}

/// Whether the name stands for a temporary table here.
pub(super) async fn is_temporary(sql: &mut dyn Sql, table: &Table) -> Result<bool, DbError> {
    let now = definition(sql, &table.name).await?;
    Ok(now.is_some_and(|now| now.starts_with(TEMPORARY)))
}

const TEMPORARY: &str = "CREATE TEMPORARY";

/// The table's definition, without the number that its next row will get.
async fn definition(sql: &mut dyn Sql, name: &str) -> Result<Option<String>, DbError> {
    match sql.query(&format!("SHOW CREATE TABLE {}", quote(name)), &[]).await {
        Ok(rows) => Ok(rows.first().map(|row| without_next_number(&text(&row[1])))),
        // No such table; or a view over one.
        Err(error) if error.failure == Failure::Statement => Ok(None),
        Err(error) => Err(error),
    }
}

/// The options begin at the last line that begins with a parenthesis; a comment has no line breaks.
fn without_next_number(definition: &str) -> String {
    const NEXT: &str = " AUTO_INCREMENT=";
    let Some(options) = definition.rfind("\n) ENGINE=") else { return definition.to_owned() };
    let (columns, options) = definition.split_at(options);
    // Behind the engine, so that it cannot be a part of a comment.
    let Some((engine, rest)) = options.split_once(NEXT) else { return definition.to_owned() };
    if engine[3..].contains(' ') {
        return definition.to_owned();
    }
    let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!("{columns}{engine}{rest}")
}

/// What must be known of the server and the session.
pub(super) struct Server {
    pub(super) database: String,
    pub(super) folds_names: bool,
    returning: bool,
    /// Whether a statement keeps others from taking numbers until it ends.
    locks_numbers: bool,
    isolation: &'static str,
}

impl Server {
    /// One spelling for each table.
    pub(super) fn lock_name(&self, name: &str) -> String {
        if self.folds_names { name.to_lowercase() } else { name.to_owned() }
    }

    pub(super) async fn load(sql: &mut dyn Sql) -> Result<Server, DbError> {
        let asked = "SELECT database(), @@lower_case_table_names, version(), \
                     @@innodb_autoinc_lock_mode";
        let rows = sql.query(asked, &[]).await?;
        let row = rows.first().ok_or_else(nothing)?;
        let version = text(&row[2]);
        Ok(Server {
            isolation: if is_mariadb(&version) {
                "@@tx_isolation"
            } else {
                "@@transaction_isolation"
            },
            database: text(&row[0]),
            folds_names: integer(&row[1]) != 0,
            returning: returns_rows(&version),
            // 2 is interleaved.
            locks_numbers: matches!(row[3].as_integer(), Some(0 | 1)),
        })
    }
}

fn nothing() -> DbError {
    DbError { failure: Failure::Other, doing: "ask the server", source: "it said nothing".into() }
}

/// Whether this server's INSERT, REPLACE and DELETE can return rows: MariaDB from 10.5 on.
fn returns_rows(version: &str) -> bool {
    let numbers = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = numbers.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version_numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    is_mariadb(version) && version_numbers >= (10, 5)
}

fn is_mariadb(version: &str) -> bool {
    version.to_ascii_lowercase().contains("mariadb")
}

/// The table's name of a name that may be `` `database`.`table` ``; `None` if that is another database.
pub(super) fn in_database<'w>(written: &'w str, server: &Server) -> Option<&'w str> {
    let Some(quoted) = written.strip_prefix('`') else { return Some(written) };
    let (database, table) = quoted.strip_suffix('`')?.split_once("`.`")?;
    let same = if server.folds_names {
        database.to_lowercase() == server.database.to_lowercase()
    } else {
        database == server.database
    };
    same.then_some(table)
}

pub(super) async fn find(
    sql: &mut dyn Sql,
    server: &Server,
    written: &str,
) -> Result<Option<Row>, DbError> {
    let rows = sql
        .query(
            "SELECT table_name, table_type, coalesce(engine, ''), coalesce(create_options, '') \
             FROM information_schema.tables WHERE table_schema = ?1 AND table_name = ?2",
            &[Value::text(&server.database), Value::text(written)],
        )
        .await?;
    let same = |row: &Row| {
        let name = text(&row[0]);
        name == written || (server.folds_names && name.to_lowercase() == written.to_lowercase())
    };
    Ok(rows.into_iter().find(same))
}

/// What is no plain table of the application's.
fn refuse_kind(name: &str, found: &Row, definition: &str) -> Option<Refused> {
    let refused = |why: String, instead: &'static str| {
        Some(Refused::new(format!("change of `{name}`"), why, instead))
    };
    match text(&found[1]).as_str() {
        "BASE TABLE" => {}
        "VIEW" => return refused("it is a view".to_owned(), "change the table behind it"),
        "SYSTEM VERSIONED" => {
            let why = "it is system-versioned: the database keeps a history that is not undone";
            return refused(why.to_owned(), SPLIT);
        }
        kind => return refused(format!("it is a {}", kind.to_lowercase()), SPLIT),
    }
    if definition.starts_with(TEMPORARY) {
        return refused("a temporary table stands in for it".to_owned(), "drop that one");
    }
    let engine = text(&found[2]);
    if !engine.eq_ignore_ascii_case("InnoDB") {
        let why = format!("its engine is {engine}, which cannot roll back");
        return refused(why, "convert it: ALTER TABLE … ENGINE = InnoDB");
    }
    if name.to_lowercase().starts_with("pactum_") {
        return refused("the table is not the application's".to_owned(), "leave it alone");
    }
    if definition.lines().any(|line| line.trim_start().starts_with("PERIOD FOR")) {
        return refused("it has a period, whose keys are not plain values".to_owned(), SPLIT);
    }
    None
}

pub(super) fn text(value: &Value) -> String {
    value.as_text().unwrap_or_default().to_owned()
}

fn integer(value: &Value) -> i64 {
    value.as_integer().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_is_no_part_of_a_definition() {
        let table = |options: &str| format!("CREATE TABLE `t` (\n  `id` int(11)\n) {options}");
        let with = table("ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4");
        assert_eq!(without_next_number(&with), table("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"));
        let comment = table("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT=' AUTO_INCREMENT=1'");
        assert_eq!(without_next_number(&comment), comment);
    }

    #[test]
    fn mariadb_returns_rows_from_10_5_on() {
        for (version, expected) in [
            ("10.11.19-MariaDB-0+deb12u1", true),
            ("5.5.5-10.5.1-MariaDB", true),
            ("11.4.2-MariaDB", true),
            ("10.4.9-MariaDB", false),
            ("8.4.0", false),
            ("8.0.36-0ubuntu0.22.04.1", false),
        ] {
            assert_eq!(returns_rows(version), expected, "{version}");
        }
    }
}
