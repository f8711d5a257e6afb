//! One player's engine with its queue, timer and page: what makes callbacks safe.
//!
//! Every callback puts what happened in the queue and has it worked off; one that comes while that is being done (an
//! event handler of the page that calls the player) leaves it to the loop that is running. So the engine is borrowed
//! once at a time, the page's handlers run while it is not, and nothing can panic by calling back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use cardume_swarm::BitsPerSec;
use cardume_viewer::PlayerEvent;
use cardume_wire::TrackId;
use js_sys::Function;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Event, EventTarget, HtmlVideoElement};

use crate::clock::Clock;
use crate::engine::{Engine, Happening, handle, start};
use crate::event::event_to_js;
use crate::listener::{Listener, Notify};
use crate::options::Options;
use crate::panic::{PanicWatch, watch};
use crate::stats::stats_to_js;
use crate::timer::Timer;

/// Happenings that wait at most. They are worked off at once; some gather only while a page's handler runs a nested
/// event loop (`alert`), and then the oldest media is the least missed.
const WAITING_LIMIT: usize = 4096;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = reportError)]
    fn report_error(error: &JsValue);
}

/// What is behind one `Player`.
pub(crate) struct Shell {
    me: Weak<Self>,
    clock: Clock,
    video: HtmlVideoElement,
    options: RefCell<Options>,
    on_event: Function,
    engine: RefCell<Option<Engine>>,
    /// One message, copied out of JavaScript.
    scratch: RefCell<Vec<u8>>,
    waiting: RefCell<VecDeque<Happening>>,
    events: RefCell<VecDeque<PlayerEvent>>,
    is_dispatching: Cell<bool>,
    timer: Timer,
    page: RefCell<Vec<Listener>>,
    _watch: PanicWatch,
}

impl Shell {
    /// Begins to watch; the first event comes after this has returned.
    pub(crate) fn start(video: HtmlVideoElement, options: Options, on_event: Function) -> Rc<Self> {
        let shell = Rc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            clock: Clock::start(),
            video,
            options: RefCell::new(options),
            _watch: watch(&on_event),
            on_event,
            engine: RefCell::new(None),
            scratch: RefCell::default(),
            waiting: RefCell::default(),
            events: RefCell::default(),
            is_dispatching: Cell::new(false),
            timer: Timer::new(post_tick(me.clone())),
            page: RefCell::default(),
        });
        shell.page.replace(watch_page(&Rc::downgrade(&shell)));
        shell.resume();
        shell
    }

    /// How it goes; `None` after the end.
    pub(crate) fn stats(&self) -> Option<JsValue> {
        let engine = self.engine.try_borrow().ok()?;
        let (stats, facts) = engine.as_ref()?.stats(self.clock.now());
        Some(stats_to_js(&stats, &facts, &self.options.try_borrow().ok()?.wish.channel))
    }

    /// Changes what may be uploaded.
    pub(crate) fn set_upload_limit(&self, limit: Option<BitsPerSec>) {
        if let Ok(mut options) = self.options.try_borrow_mut() {
            options.wish.upload_limit = limit;
        }
        if let Ok(mut engine) = self.engine.try_borrow_mut()
            && let Some(engine) = engine.as_mut()
        {
            engine.set_upload_limit(limit, self.clock.now());
        }
        self.run();
    }

    /// Chooses a rendition; `None` leaves it to the player.
    pub(crate) fn set_rendition(&self, chosen: Option<TrackId>) {
        if let Ok(mut options) = self.options.try_borrow_mut() {
            options.wish.rendition = chosen;
        }
        if let Ok(mut engine) = self.engine.try_borrow_mut()
            && let Some(engine) = engine.as_mut()
        {
            engine.set_rendition(chosen, self.clock.now());
        }
        self.run();
    }

    /// Says goodbye and frees everything but the shell. Once is enough; more is harmless.
    pub(crate) fn suspend(&self) {
        let Ok(mut engine) = self.engine.try_borrow_mut() else { return };
        if let Some(mut engine) = engine.take() {
            engine.leave(self.clock.now());
        }
        self.waiting.borrow_mut().clear();
    }

    /// Stops for good: the page is not listened to any more.
    pub(crate) fn stop(&self) {
        self.suspend();
        self.page.take();
        self.events.borrow_mut().clear();
    }

    fn resume(&self) {
        let me = self.me.clone();
        let notify: Notify<Happening> = Rc::new(move |happening| {
            if let Some(shell) = me.upgrade() {
                shell.post(happening);
            }
        });
        let options = self.options.borrow().clone();
        let engine = start(options, self.video.clone(), notify, self.clock.now());
        if let Ok(mut slot) = self.engine.try_borrow_mut() {
            slot.get_or_insert(engine);
        }
        self.timer.set(core::time::Duration::ZERO);
    }

    fn post(&self, happening: Happening) {
        if let Ok(mut waiting) = self.waiting.try_borrow_mut() {
            if waiting.len() >= WAITING_LIMIT {
                waiting.pop_front();
            }
            waiting.push_back(happening);
        }
        self.run();
    }

    /// Works off what waits, then tells the page. Does nothing while it is being done further out.
    fn run(&self) {
        self.work();
        if self.is_dispatching.replace(true) {
            return;
        }
        while let Some(event) = self.next_event() {
            if let Err(error) = self.on_event.call1(&JsValue::UNDEFINED, &event_to_js(&event)) {
                report_error(&error);
            }
        }
        self.is_dispatching.set(false);
    }

    fn work(&self) {
        let Ok(mut slot) = self.engine.try_borrow_mut() else { return };
        let Some(engine) = slot.as_mut() else { return };
        let mut scratch = self.scratch.borrow_mut();
        while let Some(happening) = self.next_happening() {
            handle(engine, &mut scratch, happening, self.clock.now());
        }
        let events = std::iter::from_fn(|| engine.poll_event());
        self.events.borrow_mut().extend(events);
        if let Some(due_at) = engine.poll_timeout() {
            self.timer.set(due_at.since(self.clock.now()));
        }
    }

    fn next_happening(&self) -> Option<Happening> {
        self.waiting.borrow_mut().pop_front()
    }

    fn next_event(&self) -> Option<PlayerEvent> {
        self.events.borrow_mut().pop_front()
    }
}

fn post_tick(shell: Weak<Shell>) -> impl FnMut() + 'static {
    move || {
        if let Some(shell) = shell.upgrade() {
            shell.post(Happening::Tick);
        }
    }
}

/// A page that is left says goodbye at once; one that comes back from the back-forward cache begins anew.
fn watch_page(shell: &Weak<Shell>) -> Vec<Listener> {
    let Ok(page) = js_sys::global().dyn_into::<EventTarget>() else { return Vec::new() };
    let (hidden, shown) = (shell.clone(), shell.clone());
    vec![
        Listener::new(&page, "pagehide", move |_: Event| {
            if let Some(shell) = hidden.upgrade() {
                shell.suspend();
            }
        }),
        Listener::new(&page, "pageshow", move |event: Event| {
            let is_back = js_sys::Reflect::get(&event, &"persisted".into()).is_ok_and(|it| it.is_truthy());
            if let Some(shell) = shown.upgrade().filter(|_| is_back) {
                shell.resume();
            }
        }),
    ]
}
