//! `pactum saga`: declared sagas, from a file to their end.
//!
//! - `args`: the command line. `files`: definitions as people write them, checked without a coordinator.
//! - `calls`: what is asked of a coordinator. `show`: how a saga looks.

pub(crate) mod args;
mod calls;
mod files;
mod show;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use anyhow::bail;
use pactum_core::saga::draw;

use crate::output::say;
use args::{DrawArgs, DrawFormat, FilesArgs, Saga};

pub(crate) async fn run(command: Saga) -> anyhow::Result<()> {
    match command {
        Saga::Validate(args) => validate(&args),
        Saga::Draw(args) => draw(&args),
        Saga::Define(args) => calls::define(args).await,
        Saga::Definition(args) => calls::definition(args).await,
        Saga::Submit(args) => calls::submit(args).await,
        Saga::Show(args) => calls::show(args).await,
        Saga::Watch(args) => calls::watch(args).await,
        Saga::Signal(args) => calls::signal(args).await,
        Saga::Complete(args) => calls::complete(args).await,
        Saga::Pause(args) => calls::say_of_saga(args, pactum_proto::v1::SagaVerb::Pause).await,
        Saga::Resume(args) => calls::say_of_saga(args, pactum_proto::v1::SagaVerb::Resume).await,
        Saga::Cancel(args) => calls::say_of_saga(args, pactum_proto::v1::SagaVerb::Cancel).await,
        Saga::Retry(args) => calls::retry(args).await,
        Saga::Skip(args) => calls::skip(args).await,
        Saga::Force(args) => calls::force(args).await,
    }
}

/// Checks everything that can be checked without a coordinator.
fn validate(args: &FilesArgs) -> anyhow::Result<()> {
    let mut text = String::new();
    let mut wrong = 0;
    for checked in files::read(&args.files) {
        let path = checked.path.display();
        match checked.result {
            Ok(defined) => {
                let key = &defined.row.key;
                let _ = writeln!(text, "{path}: {}@{} is right", key.name, key.version);
            }
            Err(why) => {
                wrong += 1;
                for line in why.to_string().lines() {
                    let _ = writeln!(text, "{path}: {line}");
                }
            }
        }
    }
    if wrong == 0 {
        text.push_str("whether somebody offers the actions is known when a saga is submitted\n");
    }
    say(&text)?;
    match wrong {
        0 => Ok(()),
        1 => bail!("1 definition is wrong"),
        many => bail!("{many} definitions are wrong"),
    }
}

fn draw(args: &DrawArgs) -> anyhow::Result<()> {
    // The first is drawn; the others are its parts.
    let graph = files::read(&args.files)
        .into_iter()
        .find(|checked| checked.path == args.files[0])
        .map(files::Checked::defined)
        .expect("every file is among the checked ones")?
        .graph;
    say(&match args.format {
        DrawFormat::Mermaid => draw::mermaid(&graph),
        DrawFormat::Dot => draw::dot(&graph),
    })
}
