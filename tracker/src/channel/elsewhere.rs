//! What the table knows of the other nodes of a cluster: who is on air there, how many watch there, and whether anybody here
//! wants what they have. A tracker by itself has none of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cardume_wire::Epoch;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Channel;

/// How long a request of a plain HTTP reader counts as wanting the channel: players ask several times a second, and one that
/// was paused for less than the live window lasts goes on where it was.
const ASKED_FOR: Duration = Duration::from_secs(crate::window::WINDOW_SECONDS);

/// A broadcast that another node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which.
    pub epoch: Epoch,
    /// Whether the other node was heard of lately. While nothing is heard of any node, what was true may be so still.
    pub is_sure: bool,
}

/// The part of a channel that other nodes change.
#[derive(Debug, Default)]
pub(super) struct Abroad {
    elsewhere: watch::Sender<Option<Elsewhere>>,
    n_viewers: AtomicU32,
    asked_at: Mutex<Option<Instant>>,
}

impl Abroad {
    pub(super) fn elsewhere(&self) -> Option<Elsewhere> {
        *self.elsewhere.borrow()
    }

    pub(super) fn n_viewers(&self) -> u32 {
        self.n_viewers.load(Ordering::Relaxed)
    }
}

impl Channel {
    /// Says which broadcast another node has on this channel, if one has.
    pub fn set_elsewhere(&self, elsewhere: Option<Elsewhere>) {
        let changed = self.abroad.elsewhere.send_if_modified(|now| {
            let is_other = *now != elsewhere;
            *now = elsewhere;
            is_other
        });
        if changed {
            self.notify();
        }
    }

    /// Which broadcast another node has.
    pub fn elsewhere(&self) -> watch::Receiver<Option<Elsewhere>> {
        self.abroad.elsewhere.subscribe()
    }

    /// Says how many watch at other nodes.
    pub fn set_viewers_elsewhere(&self, n_viewers: u32) {
        if self.abroad.n_viewers.swap(n_viewers, Ordering::Relaxed) != n_viewers {
            self.notify();
        }
    }

    /// Somebody here asks for its media by plain HTTP.
    pub fn ask(&self) {
        let was_asked = self.is_asked_for();
        *self.abroad.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !was_asked {
            self.notify();
        }
    }

    /// Whether anybody here wants its media.
    pub fn is_wanted(&self) -> bool {
        self.n_viewers.load(Ordering::Relaxed) > 0 || self.is_asked_for()
    }

    fn is_asked_for(&self) -> bool {
        let asked_at = *self.abroad.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        asked_at.is_some_and(|at| at.elapsed() < ASKED_FOR)
    }
}
