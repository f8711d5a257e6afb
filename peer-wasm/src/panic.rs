//! A panic is a bug of ours; the page hears of it instead of seeing a picture that stands still.

use std::cell::RefCell;
use std::sync::Once;

use cardume_viewer::PlayerEvent;
use js_sys::Function;
use wasm_bindgen::JsValue;

use crate::event::event_to_js;

/// Players whose pages are told; the oldest goes first. Wild guess: a page shows fewer.
const WATCHER_LIMIT: usize = 8;

thread_local! {
    static WATCHERS: RefCell<Vec<Function>> = const { RefCell::new(Vec::new()) };
}

/// Has an event handler told of panics, as a fatal error of code `internal`, as long as it lives.
pub(crate) struct PanicWatch {
    on_event: Function,
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        WATCHERS.with_borrow_mut(|watchers| {
            let own = watchers.iter().position(|watcher| js_sys::Object::is(watcher, &self.on_event));
            own.map(|index| watchers.remove(index));
        });
    }
}

/// Begins to tell this event handler.
pub(crate) fn watch(on_event: &Function) -> PanicWatch {
    static HOOK: Once = Once::new();
    // A thread of WebAssembly that has panicked once counts as panicking for ever, and may not change its hook.
    if !std::thread::panicking() {
        HOOK.call_once(install);
    }
    WATCHERS.with_borrow_mut(|watchers| {
        if watchers.len() >= WATCHER_LIMIT {
            watchers.remove(0);
        }
        watchers.push(on_event.clone());
    });
    PanicWatch { on_event: on_event.clone() }
}

fn install() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(&panic.to_string());
        before(panic);
    }));
}

fn tell(what: &str) {
    let message = format!("this is a bug in Cardume, please report it: {what}");
    let event = event_to_js(&PlayerEvent::Error { code: "internal", message, is_fatal: true });
    let watchers = WATCHERS.try_with(|watchers| watchers.try_borrow().map(|watchers| watchers.clone()));
    for on_event in watchers.into_iter().flatten().flatten() {
        let _ = on_event.call1(&JsValue::UNDEFINED, &event);
    }
}
