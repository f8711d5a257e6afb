//! How a broadcast of our own begins and ends: the number it gets, and what other nodes are told of it.

use std::sync::Arc;

use bytes::Bytes;
use cardume_media::{Catalog, CutPart, Publisher, Track};
use cardume_wire::{ChannelId, Epoch, TrackId};
use tokio::sync::mpsc;

use super::actor::Actor;
use crate::clock::{unix_seconds, wall_time};
use crate::cluster::TakeError;
use crate::store::Store;
use crate::window::Window;

/// A broadcast that may begin, with its number.
#[derive(Debug)]
pub(super) struct Admitted {
    tracks: Vec<Track>,
    parts: mpsc::Receiver<CutPart>,
    epoch: Result<Epoch, TakeError>,
}

impl Actor {
    /// Finds the number of a new broadcast, and begins it. That takes a write to disk; in a cluster also a question to the others,
    /// and links are served meanwhile.
    pub(super) async fn admit(&mut self, tracks: Vec<Track>, parts: mpsc::Receiver<CutPart>) {
        if let Some(outlet) = self.ties.outlet.clone() {
            self.admissions.spawn(async move {
                let epoch = outlet.take_air().await;
                Admitted { tracks, parts, epoch }
            });
        } else {
            let epoch = next_epoch(Arc::clone(&self.store), self.end.channel().id().clone()).await;
            self.begin(Admitted { tracks, parts, epoch });
        }
    }

    pub(super) fn begin(&mut self, admitted: Admitted) {
        let Admitted { tracks, parts, epoch } = admitted;
        let catalog =
            match epoch.map_err(anyhow::Error::from).and_then(|epoch| Ok(Catalog::new(epoch, tracks)?)) {
                Ok(catalog) => catalog,
                // Dropping `parts` tells the sender.
                Err(error) => {
                    if let Some(outlet) = &self.ties.outlet {
                        outlet.forgo();
                    }
                    return tracing::error!(channel = %self.end.channel().id(), "no broadcast: {error:#}");
                }
            };
        let epoch = catalog.epoch();
        let tracks: Vec<_> = catalog.tracks().iter().map(|track| track.codec.as_str()).collect();
        tracing::info!(channel = %self.end.channel().id(), epoch = epoch.0, tracks = tracks.join(" "), "on air");
        let window = Window::new(epoch, catalog.tracks());
        self.has_broadcast = true;
        self.parts = Some(parts);
        self.forget_adoption();
        self.session.set_clock(wall_time(), self.now());
        self.session.start_broadcast(Publisher::new(self.end.signing_key().clone(), catalog), self.now());
        self.end.update_window(|now| *now = window);
        if let Some(outlet) = &self.ties.outlet {
            outlet.began(epoch);
        }
    }

    pub(super) fn publish(&mut self, part: CutPart) {
        let now = self.now();
        let track = part.track;
        self.session.set_clock(wall_time(), now);
        match self.session.publish(&part, now) {
            Ok(()) => {
                self.end.update_window(|window| window.push(part));
                self.spread_newest(track);
            }
            Err(error) => tracing::warn!(channel = %self.end.channel().id(), "a part is left out: {error}"),
        }
    }

    pub(super) fn end_broadcast(&mut self) {
        if self.leave_air() {
            tracing::info!(channel = %self.end.channel().id(), "off air");
            self.session.end_broadcast(self.now());
            self.end.update_window(|window| window.is_live = false);
        }
    }

    /// Lets go of a broadcast of our own, whose sender hears of it; false when there was none.
    pub(super) fn leave_air(&mut self) -> bool {
        let was_on = self.parts.take().is_some();
        if let Some(outlet) = self.ties.outlet.as_ref().filter(|_| was_on) {
            outlet.left();
        }
        was_on
    }

    /// To the nodes that want it.
    fn spread_newest(&self, track: TrackId) {
        let Some(outlet) = self.ties.outlet.as_ref().filter(|outlet| outlet.is_wanted()) else { return };
        let messages: Vec<Bytes> =
            self.session.newest_part(track).map_or_else(Vec::new, |part| self.session.part_messages(part));
        outlet.spread(track, &messages);
    }
}

/// The number that the store has for the channel's next broadcast.
async fn next_epoch(store: Arc<Store>, channel: ChannelId) -> Result<Epoch, TakeError> {
    let seconds = unix_seconds(wall_time());
    let next = tokio::task::spawn_blocking(move || store.next_epoch(&channel, seconds)).await;
    // Without a number that has never been used nobody could tell the broadcast from an older one.
    next.map_err(|_| TakeError::ShuttingDown)?.map_err(TakeError::Store)
}
