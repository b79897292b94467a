//! Conditions of choices, in CEL (the Common Expression Language).
//!
//! They are evaluated while the group stands still, so what could take long is refused when the
//! definition is checked: macros that walk over lists, and texts that are nested so deep that their
//! parser would need much stack. A condition names the results that it looks at, so that nothing else
//! is read for it.

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::{Context, Program, Value as Cel};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::limits::{CONDITION_BYTES_MAX, CONDITION_NESTING_MAX};
use super::template::{Document, Source};

/// A condition that can be evaluated.
pub struct Condition {
    text: Arc<str>,
    program: Program,
    uses: Vec<Use>,
}

/// A value that a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Which.
    pub source: Source,
    /// Only whether it is there.
    pub asked_only: bool,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn read(text: &str) -> Result<Condition, String> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(format!(
                "the condition has {} bytes; it may have {CONDITION_BYTES_MAX}",
                text.len()
            ));
        }
        if nesting(text) > CONDITION_NESTING_MAX {
            return Err(format!("the condition is nested deeper than {CONDITION_NESTING_MAX}"));
        }
        let program = Program::compile(text).map_err(|error| {
            let error = error.to_string();
            format!("the condition is not CEL: {}", error.lines().next().unwrap_or_default())
        })?;
        let mut uses = Vec::new();
        visit(&program.expression().expr, &mut uses)?;
        Ok(Condition { text: text.into(), program, uses })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it looks at.
    #[must_use]
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// Why it is neither true nor false.
    pub fn holds(&self, document: &dyn Document) -> Result<bool, String> {
        let failed =
            |why: String| format!("the condition `{}` cannot be evaluated: {why}", self.text);
        let mut context = Context::default();
        let (mut results, mut loops) = (Object::default(), Object::default());
        for used in &self.uses {
            let Some(value) = document.value(&used.source) else { continue };
            let value = value.into_owned();
            match &used.source {
                Source::Input => {
                    let added = context.add_variable("input", AsCel(&value));
                    added.map_err(|error| failed(error.to_string()))?;
                }
                Source::Result(step) => results.set(&[step], value),
                Source::Item(of) => loops.set(&[of, "item"], value),
                Source::Index(of) => loops.set(&[of, "index"], value),
            }
        }
        for (name, object) in [("results", results), ("each", loops)] {
            let added = context.add_variable(name, AsCel(&object.0));
            added.map_err(|error| failed(error.to_string()))?;
        }
        match self.program.execute(&context) {
            Ok(Cel::Bool(holds)) => Ok(holds),
            Ok(_) => Err(failed("it is neither true nor false".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

/// How deep brackets lie in each other, also those within texts: a bound is enough.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Finds what an expression looks at, and refuses what it must not hold.
fn visit(expression: &Expr, uses: &mut Vec<Use>) -> Result<(), String> {
    if let Some(used) = used(expression) {
        uses.push(used);
        return Ok(());
    }
    let all = |parts: &[IdedExpr], uses: &mut Vec<Use>| {
        parts.iter().try_for_each(|part| visit(&part.expr, uses))
    };
    match expression {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if name == "input" => {
            uses.push(Use { source: Source::Input, asked_only: false });
            Ok(())
        }
        Expr::Ident(name) => Err(format!(
            "`{name}` is not known to a condition, or not as a whole; it may use `input`, \
             `results.<step>`, `each.<loop>.item` and `each.<loop>.index`"
        )),
        Expr::Comprehension(_) => Err("a condition may not walk over a list or map (all, exists, \
             exists_one, map, filter): let a step do that and return what it found"
            .to_owned()),
        Expr::Call(call) => {
            if let Some(target) = &call.target {
                visit(&target.expr, uses)?;
            }
            all(&call.args, uses)
        }
        Expr::Select(select) => visit(&select.operand.expr, uses),
        Expr::List(list) => all(&list.elements, uses),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                visit(&entry.key.expr, uses).and_then(|()| visit(&entry.value.expr, uses))
            }
            EntryExpr::StructField(field) => visit(&field.value.expr, uses),
        }),
        Expr::Struct(_) => Err("a condition has no message types".to_owned()),
    }
}

/// `results.<step>`, `each.<loop>.item`, `each.<loop>.index`, also in brackets.
fn used(expression: &Expr) -> Option<Use> {
    let (operand, field, asked_only) = member(expression)?;
    let source = match operand {
        Expr::Ident(name) if name == "results" => Source::Result(field.into()),
        inner => match (member(inner)?, field) {
            ((Expr::Ident(name), of, _), "item") if name == "each" => Source::Item(of.into()),
            ((Expr::Ident(name), of, _), "index") if name == "each" => Source::Index(of.into()),
            _ => return None,
        },
    };
    Some(Use { source, asked_only })
}

/// `operand.field` or `operand["field"]`, and whether only its presence is asked for.
fn member(expression: &Expr) -> Option<(&Expr, &str, bool)> {
    match expression {
        Expr::Select(select) => Some((&select.operand.expr, &select.field, select.test)),
        Expr::Call(call) if call.func_name == "_[_]" => match call.args.as_slice() {
            [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }] => {
                Some((&operand.expr, field.inner(), false))
            }
            _ => None,
        },
        Expr::Unspecified
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Struct(_) => None,
    }
}

/// An object that is put together.
#[derive(Default)]
struct Object(Value);

impl Object {
    fn set(&mut self, path: &[&str], value: Value) {
        let mut at = &mut self.0;
        for name in path {
            at = &mut at[*name];
        }
        *at = value;
    }
}

/// JSON as CEL takes it: whole numbers are its `int`, for an `int` literal equals no `uint`.
struct AsCel<'a>(&'a Value);

impl Serialize for AsCel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::String(text) => serializer.serialize_str(text),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => serializer.serialize_i64(number),
                (None, Some(number)) => serializer.serialize_u64(number),
                (None, None) => serializer.serialize_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Array(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| sequence.serialize_element(&AsCel(item)))?;
                sequence.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                let mut fields = fields.iter();
                fields.try_for_each(|(name, field)| map.serialize_entry(name, &AsCel(field)))?;
                map.end()
            }
        }
    }
}
