//! The steps behind each task: one cargo call each, named as it runs, and with a way out when it
//! fails.
//!
//! Easy to get wrong: two cargo calls that select different packages or targets can resolve
//! different features, and then everything compiles twice. So what is tested and what is run is
//! built by one call over the whole workspace.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use pactum_testkit::server::Kind;

use crate::root;
use crate::servers::Servers;

/// What the demo has to do to count as alive: some transfers in every mode, a fifth of which roll back.
const DEMO_LOAD: [&str; 8] =
    ["--mode", "all", "--transfers", "100", "--concurrency", "8", "--fail-percent", "20"];

/// Everything that must be quiet before a commit.
pub(crate) fn check(no_tests: bool) -> Result<()> {
    Step::cargo("format", "cargo xtask fix").run(["fmt", "--all", "--check"])?;
    tidy()?;
    Step::cargo("lints", "mend what is named above; `cargo xtask fix` takes the easy ones")
        .run(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    Step::cargo("documentation", "mend the doc comments named above")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run(["doc", "--no-deps", "--workspace"])?;
    dependencies()?;
    if no_tests { Ok(()) } else { test() }
}

/// What a machine can mend.
pub(crate) fn fix() -> Result<()> {
    Step::cargo("clippy's suggestions", "mend the rest by hand").run([
        "clippy",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ])?;
    Step::cargo("format", "the source does not parse: see above").run(["fmt", "--all"])
}

/// Every test of the workspace, then the demo. Tests that need a database server that is not there
/// are left out, and then this fails at its end.
pub(crate) fn test() -> Result<()> {
    Step::cargo("build", "mend the errors named above").run([
        "build",
        "--workspace",
        "--bins",
        "--tests",
    ])?;
    announce("database servers");
    let servers = Servers::start()?;
    let how_to_fix = "run a single one with `cargo test -p <crate> <name>`";
    let tests = servers
        .variables()
        .fold(Step::cargo("tests", how_to_fix), |step, (name, url)| step.env(name, &url));
    tests.run(["test", "--workspace", "--"].into_iter().chain(servers.skips()))?;
    demo_smoke(&servers)?;
    servers.verdict()
}

/// The demo under a little load, on every database that is there: it checks its own books and exits
/// with 1 if they are wrong.
fn demo_smoke(servers: &Servers) -> Result<()> {
    // The build step has put the demo beside this program.
    let demo = env::current_exe().context("find this program")?.with_file_name("bank-transfer");
    if !demo.exists() {
        bail!("`{}` was not built: is xtask running from another profile?", demo.display());
    }
    let fix = "run `cargo run -p bank-transfer` and read what it tells";
    Step::new("demo", demo.as_os_str(), fix).run(DEMO_LOAD)?;
    for (kind, url) in servers.urls() {
        let (name, db) = match kind {
            Kind::Postgres => ("demo on PostgreSQL", "postgres"),
            Kind::Mysql => ("demo on MariaDB", "mysql"),
        };
        let on = ["--db", db, "--db-url", &url];
        Step::new(name, demo.as_os_str(), fix).run(DEMO_LOAD.into_iter().chain(on))?;
    }
    Ok(())
}

/// A load program, in release.
pub(crate) fn bench(what: &str, args: &[String]) -> Result<()> {
    let own = ["run", "--release", "--package", "pactum-bench", "--", what];
    let all = own.into_iter().chain(args.iter().map(String::as_str));
    Step::cargo("bench", "`--help` after the name lists its options").run(all)
}

/// The house rules.
pub(crate) fn tidy() -> Result<()> {
    announce("house rules");
    let findings = crate::tidy::check(&root())?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("house rules: {} to mend, each with its place above", findings.len());
    }
    Ok(())
}

/// Licences, advisories, sources of the dependencies, where cargo-deny is installed.
fn dependencies() -> Result<()> {
    let asked = Command::new(cargo())
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if asked.is_ok_and(|status| status.success()) {
        Step::cargo("dependencies", "see deny.toml for what is allowed and why")
            .run(["deny", "check"])
    } else {
        announce("dependencies: skipped, because cargo-deny is not installed");
        Ok(())
    }
}

/// One command of a task.
struct Step {
    name: &'static str,
    how_to_fix: &'static str,
    command: Command,
}

impl Step {
    fn new(name: &'static str, program: &OsStr, how_to_fix: &'static str) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        Step { name, how_to_fix, command }
    }

    fn cargo(name: &'static str, how_to_fix: &'static str) -> Self {
        Step::new(name, OsStr::new(&cargo()), how_to_fix)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn run<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Result<()> {
        announce(self.name);
        self.command.args(args);
        let status =
            self.command.status().with_context(|| format!("start `{:?}`", self.command))?;
        if !status.success() {
            bail!("{} failed ({status}). To mend it: {}", self.name, self.how_to_fix);
        }
        Ok(())
    }
}

/// The cargo that runs us, so that a `+toolchain` is kept.
fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn announce(what: &str) {
    eprintln!("==> {what}");
}
