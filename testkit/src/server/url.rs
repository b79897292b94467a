//! The URL of a server's administrator: as given by the environment, or made for a private server.
//!
//! psql takes such a URL as it is; the client of MariaDB wants its parts, decoded.

use std::fmt;

use anyhow::{Context as _, Result, bail};

use super::Kind;

/// `scheme://[user[:password]@]host[:port][/database][?options]`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AdminUrl {
    kind: Kind,
    /// Up to the path, without the slash.
    server: String,
    database: Option<String>,
    /// With the question mark, or empty.
    options: String,
}

/// What a client that takes no URL wants to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl AdminUrl {
    pub(super) fn parse(kind: Kind, url: &str) -> Result<Self> {
        let schemes: &[&str] = match kind {
            Kind::Postgres => &["postgres", "postgresql"],
            Kind::Mysql => &["mysql", "mariadb"],
        };
        // Not the URL in the message: it may hold a password.
        let (scheme, rest) = url
            .split_once("://")
            .with_context(|| format!("the URL of {kind} has no `{}://`", schemes[0]))?;
        if !schemes.contains(&scheme) {
            bail!("the URL of {kind} begins with `{scheme}://`: write `{}://`", schemes[0]);
        }
        let (rest, options) = rest.find('?').map_or((rest, ""), |at| rest.split_at(at));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let parsed = AdminUrl {
            kind,
            server: format!("{scheme}://{authority}"),
            database: (!database.is_empty()).then(|| database.to_owned()),
            options: options.to_owned(),
        };
        parsed.parts()?;
        Ok(parsed)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The same server and account, at another database. `name` needs no escape in a URL.
    pub(super) fn at(&self, name: &str) -> Self {
        AdminUrl { database: Some(name.to_owned()), ..self.clone() }
    }

    pub(super) fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    pub(super) fn parts(&self) -> Result<Parts> {
        let (_, authority) = self.server.split_once("://").context("a URL without a scheme")?;
        let (account, place) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(left, right)| (Some(left), right));
        let (user, password) = match account.map(|account| account.split_once(':')) {
            None => (None, None),
            Some(None) => (account, None),
            Some(Some((user, password))) => (Some(user), Some(password)),
        };
        // A colon inside brackets belongs to an address of version 6.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (place, None),
        };
        let port = port.map(|port| port.parse().with_context(|| format!("`{port}` is no port")));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            bail!("the URL of {} names no host", self.kind);
        }
        Ok(Parts {
            user: user.map(decode).transpose()?,
            password: password.map(decode).transpose()?,
            host: decode(host)?,
            port: port.transpose()?,
        })
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.database.as_deref().unwrap_or_default();
        write!(f, "{}/{database}{}", self.server, self.options)
    }
}

/// Without the password.
impl fmt::Debug for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.server.rsplit(['@', '/']).next().unwrap_or_default();
        write!(f, "{} at {place}", self.kind)
    }
}

/// Undoes `%40` and the like.
fn decode(text: &str) -> Result<String> {
    let mut parts = text.split('%');
    let mut bytes: Vec<u8> = parts.next().unwrap_or_default().into();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let code = code.context("a `%` in a URL is followed by two hexadecimal digits")?;
        bytes.push(code);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).context("a part of a URL is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Parts {
        AdminUrl::parse(Kind::Mysql, url).unwrap().parts().unwrap()
    }

    #[test]
    fn a_database_replaces_the_one_given_and_the_options_stay() {
        let url = AdminUrl::parse(Kind::Postgres, "postgres://me:x@db:5432/old?sslmode=disable");
        assert_eq!(
            url.unwrap().at("new").to_string(),
            "postgres://me:x@db:5432/new?sslmode=disable"
        );
        let url = AdminUrl::parse(Kind::Mysql, "mysql://root@127.0.0.1:3306").unwrap();
        assert_eq!(url.at("new").to_string(), "mysql://root@127.0.0.1:3306/new");
    }

    #[test]
    fn the_parts_come_decoded() {
        let all = parts("mysql://a%40b:p:%2F@[::1]:77/x");
        assert_eq!(all.user.as_deref(), Some("a@b"));
        assert_eq!(all.password.as_deref(), Some("p:/"));
        assert_eq!((all.host.as_str(), all.port), ("::1", Some(77)));
        let few = parts("mysql://db");
        assert_eq!(few, Parts { user: None, password: None, host: "db".into(), port: None });
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_showing_it() {
        for (url, why) in [
            ("secret", "has no `mysql://`"),
            ("postgres://secret@db", "write `mysql://`"),
            ("mysql://secret@", "names no host"),
            ("mysql://secret%zz@db", "two hexadecimal digits"),
            ("mysql://secret@db:port", "is no port"),
        ] {
            let error = AdminUrl::parse(Kind::Mysql, url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
