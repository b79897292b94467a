//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pactum_proto::convert::RESOLUTION_REASON_BYTES_MAX;

use crate::saga::args::Saga;

/// Distributed transactions: the coordinator and its operator commands.
#[derive(Clone, Debug, Parser)]
#[command(name = "pactum", version, propagate_version = true, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a coordinator.
    Server(ServerArgs),
    /// Looks at global transactions, and helps those that are stuck.
    #[command(subcommand)]
    Tx(Tx),
    /// Looks at resources, and forgets those that are gone.
    #[command(subcommand)]
    Resource(Resource),
    /// Checks and draws declared sagas; defines, starts, watches and operates them.
    #[command(subcommand)]
    Saga(Saga),
    /// Counts what is active, waiting, locked and parked.
    Status(Remote),
    /// Says for each SQL statement of some files whether AT can undo it, and what to do if not.
    /// Nothing is run.
    CheckSql(CheckSqlArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckSqlArgs {
    /// A database with the application's tables, as in `postgres://localhost/bank`.
    #[arg(long, value_name = "URL")]
    pub(crate) db: String,
    /// Shows the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Files with statements that end with semicolons.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the store lives; created if it is not there. One coordinator a directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// The address to listen on [default: 127.0.0.1:8091]; port 0 for any free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Which log lines to write [default: info].
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Any option of docs/configuration.md; may be repeated.
    #[arg(long = "set", value_name = "OPTION=VALUE", value_parser = option_and_value)]
    pub(crate) set: Vec<(String, String)>,
    /// A TOML file with options.
    #[arg(long, value_name = "FILE", env = "PACTUM_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Prints the configuration that is in force, and where each value came from; starts nothing.
    #[arg(long)]
    pub(crate) print_config: bool,
}

fn option_and_value(text: &str) -> Result<(String, String), String> {
    let (option, value) =
        text.split_once('=').ok_or("write `option=value`, as in `policy.lock_wait_max=2s`")?;
    Ok((option.trim().to_owned(), value.trim().to_owned()))
}

/// Which coordinator an operator talks to, and how its answers are shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remote {
    /// The coordinator.
    #[arg(
        long,
        value_name = "URL",
        env = "PACTUM_SERVER",
        default_value = "http://127.0.0.1:8091"
    )]
    pub(crate) server: String,
    /// Shows the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Tx {
    /// Lists global transactions, newest first.
    List(ListArgs),
    /// Shows one with its branches, its locks, and what was found where a branch is parked.
    Show(ShowArgs),
    /// Tries its parked and waiting branches again, now.
    Retry(XidArgs),
    /// Says what shall become of one parked branch; recorded with the reason.
    Resolve(ResolveArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Only those that have not ended.
    #[arg(long)]
    pub(crate) unfinished: bool,
    /// Only those that need attention: with a parked branch.
    #[arg(long)]
    pub(crate) parked: bool,
    /// At most so many, 1 to 1000.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max: u32,
    /// Goes on below this XID, the last of the page before.
    #[arg(long, value_name = "XID")]
    pub(crate) before: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) on: XidArgs,
    /// A participant's database, as in `postgres://localhost/bank`: shows what its barrier rows say
    /// of the branches, and their undo logs. May be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) db: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct XidArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The global transaction, as in `default:1234`.
    pub(crate) xid: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The global transaction, as in `default:1234`.
    pub(crate) xid: String,
    /// The parked branch, as `pactum tx show` names it.
    pub(crate) branch: u64,
    /// What shall become of it.
    pub(crate) resolution: Choice,
    /// Why, for whoever looks at the history: at most 1024 bytes.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
}

/// What an operator may decide about a parked branch.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Choice {
    /// Write the before images over whatever is there now: the other writer's values are lost.
    Restore,
    /// Leave the rows as they are now, and count the branch as settled.
    Keep,
    /// Look again: what stood in the way was put right by hand.
    Retry,
}

pub(crate) fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("say why, for whoever looks at the history".to_owned());
    }
    if text.len() > RESOLUTION_REASON_BYTES_MAX {
        return Err(format!(
            "it has {} bytes; write at most {RESOLUTION_REASON_BYTES_MAX}",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Resource {
    /// Lists the resources that are bound, with their sessions and unfinished branches.
    List(Remote),
    /// Forgets the binding of a resource id to its database. Refused while it has unfinished
    /// branches.
    Forget(ForgetArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The resource id, as in `bank-a`.
    pub(crate) resource: String,
}
