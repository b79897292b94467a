//! The transaction coordinator, as a library: a server in a process of its own, or [`Embedded`] in a
//! test or a demo.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pactum_coordinator::Embedded;
//!
//! let coordinator = Embedded::start().await?;
//! println!("a coordinator listens at {}", coordinator.url());
//! coordinator.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! - `engine`: the group task, which decides, writes and tells, in that order.
//! - `dispatch`: from the group task to whoever waits.
//! - `transport`: the wire.
//! - [`store`]: where a group's rows are kept.
//! - [`Server`], [`ServerOptions`], [`Embedded`]: what others use.

mod dispatch;
mod embedded;
mod engine;
mod environment;
mod metrics;
mod options;
mod server;
pub mod store;
mod tasks;
mod transport;

pub use embedded::{Embedded, EmbeddedBuilder, EmbeddedError};
pub use engine::EngineError;
pub use environment::Environment;
pub use metrics::{BUCKETS, Histogram, Stats};
pub use options::{AttachmentOptions, EngineOptions, InvalidOption, ServerOptions, SessionOptions};
pub use server::{Server, StartError};
pub use tasks::worker_threads;
