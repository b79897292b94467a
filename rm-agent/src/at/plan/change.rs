//! INSERT, UPDATE and DELETE: which table, which rows, and what of their syntax is understood.
//!
//! Every field of the parsed statement is named, so that a new clause of a new parser version is
//! a compile error here and never runs unnoticed.

use sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, ObjectName, Statement, TableFactor,
    TableObject, TableWithJoins, Update,
};
use sqlparser::keywords::Keyword;

use super::read::is_pure;
use super::text::Text;
use super::{
    Change, ChangeKind, Insert as InsertPlan, InsertSource, OnConflict, Refused, Source,
    Update as UpdatePlan,
};

const PLAIN: &str = "use a statement on one table, with a subquery in its WHERE or SET";

pub(super) fn plan_change(text: &Text<'_>, statement: Statement) -> Result<Change, Refused> {
    match statement {
        Statement::Insert(insert) => plan_insert(text, insert),
        Statement::Update(update) => plan_update(text, update),
        Statement::Delete(delete) => plan_delete(text, delete),
        // The parser's enum has every statement that SQL has.
        _ => Err(Refused::new("statement", "the parser takes it for something else", PLAIN)),
    }
}

/// What `INSERT OR …`, `REPLACE` and upserts have in common.
pub(super) fn refuse_or(statement: &'static str) -> Refused {
    Refused::new(
        statement,
        "whether it inserts, changes or removes rows depends on what is there",
        "use an UPDATE, look at the rows affected, and INSERT if there were none",
    )
}

fn plan_insert(text: &Text<'_>, insert: Insert) -> Result<Change, Refused> {
    let Insert {
        insert_token: _,
        optimizer_hints,
        or,
        ignore,
        into: _,
        table,
        table_alias: _,
        columns,
        overwrite,
        source,
        assignments,
        partitioned,
        after_columns,
        has_table_keyword,
        on,
        returning,
        output,
        replace_into,
        priority,
        insert_alias,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    if replace_into {
        return Err(refuse_or("REPLACE"));
    }
    if or.is_some() || ignore {
        return Err(refuse_or("INSERT OR …"));
    }
    if on.is_some() {
        return Err(refuse_or("INSERT … ON CONFLICT"));
    }
    let strange = overwrite
        || has_table_keyword
        || output.is_some()
        || !optimizer_hints.is_empty()
        || !assignments.is_empty()
        || partitioned.is_some()
        || !after_columns.is_empty()
        || priority.is_some()
        || insert_alias.is_some()
        || settings.is_some()
        || format_clause.is_some()
        || multi_table_insert_type.is_some()
        || !multi_table_into_clauses.is_empty()
        || !multi_table_when_clauses.is_empty()
        || multi_table_else_clause.is_some();
    if strange {
        return Err(clause("INSERT"));
    }
    let TableObject::TableName(table) = table else { return Err(clause("INSERT")) };
    if source.as_deref().is_some_and(|source| !is_pure(source) || !source.locks.is_empty()) {
        return Err(clause("INSERT"));
    }
    let columns = columns.iter().map(column_name).collect::<Result<_, _>>()?;
    let insert = InsertPlan {
        with: None,
        columns,
        source: InsertSource::Defaults,
        on_conflict: OnConflict::Fail,
        conflict_parameters: 0,
    };
    change(text, "INSERT", &table, None, returning.is_some(), ChangeKind::Insert(insert))
}

fn plan_update(text: &Text<'_>, update: Update) -> Result<Change, Refused> {
    let Update {
        update_token: _,
        optimizer_hints,
        table,
        assignments,
        from,
        selection,
        returning,
        output,
        or,
        order_by,
        limit,
    } = update;
    if or.is_some() {
        return Err(refuse_or("UPDATE OR …"));
    }
    if from.is_some() || !table.joins.is_empty() {
        let why = "the rows that it joins decide which rows it changes, and to what";
        return Err(Refused::new("UPDATE … FROM", why, PLAIN));
    }
    if output.is_some() || !optimizer_hints.is_empty() || !order_by.is_empty() || limit.is_some() {
        return Err(clause("UPDATE"));
    }
    check_pure("UPDATE", selection.as_ref())?;
    for assignment in &assignments {
        check_pure("UPDATE", Some(&assignment.value))?;
    }
    let name = single_table("UPDATE", &table)?;
    let mut assigned = Vec::new();
    for assignment in assignments {
        match assignment.target {
            AssignmentTarget::ColumnName(column) => assigned.push(column_name(&column)?),
            AssignmentTarget::Tuple(columns) => {
                for column in &columns {
                    assigned.push(column_name(column)?);
                }
            }
        }
    }
    let set = text.find(Keyword::SET, 1).ok_or_else(|| clause("UPDATE"))?;
    let returning = returning.is_some();
    let end = end(text, returning);
    let condition = match selection {
        None => None,
        Some(_) => {
            let found = text.find(Keyword::WHERE, set).ok_or_else(|| clause("UPDATE"))?;
            Some(text.cut(found + 1, end))
        }
    };
    let assignments_end = text.find(Keyword::WHERE, set).unwrap_or(end);
    let set_part = Some(text.cut(set + 1, assignments_end));
    let rows = Source { from: text.cut(1, set), set: set_part, condition, ..Source::default() };
    let kind = ChangeKind::Update(UpdatePlan { assigned, rows });
    change(text, "UPDATE", name, alias_of(&table.relation), returning, kind)
}

fn plan_delete(text: &Text<'_>, delete: Delete) -> Result<Change, Refused> {
    let Delete {
        delete_token: _,
        optimizer_hints,
        tables,
        from,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
    } = delete;
    if !tables.is_empty() || using.is_some() {
        let why = "the rows that it joins decide which rows it removes";
        return Err(Refused::new("DELETE … USING", why, PLAIN));
    }
    if output.is_some() || !optimizer_hints.is_empty() || !order_by.is_empty() || limit.is_some() {
        return Err(clause("DELETE"));
    }
    check_pure("DELETE", selection.as_ref())?;
    let FromTable::WithFromKeyword(from) = from else { return Err(clause("DELETE")) };
    let [table] = from.as_slice() else { return Err(clause("DELETE")) };
    let name = single_table("DELETE", table)?;
    let kind = ChangeKind::Delete(Source::default());
    change(text, "DELETE", name, alias_of(&table.relation), returning.is_some(), kind)
}

fn change(
    text: &Text<'_>,
    statement: &'static str,
    table: &ObjectName,
    alias: Option<&Ident>,
    returning: bool,
    kind: ChangeKind,
) -> Result<Change, Refused> {
    let target = alias.map_or_else(|| table.to_string(), ToString::to_string);
    let table = table_name(statement, table)?;
    let returning = returning.then(|| text.cut(end(text, returning) + 1, text.pieces.len()));
    let text = text.cut(0, text.pieces.len());
    Ok(Change { table, target, text, returning, kind })
}

fn alias_of(factor: &TableFactor) -> Option<&Ident> {
    match factor {
        TableFactor::Table { alias, .. } => alias.as_ref().map(|alias| &alias.name),
        _ => None,
    }
}

/// Where the user's RETURNING clause begins, or the end.
fn end(text: &Text<'_>, returning: bool) -> usize {
    let found = if returning { text.find_last(Keyword::RETURNING) } else { None };
    found.unwrap_or(text.pieces.len())
}

fn clause(statement: &'static str) -> Refused {
    Refused::new(statement, "it has a clause that is not known here", PLAIN)
}

/// A subquery that changes rows is a change that the image would not see.
fn check_pure(statement: &'static str, expr: Option<&Expr>) -> Result<(), Refused> {
    if expr.is_none_or(is_pure) { Ok(()) } else { Err(clause(statement)) }
}

fn single_table<'t>(
    statement: &'static str,
    table: &'t TableWithJoins,
) -> Result<&'t ObjectName, Refused> {
    let TableWithJoins { relation, joins } = table;
    plain_table(relation)
        .filter(|_| joins.is_empty())
        .ok_or_else(|| Refused::new(statement, "it is not on one plain table", PLAIN))
}

/// The name of a table that is read or changed as it is, without hints, samples or arguments.
pub(super) fn plain_table(factor: &TableFactor) -> Option<&ObjectName> {
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
    (plain && plain_alias).then_some(name)
}

/// A table of the main database, as it is written.
pub(super) fn table_name(statement: &'static str, name: &ObjectName) -> Result<String, Refused> {
    let parts: Option<Vec<String>> =
        name.0.iter().map(|part| part.as_ident().map(identifier)).collect();
    match parts.as_deref() {
        Some([table]) => Ok(table.clone()),
        Some([schema, table]) if schema.eq_ignore_ascii_case("main") => Ok(table.clone()),
        Some(_) | None => Err(Refused::new(
            statement,
            "its table is not in the main database",
            "attach each database to the agent as a resource of its own",
        )),
    }
}

fn column_name(name: &ObjectName) -> Result<String, Refused> {
    let last = name.0.last().and_then(|part| part.as_ident());
    last.map(|ident| identifier(ident).to_ascii_lowercase()).ok_or_else(|| clause("UPDATE"))
}

/// The name that an identifier stands for: the tokenizer leaves doubled quotes as they are.
fn identifier(ident: &Ident) -> String {
    match ident.quote_style {
        None | Some('[') => ident.value.clone(),
        Some(quote) => ident.value.replace(&format!("{quote}{quote}"), &quote.to_string()),
    }
}
