//! STUN messages (RFC 8489) as bytes: read without a copy, written attribute by attribute. Pure.
//!
//! Written here and not taken from a library, as the ones there are log a warning for each malformed datagram of a stranger.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use sha1::Sha1;

/// Bytes before the attributes.
pub(super) const HEADER_LEN: usize = 20;
/// Third to sixth byte of what is not older than RFC 5389.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const ATTRIBUTE_HEADER_LEN: usize = 4;
const MAC_LEN: usize = 20;
/// Attributes from here on may be ignored by who does not know them.
const OPTIONAL_FROM: u16 = 0x8000;

/// What is asked (RFC 8489, section 18.2; RFC 8656, section 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
}

const METHODS: [(Method, u16); 7] = [
    (Method::Binding, 1),
    (Method::Allocate, 3),
    (Method::Refresh, 4),
    (Method::Send, 6),
    (Method::Data, 7),
    (Method::CreatePermission, 8),
    (Method::ChannelBind, 9),
];

/// What kind of message it is; the bits that say so (RFC 8489, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Class {
    Request = 0,
    Indication = 0x0010,
    Success = 0x0100,
    Error = 0x0110,
}

const CLASSES: [Class; 4] = [Class::Request, Class::Indication, Class::Success, Class::Error];

/// Types of attributes.
pub(super) mod attribute {
    pub(in super::super) const USERNAME: u16 = 0x0006;
    pub(in super::super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(in super::super) const ERROR_CODE: u16 = 0x0009;
    pub(in super::super) const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub(in super::super) const CHANNEL_NUMBER: u16 = 0x000C;
    pub(in super::super) const LIFETIME: u16 = 0x000D;
    pub(in super::super) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(in super::super) const DATA: u16 = 0x0013;
    pub(in super::super) const REALM: u16 = 0x0014;
    pub(in super::super) const NONCE: u16 = 0x0015;
    pub(in super::super) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(in super::super) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(in super::super) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(in super::super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
}

/// Those of the attributes with which a message can only be understood by who knows them that are known here.
const KNOWN: [u16; 12] = [
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REALM,
    attribute::NONCE,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::REQUESTED_TRANSPORT,
    attribute::XOR_MAPPED_ADDRESS,
    attribute::ERROR_CODE,
];

/// First byte of the address families in attributes.
pub(super) const IPV4: u8 = 1;
pub(super) const IPV6: u8 = 2;

/// Of one exchange.
pub(super) type TransactionId = [u8; 12];

/// What a long-term credential signs with (RFC 8489, section 9.2.2): MD5, as that is all that browsers know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key([u8; 16]);

impl Key {
    pub(super) fn new(username: &str, realm: &str, password: &str) -> Self {
        Self(Md5::digest(format!("{username}:{realm}:{password}")).into())
    }
}

/// A message that is well-formed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) class: Class,
    pub(super) method: Method,
    pub(super) transaction: TransactionId,
    bytes: &'a [u8],
    /// Those that a signature covers; all, when there is none.
    attributes: &'a [u8],
    mac: Option<&'a [u8; MAC_LEN]>,
}

impl<'a> Message<'a> {
    /// `None` for bytes that are no STUN message, or of a method that is not known here.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, transaction @ ..] = *header;
        let (kind, len) = (u16::from_be_bytes([t0, t1]), usize::from(u16::from_be_bytes([l0, l1])));
        if [c0, c1, c2, c3] != COOKIE || len != rest.len() || !len.is_multiple_of(4) {
            return None;
        }
        let class = CLASSES.into_iter().find(|class| *class as u16 == kind & Class::Error as u16)?;
        let number = kind & !(Class::Error as u16);
        let (method, _) = METHODS.into_iter().find(|(_, known)| *known == number)?;
        let mut attributes = Attributes { rest };
        for (kind, value) in attributes.by_ref() {
            if kind == attribute::MESSAGE_INTEGRITY {
                let mac = value.try_into().ok()?;
                let end = rest.len() - attributes.rest.len() - ATTRIBUTE_HEADER_LEN - MAC_LEN;
                let attributes = rest.get(..end)?;
                return Some(Self { class, method, transaction, bytes, attributes, mac: Some(mac) });
            }
        }
        attributes.rest.is_empty().then_some(Self {
            class,
            method,
            transaction,
            bytes,
            attributes: rest,
            mac: None,
        })
    }

    /// Those that the signature covers, in order.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        Attributes { rest: self.attributes }
    }

    /// The first of a type.
    pub(super) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find_map(|(other, value)| (other == kind).then_some(value))
    }

    /// The first of a type, as text.
    pub(super) fn text(&self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(kind)?).ok()
    }

    /// The first of a type, as a number.
    pub(super) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(kind)?.try_into().ok()?))
    }

    /// All of a type, as addresses; `None` for those that are none.
    pub(super) fn addresses(&self, kind: u16) -> impl Iterator<Item = Option<SocketAddr>> + use<'a> {
        let transaction = self.transaction;
        self.attributes()
            .filter(move |(other, _)| *other == kind)
            .map(move |(_, value)| read_address(value, &transaction))
    }

    /// The first attributes that are not known here and may not be ignored; few of them.
    pub(super) fn unknown(&self) -> Vec<u16> {
        let kinds = self.attributes().map(|(kind, _)| kind);
        kinds.filter(|kind| *kind < OPTIONAL_FROM && !KNOWN.contains(kind)).take(4).collect()
    }

    pub(super) fn is_signed(&self) -> bool {
        self.mac.is_some()
    }

    /// Whether who wrote it has the key. Takes the same time wherever a forgery is wrong.
    pub(super) fn is_signed_with(&self, key: &Key) -> bool {
        let Some(mac) = self.mac else { return false };
        let covered = self.bytes.get(..HEADER_LEN + self.attributes.len()).unwrap_or_default();
        signature(covered, key).is_some_and(|expected| expected.verify_slice(mac).is_ok())
    }
}

/// The HMAC of a message up to its signature, whose header says that it ends behind it.
fn signature(covered: &[u8], key: &Key) -> Option<Hmac<Sha1>> {
    let (header, attributes) = covered.split_first_chunk::<HEADER_LEN>()?;
    let mut header = *header;
    let len = u16::try_from(attributes.len() + ATTRIBUTE_HEADER_LEN + MAC_LEN).ok()?;
    header[2..4].copy_from_slice(&len.to_be_bytes());
    Some(Hmac::<Sha1>::new_from_slice(&key.0).ok()?.chain_update(header).chain_update(attributes))
}

/// Types and values; stops at what is cut off, which it leaves.
struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([k0, k1, l0, l1], after) = self.rest.split_first_chunk::<ATTRIBUTE_HEADER_LEN>()?;
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = after.get(..len)?;
        self.rest = after.get(len.next_multiple_of(4)..)?;
        Some((u16::from_be_bytes([*k0, *k1]), value))
    }
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl Writer {
    /// A message without attributes.
    pub(super) fn new(class: Class, method: Method, transaction: TransactionId) -> Self {
        let number = METHODS.into_iter().find(|(known, _)| *known == method).map_or(0, |(_, number)| number);
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&(number | class as u16).to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&COOKIE);
        bytes.extend_from_slice(&transaction);
        Self { bytes, transaction }
    }

    /// The answer to a request that is granted.
    pub(super) fn success(request: &Message<'_>) -> Self {
        Self::new(Class::Success, request.method, request.transaction)
    }

    /// The answer to one that is not, without a phrase: strangers get no more bytes than they must.
    pub(super) fn error(request: &Message<'_>, code: u16) -> Self {
        let [class, number] = [code / 100, code % 100].map(|digits| u8::try_from(digits).unwrap_or_default());
        Self::new(Class::Error, request.method, request.transaction)
            .attribute(attribute::ERROR_CODE, &[0, 0, class, number])
    }

    /// With one more. What does not fit into a message is cut off.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = value.get(..usize::from(len)).unwrap_or(value);
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// With an address, masked as the types that begin with XOR are.
    pub(super) fn address(self, kind: u16, address: SocketAddr) -> Self {
        let port = address.port().to_be_bytes();
        let mut value = vec![0, IPV4, port[0] ^ COOKIE[0], port[1] ^ COOKIE[1]];
        match address.ip() {
            IpAddr::V4(ip) => value.extend(masked(ip.octets(), &self.transaction)),
            IpAddr::V6(ip) => {
                value[1] = IPV6;
                value.extend(masked(ip.octets(), &self.transaction));
            }
        }
        self.attribute(kind, &value)
    }

    /// The bytes, without a signature.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let len = u16::try_from(self.bytes.len() - HEADER_LEN).unwrap_or(u16::MAX);
        self.bytes[2..4].copy_from_slice(&len.to_be_bytes());
        self.bytes
    }

    /// The bytes, signed.
    pub(super) fn sign(self, key: &Key) -> Vec<u8> {
        let mac = signature(&self.bytes, key).map(|hmac| hmac.finalize().into_bytes());
        self.attribute(attribute::MESSAGE_INTEGRITY, &mac.unwrap_or_default()).finish()
    }
}

fn read_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let ([_, family, p0, p1], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0 ^ COOKIE[0], p1 ^ COOKIE[1]]);
    let ip: IpAddr = match *family {
        IPV4 => Ipv4Addr::from(masked(ip.try_into().ok()?, transaction)).into(),
        IPV6 => Ipv6Addr::from(masked(ip.try_into().ok()?, transaction)).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// With the cookie and the transaction's id laid over it; the second time takes it off.
fn masked<const N: usize>(mut octets: [u8; N], transaction: &TransactionId) -> [u8; N] {
    let mask = COOKIE.iter().chain(transaction);
    octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
    octets
}
