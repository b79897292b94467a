//! Where the programs of a database are, and how they come onto a machine that lacks them.
//!
//! Installed is only as root on a machine with apt-get, one process at a time, and no service is
//! started by it: these machines build and test, and a database of the system's own would sit on
//! memory and on the usual port. Everywhere else the error says what to do.

use std::cmp::Reverse;
use std::env;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::getuid;

use super::Kind;

/// Decides over the start of services during an installation, on Debian and what comes from it.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";
/// Exit status 101 means: not allowed.
const NO_SERVICES: &str = "#!/bin/sh\n# Written by pactum-testkit while it installs.\nexit 101\n";
const CLUSTER_SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";
const NO_CLUSTER: &str = "# Written by pactum-testkit, which installed PostgreSQL for tests: they make \
                          their own.\ncreate_main_cluster = false\n";

/// The programs that a server and its client are, each found once.
#[derive(Clone, Debug)]
pub struct Programs {
    maker: PathBuf,
    server: PathBuf,
    client: PathBuf,
}

impl Programs {
    /// Makes an empty data folder.
    pub(super) fn maker(&self) -> &Path {
        &self.maker
    }

    pub(super) fn server(&self) -> &Path {
        &self.server
    }

    pub(super) fn client(&self) -> &Path {
        &self.client
    }
}

/// One program under the names that it may have, the newest first.
type Names = &'static [&'static str];

/// What a kind consists of, and who brings it.
struct Needs {
    maker: Names,
    server: Names,
    client: Names,
    server_package: &'static str,
    client_package: &'static str,
}

impl Needs {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Postgres => Needs {
                maker: &["initdb"],
                server: &["postgres"],
                client: &["psql"],
                server_package: "postgresql",
                client_package: "postgresql-client",
            },
            Kind::Mysql => Needs {
                maker: &["mariadb-install-db", "mysql_install_db"],
                server: &["mariadbd"],
                client: &["mariadb", "mysql"],
                server_package: "mariadb-server",
                client_package: "mariadb-client",
            },
        }
    }
}

/// Where programs are looked for.
#[derive(Clone, Debug)]
pub enum Places {
    /// On the `PATH` and where packages put what is not on it. What is missing may be installed.
    ThisMachine,
    /// In these folders, and nothing is installed.
    Only(Vec<PathBuf>),
}

impl Places {
    /// What a private server needs.
    ///
    /// # Errors
    /// If something is missing and cannot be installed: names it, and what to do.
    pub fn server_programs(&self, kind: Kind) -> Result<Programs> {
        let needs = Needs::of(kind);
        self.find_or_install(kind, needs.server_package, |folders| find_all(folders, &needs))
    }

    /// What an existing server is asked with.
    ///
    /// # Errors
    /// As [`Places::server_programs`].
    pub fn client_program(&self, kind: Kind) -> Result<PathBuf> {
        let needs = Needs::of(kind);
        self.find_or_install(kind, needs.client_package, |folders| {
            find(folders, needs.client).map_err(|name| vec![name])
        })
    }

    fn folders(&self, kind: Kind) -> Vec<PathBuf> {
        match self {
            Places::Only(folders) => folders.clone(),
            Places::ThisMachine => {
                let path = env::var_os("PATH").unwrap_or_default();
                let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
                match kind {
                    Kind::Postgres => folders.extend(postgres_folders()),
                    // An ordinary user often has no `sbin` on the path.
                    Kind::Mysql => folders.extend(["/usr/bin", "/usr/sbin"].map(PathBuf::from)),
                }
                folders
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Places::ThisMachine => "on the PATH or where packages put it".to_owned(),
            Places::Only(folders) => {
                let folders: Vec<_> = folders.iter().map(|folder| folder.display()).collect();
                format!("in {}", list(&folders))
            }
        }
    }

    /// `find` answers with the names of what is missing, if anything is.
    fn find_or_install<T>(
        &self,
        kind: Kind,
        package: &str,
        find: impl Fn(&[PathBuf]) -> Result<T, Vec<&'static str>>,
    ) -> Result<T> {
        let missing = match find(&self.folders(kind)) {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        let why_not = match self {
            Places::Only(_) => "nothing may be installed here",
            Places::ThisMachine if !getuid().is_root() => "only root can install it",
            Places::ThisMachine if find_one(&self.folders(kind), "apt-get").is_none() => {
                "there is no apt-get to install it with"
            }
            Places::ThisMachine => {
                // The others wait here, and then find what the first has installed.
                let _one_at_a_time = lock()?;
                if let Ok(found) = find(&self.folders(kind)) {
                    return Ok(found);
                }
                install(package).with_context(|| format!("install {kind}"))?;
                let found = find(&self.folders(kind));
                return found.map_err(|missing| {
                    anyhow!("`{package}` is installed, and yet there is no {}", list(&missing))
                });
            }
        };
        let (missing, places) = (list(&missing), self.describe());
        bail!(
            "{kind} is not on this machine: no {missing} {places}; {why_not}. Install it (Debian: \
             `apt-get install {package}`) and have it on the PATH"
        )
    }
}

fn list(names: &[impl Display]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The folders that Debian keeps PostgreSQL in, the highest version first.
fn postgres_folders() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let version = |folder: &PathBuf| -> Option<u32> { folder.file_name()?.to_str()?.parse().ok() };
    let mut folders: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    folders.sort_by_key(|folder| Reverse(version(folder)));
    folders.into_iter().map(|folder| folder.join("bin")).collect()
}

fn find_all(folders: &[PathBuf], needs: &Needs) -> Result<Programs, Vec<&'static str>> {
    let all_from = |folders: &[PathBuf]| {
        let wanted = [needs.maker, needs.server, needs.client];
        match wanted.map(|names| find(folders, names)) {
            [Ok(maker), Ok(server), Ok(client)] => Ok(Programs { maker, server, client }),
            some_missing => Err(some_missing.into_iter().filter_map(Result::err).collect()),
        }
    };
    // One folder that has everything goes first: programs of two versions do not fit together, and
    // what Debian has on the `PATH` for PostgreSQL is a script that chooses among versions.
    let together = folders.iter().find_map(|folder| all_from(slice::from_ref(folder)).ok());
    together.map_or_else(|| all_from(folders), Ok)
}

/// `Err` has the name that it should have.
fn find(folders: &[PathBuf], names: Names) -> Result<PathBuf, &'static str> {
    names.iter().find_map(|name| find_one(folders, name)).ok_or(names[0])
}

fn find_one(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Held until the file is dropped, by this or another process.
fn lock() -> Result<File> {
    let path = env::temp_dir().join("pactum-testkit-install.lock");
    let file = File::options().create(true).append(true).open(&path);
    let locked = file.and_then(|file| file.lock().map(|()| file));
    locked.with_context(|| format!("lock `{}`", path.display()))
}

fn install(package: &str) -> Result<()> {
    let _no_services = NoServices::declare()?;
    write_if_absent(CLUSTER_SETTINGS, NO_CLUSTER, 0o644)?;
    apt_get(&["update"])?;
    apt_get(&["install", "--yes", "--no-install-recommends", package])
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    // Another apt-get may be at work, on a new machine above all.
    command.args(["--option", "DPkg::Lock::Timeout=300"]);
    // Settings that are there already, ours among them, are kept without a question.
    command.args(["--option", "Dpkg::Options::=--force-confold"]).env("UCF_FORCE_CONFFOLD", "1");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments).stdin(Stdio::null());
    // It takes a minute or so, and somebody may be looking.
    eprintln!("==> apt-get {}", arguments.join(" "));
    let run = command.output().context("start apt-get")?;
    if !run.status.success() {
        let message = [run.stdout, run.stderr].concat();
        let message = String::from_utf8_lossy(&message);
        bail!("`apt-get {}` failed ({}):\n{message}", arguments.join(" "), run.status);
    }
    Ok(())
}

/// As long as it lives, no package starts a service.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn declare() -> Result<Self> {
        let written = write_if_absent(SERVICE_POLICY, NO_SERVICES, 0o755)?;
        // Ours too if we were killed before we could remove it.
        let ours = written || fs::read_to_string(SERVICE_POLICY).is_ok_and(|is| is == NO_SERVICES);
        Ok(NoServices { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(SERVICE_POLICY)
        {
            eprintln!("remove `{SERVICE_POLICY}` by hand, or no service starts: {error}");
        }
    }
}

/// Returns whether it wrote. What somebody else decided stays.
fn write_if_absent(path: &str, text: &str, mode: u32) -> Result<bool> {
    let write = || {
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    match write() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("write `{path}`")),
    }
}
