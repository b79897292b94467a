//! Connections that can be cut at once, from the inside: what a crash does to them.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// All connections of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Gates>>);

#[derive(Debug, Default)]
struct Gates {
    open: Vec<Weak<Gate>>,
    cut: bool,
}

#[derive(Debug, Default)]
struct Gate {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Gate {
    fn cut(&self) {
        self.cut.store(true, SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Connections {
    /// Watches over a connection.
    pub(crate) fn admit<IO>(&self, io: IO) -> Connection<IO> {
        let gate = Arc::new(Gate::default());
        let mut gates = self.0.lock().expect("nothing panics while it holds this lock");
        if gates.cut {
            gate.cut();
        }
        if gates.open.len() == gates.open.capacity() {
            gates.open.retain(|gate| gate.strong_count() > 0);
        }
        gates.open.push(Arc::downgrade(&gate));
        Connection { io, gate }
    }

    /// Cuts them all, and those to come.
    pub(crate) fn cut(&self) {
        let mut gates = self.0.lock().expect("nothing panics while it holds this lock");
        gates.cut = true;
        for gate in gates.open.drain(..).filter_map(|gate| gate.upgrade()) {
            gate.cut();
        }
    }
}

/// A connection that can be cut.
#[derive(Debug)]
pub(crate) struct Connection<IO> {
    io: IO,
    gate: Arc<Gate>,
}

impl<IO: Connected> Connected for Connection<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.gate.reader.register(cx.waker());
        this.gate.check()?;
        Pin::new(&mut this.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.gate.writer.register(cx.waker());
        this.gate.check()?;
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.gate.writer.register(cx.waker());
        this.gate.check()?;
        Pin::new(&mut this.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.gate.check()?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
