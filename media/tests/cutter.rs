//! Cutting what real encoders send; see `fixtures/README.md`.

mod support;

use cardume_media::boxes::boxes;
use cardume_media::{CutError, Cutter, INIT_LEN_LIMIT, MediaTime, TrackKind};
use proptest::prelude::*;
use support::{Cuts, cut_bodies, cut_fixtures, fixture, samples};

const DASH_VIDEO: [&str; 3] = ["dash-0-init.mp4", "dash-0-1.m4s", "dash-0-2.m4s"];
const DASH_AUDIO: [&str; 4] = ["dash-1-init.mp4", "dash-1-1.m4s", "dash-1-2.m4s", "dash-1-3.m4s"];
const HLS: [&str; 3] = ["hls-init.mp4", "hls-0.m4s", "hls-1.m4s"];

#[test]
fn low_latency_dash_gives_one_chunk_for_each_of_its_parts() {
    let cuts = cut_fixtures(&DASH_VIDEO);
    assert_eq!(cuts.inits.len(), 1);
    let [track] = &cuts.inits[0][..] else { panic!("one track") };
    assert_eq!((track.kind, track.codec.as_str()), (TrackKind::Video, "avc1.4D400A"));
    assert_eq!((track.width, track.height, track.timescale), (64, 48, 10_240));
    let starts: Vec<_> = cuts.chunks.iter().map(|chunk| chunk.start.0).collect();
    assert_eq!(starts, (0..10).map(|n| n * 2048).collect::<Vec<_>>());
    assert!(cuts.chunks.iter().all(|chunk| chunk.duration == 2048));
    let independent: Vec<_> = cuts.chunks.iter().map(|chunk| chunk.is_independent).collect();
    assert_eq!(independent, [true, false, false, false, false, true, false, false, false, false]);
}

#[test]
fn the_encoders_clock_is_read_where_it_is_sent() {
    let cuts = cut_fixtures(&DASH_VIDEO);
    let times: Vec<_> = cuts.chunks.iter().map(|chunk| chunk.produced_at.expect("a prft").0).collect();
    // Made on a day of November 2026, faster than real time.
    assert!(
        times.iter().all(|&at| (1_793_000_000_000_000..1_796_000_000_000_000).contains(&at)),
        "{times:?}"
    );
    assert!(cut_fixtures(&HLS).chunks.iter().all(|chunk| chunk.produced_at.is_none()));
}

/// A `prft` of track 1: at this NTP second, media time was this.
fn prft(ntp_seconds: u32, media_time: u64) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x20prft\x01\0\0\0\0\0\0\x01".to_vec();
    bytes.extend_from_slice(&ntp_seconds.to_be_bytes());
    bytes.extend_from_slice(&0x4000_0000_u32.to_be_bytes());
    bytes.extend_from_slice(&media_time.to_be_bytes());
    bytes
}

#[test]
fn the_encoders_clock_is_carried_to_the_start_of_the_chunk_behind_it() {
    let media = media_boxes(&fixture("dash-0-1.m4s"));
    let ends: Vec<usize> = boxes(&media)
        .scan(0, |end, item| {
            *end += item.unwrap().bytes.len();
            Some(*end)
        })
        .collect();
    let second = &media[ends[1]..ends[3]];
    let third = &media[ends[3]..ends[5]];
    let check = |prft: Vec<u8>, expect: Option<u64>| {
        let bodies = [fixture("dash-0-init.mp4"), [&prft, second, third].concat()];
        let cuts = cut_bodies(&bodies, usize::MAX).expect("cut");
        assert_eq!(cuts.chunks[0].start, MediaTime(2048));
        assert_eq!(cuts.chunks[0].produced_at.map(|at| at.0), expect);
        assert_eq!(cuts.chunks[1].produced_at, None, "a reference is for one chunk");
    };
    // NTP counts from 1900; 1970 is 2,208,988,800 s later. The fraction is a quarter of a second, 2048 ticks 0.2 s.
    check(prft(2_208_988_800 + 100, 2048), Some(100_250_000));
    check(prft(2_208_988_800 + 100, 0), Some(100_450_000));
    check(prft(2_208_988_800 + 100, 4096), Some(100_050_000));
    // Another clock for media time, or one that was never set: no clock at all.
    check(prft(2_208_988_800 + 100, 1 << 40), None);
    check(prft(0, 2048), None);
}

#[test]
fn a_single_track_passes_through_untouched() {
    for names in [&DASH_VIDEO[..], &DASH_AUDIO[..]] {
        let cuts = cut_fixtures(names);
        assert_eq!(cuts.inits[0][0].bytes, fixture(names[0]));
        let cut: Vec<u8> = cuts.chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        let sent: Vec<u8> = names[1..].iter().flat_map(|name| media_boxes(&fixture(name))).collect();
        assert_eq!(cut, sent);
    }
}

/// A body without the boxes that a viewer has no use for.
fn media_boxes(body: &[u8]) -> Vec<u8> {
    let is_media = |kind: &[u8; 4]| kind == b"moof" || kind == b"mdat";
    boxes(body)
        .map(Result::unwrap)
        .filter(|found| is_media(&found.kind.0))
        .flat_map(|b| b.bytes.to_vec())
        .collect()
}

#[test]
fn a_muxed_file_gives_the_samples_of_separate_tracks() {
    let apart = [cut_fixtures(&DASH_VIDEO), cut_fixtures(&DASH_AUDIO)];
    for names in [&HLS[..], &["cmaf.mp4"], &["absolute-offsets.mp4"]] {
        let muxed = cut_fixtures(names);
        let [video, audio] = &muxed.inits[0][..] else { panic!("{names:?}: two tracks") };
        assert_eq!((video.codec.as_str(), audio.codec.as_str()), ("avc1.4D400A", "mp4a.40.2"));
        for (index, alone) in apart.iter().enumerate() {
            let (of_muxed, of_alone) = (muxed.of_track(index), alone.of_track(0));
            assert_eq!(samples(&of_muxed), samples(&of_alone), "{names:?}, track {index}");
            let is_gapless = of_muxed
                .windows(2)
                .all(|pair| pair[0].start.0 + u64::from(pair[0].duration) == pair[1].start.0);
            assert!(is_gapless, "{names:?}, track {index}");
        }
    }
}

#[test]
fn an_empty_edit_becomes_decode_time() {
    let cuts = cut_fixtures(&HLS);
    // The picture starts 200 ms into the movie, the sound 136 ms, as the file's edit lists say.
    assert_eq!((cuts.of_track(0)[0].start, cuts.inits[0][0].timescale), (MediaTime(2048), 10_240));
    assert_eq!((cuts.of_track(1)[0].start, cuts.inits[0][1].timescale), (MediaTime(2176), 16_000));
    let edit_list = |init: &[u8]| {
        let at = init.windows(4).position(|kind| kind == b"elst").expect("an edit list");
        init[at + 4..at + 24].to_vec()
    };
    // One entry is left: play all from media time 2048, the delay of the B-frames.
    let left = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0];
    assert_eq!(edit_list(&cuts.inits[0][0].bytes), left);
}

#[test]
fn a_track_taken_out_of_a_muxed_file_is_a_file_of_its_own() {
    for names in [&HLS[..], &["cmaf.mp4"], &["absolute-offsets.mp4"]] {
        let muxed = cut_fixtures(names);
        for (index, track) in muxed.inits[0].iter().enumerate() {
            let chunks = muxed.of_track(index);
            let mut body = track.bytes.to_vec();
            for chunk in &chunks {
                body.extend_from_slice(&chunk.bytes);
            }
            let again = cut_bodies(&[body], usize::MAX).expect("cut again");
            assert_eq!(again.inits[0].len(), 1);
            assert_eq!(again.inits[0][0], *track);
            // A second cutting changes nothing: what came out is in the form that passes through.
            let bytes =
                |chunks: &[&cardume_media::Chunk]| chunks.iter().map(|c| c.bytes.clone()).collect::<Vec<_>>();
            assert_eq!(bytes(&again.of_track(0)), bytes(&chunks), "{names:?}, track {index}");
        }
    }
}

#[test]
fn every_codec_is_named_as_browsers_want_it() {
    let codecs = [
        ("hevc.mp4", "hvc1.1.6.L30.90"),
        ("vp9.mp4", "vp09.00.10.08"),
        ("av1.mp4", "av01.0.00M.08"),
        ("opus.mp4", "opus"),
    ];
    for (name, codec) in codecs {
        let cuts = cut_fixtures(&[name]);
        assert_eq!(cuts.inits[0][0].codec, codec);
        assert!(cuts.chunks[0].is_independent);
    }
}

#[test]
fn an_init_segment_sent_again_is_given_once() {
    let cuts = cut_fixtures(&["dash-0-init.mp4", "dash-0-1.m4s", "dash-0-init.mp4", "dash-0-2.m4s"]);
    assert_eq!((cuts.inits.len(), cuts.chunks.len()), (1, 10));
    let changed = cut_fixtures(&["dash-0-init.mp4", "dash-0-1.m4s", "dash-1-init.mp4", "dash-1-1.m4s"]);
    assert_eq!(changed.inits.len(), 2);
}

#[test]
fn wrong_containers_are_named_with_what_to_do() {
    let check = |start: &[u8], expect: &str| {
        let error = cut_bodies(&[start.to_vec()], usize::MAX).expect_err("not MP4");
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(
        b"FLV\x01\x05\0\0\0\x09",
        "starts with \"FLV\\x01\\x05\\x00\\x00\\x00\" (FLV: send it to the RTMP address)",
    );
    check(b"#EXTM3U\n#EXT-X-VERSION:7", "playlist");
    check(b"\x47\x40\x11\x10\0\0\0\0\0", "-hls_segment_type fmp4");
    check(b"<?xml version", "MPD");
    check(&[0; 32], "not fragmented MP4");
    check(&fixture("progressive.mp4"), "not fragmented: with ffmpeg, add -movflags");
    check(&fixture("av1-unconfigured.mp4"), "the decoder configuration of av01 is missing");
    check(&fixture("dash-0-1.m4s"), "send that first");
}

#[test]
fn a_body_that_ends_early_is_called_truncated_and_the_next_one_is_cut() {
    let (init, first, second) =
        (fixture("dash-0-init.mp4"), fixture("dash-0-1.m4s"), fixture("dash-0-2.m4s"));
    let mut cutter = Cutter::new();
    let mut cuts = Cuts::default();
    cutter.push(&init).expect("init");
    cutter.finish().expect("whole");
    cutter.push(&first[..first.len() - 1]).expect("first");
    assert_eq!(cutter.finish(), Err(CutError::Truncated));
    cutter.push(&second).expect("second");
    cutter.finish().expect("whole");
    cuts.take(&mut cutter);
    assert_eq!(cuts.chunks.len(), 4 + 5);
}

#[test]
fn a_broken_body_keeps_its_error_until_it_ends() {
    let mut cutter = Cutter::new();
    let error = cutter.push(b"<html><body>").expect_err("no MP4");
    assert_eq!(cutter.push(&fixture("cmaf.mp4")), Err(error.clone()));
    assert_eq!(cutter.finish(), Err(error));
    cutter.push(&fixture("cmaf.mp4")).expect("a new body");
}

#[test]
fn boxes_over_their_limits_are_refused_before_they_arrive() {
    let check = |header: [u8; 8], expect: &str| {
        let mut cutter = Cutter::new();
        cutter.push(&fixture("dash-0-init.mp4")).expect("init");
        let error = cutter.push(&header).expect_err("over the limit");
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(*b"\x7F\0\0\0moov", "the moov has 2130706432 bytes, and the limit is 131072");
    check(*b"\x7F\0\0\0moof", "the moof has");
    check(*b"\x7F\0\0\0ftyp", "the ftyp has");
    let mut part = media_boxes(&fixture("dash-0-1.m4s"))[..120].to_vec();
    part.extend_from_slice(b"\x7F\0\0\0mdat");
    let mut cutter = Cutter::new();
    cutter.push(&fixture("dash-0-init.mp4")).expect("init");
    let error = cutter.push(&part).expect_err("over the limit");
    assert!(error.to_string().contains("the part has 2130706552 bytes, and the limit is 4194304"), "{error}");
}

#[test]
fn an_init_segment_over_its_limit_is_refused() {
    let init = fixture("dash-0-init.mp4");
    let moov_at = 28;
    let mut padded = init[..moov_at].to_vec();
    let free_len = INIT_LEN_LIMIT;
    let moov_len = init.len() - moov_at + free_len;
    padded.extend_from_slice(&u32::try_from(moov_len).expect("short").to_be_bytes());
    padded.extend_from_slice(&init[moov_at + 4..]);
    padded.extend_from_slice(&u32::try_from(free_len).expect("short").to_be_bytes());
    padded.extend_from_slice(b"free");
    padded.resize(moov_at + moov_len, 0);
    let error = cut_bodies(&[padded], usize::MAX).expect_err("too long");
    assert!(matches!(error, CutError::TooLong { what: "init segment", .. }), "{error}");
}

#[test]
fn a_moof_that_points_out_of_its_mdat_is_refused() {
    let mut body = media_boxes(&fixture("dash-0-1.m4s"));
    let trun_at = body.windows(4).position(|kind| kind == b"trun").expect("a trun");
    let offset_at = trun_at + 4 + 8;
    for offset in [0_u32, 0x100, u32::MAX] {
        body[offset_at..offset_at + 4].copy_from_slice(&offset.to_be_bytes());
        let error = cut_bodies(&[fixture("dash-0-init.mp4"), body.clone()], usize::MAX);
        assert_eq!(error.expect_err("outside"), CutError::DataOutside, "offset {offset}");
    }
}

/// The bodies of a push that is not muxed, and of one that is.
fn pushes() -> [Vec<Vec<u8>>; 3] {
    [DASH_VIDEO.map(fixture).to_vec(), HLS.map(fixture).to_vec(), vec![fixture("cmaf.mp4")]]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Where a body is broken into pieces on its way does not matter.
    #[test]
    fn pieces_of_any_length_give_the_same_cuts(push in 0_usize..3, lens in prop::collection::vec(1_usize..700, 1..40)) {
        let bodies = &pushes()[push];
        let whole = cut_bodies(bodies, usize::MAX).expect("cut");
        let mut cutter = Cutter::new();
        let mut cuts = Cuts::default();
        let mut lens = lens.iter().cycle();
        for body in bodies {
            let mut rest = &body[..];
            while !rest.is_empty() {
                let len = lens.next().map_or(rest.len(), |&len| len.min(rest.len()));
                cutter.push(&rest[..len]).expect("push");
                cuts.take(&mut cutter);
                rest = &rest[len..];
            }
            cutter.finish().expect("finish");
        }
        prop_assert_eq!(cuts, whole);
    }

    /// Broken bytes give an error or other cuts, never a panic; and no part ever exceeds its limit.
    #[test]
    fn broken_bytes_never_panic(push in 0_usize..3, breaks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut body = pushes()[push].concat();
        for (at, value) in breaks {
            let at = at.index(body.len());
            body[at] = value;
        }
        if let Ok(cuts) = cut_bodies(&[body], 1000) {
            prop_assert!(cuts.chunks.iter().all(|chunk| chunk.bytes.len() <= cardume_media::PART_LEN_LIMIT));
        }
    }
}
