//! What SQLite says about a table.
//!
//! Everything is read in the local transaction that will use it, so that it is one state of the
//! schema. Names are compared without ASCII case, as SQLite does.
//!
//! Easy to get wrong: the schema, since a bare name means a temporary table first, if there is one;
//! and the primary key. `INTEGER PRIMARY KEY` is the row number and has no index;
//! `INTEGER PRIMARY KEY DESC` is not and has one. And the key's collation is the index's, which need
//! not be the column's.

use pactum_core::lock::key::KeyKind;
use sqlparser::dialect::SQLiteDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::at::keys::Fold;
use crate::at::plan::Refused;
use crate::at::table::{Child, Column, KeyColumn, Parent, Table, Unique, Wrap};
use crate::db::{DbError, Row, Sql, Value};

const SPLIT: &str = "keep such tables out of AT transactions, or change them through `bypass()`";

/// Reads a table; `None` if there is none of that name.
pub(crate) async fn load(sql: &mut dyn Sql, written: &str) -> Result<Option<Table>, DbError> {
    let schema_version = schema_version(sql).await?;
    let found = sql
        .query(
            "SELECT l.name, l.type, l.wr, l.strict, coalesce(m.sql, '') FROM pragma_table_list l \
             LEFT JOIN main.sqlite_schema m ON m.name = l.name AND m.type IN ('table', 'view') \
             WHERE l.schema = 'main' AND lower(l.name) = lower(?1)",
            &[Value::text(written)],
        )
        .await?;
    let Some(found) = found.into_iter().next() else { return Ok(None) };
    let name = text(&found[0]);
    let keys = Keys::load(sql, &name).await?;
    let refusal = match refuse_kind(&name, &found) {
        Some(refused) => Some(refused),
        None => match refuse_triggers(sql, &name).await? {
            Some(refused) => Some(refused),
            None => keys.refuse(&name),
        },
    };
    let parents = parents(sql, &name, &keys).await?;
    let children = children(sql, &name, &keys).await?;
    let columns = keys.columns.iter().map(|column| Column {
        name: column.name.clone(),
        source: column.name.clone(),
        generated: column.hidden > 1,
        capture: Wrap::default(),
        restore: Wrap::default(),
    });
    Ok(Some(Table {
        written: written.to_owned(),
        lock_name: name.to_ascii_lowercase(),
        version: schema_version.to_string(),
        fingerprint: fingerprint(&keys.columns, &found),
        columns: columns.collect(),
        primary: keys.primary.iter().map(|key| key.column).collect(),
        key: keys.primary.clone(),
        locks_whole_table: keys.has_expressions,
        uniques: keys.uniques,
        parents,
        children,
        refusal,
        mysql: None,
        name,
    }))
}

/// The number that every change of the schema raises.
pub(crate) async fn schema_version(sql: &mut dyn Sql) -> Result<i64, DbError> {
    let rows = sql.query("SELECT schema_version FROM pragma_schema_version", &[]).await?;
    Ok(rows.first().map_or(0, |row| integer(&row[0])))
}

/// A column as SQLite lists it.
struct RawColumn {
    name: String,
    declared: String,
    not_null: i64,
    key_place: i64,
    /// 0 plain, 2 generated when read, 3 generated and stored; 1, of virtual tables, is left out.
    hidden: i64,
}

/// The columns and unique keys of a table.
struct Keys {
    columns: Vec<RawColumn>,
    primary: Vec<KeyColumn>,
    uniques: Vec<Unique>,
    has_expressions: bool,
    strange_collation: Option<String>,
}

impl Keys {
    async fn load(sql: &mut dyn Sql, table: &str) -> Result<Keys, DbError> {
        let rows = sql
            .query(
                "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1, 'main') \
                 WHERE hidden <> 1 ORDER BY cid",
                &[Value::text(table)],
            )
            .await?;
        let columns = rows.iter().map(|row| RawColumn {
            name: text(&row[0]),
            declared: text(&row[1]),
            not_null: integer(&row[2]),
            key_place: integer(&row[3]),
            hidden: integer(&row[4]),
        });
        let mut keys = Keys {
            columns: columns.collect(),
            primary: Vec::new(),
            uniques: Vec::new(),
            has_expressions: false,
            strange_collation: None,
        };
        keys.load_indexes(sql, table).await?;
        if keys.primary.is_empty() {
            keys.primary = keys.row_number_key();
        }
        Ok(keys)
    }

    async fn load_indexes(&mut self, sql: &mut dyn Sql, table: &str) -> Result<(), DbError> {
        let rows = sql
            .query(
                "SELECT l.name, l.origin, x.name, x.coll FROM pragma_index_list(?1, 'main') l \
                 JOIN pragma_index_xinfo(l.name, 'main') x \
                 WHERE l.\"unique\" = 1 AND x.\"key\" = 1 ORDER BY l.seq, x.seqno",
                &[Value::text(table)],
            )
            .await?;
        for index in rows.chunk_by(|a, b| a[0] == b[0]) {
            let columns: Option<Vec<KeyColumn>> =
                index.iter().map(|row| self.index_column(row)).collect();
            let is_primary = index[0][1].as_text() == Some("pk");
            match columns {
                Some(columns) if is_primary => self.primary = columns,
                Some(columns) => {
                    let name = text(&index[0][0]).to_ascii_lowercase();
                    self.uniques.push(Unique { name, columns });
                }
                None => self.has_expressions = true,
            }
        }
        Ok(())
    }

    /// `None` for an expression. A partial index is taken for a full one: too much is locked then.
    fn index_column(&mut self, row: &Row) -> Option<KeyColumn> {
        let column = self.place(row[2].as_text()?)?;
        let collation = text(&row[3]);
        let fold = match collation.to_ascii_uppercase().as_str() {
            "BINARY" => Fold::Binary,
            "NOCASE" => Fold::NoCase,
            "RTRIM" => Fold::RTrim,
            _ => {
                self.strange_collation = Some(collation);
                Fold::Binary
            }
        };
        Some(KeyColumn { column, fold })
    }

    /// A primary key without an index is the row number.
    fn row_number_key(&self) -> Vec<KeyColumn> {
        let place = self.columns.iter().position(|column| column.key_place == 1);
        place.map(|column| KeyColumn { column, fold: Fold::Binary }).into_iter().collect()
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    fn refuse(&self, table: &str) -> Option<Refused> {
        if self.primary.is_empty() {
            return Some(Refused::new(
                format!("change of `{table}`"),
                "the table has no primary key, so its rows cannot be found again",
                "give it a primary key",
            ));
        }
        let collation = self.strange_collation.as_ref()?;
        Some(Refused::new(
            format!("change of `{table}`"),
            format!("a unique key compares by collation `{collation}`, which is not known here"),
            "use BINARY, NOCASE or RTRIM in unique keys",
        ))
    }
}

/// Changes whenever a row captured before would not mean the same after.
fn fingerprint(columns: &[RawColumn], table: &Row) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for column in columns {
        let RawColumn { name, declared, not_null, key_place, hidden } = column;
        hasher
            .update(format!("{name}\0{declared}\0{not_null}\0{key_place}\0{hidden}\n").as_bytes());
    }
    hasher.update(format!("{}\0{}", integer(&table[2]), integer(&table[3])).as_bytes());
    format!("{:08x}", hasher.finalize())
}

/// What is no plain table, or handles conflicts by itself.
fn refuse_kind(name: &str, found: &Row) -> Option<Refused> {
    let refused = |why: String, instead: &'static str| {
        Some(Refused::new(format!("change of `{name}`"), why, instead))
    };
    let lower = name.to_ascii_lowercase();
    match text(&found[1]).as_str() {
        "table" => {}
        "view" => return refused("it is a view".to_owned(), "change the table behind it"),
        kind => return refused(format!("it is a {kind} table"), SPLIT),
    }
    if lower.starts_with("sqlite_") || lower.starts_with("pactum_") {
        return refused("the table is not the application's".to_owned(), "leave it alone");
    }
    if !resolves_no_conflicts(&text(&found[4])) {
        let why = "its definition has an ON CONFLICT clause, so an INSERT or UPDATE may remove or \
                   skip rows unnoticed";
        return refused(why.to_owned(), "define its constraints without ON CONFLICT");
    }
    None
}

/// Whether no constraint in the definition has an `ON CONFLICT` other than the default.
fn resolves_no_conflicts(definition: &str) -> bool {
    let tokens = Tokenizer::new(&SQLiteDialect {}, definition).with_unescape(false).tokenize();
    let Ok(tokens) = tokens else { return false };
    let words: Vec<Option<Keyword>> = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .map(|token| match token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
            _ => None,
        })
        .collect();
    words.windows(3).all(|words| {
        words[..2] != [Some(Keyword::ON), Some(Keyword::CONFLICT)]
            || words[2] == Some(Keyword::ABORT)
    })
}

async fn refuse_triggers(sql: &mut dyn Sql, name: &str) -> Result<Option<Refused>, DbError> {
    let rows = sql
        .query(
            "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' \
             AND lower(tbl_name) = lower(?1)",
            &[Value::text(name)],
        )
        .await?;
    Ok(rows.first().map(|row| {
        Refused::new(
            format!("change of `{name}`"),
            format!("trigger `{}` changes what the agent cannot see", text(&row[0])),
            "drop the trigger and do its work in the application",
        )
    }))
}

/// The foreign keys of a table, one for each parent key.
async fn parents(sql: &mut dyn Sql, name: &str, keys: &Keys) -> Result<Vec<Parent>, DbError> {
    let rows = sql
        .query(
            "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1, 'main') \
             ORDER BY id, seq",
            &[Value::text(name)],
        )
        .await?;
    let mut parents = Vec::new();
    for reference in rows.chunk_by(|a, b| a[0] == b[0]) {
        let parent = text(&reference[0][1]);
        let parent_keys = Keys::load(sql, &parent).await?;
        parents.push(resolve_parent(&parent, &parent_keys, keys, reference));
    }
    Ok(parents)
}

/// Which key of the parent a foreign key refers to. Where that is not certain, the whole parent.
fn resolve_parent(parent: &str, parent_keys: &Keys, keys: &Keys, reference: &[Row]) -> Parent {
    let places = |row: &Row| keys.place(&text(&row[2]));
    let from: Vec<usize> = reference.iter().filter_map(places).collect();
    // Without a list of columns, the parent's primary key is meant.
    let named = |row: &Row| parent_keys.place(row[3].as_text()?);
    let to: Option<Vec<usize>> = if reference.iter().all(|row| row[3] == Value::Null) {
        Some(parent_keys.primary.iter().map(|key| key.column).collect())
    } else {
        reference.iter().map(named).collect()
    };
    let lock_name = parent.to_ascii_lowercase();
    let exact = to.filter(|to| to.len() == from.len()).and_then(|to| {
        let affinities_agree = from.iter().zip(&to).all(|(from, to)| {
            affinity(&keys.columns[*from].declared) == affinity(&parent_keys.columns[*to].declared)
        });
        let index = |columns: &[KeyColumn]| arrange(columns, &from, &to);
        let primary = index(&parent_keys.primary).map(|columns| (KeyKind::Row, columns));
        let unique = || {
            parent_keys.uniques.iter().find_map(|unique| {
                Some((KeyKind::Unique(unique.name.clone()), index(&unique.columns)?))
            })
        };
        primary.or_else(unique).filter(|_| affinities_agree)
    });
    match exact {
        Some((kind, columns)) => Parent { columns, lock_name, kind },
        None => {
            let any = |column: &usize| KeyColumn { column: *column, fold: Fold::Binary };
            Parent { columns: from.iter().map(any).collect(), lock_name, kind: KeyKind::Table }
        }
    }
}

/// The child's columns in the order of the parent's index, if the foreign key refers to exactly it.
fn arrange(index: &[KeyColumn], from: &[usize], to: &[usize]) -> Option<Vec<KeyColumn>> {
    if index.len() != to.len() {
        return None;
    }
    let child = |key: &KeyColumn| {
        let place = to.iter().position(|to| *to == key.column)?;
        Some(KeyColumn { column: from[place], fold: key.fold })
    };
    index.iter().map(child).collect()
}

/// The foreign keys that refer to a table.
async fn children(sql: &mut dyn Sql, name: &str, keys: &Keys) -> Result<Vec<Child>, DbError> {
    let rows = sql
        .query(
            "SELECT m.name, f.id, f.\"from\", f.\"to\", f.on_delete, f.on_update \
             FROM main.sqlite_schema m JOIN pragma_foreign_key_list(m.name, 'main') f \
             WHERE m.type = 'table' AND lower(f.\"table\") = lower(?1) \
             ORDER BY m.name, f.id, f.seq",
            &[Value::text(name)],
        )
        .await?;
    let acts = |value: &Value| !matches!(value.as_text(), Some("NO ACTION" | "RESTRICT"));
    let mut children = Vec::new();
    for reference in rows.chunk_by(|a, b| a[..2] == b[..2]) {
        let columns = reference.iter().enumerate().filter_map(|(place, row)| {
            let to = match row[3].as_text() {
                Some(to) => keys.place(to),
                None => keys.primary.get(place).map(|key| key.column),
            };
            Some((text(&row[2]), to?))
        });
        children.push(Child {
            table: text(&reference[0][0]),
            columns: columns.collect(),
            acts_on_delete: acts(&reference[0][4]),
            acts_on_update: acts(&reference[0][5]),
        });
    }
    Ok(children)
}

/// How SQLite would convert a value on its way into a column; numbers compare as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    Text,
    Blob,
    Number,
}

/// SQLite's own rule, in its order.
fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["INT"]) {
        Affinity::Number
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if declared.is_empty() || has(&["BLOB"]) || declared == "ANY" {
        Affinity::Blob
    } else {
        Affinity::Number
    }
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
    fn a_clause_on_conflicts_is_found_wherever_it_stands() {
        for definition in [
            "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT REPLACE)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE on /* x */ conflict Ignore)",
            "CREATE TABLE t (id, PRIMARY KEY (id) ON CONFLICT ROLLBACK)",
            "CREATE TABLE t (id INTEGER NOT NULL ON CONFLICT FAIL)",
        ] {
            assert!(!resolves_no_conflicts(definition), "{definition}");
        }
        for definition in [
            "CREATE TABLE t (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT ABORT)",
            "CREATE TABLE t (id INTEGER DEFAULT 'ON CONFLICT REPLACE')",
            "CREATE TABLE t (id INTEGER) -- ON CONFLICT REPLACE",
        ] {
            assert!(resolves_no_conflicts(definition), "{definition}");
        }
    }

    #[test]
    fn affinities_are_sqlites() {
        for (declared, expected) in [
            ("INTEGER", Affinity::Number),
            ("CHARINT", Affinity::Number),
            ("VARCHAR(10)", Affinity::Text),
            ("", Affinity::Blob),
            ("BLOB", Affinity::Blob),
            ("REAL", Affinity::Number),
            ("DECIMAL(10,2)", Affinity::Number),
            ("STRING", Affinity::Number),
        ] {
            assert_eq!(affinity(declared), expected, "{declared}");
        }
    }
}
