//! One fragmented MP4 of a picture and a sound that travel apart: one movie header, and each track's fragments as they come
//! (ISO/IEC 14496-12, section 8.8).

use bytes::Bytes;
use cardume_media::Track;
use cardume_media::boxes::{BoxError, BoxHeader, find};

/// Why tracks make no movie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// A box that is none.
    #[error("the track's boxes are broken: {0}")]
    Broken(#[from] BoxError),
    /// An init segment without a movie header, or a header without its parts.
    #[error("the track's init segment has no movie header")]
    NoHeader,
}

/// A movie of some tracks, numbered from 1 in their order.
#[derive(Debug)]
pub struct Mux {
    header: Bytes,
}

impl Mux {
    /// A movie of these tracks of one broadcast.
    ///
    /// # Errors
    /// When an init segment cannot be read.
    pub fn new<'a>(tracks: impl Iterator<Item = &'a Track> + Clone) -> Result<Self, MuxError> {
        let (mut ftyp, mut mvhd) = (&[][..], &[][..]);
        let (mut headers, mut defaults) = (Vec::new(), Vec::new());
        for (id, track) in (1..).zip(tracks) {
            let moov = find(&track.init, *b"moov")?.ok_or(MuxError::NoHeader)?.body;
            if mvhd.is_empty() {
                ftyp = find(&track.init, *b"ftyp")?.map_or(&[][..], |found| found.bytes);
                mvhd = find(moov, *b"mvhd")?.ok_or(MuxError::NoHeader)?.bytes;
            }
            let mut trak = find(moov, *b"trak")?.ok_or(MuxError::NoHeader)?.bytes.to_vec();
            set_id(&mut trak, &[*b"trak", *b"tkhd"], id)?;
            headers.extend(trak);
            let mvex = find(moov, *b"mvex")?.ok_or(MuxError::NoHeader)?.body;
            let mut trex = find(mvex, *b"trex")?.ok_or(MuxError::NoHeader)?.bytes.to_vec();
            set_id(&mut trex, &[*b"trex"], id)?;
            defaults.extend(trex);
        }
        let mvex = boxed(*b"mvex", &[&defaults]);
        let moov = boxed(*b"moov", &[mvhd, &headers, &mvex]);
        Ok(Self { header: [ftyp, &moov].concat().into() })
    }

    /// The first bytes of the movie.
    pub fn header(&self) -> Bytes {
        self.header.clone()
    }

    /// A part of the track at this place, as it stands in the movie.
    ///
    /// # Errors
    /// When its boxes are broken.
    pub fn part(&self, place: usize, chunks: &[Bytes]) -> Result<Bytes, MuxError> {
        let mut part = chunks.concat();
        let id = u32::try_from(place + 1).unwrap_or(u32::MAX);
        set_id(&mut part, &[*b"moof", *b"traf", *b"tfhd"], id)?;
        Ok(part.into())
    }
}

/// Writes a track's number into all boxes at this path.
fn set_id(bytes: &mut [u8], path: &[[u8; 4]], id: u32) -> Result<(), BoxError> {
    let mut at = 0;
    while at < bytes.len() {
        let header = BoxHeader::parse(&bytes[at..])?.ok_or(BoxError::Stray)?;
        let end = usize::try_from(header.len).ok().and_then(|len| at.checked_add(len));
        let end = end.filter(|end| *end <= bytes.len()).ok_or(BoxError::Length(header.kind))?;
        let body = &mut bytes[at + header.header_len..end];
        match path {
            [kind] if *kind == header.kind.0 => {
                write_id(body, *kind, id).ok_or(BoxError::Length(header.kind))?;
            }
            [kind, inner @ ..] if *kind == header.kind.0 => set_id(body, inner, id)?,
            _ => {}
        }
        at = end;
    }
    Ok(())
}

/// `tkhd` has the number after two times, which have 64 bits in version 1; the others have it first.
fn write_id(body: &mut [u8], kind: [u8; 4], id: u32) -> Option<()> {
    let at = match (kind == *b"tkhd", body.first()?) {
        (true, 1) => 20,
        (true, _) => 12,
        (false, _) => 4,
    };
    *body.get_mut(at..)?.first_chunk_mut()? = id.to_be_bytes();
    Some(())
}

fn boxed(kind: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u32::try_from(body.len() + 8).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), &kind[..], &body].concat()
}

#[cfg(test)]
mod tests {
    use cardume_media::TrackKind;
    use cardume_media::boxes::boxes;
    use cardume_wire::TrackId;

    use super::*;

    /// A full box of version 0 with this number behind these bytes.
    fn numbered(kind: [u8; 4], before: usize, id: u32) -> Vec<u8> {
        boxed(kind, &[&vec![0; before], &id.to_be_bytes(), &[9; 4]])
    }

    fn track(id: u8, kind: TrackKind) -> Track {
        let trak = boxed(*b"trak", &[&numbered(*b"tkhd", 12, 1), &boxed(*b"mdia", &[b"media"])]);
        let mvex = boxed(*b"mvex", &[&numbered(*b"trex", 4, 1)]);
        let moov = boxed(*b"moov", &[&boxed(*b"mvhd", &[b"movie"]), &trak, &mvex]);
        Track {
            id: TrackId(id),
            kind,
            codec: "avc1.42C01E".to_owned(),
            timescale: 1000,
            bitrate: 0,
            width: 0,
            height: 0,
            init: [boxed(*b"ftyp", &[b"iso6"]), moov].concat().into(),
        }
    }

    fn chunk() -> Bytes {
        let traf = boxed(*b"traf", &[&numbered(*b"tfhd", 4, 1), &boxed(*b"trun", &[b"runs"])]);
        [boxed(*b"moof", &[&boxed(*b"mfhd", &[b"head"]), &traf]), boxed(*b"mdat", &[b"moof"])].concat().into()
    }

    #[test]
    fn tracks_that_have_the_same_number_get_their_own() {
        let tracks = [track(0, TrackKind::Video), track(3, TrackKind::Audio)];
        let mux = Mux::new(tracks.iter()).unwrap();
        let header = mux.header();
        let kinds: Vec<_> = boxes(&header).map(|item| item.unwrap().kind.0).collect();
        assert_eq!(kinds, [*b"ftyp", *b"moov"]);
        let moov = find(&header, *b"moov").unwrap().unwrap();
        let kinds: Vec<_> = boxes(moov.body).map(|item| item.unwrap().kind.0).collect();
        assert_eq!(kinds, [*b"mvhd", *b"trak", *b"trak", *b"mvex"]);
        for id in [1, 2] {
            assert!(contains(&header, &numbered(*b"tkhd", 12, id)), "tkhd {id}");
            assert!(contains(&header, &numbered(*b"trex", 4, id)), "trex {id}");
        }
        let part = mux.part(1, &[chunk(), chunk()]).unwrap();
        assert_eq!(part.len(), 2 * chunk().len());
        assert!(contains(&part, &numbered(*b"tfhd", 4, 2)) && !contains(&part, &numbered(*b"tfhd", 4, 1)));
        assert_eq!(mux.part(0, &[chunk()]).unwrap(), chunk());
    }

    #[test]
    fn broken_boxes_are_an_error() {
        let mut broken = track(0, TrackKind::Video);
        broken.init = Bytes::from_static(b"init segment");
        assert!(Mux::new([broken].iter()).is_err());
        let mux = Mux::new([track(0, TrackKind::Video)].iter()).unwrap();
        let whole = chunk();
        for len in (1..whole.len()).filter(|len| *len != whole.len() - 12) {
            assert!(mux.part(0, &[whole.slice(..len)]).is_err(), "{len} bytes");
        }
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }
}
