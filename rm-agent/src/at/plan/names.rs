//! Names: what an identifier stands for, and how the rest of the agent calls a table.

use sqlparser::ast::{Ident, ObjectName, TableFactor};

use super::Refused;
use super::text::Text;
use crate::db::Kind;

/// A table that a statement is on.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// As the database's dialect takes it.
    pub(super) table: String,
    /// As the statement calls it: its alias, or its name as written.
    pub(super) target: String,
    /// The name or alias by which columns are qualified, without quotes.
    pub(super) qualifier: String,
    /// The last part of its name, without quotes.
    pub(super) last: String,
}

/// The table under a name in a statement.
pub(super) fn named(
    text: &Text<'_>,
    statement: &'static str,
    name: &ObjectName,
    alias: Option<&Ident>,
) -> Result<Named, Refused> {
    let unknown =
        || Refused::new(statement, "its table's name is not understood", "name the table plainly");
    let idents = idents(name).ok_or_else(unknown)?;
    let (first, last) = idents.first().zip(idents.last()).ok_or_else(unknown)?;
    // The parser takes `ONLY t` for a table with an alias.
    if text.kind == Kind::Postgres && first.quote_style.is_none() && is_only(first) {
        return Err(unknown());
    }
    let called = alias.unwrap_or(last);
    let target = match alias {
        Some(alias) => text.written(alias, alias),
        None => text.written(first, last),
    };
    Ok(Named {
        table: reference(text.kind, statement, &idents)?,
        target: target.ok_or_else(unknown)?,
        qualifier: value(text.kind, called),
        last: value(text.kind, last),
    })
}

fn is_only(ident: &Ident) -> bool {
    ident.value.eq_ignore_ascii_case("only")
}

/// The table under a name, as the database's dialect takes it.
pub(super) fn table(
    kind: Kind,
    statement: &'static str,
    name: &ObjectName,
) -> Result<String, Refused> {
    let unknown =
        || Refused::new(statement, "a table's name is not understood", "name the tables plainly");
    reference(kind, statement, &idents(name).ok_or_else(unknown)?)
}

fn reference(kind: Kind, statement: &'static str, name: &[&Ident]) -> Result<String, Refused> {
    let elsewhere = |why: &'static str| {
        Err(Refused::new(
            statement,
            why,
            "attach each database to the agent as a resource of its own",
        ))
    };
    let values: Vec<String> = name.iter().map(|ident| value(kind, ident)).collect();
    match (kind, values.as_slice()) {
        (Kind::Sqlite, [table]) => Ok(table.clone()),
        (Kind::Sqlite, [schema, table]) if schema.eq_ignore_ascii_case("main") => Ok(table.clone()),
        (Kind::Sqlite, _) => elsewhere("its table is not in the main database"),
        (Kind::Postgres, [_] | [_, _]) => Ok(joined(&values, '"')),
        (Kind::Mysql, [table]) if !table.contains('`') => Ok(table.clone()),
        (Kind::Mysql, [_, table]) if !table.contains('`') => Ok(joined(&values, '`')),
        (Kind::Mysql, [_] | [_, _]) => Err(Refused::new(
            statement,
            "its table's name holds a backtick, which nothing here quotes twice",
            "rename the table",
        )),
        (Kind::Postgres | Kind::Mysql, _) => {
            elsewhere("its table's name has more parts than a schema and a table")
        }
    }
}

fn joined(names: &[String], quote: char) -> String {
    let doubled = format!("{quote}{quote}");
    let quoted = names
        .iter()
        .map(|name| format!("{quote}{}{quote}", name.replace(quote, &doubled)))
        .collect::<Vec<_>>();
    quoted.join(".")
}

/// A column that a statement assigns or fills: its name, and what it is qualified with.
pub(super) fn column<'n>(
    kind: Kind,
    statement: &'static str,
    name: &'n ObjectName,
) -> Result<(String, Vec<&'n Ident>), Refused> {
    let unknown = |why: &'static str| Refused::new(statement, why, "name the column plainly");
    let mut idents = idents(name).ok_or_else(|| unknown("a column's name is not understood"))?;
    let last = idents.pop().ok_or_else(|| unknown("a column's name is not understood"))?;
    match (kind, idents.first()) {
        // `SET a.b` assigns a field of column `a`.
        (Kind::Postgres, Some(first)) => Ok((value(kind, first), Vec::new())),
        (Kind::Sqlite, Some(_)) => Err(unknown("it qualifies a column that it assigns")),
        (Kind::Postgres | Kind::Sqlite | Kind::Mysql, _) => Ok((value(kind, last), idents)),
    }
}

fn idents(name: &ObjectName) -> Option<Vec<&Ident>> {
    name.0.iter().map(|part| part.as_ident()).collect()
}

/// The name that an identifier stands for: the tokenizer leaves doubled quotes as they are, and only
/// PostgreSQL folds what is not quoted.
pub(super) fn value(kind: Kind, ident: &Ident) -> String {
    match ident.quote_style {
        None if kind == Kind::Postgres => ident.value.to_ascii_lowercase(),
        None | Some('[') => ident.value.clone(),
        Some(quote) => ident.value.replace(&format!("{quote}{quote}"), &quote.to_string()),
    }
}

/// The name and alias of a table that is read or changed as it is, without hints, samples,
/// partitions or arguments.
pub(super) fn plain_table(factor: &TableFactor) -> Option<(&ObjectName, Option<&Ident>)> {
    let TableFactor::Table {
        name,
        alias,
        args: None,
        with_hints,
        version: None,
        with_ordinality: false,
        partitions,
        json_path: None,
        sample: None,
        index_hints,
    } = factor
    else {
        return None;
    };
    let plain_alias =
        alias.as_ref().is_none_or(|alias| alias.columns.is_empty() && alias.at.is_none());
    let plain = with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty();
    (plain && plain_alias).then(|| (name, alias.as_ref().map(|alias| &alias.name)))
}
