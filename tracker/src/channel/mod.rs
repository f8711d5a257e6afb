//! The channel table, and the door between whoever brings media (ingest) and whoever spreads it (server peer, HLS).
//!
//! Ingest takes a [`Reservation`], turns it into a [`Broadcast`] once it knows the tracks, and publishes parts. The
//! channel's server peer takes the other end, [`ChannelEnd`].

mod elsewhere;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use cardume_media::{Catalog, CatalogError, CutPart, PublicKey, SigningKey, Track};
use cardume_wire::signal::{self, ChannelKind};
use cardume_wire::{ChannelId, Epoch};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::film::FilmFile;
use crate::window::Window;
use elsewhere::Abroad;
pub use elsewhere::{Elsewhere, Referee};

/// Parts that may wait between a sender and the channel's server peer.
///
/// Two tracks of 20 parts a second: above a second of them, more than a busy machine is late by. (Wild guess.)
pub const PART_QUEUE_LIMIT: usize = 64;
/// Broadcasts that may have begun, all but the last ended again, before the server peer gets to the first.
///
/// It needs a write to disk for each, some 10 ms; no encoder reconnects that often.
const START_QUEUE_LIMIT: usize = 4;

/// Why a broadcast does not begin or does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    /// Somebody else is on air.
    #[error("somebody is sending to this channel already; stop that broadcast first")]
    Busy,
    /// The tracks cannot be broadcast together.
    #[error("these tracks cannot be broadcast: {0}")]
    Tracks(CatalogError),
    /// The tracker is going down, or the channel was taken away.
    #[error("the tracker is shutting down, or the channel was taken away")]
    ShuttingDown,
}

/// How a channel begins.
#[derive(Debug, Clone)]
pub struct ChannelSetup {
    /// Its id.
    pub id: ChannelId,
    /// For people.
    pub title: String,
    /// What it shows.
    pub programme: Programme,
    /// Capture to screen, as its viewers hold it.
    pub target_latency: Duration,
    /// What its catalogs and descriptors are signed with.
    pub signing_key: SigningKey,
}

/// What a channel is configured to show.
#[derive(Debug, Clone)]
pub enum Programme {
    /// What somebody sends.
    Live {
        /// Secret of whoever may.
        stream_key: String,
    },
    /// A film, once [`Channel::show_film`] brings it.
    Film,
}

type Table = Arc<BTreeMap<ChannelId, Arc<Channel>>>;

/// All channels of this tracker; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Channels {
    table: Arc<RwLock<Table>>,
    changes: watch::Sender<u64>,
}

impl Channels {
    /// The table, and for each channel the end that its server peer takes, in the given order.
    pub fn new(setups: Vec<ChannelSetup>) -> (Self, Vec<ChannelEnd>) {
        let changes = watch::Sender::new(0);
        let (channels, ends): (Vec<_>, Vec<_>) =
            setups.into_iter().map(|setup| Channel::new(setup, changes.clone())).unzip();
        let table = channels.into_iter().map(|channel| (channel.id().clone(), channel)).collect();
        (Self { table: Arc::new(RwLock::new(Arc::new(table))), changes }, ends)
    }

    /// Adds a channel, and gives the end that its server peer takes. One of the same id is replaced.
    pub fn add(&self, setup: ChannelSetup) -> ChannelEnd {
        let (channel, end) = Channel::new(setup, self.changes.clone());
        self.change(|table| table.insert(channel.id().clone(), channel));
        end
    }

    /// Takes a channel out. Whoever has it goes on with it; nobody finds it any more.
    pub fn remove(&self, id: &ChannelId) {
        self.change(|table| table.remove(id));
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<ChannelId, Arc<Channel>>) -> T) {
        change(Arc::make_mut(&mut self.table.write().unwrap_or_else(PoisonError::into_inner)));
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// The table as it is now.
    fn now(&self) -> Table {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The channel that this stream key sends to. Compares digests, in a time that does not depend on the key.
    pub fn find_by_key(&self, stream_key: &str) -> Option<Arc<Channel>> {
        let digest = blake3::hash(stream_key.as_bytes());
        // No early exit: every channel is compared. `blake3::Hash` compares in constant time.
        self.now().values().fold(None, |found, channel| {
            if channel.has_key(&digest) { Some(Arc::clone(channel)) } else { found }
        })
    }

    /// The channel of this id.
    pub fn find(&self, id: &ChannelId) -> Option<Arc<Channel>> {
        self.now().get(id).cloned()
    }

    /// All channels as viewers see them now, ordered by id; of films those that can be watched.
    pub fn list(&self) -> Vec<signal::Channel> {
        let now = self.now();
        let listed = now.values().map(|channel| channel.describe());
        listed.filter(|channel| channel.kind == ChannelKind::Live || channel.duration_ms.is_some()).collect()
    }

    /// All channels, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Channel>> + use<> {
        self.now().values().cloned().collect::<Vec<_>>().into_iter()
    }

    /// Wakes whenever something that [`Channels::list`] says has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// One channel of the table.
#[derive(Debug)]
pub struct Channel {
    id: ChannelId,
    title: Mutex<String>,
    target_latency: Duration,
    public_key: PublicKey,
    shown: Shown,
    n_viewers: AtomicU32,
    /// One permit: whoever holds it may be on air.
    air: Arc<Semaphore>,
    starts: mpsc::Sender<Start>,
    window: watch::Receiver<Arc<Window>>,
    abroad: Abroad,
    changes: watch::Sender<u64>,
}

/// What a channel shows.
#[derive(Debug)]
enum Shown {
    Live {
        key_digest: Mutex<blake3::Hash>,
    },
    /// Empty while it is read; `None` when it cannot be watched, else how long it lasts.
    Film(OnceLock<Option<Duration>>),
}

impl Shown {
    fn new(programme: Programme) -> Self {
        match programme {
            Programme::Live { stream_key } => {
                Self::Live { key_digest: Mutex::new(blake3::hash(stream_key.as_bytes())) }
            }
            Programme::Film => Self::Film(OnceLock::new()),
        }
    }
}

impl Channel {
    fn new(setup: ChannelSetup, changes: watch::Sender<u64>) -> (Arc<Self>, ChannelEnd) {
        let (starts, starts_receiver) = mpsc::channel(START_QUEUE_LIMIT);
        let (window_sender, window) = watch::channel(Arc::new(Window::default()));
        let channel = Arc::new(Self {
            id: setup.id,
            title: Mutex::new(setup.title),
            target_latency: setup.target_latency,
            public_key: setup.signing_key.public(),
            shown: Shown::new(setup.programme),
            n_viewers: AtomicU32::new(0),
            air: Arc::new(Semaphore::new(1)),
            starts,
            window,
            abroad: Abroad::default(),
            changes,
        });
        let end = ChannelEnd {
            channel: Arc::clone(&channel),
            signing_key: setup.signing_key,
            starts: starts_receiver,
            window: window_sender,
        };
        (channel, end)
    }

    /// Its id.
    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    /// The title, for people.
    pub fn title(&self) -> String {
        lock(&self.title).clone()
    }

    /// Calls it otherwise from now on.
    pub fn set_title(&self, title: &str) {
        title.clone_into(&mut lock(&self.title));
        self.notify();
    }

    /// From now on this key is needed to send to it. Who sends already goes on. Films have none.
    pub fn set_key(&self, stream_key: &str) {
        if let Shown::Live { key_digest } = &self.shown {
            *lock(key_digest) = blake3::hash(stream_key.as_bytes());
        }
    }

    /// Capture to screen, as its viewers hold it.
    pub fn target_latency(&self) -> Duration {
        self.target_latency
    }

    /// How many watch here.
    pub fn n_viewers(&self) -> u32 {
        self.n_viewers.load(Ordering::Relaxed)
    }

    /// Whether somebody is broadcasting on it now, here or at another node.
    pub fn is_live(&self) -> bool {
        self.window.borrow().is_live || self.abroad.elsewhere().is_some()
    }

    /// The channel as viewers see it now.
    pub fn describe(&self) -> signal::Channel {
        signal::Channel {
            id: self.id.clone(),
            title: self.title(),
            kind: self.kind(),
            duration_ms: self.film_duration().and_then(whole_ms),
            is_live: self.is_live(),
            n_viewers: self.n_viewers().saturating_add(self.abroad.n_viewers()),
            target_latency_ms: u32::try_from(self.target_latency.as_millis()).unwrap_or(u32::MAX),
            public_key: self.public_key.to_string(),
        }
    }

    /// Whether it is a film that turned out to be none: as good as no channel.
    pub fn is_void(&self) -> bool {
        matches!(&self.shown, Shown::Film(outcome) if outcome.get() == Some(&None))
    }

    /// Lets viewers watch a film, for good.
    pub fn show_film(&self, film: Arc<FilmFile>) {
        self.settle_film(Some(film.duration()));
        // Fails when the tracker goes down.
        let _ = self.starts.try_send(Start::Film(film));
    }

    /// The film cannot be watched.
    pub fn give_film_up(&self) {
        self.settle_film(None);
    }

    fn settle_film(&self, duration: Option<Duration>) {
        if let Shown::Film(outcome) = &self.shown {
            outcome.get_or_init(|| duration);
            self.notify();
        }
    }

    /// Whether it shows what somebody sends, and not a film of this tracker's own folder.
    pub fn is_for_senders(&self) -> bool {
        self.kind() == ChannelKind::Live
    }

    fn kind(&self) -> ChannelKind {
        match self.shown {
            Shown::Live { .. } => ChannelKind::Live,
            Shown::Film(_) => ChannelKind::Film,
        }
    }

    /// How long its film lasts; `None` before that is known.
    fn film_duration(&self) -> Option<Duration> {
        match &self.shown {
            Shown::Live { .. } => None,
            Shown::Film(outcome) => outcome.get().copied().flatten(),
        }
    }

    fn has_key(&self, digest: &blake3::Hash) -> bool {
        matches!(&self.shown, Shown::Live { key_digest } if *lock(key_digest) == *digest)
    }

    /// Says how many watch here.
    pub fn set_viewers(&self, n_viewers: u32) {
        if self.n_viewers.swap(n_viewers, Ordering::Relaxed) != n_viewers {
            self.notify();
        }
    }

    /// Refuses other senders from now on, before the tracks are known. Dropping it lets them in again.
    ///
    /// # Errors
    /// [`BroadcastError::Busy`] while another sender holds the channel, here or at another node.
    pub fn reserve(self: &Arc<Self>) -> Result<Reservation, BroadcastError> {
        if self.abroad.elsewhere().is_some_and(|elsewhere| elsewhere.is_sure) {
            return Err(BroadcastError::Busy);
        }
        let permit = Arc::clone(&self.air).try_acquire_owned().map_err(|_| BroadcastError::Busy)?;
        Ok(Reservation { channel: Arc::clone(self), _permit: permit })
    }

    /// Begins a broadcast: [`Channel::reserve`] and [`Reservation::start`] in one.
    ///
    /// # Errors
    /// As those.
    pub fn broadcast(self: &Arc<Self>, tracks: Vec<Track>) -> Result<Broadcast, BroadcastError> {
        self.reserve()?.start(tracks)
    }

    /// The live window, for HLS: `borrow` gives the newest snapshot, `changed` waits for the next part or broadcast.
    /// A slow reader misses snapshots, not parts, as long as it looks every few seconds.
    pub fn window(&self) -> watch::Receiver<Arc<Window>> {
        self.window.clone()
    }

    fn notify(&self) {
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rounded down; `None` of less than a millisecond.
fn whole_ms(duration: Duration) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
}

/// The right to send to a channel, before anything is on air.
#[derive(Debug)]
pub struct Reservation {
    channel: Arc<Channel>,
    _permit: OwnedSemaphorePermit,
}

impl Reservation {
    /// The channel that is reserved.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Goes on air with these tracks. On an error the reservation is gone.
    ///
    /// # Errors
    /// [`BroadcastError::TrackCount`], or [`BroadcastError::ShuttingDown`]; [`BroadcastError::Busy`] while the
    /// broadcast before the last one is still being wound up.
    pub fn start(self, tracks: Vec<Track>) -> Result<Broadcast, BroadcastError> {
        // The epoch comes later; any will do to check the tracks.
        let tracks = Catalog::new(Epoch(0), tracks).map_err(BroadcastError::Tracks)?.tracks().to_vec();
        let (sender, parts) = mpsc::channel(PART_QUEUE_LIMIT);
        self.channel.starts.try_send(Start::Broadcast { tracks, parts }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => BroadcastError::Busy,
            mpsc::error::TrySendError::Closed(_) => BroadcastError::ShuttingDown,
        })?;
        Ok(Broadcast { parts: sender, reservation: self })
    }
}

/// A broadcast on air; dropping it ends it.
#[derive(Debug)]
pub struct Broadcast {
    parts: mpsc::Sender<CutPart>,
    reservation: Reservation,
}

impl Broadcast {
    /// The channel that is sent to.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.reservation.channel
    }

    /// Sends one part to all viewers. Waits while [`PART_QUEUE_LIMIT`] parts wait already.
    ///
    /// # Errors
    /// [`BroadcastError::ShuttingDown`] when the tracker goes down, [`BroadcastError::Busy`] when another node has a newer
    /// broadcast of the channel: stop sending.
    pub async fn publish(&mut self, part: CutPart) -> Result<(), BroadcastError> {
        let is_elsewhere = |channel: &Channel| channel.abroad.elsewhere().is_some();
        self.parts.send(part).await.map_err(|_| {
            if is_elsewhere(self.channel()) { BroadcastError::Busy } else { BroadcastError::ShuttingDown }
        })
    }

    /// Ends it and keeps the channel for another broadcast of the same sender.
    pub fn finish(self) -> Reservation {
        self.reservation
    }
}

/// The channel's other end, for its server peer: what senders bring, and the window to show.
#[derive(Debug)]
pub struct ChannelEnd {
    channel: Arc<Channel>,
    signing_key: SigningKey,
    starts: mpsc::Receiver<Start>,
    window: watch::Sender<Arc<Window>>,
}

/// Something to show.
#[derive(Debug)]
pub enum Start {
    /// A broadcast begins. It has ended when `parts` ends.
    Broadcast {
        /// Its tracks, fit for a catalog.
        tracks: Vec<Track>,
        /// Its parts as they are cut.
        parts: mpsc::Receiver<CutPart>,
    },
    /// A film is ready.
    Film(Arc<FilmFile>),
}

impl ChannelEnd {
    /// The channel.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// What its broadcasts are signed with.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    /// What is shown next; `None` when the table is gone. Cancel safe.
    pub async fn next_start(&mut self) -> Option<Start> {
        self.starts.recv().await
    }

    /// Changes the live window and wakes its readers, and the list's readers when the channel went on or off air.
    pub fn update_window(&self, change: impl FnOnce(&mut Window)) {
        let was_live = self.window.borrow().is_live;
        self.window.send_modify(|window| change(Arc::make_mut(window)));
        if self.window.borrow().is_live != was_live {
            self.channel.notify();
        }
    }
}
