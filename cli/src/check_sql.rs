//! `pactum check-sql`: which statements of a file AT can undo, before an application sends them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use pactum_agent::{AtDatabase, CheckedStatement, Verdict, check_sql};
use serde_json::{Value, json};

use crate::args::CheckSqlArgs;
use crate::database::{self, Kind};
use crate::output::say;

/// Enough of a statement to recognise it.
const TEXT_CHARS_MAX: usize = 72;

pub(crate) async fn run(args: CheckSqlArgs) -> anyhow::Result<()> {
    match database::kind(&args.db)? {
        Kind::Sqlite => check::<sqlx::Sqlite>(&args).await,
        Kind::Postgres => check::<sqlx::Postgres>(&args).await,
        Kind::Mysql => check::<sqlx::MySql>(&args).await,
    }
}

async fn check<DB: AtDatabase>(args: &CheckSqlArgs) -> anyhow::Result<()> {
    let pool = database::open::<DB>(&args.db).await?;
    let mut checked = Vec::new();
    for file in &args.files {
        let script = fs::read_to_string(file)
            .with_context(|| format!("read the statements in {}", file.display()))?;
        let statements = check_sql(&pool, &script).await;
        let statements = statements.with_context(|| format!("check {}", file.display()))?;
        checked.extend(statements.into_iter().map(|statement| (file.clone(), statement)));
    }
    pool.close().await;
    say(&if args.json { as_json(&checked) } else { as_text(&checked) })?;
    let refused = checked.iter().filter(|(_, statement)| is_refused(&statement.verdict)).count();
    match refused {
        0 => Ok(()),
        _ => bail!("{refused} of {} statements cannot be sent through AT", checked.len()),
    }
}

fn is_refused(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Read | Verdict::LockingRead { .. } | Verdict::Undoable { .. } => false,
        Verdict::Refused(_) | Verdict::Invalid(_) => true,
    }
}

fn as_text(checked: &[(PathBuf, CheckedStatement)]) -> String {
    let mut text = String::new();
    for (file, statement) in checked {
        let what = match &statement.verdict {
            Verdict::Read => "reads".to_owned(),
            Verdict::LockingRead { table } => format!("locks rows of {table}"),
            Verdict::Undoable { table } => format!("can be undone, on {table}"),
            Verdict::Refused(refused) => format!("REFUSED: {}; {}", refused.why, refused.instead),
            Verdict::Invalid(why) => format!("INVALID: {why}"),
        };
        let place = place(file, statement);
        // A string takes everything that is written to it.
        let _ = writeln!(text, "{place}: {}\n    {what}", shortened(&statement.text));
    }
    text
}

fn place(file: &Path, statement: &CheckedStatement) -> String {
    format!("{}:{}", file.display(), statement.line)
}

/// On one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn as_json(checked: &[(PathBuf, CheckedStatement)]) -> String {
    let statements = checked.iter().map(|(file, statement)| {
        let CheckedStatement { line, text, verdict } = statement;
        let verdict = match verdict {
            Verdict::Read => json!({"verdict": "reads"}),
            Verdict::LockingRead { table } => json!({"verdict": "locks", "table": table}),
            Verdict::Undoable { table } => json!({"verdict": "undoable", "table": table}),
            Verdict::Refused(refused) => json!({
                "verdict": "refused",
                "statement": refused.statement,
                "why": refused.why,
                "instead": refused.instead,
            }),
            Verdict::Invalid(why) => json!({"verdict": "invalid", "why": why}),
        };
        let mut object = json!({"file": file.display().to_string(), "line": line, "text": text});
        if let (Value::Object(object), Value::Object(verdict)) = (&mut object, verdict) {
            object.extend(verdict);
        }
        object
    });
    format!("{:#}\n", Value::Array(statements.collect()))
}
