//! WebTorrent peers in a closed loop: so many announces are under way at any time, and every offer is answered.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::pace::pass;
use crate::socket::{Socket, Target};
use crate::tally::Tally;

/// Options of `load torrent`.
#[derive(Args)]
pub(crate) struct Options {
    /// A WebTorrent tracker, such as `ws://127.0.0.1:8080/announce`.
    url: String,
    /// Sockets, each with one peer.
    #[arg(long, default_value_t = 1000)]
    peers: usize,
    /// Swarms that they are dealt to.
    #[arg(long, default_value_t = 20)]
    swarms: usize,
    /// Announces under way.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Offers of each announce.
    #[arg(long, default_value_t = 5)]
    offers: usize,
    /// Bytes of each session description.
    #[arg(long, default_value_t = 1000)]
    sdp_len: usize,
    /// How long to measure, after a fifth of that to warm up.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Options {
    /// As others were measured: a thousand peers in twenty swarms, 64 announces under way.
    pub(crate) fn of(url: String, offers: usize, sdp_len: usize, seconds: u64) -> Self {
        Self { url, peers: 1000, swarms: 20, in_flight: 64, offers, sdp_len, seconds }
    }
}

impl Options {
    /// Far from what a tracker can bear, so that its latency shows and not its limit.
    pub(crate) fn gentle(url: String, seconds: u64) -> Self {
        Self { in_flight: 4, ..Self::of(url, 2, 1000, seconds) }
    }
}

struct Crowd {
    peers: Vec<Peer>,
    options: Options,
    state: RefCell<State>,
}

struct State {
    tally: Tally,
    next: usize,
    text: String,
}

struct Peer {
    socket: Socket,
    info_hash: String,
    id: String,
    /// When its announce was sent that has no reply yet.
    asked_at: RefCell<Option<Instant>>,
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<Value> {
    let target = Target::parse(&options.url)?;
    let mut peers = Vec::new();
    for index in 0..options.peers {
        let socket = target.open(index).await?;
        let info_hash = format!("swarm{:015}", index % options.swarms);
        let id = format!("-CL0001-{index:012}");
        peers.push(Peer { socket, info_hash, id, asked_at: RefCell::default() });
    }
    let seconds = options.seconds;
    let (offers, sdp_len) = (options.offers, options.sdp_len);
    let state = State { tally: Tally::new(), next: 0, text: String::new() };
    let crowd = Rc::new(Crowd { peers, options, state: RefCell::new(state) });
    let tasks = LocalSet::new();
    for index in 0..crowd.peers.len() {
        tasks.spawn_local(listen(Rc::clone(&crowd), index));
    }
    tasks
        .run_until(async move {
            // Everybody is in its swarm before anything is counted.
            crowd.peers.iter().for_each(Peer::join);
            pass(Duration::from_secs(1)).await;
            for _ in 0..crowd.options.in_flight {
                crowd.announce_next();
            }
            pass(Duration::from_secs(seconds) / 5).await;
            crowd.state.borrow_mut().tally = Tally::new();
            pass(Duration::from_secs(seconds)).await;
            let tally = core::mem::replace(&mut crowd.state.borrow_mut().tally, Tally::new());
            Ok(tally.finish(&format!("torrent, {offers} offers of {sdp_len} bytes")))
        })
        .await
}

async fn listen(crowd: Rc<Crowd>, index: usize) {
    let peer = &crowd.peers[index];
    let ended = peer.socket.listen(|text| crowd.hear(peer, text)).await;
    if let Err(error) = ended {
        eprintln!("peer {index}: {error}");
        crowd.state.borrow_mut().tally.n_failures += 1;
    }
}

impl Peer {
    /// Announces itself without offers.
    fn join(&self) {
        let Self { info_hash, id, .. } = self;
        let fields = r#""numwant":0,"uploaded":0,"downloaded":0,"left":1000,"event":"started","offers":[]"#;
        self.socket
            .send(&format!(r#"{{"action":"announce","info_hash":"{info_hash}","peer_id":"{id}",{fields}}}"#));
    }
}

impl Crowd {
    fn hear(&self, peer: &Peer, text: &str) {
        if text.contains("\"interval\"") {
            if let Some(asked_at) = peer.asked_at.take() {
                self.state.borrow_mut().tally.reply(asked_at);
                self.announce_next();
            }
        } else if text.contains("\"offer\":") {
            self.state.borrow_mut().tally.n_offers += 1;
            self.answer(peer, text);
        } else if text.contains("\"answer\":") {
            self.state.borrow_mut().tally.n_answers += 1;
        } else {
            self.state.borrow_mut().tally.n_failures += 1;
        }
    }

    /// Announces the next peer whose last announce is answered.
    fn announce_next(&self) {
        let mut state = self.state.borrow_mut();
        for _ in 0..self.peers.len() {
            state.next = (state.next + 1) % self.peers.len();
            let peer = &self.peers[state.next];
            if peer.asked_at.borrow().is_some() {
                continue;
            }
            let State { text, .. } = &mut *state;
            self.write_announce(text, peer);
            peer.asked_at.replace(Some(Instant::now()));
            peer.socket.send(text);
            return;
        }
    }

    fn write_announce(&self, text: &mut String, peer: &Peer) {
        let Options { offers, sdp_len, .. } = self.options;
        let Peer { info_hash, id, .. } = peer;
        text.clear();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{{"action":"announce","info_hash":"{info_hash}","peer_id":"{id}","numwant":{offers},"uploaded":0,"downloaded":0,"left":1000,"offers":["#
        );
        write_offers(text, offers, sdp_len);
        text.push_str("]}");
    }

    /// Answers the offer, whose ids are plain in all trackers' JSON.
    fn answer(&self, peer: &Peer, offer: &str) {
        let (Some(to), Some(offer_id)) = (field(offer, "\"peer_id\":\""), field(offer, "\"offer_id\":\""))
        else {
            self.state.borrow_mut().tally.n_failures += 1;
            return;
        };
        let Peer { info_hash, id, .. } = peer;
        let sdp = description(self.options.sdp_len);
        let mut state = self.state.borrow_mut();
        state.text.clear();
        let _ = write!(
            state.text,
            r#"{{"action":"announce","info_hash":"{info_hash}","peer_id":"{id}","to_peer_id":"{to}","offer_id":"{offer_id}","answer":{{"type":"answer","sdp":"{sdp}"}}}}"#
        );
        peer.socket.send(&state.text);
    }
}

/// Offers as they stand in an announce.
pub(crate) fn offers(n: usize, sdp_len: usize) -> String {
    let mut text = String::new();
    write_offers(&mut text, n, sdp_len);
    text
}

fn write_offers(text: &mut String, n: usize, sdp_len: usize) {
    for index in 0..n {
        let comma = if index > 0 { "," } else { "" };
        let offer_id = fastrand::u64(..);
        let sdp = description(sdp_len);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{comma}{{"offer_id":"{offer_id:020}","offer":{{"type":"offer","sdp":"{sdp}"}}}}"#
        );
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    rest.split('"').next()
}

/// A session description of at most this length, as it stands in JSON.
fn description(len: usize) -> &'static str {
    /// With the escapes that line ends have in JSON.
    const SDP: &str = concat!(
        "v=0\\r\\no=- 4611731400430051336 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\na=group:BUNDLE 0\\r\\n",
        "a=msid-semantic: WMS\\r\\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\\r\\nc=IN IP4 0.0.0.0\\r\\n",
        "a=ice-ufrag:abcd\\r\\na=ice-pwd:abcdefghijklmnopqrstuvwx\\r\\na=ice-options:trickle\\r\\n",
        "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\\r\\n",
        "a=setup:actpass\\r\\na=mid:0\\r\\na=sctp-port:5000\\r\\na=max-message-size:262144\\r\\n",
        "a=candidate:1 1 udp 2113937151 192.0.2.17 50000 typ host generation 0 ufrag abcd network-cost 999\\r\\n",
        "a=candidate:2 1 udp 1677729535 198.51.100.9 50001 typ srflx raddr 0.0.0.0 rport 0 generation 0\\r\\n",
        "a=candidate:3 1 tcp 1518280447 192.0.2.17 9 typ host tcptype active generation 0 ufrag abcd\\r\\n",
        "a=candidate:4 1 udp 2113937151 192.0.2.18 50000 typ host generation 0 ufrag abcd network-cost 999\\r\\n",
    );
    let sdp = &SDP[..len.min(SDP.len())];
    // Not between the two characters of an escape.
    sdp.strip_suffix('\\').unwrap_or(sdp)
}
