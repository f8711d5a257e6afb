//! Setting up and keeping one `RTCPeerConnection` with one data channel (JSEP, RFC 9429; trickle ICE, RFC 8838).

use core::time::Duration;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use cardume_swarm::Route;
use cardume_wire::PeerId;
use cardume_wire::signal::Candidate;
use js_sys::Promise;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    Event, RtcConfiguration, RtcDataChannel, RtcDataChannelInit, RtcIceCandidateInit, RtcPeerConnection,
    RtcPeerConnectionIceEvent, RtcPeerConnectionState, RtcSdpType, RtcSessionDescriptionInit,
};

use crate::listener::{Listener, Notify};
use crate::route::route;
use crate::timer::Timer;

/// The stream number of the one channel: agreed beforehand, so no side waits for the other to announce it.
const CHANNEL_ID: u16 = 0;
/// Candidates kept until the description they belong to is here: a host with many addresses has some twenty.
const EARLY_CANDIDATE_LIMIT: usize = 32;
/// Between two looks at how a connection runs: browsers go over to a better pair of candidates for some seconds, and learn
/// only then what the other end's address is.
const ROUTE_INTERVAL: Duration = Duration::from_secs(4);

/// What happened to a [`Connection`].
pub type ConnectionEvent = cardume_viewer::ConnectionEvent<RtcDataChannel>;

/// One neighbour's connection. Dropping it closes it.
pub struct Connection {
    inner: RtcPeerConnection,
    /// Candidates that came before the answer to our offer; `None` once the neighbour's description is here.
    early: Option<Vec<Candidate>>,
    reporter: Rc<Reporter>,
    listeners: Vec<Listener>,
}

/// Says what happened as long as the connection is wanted: promises may settle after its end.
struct Reporter {
    peer: PeerId,
    notify: Notify<(PeerId, ConnectionEvent)>,
    /// Until it is open; then it is the engine's.
    channel: RefCell<Option<RtcDataChannel>>,
    is_muted: Cell<bool>,
    /// As was told last.
    route: Cell<Option<Route>>,
    route_timer: Timer,
}

impl Connection {
    /// Begins to connect by an offer.
    pub(crate) fn offer(
        peer: PeerId,
        configuration: &RtcConfiguration,
        notify: Notify<(PeerId, ConnectionEvent)>,
    ) -> Option<Self> {
        let mut connection = Self::new(peer, configuration, notify)?;
        connection.early = Some(Vec::new());
        connection.spawn(make_offer(connection.inner.clone()), ConnectionEvent::Offer);
        Some(connection)
    }

    /// Answers an offer.
    pub(crate) fn answer(
        peer: PeerId,
        sdp: &str,
        configuration: &RtcConfiguration,
        notify: Notify<(PeerId, ConnectionEvent)>,
    ) -> Option<Self> {
        let connection = Self::new(peer, configuration, notify)?;
        // Called before any candidate is added: the browser keeps the order of these two.
        let applied = connection.inner.set_remote_description(&description(RtcSdpType::Offer, sdp));
        connection.spawn(make_answer(connection.inner.clone(), applied), ConnectionEvent::Answer);
        Some(connection)
    }

    fn new(
        peer: PeerId,
        configuration: &RtcConfiguration,
        notify: Notify<(PeerId, ConnectionEvent)>,
    ) -> Option<Self> {
        let inner = RtcPeerConnection::new_with_configuration(configuration).ok()?;
        let init = RtcDataChannelInit::new();
        init.set_negotiated(true);
        init.set_id(CHANNEL_ID);
        let channel = inner.create_data_channel_with_data_channel_dict("cardume", &init);
        let watched = inner.clone();
        let reporter = Rc::new_cyclic(|reporter: &Weak<Reporter>| {
            let reporter = reporter.clone();
            Reporter {
                peer,
                notify,
                channel: RefCell::new(Some(channel.clone())),
                is_muted: Cell::new(false),
                route: Cell::new(None),
                route_timer: Timer::new(move || {
                    spawn_local(look_at_route(watched.clone(), reporter.clone()));
                }),
            }
        });
        let listeners = listen(&inner, &channel, &reporter);
        Some(Self { inner, early: None, reporter, listeners })
    }

    fn spawn(
        &self,
        describe: impl Future<Output = Result<String, JsValue>> + 'static,
        event: fn(String) -> ConnectionEvent,
    ) {
        let reporter = Rc::downgrade(&self.reporter);
        spawn_local(async move {
            report(&reporter, describe.await.map_or(ConnectionEvent::Failed, event));
        });
    }
}

impl cardume_viewer::Connection for Connection {
    fn handle_answer(&mut self, sdp: &str) {
        let Some(early) = self.early.take() else { return };
        let applied = self.inner.set_remote_description(&description(RtcSdpType::Answer, sdp));
        let reporter = Rc::downgrade(&self.reporter);
        spawn_local(async move {
            if JsFuture::from(applied).await.is_err() {
                report(&reporter, ConnectionEvent::Failed);
            }
        });
        for candidate in early {
            self.handle_candidate(candidate);
        }
    }

    fn handle_candidate(&mut self, candidate: Candidate) {
        if let Some(early) = &mut self.early {
            if early.len() < EARLY_CANDIDATE_LIMIT {
                early.push(candidate);
            }
            return;
        }
        let init = RtcIceCandidateInit::new(&candidate.candidate);
        init.set_sdp_mid(candidate.sdp_mid.as_deref());
        init.set_sdp_m_line_index(candidate.sdp_m_line_index);
        let added = self.inner.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(&init));
        spawn_local(async move {
            let _ = JsFuture::from(added).await;
        });
    }

    fn is_open(&self) -> bool {
        self.reporter.channel.borrow().is_none()
    }

    fn mute(&mut self) {
        self.listeners.clear();
        self.reporter.is_muted.set(true);
    }

    fn awaits_answer(&self) -> bool {
        self.early.is_some()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.inner.close();
    }
}

fn listen(inner: &RtcPeerConnection, channel: &RtcDataChannel, reporter: &Rc<Reporter>) -> Vec<Listener> {
    let (candidate, state, opened) =
        (Rc::downgrade(reporter), Rc::downgrade(reporter), Rc::downgrade(reporter));
    let (watched, routed) = (inner.clone(), inner.clone());
    vec![
        Listener::new(inner, "icecandidate", move |event: RtcPeerConnectionIceEvent| {
            if let Some(found) = event.candidate() {
                let found = Candidate {
                    candidate: found.candidate(),
                    sdp_mid: found.sdp_mid(),
                    sdp_m_line_index: found.sdp_m_line_index(),
                };
                report(&candidate, ConnectionEvent::Candidate(found));
            }
        }),
        Listener::new(inner, "connectionstatechange", move |_: Event| {
            if watched.connection_state() == RtcPeerConnectionState::Failed {
                report(&state, ConnectionEvent::Failed);
            }
        }),
        Listener::new(channel, "open", move |_: Event| {
            let channel = opened.upgrade().and_then(|reporter| reporter.channel.take());
            if let Some(channel) = channel {
                report(&opened, ConnectionEvent::Opened(channel));
                spawn_local(look_at_route(routed.clone(), opened.clone()));
            }
        }),
    ]
}

fn report(reporter: &Weak<Reporter>, event: ConnectionEvent) {
    if let Some(reporter) = reporter.upgrade().filter(|reporter| !reporter.is_muted.get()) {
        (reporter.notify)((reporter.peer, event));
    }
}

/// Tells how the connection runs, if that is news, and again when it changes.
async fn look_at_route(connection: RtcPeerConnection, reporter: Weak<Reporter>) {
    let route = route(&connection).await;
    let Some(told) = reporter.upgrade().map(|reporter| reporter.route.replace(Some(route))) else { return };
    if told != Some(route) {
        report(&reporter, ConnectionEvent::Route(route));
    }
    if let Some(reporter) = reporter.upgrade() {
        reporter.route_timer.set(ROUTE_INTERVAL);
    }
}

async fn make_offer(connection: RtcPeerConnection) -> Result<String, JsValue> {
    let offer = JsFuture::from(connection.create_offer()).await?;
    set_local(&connection, offer).await
}

async fn make_answer(connection: RtcPeerConnection, applied: Promise) -> Result<String, JsValue> {
    JsFuture::from(applied).await?;
    let answer = JsFuture::from(connection.create_answer()).await?;
    set_local(&connection, answer).await
}

async fn set_local(connection: &RtcPeerConnection, made: JsValue) -> Result<String, JsValue> {
    JsFuture::from(connection.set_local_description(made.unchecked_ref())).await?;
    connection.local_description().map(|local| local.sdp()).ok_or(JsValue::UNDEFINED)
}

fn description(kind: RtcSdpType, sdp: &str) -> RtcSessionDescriptionInit {
    let init = RtcSessionDescriptionInit::new(kind);
    init.set_sdp(sdp);
    init
}
