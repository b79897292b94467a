//! Compiles the .proto files with protox, so that no protoc has to be installed.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["coordinator", "admin", "saga"].map(|name| format!("proto/pactum/v1/{name}.proto"));
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Almost no error has them, and errors are passed on by value.
    let rare = ".pactum.v1.Error.faults";
    tonic_prost_build::configure().bytes(".").boxed(rare).compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
