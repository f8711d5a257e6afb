//! What clients say.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::id::{Id, Written};

/// Offers of one announce at most; clients send five to ten. (As in other trackers.)
pub(crate) const OFFER_LIMIT: usize = 20;
/// Swarms that one scrape may ask for. (As in other trackers.)
pub(crate) const SCRAPE_LIMIT: usize = 100;

/// One message. What is passed on to others borrows the text that it came in.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    Announce(Announce<'a>),
    Answer(Answer<'a>),
    /// How many there are in these swarms; in those that the socket is in, without any.
    Scrape(Option<Vec<Written<'a>>>),
}

/// "Here I am, and these are offers for others."
#[derive(Debug)]
pub(crate) struct Announce<'a> {
    pub(crate) info_hash: Written<'a>,
    pub(crate) peer_id: Written<'a>,
    pub(crate) event: Event,
    /// Whether it says what is left, and that this is nothing.
    pub(crate) is_complete: bool,
    /// As many as may be handed to others.
    pub(crate) offers: Vec<Offer<'a>>,
}

/// For somebody of the swarm.
#[derive(Debug, Deserialize)]
pub(crate) struct Offer<'a> {
    #[serde(borrow)]
    pub(crate) offer_id: &'a RawValue,
    #[serde(borrow)]
    pub(crate) offer: &'a RawValue,
}

/// For who made the offer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) info_hash: Written<'a>,
    pub(crate) peer_id: Written<'a>,
    pub(crate) to_peer_id: Id,
    pub(crate) offer_id: &'a str,
    /// JSON of an object, as it came.
    pub(crate) description: &'a str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    Started,
    Stopped,
    Completed,
    #[default]
    #[serde(alias = "", alias = "paused")]
    Update,
}

/// A message that is none; who sent it is told.
#[derive(Debug)]
pub(crate) struct Invalid<'a> {
    /// For people.
    pub(crate) reason: String,
    /// What it was about, as far as that can be read, so that a client knows which of its swarms is meant.
    pub(crate) action: Option<Action>,
    pub(crate) info_hash: Option<Written<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Announce,
    Scrape,
}

/// All fields that are of use; others are ignored, as real clients send many.
#[derive(Deserialize)]
struct Fields<'a> {
    action: Option<Action>,
    #[serde(borrow)]
    info_hash: Option<&'a RawValue>,
    #[serde(borrow)]
    peer_id: Option<&'a RawValue>,
    event: Option<Event>,
    /// Fractions and -1 are sent, too. `null` is JSON's Infinity, and all is left then.
    left: Option<f64>,
    numwant: Option<f64>,
    #[serde(borrow)]
    offers: Option<Vec<Offer<'a>>>,
    #[serde(borrow)]
    answer: Option<&'a RawValue>,
    #[serde(borrow)]
    to_peer_id: Option<&'a RawValue>,
    #[serde(borrow)]
    offer_id: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    /// Reads one message.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Invalid<'a>> {
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|error| Invalid {
            reason: format!("not a message of this protocol: {error}"),
            action: None,
            info_hash: None,
        })?;
        let (action, hash) = (fields.action, fields.info_hash);
        let request = match action {
            Some(Action::Announce) => fields.announce(),
            Some(Action::Scrape) => fields.scrape(),
            None => Err("\"action\" is missing; it is \"announce\" or \"scrape\""),
        };
        request.map_err(|reason| Invalid { reason: reason.into(), action, info_hash: hash.and_then(written) })
    }
}

impl<'a> Fields<'a> {
    fn announce(self) -> Result<Request<'a>, &'static str> {
        let info_hash = required(self.info_hash, "\"info_hash\" must be a string of 20 bytes")?;
        let peer_id = required(self.peer_id, "\"peer_id\" must be a string of 20 bytes")?;
        if let Some(answer) = self.answer.filter(|answer| !is_null(answer)) {
            let to = required(self.to_peer_id, "\"to_peer_id\" must be a string of 20 bytes")?;
            let offer_id = required(self.offer_id, "\"offer_id\" must be a string of 20 bytes")?;
            return Ok(Request::Answer(Answer {
                info_hash,
                peer_id,
                to_peer_id: to.id,
                offer_id: offer_id.json,
                description: object(answer, "\"answer\" must be an object")?,
            }));
        }
        let n_wanted = self.n_wanted();
        let event = self.event.unwrap_or_default();
        let is_complete = self.left == Some(0.0) || event == Event::Completed;
        let mut offers = self.offers.unwrap_or_default();
        offers.truncate(n_wanted);
        for offer in &offers {
            object(offer.offer, "each \"offer\" must be an object")?;
            required(Some(offer.offer_id), "each \"offer_id\" must be a string of 20 bytes")?;
        }
        Ok(Request::Announce(Announce { info_hash, peer_id, event, is_complete, offers }))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
    fn n_wanted(&self) -> usize {
        let limit = f64::from(u32::try_from(OFFER_LIMIT).unwrap_or(u32::MAX));
        self.numwant.map_or(OFFER_LIMIT, |n| n.clamp(0.0, limit) as usize)
    }

    fn scrape(self) -> Result<Request<'a>, &'static str> {
        const WRONG: &str = "\"info_hash\" must be a string of 20 bytes or a list of them";
        let Some(json) = self.info_hash.filter(|json| !is_null(json)) else {
            return Ok(Request::Scrape(None));
        };
        if !json.get().starts_with('[') {
            return Ok(Request::Scrape(Some(vec![required(Some(json), WRONG)?])));
        }
        let list: Vec<&'a RawValue> = serde_json::from_str(json.get()).map_err(|_| WRONG)?;
        if list.len() > SCRAPE_LIMIT {
            return Err("a scrape asks for 100 swarms at most");
        }
        let hashes: Option<Vec<Written<'a>>> = list.into_iter().map(written).collect();
        hashes.map(|hashes| Request::Scrape(Some(hashes))).ok_or(WRONG)
    }
}

fn written(json: &RawValue) -> Option<Written<'_>> {
    Id::from_json(json.get()).map(|id| Written { id, json: json.get() })
}

fn required<'a>(json: Option<&'a RawValue>, otherwise: &'static str) -> Result<Written<'a>, &'static str> {
    json.and_then(written).ok_or(otherwise)
}

/// What is passed on unread must at least be what clients expect there.
fn object<'a>(json: &'a RawValue, otherwise: &'static str) -> Result<&'a str, &'static str> {
    json.get().starts_with('{').then(|| json.get()).ok_or(otherwise)
}

fn is_null(json: &RawValue) -> bool {
    json.get() == "null"
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "aaaaaaaaaaaaaaaaaaaa";
    const PEER: &str = "bbbbbbbbbbbbbbbbbbbb";

    fn announce(fields: &str) -> String {
        format!(r#"{{"action":"announce","info_hash":"{HASH}","peer_id":"{PEER}"{fields}}}"#)
    }

    fn offers(n: usize) -> String {
        let offer = format!(r#"{{"offer_id":"{HASH}","offer":{{"type":"offer","sdp":"v=0"}}}}"#);
        format!(r#","offers":[{}]"#, vec![offer; n].join(","))
    }

    fn check_announce(fields: &str, event: Event, is_complete: bool, n_offers: usize) {
        let text = announce(fields);
        let Ok(Request::Announce(announce)) = Request::parse(&text) else { panic!("{text}") };
        assert_eq!((announce.event, announce.is_complete), (event, is_complete), "{text}");
        assert_eq!(announce.offers.len(), n_offers, "{text}");
    }

    fn check_invalid(text: &str, words: &str) {
        let invalid = Request::parse(text).unwrap_err();
        assert!(invalid.reason.contains(words), "{text}: {invalid:?}");
    }

    #[test]
    fn announces_of_real_clients_are_read() {
        check_announce("", Event::Update, false, 0);
        check_announce(r#","event":"started","left":null,"numwant":5"#, Event::Started, false, 0);
        check_announce(
            r#","event":null,"left":0,"uploaded":0,"downloaded":12,"trackerid":"x""#,
            Event::Update,
            true,
            0,
        );
        check_announce(r#","event":"","left":-1,"extra":{"a":[1,2]}"#, Event::Update, false, 0);
        check_announce(r#","event":"completed""#, Event::Completed, true, 0);
        check_announce(r#","offers":null,"answer":null,"numwant":null"#, Event::Update, false, 0);
    }

    #[test]
    fn no_more_offers_are_taken_than_are_wanted() {
        check_announce(&format!(r#","numwant":3{}"#, offers(5)), Event::Update, false, 3);
        check_announce(&format!(r#","numwant":-3{}"#, offers(5)), Event::Update, false, 0);
        check_announce(&format!(r#","numwant":1e300{}"#, offers(30)), Event::Update, false, OFFER_LIMIT);
        check_announce(&offers(5), Event::Update, false, 5);
    }

    #[test]
    fn an_answer_keeps_what_it_says() {
        let text = announce(
            r#","to_peer_id":"cccccccccccccccccccc","offer_id":"\u0000ddddddddddddddddddd","answer":{"sdp":"x"}"#,
        );
        let Ok(Request::Answer(answer)) = Request::parse(&text) else { panic!("{text}") };
        assert_eq!(answer.to_peer_id, Id::from_json("\"cccccccccccccccccccc\"").unwrap());
        assert_eq!(
            (answer.offer_id, answer.description),
            (r#""\u0000ddddddddddddddddddd""#, r#"{"sdp":"x"}"#)
        );
    }

    #[test]
    fn a_scrape_asks_for_one_for_many_or_for_its_own() {
        let n_asked = |text: &str| match Request::parse(text) {
            Ok(Request::Scrape(hashes)) => hashes.map(|hashes| hashes.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(n_asked(r#"{"action":"scrape"}"#), None);
        assert_eq!(n_asked(&format!(r#"{{"action":"scrape","info_hash":"{HASH}"}}"#)), Some(1));
        assert_eq!(n_asked(&format!(r#"{{"action":"scrape","info_hash":["{HASH}","{PEER}"]}}"#)), Some(2));
        let many = vec![format!("{HASH:?}"); SCRAPE_LIMIT + 1].join(",");
        check_invalid(&format!(r#"{{"action":"scrape","info_hash":[{many}]}}"#), "100 swarms");
    }

    #[test]
    fn what_is_wrong_is_said_together_with_what_it_is_about() {
        check_invalid("", "not a message");
        check_invalid("[]", "not a message");
        check_invalid(r#"{"action":"shout"}"#, "unknown variant");
        check_invalid("{}", "\"action\" is missing");
        check_invalid(r#"{"action":"announce"}"#, "\"info_hash\" must");
        check_invalid(
            &format!(r#"{{"action":"announce","info_hash":"{HASH}","peer_id":"short"}}"#),
            "\"peer_id\" must",
        );
        check_invalid(
            &announce(
                r#","answer":"text","to_peer_id":"cccccccccccccccccccc","offer_id":"cccccccccccccccccccc""#,
            ),
            "must be an object",
        );
        check_invalid(&announce(r#","answer":{}"#), "\"to_peer_id\" must");
        check_invalid(&announce(r#","offers":[{"offer_id":"x","offer":{}}]"#), "each \"offer_id\"");
        let text = announce(r#","offers":[{"offer_id":"aaaaaaaaaaaaaaaaaaaa","offer":3}]"#);
        let invalid = Request::parse(&text).unwrap_err();
        assert_eq!(invalid.action, Some(Action::Announce));
        assert_eq!(invalid.info_hash.unwrap().json, format!("{HASH:?}"));
    }
}
