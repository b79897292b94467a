//! The `pactum` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    pactum_cli::run(std::env::args_os())
}
