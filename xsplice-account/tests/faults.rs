//! Changes that rules have missed: the account finds each, and passes the nearest that is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xsplice_account::{Account, Given, Inputs, account};

type Sources<'source> = &'source [(&'source str, &'source str)];

const FLAGS: [&str; 7] = [
    "-O1",
    "-g",
    "-fpie",
    "-ffunction-sections",
    "-fdata-sections",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
];

fn run(command: &mut Command) {
    let output = command.output().expect("gcc and ld are installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

fn compile(folder: &Path, sources: Sources<'_>) -> Vec<(String, Vec<u8>)> {
    fs::create_dir_all(folder).expect("a folder of our own");
    let mut objects = Vec::new();
    for (name, source) in sources {
        let path = folder.join(name);
        fs::write(&path, source).expect("a folder of our own");
        let mut gcc = Command::new("gcc");
        gcc.args(FLAGS)
            .args(["-fno-toplevel-reorder", "-c", name, "-o"]);
        let object = format!("{name}.o");
        run(gcc.arg(&object).current_dir(folder));
        let bytes = fs::read(folder.join(&object)).expect("gcc wrote it");
        objects.push((object, bytes));
    }
    objects
}

/// The image that is linked from sources in their order.
fn link(folder: &Path, sources: Sources<'_>) -> Vec<u8> {
    let objects = compile(folder, sources);
    let mut ld = Command::new("ld");
    ld.args(["-static", "-nostdlib", "--build-id=sha1", "-e", "0", "-o"]);
    ld.arg("image").args(objects.iter().map(|(name, _)| name));
    run(ld.current_dir(folder));
    fs::read(folder.join("image")).expect("ld wrote it")
}

/// The account of two builds where no payload was made. The base is linked from `linked`.
fn without_payload(linked: Sources<'_>, original: Sources<'_>, patched: Sources<'_>) -> Account {
    without_payload_but_image(linked, original, patched, None)
}

/// The same, where the image of the patched build is linked from `image`.
fn without_payload_but_image(
    linked: Sources<'_>,
    original: Sources<'_>,
    patched: Sources<'_>,
    image: Option<Sources<'_>>,
) -> Account {
    let scratch = TempDir::new().expect("room for temporary files");
    let at = |name: &str| scratch.path().join(name);
    let base = link(&at("linked"), linked);
    let original = compile(&at("original"), original);
    let patched = compile(&at("patched"), patched);
    let borrowed =
        |objects: &'_ [(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> { objects.to_vec() };
    let (original, patched) = (borrowed(&original), borrowed(&patched));
    let image = image.map(|sources| link(&at("image"), sources));
    let inputs = Inputs {
        base: &base,
        original: original
            .iter()
            .map(|(name, bytes)| (name.as_str(), &bytes[..]))
            .collect(),
        patched: patched
            .iter()
            .map(|(name, bytes)| (name.as_str(), &bytes[..]))
            .collect(),
        patched_image: image.as_deref(),
        given: Given::Tree,
        left_out: Vec::new(),
        payload: None,
        accepted: Vec::new(),
    };
    account(&inputs).expect("well-formed inputs")
}

/// The account of two builds, the base linked from the original one.
fn of(original: Sources<'_>, patched: Sources<'_>) -> Account {
    without_payload(original, original, patched)
}

fn names(account: &Account) -> Vec<&str> {
    let missing = &account.after.missing;
    missing
        .iter()
        .map(|missing| missing.item.as_str())
        .collect()
}

const JUMPS: &str = r#"
extern void note(int); extern long low, high;
long f(long a, long b)
{
    if (__builtin_expect(a < 0, 0)) goto FIRST;
    if (__builtin_expect(b < 0, 0)) goto SECOND;
    note(__LINE__);
    return a * 5 + b;
over:
    high += a * 3; low ^= high; return low - 7;
under:
    low += b * 3; high ^= low; return high - 9;
}
"#;
const WORLD: &str = "long low, high; void note(int line) { low += line; }";

#[test]
fn equal_builds_have_a_place_for_everything() {
    let f = JUMPS.replace("FIRST", "over").replace("SECOND", "under");
    let both: Sources<'_> = &[("f.c", &f), ("w.c", WORLD)];
    let account = of(both, both);
    assert!(account.is_complete(), "{account:?}");
    let (base, after) = (account.base.expect("a whole tree"), account.after);
    assert_eq!(base.unnamed, 0);
    assert!(after.in_base > 0);
}

#[test]
fn a_line_that_moved_is_explained() {
    let f = JUMPS.replace("FIRST", "over").replace("SECOND", "under");
    let moved = format!("\n\n{f}");
    let account = of(
        &[("f.c", &f), ("w.c", WORLD)],
        &[("f.c", &moved), ("w.c", WORLD)],
    );
    assert!(account.is_complete(), "{account:?}");
    assert!(account.after.explained > 0, "{account:?}");
}

#[test]
fn a_variable_of_no_size_is_known_by_its_name() {
    let source = r#"
        struct nothing {};
        #define EMPTY __attribute__((section(".bss.empty"), used))
        EMPTY struct nothing here;
        static long before = 1, behind = 2;
        void *place(void) { return &VARIABLE; }
        long *others(int which) { return which ? &before : &behind; }
    "#;
    let old = source.replace("VARIABLE", "here");
    let new = source.replace("VARIABLE", "before");
    assert!(of(&[("v.c", &old)], &[("v.c", &old)]).is_complete());
    let moved = of(&[("v.c", &old)], &[("v.c", &new)]);
    assert_eq!(names(&moved), ["place"], "{moved:?}");
}

#[test]
fn swapped_labels_beside_a_moved_line_are_not() {
    let f = JUMPS.replace("FIRST", "over").replace("SECOND", "under");
    let swapped = JUMPS.replace("FIRST", "under").replace("SECOND", "over");
    let swapped = format!("\n\n{swapped}");
    let account = of(
        &[("f.c", &f), ("w.c", WORLD)],
        &[("f.c", &swapped), ("w.c", WORLD)],
    );
    assert_eq!(names(&account), ["f"], "{account:?}");
}

#[test]
fn a_number_that_is_no_line_is_not_explained() {
    let old = "extern void note(int);\nvoid f(void) { note(40); }";
    let new = "extern void note(int);\nvoid f(void) { note(41); }";
    let account = of(
        &[("f.c", old), ("w.c", WORLD)],
        &[("f.c", new), ("w.c", WORLD)],
    );
    assert_eq!(names(&account), ["f"], "{account:?}");
}

const TABLE: &str = r#"
extern const long __start_steps[], __stop_steps[];
long walk(void)
{
    long r = 0;
    for (const long *s = __start_steps; s < __stop_steps; s++) r = r * 7 + *s;
    return r;
}
#define STEP __attribute__((used, section("steps")))
"#;

#[test]
fn the_order_of_a_walked_table_matters() {
    let old = format!("{TABLE} static const long one STEP = 1; static const long two STEP = 2;");
    let new = format!("{TABLE} static const long two STEP = 2; static const long one STEP = 1;");
    assert!(of(&[("t.c", &old)], &[("t.c", &old)]).is_complete());
    assert!(!of(&[("t.c", &old)], &[("t.c", &new)]).is_complete());
}

#[test]
fn the_members_of_a_walked_table_matter() {
    let old = format!("{TABLE} static const long one STEP = 1;");
    let more = format!("{old} static const long two STEP = 2;");
    let apart = format!("{old} __attribute__((used)) static const long two = 2;");
    assert!(!of(&[("t.c", &old)], &[("t.c", &more)]).is_complete());
    assert!(!of(&[("t.c", &more)], &[("t.c", &old)]).is_complete());
    assert!(of(&[("t.c", &old)], &[("t.c", &apart)]).is_complete());
}

/// A function, and a sanitizer's descriptor of a check in it: file, line and type. Compilers
/// number the labels of both anew in each object. `lead` is the instruction by which the function
/// has the descriptor, if any is left. Variables with names stand between.
fn with_descriptor(function: &str, line: u32, kind: &str, lead: &str) -> String {
    format!(
        r#"__asm__(
            ".section .data..Lubsan_type_{function}, \"aw\"\n"
            ".Lubsan_type_{function}: .asciz \"{kind}\"\n"
            ".section .rodata.str1.1, \"aMS\", @progbits, 1\n.Lfile: .asciz \"shared.h\"\n");
        long before_{function} = 1;
        __asm__(
            ".section .data.rel.local..Lubsan_data_{function}, \"aw\"\n.balign 8\n"
            ".Lubsan_data_{function}: .quad .Lfile, {line}, .Lubsan_type_{function}\n");
        long behind_{function} = 1;
        __asm__(
            ".section .text.{function}, \"ax\"\n.globl {function}\n.type {function}, @function\n"
            "{function}: {lead}\nret\n.size {function}, . - {function}\n");"#
    )
}

#[test]
fn descriptors_that_nothing_uses_and_that_lead_to_equal_types_are_no_table() {
    let (one, other) = (
        with_descriptor("one", 17, "int", ""),
        with_descriptor("other", 18, "int", ""),
    );
    // The linker takes the objects in another order than the tree has them.
    let linked: Sources<'_> = &[("b.c", &other), ("a.c", &one)];
    let build: Sources<'_> = &[("a.c", &one), ("b.c", &other)];
    assert!(without_payload(linked, build, build).is_complete());
}

#[test]
fn a_section_named_like_a_descriptors_is_a_table_where_authors_name_its_entries() {
    let row = "__attribute__((used, section(\".data..Lubsan_data\")))";
    let old = format!("{row} static long one = 1; {row} static long two = 2;");
    let new = format!("{row} static long two = 2; {row} static long one = 1;");
    assert!(of(&[("t.c", &old)], &[("t.c", &old)]).is_complete());
    assert!(!of(&[("t.c", &old)], &[("t.c", &new)]).is_complete());
}

#[test]
fn a_section_without_names_that_is_no_descriptors_is_as_it_was() {
    let with = |value: u32| {
        format!(
            r#"long f(long a) {{ return a; }}
               __asm__(".section .data..Lstate, \"aw\"\n.long {value}");"#
        )
    };
    let (old, new) = (with(1), with(2));
    assert!(of(&[("f.c", &old)], &[("f.c", &old)]).is_complete());
    assert!(!of(&[("f.c", &old)], &[("f.c", &new)]).is_complete());
}

#[test]
fn a_descriptor_that_code_has_is_as_it_was() {
    let used = |kind| with_descriptor("f", 17, kind, "leaq .Lubsan_data_f(%rip), %rax");
    assert!(of(&[("f.c", &used("int"))], &[("f.c", &used("int"))]).is_complete());
    assert!(!of(&[("f.c", &used("int"))], &[("f.c", &used("u32"))]).is_complete());
}

/// Clang gives what describes a type the name that it gives what describes a place.
#[test]
fn a_type_that_is_named_like_a_place_has_no_line() {
    let with = |kind: &str| {
        let text = with_descriptor("f", 17, kind, "leaq .Lubsan_data_f(%rip), %rax");
        text.replace("ubsan_type", "__unnamed_1")
    };
    let [one, other] = ["struct one1", "struct one2"].map(with);
    assert!(of(&[("f.c", &one)], &[("f.c", &one)]).is_complete());
    assert!(!of(&[("f.c", &one)], &[("f.c", &other)]).is_complete());
}

/// Two weak definitions of one name, and who calls it.
#[test]
fn another_order_of_the_link_chooses_another_definition() {
    let with = |factor: u32| {
        format!("__attribute__((weak, noinline)) long f(long a) {{ return a * {factor}; }}")
    };
    let user = ("u.c", "long f(long); long g(long a) { return f(a) + 1; }");
    let built = |other: u32| {
        let (one, other) = (with(3), with(other));
        let there: Sources<'_> = &[("a.c", &one), ("b.c", &other), user];
        let turned: Sources<'_> = &[("b.c", &other), ("a.c", &one), user];
        let linked = |image| {
            let all = without_payload_but_image(there, there, there, Some(image));
            all.is_complete()
        };
        [linked(there), linked(turned)]
    };
    assert_eq!(built(5), [true, false]);
    // Whichever of two equal ones is linked, the code is the same.
    assert_eq!(built(3), [true, true]);
}

#[test]
fn a_function_that_moves_into_another_section_has_moved() {
    let place = |section: &str| {
        format!(
            "__attribute__((noinline{section})) long inner(long a) {{ return a * 9; }}
             __attribute__((section(\"copied\"))) long outer(long a) {{ return inner(a) + 1; }}"
        )
    };
    let (old, new) = (place(""), place(", section(\"copied\")"));
    let cold = place(", section(\".text.unlikely.inner\")");
    assert!(!of(&[("f.c", &old)], &[("f.c", &new)]).is_complete());
    assert!(of(&[("f.c", &old)], &[("f.c", &cold)]).is_complete());
}

#[test]
fn a_constant_is_one_whatever_its_section_is_called() {
    let with = |text: &str| {
        format!(
            "static const char key[] __attribute__((used, section(\".modinfo\"))) = \"{text}\";
             char f(long i) {{ return key[i]; }}"
        )
    };
    let (old, new) = (with("mode=1"), with("mode=2"));
    assert!(of(&[("f.c", &old)], &[("f.c", &old)]).is_complete());
    assert!(!of(&[("f.c", &old)], &[("f.c", &new)]).is_complete());
}

const CALLER: &str = "int g(int); int f(int a) { return g(a) * 3 + 1; }";

#[test]
fn what_no_object_holds_is_listed() {
    let all: Sources<'_> = &[("f.c", CALLER), ("g.c", "int g(int a) { return a * 2; }")];
    let account = without_payload(all, &all[..1], &all[..1]);
    let base = account.base.expect("a whole tree");
    let unknown: Vec<_> = base.unknown.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(unknown, ["g"]);
}

#[test]
fn a_base_of_another_build_is_noticed() {
    let ours: Sources<'_> = &[("f.c", CALLER), ("g.c", "int g(int a) { return a * 2; }")];
    let linked: Sources<'_> = &[
        ("f.c", CALLER),
        ("g.c", "int g(int a) { return a * 7 + a * a; }"),
    ];
    assert!(!without_payload(linked, ours, ours).is_complete());
}

#[test]
fn a_definition_that_is_gone_may_not_be_referred_to() {
    let old: Sources<'_> = &[("f.c", CALLER), ("g.c", "int g(int a) { return a * 2; }")];
    let new: Sources<'_> = &[("f.c", CALLER), ("g.c", "int other;")];
    let account = of(old, new);
    assert_eq!(names(&account), ["f"], "{account:?}");
}

#[test]
fn a_table_whose_name_begins_like_a_linkers_section_is_none_of_them() {
    for section in [
        "notebook",
        ".notebook",
        ".gotten",
        ".commentary",
        ".discarded",
    ] {
        let table = |first: &str, second: &str| {
            format!(
                "#define STEP __attribute__((used, section(\"{section}\")))
                 static const long {first} STEP = {}; static const long {second} STEP = {};
                 long f(long a) {{ return a + 1; }}",
                first.len(),
                second.len()
            )
        };
        let (old, new) = (table("one", "three"), table("three", "one"));
        assert!(
            of(&[("t.c", &old)], &[("t.c", &old)]).is_complete(),
            "{section}"
        );
        assert!(
            !of(&[("t.c", &old)], &[("t.c", &new)]).is_complete(),
            "{section}"
        );
    }
}

#[test]
fn more_alignment_of_a_section_is_explained_by_what_is_new_alone() {
    const USER: &str = "extern int old; int f(void) { return old; }";
    let of_data = |data: &str| {
        format!(
            ".data\n{data}\n.globl old\n.type old, @object\n.size old, 4\n\
             .section .note.GNU-stack,\"\",@progbits\n"
        )
    };
    let new = ".balign 64\n.type fresh, @object\nfresh: .long 9\n.size fresh, 4";
    let original = of_data("old: .long 5");
    let apart = of_data(".long 0\nold: .long 5");
    let account = |original: &str, patched: &str| {
        // The filler comes first, so that the base holds `old` on no multiple of 64.
        let build = |data| [("a.c", "int filler = 3;"), ("d.S", data), ("f.c", USER)];
        of(&build(original), &build(patched))
    };
    // The new one asks for it.
    let with_new = of_data(&format!("old: .long 5\n{new}"));
    assert!(account(&original, &with_new).is_complete());
    // Nothing new is there: the old one asks for it.
    let alone = of_data(".balign 64\nold: .long 5");
    assert_eq!(names(&account(&original, &alone)), ["f"]);
    // It came to such a place only now, beside a new one: either may ask for it.
    let moved = of_data(&format!(".balign 64\nold: .long 5\n{new}"));
    assert_eq!(names(&account(&apart, &moved)), ["f"]);
}

#[test]
fn a_text_among_constants_may_tell_another_time_and_nothing_else() {
    let source = r#"
        asm(".section .rodata\n.byte 1\n.Ltext: .asciz \"TEXT\"\n.text\n"
            ".globl banner\n.type banner, @function\nbanner: leaq .Ltext(%rip), %rax\nret\n"
            ".size banner, . - banner");
    "#;
    let of_text = |text: &str| source.replace("TEXT", text);
    let old = of_text("release 4 of 2026-01-01 10:31:07");
    let later = of_text("release 4 of 2026-07-31 17:45:12");
    let other = of_text("release 5 of 2026-07-31 17:45:12");
    let account = of(&[("s.c", &old)], &[("s.c", &later)]);
    assert!(account.is_complete(), "{account:?}");
    assert!(account.after.stamps > 0, "{account:?}");
    let changed = of(&[("s.c", &old)], &[("s.c", &other)]);
    assert_eq!(names(&changed), ["banner"], "{changed:?}");
}

#[test]
fn what_leads_into_a_weak_definition_that_gave_way_leads_to_its_copy() {
    // The longer part of the second object's section is a copy that has no name in the image.
    let weak = |value: u32| {
        format!(
            "asm(\".text\\n.weak fill\\n.type fill, @function\\nfill:\\n.Lfill: \
             movabsq ${value}, %rax\\nmovabsq $77, %rcx\\naddq %rcx, %rax\\nret\\n\
             .size fill, . - fill\\n"
        )
    };
    let first = |value| weak(value) + "\");";
    let second = |value| {
        weak(value) + ".globl f\\n.type f, @function\\nf: jmp .Lfill\\n.size f, . - f\\n\");"
    };
    let original: [(&str, &str); 2] = [("a.c", &first(3)), ("b.c", &second(3))];
    let same = of(&original, &original);
    assert!(same.is_complete(), "{same:?}");
    let changed = of(&original, &[("a.c", &first(3)), ("b.c", &second(4))]);
    assert!(names(&changed).contains(&"f"), "{changed:?}");
}

#[test]
fn a_slot_holds_a_number_or_the_address_of_nothing() {
    let user = r#"
        asm(".weak hook\n.text\n.globl f\n.type f, @function\n"
            "f: movq limit@GOTPCREL(%rip), %rax\ncmpq $0, HOOK@GOTPCREL(%rip)\nret\n"
            ".size f, . - f");
        int own(void) { return 1; }
    "#;
    let account = |limit: &str, hook: &str| {
        let number = |limit: &str| format!("asm(\".globl limit\\n.set limit, {limit}\");");
        let (before, after) = (number("5"), number(limit));
        let (old, new) = (user.replace("HOOK", "hook"), user.replace("HOOK", hook));
        of(
            &[("n.c", &before), ("g.c", &old)],
            &[("n.c", &after), ("g.c", &new)],
        )
    };
    let same = account("5", "hook");
    assert!(same.is_complete(), "{same:?}");
    for (limit, hook) in [("6", "hook"), ("5", "own")] {
        let changed = account(limit, hook);
        assert_eq!(names(&changed), ["f"], "{changed:?}");
    }
}

/// Variables that share a section, and a function that reads two of them.
fn variables(data: &str) -> String {
    format!(
        ".text\n.globl f\n.type f, @function\nf: movl one(%rip), %eax\naddl two(%rip), %eax\n\
         addl many(%rip), %eax\nret\n.size f, . - f\n\
         .macro variable name, bytes\n.type \\name, @object\n.size \\name, \\bytes\n\
         \\name: .fill \\bytes, 1, 1\n.endm\n.data\n.balign 16\n{data}"
    )
}

#[test]
fn a_variable_that_moved_within_its_section_asks_for_what_moved_it() {
    let old = variables("variable one 4\n.balign 16\nvariable many 24\nvariable two 4\n");
    let swapped = variables("variable two 4\n.balign 16\nvariable many 24\nvariable one 4\n");
    let aligned =
        variables("variable one 4\n.balign 16\nvariable many 24\n.balign 16\nvariable two 4\n");
    let account = of(&[("v.s", &old)], &[("v.s", &swapped)]);
    assert!(account.is_complete(), "{account:?}");
    let account = of(&[("v.s", &old)], &[("v.s", &aligned)]);
    assert_eq!(names(&account), ["f"], "{account:?}");
}

/// Constants without a name, and a function that reads a text and a number.
fn constants(data: &str) -> String {
    format!(
        ".text\n.globl f\n.type f, @function\nf: leaq .Ltext(%rip), %rax\n\
         movss .Lnumber(%rip), %xmm0\nret\n.size f, . - f\n\
         .globl g\n.type g, @function\ng: movl table(%rip), %eax\nret\n.size g, . - g\n\
         .section .rodata\n.balign 16\n{data}"
    )
}

#[test]
fn what_fills_up_behind_a_constant_without_a_name_is_none_of_it() {
    const TABLE: &str =
        ".balign 16\n.type table, @object\n.size table, 16\ntable: .fill 16, 1, 3\n";
    let text = ".Ltext: .asciz \"i0\"\n";
    let number = ".balign 4\n.Lnumber: .float 73.25\n";
    let old = constants(&format!("{text}{number}{TABLE}"));
    let moved = constants(&format!("{text}{TABLE}{number}"));
    let longer = constants(&format!("{text}.byte 0, 0, 0, 7\n{TABLE}{number}"));
    let account = of(&[("c.s", &old)], &[("c.s", &moved)]);
    assert!(account.is_complete(), "{account:?}");
    let account = of(&[("c.s", &old)], &[("c.s", &longer)]);
    assert_eq!(names(&account), ["f"], "{account:?}");
}

#[test]
fn an_entry_of_a_function_that_nothing_leads_to_is_not_missed() {
    let source = |call: &str| {
        format!(
            ".text\n.globl f\n.type f, @function\nf: {call}\nret\n.size f, . - f\n\
             .section .text.g, \"ax\"\n.globl g\n.type g, @function\n\
             g: movl (%rdi), %eax\n.Lbehind: ret\n.size g, . - g\n\
             .section .ex_table, \"a\"\n.balign 4\n.long g - ., .Lbehind - .\n"
        )
    };
    let old = ".text\n.globl f\n.type f, @function\nf: nop\nret\n.size f, . - f\n";
    let idle = source("nop");
    let account = of(&[("e.s", old)], &[("e.s", &idle)]);
    assert!(account.is_complete(), "{account:?}");
    let called = source("call g");
    let account = of(&[("e.s", old)], &[("e.s", &called)]);
    assert!(!account.is_complete(), "{account:?}");
}

#[test]
fn objects_that_hold_the_same_have_places_of_their_own() {
    let source = |name: &str, more: &str| {
        format!(
            "#define CODE __attribute__((noinline, section(\".text.all\")))\n\
             #define DATA __attribute__((section(\".data.all\")))\n{more}\n\
             __attribute__((weak)) CODE int twice(int a) {{ return a * 2; }}\n\
             static CODE int counted(int a) {{ static DATA int n = 1; n += a; return n; }}\n\
             CODE int {name}(int a) {{ return counted(twice(a)); }}\n"
        )
    };
    let first = source("f", "DATA int before = 5;");
    let second = source("g", "");
    let both: Sources<'_> = &[("a.c", &first), ("b.c", &second)];
    let account = of(both, both);
    assert!(account.is_complete(), "{account:?}");
}

#[test]
fn what_fills_up_behind_a_table_of_places_in_code_is_none_of_it() {
    let source = |data: &str| {
        format!(
            ".text\n.globl f\n.type f, @function\nf: leaq .Ltable(%rip), %rax\n\
             leaq .Lother(%rip), %rdx\nmovslq (%rax,%rdi,4), %rdi\naddq %rax, %rdi\njmp *%rdi\n\
             .Lone: nop\n.Ltwo: nop\n.Lthree: ret\n.size f, . - f\n\
             .section .rodata\n.balign 16\n{data}"
        )
    };
    let places = ".long .Lone - .Ltable, .Ltwo - .Ltable, .Lthree - .Ltable\n";
    let other = ".Lother: .long 75, 76, 77\n";
    let old = source(&format!(".Ltable: {places}{other}"));
    let apart = source(&format!(".Ltable: {places}.balign 16\n{other}"));
    let account = of(&[("t.s", &old)], &[("t.s", &apart)]);
    assert!(account.is_complete(), "{account:?}");
    // Here the zeros are of what code may read.
    let distances = ".long .Lone - ., 0, 0\n";
    let old = source(&format!(".Ltable: {distances}{other}"));
    let new = source(&format!("{other}.balign 16\n.Ltable: {distances}"));
    let fewer = source(&format!(".Ltable: .long .Lone - .\n{other}"));
    let account = of(&[("t.s", &old)], &[("t.s", &new)]);
    assert!(account.is_complete(), "{account:?}");
    let account = of(&[("t.s", &fewer)], &[("t.s", &old)]);
    assert_eq!(names(&account), ["f"], "{account:?}");
}
