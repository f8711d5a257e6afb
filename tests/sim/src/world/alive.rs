//! The viewers that are there, for drawing one of them in constant time.

use cardume_wire::PeerId;

use super::index_of;

/// A set of ids without order.
#[derive(Debug, Default)]
pub(super) struct Alive {
    ids: Vec<PeerId>,
    /// By id: its place in `ids`, where it is there.
    places: Vec<Option<u32>>,
}

impl Alive {
    pub(super) fn insert(&mut self, id: PeerId) {
        let index = index_of(id);
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        self.places[index] = u32::try_from(self.ids.len()).ok();
        self.ids.push(id);
    }

    pub(super) fn remove(&mut self, id: PeerId) {
        let Some(place) = self.places.get_mut(index_of(id)).and_then(Option::take) else { return };
        self.ids.swap_remove(place as usize);
        if let Some(moved) = self.ids.get(place as usize) {
            self.places[index_of(*moved)] = Some(place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn at(&self, index: usize) -> Option<PeerId> {
        self.ids.get(index).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = PeerId> {
        self.ids.iter().copied()
    }

    /// By rising id.
    pub(super) fn sorted(&self) -> Vec<PeerId> {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids
    }
}
