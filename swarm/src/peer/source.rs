//! The server's source: what it shows may come from another node, which may be out of reach.
//!
//! A server that has nothing new lives and answers, so that nobody whom it feeds would look elsewhere. It says so: viewers of
//! the node that has the source may have room.

use cardume_wire::Stripe;

use super::Peer;
use crate::{Instant, Role};

impl Peer {
    /// Nothing of what the server shows comes any more, until some of it does: whom it feeds is told to look elsewhere.
    pub(super) fn on_cut_off(&mut self, now: Instant) {
        if self.config.role == Role::Server && !core::mem::replace(&mut self.is_cut_off, true) {
            for stripe in Stripe::all() {
                self.tell_path(stripe, now);
            }
        }
    }

    /// Some of it came: all may ask again.
    pub(super) fn hear_source(&mut self, now: Instant) {
        if core::mem::take(&mut self.is_cut_off) {
            let status = self.status();
            for peer in self.neighbours.peers() {
                self.send_control(peer, status.clone(), now);
            }
        }
    }
}
