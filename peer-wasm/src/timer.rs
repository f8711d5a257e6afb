//! A timeout that can be set again and is cleared when it is dropped.

use core::cell::Cell;
use core::time::Duration;

use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::{Closure, wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &js_sys::Function, ms: f64) -> wasm_bindgen::JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(id: &wasm_bindgen::JsValue);
}

/// One timeout of the page or worker. Hidden tabs run it late: nothing urgent may depend on it alone.
pub(crate) struct Timer {
    callback: Closure<dyn FnMut()>,
    id: Cell<Option<wasm_bindgen::JsValue>>,
}

impl Timer {
    /// Calls `callback` whenever the timer, once [set](Self::set), runs out.
    pub(crate) fn new(callback: impl FnMut() + 'static) -> Self {
        Self { callback: Closure::new(callback), id: Cell::new(None) }
    }

    /// Runs out once after `delay`, instead of at any time set before.
    pub(crate) fn set(&self, delay: Duration) {
        self.clear();
        let ms = delay.as_secs_f64() * 1000.0;
        self.id.set(Some(set_timeout(self.callback.as_ref().unchecked_ref(), ms)));
    }

    fn clear(&self) {
        if let Some(id) = self.id.take() {
            clear_timeout(&id);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clear();
    }
}
