//! Which renditions of the picture there are, which one is shown, and which one the viewer chose.

use cardume_media::{Catalog, Track, TrackKind};
use cardume_wire::{TrackId, TrackSet};

/// What somebody needs to offer a choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renditions {
    /// The dearest first. A film has only the one that it began with.
    pub offered: Vec<Rendition>,
    /// The one that is shown, or about to be.
    pub shown: Option<TrackId>,
    /// The one that the viewer chose.
    pub chosen: Option<TrackId>,
}

/// One of several pictures of the same broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// Its track.
    pub id: TrackId,
    /// Pixels; 0 when unknown.
    pub width: u16,
    /// Pixels; 0 when unknown.
    pub height: u16,
    /// Bits per second.
    pub bitrate: u32,
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
}

impl Rendition {
    fn of(track: &Track) -> Self {
        Self { id: track.id, width: track.width, height: track.height, bitrate: track.bitrate }
    }
}
