//! Link messages as they travel between nodes: many in one message of NATS, each behind its length (4 bytes, big-endian).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cardume_wire::link::MESSAGE_LEN_LIMIT;

/// Bytes of a parcel at most: room for the longest message. A larger part travels in several, far below the 1 MiB that a message
/// of NATS may have, so that the [`SUBSCRIPTION_LIMIT`](super::connection::SUBSCRIPTION_LIMIT) parcels that may wait stay small.
pub(super) const PARCEL_LEN_LIMIT: usize = HEADER_LEN + MESSAGE_LEN_LIMIT;
const HEADER_LEN: usize = 4;

/// The messages in as few parcels as hold them, in order.
pub(super) fn pack(messages: &[Bytes]) -> Vec<Bytes> {
    let mut parcels = Vec::new();
    let mut parcel = BytesMut::new();
    for message in messages {
        if !parcel.is_empty() && parcel.len() + HEADER_LEN + message.len() > PARCEL_LEN_LIMIT {
            parcels.push(parcel.split().freeze());
        }
        parcel.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        parcel.extend_from_slice(message);
    }
    if !parcel.is_empty() {
        parcels.push(parcel.freeze());
    }
    parcels
}

/// The messages of a parcel, as views of it; `None` if it is none.
pub(super) fn unpack(mut parcel: Bytes) -> Option<Vec<Bytes>> {
    if parcel.len() > PARCEL_LEN_LIMIT {
        return None;
    }
    let mut messages = Vec::new();
    while !parcel.is_empty() {
        let len = (parcel.len() >= HEADER_LEN).then(|| parcel.get_u32() as usize)?;
        if len == 0 || len > MESSAGE_LEN_LIMIT || len > parcel.len() {
            return None;
        }
        messages.push(parcel.split_to(len));
    }
    Some(messages)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_out_in_order(lens in prop::collection::vec(1..20_000_usize, 0..40)) {
            let message = |(index, len): (usize, &usize)| Bytes::from(vec![u8::try_from(index).unwrap(); *len]);
            let messages: Vec<Bytes> = lens.iter().enumerate().map(message).collect();
            let parcels = pack(&messages);
            prop_assert!(parcels.iter().all(|parcel| parcel.len() <= PARCEL_LEN_LIMIT));
            let unpacked: Vec<Bytes> = parcels.into_iter().flat_map(|parcel| unpack(parcel).unwrap()).collect();
            prop_assert_eq!(unpacked, messages);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let len = bytes.len();
            let unpacked = unpack(bytes.into());
            prop_assert!(unpacked.is_none_or(|messages| messages.iter().map(Bytes::len).sum::<usize>() <= len));
        }
    }

    #[test]
    fn the_longest_message_fits_into_a_parcel() {
        let longest = Bytes::from(vec![1; MESSAGE_LEN_LIMIT]);
        let parcels = pack(&[longest.clone(), longest.clone(), longest.clone()]);
        assert_eq!(parcels.len(), 3);
        assert_eq!(unpack(parcels[0].clone()), Some(vec![longest]));
    }
}
