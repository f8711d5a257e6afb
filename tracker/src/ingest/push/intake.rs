//! Who pushes to a channel: which sources there are, when a broadcast begins and ends, and whose it is.
//!
//! A source is what shares a name and a header: a track, or several muxed ones. Its header is remembered for as long
//! as the tracker runs, so that an encoder whose network was away goes on with media alone.
//!
//! **One sender or two?** An encoder uses several connections at once, so a connection tells nothing. Whoever comes
//! from another address than the sender on air, brings a header that is not on air, or sends media that does not
//! continue its track's timeline, contests the broadcast. A contest is decided by time: if the sender on air sends
//! anything that is accepted, the newcomer is refused; if it stays silent until its broadcast ends, the newcomer begins
//! the next one. So a second encoder is refused within a part's time, and an encoder that is started again takes over
//! when the old one is gone. The headers of who was refused are kept for that.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cardume_media::{Chunk, Cutter, TrackInit};
use cardume_wire::WallTime;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep_until, timeout};

use super::error::PushError;
use super::source;
use super::state::{Header, Request, State, Verdict};
use crate::channel::{BroadcastError, Channel};

/// Requests with media at once for one channel: an encoder has at most two open for each of eight tracks.
const OPEN_BODY_LIMIT: usize = 16;
/// How long media waits for its header: ffmpeg's HLS output completes both at about the same time.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a contest lasts at most: longer than a live sender's pauses, and than the quiet that ends a broadcast of
/// one endless request (2 s).
const CONTEST_LIMIT: Duration = Duration::from_secs(3);
/// How long a request waits for its source's request before it to show life: that one may hang in a broken connection.
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Intake {
    channel: Arc<Channel>,
    state: Mutex<State>,
    /// Wakes whoever waits for something to be accepted, announced or ended.
    pulse: watch::Sender<()>,
    n_open: AtomicUsize,
    n_requests: AtomicU64,
}

impl Intake {
    /// Nobody has pushed to the channel yet.
    pub(super) fn new(channel: Arc<Channel>) -> Arc<Self> {
        let (state, pulse) = (Mutex::default(), watch::Sender::new(()));
        Arc::new(Self { channel, state, pulse, n_open: AtomicUsize::new(0), n_requests: AtomicU64::new(0) })
    }

    /// The channel.
    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Bodies that are open.
    pub(super) fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }

    /// Takes a body that brings a header.
    ///
    /// # Errors
    /// Too many bodies.
    pub(super) fn open_with_init(
        self: &Arc<Self>,
        path: &str,
        from: Option<IpAddr>,
    ) -> Result<OpenBody, PushError> {
        let guard = OpenGuard::new(self)?;
        let request = Request::new(self.next_id(), source::init_name(path), from);
        Ok(OpenBody { guard, request })
    }

    /// Takes a body of media alone, when its header is there: waits for that a while.
    ///
    /// # Errors
    /// Too many bodies, or [`PushError::NoInit`].
    pub(super) async fn open_media(
        self: &Arc<Self>,
        path: &str,
        from: Option<IpAddr>,
    ) -> Result<OpenBody, PushError> {
        let guard = OpenGuard::new(self)?;
        let names = source::media_names(path);
        let find = async {
            let mut pulse = self.pulse.subscribe();
            loop {
                if let Some(found) = self.state.lock().await.find(&names) {
                    return found;
                }
                // Cannot fail: `self` has the other half.
                let _ = pulse.changed().await;
            }
        };
        let (name, header) = timeout(INIT_TIMEOUT, find).await.map_err(|_| PushError::NoInit)?;
        let request = Request::new(self.next_id(), String::new(), from).following(name, header);
        Ok(OpenBody { guard, request })
    }

    fn next_id(&self) -> u64 {
        self.n_requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the channel for a request when nobody has it.
    async fn gather(self: &Arc<Self>, state: &mut State, from: Option<IpAddr>) -> Result<(), BroadcastError> {
        if state.is_off() {
            state.gather(self.channel.claim().await?, from);
            tracing::info!(channel = %self.channel.id(), ?from, "a push begins");
            tokio::spawn(Self::watch_quiet(Arc::downgrade(self)));
        }
        Ok(())
    }

    /// Waits until the broadcast on air has ended. False when it shows life before, or lasts.
    async fn is_contest_won(&self) -> bool {
        let mut pulse = self.pulse.subscribe();
        let (n_accepted, n_ended) = self.state.lock().await.counts();
        let decided = async {
            loop {
                let (accepted, ended) = self.state.lock().await.counts();
                if ended > n_ended || accepted > n_accepted {
                    return ended > n_ended;
                }
                let _ = pulse.changed().await;
            }
        };
        timeout(CONTEST_LIMIT, decided).await.unwrap_or(false)
    }

    /// Ends the broadcast when it has been quiet for too long.
    async fn watch_quiet(intake: Weak<Self>) {
        let Some(mut pulse) = intake.upgrade().map(|intake| intake.pulse.subscribe()) else { return };
        while let Some(this) = intake.upgrade() {
            let mut state = this.state.lock().await;
            let Some(quiet_at) = state.quiet_at() else { return };
            if tokio::time::Instant::now() >= quiet_at {
                tracing::info!(channel = %this.channel.id(), "a pushed broadcast has ended");
                state.end();
                this.pulse.send_replace(());
                return;
            }
            drop(state);
            drop(this);
            tokio::select! {
                () = sleep_until(quiet_at) => {}
                changed = pulse.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// A request whose body is being read.
#[derive(Debug)]
pub(super) struct OpenBody {
    guard: OpenGuard,
    request: Request,
}

impl OpenBody {
    /// What cuts the body.
    pub(super) fn cutter(&self) -> Cutter {
        self.request.header.cutter()
    }

    /// The body's header, which its cutter has just seen.
    ///
    /// # Errors
    /// Somebody else is on air, or the broadcast has begun without this track.
    pub(super) async fn announce(&mut self, inits: Vec<TrackInit>, cutter: &Cutter) -> Result<(), PushError> {
        let intake = Arc::clone(&self.guard.intake);
        self.request.header = Header::new(cutter, inits);
        loop {
            let mut state = intake.state.lock().await;
            intake.gather(&mut state, self.request.from).await?;
            let verdict = state.announce(&self.request)?;
            drop(state);
            intake.pulse.send_replace(());
            if verdict != Verdict::Contested {
                return Ok(());
            }
            if !intake.is_contest_won().await {
                return Err(PushError::Contested);
            }
        }
    }

    /// A chunk of media that was complete at `arrived_at`.
    ///
    /// # Errors
    /// Somebody else is on air, or the broadcast has begun without this track.
    pub(super) async fn publish(&mut self, chunk: Chunk, arrived_at: WallTime) -> Result<(), PushError> {
        let intake = Arc::clone(&self.guard.intake);
        loop {
            let mut pulse = intake.pulse.subscribe();
            let mut state = intake.state.lock().await;
            intake.gather(&mut state, self.request.from).await?;
            let verdict = state.publish(&mut self.request, &chunk, arrived_at).await?;
            drop(state);
            match verdict {
                Verdict::Done => break,
                Verdict::NotBefore(settled_at) => sleep_until(settled_at).await,
                Verdict::NotYet => {
                    let turn = timeout(TURN_LIMIT, pulse.changed()).await;
                    turn.map_err(|_| PushError::Contested)?.map_err(|_| PushError::Contested)?;
                }
                Verdict::Contested if intake.is_contest_won().await => {}
                Verdict::Contested => return Err(PushError::Contested),
            }
        }
        intake.pulse.send_replace(());
        Ok(())
    }

    /// It has ended: the broadcast ends too, unless another comes in time.
    pub(super) async fn close(self) {
        let intake = &self.guard.intake;
        intake.state.lock().await.close(&self.request);
        intake.pulse.send_replace(());
    }
}

/// Counts an open body.
#[derive(Debug)]
struct OpenGuard {
    intake: Arc<Intake>,
}

impl OpenGuard {
    fn new(intake: &Arc<Intake>) -> Result<Self, PushError> {
        let guard = Self { intake: Arc::clone(intake) };
        let n_before = intake.n_open.fetch_add(1, Ordering::Relaxed);
        if n_before >= OPEN_BODY_LIMIT { Err(PushError::TooManyBodies(OPEN_BODY_LIMIT)) } else { Ok(guard) }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.intake.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}
