//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pactum_testkit::server;

use crate::load::kills::KillCounts;
use crate::services::bank::BankArgs;
use crate::services::order::BranchMode;
use crate::services::transfer::TransferArgs;

/// Money moves between three banks that know nothing of each other: all of it, or none.
///
/// Without flags it tells a story in parts. With any of the load flags it runs transfers at full
/// speed, checks every one of them, and exits with 1 if the books are wrong. Either takes a mode.
#[derive(Debug, Parser)]
#[command(name = "bank-transfer", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
}

/// What the demo executes itself with, and the operator's commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The operator's commands, as of the `pactum` binary: `bank-transfer pactum tx list`.
    #[command(disable_help_flag = true)]
    Pactum(Passed),
    /// Runs the coordinator.
    #[command(hide = true, disable_help_flag = true)]
    Tc(Passed),
    /// Runs one bank.
    #[command(hide = true)]
    Bank(BankArgs),
    /// Runs the transfer service.
    #[command(hide = true)]
    Transfer(TransferArgs),
}

/// Arguments that are passed on as they are.
#[derive(Debug, Args)]
pub(crate) struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// In which mode, on which database.
#[derive(Debug, Args)]
pub(crate) struct Kind {
    /// How the banks take part in a transfer.
    #[arg(long, value_enum, default_value_t = Mode::At)]
    pub(crate) mode: Mode,
    /// What the banks keep their accounts in. A private server is started for the last two.
    #[arg(long, value_enum, default_value_t = Db::Sqlite)]
    pub(crate) db: Db,
    /// A running server instead of a private one: the URL of an account that may create databases.
    /// One is made for each bank, and dropped at the end.
    #[arg(long, value_name = "URL")]
    pub(crate) db_url: Option<String>,
}

/// The flags for load: any of them asks for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadFlags {
    /// How many transfers. Default 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) transfers: Option<u32>,
    /// How many run at a time. Default 16.
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) concurrency: Option<u32>,
    /// How many accounts each bank has. Default 100: transfers then meet now and then.
    #[arg(long, value_name = "A", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) accounts: Option<u32>,
    /// How many in a hundred transfers find an account short, and roll back. Default 10.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) fail_percent: Option<u32>,
    /// A running coordinator, such as http://127.0.0.1:8091. Default: one of the demo's own.
    #[arg(long, value_name = "URL")]
    pub(crate) tc: Option<String>,
    /// How many SIGKILLs the coordinator, the banks and the transfer service get at random moments,
    /// such as `tc:2,bank:1,tm:1`. Each is started again.
    #[arg(long, value_name = "PLAN")]
    pub(crate) kill: Option<KillCounts>,
    /// Writes the result as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Keeps files, logs and what is in a server that was named, and says where.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Repeats the choices of an earlier run: which transfers, which kills. Default: a random one.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
}

impl LoadFlags {
    /// Whether any of them was given.
    pub(crate) fn any(&self) -> bool {
        let Self { transfers, concurrency, accounts, fail_percent, tc, kill, json, keep, seed } =
            self;
        let numbers = [transfers, concurrency, accounts, fail_percent];
        numbers.iter().any(|number| number.is_some())
            || tc.is_some()
            || kill.is_some()
            || json.is_some()
            || *keep
            || seed.is_some()
    }
}

/// How the banks take part in a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Local commits that the agent can undo.
    At,
    /// Try reserves, confirm books, cancel frees.
    Tcc,
    /// Actions with compensations.
    Saga,
    /// The same actions with the same compensations, in a declared saga that the coordinator drives.
    SagaDeclared,
    /// The databases' own prepared transactions; not on SQLite.
    Xa,
    /// Each bank in a mode of its own.
    Mixed,
    /// Each of these in turn, and a table that compares them.
    All,
}

/// What the banks keep their accounts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Db {
    Sqlite,
    Postgres,
    Mysql,
}

impl Kind {
    /// Why there can be no such demo.
    pub(crate) fn impossible(&self) -> Option<String> {
        (self.mode == Mode::Xa && self.db == Db::Sqlite).then(|| {
            "`--mode xa` needs prepared transactions, and SQLite has none: add `--db postgres` or \
             `--db mysql`"
                .to_owned()
        })
    }

    /// What a run of all modes leaves out, and why.
    pub(crate) fn left_out(&self) -> Option<&'static str> {
        (self.mode == Mode::All && self.db == Db::Sqlite)
            .then_some("XA is not available there: SQLite has no prepared transactions")
    }

    /// The modes to run, one after the other.
    pub(crate) fn modes(&self) -> Vec<Mode> {
        let asked = match self.mode {
            Mode::All => {
                vec![Mode::At, Mode::Tcc, Mode::Saga, Mode::SagaDeclared, Mode::Xa, Mode::Mixed]
            }
            Mode::At | Mode::Tcc | Mode::Saga | Mode::SagaDeclared | Mode::Xa | Mode::Mixed => {
                vec![self.mode]
            }
        };
        asked.into_iter().filter(|mode| *mode != Mode::Xa || self.db != Db::Sqlite).collect()
    }
}

impl Mode {
    /// As it is written after `--mode`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::At => "at",
            Mode::Tcc => "tcc",
            Mode::Saga => "saga",
            Mode::SagaDeclared => "saga-declared",
            Mode::Xa => "xa",
            Mode::Mixed => "mixed",
            Mode::All => "all",
        }
    }

    /// As it is written in a sentence.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Mode::At => "AT",
            Mode::Tcc => "TCC",
            Mode::Saga => "saga",
            Mode::SagaDeclared => "declared saga",
            Mode::Xa => "XA",
            Mode::Mixed => "mixed",
            Mode::All => "all",
        }
    }

    /// The modes in which a bank takes part: of several, it takes them in turn, transfer by transfer.
    pub(crate) fn of_bank(self, bank: &str, db: Db) -> Vec<BranchMode> {
        match (self, bank) {
            (Mode::At, _) => vec![BranchMode::At],
            (Mode::Tcc, _) => vec![BranchMode::Tcc],
            (Mode::Saga | Mode::SagaDeclared, _) => vec![BranchMode::Saga],
            (Mode::Xa, _) => vec![BranchMode::Xa],
            (Mode::Mixed | Mode::All, "a") => vec![BranchMode::At],
            (Mode::Mixed | Mode::All, "b") => vec![BranchMode::Tcc],
            (Mode::Mixed | Mode::All, _) if db == Db::Sqlite => vec![BranchMode::Saga],
            (Mode::Mixed | Mode::All, _) => vec![BranchMode::Saga, BranchMode::Xa],
        }
    }
}

impl Db {
    /// The server that it needs; none for SQLite.
    pub(crate) fn server(self) -> Option<server::Kind> {
        match self {
            Db::Sqlite => None,
            Db::Postgres => Some(server::Kind::Postgres),
            Db::Mysql => Some(server::Kind::Mysql),
        }
    }

    /// As it is written after `--db`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Db::Sqlite => "sqlite",
            Db::Postgres => "postgres",
            Db::Mysql => "mysql",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::BANKS;

    fn parse(args: &str) -> Cli {
        Cli::try_parse_from(["bank-transfer"].into_iter().chain(args.split_whitespace())).unwrap()
    }

    #[test]
    fn no_flags_ask_for_the_story_and_any_load_flag_for_load() {
        assert!(!parse("").load.any());
        assert!(!parse("--mode at --db sqlite").load.any());
        for flags in ["--transfers 2", "--kill tc:1", "--json out", "--seed 3", "--tc http://x"] {
            assert!(parse(flags).load.any(), "{flags}");
        }
    }

    #[test]
    fn every_mode_is_there_but_xa_on_sqlite() {
        let kind = |args: &str| parse(args).kind;
        for mode in ["at", "tcc", "saga", "saga-declared", "xa", "mixed", "all"] {
            for db in ["sqlite", "postgres", "mysql"] {
                let impossible = kind(&format!("--mode {mode} --db {db}")).impossible();
                assert_eq!(impossible.is_some(), (mode, db) == ("xa", "sqlite"), "{mode} {db}");
            }
        }
        let on = |db: &str| kind(&format!("--mode all --db {db}")).modes();
        let sagas = [Mode::Saga, Mode::SagaDeclared];
        let sqlite = [&[Mode::At, Mode::Tcc][..], &sagas, &[Mode::Mixed]].concat();
        assert_eq!(on("sqlite"), sqlite);
        let mysql = [&[Mode::At, Mode::Tcc][..], &sagas, &[Mode::Xa, Mode::Mixed]].concat();
        assert_eq!(on("mysql"), mysql);
        assert_eq!(kind("--mode xa --db postgres").modes(), [Mode::Xa]);
    }

    #[test]
    fn a_mixed_transfer_has_every_mode_that_the_database_has() {
        let all = |db| BANKS.map(|bank| Mode::Mixed.of_bank(bank, db)).concat();
        assert_eq!(all(Db::Sqlite), [BranchMode::At, BranchMode::Tcc, BranchMode::Saga]);
        let four = [BranchMode::At, BranchMode::Tcc, BranchMode::Saga, BranchMode::Xa];
        assert_eq!(all(Db::Postgres), four);
    }

    #[test]
    fn the_operators_words_are_passed_on_untouched() {
        let cli = parse("pactum tx show global:7 --server http://x --help");
        let Some(Command::Pactum(passed)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(passed.args, ["tx", "show", "global:7", "--server", "http://x", "--help"]);
    }
}
