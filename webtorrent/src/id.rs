//! Ids of 20 bytes that travel as JSON strings.

use core::fmt;

/// Bytes of an id.
pub(crate) const ID_LEN: usize = 20;

/// An `info_hash` or `peer_id`: 20 bytes of any value, each written as the code point of the same number (U+0000 to U+00FF).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id([u8; ID_LEN]);

/// An id with the JSON string that it came as, quotes and escapes included: what is passed on is written as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    pub(crate) id: Id,
    pub(crate) json: &'a str,
}

impl Id {
    /// From its JSON string with the quotes; `None` unless it has exactly 20 code points below U+0100.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        let mut rest = json.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
        let mut id = [0; ID_LEN];
        for byte in &mut id {
            let (value, len) = code_point(rest)?;
            *byte = value;
            rest = &rest[len..];
        }
        rest.is_empty().then_some(Self(id))
    }

    /// Appends its JSON string with the quotes.
    pub(crate) fn write_json(self, text: &mut String) {
        use fmt::Write;
        text.push('"');
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
                0..0x20 => {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\\u{byte:04x}");
                }
                _ => text.push(char::from(byte)),
            }
        }
        text.push('"');
    }

    /// A number that spreads ids evenly, as long as nobody chooses them for it.
    pub(crate) fn low_bits(self) -> usize {
        usize::from(self.0[ID_LEN - 1])
    }
}

/// The first code point of a JSON string's inside, which is valid JSON, and how many bytes it takes there.
fn code_point(bytes: &[u8]) -> Option<(u8, usize)> {
    match *bytes {
        [b'\\', b'u', ref rest @ ..] => {
            let digits = core::str::from_utf8(rest.get(..4)?).ok()?;
            Some((u8::try_from(u16::from_str_radix(digits, 16).ok()?).ok()?, 6))
        }
        [b'\\', escaped, ..] => Some((unescaped(escaped)?, 2)),
        [byte, ..] if byte < 0x80 => Some((byte, 1)),
        // U+0080 to U+00FF.
        [first @ (0xC2 | 0xC3), second, ..] => Some((first << 6 | second & 0x3F, 2)),
        _ => None,
    }
}

/// RFC 8259, section 7.
fn unescaped(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, expect: Option<[u8; ID_LEN]>) {
        assert_eq!(Id::from_json(json), expect.map(Id), "{json}");
    }

    #[test]
    fn each_code_point_is_a_byte_however_it_is_written() {
        check(r#""abcdefghijklmnopqrst""#, Some(*b"abcdefghijklmnopqrst"));
        check(r#""\u0000\u00FF\"\\\/\n\t\r\b\fabcdefghij""#, Some(*b"\0\xff\"\\/\n\t\r\x08\x0cabcdefghij"));
        check("\"\u{ff}\u{80}\u{a9}defghijklmnopqrst\"", Some(*b"\xff\x80\xa9defghijklmnopqrst"));
    }

    #[test]
    fn anything_else_is_no_id() {
        for json in [
            "\"\"",
            "\"abc\"",
            "\"abcdefghijklmnopqrstu\"",
            "12",
            "null",
            "\"",
            r#""\u0100bcdefghijklmnopqrst""#,
        ] {
            check(json, None);
        }
        check("\"\u{100}bcdefghijklmnopqrst\"", None);
        check("\"€bcdefghijklmnopqrst\"", None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(bytes: [u8; ID_LEN]) {
            let mut json = String::new();
            Id(bytes).write_json(&mut json);
            prop_assert_eq!(Id::from_json(&json), Some(Id(bytes)));
            // And as everybody else reads it.
            let text: String = serde_json::from_str(&json).unwrap();
            let points: Vec<u32> = text.chars().map(u32::from).collect();
            prop_assert_eq!(points, bytes.map(u32::from).to_vec());
        }

        #[test]
        fn what_others_write_is_read(bytes: [u8; ID_LEN]) {
            let text: String = bytes.iter().copied().map(char::from).collect();
            prop_assert_eq!(Id::from_json(&serde_json::to_string(&text).unwrap()), Some(Id(bytes)));
        }
    }
}
