use super::*;
use mp4_atom::{Decode as _, Moof};

/// What x264 wrote for 640x360: `avcC` with one sequence and one picture parameter set.
const AVC: &[u8] =
    b"\x01\x42\xC0\x1E\xFF\xE1\x00\x19\x67\x42\xC0\x1E\xD9\x00\xA0\x2F\xF9\x70\x11\x00\x00\x03\x00\x01\x00\
\x00\x03\x00\x32\x0F\x16\x2E\x48\x01\x00\x04\x68\xCB\x8C\xB2";
/// AAC-LC, 44,100 Hz, stereo.
const AAC: &[u8] = b"\x12\x10";
const AAC_48000: &[u8] = b"\x11\x90";
const T0: u64 = 1_700_000_000_000_000;

struct Sender {
    remuxer: Remuxer,
    outputs: Vec<Output>,
    now: WallTime,
}

impl Sender {
    fn new() -> Self {
        Self { remuxer: Remuxer::new(), outputs: Vec::new(), now: WallTime(T0) }
    }

    /// With both configurations sent.
    fn configured() -> Self {
        let mut sender = Self::new();
        sender.configure_video();
        sender.configure_audio(AAC);
        sender
    }

    fn configure_video(&mut self) {
        self.remuxer.configure_video(VideoCodec::H264, Bytes::from_static(AVC), WallTime(T0)).unwrap();
    }

    fn configure_audio(&mut self, config: &'static [u8]) {
        self.remuxer.configure_audio(AudioCodec::Aac, Bytes::from_static(config), WallTime(T0)).unwrap();
    }

    fn picture(&mut self, timestamp: u32, composition_ms: i32, is_key: bool) {
        let picture = Picture { is_key, composition_ms, data: Bytes::from_static(b"picture") };
        self.now = WallTime(T0 + u64::from(timestamp) * 1000);
        self.remuxer.push_video(timestamp, picture, self.now).unwrap();
        self.outputs.extend(std::iter::from_fn(|| self.remuxer.poll_output()));
    }

    fn sound(&mut self, timestamp: u32) {
        self.now = WallTime(T0 + u64::from(timestamp) * 1000);
        self.remuxer.push_audio(timestamp, Bytes::from_static(b"sound"), self.now).unwrap();
        self.outputs.extend(std::iter::from_fn(|| self.remuxer.poll_output()));
    }

    /// Pictures of 25 a second, a key frame each second.
    fn pictures(&mut self, first_ms: u32, n_pictures: u32) {
        for index in 0..n_pictures {
            self.picture(first_ms.wrapping_add(index * 40), 0, index % 25 == 0);
        }
    }

    fn finish(mut self) -> Vec<Output> {
        self.remuxer.end(WallTime(self.now.0 + 40_000)).unwrap();
        self.outputs.extend(std::iter::from_fn(|| self.remuxer.poll_output()));
        self.outputs
    }
}

fn parts(outputs: &[Output], track: u8) -> Vec<&CutPart> {
    let mut parts = Vec::new();
    for output in outputs {
        if let Output::Part(part) = output
            && part.track == TrackId(track)
        {
            parts.push(part);
        }
    }
    parts
}

fn check_continuous(parts: &[&CutPart]) {
    for pair in parts.windows(2) {
        assert_eq!(pair[0].start.saturating_add(pair[0].duration), pair[1].start);
    }
}

fn n_starts(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Start(_))).count()
}

/// Duration and composition offset of each sample of a part.
fn samples(part: &CutPart) -> Vec<(u32, i64)> {
    let moof = Moof::decode(&mut &part.bytes[..]).unwrap();
    let entry = |entry: mp4_atom::TrunEntry| (entry.duration.unwrap(), entry.cts.unwrap());
    moof.traf[0].trun[0].samples.iter().map(entry).collect()
}

#[test]
fn parts_are_200_ms_and_begin_at_each_key_frame() {
    let mut sender = Sender::configured();
    sender.pictures(0, 60);
    let outputs = sender.finish();
    let Output::Start(tracks) = &outputs[0] else { panic!("{:?}", outputs[0]) };
    assert_eq!((tracks[0].codec.as_str(), tracks[0].width, tracks[0].height), ("avc1.42C01E", 640, 360));
    assert_eq!((tracks[1].codec.as_str(), tracks[1].timescale), ("mp4a.40.2", 44_100));
    let video = parts(&outputs, 0);
    check_continuous(&video);
    let shape: Vec<_> =
        video.iter().map(|part| (part.start.0 / 90, part.duration / 90, part.is_independent)).collect();
    let expected: Vec<_> = (0..12).map(|part| (part * 200, 200, part % 5 == 0)).collect();
    assert_eq!(shape, expected);
    assert_eq!(outputs.last(), Some(&Output::End));
}

#[test]
fn a_key_frame_ends_a_part_before_its_time() {
    let mut sender = Sender::configured();
    for (timestamp, is_key) in [(0, true), (40, false), (80, true), (120, false)] {
        sender.picture(timestamp, 0, is_key);
    }
    let outputs = sender.finish();
    let shape: Vec<_> =
        parts(&outputs, 0).iter().map(|part| (part.start.0 / 90, part.is_independent)).collect();
    assert_eq!(shape, [(0, true), (80, true)]);
}

#[test]
fn composition_times_of_b_frames_are_exact() {
    let mut sender = Sender::configured();
    let offsets = [80, 160, 80, 0, 40];
    for (index, offset) in (0u32..).zip(offsets) {
        sender.picture(index * 40, offset, index == 0);
    }
    let outputs = sender.finish();
    let expected: Vec<_> = offsets.iter().map(|&offset| (40 * 90, i64::from(offset) * 90)).collect();
    assert_eq!(samples(parts(&outputs, 0)[0]), expected);
}

#[test]
fn sound_is_exact_though_its_timestamps_are_rounded() {
    let mut sender = Sender::configured();
    sender.picture(0, 0, true);
    for frame in 0u64..400 {
        // As RTMP has them: whole milliseconds of frames of 23.22 ms.
        sender.sound(u32::try_from(frame * 1024 * 1000 / 44_100).unwrap());
    }
    let outputs = sender.finish();
    let audio = parts(&outputs, 1);
    check_continuous(&audio);
    assert!(audio.iter().flat_map(|part| samples(part)).all(|sample| sample == (1024, 0)));
    assert!(audio.iter().all(|part| (1024..=1024 * 9).contains(&part.duration)));
    assert!(audio.iter().all(|part| part.is_independent));
    let end = audio.last().map(|part| part.start.saturating_add(part.duration));
    assert_eq!(end, Some(MediaTime(400 * 1024)));
}

#[test]
fn a_gap_in_the_sound_stays_a_gap() {
    let mut sender = Sender::configured();
    sender.picture(0, 0, true);
    for timestamp in [0, 23, 500, 523] {
        sender.sound(timestamp);
    }
    let outputs = sender.finish();
    let starts: Vec<_> =
        parts(&outputs, 1).iter().flat_map(|part| samples(part)).map(|sample| sample.0).collect();
    // The frame before it lasts until what follows: nothing is made up.
    assert_eq!(starts[1], 22_050 - 1024);
}

#[test]
fn one_track_alone_begins_after_a_second() {
    let mut sender = Sender::new();
    sender.configure_video();
    sender.pictures(0, 20);
    assert_eq!(sender.outputs, []);
    sender.pictures(800, 40);
    let outputs = sender.finish();
    let Output::Start(tracks) = &outputs[0] else { panic!("{:?}", outputs[0]) };
    assert_eq!(tracks.len(), 1);
    assert!(parts(&outputs, 0)[0].is_independent);
}

#[test]
fn a_track_that_is_said_to_be_alone_begins_at_once() {
    let mut sender = Sender::new();
    sender.remuxer.set_facts(StreamFacts { has_one_track: true, ..StreamFacts::default() });
    sender.configure_video();
    sender.picture(0, 0, true);
    assert!(matches!(&sender.outputs[..], [Output::Start(tracks)] if tracks.len() == 1));
}

#[test]
fn what_comes_before_the_first_key_frame_is_left_out() {
    let mut sender = Sender::configured();
    sender.picture(0, 0, false);
    sender.sound(10);
    sender.picture(40, 0, false);
    assert_eq!(sender.outputs, []);
    sender.picture(80, 0, true);
    sender.sound(90);
    let outputs = sender.finish();
    assert_eq!(parts(&outputs, 0)[0].start, MediaTime(80 * 90));
    assert_eq!(parts(&outputs, 1)[0].start, MediaTime(90 * 441 / 10));
}

#[test]
fn another_configuration_is_another_broadcast() {
    let mut sender = Sender::configured();
    sender.pictures(0, 30);
    sender.configure_audio(AAC);
    sender.pictures(1_200, 5);
    assert_eq!(n_starts(&sender.outputs), 1, "the same configuration again changes nothing");
    sender.configure_audio(AAC_48000);
    sender.pictures(2_000, 30);
    let outputs = sender.finish();
    assert_eq!(n_starts(&outputs), 2);
    let end = outputs.iter().position(|output| *output == Output::End).unwrap();
    assert!(matches!(outputs[end + 1], Output::Start(_)));
    let n_pictures: usize = parts(&outputs[..end], 0).iter().map(|part| samples(part).len()).sum();
    assert_eq!(n_pictures, 35, "what was gathered is given before the end");
}

#[test]
fn timestamps_that_jump_begin_another_broadcast() {
    for jump_to in [0, 200_000] {
        let mut sender = Sender::configured();
        sender.pictures(100_000, 30);
        sender.pictures(jump_to, 30);
        let outputs = sender.finish();
        assert_eq!(n_starts(&outputs), 2, "to {jump_to}");
        let end = outputs.iter().position(|output| *output == Output::End).unwrap();
        assert_eq!(parts(&outputs[end..], 0)[0].start, MediaTime(u64::from(jump_to) * 90));
    }
}

#[test]
fn a_frame_a_little_late_is_dropped_and_nothing_else() {
    let mut sender = Sender::configured();
    sender.pictures(0, 10);
    sender.picture(200, 0, false);
    sender.picture(400, 0, false);
    let outputs = sender.finish();
    assert_eq!(n_starts(&outputs), 1);
    check_continuous(&parts(&outputs, 0));
}

#[test]
fn timestamps_go_on_past_their_wrap() {
    let mut sender = Sender::configured();
    sender.pictures(u32::MAX - 999, 60);
    let outputs = sender.finish();
    assert_eq!(n_starts(&outputs), 1);
    let video = parts(&outputs, 0);
    check_continuous(&video);
    assert_eq!(video.iter().map(|part| part.duration).sum::<u32>(), 60 * 40 * 90);
}

#[test]
fn captured_times_are_those_of_the_arrival_and_linear() {
    let mut sender = Sender::configured();
    sender.pictures(5_000, 60);
    let outputs = sender.finish();
    for part in parts(&outputs, 0) {
        let offset = part.captured_at.0 - part.start.to_micros(90_000);
        // A part is there when the next picture comes, just as its media ends. The base may rise 1 ms a second.
        assert!((T0..=T0 + 3_000).contains(&offset), "{}", offset.abs_diff(T0));
    }
}
