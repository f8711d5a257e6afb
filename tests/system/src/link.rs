//! A viewer without a browser: a real [`Session`] with its link to the server peer, and an imagined player.

use std::time::Duration;

use bytes::Bytes;
use cardume_media::Catalog;
use cardume_swarm::{Config, Event, Instant, PlayerState, Session};
use cardume_wire::PeerId;
use cardume_wire::signal::{FromTracker, Welcome};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::{PATIENCE, SignalClient};

/// Media that the imagined player has buffered before it begins to play.
pub const WATCHER_BUFFER: Duration = Duration::from_millis(600);
/// How often the session hears of the player, as in a browser.
const PLAYER_INTERVAL: Duration = Duration::from_millis(100);

/// A viewer that is linked to the server peer alone.
#[derive(Debug)]
pub struct LinkViewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Session,
    began_at: tokio::time::Instant,
    /// The first part's start and when it came: from then on the player plays.
    playing_since: Option<(u64, tokio::time::Instant)>,
    buffered: Option<(u64, u64)>,
    /// The catalogs that were attached.
    pub attached: Vec<Catalog>,
    /// The parts that were appended, in order: start on the media timeline in microseconds, and bytes.
    pub appended: Vec<(u64, Bytes)>,
    /// Whether the server peer has closed the link.
    pub is_closed: bool,
    /// Bytes of all messages that came over the link.
    pub received_len: u64,
    /// What signalling said meanwhile.
    pub told: Vec<FromTracker>,
}

impl LinkViewer {
    /// Uses the link that stands since the welcome.
    pub fn over(client: SignalClient, welcome: &Welcome) -> Self {
        assert!(welcome.is_linked, "there is no link");
        let SignalClient { socket, from_server } = client;
        let key = welcome.channel.public_key.parse().unwrap();
        let mut config = Config::viewer(welcome.peer_id);
        config.target_latency = Duration::from_millis(welcome.channel.target_latency_ms.into());
        let now = Instant::default();
        let mut session = Session::new(config, key, welcome.peer_id.number(), now);
        session.set_clock(cardume::clock::wall_time(), now);
        session.link_opened(PeerId::SERVER, now);
        let received_len = from_server.iter().map(|bytes| bytes.len() as u64).sum();
        for bytes in from_server {
            session.receive(PeerId::SERVER, &bytes, now);
        }
        Self {
            socket,
            session,
            began_at: tokio::time::Instant::now(),
            playing_since: None,
            buffered: None,
            attached: Vec::new(),
            appended: Vec::new(),
            is_closed: false,
            received_len,
            told: Vec::new(),
        }
    }

    /// Goes on over another socket, as a viewer does whose tracker went away.
    pub fn come_back(&mut self, client: SignalClient) {
        let now = self.now();
        (self.socket, self.is_closed) = (client.socket, false);
        self.session.link_opened(PeerId::SERVER, now);
        for bytes in client.from_server {
            self.received_len += bytes.len() as u64;
            self.session.receive(PeerId::SERVER, &bytes, now);
        }
    }

    /// Sends a message that no session would.
    pub async fn send_raw(&mut self, message: Message) {
        // The tracker may close while it is on its way.
        let _ = self.socket.send(message).await;
    }

    /// Watches until the condition holds.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`], or the link closes before.
    pub async fn watch_until(&mut self, what: &str, mut is_reached: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut player = tokio::time::interval(PLAYER_INTERVAL);
        loop {
            self.perform().await;
            if is_reached(self) {
                return;
            }
            assert!(!self.is_closed, "the link closed before {what}; {} parts came", self.appended.len());
            let timeout_at = self.session.poll_timeout().map_or(deadline, |at| self.tokio_time(at));
            tokio::select! {
                message = self.socket.next() => self.receive(message),
                () = tokio::time::sleep_until(timeout_at.min(deadline)) => self.session.handle_timeout(self.now()),
                _ = player.tick() => self.play(),
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what} did not happen; {} parts came",
                self.appended.len()
            );
        }
    }

    fn receive(&mut self, message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) {
        let now = self.now();
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                self.received_len += bytes.len() as u64;
                self.session.receive(PeerId::SERVER, &bytes, now);
            }
            Some(Ok(Message::Text(text))) => self.told.push(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => {
                self.is_closed = true;
                self.session.link_closed(PeerId::SERVER, now);
            }
        }
    }

    async fn perform(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Transmit { to: PeerId::SERVER, bytes } if !self.is_closed => {
                    self.send_raw(Message::Binary(bytes)).await;
                }
                Event::Disconnect { peer: PeerId::SERVER } => self.is_closed = true,
                Event::Attach(catalog) => self.attached.push(catalog),
                Event::Append { chunks, start_us, end_us, .. } => self.append(&chunks, start_us, end_us),
                _ => {}
            }
        }
    }

    fn append(&mut self, chunks: &[Bytes], start_us: u64, end_us: u64) {
        self.appended.push((start_us, chunks.concat().into()));
        self.playing_since.get_or_insert((start_us, tokio::time::Instant::now() + WATCHER_BUFFER));
        let (start, end) = self.buffered.unwrap_or((start_us, end_us));
        self.buffered = Some((start.min(start_us), end.max(end_us)));
    }

    fn play(&mut self) {
        let Some((start_us, since)) = self.playing_since else { return };
        let (first, end) = self.buffered.unwrap_or_default();
        let elapsed = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let playhead_us = (start_us + elapsed).clamp(first, end);
        let state = PlayerState {
            playhead_us,
            buffered: self.buffered.into_iter().collect(),
            ..PlayerState::default()
        };
        self.session.set_player(state, self.now());
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.began_at.elapsed().as_micros()).unwrap())
    }

    fn tokio_time(&self, at: Instant) -> tokio::time::Instant {
        self.began_at + Duration::from_micros(at.as_micros())
    }
}
