//! Tokio as `webrtc` is given it: one datagram at a time until a connection's channel is open.
//!
//! `webrtc` reads datagrams in bursts, and looks only after each burst at what they brought. Where a channel was agreed
//! beforehand, as ours is, a neighbour's first messages follow the end of the SCTP handshake at once; in one burst with it
//! they come before the channel is there, and are lost (`webrtc` 0.21, on one machine in most attempts). So the socket
//! pretends to be empty after each datagram until the channel is open.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One connection's runtime.
#[derive(Debug)]
pub(crate) struct CarefulRuntime {
    /// Whether bursts do no harm any more.
    is_open: Arc<AtomicBool>,
}

#[derive(Debug)]
struct CarefulSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    is_open: Arc<AtomicBool>,
    /// Whether to pretend to be empty.
    pauses: AtomicBool,
}

impl CarefulRuntime {
    /// Careful until it `is_open`.
    pub(crate) fn new(is_open: Arc<AtomicBool>) -> Self {
        Self { is_open }
    }
}

impl Runtime for CarefulRuntime {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let is_open = self.is_open.clone();
        Ok(Arc::new(CarefulSocket { inner, is_open, pauses: AtomicBool::new(false) }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp(&self, remote: SocketAddr) -> Boxed<'_, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}

impl AsyncUdpSocket for CarefulSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.pauses.swap(false, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let received = self.inner.poll_recv(cx, bufs, meta);
        let pauses = received.is_ready() && !self.is_open.load(Ordering::Relaxed);
        self.pauses.store(pauses, Ordering::Relaxed);
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}
