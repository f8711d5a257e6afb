//! The class that pages use.

use std::cell::RefCell;
use std::rc::Rc;

use cardume_viewer::PlayerEvent;
use js_sys::Function;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::HtmlVideoElement;

use crate::event::event_to_js;
use crate::options::{Options, bits_per_sec};
use crate::renditions::chosen;
use crate::shell::Shell;
use crate::timer::Timer;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &'static str = include_str!("player.d.ts");

#[wasm_bindgen]
extern "C" {
    /// See `player.d.ts`.
    #[wasm_bindgen(typescript_type = "PlayerOptions")]
    pub type PlayerOptions;
    /// See `player.d.ts`.
    #[wasm_bindgen(typescript_type = "(event: PlayerEvent) => void")]
    pub type PlayerEventHandler;
    /// See `player.d.ts`.
    #[wasm_bindgen(typescript_type = "Stats | undefined")]
    pub type StatsOrUndefined;
}

/// Watches one channel in one `<video>` element, which it takes over until `destroy()`.
#[wasm_bindgen]
pub struct Player {
    shell: RefCell<Option<Rc<Shell>>>,
    /// Tells what was wrong with the options.
    _refusal: Option<Timer>,
}

#[wasm_bindgen]
impl Player {
    /// Begins to watch. Throws nothing: options that make no sense come as a fatal error event of code
    /// `invalid_options`. All events come after the constructor has returned.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::needless_pass_by_value, reason = "JavaScript hands over values")]
    pub fn new(
        video: HtmlVideoElement,
        options: PlayerOptions,
        #[wasm_bindgen(js_name = onEvent)] on_event: PlayerEventHandler,
    ) -> Self {
        let on_event: Function = wasm_bindgen::JsCast::unchecked_into(JsValue::from(on_event));
        match Options::read(&options.into()) {
            Ok(options) => {
                let shell = Shell::start(video, options, on_event);
                Self { shell: RefCell::new(Some(shell)), _refusal: None }
            }
            Err(message) => Self { shell: RefCell::new(None), _refusal: Some(refuse(on_event, message)) },
        }
    }

    /// How it goes, or undefined after `destroy()`. Cheap; the numbers change a few times a second.
    pub fn stats(&self) -> StatsOrUndefined {
        let stats = self.shell.try_borrow().ok().and_then(|shell| shell.as_ref()?.stats());
        wasm_bindgen::JsCast::unchecked_into(stats.unwrap_or(JsValue::UNDEFINED))
    }

    /// Bits per second that may be uploaded from now on; 0 for none, undefined to let the player find out.
    #[wasm_bindgen(js_name = setUploadLimit)]
    pub fn set_upload_limit(
        &self,
        #[wasm_bindgen(js_name = bitsPerSecond, unchecked_param_type = "number | undefined")] limit: Option<
            f64,
        >,
    ) {
        if let Ok(shell) = self.shell.try_borrow()
            && let Some(shell) = shell.as_ref()
        {
            shell.set_upload_limit(bits_per_sec(limit));
        }
    }

    /// Shows this rendition from the next place on where it can begin; `'auto'` leaves the choice to the player.
    #[wasm_bindgen(js_name = setRendition)]
    #[allow(clippy::needless_pass_by_value, reason = "JavaScript hands over values")]
    pub fn set_rendition(
        &self,
        #[wasm_bindgen(unchecked_param_type = "number | 'auto'")] rendition: JsValue,
    ) {
        if let Ok(shell) = self.shell.try_borrow()
            && let Some(shell) = shell.as_ref()
        {
            shell.set_rendition(chosen(&rendition));
        }
    }

    /// Says goodbye to the neighbours, closes everything and gives the element back. A second call does nothing.
    pub fn destroy(&self) {
        let shell = self.shell.try_borrow_mut().ok().and_then(|mut shell| shell.take());
        if let Some(shell) = shell {
            shell.stop();
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// Tells the page, soon, that its options make no sense.
fn refuse(on_event: Function, message: String) -> Timer {
    let event = PlayerEvent::Error { code: "invalid_options", message, is_fatal: true };
    let timer = Timer::new(move || {
        let _ = on_event.call1(&JsValue::UNDEFINED, &event_to_js(&event));
    });
    timer.set(core::time::Duration::ZERO);
    timer
}
