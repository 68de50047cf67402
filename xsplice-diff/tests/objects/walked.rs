//! Which sections count in their order, by what compilers and assemblers put into them.

use xsplice_diff::shared_names;

use crate::compiler::{KERNEL, assemble, compile, compilers};

fn walked(object: &[u8]) -> Vec<&str> {
    shared_names("a.o", object).unwrap().walked
}

const PLAIN: &str = "
    int h(int), k(int);
    int jumps(int x, int y) {
        switch (x) {
        case 0: return h(y);
        case 1: return k(y);
        case 2: return y * 7;
        case 3: return h(y + 1);
        case 4: return y ^ 9;
        case 5: return k(3) / y;
        }
        return 0;
    }
    static int row[4] = {1, 2, 3, 4};
    int counts(int i) { static int n; return row[i & 3] += ++n; }
    const char *own_name(void) { return __func__; }
";

#[test]
fn what_compilers_name_after_its_user_is_met_by_its_user_alone() {
    for compiler in compilers() {
        for level in ["-O0", "-O2"] {
            for sections in [
                "-fno-data-sections",
                "-fdata-sections",
                "-mcmodel=small -fpic",
            ] {
                for check in [&[][..], &["-fsanitize=undefined"]] {
                    let sections: Vec<&str> = sections.split(' ').collect();
                    let flags = [KERNEL, &[level], &sections, check].concat();
                    let object = compile(compiler, &flags, PLAIN);
                    let none: [&str; 0] = [];
                    assert_eq!(walked(&object), none, "{compiler} {flags:?}");
                }
            }
        }
    }
}

#[test]
fn what_a_section_of_its_own_holds_may_be_a_row() {
    const FUNCTION: &str = ".section .text.f, \"ax\", @progbits\n.type f, @function\n\
                            f: ret\n.size f, .-f\n";
    for (section, entry, is_row) in [
        // The tables by which `f` jumps, and `v` itself.
        (".rodata.f", "", false),
        (".data.rel.ro.local.f", "", false),
        (".rodata.v", "v:", false),
        // No function is called so; or what is there has a name, or can be written.
        (".rodata.entry", "", true),
        (".rodata.f", "v:", true),
        (".data.f", "", true),
        // A descriptor of a sanitizer, and what is called almost so.
        (".data..Lubsan_data1", "", false),
        (".data..Lubsan_data1", "v:", true),
        (".data..Lset1", "", true),
        ("set", "v:", true),
    ] {
        let flags = if section.contains("ro") { "a" } else { "aw" };
        let object = assemble(&format!(
            "{FUNCTION}.section {section}, \"{flags}\", @progbits\n{entry} .quad f\n"
        ));
        let wanted: &[&str] = if is_row { &[section] } else { &[] };
        assert_eq!(walked(&object), wanted, "{section} {entry}");
    }
}
