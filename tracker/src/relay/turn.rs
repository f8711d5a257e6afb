//! TURN (RFC 8656): who has which relayed address, and what passes through it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use tokio::time::Instant;

use super::Client;
use super::allocation::{Allocation, Grant, Rate};
use super::credentials::{Credentials, REALM, Signer, Stranger};
use super::machine::Next;
use super::quota::Quota;
use super::reach;
use super::stun::{self, Message, Method, Writer, attribute};

/// `REQUESTED-TRANSPORT` for UDP, the only one that is relayed.
const UDP: u8 = 17;

/// Why a request of somebody who may use the relay is not granted (RFC 8656, section 19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed = 400,
    Forbidden = 403,
    UnknownAttribute = 420,
    NoAllocation = 437,
    OtherFamily = 440,
    OtherUser = 441,
    OtherTransport = 442,
    PeerOfOtherFamily = 443,
    Quota = 486,
    NoCapacity = 508,
}

/// What the relay gives.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Where relayed addresses are.
    pub(super) address: IpAddr,
    /// Allocations that one viewer may have at once.
    pub(super) viewer_limit: usize,
    /// And those of one network address.
    pub(super) address_limit: usize,
    /// Of one allocation.
    pub(super) rate: Rate,
    /// Whether peers may be where only the operator gets.
    pub(super) is_private_allowed: bool,
}

/// Opens the sockets of a relayed address, if it can: the port, and what they are known by.
pub(super) type Open<'o, H> = &'o mut dyn FnMut() -> Option<(u16, H)>;

/// What somebody asks who may use the relay.
pub(super) struct Asked<'r> {
    pub(super) from: Client,
    pub(super) request: &'r Message<'r>,
    pub(super) signer: &'r Signer,
    pub(super) now: Instant,
}

/// The TURN server's part.
pub(super) struct Turn<H> {
    terms: Terms,
    credentials: Credentials,
    quota: Quota,
    allocations: HashMap<Client, Allocation<H>>,
    /// Whose a port on the relay's address is.
    by_port: HashMap<u16, Client>,
}

impl<H> Turn<H> {
    /// Without allocations.
    pub(super) fn new(terms: Terms, credentials: Credentials) -> Self {
        let quota = Quota::new(terms.viewer_limit, terms.address_limit);
        Self { terms, credentials, quota, allocations: HashMap::new(), by_port: HashMap::new() }
    }

    pub(super) fn serves(&self, client: Client) -> bool {
        self.allocations.contains_key(&client)
    }

    /// Who signed a request.
    ///
    /// # Errors
    /// Why nobody did; see [`Turn::challenge`].
    pub(super) fn verify(&self, request: &Message<'_>, from: Client, now: u32) -> Result<Signer, Stranger> {
        self.credentials.verify(request, from.address.ip(), now)
    }

    /// What somebody is told who did not sign a request.
    pub(super) fn challenge(
        &self,
        request: &Message<'_>,
        stranger: Stranger,
        from: Client,
        now: u32,
    ) -> Vec<u8> {
        let error = Writer::error(request, stranger as u16);
        if stranger == Stranger::Incomplete {
            return error.finish();
        }
        let nonce = self.credentials.nonce(from.address.ip(), now);
        error
            .attribute(attribute::REALM, REALM.as_bytes())
            .attribute(attribute::NONCE, nonce.as_bytes())
            .finish()
    }

    /// The answer to a request of somebody who may use the relay.
    pub(super) fn answer(&mut self, asked: &Asked<'_>, open: Open<'_, H>) -> Vec<u8> {
        let request = asked.request;
        let unknown = request.unknown();
        let granted = if unknown.is_empty() {
            match request.method {
                Method::Allocate => self.allocate(asked, open),
                Method::Refresh => self.refresh(asked),
                Method::CreatePermission => self.permit(asked),
                Method::ChannelBind => self.bind(asked),
                Method::Binding | Method::Send | Method::Data => Err(Refusal::Malformed),
            }
        } else {
            Err(Refusal::UnknownAttribute)
        };
        let answer = granted.unwrap_or_else(|refusal| {
            let error = Writer::error(request, refusal as u16);
            if refusal == Refusal::UnknownAttribute { with_unknown(error, &unknown) } else { error }
        });
        answer.sign(&asked.signer.key)
    }

    fn allocate(&mut self, asked: &Asked<'_>, open: Open<'_, H>) -> Result<Writer, Refusal> {
        let Asked { from, request, signer, now } = *asked;
        if self.allocations.get(&from).is_some_and(|allocation| allocation.expires_at <= now) {
            self.remove(from);
        }
        if let Some(allocation) = self.allocations.get(&from) {
            // The answer was lost, and it asks again.
            let is_repeated = allocation.grant.transaction == request.transaction;
            return if is_repeated {
                Ok(allocated(request, allocation, now))
            } else {
                Err(Refusal::NoAllocation)
            };
        }
        match request.attribute(attribute::REQUESTED_TRANSPORT) {
            Some([UDP, ..]) => {}
            Some(_) => return Err(Refusal::OtherTransport),
            None => return Err(Refusal::Malformed),
        }
        self.check_family(request)?;
        if !self.quota.has_room(signer.viewer(), from.address.ip()) {
            return Err(Refusal::Quota);
        }
        let (port, handle) = open().ok_or(Refusal::NoCapacity)?;
        let relayed = SocketAddr::new(self.terms.address, port);
        let grant = Grant {
            client: from,
            username: signer.username.clone(),
            viewer: signer.viewer().to_owned(),
            transaction: request.transaction,
            relayed,
            handle,
            rate: self.terms.rate,
        };
        let mut allocation = Allocation::new(grant, now);
        allocation.extend(request.number(attribute::LIFETIME), now);
        let answer = allocated(request, &allocation, now);
        self.quota.take(&allocation.grant.viewer, from.address.ip());
        self.by_port.insert(port, from);
        self.allocations.insert(from, allocation);
        Ok(answer)
    }

    /// What is asked for must be what the relay's address is; IPv4 is, when nothing is said.
    fn check_family(&self, request: &Message<'_>) -> Result<(), Refusal> {
        let wanted = request.attribute(attribute::REQUESTED_ADDRESS_FAMILY);
        let family = wanted.map_or(Some(&stun::IPV4), |value| value.first());
        let ours = if self.terms.address.is_ipv4() { stun::IPV4 } else { stun::IPV6 };
        if family == Some(&ours) { Ok(()) } else { Err(Refusal::OtherFamily) }
    }

    fn refresh(&mut self, asked: &Asked<'_>) -> Result<Writer, Refusal> {
        let Asked { from, request, now, .. } = *asked;
        let allocation = self.own(asked)?;
        let seconds = request.number(attribute::LIFETIME);
        let lifetime = if seconds == Some(0) { 0 } else { allocation.extend(seconds, now) };
        if lifetime == 0 {
            self.remove(from);
        }
        Ok(Writer::success(request).attribute(attribute::LIFETIME, &lifetime.to_be_bytes()))
    }

    fn permit(&mut self, asked: &Asked<'_>) -> Result<Writer, Refusal> {
        let Asked { request, now, .. } = *asked;
        let peers: Option<Vec<_>> = request.addresses(attribute::XOR_PEER_ADDRESS).collect();
        let peers = peers.filter(|peers| !peers.is_empty());
        self.own(asked)?;
        let peers = peers.ok_or(Refusal::Malformed)?;
        peers.iter().try_for_each(|peer| self.check_peer(peer.ip()))?;
        let allocation = self.own(asked)?;
        let is_room = peers.iter().all(|peer| allocation.permit(peer.ip(), now));
        if is_room { Ok(Writer::success(request)) } else { Err(Refusal::NoCapacity) }
    }

    fn bind(&mut self, asked: &Asked<'_>) -> Result<Writer, Refusal> {
        let Asked { request, now, .. } = *asked;
        self.own(asked)?;
        let number = request.number(attribute::CHANNEL_NUMBER).and_then(|n| u16::try_from(n >> 16).ok());
        let peer = request.addresses(attribute::XOR_PEER_ADDRESS).next().flatten();
        let (Some(number), Some(peer)) = (number, peer) else { return Err(Refusal::Malformed) };
        self.check_peer(peer.ip())?;
        let allocation = self.own(asked)?;
        if !allocation.may_bind(number, peer, now) {
            return Err(Refusal::Malformed);
        }
        if allocation.bind(number, peer, now) {
            Ok(Writer::success(request))
        } else {
            Err(Refusal::NoCapacity)
        }
    }

    /// The allocation of this client, which only who made it may change.
    fn own(&mut self, asked: &Asked<'_>) -> Result<&mut Allocation<H>, Refusal> {
        let Asked { from, signer, now, .. } = *asked;
        let live = self.allocations.get_mut(&from).filter(|allocation| allocation.expires_at > now);
        let allocation = live.ok_or(Refusal::NoAllocation)?;
        if allocation.grant.username == signer.username { Ok(allocation) } else { Err(Refusal::OtherUser) }
    }

    fn check_peer(&self, address: IpAddr) -> Result<(), Refusal> {
        if address.is_ipv4() != self.terms.address.is_ipv4() {
            return Err(Refusal::PeerOfOtherFamily);
        }
        // Others' relayed addresses are reached without the network.
        let is_reachable = address == self.terms.address
            || reach::is_reachable_address(address, self.terms.is_private_allowed);
        if is_reachable { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// An indication to send.
    pub(super) fn send<'m, 'b>(
        &'m mut self,
        from: Client,
        message: &Message<'b>,
        now: Instant,
    ) -> Next<'m, 'b, H> {
        let peer = message.addresses(attribute::XOR_PEER_ADDRESS).next().flatten();
        let (Some(peer), Some(payload)) = (peer, message.attribute(attribute::DATA)) else {
            return Next::Nothing;
        };
        if !message.unknown().is_empty() {
            return Next::Nothing;
        }
        self.forward(from, peer, payload, now)
    }

    /// What came on a channel.
    pub(super) fn channel<'m, 'b>(
        &'m mut self,
        from: Client,
        number: u16,
        payload: &'b [u8],
        now: Instant,
    ) -> Next<'m, 'b, H> {
        match self.allocations.get(&from).and_then(|allocation| allocation.peer_of(number, now)) {
            Some(peer) => self.forward(from, peer, payload, now),
            None => Next::Nothing,
        }
    }

    fn forward<'m, 'b>(
        &'m mut self,
        from: Client,
        peer: SocketAddr,
        payload: &'b [u8],
        now: Instant,
    ) -> Next<'m, 'b, H> {
        let Self { terms, allocations, .. } = self;
        let Some(allocation) = allocations.get_mut(&from).filter(|allocation| allocation.expires_at > now)
        else {
            return Next::Nothing;
        };
        if !allocation.permits(peer.ip(), now) || !allocation.passes(payload.len(), now) {
            return Next::Nothing;
        }
        let relayed = allocation.grant.relayed;
        // Nothing on the relay's own address is reached but relayed addresses, whatever listens there.
        if peer.ip() == terms.address {
            let delivered = self.deliver(peer.port(), relayed, payload, now);
            return delivered.map_or(Next::Nothing, |(via, client, bytes)| Next::ToClient {
                via,
                client,
                bytes,
            });
        }
        if !reach::is_reachable(peer, terms.is_private_allowed) {
            return Next::Nothing;
        }
        self.allocations.get(&from).map_or(Next::Nothing, |allocation| Next::ToPeer {
            via: &allocation.grant.handle,
            to: peer,
            payload,
        })
    }

    /// What a peer sent to a port of the relay's.
    pub(super) fn deliver(
        &mut self,
        port: u16,
        peer: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) -> Option<(&H, Client, Vec<u8>)> {
        let allocation = self.allocations.get_mut(self.by_port.get(&port)?)?;
        let bytes = allocation.wrap(peer, payload, now).filter(|_| allocation.expires_at > now)?;
        allocation.passes(payload.len(), now).then_some((
            &allocation.grant.handle,
            allocation.grant.client,
            bytes,
        ))
    }

    pub(super) fn remove(&mut self, client: Client) {
        if let Some(allocation) = self.allocations.remove(&client) {
            self.by_port.remove(&allocation.grant.relayed.port());
            self.quota.give_back(&allocation.grant.viewer, client.address.ip());
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let late = self.allocations.values().filter(|allocation| allocation.expires_at <= now);
        let late: Vec<Client> = late.map(|allocation| allocation.grant.client).collect();
        for client in late {
            self.remove(client);
        }
    }
}

fn allocated<H>(request: &Message<'_>, allocation: &Allocation<H>, now: Instant) -> Writer {
    Writer::success(request)
        .address(attribute::XOR_RELAYED_ADDRESS, allocation.grant.relayed)
        .attribute(attribute::LIFETIME, &allocation.rest(now).to_be_bytes())
        .address(attribute::XOR_MAPPED_ADDRESS, allocation.grant.client.address)
}

/// Names what was not understood.
pub(super) fn with_unknown(error: Writer, unknown: &[u16]) -> Writer {
    let kinds: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    error.attribute(attribute::UNKNOWN_ATTRIBUTES, &kinds)
}
