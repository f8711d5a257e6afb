//! What was broadcast: the parts of the present broadcast, once for all nodes.

use cardume_media::PartId;
use cardume_swarm::PartFacts;
use cardume_wire::{BlockId, Epoch, TrackId};

/// Tracks of a broadcast at most: as many as a peer looks at.
pub(crate) const TRACK_COUNT: usize = cardume_wire::link::HAVE_TRACK_LIMIT;
/// The track with the sound.
const SOUND: TrackId = TrackId(1);

/// Whether a track is the sound; all others are pictures, of which one is shown.
pub(crate) fn is_sound(track: TrackId) -> bool {
    track == SOUND
}

/// One part and when the server had it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) facts: PartFacts,
    pub(crate) at: u64,
}

/// The parts of a broadcast; the newest one only, older ones are of no use to anybody.
#[derive(Debug, Default)]
pub(crate) struct Library {
    epoch: Option<Epoch>,
    /// By track and sequence number, from 0 on without a gap.
    tracks: [Vec<Published>; TRACK_COUNT],
}

impl Library {
    /// Begins a broadcast.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        *self = Self { epoch: Some(epoch), ..Self::default() };
    }

    /// Adds the next part of its track.
    pub(crate) fn publish(&mut self, facts: PartFacts, now: u64) {
        if let Some(track) = self.tracks.get_mut(usize::from(facts.id.track.0)) {
            track.push(Published { facts, at: now });
        }
    }

    /// The part, if it is of this broadcast.
    pub(crate) fn part(&self, id: PartId) -> Option<&Published> {
        self.track(id.epoch, id.track)?.get(id.sequence as usize)
    }

    /// The part of a block, if it is of this broadcast.
    pub(crate) fn part_of(&self, block: BlockId) -> Option<&Published> {
        let track = self.track(block.epoch, block.track)?;
        let after = track.partition_point(|part| part.facts.first_block.0 <= block.number.0);
        track.get(after.checked_sub(1)?).filter(|part| part.facts.has_block(block.number))
    }

    /// The parts of a track in order.
    pub(crate) fn parts(&self, track: usize) -> &[Published] {
        self.tracks.get(track).map_or(&[], Vec::as_slice)
    }

    /// The present broadcast.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    fn track(&self, epoch: Epoch, track: TrackId) -> Option<&Vec<Published>> {
        self.tracks.get(usize::from(track.0)).filter(|_| self.epoch == Some(epoch))
    }
}
