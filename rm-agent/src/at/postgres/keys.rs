//! The columns of a table, its keys, and the keys that it shares with others by foreign keys.
//!
//! A key that cannot be told apart as the database does it (an expression, an exclusion, an operator
//! class of its own) makes changes lock the whole table: too much is allowed, too little is not.

use pactum_core::lock::key::KeyKind;

use super::table::{integer, is_true, text_of};
use super::types::{Form, Type};
use crate::at::keys::Fold;
use crate::at::plan::Refused;
use crate::at::table::{Child, KeyColumn, Parent, Unique, Wrap};
use crate::db::{DbError, Row, Sql, Value};

/// A [`Type`] of the attribute `a`: seven items. What initdb made has a number below 16384.
const TYPE_ITEMS: &str = "b.oid::int8, \
     CASE WHEN b.oid < 16384 THEN b.typname::text ELSE '' END, \
     CASE WHEN e.oid < 16384 THEN e.typname::text ELSE '' END, \
     b.typtype = 'e', b.typcategory = 'A', \
     EXISTS (SELECT FROM pg_catalog.pg_opclass o WHERE o.opcmethod = 405 AND o.opcdefault \
      AND o.opcintype = CASE h.oid WHEN 1043 THEN 25 ELSE h.oid END), \
     CASE WHEN t.oid < 16384 THEN format_type(t.oid, a.atttypmod) \
      ELSE format('%I.%I', tn.nspname, t.typname) END";

/// What [`TYPE_ITEMS`] needs: `b` is what a domain is made of, `h` what has to be hashed in it.
const TYPE_FROM: &str = "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace \
     CROSS JOIN LATERAL (WITH RECURSIVE d AS (SELECT t.oid, t.typtype, t.typbasetype \
       UNION ALL SELECT u.oid, u.typtype, u.typbasetype FROM d \
       JOIN pg_catalog.pg_type u ON u.oid = d.typbasetype WHERE d.typtype = 'd') \
      SELECT d.oid FROM d WHERE d.typtype <> 'd') x \
     JOIN pg_catalog.pg_type b ON b.oid = x.oid \
     LEFT JOIN pg_catalog.pg_type e ON e.oid = b.typelem AND b.typcategory = 'A' \
     LEFT JOIN pg_catalog.pg_range g ON b.oid IN (g.rngtypid, g.rngmultitypid) \
     CROSS JOIN LATERAL (SELECT coalesce(g.rngsubtype, e.oid, b.oid) AS oid) h";

/// Whether a type that users made of others, the attribute `a`, has somewhere in it one whose text
/// depends on the session: money, and names of catalog objects.
const HAS_SESSIONS_TEXT: &str = "CASE WHEN b.oid < 16384 THEN false ELSE EXISTS ( \
     WITH RECURSIVE inside AS (SELECT b.oid UNION \
      SELECT part.oid FROM inside JOIN pg_catalog.pg_type y ON y.oid = inside.oid \
      CROSS JOIN LATERAL (SELECT y.typelem AS oid UNION ALL SELECT y.typbasetype \
       UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r \
        WHERE y.oid IN (r.rngtypid, r.rngmultitypid) \
       UNION ALL SELECT f.atttypid FROM pg_catalog.pg_attribute f \
        WHERE f.attrelid = y.typrelid AND f.attnum > 0 AND NOT f.attisdropped) part \
      WHERE part.oid <> 0) \
     SELECT FROM inside JOIN pg_catalog.pg_type y ON y.oid = inside.oid \
     WHERE y.oid < 16384 AND (y.typname = 'money' OR y.typname ~ '^reg')) END";

/// How many items that are.
const TYPE_WIDTH: usize = 7;

fn type_of(items: &[Value]) -> Type {
    Type {
        oid: integer(&items[0]),
        name: text_of(&items[1]),
        element: text_of(&items[2]),
        is_enum: is_true(&items[3]),
        is_array: is_true(&items[4]),
        hashable: is_true(&items[5]),
        cast: text_of(&items[6]),
    }
}

/// A column.
pub(super) struct Attribute {
    pub(super) number: i64,
    pub(super) name: String,
    pub(super) generated: bool,
    pub(super) not_null: bool,
    pub(super) collation: i64,
    pub(super) kind: Type,
    /// See [`HAS_SESSIONS_TEXT`].
    has_sessions_text: bool,
}

/// A column in the form in which a key compares it.
pub(super) struct FormColumn {
    pub(super) name: String,
    pub(super) column: usize,
    pub(super) form: Form,
    pub(super) capture: Wrap,
}

/// The columns and unique keys of a table.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) attributes: Vec<Attribute>,
    /// In a captured row they come after the attributes.
    pub(super) forms: Vec<FormColumn>,
    pub(super) primary: Vec<usize>,
    pub(super) key: Vec<KeyColumn>,
    pub(super) uniques: Vec<Unique>,
    pub(super) locks_whole_table: bool,
    primary_is_deferrable: bool,
}

/// A collation: by which an index compares, and whether equal means the same bytes.
#[derive(Clone, Copy)]
struct Collation {
    oid: i64,
    deterministic: bool,
}

impl Keys {
    pub(super) async fn load(sql: &mut dyn Sql, table: i64) -> Result<Keys, DbError> {
        let mut keys = Keys { attributes: attributes(sql, table).await?, ..Keys::default() };
        keys.load_indexes(sql, table).await?;
        Ok(keys)
    }

    async fn load_indexes(&mut self, sql: &mut dyn Sql, table: i64) -> Result<(), DbError> {
        let rows = sql
            .query(
                "SELECT i.indexrelid::int8, ic.relname::text, i.indisprimary, i.indimmediate, \
                 i.indisexclusion OR coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false), \
                 k.attnum::int8, k.collation::int8, coalesce(co.collisdeterministic, true), \
                 op.opcdefault OR op.opcname LIKE '%pattern_ops' \
                 FROM pg_catalog.pg_index i \
                 JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
                 CROSS JOIN LATERAL (SELECT s.n, i.indkey[s.n] AS attnum, \
                   i.indcollation[s.n] AS collation, i.indclass[s.n] AS opclass \
                   FROM generate_series(0, i.indnkeyatts - 1) s(n)) k \
                 JOIN pg_catalog.pg_opclass op ON op.oid = k.opclass \
                 LEFT JOIN pg_catalog.pg_collation co ON co.oid = k.collation \
                 WHERE i.indrelid = ?1::oid AND (i.indisunique OR i.indisexclusion) \
                 ORDER BY i.indexrelid, k.n",
                &[Value::Integer(table)],
            )
            .await?;
        for index in rows.chunk_by(|a, b| a[0] == b[0]) {
            // What is strange about it: exclusion, or NULLs that are equal to each other.
            let is_strange = is_true(&index[0][4]);
            let columns: Option<Vec<KeyColumn>> =
                index.iter().map(|row| self.index_column(row)).collect();
            let columns = columns.filter(|_| !is_strange);
            self.locks_whole_table |= columns.is_none();
            if is_true(&index[0][2]) {
                self.primary_is_deferrable = !is_true(&index[0][3]);
                self.primary =
                    index.iter().filter_map(|row| self.place(integer(&row[5]))).collect();
                let captured = |place: &usize| KeyColumn { column: *place, fold: Fold::Binary };
                // Where the table is locked, the row's own key says no more than which row it is.
                self.key = columns.unwrap_or_else(|| self.primary.iter().map(captured).collect());
            } else if let Some(columns) = columns {
                self.uniques.push(Unique { name: text_of(&index[0][1]), columns });
            }
        }
        Ok(())
    }

    /// `None` for an expression, or what compares in a way that is not known here. A partial index is
    /// taken for a full one: too much is locked then.
    fn index_column(&mut self, row: &Row) -> Option<KeyColumn> {
        let place = self.place(integer(&row[5]))?;
        let collation = Collation { oid: integer(&row[6]), deterministic: is_true(&row[7]) };
        if !is_true(&row[8]) {
            return None;
        }
        let form = self.attributes[place].form(collation)?;
        Some(self.key_column(place, form))
    }

    fn place(&self, number: i64) -> Option<usize> {
        self.attributes.iter().position(|attribute| attribute.number == number)
    }

    /// The column in this form.
    fn key_column(&mut self, column: usize, form: Form) -> KeyColumn {
        let fold = Fold::Binary;
        let Some(capture) = form.capture() else { return KeyColumn { column, fold } };
        let known =
            self.forms.iter().position(|known| known.column == column && known.form == form);
        let found = known.unwrap_or_else(|| {
            let mut name = format!("key of {}", self.attributes[column].name);
            // A column may have any name, and undo logs go by names.
            while self.attributes.iter().any(|attribute| attribute.name == name)
                || self.forms.iter().any(|known| known.name == name)
            {
                name.push('\'');
            }
            self.forms.push(FormColumn { name, column, form, capture });
            self.forms.len() - 1
        });
        KeyColumn { column: self.attributes.len() + found, fold }
    }

    pub(super) fn refuse(&self, table: &str) -> Option<Refused> {
        let statement = || format!("change of `{table}`");
        if self.primary.is_empty() {
            return Some(Refused::new(
                statement(),
                "the table has no primary key, so its rows cannot be found again",
                "give it a primary key",
            ));
        }
        if let Some(column) = self.attributes.iter().find(|column| column.has_sessions_text) {
            return Some(Refused::new(
                statement(),
                format!(
                    "the type of `{}` has money or names of catalog objects in it, whose text \
                     depends on the session's settings",
                    column.name
                ),
                "give them columns of their own",
            ));
        }
        self.primary_is_deferrable.then(|| {
            Refused::new(
                statement(),
                "its primary key is deferrable, so two rows may have one key for a while",
                "declare it NOT DEFERRABLE",
            )
        })
    }

    /// The foreign keys of the table, one for each parent key.
    pub(super) async fn parents(
        &mut self,
        sql: &mut dyn Sql,
        table: i64,
    ) -> Result<Vec<Parent>, DbError> {
        let text = format!(
            "SELECT con.oid::int8, format('%I.%I', pn.nspname, pc.relname), pi.indisprimary, \
             pic.relname::text, k.child::int8, k.collation::int8, \
             coalesce(co.collisdeterministic, true), {TYPE_ITEMS} \
             FROM pg_catalog.pg_constraint con \
             JOIN pg_catalog.pg_class pc ON pc.oid = con.confrelid \
             JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace \
             JOIN pg_catalog.pg_index pi ON pi.indexrelid = con.conindid \
             JOIN pg_catalog.pg_class pic ON pic.oid = con.conindid \
             CROSS JOIN LATERAL (SELECT s.n, pi.indkey[s.n] AS parent, \
               pi.indcollation[s.n] AS collation, \
               con.conkey[array_position(con.confkey, pi.indkey[s.n])] AS child \
               FROM generate_series(0, pi.indnkeyatts - 1) s(n)) k \
             LEFT JOIN pg_catalog.pg_collation co ON co.oid = k.collation \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.parent \
             {TYPE_FROM} \
             WHERE con.conrelid = ?1::oid AND con.contype = 'f' ORDER BY con.oid, k.n"
        );
        let rows = sql.query(&text, &[Value::Integer(table)]).await?;
        let mut parents = Vec::new();
        for reference in rows.chunk_by(|a, b| a[0] == b[0]) {
            parents.push(self.parent(reference));
        }
        Ok(parents)
    }

    /// Which key of the parent a foreign key refers to. Where its values cannot be told apart from
    /// here as they are there, the whole parent.
    fn parent(&mut self, reference: &[Row]) -> Parent {
        let lock_name = text_of(&reference[0][1]);
        let columns: Option<Vec<KeyColumn>> =
            reference.iter().map(|row| self.parent_column(row)).collect();
        match columns {
            Some(columns) => {
                let unique = || KeyKind::Unique(text_of(&reference[0][3]));
                let kind = if is_true(&reference[0][2]) { KeyKind::Row } else { unique() };
                Parent { columns, lock_name, kind }
            }
            None => {
                let child = |row: &Row| self.place(integer(&row[4]));
                let any = |column| KeyColumn { column, fold: Fold::Binary };
                let columns = reference.iter().filter_map(child).map(any).collect();
                Parent { columns, lock_name, kind: KeyKind::Table }
            }
        }
    }

    fn parent_column(&mut self, row: &Row) -> Option<KeyColumn> {
        let place = self.place(integer(&row[4]))?;
        let there = type_of(&row[7..7 + TYPE_WIDTH]);
        let collation = Collation { oid: integer(&row[5]), deterministic: is_true(&row[6]) };
        let here = &self.attributes[place];
        let form = here.form(collation).filter(|_| here.kind.compares_like(&there))?;
        Some(self.key_column(place, form))
    }

    /// The foreign keys that refer to the table.
    pub(super) async fn children(
        &self,
        sql: &mut dyn Sql,
        table: i64,
    ) -> Result<Vec<Child>, DbError> {
        let rows = sql
            .query(
                "SELECT con.oid::int8, format('%I.%I', cn.nspname, cc.relname), ca.attname::text, \
                 k.parent::int8, con.confdeltype::text, con.confupdtype::text \
                 FROM pg_catalog.pg_constraint con \
                 JOIN pg_catalog.pg_class cc ON cc.oid = con.conrelid \
                 JOIN pg_catalog.pg_namespace cn ON cn.oid = cc.relnamespace \
                 CROSS JOIN LATERAL (SELECT s.n, con.conkey[s.n] AS child, \
                   con.confkey[s.n] AS parent \
                   FROM generate_series(1, cardinality(con.conkey)) s(n)) k \
                 JOIN pg_catalog.pg_attribute ca \
                   ON ca.attrelid = con.conrelid AND ca.attnum = k.child \
                 WHERE con.confrelid = ?1::oid AND con.contype = 'f' ORDER BY con.oid, k.n",
                &[Value::Integer(table)],
            )
            .await?;
        // NO ACTION and RESTRICT.
        let acts = |value: &Value| !matches!(value.as_text(), Some("a" | "r"));
        let child = |reference: &[Row]| Child {
            table: text_of(&reference[0][1]),
            columns: reference
                .iter()
                .filter_map(|row| Some((text_of(&row[2]), self.place(integer(&row[3]))?)))
                .collect(),
            acts_on_delete: acts(&reference[0][4]),
            acts_on_update: acts(&reference[0][5]),
        };
        Ok(rows.chunk_by(|a, b| a[0] == b[0]).map(child).collect())
    }
}

impl Attribute {
    /// How an index with this collation tells its values apart; `None` if that is not known.
    fn form(&self, collation: Collation) -> Option<Form> {
        // The database hashes by the column's own collation.
        let hashes_like_index = collation.deterministic || collation.oid == self.collation;
        self.kind.form(collation.deterministic).filter(|_| hashes_like_index)
    }
}

async fn attributes(sql: &mut dyn Sql, table: i64) -> Result<Vec<Attribute>, DbError> {
    let text = format!(
        "SELECT a.attnum::int8, a.attname::text, a.attgenerated <> '', a.attnotnull, \
         a.attcollation::int8, {TYPE_ITEMS}, {HAS_SESSIONS_TEXT} \
         FROM pg_catalog.pg_attribute a {TYPE_FROM} \
         WHERE a.attrelid = ?1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let rows = sql.query(&text, &[Value::Integer(table)]).await?;
    let attribute = |row: &Row| Attribute {
        number: integer(&row[0]),
        name: text_of(&row[1]),
        generated: is_true(&row[2]),
        not_null: is_true(&row[3]),
        collation: integer(&row[4]),
        kind: type_of(&row[5..5 + TYPE_WIDTH]),
        has_sessions_text: is_true(&row[5 + TYPE_WIDTH]),
    };
    Ok(rows.iter().map(attribute).collect())
}
