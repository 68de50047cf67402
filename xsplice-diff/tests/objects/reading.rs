//! What people read of a diff: the code of out-of-line parts, and who refers to a function.

use crate::compiler::{KERNEL, changed, compile, diff, readelf};
use xsplice_diff::ObjectDiff;
use xsplice_diff::tell::explain::explain;
use xsplice_diff::tell::referrers::{How, Sought};

const ABI: &xsplice_abi::Profile = &xsplice_abi::profile::XSPLICE;

const COLD: &str = r#"
__attribute__((cold)) void report(int);
int ext(int);
int f(int x)
{
    if (__builtin_expect(x < 0, 0)) {
        report(CODE);
        return -1;
    }
    return ext(x);
}
"#;

#[test]
fn an_out_of_line_part_that_differs_is_explained_and_an_equal_one_is_not() {
    let build =
        |code: &str, more: &str| compile("gcc", KERNEL, &(COLD.replace("CODE", code) + more));
    let other = "int g(int x) { return ext(x) + 4; }";
    let original = build("7", "");
    assert!(readelf("-sW", &original).contains("f.cold"), "the premise");
    let patched = build("9", "");
    let cold = diff(&original, &patched);
    assert_eq!(changed(&cold), ["f"]);
    let text = explain(&cold);
    assert!(text.contains("    f.cold:\n"), "{text}");
    assert!(text.contains("$7") && text.contains("$9"), "{text}");

    // The part is included with a function that changed elsewhere, and is not shown for that.
    let source = COLD.replace("return ext(x)", "return ext(x + 5)");
    let patched = compile("gcc", KERNEL, &(source.replace("CODE", "7") + other));
    let hot = diff(&original, &patched);
    assert_eq!(changed(&hot), ["f"]);
    assert_eq!(hot.parts.len(), 1, "it is included: {hot:#?}");
    let text = explain(&hot);
    assert!(!text.contains("f.cold:"), "{text}");
}

#[test]
fn an_out_of_line_part_that_goes_is_shown_as_gone() {
    let original = compile("gcc", KERNEL, &COLD.replace("CODE", "7"));
    let patched = compile("gcc", KERNEL, &COLD.replace("report(CODE);", ""));
    assert!(!readelf("-sW", &patched).contains("f.cold"), "the premise");
    let diff = diff(&original, &patched);
    assert_eq!(changed(&diff), ["f"]);
    let text = explain(&diff);
    assert!(text.contains("    f.cold:\n"), "{text}");
    assert!(diff.parts[0].patched.is_none());
}

/// For each function of a diff: who refers to it, as `object name how`.
fn referrers(diff: &ObjectDiff<'_>, objects: &[(&str, &[u8])]) -> Vec<Vec<String>> {
    let diffs = std::slice::from_ref(diff);
    let mut sought = Sought::new(diffs);
    for (name, bytes) in objects {
        sought.add_names(name, bytes, ABI).expect("an object");
    }
    let found = objects
        .iter()
        .map(|(name, bytes)| sought.look(name, bytes, ABI).expect("an object"));
    let gathered = sought.gather(found);
    let word = |how| match how {
        How::Calls => "calls",
        How::TakesAddress => "takes",
        How::Holds => "holds",
    };
    gathered
        .iter()
        .map(|all| {
            let said = all.iter();
            said.map(|one| format!("{} {} {}", one.object, one.name, word(one.how)))
                .collect()
        })
        .collect()
}

const CALLED: &str = r#"
__attribute__((noinline)) static int hidden(int x) { return x * STEP; }
int shown(int x) { return x + STEP; }
int also_shown(int) __attribute__((alias("shown")));
int calls_hidden(int x) { return hidden(x) + 1; }
int (*const table[])(int) = { shown };
"#;

const CALLS: &str = r#"
int shown(int), also_shown(int); void keep(int (*)(int));
__attribute__((noinline)) static int hidden(int x) { return x - 1; }
int by_name(int x) { return shown(x) + 1; }
int by_alias(int x) { return also_shown(x) + 2; }
void by_address(void) { keep(shown); }
int other_hidden(int x) { return hidden(x) + 3; }
"#;

#[test]
fn callers_are_found_in_all_objects_by_every_name_and_namesakes_are_not_taken_for_them() {
    let build = |step: &str| compile("gcc", KERNEL, &CALLED.replace("STEP", step));
    let (original, patched) = (build("3"), build("5"));
    let diff = diff(&original, &patched);
    // The function goes by one of its two names.
    assert_eq!(changed(&diff), ["also_shown", "hidden"]);
    let calls = compile("gcc", KERNEL, CALLS);
    let silent = compile("gcc", KERNEL, "int alone(int x) { return x; }");
    let found = referrers(
        &diff,
        &[
            ("case.o", &patched),
            ("calls.o", &calls),
            ("silent.o", &silent),
        ],
    );
    assert_eq!(found[1], ["case.o calls_hidden calls"]);
    assert_eq!(
        found[0],
        [
            "calls.o by_address takes",
            "calls.o by_alias calls",
            "calls.o by_name calls",
            "case.o table holds",
        ]
    );
}
