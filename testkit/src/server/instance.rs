//! A server's processes and its folder.
//!
//! Easy to get wrong: a test process that is killed, and a `static` at the end of any process, drop
//! nothing. So a guard, a small shell that outlives us for a moment, holds the other end of a pipe:
//! when the pipe closes, for whatever reason, it ends the server and removes the folder. It sits in
//! a process group of its own, where the Ctrl-C of a terminal does not reach it.
//!
//! The output of the server goes to a file and not through us, so that a server does not depend on
//! the runtime of the test that happened to start it.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use super::Kind;
use crate::wait::{wait_for, wait_until};

/// How long a server may take until it answers: with recovery, on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);
/// How long the processes of a killed server may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(30);
/// How much of the log an error shows.
const LOG_SHOWN_BYTES: usize = 4000;

/// Arguments: the signal at which the server ends, the folder. Input: each line is the process id
/// of the server that runs now, empty if none does.
const GUARD: &str = r#"
server=
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill "-$1" "$server"
    looks=0
    while kill -0 "$server" && [ $looks -lt 100 ]; do looks=$((looks + 1)); sleep 0.05; done
    kill -KILL "$server"
fi
# The last processes may still be writing.
rm -rf "$2" || { sleep 1; rm -rf "$2"; }
"#;

/// Who a server runs as. Both databases refuse to run as root, or had better not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// None if we are an ordinary user: it then runs as ourselves.
    pub(super) fn to_run_as(kind: Kind) -> Result<Option<Self>> {
        if !getuid().is_root() {
            return Ok(None);
        }
        let own = match kind {
            Kind::Postgres => "postgres",
            Kind::Mysql => "mysql",
        };
        let found = [own, "nobody"].into_iter().find_map(Account::find);
        let missing = || format!("no user `{own}` or `nobody` to run {kind} as: root may not");
        found.map(Some).with_context(missing)
    }

    fn find(user: &str) -> Option<Self> {
        let ask = |what: &str| {
            let answer = Command::new("id").args([what, user]).stderr(Stdio::null()).output();
            String::from_utf8(answer.ok()?.stdout).ok()?.trim().parse().ok()
        };
        Some(Account { user: ask("-u")?, group: ask("-g")? })
    }
}

/// Where and as whom a server is made and run.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) name: String,
    pub(super) account: Option<Account>,
    pub(super) folder: PathBuf,
}

impl Setup {
    pub(super) fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn hand_over_folder(&self) -> Result<()> {
        let Some(account) = self.account else { return Ok(()) };
        std::os::unix::fs::chown(&self.folder, Some(account.user), Some(account.group))
            .with_context(|| format!("hand over `{}` to {}", self.folder.display(), self.name))
    }

    /// A command that runs as the account and keeps to the folder: a MariaDB that starts removes the
    /// temporary tables of every other in the same `TMPDIR`. The messages are read, so they are to be
    /// in one language.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("TMPDIR", &self.folder);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    pub(super) async fn run_to_its_end(&self, command: Command) -> Result<()> {
        let mut command = tokio::process::Command::from(command);
        let what = format!("{:?}", command.as_std());
        let run = command.kill_on_drop(true).output().await;
        let run = run.with_context(|| format!("start `{what}`"))?;
        if !run.status.success() {
            let message = [run.stdout, run.stderr].concat();
            let message = String::from_utf8_lossy(&message);
            bail!("prepare {}: `{what}` failed ({}):\n{message}", self.name, run.status);
        }
        Ok(())
    }
}

/// How a server of one kind lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// In its log once it answers.
    pub(super) ready: &'static str,
    /// At which it ends quickly, without a care for its data.
    pub(super) end: Signal,
}

/// A server that runs or is down.
#[derive(Debug)]
pub(super) struct Instance {
    setup: Setup,
    command: Command,
    life: Life,
    server: Option<Child>,
    guard: Child,
    /// Taken when it is dropped.
    to_guard: Option<ChildStdin>,
}

impl Instance {
    /// Nothing runs yet but the guard, to whom `folder` goes over.
    pub(super) fn new(
        setup: Setup,
        mut command: Command,
        life: Life,
        folder: TempDir,
    ) -> Result<Self> {
        command.process_group(0);
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", &life.end.as_raw().to_string()]).arg(folder.path());
        guard.current_dir("/").process_group(0);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = guard.spawn().context("start the guard of a server, a `sh`")?;
        let to_guard = guard.stdin.take();
        let _its_path = folder.keep();
        Ok(Instance { setup, command, life, server: None, guard, to_guard })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.setup.folder
    }

    /// Starts the server and waits until it answers.
    pub(super) async fn start(&mut self) -> Result<()> {
        let name = self.setup.name.clone();
        if self.server.is_some() {
            bail!("{name} still runs: kill it before it is started again");
        }
        let path = self.setup.folder.join("server.log");
        let mut log = File::options().create(true).append(true).read(true).open(&path)?;
        let begin = log.seek(SeekFrom::End(0))?;
        self.command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        let server = self.command.spawn().with_context(|| format!("start {:?}", self.command))?;
        let id = server.id();
        let server = self.server.insert(server);
        tell(self.to_guard.as_mut(), &id.to_string())?;

        let ready = self.life.ready;
        let what = format!("{name} to be ready");
        let answered = wait_for(&what, START_MAX, async || {
            // In this order: what it wrote before it ended is still seen.
            let ended = server.try_wait().transpose();
            let text = read_from(&mut log, begin).unwrap_or_default();
            if ended.is_some() {
                return Some(Err(text));
            }
            text.contains(ready).then_some(Ok(()))
        });
        let ended = match answered.await? {
            Ok(()) => return Ok(()),
            Err(text) => text,
        };
        self.server = None;
        tell(self.to_guard.as_mut(), "")?;
        let shown = ended.len().saturating_sub(LOG_SHOWN_BYTES);
        let shown = String::from_utf8_lossy(&ended.as_bytes()[shown..]);
        bail!("{name} ended before it was ready; it wrote at last:\n{shown}")
    }

    /// Kills all of it with SIGKILL.
    pub(super) async fn kill_hard(&mut self) -> Result<()> {
        let Some(server) = &mut self.server else { return Ok(()) };
        let name = &self.setup.name;
        server.kill().with_context(|| format!("kill {name}"))?;
        server.wait().with_context(|| format!("wait for {name} to end"))?;
        self.server = None;
        tell(self.to_guard.as_mut(), "")?;
        // PostgreSQL is a process per connection, in a session of its own each, and while one of
        // them lives the server cannot start again.
        let data = self.setup.data_folder();
        let what = format!("the processes of {name} to be gone");
        wait_until(&what, GONE_MAX, async || !kill_any_in(&data)).await
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Without the guard nobody else ends the server, and the wait below would last for ever.
        let guarded = self.guard.try_wait().is_ok_and(|ended| ended.is_none());
        drop(self.to_guard.take());
        if let Some(mut server) = self.server.take() {
            if !guarded {
                let _gone = server.kill();
            }
            let _reaped = server.wait();
        }
        let _reaped = self.guard.wait();
    }
}

fn tell(guard: Option<&mut ChildStdin>, line: &str) -> Result<()> {
    let guard = guard.context("the guard of a server has gone")?;
    writeln!(guard, "{line}").context("tell the guard of a server which process to end")
}

fn read_from(log: &mut File, begin: u64) -> Result<String> {
    let mut bytes = Vec::new();
    log.seek(SeekFrom::Start(begin))?;
    log.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Kills the processes that work in `folder`, as all those of a database server do in its data
/// folder. Returns whether there were any. Where there is no `/proc` it finds none; they then end by
/// themselves once they notice that the first is gone.
fn kill_any_in(folder: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let mut any = false;
    for process in processes.flatten() {
        let id = process.file_name().to_str().and_then(|id| id.parse().ok());
        let works_here = fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        if let Some(id) = id.and_then(Pid::from_raw)
            && works_here
        {
            any = true;
            // Gone between the look and the signal is as good.
            let _gone = kill_process(id, Signal::KILL);
        }
    }
    any
}
