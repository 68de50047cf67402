//! Changes that rules have missed: the account finds each, and passes the nearest that is none.

mod built;
mod descriptors;
mod linked;

use crate::built::{Sources, accepting, names, of};

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

#[test]
fn what_seems_to_branch_into_a_field_cuts_no_instruction() {
    // As code of 32 bits looks that is read as one of 64.
    let code = |skipped: &str| {
        format!(
            ".globl start\n.type start, @function\nstart: call 2f\nret\n.size start, . - start\n\
             2: .byte 0xe9\n.long 3f - 1f\n1: {skipped}\n3: jmp 1b - 2\n"
        )
    };
    let original = code("pushq %rbx");
    let account = of(&[("a.s", &original)], &[("a.s", &original)]);
    assert_eq!(names(&account), [""; 0], "{:?}", account.after.missing);
    let account = of(&[("a.s", &original)], &[("a.s", &code("pushq %rsi"))]);
    assert_eq!(names(&account), ["start"]);
}

#[test]
fn entries_of_code_that_has_run_are_accepted_with_it() {
    let source = |section: &str, entries: usize| {
        let entry = "asm volatile (\"1: nop; 2: .pushsection .ex_table, \\\"a\\\"; \\n\
                     .long 1b - ., 2b - .; .popsection\");\n";
        let section = format!("__attribute__((section(\"{section}\")))");
        format!(
            "{section} int changed(int x) {{\n{}return x + {entries}; }}\n\
             int other(int x) {{ {entry} return x * 3; }}",
            entry.repeat(entries)
        )
    };
    for (fewer, more) in [(1, 2), (2, 1)] {
        let of_boot = |entries| source(".init.text", entries);
        let (old, new) = (of_boot(fewer), of_boot(more));
        let account = accepting(&[("f.c", &old)], &[("f.c", &new)], &["changed"]);
        assert_eq!(names(&account), [""; 0], "{:?}", account.after.missing);
        // What still runs may need them.
        let that_runs = |entries| source(".text.changed", entries);
        let (old, new) = (that_runs(fewer), that_runs(more));
        let account = accepting(&[("f.c", &old)], &[("f.c", &new)], &["changed"]);
        assert_ne!(names(&account), [""; 0]);
    }
}

#[test]
fn what_is_accepted_stands_where_the_base_keeps_it_and_not_where_an_entry_may() {
    // A table that has more entries is looked through for each of them.
    let source = |entries: usize, number: u32, factor: u32| {
        let entry = "asm volatile (\"1: nop; 2: .pushsection .ex_table, \\\"a\\\"; \\n\
                     .long 1b - ., 2b - .; .popsection\");\n";
        let boot = entry.repeat(entries);
        format!(
            "__attribute__((section(\".init.text\"))) int boot(int x) {{\n{boot}return x; }}\n\
             __attribute__((noinline)) static int kept(int x) {{\n{entry}return x + {number}; }}\n\
             int other(int x) {{ return kept(x) * {factor}; }}"
        )
    };
    let (old, new) = (source(1, 1, 3), source(2, 2, 3));
    let accepted = ["kept", "boot"];
    let account = accepting(&[("f.c", &old)], &[("f.c", &new)], &accepted);
    assert!(account.is_complete(), "{account:?}");
    // What was not accepted is missed.
    let new = source(2, 2, 5);
    let account = accepting(&[("f.c", &old)], &[("f.c", &new)], &accepted);
    assert_eq!(names(&account), ["other"]);
}

/// Code that writes calls counts from the end of the call, which is in front of what it calls.
#[test]
fn a_distance_to_a_changed_function_is_no_read_of_it() {
    let source = |user: &str, factor: u32| {
        format!(
            "__attribute__((noinline)) long g(long a) {{ return a * {factor}; }}\n\
             long f(char *place) {{ return {user}; }}"
        )
    };
    let found = |user: &str| {
        let (old, new) = (source(user, 3), source(user, 5));
        assert!(
            of(&[("f.c", &old)], &[("f.c", &old)]).is_complete(),
            "{user}"
        );
        let account = of(&[("f.c", &old)], &[("f.c", &new)]);
        let mut found: Vec<String> = names(&account).into_iter().map(str::to_owned).collect();
        found.sort();
        found
    };
    for user in ["(long)g - (long)place", "(long)g - 5 - (long)place"] {
        assert_eq!(found(user), ["g"], "{user}");
    }
    // Into the function, behind it, or what stands in front of it, read by its name.
    for user in ["(long)g + 1 - (long)place", "*(int *)((char *)g - 4)"] {
        assert_eq!(found(user), ["f", "g"], "{user}");
    }
}
