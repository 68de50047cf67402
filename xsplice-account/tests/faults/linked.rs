//! What was linked into the base: of several definitions, of an object that was built again.

use crate::built::{Sources, names, of, without_payload, without_payload_but_image};

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
            let all = without_payload_but_image(there, there, there, image);
            all.is_complete()
        };
        [linked(there), linked(turned)]
    };
    assert_eq!(built(5), [true, false]);
    // Whichever of two equal ones is linked, the code is the same.
    assert_eq!(built(3), [true, true]);
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
fn of_sections_that_nothing_leads_to_all_bytes_are_looked_for_not_the_first() {
    let constant = |number: u32| {
        format!(
            "asm(\".section .rodata.x,\\\"a\\\",@progbits\\n\\
             .ascii \\\"what all of them begin with\\\"\\n.long {number}\\n.previous\");\n\
             int f{number}(void) {{ return {number}; }}\n"
        )
    };
    let texts = [1, 2, 3, 4].map(constant);
    let linked: Sources<'_> = &[("a.c", &texts[0]), ("b.c", &texts[1]), ("c.c", &texts[2])];
    let found = without_payload(linked, linked, linked).base;
    assert_eq!(found.expect("a whole tree").unnamed, 0);
    let other: Sources<'_> = &[linked[0], linked[1], ("c.c", &texts[3])];
    let found = without_payload(linked, other, other).base;
    assert!(found.expect("a whole tree").unnamed > 0);
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
fn of_a_section_that_was_not_linked_nothing_is_in_the_base() {
    let table = |index: &str, names: &str| {
        format!(
            ".section .rodata\n.globl index, names, first\n\
             .type index, @object\nindex: .short {index}\n.size index, . - index\n\
             .type names, @object\nnames: .byte {names}\n.size names, . - names\n\
             .type first, @object\nfirst: .byte 1\n.size first, . - first\n"
        )
    };
    // What stands in for the table until the names are known has two names that look like it.
    let (stand_in, linked) = (table("0", "1"), table("0, 3, 5", "2, 7, 9"));
    let code = |bias: &str| {
        format!(
            "extern const unsigned short index[]; extern const unsigned char names[], first;\n\
             int start(int i) {{ return names[index[i] + first] + {bias}; }}"
        )
    };
    let (old, new) = (code("3"), code("4"));
    let original: Sources<'_> = &[("f.c", &old), ("t.s", &stand_in)];
    let linked: Sources<'_> = &[("f.c", &old), ("t.s", &linked)];
    let account = without_payload(linked, original, original);
    assert_eq!(names(&account), [""; 0], "{:?}", account.after.missing);
    let account = without_payload(linked, original, &[("f.c", &new), ("t.s", &stand_in)]);
    assert_eq!(names(&account), ["start"]);
}

#[test]
fn a_table_that_the_link_makes_anew_may_grow_where_it_stands() {
    let table = |offsets: &str, names: &str, markers: &str| {
        format!(
            ".section .rodata\n.globl offsets, names, markers\n\
             offsets: .long {offsets}\nnames: .long {names}\nmarkers: .long {markers}\n"
        )
    };
    // Of each table something looks like what stands in for it: what does is not what did before.
    let stand_in = table("0", "0", "0");
    let (base, grown) = (table("0, 3", "5", "7"), table("4, 8", "5, 6", "0, 9"));
    let user = "extern const int offsets[], names[], markers[];\n\
                int start(int i) { return names[offsets[i]] + markers[i]; }";
    let [before, behind] = ["before", "behind"]
        .map(|name| format!("extern const int {name}[2]; const int {name}[2] = {{ 11, 12 }};"));
    let (before, behind) = (("a.c", &before[..]), ("b.c", &behind[..]));
    let (user, new) = (("u.c", user), ("n.c", "int used_by_nothing = 3;"));
    let objects: Sources<'_> = &[user, before, ("t.s", &stand_in), behind];
    let more: Sources<'_> = &[user, before, ("t.s", &stand_in), behind, new];
    let linked: Sources<'_> = &[user, before, ("t.s", &base), behind];
    let differences = |image| {
        let account = without_payload_but_image(linked, objects, more, image);
        account.link.expect("an image is given").differences
    };
    let image: Sources<'_> = &[user, before, ("t.s", &grown), behind, new];
    assert_eq!(differences(image), []);
    // Between others, it is not where the base has it.
    let elsewhere: Sources<'_> = &[user, ("t.s", &grown), new, before, behind];
    let found = differences(elsewhere);
    assert!(!found.is_empty());
    let names_it = |what: &str| ["offsets", "names", "markers"].map(|name| what.contains(name));
    let all = found.iter().map(|one| names_it(&one.what));
    assert!(all.clone().all(|one| one.contains(&true)), "{found:?}");
}
