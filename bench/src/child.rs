//! This program once more, as a server in a process of its own: as users have it.
//!
//! A child says `listening on URL` when it is ready, answers a line on its standard input with a
//! line, and ends when that input ends, so none outlives a bench that was killed.

use std::io::{BufRead as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// A server that recovers a million transactions needs seconds.
const READY_MAX: Duration = Duration::from_secs(300);
const LISTENING: &str = "listening on ";

/// A server in a child process.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) url: String,
    pub(crate) pid: u32,
    process: Process,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program with `args` and waits until it listens.
    pub(crate) async fn start(args: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("start a server process")?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("the server's output is piped")?;
        let pid = process.id().context("the server has an id")?;
        let mut output = BufReader::new(output).lines();
        let line = timeout(READY_MAX, output.next_line()).await;
        let line = line.context("the server did not listen in time")?.context("read its output")?;
        let url = line.as_deref().and_then(|line| line.strip_prefix(LISTENING));
        let Some(url) = url else { bail!("the server said {line:?} instead of where it listens") };
        Ok(Child { url: url.to_owned(), pid, process, input, output })
    }

    /// Asks a question of one line.
    pub(crate) async fn ask(&mut self, question: &str) -> Result<String> {
        let input = self.input.as_mut().context("the server's input is open")?;
        input.write_all(format!("{question}\n").as_bytes()).await.context("ask the server")?;
        input.flush().await.context("ask the server")?;
        let line = self.output.next_line().await.context("read the server's answer")?;
        line.context("the server has ended")
    }

    /// Ends it in order.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.process.wait().await.context("wait for the server")?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("kill the server")
    }
}

/// For the child: says where it listens.
pub(crate) fn say_listening(url: &str) -> Result<()> {
    say(&format!("{LISTENING}{url}"))
}

/// For the child: answers each line with a line, until there are no more.
pub(crate) fn answer_lines(mut answer: impl FnMut(&str) -> String) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        say(&answer(&line.context("read a question")?))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("answer")
}
