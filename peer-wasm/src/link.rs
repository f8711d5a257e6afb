//! The link to one neighbour: an open data channel.

use bytes::Bytes;
use js_sys::ArrayBuffer;
use wasm_bindgen::JsCast;
use web_sys::{Event, MessageEvent, RtcDataChannel, RtcDataChannelState, RtcDataChannelType};

use crate::listener::{Listener, Notify};

/// Bytes that may wait in a channel before it counts as dead. Chromium throws at 16 MiB (measured); half of that
/// leaves room for the message at hand.
const BACKLOG_LIMIT: u32 = 8 * 1024 * 1024;
/// Below this many waiting bytes the browser says so: a few blocks, so that control never waits long behind media.
const BACKLOG_LOW: u32 = 64 * 1024;

/// What happened to a [`Link`].
#[derive(Debug)]
pub enum LinkEvent {
    /// A message, not yet copied out of JavaScript.
    Message(ArrayBuffer),
    /// Its queue is nearly empty.
    Drained,
    /// It is gone.
    Closed,
}

/// An open data channel; closes when dropped.
pub struct Link {
    channel: RtcDataChannel,
    _listeners: [Listener; 3],
}

impl Link {
    /// Takes over an open channel. To be called while its `open` event is handled: what comes later may come before us.
    pub fn new(channel: RtcDataChannel, notify: Notify<LinkEvent>) -> Self {
        channel.set_binary_type(RtcDataChannelType::Arraybuffer);
        channel.set_buffered_amount_low_threshold(BACKLOG_LOW);
        let (message, drained, closed) = (notify.clone(), notify.clone(), notify);
        let listeners = [
            Listener::new(&channel, "message", move |event: MessageEvent| {
                if let Ok(buffer) = event.data().dyn_into::<ArrayBuffer>() {
                    message(LinkEvent::Message(buffer));
                }
            }),
            Listener::new(&channel, "bufferedamountlow", move |_: Event| drained(LinkEvent::Drained)),
            Listener::new(&channel, "close", move |_: Event| closed(LinkEvent::Closed)),
        ];
        Self { channel, _listeners: listeners }
    }

    /// Sends one message; false when the channel is not open or its queue is full: then it is dead.
    pub fn send(&self, bytes: &[u8]) -> bool {
        self.channel.ready_state() == RtcDataChannelState::Open
            && self.channel.buffered_amount() < BACKLOG_LIMIT
            && self.channel.send_with_u8_array(bytes).is_ok()
    }
}

impl cardume_viewer::Link for Link {
    fn send(&self, bytes: &Bytes) -> bool {
        Self::send(self, bytes)
    }

    fn backlog_len(&self) -> usize {
        self.channel.buffered_amount() as usize
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.channel.close();
    }
}
