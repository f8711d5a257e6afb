//! What the table knows of the other nodes of a cluster: who is on air there, how many watch there, and whether anybody here
//! wants what they have. A tracker by itself has none of it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cardume_wire::Epoch;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{BroadcastError, Channel, Reservation};

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

/// Who can ask the node that has a channel on air.
pub trait Referee: fmt::Debug + Send + Sync {
    /// Whether another node has it still: false as soon as that node says no or is known to be dead, true when it has said yes
    /// for a while.
    fn is_held(&self) -> BoxFuture<'_, bool>;
}

/// The part of a channel that other nodes change.
#[derive(Debug, Default)]
pub(super) struct Abroad {
    elsewhere: watch::Sender<Option<Elsewhere>>,
    referee: OnceLock<Arc<dyn Referee>>,
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

    /// Says once who can be asked about other nodes.
    pub fn set_referee(&self, referee: Arc<dyn Referee>) {
        self.abroad.referee.get_or_init(|| referee);
    }

    /// [`Channel::reserve`] for an encoder that may have lost its node a moment ago: the node that is said to have the channel is
    /// asked, so that one which died or let go keeps nobody waiting.
    ///
    /// # Errors
    /// [`BroadcastError::Busy`] when that node has it still, or another sender here.
    pub async fn claim(self: &Arc<Self>) -> Result<Reservation, BroadcastError> {
        let is_said_to_be = self.abroad.elsewhere().is_some_and(|elsewhere| elsewhere.is_sure);
        if is_said_to_be
            && let Some(referee) = self.abroad.referee.get()
            && !referee.is_held().await
        {
            self.set_elsewhere(None);
        }
        self.reserve()
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
