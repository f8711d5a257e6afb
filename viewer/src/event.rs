//! What a viewer tells whoever looks on.

use cardume_wire::signal::Channel;

use crate::Renditions;

/// What the player does, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The tracker has not been reached yet.
    Connecting,
    /// Nobody broadcasts on the channel, or its film is not ready.
    Waiting,
    /// Media comes; nothing has been seen yet.
    Buffering,
    /// It plays, or the viewer paused it.
    Playing,
    /// The picture stopped for lack of media.
    Stalled,
    /// There is no room for this viewer now.
    Resting,
    /// The tracker is away; what the neighbours have plays on.
    Reconnecting,
}

impl State {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Buffering => "buffering",
            Self::Playing => "playing",
            Self::Stalled => "stalled",
            Self::Resting => "resting",
            Self::Reconnecting => "reconnecting",
        }
    }
}

/// One event for whoever looks on.
#[derive(Debug, Clone, PartialEq)]
pub enum PlayerEvent {
    /// The channel as it is now.
    Channel(Channel),
    /// Another state.
    State(State),
    /// Other renditions, or another one is shown or was chosen.
    Renditions(Renditions),
    /// Something went wrong.
    Error {
        /// For programs.
        code: &'static str,
        /// For people.
        message: String,
        /// Whether the player has given up.
        is_fatal: bool,
    },
}
