//! An event listener that is removed when it is dropped.

use wasm_bindgen::convert::FromWasmAbi;
use wasm_bindgen::{JsCast, prelude::Closure};
use web_sys::EventTarget;

/// Where one part of the shell says what happened to it. Takes the event by value; never blocks.
pub type Notify<E> = std::rc::Rc<dyn Fn(E)>;

/// One registered event listener; dropping it removes it from its target.
pub(crate) struct Listener {
    target: EventTarget,
    kind: &'static str,
    callback: Closure<dyn FnMut(wasm_bindgen::JsValue)>,
}

impl Listener {
    /// Calls `callback` for each event of `kind` on `target`. The event is of type `E`, as the DOM says for that kind.
    pub(crate) fn new<E: JsCast + FromWasmAbi + 'static>(
        target: &EventTarget,
        kind: &'static str,
        mut callback: impl FnMut(E) + 'static,
    ) -> Self {
        let callback =
            Closure::<dyn FnMut(wasm_bindgen::JsValue)>::new(move |event: wasm_bindgen::JsValue| {
                callback(event.unchecked_into());
            });
        // Fails only for a null callback.
        let _ = target.add_event_listener_with_callback(kind, callback.as_ref().unchecked_ref());
        Self { target: target.clone(), kind, callback }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        let _ = self.target.remove_event_listener_with_callback(self.kind, callback);
    }
}
