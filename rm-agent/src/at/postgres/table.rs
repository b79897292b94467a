//! What PostgreSQL says about a table.
//!
//! A table's version is made of the transactions that last wrote its rows in the catalogs, so it
//! differs after every change that could matter here. It is read first and again in the statement
//! that writes the barrier row: between its change and its local commit a transaction keeps
//! everybody from altering the table, so a version that is the same at the end was the same all along.
//!
//! Easy to get wrong: names. `to_regclass` finds what a statement would find, on this connection; from
//! there on tables go by `schema.table`, quoted, which every connection understands.

use super::keys::{Attribute, Keys};
use crate::at::plan::Refused;
use crate::at::table::{Child, Column, Parent, Table, Wrap};
use crate::db::{DbError, Sql, Value};

/// The version of the table `c`. Rows never move to another table, so who wrote them, in the order of
/// their own ids, says enough; arrays of that cost the database a third less than text that is put
/// together. ANALYZE and its kin write their figures in place, which leaves no
/// trace here. A foreign key of another table shows by its triggers.
pub(super) const VERSION: &str = "concat_ws(' ', c.oid, c.xmin, row_security_active(c.oid), \
     array(SELECT a.xmin FROM pg_catalog.pg_attribute a \
      WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum), \
     array(SELECT i.xmin FROM pg_catalog.pg_index i \
      WHERE i.indrelid = c.oid ORDER BY i.indexrelid), \
     CASE WHEN c.relhastriggers THEN array(SELECT t.xmin FROM pg_catalog.pg_trigger t \
      WHERE t.tgrelid = c.oid ORDER BY t.oid) END, \
     CASE WHEN c.relhasrules THEN array(SELECT r.xmin FROM pg_catalog.pg_rewrite r \
      WHERE r.ev_class = c.oid ORDER BY r.oid) END, \
     CASE WHEN c.relhassubclass THEN \
      (SELECT count(*) FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid) END)";

/// Reads a table; `None` if there is none of that name.
pub(super) async fn load(sql: &mut dyn Sql, written: &str) -> Result<Option<Table>, DbError> {
    let Some(found) = Found::load(sql, written).await? else { return Ok(None) };
    let mut keys = Keys::load(sql, found.oid).await?;
    let parents = keys.parents(sql, found.oid).await?;
    let children = keys.children(sql, found.oid).await?;
    let refusal = found.refuse().or_else(|| keys.refuse(&found.name));
    let mut fingerprint = fingerprint(&keys);
    if keys.attributes.iter().any(|attribute| attribute.kind.is_money()) {
        // Money is captured as this session shows it.
        fingerprint = format!("{fingerprint}-{}", found.lc_monetary);
    }
    Ok(Some(found.into_table(written, fingerprint, keys, parents, children, refusal)))
}

/// The first look at a table.
struct Found {
    oid: i64,
    name: String,
    version: String,
    schema: String,
    bare_name: String,
    kind: String,
    persistence: String,
    is_partition: bool,
    inherits: bool,
    is_inherited: bool,
    has_row_security: bool,
    trigger: Option<String>,
    rule: Option<String>,
    lc_monetary: String,
    quotes_all: bool,
}

impl Found {
    async fn load(sql: &mut dyn Sql, written: &str) -> Result<Option<Found>, DbError> {
        let text = format!(
            "SELECT c.oid::int8, {VERSION}, n.nspname::text, c.relname::text, c.relkind::text, \
             c.relpersistence::text, c.relispartition, \
             EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid), \
             EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid), \
             row_security_active(c.oid), \
             (SELECT t.tgname::text FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid \
              AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY t.tgname LIMIT 1), \
             (SELECT r.rulename::text FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid \
              ORDER BY r.rulename LIMIT 1), \
             current_setting('lc_monetary'), format('%I.%I', n.nspname, c.relname), \
             current_setting('quote_all_identifiers') = 'on' \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = to_regclass(?1)::oid"
        );
        let rows = sql.query(&text, &[Value::text(written)]).await?;
        Ok(rows.into_iter().next().map(|row| Found {
            oid: integer(&row[0]),
            name: text_of(&row[13]),
            version: text_of(&row[1]),
            schema: text_of(&row[2]),
            bare_name: text_of(&row[3]),
            kind: text_of(&row[4]),
            persistence: text_of(&row[5]),
            is_partition: is_true(&row[6]),
            inherits: is_true(&row[7]),
            is_inherited: is_true(&row[8]),
            has_row_security: is_true(&row[9]),
            trigger: row[10].as_text().map(str::to_owned),
            rule: row[11].as_text().map(str::to_owned),
            lc_monetary: text_of(&row[12]),
            quotes_all: is_true(&row[14]),
        }))
    }

    fn into_table(
        self,
        written: &str,
        fingerprint: String,
        keys: Keys,
        parents: Vec<Parent>,
        children: Vec<Child>,
        refusal: Option<Refused>,
    ) -> Table {
        let columns = keys.attributes.iter().map(|attribute| Column {
            name: attribute.name.clone(),
            source: attribute.name.clone(),
            generated: attribute.generated,
            capture: attribute.kind.capture(),
            restore: attribute.kind.restore(),
        });
        let forms = keys.forms.iter().map(|form| Column {
            name: form.name.clone(),
            source: keys.attributes[form.column].name.clone(),
            generated: true,
            capture: form.capture.clone(),
            restore: Wrap::default(),
        });
        Table {
            written: written.to_owned(),
            lock_name: self.name.clone(),
            name: self.name,
            version: self.version,
            fingerprint,
            columns: columns.chain(forms).collect(),
            primary: keys.primary,
            key: keys.key,
            uniques: keys.uniques,
            locks_whole_table: keys.locks_whole_table,
            parents,
            children,
            refusal,
            mysql: None,
        }
    }

    fn refuse(&self) -> Option<Refused> {
        const SPLIT: &str =
            "keep such tables out of AT transactions, or change them through `bypass()`";
        let refused = |why: String, instead: &'static str| {
            Some(Refused::new(format!("change of `{}`", self.name), why, instead))
        };
        if self.quotes_all {
            let why = "`quote_all_identifiers` is on in this session, which would give the table, and \
                       with it its lock keys, another name than elsewhere";
            return refused(why.to_owned(), "turn it off for the pool");
        }
        let is_systems = ["pg_catalog", "information_schema", "pg_toast"].contains(&&*self.schema);
        if is_systems || self.bare_name.starts_with("pactum_") {
            return refused("the table is not the application's".to_owned(), "leave it alone");
        }
        match self.kind.as_str() {
            "r" => {}
            "v" | "m" => return refused("it is a view".to_owned(), "change the table behind it"),
            "f" => return refused("it is a foreign table".to_owned(), SPLIT),
            "p" => return refused("it is a partitioned table".to_owned(), SPLIT),
            _ => return refused("it is no table".to_owned(), SPLIT),
        }
        match self.persistence.as_str() {
            "p" => {}
            "t" => return refused("it is a temporary table".to_owned(), SPLIT),
            _ => {
                let why = "it is unlogged: a crash empties it, and its undo log would remain";
                return refused(why.to_owned(), "ALTER TABLE … SET LOGGED");
            }
        }
        if self.is_partition {
            return refused("it is a partition of another table".to_owned(), SPLIT);
        }
        if self.inherits || self.is_inherited {
            let why = "it inherits or is inherited from, so its statements change several tables";
            return refused(why.to_owned(), SPLIT);
        }
        if let Some(trigger) = &self.trigger {
            return refused(
                format!("trigger `{trigger}` changes what the agent cannot see"),
                "drop the trigger and do its work in the application",
            );
        }
        if let Some(rule) = &self.rule {
            return refused(
                format!("rule `{rule}` turns its statements into others"),
                "drop the rule and do its work in the application",
            );
        }
        if self.has_row_security {
            let why = "its row security hides rows, so images would not be of all that changes";
            return refused(
                why.to_owned(),
                "give the agent's role BYPASSRLS, and filter in the application",
            );
        }
        None
    }
}

/// Changes whenever a row captured before would not mean the same after.
fn fingerprint(keys: &Keys) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for attribute in &keys.attributes {
        let Attribute { name, generated, not_null, collation, kind, .. } = attribute;
        let line = format!("{name}\0{}\0{generated}\0{not_null}\0{collation}\n", kind.cast);
        hasher.update(line.as_bytes());
    }
    for place in &keys.primary {
        hasher.update(format!("{place}\n").as_bytes());
    }
    for form in &keys.forms {
        hasher.update(format!("{}\0{:?}\n", form.name, form.form).as_bytes());
    }
    format!("{:08x}", hasher.finalize())
}

pub(super) fn text_of(value: &Value) -> String {
    value.as_text().unwrap_or_default().to_owned()
}

pub(super) fn integer(value: &Value) -> i64 {
    value.as_integer().unwrap_or_default()
}

pub(super) fn is_true(value: &Value) -> bool {
    value.as_integer() == Some(1)
}
