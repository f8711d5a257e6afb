//! WebSocket frames (RFC 6455, section 5): those of clients read in place, and ours written.
//!
//! Our own and not a library's: most sockets are idle most of the time, and libraries keep buffers of some KiB for each.

use core::ops::Range;

/// Longest message: twenty offers of 5 KB each. (Real ones have 1 to 3 KB.)
pub(crate) const MESSAGE_LEN_LIMIT: usize = 100 * 1024;
/// Longest content of a control frame (section 5.5).
const CONTROL_LEN_LIMIT: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A whole message. Some clients send text in binary frames, so that is no difference.
    Message(&'a str),
    Ping(&'a [u8]),
    Pong,
    Close,
}

/// Why the socket has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It breaks a rule of the protocol.
    #[error("not the WebSocket protocol")]
    Protocol,
    /// A message has to be text.
    #[error("a message is not text in UTF-8")]
    NotText,
    /// A message is longer than any client's.
    #[error("a message is longer than {MESSAGE_LEN_LIMIT} bytes")]
    TooLong,
}

impl Fault {
    /// Section 7.4.1.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotText => 1007,
            Self::TooLong => 1009,
        }
    }
}

/// Cuts what comes on a socket into messages. Keeps nothing while no message is under way.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The begin of a frame whose rest is still to come.
    partial: Vec<u8>,
    /// Content of the frames of a message so far; `None` between messages.
    fragments: Option<Vec<u8>>,
}

/// A frame's header.
struct Header {
    opcode: u8,
    is_final: bool,
    mask: [u8; 4],
    content: Range<usize>,
}

impl Decoder {
    /// Takes the next bytes, which it unmasks in place, and tells what came with them.
    pub(crate) fn take(&mut self, bytes: &mut [u8], on: &mut impl FnMut(Incoming<'_>)) -> Result<(), Fault> {
        if self.partial.is_empty() {
            let used = self.cut(bytes, on)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut joined = core::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = self.cut(&mut joined, on)?;
        if used < joined.len() {
            joined.drain(..used);
            self.partial = joined;
        }
        Ok(())
    }

    /// Handles all whole frames and says how many bytes they have.
    fn cut(&mut self, bytes: &mut [u8], on: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Fault> {
        let mut used = 0;
        while let Some(header) = Header::parse(&bytes[used..])? {
            let rest = &mut bytes[used..];
            let Some(content) = rest.get_mut(header.content.clone()) else { break };
            unmask(content, header.mask);
            self.frame(&header, content, on)?;
            used += header.content.end;
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        header: &Header,
        content: &[u8],
        on: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), Fault> {
        match header.opcode {
            PING => on(Incoming::Ping(content)),
            PONG => on(Incoming::Pong),
            CLOSE => on(Incoming::Close),
            TEXT | BINARY if self.fragments.is_none() && header.is_final => {
                on(Incoming::Message(text(content)?));
            }
            TEXT | BINARY if self.fragments.is_none() => self.fragments = Some(content.to_vec()),
            CONTINUATION => self.continued(header, content, on)?,
            _ => return Err(Fault::Protocol),
        }
        Ok(())
    }

    fn continued(
        &mut self,
        header: &Header,
        content: &[u8],
        on: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), Fault> {
        let mut message = self.fragments.take().ok_or(Fault::Protocol)?;
        if message.len() + content.len() > MESSAGE_LEN_LIMIT {
            return Err(Fault::TooLong);
        }
        message.extend_from_slice(content);
        if header.is_final {
            on(Incoming::Message(text(&message)?));
        } else {
            self.fragments = Some(message);
        }
        Ok(())
    }
}

impl Header {
    /// `None` when more bytes are needed to tell.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (opcode, is_final) = (first & 0x0F, first & FINAL != 0);
        let is_control = opcode >= CLOSE;
        // Clients mask, nobody has agreed on extensions, and there are no other opcodes (sections 5.1 and 5.2).
        if second & MASKED == 0 || first & RESERVED != 0 || !matches!(opcode, 0..=2 | 8..=10) {
            return Err(Fault::Protocol);
        }
        let (content_len, len_len) = match second & !MASKED {
            126 => (rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()), 2),
            127 => (rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 8),
            len => (Some(u64::from(len)), 0),
        };
        let Some(content_len) = content_len else { return Ok(None) };
        let content_len = usize::try_from(content_len).unwrap_or(usize::MAX);
        if is_control && (content_len > CONTROL_LEN_LIMIT || !is_final) {
            return Err(Fault::Protocol);
        }
        if content_len > MESSAGE_LEN_LIMIT {
            return Err(Fault::TooLong);
        }
        let Some(&mask) = rest.get(len_len..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        let at = 2 + len_len + mask.len();
        Ok(Some(Self { opcode, is_final, mask, content: at..at + content_len }))
    }
}

fn text(content: &[u8]) -> Result<&str, Fault> {
    core::str::from_utf8(content).map_err(|_| Fault::NotText)
}

fn unmask(content: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = content.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends a text message, in one frame.
pub(crate) fn write_text(frames: &mut Vec<u8>, text: &str) {
    write(frames, TEXT, text.as_bytes());
}

/// Appends a question whether the other side lives.
pub(crate) fn write_ping(frames: &mut Vec<u8>) {
    write(frames, PING, &[]);
}

/// Appends the answer to a ping; its content is that of the ping.
pub(crate) fn write_pong(frames: &mut Vec<u8>, content: &[u8]) {
    write(frames, PONG, content);
}

/// Appends the last frame; the reason has at most 123 bytes.
pub(crate) fn write_close(frames: &mut Vec<u8>, code: u16, reason: &str) {
    let content = [&code.to_be_bytes(), reason.as_bytes()].concat();
    write(frames, CLOSE, &content);
}

fn write(frames: &mut Vec<u8>, opcode: u8, content: &[u8]) {
    frames.push(FINAL | opcode);
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(len @ 0..126), _) => frames.push(len),
        (_, Ok(len)) => {
            frames.push(126);
            frames.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            frames.push(127);
            frames.extend_from_slice(&(content.len() as u64).to_be_bytes());
        }
    }
    frames.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame.
    fn masked(first: u8, content: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame, 0, content);
        frame[0] = first;
        frame[1] |= MASKED;
        let content_at = frame.len() - content.len();
        unmask(&mut frame[content_at..], mask);
        frame.splice(content_at..content_at, mask);
        frame
    }

    /// What comes out of these bytes, arriving in pieces of this length.
    fn decoded(bytes: &[u8], piece_len: usize) -> Result<Vec<String>, Fault> {
        let mut decoder = Decoder::default();
        let mut came = Vec::new();
        for piece in bytes.chunks(piece_len) {
            decoder.take(&mut piece.to_vec(), &mut |incoming| came.push(format!("{incoming:?}")))?;
        }
        Ok(came)
    }

    fn check(frames: &[(u8, &[u8])], expect: Result<&[&str], Fault>) {
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(first, content)| masked(*first, content, [1, 2, 3, 4])).collect();
        let expect = expect.map(|came| came.iter().map(ToString::to_string).collect());
        for piece_len in [1, 7, bytes.len()] {
            assert_eq!(decoded(&bytes, piece_len), expect, "in pieces of {piece_len}");
        }
    }

    #[test]
    fn messages_come_as_they_were_sent() {
        check(&[(0x81, b"one"), (0x82, b"two")], Ok(&["Message(\"one\")", "Message(\"two\")"]));
        check(&[(0x81, b"")], Ok(&["Message(\"\")"]));
        check(&[(0x89, b"hi"), (0x8A, b""), (0x88, b"\x03\xe8")], Ok(&["Ping([104, 105])", "Pong", "Close"]));
    }

    #[test]
    fn a_message_in_pieces_is_one_and_lets_control_frames_through() {
        check(
            &[(0x01, b"a"), (0x89, b""), (0x00, b"b"), (0x80, b"c")],
            Ok(&["Ping([])", "Message(\"abc\")"]),
        );
    }

    #[test]
    fn what_breaks_the_protocol_is_a_fault() {
        check(&[(0x80, b"c")], Err(Fault::Protocol));
        check(&[(0x01, b"a"), (0x81, b"b")], Err(Fault::Protocol));
        check(&[(0xC1, b"compressed")], Err(Fault::Protocol));
        check(&[(0x83, b"opcode 3")], Err(Fault::Protocol));
        check(&[(0x09, b"a ping in pieces")], Err(Fault::Protocol));
        check(&[(0x89, &[0; 126])], Err(Fault::Protocol));
        check(&[(0x81, b"\xff")], Err(Fault::NotText));
        assert_eq!(decoded(&[0x81, 0x01, b'a'], 3), Err(Fault::Protocol), "without a mask");
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_header() {
        check(&[(0x81, &vec![b'a'; MESSAGE_LEN_LIMIT + 1])], Err(Fault::TooLong));
        let half = vec![b'a'; MESSAGE_LEN_LIMIT / 2 + 1];
        check(&[(0x01, &half), (0x80, &half)], Err(Fault::TooLong));
        let header = [0x81, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decoded(&header, header.len()), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn any_message_in_any_pieces_is_the_same(
            texts in proptest::collection::vec(".{0,300}", 1..8),
            mask: [u8; 4],
            piece_len in 1_usize..500,
        ) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| masked(0x81, text.as_bytes(), mask)).collect();
            let expect: Vec<String> =
                texts.iter().map(|text| format!("{:?}", Incoming::Message(text))).collect();
            prop_assert_eq!(decoded(&bytes, piece_len), Ok(expect));
        }

        #[test]
        fn frames_of_any_length_are_written_with_the_right_length(len in prop_oneof![0_usize..300, 65_000_usize..66_000]) {
            let mut frame = Vec::new();
            write_text(&mut frame, &"x".repeat(len));
            // Ours are not masked; with a mask of zeros they are a client's.
            let header_len = frame.len() - len;
            frame[1] |= MASKED;
            frame.splice(header_len..header_len, [0; 4]);
            prop_assert_eq!(decoded(&frame, 4_096).unwrap()[0].len(), len + "Message(\"\")".len());
        }
    }
}
