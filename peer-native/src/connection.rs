//! Setting up and keeping one peer connection with one data channel (JSEP, RFC 9429; trickle ICE, RFC 8838): a task of its
//! own, since all that `webrtc` does is asynchronous.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use cardume_swarm::Route;
use cardume_viewer::ConnectionEvent;
use cardume_wire::PeerId;
use cardume_wire::signal::{Candidate, MESSAGE_LEN_LIMIT};
use rtc::ice::mdns::MulticastDnsMode;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceCandidateType, RTCIceServer, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState, RTCSessionDescription, SettingEngine, SettingEngineBuilder,
};

use crate::link::{Channel, Outbox, link};
use crate::report::{News, Report, Reporter, Wanted};
use crate::runtime::CarefulRuntime;

/// The stream number of the one channel: agreed beforehand, so no side waits for the other to announce it.
const CHANNEL_ID: u16 = 0;
/// Below this many waiting bytes the channel says so: as in browsers.
const BACKLOG_LOW: u32 = 64 * 1024;
/// How often bytes that wait are looked at: as often as the engine asks.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(100);
/// Candidates taken of one neighbour: a host with many addresses has some twenty.
const CANDIDATE_LIMIT: usize = 64;
/// Characters of a candidate at most: the longest of RFC 8839, with an mDNS name and extensions, has about 250.
const CANDIDATE_LEN_LIMIT: usize = 1024;
/// Commands, and news of the connection, that wait for its task.
const QUEUE_LIMIT: usize = CANDIDATE_LIMIT + 2;
/// Between ICE checks of all pairs, until one works: RFC 8445, section 14.2, has 50 ms. By default it is 200 ms, and each
/// step of the way (check, nomination, DTLS) waits for the next one: 600 ms instead of some 250 to connect (measured).
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Checks of a pair until it is given up: 10 s, what the neighbour's candidates may take to come and its NAT to open.
const CHECK_LIMIT: u16 = 200;
/// How long a pair that is no pair of host candidates waits for a better one. Browsers hide their host candidates behind
/// mDNS names that are not looked up here; they are found as peer-reflexive ones, which by default wait a second.
const ACCEPTANCE_WAIT: Duration = Duration::from_millis(100);
/// The same for a relayed pair. By default 2 s. Wild guess: a NAT of both sides has opened by then.
const RELAY_WAIT: Duration = Duration::from_secs(1);

/// What all connections of a viewer have in common.
#[derive(Clone)]
pub(crate) struct Surroundings {
    ice_servers: Vec<RTCIceServer>,
    /// As `webrtc` binds them; an unspecified one is each of the machine's.
    bind: Vec<String>,
    takes_loopback: bool,
}

impl Surroundings {
    /// These addresses of this machine, or all but loopback.
    pub(crate) fn new(addresses: &[IpAddr]) -> Self {
        let bind = if addresses.is_empty() {
            vec!["0.0.0.0:0".to_owned(), "[::]:0".to_owned()]
        } else {
            addresses.iter().map(|&ip| std::net::SocketAddr::new(ip, 0).to_string()).collect()
        };
        Self { ice_servers: Vec::new(), bind, takes_loopback: addresses.iter().any(IpAddr::is_loopback) }
    }

    /// The same, with these to ask.
    pub(crate) fn with_ice_servers(&self, ice_servers: Vec<RTCIceServer>) -> Self {
        Self { ice_servers, ..self.clone() }
    }

    fn settings(&self) -> SettingEngine {
        SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(self.takes_loopback)
            .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECK_LIMIT))
            .with_prflx_acceptance_min_wait(Some(ACCEPTANCE_WAIT))
            .with_srflx_acceptance_min_wait(Some(ACCEPTANCE_WAIT))
            .with_relay_acceptance_min_wait(Some(RELAY_WAIT))
            .build()
    }
}

/// How a connection begins.
pub(crate) enum Start {
    /// With our offer.
    Offer,
    /// With our answer to this offer.
    Answer(String),
}

/// The viewer's end of a connection. When it is dropped, the connection closes after what its channel was given is sent.
pub(crate) struct NativeConnection {
    commands: mpsc::Sender<Command>,
    awaits_answer: bool,
    is_open: Arc<AtomicBool>,
    wanted: Wanted,
}

enum Command {
    Answer(String),
    Candidate(Candidate),
}

impl NativeConnection {
    /// Begins; what comes of it is reported.
    pub(crate) fn begin(
        peer: PeerId,
        start: Start,
        (surroundings, reports): (Arc<Surroundings>, mpsc::Sender<Report>),
        tasks: &TaskTracker,
    ) -> Self {
        let (commands, heard) = mpsc::channel(QUEUE_LIMIT);
        let (wanted, is_open) = (Wanted::new(), Arc::new(AtomicBool::new(false)));
        let awaits_answer = matches!(start, Start::Offer);
        let task = Task {
            peer,
            commands: heard,
            reporter: Reporter::new(wanted.clone(), reports.clone()),
            reports,
            is_open: is_open.clone(),
            early: awaits_answer.then(Vec::new),
            n_candidates: 0,
        };
        tasks.spawn(task.run(start, surroundings));
        Self { commands, awaits_answer, is_open, wanted }
    }
}

impl cardume_viewer::Connection for NativeConnection {
    fn handle_answer(&mut self, sdp: &str) {
        if core::mem::take(&mut self.awaits_answer) {
            // One that finds no room was behind more candidates than anybody has: the attempt runs out.
            let _ = self.commands.try_send(Command::Answer(sdp.to_owned()));
        }
    }

    fn handle_candidate(&mut self, candidate: Candidate) {
        if !candidate.candidate.is_empty() && candidate.candidate.len() <= CANDIDATE_LEN_LIMIT {
            let _ = self.commands.try_send(Command::Candidate(candidate));
        }
    }

    fn awaits_answer(&self) -> bool {
        self.awaits_answer
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    fn mute(&mut self) {
        self.wanted.end();
    }
}

impl Drop for NativeConnection {
    fn drop(&mut self) {
        self.wanted.end();
    }
}

/// Tells the task what the connection reports; never waits, since it is called by what drives the connection.
struct Handler(mpsc::Sender<Noticed>);

enum Noticed {
    Candidate(Candidate),
    Failed,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(found) = event.candidate.to_json() else { return };
        if !found.candidate.is_empty() {
            let sdp_m_line_index = found.sdp_mline_index.or(Some(0));
            let candidate =
                Candidate { candidate: found.candidate, sdp_mid: found.sdp_mid, sdp_m_line_index };
            let _ = self.0.try_send(Noticed::Candidate(candidate));
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed) {
            let _ = self.0.try_send(Noticed::Failed);
        }
    }
}

/// One connection's task.
struct Task {
    peer: PeerId,
    commands: mpsc::Receiver<Command>,
    reporter: Reporter,
    reports: mpsc::Sender<Report>,
    is_open: Arc<AtomicBool>,
    /// Candidates that came before the answer to our offer; `None` once the neighbour's description is here.
    early: Option<Vec<Candidate>>,
    n_candidates: usize,
}

/// An open channel, as the task has it.
struct Open {
    outbox: Outbox,
    reporter: Reporter,
}

impl Task {
    async fn run(mut self, start: Start, surroundings: Arc<Surroundings>) {
        let (notice, mut noticed) = mpsc::channel(QUEUE_LIMIT);
        let runtime = CarefulRuntime::new(self.is_open.clone());
        let Ok(connection) = build(&surroundings, Handler(notice), runtime).await else {
            return self.fail().await;
        };
        if self.converse(&connection, start, &mut noticed).await.is_err() {
            self.fail().await;
        }
        // Nothing is left to do about a connection that cannot even be closed.
        let _ = connection.close().await;
    }

    async fn fail(&self) {
        self.reporter.tell(News::Connection(self.peer, ConnectionEvent::Failed)).await;
    }

    async fn converse(
        &mut self,
        connection: &impl PeerConnection,
        start: Start,
        noticed: &mut mpsc::Receiver<Noticed>,
    ) -> Result<(), Error> {
        let init = RTCDataChannelInit { negotiated: Some(CHANNEL_ID), ..RTCDataChannelInit::default() };
        let channel = connection.create_data_channel("cardume", Some(init)).await?;
        channel.set_buffered_amount_low_threshold(BACKLOG_LOW).await?;
        self.describe(connection, start).await?;
        let mut open: Option<Open> = None;
        // Whether the viewer has dropped its end: once all is acknowledged, the channel closes. A reset overtakes what waits.
        let mut closes = false;
        loop {
            let is_buffered = open.as_ref().is_some_and(|open| open.outbox.is_buffered());
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(connection, command).await?,
                    None => return send_rest(&*channel, open).await,
                },
                Some(noticed) = noticed.recv() => match noticed {
                    Noticed::Candidate(candidate) => {
                        self.reporter.tell(News::Connection(self.peer, ConnectionEvent::Candidate(candidate))).await;
                    }
                    Noticed::Failed => self.fail().await,
                },
                event = channel.poll() => match event {
                    Some(DataChannelEvent::OnOpen) if open.is_none() => {
                        open = Some(self.open().await);
                        let route = ConnectionEvent::Route(route(connection).await);
                        self.reporter.tell(News::Connection(self.peer, route)).await;
                    }
                    Some(event) => self.hear(event, &*channel, open.as_ref()).await,
                    None => return Err(Error::ErrDataChannelClosed),
                },
                message = next(&mut open) => if let Some(message) = message {
                    send(&*channel, open.as_ref(), &message).await?;
                } else {
                    (open, closes) = (None, true);
                },
                () = tokio::time::sleep(BACKLOG_INTERVAL), if closes => {
                    if channel.outstanding_bytes().await? == 0 {
                        channel.close().await?;
                        closes = false;
                    }
                }
                () = tokio::time::sleep(BACKLOG_INTERVAL), if is_buffered => {
                    look_at_backlog(&*channel, open.as_ref()).await;
                }
            }
        }
    }

    /// Makes our description, and takes the neighbour's if it offered.
    async fn describe(&mut self, connection: &impl PeerConnection, start: Start) -> Result<(), Error> {
        let event = match start {
            Start::Offer => {
                let offer = connection.create_offer(None).await?;
                ConnectionEvent::Offer(set_local(connection, offer).await?)
            }
            Start::Answer(sdp) => {
                let offer = RTCSessionDescription::offer(checked(sdp)?)?;
                connection.set_remote_description(offer).await?;
                let answer = connection.create_answer(None).await?;
                ConnectionEvent::Answer(set_local(connection, answer).await?)
            }
        };
        self.reporter.tell(News::Connection(self.peer, event)).await;
        Ok(())
    }

    async fn obey(&mut self, connection: &impl PeerConnection, command: Command) -> Result<(), Error> {
        match command {
            Command::Answer(sdp) => {
                let answer = RTCSessionDescription::answer(checked(sdp)?)?;
                connection.set_remote_description(answer).await?;
                for candidate in self.early.take().unwrap_or_default() {
                    add(connection, candidate).await;
                }
            }
            Command::Candidate(candidate) if self.n_candidates < CANDIDATE_LIMIT => {
                self.n_candidates += 1;
                match &mut self.early {
                    Some(early) => early.push(candidate),
                    None => add(connection, candidate).await,
                }
            }
            Command::Candidate(_) => {}
        }
        Ok(())
    }

    async fn open(&self) -> Open {
        let wanted = Wanted::new();
        let (channel, outbox): (Channel, Outbox) = link(wanted.clone());
        self.is_open.store(true, Ordering::Relaxed);
        self.reporter.tell(News::Connection(self.peer, ConnectionEvent::Opened(channel))).await;
        Open { outbox, reporter: Reporter::new(wanted, self.reports.clone()) }
    }

    async fn hear(&self, event: DataChannelEvent, channel: &dyn DataChannel, open: Option<&Open>) {
        let Some(open) = open else { return };
        match event {
            DataChannelEvent::OnMessage(message) if !message.is_string => {
                open.reporter.tell(News::Message(self.peer, message.data)).await;
            }
            DataChannelEvent::OnBufferedAmountLow => {
                look_at_backlog(channel, Some(open)).await;
                open.reporter.tell(News::Drained(self.peer)).await;
            }
            DataChannelEvent::OnClose => {
                open.reporter.tell(News::LinkClosed(self.peer)).await;
            }
            _ => {}
        }
    }
}

async fn build(
    surroundings: &Surroundings,
    handler: Handler,
    runtime: CarefulRuntime,
) -> Result<impl PeerConnection + use<>, Error> {
    let configuration =
        RTCConfigurationBuilder::new().with_ice_servers(surroundings.ice_servers.clone()).build();
    let built = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_setting_engine(surroundings.settings())
        .with_handler(Arc::new(handler))
        .with_runtime(Arc::new(runtime))
        .with_udp_addrs(surroundings.bind.clone())
        .build();
    // 20 KB, which are needed only until it is built.
    Box::pin(built).await
}

/// A stranger's description, before anything reads it. That of a data channel is under 2 KiB.
fn checked(sdp: String) -> Result<String, Error> {
    if sdp.len() <= MESSAGE_LEN_LIMIT {
        Ok(sdp)
    } else {
        Err(Error::Other("the description is too long".to_owned()))
    }
}

async fn set_local(connection: &impl PeerConnection, made: RTCSessionDescription) -> Result<String, Error> {
    connection.set_local_description(made).await?;
    let local = connection.local_description().await;
    local.map(|local| local.sdp).ok_or_else(|| Error::Other("there is no description".to_owned()))
}

/// How the connection runs, once its channel is open: `webrtc` keeps to the pair of candidates that it has chosen by then.
async fn route(connection: &impl PeerConnection) -> Route {
    let Some(sctp) = connection.sctp().await else { return Route::Direct };
    let pair = sctp.transport().ice_transport().get_selected_candidate_pair().await;
    let Some(pair) = pair.ok().flatten() else { return Route::Direct };
    let is_relayed = [pair.local(), pair.remote()].iter().any(|end| end.typ == RTCIceCandidateType::Relay);
    if is_relayed { Route::Relayed } else { Route::Direct }
}

/// One that makes no sense is skipped: others may do.
async fn add(connection: &impl PeerConnection, candidate: Candidate) {
    let init = RTCIceCandidateInit {
        candidate: candidate.candidate,
        sdp_mid: candidate.sdp_mid,
        sdp_mline_index: candidate.sdp_m_line_index,
        ..RTCIceCandidateInit::default()
    };
    let _ = connection.add_ice_candidate(init).await;
}

/// The next message to send; never without an open channel.
async fn next(open: &mut Option<Open>) -> Option<bytes::Bytes> {
    match open {
        Some(open) => open.outbox.next().await,
        None => std::future::pending().await,
    }
}

async fn send(channel: &dyn DataChannel, open: Option<&Open>, message: &[u8]) -> Result<(), Error> {
    channel.send(BytesMut::from(message)).await?;
    if let Some(open) = open {
        open.outbox.sent(message.len(), channel.outstanding_bytes().await.unwrap_or_default());
    }
    Ok(())
}

/// What was given to a connection that is dropped still goes out.
async fn send_rest(channel: &dyn DataChannel, open: Option<Open>) -> Result<(), Error> {
    let Some(Open { mut outbox, .. }) = open else { return Ok(()) };
    while let Some(message) = outbox.next().await {
        channel.send(BytesMut::from(&message[..])).await?;
    }
    Ok(())
}

async fn look_at_backlog(channel: &dyn DataChannel, open: Option<&Open>) {
    if let Some(open) = open {
        open.outbox.set_buffered(channel.outstanding_bytes().await.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
