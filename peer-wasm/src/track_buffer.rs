//! The `SourceBuffer` of a kind of track with what waits for it: of alternatives, one after the other.

use std::rc::Rc;

use bytes::Bytes;
use cardume_media::Track;
use cardume_wire::TrackId;
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Event, MediaSource, SourceBuffer};

use crate::append_queue::{AppendQueue, Endurance, Situation, Step};
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
    /// Whether the track ends with what was pushed last.
    is_at_end: bool,
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

/// One part, and how it continues what was pushed before.
pub(crate) struct Addition {
    /// Its bytes in order.
    pub(crate) chunks: Vec<Bytes>,
    /// Whether what was pushed before and waits is not appended any more.
    pub(crate) is_jump: bool,
    /// Whether the track ends with it.
    pub(crate) is_last: bool,
}

enum AppendError {
    QuotaExceeded,
    Other(String),
}

impl TrackBuffer {
    /// Tracks that are alternatives; the first one's init segment waits to be appended first. `None` of none.
    pub(crate) fn new(
        tracks: &[&Track],
        endurance: Endurance,
        video: Rc<Video>,
        notify: Notify<MediaEvent>,
    ) -> Option<Self> {
        let mut queue = AppendQueue::new(endurance);
        queue.push(vec![tracks.first()?.init.clone()]);
        let alternative =
            |track: &&Track| Alternative { id: track.id, mime: track.mime(), init: track.init.clone() };
        let tracks = tracks.iter().map(alternative).collect();
        Some(Self { tracks, present: 0, queue, is_at_end: false, buffer: None, video, notify })
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
    pub(crate) fn push(&mut self, track: TrackId, part: Addition) {
        if part.is_jump {
            self.queue.clear_parts();
            if let Some(track) = self.tracks.get(self.present) {
                // It may have been among them.
                self.queue.push(vec![track.init.clone()]);
            }
        }
        self.is_at_end = part.is_last;
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
        self.queue.push(part.chunks);
    }

    /// Whether all of the track up to its end, from where the viewer went last, was appended.
    pub(crate) fn is_complete(&self) -> bool {
        let is_idle = self.buffer.as_ref().is_some_and(|(buffer, _)| !buffer.updating());
        self.is_at_end && is_idle && self.queue.is_empty()
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
                Some(Step::RemoveFrom(from)) => {
                    buffer.remove(from, f64::INFINITY).map_err(|error| classify(&error))
                }
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
    let ranges = buffer.buffered().ok();
    let buffered_from = ranges.as_ref().and_then(|ranges| ranges.start(0).ok());
    let buffered_to = ranges.and_then(|ranges| ranges.end(ranges.length().checked_sub(1)?).ok());
    Situation { playhead: video.playhead(), buffered_from, buffered_to, is_streaming }
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
