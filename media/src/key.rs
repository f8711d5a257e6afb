//! The keys that broadcasts are signed with (Ed25519, RFC 8032).

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer};

/// Bytes of a signature; it is the end of everything signed.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// What a signature speaks about. Its text stands before the signed bytes, so that a signature of one kind never
/// passes for another.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    Catalog,
    Descriptor,
}

impl Domain {
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Catalog => b"cardume catalog 1\0",
            Self::Descriptor => b"cardume descriptor 1\0",
        }
    }

    fn message(self, body: &[u8]) -> Vec<u8> {
        [self.prefix(), body].concat()
    }
}

/// The secret key of one channel; it signs the channel's catalogs and descriptors. Erased from memory when dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that grows from these 32 random bytes; the same seed gives the same key.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The key that checks this one's signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The body followed by its signature.
    pub(crate) fn sign(&self, domain: Domain, mut body: Vec<u8>) -> Vec<u8> {
        let signature = self.0.sign(&domain.message(&body));
        body.extend_from_slice(&signature.to_bytes());
        body
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

/// The public key of one channel. As text: 64 hexadecimal digits, written in lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

/// Text or bytes that are no Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 hexadecimal digits that name a point of Ed25519")]
pub struct InvalidKey;

impl PublicKey {
    /// The key with these bytes (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// When they are no point of the curve, or one of small order, for which anybody could sign.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidKey)?;
        if key.is_weak() { Err(InvalidKey) } else { Ok(Self(key)) }
    }

    /// The key's bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The body of signed bytes, when the signature at their end is by this key and about this domain.
    pub(crate) fn open(self, domain: Domain, bytes: &[u8]) -> Option<&[u8]> {
        let (body, signature) = bytes.split_last_chunk::<SIGNATURE_LEN>()?;
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(&domain.message(body), &signature).ok().map(|()| body)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| InvalidKey)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair
                .iter()
                .try_fold(0, |value, &digit| Some(value << 4 | hex_value(digit)?))
                .ok_or(InvalidKey)?;
        }
        Self::from_bytes(bytes)
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
