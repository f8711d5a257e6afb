//! The server's side of one RTMP connection that publishes: bytes in, bytes and events out, no I/O.
//!
//! Written here rather than taken from `rml_rtmp`: its AMF0 decoder recurses as deep as a stranger chooses before any
//! key was seen, its chunk reader grows without a bound when a header shortens a message under way, and it cannot
//! put interleaved chunk streams together.

use bytes::Bytes;

use super::amf0::{self, Value};
use super::chunk::{ChunkError, ChunkReader, Message, SENT_CHUNK_LEN, write_message};

/// Bytes of a message before a stream key was accepted: commands and metadata stay below 2 KiB.
const COMMAND_LEN_LIMIT: usize = 64 * 1024;
/// Bytes of a message of media: a key frame at 50 Mbit/s with a second's worth of bits in it.
const MEDIA_LEN_LIMIT: usize = 6 * 1024 * 1024;
/// Bytes of C1, C2, S1 and S2 (RTMP 1.0, section 5.2.3).
const HANDSHAKE_LEN: usize = 1536;
const RTMP_VERSION: u8 = 3;
/// A limit that may be changed later (section 5.4.5).
const DYNAMIC: u8 = 2;
/// What we let the peer send without an acknowledgement, and ask it to acknowledge: 2.5 MB, as other servers do.
const WINDOW_LEN: u32 = 2_500_000;
/// The message stream that `createStream` answers with: a connection publishes once.
const STREAM_ID: u32 = 1;

mod kind {
    pub(super) const SET_CHUNK_SIZE: u8 = 1;
    pub(super) const ACKNOWLEDGEMENT: u8 = 3;
    pub(super) const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
    pub(super) const SET_PEER_BANDWIDTH: u8 = 6;
    pub(super) const AUDIO: u8 = 8;
    pub(super) const VIDEO: u8 = 9;
    pub(super) const DATA_AMF3: u8 = 15;
    pub(super) const COMMAND_AMF3: u8 = 17;
    pub(super) const DATA: u8 = 18;
    pub(super) const COMMAND: u8 = 20;
}

/// What the peer did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Wants to publish; answer with [`Session::accept_publish`] or [`Session::refuse_publish`].
    Publish { stream_key: String },
    /// The body of an audio tag.
    Audio { timestamp: u32, body: Bytes },
    /// The body of a video tag.
    Video { timestamp: u32, body: Bytes },
    /// `onMetaData`.
    Metadata(Value),
    /// Stops publishing.
    Unpublish,
    /// Wants to play: not here.
    Play,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("not RTMP: the first byte is {0:#04x}, not 0x03")]
    NotRtmp(u8),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    Amf0(#[from] amf0::Malformed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitsC1,
    AwaitsC2,
    Open,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    state: State,
    handshake: Vec<u8>,
    chunks: ChunkReader,
    out: Vec<u8>,
    received_len: u32,
    acknowledged_len: u32,
    /// The peer wants to hear of every so many bytes.
    window_len: Option<u32>,
}

impl Session {
    /// A connection that was just accepted.
    pub(crate) fn new() -> Self {
        Self {
            state: State::AwaitsC1,
            handshake: Vec::new(),
            chunks: ChunkReader::new(COMMAND_LEN_LIMIT),
            out: Vec::new(),
            received_len: 0,
            acknowledged_len: 0,
            window_len: None,
        }
    }

    /// Whether the handshake is done.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Bytes from the peer. Poll all events before the next call.
    ///
    /// # Errors
    /// [`SessionError::NotRtmp`].
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if self.is_open() {
            self.count(bytes.len());
            self.chunks.push(bytes);
            return Ok(());
        }
        self.handshake.extend_from_slice(bytes);
        if let Some(version) = self.handshake.first().filter(|&&version| version != RTMP_VERSION)
            && self.state == State::AwaitsC1
        {
            return Err(SessionError::NotRtmp(*version));
        }
        self.shake_hands();
        Ok(())
    }

    /// What happened next, if anything.
    ///
    /// # Errors
    /// The bytes received are not RTMP or break a limit: close the connection.
    pub(crate) fn poll_event(&mut self) -> Result<Option<Event>, SessionError> {
        while self.is_open()
            && let Some(message) = self.chunks.next_message()?
        {
            if let Some(event) = self.handle_message(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Bytes to send.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Lets the peer publish.
    pub(crate) fn accept_publish(&mut self) {
        self.chunks.set_message_limit(MEDIA_LEN_LIMIT);
        self.send_status("status", "NetStream.Publish.Start", "on air");
    }

    /// Tells the peer that it may not. Close the connection after sending that: ffmpeg would go on.
    pub(crate) fn refuse_publish(&mut self, code: &str, description: &str) {
        self.send_status("error", code, description);
    }

    /// The simple handshake (section 5.2): what encoders speak to servers without digests.
    fn shake_hands(&mut self) {
        if self.state == State::AwaitsC1 && self.handshake.len() > HANDSHAKE_LEN {
            let c1: Vec<u8> = self.handshake.drain(..=HANDSHAKE_LEN).skip(1).collect();
            self.out.push(RTMP_VERSION);
            // S1: our time 0, zero, and bytes that should be random to tell connections apart, which nothing checks.
            self.out.resize(self.out.len() + HANDSHAKE_LEN, 0);
            self.out.extend_from_slice(&c1);
            self.state = State::AwaitsC2;
        }
        if self.state == State::AwaitsC2 && self.handshake.len() >= HANDSHAKE_LEN {
            self.handshake.drain(..HANDSHAKE_LEN);
            self.state = State::Open;
            let rest = std::mem::take(&mut self.handshake);
            self.chunks.push(&rest);
        }
    }

    fn count(&mut self, len: usize) {
        self.received_len = self.received_len.wrapping_add(u32::try_from(len).unwrap_or(u32::MAX));
        let unacknowledged = self.received_len.wrapping_sub(self.acknowledged_len);
        if self.window_len.is_some_and(|window| unacknowledged >= window) {
            self.acknowledged_len = self.received_len;
            write_message(&mut self.out, kind::ACKNOWLEDGEMENT, 0, &self.received_len.to_be_bytes());
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Event>, SessionError> {
        let Message { kind, timestamp, payload: body, .. } = message;
        match kind {
            kind::SET_CHUNK_SIZE => {
                if let Some(len) = number(&body) {
                    self.chunks.set_chunk_len(len);
                }
            }
            kind::WINDOW_ACKNOWLEDGEMENT_SIZE => self.window_len = number(&body).filter(|&len| len > 0),
            kind::AUDIO => return Ok(Some(Event::Audio { timestamp, body })),
            kind::VIDEO => return Ok(Some(Event::Video { timestamp, body })),
            kind::DATA => return Ok(metadata(amf0::decode(&body)?)),
            kind::DATA_AMF3 => return Ok(metadata(amf0::decode(body.get(1..).unwrap_or_default())?)),
            kind::COMMAND => return self.handle_command(&body),
            kind::COMMAND_AMF3 => return self.handle_command(body.get(1..).unwrap_or_default()),
            _ => {}
        }
        Ok(None)
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<Option<Event>, SessionError> {
        let values = amf0::decode(body)?;
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        match name {
            "connect" => self.answer_connect(transaction),
            "createStream" => self.send_result(transaction, Value::Null, Value::Number(STREAM_ID.into())),
            "publish" => {
                let name = values.get(3).and_then(Value::as_str).unwrap_or_default();
                return Ok(Some(Event::Publish { stream_key: stream_key(name) }));
            }
            "FCUnpublish" | "deleteStream" | "closeStream" => return Ok(Some(Event::Unpublish)),
            "play" | "play2" => return Ok(Some(Event::Play)),
            // releaseStream, FCPublish, _checkbw and others: courtesies that encoders do not wait for.
            _ => {}
        }
        Ok(None)
    }

    fn answer_connect(&mut self, transaction: f64) {
        write_message(&mut self.out, kind::WINDOW_ACKNOWLEDGEMENT_SIZE, 0, &WINDOW_LEN.to_be_bytes());
        let [a, b, c, d] = WINDOW_LEN.to_be_bytes();
        write_message(&mut self.out, kind::SET_PEER_BANDWIDTH, 0, &[a, b, c, d, DYNAMIC]);
        write_message(&mut self.out, kind::SET_CHUNK_SIZE, 0, &SENT_CHUNK_LEN.to_be_bytes());
        let server = Value::Object(vec![
            // What Adobe's server says of itself; encoders look for the form.
            ("fmsVer".into(), Value::String("FMS/3,0,1,123".into())),
            ("capabilities".into(), Value::Number(31.0)),
        ]);
        let status = status("status", "NetConnection.Connect.Success", "connected");
        self.send_result(transaction, server, status);
    }

    fn send_result(&mut self, transaction: f64, first: Value, second: Value) {
        self.send_command(0, &[Value::String("_result".into()), Value::Number(transaction), first, second]);
    }

    fn send_status(&mut self, level: &str, code: &str, description: &str) {
        let status = status(level, code, description);
        let name = Value::String("onStatus".into());
        self.send_command(STREAM_ID, &[name, Value::Number(0.0), Value::Null, status]);
    }

    fn send_command(&mut self, stream_id: u32, values: &[Value]) {
        let mut body = Vec::new();
        for value in values {
            amf0::encode(value, &mut body);
        }
        write_message(&mut self.out, kind::COMMAND, stream_id, &body);
    }
}

fn status(level: &str, code: &str, description: &str) -> Value {
    let property = |name: &str, text: &str| (name.to_owned(), Value::String(text.to_owned()));
    Value::Object(vec![
        property("level", level),
        property("code", code),
        property("description", description),
    ])
}

fn number(body: &[u8]) -> Option<u32> {
    body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// `rtmp://host/live/KEY?query`: the query stays inside the stream name.
fn stream_key(name: &str) -> String {
    name.split('?').next().unwrap_or_default().trim_matches('/').to_owned()
}

/// The object of `@setDataFrame onMetaData {…}`, or of `onMetaData {…}`.
fn metadata(values: Vec<Value>) -> Option<Event> {
    let is_metadata = values.iter().take(2).any(|value| value.as_str() == Some("onMetaData"));
    let object = values.into_iter().find(|value| matches!(value, Value::Object(_)))?;
    is_metadata.then_some(Event::Metadata(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Session {
        let mut session = Session::new();
        session.receive(&[RTMP_VERSION]).unwrap();
        session.receive(&[5; 1000]).unwrap();
        session.receive(&[5; 536]).unwrap();
        let answer = session.take_output();
        assert_eq!(answer.len(), 1 + 2 * HANDSHAKE_LEN);
        assert_eq!(&answer[1 + HANDSHAKE_LEN..], &[5; HANDSHAKE_LEN], "S2 repeats C1");
        session.receive(&[0; HANDSHAKE_LEN]).unwrap();
        assert!(session.is_open());
        session
    }

    fn command(values: &[Value]) -> Vec<u8> {
        let (mut body, mut bytes) = (Vec::new(), Vec::new());
        for value in values {
            amf0::encode(value, &mut body);
        }
        write_message(&mut bytes, kind::COMMAND, 0, &body);
        bytes
    }

    /// The commands that a session has sent.
    fn sent_commands(session: &mut Session) -> Vec<Vec<Value>> {
        let mut reader = ChunkReader::new(10_000);
        reader.push(&session.take_output());
        // As the encoder would: our chunks are longer than the default from the third message on.
        let mut commands = Vec::new();
        while let Some(message) = reader.next_message().unwrap() {
            match message.kind {
                kind::SET_CHUNK_SIZE => reader.set_chunk_len(number(&message.payload).unwrap()),
                kind::COMMAND => commands.push(amf0::decode(&message.payload).unwrap()),
                _ => {}
            }
        }
        commands
    }

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    fn connected() -> Session {
        let mut session = opened();
        session.receive(&command(&[text("connect"), Value::Number(1.0), Value::Object(vec![])])).unwrap();
        assert_eq!(session.poll_event(), Ok(None));
        assert_eq!(sent_commands(&mut session)[0][0], text("_result"));
        session
    }

    #[test]
    fn an_encoder_connects_publishes_and_is_told_so() {
        let mut session = connected();
        session.receive(&command(&[text("createStream"), Value::Number(4.0), Value::Null])).unwrap();
        assert_eq!(session.poll_event(), Ok(None));
        let answer = [text("_result"), Value::Number(4.0), Value::Null, Value::Number(1.0)];
        assert_eq!(sent_commands(&mut session), [answer]);

        let publish = [text("publish"), Value::Number(5.0), Value::Null, text("secret?x=1"), text("live")];
        session.receive(&command(&publish)).unwrap();
        assert_eq!(session.poll_event(), Ok(Some(Event::Publish { stream_key: "secret".into() })));
        session.accept_publish();
        assert_eq!(
            sent_commands(&mut session)[0][3].property("code"),
            Some(&text("NetStream.Publish.Start"))
        );
    }

    #[test]
    fn a_refusal_names_its_code_and_reason() {
        let mut session = connected();
        session.refuse_publish("NetStream.Publish.BadName", "no such key");
        let sent = sent_commands(&mut session);
        assert_eq!(sent[0][0], text("onStatus"));
        assert_eq!(sent[0][3].property("level"), Some(&text("error")));
        assert_eq!(sent[0][3].property("code"), Some(&text("NetStream.Publish.BadName")));
        assert_eq!(sent[0][3].property("description"), Some(&text("no such key")));
    }

    #[test]
    fn media_and_metadata_become_events() {
        let mut session = connected();
        let mut bytes = Vec::new();
        write_message(&mut bytes, kind::VIDEO, 1, &[0x17, 1]);
        let mut body = Vec::new();
        amf0::encode(&text("@setDataFrame"), &mut body);
        amf0::encode(&text("onMetaData"), &mut body);
        amf0::encode(&Value::Object(vec![("width".into(), Value::Number(640.0))]), &mut body);
        write_message(&mut bytes, kind::DATA, 1, &body);
        session.receive(&bytes).unwrap();
        let body = Bytes::from_static(&[0x17, 1]);
        assert_eq!(session.poll_event(), Ok(Some(Event::Video { timestamp: 0, body })));
        assert!(matches!(session.poll_event(), Ok(Some(Event::Metadata(_)))));
        assert_eq!(session.poll_event(), Ok(None));
    }

    #[test]
    fn what_is_not_rtmp_is_refused_at_its_first_byte() {
        assert_eq!(Session::new().receive(b"GET / HTTP/1.1"), Err(SessionError::NotRtmp(b'G')));
    }

    #[test]
    fn large_messages_need_an_accepted_key() {
        let large = [4, 0, 0, 0, 2, 0, 0, kind::VIDEO, 1, 0, 0, 0];
        let mut session = connected();
        session.receive(&large).unwrap();
        assert!(matches!(session.poll_event(), Err(SessionError::Chunk(ChunkError::TooLong { .. }))));

        let mut session = connected();
        session.accept_publish();
        session.receive(&large).unwrap();
        assert_eq!(session.poll_event(), Ok(None));
    }

    #[test]
    fn received_bytes_are_acknowledged_when_asked_for() {
        let mut session = connected();
        let mut bytes = Vec::new();
        write_message(&mut bytes, kind::WINDOW_ACKNOWLEDGEMENT_SIZE, 0, &100u32.to_be_bytes());
        session.receive(&bytes).unwrap();
        assert_eq!(session.poll_event(), Ok(None));
        let mut audio = Vec::new();
        write_message(&mut audio, kind::AUDIO, 1, &[0; 100]);
        session.receive(&audio).unwrap();
        let sent = session.take_output();
        assert_eq!(sent[7], kind::ACKNOWLEDGEMENT);
    }
}
