//! A payload with one of everything, for breaking it.

use xsplice_abi::Profile;
use xsplice_diff::extract::SectionIndex;
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::link;
use xsplice_link::verify::{Against, NamedFile, Verification, verify};

use super::hand::{self, A, AX, RETURN_ONE, STB_LOCAL, STT_FUNC, STT_OBJECT, WA};
use super::{KERNEL, Tree};

const SOURCE: &str = "
    static int state = 7;
    int counter;
    static __attribute__((noinline, noclone)) int helper(int x) { return x * 3 + state; }
    int first(int x) { counter += x; return helper(x) + 1; }
    int second(int x) { state = x; return helper(x) + 2; }
";

/// A small base, linked.
pub(crate) fn image() -> Vec<u8> {
    Tree::compile(&[("a.c", SOURCE)], KERNEL).link()
}

/// A payload of it with one of everything: records, references, hooks, data and tables.
pub(crate) fn payload(base: &Base<'_>, abi: &'static Profile) -> Vec<u8> {
    let code = [0xe8, 0, 0, 0, 0, 0x8b, 0x05, 0, 0, 0, 0, 0xc3];
    let mut a = hand::replacing(base, "first", &code, abi);
    hand::replace(&mut a, base, "a.c#helper", RETURN_ONE);
    let second = hand::undefined(&mut a, "second");
    let state = hand::in_base(&mut a, Some("a.c"), "state");
    hand::relocate(&mut a, SectionIndex(0), 1, 4, second, -4);
    hand::relocate(&mut a, SectionIndex(0), 7, 2, state, -4);
    let hook_code = hand::section(&mut a, ".text.hook", AX, RETURN_ONE);
    let hook = hand::defined(&mut a, "hook", STB_LOCAL, STT_FUNC, hook_code);
    for kind in ["load", "preapply"] {
        let hooks = hand::section(&mut a, &format!("{}hooks.{kind}", abi.prefix), WA, &[0; 8]);
        hand::relocate(&mut a, hooks, 0, 1, hook, 0);
    }
    let data = hand::section(&mut a, ".data.fresh", WA, &[1, 2, 3, 4]);
    hand::defined(&mut a, "fresh", STB_LOCAL, STT_OBJECT, data);
    let text = hand::section(&mut a, ".rodata.str1.1", A | 0x30, b"a.c\0");
    let file = hand::defined(&mut a, "", STB_LOCAL, STT_OBJECT, text);
    let table = hand::section(&mut a, ".ex_table", A, &[0; 8]);
    hand::relocate(&mut a, table, 0, 2, hook, 0);
    hand::relocate(&mut a, table, 4, 2, hook, 5);
    let frames = hand::section(&mut a, ".bug_frames.1", A, &[0; 8]);
    hand::relocate(&mut a, frames, 0, 2, hook, 1);
    hand::relocate(&mut a, frames, 4, 2, file, 0);
    link(base, &[a], &LinkOptions::new("fix", abi))
        .unwrap()
        .bytes
}

/// Verified against the base alone.
pub(crate) fn verified(base: &Base<'_>, bytes: &[u8]) -> Verification {
    let file = NamedFile {
        path: "payload",
        bytes,
    };
    let against = Against {
        base,
        stack: &[],
        deny: &[],
        signer: None,
    };
    verify(file, against).unwrap()
}
