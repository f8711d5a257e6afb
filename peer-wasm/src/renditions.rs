//! Renditions as the page's TypeScript knows them.

use cardume_viewer::{Rendition, Renditions};
use cardume_wire::TrackId;
use js_sys::Array;
use wasm_bindgen::JsValue;

use crate::object::object;

/// The event's fields.
pub(crate) fn renditions_to_js(renditions: &Renditions) -> JsValue {
    let id = |track: TrackId| JsValue::from(track.0);
    object([
        ("type", "renditions".into()),
        ("renditions", renditions.offered.iter().map(rendition_to_js).collect::<Array>().into()),
        ("shown", renditions.shown.map_or(JsValue::NULL, id)),
        ("chosen", renditions.chosen.map_or_else(|| "auto".into(), id)),
    ])
}

fn rendition_to_js(rendition: &Rendition) -> JsValue {
    object([
        ("id", rendition.id.0.into()),
        ("width", rendition.width.into()),
        ("height", rendition.height.into()),
        ("bitrate", rendition.bitrate.into()),
    ])
}

/// The rendition that a page names; what is no track's number leaves the choice to the player.
pub(crate) fn chosen(rendition: &JsValue) -> Option<TrackId> {
    (0..TrackId::LIMIT).find(|id| *rendition == f64::from(*id)).map(TrackId)
}
