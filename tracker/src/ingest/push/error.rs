//! Why a push is refused, as the sender reads it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cardume_media::CutError;

use crate::channel::BroadcastError;

/// Why a push is refused. The answer is its text, in plain words.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Another method than those of a push.
    #[error("media is pushed by PUT or POST")]
    Method,
    /// Neither in the path nor in a header.
    #[error("a stream key is needed: /ingest/KEY/… or Authorization: Bearer KEY")]
    NoKey,
    /// No channel has this key.
    #[error("there is no channel with this stream key")]
    UnknownKey,
    /// Nothing in the body.
    #[error("the body is empty")]
    Empty,
    /// The body is not what can be carried.
    #[error("{0}")]
    Cut(#[from] CutError),
    /// The body ended too early.
    #[error("truncated: the body ended in the middle; what was whole has been sent on")]
    Truncated,
    /// The connection broke.
    #[error("the body could not be read to its end: {0}")]
    Body(#[from] axum::Error),
    /// Nothing came.
    #[error("timed out: no data came")]
    Silent,
    /// Media of a track whose header was never sent.
    #[error(
        "no init segment was sent for this track: send ftyp and moov first, at a path of the same name (init-NAME, \
         then chunk-NAME-1, …)"
    )]
    NoInit,
    /// Another sender is on air.
    #[error("{0}")]
    Busy(BroadcastError),
    /// Another sender is on air, or this one with other tracks.
    #[error(
        "somebody is sending to this channel already; stop that broadcast first (or this track does not belong to the \
         broadcast on air: send the init segments of all tracks within half a second)"
    )]
    Contested,
    /// Not a set of tracks that can be carried.
    #[error("{0}")]
    Tracks(BroadcastError),
    /// Too many requests at once.
    #[error("more than {0} requests at once for one channel")]
    TooManyBodies(usize),
    /// Too many tracks at once.
    #[error("more than {0} tracks for one channel")]
    TooManySources(usize),
}

impl PushError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoKey => StatusCode::UNAUTHORIZED,
            Self::UnknownKey => StatusCode::FORBIDDEN,
            Self::Cut(CutError::NotMp4(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Cut(CutError::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Empty | Self::Cut(_) | Self::Truncated | Self::Body(_) | Self::Tracks(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Silent => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(BroadcastError::ShuttingDown) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy(_) | Self::NoInit | Self::Contested => StatusCode::CONFLICT,
            Self::TooManyBodies(_) | Self::TooManySources(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl From<BroadcastError> for PushError {
    fn from(error: BroadcastError) -> Self {
        match error {
            BroadcastError::Tracks(_) => Self::Tracks(error),
            BroadcastError::Busy | BroadcastError::ShuttingDown => Self::Busy(error),
        }
    }
}

impl IntoResponse for PushError {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONNECTION, "close")];
        (self.status(), headers, format!("{self}\n")).into_response()
    }
}
