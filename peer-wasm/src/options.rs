//! What the page asks the player for.

use cardume_swarm::BitsPerSec;
use cardume_viewer::Wish;
use js_sys::Reflect;
use wasm_bindgen::JsValue;
use web_sys::Url;

/// A page's wishes, checked.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    tracker: String,
    /// What to watch, and how.
    pub(crate) wish: Wish,
}

impl Options {
    /// Reads the page's object.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn read(options: &JsValue) -> Result<Self, String> {
        let field = |name: &str| Reflect::get(options, &name.into()).unwrap_or(JsValue::UNDEFINED);
        let tracker = field("tracker").as_string().ok_or("the option `tracker` is missing")?;
        let channel = field("channel").as_string().ok_or("the option `channel` is missing")?;
        let channel = channel.parse().map_err(|error| format!("`{channel}` is no channel: {error}"))?;
        let upload_limit = bits_per_sec(field("uploadLimit").as_f64());
        let upload_guess = bits_per_sec(field("uploadGuess").as_f64());
        let wish = Wish { channel, upload_limit, upload_guess, rendition: None };
        let options = Self { tracker, wish };
        match options.socket_url("/v1/signal") {
            Some(_) => Ok(options),
            None => Err(format!("`{}` is no http or https address", options.tracker)),
        }
    }

    /// The address of a WebSocket of the tracker, by its path and query.
    pub(crate) fn socket_url(&self, path: &str) -> Option<String> {
        let url = Url::new_with_base(path, &self.tracker).ok()?;
        match url.protocol().as_str() {
            "http:" | "ws:" => url.set_protocol("ws:"),
            "https:" | "wss:" => url.set_protocol("wss:"),
            _ => return None,
        }
        Some(url.href())
    }
}

/// A bitrate as JavaScript has it; `None` for what is no number of bits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer saturates")]
pub(crate) fn bits_per_sec(rate: Option<f64>) -> Option<BitsPerSec> {
    rate.filter(|rate| rate.is_finite() && *rate >= 0.0).map(|rate| BitsPerSec(rate as u64))
}
