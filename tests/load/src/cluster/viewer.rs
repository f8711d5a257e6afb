//! One viewer: signalling, and for some a real session on the server's link; it comes back as a browser does.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use cardume_swarm::{Config, Event, Instant, PlayerState, Session};
use cardume_wire::signal::{FromTracker, FromViewer, Join, Welcome};
use cardume_wire::{PROTOCOL_VERSION, PeerId};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::ledger::Ledger;
use crate::pace::pass;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// As in a browser: the first wait, and the longest; each is doubled, and drawn from its upper half.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
/// How often the session hears of the player. A browser does so oftener; here thousands share a processor.
const PLAYER_INTERVAL: Duration = Duration::from_millis(500);
/// A socket that is not open by then is tried elsewhere.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two offers of a viewer to a peer that it was named.
const OFFER_INTERVAL: Duration = Duration::from_secs(5);

/// What all viewers share.
pub(super) struct Stage {
    /// The nodes behind the one address: each viewer tries them in an order of its own, as resolvers do with several records.
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) channel: String,
    /// Of the viewers so many, the first ones, take media over the server's link; the others' is signalling alone.
    pub(super) n_linked: usize,
    pub(super) ledger: RefCell<Ledger>,
}

/// One viewer, for ever.
pub(super) struct Viewer {
    stage: Rc<Stage>,
    index: usize,
    began_at: tokio::time::Instant,
    session: Option<Session>,
    me: PeerId,
    resume: Option<String>,
    neighbours: Vec<PeerId>,
    /// Start of the first part, and when it came.
    playing_since: Option<(u64, tokio::time::Instant)>,
    buffered: Option<(u64, u64)>,
}

impl Viewer {
    pub(super) fn new(stage: Rc<Stage>, index: usize) -> Self {
        Self {
            stage,
            index,
            began_at: tokio::time::Instant::now(),
            session: None,
            me: PeerId::SERVER,
            resume: None,
            neighbours: Vec::new(),
            playing_since: None,
            buffered: None,
        }
    }

    pub(super) async fn live(mut self) {
        let mut lost_at: Option<std::time::Instant> = None;
        let mut wait = BACKOFF.0;
        loop {
            if let Ok((socket, welcome)) = self.join().await {
                if let Some(lost_at) = lost_at {
                    self.stage.ledger.borrow_mut().came_back(lost_at.elapsed());
                }
                wait = BACKOFF.0;
                self.enter(&welcome);
                // However it ends: it comes back.
                let _ = self.watch(socket).await;
                self.stage.ledger.borrow_mut().socket_ended(self.index);
                lost_at = Some(std::time::Instant::now());
                if let Some(session) = &mut self.session {
                    session.link_closed(PeerId::SERVER, now(self.began_at));
                }
            }
            pass(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// At the first node that answers.
    async fn join(&self) -> Result<(Socket, Welcome)> {
        let mut nodes = self.stage.nodes.clone();
        fastrand::shuffle(&mut nodes);
        let channel = self.stage.channel.parse()?;
        let address = Join { version: PROTOCOL_VERSION, channel, resume: self.resume.clone() }.address();
        for node in nodes {
            let opening = timeout(CONNECT_LIMIT, connect_async(format!("ws://{node}{address}")));
            let Ok(Ok((mut socket, _))) = opening.await else { continue };
            if let Ok(Some(Ok(Message::Text(text)))) = timeout(CONNECT_LIMIT, socket.next()).await
                && let Ok(FromTracker::Welcome(welcome)) = serde_json::from_str(&text)
            {
                return Ok((socket, *welcome));
            }
        }
        anyhow::bail!("no node answers")
    }

    fn enter(&mut self, welcome: &Welcome) {
        let at = now(self.began_at);
        self.resume = Some(welcome.resume.clone());
        self.neighbours.clone_from(&welcome.neighbours);
        self.me = welcome.peer_id;
        self.stage.ledger.borrow_mut().came_in(self.index);
        if self.index >= self.stage.n_linked {
            return;
        }
        let session = self.session.get_or_insert_with(|| {
            let mut config = Config::viewer(welcome.peer_id);
            config.target_latency = Duration::from_millis(welcome.channel.target_latency_ms.into());
            let key =
                welcome.channel.public_key.parse().unwrap_or_else(|_| unreachable!("the tracker's own key"));
            Session::new(config, key, welcome.peer_id.number(), at)
        });
        session.set_clock(welcome.time, at);
        if welcome.is_linked {
            session.link_opened(PeerId::SERVER, at);
        }
    }

    async fn watch(&mut self, mut socket: Socket) -> Result<()> {
        let mut player = interval(PLAYER_INTERVAL);
        let mut offers = interval(OFFER_INTERVAL);
        loop {
            self.perform(&mut socket).await?;
            let timeout_at = self.session.as_ref().and_then(Session::poll_timeout);
            let timeout_at = timeout_at.map(|at| self.began_at + Duration::from_micros(at.as_micros()));
            tokio::select! {
                message = socket.next() => self.receive(message.context("closed")??, &mut socket).await?,
                () = wait_until(timeout_at) => self.handle_timeout(),
                _ = player.tick() => self.play(),
                _ = offers.tick() => self.offer(&mut socket).await?,
            }
        }
    }

    fn handle_timeout(&mut self) {
        if let Some(session) = &mut self.session {
            session.handle_timeout(now(self.began_at));
        }
    }

    async fn receive(&mut self, message: Message, socket: &mut Socket) -> Result<()> {
        let at = now(self.began_at);
        match message {
            Message::Binary(bytes) => {
                if let Some(session) = &mut self.session {
                    session.receive(PeerId::SERVER, &bytes, at);
                }
            }
            Message::Text(text) => self.hear(serde_json::from_str(&text)?, socket).await?,
            Message::Close(_) => anyhow::bail!("closed"),
            _ => {}
        }
        Ok(())
    }

    async fn hear(&mut self, message: FromTracker, socket: &mut Socket) -> Result<()> {
        self.note(message);
        if self.neighbours.is_empty() {
            say(socket, &FromViewer::Neighbours { without: Vec::new() }).await?;
        }
        Ok(())
    }

    fn note(&mut self, message: FromTracker) {
        let mut ledger = self.stage.ledger.borrow_mut();
        match message {
            FromTracker::Offer { sdp, .. } => {
                let number = sdp.split(' ').next().and_then(|number| number.parse().ok());
                ledger.offer_came(number.unwrap_or(0));
            }
            FromTracker::Gone { peer } => {
                ledger.offer_returned(self.index, peer);
                self.neighbours.retain(|neighbour| *neighbour != peer);
            }
            FromTracker::Neighbours { neighbours } => self.neighbours = neighbours,
            FromTracker::Error { .. } => ledger.n_wrong += 1,
            _ => {}
        }
    }

    /// Offers to one of those it was named, and asks for others.
    async fn offer(&mut self, socket: &mut Socket) -> Result<()> {
        if let Some(to) = fastrand::choice(&self.neighbours).copied() {
            let number = self.stage.ledger.borrow_mut().offer_made(self.index, to);
            say(socket, &FromViewer::Offer { to, sdp: format!("{number} {}", "v=0".repeat(250)) }).await?;
        }
        say(socket, &FromViewer::Neighbours { without: Vec::new() }).await
    }

    async fn perform(&mut self, socket: &mut Socket) -> Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        while let Some(event) = session.poll_event() {
            match event {
                Event::Transmit { to: PeerId::SERVER, bytes } => socket.send(Message::Binary(bytes)).await?,
                Event::Disconnect { peer: PeerId::SERVER } => {
                    anyhow::bail!("the session parts with the server")
                }
                Event::Blame { .. } => self.stage.ledger.borrow_mut().n_wrong += 1,
                // Others are not reachable here: signalling and the server are what is measured.
                Event::Connect { peer } => session.connect_failed(peer, now(self.began_at)),
                Event::Attach(catalog) => {
                    (self.playing_since, self.buffered) = (None, None);
                    self.stage.ledger.borrow_mut().broadcast_came(catalog.epoch());
                }
                Event::Append { start_us, end_us, .. } => {
                    self.stage.ledger.borrow_mut().part_came(self.index);
                    self.playing_since.get_or_insert((start_us, tokio::time::Instant::now()));
                    let (start, end) = self.buffered.unwrap_or((start_us, end_us));
                    self.buffered = Some((start.min(start_us), end.max(end_us)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn play(&mut self) {
        let (Some(session), Some((start_us, since))) = (&mut self.session, self.playing_since) else {
            return;
        };
        let (first, end) = self.buffered.unwrap_or_default();
        let elapsed = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let playhead_us = (start_us + elapsed).clamp(first, end);
        let buffered = self.buffered.into_iter().collect();
        let state = PlayerState { playhead_us, buffered, ..PlayerState::default() };
        session.set_player(state, now(self.began_at));
    }
}

async fn say(socket: &mut Socket, message: &FromViewer) -> Result<()> {
    socket.send(Message::text(serde_json::to_string(message)?)).await.context("closed")
}

async fn wait_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn now(began_at: tokio::time::Instant) -> Instant {
    Instant::from_micros(u64::try_from(began_at.elapsed().as_micros()).unwrap_or(u64::MAX))
}
