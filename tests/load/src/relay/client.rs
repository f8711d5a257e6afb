//! A client of the relay that waits for each answer, with messages that a library writes and reads.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cardume_wire::signal::IceServer;
use turn_types::attribute::{ChannelNumber, Lifetime, RequestedTransport, XorPeerAddress, XorRelayedAddress};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, REFRESH};
use turn_types::stun::attribute::{ErrorCode, Nonce, Realm, Username};
use turn_types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials, MessageWriteVec, Method,
};
use turn_types::stun::prelude::*;

/// UDP, as a protocol of IP.
const UDP: u8 = 17;
/// Of anything on one machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Somebody with a relayed address, or about to have one.
pub(super) struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    username: String,
    password: String,
    /// From the first refusal on.
    challenge: Option<(String, String)>,
}

impl Client {
    /// One that knows what a viewer was told.
    pub(super) fn new(told: &IceServer) -> Result<Self> {
        let url = told.urls.iter().find_map(|url| url.strip_prefix("turn:")?.strip_suffix("?transport=udp"));
        let server = url.context("the relay has no address for datagrams")?.parse()?;
        let username = told.username.clone().unwrap_or_default();
        let password = told.credential.clone().unwrap_or_default();
        Self::at(server, username, password)
    }

    /// Another one on the same machine, who need not be challenged.
    pub(super) fn another(&self) -> Result<Self> {
        let mut other = Self::at(self.server, self.username.clone(), self.password.clone())?;
        other.challenge.clone_from(&self.challenge);
        Ok(other)
    }

    fn at(server: SocketAddr, username: String, password: String) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { socket, server, username, password, challenge: None })
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Its relayed address.
    pub(super) fn allocate(&mut self) -> Result<SocketAddr> {
        let answer = self.ask(ALLOCATE, &[&RequestedTransport::new(UDP)], None)?;
        let message = Message::from_bytes(&answer)?;
        Ok(message.attribute::<XorRelayedAddress>()?.addr(message.transaction_id()))
    }

    /// Gives a peer a channel.
    pub(super) fn bind(&mut self, number: u16, peer: SocketAddr) -> Result<()> {
        self.ask(CHANNEL_BIND, &[&ChannelNumber::new(number)], Some(peer)).map(drop)
    }

    /// Asks, and once more if a challenge comes.
    fn ask(
        &mut self,
        method: Method,
        attributes: &[&dyn AttributeWrite],
        peer: Option<SocketAddr>,
    ) -> Result<Vec<u8>> {
        loop {
            self.socket.send(&self.write(method, attributes, peer)?)?;
            let mut answer = vec![0; 1500];
            let len = self.socket.recv(&mut answer).context("the relay does not answer")?;
            answer.truncate(len);
            let message = Message::from_bytes(&answer)?;
            let Ok(error) = message.attribute::<ErrorCode>() else { return Ok(answer) };
            match (self.challenge.is_some(), message.attribute::<Realm>(), message.attribute::<Nonce>()) {
                (false, Ok(realm), Ok(nonce)) => {
                    self.challenge = Some((realm.realm().to_owned(), nonce.nonce().to_owned()));
                }
                _ => bail!("the relay refuses: {}", error.code()),
            }
        }
    }

    fn write(
        &self,
        method: Method,
        attributes: &[&dyn AttributeWrite],
        peer: Option<SocketAddr>,
    ) -> Result<Vec<u8>> {
        let mut request = Message::builder_request(method, MessageWriteVec::new());
        for attribute in attributes {
            request.add_attribute(*attribute)?;
        }
        if let Some(peer) = peer {
            // It is masked with the transaction's id.
            let address = XorPeerAddress::new(peer, request.transaction_id());
            request.add_attribute(&address)?;
        }
        if let Some((realm, nonce)) = &self.challenge {
            request.add_attribute(&Username::new(&self.username)?)?;
            request.add_attribute(&Realm::new(realm)?)?;
            request.add_attribute(&Nonce::new(nonce)?)?;
            let key =
                LongTermKeyCredentials::new(self.username.clone(), self.password.clone(), realm.clone());
            request
                .add_message_integrity(&MessageIntegrityCredentials::from(key), IntegrityAlgorithm::Sha1)?;
            request.add_fingerprint()?;
        }
        Ok(request.finish())
    }
}

/// Gives its allocation back: the system may give its port to the next client, which would be refused as one that has one already.
impl Drop for Client {
    fn drop(&mut self) {
        let Ok(refresh) = self.write(REFRESH, &[&Lifetime::new(0)], None) else { return };
        // If it is lost, the relay forgets the allocation by itself, later.
        let _ = self.socket.send(&refresh);
    }
}

/// What goes over a channel (RFC 8656, section 12.4); a datagram needs no padding.
pub(super) fn frame(number: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    [&number.to_be_bytes(), &len.to_be_bytes(), payload].concat()
}
