//! The wire between a process and its coordinator, with a gate in each direction.
//!
//! ```text
//! service ──▶ gate ──▶ coordinator        the gate closes as soon as it sees a word go by, such as the
//!         ◀──      ◀──                    name of an action; what is held goes with the next cut
//! ```
//!
//! A message that is held has left its sender and not arrived. So a service that is killed behind a gate
//! that holds the questions is killed before its handler runs; behind one that holds the answers, after its
//! local commit, and nobody heard of it, unless the gate is opened.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Which messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What the coordinator asks.
    ToService,
    /// What the service answers.
    ToCoordinator,
}

/// When to close.
#[derive(Clone, Debug)]
pub(crate) struct Snare {
    /// A message this way,
    pub(crate) sees: Way,
    /// with this in it,
    pub(crate) word: String,
    /// closes the gate for these, itself included.
    pub(crate) holds: Way,
}

#[derive(Clone, Debug, Default)]
struct State {
    snare: Option<Snare>,
    held: Option<Way>,
    /// Connections from before a cut are gone, with what they held.
    cuts: u32,
}

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn before(coordinator: SocketAddr) -> Result<Gate> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("open a gate")?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State::default());
        let accepting = tokio::spawn(accept(listener, coordinator, state.clone()));
        Ok(Gate { address, state, accepting })
    }

    /// Closes at the next message of this kind.
    pub(crate) fn set(&self, snare: Snare) {
        self.state.send_modify(|state| state.snare = Some(snare));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.borrow().held.is_some()
    }

    /// Waits until it is.
    pub(crate) async fn closed(&self) {
        // It ends with the gate itself only.
        let mut state = self.state.subscribe();
        let _closed = state.wait_for(|state| state.held.is_some()).await;
    }

    /// Lets through what was held.
    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.held = None);
    }

    /// Loses what is held, with the connections, and is open for new ones.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| {
            *state = State { cuts: state.cuts + 1, ..State::default() };
        });
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, coordinator: SocketAddr, state: watch::Sender<State>) {
    while let Ok((service, _)) = listener.accept().await {
        // While the coordinator is down the service is refused, as it would be by itself.
        let Ok(coordinator) = TcpStream::connect(coordinator).await else { continue };
        let (from_service, to_service) = service.into_split();
        let (from_coordinator, to_coordinator) = coordinator.into_split();
        let cuts = state.borrow().cuts;
        let pass = |way, from, to| pass(way, from, to, state.clone(), cuts);
        let there = pass(Way::ToCoordinator, from_service, to_coordinator);
        let back = pass(Way::ToService, from_coordinator, to_service);
        tokio::spawn(there);
        tokio::spawn(back);
    }
}

async fn pass(
    way: Way,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: watch::Sender<State>,
    cuts: u32,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let mut changed = state.subscribe();
        let read = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            _ = changed.wait_for(|state| state.cuts != cuts) => return,
        };
        if read == 0 {
            if way == Way::ToCoordinator {
                // It does not learn of a death before it has heard the last words.
                let _cut = changed.wait_for(|state| state.cuts != cuts).await;
            }
            return;
        }
        let message = &bytes[..read];
        state.send_if_modified(|state| {
            let word = |snare: &Snare| snare.sees == way && has(message, &snare.word);
            let Some(snare) = state.snare.take_if(|snare| word(snare)) else { return false };
            state.held = Some(snare.holds);
            true
        });
        let passes = changed.wait_for(|state| state.cuts != cuts || state.held != Some(way)).await;
        let goes = passes.is_ok_and(|state| state.cuts == cuts);
        if !goes || to.write_all(message).await.is_err() {
            return;
        }
    }
}

fn has(message: &[u8], word: &str) -> bool {
    message.windows(word.len()).any(|part| part == word.as_bytes())
}
