//! The signature trailer of kernel modules behind a payload: writing it and checking it.
//!
//! RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2) over the whole unsigned file, so that
//! `openssl dgst -sha256 -verify` says the same. Checking is the runtime's own code.

use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{self, DecodePrivateKey as _, spki};
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use xsplice_abi::signature::{ALGORITHM_RSA, HASH_SHA256, ID_TYPE_X509, MAGIC, Trailer};
use xsplice_runtime::read::signature::{self, SignatureError, Verifier};
use xsplice_runtime::read::trusted_key::{KeyError, TrustedKey};
use zerocopy::IntoBytes as _;
use zerocopy::byteorder::big_endian::U32;

/// Why a payload cannot be signed or checked.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key is no unencrypted PKCS #8 RSA key.
    #[error("{path}: is no RSA key in PKCS #8 PEM form ({source}); openssl pkey converts it")]
    Key {
        /// The file.
        path: String,
        /// The reader's error.
        source: pkcs8::Error,
    },
    /// The key is of another algorithm, such as EC.
    #[error("{path}: is a key of another algorithm than RSA; payloads are signed with RSA keys")]
    OtherAlgorithm {
        /// The file.
        path: String,
    },
    /// The certificate is none, or not one of an RSA key.
    #[error("{path}: {source}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The certificate belongs to another key.
    #[error("the certificate {certificate} is not that of the key {key}")]
    KeyOfOther {
        /// The key's file.
        key: String,
        /// The certificate's file.
        certificate: String,
    },
    /// The payload carries a signature already.
    #[error("{path}: is signed already; sign the payload that xsplice-link wrote")]
    Signed {
        /// The payload.
        path: String,
    },
    /// A name or id that is too long for the trailer.
    #[error("{path}: its {what} is longer than the trailer can hold")]
    TooLong {
        /// The certificate's file.
        path: String,
        /// Subject or key id.
        what: &'static str,
    },
    /// The key is too short to sign with.
    #[error("{path}: the key cannot sign: {source}")]
    Unfit {
        /// The key's file.
        path: String,
        /// The signer's error.
        source: rsa::signature::Error,
    },
}

/// A certificate: whose signatures are trusted.
#[derive(Debug)]
pub struct Signer {
    path: String,
    key: TrustedKey,
}

impl Signer {
    /// Reads a certificate in PEM form; `path` is what messages call it.
    ///
    /// # Errors
    /// [`SignError::Certificate`].
    pub fn from_certificate(path: &str, pem: &[u8]) -> Result<Signer, SignError> {
        let path = path.to_owned();
        match TrustedKey::from_certificate(pem) {
            Ok(key) => Ok(Signer { path, key }),
            Err(source) => Err(SignError::Certificate { path, source }),
        }
    }

    /// The subject, as text.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// What signatures name the key by.
    #[must_use]
    pub(crate) fn key_id(&self) -> &[u8] {
        self.key.key_id()
    }

    /// The signature of `content` by the certificate's key. It is the same each time.
    ///
    /// # Errors
    /// [`SignError`].
    pub(crate) fn sign(&self, key: KeyFile<'_>, content: &[u8]) -> Result<Vec<u8>, SignError> {
        let private = RsaPrivateKey::from_pkcs8_pem(key.pem).map_err(|source| {
            let path = key.path.to_owned();
            match source {
                pkcs8::Error::PublicKey(spki::Error::OidUnknown { .. }) => {
                    SignError::OtherAlgorithm { path }
                }
                source => SignError::Key { path, source },
            }
        })?;
        if RsaPublicKey::from(&private) != *self.key.public() {
            return Err(SignError::KeyOfOther {
                key: key.path.to_owned(),
                certificate: self.path.clone(),
            });
        }
        let signature = SigningKey::<Sha256>::new(private)
            .try_sign(content)
            .map_err(|source| SignError::Unfit {
                path: key.path.to_owned(),
                source,
            })?;
        Ok(signature.to_vec())
    }

    /// Whether `signature` is that of `content` by the certificate's key.
    #[must_use]
    pub(crate) fn has_signed(&self, content: &[u8], signature: &[u8]) -> bool {
        let signature = signature::Signature {
            signer: self.name().as_bytes(),
            key_id: self.key_id(),
            bytes: signature,
        };
        self.key.verify(&signature, content).is_ok()
    }
}

impl Verifier for Signer {
    fn verify(
        &self,
        signature: &signature::Signature<'_>,
        content: &[u8],
    ) -> Result<(), SignatureError> {
        self.key.verify(signature, content)
    }
}

/// A private key and what messages call it.
#[derive(Clone, Copy, Debug)]
pub struct KeyFile<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its PEM text.
    pub pem: &'a str,
}

/// Signs a payload: the payload, signer's name, key id, signature, trailer and magic.
///
/// # Errors
/// [`SignError`].
pub fn sign(
    path: &str,
    payload: &[u8],
    key: KeyFile<'_>,
    signer: &Signer,
) -> Result<Vec<u8>, SignError> {
    if payload.ends_with(MAGIC) {
        return Err(SignError::Signed {
            path: path.to_owned(),
        });
    }
    let signature = signer.sign(key, payload)?;
    let length = |bytes: &[u8], what| {
        u8::try_from(bytes.len()).map_err(|_| SignError::TooLong {
            path: signer.path.clone(),
            what,
        })
    };
    let name = signer.name().as_bytes();
    let trailer = Trailer {
        algorithm: ALGORITHM_RSA,
        hash: HASH_SHA256,
        id_type: ID_TYPE_X509,
        signer_bytes: length(name, "subject")?,
        key_id_bytes: length(signer.key.key_id(), "key id")?,
        pad: [0; 3],
        signature_bytes: U32::new(
            u32::try_from(signature.len()).expect("no RSA signature has 2^32 bytes"),
        ),
    };
    Ok([
        payload,
        name,
        signer.key.key_id(),
        &signature,
        trailer.as_bytes(),
        MAGIC,
    ]
    .concat())
}

/// The payload without the signature that follows it, if that is well-formed.
#[must_use]
pub fn content(file: &[u8]) -> &[u8] {
    signature::split(file).map_or(file, |(content, _)| content)
}
