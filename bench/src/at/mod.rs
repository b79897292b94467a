use anyhow::Result;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: Options) -> Result<()> {
    Ok(())
}
