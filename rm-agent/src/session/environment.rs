//! What the session takes from the world besides time: randomness, and a way to the coordinator.
//!
//! Tests and the simulator hand in their own; time is `tokio::time`, which they pause.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pactum_core::id::NodeId;
use tonic::transport::{Channel, Endpoint};

/// The longest a connection attempt takes. 3 s: one lost SYN is repeated after one.
const DIAL_WAIT_MAX: Duration = Duration::from_secs(3);

/// A way to the coordinator.
#[async_trait::async_trait]
pub(crate) trait Dial: Send + Sync + 'static {
    async fn dial(&self) -> Result<Channel, tonic::transport::Error>;
}

/// Plain HTTP/2 to one address.
pub(crate) struct DialEndpoint(Endpoint);

impl DialEndpoint {
    pub(crate) fn new(url: String) -> Result<Self, tonic::transport::Error> {
        // Frames are coalesced by the session, so waiting for more in the socket only adds delay.
        let endpoint = Endpoint::from_shared(url)?.connect_timeout(DIAL_WAIT_MAX).tcp_nodelay(true);
        Ok(DialEndpoint(endpoint))
    }
}

#[async_trait::async_trait]
impl Dial for DialEndpoint {
    async fn dial(&self) -> Result<Channel, tonic::transport::Error> {
        self.0.connect().await
    }
}

/// The seam: see the module's head.
pub(crate) struct Environment {
    pub(crate) dial: Box<dyn Dial>,
    pub(crate) node: NodeId,
    random: Mutex<fastrand::Rng>,
}

impl Environment {
    /// The real world.
    pub(crate) fn real(dial: impl Dial) -> Self {
        let node = NodeId(uuid::Uuid::new_v4().as_u128());
        Environment { dial: Box::new(dial), node, random: Mutex::new(fastrand::Rng::new()) }
    }

    /// A world that is the same for the same seed.
    #[cfg(test)]
    pub(crate) fn seeded(dial: impl Dial, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let node = NodeId(random.u128(..));
        Environment { dial: Box::new(dial), node, random: Mutex::new(random) }
    }

    /// 64 random bits.
    pub(crate) fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).u64(..)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("node", &self.node).finish_non_exhaustive()
    }
}
