//! What a viewer asks of the platform that it runs on, and what the platform reports.
//!
//! Whatever a shell makes closes when it is dropped, and nothing more is heard of it afterwards.

use bytes::Bytes;
use cardume_swarm::{BitsPerSec, Route};
use cardume_wire::signal::{Candidate, IceServer};
use cardume_wire::{ChannelId, PeerId, TrackId};

use crate::MediaCommand;

/// What somebody wants to watch, and how.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The channel to watch.
    pub channel: ChannelId,
    /// What may be uploaded; `None` lets the session find out.
    pub upload_limit: Option<BitsPerSec>,
    /// What the uplink bore when somebody last watched here; see [`Stats::uplink`](cardume_swarm::Stats::uplink).
    pub upload_guess: Option<BitsPerSec>,
    /// The rendition that the viewer chose; `None` leaves it to the session.
    pub rendition: Option<TrackId>,
}

/// A platform, in parts.
pub trait Shell {
    /// Who opens sockets.
    type Dialler: Dialler;
    /// Who sets connections up.
    type Connector: Connector;
    /// An open data channel in use.
    type Link: Link;

    /// Takes over a channel that has just opened; what comes over it is reported from now on.
    fn link(&mut self, peer: PeerId, channel: <Self::Connector as Connector>::Channel) -> Self::Link;

    /// Has the media element do something.
    fn play(&mut self, command: MediaCommand);
}

/// Opens sockets to the tracker.
pub trait Dialler {
    /// What it opens.
    type Socket: Socket;

    /// Starts to connect to this path and query of the tracker; `None` when there can be no such socket.
    fn dial(&mut self, address: &str) -> Option<Self::Socket>;

    /// A number of 0..1 that nobody foresees, uniformly.
    fn chance(&mut self) -> f64;
}

/// An open or opening WebSocket.
pub trait Socket {
    /// Sends a text message; false when the socket is not open or its queue is full.
    fn send_text(&self, text: &str) -> bool;

    /// Sends a binary message; false when the socket is not open or its queue is full.
    fn send_bytes(&self, bytes: &Bytes) -> bool;

    /// Bytes handed over and not yet sent.
    fn backlog_len(&self) -> usize;
}

/// What happened to a [`Socket`].
#[derive(Debug, Clone, Copy)]
pub enum SocketEvent<'a> {
    /// It can send now.
    Opened,
    /// A text message.
    Text(&'a str),
    /// A binary message; of one that is too long, so much that this shows.
    Binary(&'a [u8]),
    /// It is gone, or never came to be.
    Closed,
}

/// Sets up connections to neighbours.
pub trait Connector {
    /// What it sets up.
    type Connection: Connection;
    /// What is open at the end of that.
    type Channel;

    /// Use these for all later connections.
    fn set_ice_servers(&mut self, servers: &[IceServer]);

    /// Begins to connect by an offer; `None` when the platform has no room for another one.
    fn offer(&mut self, peer: PeerId) -> Option<Self::Connection>;

    /// Begins to answer an offer; `None` when the platform has no room for another one.
    fn answer(&mut self, peer: PeerId, sdp: &str) -> Option<Self::Connection>;
}

/// One neighbour's connection, with one data channel (JSEP, RFC 9429; trickle ICE, RFC 8838).
pub trait Connection {
    /// Takes the neighbour's answer to our offer; a second one is ignored.
    fn handle_answer(&mut self, sdp: &str);

    /// Takes one of the neighbour's candidates. One that makes no sense is skipped: others may do.
    fn handle_candidate(&mut self, candidate: Candidate);

    /// Whether this side made the offer and has had no answer yet.
    fn awaits_answer(&self) -> bool;

    /// Whether the data channel has been open.
    fn is_open(&self) -> bool;

    /// Says nothing more from now on, and goes on sending what its channel was given.
    fn mute(&mut self);
}

/// What happened to a [`Connection`].
#[derive(Debug)]
pub enum ConnectionEvent<C> {
    /// Send this offer to the neighbour.
    Offer(String),
    /// Send this answer to the neighbour.
    Answer(String),
    /// Send this candidate to the neighbour.
    Candidate(Candidate),
    /// The data channel is open.
    Opened(C),
    /// How it runs, or runs from now on; to be told as soon as it is open.
    Route(Route),
    /// It never came to be, or it is gone; to be ended by [`crate::ConnectionCommand::Close`].
    Failed,
    /// It was open, and the neighbour, who lost it, set up another that takes its place.
    Replaced,
}

/// The link to one neighbour: an open data channel.
pub trait Link {
    /// Sends one message; false when the channel is not open or its queue is full: then it is dead.
    fn send(&self, bytes: &Bytes) -> bool;

    /// Bytes handed over and not yet sent.
    fn backlog_len(&self) -> usize;
}

/// What happened to a [`Link`].
#[derive(Debug, Clone, Copy)]
pub enum LinkEvent<'a> {
    /// A message; of one that is too long, so much that this shows.
    Message(&'a [u8]),
    /// Its queue is nearly empty.
    Drained,
    /// It is gone.
    Closed,
}
