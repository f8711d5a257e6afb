//! Waiting for things, and looking at them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use cardume_peer_wasm::Notify;
use js_sys::{Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::HtmlVideoElement;

/// How long anything may take on a busy machine.
const LIMIT_MS: i32 = 20_000;

/// Keeps what was reported until somebody asks.
pub(crate) struct Recorder<E> {
    seen: Rc<RefCell<VecDeque<E>>>,
    wake: Rc<Cell<Option<Function>>>,
}

impl<E> Clone for Recorder<E> {
    fn clone(&self) -> Self {
        Self { seen: self.seen.clone(), wake: self.wake.clone() }
    }
}

impl<E: 'static> Recorder<E> {
    pub(crate) fn new() -> Self {
        Self { seen: Rc::default(), wake: Rc::default() }
    }

    pub(crate) fn push(&self, event: E) {
        self.seen.borrow_mut().push_back(event);
        if let Some(wake) = self.wake.take() {
            wake.call0(&JsValue::UNDEFINED).unwrap();
        }
    }

    pub(crate) fn notify(&self) -> Notify<E> {
        let recorder = self.clone();
        Rc::new(move |event| recorder.push(event))
    }

    pub(crate) fn take(&self) -> Option<E> {
        self.seen.borrow_mut().pop_front()
    }

    /// The next event, awaited for 20 s at most.
    pub(crate) async fn next(&self) -> E {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            let mut given_up = 0;
            let woken = Promise::new(&mut |resolve, reject| {
                self.wake.set(Some(resolve));
                given_up = after(LIMIT_MS, &reject);
            });
            JsFuture::from(woken).await.expect("nothing more was reported");
            web_sys::window().unwrap().clear_timeout_with_handle(given_up);
        }
    }

    /// The first event that `pick` likes; those before it are dropped.
    pub(crate) async fn find<T>(&self, pick: impl Fn(E) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }
}

/// Looks every 20 ms until it is so, for 20 s at most.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let (asked_at, asked_by) = (js_sys::Date::now(), core::panic::Location::caller());
    async move {
        while !is_so() {
            assert!(js_sys::Date::now() - asked_at < f64::from(LIMIT_MS), "it never came to be: {asked_by}");
            pause(20).await;
        }
    }
}

/// Gives the page time.
pub(crate) async fn pause(ms: i32) {
    let passed = Promise::new(&mut |resolve, _| {
        after(ms, &resolve);
    });
    JsFuture::from(passed).await.unwrap();
}

fn after(ms: i32, callback: &Function) -> i32 {
    web_sys::window().unwrap().set_timeout_with_callback_and_timeout_and_arguments_0(callback, ms).unwrap()
}

/// A video element in the page.
pub(crate) fn video() -> HtmlVideoElement {
    let document = web_sys::window().unwrap().document().unwrap();
    let video: HtmlVideoElement = document.create_element("video").unwrap().unchecked_into();
    video.set_muted(true);
    document.document_element().unwrap().append_child(&video).unwrap();
    video
}

/// Seconds that are buffered in the element, in all.
pub(crate) fn buffered(video: &HtmlVideoElement) -> f64 {
    let ranges = video.buffered();
    (0..ranges.length()).map(|index| ranges.end(index).unwrap() - ranges.start(index).unwrap()).sum()
}

/// A property of an object.
pub(crate) fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap()
}

/// All that is appended to any `SourceBuffer` from now on, in order, until it is dropped.
pub(crate) struct Tap {
    appended: js_sys::Array,
    remove: Function,
}

impl Tap {
    pub(crate) fn new() -> Self {
        let make = Function::new_with_args(
            "appended",
            "const original = SourceBuffer.prototype.appendBuffer;
             SourceBuffer.prototype.appendBuffer = function (bytes) {
                 appended.push(new Uint8Array(bytes));
                 return original.call(this, bytes);
             };
             return () => { SourceBuffer.prototype.appendBuffer = original; };",
        );
        let appended = js_sys::Array::new();
        let remove = make.call1(&JsValue::UNDEFINED, &appended).unwrap().unchecked_into();
        Self { appended, remove }
    }

    pub(crate) fn n_appended(&self) -> usize {
        self.appended.length() as usize
    }

    pub(crate) fn appended(&self) -> Vec<Vec<u8>> {
        self.appended.iter().map(|bytes| bytes.unchecked_into::<Uint8Array>().to_vec()).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.remove.call0(&JsValue::UNDEFINED).unwrap();
    }
}
