//! Golden vectors: what is on the wire today is what was on it when the file in `vectors/` was written.
//!
//! `CARDUME_WRITE_VECTORS=1 cargo test -p cardume-wire --test vectors` writes the files anew. A change in them that
//! does not only add is a change of protocol: raise [`cardume_wire::PROTOCOL_VERSION`].

#![allow(clippy::expect_used, reason = "tests may fail")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use cardume_wire::link::{Control, DecodeError, Message, TrackBlocks, TrackParts, UNKNOWN_AGE};
use cardume_wire::signal::{
    Candidate, Channel, ChannelKind, ErrorCode, FromTracker, FromViewer, IceServer, Report, Welcome,
};
use cardume_wire::{
    BlockId, BlockNumber, Epoch, PROTOCOL_VERSION, PeerId, Stripe, TrackId, TrackSet, WallTime,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One message of a link.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LinkVector {
    name: String,
    hex: String,
    /// As Rust shows it; for people.
    message: String,
}

/// One message of the tracker's protocol.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SignalVector {
    from: String,
    json: Value,
}

fn vectors_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

/// Compares with the file, or writes it when asked to.
fn check<V: Serialize + DeserializeOwned + PartialEq + Debug>(file: &str, vectors: &[V]) {
    let path = vectors_path(file);
    if std::env::var_os("CARDUME_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(vectors).expect("plain values") + "\n";
        std::fs::write(&path, text).expect("writable");
    }
    let text = std::fs::read_to_string(&path).expect("vectors are committed");
    let golden: Vec<V> = serde_json::from_str(&text).expect("vectors of this form");
    for (golden, vector) in golden.iter().zip(vectors) {
        assert_eq!(golden, vector, "{file}: another form than before; see the head of this test");
    }
    assert_eq!(golden.len(), vectors.len(), "{file}: write the vectors anew; see the head of this test");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| d.try_into().ok()).expect("hex")).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn block(number: u32) -> BlockId {
    BlockId { epoch: Epoch(1_795_000_000), track: TrackId(1), number: BlockNumber(number) }
}

fn stripe(index: u8) -> Stripe {
    Stripe::new(index).expect("such a stripe")
}

fn subscribe(index: u8, tracks: TrackSet, slots: u16, from_us: Option<u64>) -> Control {
    Control::Subscribe { stripe: stripe(index), tracks, slots, is_starving: slots > 0, from_us }
}

/// One of each kind, fields at their limits where that changes the form.
fn controls() -> Vec<Control> {
    let peer = PeerId::new(0x0123_4567_89ab_cdef);
    let bits = |bytes: &[u8]| bytes.to_vec().into();
    vec![
        Control::Hello { version: PROTOCOL_VERSION, epoch: None },
        Control::Hello { version: u16::MAX, epoch: Some(Epoch(u32::MAX)) },
        subscribe(2, TrackSet(0b11), 5, None),
        subscribe(0, TrackSet::ALL, 0, None),
        subscribe(7, TrackSet(0b101), 0, Some(4_000_000)),
        Control::Accept { stripe: stripe(3), path: vec![] },
        Control::Accept { stripe: stripe(3), path: vec![peer, PeerId::new(24)] },
        Control::Refuse { stripe: stripe(1), hints: vec![peer, PeerId::SERVER] },
        Control::Unsubscribe { stripe: stripe(1) },
        Control::Have {
            epoch: Epoch(7),
            tracks: vec![
                TrackBlocks { track: TrackId(0), first: BlockNumber(1000), bits: bits(&[0xA5, 0x01]) },
                TrackBlocks { track: TrackId(1), first: BlockNumber(0), bits: bits(&[]) },
            ],
        },
        Control::Request { blocks: vec![block(70_000), block(3)], within_ms: None },
        Control::Request { blocks: vec![block(5)], within_ms: Some(1500) },
        Control::Cancel { blocks: vec![block(4)] },
        Control::Missing { blocks: vec![] },
        Control::RequestDescriptor { block: block(u32::MAX) },
        Control::Ping { sent_at: 1_234_567_890_123 },
        Control::Pong { sent_at: u64::MAX },
        Control::Goodbye,
        Control::Status {
            slots: 6,
            free: 2,
            ages: [120, 0, UNKNOWN_AGE, 300, 90, 250, UNKNOWN_AGE, 1400],
            yields: 1,
            wait: 180,
            idle: 0,
            tracks: None,
        },
        Control::Status {
            slots: 0,
            free: 0,
            ages: [UNKNOWN_AGE; 8],
            yields: 0,
            wait: 0,
            idle: 0,
            tracks: Some(TrackSet(0b101)),
        },
        Control::HaveParts {
            epoch: Epoch(7),
            whole: vec![TrackParts { track: TrackId(0), first: 70_000, bits: bits(&[0xA5, 0x01]) }],
            gone: vec![TrackParts { track: TrackId(1), first: 0, bits: bits(&[]) }],
        },
        Control::RequestIndex { epoch: Epoch(7), track: TrackId(1), page: 255 },
        Control::Holders { peers: vec![peer] },
        Control::FindNeighbours,
        Control::Neighbours { peers: vec![peer] },
        Control::Forward { to: peer, text: "offer".to_owned() },
        Control::Forwarded { from: peer, text: "answer".to_owned() },
        Control::Rest { rests: true },
        Control::Doubt { peer },
    ]
}

/// The kind's name. No wildcard: whoever adds a kind is led here, and on to [`controls`].
fn control_name(control: &Control) -> &'static str {
    match control {
        Control::Hello { .. } => "hello",
        Control::Subscribe { .. } => "subscribe",
        Control::Accept { .. } => "accept",
        Control::Refuse { .. } => "refuse",
        Control::Unsubscribe { .. } => "unsubscribe",
        Control::Have { .. } => "have",
        Control::Request { .. } => "request",
        Control::Cancel { .. } => "cancel",
        Control::Missing { .. } => "missing",
        Control::RequestDescriptor { .. } => "request_descriptor",
        Control::Ping { .. } => "ping",
        Control::Pong { .. } => "pong",
        Control::Goodbye => "goodbye",
        Control::Status { .. } => "status",
        Control::HaveParts { .. } => "have_parts",
        Control::RequestIndex { .. } => "request_index",
        Control::Holders { .. } => "holders",
        Control::FindNeighbours => "find_neighbours",
        Control::Neighbours { .. } => "neighbours",
        Control::Forward { .. } => "forward",
        Control::Forwarded { .. } => "forwarded",
        Control::Rest { .. } => "rest",
        Control::Doubt { .. } => "doubt",
    }
}

#[test]
fn link_messages_have_the_form_of_their_vectors() {
    let mut messages = vec![
        ("block", Message::Block { id: block(0x0102_0304), payload: b"media" }),
        ("catalog", Message::Catalog(b"signed catalog")),
        ("descriptor", Message::Descriptor(b"signed descriptor")),
        ("index", Message::Index(b"page of an index")),
    ];
    messages
        .extend(controls().into_iter().map(|control| (control_name(&control), Message::Control(control))));
    let vectors: Vec<_> = messages
        .iter()
        .map(|(name, message)| LinkVector {
            name: (*name).to_owned(),
            hex: hex(&message.encode()),
            message: format!("{message:?}"),
        })
        .collect();
    check("link.json", &vectors);
    for ((_, message), vector) in messages.iter().zip(&vectors) {
        assert_eq!(Message::decode(&unhex(&vector.hex)).as_ref(), Ok(message));
    }
}

#[test]
fn bytes_that_are_no_message_are_refused_as_their_vectors_say() {
    let refused = |hex: &str| Message::decode(&unhex(hex)).expect_err(hex);
    let vectors: Vec<LinkVector> = [
        ("nothing", ""),
        ("a type of a newer version", "06"),
        ("a block without media", "010100000001000000ff"),
        ("a block with half a header", "0101000000"),
        ("control without a body", "04"),
        ("control of a newer version", "0482186380"),
        ("control that is a number", "0401"),
        ("control with bytes after it", "04820c80ff"),
        ("a stripe that is not", "048204810f"),
        ("an array that never ends", "0482069f9f9f9f9f"),
        ("an array of 2^64 - 1 blocks", "048206819bffffffffffffffff"),
    ]
    .iter()
    .map(|(name, hex)| LinkVector {
        name: (*name).to_owned(),
        hex: (*hex).to_owned(),
        message: format!("{:?}", refused(hex)),
    })
    .collect();
    check("link-refused.json", &vectors);
}

#[test]
fn fields_of_newer_versions_are_skipped() {
    // Ping (10) with two fields where this version knows one; the second is a nested array.
    assert_eq!(
        Message::decode(&unhex("04820a821864828101f6")),
        Ok(Message::Control(Control::Ping { sent_at: 100 }))
    );
    // A kind that is not known (99) is to be skipped, not an offence.
    assert_eq!(Message::decode(&unhex("0482186380")), Err(DecodeError::UnknownType));
}

fn channel() -> Channel {
    Channel {
        id: "demo".parse().expect("an id"),
        title: "Demo – \"live\"".to_owned(),
        kind: ChannelKind::Live,
        duration_ms: None,
        is_live: true,
        n_viewers: 3,
        target_latency_ms: 2000,
        public_key: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".to_owned(),
    }
}

fn film() -> Channel {
    Channel { kind: ChannelKind::Film, duration_ms: 5_400_040.try_into().ok(), is_live: false, ..channel() }
}

fn candidate(is_full: bool) -> Candidate {
    Candidate {
        candidate: "candidate:1 1 udp 2122260223 192.0.2.1 54321 typ host".to_owned(),
        sdp_mid: is_full.then(|| "0".to_owned()),
        sdp_m_line_index: is_full.then_some(0),
    }
}

fn from_viewer() -> Vec<FromViewer> {
    let to = PeerId::new(0xfeed);
    vec![
        FromViewer::Offer { to, sdp: "v=0\r\n".to_owned() },
        FromViewer::Answer { to, sdp: "v=0\r\n".to_owned() },
        FromViewer::Candidate { to, candidate: candidate(true) },
        FromViewer::Candidate { to, candidate: candidate(false) },
        FromViewer::Neighbours { without: vec![to, PeerId::new(1)] },
        FromViewer::Clock { sent_at: 123_456_789 },
        FromViewer::Report(Report {
            latency_ms: 1900,
            n_stalls: 1,
            stalled_ms: 250,
            from_peers_len: 1 << 40,
            from_server_len: 2_000_000,
            sent_len: 3_000_000,
        }),
        FromViewer::Blame { peer: to },
        FromViewer::Leave,
    ]
}

fn welcome() -> Welcome {
    Welcome {
        peer_id: PeerId::new(0xbeef),
        resume: "token".to_owned(),
        ice_servers: vec![
            IceServer { urls: vec!["stun:stun.example.org".to_owned()], username: None, credential: None },
            IceServer {
                urls: vec!["turn:turn.example.org?transport=udp".to_owned()],
                username: Some("name".to_owned()),
                credential: Some("secret".to_owned()),
            },
        ],
        channel: channel(),
        time: WallTime(1_795_000_000_000_000),
        is_linked: true,
        neighbours: vec![PeerId::new(1), PeerId::new(u64::MAX)],
    }
}

fn from_tracker() -> Vec<FromTracker> {
    let from = PeerId::new(0xfeed);
    let mut messages = vec![
        FromTracker::Welcome(Box::new(welcome())),
        FromTracker::Offer { from, sdp: "v=0\r\n".to_owned() },
        FromTracker::Answer { from, sdp: "v=0\r\n".to_owned() },
        FromTracker::Candidate { from, candidate: candidate(true) },
        FromTracker::Neighbours { neighbours: vec![from] },
        FromTracker::Clock { sent_at: 123_456_789, time: WallTime(1_795_000_000_000_000) },
        FromTracker::Channel { channel: channel() },
        FromTracker::Channel { channel: film() },
        FromTracker::Gone { peer: from },
        FromTracker::Lost { peer: from },
        FromTracker::Blamed { peer: from, is_evicted: true },
        FromTracker::Drain { reconnect_within_ms: 5000 },
    ];
    let codes = [
        ErrorCode::Malformed,
        ErrorCode::UnknownType,
        ErrorCode::TooLarge,
        ErrorCode::Version,
        ErrorCode::UnknownChannel,
        ErrorCode::TooMany,
    ];
    messages.extend(codes.map(|code| FromTracker::Error { code, message: "what is wrong".to_owned() }));
    messages
}

/// The vectors of one side, each checked to come back as it was.
fn signal_vectors<M: Serialize + DeserializeOwned + PartialEq + Debug>(
    from: &str,
    messages: &[M],
) -> Vec<SignalVector> {
    let vector = |message: &M| {
        let text = serde_json::to_string(message).expect("plain values");
        assert_eq!(&serde_json::from_str::<M>(&text).expect(&text), message);
        SignalVector { from: from.to_owned(), json: serde_json::from_str(&text).expect("JSON") }
    };
    messages.iter().map(vector).collect()
}

#[test]
fn signal_messages_have_the_form_of_their_vectors() {
    let mut vectors = signal_vectors("viewer", &from_viewer());
    vectors.extend(signal_vectors("tracker", &from_tracker()));
    check("signal.json", &vectors);
}

#[test]
fn unknown_fields_of_signal_messages_are_ignored() {
    let newer = json!({"type": "clock", "sent_at": 5, "precision": {"ms": 1}});
    assert_eq!(
        serde_json::from_value::<FromViewer>(newer).expect("a clock"),
        FromViewer::Clock { sent_at: 5 }
    );
}

#[test]
fn signal_messages_with_wrong_values_are_refused() {
    for wrong in [
        json!({"type": "sing"}),
        json!({"sent_at": 5}),
        json!({"type": "clock", "sent_at": -1}),
        json!({"type": "join", "version": 2, "channel": "demo"}),
        json!({"type": "offer", "to": "12", "sdp": ""}),
        json!({"type": "offer", "to": 12, "sdp": ""}),
        json!([]),
        json!(null),
    ] {
        assert!(serde_json::from_value::<FromViewer>(wrong.clone()).is_err(), "{wrong}");
    }
}
