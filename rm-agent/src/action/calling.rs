//! A handler of the application, called so that nothing it does wrong goes further.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::timeout;

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Call<T> {
    Returned(T),
    /// With what it said.
    Panicked(String),
    /// Its future was dropped, perhaps in the middle of a statement: the local transaction is only good
    /// to be dropped too.
    TimedOut,
}

/// Runs a handler for at most `limit`.
pub(crate) async fn call<T>(limit: Duration, handler: impl Future<Output = T>) -> Call<T> {
    match timeout(limit, AssertUnwindSafe(handler).catch_unwind()).await {
        Ok(Ok(returned)) => Call::Returned(returned),
        Ok(Err(panic)) => Call::Panicked(message(&*panic)),
        Err(_elapsed) => Call::TimedOut,
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it said nothing".to_owned())
}
