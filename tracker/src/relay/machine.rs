//! What STUN and TURN requests lead to, without sockets: time is an argument, and what to send comes back.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::allocation::channel_data;
use super::credentials::Credentials;
use super::flow::Strangers;
use super::stun::{Class, Message, Method, Writer, attribute};
use super::turn::{Asked, Open, Refusal, Terms, Turn, with_unknown};
use super::{Client, Moment};

/// What a datagram or a frame leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'m, 'b, H> {
    /// Nothing.
    Nothing,
    /// Bytes for whom it came from.
    Answer(Vec<u8>),
    /// Bytes for a peer, from the relayed address whose sockets these are.
    ToPeer { via: &'m H, to: SocketAddr, payload: &'b [u8] },
    /// Bytes for another client, whose sockets these are.
    ToClient { via: &'m H, client: Client, bytes: Vec<u8> },
}

/// A STUN server, and if need be a TURN server too.
pub(super) struct Machine<H> {
    strangers: Strangers,
    turn: Option<Turn<H>>,
}

impl<H> Machine<H> {
    /// One that only says from where it is spoken to.
    pub(super) fn new(now: Instant) -> Self {
        Self { strangers: Strangers::new(now), turn: None }
    }

    /// One that relays, too.
    pub(super) fn with_relay(self, terms: Terms, credentials: Credentials) -> Self {
        Self { turn: Some(Turn::new(terms, credentials)), ..self }
    }

    /// Takes what somebody sent.
    pub(super) fn receive<'m, 'b>(
        &'m mut self,
        from: Client,
        bytes: &'b [u8],
        at: Moment,
        open: Open<'_, H>,
    ) -> Next<'m, 'b, H> {
        if let Some((number, payload)) = channel_data(bytes) {
            return self
                .turn
                .as_mut()
                .map_or(Next::Nothing, |turn| turn.channel(from, number, payload, at.now));
        }
        let Some(message) = Message::parse(bytes) else { return Next::Nothing };
        match (message.class, message.method) {
            (Class::Request, Method::Binding) if self.strangers.take(from.address.ip(), at.now) => {
                Next::Answer(bound(&message, from))
            }
            (Class::Request, method) if method != Method::Binding => self.request(from, &message, at, open),
            (Class::Indication, Method::Send) => {
                self.turn.as_mut().map_or(Next::Nothing, |turn| turn.send(from, &message, at.now))
            }
            _ => Next::Nothing,
        }
    }

    /// What came to a relayed address: what its client gets of it.
    pub(super) fn hear_peer(
        &mut self,
        port: u16,
        peer: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) -> Option<(&H, Client, Vec<u8>)> {
        self.turn.as_mut()?.deliver(port, peer, payload, now)
    }

    /// Ends what has expired; dropping the handles closes the sockets.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(turn) = &mut self.turn {
            turn.expire(now);
        }
    }

    /// Ends what a client has, as its connection is closed.
    pub(super) fn forget(&mut self, client: Client) {
        if let Some(turn) = &mut self.turn {
            turn.remove(client);
        }
    }

    /// Whether a client has an allocation.
    pub(super) fn serves(&self, client: Client) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.serves(client))
    }

    fn request<'m, 'b>(
        &'m mut self,
        from: Client,
        request: &Message<'_>,
        at: Moment,
        open: Open<'_, H>,
    ) -> Next<'m, 'b, H> {
        let Some(turn) = &mut self.turn else { return Next::Nothing };
        match turn.verify(request, from, at.unix) {
            Ok(signer) => {
                let asked = Asked { from, request, signer: &signer, now: at.now };
                Next::Answer(turn.answer(&asked, open))
            }
            // Who is not known is answered no more than an address may be, as the address may be another's.
            Err(stranger) if self.strangers.take(from.address.ip(), at.now) => {
                Next::Answer(turn.challenge(request, stranger, from, at.unix))
            }
            Err(_) => Next::Nothing,
        }
    }
}

fn bound(request: &Message<'_>, from: Client) -> Vec<u8> {
    let unknown = request.unknown();
    if !unknown.is_empty() {
        return with_unknown(Writer::error(request, Refusal::UnknownAttribute as u16), &unknown).finish();
    }
    Writer::success(request).address(attribute::XOR_MAPPED_ADDRESS, from.address).finish()
}
