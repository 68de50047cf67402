//! The trailer of a signed payload: each of its fields is looked at.

use xsplice_abi::Errno;
use xsplice_abi::signature::MAGIC;
use xsplice_runtime::read::signature::{SignatureError, split};

const SIGNER: &[u8] = b"me";
const KEY: &[u8] = b"key";
const SIGNATURE: &[u8] = &[7; 5];

/// `content` signed by a trailer whose byte `at` is `value`.
fn signed(content: &[u8], at: usize, value: u8) -> Vec<u8> {
    let [signer, key, signature] = [SIGNER, KEY, SIGNATURE].map(|part| part.len() as u8);
    let mut trailer = [1, 4, 1, signer, key, 0, 0, 0, 0, 0, 0, signature];
    trailer[at] = value;
    [content, SIGNER, KEY, SIGNATURE, &trailer, MAGIC].concat()
}

fn refusal(at: usize, value: u8) -> Option<SignatureError> {
    split(&signed(b"content", at, value)).err()
}

#[test]
fn a_whole_trailer_is_split_into_its_parts() {
    let file = signed(b"content", 0, 1);
    let (content, signature) = split(&file).unwrap();
    let signature = signature.expect("it is signed");
    assert_eq!(content, b"content");
    assert_eq!(signature.signer, SIGNER);
    assert_eq!(signature.key_id, KEY);
    assert_eq!(signature.bytes, SIGNATURE);
    let (content, signature) = split(b"content").unwrap();
    assert!(content == b"content" && signature.is_none());
}

#[test]
fn another_algorithm_hash_or_kind_of_key_id_is_no_scheme() {
    for (at, right) in [(0, 1), (1, 4), (2, 1)] {
        for value in (0..=u8::MAX).filter(|value| *value != right) {
            let unknown = Some(SignatureError::UnknownScheme);
            assert_eq!(refusal(at, value), unknown, "byte {at} is {value}");
        }
        assert_eq!(refusal(at, right), None);
    }
}

#[test]
fn padding_is_zero_and_lengths_fit_the_file() {
    let malformed = Some(SignatureError::Malformed);
    for at in 5..8 {
        for value in 1..=u8::MAX {
            assert_eq!(refusal(at, value), malformed, "byte {at} is {value}");
        }
    }
    // Lengths of the name, of the key id and of the signature, its most significant byte first.
    for at in [3, 4, 8, 9, 10, 11] {
        assert_eq!(refusal(at, 200), malformed, "byte {at}");
    }
    // A key id that begins with the file, and before it, of a signer without a name.
    let nameless = |key_bytes: u8| {
        let trailer = [
            1,
            4,
            1,
            0,
            key_bytes,
            0,
            0,
            0,
            0,
            0,
            0,
            SIGNATURE.len() as u8,
        ];
        [b"content", KEY, SIGNATURE, &trailer, MAGIC].concat()
    };
    assert_eq!(
        split(&nameless(10)).map(|(content, _)| content.len()),
        Ok(0)
    );
    assert_eq!(split(&nameless(11)).err(), malformed);
    // Nothing but a trailer, and less than one.
    let file = signed(b"", 0, 1);
    assert!(split(&file).is_ok());
    for start in 1..file.len() - MAGIC.len() {
        assert_eq!(split(&file[start..]).err(), malformed, "from {start}");
    }
}

#[test]
fn each_refusal_has_its_error_number() {
    for (error, errno) in [
        (SignatureError::Missing, Errno::EKEYREJECTED),
        (SignatureError::Mismatch, Errno::EKEYREJECTED),
        (SignatureError::Malformed, Errno::EINVAL),
        (SignatureError::UnknownScheme, Errno::EOPNOTSUPP),
        (SignatureError::UnknownKey, Errno::ENOKEY),
    ] {
        assert_eq!(error.errno(), errno);
    }
}
