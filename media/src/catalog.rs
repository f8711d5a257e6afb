//! The signed list of a broadcast's tracks: what a viewer needs before the first part.

use bytes::Bytes;
use cardume_wire::{Epoch, TrackId, link};

use crate::index::{INDEX_PAGE_LIMIT, INDEX_PAGE_PARTS, TrackIndex};
use crate::key::{Domain, PublicKey, SIGNATURE_LEN, SigningKey};
use crate::read::Reader;

/// Tracks of one broadcast at most: two codecs in four renditions fit. Every track costs each viewer state.
pub const TRACK_LIMIT: usize = 8;
/// Bytes of a track's init segment at most. Those of encoders are 0.5 to 2 KiB; the rest is room for decoder
/// configurations with many parameter sets.
pub const INIT_LEN_LIMIT: usize = 16 * 1024;
/// Bytes of a codec string at most; the longest of RFC 6381 (HEVC with all constraint bytes) has about 40.
pub const CODEC_LEN_LIMIT: usize = 64;
/// Bytes of a signed catalog at most: it travels in one link message, after the type byte.
pub const CATALOG_LEN_LIMIT: usize = link::MESSAGE_LEN_LIMIT - 1;

/// Form of the signed bytes of a live broadcast; others than the two are refused.
const VERSION: u8 = 1;
/// Form of the signed bytes of a film: each track is followed by its index.
const FILM_VERSION: u8 = 2;

/// What a track carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One rendition of the video, or one audio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// Its index in the catalog's numbering, below [`TrackId::LIMIT`].
    pub id: TrackId,
    /// Video or audio.
    pub kind: TrackKind,
    /// Codec as in RFC 6381, e.g. `avc1.42C01E`; at most [`CODEC_LEN_LIMIT`] bytes of printable ASCII without quotes.
    pub codec: String,
    /// Ticks per second of the track's media time; not 0.
    pub timescale: u32,
    /// Nominal bitrate in bits per second; 0 when unknown.
    pub bitrate: u32,
    /// Pixels; 0 for audio.
    pub width: u16,
    /// Pixels; 0 for audio.
    pub height: u16,
    /// The init segment (`ftyp` and `moov`) with this track alone; 1 to [`INIT_LEN_LIMIT`] bytes.
    pub init: Bytes,
}

impl Track {
    /// The type for `MediaSource.isTypeSupported` and `addSourceBuffer`.
    pub fn mime(&self) -> String {
        let kind = match self.kind {
            TrackKind::Video => "video",
            TrackKind::Audio => "audio",
        };
        format!("{kind}/mp4; codecs=\"{}\"", self.codec)
    }

    fn check(&self) -> Result<(), CatalogError> {
        let is_codec_byte = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        let is_codec =
            (1..=CODEC_LEN_LIMIT).contains(&self.codec.len()) && self.codec.bytes().all(is_codec_byte);
        if self.id.0 >= TrackId::LIMIT {
            Err(CatalogError::Tracks)
        } else if !is_codec {
            Err(CatalogError::Codec)
        } else if self.timescale == 0 {
            Err(CatalogError::Timescale)
        } else if self.init.is_empty() || self.init.len() > INIT_LEN_LIMIT {
            Err(CatalogError::InitLength)
        } else {
            Ok(())
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.id.0);
        bytes.push(u8::from(self.kind == TrackKind::Audio));
        bytes.extend_from_slice(&self.timescale.to_be_bytes());
        bytes.extend_from_slice(&self.bitrate.to_be_bytes());
        bytes.extend_from_slice(&self.width.to_be_bytes());
        bytes.extend_from_slice(&self.height.to_be_bytes());
        extend_with_len(bytes, self.codec.as_bytes());
        extend_with_len(bytes, &self.init);
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            id: TrackId(reader.u8()?),
            kind: match reader.u8()? {
                0 => TrackKind::Video,
                1 => TrackKind::Audio,
                _ => return None,
            },
            timescale: reader.u32()?,
            bitrate: reader.u32()?,
            width: reader.u16()?,
            height: reader.u16()?,
            codec: String::from_utf8(take_with_len(reader)?.to_vec()).ok()?,
            init: Bytes::copy_from_slice(take_with_len(reader)?),
        })
    }
}

/// Lengths are u16: [`Track::check`] keeps both fields below.
#[expect(clippy::cast_possible_truncation, reason = "the limits of both fields are below 2^16")]
fn extend_with_len(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&(field.len() as u16).to_be_bytes());
    bytes.extend_from_slice(field);
}

fn take_with_len<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = reader.u16()?;
    reader.take(usize::from(len))
}

/// The tracks of one broadcast, live or on demand (a film), within all limits by construction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalog {
    epoch: Epoch,
    tracks: Vec<Track>,
    /// Of a film, one for each track; empty when live.
    indexes: Vec<TrackIndex>,
}

/// Why this is no catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// No tracks, more than [`TRACK_LIMIT`], or ids that do not ascend below [`TrackId::LIMIT`].
    #[error("a catalog has 1 to {TRACK_LIMIT} tracks with ascending ids below {}", TrackId::LIMIT)]
    Tracks,
    /// Not a codec string.
    #[error("a codec string is 1 to {CODEC_LEN_LIMIT} printable ASCII characters without quotes")]
    Codec,
    /// Zero ticks per second.
    #[error("a track's timescale is not 0")]
    Timescale,
    /// No init segment, or a longer one than [`INIT_LEN_LIMIT`].
    #[error("a track's init segment has 1 to {INIT_LEN_LIMIT} bytes")]
    InitLength,
    /// A track of a film without parts, or with more than an index has room for.
    #[error("a film's track has 1 to {} parts", INDEX_PAGE_LIMIT * INDEX_PAGE_PARTS)]
    Index,
    /// Longer than [`CATALOG_LEN_LIMIT`] in all.
    #[error("the catalog is longer than {CATALOG_LEN_LIMIT} bytes")]
    TooLong,
    /// Not signed by the channel's key.
    #[error("the catalog is not signed by the channel's key")]
    Signature,
    /// Signed, but not in this version's form.
    #[error("the catalog is not in the form of version {VERSION} or {FILM_VERSION}")]
    Malformed,
}

impl Catalog {
    /// The catalog of a live broadcast with these tracks.
    ///
    /// # Errors
    /// When a limit is broken; each error names the limit.
    pub fn new(epoch: Epoch, tracks: Vec<Track>) -> Result<Self, CatalogError> {
        Self::checked(epoch, tracks, Vec::new())
    }

    /// The catalog of a film with these tracks, each with its index; [`crate::FilmMaker`] makes it.
    ///
    /// # Errors
    /// When a limit is broken; each error names the limit.
    pub fn on_demand(epoch: Epoch, tracks: Vec<(Track, TrackIndex)>) -> Result<Self, CatalogError> {
        let (tracks, indexes) = tracks.into_iter().unzip();
        Self::checked(epoch, tracks, indexes)
    }

    fn checked(epoch: Epoch, tracks: Vec<Track>, indexes: Vec<TrackIndex>) -> Result<Self, CatalogError> {
        let is_ascending = tracks.iter().zip(tracks.iter().skip(1)).all(|(a, b)| a.id < b.id);
        if tracks.is_empty() || tracks.len() > TRACK_LIMIT || !is_ascending {
            return Err(CatalogError::Tracks);
        }
        tracks.iter().try_for_each(Track::check)?;
        let catalog = Self { epoch, tracks, indexes };
        if catalog.encode().len() + SIGNATURE_LEN > CATALOG_LEN_LIMIT {
            return Err(CatalogError::TooLong);
        }
        Ok(catalog)
    }

    /// The broadcast.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its tracks, ids ascending; 1 to [`TRACK_LIMIT`].
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The track with this id.
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// Whether it is of a film, which can be watched from anywhere at any time.
    pub const fn is_on_demand(&self) -> bool {
        !self.indexes.is_empty()
    }

    /// Where the last track of a film ends, in microseconds of media time; `None` when live.
    pub fn end_us(&self) -> Option<u64> {
        let ends = self.tracks.iter().zip(&self.indexes);
        ends.map(|(track, index)| index.end().to_micros(track.timescale)).max()
    }

    /// The index of a film's track; `None` when live.
    pub fn index(&self, id: TrackId) -> Option<&TrackIndex> {
        let place = self.tracks.iter().position(|track| track.id == id)?;
        self.indexes.get(place)
    }

    /// The signed form, for [`Catalog::verify`]; at most [`CATALOG_LEN_LIMIT`] bytes.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        key.sign(Domain::Catalog, self.encode())
    }

    /// The catalog in signed bytes.
    ///
    /// # Errors
    /// [`CatalogError::Signature`] unless `key` signed them; the others when the signer broke a limit.
    pub fn verify(bytes: &[u8], key: &PublicKey) -> Result<Self, CatalogError> {
        if bytes.len() > CATALOG_LEN_LIMIT {
            return Err(CatalogError::TooLong);
        }
        let body = key.open(Domain::Catalog, bytes).ok_or(CatalogError::Signature)?;
        let Self { epoch, tracks, indexes } = Self::decode(body).ok_or(CatalogError::Malformed)?;
        Self::checked(epoch, tracks, indexes)
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most TRACK_LIMIT tracks")]
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![if self.is_on_demand() { FILM_VERSION } else { VERSION }];
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.push(self.tracks.len() as u8);
        for (place, track) in self.tracks.iter().enumerate() {
            track.encode(&mut bytes);
            if let Some(index) = self.indexes.get(place) {
                index.encode(&mut bytes);
            }
        }
        bytes
    }

    /// Not yet checked against the limits of catalogs.
    fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let is_on_demand = match reader.u8()? {
            VERSION => false,
            FILM_VERSION => true,
            _ => return None,
        };
        let epoch = Epoch(reader.u32()?);
        let n_tracks = usize::from(reader.u8()?);
        if n_tracks > TRACK_LIMIT {
            return None;
        }
        let (mut tracks, mut indexes) = (Vec::new(), Vec::new());
        for _ in 0..n_tracks {
            tracks.push(Track::decode(&mut reader)?);
            if is_on_demand {
                indexes.push(TrackIndex::decode(&mut reader)?);
            }
        }
        reader.end()?;
        Some(Self { epoch, tracks, indexes })
    }
}
