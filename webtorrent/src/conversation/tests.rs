use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// A socket without a socket.
struct Client {
    conversation: Conversation,
    outbox: Arc<Outbox>,
    peer_id: String,
}

impl Client {
    fn new(swarms: &Swarms, name: char) -> Self {
        let outbox = Arc::new(Outbox::default());
        let conversation = Conversation::new(swarms.clone(), Arc::clone(&outbox));
        Self { conversation, outbox, peer_id: name.to_string().repeat(20) }
    }

    /// Says something, and has what it was told.
    fn say(&mut self, message: &Value) -> Vec<Value> {
        let mut scratch = Scratch { rng: fastrand::Rng::with_seed(3), ..Scratch::default() };
        self.conversation.hear(&message.to_string(), &mut scratch);
        self.told()
    }

    fn announce(&mut self, swarm: char, fields: &Value) -> Vec<Value> {
        let mut message = json!({ "action": "announce", "info_hash": hash(swarm), "peer_id": self.peer_id });
        let fields = fields.as_object().unwrap().clone();
        message.as_object_mut().unwrap().extend(fields);
        self.say(&message)
    }

    /// What waits for it; all messages of these tests are shorter than 64 KiB.
    fn told(&self) -> Vec<Value> {
        let frames = self.outbox.take();
        let mut rest = &frames[..];
        let mut told = Vec::new();
        while let [0x81, len, tail @ ..] = rest {
            let (len, content) = match (*len, tail) {
                (126, [a, b, content @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), content),
                (len, content) => (usize::from(len), content),
            };
            told.push(serde_json::from_slice(&content[..len]).unwrap());
            rest = &content[len..];
        }
        told
    }
}

fn swarms() -> Swarms {
    Swarms::new(Duration::from_mins(2))
}

fn hash(swarm: char) -> String {
    swarm.to_string().repeat(20)
}

fn offers(n: usize) -> Value {
    let offer =
        |index| json!({ "offer_id": format!("{index:020}"), "offer": { "type": "offer", "sdp": "v=0\r\n" } });
    json!({ "offers": (0..n).map(offer).collect::<Vec<_>>(), "numwant": n })
}

fn announced(swarm: char, complete: u32, incomplete: u32) -> Value {
    json!({ "action": "announce", "info_hash": hash(swarm), "interval": 120, "complete": complete, "incomplete": incomplete })
}

#[test]
fn who_announces_learns_how_many_there_are() {
    let swarms = swarms();
    let (mut a, mut b) = (Client::new(&swarms, 'a'), Client::new(&swarms, 'b'));
    assert_eq!(a.announce('x', &json!({ "event": "started", "left": 0 })), [announced('x', 1, 0)]);
    assert_eq!(b.announce('x', &json!({ "event": "started", "left": null })), [announced('x', 1, 1)]);
    assert_eq!(b.announce('y', &json!({})), [announced('y', 0, 1)]);
    assert_eq!(b.announce('x', &json!({ "event": "completed", "left": 0 })), [announced('x', 2, 0)]);
    assert_eq!(b.announce('x', &json!({ "event": "stopped" })), [announced('x', 1, 0)]);
    assert_eq!(swarms.totals().n_members, 2);
}

#[test]
fn each_offer_goes_to_another_peer_and_its_answer_comes_back() {
    let swarms = swarms();
    let mut all: Vec<Client> = ['a', 'b', 'c', 'd'].map(|name| Client::new(&swarms, name)).into();
    for client in &mut all {
        client.announce('x', &json!({}));
    }
    assert_eq!(all[0].announce('x', &offers(5)), [announced('x', 0, 4)]);
    let offered: Vec<Vec<Value>> = all[1..].iter().map(Client::told).collect();
    assert!(offered.iter().all(|offers| offers.len() == 1), "{offered:?}");
    let ids: std::collections::BTreeSet<&str> =
        offered.iter().map(|offers| offers[0]["offer_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "an offer is good for one");
    let offer = &offered[0][0];
    let expect = json!({ "action": "announce", "info_hash": hash('x'), "peer_id": all[0].peer_id,
        "offer": { "type": "offer", "sdp": "v=0\r\n" }, "offer_id": offer["offer_id"] });
    assert_eq!(*offer, expect);

    let answer =
        json!({ "to_peer_id": all[0].peer_id, "offer_id": offer["offer_id"], "answer": { "sdp": "v=1" } });
    assert_eq!(all[1].announce('x', &answer), [] as [Value; 0], "an answer has no reply");
    let expect = json!({ "action": "announce", "info_hash": hash('x'), "peer_id": all[1].peer_id,
        "answer": { "sdp": "v=1" }, "offer_id": offer["offer_id"] });
    assert_eq!(all[0].told(), [expect]);
    let totals = swarms.totals();
    assert_eq!((totals.n_offers, totals.n_answers, totals.n_dropped, totals.n_failures), (3, 1, 0, 0));
}

#[test]
fn ids_of_any_bytes_come_through() {
    let swarms = swarms();
    let (mut a, mut b) = (Client::new(&swarms, 'a'), Client::new(&swarms, 'b'));
    a.peer_id = "\u{0}\"\\\u{ff}\u{80}/\n\u{1f}abcdefghijkl".into();
    b.announce('é', &json!({}));
    a.announce('é', &offers(1));
    let told = b.told();
    assert_eq!(
        (told[0]["peer_id"].as_str(), told[0]["info_hash"].as_str()),
        (Some(&*a.peer_id), Some(&*hash('é')))
    );
    let answer = json!({ "to_peer_id": a.peer_id, "offer_id": hash('o'), "answer": {} });
    b.announce('é', &answer);
    assert_eq!(a.told()[0]["peer_id"], b.peer_id);
}

#[test]
fn nobody_takes_over_the_peer_of_another_socket() {
    let swarms = swarms();
    let (mut a, mut thief) = (Client::new(&swarms, 'a'), Client::new(&swarms, 'a'));
    a.announce('x', &json!({}));
    let told = thief.announce('x', &offers(1));
    assert!(told[0]["failure reason"].as_str().unwrap().contains("in use"), "{told:?}");
    assert_eq!((&told[0]["action"], &told[0]["info_hash"]), (&json!("announce"), &json!(hash('x'))));
    thief.announce('x', &json!({ "event": "stopped" }));
    let answer = json!({ "to_peer_id": a.peer_id, "offer_id": hash('o'), "answer": {} });
    let told = thief.announce('x', &answer);
    assert!(told[0]["failure reason"].as_str().unwrap().contains("announce yourself"), "{told:?}");
    drop(thief);
    assert_eq!(a.announce('x', &json!({})), [announced('x', 0, 1)]);
    assert!(a.told().is_empty());
}

#[test]
fn a_socket_that_ends_takes_its_peers_along() {
    let swarms = swarms();
    let mut a = Client::new(&swarms, 'a');
    for swarm in ['x', 'y', 'z'] {
        a.announce(swarm, &json!({}));
    }
    assert_eq!((swarms.totals().n_swarms, swarms.totals().n_members), (3, 3));
    drop(a);
    assert_eq!((swarms.totals().n_swarms, swarms.totals().n_members), (0, 0));
}

#[test]
fn a_scrape_counts_what_is_asked_for() {
    let swarms = swarms();
    let (mut a, mut b) = (Client::new(&swarms, 'a'), Client::new(&swarms, 'b'));
    a.announce('x', &json!({ "left": 0 }));
    a.announce('y', &json!({}));
    b.announce('x', &json!({ "event": "completed" }));
    let of = |complete, incomplete, downloaded| json!({ "complete": complete, "incomplete": incomplete, "downloaded": downloaded });
    let files = |told: &[Value]| told[0]["files"].clone();
    let one = b.say(&json!({ "action": "scrape", "info_hash": hash('x') }));
    assert_eq!(one, [json!({ "action": "scrape", "files": { hash('x'): of(2, 0, 1) } })]);
    let many =
        b.say(&json!({ "action": "scrape", "info_hash": [hash('x'), hash('y'), hash('x'), hash('n')] }));
    assert_eq!(
        files(&many),
        json!({ hash('x'): of(2, 0, 1), hash('y'): of(0, 1, 0), hash('n'): of(0, 0, 0) })
    );
    assert_eq!(files(&b.say(&json!({ "action": "scrape" }))), json!({ hash('x'): of(2, 0, 1) }));
}

#[test]
fn a_socket_is_in_so_many_swarms_and_no_more() {
    let swarms = swarms();
    let mut a = Client::new(&swarms, 'a');
    for n in 0..MEMBERSHIP_LIMIT {
        let told =
            a.say(&json!({ "action": "announce", "info_hash": format!("{n:020}"), "peer_id": a.peer_id }));
        assert!(told[0]["interval"].is_u64(), "{told:?}");
    }
    let told = a.announce('x', &json!({}));
    assert!(told[0]["failure reason"].as_str().unwrap().contains("256 swarms"), "{told:?}");
    assert_eq!(swarms.totals().n_members, MEMBERSHIP_LIMIT);
    let again =
        a.say(&json!({ "action": "announce", "info_hash": format!("{:020}", 7), "peer_id": a.peer_id }));
    assert!(again[0]["interval"].is_u64(), "those that it is in go on: {again:?}");
}

#[test]
fn what_makes_no_sense_is_answered_and_changes_nothing() {
    let swarms = swarms();
    let mut a = Client::new(&swarms, 'a');
    for message in [json!(null), json!([]), json!({ "action": "dance" }), json!({ "action": "announce" })] {
        let told = a.say(&message);
        assert!(told[0]["failure reason"].is_string(), "{message}: {told:?}");
    }
    assert_eq!(swarms.totals(), crate::Totals { n_failures: 4, ..Default::default() });
}
