//! Line numbers: proven with line tables, labelled without, never guessed away.

use crate::compiler::{KERNEL, changed, compile, compilers, diff, diff_with, reasons, refused};
use xsplice_diff::options::Options;
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::Reason;

const SOURCE: &str = r#"
extern void warn(int, const char *); extern int ext(int);
int f(int x) {
    if (x < 0) warn(__LINE__, "x");
    if (x > 9) warn(__LINE__, "y");
    return ext(x);
}
int g(int x) { return ext(x) + 30; }
"#;

fn moved(by: usize) -> String {
    "\n".repeat(by) + SOURCE
}

fn with(flags: &[&'static str]) -> Vec<&'static str> {
    [KERNEL, flags].concat()
}

#[test]
fn moved_lines_are_no_change_when_line_tables_prove_it() {
    for compiler in compilers() {
        for dwarf in ["-gdwarf-4", "-gdwarf-5"] {
            let flags = with(&["-g", dwarf]);
            let before = compile(compiler, &flags, &moved(0));
            let after = compile(compiler, &flags, &moved(3));
            let diff = diff(&before, &after);
            assert_eq!(
                diff.verdict(),
                Verdict::Unchanged,
                "{compiler} {dwarf} {diff:#?}"
            );
            assert!(
                diff.ignored.iter().any(|ignored| ignored.name == "f"),
                "{diff:#?}"
            );
        }
    }
}

#[test]
fn without_line_tables_they_are_labelled_and_left_out_on_request_alone() {
    for compiler in compilers() {
        let before = compile(compiler, KERNEL, &moved(0));
        let after = compile(compiler, KERNEL, &moved(3));
        let one = diff(&before, &after);
        assert_eq!(changed(&one), ["f"], "{compiler}");
        assert!(reasons(&one, "f").contains(&Reason::LooksLikeLineNumbers));
        let options = Options {
            accept: vec!["line-numbers".to_owned()],
            ..Options::default()
        };
        assert_eq!(
            diff_with(&before, &after, &options).verdict(),
            Verdict::Unchanged
        );
    }
}

#[test]
fn a_number_that_is_no_line_is_a_change_although_lines_moved() {
    for compiler in compilers() {
        let flags = with(&["-g"]);
        let before = compile(compiler, &flags, &moved(0));
        let after = compile(compiler, &flags, &moved(3).replace("+ 30", "+ 33"));
        let diff = diff(&before, &after);
        assert_eq!(changed(&diff), ["g"], "{compiler} {diff:#?}");
        assert_eq!(refused(&diff), []);
        let source = diff.functions[0]
            .source
            .as_ref()
            .expect("-g tells the line");
        assert_eq!((source.file.as_str(), source.line), ("case.c", 11));
    }
}

#[test]
fn another_call_beside_moved_lines_is_a_change() {
    let flags = with(&["-g"]);
    let before = compile("gcc", &flags, &moved(0));
    let after = compile("gcc", &flags, &moved(3).replace("\"y\"", "\"z\""));
    let diff = diff(&before, &after);
    assert_eq!(changed(&diff), ["f"], "{diff:#?}");
}

#[test]
fn a_layout_that_rippled_is_labelled() {
    let source = |field: &str| {
        format!(
            "struct s {{ long a; {field} long b, c, d; }}; extern long ext(long); \
             long f(struct s *s) {{ return ext(s->b) + s->c; }} \
             long g(struct s *s) {{ s->d = 4; return ext(s->a); }}"
        )
    };
    for compiler in compilers() {
        let before = compile(compiler, KERNEL, &source(""));
        let after = compile(compiler, KERNEL, &source("long fresh;"));
        let diff = diff(&before, &after);
        assert_eq!(changed(&diff), ["f", "g"]);
        for name in ["f", "g"] {
            assert!(
                reasons(&diff, name)
                    .iter()
                    .any(|reason| matches!(reason, Reason::LayoutOnly { .. })),
                "{compiler} {diff:#?}"
            );
        }
    }
}

#[test]
fn a_changed_bound_does_not_look_like_a_line_number() {
    let source = |bound: &str| {
        format!("extern int ext(int); int f(int x) {{ if (x > {bound}) return 0; return ext(x); }}")
    };
    for compiler in compilers() {
        let before = compile(compiler, KERNEL, &source("20"));
        let after = compile(compiler, KERNEL, &source("19"));
        let options = Options {
            accept: vec!["line-numbers".to_owned()],
            ..Options::default()
        };
        let diff = diff_with(&before, &after, &options);
        assert_eq!(changed(&diff), ["f"], "{compiler}");
        assert!(!reasons(&diff, "f").contains(&Reason::LooksLikeLineNumbers));
    }
}

/// Functions that are left out although the author asked for nothing.
fn ignored<'d>(diff: &'d xsplice_diff::ObjectDiff<'_>) -> Vec<&'d str> {
    let mut names: Vec<&str> = diff.ignored.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_is_left_out_on_request_is_recorded_with_its_numbers() {
    let options = Options {
        accept: vec!["line-numbers".to_owned()],
        ..Options::default()
    };
    for compiler in compilers() {
        let before = compile(compiler, KERNEL, &moved(0));
        let after = compile(compiler, KERNEL, &moved(3));
        let diff = diff_with(&before, &after, &options);
        let why = &diff.ignored[0].why;
        assert!(why.contains("4 for warn is now 7"), "{compiler}: {why}");
    }
}

/// Two functions: `f` has a line number, and `g` a constant that grows by as much as the lines.
fn beside(constant: &str) -> String {
    format!(
        "extern void warn(int); extern int limit(int); extern int given(int, const char *); \
         extern int sized(const char *, int, int); extern int kept;\n\
         int f(int x) {{ if (x) warn(__LINE__); return x * 3; }}\n\
         int g(int x) {{ if (x) warn(__LINE__); {constant} }}\n"
    )
}

#[test]
fn a_constant_that_grew_by_as_much_as_the_lines_is_never_left_out() {
    let options = Options {
        accept: vec!["line-numbers".to_owned()],
        ..Options::default()
    };
    for compiler in compilers() {
        for constant in [
            "return limit(@);",
            "return x * 100 + @;",
            "kept = @; return x;",
            "return @;",
            "return x > @ ? limit(1) : 0;",
            "return given(@, \"text\");",
            "return sized(\"file.c\", x, @);",
            "return sized(\"name\", @, x);",
        ] {
            let before = beside(&constant.replace('@', "40"));
            let after = format!("\n\n{}", beside(&constant.replace('@', "42")));
            let before = compile(compiler, KERNEL, &before);
            let after = compile(compiler, KERNEL, &after);
            let diff = diff_with(&before, &after, &options);
            assert_eq!(changed(&diff), ["g"], "{compiler} {constant} {diff:#?}");
            assert_eq!(ignored(&diff), ["f"], "{compiler} {constant}");
            assert!(!reasons(&diff, "g").contains(&Reason::LooksLikeLineNumbers));
        }
    }
}

#[test]
fn a_number_behind_a_source_files_name_looks_like_a_line() {
    let options = Options {
        accept: vec!["line-numbers".to_owned()],
        ..Options::default()
    };
    let source = "extern int sized(const char *, int, int);\n\
                  int g(int x) { return sized(__FILE__, __LINE__, x); }\n";
    for compiler in compilers() {
        let before = compile(compiler, KERNEL, source);
        let after = compile(compiler, KERNEL, &format!("\n\n{source}"));
        let diff = diff_with(&before, &after, &options);
        assert_eq!(diff.verdict(), Verdict::Unchanged, "{compiler} {diff:#?}");
        assert_eq!(ignored(&diff), ["g"]);
    }
}

#[test]
fn a_constant_that_equals_its_line_in_both_builds_is_a_change_unless_it_is_reported() {
    for compiler in compilers() {
        for (statement, is_report) in [
            ("return @;", false),
            ("kept = @; return x;", false),
            ("return limit(@);", false),
            ("warn(@); return x;", true),
            ("return given(@, \"text\");", false),
        ] {
            let flags = with(&["-g"]);
            let before = compile(compiler, &flags, &beside(&statement.replace('@', "3")));
            let after = format!("\n\n{}", beside(&statement.replace('@', "5")));
            let after = compile(compiler, &flags, &after);
            // The premise: by the line tables alone, the constant could be a line number.
            for (object, line) in [(&before, 3), (&after, 5)] {
                let build = xsplice_diff::read::side::Build::new(
                    "case.o",
                    object,
                    &xsplice_abi::profile::XSPLICE,
                )
                .expect("compilers write well-formed objects");
                let table = xsplice_diff::debug_info::line_table::LineTable::new(&build.object)
                    .expect("-g writes a line table");
                let function = build
                    .items
                    .ids()
                    .find(|item| build.name(*item) == "g")
                    .expect("the source has it");
                let place = build.items.item(function);
                assert!(
                    (place.offset..place.end())
                        .all(|at| table.lines_at(place.section, at).all(|one| one == line)),
                    "{compiler} {statement}"
                );
            }
            let diff = diff(&before, &after);
            let wanted: &[&str] = if is_report { &[] } else { &["g"] };
            assert_eq!(changed(&diff), wanted, "{compiler} {statement} {diff:#?}");
        }
    }
}

#[test]
fn many_functions_of_another_layout_are_a_ripple_and_a_few_are_not() {
    let source = |field: &str, count: usize| {
        let functions: String = (0..count)
            .map(|one| format!("long f{one}(struct s *s) {{ return ext(s->b) + s->c; }}\n"))
            .collect();
        format!("struct s {{ long a; {field} long b, c; }}; extern long ext(long);\n{functions}")
    };
    for (count, is_ripple) in [(9, false), (10, true)] {
        let before = compile("gcc", KERNEL, &source("", count));
        let after = compile("gcc", KERNEL, &source("long fresh;", count));
        let diff = diff(&before, &after);
        assert_eq!(changed(&diff).len(), count);
        let told = xsplice_diff::report::ripple::ripple(std::slice::from_ref(&diff));
        assert_eq!(told.is_some(), is_ripple, "{told:?}");
        assert!(told.is_none_or(|told| told.starts_with("10 functions in 1 object differ")));
    }
}
