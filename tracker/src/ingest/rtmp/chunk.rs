//! RTMP's chunk stream: messages in and out of bytes (Adobe, "RTMP Specification 1.0", section 5.3).

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};

/// Chunk streams one connection may use. Encoders use 4 to 6.
const CHUNK_STREAM_LIMIT: usize = 16;
/// Bytes of a chunk until the peer says otherwise (section 5.4.1).
const DEFAULT_CHUNK_LEN: usize = 128;
/// A 24-bit timestamp of this value says that the real one follows in 32 bits (section 5.3.1.3).
const EXTENDED_TIMESTAMP: u32 = 0x00FF_FFFF;
/// The length of the chunks we send: all of ours are shorter, so that each message is one chunk.
pub(super) const SENT_CHUNK_LEN: u32 = 4096;

/// One message, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) stream_id: u32,
    /// Milliseconds; wraps.
    pub(crate) timestamp: u32,
    pub(crate) payload: Bytes,
}

/// Why a chunk stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk refers to an earlier one that was never sent")]
    NoPrevious,
    #[error("more than {CHUNK_STREAM_LIMIT} chunk streams")]
    TooManyStreams,
    #[error("a message of {len} bytes where at most {limit} are taken")]
    TooLong { len: usize, limit: usize },
}

/// Puts the chunks of one connection together. Holds at most its message limit and what was pushed last.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    buffer: BytesMut,
    chunk_len: usize,
    message_limit: usize,
    streams: BTreeMap<u32, ChunkStream>,
}

/// What is remembered of a chunk stream: its last header, and the message it is in the middle of.
#[derive(Debug, Clone, Default)]
struct ChunkStream {
    timestamp: u32,
    /// The timestamp field as sent: absolute in the first header, then differences.
    timestamp_field: u32,
    is_extended: bool,
    kind: u8,
    stream_id: u32,
    message_len: usize,
    payload: BytesMut,
}

impl ChunkReader {
    /// A reader that refuses messages, and unfinished messages together, of more than `message_limit` bytes.
    pub(crate) fn new(message_limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            chunk_len: DEFAULT_CHUNK_LEN,
            message_limit,
            streams: BTreeMap::new(),
        }
    }

    /// Changes the limit for messages that begin from now on.
    pub(crate) fn set_message_limit(&mut self, message_limit: usize) {
        self.message_limit = message_limit;
    }

    /// The peer's chunks are this long from now on ("Set Chunk Size").
    pub(crate) fn set_chunk_len(&mut self, len: u32) {
        self.chunk_len = usize::try_from(len & 0x7FFF_FFFF).unwrap_or(usize::MAX).max(1);
    }

    /// More bytes from the peer. Call [`ChunkReader::next_message`] until it has no more before pushing again.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// The bytes cannot be a chunk stream, or break a limit; the connection is of no more use.
    pub(crate) fn next_message(&mut self) -> Result<Option<Message>, ChunkError> {
        loop {
            match self.next_chunk()? {
                Chunk::Incomplete => return Ok(None),
                Chunk::Middle => {}
                Chunk::Last(message) => return Ok(Some(message)),
            }
        }
    }

    fn next_chunk(&mut self) -> Result<Chunk, ChunkError> {
        let mut cursor = Cursor { bytes: &self.buffer };
        let Some(header) = BasicHeader::read(&mut cursor) else { return Ok(Chunk::Incomplete) };
        let known = self.streams.get(&header.chunk_stream);
        if known.is_none() && header.format != 0 {
            return Err(ChunkError::NoPrevious);
        }
        if known.is_none() && self.streams.len() >= CHUNK_STREAM_LIMIT {
            return Err(ChunkError::TooManyStreams);
        }
        let held_len = known.map_or(0, |stream| stream.payload.len());
        // The header as it would be after this chunk; nothing is kept before the chunk is whole.
        let mut stream = known.map_or_else(ChunkStream::default, ChunkStream::header_only);
        if stream.read_header(header.format, held_len == 0, &mut cursor).is_none() {
            return Ok(Chunk::Incomplete);
        }
        let pending_len: usize = self.streams.values().map(|other| other.payload.len()).sum();
        let missing_len = stream.message_len.saturating_sub(held_len);
        if pending_len.saturating_add(missing_len) > self.message_limit {
            return Err(ChunkError::TooLong { len: stream.message_len, limit: self.message_limit });
        }
        let len = missing_len.min(self.chunk_len);
        if cursor.bytes.len() < len {
            return Ok(Chunk::Incomplete);
        }
        let header_len = self.buffer.len() - cursor.bytes.len();
        self.buffer.advance(header_len);
        let body = self.buffer.split_to(len);
        Ok(self.finish_chunk(header.chunk_stream, stream, body))
    }

    fn finish_chunk(&mut self, chunk_stream: u32, header: ChunkStream, body: BytesMut) -> Chunk {
        let stream = self.streams.entry(chunk_stream).or_default();
        let mut payload = std::mem::take(&mut stream.payload);
        *stream = header;
        if payload.is_empty() {
            payload = body;
        } else {
            payload.extend_from_slice(&body);
        }
        if payload.len() < stream.message_len {
            stream.payload = payload;
            return Chunk::Middle;
        }
        Chunk::Last(Message {
            kind: stream.kind,
            stream_id: stream.stream_id,
            timestamp: stream.timestamp,
            payload: payload.freeze(),
        })
    }
}

enum Chunk {
    Incomplete,
    Middle,
    Last(Message),
}

impl ChunkStream {
    fn header_only(&self) -> Self {
        Self { payload: BytesMut::new(), ..*self }
    }

    /// Applies a message header of `format` (section 5.3.1.2); `None` when bytes are missing.
    fn read_header(&mut self, format: u8, is_first: bool, cursor: &mut Cursor<'_>) -> Option<()> {
        if format < 3 {
            self.timestamp_field = cursor.u24()?;
            self.is_extended = self.timestamp_field == EXTENDED_TIMESTAMP;
        }
        if format < 2 {
            self.message_len = usize::try_from(cursor.u24()?).ok()?;
            self.kind = cursor.u8()?;
        }
        if format == 0 {
            self.stream_id = cursor.u32()?.swap_bytes();
        }
        if self.is_extended {
            self.read_extended(format, is_first, cursor)?;
        }
        if is_first {
            let base = if format == 0 { 0 } else { self.timestamp };
            self.timestamp = base.wrapping_add(self.timestamp_field);
        }
        Some(())
    }

    fn read_extended(&mut self, format: u8, is_first: bool, cursor: &mut Cursor<'_>) -> Option<()> {
        let field = Cursor { bytes: cursor.bytes }.u32()?;
        // Some encoders leave it out of the chunks that continue a message: then these bytes are media.
        let is_left_out = format == 3 && !is_first && field != self.timestamp_field;
        if !is_left_out {
            cursor.u32()?;
            self.timestamp_field = field;
        }
        Some(())
    }
}

/// Format and chunk stream id (section 5.3.1.1).
struct BasicHeader {
    format: u8,
    chunk_stream: u32,
}

impl BasicHeader {
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let first = cursor.u8()?;
        let chunk_stream = match first & 0x3F {
            0 => 64 + u32::from(cursor.u8()?),
            1 => 64 + u32::from(cursor.u8()?) + 256 * u32::from(cursor.u8()?),
            id => u32::from(id),
        };
        Some(Self { format: first >> 6, chunk_stream })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn u8(&mut self) -> Option<u8> {
        self.bytes.split_off_first().copied()
    }

    fn u24(&mut self) -> Option<u32> {
        let (head, rest) = self.bytes.split_first_chunk::<3>()?;
        self.bytes = rest;
        Some(u32::from_be_bytes([0, head[0], head[1], head[2]]))
    }

    fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.bytes.split_first_chunk::<4>()?;
        self.bytes = rest;
        Some(u32::from_be_bytes(*head))
    }
}

/// Appends a message of at most [`SENT_CHUNK_LEN`] bytes as one chunk of format 0, timestamp 0.
pub(crate) fn write_message(out: &mut Vec<u8>, kind: u8, stream_id: u32, payload: &[u8]) {
    // Chunk stream 2 is for protocol control messages (section 5.4), 3 is what servers answer commands on.
    let chunk_stream = if kind <= 6 { 2 } else { 3 };
    let len = u32::try_from(payload.len()).unwrap_or(SENT_CHUNK_LEN).min(SENT_CHUNK_LEN);
    out.extend_from_slice(&[chunk_stream, 0, 0, 0]);
    out.extend_from_slice(&len.to_be_bytes()[1..]);
    out.push(kind);
    out.extend_from_slice(&stream_id.to_le_bytes());
    out.extend_from_slice(&payload[..payload.len().min(SENT_CHUNK_LEN as usize)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, timestamp: u32, payload: &[u8]) -> Message {
        Message { kind, stream_id: 1, timestamp, payload: Bytes::copy_from_slice(payload) }
    }

    /// A header of format 0 with a plain timestamp on chunk stream `id`.
    fn full(id: u8, timestamp: u32, len: u32, kind: u8) -> Vec<u8> {
        let mut bytes = vec![id];
        bytes.extend_from_slice(&timestamp.to_be_bytes()[1..]);
        bytes.extend_from_slice(&len.to_be_bytes()[1..]);
        bytes.push(kind);
        bytes.extend_from_slice(&1u32.to_le_bytes());
        bytes
    }

    fn check(bytes: &[u8], expected: &[Message]) {
        // Whatever the pieces bytes come in, the messages are the same.
        for piece_len in [1, 7, bytes.len()] {
            let mut reader = ChunkReader::new(1000);
            let mut messages = Vec::new();
            for piece in bytes.chunks(piece_len) {
                reader.push(piece);
                while let Some(message) = reader.next_message().unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, expected, "in pieces of {piece_len}");
        }
    }

    #[test]
    fn long_messages_are_put_together_and_deltas_add_up() {
        let payload = vec![7; 200];
        let mut bytes = full(4, 1000, 200, 9);
        bytes.extend_from_slice(&payload[..128]);
        bytes.push(0xC4);
        bytes.extend_from_slice(&payload[128..]);
        // Format 2: 40 ms later, same length and kind.
        bytes.extend_from_slice(&[0x84, 0, 0, 40]);
        bytes.extend_from_slice(&payload[..128]);
        bytes.push(0xC4);
        bytes.extend_from_slice(&payload[128..]);
        check(&bytes, &[message(9, 1000, &payload), message(9, 1040, &payload)]);
    }

    #[test]
    fn messages_of_different_chunk_streams_may_interleave() {
        let video = vec![1; 150];
        let mut bytes = full(6, 5, 150, 9);
        bytes.extend_from_slice(&video[..128]);
        bytes.extend_from_slice(&full(4, 6, 3, 8));
        bytes.extend_from_slice(b"abc");
        bytes.push(0xC6);
        bytes.extend_from_slice(&video[128..]);
        check(&bytes, &[message(8, 6, b"abc"), message(9, 5, &video)]);
    }

    #[test]
    fn timestamps_past_24_bits_are_read_with_and_without_their_repetition() {
        let payload = vec![9; 130];
        for is_repeated in [true, false] {
            let mut bytes = full(4, EXTENDED_TIMESTAMP, 130, 9);
            bytes.extend_from_slice(&20_000_000u32.to_be_bytes());
            bytes.extend_from_slice(&payload[..128]);
            bytes.push(0xC4);
            if is_repeated {
                bytes.extend_from_slice(&20_000_000u32.to_be_bytes());
            }
            bytes.extend_from_slice(&payload[128..]);
            // The next message, so that four bytes are there to be mistaken.
            bytes.extend_from_slice(&full(4, 1, 1, 8));
            bytes.push(0);
            check(&bytes, &[message(9, 20_000_000, &payload), message(8, 1, &[0])]);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, 20, 1, b"hello");
        check(&bytes, &[message(20, 0, b"hello")]);
    }

    #[test]
    fn strangers_reach_the_limits_and_no_further() {
        let mut reader = ChunkReader::new(1000);
        reader.push(&full(4, 0, 1001, 9));
        assert_eq!(reader.next_message(), Err(ChunkError::TooLong { len: 1001, limit: 1000 }));

        let mut reader = ChunkReader::new(1000);
        reader.push(&[0xC4]);
        assert_eq!(reader.next_message(), Err(ChunkError::NoPrevious));

        // Unfinished messages count together.
        let mut reader = ChunkReader::new(1000);
        for id in 4..12 {
            reader.push(&full(id, 0, 900, 9));
            reader.push(&[0; 128]);
        }
        assert!(matches!(reader.next_message(), Err(ChunkError::TooLong { .. })));

        let mut reader = ChunkReader::new(1000);
        for id in 2..40 {
            reader.push(&full(id, 0, 0, 9));
        }
        while let Ok(Some(_)) = reader.next_message() {}
        assert_eq!(reader.next_message(), Err(ChunkError::TooManyStreams));
    }

    #[test]
    fn a_header_that_shortens_a_message_under_way_does_no_harm() {
        let mut reader = ChunkReader::new(1000);
        reader.push(&full(4, 0, 300, 9));
        reader.push(&[0; 128]);
        reader.push(&full(4, 0, 10, 9));
        assert_eq!(reader.next_message().unwrap().unwrap().payload.len(), 128);
        assert_eq!(reader.next_message(), Ok(None));
    }
}
