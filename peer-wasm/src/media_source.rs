//! Media attachment. Lives in the window, with the element; the engine talks to it in [`MediaCommand`]s and hears
//! [`MediaEvent`]s, which could be messages between threads. Nothing here throws or returns an error.

use std::cell::RefCell;
use std::rc::Rc;

use cardume_media::{Catalog, Track, TrackKind};
use cardume_wire::TrackId;
use web_sys::{Event, HtmlVideoElement, MediaSource, MediaSourceReadyState, Url};

use crate::append_queue::Endurance;
use crate::listener::{Listener, Notify};
use crate::source::SourceKind;
use crate::track_buffer::{Addition, TrackBuffer};
use crate::video::{Video, seconds};

pub use cardume_viewer::{MediaCommand, MediaEvent};

/// The element with the source that is attached to it. Dropping it takes the source away.
pub struct Media {
    video: Rc<Video>,
    notify: Notify<MediaEvent>,
    attachment: Option<Rc<Attachment>>,
}

/// One media source on the element.
struct Attachment {
    source: MediaSource,
    buffers: RefCell<Vec<TrackBuffer>>,
    is_managed: bool,
    /// Seconds; endless when live.
    duration: f64,
    listeners: RefCell<Vec<Listener>>,
}

impl Media {
    /// Takes an element over; nothing is attached yet.
    pub fn new(element: HtmlVideoElement, notify: Notify<MediaEvent>) -> Self {
        Self { video: Rc::new(Video::new(element, notify.clone())), notify, attachment: None }
    }

    /// Does what is asked; what goes wrong comes as an event.
    pub fn handle(&mut self, command: MediaCommand) {
        match command {
            MediaCommand::Attach(catalog) => self.attach(&catalog),
            MediaCommand::Append { track, chunks, is_jump, is_last, .. } => {
                self.append(track, Addition { chunks, is_jump, is_last });
            }
            MediaCommand::SetRate(rate) => self.video.set_rate(rate),
            MediaCommand::Seek(to_us) => self.video.seek(to_us),
            MediaCommand::Observe => {
                // The playhead may have made room.
                self.attachment.iter().for_each(|attachment| attachment.advance());
                (self.notify)(MediaEvent::Observed(self.video.state()));
            }
        }
    }

    fn attach(&mut self, catalog: &Catalog) {
        let Some(kind) = SourceKind::find() else {
            let message = "this browser has no Media Source Extensions";
            return (self.notify)(MediaEvent::fatal("unsupported_browser", message));
        };
        let wants_to_play = self.attachment.is_none() || !self.video.element().paused();
        let tracks = self.playable(catalog, &kind);
        if tracks.is_empty() {
            self.attachment = None;
            let message = "this browser can play none of the channel's tracks";
            return (self.notify)(MediaEvent::fatal("unsupported_media", message));
        }
        self.attachment = Attachment::new(&kind, (catalog, &tracks), &self.video, &self.notify);
        if self.attachment.is_none() {
            (self.notify)(MediaEvent::Broken("the browser refuses a new media source".into()));
        } else if wants_to_play {
            self.video.play();
        }
    }

    /// The tracks of each kind that the browser can play: an element plays one of each at a time.
    fn playable<'a>(&self, catalog: &'a Catalog, kind: &SourceKind) -> Vec<Vec<&'a Track>> {
        let of = |wanted: TrackKind| {
            let tracks = || catalog.tracks().iter().filter(move |track| track.kind == wanted);
            let playable: Vec<&Track> = tracks().filter(|track| kind.supports(&track.mime())).collect();
            if let Some(any) = tracks().next().filter(|_| playable.is_empty()) {
                let message = format!("this browser cannot play {}", any.mime());
                (self.notify)(MediaEvent::warning("unsupported_track", message));
            }
            playable
        };
        let kinds = [TrackKind::Video, TrackKind::Audio].map(of);
        kinds.into_iter().filter(|tracks| !tracks.is_empty()).collect()
    }

    fn append(&self, track: TrackId, part: Addition) {
        if let Some(attachment) = &self.attachment {
            attachment.append(track, part);
        }
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        if self.attachment.take().is_some() {
            self.video.clear();
        }
    }
}

impl Attachment {
    fn new(
        kind: &SourceKind,
        (catalog, kinds): (&Catalog, &[Vec<&Track>]),
        video: &Rc<Video>,
        notify: &Notify<MediaEvent>,
    ) -> Option<Rc<Self>> {
        let source = kind.create(video.element())?;
        let url = Url::create_object_url_with_source(&source).ok()?;
        let endurance = if catalog.is_on_demand() { Endurance::Film } else { Endurance::Live };
        let buffer =
            |tracks: &Vec<&Track>| TrackBuffer::new(tracks, endurance, video.clone(), notify.clone());
        let buffers = kinds.iter().filter_map(buffer);
        let buffers = buffers.collect();
        let attachment = Rc::new(Self {
            source,
            buffers: RefCell::new(buffers),
            is_managed: kind.is_managed(),
            duration: catalog.end_us().map_or(f64::INFINITY, seconds),
            listeners: RefCell::default(),
        });
        attachment.listen(&url);
        video.element().set_src(&url);
        Some(attachment)
    }

    fn listen(self: &Rc<Self>, url: &str) {
        let (opened, url) = (Rc::downgrade(self), url.to_owned());
        let mut listeners = vec![Listener::new(&self.source, "sourceopen", move |_: Event| {
            let _ = Url::revoke_object_url(&url);
            if let Some(attachment) = opened.upgrade() {
                attachment.open();
            }
        })];
        for kind in ["startstreaming", "endstreaming"] {
            let changed = Rc::downgrade(self);
            listeners.push(Listener::new(&self.source, kind, move |_: Event| {
                if let Some(attachment) = changed.upgrade() {
                    attachment.advance();
                }
            }));
        }
        self.listeners.replace(listeners);
    }

    fn open(self: &Rc<Self>) {
        if self.source.ready_state() != MediaSourceReadyState::Open {
            return;
        }
        self.source.set_duration(self.duration);
        if let Ok(mut buffers) = self.buffers.try_borrow_mut() {
            for buffer in &mut *buffers {
                let idle = Rc::downgrade(self);
                let advance = move || {
                    if let Some(attachment) = idle.upgrade() {
                        attachment.advance();
                    }
                };
                buffer.open(&self.source, advance);
            }
        }
        self.advance();
    }

    fn append(&self, track: TrackId, part: Addition) {
        if let Ok(mut buffers) = self.buffers.try_borrow_mut()
            && let Some(buffer) = buffers.iter_mut().find(|buffer| buffer.has(track))
        {
            buffer.push(track, part);
        }
        self.advance();
    }

    fn advance(&self) {
        let Ok(mut buffers) = self.buffers.try_borrow_mut() else { return };
        for buffer in &mut *buffers {
            buffer.advance(self.is_streaming());
        }
        // Appending after a seek opens it again.
        let is_open = self.source.ready_state() == MediaSourceReadyState::Open;
        if is_open && buffers.iter().all(TrackBuffer::is_complete) {
            let _ = self.source.end_of_stream();
        }
    }

    fn is_streaming(&self) -> bool {
        let wanted = || js_sys::Reflect::get(&self.source, &"streaming".into());
        !self.is_managed || wanted().is_ok_and(|wanted| wanted.is_truthy())
    }
}
