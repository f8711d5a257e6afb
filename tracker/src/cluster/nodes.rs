//! The other nodes, as far as they are heard. Time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cardume_wire::{ChannelId, Epoch};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::node::NodeId;

/// How often a node says that it lives.
pub(super) const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A node that says nothing for so long is dead, and others may take what it had on air: three beats, as one may be lost and
/// one late.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(3);
/// Nodes that are remembered at most, of those that live and of those that died.
pub(super) const NODE_LIMIT: usize = 256;
/// Bytes of a beat at most: a thousand channels on air, with ids of 64 bytes.
pub(super) const BEAT_LEN_LIMIT: usize = 128 * 1024;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// Whose encoders it has, and which broadcasts those are.
    pub(super) on_air: BTreeMap<ChannelId, Epoch>,
    /// Whether it is going down: its last.
    #[serde(default)]
    pub(super) is_last: bool,
}

/// Who else is there.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_id: BTreeMap<NodeId, Node>,
    /// Those that were buried, the latest at the end.
    dead: VecDeque<NodeId>,
}

#[derive(Debug)]
struct Node {
    heard_at: Instant,
    /// Known to be dead before it was silent for long.
    is_condemned: bool,
    on_air: BTreeMap<ChannelId, Epoch>,
}

impl Nodes {
    /// Takes a node's beat; true when something changed by it.
    pub(super) fn hear(&mut self, id: NodeId, beat: Beat, now: Instant) -> bool {
        if beat.is_last {
            return self.by_id.remove(&id).is_some();
        }
        if self.by_id.len() >= NODE_LIMIT && !self.by_id.contains_key(&id) {
            return false;
        }
        self.dead.retain(|dead| *dead != id);
        let node = Node { heard_at: now, is_condemned: false, on_air: beat.on_air };
        let on_air = node.on_air.clone();
        self.by_id.insert(id, node).is_none_or(|before| before.on_air != on_air)
    }

    /// NATS was away: whoever was silent meanwhile could not be heard.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.by_id.values_mut().for_each(|node| node.heard_at = now);
    }

    /// Forgets those that are dead, and gives their names.
    pub(super) fn bury(&mut self, now: Instant) -> Vec<NodeId> {
        let is_dead = |node: &Node| node.is_condemned || now.duration_since(node.heard_at) >= SILENCE_LIMIT;
        let dead: Vec<NodeId> =
            self.by_id.extract_if(.., |_, node| is_dead(node)).map(|(id, _)| id).collect();
        self.remember_dead(&dead);
        dead
    }

    /// It is known to be dead: the next look buries it, and nothing is on air there.
    pub(super) fn condemn(&mut self, id: NodeId) {
        match self.by_id.get_mut(&id) {
            Some(node) => {
                node.is_condemned = true;
                node.on_air.clear();
            }
            None => self.remember_dead(&[id]),
        }
    }

    /// It says that it does not have this channel on air.
    pub(super) fn clear_air(&mut self, id: NodeId, channel: &ChannelId) {
        if let Some(node) = self.by_id.get_mut(&id) {
            node.on_air.remove(channel);
        }
    }

    fn remember_dead(&mut self, dead: &[NodeId]) {
        self.dead.extend(dead);
        self.dead.drain(..self.dead.len().saturating_sub(NODE_LIMIT));
    }

    /// Whether it was heard, and then no more.
    pub(super) fn is_dead(&self, id: NodeId) -> bool {
        self.dead.contains(&id) || self.by_id.get(&id).is_some_and(|node| node.is_condemned)
    }

    /// When it was last heard; `None` when it is not known.
    pub(super) fn heard_at(&self, id: NodeId) -> Option<Instant> {
        self.by_id.get(&id).map(|node| node.heard_at)
    }

    /// How many are heard.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Who has the channel's newest broadcast, of those that are heard.
    pub(super) fn on_air(&self, channel: &ChannelId) -> Option<(NodeId, Epoch)> {
        let on_air = self.by_id.iter().filter_map(|(id, node)| Some((*id, *node.on_air.get(channel)?)));
        on_air.max_by_key(|(id, epoch)| (*epoch, *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(on_air: &[(&str, u32)]) -> Beat {
        let on_air =
            on_air.iter().map(|(channel, epoch)| (channel.parse().unwrap(), Epoch(*epoch))).collect();
        Beat { on_air, is_last: false }
    }

    fn live() -> ChannelId {
        "live".parse().unwrap()
    }

    const A: NodeId = NodeId::new(1);
    const B: NodeId = NodeId::new(2);

    #[test]
    fn of_two_broadcasts_the_newer_one_counts() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        assert!(nodes.hear(A, beat(&[("live", 7)]), now));
        assert!(!nodes.hear(A, beat(&[("live", 7)]), now), "nothing new");
        assert!(nodes.hear(B, beat(&[("live", 9), ("other", 1)]), now));
        assert_eq!(nodes.on_air(&live()), Some((B, Epoch(9))));
        assert!(nodes.hear(B, beat(&[]), now));
        assert_eq!(nodes.on_air(&live()), Some((A, Epoch(7))));
    }

    #[test]
    fn a_silent_node_is_dead_unless_nobody_could_be_heard() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        nodes.hear(A, beat(&[("live", 7)]), start);
        assert_eq!(nodes.bury(start + SILENCE_LIMIT / 2), []);
        nodes.excuse(start + SILENCE_LIMIT);
        assert_eq!(nodes.bury(start + SILENCE_LIMIT), []);
        assert_eq!(nodes.bury(start + 2 * SILENCE_LIMIT), [A]);
        assert_eq!(nodes.on_air(&live()), None);
    }

    #[test]
    fn a_node_that_says_goodbye_is_gone_at_once() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        nodes.hear(A, beat(&[("live", 7)]), now);
        assert!(nodes.hear(A, Beat { is_last: true, ..beat(&[]) }, now));
        assert_eq!((nodes.heard_at(A), nodes.is_dead(A)), (None, false));
    }

    #[test]
    fn a_condemned_node_is_buried_at_the_next_look_and_lives_when_it_is_heard() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        nodes.hear(A, beat(&[("live", 7)]), now);
        nodes.condemn(A);
        assert_eq!(nodes.on_air(&live()), None);
        assert_eq!(nodes.bury(now), [A]);
        assert!(nodes.is_dead(A));
        assert!(nodes.hear(A, beat(&[("live", 7)]), now));
        assert!(!nodes.is_dead(A));
        nodes.clear_air(A, &live());
        assert_eq!((nodes.on_air(&live()), nodes.len()), (None, 1));
    }

    #[test]
    fn a_beat_is_small_json() {
        let text = serde_json::to_string(&beat(&[("live", 7)])).unwrap();
        assert_eq!(text, r#"{"on_air":{"live":7},"is_last":false}"#);
        assert_eq!(serde_json::from_str::<Beat>(&text).unwrap(), beat(&[("live", 7)]));
    }
}
