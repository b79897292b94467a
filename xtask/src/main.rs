//! `cargo xtask …`: what a developer and the CI do with this workspace.
//!
//! ```text
//! check   everything that must be quiet before a commit; reads only
//! fix     what a machine can mend: format, clippy's suggestions
//! test    all tests, on database servers of its own, then the demo
//! bench   the load programs, in release
//! tidy    the house rules that no compiler knows; also a test of this crate
//! ```

mod servers;
mod steps;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What a developer and the CI do with this workspace")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, tests, documentation, dependencies, house rules: reads only.
    Check {
        /// Leave the tests to `cargo xtask test`.
        #[arg(long)]
        no_tests: bool,
    },
    /// Formats, and takes clippy's suggestions.
    Fix,
    /// Runs every test of the workspace, then the demo.
    Test,
    /// Runs a load program in release: `cargo xtask bench tc --help`.
    #[command(disable_help_flag = true)]
    Bench {
        /// `tc` loads a coordinator over the wire; `at` loads the agent; `modes` in every mode; `saga` runs
        /// declared sagas.
        what: Bench,
        /// Handed on to the load program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Checks the house rules.
    Tidy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    Tc,
    At,
    Modes,
    Saga,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Bench::Tc => "tc",
            Bench::At => "at",
            Bench::Modes => "modes",
            Bench::Saga => "saga",
        }
    }
}

fn main() -> ExitCode {
    // Not `-> Result`: that would print our own backtrace below a failing step's output.
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("==> {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Check { no_tests } => steps::check(no_tests),
        Task::Fix => steps::fix(),
        Task::Test => steps::test(),
        Task::Bench { what, args } => steps::bench(what.name(), &args),
        Task::Tidy => steps::tidy(),
    }
}

/// The root of the workspace: where this crate was built from.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
