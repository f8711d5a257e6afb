//! Sample entries (`stsd`) to codec strings (RFC 6381), sizes and bitrates.

use std::fmt::Write;

use crate::TrackKind;
use crate::boxes::{Mp4Box, boxes};
use crate::cut::CutError;
use crate::read::Reader;

/// Bytes of a visual sample entry before its boxes (ISO/IEC 14496-12, section 12.1.3).
const VISUAL_LEN: usize = 78;
/// Bytes of an audio sample entry before its boxes (section 12.2.3).
const AUDIO_LEN: usize = 28;

/// What a sample entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SampleEntry {
    pub(crate) codec: String,
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Bits per second; 0 when unknown.
    pub(crate) bitrate: u32,
}

impl SampleEntry {
    /// Reads a sample entry.
    pub(crate) fn parse(entry: &Mp4Box<'_>, kind: TrackKind) -> Result<Self, CutError> {
        let parsed = match (kind, &entry.kind.0) {
            (TrackKind::Video, b"avc1" | b"avc3" | b"hvc1" | b"hev1" | b"av01" | b"vp09") => {
                Self::parse_video(entry)
            }
            (TrackKind::Audio, b"mp4a" | b"Opus" | b"fLaC" | b"ac-3" | b"ec-3") => Self::parse_audio(entry),
            _ => return Err(CutError::UnknownCodec(entry.kind)),
        };
        parsed.ok_or(CutError::NoDecoderConfiguration(entry.kind))
    }

    fn parse_video(entry: &Mp4Box<'_>) -> Option<Self> {
        let mut reader = Reader::new(entry.body);
        reader.skip(24)?;
        let (width, height) = (reader.u16()?, reader.u16()?);
        let children = entry.body.get(VISUAL_LEN..)?;
        let name = std::str::from_utf8(&entry.kind.0).ok()?;
        let codec = match &entry.kind.0 {
            b"av01" => av1(child(children, *b"av1C")?),
            b"vp09" => vp9(child(children, *b"vpcC")?),
            b"hvc1" | b"hev1" => hevc(name, child(children, *b"hvcC")?),
            _ => avc(name, child(children, *b"avcC")?),
        }?;
        Some(Self { codec, width, height, bitrate: bitrate(children) })
    }

    fn parse_audio(entry: &Mp4Box<'_>) -> Option<Self> {
        let children = entry.body.get(AUDIO_LEN..)?;
        let codec = match &entry.kind.0 {
            b"mp4a" => mpeg4_audio(child(children, *b"esds")?)?,
            b"Opus" => "opus".to_owned(),
            b"fLaC" => "flac".to_owned(),
            name => std::str::from_utf8(name).ok()?.to_owned(),
        };
        Some(Self { codec, width: 0, height: 0, bitrate: bitrate(children) })
    }
}

/// The body of a box in a sample entry. What follows the boxes there is not always boxes: it is not looked at.
fn child(children: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    boxes(children).map_while(Result::ok).find(|found| found.kind.0 == kind).map(|found| found.body)
}

/// `btrt`: buffer size, maximum and average bitrate (section 8.5.2.2).
fn bitrate(children: &[u8]) -> u32 {
    let read = |body| {
        let mut reader = Reader::new(body);
        reader.skip(4)?;
        Some((reader.u32()?, reader.u32()?))
    };
    let (max, average) = child(children, *b"btrt").and_then(read).unwrap_or_default();
    if average == 0 { max } else { average }
}

/// ISO/IEC 14496-15, section 5.3.3.1: version, profile, compatibility, level.
fn avc(name: &str, config: &[u8]) -> Option<String> {
    let [_, profile, compatibility, level] = Reader::new(config).array()?;
    Some(format!("{name}.{profile:02X}{compatibility:02X}{level:02X}"))
}

/// ISO/IEC 14496-15, section 8.3.3.1 and annex E.3.
fn hevc(name: &str, config: &[u8]) -> Option<String> {
    let mut reader = Reader::new(config);
    let [_version, profile] = reader.array()?;
    let compatibility = reader.u32()?.reverse_bits();
    let constraints: [u8; 6] = reader.array()?;
    let level = reader.u8()?;
    let space = ["", "A", "B", "C"].get(usize::from(profile >> 6))?;
    let tier = if profile >> 5 & 1 == 1 { 'H' } else { 'L' };
    let mut codec = format!("{name}.{space}{}.{compatibility:X}.{tier}{level}", profile & 0x1F);
    let n_constraints = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in constraints.iter().take(n_constraints) {
        write!(codec, ".{byte:X}").ok()?;
    }
    Some(codec)
}

/// "AV1 Codec ISO Media File Format Binding", sections 2.3.3 and 5.
fn av1(config: &[u8]) -> Option<String> {
    let [_marker, profile_level, flags] = Reader::new(config).array()?;
    let (profile, level) = (profile_level >> 5, profile_level & 0x1F);
    let tier = if flags >> 7 == 1 { 'H' } else { 'M' };
    let depth = match (flags >> 6 & 1, flags >> 5 & 1) {
        (0, _) => 8,
        (_, 0) => 10,
        _ => 12,
    };
    Some(format!("av01.{profile}.{level:02}{tier}.{depth:02}"))
}

/// "VP Codec ISO Media File Format Binding": a full box, then profile, level, bit depth in the upper half.
fn vp9(config: &[u8]) -> Option<String> {
    let mut reader = Reader::new(config);
    reader.skip(4)?;
    let [profile, level, depth] = reader.array()?;
    Some(format!("vp09.{profile:02}.{level:02}.{:02}", depth >> 4))
}

/// ISO/IEC 14496-1, section 7.2.6: the object type, and for MPEG-4 audio the one in its configuration.
fn mpeg4_audio(config: &[u8]) -> Option<String> {
    let mut reader = Reader::new(config);
    reader.skip(4)?;
    let mut stream = Reader::new(descriptor(&mut reader, 0x03)?);
    stream.skip(2)?;
    let flags = stream.u8()?;
    if flags & 0x80 != 0 {
        stream.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let url_len = stream.u8()?;
        stream.skip(usize::from(url_len))?;
    }
    if flags & 0x20 != 0 {
        stream.skip(2)?;
    }
    let mut decoder = Reader::new(descriptor(&mut stream, 0x04)?);
    let object_type = decoder.u8()?;
    if object_type != 0x40 {
        return Some(format!("mp4a.{object_type:02X}"));
    }
    decoder.skip(12)?;
    let specific = descriptor(&mut decoder, 0x05)?;
    Some(format!("mp4a.40.{}", audio_object_type(specific)?))
}

/// The body of the descriptor with this tag, which has to come next. Its length has seven bits in each of up to four
/// bytes (ISO/IEC 14496-1, section 8.3.3).
fn descriptor<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    (reader.u8()? == tag).then_some(())?;
    let mut len = 0;
    for _ in 0..4 {
        let byte = reader.u8()?;
        len = len << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return reader.take(len);
        }
    }
    None
}

/// ISO/IEC 14496-3, section 1.6.2.1: five bits, or 32 and the next six.
fn audio_object_type(specific: &[u8]) -> Option<u8> {
    let mut reader = Reader::new(specific);
    let first = reader.u8()?;
    match first >> 3 {
        31 => Some(32 + ((first & 0x07) << 3 | reader.u8()? >> 5)),
        object_type => Some(object_type),
    }
}
