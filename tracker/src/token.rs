//! Resume tokens: what lets a viewer be the same peer again, and proves its id to the server peer.
//!
//! A token is a keyed BLAKE3 hash over channel, peer id and expiry. Nothing is kept per token, so it outlives a
//! restart of the tracker as long as the secret in the data directory does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cardume_wire::{ChannelId, PeerId, WallTime};

use crate::clock::unix_seconds;

/// Seconds that a token is good for: a week, longer than anybody watches without rejoining. (Wild guess.)
pub const TOKEN_LIFETIME_SECONDS: u32 = 7 * 24 * 60 * 60;
/// Separates these hashes from any other use of the same secret.
const DOMAIN: &[u8] = b"cardume resume token v1\0";
const MAC_LEN: usize = 16;
const TOKEN_LEN: usize = 8 + 4 + MAC_LEN;

/// Makes and checks resume tokens.
#[derive(Clone)]
pub struct Tokens {
    secret: [u8; 32],
}

impl Tokens {
    /// With this secret; whoever has it can be any peer.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// A token for this peer of this channel, good for [`TOKEN_LIFETIME_SECONDS`] from now.
    pub fn mint(&self, channel: &ChannelId, peer: PeerId, now: WallTime) -> String {
        let expires_at = unix_seconds(now).saturating_add(TOKEN_LIFETIME_SECONDS);
        let mut token = Vec::with_capacity(TOKEN_LEN);
        token.extend_from_slice(&peer.number().to_be_bytes());
        token.extend_from_slice(&expires_at.to_be_bytes());
        token.extend_from_slice(&self.mac(channel, peer, expires_at));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The peer that the token was made for, unless it is of another channel or secret, expired, or no token.
    pub fn verify(&self, channel: &ChannelId, token: &str, now: WallTime) -> Option<PeerId> {
        if token.len() > TOKEN_LEN * 2 {
            return None;
        }
        let bytes: [u8; TOKEN_LEN] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (peer, rest) = bytes.split_first_chunk::<8>()?;
        let (expires_at, mac) = rest.split_first_chunk::<4>()?;
        let peer = PeerId::new(u64::from_be_bytes(*peer));
        let expires_at = u32::from_be_bytes(*expires_at);
        let is_ours = is_equal(&self.mac(channel, peer, expires_at), mac);
        (is_ours && !peer.is_server() && expires_at > unix_seconds(now)).then_some(peer)
    }

    fn mac(&self, channel: &ChannelId, peer: PeerId, expires_at: u32) -> [u8; MAC_LEN] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(DOMAIN);
        hasher.update(&peer.number().to_be_bytes());
        hasher.update(&expires_at.to_be_bytes());
        hasher.update(channel.as_str().as_bytes());
        let mut mac = [0; MAC_LEN];
        hasher.finalize_xof().fill(&mut mac);
        mac
    }
}

/// Compares in a time that does not depend on where they differ.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000);

    fn channel(id: &str) -> ChannelId {
        id.parse().unwrap()
    }

    fn later(seconds: u32) -> WallTime {
        WallTime(NOW.0 + u64::from(seconds) * 1_000_000)
    }

    #[test]
    fn a_token_names_its_peer_until_it_expires() {
        let tokens = Tokens::new([7; 32]);
        let peer = PeerId::new(42);
        let token = tokens.mint(&channel("live"), peer, NOW);
        assert_eq!(tokens.verify(&channel("live"), &token, later(TOKEN_LIFETIME_SECONDS - 1)), Some(peer));
        assert_eq!(tokens.verify(&channel("live"), &token, later(TOKEN_LIFETIME_SECONDS)), None);
    }

    #[test]
    fn a_token_of_another_channel_or_secret_is_refused() {
        let token = Tokens::new([7; 32]).mint(&channel("live"), PeerId::new(42), NOW);
        assert_eq!(Tokens::new([7; 32]).verify(&channel("other"), &token, NOW), None);
        assert_eq!(Tokens::new([8; 32]).verify(&channel("live"), &token, NOW), None);
    }

    #[test]
    fn no_changed_byte_of_a_token_goes_unseen() {
        let tokens = Tokens::new([7; 32]);
        let token = URL_SAFE_NO_PAD.decode(tokens.mint(&channel("live"), PeerId::new(42), NOW)).unwrap();
        for position in 0..token.len() {
            let mut forged = token.clone();
            forged[position] ^= 1;
            assert_eq!(tokens.verify(&channel("live"), &URL_SAFE_NO_PAD.encode(forged), NOW), None);
        }
    }

    #[test]
    fn text_that_is_no_token_is_refused() {
        let tokens = Tokens::new([7; 32]);
        for text in ["", "x", "not base64 at all!", &"A".repeat(1000)] {
            assert_eq!(tokens.verify(&channel("live"), text, NOW), None);
        }
    }
}
