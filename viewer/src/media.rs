//! What a viewer and its media element say to each other; could be messages between threads.

use bytes::Bytes;
use cardume_media::Catalog;
use cardume_swarm::PlayerState;
use cardume_wire::TrackId;

/// What the engine asks of the media element.
#[derive(Debug, Clone)]
pub enum MediaCommand {
    /// A new broadcast: a new source with a buffer for each kind of track.
    Attach(Catalog),
    /// Append one part to its track.
    Append {
        /// The track; an unknown one is ignored.
        track: TrackId,
        /// The part's bytes in order.
        chunks: Vec<Bytes>,
        /// Where it begins on the media timeline, microseconds.
        start_us: u64,
        /// Where it ends.
        end_us: u64,
        /// Whether the viewer of a film went elsewhere: what of the track still waits is not appended any more.
        is_jump: bool,
        /// Whether the track ends with it.
        is_last: bool,
    },
    /// Play at this rate.
    SetRate(f64),
    /// Move the playhead, microseconds of the media timeline.
    Seek(u64),
    /// Say [`MediaEvent::Observed`] now.
    Observe,
}

/// What the media element reports.
#[derive(Debug, Clone)]
pub enum MediaEvent {
    /// The element as it is.
    Observed(PlayerState),
    /// The element gave the source up; only a new [`MediaCommand::Attach`] helps.
    Broken(String),
    /// Something the viewer should know.
    Problem {
        /// For programs.
        code: &'static str,
        /// For people.
        message: String,
        /// Whether nothing can be played.
        is_fatal: bool,
    },
}

impl MediaEvent {
    /// A problem that does not end playback.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::Problem { code, message: message.into(), is_fatal: false }
    }

    /// A problem because of which nothing can be played.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self::Problem { code, message: message.into(), is_fatal: true }
    }
}
