//! Box headers of ISO/IEC 14496-12 (section 4.2), read without trust.

use std::fmt;

use crate::read::Reader;

/// A box's type. Shown as text, other bytes escaped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// Whether all four bytes are printable ASCII, or the copyright sign that `QuickTime` starts names with.
    pub fn is_plausible(self) -> bool {
        self.0.iter().all(|&byte| byte.is_ascii_graphic() || byte == b' ' || byte == 0xA9)
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FourCc({self})")
    }
}

/// Why bytes are no box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// Shorter than its own header, or longer than what is around it.
    #[error("box {0} has an impossible length")]
    Length(FourCc),
    /// Length 0: it goes on to the end of the file, which a live stream does not have.
    #[error("box {0} has no length")]
    Endless(FourCc),
    /// Bytes between boxes that are too few for one.
    #[error("there are stray bytes after the last box")]
    Stray,
}

/// The first bytes of a box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BoxHeader {
    /// Its type.
    pub kind: FourCc,
    /// Bytes of the header: 8, or 16 with a 64-bit length.
    pub header_len: usize,
    /// Bytes of the whole box, header included.
    pub len: u64,
}

impl BoxHeader {
    /// The header that `bytes` begin with, or `None` when it is not all there yet.
    ///
    /// # Errors
    /// When the length cannot be right.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, BoxError> {
        let mut reader = Reader::new(bytes);
        let (Some(short_len), Some(kind)) = (reader.u32(), reader.array().map(FourCc)) else {
            return Ok(None);
        };
        let (header_len, len) = match short_len {
            0 => return Err(BoxError::Endless(kind)),
            1 => match reader.u64() {
                None => return Ok(None),
                Some(len) => (16, len),
            },
            len => (8, u64::from(len)),
        };
        if len < header_len as u64 {
            return Err(BoxError::Length(kind));
        }
        Ok(Some(Self { kind, header_len, len }))
    }
}

/// A whole box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mp4Box<'a> {
    /// Its type.
    pub kind: FourCc,
    /// What is after the header.
    pub body: &'a [u8],
    /// Header and body.
    pub bytes: &'a [u8],
}

/// The boxes that follow each other in `bytes`; ends after the first error.
pub const fn boxes(bytes: &[u8]) -> Boxes<'_> {
    Boxes { rest: bytes }
}

/// The first box of this type, if there is one.
///
/// # Errors
/// When the boxes before it are broken.
pub fn find(bytes: &[u8], kind: [u8; 4]) -> Result<Option<Mp4Box<'_>>, BoxError> {
    boxes(bytes).find(|item| item.is_err() || item.is_ok_and(|found| found.kind.0 == kind)).transpose()
}

/// See [`boxes`].
#[derive(Clone, Debug)]
pub struct Boxes<'a> {
    rest: &'a [u8],
}

impl<'a> Boxes<'a> {
    fn step(&mut self) -> Result<Mp4Box<'a>, BoxError> {
        let header = BoxHeader::parse(self.rest)?.ok_or(BoxError::Stray)?;
        let len = usize::try_from(header.len).map_err(|_| BoxError::Length(header.kind))?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(BoxError::Length(header.kind))?;
        self.rest = rest;
        Ok(Mp4Box { kind: header.kind, body: bytes.get(header.header_len..).unwrap_or_default(), bytes })
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<Mp4Box<'a>, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.step();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// Writes a box around what `body` writes.
pub(crate) fn write_box(out: &mut Vec<u8>, kind: [u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind);
    body(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    put_u32(out, start, len);
}

/// Writes a number over four bytes that are there already.
pub(crate) fn put_u32(out: &mut [u8], at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value.to_be_bytes();
    }
}
