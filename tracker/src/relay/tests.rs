//! The machine without sockets: clients that want something, and time that goes as a test says.

use std::net::SocketAddr;
use std::time::Duration;

use cardume_wire::PeerId;
use tokio::time::Instant;

use super::credentials::{CREDENTIAL_LIFETIME_SECONDS, Credentials, REALM};
use super::machine::{Machine, Next};
use super::stun::{Class, Key, Message, Method, Writer, attribute};
use super::turn::Terms;
use super::{Client, Moment, Transport};

const NOW: u32 = 1_700_000_000;
const PEER: &str = "198.51.100.7:50000";
const RELAY: [u8; 4] = [203, 0, 113, 1];

struct World {
    machine: Machine<u16>,
    credentials: Credentials,
    at: Moment,
    next_port: u16,
}

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Nothing,
    Granted,
    Refused(u16),
    Sent { from: u16, to: SocketAddr, payload: Vec<u8> },
    Delivered { to: Client, bytes: Vec<u8> },
}

fn client(address: &str) -> Client {
    Client::new(Transport::Udp, address.parse().unwrap())
}

fn request(method: Method) -> Writer {
    Writer::new(Class::Request, method, [9; 12])
}

fn about(method: Method, peer: &str) -> Writer {
    request(method).address(attribute::XOR_PEER_ADDRESS, peer.parse().unwrap())
}

fn allocate() -> Writer {
    request(Method::Allocate).attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
}

fn bind(number: u16, peer: &str) -> Writer {
    let [high, low] = number.to_be_bytes();
    about(Method::ChannelBind, peer).attribute(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
}

fn send(peer: &str, payload: &[u8]) -> Vec<u8> {
    Writer::new(Class::Indication, Method::Send, [9; 12])
        .address(attribute::XOR_PEER_ADDRESS, peer.parse().unwrap())
        .attribute(attribute::DATA, payload)
        .finish()
}

fn on_channel(number: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    [&number.to_be_bytes(), &len.to_be_bytes(), payload].concat()
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}

impl World {
    fn new() -> Self {
        let (now, credentials) = (Instant::now(), Credentials::new([1; 32]));
        let terms = Terms {
            address: RELAY.into(),
            viewer_limit: 2,
            address_limit: 3,
            rate: Some(10_000.0),
            is_private_allowed: false,
        };
        let machine = Machine::new(now).with_relay(terms, credentials.clone());
        Self { machine, credentials, at: Moment { now, unix: NOW }, next_port: 49_999 }
    }

    /// With a client that has the relayed port 50000.
    fn with_allocation() -> (Self, Client) {
        let (mut world, alice) = (Self::new(), client("192.0.2.1:40000"));
        assert_eq!(world.ask(alice, 1, allocate()), Got::Granted);
        (world, alice)
    }

    fn advance(&mut self, by: u32) {
        self.at = Moment { now: self.at.now + seconds(by), unix: self.at.unix + by };
    }

    /// A request signed by this viewer, with credentials of now.
    fn ask(&mut self, from: Client, viewer: u64, writer: Writer) -> Got {
        let (username, password) = self.credentials.mint(PeerId::new(viewer), NOW);
        self.ask_as(from, (&username, &password), writer)
    }

    fn ask_as(&mut self, from: Client, (username, password): (&str, &str), writer: Writer) -> Got {
        let nonce = self.credentials.nonce(from.address.ip(), self.at.unix);
        let signed = writer
            .attribute(attribute::USERNAME, username.as_bytes())
            .attribute(attribute::NONCE, nonce.as_bytes())
            .attribute(attribute::REALM, REALM.as_bytes())
            .sign(&Key::new(username, REALM, password));
        self.hear(from, &signed)
    }

    fn hear(&mut self, from: Client, bytes: &[u8]) -> Got {
        let Self { machine, at, next_port, .. } = self;
        let mut open = || {
            *next_port += 1;
            Some((*next_port, *next_port))
        };
        match machine.receive(from, bytes, *at, &mut open) {
            Next::Nothing => Got::Nothing,
            Next::Answer(answer) => outcome(&answer),
            Next::ToPeer { via, to, payload } => Got::Sent { from: *via, to, payload: payload.to_vec() },
            Next::ToClient { client, bytes, .. } => Got::Delivered { to: client, bytes },
        }
    }

    fn hear_peer(&mut self, peer: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let got = self.machine.hear_peer(50_000, peer.parse().unwrap(), payload, self.at.now);
        got.map(|(_, _, bytes)| bytes)
    }
}

fn outcome(answer: &[u8]) -> Got {
    let message = Message::parse(answer).unwrap();
    match message.class {
        Class::Success => Got::Granted,
        Class::Error => {
            let code = message.attribute(attribute::ERROR_CODE).unwrap();
            Got::Refused(u16::from(code[2]) * 100 + u16::from(code[3]))
        }
        _ => panic!("no answer but {message:?}"),
    }
}

fn sent(payload: &[u8]) -> Got {
    Got::Sent { from: 50_000, to: PEER.parse().unwrap(), payload: payload.to_vec() }
}

#[test]
fn stun_says_from_where_it_is_asked_and_needs_no_relay() {
    let mut machine: Machine<()> = Machine::new(Instant::now());
    let at = Moment { now: Instant::now(), unix: NOW };
    let asked = request(Method::Binding).finish();
    let from = client("[::ffff:192.0.2.1]:40000");
    let Next::Answer(answer) = machine.receive(from, &asked, at, &mut || None) else { panic!("no answer") };
    let message = Message::parse(&answer).unwrap();
    let mapped = message.addresses(attribute::XOR_MAPPED_ADDRESS).next().flatten();
    assert_eq!(mapped, Some("192.0.2.1:40000".parse().unwrap()));
    assert!(answer.len() <= asked.len() + 12, "{} bytes for {}", answer.len(), asked.len());
    let allocate = allocate().finish();
    assert_eq!(machine.receive(from, &allocate, at, &mut || None), Next::Nothing);
}

#[test]
fn the_sample_of_rfc_5769_is_read_and_its_signature_found_good() {
    let sample = [
        "000100602112a44278ad3433c6ad72c029da412e",
        "00060012e3839ee38388e383aae38383e382afe382b90000",
        "0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f726700",
        "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666",
    ]
    .concat();
    let sample: Vec<u8> =
        (0..sample.len()).step_by(2).map(|at| u8::from_str_radix(&sample[at..at + 2], 16).unwrap()).collect();
    let message = Message::parse(&sample).unwrap();
    let username = message.text(attribute::USERNAME).unwrap();
    assert_eq!((username, message.text(attribute::REALM)), ("マトリックス", Some("example.org")));
    assert!(message.is_signed_with(&Key::new(username, "example.org", "TheMatrIX")));
    assert!(!message.is_signed_with(&Key::new(username, "example.org", "TheMatriX")));
}

#[test]
fn datagrams_pass_both_ways_once_the_peer_is_permitted() {
    let (mut world, alice) = World::with_allocation();
    assert_eq!(world.hear(alice, &send(PEER, b"early")), Got::Nothing);
    assert_eq!(world.hear_peer(PEER, b"early"), None);
    assert_eq!(world.ask(alice, 1, about(Method::CreatePermission, PEER)), Got::Granted);
    assert_eq!(world.hear(alice, &send(PEER, b"hello")), sent(b"hello"));
    let indication = world.hear_peer(PEER, b"hi").unwrap();
    let message = Message::parse(&indication).unwrap();
    assert_eq!((message.class, message.method), (Class::Indication, Method::Data));
    assert_eq!(message.attribute(attribute::DATA), Some(&b"hi"[..]));
    // The permission is the address's, whatever the port.
    assert!(world.hear_peer("198.51.100.7:9999", b"hi").is_some());
    assert_eq!(world.hear_peer("198.51.100.8:50000", b"hi"), None);
}

#[test]
fn a_channel_carries_with_four_bytes_more() {
    let (mut world, alice) = World::with_allocation();
    assert_eq!(world.hear(alice, &on_channel(0x4000, b"early")), Got::Nothing);
    assert_eq!(world.ask(alice, 1, bind(0x4000, PEER)), Got::Granted);
    assert_eq!(world.hear(alice, &on_channel(0x4000, b"hello")), sent(b"hello"));
    assert_eq!(world.hear_peer(PEER, b"hi"), Some(on_channel(0x4000, b"hi")));
    // Each channel is of one peer, and each peer of one channel.
    assert_eq!(world.ask(alice, 1, bind(0x4000, "198.51.100.8:50000")), Got::Refused(400));
    assert_eq!(world.ask(alice, 1, bind(0x4001, PEER)), Got::Refused(400));
    assert_eq!(world.ask(alice, 1, bind(0x3FFF, "198.51.100.8:50000")), Got::Refused(400));
    assert_eq!(world.ask(alice, 1, bind(0x4000, PEER)), Got::Granted);
}

#[test]
fn two_clients_of_the_relay_reach_each_other_without_the_network() {
    let (mut world, alice) = World::with_allocation();
    let bob = client("192.0.2.2:40000");
    assert_eq!(world.ask(bob, 2, allocate()), Got::Granted);
    assert_eq!(world.ask(alice, 1, bind(0x4000, "203.0.113.1:50001")), Got::Granted);
    assert_eq!(world.hear(alice, &on_channel(0x4000, b"hello")), Got::Nothing, "Bob did not let Alice in");
    assert_eq!(world.ask(bob, 2, bind(0x4005, "203.0.113.1:50000")), Got::Granted);
    let expected = Got::Delivered { to: bob, bytes: on_channel(0x4005, b"hello") };
    assert_eq!(world.hear(alice, &on_channel(0x4000, b"hello")), expected);
    // Nothing else on the relay's machine is reached.
    assert_eq!(world.hear(alice, &send("203.0.113.1:8080", b"hello")), Got::Nothing);
}

#[test]
fn allocations_permissions_and_channels_end_when_they_are_not_refreshed() {
    let (mut world, alice) = World::with_allocation();
    world.ask(alice, 1, bind(0x4000, PEER));
    world.advance(301);
    assert_eq!(world.hear(alice, &on_channel(0x4000, b"x")), Got::Nothing, "the permission has ended");
    assert_eq!(world.ask(alice, 1, about(Method::CreatePermission, PEER)), Got::Granted);
    assert_eq!(world.hear(alice, &on_channel(0x4000, b"x")), sent(b"x"));
    assert_eq!(world.ask(alice, 1, request(Method::Refresh)), Got::Granted);
    world.advance(300);
    assert_eq!(world.ask(alice, 1, about(Method::CreatePermission, PEER)), Got::Granted);
    assert_eq!(world.hear(alice, &on_channel(0x4000, b"x")), Got::Nothing, "the channel has ended");
    world.advance(301);
    assert_eq!(world.hear(alice, &send(PEER, b"x")), Got::Nothing, "the allocation has ended");
    assert_eq!(world.ask(alice, 1, request(Method::Refresh)), Got::Refused(437));
    world.machine.expire(world.at.now);
    assert!(!world.machine.serves(alice));
    assert_eq!(world.ask(alice, 1, allocate()), Got::Granted);
}

#[test]
fn a_client_may_end_its_allocation_and_no_lifetime_is_longer_than_an_hour() {
    let (mut world, alice) = World::with_allocation();
    let lifetime =
        |seconds: u32| request(Method::Refresh).attribute(attribute::LIFETIME, &seconds.to_be_bytes());
    assert_eq!(world.ask(alice, 1, lifetime(u32::MAX)), Got::Granted);
    world.advance(3_599);
    assert_eq!(world.ask(alice, 1, about(Method::CreatePermission, PEER)), Got::Granted);
    assert_eq!(world.ask(alice, 1, lifetime(0)), Got::Granted);
    assert!(!world.machine.serves(alice));
}

#[test]
fn nobody_allocates_without_credentials_that_are_good_now() {
    let mut world = World::new();
    let alice = client("192.0.2.1:40000");
    assert_eq!(world.hear(alice, &allocate().finish()), Got::Refused(401));
    let (username, password) = world.credentials.mint(PeerId::new(1), NOW);
    assert_eq!(world.ask_as(alice, (&username, "wrong"), allocate()), Got::Refused(401));
    let forged = format!("{}:1", NOW + 2 * CREDENTIAL_LIFETIME_SECONDS);
    assert_eq!(world.ask_as(alice, (&forged, &password), allocate()), Got::Refused(401));
    world.advance(CREDENTIAL_LIFETIME_SECONDS);
    assert_eq!(world.ask_as(alice, (&username, &password), allocate()), Got::Refused(401));
    assert!(!world.machine.serves(alice));
}

#[test]
fn what_somebody_saw_is_of_no_use_elsewhere() {
    let mut world = World::new();
    let (username, password) = world.credentials.mint(PeerId::new(1), NOW);
    let nonce = world.credentials.nonce("192.0.2.1".parse().unwrap(), NOW);
    let signed = allocate()
        .attribute(attribute::USERNAME, username.as_bytes())
        .attribute(attribute::NONCE, nonce.as_bytes())
        .attribute(attribute::REALM, REALM.as_bytes())
        .sign(&Key::new(&username, REALM, &password));
    assert_eq!(world.hear(client("192.0.2.2:40000"), &signed), Got::Refused(438));
    for at in 20..signed.len() {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert_ne!(world.hear(client("192.0.2.1:40000"), &changed), Got::Granted, "byte {at}");
    }
    assert_eq!(world.hear(client("192.0.2.1:40000"), &signed), Got::Granted);
}

#[test]
fn an_allocation_is_changed_by_nobody_else() {
    let (mut world, alice) = World::with_allocation();
    assert_eq!(world.ask(alice, 2, request(Method::Refresh)), Got::Refused(441));
    assert_eq!(world.ask(alice, 2, about(Method::CreatePermission, PEER)), Got::Refused(441));
    assert_eq!(world.ask(client("192.0.2.9:1"), 1, request(Method::Refresh)), Got::Refused(437));
    // The same request once more gets the same; another does not.
    assert_eq!(world.ask(alice, 1, allocate()), Got::Granted);
    let other = Writer::new(Class::Request, Method::Allocate, [8; 12])
        .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    assert_eq!(world.ask(alice, 1, other), Got::Refused(437));
    assert!(world.machine.serves(alice));
}

#[test]
fn viewers_and_addresses_have_quotas() {
    let mut world = World::new();
    let mut ask = |from: &str, viewer| world.ask(client(from), viewer, allocate());
    assert_eq!(ask("192.0.2.1:1", 1), Got::Granted);
    assert_eq!(ask("192.0.2.2:1", 1), Got::Granted);
    assert_eq!(ask("192.0.2.3:1", 1), Got::Refused(486), "a viewer's third");
    assert_eq!(ask("192.0.2.1:2", 2), Got::Granted);
    assert_eq!(ask("192.0.2.1:3", 2), Got::Granted);
    assert_eq!(ask("192.0.2.1:4", 3), Got::Refused(486), "an address's fourth");
    world.machine.forget(client("192.0.2.1:1"));
    assert_eq!(world.ask(client("192.0.2.1:4"), 3, allocate()), Got::Granted);
}

#[test]
fn the_operators_network_is_out_of_reach() {
    let (mut world, alice) = World::with_allocation();
    for peer in ["127.0.0.1:8080", "10.0.0.1:8080", "169.254.169.254:8080", "224.0.0.1:5353"] {
        assert_eq!(world.ask(alice, 1, about(Method::CreatePermission, peer)), Got::Refused(403), "{peer}");
        assert_eq!(world.ask(alice, 1, bind(0x4000, peer)), Got::Refused(403), "{peer}");
    }
    assert_eq!(world.ask(alice, 1, about(Method::CreatePermission, "[2001:db8::1]:5000")), Got::Refused(443));
    world.ask(alice, 1, about(Method::CreatePermission, PEER));
    assert_eq!(world.hear(alice, &send("198.51.100.7:53", b"x")), Got::Nothing, "a service");
}

#[test]
fn an_allocation_carries_no_more_than_its_rate() {
    let (mut world, alice) = World::with_allocation();
    world.ask(alice, 1, bind(0x4000, PEER));
    let n_passed = |world: &mut World| {
        (0..100).filter(|_| world.hear(alice, &on_channel(0x4000, &[0; 1000])) != Got::Nothing).count()
    };
    assert_eq!(n_passed(&mut world), 10);
    world.advance(1);
    assert_eq!(n_passed(&mut world), 10);
}

#[test]
fn what_is_not_supported_is_refused_by_its_name() {
    let mut world = World::new();
    let alice = client("192.0.2.1:40000");
    assert_eq!(world.ask(alice, 1, request(Method::Allocate)), Got::Refused(400));
    let tcp = request(Method::Allocate).attribute(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    assert_eq!(world.ask(alice, 1, tcp), Got::Refused(442));
    let ipv6 = allocate().attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(world.ask(alice, 1, ipv6), Got::Refused(440));
    let reserved = allocate().attribute(0x0022, &[0; 8]);
    assert_eq!(world.ask(alice, 1, reserved), Got::Refused(420));
}

#[test]
fn strangers_are_answered_within_limits_and_with_little() {
    let mut world = World::new();
    let flood = client("192.0.2.1:40000");
    let asked = allocate().finish();
    let n_answers = (0..5_000).filter(|_| world.hear(flood, &asked) != Got::Nothing).count();
    assert_eq!(n_answers, 1_000);
    // Who has credentials is served all the same.
    assert_eq!(world.ask(flood, 1, allocate()), Got::Granted);
    let Next::Answer(answer) = world.machine.receive(client("192.0.2.77:1"), &asked, world.at, &mut || None)
    else {
        panic!("no answer")
    };
    assert!(answer.len() <= asked.len() + 32, "{} bytes for {}", answer.len(), asked.len());
}

#[test]
fn bytes_that_are_no_message_lead_to_nothing() {
    let (mut world, alice) = World::with_allocation();
    let binding = request(Method::Binding).finish();
    let mut cut = binding.clone();
    cut.pop();
    let mut cookie = binding.clone();
    cookie[4] ^= 1;
    for bytes in [&[][..], b"GET / HTTP/1.1\r\n\r\n", &cut, &cookie, &[0x40, 0, 0, 9, 1], &[0xFF; 100]] {
        assert_eq!(world.hear(alice, bytes), Got::Nothing);
    }
}

#[test]
fn over_tcp_what_a_channel_carries_is_filled_up() {
    let mut world = World::new();
    let alice = Client::new(Transport::Tcp, "192.0.2.1:40000".parse().unwrap());
    world.ask(alice, 1, allocate());
    world.ask(alice, 1, bind(0x4000, PEER));
    assert_eq!(world.hear_peer(PEER, b"hello"), Some([&on_channel(0x4000, b"hello")[..], &[0; 3]].concat()));
}
