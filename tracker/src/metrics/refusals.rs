//! Who was turned away, and why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why somebody was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `connection_limit`.
    Connections,
    /// Connections of one network address.
    AddressConnections,
    /// `address_limit`.
    AddressSockets,
    /// `allowed_origins`.
    Origin,
    /// WebTorrent clients have as many connections as they may.
    WebTorrent,
    /// A viewer who may not join: `viewer_limit`, an unknown channel, another version.
    Join,
    /// An encoder that speaks RTMP: too many are connected, in all or from its address.
    Rtmp,
}

impl Refusal {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Connections,
        Self::AddressConnections,
        Self::AddressSockets,
        Self::Origin,
        Self::WebTorrent,
        Self::Join,
        Self::Rtmp,
    ];

    /// For a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::AddressConnections => "address_connections",
            Self::AddressSockets => "address_sockets",
            Self::Origin => "origin",
            Self::WebTorrent => "webtorrent",
            Self::Join => "join",
            Self::Rtmp => "rtmp",
        }
    }
}

/// How often that was, since the start; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<[AtomicU64; Refusal::ALL.len()]>);

impl Refusals {
    /// Once more.
    pub fn count(&self, refusal: Refusal) {
        if let Some(counter) = self.0.get(refusal as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often.
    pub fn n(&self, refusal: Refusal) -> u64 {
        self.0.get(refusal as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_for_itself() {
        let refusals = Refusals::default();
        for (n, refusal) in (1..).zip(Refusal::ALL) {
            (0..n).for_each(|_| refusals.count(refusal));
        }
        let counted: Vec<_> = Refusal::ALL.iter().map(|refusal| refusals.n(*refusal)).collect();
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7]);
    }
}
