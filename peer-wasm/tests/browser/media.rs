//! Media attachment with a real, small broadcast.

use bytes::Bytes;
use cardume_media::{Catalog, Track, TrackKind};
use cardume_peer_wasm::media_source::{Media, MediaCommand, MediaEvent};
use cardume_wire::{Epoch, TrackId};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Broadcast, broadcast};
use crate::support::{Recorder, Tap, buffered, until, video};

fn append_all(media: &mut Media, broadcast: &Broadcast) {
    for part in &broadcast.parts {
        // In pieces, as a store gives them.
        let chunks = part.bytes.chunks(300).map(Bytes::copy_from_slice).collect();
        media.handle(append(part.track, chunks));
    }
}

/// Where a part is on the timeline, the element learns of its bytes.
fn append(track: TrackId, chunks: Vec<Bytes>) -> MediaCommand {
    MediaCommand::Append { track, chunks, start_us: 0, end_us: 0, is_jump: false, is_last: false }
}

fn problem(event: MediaEvent) -> Option<(&'static str, bool)> {
    if let MediaEvent::Problem { code, is_fatal, .. } = event { Some((code, is_fatal)) } else { None }
}

#[wasm_bindgen_test]
async fn parts_become_playable_and_play() {
    let (broadcast, video, heard) = (broadcast(), video(), Recorder::new());
    let mut media = Media::new(video.clone(), heard.notify());
    media.handle(MediaCommand::Attach(broadcast.catalog(1)));
    append_all(&mut media, &broadcast);
    until(|| buffered(&video) > 7.5).await;
    until(|| video.current_time() > 0.2).await;
    media.handle(MediaCommand::SetRate(1.05));
    media.handle(MediaCommand::Seek(4_000_000));
    until(|| video.current_time() > 4.1).await;
    assert!((video.playback_rate() - 1.05).abs() < 1e-9);
    let observed = |event| {
        let MediaEvent::Observed(state) = event else { return None };
        (state.playhead_us > 4_100_000).then_some(state)
    };
    media.handle(MediaCommand::Observe);
    let state = heard.find(observed).await;
    assert!(!state.is_paused);
    assert!(state.buffered[0].1 > 7_500_000);
}

#[wasm_bindgen_test]
async fn each_track_gets_its_init_segment_and_then_its_parts_in_order() {
    let (tap, broadcast) = (Tap::new(), broadcast());
    let mut media = Media::new(video(), Recorder::new().notify());
    media.handle(MediaCommand::Attach(broadcast.catalog(1)));
    append_all(&mut media, &broadcast);
    let n_expected = broadcast.tracks.len() + broadcast.parts.len();
    until(|| tap.n_appended() >= n_expected).await;
    let appended = tap.appended();
    assert_eq!(appended.len(), n_expected);
    for track in &broadcast.tracks {
        let parts = broadcast.parts.iter().filter(|part| part.track == track.id).map(|part| &part.bytes);
        let expected: Vec<&Bytes> = std::iter::once(&track.init).chain(parts).collect();
        let got: Vec<&Vec<u8>> =
            appended.iter().filter(|bytes| expected.contains(&&Bytes::copy_from_slice(bytes))).collect();
        assert_eq!(got, expected);
    }
}

#[wasm_bindgen_test]
async fn a_new_broadcast_gets_a_new_source() {
    let (broadcast, video) = (broadcast(), video());
    let mut media = Media::new(video.clone(), Recorder::new().notify());
    media.handle(MediaCommand::Attach(broadcast.catalog(1)));
    append_all(&mut media, &broadcast);
    until(|| video.current_time() > 0.2).await;
    let old = video.src();
    media.handle(MediaCommand::Attach(broadcast.catalog(2)));
    assert_ne!(video.src(), old);
    assert!(buffered(&video) < 0.1);
    append_all(&mut media, &broadcast);
    until(|| video.current_time() > 0.2).await;
}

#[wasm_bindgen_test]
async fn media_the_browser_cannot_play_is_a_clear_error() {
    let heard = Recorder::new();
    let mut media = Media::new(video(), heard.notify());
    let track = Track { codec: "vvc1.1.L51".into(), ..broadcast().tracks[0].clone() };
    media.handle(MediaCommand::Attach(Catalog::new(Epoch(1), vec![track]).unwrap()));
    assert_eq!(heard.find(problem).await, ("unsupported_track", false));
    assert_eq!(heard.find(problem).await, ("unsupported_media", true));
}

#[wasm_bindgen_test]
async fn a_source_that_the_browser_gives_up_is_reported_and_can_be_replaced() {
    let (broadcast, video, heard) = (broadcast(), video(), Recorder::new());
    let mut media = Media::new(video.clone(), heard.notify());
    media.handle(MediaCommand::Attach(broadcast.catalog(1)));
    let chunks = vec![Bytes::from_static(&[0xff; 400])];
    media.handle(append(TrackId(0), chunks));
    heard.find(|event| if let MediaEvent::Broken(why) = event { Some(why) } else { None }).await;
    media.handle(MediaCommand::Attach(broadcast.catalog(1)));
    append_all(&mut media, &broadcast);
    until(|| video.current_time() > 0.2).await;
}

#[wasm_bindgen_test]
async fn an_element_that_is_given_back_has_no_source() {
    let (broadcast, video) = (broadcast(), video());
    let mut media = Media::new(video.clone(), Recorder::new().notify());
    media.handle(MediaCommand::Attach(broadcast.catalog(1)));
    until(|| video.src().starts_with("blob:")).await;
    drop(media);
    assert!(!video.has_attribute("src"));
}

#[wasm_bindgen_test]
async fn another_rendition_comes_behind_its_own_init_segment_into_the_same_buffer() {
    let (tap, broadcast, video, heard) = (Tap::new(), broadcast(), video(), Recorder::new());
    let picture = broadcast.tracks.iter().find(|track| track.kind == TrackKind::Video).unwrap();
    let other = TrackId(9);
    let tracks = broadcast.tracks.iter().cloned().chain([Track { id: other, ..picture.clone() }]);
    let mut media = Media::new(video.clone(), heard.notify());
    media.handle(MediaCommand::Attach(Catalog::new(Epoch(1), tracks.collect()).unwrap()));
    let mut is_other = false;
    for part in &broadcast.parts {
        let is_picture = part.track == picture.id;
        is_other |= is_picture && part.is_independent && broadcast.start_us(part) > 0;
        let track = if is_other && is_picture { other } else { part.track };
        media.handle(append(track, vec![part.bytes.clone()]));
    }
    until(|| buffered(&video) > 7.5).await;
    until(|| video.current_time() > 2.5).await;
    let n_inits = tap.appended().iter().filter(|bytes| **bytes == picture.init.to_vec()).count();
    assert_eq!(n_inits, 2);
}
