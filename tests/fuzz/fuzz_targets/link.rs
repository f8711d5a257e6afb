//! A message of a link is refused, or is exactly what encoding it gives.
#![no_main]

use cardume_wire::link::Message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::decode(bytes) {
        let encoded = message.encode();
        assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message), "another message came back");
    }
});
