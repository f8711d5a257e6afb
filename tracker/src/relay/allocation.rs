//! One client's address on the relay: until when it has it, whom it lets in, and what its channels are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::flow::Bucket;
use super::stun::{Class, Method, TransactionId, Writer, attribute};
use super::{Client, Transport};

/// Time that an allocation has when its client asks for less, or for none (RFC 8656, section 3.2).
const LIFETIME: Duration = Duration::from_mins(10);
/// And when it asks for more; browsers never do.
const LIFETIME_LIMIT: Duration = Duration::from_hours(1);
/// Time that a permission lasts, and a channel (RFC 8656, sections 9 and 12).
const PERMISSION_LIFETIME: Duration = Duration::from_mins(5);
const CHANNEL_LIFETIME: Duration = Duration::from_mins(10);
/// Of each; an allocation is for one `RTCPeerConnection`, whose other end has a dozen addresses at most.
const PERMISSION_LIMIT: usize = 32;
const CHANNEL_LIMIT: usize = 32;
/// Numbers that channels have (RFC 8656, section 12).
const CHANNEL_NUMBERS: std::ops::RangeInclusive<u16> = 0x4000..=0x4FFF;
/// Bytes before what a channel carries.
pub(super) const CHANNEL_HEADER_LEN: usize = 4;

/// What a client has on the relay.
#[derive(Debug)]
pub(super) struct Allocation<H> {
    pub(super) grant: Grant<H>,
    pub(super) expires_at: Instant,
    bucket: Option<Bucket>,
    permissions: Vec<(IpAddr, Instant)>,
    channels: Vec<Channel>,
}

/// What of it stays as it was when it was made; `H` is whatever its sockets are.
#[derive(Debug)]
pub(super) struct Grant<H> {
    pub(super) client: Client,
    /// As it signed then.
    pub(super) username: String,
    /// Who it is, whatever else its name says.
    pub(super) viewer: String,
    /// Of the request that made it.
    pub(super) transaction: TransactionId,
    /// Where peers send to.
    pub(super) relayed: SocketAddr,
    pub(super) handle: H,
    pub(super) rate: Rate,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires_at: Instant,
}

/// Bytes a second, of both directions; `None` has no limit.
pub(super) type Rate = Option<f64>;

impl<H> Allocation<H> {
    /// One that expires soon if it is not [extended](Self::extend).
    pub(super) fn new(grant: Grant<H>, now: Instant) -> Self {
        Self {
            bucket: grant.rate.map(|rate| Bucket::new(rate, now)),
            grant,
            expires_at: now,
            permissions: Vec::new(),
            channels: Vec::new(),
        }
    }

    /// Lets it last for as long as is asked, in seconds, within limits; gives how long.
    pub(super) fn extend(&mut self, asked: Option<u32>, now: Instant) -> u32 {
        let asked = Duration::from_secs(asked.unwrap_or_default().into());
        let lifetime = asked.clamp(LIFETIME, LIFETIME_LIMIT);
        self.expires_at = now + lifetime;
        u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    /// Seconds that are left.
    pub(super) fn rest(&self, now: Instant) -> u32 {
        u32::try_from(self.expires_at.saturating_duration_since(now).as_secs()).unwrap_or(u32::MAX)
    }

    /// Lets peers at this address in, and be sent to, for a while. False when there are too many.
    pub(super) fn permit(&mut self, address: IpAddr, now: Instant) -> bool {
        self.permissions.retain(|(other, expires_at)| *other != address && *expires_at > now);
        let is_room = self.permissions.len() < PERMISSION_LIMIT;
        if is_room {
            self.permissions.push((address, now + PERMISSION_LIFETIME));
        }
        is_room
    }

    pub(super) fn permits(&self, address: IpAddr, now: Instant) -> bool {
        self.permissions.iter().any(|(other, expires_at)| *other == address && *expires_at > now)
    }

    /// Whether a channel may have this number, for this peer: each has one of the other at most.
    pub(super) fn may_bind(&self, number: u16, peer: SocketAddr, now: Instant) -> bool {
        let mut live = self.channels.iter().filter(|channel| channel.expires_at > now);
        let is_same = |channel: &Channel| (channel.number == number) == (channel.peer == peer);
        CHANNEL_NUMBERS.contains(&number) && live.all(is_same)
    }

    /// Gives a channel to a peer that it [may be bound](Self::may_bind) to, and lets the peer in. False when there are too many.
    pub(super) fn bind(&mut self, number: u16, peer: SocketAddr, now: Instant) -> bool {
        self.channels.retain(|channel| channel.number != number && channel.expires_at > now);
        let is_room = self.channels.len() < CHANNEL_LIMIT && self.permit(peer.ip(), now);
        if is_room {
            self.channels.push(Channel { number, peer, expires_at: now + CHANNEL_LIFETIME });
        }
        is_room
    }

    /// Whom a channel leads to.
    pub(super) fn peer_of(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let live = |channel: &&Channel| channel.number == number && channel.expires_at > now;
        self.channels.iter().find(live).map(|channel| channel.peer)
    }

    /// Whether so many bytes more are within its rate.
    pub(super) fn passes(&mut self, len: usize, now: Instant) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let limit = self.bucket.as_mut().zip(self.grant.rate);
        limit.is_none_or(|(bucket, rate)| bucket.take(len.into(), rate, rate, now))
    }

    /// What the client gets when a peer sends this; nothing from one that it did not let in.
    pub(super) fn wrap(&self, peer: SocketAddr, payload: &[u8], now: Instant) -> Option<Vec<u8>> {
        if !self.permits(peer.ip(), now) {
            return None;
        }
        let live = |channel: &&Channel| channel.peer == peer && channel.expires_at > now;
        let Some(channel) = self.channels.iter().find(live) else {
            // Nobody answers it, so any number does.
            let writer = Writer::new(Class::Indication, Method::Data, self.grant.transaction);
            let writer = writer.address(attribute::XOR_PEER_ADDRESS, peer);
            return Some(writer.attribute(attribute::DATA, payload).finish());
        };
        let len = u16::try_from(payload.len()).ok()?;
        let mut bytes = Vec::with_capacity(CHANNEL_HEADER_LEN + payload.len() + 3);
        bytes.extend_from_slice(&channel.number.to_be_bytes());
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(payload);
        // RFC 8656, section 12.5.
        if self.grant.client.transport == Transport::Tcp {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        Some(bytes)
    }
}

/// The number of a channel, and what it carries; `None` for what is no message of a channel.
pub(super) fn channel_data(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let ([n0, n1, l0, l1], rest) = bytes.split_first_chunk::<CHANNEL_HEADER_LEN>()?;
    let (number, len) = (u16::from_be_bytes([*n0, *n1]), usize::from(u16::from_be_bytes([*l0, *l1])));
    CHANNEL_NUMBERS.contains(&number).then(|| rest.get(..len).map(|payload| (number, payload)))?
}
