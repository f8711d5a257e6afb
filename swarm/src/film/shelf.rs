//! What is held of one track of a film, and what is being fetched.

use std::collections::{BTreeMap, BTreeSet};

use cardume_wire::{BlockNumber, PeerId};

use crate::{Instant, PartFacts};

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// Not here, and nobody was asked.
    Missing {
        /// Who was asked in vain last.
        tried: Option<PeerId>,
    },
    /// It was asked for.
    Asked {
        /// Of whom.
        of: PeerId,
        /// When.
        at: Instant,
        /// When to ask somebody else.
        expires_at: Instant,
    },
    /// Verified and stored.
    Held,
}

/// A part that is being fetched.
#[derive(Clone, Debug)]
pub(crate) struct OpenPart {
    /// Whether its list of block hashes is here.
    pub(crate) is_described: bool,
    /// Of whom that list was asked, and when to ask again.
    pub(crate) list_asked: Option<(PeerId, Instant)>,
    first_block: u32,
    blocks: Vec<Block>,
}

impl OpenPart {
    fn new(part: &PartFacts) -> Self {
        let blocks = vec![Block::Missing { tried: None }; part.n_blocks as usize];
        Self { is_described: false, list_asked: None, first_block: part.first_block.0, blocks }
    }

    /// Its blocks by rising number.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (BlockNumber, Block)> {
        (self.first_block..).map(BlockNumber).zip(self.blocks.iter().copied())
    }

    /// A block of it is asked for.
    pub(crate) fn ask(&mut self, number: BlockNumber, asked: Block) {
        if let Some(block) = self.block_mut(number) {
            *block = asked;
        }
    }

    /// Whether its list of block hashes is neither here nor about to come.
    pub(crate) fn lacks_list(&self, now: Instant) -> bool {
        !self.is_described && self.list_asked.is_none_or(|(_, again_at)| again_at <= now)
    }

    fn block_mut(&mut self, number: BlockNumber) -> Option<&mut Block> {
        let index = number.0.checked_sub(self.first_block)?;
        self.blocks.get_mut(index as usize)
    }

    fn is_whole(&self) -> bool {
        self.is_described && self.blocks.iter().all(|block| *block == Block::Held)
    }

    /// Whether nothing of it is here or on its way, its list of block hashes neither.
    fn is_idle(&self) -> bool {
        !self.is_described
            && self.list_asked.is_none()
            && self.blocks.iter().all(|block| matches!(block, Block::Missing { .. }))
    }
}

/// The parts of one track that are here or being fetched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    open: BTreeMap<u32, OpenPart>,
    whole: BTreeSet<u32>,
}

impl Shelf {
    /// Parts that are here, in whole or in part.
    pub(crate) fn len(&self) -> usize {
        self.open.len() + self.whole.len()
    }

    /// Their sequences, in no particular order.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u32> {
        self.open.keys().chain(&self.whole).copied()
    }

    /// The sequences of those that are whole, rising.
    pub(crate) fn whole(&self) -> impl Iterator<Item = u32> {
        self.whole.iter().copied()
    }

    /// Blocks that are held of parts that are not whole, each with its part's sequence.
    pub(crate) fn held_of_open(&self) -> impl Iterator<Item = (u32, BlockNumber)> {
        self.open.iter().flat_map(|(sequence, open)| {
            let held = open.blocks().filter(|(_, block)| *block == Block::Held);
            held.map(move |(number, _)| (*sequence, number))
        })
    }

    pub(crate) fn is_whole(&self, sequence: u32) -> bool {
        self.whole.contains(&sequence)
    }

    pub(crate) fn is_described(&self, sequence: u32) -> bool {
        self.is_whole(sequence) || self.open.get(&sequence).is_some_and(|open| open.is_described)
    }

    pub(crate) fn block(&self, part: &PartFacts, number: BlockNumber) -> Block {
        let sequence = part.id.sequence;
        if self.is_whole(sequence) {
            return Block::Held;
        }
        let blocks = self.open.get(&sequence).map(|open| &open.blocks);
        let index = number.0.saturating_sub(part.first_block.0) as usize;
        blocks.and_then(|blocks| blocks.get(index)).copied().unwrap_or(Block::Missing { tried: None })
    }

    /// A part that is being fetched; it is from now on. `None` when it is whole.
    pub(crate) fn open(&mut self, part: &PartFacts) -> Option<&mut OpenPart> {
        let is_lacking = !self.is_whole(part.id.sequence);
        is_lacking.then(|| self.open.entry(part.id.sequence).or_insert_with(|| OpenPart::new(part)))
    }

    /// Its list of block hashes is here; false when it is not being fetched.
    pub(crate) fn described(&mut self, sequence: u32) -> bool {
        let Some(open) = self.open.get_mut(&sequence) else { return false };
        open.is_described = true;
        open.list_asked = None;
        true
    }

    /// A block is here; gives what was known of it before. `None` when its part is not being fetched, or it was here.
    pub(crate) fn hold(&mut self, part: &PartFacts, number: BlockNumber) -> Option<Block> {
        let open = self.open.get_mut(&part.id.sequence)?;
        // Nothing is verified without the list, which may have come for an earlier try.
        open.is_described = true;
        let block = open.block_mut(number)?;
        let before = core::mem::replace(block, Block::Held);
        (before != Block::Held).then_some(before)
    }

    /// Whether the part, which was being fetched, is whole now.
    pub(crate) fn close_if_whole(&mut self, sequence: u32) -> bool {
        let is_whole = self.open.get(&sequence).is_some_and(OpenPart::is_whole);
        if is_whole {
            self.open.remove(&sequence);
            self.whole.insert(sequence);
        }
        is_whole
    }

    /// A block that was asked of this one is missing again; false when it was not.
    pub(crate) fn give_up(&mut self, part: &PartFacts, number: BlockNumber, of: PeerId) -> bool {
        let block = self.open.get_mut(&part.id.sequence).and_then(|open| open.block_mut(number));
        let Some(block) =
            block.filter(|block| matches!(block, Block::Asked { of: asked, .. } if *asked == of))
        else {
            return false;
        };
        *block = Block::Missing { tried: Some(of) };
        true
    }

    /// What was asked of this one is missing again.
    pub(crate) fn forget_source(&mut self, peer: PeerId) {
        self.give_up_where(|_, of, _| of == peer);
        for open in self.open.values_mut() {
            open.list_asked = open.list_asked.filter(|(of, _)| *of != peer);
        }
    }

    /// What passes the test, of a part's sequence, whom it was asked of and when that expires, is missing again.
    pub(crate) fn give_up_where(
        &mut self,
        is_over: impl Fn(u32, PeerId, Instant) -> bool,
    ) -> Vec<(PeerId, BlockNumber)> {
        let mut over = Vec::new();
        for (sequence, open) in &mut self.open {
            for (number, block) in (open.first_block..).map(BlockNumber).zip(&mut open.blocks) {
                if let Block::Asked { of, expires_at, .. } = *block
                    && is_over(*sequence, of, expires_at)
                {
                    *block = Block::Missing { tried: Some(of) };
                    over.push((of, number));
                }
            }
        }
        over
    }

    /// Forgets parts of which nothing is here or on its way.
    pub(crate) fn tidy(&mut self) {
        self.open.retain(|_, open| !open.is_idle());
    }

    /// Forgets a part; gives the bytes of its blocks that were here.
    pub(crate) fn drop_part(&mut self, part: &PartFacts) -> u64 {
        let len = |number: BlockNumber| part.message_len(number) as u64;
        if self.whole.remove(&part.id.sequence) {
            return (part.first_block.0..).take(part.n_blocks as usize).map(BlockNumber).map(len).sum();
        }
        let Some(open) = self.open.remove(&part.id.sequence) else { return 0 };
        open.blocks().filter(|(_, block)| *block == Block::Held).map(|(number, _)| len(number)).sum()
    }
}
