//! The browser's kind of media source: `MediaSource`, or `ManagedMediaSource` where that is all there is (iPhone).

use js_sys::{Array, Function, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{HtmlVideoElement, MediaSource};

/// Makes media sources.
pub(crate) struct SourceKind {
    constructor: Function,
    is_managed: bool,
}

impl SourceKind {
    /// What this browser has, if anything.
    pub(crate) fn find() -> Option<Self> {
        let named =
            |name: &str| Reflect::get(&js_sys::global(), &name.into()).ok()?.dyn_into::<Function>().ok();
        let plain = named("MediaSource").map(|constructor| Self { constructor, is_managed: false });
        plain
            .or_else(|| named("ManagedMediaSource").map(|constructor| Self { constructor, is_managed: true }))
    }

    /// Whether media of this type (RFC 6381) can be played.
    pub(crate) fn supports(&self, mime: &str) -> bool {
        let Ok(method) = Reflect::get(&self.constructor, &"isTypeSupported".into()) else { return false };
        let Some(method) = method.dyn_ref::<Function>() else { return false };
        method.call1(&self.constructor, &mime.into()).is_ok_and(|answer| answer.is_truthy())
    }

    /// A new source, closed until it is some element's.
    pub(crate) fn create(&self, video: &HtmlVideoElement) -> Option<MediaSource> {
        if self.is_managed {
            // A managed source opens only where AirPlay is off (Media Source Extensions, ManagedMediaSource).
            let _ = Reflect::set(video, &"disableRemotePlayback".into(), &JsValue::TRUE);
        }
        Reflect::construct(&self.constructor, &Array::new()).ok().map(JsCast::unchecked_into)
    }

    /// Whether its sources say when they want media.
    pub(crate) fn is_managed(&self) -> bool {
        self.is_managed
    }
}
