//! The media element: what it does, and being told to play.

use cardume_swarm::{BUFFERED_LIMIT, PlayerState};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Event, HtmlMediaElement, HtmlVideoElement};

use crate::listener::{Listener, Notify};
use crate::media_source::MediaEvent;

/// Events after which the element's state is news.
const NEWS: [&str; 9] =
    ["timeupdate", "waiting", "playing", "stalled", "pause", "play", "seeking", "seeked", "loadeddata"];
/// Playback rates beyond these are refused: browsers mute or throw outside of 0.0625 to 16 (HTML); nobody wants these.
const RATES: core::ops::RangeInclusive<f64> = 0.25..=4.0;

/// The page's `<video>`, watched as long as this lives.
pub(crate) struct Video {
    element: HtmlVideoElement,
    notify: Notify<MediaEvent>,
    _listeners: Vec<Listener>,
}

impl Video {
    /// Watches an element.
    pub(crate) fn new(element: HtmlVideoElement, notify: Notify<MediaEvent>) -> Self {
        let mut listeners: Vec<Listener> =
            NEWS.iter().map(|kind| news(&element, kind, notify.clone())).collect();
        listeners.push(failure(&element, notify.clone()));
        Self { element, notify, _listeners: listeners }
    }

    /// The element itself.
    pub(crate) fn element(&self) -> &HtmlVideoElement {
        &self.element
    }

    /// The element as the session wants to know it.
    pub(crate) fn state(&self) -> PlayerState {
        observe(&self.element)
    }

    /// Media time on screen, in seconds.
    pub(crate) fn playhead(&self) -> f64 {
        self.element.current_time()
    }

    /// Plays at this rate, 0 to stand still; what is out of reason is ignored.
    pub(crate) fn set_rate(&self, rate: f64) {
        if rate == 0.0 || RATES.contains(&rate) {
            self.element.set_playback_rate(rate);
        }
    }

    /// Moves the playhead.
    pub(crate) fn seek(&self, to_us: u64) {
        self.element.set_current_time(seconds(to_us));
    }

    /// Plays, muted where the browser wants that, and says so.
    pub(crate) fn play(&self) {
        let (element, notify) = (self.element.clone(), self.notify.clone());
        spawn_local(async move {
            if !is_refused(play(&element).await) {
                return;
            }
            element.set_muted(true);
            notify(MediaEvent::warning(
                "autoplay_muted",
                "the browser lets this page play only without sound",
            ));
            if is_refused(play(&element).await) {
                notify(MediaEvent::warning(
                    "autoplay_blocked",
                    "the browser waits for a click before it plays",
                ));
            }
        });
    }

    /// Takes the element's media away.
    pub(crate) fn clear(&self) {
        let _ = self.element.remove_attribute("src");
        self.element.load();
    }
}

fn news(element: &HtmlVideoElement, kind: &'static str, notify: Notify<MediaEvent>) -> Listener {
    let watched = element.clone();
    Listener::new(element, kind, move |_: Event| notify(MediaEvent::Observed(observe(&watched))))
}

fn failure(element: &HtmlVideoElement, notify: Notify<MediaEvent>) -> Listener {
    let watched = element.clone();
    Listener::new(element, "error", move |_: Event| {
        // An element that lost its source on purpose has no error.
        if let Some(error) = watched.error() {
            notify(MediaEvent::Broken(format!("the browser cannot play the media: {}", error.message())));
        }
    })
}

fn observe(element: &HtmlMediaElement) -> PlayerState {
    let playhead_us = micros(element.current_time());
    let ranges = element.buffered();
    let range = |index: u32| Some((micros(ranges.start(index).ok()?), micros(ranges.end(index).ok()?)));
    let ahead = (0..ranges.length()).filter_map(range).filter(|&(_, end)| end >= playhead_us);
    PlayerState {
        playhead_us,
        buffered: ahead.take(BUFFERED_LIMIT).collect(),
        is_paused: element.paused(),
        is_seeking: element.seeking(),
    }
}

async fn play(element: &HtmlMediaElement) -> Result<JsValue, JsValue> {
    JsFuture::from(element.play()?).await
}

/// Whether the browser forbids to play; a play that a new source interrupted is another matter.
fn is_refused(outcome: Result<JsValue, JsValue>) -> bool {
    let error = outcome.err().and_then(|error| error.dyn_into::<js_sys::Error>().ok());
    error.is_some_and(|error| error.name() == "NotAllowedError")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer saturates")]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "exact for the 285 years below 2^53 microseconds")]
pub(crate) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
