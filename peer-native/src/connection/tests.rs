//! Two sets of connections in one process, their offers and answers carried by hand.

use std::net::Ipv4Addr;

use bytes::Bytes;
use cardume_swarm::{Instant, Route};
use cardume_viewer::{ConnectionCommand, Connections, Link as _};

use super::*;
use crate::connector::NativeConnector;
use crate::link::Link;
use crate::report::REPORT_LIMIT;

const START: Instant = Instant::from_micros(0);
const IDS: [PeerId; 2] = [PeerId::new(1), PeerId::new(2)];
const PATIENCE: Duration = Duration::from_secs(20);

/// One viewer's connections, its link once there is one, and what came over it.
struct Side {
    connections: Connections<NativeConnector>,
    reports: mpsc::Receiver<Report>,
    link: Option<Link>,
    route: Option<Route>,
    heard: Vec<BytesMut>,
    has_failed: bool,
    is_closed: bool,
}

struct Pair([Side; 2]);

impl Pair {
    fn new() -> Self {
        Self(IDS.map(|id| {
            let (report, reports) = mpsc::channel(REPORT_LIMIT);
            let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
            let connector = NativeConnector::new(&addresses, report, TaskTracker::new());
            let mut connections = Connections::new(connector);
            connections.handle(ConnectionCommand::SetOwnId(id), START);
            Side {
                connections,
                reports,
                link: None,
                route: None,
                heard: Vec::new(),
                has_failed: false,
                is_closed: false,
            }
        }))
    }

    fn tell(&mut self, side: usize, command: ConnectionCommand) {
        self.0[side].connections.handle(command, START);
    }

    fn connect(&mut self, side: usize) {
        self.tell(side, ConnectionCommand::Connect(IDS[1 - side]));
    }

    /// Carries what must be carried until it is so. Both say a word as soon as they can.
    async fn until(&mut self, is_so: impl Fn(&[Side; 2]) -> bool) {
        let wait = async {
            while !is_so(&self.0) {
                let [a, b] = &mut self.0;
                let (side, report) = tokio::select! {
                    Some(report) = a.reports.recv() => (0, report),
                    Some(report) = b.reports.recv() => (1, report),
                };
                if report.is_wanted() {
                    self.take(side, report.news);
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    fn take(&mut self, side: usize, news: News) {
        let from = IDS[side];
        match news {
            News::Connection(_, ConnectionEvent::Offer(sdp)) => {
                self.tell(1 - side, ConnectionCommand::Offer { from, sdp });
            }
            News::Connection(_, ConnectionEvent::Answer(sdp)) => {
                self.tell(1 - side, ConnectionCommand::Answer { from, sdp });
            }
            News::Connection(_, ConnectionEvent::Candidate(candidate)) => {
                self.tell(1 - side, ConnectionCommand::Candidate { from, candidate });
            }
            News::Connection(_, ConnectionEvent::Opened(channel)) => {
                let link = channel.into_link();
                assert!(link.send(&first_word()), "a link that just opened takes a message");
                self.0[side].link = Some(link);
            }
            News::Connection(_, ConnectionEvent::Route(route)) => self.0[side].route = Some(route),
            News::Connection(_, ConnectionEvent::Failed) => self.0[side].has_failed = true,
            News::Message(_, message) => self.0[side].heard.push(message),
            News::LinkClosed(_) => self.0[side].is_closed = true,
            _ => {}
        }
    }

    async fn link_up(&mut self) {
        self.until(|sides| sides.iter().all(|side| !side.heard.is_empty())).await;
        assert!(self.0.iter().all(|side| side.heard[0][..] == first_word()[..]), "the first word was lost");
    }
}

fn first_word() -> Bytes {
    Bytes::from_static(b"hello")
}

#[tokio::test]
async fn neighbours_exchange_messages_in_order_from_the_first_on() {
    for _ in 0..5 {
        let mut pair = Pair::new();
        pair.connect(0);
        pair.link_up().await;
        let messages: Vec<_> = (1..=20_u8).map(|n| Bytes::from(vec![n; usize::from(n) * 3000])).collect();
        for message in &messages {
            assert!(pair.0.iter().all(|side| side.link.as_ref().unwrap().send(message)));
        }
        pair.until(|sides| sides.iter().all(|side| side.heard.len() == messages.len() + 1)).await;
        for side in &pair.0 {
            assert_eq!(side.heard[1..], messages);
        }
    }
}

#[tokio::test]
async fn an_open_channel_says_how_it_runs() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.until(|sides| sides.iter().all(|side| side.route == Some(Route::Direct))).await;
}

#[tokio::test]
async fn offers_that_cross_make_one_connection() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.connect(1);
    pair.link_up().await;
}

#[tokio::test]
async fn a_neighbour_that_closes_is_noticed_after_its_last_message() {
    let mut pair = Pair::new();
    pair.connect(1);
    pair.link_up().await;
    assert!(pair.0[0].link.take().unwrap().send(&Bytes::from_static(b"goodbye")));
    pair.tell(0, ConnectionCommand::Close(IDS[1]));
    pair.until(|sides| sides[1].is_closed || sides[1].has_failed).await;
    assert_eq!(pair.0[1].heard[1][..], b"goodbye"[..]);
}

#[tokio::test]
async fn what_is_no_description_or_candidate_hurts_nobody() {
    let mut pair = Pair::new();
    let long = "a".repeat(MESSAGE_LEN_LIMIT + 1);
    for sdp in ["v=0 nonsense", "", &long] {
        pair.0[0].has_failed = false;
        pair.tell(0, ConnectionCommand::Offer { from: IDS[1], sdp: sdp.to_owned() });
        pair.until(|sides| sides[0].has_failed).await;
        pair.tell(0, ConnectionCommand::Close(IDS[1]));
    }
    pair.connect(0);
    for candidate in ["", "candidate:nonsense", "candidate:1 1 udp 1 999.0.0.1 99999 typ host", &long[..2000]]
    {
        let candidate =
            Candidate { candidate: candidate.to_owned(), sdp_mid: None, sdp_m_line_index: Some(7) };
        pair.tell(0, ConnectionCommand::Candidate { from: IDS[1], candidate });
    }
    pair.link_up().await;
}
