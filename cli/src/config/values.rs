//! Strings become types here, and nowhere else: each kind of value with its bounds.

use std::fmt::Display;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pactum_core::id::GroupName;
use tracing_subscriber::EnvFilter;

/// How a kind of value is read, bounded and shown.
pub(super) trait Kind {
    /// What it is in the options.
    type Value;

    /// The value, or what is wrong with the text and how to mend it.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// As a value of TOML, which `parse` reads back.
    fn show(&self, value: &Self::Value) -> String;
}

/// A stretch of time: `500ms`, `10s`, `5m`, `24h`, `1h 30m`.
pub(super) struct Time(pub(super) RangeInclusive<Duration>);

impl Kind for Time {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let time = humantime::parse_duration(text)
            .map_err(|_| "write a time with its unit: `500ms`, `10s`, `5m`, `24h`".to_owned())?;
        if self.0.contains(&time) {
            Ok(time)
        } else {
            let (min, max) = (time_text(*self.0.start()), time_text(*self.0.end()));
            Err(format!("give a time from {min} to {max}"))
        }
    }

    fn show(&self, value: &Duration) -> String {
        quoted(&time_text(*value))
    }
}

fn time_text(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A whole number: `1000`, `1_000`.
pub(super) struct Count<N>(pub(super) RangeInclusive<N>);

impl<N: FromStr + PartialOrd + Display> Kind for Count<N> {
    type Value = N;

    fn parse(&self, text: &str) -> Result<N, String> {
        let bounds = || format!("give a whole number from {} to {}", self.0.start(), self.0.end());
        let number = text.replace('_', "").parse().map_err(|_| bounds())?;
        if self.0.contains(&number) { Ok(number) } else { Err(bounds()) }
    }

    fn show(&self, value: &N) -> String {
        value.to_string()
    }
}

/// A number of bytes: `65536`, `64KiB`, `4MiB`.
pub(super) struct Bytes(pub(super) RangeInclusive<usize>);

const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Kind for Bytes {
    type Value = usize;

    fn parse(&self, text: &str) -> Result<usize, String> {
        let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
        let (number, factor) = unit.map_or((text, 1), |(unit, factor)| {
            (text[..text.len() - unit.len()].trim_end(), *factor)
        });
        let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
        let bytes = bytes.ok_or("write a number of bytes: `65536`, `64KiB`, `4MiB`")?;
        if self.0.contains(&bytes) {
            Ok(bytes)
        } else {
            let (min, max) = (bytes_text(*self.0.start()), bytes_text(*self.0.end()));
            Err(format!("give a size from {min} to {max}"))
        }
    }

    fn show(&self, value: &usize) -> String {
        quoted(&bytes_text(*value))
    }
}

fn bytes_text(bytes: usize) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// `true` or `false`.
pub(super) struct YesNo;

impl Kind for YesNo {
    type Value = bool;

    fn parse(&self, text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| "write `true` or `false`".to_owned())
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A text with a form of its own.
pub(super) struct Text<T> {
    form: &'static str,
    value: PhantomData<T>,
}

pub(super) const fn text<T>(form: &'static str) -> Text<T> {
    Text { form, value: PhantomData }
}

impl<T: FromStr + Display> Kind for Text<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        text.parse().map_err(|_| self.form.to_owned())
    }

    fn show(&self, value: &T) -> String {
        quoted(&value.to_string())
    }
}

pub(super) const ADDRESS: Text<SocketAddr> =
    text("write an IP address and a port: `127.0.0.1:8091`, or port 0 for any free one");
pub(super) const GROUP: Text<GroupName> =
    text("a group name is 1 to 24 characters of a-z, 0-9 and `-`");
pub(super) const FORMAT: Text<super::LogFormat> = text("write `full`, `compact` or `json`");

/// A directory that must be given.
pub(super) struct Directory;

impl Kind for Directory {
    type Value = Option<PathBuf>;

    fn parse(&self, text: &str) -> Result<Option<PathBuf>, String> {
        if text.is_empty() {
            return Err("give a directory; it is created if it is not there".to_owned());
        }
        Ok(Some(text.into()))
    }

    fn show(&self, value: &Option<PathBuf>) -> String {
        quoted(&value.as_ref().map_or_else(String::new, |path| path.display().to_string()))
    }
}

/// Which log lines are written.
pub(super) struct Filter;

impl Kind for Filter {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => {
                Err("write a level or levels by target: `info`, `info,pactum_coordinator=debug`"
                    .to_owned())
            }
        }
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
