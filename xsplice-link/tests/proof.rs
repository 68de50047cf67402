//! What the proof of an original object takes for the same, and what not: items made by hand,
//! proven against a base of a few lines of assembler.

use std::sync::Arc;

use xsplice_diff::Originals;
use xsplice_diff::extract::{OriginalItem, OriginalRelocation, OriginalTarget};
use xsplice_link::Base;
use xsplice_link::base::QualifiedName;
use xsplice_link::proof::{
    FailureKind, ItemFailure, ObjectProof, ProofFailure, TreeProof, prove_object,
};

use crate::support::{KERNEL, Tree, hand};

const PC32: u32 = 2;
const WORD: u32 = 1;
const SIGNED: u32 = 11;

/// Two functions that refer to the same two places, one with a number, and data of every kind.
const BASE: &str = "
    .text
    .macro function name
    .globl \\name
    .type \\name, @function
\\name: lea here(%rip), %rax
    lea here+16(%rip), %rcx
    ret
    .size \\name, . - \\name
    .endm
    function one
    function two
    .globl number
    .type number, @function
number: mov $0x1234, %rax
    ret
    .size number, . - number
    .data
here: .quad 1, 2, 3, 4
    .globl named
    .type named, @object
named: .quad 5
    .size named, 8
    .globl pointers
    .type pointers, @object
pointers: .quad text, text, named, away
    .size pointers, 32
    .globl last
last: .quad 0
    .bss
    .globl zeros
    .type zeros, @object
zeros: .skip 16
    .size zeros, 16
    .section .rodata
text: .quad inner
    .fill 72, 1, 0x41
inner: .asciz \"inner\"
    .globl away
    away = 0x1000
";

/// A local of the same name in a file of the same name.
const OTHER: &str = "
    .file \"same.c\"
    .data
    .type local, @object
local: .quad VALUE
    .size local, 8
";

fn image() -> Vec<u8> {
    let others = [OTHER.replace("VALUE", "7"), OTHER.replace("VALUE", "8")];
    let sources = [
        ("a.S", BASE),
        ("b.S", others[0].as_str()),
        ("c.S", others[1].as_str()),
    ];
    Tree::compile(&sources, KERNEL).link()
}

fn relocation<'data>(
    offset: u64,
    kind: u32,
    addend: i64,
    target: OriginalTarget<'data>,
) -> OriginalRelocation<'data> {
    OriginalRelocation {
        offset,
        kind,
        addend,
        target,
    }
}

fn in_section(offset: u64, near: Option<(&str, Option<&str>, u64)>) -> OriginalTarget<'static> {
    OriginalTarget::SectionOffset {
        section: ".data".to_owned(),
        offset,
        near: near.map(|(name, file, below)| (name.to_owned(), file.map(str::to_owned), below)),
    }
}

fn symbol(name: &str, file: Option<&str>) -> OriginalTarget<'static> {
    OriginalTarget::Symbol {
        name: name.to_owned(),
        file: file.map(str::to_owned),
    }
}

/// The item of a name with what the base holds there, of this size.
fn item<'data>(
    base: &Base<'data>,
    name: &str,
    size: u64,
    relocations: Vec<OriginalRelocation<'data>>,
) -> OriginalItem<'data> {
    let found = base.lookup(QualifiedName::parse(name)).found().unwrap();
    let bytes = base.bytes_at(found.address, size);
    OriginalItem {
        name: found.name.to_owned(),
        file: None,
        binding: hand::STB_GLOBAL,
        section_name: ".data".to_owned(),
        section_offset: 0,
        named_size: size,
        bytes: bytes.map_or_else(|| vec![0; 16], <[u8]>::to_vec).into(),
        relocations,
        patched_at_boot: Vec::new(),
    }
}

/// `one` or `two`, whose fields lead to these places.
fn function<'data>(
    base: &Base<'data>,
    name: &str,
    first: OriginalTarget<'data>,
    second: OriginalTarget<'data>,
) -> OriginalItem<'data> {
    let fields = vec![
        relocation(3, PC32, -4, first),
        relocation(10, PC32, -4, second),
    ];
    item(base, name, 15, fields)
}

fn proof(base: &Base<'_>, functions: Vec<OriginalItem<'_>>) -> ObjectProof {
    let originals = Originals {
        functions,
        constants: Vec::new(),
    };
    prove_object(base, "case.o", &originals)
}

fn failed(proof: &ObjectProof) -> Vec<&str> {
    proof.failed.iter().map(|one| one.name.as_str()).collect()
}

#[test]
fn all_references_into_a_section_agree_on_where_it_is() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let place = |offset| in_section(offset, None);
    let right = |name| function(&base, name, place(0), place(16));
    let moved = |name| function(&base, name, place(8), place(24));
    let torn = |name| function(&base, name, place(0), place(8));

    let both = proof(&base, vec![right("one"), right("two")]);
    assert_eq!((both.proven, failed(&both)), (2, vec![]));
    assert_eq!(both.deviations.section_offsets, 4);
    assert_eq!(failed(&proof(&base, vec![torn("one")])), ["one"]);
    let other = proof(&base, vec![right("one"), moved("two")]);
    assert_eq!((other.proven, failed(&other)), (1, vec!["two"]));
    let kind = &other.failed[0].failure.kind;
    assert!(
        matches!(kind, FailureKind::TargetDiffers { .. }),
        "{kind:?}"
    );

    // What differs is no evidence of where a section is, and takes none away.
    let mut foreign = moved("one");
    foreign.bytes.to_mut()[14] = 0x90;
    let after = proof(&base, vec![foreign.clone(), right("two")]);
    assert_eq!((after.proven, failed(&after)), (1, vec!["one"]));
    assert_eq!(after.deviations.section_offsets, 2);
    let mut foreign = item(&base, "number", 8, Vec::new());
    foreign.bytes.to_mut()[7] ^= 1;
    let between = proof(&base, vec![right("one"), foreign, moved("two")]);
    assert_eq!(
        (between.proven, failed(&between)),
        (1, vec!["number", "two"])
    );
}

#[test]
fn a_label_nearby_tells_a_place_before_the_section_does() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let by = |name, file, below: u64| {
        let near = move |more: u64| Some((name, file, below + more));
        let first = in_section(0, near(0));
        let second = in_section(16, near(16));
        proof(&base, vec![function(&base, "one", first, second)])
    };
    // `here` is 32 bytes before `named`, and a difference wraps.
    let below = 0_u64.wrapping_sub(32);
    assert_eq!(by("named", None, below).proven, 1);
    assert_eq!(by("named", None, below).deviations.section_offsets, 2);
    assert_eq!(failed(&by("named", None, below + 8)), ["one"]);
    // A label that the base did not keep leaves it to the section.
    assert_eq!(by("gone", None, 5).proven, 1);
    // One of several of a name.
    let named = base.lookup(QualifiedName::parse("named")).found().unwrap();
    let here = named.address - 32;
    let locals = base.symbols().iter().filter(|one| one.name == "local");
    for local in locals {
        let below = here.wrapping_sub(local.address);
        assert_eq!(by("local", Some("same.c"), below).proven, 1);
        assert_eq!(failed(&by("local", Some("same.c"), below + 4)), ["one"]);
    }
}

#[test]
fn a_name_of_several_is_one_of_them_and_a_number_is_that_number() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let with = |target, addend| {
        let fields = vec![relocation(3, SIGNED, addend, target)];
        proof(&base, vec![item(&base, "number", 8, fields)])
    };
    assert_eq!(with(OriginalTarget::Absolute(0x1234), 0).proven, 1);
    assert_eq!(with(OriginalTarget::Absolute(0x1230), 4).proven, 1);
    assert_eq!(
        failed(&with(OriginalTarget::Absolute(0x1235), 0)),
        ["number"]
    );

    // Of two locals of one name, the field tells which is meant.
    let locals: Vec<u64> = base
        .symbols()
        .iter()
        .filter(|one| one.name == "local")
        .map(|one| one.address)
        .collect();
    assert_eq!(locals.len(), 2);
    let named = base.lookup(QualifiedName::parse("named")).found().unwrap();
    let pointers = |addend: i64| {
        let target = symbol("local", Some("same.c"));
        let fields = vec![relocation(16, WORD, addend, target)];
        proof(&base, vec![item(&base, "pointers", 32, fields)])
    };
    for local in locals {
        let addend = named.address.wrapping_sub(local).cast_signed();
        assert_eq!(pointers(addend).proven, 1);
        assert_eq!(failed(&pointers(addend + 4)), ["pointers"]);
    }
}

#[test]
fn data_of_zeros_is_where_the_image_has_no_bytes() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let zeros = item(&base, "zeros", 16, Vec::new());
    assert_eq!(proof(&base, vec![zeros.clone()]).proven, 1);
    let mut filled = zeros.clone();
    filled.bytes.to_mut()[9] = 1;
    let mut leading = zeros.clone();
    leading.relocations = vec![relocation(0, WORD, 0, OriginalTarget::Absolute(0))];
    // A label without a size at the end of what has bytes, and an address outside of everything.
    let mut beyond = item(&base, "last", 8, Vec::new());
    assert_eq!(proof(&base, vec![beyond.clone()]).proven, 1);
    beyond.bytes = vec![0; 1 << 16].into();
    beyond.named_size = 1 << 16;
    let mut outside = zeros;
    outside.name = "away".to_owned();
    for one in [filled, leading, beyond, outside] {
        let found = proof(&base, vec![one.clone()]);
        let kinds: Vec<_> = found.failed.iter().map(|one| &one.failure.kind).collect();
        assert!(
            matches!(kinds[..], [FailureKind::OutsideImage]),
            "{one:?}: {kinds:?}"
        );
    }
}

#[test]
fn bytes_are_the_same_before_between_and_behind_fields() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let right = || function(&base, "one", in_section(0, None), in_section(16, None));
    assert_eq!(proof(&base, vec![right()]).proven, 1);
    for at in [0, 2, 7, 9, 14] {
        let mut other = right();
        other.bytes.to_mut()[at] ^= 0x40;
        let found = proof(&base, vec![other]);
        let failure = &found.failed[0].failure;
        assert_eq!(failure.offset, at as u64);
        assert!(matches!(failure.kind, FailureKind::BytesDiffer { .. }));
    }
    for at in 3..7 {
        let mut same = right();
        same.bytes.to_mut()[at] ^= 0x40;
        assert_eq!(proof(&base, vec![same]).proven, 1, "{at} is in a field");
    }
}

#[test]
fn contents_are_followed_as_deep_as_they_go_and_found_different_each_time() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let text = {
        let pointers = base
            .lookup(QualifiedName::parse("pointers"))
            .found()
            .unwrap();
        let first = base.bytes_at(pointers.address, 8).unwrap();
        u64::from_le_bytes(first.try_into().unwrap())
    };
    let outer = base.bytes_at(text, 80).unwrap();
    let pointing = |inner: &'static [u8], outer: &[u8]| {
        let inner = OriginalTarget::Content {
            bytes: inner.into(),
            relocations: Arc::new([]),
        };
        let relocations: Arc<[_]> = Arc::new([relocation(0, WORD, 0, inner)]);
        let bytes: Arc<[u8]> = outer.into();
        // Both fields share the content, as all references of an object do.
        let leaked: &'static [u8] = Box::leak(bytes.to_vec().into_boxed_slice());
        let field = |offset| {
            let target = OriginalTarget::Content {
                bytes: leaked.into(),
                relocations: Arc::clone(&relocations),
            };
            relocation(offset, WORD, 0, target)
        };
        vec![field(0), field(8)]
    };
    let with = |fields: Vec<OriginalRelocation<'static>>| {
        let one = item(&base, "pointers", 32, fields);
        // Twice, so that what is known of the content is asked for.
        proof(&base, vec![one.clone(), one])
    };
    let same = with(pointing(b"inner\0", outer));
    assert_eq!((same.proven, same.deviations.content), (2, 8));
    let mut changed = outer.to_vec();
    changed[79] ^= 1;
    let other = with(pointing(b"inner\0", &changed));
    assert_eq!((other.proven, other.failed.len()), (0, 2));
    assert_eq!(other.deviations.content, 0);
    let deep = with(pointing(b"inneR\0", outer));
    assert_eq!((deep.proven, deep.failed.len()), (0, 2));
    let kind = &deep.failed[1].failure.kind;
    assert!(
        matches!(kind, FailureKind::ContentDiffers { .. }),
        "{kind:?}"
    );
}

/// A proof of which these many items came out so.
fn counted(
    proven: u64,
    absent: &[&str],
    failed: &[&str],
    (constants, other): (u64, &[&str]),
) -> ObjectProof {
    let failures = |names: &[&str]| {
        let one = |name: &&str| ItemFailure {
            name: (*name).to_owned(),
            message: String::new(),
            failure: ProofFailure {
                offset: 0,
                address: 0,
                kind: FailureKind::OutsideImage,
            },
        };
        names.iter().map(one).collect()
    };
    ObjectProof {
        object: "case.o".to_owned(),
        proven,
        proven_constants: constants,
        absent: absent.iter().map(|name| (*name).to_owned()).collect(),
        failed: failures(failed),
        failed_constants: failures(other),
        ..ObjectProof::default()
    }
}

#[test]
fn an_object_is_in_the_base_by_its_functions_or_else_by_its_constants() {
    let sorted = |object: ObjectProof| {
        let mut tree = TreeProof::default();
        tree.add(object);
        let TreeProof {
            objects,
            unlinked,
            superseded,
            ..
        } = tree;
        (objects, unlinked.len(), superseded.len())
    };
    let (linked, unlinked, superseded) = ((1, 0, 0), (0, 1, 0), (0, 0, 1));
    let nothing = (0, &[][..]);
    for (object, wanted) in [
        (counted(1, &[], &[], nothing), linked),
        (counted(1, &["f"], &["g"], nothing), linked),
        (counted(0, &["f"], &[], nothing), unlinked),
        // Its constants may be equal to others by chance.
        (counted(0, &["f"], &[], (3, &[])), unlinked),
        (counted(0, &["f"], &[], (0, &["t"])), unlinked),
        (counted(0, &[], &[], (3, &[])), linked),
        (counted(0, &[], &[], nothing), (0, 0, 0)),
        // All that differs is global, and nothing is proven.
        (counted(0, &[], &["f"], nothing), superseded),
        (counted(0, &[], &["f"], (3, &[])), superseded),
        (counted(0, &[], &[], (0, &["t"])), superseded),
        (counted(0, &[], &["f", "a.c#g"], nothing), linked),
        (counted(0, &[], &["f"], (0, &["a.c#t"])), linked),
        (counted(1, &[], &["f"], nothing), linked),
    ] {
        assert_eq!(sorted(object.clone()), wanted, "{object:?}");
    }
}

#[test]
fn the_share_of_what_is_proven_counts_what_differs() {
    let mut tree = TreeProof::default();
    assert_eq!(tree.percent_proven(), 100);
    tree.add(counted(3, &["gone"], &["f"], (2, &["t"])));
    assert_eq!(tree.percent_proven(), 75);
    assert_eq!((tree.proven, tree.proven_constants), (3, 2));
    assert_eq!(tree.absent, ["case.o: gone"]);
    assert_eq!((tree.failed.len(), tree.failed_constants.len()), (1, 1));
}
