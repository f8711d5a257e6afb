//! CMAF boxes and parts, signed catalogs and descriptors, the verified block store.
//!
//! Pure: no clock, no I/O, no allocation that a stranger can size. Media comes in two ways: at ingest a [`Cutter`]
//! makes chunks of an encoder's bytes, and a [`Publisher`] numbers, hashes and signs them; at a peer a [`Store`] takes
//! what neighbours send, and keeps and gives only what the channel's key vouches for. A broadcast is live, with a
//! signature on each part, or a film, which a [`FilmMaker`] makes of all its parts and signs once.

pub mod boxes;
mod catalog;
mod cmaf;
mod cut;
mod cutter;
mod descriptor;
mod film;
mod holding;
mod index;
mod key;
mod publisher;
mod read;
mod reel;
mod store;
mod time;
mod window;

pub use catalog::{
    CATALOG_LEN_LIMIT, CODEC_LEN_LIMIT, Catalog, CatalogError, INIT_LEN_LIMIT, TRACK_LIMIT, Track, TrackKind,
};
pub use cut::{Chunk, Cut, CutError, TrackInit};
pub use cutter::Cutter;
pub use descriptor::{
    BlockHash, DESCRIPTOR_LEN_LIMIT, Descriptor, DescriptorError, HASH_LEN, PART_LEN_LIMIT, PartId,
    hash_block,
};
pub use film::{Film, FilmMaker};
pub use index::{
    INDEX_PAGE_LEN_LIMIT, INDEX_PAGE_LIMIT, INDEX_PAGE_PARTS, IndexError, IndexPage, IndexedPart, PageId,
    PageSummary, TrackIndex, index_page_len,
};
pub use key::{InvalidKey, PublicKey, SigningKey};
pub use publisher::{CutPart, PublishError, Published, Publisher};
pub use store::{BlockVerdict, Inserted, Store, StoreLimits};
pub use time::{MediaTime, ticks_to_micros};
