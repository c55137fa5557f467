//! A socket that another task can close, and that tells when a request begins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::connections::Connection;
use crate::meetings::now;

/// How the table of connections reaches a connection's tasks.
#[derive(Default)]
pub struct Link {
    closed: AtomicBool,
    /// The next byte begins a request.
    idle: AtomicBool,
    /// A write waits until the peer has taken earlier ones.
    blocked: AtomicBool,
    progress: AtomicU64,
    reader: AtomicWaker,
    writer: AtomicWaker,
    leaving: Notify,
}

impl Link {
    /// Makes every further read and write fail.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
        self.leave();
    }

    /// Asks to end after what is being answered.
    pub fn leave(&self) {
        self.leaving.notify_one();
    }

    pub async fn left(&self) {
        self.leaving.notified().await;
    }

    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Grows with every sign that the peer lives: bytes from it, and bytes to it for which there was no room before. A
    /// write into an empty send buffer says nothing of the peer.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    fn on_read(&self, bytes: usize) {
        self.progress.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn on_write(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.blocked.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(bytes)) if self.blocked.swap(false, Ordering::Relaxed) => {
                self.progress.fetch_add(*bytes as u64, Ordering::Relaxed);
            }
            Poll::Ready(_) => {}
        }
    }

    fn check(&self, waker: &AtomicWaker, context: &Context<'_>) -> io::Result<()> {
        waker.register(context.waker());
        match self.is_closed() {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}

/// The socket of a connection, which keeps its place in the table.
pub struct LinkedStream {
    pub stream: TcpStream,
    pub connection: Arc<Connection>,
}

impl AsyncRead for LinkedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let link = &self.connection.link;
        link.check(&link.reader, context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        self.connection.link.on_read(bytes);
        if bytes > 0 && self.connection.link.idle.load(Ordering::Relaxed) {
            self.connection.on_bytes(now());
        }
        read
    }
}

impl AsyncWrite for LinkedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let link = &self.connection.link;
        link.check(&link.writer, context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.connection.link.on_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let link = &self.connection.link;
        link.check(&link.writer, context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.connection.link.on_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_peer_has_taken_or_sent_is_progress() {
        let link = Link::default();
        for (event, expected) in [
            (Some(Poll::Ready(Ok(100))), 0),
            (Some(Poll::Ready(Ok(100))), 0),
            (Some(Poll::Pending), 0),
            (Some(Poll::Pending), 0),
            (Some(Poll::Ready(Ok(7))), 7),
            (Some(Poll::Ready(Ok(100))), 7),
            (None, 10),
        ] {
            match event {
                Some(written) => link.on_write(&written),
                None => link.on_read(3),
            }
            assert_eq!(link.progress(), expected);
        }
    }
}
