//! The door that strangers' bytes come in by, for tests that send any.

use std::net::SocketAddr;

use cardume_wire::PeerId;
use tokio::time::Instant;

use super::credentials::{Credentials, REALM};
use super::frame::{PREFIX_LEN, frame_len};
use super::machine::{Machine, Next};
use super::stun::{Class, HEADER_LEN, Key, Message, Method, Writer, attribute};
use super::turn::Terms;
use super::{Client, Moment, Transport};

/// Bytes that an answer to a stranger may have beyond what it answers: a realm and a nonce.
const CHALLENGE_LEN: usize = 48;

/// Messages after each other as frames of a connection, from somebody who has an allocation. Each is also sent by a stranger, and
/// signed with good credentials.
///
/// # Panics
/// When the code breaks a promise: what is sent is well-formed, and a stranger gets little.
pub fn take(bytes: &[u8]) {
    let mut world = World::new();
    world.allocate();
    let mut rest = bytes;
    while let Some(prefix) = rest.first_chunk::<PREFIX_LEN>() {
        let Some((frame, after)) = frame_len(*prefix).and_then(|len| rest.split_at_checked(len)) else {
            break;
        };
        rest = after;
        world.send(world.client, frame);
        world.send(world.stranger, frame);
        if let Some(signed) = world.signed(frame) {
            world.send(world.client, &signed);
        }
        world.hear(frame);
    }
    let answer = world.send(world.stranger, bytes);
    assert!(answer <= bytes.len() + CHALLENGE_LEN, "{answer} bytes to a stranger for {}", bytes.len());
}

/// Requests and frames, to start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let peer = SocketAddr::from(([198, 51, 100, 7], 50_000));
    let request = |method| Writer::new(Class::Request, method, [7; 12]);
    let to_peer = |writer: Writer| writer.address(attribute::XOR_PEER_ADDRESS, peer);
    let refresh = request(Method::Refresh).attribute(attribute::LIFETIME, &[0, 0, 3, 0]);
    let bind = to_peer(request(Method::ChannelBind).attribute(attribute::CHANNEL_NUMBER, &[0x40, 0, 0, 0]));
    let send = to_peer(Writer::new(Class::Indication, Method::Send, [7; 12]));
    let channel_data = [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0].to_vec();
    let allocate = request(Method::Allocate).attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let each = vec![
        request(Method::Binding).finish(),
        allocate.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]).finish(),
        to_peer(request(Method::CreatePermission)).finish(),
        bind.finish(),
        channel_data,
        send.attribute(attribute::DATA, b"to a peer").finish(),
        refresh.finish(),
    ];
    let all = each.concat();
    each.into_iter().chain([all]).collect()
}

struct World {
    machine: Machine<()>,
    credentials: Credentials,
    at: Moment,
    client: Client,
    stranger: Client,
    next_port: u16,
}

impl World {
    fn new() -> Self {
        let (now, credentials) = (Instant::now(), Credentials::new([1; 32]));
        let terms = Terms {
            address: [203, 0, 113, 1].into(),
            viewer_limit: 4,
            address_limit: 4,
            rate: None,
            is_private_allowed: false,
        };
        let client = |last| Client::new(Transport::Tcp, SocketAddr::from(([192, 0, 2, last], 40_000)));
        Self {
            machine: Machine::new(now).with_relay(terms, credentials.clone()),
            credentials,
            at: Moment { now, unix: 1_000_000 },
            client: client(1),
            stranger: client(2),
            next_port: 50_000,
        }
    }

    fn allocate(&mut self) {
        let request = Writer::new(Class::Request, Method::Allocate, [1; 12])
            .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .finish();
        if let Some(signed) = self.signed(&request) {
            self.send(self.client, &signed);
        }
        assert!(self.machine.serves(self.client));
    }

    /// Sends it, and gives the bytes of the answer.
    fn send(&mut self, from: Client, bytes: &[u8]) -> usize {
        let Self { machine, next_port, at, .. } = self;
        let mut open = || {
            *next_port = next_port.wrapping_add(1);
            Some((*next_port, ()))
        };
        match machine.receive(from, bytes, *at, &mut open) {
            Next::Answer(answer) => {
                assert!(Message::parse(&answer).is_some(), "{answer:?}");
                answer.len()
            }
            Next::ToPeer { to, payload, .. } => {
                assert!(to.ip().to_string().parse::<std::net::Ipv4Addr>().is_ok_and(|ip| !ip.is_private()));
                assert!(payload.len() <= bytes.len());
                0
            }
            Next::ToClient { .. } | Next::Nothing => 0,
        }
    }

    fn hear(&mut self, payload: &[u8]) {
        let peer = SocketAddr::from(([198, 51, 100, 7], 50_000));
        let got = self.machine.hear_peer(50_001, peer, payload, self.at.now);
        if let Some(((), client, bytes)) = got {
            assert!(client == self.client && bytes.len() >= payload.len());
        }
    }

    /// The same request, signed by a viewer.
    fn signed(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let message =
            Message::parse(frame).filter(|message| frame.len() >= HEADER_LEN && !message.is_signed())?;
        let (username, password) = self.credentials.mint(PeerId::new(42), self.at.unix);
        let nonce = self.credentials.nonce(self.client.address.ip(), self.at.unix);
        let mut writer = Writer::new(message.class, message.method, message.transaction);
        for (kind, value) in message.attributes() {
            writer = writer.attribute(kind, value);
        }
        let texts = [(attribute::USERNAME, &username), (attribute::NONCE, &nonce)];
        for (kind, text) in texts {
            writer = writer.attribute(kind, text.as_bytes());
        }
        let writer = writer.attribute(attribute::REALM, REALM.as_bytes());
        Some(writer.sign(&Key::new(&username, REALM, &password)))
    }
}
