//! Which renditions of the picture there are, which one is shown, and which one the viewer chose.

use cardume_media::{Catalog, Track, TrackKind};
use cardume_wire::{TrackId, TrackSet};
use js_sys::Array;
use wasm_bindgen::JsValue;

use crate::object::object;

/// What a page needs to offer a choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Renditions {
    /// The dearest first. A film has only the one that it began with.
    offered: Vec<Rendition>,
    shown: Option<TrackId>,
    chosen: Option<TrackId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rendition {
    id: TrackId,
    width: u16,
    height: u16,
    bitrate: u32,
}

impl Renditions {
    /// Those of a broadcast of which these tracks are played.
    pub(crate) fn of(catalog: &Catalog, playing: TrackSet, chosen: Option<TrackId>) -> Self {
        let pictures = || catalog.tracks().iter().filter(|track| track.kind == TrackKind::Video);
        let shown = pictures().map(|track| track.id).find(|id| playing.contains(*id));
        let is_offered = |track: &&Track| !catalog.is_on_demand() || Some(track.id) == shown;
        let mut offered: Vec<Rendition> = pictures().filter(is_offered).map(Rendition::of).collect();
        offered.sort_by_key(|rendition| core::cmp::Reverse((rendition.bitrate, rendition.height)));
        Self { offered, shown, chosen }
    }

    /// The event's fields as the page's TypeScript knows them.
    pub(crate) fn to_js(&self) -> JsValue {
        let id = |track: TrackId| JsValue::from(track.0);
        object([
            ("type", "renditions".into()),
            ("renditions", self.offered.iter().map(Rendition::to_js).collect::<Array>().into()),
            ("shown", self.shown.map_or(JsValue::NULL, id)),
            ("chosen", self.chosen.map_or_else(|| "auto".into(), id)),
        ])
    }
}

impl Rendition {
    fn of(track: &Track) -> Self {
        Self { id: track.id, width: track.width, height: track.height, bitrate: track.bitrate }
    }

    fn to_js(&self) -> JsValue {
        object([
            ("id", self.id.0.into()),
            ("width", self.width.into()),
            ("height", self.height.into()),
            ("bitrate", self.bitrate.into()),
        ])
    }
}

/// The rendition that a page names; what is no track's number leaves the choice to the player.
pub(crate) fn chosen(rendition: &JsValue) -> Option<TrackId> {
    (0..TrackId::LIMIT).find(|id| *rendition == f64::from(*id)).map(TrackId)
}
