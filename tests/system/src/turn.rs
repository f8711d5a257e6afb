//! A client of STUN and TURN, with messages that a library writes and reads: the tracker has its own code for them.

use std::net::SocketAddr;
use std::time::Duration;

use cardume_wire::signal::IceServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use turn_types::attribute::{ChannelNumber, Lifetime, RequestedTransport, XorPeerAddress, XorRelayedAddress};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};
use turn_types::stun::attribute::{ErrorCode, Nonce, Realm, Username, XorMappedAddress};
use turn_types::stun::message::{
    BINDING, IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    MessageWriteVec, Method,
};
use turn_types::stun::prelude::*;

use crate::within;

/// After this long without an answer a datagram counts as lost, as clients do (RFC 8489, section 6.2.1).
const RETRANSMISSION: Duration = Duration::from_millis(500);

/// Somebody who asks for a relayed address.
#[derive(Debug)]
pub struct TurnClient {
    socket: Socket,
    username: String,
    password: String,
    /// From the first refusal on.
    challenge: Option<(String, String)>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// What somebody at this socket is to the server.
pub async fn mapped_address(socket: &UdpSocket, server: SocketAddr) -> SocketAddr {
    let asked = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    let mut buffer = [0; 1500];
    let len = within("an answer of STUN", async {
        loop {
            socket.send_to(&asked, server).await.unwrap();
            if let Ok(received) = tokio::time::timeout(RETRANSMISSION, socket.recv_from(&mut buffer)).await {
                return received.unwrap().0;
            }
        }
    })
    .await;
    let answer = Message::from_bytes(&buffer[..len]).unwrap();
    answer.attribute::<XorMappedAddress>().unwrap().addr(answer.transaction_id())
}

impl TurnClient {
    /// By datagrams, with the credentials that a viewer was told.
    pub async fn by_udp(server: SocketAddr, told: &IceServer) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        Self::new(Socket::Udp(socket), told)
    }

    /// By a connection.
    pub async fn by_tcp(server: SocketAddr, told: &IceServer) -> Self {
        Self::new(Socket::Tcp(TcpStream::connect(server).await.unwrap()), told)
    }

    fn new(socket: Socket, told: &IceServer) -> Self {
        let [username, password] = [&told.username, &told.credential].map(|text| text.clone().unwrap());
        Self { socket, username, password, challenge: None }
    }

    /// Its relayed address.
    ///
    /// # Errors
    /// The number of the refusal.
    pub async fn allocate(&mut self) -> Result<SocketAddr, u16> {
        let answer = self.ask(ALLOCATE, &[&RequestedTransport::new(17)]).await?;
        let message = Message::from_bytes(&answer).unwrap();
        Ok(message.attribute::<XorRelayedAddress>().unwrap().addr(message.transaction_id()))
    }

    /// Lets a peer in.
    ///
    /// # Errors
    /// The number of the refusal.
    pub async fn permit(&mut self, peer: SocketAddr) -> Result<(), u16> {
        self.ask_about(CREATE_PERMISSION, peer, &[]).await
    }

    /// Gives a peer a channel.
    ///
    /// # Errors
    /// The number of the refusal.
    pub async fn bind(&mut self, number: u16, peer: SocketAddr) -> Result<(), u16> {
        self.ask_about(CHANNEL_BIND, peer, &[&ChannelNumber::new(number)]).await
    }

    /// Gives its relayed address back.
    ///
    /// # Errors
    /// The number of the refusal.
    pub async fn release(&mut self) -> Result<(), u16> {
        self.ask(REFRESH, &[&Lifetime::new(0)]).await.map(drop)
    }

    /// Sends on a channel.
    pub async fn send(&mut self, number: u16, payload: &[u8]) {
        let len = u16::try_from(payload.len()).unwrap();
        let mut frame = [&number.to_be_bytes(), &len.to_be_bytes(), payload].concat();
        frame.resize(frame.len().next_multiple_of(4), 0);
        self.transmit(&frame).await;
    }

    /// What comes on a channel next: its number, and bytes.
    pub async fn hear(&mut self) -> (u16, Vec<u8>) {
        let frame = within("something from the relay", self.receive()).await;
        let [n0, n1, l0, l1, payload @ ..] = &frame[..] else { panic!("{frame:?}") };
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        (u16::from_be_bytes([*n0, *n1]), payload[..len].to_vec())
    }

    /// Sends a request that nobody signed, and does not wait for the answer.
    pub async fn knock(&mut self) {
        let mut request = Message::builder_request(ALLOCATE, MessageWriteVec::new());
        request.add_attribute(&RequestedTransport::new(17)).unwrap();
        self.transmit(&request.finish()).await;
    }

    async fn ask_about(
        &mut self,
        method: Method,
        peer: SocketAddr,
        more: &[&dyn AttributeWrite],
    ) -> Result<(), u16> {
        // The address is masked with the transaction's id, which is known only once there is a request.
        self.exchange(method, more, Some(peer)).await.map(drop)
    }

    async fn ask(&mut self, method: Method, attributes: &[&dyn AttributeWrite]) -> Result<Vec<u8>, u16> {
        self.exchange(method, attributes, None).await
    }

    /// Asks, and once more if a challenge comes.
    async fn exchange(
        &mut self,
        method: Method,
        attributes: &[&dyn AttributeWrite],
        peer: Option<SocketAddr>,
    ) -> Result<Vec<u8>, u16> {
        loop {
            let request = self.write(method, attributes, peer);
            let bytes = self.answer_to(&request).await;
            let answer = Message::from_bytes(&bytes).unwrap();
            let Ok(error) = answer.attribute::<ErrorCode>() else { return Ok(bytes) };
            let (realm, nonce) = (answer.attribute::<Realm>(), answer.attribute::<Nonce>());
            match (self.challenge.is_some(), realm, nonce) {
                (false, Ok(realm), Ok(nonce)) => {
                    self.challenge = Some((realm.realm().to_owned(), nonce.nonce().to_owned()));
                }
                _ => return Err(error.code()),
            }
        }
    }

    fn write(&self, method: Method, attributes: &[&dyn AttributeWrite], peer: Option<SocketAddr>) -> Vec<u8> {
        let mut request = Message::builder_request(method, MessageWriteVec::new());
        for attribute in attributes {
            request.add_attribute(*attribute).unwrap();
        }
        if let Some(peer) = peer {
            let address = XorPeerAddress::new(peer, request.transaction_id());
            request.add_attribute(&address).unwrap();
        }
        if let Some((realm, nonce)) = &self.challenge {
            request.add_attribute(&Username::new(&self.username).unwrap()).unwrap();
            request.add_attribute(&Realm::new(realm).unwrap()).unwrap();
            request.add_attribute(&Nonce::new(nonce).unwrap()).unwrap();
            let key =
                LongTermKeyCredentials::new(self.username.clone(), self.password.clone(), realm.clone());
            let key = MessageIntegrityCredentials::from(key);
            request.add_message_integrity(&key, IntegrityAlgorithm::Sha1).unwrap();
            request.add_fingerprint().unwrap();
        }
        request.finish()
    }

    async fn answer_to(&mut self, request: &[u8]) -> Vec<u8> {
        within("an answer of the relay", async {
            loop {
                self.transmit(request).await;
                let deadline = tokio::time::Instant::now() + RETRANSMISSION;
                while let Ok(bytes) = tokio::time::timeout_at(deadline, self.receive()).await {
                    // Others are of earlier requests, or not answers at all.
                    if bytes.get(4..20) == request.get(4..20) {
                        return bytes;
                    }
                }
            }
        })
        .await
    }

    async fn transmit(&mut self, bytes: &[u8]) {
        match &mut self.socket {
            Socket::Udp(socket) => drop(socket.send(bytes).await.unwrap()),
            Socket::Tcp(stream) => stream.write_all(bytes).await.unwrap(),
        }
    }

    async fn receive(&mut self) -> Vec<u8> {
        match &mut self.socket {
            Socket::Udp(socket) => {
                let mut buffer = vec![0; 2048];
                let len = socket.recv(&mut buffer).await.unwrap();
                buffer.truncate(len);
                buffer
            }
            Socket::Tcp(stream) => {
                let mut frame = vec![0; 4];
                stream.read_exact(&mut frame).await.unwrap();
                let len = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
                let rest = if frame[0] < 0x40 { 16 + len } else { len.next_multiple_of(4) };
                frame.resize(4 + rest, 0);
                stream.read_exact(&mut frame[4..]).await.unwrap();
                frame
            }
        }
    }
}
