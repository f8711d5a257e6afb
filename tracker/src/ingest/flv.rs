//! FLV and Enhanced RTMP tag bodies (Adobe, "Video File Format 10.1", annex E; Veovera, "Enhanced RTMP v2").

use bytes::{Buf, Bytes};

/// What a video tag carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VideoTag {
    /// The decoder configuration: the body of `avcC`, `hvcC` or `av1C`.
    Config(VideoCodec, Bytes),
    /// One frame.
    Frame(Picture),
    /// Nothing that matters here: metadata, end of sequence, encoder's commands.
    Nothing,
}

/// One frame of video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) is_key: bool,
    /// Composition minus decode time, in milliseconds.
    pub(crate) composition_ms: i32,
    /// As it stands in an MP4 sample.
    pub(crate) data: Bytes,
}

/// What an audio tag carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AudioTag {
    /// The decoder configuration: `AudioSpecificConfig`, or an Opus identification header.
    Config(AudioCodec, Bytes),
    /// One frame.
    Frame(Bytes),
    /// Nothing that matters here.
    Nothing,
}

/// Video codecs that are carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VideoCodec {
    H264,
    Hevc,
    Av1,
}

/// Audio codecs that are carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AudioCodec {
    Aac,
    Opus,
}

/// A tag that is not carried on; the text is for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlvError {
    #[error("a tag ends in the middle of its header")]
    Truncated,
    #[error("video codec {0} is not carried: send H.264 (or HEVC or AV1 by Enhanced RTMP)")]
    VideoCodec(String),
    #[error("audio codec {0} is not carried: send AAC (or Opus by Enhanced RTMP)")]
    AudioCodec(String),
    #[error("several tracks in one RTMP stream are not carried: send one video and one audio")]
    Multitrack,
}

/// Packet types of Enhanced RTMP; the same numbers for audio and video.
mod packet {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    /// Video only: frames with composition time 0.
    pub(super) const CODED_FRAMES_X: u8 = 3;
    pub(super) const MOD_EX: u8 = 7;
    pub(super) const VIDEO_MULTITRACK: u8 = 6;
    pub(super) const AUDIO_MULTITRACK: u8 = 5;
}

/// Codec numbers and the mark of Enhanced RTMP in plain FLV.
const AVC: u8 = 7;
const AAC: u8 = 10;
const ENHANCED_AUDIO: u8 = 9;
const KEY_FRAME: u8 = 1;
/// Frame type 5: "video info/command frame".
const COMMAND_FRAME: u8 = 5;

/// Reads the body of a video tag.
///
/// # Errors
/// See [`FlvError`].
pub(crate) fn parse_video(mut body: Bytes) -> Result<VideoTag, FlvError> {
    let first = take(&mut body)?;
    if first & 0x80 != 0 {
        return parse_enhanced_video(first, body);
    }
    let (frame_type, codec) = (first >> 4, first & 0x0F);
    if frame_type == COMMAND_FRAME {
        return Ok(VideoTag::Nothing);
    }
    if codec != AVC {
        return Err(FlvError::VideoCodec(format!("number {codec}")));
    }
    let packet_type = take(&mut body)?;
    let composition_ms = take_i24(&mut body)?;
    Ok(match packet_type {
        0 => VideoTag::Config(VideoCodec::H264, body),
        1 => frame(frame_type, composition_ms, body),
        _ => VideoTag::Nothing,
    })
}

fn parse_enhanced_video(first: u8, mut body: Bytes) -> Result<VideoTag, FlvError> {
    let frame_type = first >> 4 & 0x07;
    let packet_type = skip_mod_ex(first & 0x0F, &mut body)?;
    if packet_type == packet::VIDEO_MULTITRACK {
        return Err(FlvError::Multitrack);
    }
    if frame_type == COMMAND_FRAME {
        return Ok(VideoTag::Nothing);
    }
    let codec = match &take_fourcc(&mut body)? {
        b"avc1" => VideoCodec::H264,
        b"hvc1" => VideoCodec::Hevc,
        b"av01" => VideoCodec::Av1,
        other => return Err(FlvError::VideoCodec(String::from_utf8_lossy(other).into_owned())),
    };
    Ok(match packet_type {
        packet::SEQUENCE_START => VideoTag::Config(codec, body),
        packet::CODED_FRAMES if codec != VideoCodec::Av1 => {
            let composition_ms = take_i24(&mut body)?;
            frame(frame_type, composition_ms, body)
        }
        packet::CODED_FRAMES | packet::CODED_FRAMES_X => frame(frame_type, 0, body),
        _ => VideoTag::Nothing,
    })
}

fn frame(frame_type: u8, composition_ms: i32, data: Bytes) -> VideoTag {
    if data.is_empty() {
        return VideoTag::Nothing;
    }
    VideoTag::Frame(Picture { is_key: frame_type == KEY_FRAME, composition_ms, data })
}

/// Reads the body of an audio tag.
///
/// # Errors
/// See [`FlvError`].
pub(crate) fn parse_audio(mut body: Bytes) -> Result<AudioTag, FlvError> {
    let first = take(&mut body)?;
    match first >> 4 {
        ENHANCED_AUDIO => parse_enhanced_audio(first, body),
        AAC => {
            let packet_type = take(&mut body)?;
            Ok(audio_packet(packet_type, AudioCodec::Aac, body))
        }
        codec => Err(FlvError::AudioCodec(format!("number {codec}"))),
    }
}

fn parse_enhanced_audio(first: u8, mut body: Bytes) -> Result<AudioTag, FlvError> {
    let packet_type = skip_mod_ex(first & 0x0F, &mut body)?;
    if packet_type == packet::AUDIO_MULTITRACK {
        return Err(FlvError::Multitrack);
    }
    match &take_fourcc(&mut body)? {
        b"mp4a" => Ok(audio_packet(packet_type, AudioCodec::Aac, body)),
        b"Opus" => Ok(audio_packet(packet_type, AudioCodec::Opus, body)),
        other => Err(FlvError::AudioCodec(String::from_utf8_lossy(other).into_owned())),
    }
}

fn audio_packet(packet_type: u8, codec: AudioCodec, body: Bytes) -> AudioTag {
    match packet_type {
        packet::SEQUENCE_START => AudioTag::Config(codec, body),
        packet::CODED_FRAMES if !body.is_empty() => AudioTag::Frame(body),
        _ => AudioTag::Nothing,
    }
}

/// Steps over "modifier extensions" (nanosecond offsets) to the packet type behind them.
fn skip_mod_ex(mut packet_type: u8, body: &mut Bytes) -> Result<u8, FlvError> {
    while packet_type == packet::MOD_EX {
        let mut len = usize::from(take(body)?) + 1;
        if len == 256 {
            len = usize::from(u16::from_be_bytes([take(body)?, take(body)?])) + 1;
        }
        if body.len() < len {
            return Err(FlvError::Truncated);
        }
        body.advance(len);
        packet_type = take(body)? & 0x0F;
    }
    Ok(packet_type)
}

fn take(body: &mut Bytes) -> Result<u8, FlvError> {
    body.try_get_u8().map_err(|_| FlvError::Truncated)
}

fn take_i24(body: &mut Bytes) -> Result<i32, FlvError> {
    let bytes = [take(body)?, take(body)?, take(body)?, 0];
    Ok(i32::from_be_bytes(bytes) >> 8)
}

fn take_fourcc(body: &mut Bytes) -> Result<[u8; 4], FlvError> {
    Ok(body.try_get_u32().map_err(|_| FlvError::Truncated)?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(bytes: &'static [u8]) -> Result<VideoTag, FlvError> {
        parse_video(Bytes::from_static(bytes))
    }

    fn picture(is_key: bool, composition_ms: i32) -> VideoTag {
        VideoTag::Frame(Picture { is_key, composition_ms, data: Bytes::from_static(b"x") })
    }

    fn audio(bytes: &'static [u8]) -> Result<AudioTag, FlvError> {
        parse_audio(Bytes::from_static(bytes))
    }

    #[test]
    fn plain_h264_tags_are_read_with_negative_composition_times() {
        assert_eq!(
            video(b"\x17\x00\x00\x00\x00cfg"),
            Ok(VideoTag::Config(VideoCodec::H264, Bytes::from_static(b"cfg")))
        );
        assert_eq!(video(b"\x17\x01\x00\x00\x50x"), Ok(picture(true, 80)));
        assert_eq!(video(b"\x27\x01\xFF\xFF\xFEx"), Ok(picture(false, -2)));
        assert_eq!(video(b"\x17\x02\x00\x00\x00"), Ok(VideoTag::Nothing), "end of sequence");
    }

    #[test]
    fn enhanced_video_has_composition_times_only_where_the_codec_has() {
        assert_eq!(video(b"\x91hvc1\x00\x00\x28x"), Ok(picture(true, 40)));
        assert_eq!(video(b"\x93hvc1x"), Ok(picture(true, 0)));
        assert_eq!(video(b"\x91av01x"), Ok(picture(true, 0)));
        // A nanosecond offset of 3 bytes in front.
        assert_eq!(video(b"\x97\x02\x00\x00\x09\x01av01x"), Ok(picture(true, 0)));
    }

    #[test]
    fn aac_and_opus_are_read() {
        assert_eq!(
            audio(b"\xAF\x00\x12\x10"),
            Ok(AudioTag::Config(AudioCodec::Aac, Bytes::from_static(b"\x12\x10")))
        );
        assert_eq!(audio(b"\xAF\x01x"), Ok(AudioTag::Frame(Bytes::from_static(b"x"))));
        assert_eq!(audio(b"\x91Opusx"), Ok(AudioTag::Frame(Bytes::from_static(b"x"))));
    }

    #[test]
    fn what_is_not_carried_is_named() {
        assert_eq!(video(b"\x12x"), Err(FlvError::VideoCodec("number 2".into())));
        assert_eq!(video(b"\x90vp09x"), Err(FlvError::VideoCodec("vp09".into())));
        assert_eq!(audio(b"\x2Fx"), Err(FlvError::AudioCodec("number 2".into())));
        assert_eq!(video(b"\x96\x00"), Err(FlvError::Multitrack));
    }

    #[test]
    fn truncated_headers_are_errors() {
        for bytes in [&b""[..], b"\x17", b"\x17\x01\x00", b"\x91hv", b"\x97\xFF\xFF", b"\x97\x05\x00"] {
            assert_eq!(parse_video(Bytes::copy_from_slice(bytes)), Err(FlvError::Truncated), "{bytes:?}");
        }
    }
}
