//! Finds the signature that may follow a payload, and asks the configured [`Verifier`] about it.
//!
//! This module only knows the layout. The cryptography is in `trusted_key`, behind a feature, so
//! that a kernel need not link it.

use thiserror::Error;
use xsplice_abi::errno::Errno;
use xsplice_abi::signature::{ALGORITHM_RSA, HASH_SHA256, ID_TYPE_X509, MAGIC, Trailer};
use zerocopy::FromBytes;

/// A payload's signature, as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'data> {
    /// Name of the signer; free text.
    pub signer: &'data [u8],
    /// Identifies the key.
    pub key_id: &'data [u8],
    /// The signature of the content: RSA over SHA-256.
    pub bytes: &'data [u8],
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// A trusted key is configured and the payload carries no signature.
    #[error("the payload is not signed; sign it with a trusted key")]
    Missing,
    /// The trailer's lengths do not fit the file.
    #[error("the signature's lengths do not fit the file")]
    Malformed,
    /// Not RSA over SHA-256 with an X.509 key id.
    #[error("the signature is not RSA with SHA-256 by an X.509 key")]
    UnknownScheme,
    /// The verifier has no key of this id.
    #[error("the key that signed the payload is not among the trusted ones")]
    UnknownKey,
    /// The signature does not belong to this content.
    #[error("the signature does not match the payload")]
    Mismatch,
}

impl SignatureError {
    /// What UPLOAD returns.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            SignatureError::Missing | SignatureError::Mismatch => Errno::EKEYREJECTED,
            SignatureError::Malformed => Errno::EINVAL,
            SignatureError::UnknownScheme => Errno::EOPNOTSUPP,
            SignatureError::UnknownKey => Errno::ENOKEY,
        }
    }
}

/// Knows the trusted keys.
pub trait Verifier: Sync {
    /// Whether `signature` is one of `content` by a trusted key.
    ///
    /// # Errors
    /// [`SignatureError::UnknownKey`] or [`SignatureError::Mismatch`].
    fn verify(&self, signature: &Signature<'_>, content: &[u8]) -> Result<(), SignatureError>;
}

/// Splits `file` into the payload proper and its signature, if one follows.
///
/// # Errors
/// A trailer with wrong lengths or of an unknown scheme.
pub fn split(file: &[u8]) -> Result<(&[u8], Option<Signature<'_>>), SignatureError> {
    let Some(rest) = file.strip_suffix(MAGIC.as_slice()) else {
        return Ok((file, None));
    };
    let (rest, trailer) = Trailer::read_from_suffix(rest).map_err(|_| SignatureError::Malformed)?;
    if trailer.pad != [0; 3] {
        return Err(SignatureError::Malformed);
    }
    if (trailer.algorithm, trailer.hash, trailer.id_type)
        != (ALGORITHM_RSA, HASH_SHA256, ID_TYPE_X509)
    {
        return Err(SignatureError::UnknownScheme);
    }
    let signature_bytes =
        usize::try_from(trailer.signature_bytes.get()).map_err(|_| SignatureError::Malformed)?;
    let (rest, bytes) = take_last(rest, signature_bytes)?;
    let (rest, key_id) = take_last(rest, trailer.key_id_bytes.into())?;
    let (content, signer) = take_last(rest, trailer.signer_bytes.into())?;
    Ok((
        content,
        Some(Signature {
            signer,
            key_id,
            bytes,
        }),
    ))
}

fn take_last(bytes: &[u8], count: usize) -> Result<(&[u8], &[u8]), SignatureError> {
    let middle = bytes
        .len()
        .checked_sub(count)
        .ok_or(SignatureError::Malformed)?;
    bytes
        .split_at_checked(middle)
        .ok_or(SignatureError::Malformed)
}

/// The payload proper of `file`, after its signature was found right where `verifier` demands one.
///
/// # Errors
/// See [`SignatureError`].
pub fn accept<'data>(
    file: &'data [u8],
    verifier: Option<&dyn Verifier>,
) -> Result<&'data [u8], SignatureError> {
    let (content, signature) = split(file)?;
    if let Some(verifier) = verifier {
        let signature = signature.ok_or(SignatureError::Missing)?;
        verifier.verify(&signature, content)?;
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::{Signature, SignatureError, Verifier, accept, split};
    use alloc::vec::Vec;
    use xsplice_abi::signature::MAGIC;

    /// Takes the content's length in one byte as a signature, of key "k".
    struct Length;

    impl Verifier for Length {
        fn verify(&self, signature: &Signature<'_>, content: &[u8]) -> Result<(), SignatureError> {
            if signature.key_id != b"k" {
                return Err(SignatureError::UnknownKey);
            }
            if signature
                .bytes
                .iter()
                .map(|byte| usize::from(*byte))
                .ne([content.len()])
            {
                return Err(SignatureError::Mismatch);
            }
            Ok(())
        }
    }

    fn signed(content: &[u8], key: &[u8], signature: &[u8]) -> Vec<u8> {
        let mut file = Vec::from(content);
        file.extend(b"me");
        file.extend(key);
        file.extend(signature);
        file.extend([1, 4, 1, 2, u8::try_from(key.len()).unwrap(), 0, 0, 0]);
        file.extend(u32::try_from(signature.len()).unwrap().to_be_bytes());
        file.extend(MAGIC);
        file
    }

    #[test]
    fn a_trusted_signature_is_taken_off_the_content() {
        let file = signed(b"content", b"k", &[7]);
        assert_eq!(accept(&file, Some(&Length)), Ok(b"content".as_slice()));
        assert_eq!(accept(&file, None), Ok(b"content".as_slice()));
        assert_eq!(accept(b"content", None), Ok(b"content".as_slice()));
    }

    #[test]
    fn each_untrusted_signature_is_refused_for_its_own_reason() {
        let verdict = |file: &[u8]| accept(file, Some(&Length)).unwrap_err();
        assert_eq!(verdict(b"content"), SignatureError::Missing);
        assert_eq!(
            verdict(&signed(b"content", b"k", &[8])),
            SignatureError::Mismatch
        );
        assert_eq!(
            verdict(&signed(b"content", b"x", &[7])),
            SignatureError::UnknownKey
        );
        let mut other_hash = signed(b"content", b"k", &[7]);
        let at = other_hash.len() - MAGIC.len() - 11;
        other_hash[at] = 5;
        assert_eq!(verdict(&other_hash), SignatureError::UnknownScheme);
        let mut longer = signed(b"content", b"k", &[7]);
        let at = longer.len() - MAGIC.len() - 1;
        longer[at] = 200;
        assert_eq!(verdict(&longer), SignatureError::Malformed);
        assert!(split(MAGIC).is_err());
    }
}
