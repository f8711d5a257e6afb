//! The session's time, from the page's or worker's monotonic clock.

use cardume_swarm::Instant;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
}

/// Counts from its making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin_ms: f64,
}

impl Clock {
    /// A clock that shows zero now.
    pub(crate) fn start() -> Self {
        Self { origin_ms: performance_now() }
    }

    /// The time since it was started.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer saturates")]
    pub(crate) fn now(self) -> Instant {
        Instant::from_micros(((performance_now() - self.origin_ms) * 1000.0) as u64)
    }
}
