//! Layouts of types: what a changed function can reach, in every form of debug information.

use xsplice_diff::layouts::{ChangedKind, FieldDifference, Held, LayoutChange, NotCompared};
use xsplice_diff::report::object_diff::ObjectDiff;
use xsplice_diff::verdict::kinds::{Reason, RefusalCode};

use crate::compiler::{KERNEL, changed, compile, compilers, diff, reasons, refused};

/// Flags under which compilers write debug information in forms of their own.
const FORMS: [&[&str]; 5] = [
    &["-gdwarf-5"],
    &["-gdwarf-4"],
    &["-gdwarf-5", "-fdebug-types-section"],
    &["-gdwarf-4", "-fdebug-types-section"],
    &["-gdwarf-5", "-gz=zlib"],
];

fn with(flags: &[&'static str]) -> Vec<&'static str> {
    [KERNEL, flags].concat()
}

fn change<'d>(diff: &'d ObjectDiff<'_>, said: &str) -> &'d LayoutChange {
    let all = &diff.layouts.changes;
    all.iter()
        .find(|change| change.said == said)
        .unwrap_or_else(|| panic!("{said} is not among {all:#?}"))
}

const TYPES: &str = r#"
enum mode { OFF, SECOND ON };
struct inner { int a; EXTRA unsigned low : 3; unsigned high : 4; };
struct request { int id; const struct inner *inner; enum mode mode; };
extern int use(struct request *, int);
int reader(const struct inner *i) { return i->a * 7 + 1; }
int f(struct request *r) { return use(r, r->id) + NUMBER; }
"#;

fn types(second: &str, extra: &str, number: &str) -> String {
    TYPES
        .replace("SECOND", second)
        .replace("EXTRA", extra)
        .replace("NUMBER", number)
}

#[test]
fn all_forms_of_debug_information_tell_the_same() {
    for compiler in compilers() {
        for form in FORMS {
            let flags = with(form);
            let before = compile(compiler, &flags, &types("", "", "1"));
            let after = compile(compiler, &flags, &types("STANDBY,", "", "2"));
            let one = diff(&before, &after);
            assert_eq!(changed(&one), ["f"], "{compiler} {form:?}");
            assert_eq!(refused(&one), [RefusalCode::ChangedLayout]);
            let mode = change(&one, "enum mode");
            assert_eq!(mode.kind, ChangedKind::Enumeration);
            assert_eq!(mode.fields[0].change, FieldDifference::Revalued);

            let after = compile(compiler, &flags, &types("", "int fresh;", "2"));
            let one = diff(&before, &after);
            let inner = change(&one, "struct inner");
            assert_eq!(inner.new_size, Some(12), "{compiler} {form:?}");
            assert_eq!(inner.reached[0].held, Held::ThroughOthers);
            let users: Vec<&str> = inner.users.iter().map(|user| user.name.as_str()).collect();
            assert_eq!(users, ["reader"], "{compiler} {form:?}");
            assert_eq!(one.layouts.changes.len(), 1, "{:#?}", one.layouts);
        }
    }
}

#[test]
fn the_same_types_are_no_change_in_any_form() {
    for compiler in compilers() {
        for form in FORMS {
            let flags = with(form);
            let before = compile(compiler, &flags, &types("", "", "1"));
            let after = compile(compiler, &flags, &types("", "", "2"));
            let one = diff(&before, &after);
            assert_eq!(changed(&one), ["f"], "{compiler} {form:?}");
            assert_eq!(refused(&one), []);
            assert_eq!(one.layouts.changes, [], "{compiler} {form:?}");
            assert!(one.layouts.compared >= 3, "{:?}", one.layouts);
        }
    }
}

#[test]
fn which_side_has_no_debug_information_is_said() {
    let plain = compile("gcc", KERNEL, &types("", "", "1"));
    let plain_after = compile("gcc", KERNEL, &types("", "int fresh;", "2"));
    let rich = compile("gcc", &with(&["-g"]), &types("", "", "1"));
    let rich_after = compile("gcc", &with(&["-g"]), &types("", "int fresh;", "2"));
    for (before, after, why) in [
        (&plain, &plain_after, NotCompared::NoDebugInformation),
        (
            &plain,
            &rich_after,
            NotCompared::NoDebugInformationInOriginal,
        ),
        (
            &rich,
            &plain_after,
            NotCompared::NoDebugInformationInPatched,
        ),
    ] {
        let one = diff(before, after);
        assert_eq!(one.layouts.not_compared, Some(why));
        assert_eq!(refused(&one), []);
    }
}

#[test]
fn every_function_that_differs_by_a_layout_alone_names_it() {
    let source = |field: &str| {
        let functions: String = (0..4)
            .map(|one| format!("long f{one}(struct s *s) {{ return ext(s->b) + s->c * {one}; }}\n"))
            .collect();
        format!("struct s {{ long a; {field} long b, c; }}; extern long ext(long);\n{functions}")
    };
    for compiler in compilers() {
        let before = compile(compiler, &with(&["-g"]), &source(""));
        let after = compile(compiler, &with(&["-g"]), &source("long fresh;"));
        let one = diff(&before, &after);
        for name in ["f1", "f2", "f3"] {
            let label = Reason::LayoutOnly {
                types: vec!["struct s".to_owned()],
            };
            assert!(
                reasons(&one, name).contains(&label),
                "{compiler} {name} {one:#?}"
            );
        }
    }
}

#[test]
fn a_displacement_that_no_layout_explains_is_not_called_one() {
    let source =
        |number: &str| format!("int f(int x, int *y) {{ *y = x + {number}; return x * 9; }}");
    let is_labelled = |flags: &[&str]| {
        let before = compile("gcc", flags, &source("1"));
        let after = compile("gcc", flags, &source("2"));
        let one = diff(&before, &after);
        assert_eq!(changed(&one), ["f"]);
        let label = |reason: &Reason| matches!(reason, Reason::LayoutOnly { .. });
        reasons(&one, "f").iter().any(label)
    };
    assert!(!is_labelled(&with(&["-g"])));
    // Without debug information it may be one: this is what the differ cannot know.
    assert!(is_labelled(KERNEL) || cfg!(not(target_arch = "x86_64")));
}

#[test]
fn damaged_debug_information_gets_an_answer() {
    /// Bytes between two that are damaged: a prime, so that all kinds of fields are hit.
    const STRIDE: usize = 7;
    let before = compile("gcc", &with(&["-g"]), &types("", "", "1"));
    let after = compile("gcc", &with(&["-g"]), &types("", "int fresh;", "2"));
    let object =
        xsplice_diff::read::object::ElfObject::parse("case.o", &after).expect("well-formed");
    let mut damaged_sections = 0;
    for (_, section) in object.sections() {
        if !section.name.starts_with(".debug_") {
            continue;
        }
        damaged_sections += 1;
        let start = section.data.as_ptr().addr() - after.as_ptr().addr();
        for at in (start..start + section.data.len()).step_by(STRIDE) {
            for value in [0x00, 0xff, after[at] ^ 0x41] {
                let mut damaged = after.clone();
                damaged[at] = value;
                // Any answer will do, but an answer.
                let _ = xsplice_diff::diff_objects(
                    "case.o",
                    &before,
                    &damaged,
                    &xsplice_diff::Options::default(),
                );
            }
        }
    }
    assert!(
        damaged_sections >= 3,
        "the compiler wrote debug information"
    );
}
