//! RTMP: what OBS and ffmpeg speak by default. `rtmp://host/live/KEY`, where any application name will do.

mod amf0;
mod chunk;
mod session;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use cardume_media::Track;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::flv::{self, AudioTag, VideoTag};
use super::remux::{Output, Remuxer, StreamFacts};
use crate::channel::{Broadcast, BroadcastError, Channels, Reservation};
use crate::clock::wall_time;
use crate::http::{Addresses, Slot};
use crate::metrics::{Refusal, Refusals};
use crate::places::{Place, Places};
use amf0::Value;
use session::{Event, Session};

/// Connections at once: senders, not viewers. More than one machine can relay, few enough to bound memory: each holds
/// at most one message and one read.
const CONNECTION_LIMIT: u32 = 256;
/// Those of one network address: an operator's encoders may share one, a stranger must not have all places.
const ADDRESS_LIMIT: u32 = 32;
/// From the connection's first byte to the wish to publish: encoders need a few round trips.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);
/// A sender that says nothing for so long is gone. Longer than the pause of an encoder that reconnects its input.
const DATA_TIMEOUT: Duration = Duration::from_secs(10);
/// A sender that does not read our answers for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that we close is drained, for its peer to read our reason. (Wild guess: a few round trips.)
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of one read: a fifth of a second at 2.5 Mbit/s.
const READ_LEN: usize = 64 * 1024;

/// Which encoders may connect; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Encoders {
    /// All of them.
    pub places: Places,
    addresses: Addresses,
    refusals: Refusals,
}

impl Encoders {
    /// Nobody is here yet.
    pub fn new(refusals: Refusals) -> Self {
        Self { places: Places::new(CONNECTION_LIMIT), addresses: Addresses::new(ADDRESS_LIMIT), refusals }
    }

    fn let_in(&self, address: IpAddr) -> Option<(Place, Slot)> {
        let entry = self.addresses.take(address).and_then(|slot| Some((self.places.take()?, slot)));
        if entry.is_none() {
            tracing::warn!(%address, "an RTMP connection is refused: there are too many, of this address or in all");
            self.refusals.count(Refusal::Rtmp);
        }
        entry
    }
}

/// Accepts encoders until `shutdown`; then no more come in, and those that are there are cut off.
pub async fn serve(
    listener: TcpListener,
    channels: Channels,
    encoders: Encoders,
    shutdown: CancellationToken,
) {
    loop {
        let (stream, address) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "an RTMP connection could not be accepted");
                    // Out of file descriptors: give others time to close some.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Some(entry) = encoders.let_in(address.ip()) else { continue };
        let (channels, shutdown) = (channels.clone(), shutdown.clone());
        tokio::spawn(async move {
            let result = shutdown.run_until_cancelled(Connection::new(stream, channels).run()).await;
            if let Some(Err(error)) = result {
                tracing::info!(%address, "RTMP connection ended: {error:#}");
            }
            drop(entry);
        });
    }
}

/// One encoder.
struct Connection {
    stream: TcpStream,
    channels: Channels,
    session: Session,
    sender: Option<Sender>,
    read: Vec<u8>,
}

/// Whether to read on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Close,
}

impl Connection {
    fn new(stream: TcpStream, channels: Channels) -> Self {
        Self { stream, channels, session: Session::new(), sender: None, read: vec![0; READ_LEN] }
    }

    /// Runs it to its end. What was gathered is published however it ends.
    async fn run(mut self) -> anyhow::Result<()> {
        // Answers are small and awaited.
        self.stream.set_nodelay(true)?;
        let result = self.exchange().await;
        if let Some(mut sender) = self.sender.take() {
            sender.end().await?;
        }
        self.linger().await;
        result
    }

    /// Says that nothing more comes and waits for the peer to say so too: closing over unread bytes would reset the
    /// connection, and the peer would not see the reason it was given.
    async fn linger(&mut self) {
        let drained = async {
            self.stream.shutdown().await?;
            while self.stream.read(&mut self.read).await? > 0 {}
            std::io::Result::Ok(())
        };
        // How it ends matters no more.
        let _ = timeout(LINGER_TIMEOUT, drained).await;
    }

    async fn exchange(&mut self) -> anyhow::Result<()> {
        let setup = timeout(SETUP_TIMEOUT, async {
            while self.sender.is_none() {
                if self.step().await? == Next::Close {
                    return anyhow::Ok(Next::Close);
                }
            }
            Ok(Next::Go)
        });
        if setup.await.context("it did not begin to publish in time")?? == Next::Close {
            return Ok(());
        }
        while timeout(DATA_TIMEOUT, self.step()).await.context("the sender fell silent")?? == Next::Go {}
        Ok(())
    }

    /// Reads once and does what that asks for.
    async fn step(&mut self) -> anyhow::Result<Next> {
        let len = self.stream.read(&mut self.read).await?;
        if len == 0 {
            return Ok(Next::Close);
        }
        self.session.receive(&self.read[..len])?;
        let mut next = Next::Go;
        while next == Next::Go
            && let Some(event) = self.session.poll_event()?
        {
            next = self.handle(event).await?;
        }
        self.flush().await?;
        Ok(next)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let bytes = self.session.take_output();
        timeout(WRITE_TIMEOUT, self.stream.write_all(&bytes)).await.context("the sender does not read")??;
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> anyhow::Result<Next> {
        match (event, &mut self.sender) {
            (Event::Publish { stream_key }, None) => return Ok(self.begin(&stream_key).await),
            (Event::Publish { .. }, Some(_)) => bail!("a connection publishes once"),
            (Event::Play, _) => {
                self.session
                    .refuse_publish("NetStream.Play.Failed", "this port takes streams and gives none");
                return Ok(Next::Close);
            }
            (Event::Unpublish, Some(_)) => return Ok(Next::Close),
            (Event::Metadata(values), Some(sender)) => sender.remuxer.set_facts(facts(&values)),
            (Event::Video { timestamp, body }, Some(sender)) => {
                let result = sender.handle_video(timestamp, body).await;
                return Ok(self.checked(result));
            }
            (Event::Audio { timestamp, body }, Some(sender)) => {
                let result = sender.handle_audio(timestamp, body).await;
                return Ok(self.checked(result));
            }
            (_, None) => {}
        }
        Ok(Next::Go)
    }

    async fn begin(&mut self, stream_key: &str) -> Next {
        let refusal = match self.channels.find_by_key(stream_key) {
            None => "there is no channel with this stream key".to_owned(),
            Some(channel) => match channel.claim().await {
                Ok(reservation) => {
                    tracing::info!(channel = %channel.id(), "an RTMP sender begins");
                    self.sender = Some(Sender::new(reservation));
                    self.session.accept_publish();
                    return Next::Go;
                }
                Err(error) => error.to_string(),
            },
        };
        tracing::info!("an RTMP sender is refused: {refusal}");
        self.session.refuse_publish("NetStream.Publish.BadName", &refusal);
        Next::Close
    }

    /// Tells the sender why its media is not carried on.
    fn checked(&mut self, result: anyhow::Result<()>) -> Next {
        if let Err(error) = result {
            tracing::info!("an RTMP sender is cut off: {error:#}");
            self.session.refuse_publish("NetStream.Publish.Failed", &format!("{error:#}"));
            return Next::Close;
        }
        Next::Go
    }
}

/// An accepted sender's way into the channel.
struct Sender {
    remuxer: Remuxer,
    air: Air,
}

/// A sender holds its channel from its first byte to its last, on air or between two broadcasts.
enum Air {
    Reserved(Reservation),
    On(Broadcast),
    /// It could not go on air.
    Lost,
}

impl Sender {
    fn new(reservation: Reservation) -> Self {
        Self { remuxer: Remuxer::new(), air: Air::Reserved(reservation) }
    }

    async fn handle_video(&mut self, timestamp: u32, body: Bytes) -> anyhow::Result<()> {
        let now = wall_time();
        match flv::parse_video(body)? {
            VideoTag::Config(codec, config) => self.remuxer.configure_video(codec, config, now)?,
            VideoTag::Frame(picture) => self.remuxer.push_video(timestamp, picture, now)?,
            VideoTag::Nothing => {}
        }
        self.perform().await
    }

    async fn handle_audio(&mut self, timestamp: u32, body: Bytes) -> anyhow::Result<()> {
        let now = wall_time();
        match flv::parse_audio(body)? {
            AudioTag::Config(codec, config) => self.remuxer.configure_audio(codec, config, now)?,
            AudioTag::Frame(data) => self.remuxer.push_audio(timestamp, data, now)?,
            AudioTag::Nothing => {}
        }
        self.perform().await
    }

    /// The sender has stopped, or is gone.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.remuxer.end(wall_time())?;
        self.perform().await
    }

    async fn perform(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.remuxer.poll_output() {
            match output {
                Output::Start(tracks) => self.start(tracks)?,
                Output::Part(part) => {
                    if let Air::On(broadcast) = &mut self.air {
                        broadcast.publish(part).await?;
                    }
                }
                Output::End => self.pause(),
            }
        }
        Ok(())
    }

    fn start(&mut self, tracks: Vec<Track>) -> Result<(), BroadcastError> {
        if let Air::Reserved(reservation) = std::mem::replace(&mut self.air, Air::Lost) {
            self.air = Air::On(reservation.start(tracks)?);
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.air = match std::mem::replace(&mut self.air, Air::Lost) {
            Air::On(broadcast) => Air::Reserved(broadcast.finish()),
            other => other,
        };
    }
}

fn facts(metadata: &Value) -> StreamFacts {
    // Out of range or not a number: as if it were not said.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
    let number = |name: &str| metadata.property(name).and_then(Value::as_number).unwrap_or(0.0) as u32;
    let kilobits = |name: &str| number(name).saturating_mul(1000);
    let pixels = |name: &str| u16::try_from(number(name)).unwrap_or(0);
    let has = |name: &str| metadata.property(name).is_some();
    StreamFacts {
        has_one_track: has("videocodecid") != has("audiocodecid"),
        width: pixels("width"),
        height: pixels("height"),
        video_bitrate: kilobits("videodatarate"),
        audio_bitrate: kilobits("audiodatarate"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_places_for_the_encoders_of_others() {
        let refusals = Refusals::default();
        let encoders = Encoders::new(refusals.clone());
        let enter = |address: &str, n: usize| -> Vec<_> {
            (0..n).filter_map(|_| encoders.let_in(address.parse().unwrap())).collect()
        };
        let stranger = enter("198.51.100.7", 40);
        assert_eq!((stranger.len(), refusals.n(Refusal::Rtmp)), (32, 8));
        assert_eq!(enter("198.51.100.8", 1).len(), 1);
        let near = enter("127.0.0.1", 300);
        assert_eq!(near.len() + stranger.len(), 256, "all places");
    }
}
