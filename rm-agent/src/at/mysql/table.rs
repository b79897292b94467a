//! What MySQL says about a table.
//!
//! The definition is the text of `SHOW CREATE TABLE`: it holds the columns, keys and foreign keys,
//! costs no more than a small query, and shows a temporary table that stands in for the real one.
//! It does not show triggers and the foreign keys of other tables: those are *around* the table, and
//! looking for them costs more than a whole small transaction.
//!
//! Easy to get wrong: what an account may not see. Without the TRIGGER privilege a table looks as if
//! it had no triggers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pactum_core::lock::key::KeyKind;
use tokio::time::Instant;

use super::column::{KeyForm, RawColumn};
use super::dialect::quote;
use crate::at::keys::Fold;
use crate::at::plan::Refused;
use crate::at::table::{Child, Column, KeyColumn, Parent, Table, Unique, Wrap};
use crate::db::{DbError, Failure, Row, Sql, Value};

const SPLIT: &str = "keep such tables out of AT transactions, or change them through `bypass()`";
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
    /// Columns that any UPDATE sets, unless it sets them itself.
    pub(super) updated_by_themselves: Vec<usize>,
    /// Whether INSERT and DELETE can return rows.
    pub(super) returning: bool,
    /// The variable that holds the session's isolation.
    pub(super) isolation: &'static str,
    looked_around: Mutex<Option<Instant>>,
}

impl Facts {
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
            && self.updated_by_themselves == other.updated_by_themselves
            && self.returning == other.returning
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
    let mut shape = ShapeBuilder::new(&raw);
    let keys = shape.keys(&raw);
    let parents = parents(sql, &server, &name, &raw, &mut shape).await?;
    let around = Around::load(sql, &name).await?;
    let children = around.children(&raw, sql, &server.database).await?;
    let refusal = match refuse_kind(&name, &found, &definition) {
        Some(refused) => Some(refused),
        None => match around.refuse(&name, &server.database, sql).await? {
            Some(refused) => Some(refused),
            None => raw.refuse(&name).or(keys.refusal(&name)),
        },
    };
    let facts = Facts {
        auto_increment: raw.columns.iter().position(RawColumn::is_auto_increment),
        visible: raw.places(|column| !column.is_invisible()),
        unique_keys: raw.unique_keys(),
        nobodys_if_absent: raw.nobodys_if_absent(),
        compared: raw.columns.iter().map(RawColumn::compared).collect(),
        updated_by_themselves: raw.places(RawColumn::is_updated_by_itself),
        returning: server.returning,
        isolation: server.isolation,
        ..Facts::default()
    };
    facts.looked();
    Ok(Some(Table {
        written: written.to_owned(),
        lock_name: if server.folds_names { name.to_lowercase() } else { name.clone() },
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
struct Server {
    database: String,
    folds_names: bool,
    returning: bool,
    isolation: &'static str,
}

impl Server {
    async fn load(sql: &mut dyn Sql) -> Result<Server, DbError> {
        let asked = "SELECT database(), @@lower_case_table_names, version()";
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
fn in_database<'w>(written: &'w str, server: &Server) -> Option<&'w str> {
    let Some(quoted) = written.strip_prefix('`') else { return Some(written) };
    let (database, table) = quoted.strip_suffix('`')?.split_once("`.`")?;
    let same = if server.folds_names {
        database.to_lowercase() == server.database.to_lowercase()
    } else {
        database == server.database
    };
    same.then_some(table)
}

async fn find(sql: &mut dyn Sql, server: &Server, written: &str) -> Result<Option<Row>, DbError> {
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

/// A column of an index, and how much of it.
#[derive(Clone, Debug)]
struct IndexColumn {
    /// `None` for an expression.
    column: Option<usize>,
    prefix: Option<i64>,
}

/// A table's columns and unique indexes, as the server lists them.
struct Raw {
    columns: Vec<RawColumn>,
    /// With their names; the primary key is called `PRIMARY`.
    indexes: Vec<(String, Vec<IndexColumn>)>,
}

impl Raw {
    async fn load(sql: &mut dyn Sql, database: &str, table: &str) -> Result<Raw, DbError> {
        let of_table = [Value::text(database), Value::text(table)];
        let rows = sql.query(RawColumn::QUERY, &of_table).await?;
        let mut raw = Raw { columns: rows.iter().map(RawColumn::read).collect(), indexes: vec![] };
        let rows = sql
            .query(
                "SELECT index_name, column_name, sub_part FROM information_schema.statistics \
                 WHERE table_schema = ?1 AND table_name = ?2 AND non_unique = 0 \
                 ORDER BY index_name, seq_in_index",
                &of_table,
            )
            .await?;
        for index in rows.chunk_by(|a, b| a[0] == b[0]) {
            let columns = index.iter().map(|row| IndexColumn {
                column: row[1].as_text().and_then(|name| raw.place(name)),
                prefix: row[2].as_integer(),
            });
            let columns = columns.collect();
            raw.indexes.push((text(&index[0][0]), columns));
        }
        Ok(raw)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    fn places(&self, which: impl Fn(&RawColumn) -> bool) -> Vec<usize> {
        (0..self.columns.len()).filter(|place| which(&self.columns[*place])).collect()
    }

    fn primary(&self) -> &[IndexColumn] {
        let primary = self.indexes.iter().find(|(name, _)| name == PRIMARY);
        primary.map_or(&[], |(_, columns)| columns)
    }

    /// The primary key first: rows are found by it where there is a choice.
    fn unique_keys(&self) -> Vec<Option<Vec<usize>>> {
        let whole = |index: &Vec<IndexColumn>| {
            let column = |key: &IndexColumn| key.column.filter(|_| key.prefix.is_none());
            index.iter().map(column).collect()
        };
        let mut indexes: Vec<_> = self.indexes.iter().collect();
        indexes.sort_by_key(|(name, _)| name != PRIMARY);
        indexes.into_iter().map(|(_, index)| whole(index)).collect()
    }

    fn nobodys_if_absent(&self) -> Vec<bool> {
        let nobodys = |column: &RawColumn| {
            column.is_auto_increment() || (column.is_null_by_default && !column.is_generated())
        };
        self.columns.iter().map(nobodys).collect()
    }

    fn refuse(&self, table: &str) -> Option<Refused> {
        let refused = |why: String, instead: &'static str| {
            Some(Refused::new(format!("change of `{table}`"), why, instead))
        };
        if let Some(column) = self.columns.iter().find(|column| column.wraps().is_none()) {
            let why = format!("`{}` is of type {}", column.name, column.data_type);
            return refused(format!("{why}, which is not known here"), SPLIT);
        }
        if self.primary().is_empty() {
            let why = "the table has no primary key, so its rows cannot be found again";
            return refused(why.to_owned(), "give it a primary key");
        }
        let generated =
            |key: &&IndexColumn| key.column.is_none_or(|place| self.columns[place].is_generated());
        if self.primary().iter().any(|key| generated(&key)) {
            let why = "its primary key is computed, so a change of another column may change it";
            return refused(why.to_owned(), "use a primary key of plain columns");
        }
        None
    }

    /// Changes whenever a row captured before would not mean the same after.
    fn fingerprint(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for column in &self.columns {
            let RawColumn { name, data_type: _, column_type, character_set, collation, .. } =
                column;
            let generated = column.is_generated();
            let line =
                format!("{name}\0{column_type}\0{character_set}\0{collation}\0{generated}\n");
            hasher.update(line.as_bytes());
        }
        for key in self.primary() {
            hasher.update(format!("{:?}\n", key.column).as_bytes());
        }
        format!("{:08x}", hasher.finalize())
    }
}

const PRIMARY: &str = "PRIMARY";

/// A table's columns, growing by the forms that keys are compared in.
struct ShapeBuilder {
    columns: Vec<Column>,
}

impl ShapeBuilder {
    fn new(raw: &Raw) -> Self {
        let columns = raw.columns.iter().map(|column| {
            let (capture, restore) = column.wraps().unwrap_or_default();
            Column {
                name: column.name.clone(),
                source: column.name.clone(),
                generated: column.is_generated(),
                capture,
                restore,
            }
        });
        ShapeBuilder { columns: columns.collect() }
    }

    /// The place of a column in the form in which a key compares it, which is added if need be.
    fn key_column(&mut self, raw: &Raw, place: usize, prefix: Option<i64>) -> Option<KeyColumn> {
        let column = &raw.columns[place];
        match column.key_form(prefix)? {
            KeyForm::AsCaptured(fold) => Some(KeyColumn { column: place, fold }),
            KeyForm::Captured { wrap, fold } => {
                let name = match prefix {
                    None => format!("key of {}", column.name),
                    Some(count) => format!("key of {}({count})", column.name),
                };
                let there = self.columns.iter().position(|column| column.name == name);
                let place = there.unwrap_or_else(|| {
                    let source = column.name.clone();
                    let restore = Wrap::default();
                    let column = Column { name, source, generated: true, capture: wrap, restore };
                    self.columns.push(column);
                    self.columns.len() - 1
                });
                Some(KeyColumn { column: place, fold })
            }
        }
    }

    fn key(&mut self, raw: &Raw, index: &[IndexColumn]) -> Option<Vec<KeyColumn>> {
        let column = |key: &IndexColumn| self.key_column(raw, key.column?, key.prefix);
        index.iter().map(column).collect()
    }

    fn keys(&mut self, raw: &Raw) -> Keys {
        let mut keys = Keys {
            primary: raw.primary().iter().filter_map(|key| key.column).collect(),
            key: Vec::new(),
            uniques: Vec::new(),
            locks_whole_table: false,
        };
        for (name, index) in &raw.indexes {
            match self.key(raw, index) {
                Some(columns) if name == PRIMARY => keys.key = columns,
                Some(columns) => {
                    keys.uniques.push(Unique { name: name.to_lowercase(), columns });
                }
                None => keys.locks_whole_table = true,
            }
        }
        keys
    }
}

struct Keys {
    primary: Vec<usize>,
    key: Vec<KeyColumn>,
    uniques: Vec<Unique>,
    locks_whole_table: bool,
}

impl Keys {
    fn refusal(&self, table: &str) -> Option<Refused> {
        self.key.is_empty().then(|| {
            Refused::new(
                format!("change of `{table}`"),
                "its primary key compares text by a collation whose idea of equal is not known here",
                "use a collation of utf8mb4 for it, such as utf8mb4_general_ci or utf8mb4_bin",
            )
        })
    }
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

/// Triggers, and foreign keys that refer to a table.
struct Around {
    /// Table, name, what it does on delete and on update.
    references: Vec<Row>,
    triggers: Vec<Row>,
}

impl Around {
    async fn load(sql: &mut dyn Sql, table: &str) -> Result<Around, DbError> {
        let references = sql
            .query(
                "SELECT table_name, constraint_name, delete_rule, update_rule \
                 FROM information_schema.referential_constraints \
                 WHERE constraint_schema = database() AND unique_constraint_schema = database() \
                 AND referenced_table_name = ?1 ORDER BY table_name, constraint_name",
                &[Value::text(table)],
            )
            .await?;
        let triggers = sql
            .query(
                "SELECT trigger_name FROM information_schema.triggers \
                 WHERE trigger_schema = database() AND event_object_table = ?1 \
                 ORDER BY trigger_name",
                &[Value::text(table)],
            )
            .await?;
        Ok(Around { references, triggers })
    }

    fn describe(&self) -> String {
        let rows = self.references.iter().chain(&self.triggers);
        rows.map(|row| row.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    async fn refuse(
        &self,
        table: &str,
        database: &str,
        sql: &mut dyn Sql,
    ) -> Result<Option<Refused>, DbError> {
        let refused = |why: String, instead: String| {
            Refused::new(format!("change of `{table}`"), why, instead)
        };
        if let Some(trigger) = self.triggers.first() {
            let why = format!("trigger `{}` changes what the agent cannot see", text(&trigger[0]));
            let instead = "drop the trigger and do its work in the application";
            return Ok(Some(refused(why, instead.to_owned())));
        }
        if sees_triggers(sql, database, table).await? {
            return Ok(None);
        }
        let why = "the account lacks the TRIGGER privilege, without which triggers are hidden";
        let instead = format!("GRANT TRIGGER ON `{database}`.* TO the account");
        Ok(Some(refused(why.to_owned(), instead)))
    }

    async fn children(
        &self,
        raw: &Raw,
        sql: &mut dyn Sql,
        database: &str,
    ) -> Result<Vec<Child>, DbError> {
        let acts = |value: &Value| !matches!(value.as_text(), Some("NO ACTION" | "RESTRICT"));
        let mut children = Vec::new();
        for reference in &self.references {
            let columns = references(sql, database, &text(&reference[0])).await?;
            let columns = columns.iter().filter(|row| row[0] == reference[1]);
            let columns =
                columns.filter_map(|row| Some((text(&row[1]), raw.place(row[4].as_text()?)?)));
            children.push(Child {
                table: text(&reference[0]),
                columns: columns.collect(),
                acts_on_delete: acts(&reference[2]),
                acts_on_update: acts(&reference[3]),
            });
        }
        Ok(children)
    }
}

/// Whether the account is shown the triggers of a table.
async fn sees_triggers(sql: &mut dyn Sql, database: &str, table: &str) -> Result<bool, DbError> {
    let rows = sql
        .query(
            "SELECT 1 FROM (SELECT grantee FROM information_schema.user_privileges \
             WHERE privilege_type = 'TRIGGER' \
             UNION ALL SELECT grantee FROM information_schema.schema_privileges \
             WHERE privilege_type = 'TRIGGER' AND ?1 LIKE table_schema \
             UNION ALL SELECT grantee FROM information_schema.table_privileges \
             WHERE privilege_type = 'TRIGGER' AND table_schema = ?1 AND table_name = ?2) granted \
             WHERE grantee IN (concat('''', replace(current_user(), '@', '''@'''), ''''), \
             concat('''', coalesce(current_role(), ''), '''@''''')) LIMIT 1",
            &[Value::text(database), Value::text(table)],
        )
        .await?;
    Ok(!rows.is_empty())
}

/// The foreign keys of a table: name, column, and the schema, table and column referred to.
async fn references(sql: &mut dyn Sql, database: &str, table: &str) -> Result<Vec<Row>, DbError> {
    sql.query(
        "SELECT constraint_name, column_name, referenced_table_schema, referenced_table_name, \
         referenced_column_name FROM information_schema.key_column_usage \
         WHERE table_schema = ?1 AND table_name = ?2 AND referenced_table_name IS NOT NULL \
         ORDER BY constraint_name, ordinal_position",
        &[Value::text(database), Value::text(table)],
    )
    .await
}

/// The foreign keys of a table, one for each parent key. A parent in another database is another
/// resource's row: its locks are not ours to take.
async fn parents(
    sql: &mut dyn Sql,
    server: &Server,
    name: &str,
    raw: &Raw,
    shape: &mut ShapeBuilder,
) -> Result<Vec<Parent>, DbError> {
    let rows = references(sql, &server.database, name).await?;
    let mut parents = Vec::new();
    for reference in rows.chunk_by(|a, b| a[0] == b[0]) {
        if reference[0][2].as_text() != Some(server.database.as_str()) {
            continue;
        }
        let parent = text(&reference[0][3]);
        let parent_raw = Raw::load(sql, &server.database, &parent).await?;
        let lock_name = if server.folds_names { parent.to_lowercase() } else { parent };
        parents.push(resolve_parent(lock_name, &parent_raw, raw, shape, reference));
    }
    Ok(parents)
}

/// Which key of the parent a foreign key refers to. Where that is not certain, the whole parent.
fn resolve_parent(
    lock_name: String,
    parent: &Raw,
    raw: &Raw,
    shape: &mut ShapeBuilder,
    reference: &[Row],
) -> Parent {
    let from: Vec<usize> =
        reference.iter().filter_map(|row| raw.place(row[1].as_text()?)).collect();
    let to: Vec<usize> =
        reference.iter().filter_map(|row| parent.place(row[4].as_text()?)).collect();
    let alike = from.len() == to.len()
        && from
            .iter()
            .zip(&to)
            .all(|(from, to)| raw.columns[*from].compares_like(&parent.columns[*to]));
    let indexes = parent.indexes.iter().filter(|_| alike);
    for (name, index) in indexes {
        let Some(columns) = arrange(index, &from, &to) else { continue };
        let key: Option<Vec<KeyColumn>> =
            columns.iter().map(|place| shape.key_column(raw, *place, None)).collect();
        let Some(columns) = key else { continue };
        let kind =
            if name == PRIMARY { KeyKind::Row } else { KeyKind::Unique(name.to_lowercase()) };
        return Parent { columns, lock_name, kind };
    }
    let any = |column: &usize| KeyColumn { column: *column, fold: Fold::Binary };
    Parent { columns: from.iter().map(any).collect(), lock_name, kind: KeyKind::Table }
}

/// The child's columns in the order of the parent's index, if the foreign key refers to exactly it.
fn arrange(index: &[IndexColumn], from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    if index.len() != to.len() {
        return None;
    }
    let child = |key: &IndexColumn| {
        let column = key.column.filter(|_| key.prefix.is_none())?;
        to.iter().position(|to| *to == column).map(|place| from[place])
    };
    index.iter().map(child).collect()
}

fn text(value: &Value) -> String {
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
