//! JSON messages between a viewer and the tracker, one WebSocket text message each (`/v1/signal`).
//!
//! Unknown fields are ignored; an unknown type is answered by an error of code [`ErrorCode::UnknownType`].

use serde::{Deserialize, Serialize};

use crate::{ChannelId, PeerId, WallTime};

/// Bytes of one message at most: an SDP of a data channel is under 2 KiB, ICE candidates make it a few more.
pub const MESSAGE_LEN_LIMIT: usize = 16 * 1024;
/// Neighbours named by one message at most (the overlay wants 8 to 16).
pub const NEIGHBOUR_LIMIT: usize = 16;

/// What a viewer says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromViewer {
    /// First message: let me watch this channel.
    Join {
        /// The viewer's [`crate::PROTOCOL_VERSION`].
        version: u16,
        /// The channel to watch.
        channel: ChannelId,
        /// The token of an earlier [`Welcome`], to be the same peer again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
    },
    /// An SDP offer for a named peer.
    Offer {
        /// Whom it is for.
        to: PeerId,
        /// The session description.
        sdp: String,
    },
    /// The answer to an offer.
    Answer {
        /// Who offered.
        to: PeerId,
        /// The session description.
        sdp: String,
    },
    /// One trickled ICE candidate (RFC 8838).
    Candidate {
        /// Whom it is for.
        to: PeerId,
        /// The candidate.
        candidate: Candidate,
    },
    /// Give me neighbours: I have too few.
    Neighbours {
        /// Peers that did not work or are connected already; at most [`NEIGHBOUR_LIMIT`].
        without: Vec<PeerId>,
    },
    /// Asks for the tracker's time.
    Clock {
        /// The viewer's own time, given back untouched, in microseconds.
        sent_at: u64,
    },
    /// How it goes; at most every 10 s.
    Report(Report),
    /// A neighbour sent a block that its descriptor disproves.
    Blame {
        /// The neighbour.
        peer: PeerId,
    },
    /// Goodbye.
    Leave,
}

/// What the tracker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTracker {
    /// Answer to [`FromViewer::Join`].
    Welcome(Box<Welcome>),
    /// An offer from a peer.
    Offer {
        /// Who offers.
        from: PeerId,
        /// The session description.
        sdp: String,
    },
    /// The answer to an offer.
    Answer {
        /// Who answers.
        from: PeerId,
        /// The session description.
        sdp: String,
    },
    /// A candidate from a peer.
    Candidate {
        /// Whose it is.
        from: PeerId,
        /// The candidate.
        candidate: Candidate,
    },
    /// More neighbours.
    Neighbours {
        /// At most [`NEIGHBOUR_LIMIT`].
        neighbours: Vec<PeerId>,
    },
    /// Answer to [`FromViewer::Clock`].
    Clock {
        /// From the question.
        sent_at: u64,
        /// When it was answered.
        time: WallTime,
    },
    /// The channel changed: on air or off, another title, more viewers.
    Channel {
        /// As it is now.
        channel: Channel,
    },
    /// The peer asked for is not here (any more).
    Gone {
        /// Which.
        peer: PeerId,
    },
    /// This node is going down: reconnect after about this long, jittered.
    Drain {
        /// Milliseconds, the upper end of the jitter.
        reconnect_within_ms: u32,
    },
    /// Something the viewer said is refused.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people: what is wrong and what to do.
        message: String,
    },
}

/// What a viewer needs to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The viewer's id in this channel's swarm.
    pub peer_id: PeerId,
    /// Gives the same id back after a reconnect, to this tracker or one restarted with the same data directory.
    pub resume: String,
    /// STUN and TURN servers for `RTCPeerConnection`.
    pub ice_servers: Vec<IceServer>,
    /// What is watched.
    pub channel: Channel,
    /// The tracker's time.
    pub time: WallTime,
    /// Path and query of the WebSocket to the server peer, relative to the tracker's address.
    pub server_link: String,
    /// Peers to connect to; at most [`NEIGHBOUR_LIMIT`].
    pub neighbours: Vec<PeerId>,
}

/// A channel as viewers see it; also what the channel list is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// For people.
    pub title: String,
    /// Whether somebody is broadcasting on it now.
    pub is_live: bool,
    /// How many watch.
    pub n_viewers: u32,
    /// The latency that its viewers hold, in milliseconds from capture to screen.
    pub target_latency_ms: u32,
    /// The Ed25519 key (RFC 8032) that its catalogs and descriptors are signed with: 64 hexadecimal digits.
    pub public_key: String,
}

/// One entry of `RTCConfiguration.iceServers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:` and `turn:` addresses.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// `RTCIceCandidateInit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The candidate attribute; empty at the end of candidates.
    pub candidate: String,
    /// Media stream identification tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// Index of the media description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
}

/// A viewer's statistics since its last report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Capture to screen now, in milliseconds.
    pub latency_ms: u32,
    /// How often the picture stopped for lack of media.
    pub n_stalls: u32,
    /// For how long in all, in milliseconds.
    pub stalled_ms: u32,
    /// Media bytes from neighbours.
    pub from_peers_len: u64,
    /// Media bytes from the server peer.
    pub from_server_len: u64,
    /// Media bytes sent to neighbours.
    pub sent_len: u64,
}

/// Why the tracker refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, or not of this protocol.
    Malformed,
    /// A message type of another version.
    UnknownType,
    /// Longer than [`MESSAGE_LEN_LIMIT`] or beyond another limit.
    TooLarge,
    /// The protocol version is not spoken here.
    Version,
    /// There is no such channel.
    UnknownChannel,
    /// Something before [`FromViewer::Join`], or a second one.
    OutOfOrder,
    /// Too much in too short a time.
    TooMany,
}
