//! What may stand in the attribute, and what is wrong with what may not.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{Error, Expr, ExprLit, ExprPath, Ident, Lit, LitStr, Result, Token};

const KNOWN: &str =
    "agent, name, timeout, propagation, wait, no_rollback_on and rollback_on are known";

/// The longest timeout that is plausible, in milliseconds: a day. The coordinator has its own limit.
const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) agent: Option<Expr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) timeout_ms: Option<u64>,
    /// A variant of `Propagation`.
    pub(crate) propagation: Option<Ident>,
    /// A variant of `Wait`.
    pub(crate) wait: Option<Ident>,
    pub(crate) rules: Vec<Rule>,
}

pub(crate) struct Rule {
    /// `rollback_on` or `no_rollback_on`.
    pub(crate) method: Ident,
    pub(crate) predicate: Expr,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Arguments::default();
        while !input.is_empty() {
            let key: Ident = input.parse().map_err(|error| {
                Error::new(error.span(), format!("expected an argument: {KNOWN}"))
            })?;
            input.parse::<Token![=]>()?;
            let value: Expr = input.parse()?;
            arguments.set(&key, value)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    fn set(&mut self, key: &Ident, value: Expr) -> Result<()> {
        match key.to_string().as_str() {
            "agent" => once(key, &mut self.agent, value),
            "name" => once(key, &mut self.name, text(&value)?),
            "timeout" => once(key, &mut self.timeout_ms, timeout_ms(&value)?),
            "propagation" => once(key, &mut self.propagation, propagation(&value)?),
            "wait" => once(key, &mut self.wait, wait(&value)?),
            "rollback_on" | "no_rollback_on" => {
                self.rules.push(Rule { method: key.clone(), predicate: value });
                Ok(())
            }
            other => Err(Error::new(key.span(), format!("`{other}` is no argument: {KNOWN}"))),
        }
    }
}

fn once<T>(key: &Ident, place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(key.span(), format!("`{key}` is given twice"))),
    }
}

fn text(value: &Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        _ => Err(Error::new(value.span(), "the name is a string literal: name = \"transfer\"")),
    }
}

fn timeout_ms(value: &Expr) -> Result<u64> {
    let expected = "the timeout is \"500ms\", \"30s\", \"2m\" or a number of seconds, more than 0 \
                    and at most a day";
    let ms = match value {
        Expr::Lit(ExprLit { lit: Lit::Int(seconds), .. }) if seconds.suffix().is_empty() => {
            seconds.base10_parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000))
        }
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => duration_ms(&text.value()),
        _ => None,
    };
    ms.filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms))
        .ok_or_else(|| Error::new(value.span(), expected))
}

fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn propagation(value: &Expr) -> Result<Ident> {
    word(
        value,
        &[
            ("required", "Required"),
            ("supports", "Supports"),
            ("mandatory", "Mandatory"),
            ("requires_new", "RequiresNew"),
            ("not_supported", "NotSupported"),
            ("never", "Never"),
            ("nested", "Nested"),
        ],
    )
}

fn wait(value: &Expr) -> Result<Ident> {
    word(value, &[("completed", "Completed"), ("decided", "Decided")])
}

/// One of a few words, as the variant that it names.
fn word(value: &Expr, words: &[(&str, &str)]) -> Result<Ident> {
    let given = match value {
        Expr::Path(ExprPath { path, .. }) => path.get_ident().map(Ident::to_string),
        _ => None,
    };
    let found = words.iter().find(|(word, _)| Some(*word) == given.as_deref());
    let Some((_, variant)) = found else {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        return Err(Error::new(value.span(), format!("expected one of: {}", all.join(", "))));
    };
    Ok(Ident::new(variant, Span::call_site()))
}
