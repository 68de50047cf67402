//! What the linker may make of a GOT access is followed; what it may not is a difference.

use crate::support::{Fix, PIC};
use xsplice_link::Base;
use xsplice_link::base::QualifiedName;
use xsplice_link::proof::prove_object;

const SOURCE: &str = "
    int counter;
    extern int other;
    int first(int x) { counter += x; return other + x / 3; }
";

#[test]
fn an_access_that_the_linker_cannot_have_made_is_a_difference() {
    let sources = [("a.c", SOURCE), ("b.c", "int other;")];
    let fix = Fix::build(&sources, &[], PIC);
    let base = fix.base();
    let first = base.lookup(QualifiedName::parse("first")).found().unwrap();
    let code = base.bytes_at(first.address, first.size_bytes).unwrap();
    // mov $counter,%reg: up there an address fits 32 sign-extended bits, so ld takes this form for
    // what the object has as a load from the GOT.
    let relaxed = code
        .windows(3)
        .position(|window| {
            window[0] & 0xf8 == 0x48 && window[1] == 0xc7 && window[2] & 0xf8 == 0xc0
        })
        .expect("the fixture has a relaxed access");
    let at = fix
        .image
        .windows(code.len())
        .position(|window| window == code)
        .unwrap();
    let prove = |opcode: u8, displacement: u8| {
        let mut image = fix.image.clone();
        image[at + relaxed + 1] = opcode;
        image[at + relaxed + 3] ^= displacement;
        let base = Base::parse("image", &image).unwrap();
        fix.originals()
            .iter()
            .flat_map(|(path, items)| prove_object(&base, path, items).failed)
            .map(|item| item.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(prove(0xc7, 0), Vec::<String>::new());
    // Another target, and two instructions that no load from the GOT becomes.
    for (opcode, displacement) in [(0xc7, 4), (0x89, 0), (0x8d, 0)] {
        assert_eq!(prove(opcode, displacement), ["first"], "{opcode:#x}");
    }
}
