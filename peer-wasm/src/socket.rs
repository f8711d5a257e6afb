//! A WebSocket that closes when it is dropped and never throws.

use bytes::Bytes;
use js_sys::{ArrayBuffer, JsString};
use wasm_bindgen::JsCast;
use web_sys::{BinaryType, Event, MessageEvent, WebSocket};

use crate::listener::{Listener, Notify};

/// Bytes that may wait in a socket before it counts as dead: some ten seconds of a 6 Mbit/s uplink.
const BACKLOG_LIMIT: u32 = 8 * 1024 * 1024;

/// What happened to a [`Socket`].
#[derive(Debug)]
pub(crate) enum SocketEvent {
    /// It can send now.
    Opened,
    /// A text message, not yet copied out of JavaScript.
    Text(JsString),
    /// A binary message, not yet copied out of JavaScript.
    Binary(ArrayBuffer),
    /// It is gone, or never came to be.
    Closed,
}

/// An open or opening WebSocket.
pub(crate) struct Socket {
    inner: WebSocket,
    _listeners: [Listener; 3],
}

impl Socket {
    /// Starts to connect; `None` when the browser refuses the address.
    pub(crate) fn connect(url: &str, notify: Notify<SocketEvent>) -> Option<Self> {
        let inner = WebSocket::new(url).ok()?;
        inner.set_binary_type(BinaryType::Arraybuffer);
        let (opened, message, closed) = (notify.clone(), notify.clone(), notify);
        let listeners = [
            Listener::new(&inner, "open", move |_: Event| opened(SocketEvent::Opened)),
            Listener::new(&inner, "message", move |event: MessageEvent| {
                if let Some(event) = read(&event) {
                    message(event);
                }
            }),
            Listener::new(&inner, "close", move |_: Event| closed(SocketEvent::Closed)),
        ];
        Some(Self { inner, _listeners: listeners })
    }

    fn can_send(&self) -> bool {
        self.inner.ready_state() == WebSocket::OPEN && self.inner.buffered_amount() < BACKLOG_LIMIT
    }
}

impl cardume_viewer::Socket for Socket {
    fn send_text(&self, text: &str) -> bool {
        self.can_send() && self.inner.send_with_str(text).is_ok()
    }

    fn send_bytes(&self, bytes: &Bytes) -> bool {
        self.can_send() && self.inner.send_with_u8_array(bytes).is_ok()
    }

    fn backlog_len(&self) -> usize {
        self.inner.buffered_amount() as usize
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = self.inner.close();
    }
}

fn read(event: &MessageEvent) -> Option<SocketEvent> {
    match event.data().dyn_into::<ArrayBuffer>() {
        Ok(buffer) => Some(SocketEvent::Binary(buffer)),
        Err(other) => other.dyn_into::<JsString>().ok().map(SocketEvent::Text),
    }
}
