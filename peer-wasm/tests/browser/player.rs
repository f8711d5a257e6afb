//! The exported class, against a tracker inside the page and other viewers over real data channels.

use std::cell::RefCell;
use std::rc::Rc;

use cardume_peer_wasm::Player;
use js_sys::{Array, Object, Reflect};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::HtmlVideoElement;

use crate::double::Double;
use crate::support::{Recorder, Tap, get, pause, until, video};
use crate::tracker::Tracker;

/// A player with its element and what it told.
struct Viewer {
    player: Rc<Player>,
    video: HtmlVideoElement,
    told: Recorder<JsValue>,
    states: Rc<RefCell<Vec<String>>>,
    _on_event: Closure<dyn FnMut(JsValue)>,
}

impl Viewer {
    fn new() -> Self {
        Self::of("test")
    }

    fn of(channel: &str) -> Self {
        let (video, told, states) = (video(), Recorder::new(), Rc::<RefCell<Vec<String>>>::default());
        let (events, seen) = (told.clone(), states.clone());
        let on_event = Closure::<dyn FnMut(JsValue)>::new(move |event: JsValue| {
            if let Some(state) = get(&event, "state").as_string() {
                seen.borrow_mut().push(state);
            }
            events.push(event);
        });
        let options = Object::new();
        Reflect::set(&options, &"tracker".into(), &"http://tracker.example".into()).unwrap();
        Reflect::set(&options, &"channel".into(), &channel.into()).unwrap();
        let player = Player::new(
            video.clone(),
            JsValue::from(options).unchecked_into(),
            on_event.as_ref().clone().unchecked_into(),
        );
        Self { player: Rc::new(player), video, told, states, _on_event: on_event }
    }

    fn stat(&self, name: &str) -> JsValue {
        get(&self.player.stats().into(), name)
    }

    fn number(&self, name: &str) -> f64 {
        self.stat(name).as_f64().unwrap_or(f64::NAN)
    }

    fn n_neighbours(&self) -> u32 {
        self.stat("neighbours").unchecked_into::<Array>().length()
    }

    async fn plays_until(&self, seconds: f64) {
        until(|| self.video.current_time() >= seconds).await;
    }

    /// The next error: (code, whether it is fatal).
    async fn error(&self) -> (String, bool) {
        let error = |event: JsValue| {
            let code = get(&event, "code").as_string()?;
            Some((code, get(&event, "fatal").as_bool().unwrap()))
        };
        self.told.find(error).await
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.player.destroy();
        self.video.remove();
    }
}

#[wasm_bindgen_test]
async fn a_viewer_waits_for_the_broadcast_and_then_plays_it_at_the_target_latency() {
    let tracker = Tracker::new();
    let viewer = Viewer::new();
    until(|| viewer.stat("state") == "waiting").await;
    tracker.go_on_air();
    viewer.plays_until(4.0).await;
    assert_eq!(viewer.stat("state"), "playing");
    assert!((500.0..1800.0).contains(&viewer.number("latencyMs")), "{}", viewer.number("latencyMs"));
    assert!(viewer.number("fromServerLen") > 1000.0);
    assert!(viewer.number("shareFromPeers").abs() < f64::EPSILON);
    let (first_picture, startup) = (viewer.number("firstPictureMs"), viewer.number("startupMs"));
    assert!(0.0 < first_picture && first_picture <= startup, "{first_picture} {startup}");
    assert!(viewer.stat("trackerConnected").is_truthy() && viewer.stat("serverLinked").is_truthy());
    let states = viewer.states.borrow();
    assert_eq!(&states[..4], ["connecting", "waiting", "buffering", "playing"], "{states:?}");
}

#[wasm_bindgen_test]
async fn a_viewer_without_a_server_link_plays_from_its_neighbour() {
    let tracker = Tracker::new();
    tracker.go_on_air();
    let first = Viewer::new();
    until(|| first.stat("serverLinked").is_truthy()).await;
    tracker.refuse_links(true);
    let second = Viewer::new();
    second.plays_until(4.0).await;
    assert_eq!(tracker.n_links(), 1);
    assert!((second.number("shareFromPeers") - 1.0).abs() < f64::EPSILON);
    assert!(first.number("sentLen") >= second.number("fromPeersLen"));
    assert_eq!(second.n_neighbours(), 1);
}

#[wasm_bindgen_test]
async fn a_polluter_is_dropped_and_blamed_and_no_wrong_byte_is_played() {
    let (tap, tracker) = (Tap::new(), Tracker::new());
    let polluter = RefCell::new(Double::polluter(&tracker));
    tracker.go_on_air();
    tracker.refuse_links(true);
    let viewer = Viewer::new();
    until(|| {
        polluter.borrow_mut().tick();
        !tracker.blamed().is_empty()
    })
    .await;
    assert_eq!(tracker.blamed(), [polluter.borrow().id()]);
    assert!(polluter.borrow().n_spoilt() > 0 && viewer.number("wrongBlocks") >= 1.0);
    until(|| {
        polluter.borrow_mut().tick();
        viewer.n_neighbours() == 0
    })
    .await;
    tracker.refuse_links(false);
    let honest = Viewer::new();
    until(|| {
        polluter.borrow_mut().tick();
        viewer.video.current_time() > 3.0
    })
    .await;
    let appended = tap.appended();
    assert!(appended.len() > 20);
    assert!(appended.iter().all(|bytes| tracker.is_genuine(bytes)));
    drop(honest);
}

#[wasm_bindgen_test]
async fn a_tracker_that_goes_away_and_comes_back_finds_the_same_viewers() {
    let tracker = Tracker::new();
    tracker.go_on_air();
    let viewers = [Viewer::new(), Viewer::new()];
    for viewer in &viewers {
        until(|| viewer.n_neighbours() == 1).await;
        viewer.plays_until(2.0).await;
    }
    let ids = || viewers.each_ref().map(|viewer| viewer.stat("peerId").as_string().unwrap());
    let (ids_before, n_offers) = (ids(), tracker.n_offers());
    tracker.go_away();
    for viewer in &viewers {
        until(|| viewer.stat("state") == "reconnecting").await;
        assert!(!viewer.stat("trackerConnected").is_truthy() && !viewer.stat("serverLinked").is_truthy());
        assert_eq!(viewer.n_neighbours(), 1);
    }
    tracker.come_back();
    for viewer in &viewers {
        until(|| viewer.stat("trackerConnected").is_truthy() && viewer.stat("serverLinked").is_truthy())
            .await;
        viewer.plays_until(5.0).await;
        assert_eq!(viewer.n_neighbours(), 1);
    }
    assert_eq!(ids(), ids_before);
    assert_eq!(tracker.n_offers(), n_offers, "the neighbours had to connect again");
    assert_eq!(tracker.joins().iter().filter(|(_, is_resumed)| *is_resumed).count(), 2);
}

#[wasm_bindgen_test]
async fn nonsense_from_tracker_and_server_disturbs_nobody() {
    let tracker = Tracker::new();
    tracker.go_on_air();
    let viewer = Viewer::new();
    viewer.plays_until(1.5).await;
    let long = "x".repeat(100_000);
    let offer = r#"{"type":"offer","from":"00000000000000aa","sdp":"nonsense"}"#;
    for text in
        ["", "{", "null", r#"{"type":"hologram"}"#, r#"{"type":"clock","sent_at":1,"time":2}"#, offer, &long]
    {
        tracker.say_to_all(text);
    }
    tracker.send_to_all(&[99, 1, 2, 3]);
    viewer.plays_until(3.0).await;
    tracker.send_to_all(&vec![1; 300_000]);
    viewer.plays_until(4.5).await;
}

#[wasm_bindgen_test]
async fn a_neighbour_that_leaves_says_so_at_once() {
    let tracker = Tracker::new();
    tracker.go_on_air();
    let (stays, leaves) = (Viewer::new(), Viewer::new());
    until(|| stays.n_neighbours() == 1 && leaves.n_neighbours() == 1).await;
    drop(leaves);
    let left_at = js_sys::Date::now();
    until(|| stays.n_neighbours() == 0).await;
    assert!(js_sys::Date::now() - left_at < 2000.0);
    stays.plays_until(3.0).await;
}

#[wasm_bindgen_test]
async fn an_unknown_channel_is_a_fatal_error() {
    let _tracker = Tracker::new();
    let viewer = Viewer::of("nobody-knows");
    assert_eq!(viewer.error().await, ("unknown_channel".into(), true));
}

#[wasm_bindgen_test]
async fn options_that_make_no_sense_are_a_fatal_error_after_the_constructor() {
    let viewer = Viewer::of("Not A Channel");
    assert!(viewer.told.take().is_none());
    assert_eq!(viewer.error().await, ("invalid_options".into(), true));
    assert!(JsValue::from(viewer.player.stats()).is_undefined());
}

#[wasm_bindgen_test]
async fn a_handler_may_destroy_the_player() {
    let _tracker = Tracker::new();
    let slot = Rc::new(RefCell::new(None::<Rc<Player>>));
    let seen = slot.clone();
    let on_event = Closure::<dyn FnMut(JsValue)>::new(move |_: JsValue| {
        if let Some(player) = seen.borrow().as_ref() {
            assert!(!JsValue::from(player.stats()).is_undefined());
            player.set_upload_limit(Some(0.0));
            player.destroy();
            player.destroy();
        }
    });
    let options =
        js_sys::JSON::parse(r#"{"tracker":"http://tracker.example","channel":"test","uploadLimit":1e6}"#);
    let handler = on_event.as_ref().clone().unchecked_into();
    *slot.borrow_mut() = Some(Rc::new(Player::new(video(), options.unwrap().unchecked_into(), handler)));
    until(|| slot.borrow().as_ref().is_some_and(|player| JsValue::from(player.stats()).is_undefined())).await;
    pause(50).await;
}
