//! Mail: no database, so no barrier row, and a mail that was sent cannot be called back.
//!
//! It is sent at least once. All attempts have one key, by which whoever gets it knows it again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pactum_agent::{Acted, Handled, ServiceStep, StepCall, StepError};
use serde::Deserialize;
use serde_json::Value;

pub(super) struct SendMail {
    /// Stands for the world outside: a line for each mail.
    pub(super) outbox: PathBuf,
}

#[derive(Deserialize)]
pub(super) struct Letter {
    trip: String,
    text: Value,
}

impl ServiceStep for SendMail {
    const NAME: &'static str = "send-mail";
    const COMPENSABLE: bool = false;
    type Input = Letter;
    type Output = ();
    type Error = io::Error;

    async fn action(&self, call: &StepCall, letter: Letter) -> Result<Acted<()>, StepError> {
        tracing::info!(trip = letter.trip, key = call.key(), attempt = call.attempt(), "send-mail");
        let mail = format!("{}\t{}\t{}\n", call.key(), letter.trip, letter.text);
        let outbox = self.outbox.clone();
        let sent = tokio::task::spawn_blocking(move || send(&outbox, &mail)).await;
        // By `?` an error is *unknown*: the mail may be on its way. The step is repeated under its key.
        sent??;
        Ok(Acted::Done(()))
    }

    async fn compensate(
        &self,
        _call: &StepCall,
        _letter: Letter,
        _sent: Option<()>,
    ) -> Result<Handled, io::Error> {
        Ok(Handled::Attention("a mail cannot be called back".to_owned()))
    }
}

fn send(outbox: &Path, mail: &str) -> io::Result<()> {
    let mut outbox = File::options().create(true).append(true).open(outbox)?;
    outbox.lock()?;
    outbox.write_all(mail.as_bytes())?;
    outbox.sync_data()
}

/// The mails of an outbox: key and trip of each.
///
/// # Errors
/// If it cannot be read.
pub fn sent(outbox: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mails = match std::fs::read_to_string(outbox) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        mails => mails.context("read the outbox")?,
    };
    let key_and_trip = |mail: &str| {
        let (key, rest) = mail.split_once('\t')?;
        Some((key.to_owned(), rest.split_once('\t')?.0.to_owned()))
    };
    mails.lines().map(|mail| key_and_trip(mail).context("a mail is cut off")).collect()
}
