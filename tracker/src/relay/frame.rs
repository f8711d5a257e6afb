//! Where messages end in a TCP stream (RFC 8656, section 12.5).

use super::DATAGRAM_LEN_LIMIT;
use super::allocation::CHANNEL_HEADER_LEN;
use super::stun::HEADER_LEN;

/// Bytes that say how long a message is.
pub(super) const PREFIX_LEN: usize = 4;

/// Bytes of the message that begins so, with what fills it up; `None` when no message does, or it is longer than any that passes.
pub(super) fn frame_len(prefix: [u8; PREFIX_LEN]) -> Option<usize> {
    let [first, _, high, low] = prefix;
    let len = usize::from(u16::from_be_bytes([high, low]));
    let len = match first >> 6 {
        0 => HEADER_LEN + len,
        1 => (CHANNEL_HEADER_LEN + len).next_multiple_of(4),
        _ => return None,
    };
    (len <= DATAGRAM_LEN_LIMIT).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_how_long_it_is_and_channels_are_filled_up() {
        assert_eq!(frame_len([0, 1, 0, 8]), Some(28));
        assert_eq!(frame_len([0x40, 0, 0, 5]), Some(12));
        assert_eq!(frame_len([0x40, 0, 0, 0]), Some(4));
    }

    #[test]
    fn anything_else_is_no_message() {
        for prefix in [*b"GET ", [0x80, 0, 0, 4], [0x40, 0, 0xFF, 0xFF], [0, 1, 0xFF, 0xFC]] {
            assert_eq!(frame_len(prefix), None, "{prefix:?}");
        }
    }
}
