//! AMF0 values, as RTMP commands and metadata carry them (Adobe, "Action Message Format -- AMF 0", 2007).

/// How deep values may be nested. Encoders send an object inside a command: 2; the rest is for metadata yet unseen.
const DEPTH_LIMIT: usize = 8;
/// Values of one message at most, nested ones included. `OBS` sends about 30 of metadata.
const VALUE_COUNT_LIMIT: usize = 512;

const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0A;
const DATE: u8 = 0x0B;
const LONG_STRING: u8 = 0x0C;

/// A value. Dates are read as [`Value::Null`]: nothing here needs them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Boolean(bool),
    String(String),
    /// An object or an "ECMA array", in the order sent.
    Object(Vec<(String, Value)>),
    Array(Vec<Value>),
    Null,
}

impl Value {
    /// The number, if it is one.
    pub(crate) fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The property of this name, if this is an object that has it.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        let Self::Object(properties) = self else { return None };
        properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Bytes that are not AMF0, or beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed AMF0 data")]
pub(crate) struct Malformed;

/// All values of a message.
///
/// # Errors
/// [`Malformed`], also for more than [`VALUE_COUNT_LIMIT`] values or more than [`DEPTH_LIMIT`] levels.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Value>, Malformed> {
    let mut reader = Reader { bytes, n_left: VALUE_COUNT_LIMIT };
    let mut values = Vec::new();
    while !reader.bytes.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

/// Appends a value. Strings longer than 65,535 bytes are cut there: none of ours comes near.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => {
            out.push(NUMBER);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(flag) => out.extend_from_slice(&[BOOLEAN, u8::from(*flag)]),
        Value::String(text) => {
            out.push(STRING);
            encode_text(text, out);
        }
        Value::Object(properties) => {
            out.push(OBJECT);
            for (name, value) in properties {
                encode_text(name, out);
                encode(value, out);
            }
            out.extend_from_slice(&[0, 0, OBJECT_END]);
        }
        Value::Array(values) => {
            out.push(STRICT_ARRAY);
            out.extend_from_slice(&u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
            for value in values {
                encode(value, out);
            }
        }
        Value::Null => out.push(NULL),
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}

struct Reader<'a> {
    bytes: &'a [u8],
    n_left: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.n_left = self.n_left.checked_sub(1).ok_or(Malformed)?;
        if depth > DEPTH_LIMIT {
            return Err(Malformed);
        }
        match self.take::<1>()?[0] {
            NUMBER => Ok(Value::Number(f64::from_be_bytes(self.take()?))),
            BOOLEAN => Ok(Value::Boolean(self.take::<1>()?[0] != 0)),
            STRING => self.text().map(Value::String),
            LONG_STRING => {
                let len = self.count()?;
                self.text_of(len).map(Value::String)
            }
            OBJECT => self.object(depth),
            ECMA_ARRAY => {
                // The count is advisory: the end marker counts.
                self.count()?;
                self.object(depth)
            }
            STRICT_ARRAY => {
                let n_values = self.count()?;
                (0..n_values).map(|_| self.value(depth + 1)).collect::<Result<_, _>>().map(Value::Array)
            }
            DATE => self.take::<10>().map(|_| Value::Null),
            NULL | UNDEFINED => Ok(Value::Null),
            _ => Err(Malformed),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Malformed> {
        let mut properties = Vec::new();
        loop {
            let name = self.text()?;
            if name.is_empty() && self.bytes.first() == Some(&OBJECT_END) {
                self.take::<1>()?;
                return Ok(Value::Object(properties));
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(u32::from_be_bytes(self.take()?)).map_err(|_| Malformed)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        self.text_of(len)
    }

    fn text_of(&mut self, len: usize) -> Result<String, Malformed> {
        let (text, rest) = self.bytes.split_at_checked(len).ok_or(Malformed)?;
        self.bytes = rest;
        // Encoders write titles in whatever encoding the machine has: a wrong character is no reason to refuse.
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(Malformed)?;
        self.bytes = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let values = vec![
            Value::String("connect".into()),
            Value::Number(1.0),
            Value::Object(vec![
                ("app".into(), Value::String("live".into())),
                ("inner".into(), Value::Object(vec![("flag".into(), Value::Boolean(true))])),
            ]),
            Value::Array(vec![Value::Null, Value::Number(-0.5)]),
        ];
        let mut bytes = Vec::new();
        for value in &values {
            encode(value, &mut bytes);
        }
        assert_eq!(decode(&bytes), Ok(values));
    }

    #[test]
    fn ecma_arrays_are_objects_whatever_their_count_says() {
        let mut bytes = vec![ECMA_ARRAY, 0, 0, 0, 0];
        bytes.extend_from_slice(b"\x00\x05width\x00\x40\x84\x00\x00\x00\x00\x00\x00\x00\x00\x09");
        let values = decode(&bytes).unwrap();
        assert_eq!(values[0].property("width").and_then(Value::as_number), Some(640.0));
    }

    #[test]
    fn bottomless_nesting_is_refused() {
        let bytes = b"\x03\x00\x01a".repeat(1_000_000);
        assert_eq!(decode(&bytes), Err(Malformed));
    }

    #[test]
    fn arrays_that_claim_more_than_is_there_are_refused() {
        assert_eq!(decode(&[STRICT_ARRAY, 0xFF, 0xFF, 0xFF, 0xFF, NULL]), Err(Malformed));
        assert_eq!(
            decode(&[STRICT_ARRAY, 0, 0, 0xFF, 0xFF].into_iter().chain([NULL; 2000]).collect::<Vec<_>>()),
            Err(Malformed)
        );
    }

    #[test]
    fn every_prefix_of_a_message_is_refused_or_shorter() {
        let mut bytes = Vec::new();
        encode(&Value::Object(vec![("key".into(), Value::String("value".into()))]), &mut bytes);
        for len in 1..bytes.len() {
            assert_eq!(decode(&bytes[..len]), Err(Malformed), "{len} bytes");
        }
    }
}
