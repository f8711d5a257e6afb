//! Two sets of connections in one page, their offers and answers carried by hand.

use core::time::Duration;

use cardume_peer_wasm::connection::ConnectionEvent;
use cardume_peer_wasm::connections::{BrowserConnector, ConnectionCommand, Connections};
use cardume_peer_wasm::{Link, LinkEvent};
use cardume_swarm::{Instant, Route};
use cardume_wire::PeerId;
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::Recorder;

const START: Instant = Instant::from_micros(0);
const IDS: [PeerId; 2] = [PeerId::new(1), PeerId::new(2)];

/// Two viewers, and what their connections report: (side, event).
struct Pair {
    sides: [Connections; 2],
    reported: Recorder<(usize, ConnectionEvent)>,
}

impl Pair {
    fn new() -> Self {
        let reported = Recorder::<(usize, ConnectionEvent)>::new();
        let side = |side: usize| {
            let reported = reported.clone();
            let notify = move |(_, event)| reported.push((side, event));
            let mut connections = Connections::new(BrowserConnector::new(std::rc::Rc::new(notify)));
            connections.handle(ConnectionCommand::SetOwnId(IDS[side]), START);
            connections
        };
        Self { sides: [side(0), side(1)], reported }
    }

    fn tell(&mut self, side: usize, command: ConnectionCommand) {
        self.sides[side].handle(command, START);
        self.hear(side);
    }

    /// Takes what the connections tell beside what each reports.
    fn hear(&mut self, side: usize) {
        while let Some((_, event)) = self.sides[side].poll_event() {
            self.reported.push((side, event));
        }
    }

    fn connect(&mut self, side: usize) {
        self.tell(side, ConnectionCommand::Connect(IDS[1 - side]));
    }

    /// Carries what must be carried until both have an open channel.
    async fn link_up(&mut self) -> [End; 2] {
        let mut ends = [None, None];
        while ends.iter().any(Option::is_none) {
            let (side, event) = self.reported.next().await;
            let from = IDS[side];
            let command = match event {
                ConnectionEvent::Offer(sdp) => ConnectionCommand::Offer { from, sdp },
                ConnectionEvent::Answer(sdp) => ConnectionCommand::Answer { from, sdp },
                ConnectionEvent::Candidate(candidate) => ConnectionCommand::Candidate { from, candidate },
                ConnectionEvent::Opened(channel) => {
                    assert!(ends[side].is_none(), "a second channel opened");
                    let heard = Recorder::new();
                    ends[side] = Some(End { link: Link::new(channel, heard.notify()), heard });
                    continue;
                }
                ConnectionEvent::Route(route) => {
                    assert_eq!(route, Route::Direct, "on one machine");
                    continue;
                }
                other => panic!("{other:?}"),
            };
            self.tell(1 - side, command);
        }
        ends.map(Option::unwrap)
    }
}

struct End {
    link: Link,
    heard: Recorder<LinkEvent>,
}

impl End {
    async fn message(&self) -> Vec<u8> {
        let message =
            |event: LinkEvent| if let LinkEvent::Message(buffer) = event { Some(buffer) } else { None };
        let buffer: ArrayBuffer = self.heard.find(message).await;
        Uint8Array::new(&buffer).to_vec()
    }
}

async fn assert_passes_messages([a, b]: &[End; 2]) {
    let messages: Vec<Vec<u8>> = (1..=20_u8).map(|n| vec![n; usize::from(n) * 3000]).collect();
    for message in &messages {
        assert!(a.link.send(message));
        assert!(b.link.send(message));
    }
    for message in &messages {
        assert_eq!(&a.message().await, message);
        assert_eq!(&b.message().await, message);
    }
}

#[wasm_bindgen_test]
async fn neighbours_exchange_messages_in_order() {
    let mut pair = Pair::new();
    pair.connect(0);
    assert_passes_messages(&pair.link_up().await).await;
}

#[wasm_bindgen_test]
async fn offers_that_cross_make_one_connection() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.connect(1);
    assert_passes_messages(&pair.link_up().await).await;
}

#[wasm_bindgen_test]
async fn a_neighbour_that_closes_is_noticed_after_its_last_message() {
    let mut pair = Pair::new();
    pair.connect(1);
    let [a, b] = pair.link_up().await;
    assert!(a.link.send(b"goodbye"));
    drop(a);
    pair.tell(0, ConnectionCommand::Close(IDS[1]));
    assert_eq!(b.message().await, b"goodbye");
    b.heard.find(|event: LinkEvent| matches!(event, LinkEvent::Closed).then_some(())).await;
}

#[wasm_bindgen_test]
async fn an_offer_without_an_answer_fails_in_time() {
    let mut pair = Pair::new();
    pair.connect(0);
    let due_at = pair.sides[0].poll_timeout().unwrap();
    assert!(due_at.since(START) <= Duration::from_secs(15));
    pair.sides[0].handle_timeout(due_at);
    pair.hear(0);
    pair.reported.find(|(_, event)| matches!(event, ConnectionEvent::Failed).then_some(())).await;
    assert_eq!(pair.sides[0].poll_timeout(), None);
}

#[wasm_bindgen_test]
async fn nonsense_for_a_description_fails_and_hurts_nobody() {
    let mut pair = Pair::new();
    let nonsense = ConnectionCommand::Offer { from: IDS[1], sdp: "v=0 nonsense".into() };
    pair.tell(0, nonsense);
    pair.reported.find(|(_, event)| matches!(event, ConnectionEvent::Failed).then_some(())).await;
    pair.tell(0, ConnectionCommand::Close(IDS[1]));
    pair.connect(0);
    assert_passes_messages(&pair.link_up().await).await;
}
