//! Signatures by the holder of a certificate: what openssl signs is taken, and nothing near it.

use sha2::{Digest as _, Sha256};
use xsplice_runtime::read::signature::{Signature, SignatureError, Verifier as _};
use xsplice_runtime::read::trusted_key::TrustedKey;

use crate::identity::Identity;

const CONTENT: &[u8] = b"what is signed";
/// `DigestInfo` of SHA-256, as in RFC 8017.
const INFO: [u8; 19] =
    *b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";

fn key(identity: &Identity) -> TrustedKey {
    TrustedKey::from_certificate(&identity.certificate()).unwrap()
}

fn check(key: &TrustedKey, bytes: &[u8], content: &[u8]) -> Result<(), SignatureError> {
    let signature = Signature {
        signer: b"",
        key_id: key.key_id(),
        bytes,
    };
    key.verify(&signature, content)
}

const MISMATCH: Result<(), SignatureError> = Err(SignatureError::Mismatch);

#[test]
fn what_openssl_signs_is_taken_whatever_the_size_of_the_key() {
    // One whose modulus does not fill its first byte, and the largest.
    for bits in [1024, 2043, 2048, 4096] {
        let identity = Identity::new(bits);
        let (key, signature) = (key(&identity), identity.sign(CONTENT));
        assert_eq!(check(&key, &signature, CONTENT), Ok(()), "{bits} bits");
        let other = check(&key, &signature, b"something else");
        assert_eq!(other, MISMATCH, "{bits} bits");
    }
}

#[test]
fn a_signature_that_differs_in_any_byte_or_in_length_is_none() {
    let identity = Identity::new(1024);
    let (key, signature) = (key(&identity), identity.sign(CONTENT));
    for at in 0..signature.len() {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        assert_eq!(check(&key, &changed, CONTENT), MISMATCH, "byte {at}");
    }
    let with_zero = [&[0][..], &signature].concat();
    for wrong in [
        &[][..],
        &signature[1..],
        &with_zero,
        &[0; 600],
        &[0xff; 128],
    ] {
        assert_eq!(check(&key, wrong, CONTENT), MISMATCH, "{}", wrong.len());
    }
}

/// The same number modulo the modulus, in as many bytes: a signature has one form.
#[test]
fn a_signature_is_less_than_the_modulus() {
    let identity = Identity::new(1024);
    let (key, modulus) = (key(&identity), identity.modulus());
    // Some signatures are small enough that the sum has no more bytes.
    let found = (0_u32..1000).find_map(|number| {
        let content = number.to_le_bytes();
        let signature = identity.sign(&content);
        let mut sum = vec![0; signature.len()];
        let mut carry = 0;
        for at in (0..sum.len()).rev() {
            let digit = u16::from(signature[at]) + u16::from(modulus[at]) + carry;
            sum[at] = digit.to_le_bytes()[0];
            carry = digit >> 8;
        }
        (carry == 0).then_some((content, signature, sum))
    });
    let (content, signature, sum) = found.expect("about one in four is");
    assert_eq!(check(&key, &signature, &content), Ok(()));
    assert_eq!(check(&key, &sum, &content), MISMATCH);
}

#[test]
fn an_encoding_has_one_form() {
    let identity = Identity::new(1024);
    let key = key(&identity);
    let digest = Sha256::digest(CONTENT);
    let end = [&INFO[..], &digest].concat();
    let ones = |count| vec![0xff; count];
    let padding = 128 - end.len() - 3;
    let right = [&[0, 1][..], &ones(padding), &[0], &end].concat();
    assert_eq!(check(&key, &identity.invert(&right), CONTENT), Ok(()));
    let mut no_parameters = end.clone();
    // `NULL` left out of the algorithm, and all lengths as it wants.
    no_parameters.drain(15..17);
    (no_parameters[1], no_parameters[3]) = (0x2f, 0x0b);
    let wrong = [
        // Another kind of block.
        [&[0, 2][..], &ones(padding), &[0], &end].concat(),
        // A shorter padding with something behind the digest, or before it.
        [&[0, 1][..], &ones(8), &[0], &end, &vec![7; padding - 8]].concat(),
        [&[0, 1][..], &ones(8), &[0], &vec![7; padding - 8], &end].concat(),
        [&[0, 1][..], &ones(padding - 1), &[0, 0], &end].concat(),
        [&[0, 1][..], &ones(padding + 1), &end].concat(),
        [&[0, 1][..], &ones(padding + 2), &[0], &no_parameters].concat(),
    ];
    for encoded in wrong {
        assert_eq!(encoded.len(), 128);
        let signature = identity.invert(&encoded);
        assert_eq!(check(&key, &signature, CONTENT), MISMATCH, "{encoded:02x?}");
    }
}

#[test]
fn a_key_that_is_not_named_is_unknown() {
    let identity = Identity::new(1024);
    let (key, signature) = (key(&identity), identity.sign(CONTENT));
    for key_id in [&[][..], &key.key_id()[1..], &[0; 20]] {
        let signature = Signature {
            signer: b"",
            key_id,
            bytes: &signature,
        };
        let answer = key.verify(&signature, CONTENT);
        assert_eq!(answer, Err(SignatureError::UnknownKey), "{key_id:02x?}");
    }
}
