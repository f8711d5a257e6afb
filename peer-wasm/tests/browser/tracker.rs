//! A tracker inside the page: it takes the place of `WebSocket`, introduces viewers and runs a server peer's session
//! that broadcasts the fixture in real time.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use cardume_media::Publisher;
use cardume_swarm::{Config, Event, Instant, Session};
use cardume_wire::signal::{Channel, ChannelKind, ErrorCode, FromTracker, FromViewer, SIGNAL_PATH, Welcome};
use cardume_wire::{PeerId, WallTime};
use js_sys::{ArrayBuffer, Date, Function, Reflect, Uint8Array};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};

use crate::fixture::{Broadcast, broadcast, key};
use crate::support::Recorder;

/// Between two looks at what is due.
const TICK_MS: i32 = 10;
/// What viewers of the fixture hold; it is only eight seconds long.
const TARGET_LATENCY_MS: u32 = 1000;

const FAKE_SOCKET: &str = "
    const real = globalThis.WebSocket;
    globalThis.WebSocket = class extends EventTarget {
        constructor(url) {
            super();
            Object.assign(this, { url, readyState: 0, bufferedAmount: 0, binaryType: 'blob' });
            setTimeout(() => handle(this, 'connect', url));
        }
        send(data) {
            const copy = typeof data === 'string' ? data : data.slice().buffer;
            queueMicrotask(() => handle(this, 'message', copy));
        }
        close() {
            if (this.readyState === 3) return;
            this.readyState = 3;
            queueMicrotask(() => handle(this, 'close', null));
        }
        accept() {
            if (this.readyState !== 0) return;
            this.readyState = 1;
            this.dispatchEvent(new Event('open'));
        }
        deliver(data) {
            if (this.readyState === 1) this.dispatchEvent(new MessageEvent('message', { data }));
        }
        lose() {
            if (this.readyState === 3) return;
            this.readyState = 3;
            this.dispatchEvent(new Event('close'));
        }
    };
    const timer = setInterval(() => handle(null, 'tick', null), tick);
    return () => { clearInterval(timer); globalThis.WebSocket = real; };
";

type Handler = Closure<dyn FnMut(JsValue, String, JsValue)>;

/// The tracker; dropping it gives the page its `WebSocket` back.
#[derive(Clone)]
pub(crate) struct Tracker {
    inner: Rc<RefCell<Inner>>,
    _glue: Rc<Glue>,
}

struct Glue {
    remove: Function,
    _handler: Handler,
}

impl Drop for Glue {
    fn drop(&mut self) {
        self.remove.call0(&JsValue::UNDEFINED).unwrap();
    }
}

/// What a peer that lives in the test, without sockets, hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Tracker(FromTracker),
    Server(Vec<u8>),
}

struct Inner {
    started_ms: f64,
    is_away: bool,
    server: Session,
    broadcast: Broadcast,
    on_air_at: Option<Instant>,
    next_part: usize,
    sockets: BTreeMap<PeerId, JsValue>,
    /// Those whose socket carries the link to the server peer.
    linked: BTreeSet<PeerId>,
    doubles: BTreeMap<PeerId, Recorder<Heard>>,
    next_id: u64,
    refuses_links: bool,
    /// Who joined, and whether by a token.
    joins: Vec<(PeerId, bool)>,
    blamed: Vec<PeerId>,
    n_offers: usize,
}

impl Tracker {
    /// A tracker whose channel is not on air yet.
    pub(crate) fn new() -> Self {
        let inner = Rc::new(RefCell::new(Inner {
            started_ms: Date::now(),
            is_away: false,
            server: Session::new(Config::server(None), key().public(), 1, Instant::from_micros(0)),
            broadcast: broadcast(),
            on_air_at: None,
            next_part: 0,
            sockets: BTreeMap::new(),
            linked: BTreeSet::new(),
            doubles: BTreeMap::new(),
            next_id: 10,
            refuses_links: false,
            joins: Vec::new(),
            blamed: Vec::new(),
            n_offers: 0,
        }));
        let weak = Rc::downgrade(&inner);
        let handler: Handler = Closure::new(move |socket: JsValue, kind: String, data: JsValue| {
            if let Some(inner) = weak.upgrade() {
                inner.borrow_mut().handle(&socket, &kind, &data);
            }
        });
        let install = Function::new_with_args("handle, tick", FAKE_SOCKET);
        let remove = install.call2(&JsValue::UNDEFINED, handler.as_ref(), &TICK_MS.into()).unwrap();
        Self { inner, _glue: Rc::new(Glue { remove: remove.unchecked_into(), _handler: handler }) }
    }

    /// Begins to broadcast the fixture, in real time.
    pub(crate) fn go_on_air(&self) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now();
        let catalog = inner.broadcast.catalog(1);
        inner.server.start_broadcast(Publisher::new(key(), catalog), now);
        inner.on_air_at = Some(now);
        let channel = inner.channel();
        let viewers: Vec<PeerId> = inner.sockets.keys().copied().collect();
        for viewer in viewers {
            inner.tell(viewer, FromTracker::Channel { channel: channel.clone() });
        }
    }

    /// All sockets break, and new ones do until [`Tracker::come_back`].
    pub(crate) fn go_away(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.is_away = true;
        let now = inner.now();
        for peer in core::mem::take(&mut inner.linked) {
            inner.server.link_closed(peer, now);
        }
        let sockets = core::mem::take(&mut inner.sockets);
        sockets.values().for_each(|socket| call(socket, "lose", &JsValue::UNDEFINED));
    }

    pub(crate) fn come_back(&self) {
        self.inner.borrow_mut().is_away = false;
    }

    /// Viewers that join from now on get no link to the server peer, or do again.
    pub(crate) fn refuse_links(&self, refuse: bool) {
        self.inner.borrow_mut().refuses_links = refuse;
    }

    /// Sends a text to every viewer, whatever it says.
    pub(crate) fn say_to_all(&self, text: &str) {
        let sockets: Vec<JsValue> = self.inner.borrow().sockets.values().cloned().collect();
        sockets.iter().for_each(|socket| call(socket, "deliver", &text.into()));
    }

    /// Sends bytes over every server link, whatever they are.
    pub(crate) fn send_to_all(&self, bytes: &[u8]) {
        let inner = self.inner.borrow();
        let linked = inner.sockets.iter().filter(|(peer, _)| inner.linked.contains(peer));
        let sockets: Vec<JsValue> = linked.map(|(_, socket)| socket.clone()).collect();
        drop(inner);
        sockets.iter().for_each(|socket| call(socket, "deliver", &array_buffer(bytes)));
    }

    /// Adds a peer that lives in the test; later viewers are told of it.
    pub(crate) fn add_double(&self) -> (PeerId, Recorder<Heard>) {
        let (heard, mut inner) = (Recorder::new(), self.inner.borrow_mut());
        let id = inner.new_id();
        inner.doubles.insert(id, heard.clone());
        let now = inner.now();
        inner.server.link_opened(id, now);
        (id, heard)
    }

    pub(crate) fn hear_double(&self, from: PeerId, message: FromViewer) {
        self.inner.borrow_mut().handle_viewer(from, message);
    }

    pub(crate) fn hear_double_link(&self, from: PeerId, bytes: &[u8]) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now();
        inner.server.receive(from, bytes, now);
    }

    pub(crate) fn now(&self) -> Instant {
        self.inner.borrow().now()
    }

    pub(crate) fn wall(&self) -> WallTime {
        let inner = self.inner.borrow();
        inner.wall_at(inner.now())
    }

    pub(crate) fn joins(&self) -> Vec<(PeerId, bool)> {
        self.inner.borrow().joins.clone()
    }

    pub(crate) fn blamed(&self) -> Vec<PeerId> {
        self.inner.borrow().blamed.clone()
    }

    pub(crate) fn n_offers(&self) -> usize {
        self.inner.borrow().n_offers
    }

    pub(crate) fn n_links(&self) -> usize {
        self.inner.borrow().linked.len()
    }

    pub(crate) fn is_genuine(&self, bytes: &[u8]) -> bool {
        self.inner.borrow().broadcast.is_genuine(bytes)
    }
}

impl Inner {
    fn handle(&mut self, socket: &JsValue, kind: &str, data: &JsValue) {
        match kind {
            "connect" => self.handle_connect(socket),
            "message" => self.handle_message(socket, data),
            "close" => self.handle_close(socket),
            _ => self.handle_tick(),
        }
    }

    fn handle_connect(&mut self, socket: &JsValue) {
        if self.is_away {
            return call(socket, "lose", &JsValue::UNDEFINED);
        }
        call(socket, "accept", &JsValue::UNDEFINED);
        let url = Reflect::get(socket, &"url".into()).unwrap().as_string().unwrap();
        let (_, query) = url.split_once(&format!("{SIGNAL_PATH}?")).unwrap();
        let asked = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        if asked("channel").as_deref() == Some("test") {
            self.join(socket, asked("resume"));
        } else {
            let message = "there is no such channel".to_owned();
            say(socket, &FromTracker::Error { code: ErrorCode::UnknownChannel, message });
        }
    }

    fn handle_message(&mut self, socket: &JsValue, data: &JsValue) {
        let sender = self.sockets.iter().find(|(_, known)| *known == socket).map(|(peer, _)| *peer);
        let Some(peer) = sender else { return };
        if let Some(buffer) = data.dyn_ref::<ArrayBuffer>() {
            if self.linked.contains(&peer) {
                let now = self.now();
                self.server.receive(peer, &Uint8Array::new(buffer).to_vec(), now);
                self.perform();
            }
            return;
        }
        self.handle_viewer(peer, serde_json::from_str(&data.as_string().unwrap()).unwrap());
    }

    fn join(&mut self, socket: &JsValue, resume: Option<String>) {
        let peer_id = resume.as_deref().map_or_else(|| self.new_id(), |id| id.parse().unwrap());
        self.joins.push((peer_id, resume.is_some()));
        let is_linked = !self.refuses_links;
        let neighbours = self.others(peer_id);
        self.sockets.insert(peer_id, socket.clone());
        let welcome = Welcome {
            peer_id,
            resume: peer_id.to_string(),
            ice_servers: Vec::new(),
            channel: self.channel(),
            time: self.wall_at(self.now()),
            is_linked,
            neighbours,
        };
        say(socket, &FromTracker::Welcome(Box::new(welcome)));
        if is_linked {
            self.linked.insert(peer_id);
            let now = self.now();
            self.server.link_opened(peer_id, now);
            self.perform();
        }
    }

    fn handle_viewer(&mut self, from: PeerId, message: FromViewer) {
        match message {
            FromViewer::Offer { to, sdp } => {
                self.n_offers += 1;
                self.tell(to, FromTracker::Offer { from, sdp });
            }
            FromViewer::Answer { to, sdp } => self.tell(to, FromTracker::Answer { from, sdp }),
            FromViewer::Candidate { to, candidate } => {
                self.tell(to, FromTracker::Candidate { from, candidate });
            }
            FromViewer::Neighbours { without } => {
                let neighbours =
                    self.others(from).into_iter().filter(|peer| !without.contains(peer)).collect();
                self.tell(from, FromTracker::Neighbours { neighbours });
            }
            FromViewer::Clock { sent_at } => {
                let time = self.wall_at(self.now());
                self.tell(from, FromTracker::Clock { sent_at, time });
            }
            FromViewer::Blame { peer } => self.blamed.push(peer),
            FromViewer::Report(_) | FromViewer::Leave => {}
        }
    }

    fn handle_close(&mut self, socket: &JsValue) {
        let now = self.now();
        let closed: Vec<PeerId> =
            self.sockets.iter().filter(|(_, known)| *known == socket).map(|(peer, _)| *peer).collect();
        for peer in closed {
            self.sockets.remove(&peer);
            if self.linked.remove(&peer) {
                self.server.link_closed(peer, now);
            }
        }
    }

    fn handle_tick(&mut self) {
        let now = self.now();
        if let Some(on_air_at) = self.on_air_at {
            let passed = u64::try_from(now.since(on_air_at).as_micros()).unwrap();
            while let Some(part) = self.broadcast.parts.get(self.next_part)
                && self.broadcast.end_us(part) <= passed
            {
                let start = Duration::from_micros(self.broadcast.start_us(part));
                let mut part = part.clone();
                part.captured_at = self.wall_at(on_air_at + start);
                self.server.publish(&part, now).unwrap();
                self.next_part += 1;
            }
        }
        self.server.handle_timeout(now);
        self.perform();
    }

    fn perform(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Transmit { to, bytes } => {
                    if let Some(socket) = self.sockets.get(&to) {
                        call(socket, "deliver", &array_buffer(&bytes));
                    } else if let Some(heard) = self.doubles.get(&to) {
                        heard.push(Heard::Server(bytes.to_vec()));
                    }
                }
                Event::Disconnect { peer } => {
                    self.linked.remove(&peer);
                    if let Some(socket) = self.sockets.remove(&peer) {
                        call(&socket, "lose", &JsValue::UNDEFINED);
                    }
                }
                _ => {}
            }
        }
    }

    fn tell(&self, to: PeerId, message: FromTracker) {
        if let Some(socket) = self.sockets.get(&to) {
            say(socket, &message);
        } else if let Some(heard) = self.doubles.get(&to) {
            heard.push(Heard::Tracker(message));
        }
    }

    fn others(&self, than: PeerId) -> Vec<PeerId> {
        self.sockets.keys().chain(self.doubles.keys()).copied().filter(|peer| *peer != than).collect()
    }

    fn channel(&self) -> Channel {
        Channel {
            id: "test".parse().unwrap(),
            title: "Test card".into(),
            kind: ChannelKind::Live,
            duration_ms: None,
            is_live: self.on_air_at.is_some(),
            n_viewers: u32::try_from(self.sockets.len()).unwrap(),
            target_latency_ms: TARGET_LATENCY_MS,
            public_key: key().public().to_string(),
        }
    }

    fn new_id(&mut self) -> PeerId {
        self.next_id += 1;
        PeerId::new(self.next_id)
    }

    fn now(&self) -> Instant {
        Instant::from_micros(((Date::now() - self.started_ms) * 1000.0) as u64)
    }

    fn wall_at(&self, at: Instant) -> WallTime {
        WallTime((self.started_ms * 1000.0) as u64 + at.as_micros())
    }
}

fn say(socket: &JsValue, message: &FromTracker) {
    call(socket, "deliver", &serde_json::to_string(message).unwrap().into());
}

fn array_buffer(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).buffer().into()
}

fn call(socket: &JsValue, method: &str, argument: &JsValue) {
    let method: Function = Reflect::get(socket, &method.into()).unwrap().unchecked_into();
    method.call1(socket, argument).unwrap();
}
