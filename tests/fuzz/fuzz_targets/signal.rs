//! A message to or from the tracker is refused, or comes back from its own JSON.
#![no_main]

use cardume_wire::signal::{FromTracker, FromViewer};
use serde::{Serialize, de::DeserializeOwned};

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(json: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_vec(&message).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<T>(&written).expect("and read again"), message);
    }
}

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    round_trip::<FromViewer>(json);
    round_trip::<FromTracker>(json);
});
