//! What one node's server peer publishes and another's takes over.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{PartId, SigningKey};
use cardume_swarm::{Adopted, Config, Instant, Session};
use cardume_wire::{Epoch, TrackId};

use crate::net::*;

/// The server peer of another node.
fn other_node(key: &SigningKey) -> Session {
    Session::new(Config::server(None), key.public(), 5, Instant::default())
}

/// The catalog and the parts that the other node lacks.
fn messages(net: &Net, known: &BTreeMap<TrackId, u32>, span: Duration) -> Vec<Bytes> {
    let server = &net.sessions[&SERVER];
    let parts = server.parts_since(known, span).into_iter().flat_map(|part| server.part_messages(part));
    server.catalog_message().into_iter().chain(parts).collect()
}

fn adopt_all(session: &mut Session, messages: &[Bytes]) -> Vec<PartId> {
    let adopted = messages.iter().map(|message| session.adopt(message, Instant::default()));
    adopted.filter_map(|adopted| if let Adopted::Part(part) = adopted { Some(part) } else { None }).collect()
}

#[test]
fn another_node_has_what_was_published_bit_for_bit() {
    let mut net = Net::new();
    net.broadcast(1);
    let published = net.publish(0, 6);
    let mut other = other_node(&net.key);
    let parts = adopt_all(&mut other, &messages(&net, &BTreeMap::new(), Duration::from_secs(9)));
    assert_eq!(parts.len(), 12);
    let video: Vec<_> = parts.iter().filter(|part| part.track == TrackId(0)).collect();
    for ((part, media), sequence) in video.into_iter().zip(published).zip(0..) {
        let cut = other.cut_part(*part).unwrap();
        assert_eq!((part.sequence, cut.bytes), (sequence, media.into()));
        assert_eq!(cut.is_independent, sequence % 5 == 0);
    }
    assert_eq!(other.epoch(), Some(Epoch(1)));
}

#[test]
fn a_node_that_comes_late_gets_what_it_lacks_from_where_decoding_can_begin() {
    let mut net = Net::new();
    net.broadcast(1);
    net.publish(0, 14);
    let server = &net.sessions[&SERVER];
    let sequences = |parts: Vec<PartId>, track| -> Vec<u32> {
        parts.into_iter().filter(|part| part.track == TrackId(track)).map(|part| part.sequence).collect()
    };
    // Parts of 200 ms, a key frame each second: 600 ms before part 13 is part 10.
    let late = server.parts_since(&BTreeMap::new(), Duration::from_millis(600));
    assert_eq!(sequences(late.clone(), 0), [10, 11, 12, 13]);
    assert_eq!(sequences(late, 1), [10, 11, 12, 13]);
    let known = BTreeMap::from([(TrackId(0), 12), (TrackId(1), 14)]);
    let missed = server.parts_since(&known, Duration::ZERO);
    assert_eq!(sequences(missed, 0), [12, 13]);
}

#[test]
fn what_the_key_does_not_vouch_for_is_not_taken_over() {
    let mut net = Net::new();
    net.broadcast(1);
    net.publish(0, 1);
    let messages = messages(&net, &BTreeMap::new(), Duration::ZERO);
    let (catalog, rest) = messages.split_first().unwrap();
    let mut other = other_node(&net.key);
    assert_eq!(other.adopt(&rest[0], Instant::default()), Adopted::Early, "a descriptor without a catalog");
    assert_eq!(other.adopt(catalog, Instant::default()), Adopted::Broadcast);
    assert_eq!(other.adopt(&rest[1], Instant::default()), Adopted::Early, "a block without a descriptor");
    for message in [&rest[0], catalog] {
        let mut forged = message.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(other.adopt(&forged, Instant::default()), Adopted::Wrong);
    }
    other.adopt(&rest[0], Instant::default());
    let mut forged = rest[1].to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(other.adopt(&forged, Instant::default()), Adopted::Wrong);
    assert_eq!(other.adopt(b"", Instant::default()), Adopted::Wrong);
    let mut stranger = other_node(&SigningKey::from_seed([8; 32]));
    assert_eq!(stranger.adopt(catalog, Instant::default()), Adopted::Wrong);
}

#[test]
fn a_newer_broadcast_of_another_node_ends_our_own() {
    let mut net = Net::new();
    net.broadcast(2);
    let newer = messages(&net, &BTreeMap::new(), Duration::ZERO);
    let mut net = Net::new();
    net.broadcast(1);
    net.publish(0, 1);
    net.act(SERVER, |session, now| assert_eq!(session.adopt(&newer[0], now), Adopted::Broadcast));
    net.publish(1, 1);
    let server = &net.sessions[&SERVER];
    assert_eq!(server.epoch(), Some(Epoch(2)));
    assert_eq!(server.newest_part(TrackId(0)), None, "what is published after its end goes nowhere");
}
