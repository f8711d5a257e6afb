//! What the player tells the page.

use cardume_viewer::PlayerEvent;
use cardume_wire::signal::{Channel, ChannelKind};
use wasm_bindgen::JsValue;

use crate::object::object;
use crate::renditions::renditions_to_js;

/// The event as the page's TypeScript knows it.
pub(crate) fn event_to_js(event: &PlayerEvent) -> JsValue {
    match event {
        PlayerEvent::Channel(channel) => {
            object([("type", "channel".into()), ("channel", channel_to_js(channel))])
        }
        PlayerEvent::State(state) => object([("type", "state".into()), ("state", state.as_str().into())]),
        PlayerEvent::Renditions(renditions) => renditions_to_js(renditions),
        PlayerEvent::Error { code, message, is_fatal } => object([
            ("type", "error".into()),
            ("code", (*code).into()),
            ("message", message.into()),
            ("fatal", (*is_fatal).into()),
        ]),
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
