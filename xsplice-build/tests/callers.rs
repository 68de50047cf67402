//! Callers are found in the whole tree: in objects that are equal in both builds, too, and in those
//! that only the original tree has, for they run on.

use std::fs;
use std::path::Path;

use xsplice_abi::profile;
use xsplice_build::command::progress::{Progress, Visibility};
use xsplice_build::compare::callers;
use xsplice_build::compare::compare;
use xsplice_build::compare::merged;
use xsplice_build::compare::proof::ProofSummary;
use xsplice_build::inputs;
use xsplice_build::inputs::pair::pair;
use xsplice_diff::Options;
use xsplice_diff::html::Callers;
use xsplice_diff::tell::referrers::How;

fn compile(path: &Path, source: &str) {
    fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
    let code = path.with_extension("c");
    fs::write(&code, source).expect("a source");
    let (folder, name) = (code.parent(), code.file_name());
    let flags = ["-O2", "-ffunction-sections", "-fdata-sections", "-fno-pic"];
    let name = name.and_then(|name| name.to_str()).expect("a name");
    xsplice_test_objects::compile(folder.expect("in a folder"), "gcc", &flags, name);
}

#[test]
fn callers_in_equal_objects_and_in_those_that_are_gone_are_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (original, patched) = (
        folder.path().join("original"),
        folder.path().join("patched"),
    );
    let equal = "int f(int); int equal_caller(int x) { return f(x) + 1; }";
    let gone = "int f(int); int (*const gone_table[])(int) = { f };";
    let own = "int unrelated(int x) { return x; }";
    for (tree, step) in [(&original, 3), (&patched, 5)] {
        compile(
            &tree.join("a.o"),
            &format!("int f(int x) {{ return x + {step}; }}"),
        );
        compile(&tree.join("sub/b.o"), equal);
        compile(&tree.join("c.o"), own);
    }
    compile(&original.join("d.o"), gone);

    let pairs = pair(&original, &patched, &[]).expect("two trees").pairs;
    let inputs = inputs::open_all(pairs).expect("objects");
    let progress = Progress::start("comparing", inputs.len(), Visibility::Hidden);
    let merged = merged::find(&inputs, &[]);
    let comparison = compare(&inputs, &merged, &Options::default(), &progress).expect("objects");
    assert_eq!(comparison.equal, 2, "the premise");
    let changed: Vec<_> = comparison
        .diffs
        .iter()
        .flat_map(|diff| &diff.functions)
        .collect();
    assert_eq!(changed.len(), 1, "the premise: {changed:?}");

    let find = |proof: Option<&ProofSummary>| {
        callers::find(
            &comparison.diffs,
            &inputs,
            &merged,
            proof,
            &profile::XSPLICE,
        )
        .expect("the objects were readable")
    };
    let shown = |callers: &Callers| -> Vec<(String, String, How)> {
        let all = callers.of[0].iter();
        all.map(|one| (one.object.clone(), one.name.clone(), one.how))
            .collect()
    };
    let caller = ("sub/b.o".to_owned(), "equal_caller".to_owned(), How::Calls);
    let holder = ("d.o".to_owned(), "gone_table".to_owned(), How::Holds);
    let callers = find(None);
    assert_eq!(shown(&callers), [holder, caller.clone()]);
    assert_eq!(
        callers.from,
        "the relocations of 3 objects of the patched tree and of 1 that only the original tree has"
    );

    // What the base was not linked from calls nothing.
    let proof = ProofSummary {
        objects: 3,
        proven: 3,
        constants: 0,
        absent: 0,
        failed: Vec::new(),
        failed_constants: Vec::new(),
        superseded: vec!["d.o".to_owned()],
        unlinked: vec!["c.o".to_owned()],
        foreign: Vec::new(),
    };
    let callers = find(Some(&proof));
    assert_eq!(shown(&callers), [caller]);
    assert_eq!(
        callers.from,
        "the relocations of 2 objects of the patched tree"
    );
}
