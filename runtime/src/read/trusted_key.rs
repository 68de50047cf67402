//! Signatures by the holder of one certificate: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2) over
//! the whole unsigned file. It is behind the feature `rsa`, so that a kernel need not link
//! cryptography. `xsplice-link verify` uses the same code.
//!
//! The certificate is read once, when a kernel boots, and takes memory. A check takes none: see
//! `public_key`.
//!
//! The key id is the certificate's subject key identifier, or, where it has none, the SHA-1 of its
//! public key (RFC 5280 §4.2.1.2).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::{self, DecodePem as _, Encode as _};
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use crate::read::public_key::{MODULUS_BYTES_MAX, MODULUS_BYTES_MIN, PublicKey};
use crate::read::signature::{Signature, SignatureError, Verifier};

/// Why a file is no certificate to trust.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Not a certificate.
    #[error("is no X.509 certificate in PEM form: {0}")]
    Certificate(der::Error),
    /// A certificate of another kind of key.
    #[error("its key is no RSA key; signatures are RSA with SHA-256")]
    NotRsa,
    /// An RSA key of a size that is not taken.
    #[error(
        "its key has {bits} bits; those of {} to {} are taken",
        8 * MODULUS_BYTES_MIN,
        8 * MODULUS_BYTES_MAX
    )]
    Size {
        /// The bits of its modulus.
        bits: u32,
    },
}

/// A certificate: whose signatures are trusted.
#[derive(Debug)]
pub struct TrustedKey {
    name: String,
    key_id: Vec<u8>,
    public: RsaPublicKey,
    checks: PublicKey,
}

impl TrustedKey {
    /// Reads a certificate in PEM form.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_certificate(pem: &[u8]) -> Result<TrustedKey, KeyError> {
        let certificate = Certificate::from_pem(pem).map_err(KeyError::Certificate)?;
        let inner = certificate.tbs_certificate();
        let info = inner.subject_public_key_info();
        let encoded = info.to_der().map_err(KeyError::Certificate)?;
        let public = RsaPublicKey::from_public_key_der(&encoded).map_err(|_| KeyError::NotRsa)?;
        let (modulus, exponent) = (public.n_bytes(), public.e_bytes());
        let checks = PublicKey::new(&modulus, &exponent).ok_or(KeyError::Size {
            bits: public.n().bits(),
        })?;
        let identifier = inner
            .get_extension::<SubjectKeyIdentifier>()
            .map_err(KeyError::Certificate)?;
        let key_id = match identifier {
            Some((_, id)) => id.0.as_bytes().to_vec(),
            None => Sha1::digest(info.subject_public_key.raw_bytes()).to_vec(),
        };
        Ok(TrustedKey {
            name: inner.subject().to_string(),
            key_id,
            public,
            checks,
        })
    }

    /// The certificate's subject, as text.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signatures name the key by.
    #[must_use]
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &RsaPublicKey {
        &self.public
    }
}

impl Verifier for TrustedKey {
    fn verify(&self, signature: &Signature<'_>, content: &[u8]) -> Result<(), SignatureError> {
        if signature.key_id != self.key_id {
            return Err(SignatureError::UnknownKey);
        }
        let digest = Sha256::digest(content).into();
        if self.checks.has_signed(signature.bytes, &digest) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }
}
