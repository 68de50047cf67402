//! Checks RSASSA-PKCS1-v1_5 signatures with SHA-256 (RFC 8017 §8.2.2) in numbers of a fixed size: a
//! check takes no memory, so that none can be missing for it.
//!
//! Nothing here is secret. The signature is raised to the key's exponent and compared, whole, with
//! the one encoding that a signature of this content has; nothing of it is parsed.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U64, U4096};

/// Bytes of the largest modulus.
pub(crate) const MODULUS_BYTES_MAX: usize = U4096::BYTES;
/// Bytes of the smallest, which the encoding fits into many times.
pub(crate) const MODULUS_BYTES_MIN: usize = 128;
const EXPONENT_BYTES_MAX: usize = U64::BYTES;

/// What stands before the digest: `DigestInfo` of SHA-256 in DER (RFC 8017 §9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// Bytes of a SHA-256 digest.
pub(crate) const DIGEST_BYTES: usize = 32;

/// A public key, ready for checks.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    modulus: FixedMontyParams<{ U4096::LIMBS }>,
    exponent: U64,
    /// Bytes of the modulus, and of each signature.
    bytes: usize,
}

impl PublicKey {
    /// The key of these numbers, most significant byte first and without leading zeros; `None` when
    /// one is too large or too small, or the modulus even.
    pub(crate) fn new(modulus: &[u8], exponent: &[u8]) -> Option<PublicKey> {
        let bytes = modulus.len();
        if bytes < MODULUS_BYTES_MIN {
            return None;
        }
        let modulus = U4096::from_be_slice(&widened::<MODULUS_BYTES_MAX>(modulus)?);
        let exponent = U64::from_be_slice(&widened::<EXPONENT_BYTES_MAX>(exponent)?);
        let modulus: Option<Odd<U4096>> = Odd::new(modulus).into();
        Some(PublicKey {
            modulus: FixedMontyParams::new_vartime(modulus?),
            exponent,
            bytes,
        })
    }

    /// Whether `signature` is the key's of the content with this digest.
    pub(crate) fn has_signed(&self, signature: &[u8], digest: &[u8; DIGEST_BYTES]) -> bool {
        if signature.len() != self.bytes {
            return false;
        }
        let Some(signature) = widened::<MODULUS_BYTES_MAX>(signature) else {
            return false;
        };
        let signature = U4096::from_be_slice(&signature);
        // The same number plus the modulus is another signature, and none.
        if signature >= *self.modulus.modulus().as_ref() {
            return false;
        }
        let encoded = FixedMontyForm::new(&signature, &self.modulus)
            .pow_vartime(&self.exponent)
            .retrieve();
        self.encoding(digest)
            .is_some_and(|wanted| encoded == U4096::from_be_slice(&wanted))
    }

    /// The encoding of a digest in a signature of this key, with zeros in front.
    fn encoding(&self, digest: &[u8; DIGEST_BYTES]) -> Option<[u8; MODULUS_BYTES_MAX]> {
        let mut wide = [0; MODULUS_BYTES_MAX];
        let start = MODULUS_BYTES_MAX.checked_sub(self.bytes)?;
        let (rest, end) = wide
            .get_mut(start..)?
            .split_last_chunk_mut::<DIGEST_BYTES>()?;
        *end = *digest;
        let (padding, info) = rest.split_last_chunk_mut::<{ DIGEST_INFO.len() }>()?;
        *info = DIGEST_INFO;
        // 0, 1, 255 as often as there is room, 0.
        *padding.get_mut(1)? = 1;
        let last = padding.len().checked_sub(1)?;
        padding.get_mut(2..last)?.fill(u8::MAX);
        Some(wide)
    }
}

/// The number with leading zeros; `None` when it has more bytes.
fn widened<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let mut wide = [0; N];
    let start = N.checked_sub(number.len())?;
    wide.get_mut(start..)?.copy_from_slice(number);
    Some(wide)
}

#[cfg(test)]
mod tests {
    use super::{MODULUS_BYTES_MAX, MODULUS_BYTES_MIN, PublicKey};

    const EXPONENT: [u8; 3] = [1, 0, 1];

    #[test]
    fn keys_of_other_sizes_and_even_moduli_are_none() {
        for (bytes, is_taken) in [
            (0, false),
            (MODULUS_BYTES_MIN - 1, false),
            (MODULUS_BYTES_MIN, true),
            (MODULUS_BYTES_MAX, true),
            (MODULUS_BYTES_MAX + 1, false),
        ] {
            let modulus = [0xff; MODULUS_BYTES_MAX + 1];
            let key = PublicKey::new(&modulus[..bytes], &EXPONENT);
            assert_eq!(key.is_some(), is_taken, "{bytes} bytes");
        }
        let mut even = [0xff; MODULUS_BYTES_MIN];
        even[MODULUS_BYTES_MIN - 1] = 0xfe;
        assert!(PublicKey::new(&even, &EXPONENT).is_none());
        assert!(PublicKey::new(&[0xff; MODULUS_BYTES_MIN], &[1; 9]).is_none());
    }
}
