//! What the player tells the page.

use cardume_wire::signal::{Channel, ChannelKind};
use wasm_bindgen::JsValue;

use crate::object::object;
use crate::renditions::Renditions;

/// What the player does, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
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
    /// The word for JavaScript.
    pub(crate) fn as_str(self) -> &'static str {
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

/// One event for the page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PlayerEvent {
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

impl PlayerEvent {
    /// The event as the page's TypeScript knows it.
    pub(crate) fn to_js(&self) -> JsValue {
        match self {
            Self::Channel(channel) => {
                object([("type", "channel".into()), ("channel", channel_to_js(channel))])
            }
            Self::State(state) => object([("type", "state".into()), ("state", state.as_str().into())]),
            Self::Renditions(renditions) => renditions.to_js(),
            Self::Error { code, message, is_fatal } => object([
                ("type", "error".into()),
                ("code", (*code).into()),
                ("message", message.into()),
                ("fatal", (*is_fatal).into()),
            ]),
        }
    }
}

/// The channel under the names of the tracker's JSON.
fn channel_to_js(channel: &Channel) -> JsValue {
    object([
        ("id", channel.id.as_str().into()),
        ("title", channel.title.as_str().into()),
        ("kind", kind_to_js(channel.kind).into()),
        ("duration_ms", channel.duration_ms.map_or(JsValue::UNDEFINED, |ms| ms.get().into())),
        ("is_live", channel.is_live.into()),
        ("n_viewers", channel.n_viewers.into()),
        ("target_latency_ms", channel.target_latency_ms.into()),
        ("public_key", channel.public_key.as_str().into()),
    ])
}

fn kind_to_js(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Live => "live",
        ChannelKind::Film => "film",
    }
}
