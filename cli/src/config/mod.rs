//! What a server is told: defaults, then a file, then the environment, then flags; the last wins.
//!
//! ```text
//! file: TOML ─┐
//! PACTUM_…  ──┼─▶ texts by option name ── options.rs ──▶ Config ── ServerOptions::validate
//! flags ──────┘          (values.rs: text to type, within bounds)
//! ```
//!
//! All problems are told at once, also those of a value that a later one replaces: a file that only
//! works because of a variable is a trap. An option that does not exist is a problem too, because a
//! misspelt limit would be no limit.
//!
//! Nothing here is secret. The first option that is (a database URL with a password) brings the type
//! that masks it.

mod options;
mod values;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use pactum_coordinator::ServerOptions;

use options::{OPTIONS, OptionSpec};

/// The configuration of `pactum server`.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where the store lives. There is no default: nobody should find their transactions in a
    /// directory that they did not choose.
    pub data_dir: Option<PathBuf>,
    /// The options of the coordinator.
    pub server: ServerOptions,
    /// The log.
    pub log: LogOptions,
    /// Where each option that is not a default came from, by its name.
    sources: BTreeMap<&'static str, String>,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Which lines. `info`: each move of a transaction is one line.
    pub filter: String,
    /// How a line looks. `full`.
    pub format: LogFormat,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { filter: "info".to_owned(), format: LogFormat::Full }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line, with time, level, target and fields.
    Full,
    /// A shorter line.
    Compact,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "full" => Ok(LogFormat::Full),
            "compact" => Ok(LogFormat::Compact),
            "json" => Ok(LogFormat::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Full => "full",
            LogFormat::Compact => "compact",
            LogFormat::Json => "json",
        })
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file.
    pub file: Option<PathBuf>,
    /// The environment; variables that do not begin with `PACTUM_` are passed over.
    pub environment: Vec<(String, String)>,
    /// Options by name, as flags gave them.
    pub flags: Vec<Flag>,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To start a server, which needs a data directory.
    Serve,
    /// To be looked at.
    Print,
}

/// An option that a flag gave.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, for messages.
    pub flag: String,
    /// The option's name.
    pub option: String,
    /// Its value.
    pub value: String,
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} problem{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Variables with our prefix that are no options of the server.
const OTHER_VARIABLES: [&str; 2] = ["PACTUM_CONFIG", "PACTUM_SERVER"];
/// A variable is taken for a misspelt option up to so many letters off; beyond that it is somebody
/// else's.
const MISSPELT_MAX: usize = 2;

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All problems at once, each with how to mend it.
    pub fn load(inputs: &Inputs, purpose: Purpose) -> Result<Config, Problems> {
        let mut loading = Loading { config: Config::default(), problems: Vec::new() };
        loading.file(inputs);
        loading.environment(inputs);
        loading.flags(inputs);
        let Loading { config, mut problems } = loading;
        if let Err(found) = config.server.validate() {
            for problem in found {
                // What is out of its own bounds was told already, with where it came from.
                let told = format!("`{}`", problem.option);
                if !problems.iter().any(|problem| problem.starts_with(&told)) {
                    problems.push(problem.to_string());
                }
            }
        }
        if purpose == Purpose::Serve && config.data_dir.is_none() {
            let how = "give `--data-dir DIR`, set PACTUM_DATA_DIR, or write `data_dir = \"DIR\"` \
                       into the file";
            problems.push(format!("`data_dir` is not set: {how}"));
        }
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// What is in force, as a file that means the same, with where each value came from.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for option in OPTIONS {
            let (of, name) = option.name.split_once('.').unwrap_or(("", option.name));
            if of != section {
                section = of;
                let _ = write!(text, "\n[{section}]\n");
            }
            let source = self.sources.get(option.name).map_or("default", String::as_str);
            let line = format!("{name} = {}", (option.show)(self));
            // A directory that was not given has no value that could be read back.
            let unset =
                if option.name == "data_dir" && self.data_dir.is_none() { "# " } else { "" };
            let _ = writeln!(text, "{unset}{line:<44} # {source}");
        }
        text
    }
}

/// A configuration on its way.
struct Loading {
    config: Config,
    problems: Vec<String>,
}

impl Loading {
    fn file(&mut self, inputs: &Inputs) {
        let Some(path) = &inputs.file else { return };
        let file = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problems.push(format!("read `{file}`: {error}")),
        };
        match text.parse::<toml::Table>() {
            Ok(table) => self.table(&file, "", &table),
            Err(error) => self
                .problems
                .push(format!("`{file}` is not TOML: {}", error.to_string().trim_end())),
        }
    }

    fn table(&mut self, file: &str, section: &str, table: &toml::Table) {
        for (key, value) in table {
            let name = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            match value {
                toml::Value::Table(table) if section.is_empty() => self.table(file, &name, table),
                toml::Value::String(text) => self.set(&name, text, file),
                toml::Value::Integer(number) => self.set(&name, &number.to_string(), file),
                toml::Value::Boolean(yes) => self.set(&name, &yes.to_string(), file),
                toml::Value::Table(_)
                | toml::Value::Array(_)
                | toml::Value::Float(_)
                | toml::Value::Datetime(_) => self.problems.push(format!(
                    "`{name}` in {file}: write a text, a whole number, or true or false"
                )),
            }
        }
    }

    fn environment(&mut self, inputs: &Inputs) {
        for (variable, value) in &inputs.environment {
            if !variable.starts_with("PACTUM_") || OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            if let Some(option) = OPTIONS.iter().find(|option| option.variable() == *variable) {
                self.set(option.name, value, variable);
                continue;
            }
            let variables: Vec<_> = OPTIONS.iter().map(OptionSpec::variable).collect();
            if let Some((distance, near)) = nearest(variable, variables.iter().map(String::as_str))
                && distance <= MISSPELT_MAX
            {
                self.problems.push(format!("{variable} is not an option; did you mean {near}?"));
            }
        }
    }

    fn flags(&mut self, inputs: &Inputs) {
        for Flag { flag, option, value } in &inputs.flags {
            self.set(option, value, flag);
        }
    }

    fn set(&mut self, name: &str, text: &str, source: &str) {
        let Some(option) = OPTIONS.iter().find(|option| option.name == name) else {
            let near = nearest(name, OPTIONS.iter().map(|option| option.name));
            let (_, near) = near.expect("there are options");
            self.problems
                .push(format!("`{name}` in {source} is not an option; did you mean `{near}`?"));
            return;
        };
        match (option.set)(&mut self.config, text) {
            Ok(()) => {
                self.config.sources.insert(option.name, source.to_owned());
            }
            Err(fix) => {
                self.problems.push(format!("`{name}` is `{text}` in {source}: {fix}"));
            }
        }
    }
}

/// The name that is the fewest letters away.
fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    among.map(|other| (strsim::levenshtein(name, other), other)).min()
}

#[cfg(test)]
mod tests;
