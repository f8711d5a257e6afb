//! Whether a node lives, and has a channel on air still: it is asked, since three seconds of silence are longer than viewers' buffers.
//!
//! A process that dies takes its subscriptions with it, and NATS answers for it at once that nobody is there. A machine that dies
//! leaves them, and is silent.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use cardume_wire::ChannelId;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::nodes::SILENCE_LIMIT;
use super::{ClusterError, Shared, subject};
use crate::node::NodeId;

/// How long a node must say the same, or nothing, to be believed: an encoder that went to another node may be here before its old
/// node has noticed, and a node that lost its NATS is with another in less.
const ASK_LIMIT: Duration = Duration::from_millis(500);
/// Between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(50);
/// An answer that takes longer is none: a round trip and a busy machine.
const REPLY_LIMIT: Duration = Duration::from_millis(250);
/// A node that answers nothing is dead once a beat is late by half of the time between two: it was asked several times meanwhile, and
/// the encoder for whose sake is asked has left it. With what the encoder needs to come this is within viewers' buffers.
const QUIET_LIMIT: Duration = Duration::from_millis(1500);
/// So long after NATS is back all nodes are: until then that one is not there means nothing. They try to connect several times a
/// second, and a machine may be busy.
const GATHER_LIMIT: Duration = Duration::from_secs(2);

/// What is heard of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It says that it has the channel.
    Yes,
    /// It says that it has not.
    No,
    /// NATS says that there is no such node.
    Nobody,
    /// No answer.
    Silence,
}

/// Whether this node has the channel on air. One that is dead counts as such everywhere from then on.
pub(super) async fn has_on_air(shared: &Shared, node: NodeId, channel: &ChannelId) -> bool {
    if node == shared.me || shared.nodes().is_dead(node) {
        return false;
    }
    let began_at = Instant::now();
    let mut since = began_at;
    let mut last = Word::Silence;
    while shared.connection.is_up() && began_at.elapsed() < SILENCE_LIMIT {
        let word = ask(shared, node, channel).await;
        if word != last {
            (last, since) = (word, Instant::now());
        }
        let is_said = since.elapsed() >= ASK_LIMIT;
        match word {
            Word::No => {
                shared.nodes().clear_air(node, channel);
                return false;
            }
            Word::Yes if is_said => return true,
            Word::Nobody if is_said && shared.connection.state().is_up_for(GATHER_LIMIT) => {
                return !bury(shared, node);
            }
            Word::Silence if is_said && is_quiet(shared, node) => return !bury(shared, node),
            _ => sleep(ASK_PAUSE).await,
        }
    }
    // What it said last holds, unless it was buried meanwhile.
    shared.nodes().heard_at(node).is_some()
}

/// Somebody found a node missing: buries it if that is so.
pub(super) async fn look_after(shared: Arc<Shared>, node: NodeId) {
    // Any channel will do.
    if let Ok(channel) = "any".parse() {
        has_on_air(&shared, node, &channel).await;
    }
    shared.doubted().remove(&node);
}

/// Answers other nodes, until the client is gone.
pub(super) async fn answer(shared: Arc<Shared>) -> Result<(), ClusterError> {
    let mut questions = shared.subscribe(subject::inquiries_of(shared.me)).await?;
    while let Some(message) = questions.next().await {
        let Some(reply) = message.reply.filter(|reply| subject::is_inbox(reply)) else { continue };
        let channel = subject::last::<ChannelId>(&message.subject);
        let answer = if channel.is_some_and(|channel| shared.is_ours(&channel)) { "yes" } else { "no" };
        shared.small.send(reply.to_string(), answer.into());
    }
    Ok(())
}

async fn ask(shared: &Shared, node: NodeId, channel: &ChannelId) -> Word {
    let asking = shared.connection.client.request(subject::inquiry(node, channel), bytes::Bytes::new());
    match timeout(REPLY_LIMIT, asking).await {
        Ok(Ok(answer)) if &answer.payload[..] == b"yes" => Word::Yes,
        Ok(Ok(_)) => Word::No,
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Word::Nobody,
        Ok(Err(_)) | Err(_) => Word::Silence,
    }
}

fn is_quiet(shared: &Shared, node: NodeId) -> bool {
    shared.nodes().heard_at(node).is_none_or(|at| at.elapsed() >= QUIET_LIMIT)
}

/// True: it is dead now.
fn bury(shared: &Shared, node: NodeId) -> bool {
    shared.nodes().condemn(node);
    shared.condemned.notify_one();
    true
}
