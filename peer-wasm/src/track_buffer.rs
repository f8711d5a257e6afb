//! The `SourceBuffer` of a kind of track with what waits for it: of alternatives, one after the other.

use std::rc::Rc;

use bytes::Bytes;
use cardume_media::Track;
use cardume_wire::TrackId;
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Event, MediaSource, SourceBuffer};

use crate::append_queue::{AppendQueue, Situation, Step};
use crate::listener::{Listener, Notify};
use crate::media_source::MediaEvent;
use crate::video::Video;

/// The tracks of one kind of an attached source; the buffer comes when the source opens.
pub(crate) struct TrackBuffer {
    /// At least one.
    tracks: Vec<Alternative>,
    /// Whose init segment was the last one, by its place.
    present: usize,
    queue: AppendQueue,
    buffer: Option<(SourceBuffer, [Listener; 2])>,
    video: Rc<Video>,
    notify: Notify<MediaEvent>,
}

/// What has to be known of a track to go over to it.
struct Alternative {
    id: TrackId,
    mime: String,
    init: Bytes,
}

enum AppendError {
    QuotaExceeded,
    Other(String),
}

impl TrackBuffer {
    /// Tracks that are alternatives; the first one's init segment waits to be appended first. `None` of none.
    pub(crate) fn new(tracks: &[&Track], video: Rc<Video>, notify: Notify<MediaEvent>) -> Option<Self> {
        let mut queue = AppendQueue::default();
        queue.push(vec![tracks.first()?.init.clone()]);
        let alternative =
            |track: &&Track| Alternative { id: track.id, mime: track.mime(), init: track.init.clone() };
        let tracks = tracks.iter().map(alternative).collect();
        Some(Self { tracks, present: 0, queue, buffer: None, video, notify })
    }

    /// Makes the `SourceBuffer`; `idle` is called whenever it has finished something.
    pub(crate) fn open(&mut self, source: &MediaSource, idle: impl Fn() + 'static) {
        let Some(Alternative { mime, .. }) = self.tracks.first() else { return };
        let Ok(buffer) = source.add_source_buffer(mime) else {
            let message = format!("the browser refuses a buffer for {mime}");
            return (self.notify)(MediaEvent::Broken(message));
        };
        let (notify, mime) = (self.notify.clone(), mime.clone());
        let listeners = [
            Listener::new(&buffer, "updateend", move |_: Event| idle()),
            Listener::new(&buffer, "error", move |_: Event| {
                notify(MediaEvent::Broken(format!("the browser cannot parse the media of {mime}")));
            }),
        ];
        self.buffer = Some((buffer, listeners));
    }

    /// Whether the track is one of them.
    pub(crate) fn has(&self, track: TrackId) -> bool {
        self.tracks.iter().any(|alternative| alternative.id == track)
    }

    /// Adds one part of one of the tracks, behind the track's init segment when it is another one than before.
    pub(crate) fn push(&mut self, track: TrackId, part: Vec<Bytes>) {
        let place = self.tracks.iter().position(|alternative| alternative.id == track);
        let place = place.unwrap_or(self.present);
        if place != self.present
            && let (Some(before), Some(now)) = (self.tracks.get(self.present), self.tracks.get(place))
        {
            self.present = place;
            if before.mime != now.mime {
                self.queue.push_type(now.mime.clone());
            }
            self.queue.push(vec![now.init.clone()]);
        }
        self.queue.push(part);
    }

    /// Does what is next, if the buffer is there and idle.
    pub(crate) fn advance(&mut self, is_streaming: bool) {
        let Some((buffer, _)) = &self.buffer else { return };
        while !buffer.updating() {
            let situation = situation(&self.video, buffer, is_streaming);
            let outcome = match self.queue.next_step(situation) {
                None => return,
                Some(Step::RemoveBefore(before)) => {
                    buffer.remove(0.0, before).map_err(|error| classify(&error))
                }
                Some(Step::ChangeType(mime)) => buffer.change_type(&mime).map_err(|error| classify(&error)),
                Some(Step::Append(part)) => append(buffer, &part),
            };
            match outcome {
                Ok(()) => self.queue.handle_done(),
                Err(AppendError::QuotaExceeded) => {
                    if !self.queue.handle_quota_exceeded(situation) {
                        let message = "the browser has no room for more media; a part was skipped";
                        (self.notify)(MediaEvent::warning("quota_exceeded", message));
                    }
                }
                Err(AppendError::Other(message)) => return (self.notify)(MediaEvent::Broken(message)),
            }
        }
    }
}

fn situation(video: &Video, buffer: &SourceBuffer, is_streaming: bool) -> Situation {
    let buffered_from = buffer.buffered().ok().and_then(|ranges| ranges.start(0).ok());
    Situation { playhead: video.playhead(), buffered_from, is_streaming }
}

/// The one copy of a part out of WebAssembly's memory.
fn append(buffer: &SourceBuffer, part: &[Bytes]) -> Result<(), AppendError> {
    let len = part.iter().map(Bytes::len).sum::<usize>();
    let joined = Uint8Array::new_with_length(u32::try_from(len).unwrap_or(u32::MAX));
    let mut offset = 0;
    for chunk in part {
        let end = offset + u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        joined.subarray(offset, end).copy_from(chunk);
        offset = end;
    }
    buffer.append_buffer_with_array_buffer_view(&joined).map_err(|error| classify(&error))
}

fn classify(error: &JsValue) -> AppendError {
    let error: &js_sys::Error = error.unchecked_ref();
    if error.name() == "QuotaExceededError" {
        AppendError::QuotaExceeded
    } else {
        AppendError::Other(format!("the browser refuses the media: {}", String::from(error.message())))
    }
}
