//! JSON messages between a viewer and the tracker, one WebSocket text message each.
//!
//! The viewer joins by the address that it opens the socket at ([`Join`]), and the tracker answers with a [`Welcome`] or an
//! error before anything is asked: that is a round trip less. Binary messages on the same socket are the link to the server
//! peer ([`crate::link`]).
//!
//! Unknown fields are ignored; an unknown type is answered by an error of code [`ErrorCode::UnknownType`], and skipped by a
//! viewer.

use core::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::{ChannelId, PeerId, WallTime};

/// Bytes of one message at most: an SDP of a data channel is under 2 KiB, ICE candidates make it a few more.
pub const MESSAGE_LEN_LIMIT: usize = 16 * 1024;
/// Neighbours named by one message at most (the overlay wants 8 to 16).
pub const NEIGHBOUR_LIMIT: usize = 16;

/// Where viewers open their socket.
pub const SIGNAL_PATH: &str = "/v1/signal";

/// What a viewer asks for by the query of the socket's address: let me watch this channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// The viewer's [`crate::PROTOCOL_VERSION`].
    pub version: u16,
    /// The channel to watch.
    pub channel: ChannelId,
    /// The token of an earlier [`Welcome`], to be the same peer again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

impl Join {
    /// Path and query of the socket, relative to the tracker's address. Tokens are made of letters that stand for themselves
    /// in addresses.
    pub fn address(&self) -> String {
        let Self { version, channel, resume } = self;
        let resume = resume.as_ref().map_or_else(String::new, |token| format!("&resume={token}"));
        format!("{SIGNAL_PATH}?version={version}&channel={channel}{resume}")
    }
}

/// What a viewer says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromViewer {
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
    /// Answer to [`Join`].
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
    /// A peer that offered to the viewer, or answered it, has no socket here any more, or does not answer over it: it may be
    /// dead, or only cut off from the tracker. Not said of those whom the tracker itself cuts off by going down.
    Lost {
        /// Which.
        peer: PeerId,
    },
    /// Somebody blames a peer that offered to the viewer, or answered it, for wrong media: take nothing from it for a while.
    Blamed {
        /// Which.
        peer: PeerId,
        /// Whether it is evicted for that: take nothing from it any more.
        is_evicted: bool,
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
    /// Gives the same id back after a reconnect, to this tracker, one restarted with the same data directory, or another node of
    /// its cluster.
    pub resume: String,
    /// STUN and TURN servers for `RTCPeerConnection`.
    pub ice_servers: Vec<IceServer>,
    /// What is watched.
    pub channel: Channel,
    /// The tracker's time.
    pub time: WallTime,
    /// Whether binary messages on this socket reach the server peer, whose own follow this message.
    pub is_linked: bool,
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
    /// What it shows.
    pub kind: ChannelKind,
    /// How long a film lasts, in milliseconds; `None` while the tracker reads it, and when live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<NonZeroU32>,
    /// Whether somebody is broadcasting on it now.
    pub is_live: bool,
    /// How many watch.
    pub n_viewers: u32,
    /// The latency that its viewers hold, in milliseconds from capture to screen.
    pub target_latency_ms: u32,
    /// The Ed25519 key (RFC 8032) that its catalogs and descriptors are signed with: 64 hexadecimal digits.
    pub public_key: String,
}

/// What a channel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// What somebody sends to it now.
    Live,
    /// A film, from its beginning to its end, for each viewer when it likes.
    Film,
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

/// What two viewers tell each other through a neighbour of both, while the tracker is away, in order to connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Introduction {
    /// An SDP offer.
    Offer {
        /// The session description.
        sdp: String,
    },
    /// The answer to an offer.
    Answer {
        /// The session description.
        sdp: String,
    },
    /// One trickled ICE candidate (RFC 8838).
    Candidate {
        /// The candidate.
        candidate: Candidate,
    },
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
    /// Too much in too short a time.
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_is_an_address_with_what_is_asked_for() {
        let channel: ChannelId = "demo".parse().expect("an id");
        let mut join = Join { version: 2, channel, resume: None };
        assert_eq!(join.address(), "/v1/signal?version=2&channel=demo");
        join.resume = Some("aZ-_9".to_owned());
        assert_eq!(join.address(), "/v1/signal?version=2&channel=demo&resume=aZ-_9");
    }
}
