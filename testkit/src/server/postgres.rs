//! How PostgreSQL is made, started and asked.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;

use super::install::Programs;
use super::instance::{Life, Setup};
use super::url::AdminUrl;

/// Makes an empty cluster, and returns what starts it.
pub(super) async fn prepare(
    setup: &Setup,
    programs: &Programs,
    port: u16,
) -> Result<(Command, Life)> {
    let data = setup.data_folder();
    let mut make = setup.command(programs.maker());
    make.arg("--pgdata").arg(&data);
    // Unsynced while it is made, because only a power cut could tell; synced once it runs.
    make.args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    ]);
    setup.run_to_its_end(make).await?;

    let mut server = setup.command(programs.server());
    server.arg("-D").arg(&data);
    let port = format!("port={port}");
    for setting in [
        port.as_str(),
        "listen_addresses=127.0.0.1",
        // No socket, so no limit on the length of its path.
        "unix_socket_directories=",
        "max_connections=300",
        "max_prepared_transactions=300",
        "shared_buffers=64MB",
        "fsync=on",
        "synchronous_commit=on",
        "logging_collector=off",
    ] {
        server.args(["-c", setting]);
    }
    let life = Life {
        ready: "database system is ready to accept connections",
        // Ends at once without a checkpoint, but takes its shared memory along: SIGKILL leaves a
        // segment behind in the system for ever.
        end: Signal::QUIT,
    };
    Ok((server, life))
}

/// A client that runs `sql` and ends.
pub(super) fn client(program: &Path, url: &AdminUrl, sql: &str) -> tokio::process::Command {
    // Without a database in the URL it would take one named like the user.
    let url = url.database().map_or_else(|| url.at("postgres"), |_| url.clone());
    let mut command = tokio::process::Command::new(program);
    command.args(["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"]);
    command.args(["--field-separator=\t", "--set=ON_ERROR_STOP=1"]);
    command.args(["--command", sql, "--dbname", &url.to_string()]);
    command
}
