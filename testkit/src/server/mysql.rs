//! How MariaDB is made, started and asked.
//!
//! `--no-defaults` comes first or it is ignored: what the machine configures for its own server is
//! not for ours.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;

use super::install::Programs;
use super::instance::{Life, Setup};
use super::url::AdminUrl;

/// Makes an empty data folder, and returns what starts the server on it.
pub(super) async fn prepare(
    setup: &Setup,
    programs: &Programs,
    port: u16,
) -> Result<(Command, Life)> {
    let data = format!("--datadir={}", setup.data_folder().display());
    let mut make = setup.command(programs.maker());
    make.args(["--no-defaults", &data]);
    make.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    make.arg("--innodb-flush-log-at-trx-commit=0");
    setup.run_to_its_end(make).await?;

    let mut server = setup.command(programs.server());
    let port = format!("--port={port}");
    server.args(["--no-defaults", &data, &port]);
    server.args([
        "--bind-address=127.0.0.1",
        // Both relative to the data folder: the path of a socket has at most 107 bytes.
        "--socket=server.sock",
        "--pid-file=server.pid",
        "--skip-name-resolve",
        "--max-connections=300",
        "--innodb-buffer-pool-size=64M",
        "--innodb-flush-log-at-trx-commit=1",
        "--character-set-server=utf8mb4",
    ]);
    let life = Life {
        ready: "ready for connections",
        // Asked politely, it would flush all pages first, for a folder that goes anyway.
        end: Signal::KILL,
    };
    Ok((server, life))
}

/// A client that runs `sql` and ends.
///
/// # Errors
/// If the URL cannot be taken apart.
pub(super) fn client(program: &Path, url: &AdminUrl, sql: &str) -> Result<tokio::process::Command> {
    let parts = url.parts()?;
    let mut command = tokio::process::Command::new(program);
    command.args(["--no-defaults", "--protocol=TCP", "--batch", "--raw", "--skip-column-names"]);
    command.arg(format!("--host={}", parts.host));
    command.args(parts.port.map(|port| format!("--port={port}")));
    command.args(parts.user.map(|user| format!("--user={user}")));
    // In the environment, because everybody may read the arguments of a process.
    command.envs(parts.password.map(|password| ("MYSQL_PWD", password)));
    command.args(["--execute", sql]);
    command.args(url.database());
    Ok(command)
}
