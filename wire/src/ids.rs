//! Ids and the small numbers that name things on the wire.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How many stripes the blocks of a track are dealt to.
///
/// Eight: uplinks are used in slices of an eighth of the stream, and trees get wide and flat, as a viewer that can send
/// the stream once feeds eight others in its home stripe. With four, in the simulator at a resource index of 1.4, a
/// slice lost at each uplink was more than there was to spare.
pub const STRIPE_COUNT: u8 = 8;

/// Text that is not a valid id; says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// A channel id outside its alphabet or length.
    #[error("a channel id is 1 to 64 characters of a-z, 0-9, '-' and '_', starting with a letter or digit")]
    Channel,
    /// A peer id that is not 16 hexadecimal digits.
    #[error("a peer id is 16 hexadecimal digits")]
    Peer,
}

/// A peer of one channel's swarm, as named by the tracker. In JSON: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PeerId(#[n(0)] u64);

impl PeerId {
    /// The tracker's own peer.
    pub const SERVER: Self = Self(0);

    /// The peer with this number; 0 is the server peer.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number behind the id.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whether this is the tracker's own peer.
    pub const fn is_server(self) -> bool {
        self.0 == 0
    }

    /// The stripe in which the peer spends its uplink first: its number modulo [`STRIPE_COUNT`]. Everybody knows it
    /// without being told, and the tracker chooses ids so that the stripes are balanced.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below STRIPE_COUNT")]
    pub const fn home_stripe(self) -> Stripe {
        Stripe((self.0 % STRIPE_COUNT as u64) as u8)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({:x})", self.0)
    }
}

impl FromStr for PeerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidId::Peer);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidId::Peer)
    }
}

impl Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A channel's name in addresses: 1 to 64 characters of `a-z 0-9 - _`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct ChannelId(String);

impl ChannelId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ChannelId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if !starts_well || text.len() > 64 || !text.bytes().all(is_allowed) {
            return Err(InvalidId::Channel);
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for ChannelId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One broadcast of a channel: grows each time a broadcaster starts anew, across restarts of the tracker too.
/// Seconds since 1970 at its start, or one more than the last epoch if that is larger.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Epoch(#[n(0)] pub u32);

/// Index of a track in its channel's catalog, below 32.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct TrackId(#[n(0)] pub u8);

impl TrackId {
    /// Tracks a channel may have: one bit each in a [`TrackSet`].
    pub const LIMIT: u8 = 32;
}

/// A set of tracks; bit *i* is set when track *i* is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct TrackSet(#[n(0)] pub u32);

impl TrackSet {
    /// Every track there can be.
    pub const ALL: Self = Self(u32::MAX);

    /// Whether the track is in the set; a track at or above [`TrackId::LIMIT`] never is.
    pub const fn contains(self, track: TrackId) -> bool {
        track.0 < TrackId::LIMIT && self.0 >> track.0 & 1 == 1
    }

    /// Whether all tracks of another set are in this one.
    pub const fn includes(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// The tracks that are in either set.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The tracks that are in both sets.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether no track is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<TrackId> for TrackSet {
    /// Tracks at or above [`TrackId::LIMIT`] are left out.
    fn from_iter<T: IntoIterator<Item = TrackId>>(tracks: T) -> Self {
        let known = tracks.into_iter().filter(|track| track.0 < TrackId::LIMIT);
        Self(known.fold(0, |bits, track| bits | 1 << track.0))
    }
}

/// Number of a block within its track and epoch, counted from 0 without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct BlockNumber(#[n(0)] pub u32);

impl BlockNumber {
    /// The stripe this block travels in.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below STRIPE_COUNT")]
    pub const fn stripe(self) -> Stripe {
        Stripe((self.0 % STRIPE_COUNT as u32) as u8)
    }
}

/// One block, named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct BlockId {
    /// The broadcast it belongs to.
    #[n(0)]
    pub epoch: Epoch,
    /// Its track.
    #[n(1)]
    pub track: TrackId,
    /// Its number in the track.
    #[n(2)]
    pub number: BlockNumber,
}

/// Index of a stripe, below [`STRIPE_COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode)]
#[cbor(transparent)]
pub struct Stripe(#[n(0)] u8);

impl Stripe {
    /// The stripe with this index, if there is one.
    pub const fn new(index: u8) -> Option<Self> {
        if index < STRIPE_COUNT { Some(Self(index)) } else { None }
    }

    /// All stripes in order.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..STRIPE_COUNT).map(Self)
    }

    /// The index, below [`STRIPE_COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl<'b, C> Decode<'b, C> for Stripe {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(d.u8()?).ok_or_else(|| minicbor::decode::Error::message("no such stripe"))
    }
}

/// Microseconds since 1970 on the tracker's clock.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode, Serialize, Deserialize, Default,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct WallTime(#[n(0)] pub u64);
