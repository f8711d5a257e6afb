//! The browser as the engine of all viewers knows it: what callbacks report, and whom the engine tells what to do.
//!
//! Two things need the window, connections and the media element; the engine talks to them in commands and hears events
//! that could be messages, so that it can move to a dedicated worker. All else it owns works in workers.

use std::rc::Rc;

use cardume_swarm::Instant;
use cardume_viewer::{Dialler, MediaCommand, MediaEvent, Shell};
use cardume_wire::{PeerId, link, signal};
use js_sys::{ArrayBuffer, JsString, Uint8Array};
use web_sys::{HtmlVideoElement, RtcDataChannel};

use crate::connection::ConnectionEvent;
use crate::connections::BrowserConnector;
use crate::link::{Link, LinkEvent};
use crate::listener::Notify;
use crate::media_source::Media;
use crate::options::Options;
use crate::socket::{Socket, SocketEvent};

/// One viewer of one channel.
pub(crate) type Engine = cardume_viewer::Engine<Browser>;

/// Something that callbacks reported; messages are not yet copied out of JavaScript.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Of the socket to the tracker.
    Socket(SocketEvent),
    /// Of a connection that is set up.
    Connection(PeerId, ConnectionEvent),
    /// Of an open link to a neighbour.
    Link(PeerId, LinkEvent),
    /// Of the media element.
    Media(MediaEvent),
    /// Time went by.
    Tick,
}

/// What the engine plays with.
pub(crate) struct Browser {
    media: Media,
    notify: Notify<Happening>,
}

/// Opens the page's WebSockets.
pub(crate) struct BrowserDialler {
    options: Options,
    notify: Notify<SocketEvent>,
}

/// Begins to watch in this element.
pub(crate) fn start(
    options: Options,
    video: HtmlVideoElement,
    notify: Notify<Happening>,
    now: Instant,
) -> Engine {
    let (to_socket, to_connections, to_media) = (notify.clone(), notify.clone(), notify.clone());
    let heard = Rc::new(move |event| to_socket(Happening::Socket(event)));
    let connected = move |(peer, event)| to_connections(Happening::Connection(peer, event));
    let media = Media::new(video, Rc::new(move |event| to_media(Happening::Media(event))));
    let wish = options.wish.clone();
    let dialler = BrowserDialler { options, notify: heard };
    let connector = BrowserConnector::new(Rc::new(connected));
    Engine::new(wish, Browser { media, notify }, (dialler, connector), now)
}

/// Brings a happening to the engine, its message copied into WebAssembly's memory: into `scratch`, which is used again.
pub(crate) fn handle(engine: &mut Engine, scratch: &mut Vec<u8>, happening: Happening, now: Instant) {
    use cardume_viewer::Happening as H;
    match happening {
        Happening::Socket(SocketEvent::Opened) => {
            engine.handle(H::Socket(cardume_viewer::SocketEvent::Opened), now);
        }
        Happening::Socket(SocketEvent::Text(text)) => {
            if let Some(text) = copy_text(&text) {
                engine.handle(H::Socket(cardume_viewer::SocketEvent::Text(&text)), now);
            }
        }
        Happening::Socket(SocketEvent::Binary(message)) => {
            let message = copy(&message, scratch);
            engine.handle(H::Socket(cardume_viewer::SocketEvent::Binary(message)), now);
        }
        Happening::Socket(SocketEvent::Closed) => {
            engine.handle(H::Socket(cardume_viewer::SocketEvent::Closed), now);
        }
        Happening::Connection(peer, event) => engine.handle(H::Connection(peer, event), now),
        Happening::Link(peer, LinkEvent::Message(message)) => {
            let message = copy(&message, scratch);
            engine.handle(H::Link(peer, cardume_viewer::LinkEvent::Message(message)), now);
        }
        Happening::Link(peer, LinkEvent::Drained) => {
            engine.handle(H::Link(peer, cardume_viewer::LinkEvent::Drained), now);
        }
        Happening::Link(peer, LinkEvent::Closed) => {
            engine.handle(H::Link(peer, cardume_viewer::LinkEvent::Closed), now);
        }
        Happening::Media(event) => engine.handle(H::Media(event), now),
        Happening::Tick => engine.handle(H::Tick, now),
    }
}

impl Shell for Browser {
    type Dialler = BrowserDialler;
    type Connector = BrowserConnector;
    type Link = Link;

    fn link(&mut self, peer: PeerId, channel: RtcDataChannel) -> Link {
        let notify = self.notify.clone();
        Link::new(channel, Rc::new(move |event| notify(Happening::Link(peer, event))))
    }

    fn play(&mut self, command: MediaCommand) {
        self.media.handle(command);
    }
}

impl Dialler for BrowserDialler {
    type Socket = Socket;

    fn dial(&mut self, address: &str) -> Option<Socket> {
        Socket::connect(&self.options.socket_url(address)?, self.notify.clone())
    }

    fn chance(&mut self) -> f64 {
        js_sys::Math::random()
    }
}

/// Of a message that is too long only so much that this shows.
fn copy<'s>(message: &ArrayBuffer, scratch: &'s mut Vec<u8>) -> &'s [u8] {
    let whole = Uint8Array::new(message);
    let limit = u32::try_from(link::MESSAGE_LEN_LIMIT + 1).unwrap_or(u32::MAX);
    let part = whole.subarray(0, whole.length().min(limit));
    scratch.resize(part.length() as usize, 0);
    part.copy_to(scratch);
    scratch
}

/// `None` for what is too long: UTF-8 is at least as long as UTF-16 units, so this bounds the copy at three times the limit.
fn copy_text(text: &JsString) -> Option<String> {
    (text.length() as usize <= signal::MESSAGE_LEN_LIMIT).then(|| String::from(text))
}
