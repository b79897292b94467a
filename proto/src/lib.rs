//! The wire of Pactum: the generated code of `pactum.v1`, and its only conversions to core types.

/// The generated messages, clients and servers of `pactum.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto files carry the docs"
)]
pub mod v1 {
    tonic::include_proto!("pactum.v1");
}

/// The file descriptors of `pactum.v1`, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The protocol version that this build speaks; both sides must agree.
pub const PROTOCOL_VERSION: u32 = 1;

pub mod convert;
