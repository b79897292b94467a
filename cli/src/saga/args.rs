//! The command line of `pactum saga`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use pactum_proto::v1::SagaName;

use crate::args::{Remote, XidArgs, reason};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Saga {
    /// Says everything that is wrong with definitions, each with its place. Asks no coordinator.
    Validate(FilesArgs),
    /// Draws a definition, for Mermaid or Graphviz. Asks no coordinator.
    Draw(DrawArgs),
    /// Has definitions checked and kept by the coordinator; parts before what uses them.
    Define(DefineArgs),
    /// Prints a definition that the coordinator keeps.
    Definition(DefinitionArgs),
    /// Starts a saga.
    Submit(SubmitArgs),
    /// Shows where a saga stands: each step that was reached, and what operators said.
    Show(ShowArgs),
    /// Shows each change of a saga, until it has ended.
    Watch(XidArgs),
    /// Sends an event to a step that waits for it, or will. The first counts.
    Signal(SignalArgs),
    /// Says how an action ended that goes on elsewhere.
    Complete(CompleteArgs),
    /// Starts no step and no compensation until it is resumed; what is under way may end.
    Pause(WordArgs),
    /// Lets a paused saga go on.
    Resume(WordArgs),
    /// Has a saga roll back.
    Cancel(WordArgs),
    /// Tries again what is parked, or pauses between attempts: one step, or all.
    Retry(RetryArgs),
    /// Passes over a step, or on the way back over its compensation.
    Skip(SkipArgs),
    /// Counts a step as done, with the result that is given.
    Force(ForceArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FilesArgs {
    /// Definitions, as JSON (`.json`) or YAML. Parts of each other are found among them.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DrawArgs {
    /// In which language.
    #[arg(long, value_enum, default_value_t = DrawFormat::Mermaid)]
    pub(crate) format: DrawFormat,
    /// The definition, as JSON (`.json`) or YAML, and then those of its parts.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrawFormat {
    /// As Markdown pages show it.
    Mermaid,
    /// For Graphviz.
    Dot,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DefineArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DefinitionArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The saga, as in `book-trip` or `book-trip@2`; without a version the latest.
    #[arg(value_name = "NAME[@VERSION]")]
    pub(crate) saga: Named,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The saga, as in `book-trip` or `book-trip@2`; or a file, which is defined first.
    #[arg(value_name = "NAME[@VERSION]|FILE")]
    pub(crate) saga: String,
    /// What it is given, as JSON; `@FILE` reads it from a file, `-` from standard input.
    #[arg(long, value_name = "JSON", default_value = "null")]
    pub(crate) input: String,
    /// The idempotency key: whoever submits with the same one has the same saga.
    #[arg(long, value_name = "KEY", default_value = "")]
    pub(crate) key: String,
    /// How long to wait for its end, as in `30s`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) on: XidArgs,
    /// How long to wait for its end first, as in `30s`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SignalArgs {
    #[command(flatten)]
    pub(crate) on: XidArgs,
    /// The waiting step's path, as in `approve` or `lines[3]/paid`.
    pub(crate) step: String,
    /// What came, as JSON; `@FILE` reads it from a file, `-` from standard input.
    #[arg(long, value_name = "JSON", default_value = "null")]
    pub(crate) payload: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompleteArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The key that the action was given, as in `default:17/3`.
    pub(crate) token: String,
    /// It took place, and this is its result, as JSON; `@FILE` reads it from a file, `-` from standard
    /// input.
    #[arg(long, value_name = "JSON", required_unless_present = "failed")]
    pub(crate) result: Option<String>,
    /// It did not take place: the code of the error.
    #[arg(long, value_name = "CODE", conflicts_with = "result")]
    pub(crate) failed: Option<String>,
    /// What people should read of the error.
    #[arg(long, value_name = "TEXT", requires = "failed", default_value = "")]
    pub(crate) message: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WordArgs {
    #[command(flatten)]
    pub(crate) on: XidArgs,
    /// Why, for whoever looks at the history: at most 1024 bytes.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) word: WordArgs,
    /// The step's path; without one, all of them.
    pub(crate) step: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SkipArgs {
    #[command(flatten)]
    pub(crate) word: WordArgs,
    /// The step's path.
    pub(crate) step: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ForceArgs {
    #[command(flatten)]
    pub(crate) word: WordArgs,
    /// The step's path.
    pub(crate) step: String,
    /// Its result, as JSON; `@FILE` reads it from a file, `-` from standard input.
    #[arg(long, value_name = "JSON", default_value = "null")]
    pub(crate) result: String,
}

/// A saga by its name, of a version or the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) SagaName);

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            None => (text, 0),
            Some((name, version)) => match version.parse() {
                Ok(number) if number > 0 => (name, number),
                _ => return Err(format!("`{version}` is no version; versions are numbers from 1")),
            },
        };
        if name.is_empty() {
            return Err("the saga's name is missing; write `book-trip` or `book-trip@2`".to_owned());
        }
        Ok(Named(SagaName { name: name.to_owned(), version }))
    }
}
