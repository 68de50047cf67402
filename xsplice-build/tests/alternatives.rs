//! Alternatives that only remove code: Xen's loader wants the place of their replacement among the
//! replacements although nothing is read there.

use std::fs;
use std::process::Command;

use crate::support::{Trees, run};

/// A function with an alternative whose replacement has no bytes, and, with `WITH_OTHER`, one
/// whose replacement has some. Layout of the entries: Xen's `struct alt_instr`, 14 bytes.
const SOURCE: &str = r#"
        .text
        .globl f
        .type f, @function
f:      push %rbx
1:      lfence
2:      mov %edi, %eax
3:      .byte 0x66, 0x90
4:      add $STEP, %eax
        pop %rbx
        ret
        .size f, . - f
        .section .altinstructions, "a", @progbits
        .long 1b - ., 7f - .
        .word 0x26f
        .byte 2b - 1b, 0, 0, 0
#ifdef WITH_OTHER
        .long 3b - ., 8f - .
        .word 0x270
        .byte 4b - 3b, 9f - 8f, 0, 0
#endif
        .section .altinstr_replacement, "ax", @progbits
7:
#ifdef WITH_OTHER
8:      xchg %ax, %ax
9:
#endif
"#;

#[test]
fn empty_replacements_lead_to_the_section_of_replacements() {
    for other in [&[][..], &["-DWITH_OTHER"]] {
        let trees = Trees::new();
        for (tree, step) in [("orig", "-DSTEP=3"), ("patched", "-DSTEP=5")] {
            fs::create_dir(trees.path(tree)).expect("a folder");
            fs::write(trees.path(tree).join("f.S"), SOURCE).expect("a source");
            let arguments = [other, &[step, "-c", "f.S", "-o", "f.o"]].concat();
            run("gcc", &arguments, &trees.path(tree));
        }
        let link = "-static -nostdlib --build-id=sha1 -e 0 -Ttext-segment=0x400000 -o xen-syms f.o";
        let link: Vec<&str> = link.split(' ').collect();
        run("ld", &link, &trees.path("orig"));
        let payload = trees.path("fix.livepatch");
        let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
            .args([
                "--orig",
                "orig",
                "--patched",
                "patched",
                "--abi",
                "livepatch",
                "-o",
            ])
            .arg(&payload)
            .args(["-n", "fix"])
            .current_dir(trees.folder())
            .output()
            .expect("the command");
        let told = String::from_utf8_lossy(&output.stdout);
        let refused = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}{refused}");
        let listed = Command::new("readelf")
            .args(["-SrW"])
            .arg(&payload)
            .output();
        let listed = String::from_utf8(listed.expect("readelf").stdout).expect("text");
        let holds = |words: &str| listed.lines().any(|line| line.contains(words));
        assert!(
            holds(" .altinstr_replacement PROGBITS"),
            "{other:?}\n{listed}"
        );
        let replacement = listed
            .lines()
            .find(|line| line.starts_with("0000000000000004 "))
            .unwrap_or_default();
        assert!(
            replacement.ends_with(".altinstr_replacement + 0"),
            "{listed}"
        );
    }
}
