//! Plain JavaScript objects, without a serialiser's weight.

use js_sys::{Object, Reflect};
use wasm_bindgen::JsValue;

/// An object of these properties.
pub(crate) fn object<const N: usize>(properties: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (name, value) in properties {
        // Fails only for what is no object.
        let _ = Reflect::set(&object, &name.into(), &value);
    }
    object.into()
}

/// Milliseconds, or null.
pub(crate) fn ms(duration: Option<core::time::Duration>) -> JsValue {
    duration.map_or(JsValue::NULL, |duration| (duration.as_secs_f64() * 1000.0).into())
}

/// A count or length as a number; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "bytes and counts stay far below 2^53")]
pub(crate) fn number(value: u64) -> JsValue {
    (value as f64).into()
}
