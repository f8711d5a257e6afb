//! What lets a viewer use the relay for a while: a name that says until when, and a password that follows from it.
//!
//! Nothing is kept per viewer, so a restart of the tracker changes nothing for those who have credentials.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cardume_wire::PeerId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::stun::{Key, Message, attribute};

/// Seconds that a viewer's credentials are good for; a relayed link that lives longer ends, and a viewer gets new ones whenever it
/// joins. (A day, as in draft-uberti-behave-turn-rest.)
pub const CREDENTIAL_LIFETIME_SECONDS: u32 = 24 * 60 * 60;
/// Seconds that a nonce is good for (RFC 8656, section 5: an hour at least).
const NONCE_LIFETIME_SECONDS: u32 = 60 * 60;
/// Expiry and hash; together without padding in base64.
const NONCE_MAC_LEN: usize = 5;
const NONCE_LEN: usize = 4 + NONCE_MAC_LEN;
/// A short one, since it is in each answer to a stranger.
pub(super) const REALM: &str = "cardume";
/// Longer names than ours have no password.
const USERNAME_LEN_LIMIT: usize = 64;

/// Makes and checks credentials and nonces.
#[derive(Clone)]
pub struct Credentials {
    secret: [u8; 32],
}

/// Without the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Why a request is not let in: the error's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It is not signed, or not by whom it says.
    Unauthorized = 401,
    /// It is signed, and does not say by whom.
    Incomplete = 400,
    /// Its nonce is old, or not of ours.
    Stale = 438,
}

/// Who signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signer {
    pub(super) username: String,
    pub(super) key: Key,
}

impl Signer {
    /// The part of the name that stays the same when the expiry changes.
    pub(super) fn viewer(&self) -> &str {
        self.username.split_once(':').map_or("", |(_, viewer)| viewer)
    }
}

impl Credentials {
    /// With this secret; whoever has it can use the relay.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// Name and password for a viewer, good for [`CREDENTIAL_LIFETIME_SECONDS`] from `now`, in seconds since 1970.
    pub fn mint(&self, peer: PeerId, now: u32) -> (String, String) {
        let username = format!("{}:{peer}", now.saturating_add(CREDENTIAL_LIFETIME_SECONDS));
        let password = self.password(&username);
        (username, password)
    }

    /// Who signed a request from this address.
    ///
    /// # Errors
    /// Why nobody did.
    pub(super) fn verify(&self, request: &Message<'_>, from: IpAddr, now: u32) -> Result<Signer, Stranger> {
        if !request.is_signed() {
            return Err(Stranger::Unauthorized);
        }
        let texts = [attribute::USERNAME, attribute::REALM, attribute::NONCE].map(|kind| request.text(kind));
        let [Some(username), Some(realm), Some(nonce)] = texts else { return Err(Stranger::Incomplete) };
        if !self.is_nonce(nonce, from, now) {
            return Err(Stranger::Stale);
        }
        let expires_at = username.split_once(':').and_then(|(expiry, _)| expiry.parse::<u32>().ok());
        if username.len() > USERNAME_LEN_LIMIT || realm != REALM || expires_at.is_none_or(|at| at <= now) {
            return Err(Stranger::Unauthorized);
        }
        let key = Key::new(username, REALM, &self.password(username));
        if !request.is_signed_with(&key) {
            return Err(Stranger::Unauthorized);
        }
        Ok(Signer { username: username.to_owned(), key })
    }

    /// What a stranger at this address must sign with its request, so that a request that somebody else saw cannot be used
    /// from elsewhere, nor later.
    pub(super) fn nonce(&self, for_address: IpAddr, now: u32) -> String {
        let expires_at = now.saturating_add(NONCE_LIFETIME_SECONDS);
        let mut nonce = expires_at.to_be_bytes().to_vec();
        nonce.extend(self.nonce_mac(for_address, expires_at));
        URL_SAFE_NO_PAD.encode(nonce)
    }

    fn is_nonce(&self, nonce: &str, from: IpAddr, now: u32) -> bool {
        let mut bytes = [0; NONCE_LEN];
        if !matches!(URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes), Ok(NONCE_LEN)) {
            return false;
        }
        let [e0, e1, e2, e3, mac @ ..] = bytes;
        let expires_at = u32::from_be_bytes([e0, e1, e2, e3]);
        expires_at > now && self.nonce_mac(from, expires_at) == mac
    }

    fn nonce_mac(&self, address: IpAddr, expires_at: u32) -> [u8; NONCE_MAC_LEN] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(b"cardume relay nonce v1\0");
        hasher.update(&expires_at.to_be_bytes());
        hasher.update(address.to_canonical().to_string().as_bytes());
        let mut mac = [0; NONCE_MAC_LEN];
        hasher.finalize_xof().fill(&mut mac);
        mac
    }

    /// As other relays that share a secret with a web site reckon it.
    fn password(&self, username: &str) -> String {
        let hmac = Hmac::<Sha1>::new_from_slice(&self.secret).map(|hmac| hmac.chain_update(username));
        hmac.map_or_else(|_| String::new(), |hmac| STANDARD.encode(hmac.finalize().into_bytes()))
    }
}
