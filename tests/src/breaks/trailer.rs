//! Breaks of the signature behind a payload.

use xsplice_abi::errno::Errno;
use xsplice_abi::signature::{MAGIC, Trailer};

/// Bytes of the magic and the trailer before it.
const BEHIND_SIGNATURE: usize = MAGIC.len() + size_of::<Trailer>();

/// One break of a signed payload; for `change`, how many bytes are content.
#[derive(Clone, Copy, Debug)]
pub struct TrailerBreak {
    /// Its name.
    pub name: &'static str,
    /// What is changed.
    pub change: fn(&mut Vec<u8>, usize),
    /// What UPLOAD returns, as a positive number.
    pub errno: Errno,
}

const fn broken(name: &'static str, change: fn(&mut Vec<u8>, usize), errno: Errno) -> TrailerBreak {
    TrailerBreak {
        name,
        change,
        errno,
    }
}

/// Changes a byte of the trailer: algorithm, hash, id type, two lengths, three of padding, four of
/// the signature's length.
fn trailer(file: &mut [u8], at: usize, value: u8) {
    let start = file.len() - BEHIND_SIGNATURE;
    file[start + at] = value;
}

/// Breaks of every part of the trailer.
pub const SIGNATURE: &[TrailerBreak] = &[
    broken("no signature", Vec::truncate, Errno::EKEYREJECTED),
    broken("the first bit", |file, _| file[0] ^= 1, Errno::EKEYREJECTED),
    broken(
        "a bit in the middle",
        |file, content| file[content / 2] ^= 1,
        Errno::EKEYREJECTED,
    ),
    broken(
        "the last bit",
        |file, content| file[content - 1] ^= 0x80,
        Errno::EKEYREJECTED,
    ),
    broken(
        "a bit of the signature",
        |file, _| {
            let at = file.len() - BEHIND_SIGNATURE - 1;
            file[at] ^= 1;
        },
        Errno::EKEYREJECTED,
    ),
    broken(
        "a bit of the key's id",
        |file, content| {
            // Behind the signer's name, whose length the trailer has.
            let start = file.len() - BEHIND_SIGNATURE;
            let at = content + usize::from(file[start + 3]);
            file[at] ^= 1;
        },
        Errno::ENOKEY,
    ),
    broken(
        "another algorithm",
        |file, _| trailer(file, 0, 0),
        Errno::EOPNOTSUPP,
    ),
    broken(
        "another hash",
        |file, _| trailer(file, 1, 5),
        Errno::EOPNOTSUPP,
    ),
    broken(
        "another kind of id",
        |file, _| trailer(file, 2, 0),
        Errno::EOPNOTSUPP,
    ),
    broken(
        "a longer name than the file",
        |file, content| {
            file.drain(..content);
            trailer(file, 3, 0xff);
        },
        Errno::EINVAL,
    ),
    broken("padding", |file, _| trailer(file, 6, 1), Errno::EINVAL),
    broken(
        "a longer signature than the file",
        |file, _| trailer(file, 8, 1),
        Errno::EINVAL,
    ),
    broken(
        "a longer signature by a byte",
        |file, _| {
            let start = file.len() - BEHIND_SIGNATURE;
            file[start + 11] += 1;
        },
        Errno::ENOKEY,
    ),
    broken(
        "the magic",
        |file, _| {
            let at = file.len() - MAGIC.len();
            file[at] ^= 1;
        },
        Errno::EKEYREJECTED,
    ),
    broken(
        "a byte behind it",
        |file, _| file.push(0),
        Errno::EKEYREJECTED,
    ),
];
