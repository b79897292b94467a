//! What lies around a table: its triggers, and the foreign keys from and to it.
//!
//! Easy to get wrong: what an account may not see. Without the TRIGGER privilege a table looks as if
//! it had no triggers.

use super::raw::Raw;
use super::shape::{Shape, resolve_parent};
use super::table::{Server, text};
use crate::at::plan::Refused;
use crate::at::table::{Child, Parent};
use crate::db::{DbError, Row, Sql, Value};

/// Triggers, and foreign keys that refer to a table.
pub(super) struct Around {
    /// Table, name, what it does on delete and on update.
    pub(super) references: Vec<Row>,
    pub(super) triggers: Vec<Row>,
}

impl Around {
    pub(super) async fn load(sql: &mut dyn Sql, table: &str) -> Result<Around, DbError> {
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

    pub(super) fn describe(&self) -> String {
        let rows = self.references.iter().chain(&self.triggers);
        rows.map(|row| row.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    pub(super) async fn refuse(
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

    pub(super) async fn children(
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
pub(super) async fn sees_triggers(
    sql: &mut dyn Sql,
    database: &str,
    table: &str,
) -> Result<bool, DbError> {
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
pub(super) async fn references(
    sql: &mut dyn Sql,
    database: &str,
    table: &str,
) -> Result<Vec<Row>, DbError> {
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
pub(super) async fn parents(
    sql: &mut dyn Sql,
    server: &Server,
    name: &str,
    raw: &Raw,
    shape: &mut Shape,
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
