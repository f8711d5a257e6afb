//! The relay's sockets: one for datagrams of clients, one for each connection of a client, and one for each relayed address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::machine::{Machine, Next};
use super::{Client, DATAGRAM_LEN_LIMIT, Moment, Transport};
use crate::clock::{unix_seconds, wall_time};
use crate::egress::Relayed;

/// How often allocations that expired are ended. They are of no use to anybody from the moment on that they expire.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);
/// Ports that are tried for an allocation: with nine of ten taken, one in five allocations fails. (Wild guess.)
const PORT_TRIES: usize = 16;
/// Pause when a socket fails, so that one that keeps failing does not take a processor.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Frames that wait for a client's connection; what a peer sends beyond them is lost, as datagrams are.
pub(super) type Frames = mpsc::Sender<Vec<u8>>;

/// How a client is answered.
#[derive(Debug, Clone)]
pub(super) enum Back {
    Datagrams,
    Connection(Frames),
}

/// The socket of a relayed address, which is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Wires {
    relayed: Arc<UdpSocket>,
    back: Back,
    _closer: DropGuard,
}

/// What all tasks of the relay share.
pub(super) struct Shared {
    pub(super) machine: Mutex<Machine<Wires>>,
    /// Where clients send datagrams.
    pub(super) clients: UdpSocket,
    /// Where relayed addresses are, on this machine.
    pub(super) bind_address: IpAddr,
    pub(super) ports: RangeInclusive<u16>,
    pub(super) egress: Arc<Relayed>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Bytes on their way out.
enum Parcel<'b> {
    Answer(Vec<u8>),
    ToPeer(Arc<UdpSocket>, SocketAddr, &'b [u8]),
    ToClient(Back, Client, Vec<u8>),
}

/// Takes datagrams of clients until the tracker goes down.
pub(super) async fn serve_datagrams(shared: Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM_LEN_LIMIT + 1];
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = expiry.tick() => shared.expire(),
            received = shared.clients.recv_from(&mut buffer) => match received {
                // A datagram that fills the buffer was cut off.
                Ok((len, from)) if len <= DATAGRAM_LEN_LIMIT => {
                    let client = Client::new(Transport::Udp, from);
                    shared.take(client, buffer.get(..len).unwrap_or_default(), &Back::Datagrams);
                }
                Ok(_) => {}
                Err(error) => pause_after(&error).await,
            },
        }
    }
}

async fn pause_after(error: &io::Error) {
    tracing::debug!("a socket of the relay failed: {error}");
    tokio::time::sleep(FAILURE_PAUSE).await;
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Machine<Wires>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expire(&self) {
        self.lock().expire(Instant::now());
        self.egress.release_share();
    }

    /// Does what a client's message asks for. What cannot be sent at once is lost.
    pub(super) fn take(self: &Arc<Self>, client: Client, bytes: &[u8], back: &Back) {
        let Some(parcel) = self.sort(client, bytes, back) else { return };
        match parcel {
            Parcel::Answer(answer) => self.send_back(back, client, answer),
            Parcel::ToPeer(socket, peer, payload) => {
                if self.egress.try_pass(payload.len()) {
                    let _ = socket.try_send_to(payload, as_seen_by(&socket, peer));
                }
            }
            Parcel::ToClient(back, client, bytes) => self.relay_back(&back, client, bytes),
        }
    }

    fn sort<'b>(self: &Arc<Self>, client: Client, bytes: &'b [u8], back: &Back) -> Option<Parcel<'b>> {
        let at = Moment { now: Instant::now(), unix: unix_seconds(wall_time()) };
        let mut machine = self.lock();
        match machine.receive(client, bytes, at, &mut || self.open(back)) {
            Next::Nothing => None,
            Next::Answer(answer) => Some(Parcel::Answer(answer)),
            Next::ToPeer { via, to, payload } => Some(Parcel::ToPeer(Arc::clone(&via.relayed), to, payload)),
            Next::ToClient { via, client, bytes } => Some(Parcel::ToClient(via.back.clone(), client, bytes)),
        }
    }

    fn relay_back(&self, back: &Back, client: Client, bytes: Vec<u8>) {
        if self.egress.try_pass(bytes.len()) {
            self.send_back(back, client, bytes);
        }
    }

    fn send_back(&self, back: &Back, client: Client, bytes: Vec<u8>) {
        // Whoever is not ready to take it loses it: these are datagrams.
        match back {
            Back::Datagrams => {
                let _ = self.clients.try_send_to(&bytes, as_seen_by(&self.clients, client.address));
            }
            Back::Connection(frames) => {
                let _ = frames.try_send(bytes);
            }
        }
    }

    /// A relayed address on a port that nobody can foretell.
    fn open(self: &Arc<Self>, back: &Back) -> Option<(u16, Wires)> {
        if self.stop.is_cancelled() || self.egress.is_exhausted() {
            return None;
        }
        let socket = (0..PORT_TRIES).find_map(|_| self.bind_any())?;
        let port = socket.local_addr().ok()?.port();
        let (relayed, closing) = (Arc::new(socket), CancellationToken::new());
        let peers =
            Peers { port, relayed: Arc::clone(&relayed), back: back.clone(), closing: closing.clone() };
        self.tasks.spawn(peers.serve(Arc::clone(self)));
        Some((port, Wires { relayed, back: back.clone(), _closer: closing.drop_guard() }))
    }

    fn bind_any(&self) -> Option<UdpSocket> {
        let n_ports = u32::from(self.ports.end() - self.ports.start()) + 1;
        let offset = u16::try_from(getrandom::u32().ok()? % n_ports).ok()?;
        let socket = std::net::UdpSocket::bind((self.bind_address, self.ports.start() + offset)).ok()?;
        socket.set_nonblocking(true).ok()?;
        UdpSocket::from_std(socket).ok()
    }
}

/// Those who send to a relayed address.
struct Peers {
    port: u16,
    relayed: Arc<UdpSocket>,
    back: Back,
    closing: CancellationToken,
}

impl Peers {
    /// Takes their datagrams until the allocation ends.
    async fn serve(self, shared: Arc<Shared>) {
        let mut buffer = vec![0; DATAGRAM_LEN_LIMIT + 1];
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = self.closing.cancelled() => return,
                received = self.relayed.recv_from(&mut buffer) => match received {
                    Ok((len, from)) if len <= DATAGRAM_LEN_LIMIT => {
                        let peer = SocketAddr::new(from.ip().to_canonical(), from.port());
                        self.take(&shared, peer, buffer.get(..len).unwrap_or_default());
                    }
                    Ok(_) => {}
                    Err(error) => pause_after(&error).await,
                },
            }
        }
    }

    fn take(&self, shared: &Shared, peer: SocketAddr, payload: &[u8]) {
        let delivered = {
            let mut machine = shared.lock();
            machine
                .hear_peer(self.port, peer, payload, Instant::now())
                .map(|(_, client, bytes)| (client, bytes))
        };
        if let Some((client, bytes)) = delivered {
            shared.relay_back(&self.back, client, bytes);
        }
    }
}

/// An IPv4 address in the form that an IPv6 socket sends to.
fn as_seen_by(socket: &UdpSocket, address: SocketAddr) -> SocketAddr {
    match (socket.local_addr(), address.ip()) {
        (Ok(SocketAddr::V6(_)), IpAddr::V4(v4)) => {
            SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())
        }
        _ => address,
    }
}
