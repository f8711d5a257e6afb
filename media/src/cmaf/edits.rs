//! Edit lists (`elst`, ISO/IEC 14496-12, section 8.6.6): the part of them that players disagree on is taken out.
//!
//! An encoder whose sound starts before its picture says so by an *empty edit* at the front of a track. Chromium ignores
//! it, Firefox does not, so the same file is in step in one and not in the other. Here the empty edit is removed from
//! the init segment, and its duration is added to the decode time of every chunk, which all players understand.

use crate::boxes::{Mp4Box, boxes, find, write_box};
use crate::read::Reader;

/// `media_time` of an empty edit.
const EMPTY: i64 = -1;

/// The empty edits at the front of a track's edit list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct EmptyEdits {
    /// In ticks of the movie's timescale.
    pub(crate) duration: u64,
    count: usize,
}

impl EmptyEdits {
    /// Reads them from a `trak`; an edit list that cannot be read is left to the player.
    pub(crate) fn parse(trak: &Mp4Box<'_>) -> Self {
        edit_list(trak).and_then(Self::parse_list).unwrap_or_default()
    }

    fn parse_list(elst: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(elst);
        let version = reader.u32()? >> 24;
        let n_entries = reader.u32()?;
        let mut edits = Self::default();
        for _ in 0..n_entries {
            let (duration, media_time) = read_entry(&mut reader, version)?;
            if media_time != EMPTY {
                break;
            }
            edits.duration = edits.duration.checked_add(duration)?;
            edits.count += 1;
        }
        Some(edits)
    }

    /// Writes the `trak` without them.
    pub(crate) fn write_without(self, out: &mut Vec<u8>, trak: &Mp4Box<'_>) {
        if self.count == 0 {
            out.extend_from_slice(trak.bytes);
            return;
        }
        write_box(out, *b"trak", |out| {
            for child in boxes(trak.body).map_while(Result::ok) {
                match &child.kind.0 {
                    b"edts" => self.write_edits(out, edit_list(trak).unwrap_or_default()),
                    _ => out.extend_from_slice(child.bytes),
                }
            }
        });
    }

    fn write_edits(self, out: &mut Vec<u8>, elst: &[u8]) {
        let Some((head, entries)) = elst.split_first_chunk::<8>() else { return };
        let entry_len = if head[0] == 0 { 12 } else { 20 };
        let entries = entries.get(self.count * entry_len..).unwrap_or_default();
        if entries.is_empty() {
            return;
        }
        let n_entries = u32::try_from(entries.len() / entry_len).unwrap_or(u32::MAX);
        write_box(out, *b"edts", |out| {
            write_box(out, *b"elst", |out| {
                out.extend_from_slice(&head[..4]);
                out.extend_from_slice(&n_entries.to_be_bytes());
                out.extend_from_slice(entries);
            });
        });
    }
}

fn edit_list<'a>(trak: &Mp4Box<'a>) -> Option<&'a [u8]> {
    let edts = find(trak.body, *b"edts").ok()??;
    find(edts.body, *b"elst").ok()?.map(|elst| elst.body)
}

fn read_entry(reader: &mut Reader<'_>, version: u32) -> Option<(u64, i64)> {
    let entry = if version == 0 {
        (u64::from(reader.u32()?), i64::from(reader.u32()?.cast_signed()))
    } else {
        (reader.u64()?, reader.u64()?.cast_signed())
    };
    reader.skip(4)?;
    Some(entry)
}
