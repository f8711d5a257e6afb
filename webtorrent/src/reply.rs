//! What clients are told, appended to a text that is used again.

use core::fmt::Write;

use crate::id::Id;
use crate::message::{Action, Answer, Invalid, Offer};

/// How many there are in a swarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// That have all of it.
    pub(crate) complete: usize,
    /// That do not.
    pub(crate) incomplete: usize,
    /// That said that they have it now, since somebody is in the swarm.
    pub(crate) downloaded: u64,
}

/// The answer to an announce.
pub(crate) fn announced(text: &mut String, info_hash: &str, interval_s: u64, counts: Counts) {
    let Counts { complete, incomplete, .. } = counts;
    append(
        text,
        format_args!(
            r#"{{"action":"announce","info_hash":{info_hash},"interval":{interval_s},"complete":{complete},"incomplete":{incomplete}}}"#
        ),
    );
}

/// An offer for somebody else of the swarm.
pub(crate) fn offered(text: &mut String, info_hash: &str, peer_id: &str, offer: &Offer<'_>) {
    let Offer { offer_id, offer } = offer;
    append(
        text,
        format_args!(
            r#"{{"action":"announce","info_hash":{info_hash},"peer_id":{peer_id},"offer":{offer},"offer_id":{offer_id}}}"#
        ),
    );
}

/// An answer for who made the offer.
pub(crate) fn answered(text: &mut String, answer: &Answer<'_>) {
    let Answer { info_hash, peer_id, offer_id, description, .. } = answer;
    let (info_hash, peer_id) = (info_hash.json, peer_id.json);
    append(
        text,
        format_args!(
            r#"{{"action":"announce","info_hash":{info_hash},"peer_id":{peer_id},"answer":{description},"offer_id":{offer_id}}}"#
        ),
    );
}

/// The answer to a scrape.
pub(crate) fn scraped(text: &mut String, swarms: impl Iterator<Item = (Id, Counts)>) {
    text.push_str(r#"{"action":"scrape","files":{"#);
    for (index, (info_hash, counts)) in swarms.enumerate() {
        if index > 0 {
            text.push(',');
        }
        let Counts { complete, incomplete, downloaded } = counts;
        info_hash.write_json(text);
        append(
            text,
            format_args!(r#":{{"complete":{complete},"incomplete":{incomplete},"downloaded":{downloaded}}}"#),
        );
    }
    text.push_str("}}");
}

/// What is wrong with a message.
pub(crate) fn failed(text: &mut String, invalid: &Invalid<'_>) {
    text.push('{');
    if let Some(action) = invalid.action {
        let action = match action {
            Action::Announce => "announce",
            Action::Scrape => "scrape",
        };
        append(text, format_args!(r#""action":"{action}","#));
    }
    if let Some(info_hash) = invalid.info_hash {
        append(text, format_args!(r#""info_hash":{},"#, info_hash.json));
    }
    // A string always has a JSON form.
    let reason = serde_json::to_string(&invalid.reason).unwrap_or_default();
    append(text, format_args!(r#""failure reason":{reason}}}"#));
}

fn append(text: &mut String, what: core::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
}
