//! The names under which nodes speak to each other on NATS. Ids have no dots, so that each is one token.

use cardume_wire::{ChannelId, PeerId, TrackId};

use crate::node::NodeId;

/// What all nodes beat on.
pub(super) const ALL_NODES: &str = "cardume.node.*";
/// What all nodes tell of their viewers.
pub(super) const ALL_SWARMS: &str = "cardume.swarm.*";
/// What is written into the bucket's list of channels passes here.
pub(super) const CHANNELS_WRITTEN: &str = "$KV.cardume.channels";
/// What all nodes are asked for by whoever looks for a film.
pub(super) const ALL_FILMS: &str = "cardume.film.*";
/// What the answers to questions go to, in NATS' own client.
const INBOX: &str = "_INBOX.";
/// What the answers to asks begin with: no other subject is answered to.
const REFILL: &str = "cardume.refill.";
const OFFER_BACK: &str = "cardume.back.";

/// Where a node says that it lives.
pub(super) fn node(node: NodeId) -> String {
    format!("cardume.node.{node}")
}

/// Where a node is asked whether it has a channel on air.
pub(super) fn inquiry(node: NodeId, channel: &ChannelId) -> String {
    format!("cardume.inquiry.{node}.{channel}")
}

/// Where whoever has this film is asked for it.
pub(super) fn film(film: &ChannelId) -> String {
    format!("cardume.film.{film}")
}

/// Whether a question may be answered there.
pub(super) fn is_inbox(subject: &str) -> bool {
    subject.starts_with(INBOX)
}

/// All that a node is asked for so.
pub(super) fn inquiries_of(node: NodeId) -> String {
    format!("cardume.inquiry.{node}.*")
}

/// What is for one viewer of a node.
pub(super) fn peer(node: NodeId, peer: PeerId) -> String {
    format!("cardume.peer.{node}.{peer}")
}

/// What is for all viewers of a node.
pub(super) fn peers_of(node: NodeId) -> String {
    format!("cardume.peer.{node}.*")
}

/// Where an offer comes back to a node that sent it, when the node `to` is not there.
pub(super) fn offer_back(node: NodeId, back: &Back) -> String {
    let Back { to, channel, from, peer } = back;
    format!("{OFFER_BACK}{node}.{to}.{channel}.{from}.{peer}")
}

/// All that come back to a node.
pub(super) fn offers_back(node: NodeId) -> String {
    format!("{OFFER_BACK}{node}.>")
}

/// An offer that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Back {
    /// The node that is not there.
    pub(super) to: NodeId,
    pub(super) channel: ChannelId,
    /// Who offered.
    pub(super) from: PeerId,
    /// Whom.
    pub(super) peer: PeerId,
}

impl Back {
    /// What a subject of [`offer_back`] names.
    pub(super) fn read(subject: &str) -> Option<Self> {
        let mut tokens = subject.strip_prefix(OFFER_BACK)?.split('.');
        let _back_to = tokens.next()?;
        let to = tokens.next()?.parse().ok()?;
        let channel = tokens.next()?.parse().ok()?;
        let (from, peer) = (tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?);
        Some(Self { to, channel, from, peer }).filter(|_| tokens.next().is_none())
    }
}

/// What nodes tell each other of a channel's viewers.
pub(super) fn swarm(channel: &ChannelId) -> String {
    format!("cardume.swarm.{channel}")
}

/// Parts of a track as they are published.
pub(super) fn media(channel: &ChannelId, track: TrackId) -> String {
    format!("cardume.media.{channel}.{}", track.0)
}

/// Parts of all tracks of a channel.
pub(super) fn media_of(channel: &ChannelId) -> String {
    format!("cardume.media.{channel}.*")
}

/// Where the node that has a channel's broadcast is asked for what is missing.
pub(super) fn ask(holder: NodeId, channel: &ChannelId) -> String {
    format!("cardume.ask.{holder}.{channel}")
}

/// All that a node is asked for.
pub(super) fn asks_of(holder: NodeId) -> String {
    format!("cardume.ask.{holder}.*")
}

/// Where the answer to a node's ask goes.
pub(super) fn refill(node: NodeId, channel: &ChannelId) -> String {
    format!("{REFILL}{node}.{channel}")
}

/// Whether answers may go there.
pub(super) fn is_refill(subject: &str) -> bool {
    subject.starts_with(REFILL)
}

/// What the last token of a subject names.
pub(super) fn last<T: std::str::FromStr>(subject: &str) -> Option<T> {
    subject.rsplit('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_subject_is_about_can_be_read_from_it() {
        let channel: ChannelId = "news-1".parse().unwrap();
        assert_eq!(last(&ask(NodeId::new(7), &channel)), Some(channel.clone()));
        assert_eq!(last(&peer(NodeId::new(7), PeerId::new(9))), Some(PeerId::new(9)));
        assert_eq!(last(&node(NodeId::new(7))), Some(NodeId::new(7)));
        let back = Back { to: NodeId::new(8), channel, from: PeerId::new(9), peer: PeerId::new(10) };
        assert_eq!(Back::read(&offer_back(NodeId::new(7), &back)), Some(back));
        assert_eq!(Back::read("cardume.back.x.y"), None);
        let channel: ChannelId = "news-1".parse().unwrap();
        assert_eq!(last::<PeerId>("cardume.peer.x.y"), None);
        assert!(is_refill(&refill(NodeId::new(7), &channel)) && !is_refill("$JS.API.STREAM.DELETE.KV"));
    }
}
