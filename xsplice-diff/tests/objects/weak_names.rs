//! Weak second names of what an object defines: another object may define them too.

use xsplice_diff::extract::Place;
use xsplice_diff::verdict::kinds::Reason;

use crate::compiler::{KERNEL, changed, compile, diff, reasons};

/// A variable, a weak second name of it, and a function that uses one of the two.
fn object(used: &str, number: u32) -> Vec<u8> {
    let source = format!(
        "int real = 5; extern int nick __attribute__((weak, alias(\"real\")));\n\
         int f(int x) {{ return x * {number} + {used}; }}\n\
         int g(int x) {{ return x - real; }}"
    );
    compile("gcc", KERNEL, &source)
}

#[test]
fn one_name_is_not_the_other_although_both_are_of_one_place() {
    let (before, after) = (object("real", 3), object("nick", 3));
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["f"], "{found:#?}");
    let names = |reason: &Reason| match reason {
        Reason::TargetDiffers { old, new, .. } => Some((old.clone(), new.clone())),
        _ => None,
    };
    let told: Vec<_> = reasons(&found, "f").iter().filter_map(names).collect();
    assert_eq!(told, [("real".to_owned(), "nick".to_owned())]);
    let back = diff(&after, &before);
    assert_eq!(changed(&back), ["f"], "{back:#?}");
}

#[test]
fn code_refers_by_the_weak_name_to_whatever_has_it() {
    let (before, after) = (object("nick", 3), object("nick", 7));
    let found = diff(&before, &after);
    let extract = found.extract.as_ref().expect("a function changed");
    let nick = extract.symbols.iter().find(|symbol| symbol.name == "nick");
    let nick = nick.expect("it is referred to");
    let otherwise = nick.otherwise.expect("the object has a place of that name");
    assert_eq!((nick.place, otherwise.offset), (Place::Undefined, 0));
    let own = &extract.symbols[otherwise.symbol.0];
    assert_eq!((own.name.as_str(), own.place), ("real", Place::Base));
    let targets = &extract.records[0].original.relocations;
    assert!(
        targets
            .iter()
            .all(|one| format!("{:?}", one.target).contains("nick")),
        "{targets:?}"
    );
}

#[test]
fn a_place_is_called_by_the_name_that_only_its_object_can_give() {
    // The weak one is the only name that other objects see.
    let source = |number: u32| {
        format!(
            "static int own(int x) {{ return x / 7 * {number} + x % 5; }}\n\
             int nick(int) __attribute__((weak, alias(\"own\")));"
        )
    };
    let compiled = |number| compile("gcc", KERNEL, &source(number));
    let (before, after) = (compiled(3), compiled(300));
    let found = diff(&before, &after);
    let extract = found.extract.as_ref().expect("a function changed");
    let record = &extract.records[0];
    assert_eq!((record.name.as_str(), record.binding), ("own", 0));
    assert_eq!(record.file.as_deref(), Some("case.c"));
}

#[test]
fn a_weak_name_that_is_the_only_one_stands_for_itself() {
    let source = |number: u32| {
        format!(
            "__attribute__((weak, noinline)) int w(int x) {{ return x * 5 + 1; }}\n\
             int f(int x) {{ return w(x) + {number}; }}"
        )
    };
    let compiled = |number| compile("gcc", KERNEL, &source(number));
    let (before, after) = (compiled(3), compiled(300));
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["f"]);
    let extract = found.extract.as_ref().expect("a function changed");
    assert!(extract.symbols.iter().all(|one| one.otherwise.is_none()));
}
