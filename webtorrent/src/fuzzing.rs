//! The door that strangers' bytes come in by, for tests that send any.

use std::sync::Arc;

use crate::conversation::{Conversation, Scratch};
use crate::frame::{Decoder, Incoming};
use crate::outbox::Outbox;
use crate::{INTERVAL_DEFAULT, Swarms};

/// What two sockets send: frames for the one, and what is in them, as a message, for the other.
///
/// # Panics
/// When the code breaks a promise: what is sent is WebSocket frames of JSON, and nobody is left when all are gone.
pub fn take(bytes: &[u8]) {
    let swarms = Swarms::new(INTERVAL_DEFAULT);
    let [mut one, mut other] = [Client::new(&swarms), Client::new(&swarms)];
    for piece in bytes.chunks(61) {
        if one.frames(&mut piece.to_vec()).is_err() {
            break;
        }
    }
    for message in bytes.split(|byte| *byte == b'\n').filter_map(|line| core::str::from_utf8(line).ok()) {
        other.message(message);
    }
    one.check();
    other.check();
    drop((one, other));
    let totals = swarms.totals();
    assert_eq!((totals.n_swarms, totals.n_members), (0, 0));
}

struct Client {
    decoder: Decoder,
    conversation: Conversation,
    outbox: Arc<Outbox>,
    scratch: Scratch,
}

impl Client {
    fn new(swarms: &Swarms) -> Self {
        let outbox = Arc::new(Outbox::default());
        let conversation = Conversation::new(swarms.clone(), Arc::clone(&outbox));
        Self { decoder: Decoder::default(), conversation, outbox, scratch: Scratch::default() }
    }

    fn frames(&mut self, bytes: &mut [u8]) -> Result<(), crate::Fault> {
        let Self { decoder, conversation, scratch, .. } = self;
        decoder.take(bytes, &mut |incoming| {
            if let Incoming::Message(text) = incoming {
                conversation.hear(text, scratch);
            }
        })
    }

    fn message(&mut self, text: &str) {
        self.conversation.hear(text, &mut self.scratch);
    }

    fn check(&self) {
        let frames = self.outbox.take();
        let mut rest = &frames[..];
        while let [first, len, tail @ ..] = rest {
            assert_eq!(*first, 0x81, "a whole text message");
            let (len, content) = match (*len, tail) {
                (126, [a, b, content @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), content),
                (127, [_, _, _, _, a, b, c, d, content @ ..]) => {
                    (u32::from_be_bytes([*a, *b, *c, *d]) as usize, content)
                }
                (len, content) => (usize::from(len), content),
            };
            let parsed = serde_json::from_slice::<serde_json::Value>(&content[..len]);
            assert!(parsed.is_ok_and(|message| message.is_object()));
            rest = &content[len..];
        }
    }
}
