//! Writes fragmented MP4 from elementary samples: one init segment a track, one `moof` + `mdat` a part.

use bytes::Bytes;
use cardume_media::{Cut, Cutter, Track};
use cardume_wire::TrackId;
use mp4_atom::{
    Atom, Audio, Av01, Av1c, Avc1, Avcc, Codec, Dinf, Dops, Dref, DrefEntry, Encode, Esds, Ftyp, Hdlr, Hvc1,
    Hvcc, Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Opus, Smhd, Stbl, Stco, Stsd, Tfdt, Tfhd,
    Tkhd, Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd, esds,
};

use super::flv::{AudioCodec, VideoCodec};
use super::sps;

/// Ticks per second of video tracks: divides RTMP's milliseconds and the usual frame rates.
const VIDEO_TIMESCALE: u32 = 90_000;
/// Opus counts at this rate whatever the input had (RFC 7845, section 4).
const OPUS_RATE: u32 = 48_000;
/// Sample flags (ISO/IEC 14496-12, 8.8.3.1): what a sample depends on, and whether it is a sync sample.
const DEPENDS_ON_NOTHING: u32 = 0x0200_0000;
const DEPENDS_AND_IS_NO_SYNC: u32 = 0x0101_0000;
const BOX_HEADER_LEN: usize = 8;
/// `track_ID` in the files: each has one track.
const CONTAINER_ID: u32 = 1;

/// A configuration that cannot be made a track; the text is for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the {0} configuration cannot be read")]
    Unreadable(&'static str),
    #[error("the track's header is refused: {0}")]
    Refused(String),
}

/// How to write one track.
#[derive(Debug, Clone)]
pub(crate) struct TrackConfig {
    pub(crate) timescale: u32,
    /// Ticks that each frame lasts, where the codec says so: AAC's 1024 samples.
    pub(crate) frame_duration: Option<u32>,
    codec: Codec,
    size: (u16, u16),
}

impl TrackConfig {
    /// A video track from its decoder configuration; `fallback_size` is for codecs whose configuration is not looked
    /// into.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub(crate) fn video(
        codec: VideoCodec,
        config: &[u8],
        fallback_size: (u16, u16),
    ) -> Result<Self, ConfigError> {
        let (codec, size) = match codec {
            VideoCodec::H264 => {
                let avcc = decode_box::<Avcc>(config, "H.264")?;
                let sps = avcc.sequence_parameter_sets.first();
                let size = sps.and_then(|sps| sps::picture_size(sps)).unwrap_or(fallback_size);
                (Codec::Avc1(Avc1 { visual: visual(size), avcc, ..Default::default() }), size)
            }
            VideoCodec::Hevc => {
                let hvcc = decode_box::<Hvcc>(config, "HEVC")?;
                (
                    Codec::Hvc1(Hvc1 { visual: visual(fallback_size), hvcc, ..Default::default() }),
                    fallback_size,
                )
            }
            VideoCodec::Av1 => {
                let av1c = decode_box::<Av1c>(config, "AV1")?;
                (
                    Codec::Av01(Av01 { visual: visual(fallback_size), av1c, ..Default::default() }),
                    fallback_size,
                )
            }
        };
        Ok(Self { timescale: VIDEO_TIMESCALE, frame_duration: None, codec, size })
    }

    /// An audio track from its decoder configuration.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub(crate) fn audio(codec: AudioCodec, config: &[u8]) -> Result<Self, ConfigError> {
        match codec {
            AudioCodec::Aac => Self::aac(config).ok_or(ConfigError::Unreadable("AAC")),
            AudioCodec::Opus => Self::opus(config).ok_or(ConfigError::Unreadable("Opus")),
        }
    }

    /// From an `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1).
    fn aac(config: &[u8]) -> Option<Self> {
        const RATES: [u32; 13] = [
            96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
            7_350,
        ];
        let &[first, second, ..] = config else { return None };
        let profile = first >> 3;
        let freq_index = (first & 7) << 1 | second >> 7;
        let chan_conf = second >> 3 & 0x0F;
        let timescale = *RATES.get(usize::from(freq_index))?;
        let is_short_frame = second & 0b100 != 0;
        let dec_specific = esds::DecoderSpecific { profile, freq_index, chan_conf, raw: config.to_vec() };
        let dec_config = esds::DecoderConfig {
            object_type_indication: 0x40, // ISO/IEC 14496-3 audio
            stream_type: 5,               // audio
            dec_specific: Some(dec_specific),
            ..Default::default()
        };
        let es_desc = esds::EsDescriptor { es_id: 1, dec_config, ..Default::default() };
        // Configuration 7 is the 8 channels of 7.1; the others are as many channels as their number.
        let n_channels = if chan_conf == 7 { 8 } else { u16::from(chan_conf) };
        let audio = audio_entry(n_channels, timescale);
        let codec = Codec::Mp4a(Mp4a { audio, esds: Esds { es_desc }, btrt: None, taic: None });
        let frame_duration = Some(if is_short_frame { 960 } else { 1024 });
        Some(Self { timescale, frame_duration, codec, size: (0, 0) })
    }

    /// From an identification header (RFC 7845, section 5.1), with at most two channels.
    fn opus(config: &[u8]) -> Option<Self> {
        let head = config.strip_prefix(b"OpusHead")?;
        let (&[_version, n_channels, skip_low, skip_high, r0, r1, r2, r3, gain_low, gain_high, 0], _) =
            head.split_first_chunk::<11>()?
        else {
            return None;
        };
        let dops = Dops {
            output_channel_count: n_channels,
            pre_skip: u16::from_le_bytes([skip_low, skip_high]),
            input_sample_rate: u32::from_le_bytes([r0, r1, r2, r3]),
            output_gain: i16::from_le_bytes([gain_low, gain_high]),
            channel_mapping: None,
        };
        let audio = audio_entry(u16::from(n_channels), OPUS_RATE);
        let codec = Codec::Opus(Opus { audio, dops, btrt: None });
        Some(Self { timescale: OPUS_RATE, frame_duration: None, codec, size: (0, 0) })
    }

    /// The catalog's track, with its init segment.
    ///
    /// # Errors
    /// [`ConfigError::Refused`] when the init segment is not what the project carries.
    pub(crate) fn track(&self, id: TrackId, bitrate: u32) -> Result<Track, ConfigError> {
        let refused = |reason: &dyn std::fmt::Display| ConfigError::Refused(reason.to_string());
        let init = self.init_segment().map_err(|error| refused(&error))?;
        let mut cutter = Cutter::new();
        cutter.push(&init).map_err(|error| refused(&error))?;
        let Some(Cut::Init(inits)) = cutter.poll() else { return Err(refused(&"no track in it")) };
        let init = inits.first().ok_or_else(|| refused(&"no track in it"))?;
        Ok(Track { bitrate, ..init.track(id) })
    }

    fn is_video(&self) -> bool {
        self.size != (0, 0) || matches!(self.codec, Codec::Avc1(_) | Codec::Hvc1(_) | Codec::Av01(_))
    }

    fn init_segment(&self) -> mp4_atom::Result<Bytes> {
        let mut bytes = Vec::new();
        let brands = vec![b"iso6".into(), b"cmfc".into()];
        Ftyp { major_brand: b"iso6".into(), minor_version: 0, compatible_brands: brands }
            .encode(&mut bytes)?;
        let trex = Trex { track_id: CONTAINER_ID, default_sample_description_index: 1, ..Default::default() };
        Moov {
            mvhd: Mvhd {
                timescale: 1000,
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: CONTAINER_ID + 1,
                ..Default::default()
            },
            mvex: Some(Mvex { mehd: None, trex: vec![trex] }),
            trak: vec![self.trak()],
            ..Default::default()
        }
        .encode(&mut bytes)?;
        Ok(bytes.into())
    }

    fn trak(&self) -> Trak {
        let is_video = self.is_video();
        let stbl = Stbl {
            stsd: Stsd { codecs: vec![self.codec.clone()] },
            stco: Some(Stco::default()),
            ..Default::default()
        };
        let minf = Minf {
            vmhd: is_video.then(Vmhd::default),
            smhd: (!is_video).then(Smhd::default),
            dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
            stbl,
            ..Default::default()
        };
        Trak {
            tkhd: Tkhd {
                track_id: CONTAINER_ID,
                enabled: true,
                in_movie: true,
                width: self.size.0.into(),
                height: self.size.1.into(),
                volume: if is_video { 0.into() } else { 1.into() },
                ..Default::default()
            },
            mdia: Mdia {
                mdhd: Mdhd { timescale: self.timescale, language: "und".into(), ..Default::default() },
                hdlr: Hdlr {
                    handler: if is_video { b"vide".into() } else { b"soun".into() },
                    name: String::new(),
                },
                minf,
            },
            ..Default::default()
        }
    }
}

fn decode_box<A: Atom>(config: &[u8], name: &'static str) -> Result<A, ConfigError> {
    A::decode_body(&mut &config[..]).map_err(|_| ConfigError::Unreadable(name))
}

fn visual((width, height): (u16, u16)) -> Visual {
    Visual { width, height, ..Default::default() }
}

fn audio_entry(channel_count: u16, rate: u32) -> Audio {
    // The field has 16 bits; decoders take the rate from the configuration.
    let sample_rate = u16::try_from(rate).unwrap_or(0);
    Audio { data_reference_index: 1, channel_count, sample_size: 16, sample_rate: sample_rate.into() }
}

/// One frame with its times, in ticks of its track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) decode_time: u64,
    /// Composition minus decode time.
    pub(crate) composition_offset: i32,
    pub(crate) is_sync: bool,
    pub(crate) data: Bytes,
}

/// Writes `moof` and `mdat` of samples with their durations. `sequence_number` is for the fragment's header.
///
/// # Errors
/// When a length does not fit its field: no such part is built here.
pub(crate) fn write_part(sequence_number: u32, samples: &[(Sample, u32)]) -> mp4_atom::Result<Bytes> {
    let entries: Vec<_> = samples
        .iter()
        .map(|(sample, duration)| TrunEntry {
            duration: Some(*duration),
            size: u32::try_from(sample.data.len()).ok(),
            flags: Some(if sample.is_sync { DEPENDS_ON_NOTHING } else { DEPENDS_AND_IS_NO_SYNC }),
            cts: Some(sample.composition_offset.into()),
        })
        .collect();
    let base_media_decode_time = samples.first().map_or(0, |(sample, _)| sample.decode_time);
    let moof = |data_offset: i32| Moof {
        mfhd: Mfhd { sequence_number },
        traf: vec![Traf {
            tfhd: Tfhd { track_id: CONTAINER_ID, default_base_is_moof: true, ..Default::default() },
            tfdt: Some(Tfdt { base_media_decode_time }),
            trun: vec![Trun { data_offset: Some(data_offset), samples: entries.clone().into() }],
            ..Default::default()
        }],
    };
    let mut bytes = Vec::new();
    moof(0).encode(&mut bytes)?;
    let data_offset =
        i32::try_from(bytes.len() + BOX_HEADER_LEN).map_err(|_| mp4_atom::Error::TooLarge(Moof::KIND))?;
    bytes.clear();
    moof(data_offset).encode(&mut bytes)?;
    let data_len: usize = samples.iter().map(|(sample, _)| sample.data.len()).sum();
    let mdat_len =
        u32::try_from(BOX_HEADER_LEN + data_len).map_err(|_| mp4_atom::Error::TooLarge(Moof::KIND))?;
    bytes.reserve(BOX_HEADER_LEN + data_len);
    bytes.extend_from_slice(&mdat_len.to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    for (sample, _) in samples {
        bytes.extend_from_slice(&sample.data);
    }
    Ok(bytes.into())
}
