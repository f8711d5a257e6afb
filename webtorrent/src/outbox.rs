//! What waits to be sent to one client.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::frame;

/// Bytes that may wait for one client; what comes beyond is dropped, as it is for who does not read. (Wild guess: a hundred
/// offers.)
const LEN_LIMIT: usize = 256 * 1024;

/// Frames for one client, put in by all others. Keeps nothing while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: Mutex<Vec<u8>>,
    reader: AtomicWaker,
}

/// Whether a message will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    Waits,
    Dropped,
}

impl Outbox {
    /// Puts in a text message.
    pub(crate) fn post(&self, text: &str) -> Posted {
        self.put(|frames| frame::write_text(frames, text))
    }

    /// Puts in what `write` appends, and wakes who sends it.
    pub(crate) fn put(&self, write: impl FnOnce(&mut Vec<u8>)) -> Posted {
        let mut frames = self.lock();
        if frames.len() >= LEN_LIMIT {
            return Posted::Dropped;
        }
        let was_empty = frames.is_empty();
        write(&mut frames);
        drop(frames);
        if was_empty {
            self.reader.wake();
        }
        Posted::Waits
    }

    /// Wakes this one when there is something; call it before [`Self::take`].
    pub(crate) fn register(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    /// All that waits.
    pub(crate) fn take(&self) -> Vec<u8> {
        core::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_waits_in_order() {
        let outbox = Outbox::default();
        assert_eq!([outbox.post("a"), outbox.post("b")], [Posted::Waits; 2]);
        assert_eq!(outbox.take(), b"\x81\x01a\x81\x01b");
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn who_does_not_read_gets_no_more_than_the_limit() {
        let outbox = Outbox::default();
        let text = "x".repeat(1_000);
        let n_posted = (0..1_000).filter(|_| outbox.post(&text) == Posted::Waits).count();
        assert_eq!(n_posted, LEN_LIMIT.div_ceil(1_004));
        assert_eq!(outbox.take().len(), n_posted * 1_004);
        assert_eq!(outbox.post("again"), Posted::Waits);
    }
}
