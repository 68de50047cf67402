//! The signature trailer that may follow a payload: the kernel-module format.
//!
//! File: payload, signer's name, key id, signature, [`Trailer`], [`MAGIC`]. The layout is the one
//! that the xSplice design (RFC v3.1, "Signature checking requirements") takes over from module
//! signing.

use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Last bytes of a signed payload.
pub const MAGIC: &[u8; 28] = b"~Module signature appended~\n";

/// [`Trailer::algorithm`]: RSA.
pub const ALGORITHM_RSA: u8 = 1;
/// [`Trailer::hash`]: SHA-256.
pub const HASH_SHA256: u8 = 4;
/// [`Trailer::id_type`]: the key id comes from an X.509 certificate.
pub const ID_TYPE_X509: u8 = 1;

/// The 12 bytes before [`MAGIC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Trailer {
    /// Public-key algorithm: 0 DSA, 1 RSA.
    pub algorithm: u8,
    /// Hash algorithm; 4 is SHA-256.
    pub hash: u8,
    /// Kind of key id: 0 PGP, 1 X.509.
    pub id_type: u8,
    /// Length of the signer's name in bytes.
    pub signer_bytes: u8,
    /// Length of the key id in bytes.
    pub key_id_bytes: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// Length of the signature in bytes, big-endian.
    pub signature_bytes: U32,
}

const _: () = assert!(size_of::<Trailer>() == 12);
