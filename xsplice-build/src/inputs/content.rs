//! What a file of a tree is, by what it holds.
//!
//! Build systems call objects as they like (`.lo`, `.pic.o`, `.o.tmp`), so the name decides
//! nothing: an object that nobody looked at is a change that nobody sees. A file that is called
//! `.o` or `.a` and holds something else is kept, so that it is reported and not passed over.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A relocatable ELF file of any machine, or one that is called so.
    Object,
    /// An archive, thin or not, or one that is called so.
    Archive,
    /// A linked 64-bit ELF image.
    Image,
    /// Anything else.
    Other,
}

/// How the names of objects end.
const OBJECT_EXTENSIONS: [&str; 3] = ["o", "obj", "os"];
/// How the names of archives end.
const ARCHIVE_EXTENSION: &str = "a";

/// Bytes that tell what a file is: up to the end of `e_type`.
const HEAD_BYTES: usize = 18;

/// Of the file at `path`. One that cannot be read is judged by its name.
#[must_use]
pub(crate) fn kind_of(path: &Path) -> Kind {
    let mut head = [0; HEAD_BYTES];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    let held = if read.is_ok() {
        kind_of_bytes(&head)
    } else {
        Kind::Other
    };
    match path.extension().and_then(OsStr::to_str) {
        // An image that is called an object is a mistake that somebody has to be told of.
        Some(extension)
            if OBJECT_EXTENSIONS.contains(&extension)
                && matches!(held, Kind::Image | Kind::Other) =>
        {
            Kind::Object
        }
        _ if held != Kind::Other => held,
        Some(ARCHIVE_EXTENSION) => Kind::Archive,
        _ => Kind::Other,
    }
}

/// By its first bytes.
#[must_use]
pub(crate) fn kind_of_bytes(bytes: &[u8]) -> Kind {
    const ELF: [u8; 4] = [0x7f, b'E', b'L', b'F'];
    const CLASS_AT: usize = 4;
    const CLASS_64: u8 = 2;
    const TYPE_AT: usize = 16;
    const ARCHIVES: [&[u8]; 2] = [b"!<arch>\n", b"!<thin>\n"];
    if ARCHIVES.iter().any(|magic| bytes.starts_with(magic)) {
        return Kind::Archive;
    }
    if !bytes.starts_with(&ELF) {
        return Kind::Other;
    }
    let e_type = bytes.get(TYPE_AT..TYPE_AT + 2);
    match (e_type, bytes.get(CLASS_AT)) {
        // In either order of bytes: which machines are known is decided by whoever reads it.
        (Some([1, 0] | [0, 1]), _) => Kind::Object,
        (Some([2 | 3, 0]), Some(&CLASS_64)) => Kind::Image,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind_of, kind_of_bytes};

    #[test]
    fn what_a_file_holds_decides_before_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let elf = |e_type: u8| {
            let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
            head.resize(16, 0);
            head.extend([e_type, 0, 62, 0]);
            head
        };
        for (name, bytes, wanted) in [
            ("f.lo", elf(1), Kind::Object),
            ("f", elf(1), Kind::Object),
            ("f.o", elf(2), Kind::Object),
            ("xen-syms", elf(3), Kind::Image),
            (
                "f.txt",
                b"text of a file that is no object".to_vec(),
                Kind::Other,
            ),
            ("broken.o", b"text".to_vec(), Kind::Object),
            (
                "lib.lib",
                b"!<arch>\nand what follows it".to_vec(),
                Kind::Archive,
            ),
            (
                "lib.a",
                b"!<thin>\nand what follows it".to_vec(),
                Kind::Archive,
            ),
            ("empty.a", Vec::new(), Kind::Archive),
            ("core", elf(4), Kind::Other),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("the test's file can be written");
            assert_eq!(kind_of(&path), wanted, "{name}");
        }
        assert_eq!(kind_of_bytes(&[]), Kind::Other);
    }
}
